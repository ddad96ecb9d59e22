//! A model of one IndexedDB database, as the client's host and the capture layer use it.
//!
//! Transactions are atomic and exclude each other. A strict commit makes everything before it durable; a crash loses any suffix of the
//! relaxed commits after the last strict one, never a part of one.

use std::collections::BTreeMap;

use tidelock_core::client::storage::{
    OutboxRecord, PageId, Read, ReadResult, RefusedRow, RejectedRecord, Row, WriteOp,
};
use tidelock_core::client::unsettled;
use tidelock_core::ids::{DocumentId, Sequence};
use tidelock_core::key::{self, Key};

/// One database.
#[derive(Debug, Default)]
pub struct ModelDatabase {
    tables: Tables,
    durable: Tables,
    /// Relaxed commits since the last strict one.
    relaxed: Vec<Relaxed>,
    locked: bool,
    /// Members whose values are unique within a store.
    unique: BTreeMap<String, String>,
}

/// A commit that a crash may lose.
#[derive(Debug)]
struct Relaxed {
    label: Option<String>,
    changes: Vec<Change>,
}

#[derive(Clone, Debug, Default)]
struct Tables {
    stores: BTreeMap<String, Store>,
    shadow: BTreeMap<PageId, Vec<u8>>,
    pending: BTreeMap<Sequence, Vec<u8>>,
    state: BTreeMap<&'static str, Vec<u8>>,
    rejected: BTreeMap<u64, RejectedRecord>,
    rejected_next: u64,
}

#[derive(Clone, Debug, Default)]
struct Store {
    rows: BTreeMap<Key, (String, Row)>,
    outbox: BTreeMap<u64, OutboxRecord>,
    /// The key generator: survives the deletion of records.
    outbox_last: u64,
}

/// Sets one slot; the inverse sets what was there.
#[derive(Clone, Debug)]
enum Change {
    Row(String, Key, Option<(String, Row)>),
    Outbox(String, u64, Option<OutboxRecord>),
    OutboxLast(String, u64),
    Shadow(PageId, Option<Vec<u8>>),
    Pending(Sequence, Option<Vec<u8>>),
    State(&'static str, Option<Vec<u8>>),
    Rejected(u64, Option<RejectedRecord>),
    RejectedNext(u64),
}

/// A readwrite transaction over everything. It is to be committed or aborted.
#[derive(Debug, Default)]
pub struct Transaction {
    undo: Vec<Change>,
    redo: Vec<Change>,
}

fn slot<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) -> Option<V> {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    }
}

impl Tables {
    /// Applies a change and gives the one that takes it back.
    fn set(&mut self, change: Change) -> Change {
        match change {
            Change::Row(store, key, row) => {
                let before = slot(&mut self.store(&store).rows, key.clone(), row);
                Change::Row(store, key, before)
            }
            Change::Outbox(store, number, record) => {
                let before = slot(&mut self.store(&store).outbox, number, record);
                Change::Outbox(store, number, before)
            }
            Change::OutboxLast(store, last) => {
                let before = std::mem::replace(&mut self.store(&store).outbox_last, last);
                Change::OutboxLast(store, before)
            }
            Change::Shadow(page, bytes) => {
                let before = slot(&mut self.shadow, page.clone(), bytes);
                Change::Shadow(page, before)
            }
            Change::Pending(sequence, bytes) => Change::Pending(sequence, slot(&mut self.pending, sequence, bytes)),
            Change::State(name, bytes) => Change::State(name, slot(&mut self.state, name, bytes)),
            Change::Rejected(id, record) => Change::Rejected(id, slot(&mut self.rejected, id, record)),
            Change::RejectedNext(next) => Change::RejectedNext(std::mem::replace(&mut self.rejected_next, next)),
        }
    }

    fn store(&mut self, name: &str) -> &mut Store {
        self.stores.entry(name.to_owned()).or_default()
    }
}

impl ModelDatabase {
    /// An empty database.
    pub fn new() -> Self {
        Self::default()
    }

    /// From here on a store refuses a row whose `member` has the value that another row has.
    pub fn add_unique_index(&mut self, store: &str, member: &str) {
        self.unique.insert(store.to_owned(), member.to_owned());
    }

    /// Begins a transaction; `None` while another one runs.
    pub fn begin(&mut self) -> Option<Transaction> {
        if self.locked {
            return None;
        }
        self.locked = true;
        Some(Transaction::default())
    }

    /// Commits. `label` names a commit that a crash may lose.
    pub fn commit(&mut self, transaction: Transaction, strict: bool, label: Option<String>) {
        self.locked = false;
        self.relaxed.push(Relaxed { label, changes: transaction.redo });
        if strict {
            for relaxed in std::mem::take(&mut self.relaxed) {
                for change in relaxed.changes {
                    self.durable.set(change);
                }
            }
        }
    }

