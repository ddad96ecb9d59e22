//! Steps as the worker reads them.
//!
//! The results are `continue`, `commit` or `abort`; the plan; JSON text of the array of all row values that its row writes take in
//! turn; and one by one the byte arrays that its other writes take in turn.
//!
//! The plan is JSON text, `{"writes": [...], "reads": [...]}`; each entry is an array whose first element names it:
//!
//! | write | elements | takes |
//! |---|---|---|
//! | `row` | collection, keys, escaped: indexes in keys of values with escapes or large integers | a body per key |
//! | `unrow` | collection, keys | |
//! | `page` / `unpage` | collection, first | a blob / nothing |
//! | `outbox` | collection, `{t, a, k, adopt}` | |
//! | `unoutbox` | collection, numbers | |
//! | `pending` / `unpending` | sequence | a blob / nothing |
//! | `state` | name | a blob |
//! | `reject` | `{code, message, at, documents: [{collection, key, mine, copy}]}`; `mine` is JSON text or null | |
//!
//! | read | elements | answered by |
//! |---|---|---|
//! | `state` | name | `read_state` |
//! | `pages` | | `read_pages` |
//! | `page` | collection, first | `read_page` |
//! | `pending` | | `read_pending` |
//! | `rejectedCount` | | `read_rejected_count` |
//! | `outbox` | collection, after | `read_outbox` |
//! | `rows` | collection, keys | `read_rows` |
//! | `scan` | collection, after or null, limit | `read_scan` |

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use tidelock_core::client::storage::{Read, Step, Verdict, WriteOp};
use tidelock_core::escape;
use tidelock_core::ids::DocumentId;
use tidelock_core::json::{self, Number, Value};

/// Values as JSON.
pub(crate) trait Text {
    /// The value.
    fn text(self) -> Value;
}

impl Text for &str {
    fn text(self) -> Value {
        Value::String(self.into())
    }
}

impl Text for String {
    fn text(self) -> Value {
        Value::String(self)
    }
}

impl Text for u64 {
    fn text(self) -> Value {
        Value::Number(Number::from_i128(self.into()))
    }
}

impl Text for Vec<Value> {
    fn text(self) -> Value {
        Value::Array(self)
    }
}

/// An object of named values.
pub(crate) fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(members.into_iter().map(|(name, value)| (name.into(), value)).collect())
}

/// A document's name.
pub(crate) fn document(id: &DocumentId) -> Value {
    object([("collection", id.collection.as_str().text()), ("key", id.key.as_str().text())])
}

/// JSON text inside JSON: as a string; null for none.
pub(crate) fn body(body: Option<&[u8]>) -> Value {
    body.map_or(Value::Null, |body| Value::String(String::from_utf8(body.to_vec()).unwrap_or_default()))
}

/// Translates a step.
pub(crate) fn results(step: Step) -> Vec<Vec<u8>> {
    let mut writer = Writer { bodies: vec![b'['], ..Writer::default() };
    for write in step.writes {
        writer.write(write);
    }
    writer.end_rows();
    writer.bodies.push(b']');
    let reads: Vec<Value> = step.reads.iter().map(read).collect();
    let plan = object([("writes", writer.writes.text()), ("reads", reads.text())]);
    let verdict = match step.verdict {
        Verdict::Continue => "continue",
        Verdict::Commit => "commit",
        Verdict::Abort => "abort",
    };
    let mut results = vec![verdict.into(), json::write(&plan), writer.bodies];
    results.append(&mut writer.blobs);
    results
}

#[derive(Default)]
struct Writer {
    writes: Vec<Value>,
    bodies: Vec<u8>,
    blobs: Vec<Vec<u8>>,
    run: Option<Run>,
}

/// Consecutive row writes of one collection.
struct Run {
    put: bool,
    collection: String,
    keys: Vec<Value>,
    escaped: Vec<Value>,
}

