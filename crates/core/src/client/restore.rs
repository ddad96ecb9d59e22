//! A server whose data were set back (`docs/protocol.md` section 8): what was acknowledged and is lacking there is offered again.
//!
//! The client pushes the acknowledged mutations that it keeps and the server lacks, under their own sequences, before anything else;
//! then it reconciles. Until that is done absence is not deletion: a confirmed document that the server does not have is offered.
//! `Position::restoring` makes all this durable: it is the last mutation that needs not be pushed again.

use super::storage::{Read, ReadResult, RejectedDocument};
use super::task::Next;
use super::work::Desk;
use super::{Client, Pending};
use crate::ids::{DocumentId, Epoch, Sequence};
use crate::ordered::OrderedMap;
use crate::prelude::*;
use crate::wire::{DocumentState, ErrorCode, Mutation, Operation, Outcome, PushResult, decode};

/// Acknowledged mutations that are pushed again, and what became of them.
#[derive(Debug)]
pub(super) struct Restore {
    /// Whether they were read.
    recalled: bool,
    /// They were acknowledged one after the other up to the last one that was.
    pub(super) mutations: Vec<Pending>,
    results: Vec<PushResult>,
}

impl Restore {
    /// How many are answered.
    pub(super) fn answered(&self) -> usize {
        self.results.len()
    }

    /// Every mutation up to here is finished on the server, or cannot be pushed again.
    fn base(&self, settled: Sequence) -> Sequence {
        self.mutations.first().map_or(settled, |first| Sequence(first.mutation.sequence.0.saturating_sub(1)))
    }
}

impl Client {
    /// Looks at a welcome: whether the server was set back, or an earlier recovery is not done. `lost`: the position that this client
    /// knows was never part of the store.
    pub(super) fn restore_if_set_back(&mut self, finished: Sequence, epoch: Epoch, lost: bool) {
        let settled = self.replica.settled;
        let set_back = lost || finished < settled || self.position.epoch.is_some_and(|known| known != epoch);
        // A client without a position cannot tell: neither by an epoch, nor by a history where the store has them.
        let cannot_tell = self.position.epoch.is_none() || (self.history.is_some() && self.position.history.is_none());
        if set_back || cannot_tell {
            self.position.before = Some(self.replica.assigned);
        }
        let from = if set_back { Some(self.position.restoring.unwrap_or(settled)) } else { self.position.restoring };
        self.restore = None;
        if let Some(from) = from {
            self.position.restoring = Some(from.min(finished).min(settled));
            self.restore = Some(Restore { recalled: false, mutations: Vec::new(), results: Vec::new() });
        }
        self.position.epoch = Some(epoch);
    }

    /// Of the states that a result tells, those of documents that the server may lack only because it was set back, as what this client
    /// has confirmed of them; and the others.
    pub(super) fn lacking(
        &self,
        states: &[DocumentState],
        desk: &Desk,
    ) -> (OrderedMap<DocumentId, Vec<u8>>, Vec<DocumentState>) {
        let (mut lacking, mut others) = (OrderedMap::new(), Vec::new());
        for state in states {
            let may_lack = self.position.restoring.is_some() && !state.version.exists();
            match desk.pages.confirmed(&state.id).filter(|_| may_lack) {
                Some((_, body)) => {
                    lacking.insert(state.id.clone(), body.to_vec());
                }
                None => others.push(state.clone()),
            }
        }
        (lacking, others)
    }

    /// A mutation that the server could not carry out because it lacks documents that it patches: as it is to be pushed, with these.
    /// `None` where it had them.
    pub(super) fn with_whole(
        &self,
        mutation: &Mutation,
        lacking: &OrderedMap<DocumentId, Vec<u8>>,
    ) -> Option<Mutation> {
        let before = self.position.is_before(mutation);
        let mut again = Mutation { before: before.then_some(true), ..mutation.clone() };
        for change in again.changes.iter_mut().filter(|change| matches!(change.operation, Operation::Patch(_))) {
            change.whole = lacking.get(&change.id).cloned().or(change.whole.take());
        }
        (again.changes != mutation.changes).then_some(again)
    }

