//! Many documents, whole or not at all.
//!
//! 1. `Prepared`: the intent says what is to be done to each document.
//! 2. Documents on whose state the outcome depends are marked; nobody of us changes a marked document.
//! 3. `Committed`: the commit point.
//! 4. Each document gets its part, merged into its state of then ([`finish`](super::finish)), and has seen it.
//! 5. `Done`: the documents are published, together.
//!
//! The record has one key for each mutation: two nodes that run one mutation at once meet there. A node that stops leaves an intent
//! that any other aborts (while prepared, after a lease by the other's own clock) or finishes (once committed).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::{Either, join_all, select};
use tidelock_core::ids::{ClientId, DocumentId, Incarnation, MutationId, Offset, Sequence};
use tidelock_core::planted::{self, Bug};
use tidelock_core::wire::{Cbor, encode};

use super::ClusterStore;
use super::commit::{Attempt, Step, Written, changes};
use super::conflicts::intent_key;
use super::limits::{
    ATTEMPTS_MAX, INTENT_INLINE_BYTES_MAX, INTENT_PIECE_BYTES_MAX, READER_WAITS_MS_MAX, REQUESTS_AT_ONCE_MAX, STUCK_MS,
};
use super::meta::{IntentBody, IntentName, IntentRow, Meta, Part, Stage, another, seal, unseal};
use super::take::{NotTaken, State, Taken, Unfinished};
use crate::error::StoreError;
use crate::platform::{Platform, PlatformError, PutContent, PutIf, PutOutcome, Token, system};
use crate::store::Write;

/// Longest pause between two looks at an intent that holds something up, in milliseconds.
const LOOK_MS: u64 = 100;

/// Intents that this node has met and that were not settled then.
#[derive(Debug, Default)]
pub(super) struct Intents(Mutex<BTreeMap<IntentName, Meeting>>);

/// Times by this node's own clock.
#[derive(Clone, Copy, Debug)]
struct Meeting {
    first_ms: u64,
    /// Somebody has waited for it in vain: before this time nobody else does.
    stuck_until_ms: u64,
}

impl Intents {
    /// Notes a meeting; the time of the first.
    pub(super) fn meet(&self, name: &IntentName, now_ms: u64) -> u64 {
        self.met().entry(name.clone()).or_insert(Meeting { first_ms: now_ms, stuck_until_ms: 0 }).first_ms
    }

    /// Somebody has waited for it in vain.
    fn is_stuck(&self, name: &IntentName, now_ms: u64) {
        let mut met = self.met();
        let meeting = met.entry(name.clone()).or_insert(Meeting { first_ms: now_ms, stuck_until_ms: 0 });
        meeting.stuck_until_ms = now_ms.saturating_add(STUCK_MS);
    }

    /// Whether it is to be waited for at this time.
    fn may_be_awaited(&self, name: &IntentName, now_ms: u64) -> bool {
        self.met().get(name).is_none_or(|meeting| meeting.stuck_until_ms <= now_ms)
    }

    pub(super) fn settled(&self, name: &IntentName) {
        self.met().remove(name);
    }

    /// Those that were met at this time or before.
    pub(super) fn met_until(&self, ms: u64) -> Vec<IntentName> {
        self.met().iter().filter(|(_, met)| met.first_ms <= ms).map(|(name, _)| name.clone()).collect()
    }

    fn met(&self) -> MutexGuard<'_, BTreeMap<IntentName, Meeting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The document of an intent's record.
pub(super) fn intent_id(key: &str) -> DocumentId {
    DocumentId::new(system::INTENTS, key)
}

/// The document of a piece of an intent's body.
pub(super) fn piece_id(key: &str, owner: u64, number: u64) -> DocumentId {
    intent_id(&format!("{key}.{owner:016x}.{number}"))
}

/// Whether a key is that of a piece.
pub(super) fn is_piece(key: &str) -> bool {
    key.contains('.')
}

/// The intent and the owner that a piece belongs to.
pub(super) fn piece_head(key: &str) -> Option<(&str, u64)> {
    let mut names = key.rsplitn(3, '.');
    let (_, owner, head) = (names.next()?, names.next()?, names.next()?);
    Some((head, u64::from_str_radix(owner, 16).ok()?))
}

impl IntentRow {
    pub(super) fn is_live(&self) -> bool {
        matches!(self.stage, Stage::Prepared | Stage::Committed)
    }

