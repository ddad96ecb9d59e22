//! The client: outbox, push, results, apply, rebase, cursor, retry, heartbeat (`docs/protocol.md` sections 3 to 8).
//!
//! # Contract with the host
//!
//! A host (browser worker, native client, simulator) owns the clock, the connection and the storage. It
//!
//! 1. feeds events with the `handle_*` methods, each with `now_ms` (milliseconds since 1970, never going back),
//! 2. after each of them carries out every effect of [`Client::poll_effect`], in order,
//! 3. calls [`Client::handle_timeout`] when [`Client::next_timeout_ms`] is reached,
//! 4. on [`Effect::RunTask`] runs the task in one transaction ([`storage`]), as durable as [`Client::task_durability`] says, and reports it with [`Client::handle_task_committed`] or
//!    [`Client::handle_task_failed`]. There is one task at a time; other events may come between its steps.
//!
//! Memory follows storage: what a task decides is remembered only when its transaction has committed. A host that dies at any point
//! and starts over with [`Client::new`] continues from what is stored.
//!
//! # Invariants
//!
//! - A mutation is durable (pending store) before its first byte is sent, and its content never changes under its sequence.
//! - A document of a pending mutation is neither formed into another mutation nor touched by a change until the result is applied.
//! - A row with unsent changes is never overwritten: it is rebased.
//! - Rows, shadow and cursor of one frame change in one transaction.

mod apply;
mod collect;
mod connection;
mod event;
mod load;
mod mend;
mod outbox;
mod reconcile;
mod resolve;
mod restore;
mod settle;
mod shadow;
mod state;
pub mod storage;
mod task;
mod work;

use alloc::collections::VecDeque;

use crate::ids::{ChangelogId, DocumentId, History, Offset, Sequence};
use crate::limits::Limits;
use crate::ordered::OrderedMap;
use crate::prelude::*;
use crate::wire::{CollectionInfo, ConflictNote, Mutation, Policy, PushResult};

pub use event::{Effect, Event, Phase, Standing, Status};
pub use shadow::shadow_documents;
pub use state::unsettled;

use apply::Inbound;
use connection::Connection;
use mend::Retry;
use outbox::Mirror;
use reconcile::Reconcile;
use restore::Restore;
use shadow::Directory;
use state::{Position, Replica, Unresolved};
use storage::{Durability, ReadResult, RefusedRow, Step, StorageFailure};
use task::Task;

/// First delay after a storage failure; it doubles up to [`STORAGE_RETRY_MS_MAX`].
const STORAGE_RETRY_MS: u64 = 500;
/// Longest delay between attempts after storage failures.
const STORAGE_RETRY_MS_MAX: u64 = 10_000;

/// What a client is set up with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Name of the server's database.
    pub database: String,
    /// The collections to sync.
    pub collections: Vec<String>,
    /// Channels wanted at first; `None` for all that the identity may read.
    pub channels: Option<Vec<String>>,
    /// Whether the application has a resolver; without one a document under policy `resolver` stays listed as unresolved.
    pub resolver: bool,
    /// Whether to stay offline until told otherwise.
    pub offline: bool,
    /// How much of what was acknowledged is kept, for a server that is set back.
    pub kept: Kept,
}

/// Limits of the acknowledged mutations that a client keeps; what exceeds one of them is forgotten, the oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// How long at least, in milliseconds since the result; up to an eighth longer.
    pub ms: u64,
    /// Bytes of their records.
    pub bytes: usize,
}

impl Default for Kept {
    /// 7 days, 4 MiB.
    fn default() -> Self {
        Self { ms: 7 * 24 * 3_600_000, bytes: 4 << 20 }
    }
}

/// A client replica. See the module's documentation for the contract.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, any combination of which may hold")]
pub struct Client {
    config: Config,
    random: Random,
    limits: Limits,
    policies: OrderedMap<String, Policy>,
    collections: Vec<CollectionInfo>,
    connection: Connection,

