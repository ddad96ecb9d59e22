//! The session against a model changelog, on a virtual clock.

mod delivery;
mod life;
mod pushes;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::ids::{
    ChangelogId, ClientId, DocumentId, Epoch, Incarnation, Offset, Sequence, SessionId, SubscriptionId, Version,
};
use crate::limits::Limits;
use crate::reconcile::{Checker, SYMBOL_BYTES, Sketch};
use crate::version::{item_hash, of_body};
use crate::wire::{
    ChangeKind, ClientFrame, CollectionInfo, Columns, ConflictNote, Credit, Cursor, DocumentChange, DocumentState,
    ErrorCode, Hello, Operation, Outcome, Ping, Policy, Push, PushResult, ServerFrame, Subscribe, Unsubscribe, decode,
    encode, unpack_changes,
};

pub(super) const MINE: SessionId = SessionId(7);
pub(super) const LOG: ChangelogId = ChangelogId(99);

/// A session with a host that answers from a model.
pub(super) struct Host {
    pub(super) now_ms: u64,
    pub(super) session: Session,
    pub(super) documents: BTreeMap<DocumentId, ChangeRecord>,
    pub(super) head: Offset,
    pub(super) floor: Offset,
    page_records_max: usize,
    watched: Arc<Filter>,
    pub(super) sent: Vec<ServerFrame>,
    submissions: Vec<Submission>,
    /// Documents that one mutation changes after the next snapshot page is read, without a word to the session.
    late: Option<Vec<(&'static str, &'static str)>>,
    /// A floor that only pages tell.
    floor_unseen: Option<Offset>,
    opened: Option<Hello>,
    pub(super) closed: Option<ErrorCode>,
    loads: usize,
    /// Of each snapshot page, whether the changelog was to catch up before.
    pub(super) catch_ups: Vec<bool>,
    /// What the client says that it knows.
    pub(super) epoch: Option<Epoch>,
}

fn labels(labels: &[&str]) -> Vec<String> {
    labels.iter().map(|label| label.replace('/', "\0")).collect()
}

pub(super) fn grant(allowed: &[&str]) -> Grant {
    let filter = Arc::new(Filter::from_labels(&labels(allowed)));
    Grant { subject: "ann".into(), expires_ms: None, filter }
}

impl Host {
    fn new(config: SessionConfig) -> Self {
        Host {
            now_ms: 1_000_000,
            session: Session::new(1_000_000, Arc::new(config)),
            documents: BTreeMap::new(),
            head: Offset(0),
            floor: Offset(0),
            page_records_max: 2,
            watched: Arc::default(),
            sent: Vec::new(),
            submissions: Vec::new(),
            late: None,
            floor_unseen: None,
            opened: None,
            closed: None,
            loads: 0,
            catch_ups: Vec::new(),
            epoch: None,
        }
    }

    pub(super) fn open(allowed: &[&str]) -> Self {
        Self::open_knowing(None, allowed)
    }

    pub(super) fn open_knowing(epoch: Option<Epoch>, allowed: &[&str]) -> Self {
        let mut host = Host::new(SessionConfig::default());
        host.epoch = epoch;
        host.hello(1 << 20);
        host.welcome(grant(allowed));
        host
    }

    fn hello(&mut self, credit_bytes: u32) {
        self.frame(&ClientFrame::Hello(Hello {
            protocol: 1,
            protocol_min: 1,
            database: "board".into(),
            token: "secret".into(),
            client: ClientId([1; 16]),
            incarnation: Incarnation(1),
            acknowledged: Sequence(0),
            epoch: self.epoch,
            credit_bytes,
            collections: vec!["cards".into(), "lists".into()],
            history: None,
            restoring: None,
        }));
    }

    fn welcome(&mut self, grant: Grant) {
        let info = |number, name: &str| CollectionInfo { number, name: name.into(), policy: Policy::default() };
        let opening = Opening {
            session: MINE,
            epoch: Epoch(1),
            changelog: LOG,
            head: self.head,
            floor: self.floor,
            finished: Sequence(3),
            history: None,
            brings_back: self.epoch.is_some_and(|epoch| epoch != Epoch(1)),
            grant,
            collections: vec![info(0, "cards"), info(1, "lists")],
        };
        self.session.handle_opening(self.now_ms, Ok(opening));
        self.drain();
    }

    pub(super) fn frame(&mut self, frame: &ClientFrame) {
        self.session.handle_frame(self.now_ms, &encode(frame));
        self.drain();
    }

    fn subscribe(&mut self, cursor: Option<Cursor>, held: &[&str], channels: Option<&[&str]>) {
        self.frame(&ClientFrame::Subscribe(Subscribe {
            id: SubscriptionId(1),
            collections: vec!["cards".into(), "lists".into()],
            channels: channels.map(labels),
            cursor,
            held: labels(held),
            have: Vec::new(),
            reconcile: None,
        }));
    }