    /// What to tell of one that is done to a commit with this fingerprint.
    fn found(&self, fingerprint: Option<u64>, offset: Offset) -> Written {
        another(self.fingerprint, fingerprint)
            .map_or(Written::Found(offset), |another| Written::Another(offset, another))
    }
}

impl<P: Platform> ClusterStore<P> {
    /// Reads an intent's record.
    pub(super) async fn intent_row(&self, key: &str) -> Result<(Option<IntentRow>, Token), StoreError> {
        let state = self.get_one(intent_id(key)).await?;
        let row = state.body().map(|body| unseal(body).ok_or_else(|| damaged(&state.id))).transpose()?;
        Ok((row, state.token))
    }

    pub(super) async fn get_one(&self, id: DocumentId) -> Result<State, StoreError> {
        let states = self.get(std::slice::from_ref(&id)).await?;
        states.into_iter().next().ok_or_else(|| StoreError::Unavailable("the platform gave no answer".to_owned()))
    }

    /// Reads what an intent is to do.
    pub(super) async fn intent_body(&self, key: &str, row: &IntentRow) -> Result<IntentBody, StoreError> {
        let mut bytes = row.inline.clone();
        let ids: Vec<DocumentId> = (0..row.pieces).map(|number| piece_id(key, row.owner, number)).collect();
        for state in self.get(&ids).await? {
            let piece: Option<Piece> = state.body().and_then(|body| unseal(body));
            bytes.extend(piece.ok_or_else(|| damaged(&state.id))?.bytes);
        }
        tidelock_core::wire::decode(&bytes).map_err(|_| damaged(&intent_id(key)))
    }

    /// Whether an intent may still be carried out that is not of this owner.
    pub(super) async fn is_live(&self, name: &IntentName, owner: u64) -> Result<bool, StoreError> {
        let (row, _) = self.intent_row(&name.key).await?;
        Ok(row.is_some_and(|row| row.attempt == name.attempt && row.is_live() && row.owner != owner))
    }

    /// The documents of an intent that is done, those that it wrote and those that it found as it would have made them; `None` for one that
    /// is not. Those of one that is gone are not known any more.
    pub(super) async fn members_of_intent(
        &self,
        name: &IntentName,
        unfinished: Unfinished,
    ) -> Result<Option<(Vec<DocumentId>, Vec<DocumentId>)>, StoreError> {
        let (row, _) = self.intent_row(&name.key).await?;
        let Some(row) = row.filter(|row| row.attempt == name.attempt) else { return Ok(Some(Default::default())) };
        match row.stage {
            Stage::Done => {}
            Stage::Committed if unfinished == Unfinished::Finish => self.finish_soon(name).await?,
            Stage::Committed | Stage::Prepared => return Ok(None),
            Stage::Aborted => return Ok(Some(Default::default())),
        }
        let body = self.intent_body(&name.key, &row).await?;
        let (written, kept): (Vec<Part>, _) = body.parts.into_iter().partition(|part| part.version != part.expected);
        let ids = |parts: Vec<Part>| parts.into_iter().map(|part| part.id).collect();
        Ok(Some((ids(written), ids(kept))))
    }

    /// Carries a committed intent out for somebody who cannot go on before. Where the platform takes no writes, he waits no longer than that
    /// is bounded, and those who come after him not at all: this node goes on helping meanwhile.
    async fn finish_soon(&self, name: &IntentName) -> Result<(), StoreError> {
        let stuck = || StoreError::Unavailable("what a mutation has begun cannot be finished now".to_owned());
        if !self.intents.may_be_awaited(name, self.host.now_ms()) {
            return Err(stuck());
        }
        match select(Box::pin(self.finish(name)), self.host.sleep(READER_WAITS_MS_MAX)).await {
            Either::Left((finished, _)) => finished,
            Either::Right(_) => {
                self.intents.is_stuck(name, self.host.now_ms());
                Err(stuck())
            }
        }
    }

