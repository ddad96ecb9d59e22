//! The session against a model changelog, on a virtual clock.

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
            brings_back: false,
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
            }],
            more,
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
                Effect::LoadSymbols { ticket, filter, count } => {
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

#[test]
fn nothing_before_the_hello() {
    let mut host = Host::new(SessionConfig::default());
    host.push(1, false, "a");
    assert_eq!(host.log(), ["error protocol"]);
    assert_eq!(host.closed, Some(ErrorCode::Protocol));
    assert_eq!(host.session.poll_timeout(), None);
}

#[test]
fn a_hello_must_come_in_time() {
    let mut host = Host::new(SessionConfig::default());
    host.tick(4_999);
    assert_eq!(host.closed, None);
    host.tick(1);
    assert_eq!(host.closed, Some(ErrorCode::Unauthenticated));
}

#[test]
fn a_version_from_the_future_is_refused() {
    let mut host = Host::new(SessionConfig::default());
    host.frame(&ClientFrame::Hello(Hello { protocol: 9, protocol_min: 8, ..opening_hello() }));
    assert_eq!(host.log(), ["error unsupported-version"]);
    let mut host = Host::new(SessionConfig::default());
    host.frame(&ClientFrame::Hello(Hello { protocol: 9, protocol_min: 1, ..opening_hello() }));
    assert!(host.opened.is_some(), "a newer client that speaks version 1 too");
}

fn opening_hello() -> Hello {
    let mut host = Host::new(SessionConfig::default());
    host.hello(0);
    host.opened.unwrap()
}

#[test]
fn garbage_is_an_error() {
    for bytes in [&b""[..], b"\xff\xff", b"{}", &encode(&ClientFrame::Ping(Ping { nonce: 1 }))[..2]] {
        let mut host = Host::open(&["cards"]);
        host.log();
        host.session.handle_frame(host.now_ms, bytes);
        host.drain();
        assert_eq!(host.log(), ["error protocol"], "{bytes:?}");
    }
}

#[test]
fn snapshot_then_changes() {
    let mut host = Host::open(&["cards"]);
    for key in ["a", "b", "c"] {
        host.commit(key, Some("1"), &[], SessionId(0));
    }
    host.commit("b", None, &[], SessionId(0));
    host.subscribe(None, &[], None);
    assert_eq!(host.log(), ["welcome ann finished 3", "snapshot @4 ..end [a=1 c=1]", "changes 4..4 last []"]);
    host.commit("a", Some("2"), &[], SessionId(0));
    host.commit("c", Some("3"), &[], MINE);
    host.commit("d", Some("4"), &[], SessionId(0));
    assert_eq!(host.log(), ["changes 4..5 last [a=2]", "changes 5..7 last [d=4]"]);
    assert_eq!(host.loads, 1, "commits are handed on without a read");
}

#[test]
fn a_snapshot_that_shows_later_states_is_followed_by_the_changes() {
    let mut host = Host::open(&["cards"]);
    host.commit("a", Some("1"), &[], SessionId(0));
    host.commit("b", Some("1"), &[], SessionId(0));
    host.commit("c", Some("1"), &[], SessionId(0));
    host.late = Some(vec![("a", "2"), ("d", "2")]);
    host.subscribe(None, &[], None);
    let expected = [
        "welcome ann finished 3",
        "snapshot @3 ..b [a=1 b=1]",
        "snapshot @3 ..end [c=1 d=2]",
        "changes 3..4 last [a=2 d=2]",
    ];
    assert_eq!(host.log(), expected, "the second page shows a mutation that the first does not");
}

#[test]
fn a_floor_that_rises_while_a_page_is_read_starts_the_subscription_over() {
    let mut host = Host::open(&["cards"]);
    for key in ["a", "b", "c", "d"] {
        host.commit(key, Some("1"), &[], SessionId(0));
    }
    host.commit("b", None, &[], SessionId(0));
    host.session.handle_head(host.now_ms, host.head, host.floor);
    host.log();
    // The session was told of no floor; the tombstone is gone when the page is read.
    host.documents.remove(&DocumentId::new("cards", "b"));
    host.floor_unseen = Some(Offset(5));
    host.subscribe(Some(at(2)), &["cards"], None);
    assert_eq!(host.log(), ["restart 1"]);
}

#[test]
fn a_snapshot_confirms_what_the_client_has() {
    let mut host = Host::open(&["cards"]);
    host.commit("a", Some("1"), &[], SessionId(0));
    host.commit("b", Some("2"), &[], SessionId(0));
    let have = item_hash(LOG, "cards", "b", of_body(b"2").unwrap()).to_be_bytes().to_vec();
    host.log();
    host.frame(&ClientFrame::Subscribe(Subscribe {
        id: SubscriptionId(1),
        collections: vec!["cards".into()],
        channels: None,
        cursor: None,
        held: Vec::new(),
        have,
        reconcile: None,
    }));
    assert_eq!(host.log(), ["snapshot @2 ..end [a=1 same:b]", "changes 2..2 last []"]);
}

#[test]
fn an_interrupted_snapshot_goes_on() {
    let mut host = Host::open(&["cards"]);
    for key in ["a", "b", "c"] {
        host.commit(key, Some("1"), &[], SessionId(0));
    }
    host.session = Host::open(&["cards"]).session;
    let snapshot = Some(("cards".to_owned(), "b".to_owned()));
    host.session.handle_head(host.now_ms, host.head, host.floor);
    host.log();
    host.subscribe(Some(Cursor { changelog: LOG, offset: Offset(2), snapshot }), &["cards"], None);
    assert_eq!(host.log(), ["snapshot @2 ..end [c=1]", "changes 2..3 last [c=1]"]);
}

#[test]
fn resume_from_a_cursor() {
    let mut host = Host::open(&["cards"]);
    for key in ["a", "b", "c", "d", "e"] {
        host.commit(key, Some("1"), &[], SessionId(0));
    }
    host.session.handle_head(host.now_ms, host.head, host.floor);
    host.log();
    host.subscribe(Some(at(2)), &["cards"], None);
    assert_eq!(host.log(), ["changes 2..4 [c=1 d=1]", "changes 4..5 last [e=1]"]);
    // Below the floor, of another changelog, or from the future: the client has to say what it has.
    host.floor = Offset(3);
    host.session.handle_head(host.now_ms, host.head, host.floor);
    let foreign = Cursor { changelog: ChangelogId(1), offset: Offset(4), snapshot: None };
    for cursor in [at(2), at(77), foreign] {
        host.log();
        host.subscribe(Some(cursor.clone()), &["cards"], None);
        assert_eq!(host.log(), ["restart 1"], "{cursor:?}");
    }
}

#[test]
fn channels_are_enforced() {
    let mut host = Host::open(&["cards/x"]);
    host.subscribe(None, &[], Some(&["x", "y"]));
    host.log();
    host.commit("a", Some("1"), &["x"], SessionId(0));
    host.commit("b", Some("1"), &["y"], SessionId(0));
    host.commit("a", Some("2"), &["y"], SessionId(0));
    host.commit("a", Some("3"), &["y"], SessionId(0));
    host.commit("a", None, &["y"], SessionId(0));
    assert_eq!(
        host.log(),
        [
            "changes 0..1 last [a=1]",
            "changes 1..3 last [leave:a]",
            "changes 3..4 last [leave:a]",
            "changes 4..5 last [-a]"
        ]
    );
}

#[test]
fn lost_channels_are_purged_and_gained_ones_sent() {
    let mut host = Host::open(&["cards/x", "cards/y"]);
    host.commit("a", Some("1"), &["x"], SessionId(0));
    host.commit("b", Some("1"), &["x", "y"], SessionId(0));
    host.commit("c", Some("1"), &["z"], SessionId(0));
    host.subscribe(None, &[], None);
    host.log();
    host.session.handle_grant(host.now_ms, Ok(grant(&["cards/y", "cards/z"])));
    host.drain();
    assert_eq!(
        host.log(),
        [
            "purge [a] holds cards/x cards/y /cards/z",
            "purge [] holds cards/y /cards/z",
            "changes 3..3 [c=1]",
            "purge [] holds cards/y cards/z",
            "changes 3..3 last []",
        ]
    );
    host.commit("a", Some("2"), &["x"], SessionId(0));
    assert!(host.log().is_empty());
}

/// A client that was sent a part of what it gained says so in its next session: all of it is sent, or what it got is purged.
#[test]
fn what_was_gained_in_part_is_sent_whole_or_purged() {
    let mut host = Host::open(&["cards/x", "cards/z"]);
    for (key, channel) in [("a", "x"), ("b", "z"), ("c", "z")] {
        host.commit(key, Some("1"), &[channel], SessionId(0));
    }
    let cursor = || Some(Cursor { changelog: LOG, offset: Offset(3), snapshot: None });
    let held = ["cards/x", "/cards/z"];
    host.subscribe(None, &[], None);
    host.log();
    host.subscribe(cursor(), &held, None);
    assert_eq!(
        host.log(),
        [
            "purge [] holds cards/x /cards/z",
            "changes 3..3 [b=1 c=1]",
            "purge [] holds cards/x cards/z",
            "changes 3..3 last []"
        ]
    );
    host.subscribe(cursor(), &held, Some(&["x"]));
    assert_eq!(host.log(), ["purge [b c] holds cards/x cards/z", "purge [] holds cards/x", "changes 3..3 last []"]);
    // Where it may not be told their names, it begins anew.
    let mut host = Host::open(&["cards/x"]);
    host.commit("a", Some("1"), &["x"], SessionId(0));
    host.subscribe(Some(Cursor { changelog: LOG, offset: Offset(0), snapshot: None }), &held, None);
    assert_eq!(host.log().last().map(String::as_str), Some("restart 1"));
}

#[test]
fn unsubscribing_purges() {
    let mut host = Host::open(&["cards/x", "cards/y"]);
    host.commit("a", Some("1"), &["x"], SessionId(0));
    host.commit("b", Some("1"), &["x", "y"], SessionId(0));
    host.subscribe(None, &[], Some(&["x"]));
    host.frame(&ClientFrame::Subscribe(Subscribe {
        id: SubscriptionId(2),
        collections: vec!["cards".into()],
        channels: Some(vec!["y".into()]),
        cursor: None,
        held: Vec::new(),
        have: Vec::new(),
        reconcile: None,
    }));
    host.log();
    host.frame(&ClientFrame::Unsubscribe(Unsubscribe { id: SubscriptionId(1) }));
    assert_eq!(host.log(), ["purge [a] holds cards/x", "purge [] holds "]);
    host.commit("a", Some("2"), &["x"], SessionId(0));
    assert!(host.log().is_empty());
}

#[test]
fn a_claimed_channel_tells_no_keys() {
    let mut host = Host::open(&["cards/x"]);
    host.commit("secret", Some("1"), &["y"], SessionId(0));
    host.commit("a", Some("1"), &["x"], SessionId(0));
    host.session.handle_head(host.now_ms, host.head, host.floor);
    host.log();
    host.subscribe(Some(at(2)), &["cards/x", "cards/y"], None);
    assert_eq!(host.log(), ["restart 1"]);
}

#[test]
fn changes_wait_for_credit() {
    let mut host = Host::new(SessionConfig::default());
    host.hello(60);
    host.welcome(grant(&["cards"]));
    host.subscribe(None, &[], None);
    host.commit("a", Some("1"), &[], SessionId(0));
    host.commit("b", Some("1"), &[], SessionId(0));
    host.commit("a", Some("2"), &[], SessionId(0));
    let before = host.log();
    assert!(before.len() < 5, "{before:?}");
    host.frame(&ClientFrame::Credit(Credit { bytes: 1_000 }));
    let after = host.log();
    assert!(after.last().unwrap().contains("last"), "{after:?}");
    assert!(after.iter().any(|one| one.contains("a=2")), "{after:?}");
    host.tick(10_000);
    assert_eq!(host.closed, None, "nothing is left to send");
}

#[test]
fn what_was_delivered_and_what_is_behind_is_counted() {
    let mut host = Host::new(SessionConfig::default());
    host.hello(1);
    host.welcome(grant(&["cards"]));
    host.commit("a", Some("1"), &[], SessionId(0));
    host.commit("b", Some("1"), &[], SessionId(0));
    assert_eq!((host.session.take_delivered(), host.session.lag()), (0, 0));
    host.subscribe(None, &[], None);
    assert_eq!((host.session.take_delivered(), host.session.lag()), (2, 0), "a snapshot");
    for body in ["2", "3", "4"] {
        host.commit("a", Some(body), &[], SessionId(0));
    }
    assert_eq!((host.session.take_delivered(), host.session.lag()), (0, 3), "there is no credit");
    host.frame(&ClientFrame::Credit(Credit { bytes: 1 << 20 }));
    assert_eq!((host.session.take_delivered(), host.session.lag()), (1, 0), "only the last of three is told");
    host.commit("b", Some("2"), &[], SessionId(0));
    host.commit("c", Some("2"), &[], MINE);
    assert_eq!((host.session.take_delivered(), host.session.lag()), (1, 0), "a session is not sent its own");
}

#[test]
fn a_slow_consumer_is_closed() {
    let mut host = Host::new(SessionConfig::default());
    host.hello(0);
    host.welcome(grant(&["cards"]));
    host.subscribe(None, &[], None);
    host.log();
    host.tick(9_999);
    assert_eq!(host.closed, None);
    assert_eq!(host.session.poll_timeout(), Some(host.now_ms + 1));
    host.tick(1);
    assert_eq!(host.log(), ["error slow-consumer"]);
}

#[test]
fn sequences_are_strict() {
    let mut host = Host::open(&["cards"]);
    host.log();
    host.push(3, false, "repeats the last finished one");
    host.push(4, false, "a");
    assert_eq!(host.submissions.len(), 2);
    host.push(4, false, "again");
    assert_eq!(host.log(), ["error out-of-order"]);

    for wrong in [0, 5] {
        let mut host = Host::open(&["cards"]);
        host.log();
        host.push(wrong, false, "a");
        assert_eq!(host.log(), ["error out-of-order"]);
    }
}

#[test]
fn the_window_is_enforced() {
    let limits = Limits { push_window_mutations_max: 2, ..Limits::default() };
    let mut host = Host::new(SessionConfig { limits, ..SessionConfig::default() });
    host.hello(0);
    host.welcome(grant(&["cards"]));
    host.log();
    host.push(4, false, "a");
    host.push(5, false, "b");
    host.push(6, false, "c");
    assert_eq!(host.log(), ["error protocol"]);
}

#[test]
fn parts_make_one_mutation() {
    let mut host = Host::open(&["cards"]);
    host.push(4, true, "a");
    host.push(4, true, "b");
    host.push(4, false, "c");
    let keys: Vec<&str> =
        host.submissions.iter().flat_map(|one| &one.mutation.changes).map(|one| &*one.id.key).collect();
    assert_eq!((host.submissions.len(), keys), (1, vec!["a", "b", "c"]));
    host.log();
    host.push(5, true, "a");
    host.push(6, false, "b");
    assert_eq!(host.log(), ["error out-of-order"]);
}

#[test]
fn a_mutation_beyond_the_limits_is_refused_alone() {
    let limits = Limits { mutation_documents_max: 2, ..Limits::default() };
    let mut host = Host::new(SessionConfig { limits, ..SessionConfig::default() });
    host.hello(0);
    host.welcome(grant(&["cards"]));
    for _ in 0..4 {
        host.push(4, true, "a");
    }
    host.push(4, false, "a");
    host.push(5, false, "b");
    let refused: Vec<Option<ErrorCode>> =
        host.submissions.iter().map(|one| one.refused.as_ref().map(|(code, _)| *code)).collect();
    assert_eq!(refused, [Some(ErrorCode::TooLarge), None]);
    assert!(host.submissions[0].mutation.changes.is_empty());
}

fn state(key: &str) -> DocumentState {
    DocumentState { id: DocumentId::new("cards", key), version: Version(5), body: Some(b"5".to_vec()) }
}

/// Lets the host answer the earliest mutation; `placed` are its documents with their channels.
fn answer(host: &mut Host, sequence: u64, outcome: Outcome, placed: &[(&str, &str)]) -> Outcome {
    let result = PushResult { sequence: Sequence(sequence), offset: Offset(1), outcome };
    processed(host, result, placed, &[])
}

/// `noted` are the documents of conflict notes with their former channels.
fn processed(host: &mut Host, result: PushResult, placed: &[(&str, &str)], noted: &[(&str, &str)]) -> Outcome {
    let place = |(key, channel): &(&str, &str)| (DocumentId::new("cards", *key), labels(&[channel]));
    let (placed, noted) = (placed.iter().map(place).collect(), noted.iter().map(place).collect());
    host.session.handle_processed(host.now_ms, Ok(Processed { result, placed, noted }));
    host.drain();
    let Some(ServerFrame::Result(result)) = host.sent.pop() else { panic!("a result") };
    assert!(host.sent.is_empty(), "{:?}", host.log());
    result.outcome
}

fn note(key: &str) -> ConflictNote {
    let (id, path, strategy) = (DocumentId::new("cards", key), Vec::new(), "last-write".to_owned());
    ConflictNote { id, path, strategy, base: None, mine: None, theirs: Some(b"1".to_vec()), outcome: None }
}

#[test]
fn a_result_withholds_what_no_subscription_covers() {
    let mut host = Host::open(&["cards/x"]);
    host.subscribe(None, &[], None);
    for sequence in 4..9 {
        host.push(sequence, false, "a");
    }
    host.log();
    let withheld = || DocumentState::withheld(DocumentId::new("cards", "a"));
    let placed = [("a", "other"), ("b", "x")];
    let accepted = answer(&mut host, 4, Outcome::Accepted, &placed);
    assert_eq!(accepted, Outcome::Merged(vec![withheld()], Vec::new()));
    let merged = answer(&mut host, 5, Outcome::Merged(vec![state("a"), state("b")], Vec::new()), &placed);
    assert_eq!(merged, Outcome::Merged(vec![state("b"), withheld()], Vec::new()));
    let no = |states| Outcome::Rejected(ErrorCode::Conflict, "no".into(), states);
    assert_eq!(answer(&mut host, 6, no(vec![state("a"), state("b")]), &placed), no(vec![withheld(), state("b")]));
    let Outcome::Rejected(ErrorCode::Conflict, _, states) =
        answer(&mut host, 7, Outcome::Resolve(vec![state("a")]), &placed)
    else {
        panic!("nobody resolves what they do not see")
    };
    assert_eq!(states, [withheld()]);
    let resolve = Outcome::Resolve(vec![state("b")]);
    assert_eq!(answer(&mut host, 8, resolve.clone(), &placed), resolve);
    assert!(host.session.is_idle());
}

#[test]
fn a_result_tells_what_may_be_read_when_it_is_sent() {
    // A mutation of three documents is prepared while channel x may be read, and answered while y may be.
    let outcome = || Outcome::Merged(["a", "b", "c"].map(state).to_vec(), ["a", "b", "c"].map(note).to_vec());
    let placed = [("a", "y"), ("b", "x"), ("c", "y")];
    let noted = [("a", "y"), ("b", "x"), ("c", "x")];
    let result = |sequence| PushResult { sequence: Sequence(sequence), offset: Offset(1), outcome: outcome() };
    let mut host = Host::open(&["cards/x"]);
    host.subscribe(None, &[], None);
    host.push(4, false, "a");
    host.session.handle_access(host.now_ms, grant(&["cards/y"]).filter);
    host.drain();
    host.log();
    let told = processed(&mut host, result(4), &placed, &noted);
    let withheld = DocumentState::withheld(DocumentId::new("cards", "b"));
    // What `c` was before may not be read: a note holds it.
    assert_eq!(told, Outcome::Merged(vec![state("a"), state("c"), withheld], vec![note("a")]));
    // A session that subscribed to nothing keeps its documents and is told nothing of what it may not read.
    let mut host = Host::open(&["cards/y"]);
    host.push(4, false, "a");
    host.log();
    let told = processed(&mut host, result(4), &placed, &noted);
    let absent = DocumentState { version: Version::ABSENT, body: None, ..state("b") };
    assert_eq!(told, Outcome::Merged(vec![state("a"), absent, state("c")], vec![note("a")]));
}

#[test]
fn a_gain_whose_page_is_older_than_a_mutation_leaves_it_to_the_result() {
    let mut host = Host::open(&["cards/x"]);
    host.commit("b", Some("1"), &["y"], SessionId(0));
    host.subscribe(None, &[], None);
    host.push(4, false, "a");
    host.log();
    host.session.handle_access(host.now_ms, grant(&["cards/x", "cards/y"]).filter);
    host.drain();
    let gained = [
        "purge [] holds cards/x /cards/y",
        "changes 1..1 [b=1]",
        "purge [] holds cards/x cards/y",
        "changes 1..1 last []",
    ];
    assert_eq!(host.log(), gained, "the document of the mutation is not among them");
    // It was merged into channel y, and is among the changes of nobody's but this session.
    host.commit("a", Some("5"), &["y"], MINE);
    let merged = Outcome::Merged(vec![state("a")], Vec::new());
    assert_eq!(answer(&mut host, 4, merged.clone(), &[("a", "y")]), merged);
}

#[test]
fn a_session_that_only_writes_keeps_its_documents() {
    let mut host = Host::open(&["cards/x"]);
    host.push(4, false, "a");
    host.log();
    assert_eq!(answer(&mut host, 4, Outcome::Accepted, &[("a", "other")]), Outcome::Accepted);
}

#[test]
fn no_data_after_the_token_expires() {
    let mut host = Host::new(SessionConfig::default());
    host.hello(1 << 20);
    let expires_ms = Some(host.now_ms + 100);
    host.welcome(Grant { expires_ms, ..grant(&["cards"]) });
    host.subscribe(None, &[], None);
    host.log();
    assert_eq!(host.session.poll_timeout(), expires_ms);
    host.now_ms += 100;
    host.commit("a", Some("1"), &[], SessionId(0));
    assert_eq!(host.log(), ["error unauthenticated"]);
}

#[test]
fn a_fresh_token_extends_the_session() {
    let mut host = Host::new(SessionConfig::default());
    host.hello(1 << 20);
    host.welcome(Grant { expires_ms: Some(host.now_ms + 100), ..grant(&["cards"]) });
    host.subscribe(None, &[], None);
    host.session.handle_grant(host.now_ms, Ok(grant(&["cards"])));
    host.log();
    host.now_ms += 100;
    host.commit("a", Some("1"), &[], SessionId(0));
    assert_eq!(host.log(), ["changes 0..1 last [a=1]"]);
    let stranger = Grant { subject: "bob".into(), ..grant(&["cards"]) };
    host.session.handle_grant(host.now_ms, Ok(stranger));
    host.drain();
    assert_eq!(host.closed, Some(ErrorCode::Forbidden));
}

#[test]
fn silence_ends_the_session() {
    let mut host = Host::open(&["cards"]);
    host.tick(44_000);
    host.frame(&ClientFrame::Ping(Ping { nonce: 5 }));
    assert!(host.log().contains(&"pong 5".to_owned()));
    host.tick(44_999);
    assert_eq!(host.closed, None);
    host.tick(1);
    assert_eq!(host.closed, Some(ErrorCode::SessionEnded));
}

#[test]
fn a_ping_moves_the_cursor_over_what_was_left_out() {
    let mut host = Host::open(&["cards"]);
    host.subscribe(None, &[], None);
    host.commit("a", Some("1"), &[], MINE);
    host.log();
    host.frame(&ClientFrame::Ping(Ping { nonce: 1 }));
    assert_eq!(host.log(), ["pong 1", "changes 0..1 last []"]);
}

#[test]
fn frames_beyond_the_rate_are_not_read() {
    let mut host = Host::new(SessionConfig { frames_per_second_max: 2, ..SessionConfig::default() });
    host.hello(0);
    host.welcome(grant(&["cards"]));
    let mut read = 0;
    while host.session.wants_input() {
        host.frame(&ClientFrame::Ping(Ping { nonce: 1 }));
        read += 1;
        assert!(read < 100, "the budget never ends");
    }
    let due = host.session.poll_timeout().unwrap();
    host.tick(due - host.now_ms);
    assert!(host.session.wants_input());
}

#[test]
fn subscriptions_at_one_place_share_frames() {
    let mut host = Host::open(&["cards/x", "cards/y"]);
    for (id, channel) in [(1, "x"), (2, "y")] {
        host.frame(&ClientFrame::Subscribe(Subscribe {
            id: SubscriptionId(id),
            collections: vec!["cards".into()],
            channels: Some(vec![channel.into()]),
            cursor: Some(at(0)),
            held: vec![format!("cards\0{channel}")],
            have: Vec::new(),
            reconcile: None,
        }));
    }
    host.log();
    host.commit("a", Some("1"), &["x", "y"], SessionId(0));
    host.commit("a", Some("2"), &["y"], SessionId(0));
    assert_eq!(host.log(), ["changes 0..1 last [a=1]", "changes 1..2 last [a=2]"]);
}