    replica: Replica,
    position: Position,
    fence: u64,
    loaded: bool,
    stopped: bool,
    directory: Directory,
    mirror: Mirror,
    pending: OrderedMap<Sequence, Pending>,
    /// Records of acknowledged mutations, the oldest first: their key, their last mutation, their bytes.
    kept: VecDeque<(Sequence, Sequence, usize)>,
    unresolved: OrderedMap<DocumentId, Unresolved>,
    /// The last question to the resolver for each document, in this life of the client.
    asked: OrderedMap<DocumentId, u64>,
    /// Counts questions to the resolver.
    rounds: u64,
    rejected: u64,
    conflicts: u64,

    /// Frames that wait to be applied, in order.
    inbound: VecDeque<Inbound>,
    /// Results that wait to be applied, in order.
    results: VecDeque<PushResult>,
    /// The last result received on the present connection.
    answered: Sequence,
    /// Answers of the application's resolver that wait to be applied.
    resolved: VecDeque<(DocumentId, Option<Vec<u8>>)>,
    /// Offsets of results that may be at or ahead of the changes still to come.
    settled: OrderedMap<DocumentId, Offset>,
    /// Whether the application may have written since the outboxes were read.
    captured: bool,
    /// Whether the last attempt to form mutations found nothing that could go.
    idle: bool,
    /// How often mutations were formed while the first frame waited.
    deferrals: u32,
    caught_up: bool,
    /// The changelog of the present connection.
    changelog: ChangelogId,
    /// The history of the present connection's store.
    history: Option<History>,
    /// What a server that was set back gets again before anything else.
    restore: Option<Restore>,
    /// The way from what the client has to a cursor of the present connection.
    reconcile: Option<Reconcile>,
    /// Numbers reconciliations.
    reconciliations: u64,
    /// Whether the server has finished mutations that this client does not know of: its storage was rolled back.
    rolled_back: bool,
    /// Rows that the application's stores refused, with their words.
    quarantine: OrderedMap<DocumentId, String>,
    /// Unsent changes in rows that were refused when the server's state came in, to be put on the list of rejected mutations.
    refused_edits: Vec<(DocumentId, Option<Vec<u8>>)>,
    /// What is to be done about them.
    retry: Retry,
    /// Stores that the load found empty although documents of them are confirmed.
    emptied: Vec<String>,
    /// How far the rows of adopted stores were compared, by outbox record.
    adopted: OrderedMap<(String, u64), String>,
    /// Counts connections and their ends, so that what belongs to an earlier one is recognised.
    connections: u64,
    last_synced_at_ms: Option<u64>,

    task: Option<Task>,
    storage_failures: u32,
    storage_retry_at_ms: Option<u64>,
    reported: Option<Status>,
    effects: VecDeque<Effect>,
    now_ms: u64,
}

/// A mutation that is durable and has no durable result.
#[derive(Clone, Debug)]
struct Pending {
    mutation: Mutation,
    /// Key of the pending record that holds it.
    record: Sequence,
    /// Size of that record.
    bytes: usize,
    /// Whether it was sent on the present connection.
    sent: bool,
}

impl Client {
    /// A client that has read nothing; its first effect is the task that loads its state. `seed` is to be drawn at random.
    pub fn new(config: Config, seed: u64, now_ms: u64) -> Self {
        let connection = Connection::new(config.offline);
        let mut client = Self {
            config,
            random: Random(seed),
            limits: Limits::default(),
            policies: OrderedMap::new(),
            collections: Vec::new(),
            connection,
            replica: Replica::default(),
            position: Position::default(),
            fence: 0,
            loaded: false,
            stopped: false,
            directory: Directory::default(),
            mirror: Mirror::default(),
            pending: OrderedMap::new(),
            kept: VecDeque::new(),
            unresolved: OrderedMap::new(),
            asked: OrderedMap::new(),
            rounds: 0,
            rejected: 0,
            conflicts: 0,
            inbound: VecDeque::new(),
            results: VecDeque::new(),
            answered: Sequence(0),
            resolved: VecDeque::new(),
            settled: OrderedMap::new(),
            captured: true,
            idle: false,
            deferrals: 0,
            caught_up: false,
            changelog: ChangelogId(0),
            history: None,
            restore: None,
            reconcile: None,
            reconciliations: 0,
            rolled_back: false,
            quarantine: OrderedMap::new(),
            refused_edits: Vec::new(),
            retry: Retry::No,
            emptied: Vec::new(),
            adopted: OrderedMap::new(),
            connections: 0,
            last_synced_at_ms: None,
            task: None,
            storage_failures: 0,
            storage_retry_at_ms: None,
            reported: None,
            effects: VecDeque::new(),
            now_ms,
        };
        client.advance(now_ms);
        client
    }