    /// Brings an intent to its end: waits for its creator, aborts it after its lease, finishes it once it is committed. Where that does not
    /// come about until `late_ms`, as on a platform that takes no writes, whoever waits for it gives up.
    pub(super) async fn settle(&self, name: &IntentName, late_ms: u64) -> Result<(), StoreError> {
        let met_ms = self.intents.meet(name, self.host.now_ms());
        let due_ms = met_ms.saturating_add(self.options.lease_ms);
        loop {
            let (row, token) = self.intent_row(&name.key).await?;
            let Some(row) = row.filter(|row| row.attempt == name.attempt && row.is_live()) else { break };
            let now_ms = self.host.now_ms();
            if row.stage == Stage::Committed && !planted::has(Bug::IntentAborted) {
                self.finish(name).await?;
            } else if now_ms >= late_ms {
                return Err(StoreError::Unavailable(
                    "what another mutation has begun cannot be settled now".to_owned(),
                ));
            } else if now_ms < due_ms || self.turn_to(Stage::Aborted, &name.key, &row, token).await?.is_none() {
                let pause_ms = LOOK_MS / 2 + self.host.random() % LOOK_MS;
                let until_due_ms = due_ms.checked_sub(now_ms).filter(|left_ms| *left_ms > 0);
                self.host.sleep(until_due_ms.map_or(pause_ms, |left_ms| pause_ms.min(left_ms))).await;
            }
        }
        self.intents.settled(name);
        Ok(())
    }

    /// Brings an intent that was met some time ago a step further. Whether it is settled.
    pub(super) async fn help(&self, name: &IntentName) -> Result<bool, StoreError> {
        let now_ms = self.host.now_ms();
        let (row, token) = self.intent_row(&name.key).await?;
        let Some(row) = row.filter(|row| row.attempt == name.attempt && row.is_live()) else { return Ok(true) };
        if row.stage == Stage::Committed && !planted::has(Bug::IntentAborted) {
            self.finish(name).await?;
            return Ok(true);
        }
        let due_ms = self.intents.meet(name, now_ms).saturating_add(self.options.lease_ms);
        Ok(now_ms >= due_ms && self.turn_to(Stage::Aborted, &name.key, &row, token).await?.is_some())
    }

    /// Makes sure that a mutation which is to be refused will not be carried out by an intent of an earlier attempt. Tells when it
    /// was, or will be.
    pub(super) async fn give_up(
        &self,
        mutation: MutationId,
        fingerprint: Option<u64>,
    ) -> Result<Option<Step>, StoreError> {
        let key = intent_key(Some(mutation), 0);
        let (row, token) = self.intent_row(&key).await?;
        let Some(row) = row else { return Ok(None) };
        Ok(match row.stage {
            Stage::Aborted => None,
            Stage::Done => Some(Step::Written(row.found(fingerprint, self.journal.head()))),
            Stage::Prepared => {
                self.turn_to(Stage::Aborted, &key, &row, token).await?;
                Some(Step::Again)
            }
            Stage::Committed => {
                self.finish(&IntentName { key, attempt: row.attempt }).await?;
                Some(Step::Again)
            }
        })
    }

    /// Finishes the intent of a mutation that some of its documents have seen; whether there was one to finish. Where it leaves a
    /// content as it is, no read meets its group, and the client's record must not pass it before all of its documents have it.
    pub(super) async fn finish_seen(&self, mutation: MutationId) -> Result<bool, StoreError> {
        let key = intent_key(Some(mutation), 0);
        let (row, _) = self.intent_row(&key).await?;
        let Some(row) = row.filter(|row| row.stage == Stage::Committed) else { return Ok(false) };
        self.finish(&IntentName { key, attempt: row.attempt }).await?;
        Ok(true)
    }

