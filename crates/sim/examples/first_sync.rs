//! Applies a first snapshot of 100,000 documents of 250 bytes to an empty client, over a storage that keeps nothing but the shadow,
//! and prints how long the core took.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use tidelock_core::client::storage::{PageId, Read, ReadResult, Row, Verdict, WriteOp};
use tidelock_core::client::{Client, Config, Effect, Kept};
use tidelock_core::ids::{ChangelogId, Epoch, Offset, Sequence, SessionId, SubscriptionId, Version};
use tidelock_core::limits::Limits;
use tidelock_core::wire::{Change, ChangeKind, CollectionInfo, Policy, ServerFrame, Snapshot, Welcome, encode, pack};

const DOCUMENTS: u64 = 100_000;
const FRAME_DOCUMENTS: u64 = 1_000;

/// Answers as an empty database would, but for the shadow.
#[derive(Default)]
struct Storage {
    fence: Option<Vec<u8>>,
    shadow: BTreeMap<PageId, Vec<u8>>,
    rows: u64,
}

impl Storage {
    fn read(&self, read: &Read) -> ReadResult {
        match read {
            Read::State("fence") => ReadResult::State(self.fence.clone()),
            Read::State(_) => ReadResult::State(None),
            Read::ShadowPages => ReadResult::ShadowPages(Vec::new()),
            Read::ShadowPage(page) => ReadResult::ShadowPage(self.shadow.get(page).cloned()),
            Read::Pending => ReadResult::Pending(Vec::new()),
            Read::RejectedCount => ReadResult::RejectedCount(0),
            Read::Outbox { .. } => ReadResult::Outbox(Vec::new()),
            Read::Rows { keys, .. } => ReadResult::Rows(vec![Row::Absent; keys.len()]),
            Read::Scan { .. } => ReadResult::Scan(Vec::new()),
        }
    }

    fn write(&mut self, write: WriteOp) {
        match write {
            WriteOp::RowPut(..) => self.rows += 1,
            WriteOp::ShadowPut(page, bytes) => drop(self.shadow.insert(page, bytes)),
            WriteOp::ShadowDelete(page) => drop(self.shadow.remove(&page)),
            WriteOp::StatePut("fence", bytes) => self.fence = Some(bytes),
            WriteOp::RowDelete(_)
            | WriteOp::OutboxDelete(..)
            | WriteOp::OutboxAdd(..)
            | WriteOp::PendingPut(..)
            | WriteOp::PendingDelete(_)
            | WriteOp::StatePut(..)
            | WriteOp::RejectedAdd(_) => {}
        }
    }
}

/// Runs every task; the time spent within the client.
fn run(client: &mut Client, storage: &mut Storage) -> Duration {
    let mut spent = Duration::ZERO;
    while let Some(effect) = client.poll_effect() {
        if effect != Effect::RunTask {
            continue;
        }
        let mut results = Vec::new();
        loop {
            let started = Instant::now();
            let step = client.task_step(results);
            spent += started.elapsed();
            step.writes.into_iter().for_each(|write| storage.write(write));
            results = step.reads.iter().map(|read| storage.read(read)).collect();
            if step.verdict != Verdict::Continue {
                break;
            }
        }
        let started = Instant::now();
        client.handle_task_committed(1_000, Vec::new());
        spent += started.elapsed();
    }
    spent
}

fn frame(first: u64) -> Vec<u8> {
    let key = |number: u64| format!("document-{number:08}");
    let mut changes = Vec::new();
    for number in first..first + FRAME_DOCUMENTS {
        let body = format!(r#"{{"id":{number},"text":"{}"}}"#, "lorem ipsum ".repeat(19)).into_bytes();
        let kind = ChangeKind::Put(Version(number + 1), body);
        changes.push(Change { offset: Offset(1), collection: 0, key: key(number), kind });
    }
    let last = first + FRAME_DOCUMENTS;
    encode(&ServerFrame::Snapshot(Snapshot {
        changelog: ChangelogId(1),
        subscription: SubscriptionId(1),
        offset: Offset(1),
        after: (first > 0).then(|| ("cards".into(), key(first - 1))),
        through: (last < DOCUMENTS).then(|| ("cards".into(), key(last - 1))),
        changes: pack(&changes),
        channels: Vec::new(),
    }))
}

fn main() {
    let config = Config {
        database: "main".into(),
        collections: vec!["cards".into()],
        channels: None,
        resolver: false,
        offline: false,
        kept: Kept::default(),
    };
    let mut storage = Storage::default();
    let mut client = Client::new(config, 1, 1_000);
    run(&mut client, &mut storage);
    client.handle_connected(1_000, "token");
    let welcome = ServerFrame::Welcome(Welcome {
        protocol: 1,
        session: SessionId(1),
        epoch: Epoch(1),
        changelog: ChangelogId(1),
        finished: Sequence(0),
        history: None,
        limits: Limits::default(),
        collections: vec![CollectionInfo { number: 0, name: "cards".into(), policy: Policy::default() }],
        subject: "ann".into(),
        now_ms: 0,
        floor: Offset(0),
    });
    client.handle_message(1_000, &encode(&welcome));
    run(&mut client, &mut storage);
    let frames: Vec<Vec<u8>> = (0..DOCUMENTS / FRAME_DOCUMENTS).map(|number| frame(number * FRAME_DOCUMENTS)).collect();
    let (mut decoding, mut applying) = (Duration::ZERO, Duration::ZERO);
    for frame in frames {
        let started = Instant::now();
        client.handle_message(1_000, &frame);
        decoding += started.elapsed();
        applying += run(&mut client, &mut storage);
    }
    let pages = storage.shadow.len();
    let line = format!("{} rows, {pages} pages: decode {decoding:?}, apply {applying:?}\n", storage.rows);
    // A reader that went away does not matter.
    drop(std::io::stdout().write_all(line.as_bytes()));
}
