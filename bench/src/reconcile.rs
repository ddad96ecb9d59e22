//! A client of another changelog finds what differs: the real client and the real session, over a model of the client's storage and
//! the store in memory, without a network. Beside it a tree of ranges (the crate `negentropy`) over the same items.
//!
//! Bytes are those of the messages as hosts send them, deflated from 1 KiB on; times are those of the calls into either side.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use miniz_oxide::deflate::compress_to_vec;
use negentropy::{Id, Negentropy, NegentropyStorageVector};
use serde_json::{Value, json};
use tidelock_core::client::storage::{PageId, Read, ReadResult, Row, Verdict, WriteOp};
use tidelock_core::client::{Client, Config, Effect as ClientEffect, Kept};
use tidelock_core::ids::{ChangelogId, DocumentId, Epoch, Sequence, SessionId, Version};
use tidelock_core::server::{
    ChangeRecord, ChannelSet, DocumentPage, Effect, Filter, Grant, Opening, Session, SessionConfig, Sought,
};
use tidelock_core::version::{ItemHasher, of_body};
use tidelock_core::wire::{ChangeKind, ClientFrame, CollectionInfo, Policy, ServerFrame, decode, unpack_changes};
use tidelock_store::{BoxFuture, Changelog, Commit, CommitOutcome, MemoryStore, Store, StoreError, Trace, Write};

use crate::rows::{COLLECTION, body, key, splitmix};

const NOW_MS: u64 = 1_000;
/// Documents of one mutation.
const FILL: u64 = 1_000;
/// As the gateway deflates messages.
const DEFLATE_BYTES_MIN: usize = 1 << 10;
const DEFLATE_LEVEL: u8 = 3;

pub(crate) fn run() {
    let mut rows = Vec::new();
    let mut server_ms = Vec::new();
    for documents in [10_000, 100_000, 1_000_000] {
        let mut world = World::new(documents);
        let differences: &[u64] = if documents == 1_000_000 { &[100, 0, 10_000] } else { &[100] };
        for changed in differences {
            let figures = world.reconcile(*changed);
            eprintln!("{documents} documents, {changed} changed: {figures:?}");
            if *changed == 100 {
                server_ms.push(figures.server.as_secs_f64() * 1_000.0);
            }
            if documents == 1_000_000 {
                rows.extend(figures.rows(*changed));
                rows.extend(world.negentropy(*changed));
            }
        }
    }
    // The documents that differ are read and sent whatever the set is; a few times as much is noise, a hundred times is the set.
    let growth = server_ms[2] / server_ms[0];
    let row = |name: &str, value: f64, unit: &str| json!({ "name": name, "value": (value * 100.0).round() / 100.0, "unit": unit, "budget": null, "ok": true });
    rows.push(row("server CPU, 100 of 10k changed", server_ms[0], "ms"));
    rows.push(row("server CPU, 100 of 100k changed", server_ms[1], "ms"));
    rows.push(row("server CPU, 100 of 1M changed", server_ms[2], "ms"));
    rows.push(budget("server CPU, 1M / 10k documents", growth, "ratio", 4.0));
    println!("{:#}", Value::Array(rows));
}

fn budget(name: &str, value: f64, unit: &str, most: f64) -> Value {
    json!({
        "name": name, "value": (value * 1_000.0).round() / 1_000.0, "unit": unit,
        "budget": format!("≤ {most}"), "ok": value <= most,
    })
}

/// What a reconciliation took.
#[derive(Debug, Default)]
struct Figures {
    up: usize,
    down: usize,
    /// The documents' bodies, deflated together.
    bodies: usize,
    round_trips: usize,
    client: Duration,
    server: Duration,
}

impl Figures {
    #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    fn rows(&self, changed: u64) -> Vec<Value> {
        let beside = (self.up + self.down).saturating_sub(self.bodies);
        let name = |what: &str| format!("{what}, {changed} of 1M changed");
        let plain = |what: &str, value: f64, unit: &str| json!({ "name": name(what), "value": value.round(), "unit": unit, "budget": null, "ok": true });
        let bytes = if changed == 100 {
            budget(&name("bytes beside the bodies"), beside as f64, "B", 8_192.0)
        } else {
            plain("bytes beside the bodies", beside as f64, "B")
        };
        let (client, cpu) = (name("client CPU"), self.client.as_secs_f64());
        let client = if changed <= 100 {
            budget(&client, cpu, "s", 1.0)
        } else {
            json!({ "name": client, "value": (cpu * 1_000.0).round() / 1_000.0, "unit": "s", "budget": null, "ok": true })
        };
        vec![
            plain("bytes up", self.up as f64, "B"),
            plain("bytes down", self.down as f64, "B"),
            bytes,
            budget(&name("round trips"), self.round_trips as f64, "", if changed > 100 { 3.0 } else { 2.0 }),
            client,
            plain("server CPU", self.server.as_secs_f64() * 1_000.0, "ms"),
        ]
    }
}

