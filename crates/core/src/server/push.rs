//! Mutations: reassembly, sequence, window, results in order.

use std::collections::{BTreeSet, VecDeque};

use super::effect::{Effect, Processed, Refusal, Submission};
use super::session::{Session, State};
use crate::ids::{DocumentId, MutationId, Sequence, Version};
use crate::limits::Limits;
use crate::planted::{self, Bug};
use crate::prelude::*;
use crate::wire::{
    ConflictNote, DocumentChange, DocumentState, ErrorCode, Mutation, Operation, Outcome, Packed, Push, PushResult,
    ServerFrame, unpack,
};

/// The mutations of a session on their way.
#[derive(Debug)]
pub(super) struct PushState {
    /// The client's last finished mutation when the session opened.
    finished: Sequence,
    /// The last one that it was acknowledged then, maybe by a store that was set back since.
    acknowledged: Sequence,
    /// Whether the client brings back what the store lacks.
    brings_back: bool,
    /// The sequence that must come next; `None` before the first push, which may repeat finished ones.
    next: Option<Sequence>,
    /// Frames of a mutation that is not whole.
    partial: Option<Partial>,
    /// Handed to the host, without a result: sequence and bytes.
    inflight: VecDeque<(Sequence, usize)>,
}

#[derive(Debug)]
struct Partial {
    mutation: Mutation,
    bytes: usize,
    refused: Option<(ErrorCode, String)>,
}

impl PushState {
    /// Whether the client brings back what the store lacks.
    pub(super) fn brings_back(&self) -> bool {
        self.brings_back
    }

    pub(super) fn new(finished: Sequence, acknowledged: Sequence, brings_back: bool) -> Self {
        Self { finished, acknowledged, brings_back, next: None, partial: None, inflight: VecDeque::new() }
    }

    pub(super) fn bytes_inflight(&self) -> usize {
        self.inflight.iter().map(|(_, bytes)| bytes).sum()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.inflight.is_empty()
    }

    /// Takes one frame; gives the mutation once it is whole.
    fn take(&mut self, push: Push, len: usize, limits: &Limits) -> Result<Option<(Partial, usize)>, Refusal> {
        let mut partial = match self.partial.take() {
            Some(partial) if partial.mutation.sequence == push.sequence => partial,
            Some(partial) => {
                let message = format!("mutation {} is not whole, {} follows", partial.mutation.sequence, push.sequence);
                return Err(Refusal::new(ErrorCode::OutOfOrder, message));
            }
            None => self.begin(&push, limits)?,
        };
        partial.bytes += len;
        partial.mutation.changes.extend(push.changes);
        partial.check(limits);
        if push.more {
            self.partial = Some(partial);
            return Ok(None);
        }
        let bytes = partial.bytes;
        self.inflight.push_back((push.sequence, bytes));
        self.next = Some(push.sequence.next());
        Ok(Some((partial, bytes)))
    }

    fn begin(&self, push: &Push, limits: &Limits) -> Result<Partial, Refusal> {
        let sequence = push.sequence;
        let in_order = match self.next {
            Some(next) => sequence == next,
            // A store that was set back may lack mutations that the client does not have any more.
            None => sequence.0 >= 1 && (sequence <= self.finished.next() || sequence == push.acknowledged.next()),
        };
        if !in_order {
            let next = self.next.unwrap_or(self.finished.next());
            let message = format!("mutation {sequence} is not the next one, {next}");
            return Err(Refusal::new(ErrorCode::OutOfOrder, message));
        }
        if self.inflight.len() >= limits.push_window_mutations_max as usize {
            let message = format!("more than {} mutations without a result", limits.push_window_mutations_max);
            return Err(Refusal::new(ErrorCode::Protocol, message));
        }
        let mutation = Mutation { sequence, edited_ms: push.edited_ms, changes: Vec::new(), before: push.before };
        Ok(Partial { mutation, bytes: 0, refused: None })
    }
}

impl Partial {
    /// A mutation beyond the limits is kept as refused, without its content: its sequence still has to be finished.
    fn check(&mut self, limits: &Limits) {
        let documents_max = limits.mutation_documents_max as usize;
        let message = if self.bytes > limits.mutation_bytes_max as usize {
            format!("a mutation of more than {} bytes", limits.mutation_bytes_max)
        } else if self.mutation.changes.len() > documents_max {
            format!("a mutation of more than {documents_max} documents")
        } else {
            if self.refused.is_some() {
                self.mutation.changes.clear();
            }
            return;
        };
        self.mutation.changes = Vec::new();
        self.refused.get_or_insert((ErrorCode::TooLarge, message));
    }
}

/// About how many bytes a change occupies.
fn change_bytes(change: &DocumentChange) -> usize {
    let content = match &change.operation {
        Operation::Put(body) | Operation::Offer(body) => body.len(),
        Operation::Delete => 0,
        Operation::Patch(patches) => patches
            .iter()
            .map(|patch| {
                let values = [&patch.base, &patch.value].into_iter().flatten().map(Vec::len).sum::<usize>();
                values + patch.path.iter().map(String::len).sum::<usize>()
            })
            .sum(),
    };
    let whole = change.whole.as_ref().map_or(0, Vec::len);
    content + whole + change.id.collection.len() + change.id.key.len()
}