    /// The next effect to carry out.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called, milliseconds since 1970.
    pub fn next_timeout_ms(&self) -> Option<u64> {
        let may_connect = self.loaded && !self.stopped;
        [self.connection.next_timeout_ms(may_connect), self.storage_retry_at_ms].into_iter().flatten().min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        if self.storage_retry_at_ms.is_some_and(|at| at <= now_ms) {
            self.storage_retry_at_ms = None;
        }
        self.connection_timeout(now_ms);
        self.advance(now_ms);
    }

    /// The application committed writes to synced stores.
    pub fn handle_captured(&mut self, now_ms: u64) {
        self.captured = true;
        self.advance(now_ms);
    }

    /// The host took an entry off the list of rejected mutations: the user discarded it, or wants it tried again.
    pub fn handle_rejected_removed(&mut self, now_ms: u64) {
        self.rejected = self.rejected.saturating_sub(1);
        self.captured = true;
        self.advance(now_ms);
    }

    /// How durable the current task's transaction has to be; asked before it begins.
    pub fn task_durability(&self) -> Durability {
        let restoring = self.position.restoring.is_some();
        self.task.as_ref().map_or(Durability::Strict, |task| task.durability(restoring))
    }

    /// The first or next step of the current task: `results` answers the reads of the step before, in order.
    pub fn task_step(&mut self, results: Vec<ReadResult>) -> Step {
        let Some(mut task) = self.task.take() else {
            return Step { verdict: storage::Verdict::Abort, ..Step::default() };
        };
        let step = task.step(self, results);
        self.task = Some(task);
        step
    }

    /// The current task's transaction is durable. `refused` names the rows that the application's stores did not take.
    pub fn handle_task_committed(&mut self, now_ms: u64, refused: Vec<RefusedRow>) {
        self.storage_failures = 0;
        let (mut rebased, mut retried) = (OrderedMap::new(), false);
        if let Some(mut task) = self.task.take() {
            (rebased, retried) = (task.rebased(), task.is_mend());
            task.committed(self);
        }
        self.refuse(refused, rebased, retried);
        self.advance(now_ms);
    }

    /// The current task's transaction did not commit; nothing of it is stored.
    pub fn handle_task_failed(&mut self, now_ms: u64, failure: StorageFailure, message: &str) {
        if let Some(task) = self.task.take() {
            if task.fenced() {
                self.stop(Event::Fenced);
                return self.advance(now_ms);
            }
            task.failed(self);
        }
        self.storage_failures = self.storage_failures.saturating_add(1);
        let delay = STORAGE_RETRY_MS << self.storage_failures.min(7).saturating_sub(1);
        self.storage_retry_at_ms = Some(now_ms.saturating_add(delay.min(STORAGE_RETRY_MS_MAX)));
        let code = match failure {
            StorageFailure::Quota => "storage-full",
            StorageFailure::Closed => "storage-closed",
            StorageFailure::Other => "storage-failed",
        };
        if failure == StorageFailure::Closed {
            self.effects.push_back(Effect::ReopenStorage);
        }
        self.event(Event::Problem { code, message: message.into(), retryable: true });
        self.advance(now_ms);
    }

    /// The resolver's answer to [`Event::Resolve`]: `value` is the outcome as JSON text, `None` to delete the document. An answer to a
    /// question that was asked again since (the server's side changed) is dropped.
    pub fn resolve(&mut self, now_ms: u64, id: DocumentId, round: u64, value: Option<Vec<u8>>) {
        if self.asked.get(&id) == Some(&round) {
            self.resolved.push_back((id, value));
        }
        self.advance(now_ms);
    }

