//! The commit of a mutation.
//!
//! 1. The client's turn: its mutations run in the order in which they came.
//! 2. The documents are locked and read. Then the client's record is read: what it has not passed cannot have been pruned from the
//!    documents' metas before, so whether the mutation was carried out is decided by the record and the metas together.
//! 3. The documents are written in one step where the platform can, by an intent otherwise ([`intent`](super::intent)).
//! 4. Their states go to the journal, the outcome to the client's record, and only then is the commit acknowledged.
//!
//! A node that stops anywhere leaves documents that have seen the mutation, or that have not: it is repeated and finished, or made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidelock_core::ids::{ClientId, DocumentId, Incarnation, MutationId, Offset, Sequence, Version};
use tidelock_core::planted::{self, Bug};
use tidelock_core::wire::Outcome;

use super::ClusterStore;
use super::clients::{Turn, client_id, client_row};
use super::conflicts::conflict_ids;
use super::limits::{ATTEMPTS_MAX, CLOCKS_APART_MS_MAX, COMMIT_MS_MAX, SEEN_KEPT_MAX, TOGETHER_DOCUMENTS_MAX};
use super::meta::{Group, IntentName, Kept, Meta, Seen, Sight};
use super::take::{Content, State, Taken};
use crate::error::StoreError;
use crate::platform::{Platform, PlatformError, PutContent, PutIf, PutOutcome};
use crate::store::{Commit, CommitOutcome, Trace, Write};

/// What became of the documents of a commit.
pub(super) enum Written {
    /// They are as the commit says.
    Done {
        offset: Offset,
        /// Whether a document has seen the mutation: if not, only the record can tell that it is finished.
        traced: bool,
    },
    /// The mutation was carried out, by an earlier attempt, or not as it was prepared: its documents tell how.
    Found(Offset),
    /// Another one was, under its sequence: the client is an earlier state of the one that made it. Holds its fingerprint.
    Another(Offset, u64),
    /// The record has passed the mutation.
    Passed,
    /// These documents are not as expected.
    Mismatch(Vec<DocumentId>),
}

/// What one attempt came to.
pub(super) enum Step {
    Written(Written),
    /// The documents changed meanwhile, or nobody knows.
    Again,
    /// An intent of others holds a document.
    Blocked(IntentName),
}

/// What attempts at one commit have in common.
pub(super) struct Attempt<'a> {
    pub(super) commit: &'a Commit,
    pub(super) ids: BTreeSet<DocumentId>,
    /// Names this commit's writes, so that it recognises them.
    pub(super) tag: u64,
    /// A write of this commit has an unknown outcome.
    pub(super) unsure: bool,
    /// The platform cannot write these documents in one step, whatever it says.
    pub(super) apart: bool,
}

impl<P: Platform> ClusterStore<P> {
    pub(super) async fn commit_now(&self, commit: Commit) -> Result<CommitOutcome, StoreError> {
        let Some(mutation) = commit.mutation else {
            return Ok(match self.write(&commit, None).await? {
                Written::Done { offset, .. } | Written::Found(offset) | Written::Another(offset, _) => {
                    CommitOutcome::Committed(offset)
                }
                Written::Mismatch(ids) => CommitOutcome::Mismatch(ids),
                Written::Passed => CommitOutcome::Repeated(None),
            });
        };
        let client = self.clients.client(mutation.client, mutation.incarnation);
        let mut turn = client.turn().await;
        // What this node knows of other sequences may be out of date: another node went on, or the platform went back.
        if !turn.is_read() || mutation.sequence != turn.finished().next() {
            self.read_client(mutation, &mut turn).await?;
        }
        if mutation.sequence <= turn.finished() {
            return self.repeated(mutation, commit.fingerprint, &mut turn).await;
        }
        if commit.jumps {
            turn.jump(mutation.sequence);
        } else if mutation.sequence != turn.finished().next() {
            return Ok(CommitOutcome::OutOfOrder(turn.finished()));
        }
        let mut fingerprint = commit.fingerprint;
        let (offset, outcome, traced) = match self.write(&commit, Some((mutation, &mut turn))).await? {
            Written::Done { offset, traced } => (offset, Some(commit.outcome), traced),
            Written::Found(offset) => (offset, None, true),
            Written::Another(offset, another) => {
                fingerprint = Some(another);
                (offset, None, true)
            }
            Written::Passed => return self.repeated(mutation, commit.fingerprint, &mut turn).await,
            Written::Mismatch(ids) => return Ok(CommitOutcome::Mismatch(ids)),
        };
        if !turn.follows(mutation.sequence) {
            // The record went back while the documents were written: the platform lost it.
            return Ok(CommitOutcome::OutOfOrder(turn.finished()));
        }
        let found = outcome.is_none();
        // How it came out is not known where an earlier attempt did it: whoever asks is told the states.
        let outcome = outcome.unwrap_or(Outcome::Accepted);
        let kept = Kept { sequence: mutation.sequence, outcome, changelog: self.journal.id(), offset, fingerprint };
        turn.finish(kept.clone(), commit.acknowledged);
        if traced {
            // Those that wait for their turn write their documents first, so that one record serves for all.
            drop(turn);
            turn = client.turn().await;
        }
        self.record(mutation, &mut turn).await?;
        if turn.recorded() < mutation.sequence {
            return Ok(CommitOutcome::OutOfOrder(turn.recorded()));
        }
        let repeated = || CommitOutcome::Repeated(Some(self.repeated_outcome(&kept, commit.fingerprint)));
        Ok(if found { repeated() } else { CommitOutcome::Committed(offset) })
    }