    fn push(&mut self, sequence: u64, more: bool, key: &str) {
        self.frame(&ClientFrame::Push(Push {
            sequence: Sequence(sequence),
            acknowledged: Sequence(0),
            edited_ms: 5,
            changes: vec![DocumentChange {
                id: DocumentId::new("cards", key),
                base: Version::ABSENT,
                operation: Operation::Put(b"1".to_vec()),
                whole: None,
            }],
            more,
            before: None,
        }));
    }

    /// Commits one document; tells the session when it watches it.
    pub(super) fn commit(&mut self, key: &str, body: Option<&str>, channels: &[&str], session: SessionId) {
        let before = self.head;
        self.head = Offset(before.0 + 1);
        let id = DocumentId::new("cards", key);
        let channels: Vec<String> = channels.iter().map(|channel| (*channel).to_owned()).collect();
        let mut left = Vec::new();
        if let Some(old) = self.documents.get(&id) {
            left.extend(old.left.iter().chain(&old.channels).filter(|one| !channels.contains(one)).cloned());
        }
        let record = ChangeRecord {
            offset: self.head,
            id: id.clone(),
            version: body.map_or(Version::ABSENT, |body| of_body(body.as_bytes()).unwrap()),
            body: body.map(|body| body.as_bytes().into()),
            channels,
            left,
            session,
        };
        let seen = self.watched.matches("cards", &record.channels) || self.watched.matches("cards", &record.left);
        self.documents.insert(id, record.clone());
        if seen {
            let batch = Batch::new(before, self.head, vec![Arc::new(record)]);
            self.session.handle_batch(self.now_ms, before, &batch);
            self.drain();
        }
    }

    fn tick(&mut self, ms: u64) {
        self.now_ms += ms;
        self.session.handle_tick(self.now_ms);
        self.drain();
    }

    pub(super) fn drain(&mut self) {
        while let Some(effect) = self.session.poll_effect() {
            assert!(self.closed.is_none(), "an effect after the close");
            match effect {
                Effect::Send(bytes) => self.sent.push(decode(&bytes.frame).unwrap()),
                Effect::Open(hello) => self.opened = Some(*hello),
                Effect::Authenticate(_) => {}
                Effect::Process(submission) => self.submissions.push(*submission),
                Effect::LoadChanges { ticket, from, filter, .. } => {
                    let page = self.changes(from, &filter);
                    self.loads += 1;
                    self.session.handle_changes(self.now_ms, ticket, Ok(page));
                }
                Effect::LoadSnapshot { ticket, after, filter, catches_up, .. } => {
                    self.catch_ups.push(catches_up);
                    let page = self.snapshot(after.as_ref(), &filter);
                    self.loads += 1;
                    self.change_late();
                    self.session.handle_snapshot(self.now_ms, ticket, Ok(page));
                }
                Effect::LoadSymbols { ticket, filter, count, catches_up } => {
                    self.catch_ups.push(catches_up);
                    let page = self.symbols(&filter, count);
                    self.session.handle_symbols(self.now_ms, ticket, Ok(page));
                }
                Effect::LoadDocuments { ticket, sought } => {
                    let page = self.sought(&sought);
                    self.session.handle_documents(self.now_ms, ticket, Ok(page));
                }
                Effect::Watch(filter) => {
                    self.watched = filter;
                    self.session.handle_head(self.now_ms, self.head, self.floor);
                }
                Effect::Close { code, .. } => self.closed = Some(code),
            }
        }
    }

    fn change_late(&mut self) {
        let Some(documents) = self.late.take() else { return };
        self.head = Offset(self.head.0 + 1);
        for (key, body) in documents {
            let id = DocumentId::new("cards", key);
            let record = ChangeRecord {
                offset: self.head,
                id: id.clone(),
                version: of_body(body.as_bytes()).unwrap(),
                body: Some(body.as_bytes().into()),
                channels: Vec::new(),
                left: Vec::new(),
                session: SessionId(0),
            };
            self.documents.insert(id, record);
        }
    }

    fn changes(&self, from: Offset, filter: &Filter) -> ChangePage {
        let sees = |record: &ChangeRecord| {
            filter.matches(&record.id.collection, &record.channels)
                || filter.matches(&record.id.collection, &record.left)
        };
        let mut records: Vec<ChangeRecord> =
            self.documents.values().filter(|record| record.offset > from && sees(record)).cloned().collect();
        records.sort_by_key(|record| record.offset);
        let last = records.len() <= self.page_records_max;
        records.truncate(self.page_records_max);
        let to = if last { self.head } else { records.last().unwrap().offset };
        ChangePage { records, to, last, floor: self.floor_unseen.unwrap_or(self.floor) }
    }