impl Writer {
    fn write(&mut self, write: WriteOp) {
        if !matches!(write, WriteOp::RowPut(..) | WriteOp::RowDelete(..)) {
            self.end_rows();
        }
        let entry = match write {
            WriteOp::RowPut(id, body) => return self.row(id, Some(&body)),
            WriteOp::RowDelete(id) => return self.row(id, None),
            WriteOp::ShadowPut(page, bytes) => {
                self.blobs.push(bytes);
                vec!["page".text(), page.collection.text(), page.first.text()]
            }
            WriteOp::ShadowDelete(page) => vec!["unpage".text(), page.collection.text(), page.first.text()],
            WriteOp::OutboxDelete(collection, numbers) => {
                vec![
                    "unoutbox".text(),
                    collection.text(),
                    numbers.into_iter().map(Text::text).collect::<Vec<_>>().text(),
                ]
            }
            WriteOp::OutboxAdd(collection, record) => {
                let keys: Vec<Value> = record.keys.into_iter().map(Text::text).collect();
                let record = object([
                    ("t", record.transaction.text()),
                    ("a", record.at_ms.text()),
                    ("k", keys.text()),
                    ("adopt", Value::Bool(record.adopt)),
                ]);
                vec!["outbox".text(), collection.text(), record]
            }
            WriteOp::PendingPut(sequence, bytes) => {
                self.blobs.push(bytes);
                vec!["pending".text(), sequence.0.text()]
            }
            WriteOp::PendingDelete(sequence) => vec!["unpending".text(), sequence.0.text()],
            WriteOp::StatePut(name, bytes) => {
                self.blobs.push(bytes);
                vec!["state".text(), name.text()]
            }
            WriteOp::RejectedAdd(record) => {
                let entry = |entry: &tidelock_core::client::storage::RejectedDocument| {
                    object([
                        ("collection", entry.id.collection.as_str().text()),
                        ("key", entry.id.key.as_str().text()),
                        ("mine", body(entry.mine.as_deref())),
                        ("copy", Value::Bool(entry.copy_row)),
                    ])
                };
                let documents: Vec<Value> = record.documents.iter().map(entry).collect();
                let record = object([
                    ("code", record.code.text()),
                    ("message", record.message.text()),
                    ("at", record.at_ms.text()),
                    ("documents", documents.text()),
                ]);
                vec!["reject".text(), record]
            }
        };
        self.writes.push(entry.text());
    }

    fn row(&mut self, id: DocumentId, body: Option<&[u8]>) {
        let put = body.is_some();
        if self.run.as_ref().is_none_or(|run| run.put != put || run.collection != id.collection) {
            self.end_rows();
            self.run = Some(Run { put, collection: id.collection, keys: Vec::new(), escaped: Vec::new() });
        }
        let Some(run) = &mut self.run else { return };
        if let Some(body) = body {
            if self.bodies.len() > 1 {
                self.bodies.push(b',');
            }
            if escape::needs_decoding(body) {
                run.escaped.push((run.keys.len() as u64).text());
            }
            self.bodies.extend_from_slice(body);
        }
        run.keys.push(id.key.text());
    }

    fn end_rows(&mut self) {
        let Some(run) = self.run.take() else { return };
        let mut entry = vec![if run.put { "row" } else { "unrow" }.text(), run.collection.text(), run.keys.text()];
        if run.put {
            entry.push(run.escaped.text());
        }
        self.writes.push(entry.text());
    }
}

fn read(read: &Read) -> Value {
    let entry = match read {
        Read::State(name) => vec!["state".text(), (*name).text()],
        Read::ShadowPages => vec!["pages".text()],
        Read::ShadowPage(page) => vec!["page".text(), page.collection.as_str().text(), page.first.as_str().text()],
        Read::Pending => vec!["pending".text()],
        Read::RejectedCount => vec!["rejectedCount".text()],
        Read::Outbox { collection, after } => vec!["outbox".text(), collection.as_str().text(), (*after).text()],
        Read::Rows { collection, keys } => {
            let keys: Vec<Value> = keys.iter().map(|key| key.as_str().text()).collect();
            vec!["rows".text(), collection.as_str().text(), keys.text()]
        }
        Read::Scan { collection, after, limit } => {
            let after = after.as_ref().map_or(Value::Null, |after| after.as_str().text());
            vec!["scan".text(), collection.as_str().text(), after, u64::from(*limit).text()]
        }
    };
    entry.text()
}