    /// Where the client stands.
    pub fn status(&self) -> Status {
        let oldest_pending = self.pending.values().map(|pending| pending.mutation.edited_ms).min();
        Status {
            phase: self.phase(),
            pending: self.mirror.transactions().saturating_add(self.pending.len() as u64),
            oldest_pending_at_ms: [oldest_pending, self.mirror.oldest_ms()].into_iter().flatten().min(),
            rejected: self.rejected,
            conflicts: self.conflicts,
            quarantined: self.quarantine.len() as u64,
            last_synced_at_ms: self.last_synced_at_ms,
            error: self.connection.error.clone(),
        }
    }

    /// How far the client is.
    pub fn standing(&self) -> Standing {
        let cursor = self.position.cursor.as_ref().filter(|cursor| cursor.snapshot.is_none());
        Standing {
            client: self.replica.client,
            incarnation: self.replica.incarnation,
            settled: self.replica.settled,
            offset: cursor.map(|cursor| cursor.offset),
        }
    }

    /// Whether everything that the application wrote is confirmed by the server, as far as the client knows.
    pub fn is_synced(&self) -> bool {
        // A task may be reading what was written.
        self.loaded
            && self.task.is_none()
            && !self.captured
            && self.mirror.is_empty()
            && self.pending.is_empty()
            && self.position.restoring.is_none()
            && self.caught_up
            && self.inbound.is_empty()
    }

    /// Whether the storage failed and is not tried again yet.
    pub fn storage_waits(&self) -> bool {
        self.storage_retry_at_ms.is_some()
    }

    fn phase(&self) -> Phase {
        if self.stopped {
            return Phase::Stopped;
        }
        if !self.loaded {
            return Phase::Starting;
        }
        self.connection.phase(self.caught_up && self.inbound.is_empty())
    }

    /// Does what has become possible. Every handler ends here.
    fn advance(&mut self, now_ms: u64) {
        self.now_ms = now_ms.max(self.now_ms);
        if self.loaded && !self.stopped {
            self.connect_if_due();
            self.push_pending();
        }
        if self.task.is_none() && self.storage_retry_at_ms.is_none() && !self.stopped {
            self.task = self.next_task();
            if self.task.is_some() {
                self.effects.push_back(Effect::RunTask);
            }
        }
        if self.is_synced() {
            self.last_synced_at_ms = Some(self.now_ms);
        }
        self.report_status();
    }

    fn report_status(&mut self) {
        let status = self.status();
        let same = self.reported.as_ref().is_some_and(|reported| {
            Status { last_synced_at_ms: None, ..reported.clone() }
                == Status { last_synced_at_ms: None, ..status.clone() }
        });
        if !same {
            self.reported = Some(status.clone());
            self.event(Event::Status(status));
        }
    }

    fn stop(&mut self, event: Event) {
        self.stopped = true;
        if self.connection.close() {
            self.effects.push_back(Effect::Disconnect);
        }
        self.event(event);
    }

    fn event(&mut self, event: Event) {
        self.effects.push_back(Effect::Event(event));
    }

    fn note_conflicts(&mut self, notes: Vec<ConflictNote>) {
        if !notes.is_empty() {
            self.conflicts = self.conflicts.saturating_add(notes.len() as u64);
            self.event(Event::Conflicts(notes));
        }
    }

    /// Documents of mutations without a result.
    fn pending_ids(&self) -> impl Iterator<Item = &DocumentId> {
        self.pending.values().flat_map(|pending| pending.mutation.changes.iter().map(|change| &change.id))
    }

    fn policy(&self, collection: &str) -> Policy {
        self.policies.get(collection).cloned().unwrap_or_default()
    }
}

/// `SplitMix64` (Steele, Lea, Flood 2014): ids and jitter from the host's seed.
#[derive(Clone, Copy, Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