    fn snapshot(&self, after: Option<&DocumentId>, filter: &Filter) -> SnapshotPage {
        let live = self.documents.values().filter(|record| record.body.is_some());
        let mut records: Vec<ChangeRecord> = live
            .filter(|record| after.is_none_or(|after| record.id > *after))
            .filter(|record| filter.matches(&record.id.collection, &record.channels))
            .cloned()
            .collect();
        let more = records.len() > self.page_records_max;
        records.truncate(self.page_records_max);
        let through = records.last().filter(|_| more).map(|record| record.id.clone());
        SnapshotPage { records, through, offset: self.head, floor: self.floor_unseen.unwrap_or(self.floor) }
    }

    fn seen(&self, filter: &Filter) -> impl Iterator<Item = &ChangeRecord> {
        let live = self.documents.values().filter(|record| record.body.is_some());
        live.filter(move |record| filter.matches(&record.id.collection, &record.channels))
    }

    fn symbols(&self, filter: &Filter, count: u32) -> SymbolPage {
        let mut sketch = Sketch::new(Checker::new(LOG), count);
        self.seen(filter).for_each(|record| sketch.add(item_of(record)));
        let documents = self.seen(filter).count() as u64;
        SymbolPage { offset: self.head, documents, symbols: sketch.symbols().to_vec() }
    }

    fn sought(&self, sought: &Sought) -> DocumentPage {
        let absent = |id: &DocumentId| ChangeRecord {
            offset: self.head,
            id: id.clone(),
            version: Version::ABSENT,
            body: None,
            channels: Vec::new(),
            left: Vec::new(),
            session: SessionId(0),
        };
        let records = match sought {
            Sought::Items(items) => {
                self.documents.values().filter(|record| items.contains(&item_of(record))).cloned().collect()
            }
            Sought::Named(ids) => {
                ids.iter().map(|id| self.documents.get(id).cloned().unwrap_or_else(|| absent(id))).collect()
            }
        };
        DocumentPage { records }
    }

    /// What was sent since the last call, in short.
    pub(super) fn log(&mut self) -> Vec<String> {
        self.sent.drain(..).map(describe).collect()
    }
}

pub(super) fn item_of(record: &ChangeRecord) -> u64 {
    item_hash(LOG, &record.id.collection, &record.id.key, record.version)
}

fn describe(frame: ServerFrame) -> String {
    match frame {
        ServerFrame::Welcome(welcome) => format!("welcome {} finished {}", welcome.subject, welcome.finished),
        ServerFrame::Result(result) => format!("result {}", result.sequence),
        ServerFrame::Changes(changes) => {
            let last = if changes.last { " last" } else { "" };
            format!("changes {}..{}{last} {}", changes.from, changes.to, items(&changes.changes))
        }
        ServerFrame::Snapshot(snapshot) => {
            let through = snapshot.through.map_or("end".to_owned(), |(_, key)| key);
            format!("snapshot @{} ..{through} {}", snapshot.offset, items(&snapshot.changes))
        }
        ServerFrame::Purge(purge) => {
            let keys: Vec<String> = purge.documents.into_iter().flat_map(|(_, keys)| keys).collect();
            format!("purge [{}] holds {}", keys.join(" "), purge.channels.join(" ").replace('\0', "/"))
        }
        ServerFrame::Pong(pong) => format!("pong {}", pong.nonce),
        ServerFrame::Error(error) => format!("error {}", error.code.name()),
        ServerFrame::Restart(restart) => format!("restart {}", restart.subscription),
        ServerFrame::Symbols(symbols) => {
            let count = symbols.symbols.len() / SYMBOL_BYTES;
            format!("symbols @{} of {}: {}+{count}", symbols.offset, symbols.documents, symbols.first)
        }
        ServerFrame::Reconciled(reconciled) => {
            let last = if reconciled.last { " last" } else { "" };
            format!("reconciled @{}{last} {}", reconciled.offset, items(&reconciled.changes))
        }
    }
}

fn items(columns: &Columns) -> String {
    let names = unpack_changes(columns).unwrap().into_iter().map(|change| match change.kind {
        ChangeKind::Put(_, body) => format!("{}={}", change.key, String::from_utf8(body).unwrap()),
        ChangeKind::Delete => format!("-{}", change.key),
        ChangeKind::Leave => format!("leave:{}", change.key),
        ChangeKind::Same(_) => format!("same:{}", change.key),
    });
    format!("[{}]", names.collect::<Vec<_>>().join(" "))
}

fn at(offset: u64) -> Cursor {
    Cursor { changelog: LOG, offset: Offset(offset), snapshot: None }
}