/// A client and a server that held the same documents once.
struct World {
    documents: u64,
    store: Arc<MemoryStore>,
    /// Version of each document, and what it was when the client last heard.
    versions: Vec<Version>,
    former: Vec<Version>,
    client: Client,
    storage: Storage,
    changelogs: u64,
    random: u64,
}

impl World {
    fn new(documents: u64) -> Self {
        let config = Config {
            database: "app".into(),
            collections: vec![COLLECTION.into()],
            channels: None,
            resolver: false,
            offline: false,
            kept: Kept::default(),
        };
        let mut world = Self {
            documents,
            store: Arc::new(MemoryStore::new(Epoch(1), ChangelogId(1))),
            versions: vec![Version::ABSENT; usize::try_from(documents).unwrap()],
            former: Vec::new(),
            client: Client::new(config, 1, NOW_MS),
            storage: Storage::default(),
            changelogs: 1,
            random: 42,
        };
        for first in (0..documents).step_by(1_000) {
            world.write(&(first..(first + FILL).min(documents)).collect::<Vec<_>>(), 0);
        }
        world.connect();
        world
    }

    fn write(&mut self, numbers: &[u64], revision: u64) {
        let writes = numbers.iter().map(|number| {
            let text = body(*number, revision);
            let version = of_body(text.as_bytes()).unwrap();
            let expected = std::mem::replace(&mut self.versions[usize::try_from(*number).unwrap()], version);
            Write {
                id: DocumentId::new(COLLECTION, key(*number)),
                expected,
                change: None,
                body: Some(text.as_bytes().into()),
                version,
                channels: Vec::new(),
                edited_ms: 0,
                trace: Trace::None,
            }
        });
        let commit = Commit::new(writes.collect(), 0);
        assert!(matches!(ready(self.store.commit(commit)), CommitOutcome::Committed(_)));
    }

    /// Changes documents while the client is away, and brings it to another node.
    fn reconcile(&mut self, changed: u64) -> Figures {
        self.client.handle_disconnected(NOW_MS, "gone");
        self.former.clone_from(&self.versions);
        self.changelogs += 1;
        let mut numbers = std::collections::BTreeSet::new();
        while (numbers.len() as u64) < changed {
            numbers.insert(splitmix(&mut self.random) % self.documents);
        }
        for some in numbers.into_iter().collect::<Vec<_>>().chunks(100) {
            self.write(some, self.changelogs);
        }
        // A node keeps its symbols from its first request on.
        self.store.symbols_of(self.changelog(), &everything(), 1);
        self.client.handle_network_hint(NOW_MS);
        self.connect()
    }

    /// Identity of the node's changelog.
    fn changelog(&self) -> ChangelogId {
        ChangelogId(self.changelogs)
    }

    /// Carries everything between both sides until the client has all.
    fn connect(&mut self) -> Figures {
        let mut figures = Figures::default();
        let mut session = Session::new(NOW_MS, Arc::new(SessionConfig::default()));
        let mut bodies = Vec::new();
        while !self.client.is_synced() {
            let mut idle = true;
            while let Some(effect) = self.client.poll_effect() {
                idle = false;
                match effect {
                    ClientEffect::Connect => self.client.handle_connected(NOW_MS, "token"),
                    ClientEffect::Send(frame) => {
                        figures.up += coded(&frame);
                        figures.round_trips += usize::from(asks(&frame));
                        let begun = Instant::now();
                        session.handle_frame(NOW_MS, &frame);
                        figures.server += begun.elapsed();
                    }
                    ClientEffect::RunTask => figures.client += self.storage.run(&mut self.client),
                    ClientEffect::Event(_) | ClientEffect::Disconnect | ClientEffect::ReopenStorage => {}
                }
            }
            while let Some(effect) = session.poll_effect() {
                idle = false;
                match effect {
                    Effect::Send(frame) => {
                        figures.down += coded(&frame.frame);
                        bodies.extend(bodies_of(&frame.frame));
                        let begun = Instant::now();
                        self.client.handle_message(NOW_MS, &frame.frame);
                        figures.client += begun.elapsed();
                    }
                    other => {
                        let begun = Instant::now();
                        self.answer(&mut session, other);
                        figures.server += begun.elapsed();
                    }
                }
            }
            assert!(!idle, "both sides wait");
        }
        figures.bodies = coded(&bodies);
        figures
    }

