//! Clients: the order of their mutations on this node, and their records on the platform.
//!
//! Several mutations of one client that wait for each other share one write of the record: each leaves its outcome here when its
//! documents are written, lets those that wait go ahead, and comes back to write the record, unless one of the others did.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tidelock_core::ids::{ClientId, DocumentId, Incarnation, MutationId, Sequence};
use tidelock_core::wire::Outcome;

use super::ClusterStore;
use super::limits::{ATTEMPTS_MAX, CLIENTS_REMEMBERED_MAX, OUTCOMES_KEPT_MAX};
use super::meta::{ClientRow, Kept, another, client_key, seal, unseal};
use super::take::State;
use crate::error::StoreError;
use crate::platform::{Platform, PlatformError, PutContent, PutIf, PutOutcome, Token, system};
use crate::store::Recorded;

/// The clients that this node works for.
#[derive(Debug, Default)]
pub(super) struct Clients(Mutex<BTreeMap<(ClientId, Incarnation), Arc<Client>>>);

/// One client's incarnation. The lock is fair: mutations run in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Client(tokio::sync::Mutex<Turn>);

/// What this node knows of a client's incarnation.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// The record as it was last read or written, with its token.
    row: Option<(ClientRow, Token)>,
    /// Outcomes of mutations whose documents are written, and which are not in the record yet. By rising sequence.
    unrecorded: Vec<Kept>,
    /// Outcomes up to here may be forgotten.
    acknowledged: Sequence,
    /// The mutation that may follow this finished one, though there is a gap.
    jump: Option<(Sequence, Sequence)>,
}

impl Clients {
    pub(super) fn client(&self, client: ClientId, incarnation: Incarnation) -> Arc<Client> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= CLIENTS_REMEMBERED_MAX && !clients.contains_key(&(client, incarnation)) {
            // Those at work stay; what is forgotten of the others is in their records and documents.
            clients.retain(|_, client| Arc::strong_count(client) > 1);
        }
        Arc::clone(clients.entry((client, incarnation)).or_default())
    }

    /// The last finished mutation of a client, as far as this node knows: it may be further, never less.
    pub(super) fn finished(&self, client: ClientId, incarnation: Incarnation) -> Option<Sequence> {
        let clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let client = Arc::clone(clients.get(&(client, incarnation))?);
        drop(clients);
        let turn = client.0.try_lock().ok()?;
        turn.row.as_ref().map(|(row, _)| row.finished)
    }

    /// What the platform said before does not count any more.
    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Client {
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, Turn> {
        self.0.lock().await
    }
}

impl Turn {
    /// The last mutation whose documents are written: in the record, or to be recorded.
    pub(super) fn finished(&self) -> Sequence {
        let recorded = self.recorded();
        self.unrecorded.last().map_or(recorded, |kept| kept.sequence.max(recorded))
    }

    /// The last mutation in the record.
    pub(super) fn recorded(&self) -> Sequence {
        self.row.as_ref().map_or(Sequence(0), |(row, _)| row.finished)
    }

    pub(super) fn is_read(&self) -> bool {
        self.row.is_some()
    }

    pub(super) fn has_moved(&self, id: &DocumentId, sequence: Sequence) -> bool {
        self.row.as_ref().is_some_and(|(row, _)| row.has_moved(id, sequence))
    }

    /// The mutation may follow what is finished, whatever it is: the platform was set back, and nobody has what is between.
    pub(super) fn jump(&mut self, sequence: Sequence) {
        self.jump = Some((self.finished(), sequence));
    }

    /// Whether the mutation may follow what is finished.
    pub(super) fn follows(&self, sequence: Sequence) -> bool {
        self.may_follow(self.finished(), sequence)
    }

    fn may_follow(&self, finished: Sequence, sequence: Sequence) -> bool {
        sequence == finished.next() || self.jump == Some((finished, sequence))
    }

    /// Notes what the record says now.
    fn know(&mut self, row: ClientRow, token: Token) {
        self.unrecorded.retain(|kept| kept.sequence > row.finished);
        // A record that went back has a gap before what is to be recorded: the platform lost it, and what this node did after it.
        let first = self.unrecorded.first().map(|kept| kept.sequence);
        if first.is_some_and(|first| !self.may_follow(row.finished, first)) {
            self.unrecorded.clear();
        }
        self.row = Some((row, token));
    }

    /// Leaves an outcome to be recorded. No client has been told of it, so it does not count as acknowledged.
    pub(super) fn finish(&mut self, kept: Kept, acknowledged: Sequence) {
        let before = Sequence(kept.sequence.0.saturating_sub(1));
        self.acknowledged = self.acknowledged.max(acknowledged.min(before));
        self.unrecorded.push(kept);
    }