    /// Brings the record to another stage, when it still has its token. Its new token; `None` when it was not done, or nobody knows.
    pub(super) async fn turn_to(
        &self,
        stage: Stage,
        key: &str,
        row: &IntentRow,
        token: Token,
    ) -> Result<Option<Token>, StoreError> {
        let row = IntentRow { stage, ..row.clone() };
        match self.platform.put_if(&[record_put(intent_id(key), token, &row)]).await {
            Ok(PutOutcome::Done(written)) => Ok(written.into_iter().next().map(|written| written.token)),
            Ok(PutOutcome::Mismatch | PutOutcome::NotTogether) | Err(PlatformError::Unavailable(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Commits by an intent.
    pub(super) async fn write_by_intent(
        &self,
        attempt: &mut Attempt<'_>,
        mut locked: Taken<'_>,
    ) -> Result<Step, StoreError> {
        let key = intent_key(attempt.commit.mutation, attempt.tag);
        let (row, token) = self.intent_row(&key).await?;
        let number = match &row {
            None => 1,
            Some(row) => match row.stage {
                Stage::Prepared if row.owner == attempt.tag => row.attempt,
                Stage::Aborted => row.attempt + 1,
                Stage::Prepared => return Ok(Step::Blocked(IntentName { key, attempt: row.attempt })),
                Stage::Committed => {
                    self.finish(&IntentName { key, attempt: row.attempt }).await?;
                    return Ok(Step::Again);
                }
                Stage::Done => {
                    let offset = self.ingest(&mut locked, attempt.commit.session, &[]).await?;
                    return Ok(Step::Written(row.found(attempt.commit.fingerprint, offset)));
                }
            },
        };
        let name = IntentName { key, attempt: number };
        let body = self.body_of(attempt, &locked);
        let prepared = if let Some(row) = row.filter(|row| row.stage == Stage::Prepared) {
            Some((row, token))
        } else {
            let (owner, fingerprint) = (attempt.tag, attempt.commit.fingerprint);
            let (stage, inline) = (Stage::Prepared, Vec::new());
            let row = IntentRow { attempt: number, stage, owner, inline, pieces: 0, fingerprint };
            self.prepare(&name, row, &body, token).await?
        };
        let Some((row, token)) = prepared else { return Ok(Step::Again) };
        if !self.mark(&name, &body, &locked).await? {
            self.turn_to(Stage::Aborted, &name.key, &row, token).await?;
            return Ok(Step::Again);
        }
        if !self.decide(&name, row, token).await? {
            return Ok(Step::Again);
        }
        self.finish_own(&name).await?;
        let groups = BTreeSet::from([name]);
        match self.take_locked(locked.guard, Unfinished::Finish, BTreeMap::new(), groups).await {
            Ok(locked) => self.found(attempt.commit, locked).await,
            Err(NotTaken::Failed(error)) => Err(error),
            Err(NotTaken::Unfinished(..) | NotTaken::Busy) => Ok(Step::Again),
        }
    }

    fn body_of(&self, attempt: &Attempt<'_>, locked: &Taken<'_>) -> IntentBody {
        let commit = attempt.commit;
        let writer = commit.mutation.unwrap_or_else(|| {
            let (tag, other) = (attempt.tag, self.host.random());
            let mut client = [0; 16];
            client
                .iter_mut()
                .zip(tag.to_be_bytes().into_iter().chain(other.to_be_bytes()))
                .for_each(|(to, from)| *to = from);
            MutationId { client: ClientId(client), incarnation: Incarnation(0), sequence: Sequence(1) }
        });
        let notes = |id: &DocumentId| commit.conflicts.iter().filter(|note| note.id == *id).cloned().collect();
        let part = |write: &Write| Part {
            id: write.id.clone(),
            expected: write.expected,
            change: write.change.clone(),
            body: write.body.as_deref().filter(|_| changes(write)).map(<[u8]>::to_vec),
            version: write.version,
            edited_ms: write.edited_ms,
            marked: !changes(write) || write.change.is_none() || self.rulebook.depends_on_state(&write.id),
            notes: notes(&write.id),
            offered: write.trace.is_brought_back().then_some(true),
        };
        let mut parts: Vec<Part> = commit.writes.iter().map(part).collect();
        // Values that were discarded of a document which is not written.
        let written: BTreeSet<&DocumentId> = commit.writes.iter().map(|write| &write.id).collect();
        let others: BTreeSet<&DocumentId> = commit.conflicts.iter().map(|note| &note.id).collect();
        for id in others.difference(&written) {
            let version = locked.state(id).map(State::version).unwrap_or_default();
            let (id, notes) = ((*id).clone(), notes(id));
            let (change, body, edited_ms) = (None, None, 0);
            parts.push(Part {
                id,
                expected: version,
                change,
                body,
                version,
                edited_ms,
                marked: false,
                notes,
                offered: None,
            });
        }
        parts.sort_by(|one, other| one.id.cmp(&other.id));
        let (actor, at_ms) = (commit.actor.clone(), commit.now_ms);
        IntentBody { mutation: commit.mutation, writer, actor, at_ms, parts }
    }

    /// Writes the record; `None` when it was not, or nobody knows.
    async fn prepare(
        &self,
        name: &IntentName,
        mut row: IntentRow,
        body: &IntentBody,
        token: Token,
    ) -> Result<Option<(IntentRow, Token)>, StoreError> {
        let bytes = encode(body);
        if bytes.len() <= INTENT_INLINE_BYTES_MAX {
            row.inline = bytes;
        } else {
            for piece in bytes.chunks(INTENT_PIECE_BYTES_MAX) {
                let id = piece_id(&name.key, row.owner, row.pieces);
                let token = self.get_one(id.clone()).await?.token;
                let piece = Piece { bytes: piece.to_vec() };
                match self.platform.put_if(&[record_put(id, token, &piece)]).await {
                    Ok(PutOutcome::Done(_)) => row.pieces += 1,
                    Ok(PutOutcome::Mismatch | PutOutcome::NotTogether) | Err(PlatformError::Unavailable(_)) => {
                        return Ok(None);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        match self.platform.put_if(&[record_put(intent_id(&name.key), token, &row)]).await {
            Ok(PutOutcome::Done(written)) => Ok(written.into_iter().next().map(|written| (row, written.token))),
            Ok(PutOutcome::Mismatch | PutOutcome::NotTogether) | Err(PlatformError::Unavailable(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Marks the documents that have to stay as they are. Whether all of them did.
    async fn mark(&self, name: &IntentName, body: &IntentBody, locked: &Taken<'_>) -> Result<bool, StoreError> {
        let marked = body.parts.iter().filter(|part| part.marked).filter_map(|part| locked.state(&part.id));
        let puts: Vec<PutIf> = marked
            .map(|state| {
                let fresh = || Meta {
                    version: state.version(),
                    deleted_ms: (!state.version().exists()).then(|| self.host.now_ms()),
                    ..Meta::default()
                };
                let meta = Meta { mark: Some(name.clone()), ..state.meta.clone().unwrap_or_else(fresh) };
                let (id, token) = (state.id.clone(), state.token.clone());
                PutIf { id, token, content: PutContent::Keep, meta: Some(meta.write()) }
            })
            .collect();
        for puts in puts.chunks(REQUESTS_AT_ONCE_MAX) {
            let outcomes = join_all(puts.iter().map(|put| self.platform.put_if(std::slice::from_ref(put)))).await;
            for outcome in outcomes {
                match outcome {
                    Ok(PutOutcome::Done(_)) => {}
                    Ok(PutOutcome::Mismatch | PutOutcome::NotTogether) | Err(PlatformError::Unavailable(_)) => {
                        return Ok(false);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(true)
    }

    /// The commit point. Whether the intent is committed.
    async fn decide(&self, name: &IntentName, mut row: IntentRow, mut token: Token) -> Result<bool, StoreError> {
        let owner = row.owner;
        for attempt in 0..ATTEMPTS_MAX {
            if self.turn_to(Stage::Committed, &name.key, &row, token).await?.is_some() {
                return Ok(true);
            }
            let (found, found_token) = self.intent_row(&name.key).await?;
            let Some(found) = found.filter(|found| found.attempt == name.attempt && found.owner == owner) else {
                return Ok(false);
            };
            match found.stage {
                Stage::Committed | Stage::Done => return Ok(true),
                Stage::Aborted => return Ok(false),
                // Nobody knows whether the write is still to come: it has to lose against this one, or be it.
                Stage::Prepared => (row, token) = (found, found_token),
            }
            self.backoff(attempt).await;
        }
        Err(StoreError::Unavailable("whether an intent is committed is not known".to_owned()))
    }
}

/// A piece of an intent's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) bytes: Vec<u8>,
}

tidelock_core::cbor_struct!(Piece { bytes });

impl Part {
    /// Whether the document itself is written.
    pub(super) fn is_written(&self) -> bool {
        self.marked || self.version != self.expected
    }
}

/// A write of a record.
pub(super) fn record_put<T: Cbor>(id: DocumentId, token: Token, record: &T) -> PutIf {
    PutIf { id, token, content: PutContent::Put(seal(record)), meta: None }
}

fn damaged(id: &DocumentId) -> StoreError {
    StoreError::Corrupt(format!("the record {id}"))
}