    fn answer(&self, session: &mut Session, effect: Effect) {
        let store = &*self.store;
        match effect {
            Effect::Open(_) => session.handle_opening(
                NOW_MS,
                Ok(Opening {
                    session: SessionId(7),
                    epoch: Epoch(1),
                    changelog: self.changelog(),
                    head: store.head(),
                    floor: store.floor(),
                    brings_back: false,
                    history: None,
                    finished: Sequence(0),
                    grant: Grant { subject: "ann".into(), expires_ms: None, filter: Arc::new(everything()) },
                    collections: vec![CollectionInfo { number: 0, name: COLLECTION.into(), policy: Policy::default() }],
                }),
            ),
            Effect::Watch(_) => session.handle_head(NOW_MS, store.head(), store.floor()),
            Effect::LoadSnapshot { ticket, after, filter, bytes_max, .. } => {
                session.handle_snapshot(NOW_MS, ticket, Ok(ready(store.snapshot(after.as_ref(), &filter, bytes_max))));
            }
            Effect::LoadChanges { ticket, from, filter, bytes_max } => {
                session.handle_changes(NOW_MS, ticket, Ok(ready(store.changes(from, &filter, bytes_max))));
            }
            Effect::LoadSymbols { ticket, filter, count, .. } => {
                session.handle_symbols(NOW_MS, ticket, Ok(store.symbols_of(self.changelog(), &filter, count)));
            }
            Effect::LoadDocuments { ticket, sought } => {
                session.handle_documents(NOW_MS, ticket, Ok(self.sought(sought)));
            }
            other => panic!("the session asks for {other:?}"),
        }
    }

    fn sought(&self, sought: Sought) -> DocumentPage {
        let ids = match sought {
            Sought::Items(items) => self.store.items_of(self.changelog(), &items),
            Sought::Named(ids) => ids,
        };
        let set = ready(self.store.read(&ids));
        let records = ids.into_iter().zip(set.documents).map(|(id, document)| ChangeRecord {
            offset: set.offset,
            id,
            version: document.as_ref().map_or(Version::ABSENT, |found| found.version),
            body: document.map(|found| found.body),
            channels: Vec::new(),
            left: Vec::new(),
            session: SessionId(0),
        });
        DocumentPage { records: records.collect() }
    }

    /// The same sets by a tree of ranges: bytes of the messages alone, without names and documents.
    fn negentropy(&self, changed: u64) -> Vec<Value> {
        let hasher = ItemHasher::new(self.changelog());
        let side = |versions: &[Version]| {
            let mut storage = NegentropyStorageVector::with_capacity(versions.len());
            for (number, version) in (0..).zip(versions) {
                let mut id = [0; 32];
                id[..8].copy_from_slice(&hasher.hash(COLLECTION, &key(number), *version).to_be_bytes());
                storage.insert(0, Id::from_byte_array(id)).unwrap();
            }
            storage.seal().unwrap();
            storage
        };
        let begun = Instant::now();
        let ours = side(&self.former);
        let listing = begun.elapsed();
        let theirs = side(&self.versions);
        let (mut client, mut server) = (Duration::ZERO, Duration::ZERO);
        let timed = |side: &mut Duration, begun: Instant| *side += begun.elapsed();
        let begun = Instant::now();
        let mut near = Negentropy::borrowed(&ours, 0).unwrap();
        let mut message = Some(near.initiate().unwrap());
        timed(&mut client, begun);
        let mut far = Negentropy::borrowed(&theirs, 0).unwrap();
        let (mut have, mut need) = (Vec::new(), Vec::new());
        let (mut bytes, mut rounds) = (0, 0);
        while let Some(query) = message.take() {
            rounds += 1;
            let begun = Instant::now();
            let answer = far.reconcile(&query).unwrap();
            timed(&mut server, begun);
            bytes += query.len() + answer.len();
            let begun = Instant::now();
            message = near.reconcile_with_ids(&answer, &mut have, &mut need).unwrap();
            timed(&mut client, begun);
        }
        assert_eq!((have.len() as u64, need.len() as u64), (changed, changed));
        let row = |what: &str, value: Value, unit: &str| {
            let name = format!("negentropy {what}, {changed} of 1M changed");
            json!({ "name": name, "value": value, "unit": unit, "budget": null, "ok": true })
        };
        let ms = |duration: Duration| json!((duration.as_secs_f64() * 1_000.0).round());
        vec![
            row("bytes", json!(bytes), "B"),
            row("rounds", json!(rounds), ""),
            row("client CPU", ms(listing + client), "ms"),
            row("server CPU (tree kept)", ms(server), "ms"),
        ]
    }
}