    /// Takes everything back.
    pub fn abort(&mut self, transaction: Transaction) {
        self.locked = false;
        for change in transaction.undo.into_iter().rev() {
            self.tables.set(change);
        }
    }

    /// The machine stops: a running transaction is gone, and so are the last relaxed commits, all but `keep` of them (which is told
    /// how many there are). Returns the labels of the lost ones.
    pub fn crash(&mut self, keep: impl FnOnce(usize) -> usize) -> Vec<String> {
        self.locked = false;
        let kept = keep(self.relaxed.len()).min(self.relaxed.len());
        let lost = self.relaxed.split_off(kept).into_iter().filter_map(|relaxed| relaxed.label).collect();
        for relaxed in std::mem::take(&mut self.relaxed) {
            for change in relaxed.changes {
                self.durable.set(change);
            }
        }
        self.tables = self.durable.clone();
        lost
    }

    /// A copy of what is durable, as a backup of the profile would hold it.
    #[must_use]
    pub fn backup(&self) -> Self {
        let tables = self.durable.clone();
        Self {
            tables: tables.clone(),
            durable: tables,
            relaxed: Vec::new(),
            locked: false,
            unique: self.unique.clone(),
        }
    }

    /// The store takes any values again.
    pub fn drop_unique_index(&mut self, store: &str) {
        self.unique.remove(store);
    }

    /// The hidden stores are emptied, and nothing else.
    pub fn lose_hidden(&mut self) {
        self.crash(|relaxed| relaxed);
        for tables in [&mut self.tables, &mut self.durable] {
            let stores = std::mem::take(&mut tables.stores).into_iter();
            let rows = |(name, store): (String, Store)| (name, Store { rows: store.rows, ..Store::default() });
            *tables = Tables { stores: stores.map(rows).collect(), ..Tables::default() };
        }
    }

    /// The rows of every store are gone, and nothing else.
    pub fn lose_rows(&mut self) {
        self.crash(|relaxed| relaxed);
        for tables in [&mut self.tables, &mut self.durable] {
            tables.stores.values_mut().for_each(|store| store.rows.clear());
        }
    }

    /// Answers a read within a transaction.
    pub fn read(&self, read: &Read) -> ReadResult {
        match read {
            Read::State(name) => ReadResult::State(self.tables.state.get(name).cloned()),
            Read::ShadowPages => ReadResult::ShadowPages(self.tables.shadow.keys().cloned().collect()),
            Read::ShadowPage(page) => ReadResult::ShadowPage(self.tables.shadow.get(page).cloned()),
            Read::Pending => {
                ReadResult::Pending(self.tables.pending.iter().map(|(id, bytes)| (*id, bytes.clone())).collect())
            }
            Read::RejectedCount => ReadResult::RejectedCount(self.tables.rejected.len() as u64),
            Read::Outbox { collection, after } => {
                let records = self.tables.stores.get(collection).map(|store| {
                    store.outbox.range(after.saturating_add(1)..).map(|(_, record)| record.clone()).collect()
                });
                ReadResult::Outbox(records.unwrap_or_default())
            }
            Read::Rows { collection, keys } => {
                ReadResult::Rows(keys.iter().map(|key| self.row(collection, key)).collect())
            }
            Read::Scan { collection, after, limit } => {
                ReadResult::Scan(self.scan(collection, after.as_deref(), *limit as usize))
            }
        }
    }

    /// Carries out a write within a transaction; a row that the store refuses is reported.
    pub fn write(&mut self, transaction: &mut Transaction, write: WriteOp) -> Option<RefusedRow> {
        match write {
            WriteOp::RowPut(id, json) => return self.put_row(transaction, id, Row::Json(json)),
            WriteOp::RowDelete(id) => {
                if let Ok(key) = key::decode(&id.key) {
                    self.change(transaction, Change::Row(id.collection, key, None));
                }
            }
            WriteOp::ShadowPut(page, bytes) => self.change(transaction, Change::Shadow(page, Some(bytes))),
            WriteOp::ShadowDelete(page) => self.change(transaction, Change::Shadow(page, None)),
            WriteOp::OutboxDelete(store, numbers) => {
                for number in numbers {
                    self.change(transaction, Change::Outbox(store.clone(), number, None));
                }
            }
            WriteOp::OutboxAdd(store, record) => self.add_outbox(transaction, &store, record),
            WriteOp::PendingPut(sequence, bytes) => self.change(transaction, Change::Pending(sequence, Some(bytes))),
            WriteOp::PendingDelete(sequence) => self.change(transaction, Change::Pending(sequence, None)),
            WriteOp::StatePut(name, bytes) => self.change(transaction, Change::State(name, Some(bytes))),
            WriteOp::RejectedAdd(mut record) => {
                for document in record.documents.iter_mut().filter(|document| document.copy_row) {
                    if let Row::Json(json) = self.row(&document.id.collection, &document.id.key) {
                        document.mine = Some(json);
                    }
                }
                let id = self.tables.rejected_next + 1;
                self.change(transaction, Change::RejectedNext(id));
                self.change(transaction, Change::Rejected(id, Some(record)));
            }
        }
        None
    }