    /// Answers a mutation whose sequence is finished.
    async fn repeated(
        &self,
        mutation: MutationId,
        fingerprint: Option<u64>,
        turn: &mut Turn,
    ) -> Result<CommitOutcome, StoreError> {
        self.record(mutation, turn).await?;
        let kept = turn.outcome(mutation.sequence);
        Ok(CommitOutcome::Repeated(kept.map(|kept| self.repeated_outcome(kept, fingerprint))))
    }

    /// Writes the documents of a commit, or finds out why not.
    async fn write(&self, commit: &Commit, mut client: Option<(MutationId, &mut Turn)>) -> Result<Written, StoreError> {
        let tag = self.host.random();
        let ids = commit.writes.iter().map(|write| write.id.clone()).chain(commit.named.iter().cloned());
        let ids = ids.chain(conflict_ids(commit, tag)).collect();
        let mut attempt = Attempt { commit, ids, tag, unsure: false, apart: false };
        let due_ms = self.host.now_ms().saturating_add(COMMIT_MS_MAX);
        for count in 0..ATTEMPTS_MAX {
            if self.host.now_ms() >= due_ms {
                break;
            }
            let client = client.as_mut().map(|(mutation, turn)| (*mutation, &mut **turn));
            match self.try_write(&mut attempt, client).await? {
                Step::Written(written) => return Ok(written),
                Step::Again => self.backoff(count).await,
                Step::Blocked(intent) => self.settle(&intent, due_ms).await?,
            }
        }
        Err(StoreError::Unavailable("the documents of a mutation cannot be written now".to_owned()))
    }

    async fn try_write(
        &self,
        attempt: &mut Attempt<'_>,
        client: Option<(MutationId, &mut Turn)>,
    ) -> Result<Step, StoreError> {
        let commit = attempt.commit;
        let mut locked = self.take(attempt.ids.clone()).await?;
        if let Some((mutation, turn)) = client {
            self.read_client(mutation, turn).await?;
            if turn.recorded() >= mutation.sequence {
                return Ok(Step::Written(Written::Passed));
            }
            if attempt.unsure && is_written(attempt, &locked) {
                return self.found(commit, locked).await;
            }
            let sight = sight(attempt, mutation, turn, &locked);
            if sight != Sight::Unseen {
                if self.finish_seen(mutation).await? {
                    return Ok(Step::Again);
                }
                let offset = self.ingest(&mut locked, commit.session, &[]).await?;
                return Ok(Step::Written(match sight {
                    Sight::Another(another) => Written::Another(offset, another),
                    Sight::Unseen | Sight::Seen => Written::Found(offset),
                }));
            }
            if commit.writes.is_empty()
                && let Some(step) = self.give_up(mutation, commit.fingerprint).await?
            {
                return Ok(step);
            }
        }
        if attempt.unsure && is_written(attempt, &locked) {
            return self.found(commit, locked).await;
        }
        if let Some(intent) = self.marking(&locked, attempt).await? {
            return Ok(Step::Blocked(intent));
        }
        let expects = |write: &&Write| {
            let found = locked.state(&write.id).map(State::version);
            found != Some(write.expected) && !planted::has(Bug::FencingUnchecked)
        };
        let mismatched: Vec<DocumentId> = commit.writes.iter().filter(expects).map(|write| write.id.clone()).collect();
        if !mismatched.is_empty() {
            self.ingest(&mut locked, commit.session, &[]).await?;
            if attempt.unsure && commit.mutation.is_none() {
                return Err(StoreError::Unavailable("whether a write went through is not known".to_owned()));
            }
            return Ok(Step::Written(Written::Mismatch(mismatched)));
        }
        if !commit.writes.iter().any(|write| changes(write) || buries(write)) && commit.conflicts.is_empty() {
            let offset = self.ingest(&mut locked, commit.session, &commit.writes).await?;
            return Ok(Step::Written(Written::Done { offset, traced: false }));
        }
        let ids: Vec<&DocumentId> = commit.writes.iter().map(|write| &write.id).collect();
        let direct = match ids.len() {
            0 | 1 => true,
            count => !attempt.apart && count <= TOGETHER_DOCUMENTS_MAX && self.platform.together(&ids),
        };
        if direct && commit.conflicts.is_empty() {
            return self.write_at_once(attempt, locked).await;
        }
        self.write_by_intent(attempt, locked).await
    }