    /// Every result up to here is known.
    pub(super) fn answered_before(&self) -> Sequence {
        let settled = self.replica.settled;
        self.restore.as_ref().map_or(settled, |restore| restore.base(settled))
    }

    /// A result while acknowledged mutations are pushed again.
    pub(super) fn restored(&mut self, result: PushResult) -> Option<PushResult> {
        let Some(restore) = &mut self.restore else { return Some(result) };
        restore.results.push(result);
        None
    }

    /// What has to be done before the client subscribes.
    pub(super) fn next_restoring(&self) -> Option<Recall> {
        let restore = self.restore.as_ref()?;
        let due = !restore.recalled || restore.results.len() == restore.mutations.len();
        due.then(Recall::default)
    }
}

/// The task that reads what is to be pushed again; and, once that is answered, notes what became of it.
#[derive(Debug, Default)]
pub(super) struct Recall {
    asked: bool,
    mutations: Vec<Pending>,
}

impl Recall {
    pub(super) fn step(&mut self, client: &Client, desk: &mut Desk) -> Next {
        let Some(restore) = &client.restore else { return Next::Done };
        let mut position = client.position.clone();
        if restore.recalled {
            for (result, pending) in restore.results.iter().zip(&restore.mutations) {
                settle_again(result, &pending.mutation, client, desk);
            }
            position.restoring = Some(client.replica.settled);
        } else if !core::mem::replace(&mut self.asked, true) {
            return Next::Read(vec![Read::Pending]);
        }
        position.cursor = None;
        position.channels.clear();
        position.history = None;
        desk.put_position(position);
        Next::Done
    }

    /// The unbroken sequence of acknowledged mutations up to the last one.
    pub(super) fn absorb(&mut self, client: &Client, results: Vec<ReadResult>) {
        let Some(ReadResult::Pending(records)) = results.into_iter().next() else { return };
        let settled = client.replica.settled;
        let from = client.position.restoring.unwrap_or(settled);
        let refused = client.replica.refused.as_deref().unwrap_or_default();
        for (record, bytes) in records {
            for mut mutation in decode::<Vec<Mutation>>(&bytes).unwrap_or_default() {
                let sequence = mutation.sequence;
                if sequence <= from || sequence > settled {
                    continue;
                }
                if self.mutations.last().is_some_and(|last| last.mutation.sequence.next() != sequence) {
                    self.mutations.clear();
                }
                if refused.contains(&sequence) {
                    // It was never committed; its sequence has to be finished.
                    mutation.changes.clear();
                }
                self.mutations.push(Pending { mutation, record, bytes: 0, sent: false });
            }
        }
        if self.mutations.last().is_some_and(|last| last.mutation.sequence != settled) {
            self.mutations.clear();
        }
    }

    pub(super) fn committed(self, client: &mut Client) {
        let Some(restore) = &mut client.restore else { return };
        if !restore.recalled {
            restore.recalled = true;
            restore.mutations = self.mutations;
            if !restore.mutations.is_empty() {
                return;
            }
        }
        client.restore = None;
        client.begin_subscription(true);
    }
}

/// The rows show what the mutation did, and what came after it: reconciliation will tell what the server has. What it refuses now is
/// kept for the user.
fn settle_again(result: &PushResult, mutation: &Mutation, client: &Client, desk: &mut Desk) {
    let (code, message) = match &result.outcome {
        Outcome::Accepted => return,
        Outcome::Merged(_, notes) => return desk.after.conflicts.extend(notes.iter().cloned()),
        Outcome::Rejected(code, message, _) => (*code, message.clone()),
        Outcome::Resolve(_) => (ErrorCode::Conflict, "the server was set back and has another state".into()),
    };
    let document = |change: &crate::wire::DocumentChange| RejectedDocument {
        id: change.id.clone(),
        mine: None,
        copy_row: !matches!(change.operation, Operation::Delete),
    };
    desk.reject(client, code, message, mutation.changes.iter().map(document).collect());
}
