//! The one thread that writes: it groups the commits that wait and makes each group durable with one flush.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, Result, Transaction, TransactionBehavior, params};
use tidelock_core::ids::Offset;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::documents::Documents;
use super::error::translate;
use super::group::{Done, Group, Position, Tails};
use super::symbols::Symbols;
use super::{meta, purge};
use crate::Segment;
use crate::error::StoreError;
use crate::limits::{GROUP_BYTES_MAX, GROUP_MUTATIONS_MAX};
use crate::store::{Commit, CommitOutcome};

/// Where an answer goes; nobody may be waiting for it any more.
type Reply<T> = oneshot::Sender<std::result::Result<T, StoreError>>;

/// What the writer is asked to do.
pub(super) enum Command {
    /// Commit a mutation.
    Commit(Box<Commit>, Reply<CommitOutcome>),
    /// Forget tombstones up to an offset; answers how many went.
    Purge(Offset, Reply<u64>),
    /// Keep a note under a name.
    Remember(String, Vec<u8>, Reply<()>),
    /// Refuse growth of the file beyond this many pages.
    LimitPages(u32, Reply<()>),
    /// Finish what is queued and take nothing more.
    Close,
}

/// What the writer and the callers share.
pub(super) struct Shared {
    /// The latest offset that is durable and readable.
    pub(super) head: AtomicU64,
    /// Raised before the first tombstone goes, so that a reader that checks it after a page never misses one.
    pub(super) floor: AtomicU64,
    /// One segment for each group that wrote.
    pub(super) segments: broadcast::Sender<Arc<Segment>>,
    /// Symbols of the documents.
    pub(super) symbols: Symbols,
    /// What was written lately.
    pub(super) documents: Documents,
}

/// The state of the writing thread.
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) queue: mpsc::Receiver<Command>,
    pub(super) position: Position,
    /// Which mutations were finished lately.
    pub(super) tails: Tails,
    pub(super) shared: Arc<Shared>,
    /// Entries of the conflict log to keep.
    pub(super) conflicts_kept: u64,
    /// Purges under way: one step of the first is taken between two groups.
    pub(super) purges: VecDeque<Purge>,
}

/// A purge under way.
pub(super) struct Purge {
    before: Offset,
    purged: u64,
    reply: Reply<u64>,
}

type Batch = Vec<(Box<Commit>, Reply<CommitOutcome>)>;

impl Writer {
    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self) {
        while let Some(command) = self.next() {
            match command {
                Some(Command::Commit(commit, reply)) => {
                    if let Some(follower) = self.commit_group(commit, reply) {
                        self.handle(follower);
                    }
                }
                Some(command) => self.handle(command),
                None => {}
            }
            self.purge_step();
        }
    }

    /// The next command; `Some(None)` when there is none but a purge is under way, `None` when there will be none.
    #[expect(clippy::option_option, reason = "the outer one ends the loop, the inner one is an idle turn of it")]
    fn next(&mut self) -> Option<Option<Command>> {
        if self.purges.is_empty() {
            return self.queue.blocking_recv().map(Some);
        }
        Some(self.queue.try_recv().ok())
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Commit(commit, reply) => {
                // A group ends at a command of another kind, so this one has no follower.
                self.answer(vec![(commit, reply)]);
            }
            Command::Purge(before, reply) => {
                let before = before.min(self.position.head);
                self.shared.floor.fetch_max(before.0, Ordering::AcqRel);
                self.purges.push_back(Purge { before, purged: 0, reply });
            }
            Command::Remember(name, note, reply) => {
                let _ = reply.send(meta::remember(&self.connection, &name, &note).map_err(translate));
            }
            Command::LimitPages(pages, reply) => {
                let limited = self.connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()));
                let _ = reply.send(limited.map_err(translate));
            }
            Command::Close => self.queue.close(),
        }
    }

    /// Commits a mutation together with those that wait behind it: it never waits for company. Returns the command of another kind
    /// that ended the group.
    fn commit_group(&mut self, commit: Box<Commit>, reply: Reply<CommitOutcome>) -> Option<Command> {
        let mut bytes = commit_bytes(&commit);
        let mut batch = vec![(commit, reply)];
        let mut follower = None;
        while batch.len() < GROUP_MUTATIONS_MAX && bytes < GROUP_BYTES_MAX {
            match self.queue.try_recv() {
                Ok(Command::Commit(commit, reply)) => {
                    bytes += commit_bytes(&commit);
                    batch.push((commit, reply));
                }
                Ok(
                    command @ (Command::Purge(..) | Command::Remember(..) | Command::LimitPages(..) | Command::Close),
                ) => {
                    follower = Some(command);
                    break;
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        self.answer(batch);
        follower
    }

    /// Runs a group; once it is durable it is readable, published and answered, in this order.
    fn answer(&mut self, batch: Batch) {
        match self.transact(&batch) {
            Ok((outcomes, done)) => {
                self.position = done.position;
                self.shared.documents.remember(done.written, self.position.head);
                for (incarnation, tail) in done.tails {
                    self.tails.insert(incarnation, tail, 1);
                }
                self.shared.head.fetch_max(self.position.head.0, Ordering::AcqRel);
                if let Some(segment) = done.segment {
                    let segment = Arc::new(segment);
                    self.shared.symbols.follow(&segment);
                    // Fails when nobody listens.
                    let _ = self.shared.segments.send(segment);
                }
                for ((_, reply), outcome) in batch.into_iter().zip(outcomes) {
                    let _ = reply.send(Ok(outcome));
                }
            }
            Err(error) => {
                self.distrust();
                let error = translate(error);
                for (_, reply) in batch {
                    let _ = reply.send(Err(error.clone()));
                }
            }
        }
    }

    /// After a failure the file is asked, whatever is remembered.
    fn distrust(&mut self) {
        self.shared.documents.clear();
        self.tails.clear();
    }

    /// One transaction; dropping it unfinished rolls it back, and what it comes to is taken over only from a durable one.
    fn transact(&mut self, batch: &Batch) -> Result<(Vec<CommitOutcome>, Done)> {
        let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
        let mut group = Group::new(&transaction, &self.shared.documents, &mut self.tails, self.position)?;
        let mut outcomes = Vec::with_capacity(batch.len());
        for (commit, _) in batch {
            outcomes.push(group.commit(commit)?);
        }
        let done = group.finish();
        if done.position.conflict > self.position.conflict {
            let sql = "DELETE FROM conflicts WHERE number <= ?1";
            let dropped = done.position.conflict.saturating_sub(self.conflicts_kept);
            transaction.prepare_cached(sql)?.execute(params![dropped.cast_signed()])?;
        }
        transaction.commit()?;
        Ok((outcomes, done))
    }

    fn purge_step(&mut self) {
        let Some(mut purge) = self.purges.pop_front() else { return };
        match purge::step(&self.connection, purge.before, self.position.head) {
            Ok(step) => {
                purge.purged += step.purged;
                self.shared.documents.forget(&step.changed);
                if step.more {
                    self.purges.push_front(purge);
                } else {
                    let _ = purge.reply.send(Ok(purge.purged));
                }
            }
            Err(error) => {
                self.distrust();
                let _ = purge.reply.send(Err(translate(error)));
            }
        }
    }
}

fn commit_bytes(commit: &Commit) -> usize {
    commit.writes.iter().filter_map(|write| write.body.as_ref()).map(|body| body.len()).sum()
}