    /// Stores a row; reports it, and removes the one that was there, when the store does not take it.
    pub fn put_row(&mut self, transaction: &mut Transaction, id: DocumentId, row: Row) -> Option<RefusedRow> {
        let Ok(key) = key::decode(&id.key) else {
            return Some(RefusedRow { reason: "not a key".into(), id });
        };
        if self.violates_unique(&id, &row) {
            self.change(transaction, Change::Row(id.collection.clone(), key, None));
            return Some(RefusedRow { reason: "ConstraintError: a unique index".into(), id });
        }
        self.change(transaction, Change::Row(id.collection, key, Some((id.key, row))));
        None
    }

    /// Appends to an outbox, numbering the record.
    pub fn add_outbox(&mut self, transaction: &mut Transaction, store: &str, record: OutboxRecord) {
        let number = self.tables.store(store).outbox_last + 1;
        self.change(transaction, Change::OutboxLast(store.to_owned(), number));
        let record = OutboxRecord { number, ..record };
        self.change(transaction, Change::Outbox(store.to_owned(), number, Some(record)));
    }

    /// A row by its key in platform form.
    pub fn row(&self, store: &str, key: &str) -> Row {
        let row = key::decode(key).ok().and_then(|key| self.tables.stores.get(store)?.rows.get(&key));
        row.map_or(Row::Absent, |(_, row)| row.clone())
    }

    /// Rows in IndexedDB order after `after`.
    pub fn scan(&self, store: &str, after: Option<&str>, limit: usize) -> Vec<(String, Row)> {
        let Some(store) = self.tables.stores.get(store) else { return Vec::new() };
        let after = after.and_then(|after| key::decode(after).ok());
        let rows = store.rows.iter().filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after));
        rows.take(limit).map(|(_, row)| row.clone()).collect()
    }

    /// Keys of the rows in a range of IndexedDB keys, each bound with whether it is excluded.
    pub fn keys_between(&self, store: &str, lower: Option<(&Key, bool)>, upper: Option<(&Key, bool)>) -> Vec<String> {
        let Some(store) = self.tables.stores.get(store) else { return Vec::new() };
        let above = |key: &Key| lower.is_none_or(|(bound, open)| key > bound || (!open && key == bound));
        let below = |key: &Key| upper.is_none_or(|(bound, open)| key < bound || (!open && key == bound));
        store.rows.iter().filter(|(key, _)| above(key) && below(key)).map(|(_, (form, _))| form.clone()).collect()
    }

    /// The list of rejected mutations.
    pub fn rejected(&self) -> impl Iterator<Item = &RejectedRecord> {
        self.tables.rejected.values()
    }

    /// The shadow pages.
    pub fn shadow(&self) -> impl Iterator<Item = (&PageId, &[u8])> {
        self.tables.shadow.iter().map(|(page, bytes)| (page, bytes.as_slice()))
    }

    /// Number of records in all outboxes, and of mutations without a result.
    pub fn unsent(&self) -> (usize, usize) {
        let replica = self.tables.state.get("replica").map_or(&[][..], Vec::as_slice);
        let pending = unsettled(replica, self.tables.pending.values().map(Vec::as_slice));
        (self.tables.stores.values().map(|store| store.outbox.len()).sum(), pending)
    }

    /// Number of pending records: those with mutations without a result, and those that are kept.
    pub fn pending_records(&self) -> usize {
        self.tables.pending.len()
    }

    fn change(&mut self, transaction: &mut Transaction, change: Change) {
        transaction.redo.push(change.clone());
        transaction.undo.push(self.tables.set(change));
    }

    fn violates_unique(&self, id: &DocumentId, row: &Row) -> bool {
        let Some(member) = self.unique.get(&id.collection) else { return false };
        let Some(value) = member_of(row, member) else { return false };
        let Some(store) = self.tables.stores.get(&id.collection) else { return false };
        store.rows.values().any(|(form, other)| *form != id.key && member_of(other, member).as_ref() == Some(&value))
    }
}

fn member_of(row: &Row, member: &str) -> Option<serde_json::Value> {
    let Row::Json(json) = row else { return None };
    let value: serde_json::Value = serde_json::from_slice(json).ok()?;
    value.get(member).cloned()
}