    /// The recorded outcome of a finished mutation, when it is kept.
    pub(super) fn outcome(&self, sequence: Sequence) -> Option<&Kept> {
        let recorded = self.row.iter().flat_map(|(row, _)| &row.kept);
        recorded.chain(&self.unrecorded).find(|kept| kept.sequence == sequence)
    }

    /// The record with everything that is to be recorded.
    fn advanced(&self) -> ClientRow {
        let mut row = self.row.as_ref().map(|(row, _)| row.clone()).unwrap_or_default();
        row.kept.extend(self.unrecorded.iter().cloned());
        row.finished = self.finished();
        let (finished, acknowledged) = (row.finished, self.acknowledged);
        row.kept.retain(|kept| kept.sequence > acknowledged || kept.sequence == finished);
        row.kept.drain(..row.kept.len().saturating_sub(OUTCOMES_KEPT_MAX));
        row.moved.retain(|moved| moved.sequence > finished);
        row
    }
}

/// The document that holds a client's record.
pub(super) fn client_id(client: ClientId, incarnation: Incarnation) -> DocumentId {
    DocumentId::new(system::CLIENTS, client_key(client, incarnation))
}

/// Reads a record from its document.
pub(super) fn client_row(state: &State) -> Result<ClientRow, StoreError> {
    match state.body() {
        None => Ok(ClientRow::default()),
        Some(body) => unseal(body).ok_or_else(|| StoreError::Corrupt(format!("the record {}", state.id))),
    }
}

impl<P: Platform> ClusterStore<P> {
    /// Reads the record of a client into its turn.
    pub(super) async fn read_client(&self, mutation: MutationId, turn: &mut Turn) -> Result<(), StoreError> {
        let id = client_id(mutation.client, mutation.incarnation);
        let states = self.get(std::slice::from_ref(&id)).await?;
        let Some(state) = states.into_iter().next() else {
            return Err(StoreError::Unavailable("the platform gave no answer".to_owned()));
        };
        turn.know(client_row(&state)?, state.token);
        Ok(())
    }

    /// Writes everything of a turn that is not in the record yet.
    pub(super) async fn record(&self, mutation: MutationId, turn: &mut Turn) -> Result<(), StoreError> {
        for attempt in 0..ATTEMPTS_MAX {
            if turn.unrecorded.is_empty() {
                return Ok(());
            }
            let (Some((_, token)), row) = (&turn.row, turn.advanced()) else {
                self.read_client(mutation, turn).await?;
                continue;
            };
            let put = PutIf {
                id: client_id(mutation.client, mutation.incarnation),
                token: token.clone(),
                content: PutContent::Put(seal(&row)),
                meta: None,
            };
            match self.platform.put_if(std::slice::from_ref(&put)).await {
                Ok(PutOutcome::Done(written)) => {
                    let token = written.into_iter().next().map(|written| written.token).unwrap_or_default();
                    turn.know(row, token);
                    return Ok(());
                }
                // Another node works for this client too, or an earlier attempt went through.
                Ok(PutOutcome::Mismatch | PutOutcome::NotTogether) => {}
                Err(PlatformError::Unavailable(_)) => self.backoff(attempt).await,
                Err(error) => return Err(error.into()),
            }
            self.read_client(mutation, turn).await?;
        }
        Err(StoreError::Unavailable("a client's record changes too often".to_owned()))
    }

    /// An outcome as this node tells it.
    pub(super) fn recorded(&self, kept: &Kept) -> Recorded {
        let offset = if kept.changelog == self.journal.id() { kept.offset } else { self.journal.head() };
        Recorded { sequence: kept.sequence, offset, outcome: kept.outcome.clone() }
    }

    /// The answer to a mutation with this fingerprint whose sequence is finished. One that is not what was finished has to be made again,
    /// under another sequence: its client has forgotten that it used this one.
    pub(super) fn repeated_outcome(&self, kept: &Kept, fingerprint: Option<u64>) -> Recorded {
        let recorded = self.recorded(kept);
        match another(kept.fingerprint, fingerprint) {
            Some(_) => Recorded { outcome: Outcome::Resolve(Vec::new()), ..recorded },
            None => recorded,
        }
    }

    /// Waits before another attempt.
    pub(super) async fn backoff(&self, attempt: u32) {
        let most = (10_u64 << attempt.min(16)).min(super::limits::BACKOFF_MS_MAX);
        let jitter = self.host.random() % most.max(1);
        self.host.sleep(most / 2 + jitter / 2).await;
    }
}