    /// Takes in what this commit wrote: as it says, unless somebody changed it since.
    pub(super) async fn found(&self, commit: &Commit, mut locked: Taken<'_>) -> Result<Step, StoreError> {
        let offset = self.ingest(&mut locked, commit.session, &commit.writes).await?;
        let mut writes = commit.writes.iter();
        let whole = writes.all(|write| locked.state(&write.id).map(State::version) == Some(write.version));
        let done = Written::Done { offset, traced: true };
        Ok(Step::Written(if whole { done } else { Written::Found(offset) }))
    }

    /// An intent that marks one of the documents and is not settled.
    async fn marking(&self, locked: &Taken<'_>, attempt: &Attempt<'_>) -> Result<Option<IntentName>, StoreError> {
        for write in &attempt.commit.writes {
            let mark = locked.state(&write.id).and_then(|state| state.meta.as_ref()?.mark.clone());
            if let Some(mark) = mark
                && self.is_live(&mark, attempt.tag).await?
            {
                return Ok(Some(mark));
            }
        }
        Ok(None)
    }

    /// Writes the documents in one step.
    async fn write_at_once(&self, attempt: &mut Attempt<'_>, mut locked: Taken<'_>) -> Result<Step, StoreError> {
        let commit = attempt.commit;
        // What stays as it is gets no part, and nothing in it could tell that it has.
        let (written, kept): (Vec<&Write>, _) = commit.writes.iter().partition(|write| changes(write) || buries(write));
        let ids = |writes: Vec<&Write>| writes.into_iter().map(|write| write.id.clone()).collect();
        let group = (commit.writes.len() > 1).then(|| Group {
            name: IntentName { key: format!("{:016x}", attempt.tag), attempt: 0 },
            members: ids(written),
            at_ms: self.host.now_ms(),
            kept: ids(kept),
        });
        let mut puts = Vec::with_capacity(commit.writes.len());
        for write in &commit.writes {
            let Some(state) = locked.state(&write.id) else { return Ok(Step::Again) };
            if !changes(write) && !buries(write) {
                // It has to stay as it is while the others are written.
                let (token, meta) = (state.token.clone(), state.meta_bytes.clone());
                puts.push(PutIf { id: write.id.clone(), token, content: PutContent::Keep, meta });
                continue;
            }
            let (edited_ms, body) = (write.edited_ms, write.body.clone());
            let mut meta = self.next_meta(state, attempt.tag, write.version, edited_ms).await?;
            meta.offer(write.trace.is_brought_back());
            if let Some(mutation) = commit.mutation {
                meta.see(mutation, commit.fingerprint);
                meta.by = meta.over.map(|_| mutation);
            }
            if let Some(group) = &group {
                meta.join(group.clone());
            }
            puts.push(put(state, body, &meta));
        }
        match self.platform.put_if(&puts).await {
            Ok(PutOutcome::Done(written)) => {
                for ((write, put), written) in commit.writes.iter().zip(puts).zip(written) {
                    locked.wrote(write, put.meta, written);
                }
                let offset = self.ingest(&mut locked, commit.session, &commit.writes).await?;
                if let Some(group) = group {
                    self.known.publish(group.name);
                }
                Ok(Step::Written(Written::Done { offset, traced: commit.mutation.is_some() }))
            }
            Ok(PutOutcome::Mismatch) => Ok(Step::Again),
            Ok(PutOutcome::NotTogether) => {
                attempt.apart = true;
                Ok(Step::Again)
            }
            Err(PlatformError::Unavailable(_)) => {
                attempt.unsure = true;
                Ok(Step::Again)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The meta of a document's next state, without what its clients' records have passed.
    pub(super) async fn next_meta(
        &self,
        state: &State,
        tag: u64,
        version: Version,
        edited_ms: u64,
    ) -> Result<Meta, StoreError> {
        let mut former = state.meta.clone().unwrap_or_default();
        if state.is_early() {
            former.unsee();
        }
        let passed = |seen: &Seen| {
            let finished = self.clients.finished(seen.client, seen.incarnation);
            planted::has(Bug::SeenPruned) || finished.is_some_and(|finished| finished >= seen.sequence)
        };
        let mut seen: Vec<Seen> = former.seen.into_iter().filter(|seen| !passed(seen)).collect();
        let clients: BTreeSet<_> = seen.iter().map(|one| (one.client, one.incarnation)).collect();
        if clients.len() >= SEEN_KEPT_MAX {
            let finished = self.finished(clients).await?;
            seen.retain(|one| finished.get(&(one.client, one.incarnation)).is_none_or(|last| *last < one.sequence));
        }
        let (now_ms, kept_ms) = (self.host.now_ms(), self.options.intents_kept_ms + CLOCKS_APART_MS_MAX);
        let groups = former.groups.into_iter().filter(|group| group.at_ms.saturating_add(kept_ms) > now_ms).collect();
        let deleted_ms = (!version.exists()).then_some(now_ms);
        let offered = former.offered;
        // Where a put may be seen in part, it may also be kept in part.
        let over = (self.platform.capabilities().torn_ms_max > 0).then(|| state.version());
        Ok(Meta { version, edited_ms, tag, deleted_ms, seen, mark: None, groups, offered, over, by: None })
    }

    /// What the records of clients have passed.
    async fn finished(
        &self,
        clients: BTreeSet<(ClientId, Incarnation)>,
    ) -> Result<BTreeMap<(ClientId, Incarnation), Sequence>, StoreError> {
        let ids: Vec<DocumentId> =
            clients.iter().map(|(client, incarnation)| client_id(*client, *incarnation)).collect();
        let states = self.get(&ids).await?;
        let rows = clients.into_iter().zip(&states);
        rows.map(|(client, state)| Ok((client, client_row(state)?.finished))).collect()
    }
}

/// What the documents of a commit tell of its mutation.
fn sight(attempt: &Attempt<'_>, mutation: MutationId, turn: &Turn, locked: &Taken<'_>) -> Sight {
    if planted::has(Bug::AppliedTwice) {
        return Sight::Unseen;
    }
    let sights = attempt.ids.iter().filter_map(|id| {
        let sight = locked.state(id)?.sight(mutation, attempt.commit.fingerprint);
        Some(if turn.has_moved(id, mutation.sequence) { Sight::Seen } else { sight })
    });
    let rank = |sight: &Sight| match sight {
        Sight::Unseen => 0,
        Sight::Another(_) => 1,
        Sight::Seen => 2,
    };
    sights.max_by_key(rank).unwrap_or(Sight::Unseen)
}

/// Whether a write of unknown outcome went through: a document bears its tag.
fn is_written(attempt: &Attempt<'_>, locked: &Taken<'_>) -> bool {
    let written = |state: &State| !state.is_early() && state.meta.as_ref().is_some_and(|meta| meta.tag == attempt.tag);
    locked.states.values().any(written)
}

/// Whether a write leaves a tombstone where there was no document.
fn buries(write: &Write) -> bool {
    write.trace == Trace::Withdrawn
}

/// Whether a write changes the content of its document.
pub(super) fn changes(write: &Write) -> bool {
    write.version != write.expected
}

/// A conditional write of a content with its meta.
pub(super) fn put(state: &State, body: Option<Arc<[u8]>>, meta: &Meta) -> PutIf {
    let content = match (body, &state.content) {
        (Some(body), _) => PutContent::Put(body),
        (None, Content::Absent) => PutContent::Keep,
        (None, Content::Document(..) | Content::Unreadable) => PutContent::Delete,
    };
    PutIf { id: state.id.clone(), token: state.token.clone(), content, meta: Some(meta.write()) }
}
