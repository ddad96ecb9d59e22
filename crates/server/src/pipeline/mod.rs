//! The way of a mutation: validate, merge into the current documents, rules, schema, channels, one conditional commit.
//!
//! The mutations of one session are prepared as a group against one read, each on top of those before it, and their commits are
//! handed to the store together, in order: the store's group commit makes them durable at once. When one meets a changed document,
//! the store refuses those after it as out of order, and the rest of the group is prepared again.

mod prepare;
mod repeated;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use tidelock_core::ids::{DocumentId, Offset, SessionId};
use tidelock_core::planted::{self, Bug};
use tidelock_core::server::{Filter, Processed, Refusal, Submission};
use tidelock_core::wire::{ErrorCode, Operation, PushResult};
use tidelock_store::{BoxFuture, CommitOutcome, StoreError};

use crate::auth::Identity;
use crate::clock::Clock;
use crate::database::{Database, store_refusal};
use crate::metrics::add;
use prepare::Answerable;
pub(crate) use prepare::{Prepared, View, prepare};

/// Failed attempts of one mutation after which it waits for its turn among the contended ones.
const ATTEMPTS_FREE: u32 = 2;
/// Attempts after which a mutation is handed back as retryable.
const ATTEMPTS_MAX: u32 = 64;

/// Who pushes.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) identity: Arc<Identity>,
    /// What the identity may read, when this was asked.
    pub(crate) filter: Arc<Filter>,
    pub(crate) session: SessionId,
    pub(crate) clock: Clock,
}

/// Carries out the mutations of one session in order. The answers are as many as the submissions, or end with an error.
pub(crate) async fn process(
    database: &Database,
    caller: &Caller,
    submissions: Vec<Submission>,
) -> Vec<Result<Processed, Refusal>> {
    let mut waiting: VecDeque<Submission> = submissions.into();
    let mut answers = Vec::with_capacity(waiting.len());
    let mut attempts = 0;
    while !waiting.is_empty() {
        // Contended mutations take turns, so that none starves; the lock is fair.
        let _turn = if attempts >= ATTEMPTS_FREE { Some(database.turns.lock().await) } else { None };
        let before = answers.len();
        if let Err(refusal) = round(database, caller, &mut waiting, &mut answers).await {
            answers.push(Err(refusal));
            break;
        }
        attempts = if answers.len() > before { 0 } else { attempts + 1 };
        if attempts > ATTEMPTS_MAX {
            let message = "the documents change too often; push again";
            answers.push(Err(Refusal::new(ErrorCode::Unavailable, message)));
            break;
        }
    }
    for processed in answers.iter().flatten() {
        database.metrics.count_outcome(&processed.result.outcome);
    }
    answers
}

/// Reads, prepares and commits everything that waits; what met a changed document stays in the queue.
async fn round(
    database: &Database,
    caller: &Caller,
    waiting: &mut VecDeque<Submission>,
    answers: &mut Vec<Result<Processed, Refusal>>,
) -> Result<(), Refusal> {
    let _gate = database.rules_gate.read().await;
    let mut view =
        read(database, waiting.iter().flat_map(|one| &one.mutation.changes).map(|change| &change.id)).await?;
    remember(database, waiting, &mut view).await?;
    let prepared: Vec<Prepared> =
        waiting.iter().map(|submission| prepare(database, caller, submission, &mut view)).collect();
    let started = Instant::now();
    let (commits, prepared): (Vec<_>, Vec<_>) = prepared.into_iter().map(|one| (one.commit, one.answer)).unzip();
    let outcomes = in_order(commits.into_iter().map(|commit| database.store.commit(commit)).collect()).await;
    database.metrics.observe_commit(started.elapsed());
    for (one, outcome) in prepared.into_iter().zip(outcomes) {
        let Some(submission) = waiting.front() else { return Ok(()) };
        if planted::has(Bug::AckWithoutCommit) && outcome.is_err() {
            answers.push(Ok(one.committed(database.changelog.head())));
            waiting.pop_front();
            continue;
        }
        let processed = match outcome.map_err(|error| store_refusal(&error))? {
            CommitOutcome::Committed(offset) => one.committed(offset),
            CommitOutcome::Repeated(recorded) => repeated::answer(database, submission, recorded).await?,
            CommitOutcome::Mismatch(_) => {
                add(&database.metrics.commit_retries, 1);
                return Ok(());
            }
            CommitOutcome::OutOfOrder(finished) => {
                let message = format!("mutation {} is not the next one after {finished}", submission.mutation.sequence);
                return Err(Refusal::new(ErrorCode::OutOfOrder, message));
            }
        };
        answers.push(Ok(processed));
        waiting.pop_front();
    }
    Ok(())
}

/// The current state of documents.
pub(crate) async fn read(database: &Database, ids: impl Iterator<Item = &DocumentId>) -> Result<View, Refusal> {
    let mut ids: Vec<DocumentId> = ids.cloned().collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return Ok(View::new(database.changelog.head(), std::iter::empty()));
    }
    let set = database.store.read(&ids).await.map_err(|error| store_refusal(&error))?;
    Ok(View::new(set.offset, ids.into_iter().zip(set.documents)))
}

/// What the store remembers of the documents that clients bring back to a store that was set back.
async fn remember(database: &Database, waiting: &VecDeque<Submission>, view: &mut View) -> Result<(), Refusal> {
    let brings = |one: &Submission| one.again || one.brings_back;
    let brought = waiting.iter().flat_map(|one| one.mutation.changes.iter().map(move |change| (brings(one), change)));
    let ids: Vec<DocumentId> = brought
        .filter(|(brings, change)| *brings || matches!(change.operation, Operation::Offer(_)))
        .map(|(_, change)| change.id.clone())
        .collect();
    if !ids.is_empty() {
        let traces = database.store.traces(&ids).await.map_err(|error| store_refusal(&error))?;
        view.remember(ids.into_iter().zip(traces));
    }
    Ok(())
}

/// Waits for all; each is polled for the first time in order, so that a store sees the commits in order.
async fn in_order(
    mut futures: Vec<BoxFuture<'_, Result<CommitOutcome, StoreError>>>,
) -> Vec<Result<CommitOutcome, StoreError>> {
    let mut outcomes: Vec<Option<Result<CommitOutcome, StoreError>>> = futures.iter().map(|_| None).collect();
    poll_fn(|context| {
        let mut ready = true;
        for (future, outcome) in futures.iter_mut().zip(&mut outcomes) {
            if outcome.is_none() {
                match future.as_mut().poll(context) {
                    Poll::Ready(value) => *outcome = Some(value),
                    Poll::Pending => ready = false,
                }
            }
        }
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outcomes.into_iter().flatten().collect()
}

impl Answerable {
    fn committed(self, offset: Offset) -> Processed {
        // What was refused was not part of the commit: its documents may have changed since they were read.
        let offset = if self.committed { offset } else { self.read_offset };
        let result = PushResult { sequence: self.sequence, offset, outcome: self.outcome };
        Processed { result, placed: self.placed, noted: self.noted }
    }
}