impl Session {
    pub(super) fn push(&mut self, push: Push, len: usize) {
        let State::Open(open) = &mut self.state else { return };
        let acknowledged = push.acknowledged;
        let first = open.push.next.is_none();
        match open.push.take(push, len, &self.config.limits) {
            Ok(None) => {}
            Ok(Some((partial, _))) => {
                let sequence = partial.mutation.sequence;
                let id = MutationId { client: open.client, incarnation: open.incarnation, sequence };
                let refused = partial.refused;
                let mutation = partial.mutation;
                let again = mutation.before == Some(true) || sequence <= open.push.acknowledged;
                let brings_back = open.push.brings_back;
                let jumps = first && sequence > open.push.finished.next();
                let submission = Submission { id, acknowledged, mutation, jumps, refused, again, brings_back };
                self.effects.push_back(Effect::Process(Box::new(submission)));
            }
            Err(refusal) => self.fail(&refusal),
        }
    }

    /// Several pushes in one frame: each counts with its share of the frame's bytes.
    pub(super) fn pushes(&mut self, packed: &Packed, len: usize) {
        let pushes = match unpack::<Push>(packed) {
            Ok(pushes) => pushes,
            Err(error) => return self.fail(&Refusal::new(ErrorCode::Protocol, error.to_string())),
        };
        let share = len / pushes.len().max(1);
        for push in pushes {
            let bytes = push.changes.iter().map(change_bytes).sum::<usize>().max(share);
            self.push(push, bytes);
        }
    }

    /// What became of the earliest [`Effect::Process`] without an answer. An error ends the session: the client pushes again.
    pub fn handle_processed(&mut self, now_ms: u64, answer: Result<Processed, Refusal>) {
        let State::Open(open) = &mut self.state else { return };
        let Some((sequence, _)) = open.push.inflight.pop_front() else { return };
        let processed = match answer {
            Ok(processed) if processed.result.sequence == sequence => processed,
            Ok(processed) => {
                let message = format!("result {} for mutation {sequence}", processed.result.sequence);
                return self.fail(&Refusal::new(ErrorCode::Internal, message));
            }
            Err(refusal) => return self.fail(&refusal),
        };
        if planted::has(Bug::AckDropped) && sequence.0.is_multiple_of(5) {
            return;
        }
        if self.still_open(now_ms) {
            let mut result = self.conceal(processed);
            if planted::has(Bug::OffsetTooHigh) {
                result.offset.0 += 3;
            }
            self.send(&ServerFrame::Result(result));
        }
    }

    /// The result as the client may see it at this moment: what it gained meanwhile is told, because the pages of what was gained may
    /// be older than the mutation, and what it lost is not. Documents that no subscription covers must not stay on the client; the
    /// result itself says so: another frame after it would be lost when the client stops in between.
    fn conceal(&self, processed: Processed) -> PushResult {
        let Processed { result: PushResult { sequence, offset, outcome }, placed, noted } = processed;
        let State::Open(open) = &self.state else { return PushResult { sequence, offset, outcome } };
        let reads = |(id, channels): &(DocumentId, Vec<String>)| open.grant.filter.matches(&id.collection, channels);
        let wanted = |collection: &String| {
            open.subscriptions.values().any(|one| !one.ending && one.collections.contains(collection))
        };
        let unreadable: BTreeSet<&DocumentId> = placed.iter().filter(|one| !reads(one)).map(|(id, _)| id).collect();
        let unnotable: BTreeSet<&DocumentId> =
            placed.iter().chain(&noted).filter(|one| !reads(one)).map(|(id, _)| id).collect();
        let uncovered: BTreeSet<&DocumentId> = placed
            .iter()
            .filter(|(id, channels)| wanted(&id.collection) && !open.covers(&id.collection, channels))
            .map(|(id, _)| id)
            .collect();
        let hide = |states: Vec<DocumentState>| -> Vec<DocumentState> {
            let hide_one = |state: DocumentState| match &state.id {
                id if uncovered.contains(id) => DocumentState::withheld(state.id),
                id if unreadable.contains(id) => DocumentState { version: Version::ABSENT, body: None, ..state },
                _ => state,
            };
            states.into_iter().map(hide_one).collect()
        };
        let withheld = || uncovered.iter().map(|id| DocumentState::withheld((*id).clone()));
        let outcome = match outcome {
            Outcome::Accepted => merged(withheld().collect(), Vec::new()),
            Outcome::Merged(mut states, mut notes) => {
                states.retain(|state| !uncovered.contains(&state.id));
                notes.retain(|note| !unnotable.contains(&note.id));
                merged(hide(states).into_iter().chain(withheld()).collect(), notes)
            }
            Outcome::Rejected(code, message, states) => Outcome::Rejected(code, message, hide(states)),
            // Nobody can resolve a conflict with what they do not see.
            Outcome::Resolve(states) if states.iter().any(|state| uncovered.contains(&state.id)) => {
                let message = "changed by another, in a channel that is not subscribed".to_owned();
                Outcome::Rejected(ErrorCode::Conflict, message, hide(states))
            }
            Outcome::Resolve(states) => Outcome::Resolve(hide(states)),
        };
        PushResult { sequence, offset, outcome }
    }
}

fn merged(states: Vec<DocumentState>, notes: Vec<ConflictNote>) -> Outcome {
    if states.is_empty() && notes.is_empty() { Outcome::Accepted } else { Outcome::Merged(states, notes) }
}