/// The client's storage, as far as a client without writes needs it.
#[derive(Default)]
struct Storage {
    states: BTreeMap<&'static str, Vec<u8>>,
    pages: BTreeMap<PageId, Vec<u8>>,
}

impl Storage {
    /// Runs the task that is due; how long the client's own steps took.
    fn run(&mut self, client: &mut Client) -> Duration {
        let mut spent = Duration::ZERO;
        let mut results = Vec::new();
        loop {
            let begun = Instant::now();
            let step = client.task_step(std::mem::take(&mut results));
            spent += begun.elapsed();
            step.writes.into_iter().for_each(|write| self.write(write));
            if step.verdict == Verdict::Commit {
                break;
            }
            results = step.reads.iter().map(|read| self.read(read)).collect();
        }
        let begun = Instant::now();
        client.handle_task_committed(NOW_MS, Vec::new());
        spent + begun.elapsed()
    }

    fn write(&mut self, write: WriteOp) {
        match write {
            WriteOp::ShadowPut(page, bytes) => drop(self.pages.insert(page, bytes)),
            WriteOp::ShadowDelete(page) => drop(self.pages.remove(&page)),
            WriteOp::StatePut(name, bytes) => drop(self.states.insert(name, bytes)),
            _ => {}
        }
    }

    fn read(&self, read: &Read) -> ReadResult {
        match read {
            Read::State(name) => ReadResult::State(self.states.get(name).cloned()),
            Read::ShadowPages => ReadResult::ShadowPages(self.pages.keys().cloned().collect()),
            Read::ShadowPage(page) => ReadResult::ShadowPage(self.pages.get(page).cloned()),
            Read::Pending => ReadResult::Pending(Vec::new()),
            Read::RejectedCount => ReadResult::RejectedCount(0),
            Read::Outbox { .. } => ReadResult::Outbox(Vec::new()),
            Read::Rows { keys, .. } => ReadResult::Rows(vec![Row::Absent; keys.len()]),
            Read::Scan { .. } => ReadResult::Scan(Vec::new()),
        }
    }
}

fn everything() -> Filter {
    Filter { collections: BTreeMap::from([(COLLECTION.to_owned(), ChannelSet::All)]) }
}

/// A future of the memory store is ready when it is first polled.
fn ready<T>(future: BoxFuture<'_, Result<T, StoreError>>) -> T {
    future.now_or_never().unwrap().unwrap()
}

/// Whether the client waits for the answer to this frame.
fn asks(frame: &[u8]) -> bool {
    let frame = decode::<ClientFrame>(frame).unwrap();
    matches!(frame, ClientFrame::Subscribe(_) | ClientFrame::MoreSymbols(_))
        || matches!(frame, ClientFrame::Difference(difference) if !difference.more)
}

/// Bodies of the documents that differ.
fn bodies_of(frame: &[u8]) -> Vec<u8> {
    let Ok(ServerFrame::Reconciled(reconciled)) = decode::<ServerFrame>(frame) else { return Vec::new() };
    let changes = unpack_changes(&reconciled.changes).unwrap();
    changes
        .into_iter()
        .flat_map(|change| if let ChangeKind::Put(_, body) = change.kind { body } else { Vec::new() })
        .collect()
}

/// Bytes of a message on the wire.
fn coded(frame: &[u8]) -> usize {
    let plain = frame.len() + 1;
    if frame.len() < DEFLATE_BYTES_MIN { plain } else { plain.min(compress_to_vec(frame, DEFLATE_LEVEL).len() + 1) }
}
