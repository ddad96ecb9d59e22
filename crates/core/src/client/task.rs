//! Tasks: one transaction each, in steps.

use super::apply::Apply;
use super::collect::{Adopt, Collect};
use super::load::Load;
use super::mend::{Mend, Retry};
use super::reconcile::List;
use super::resolve::Resolve;
use super::restore::Recall;
use super::settle::Settle;
use super::storage::{Durability, Read, ReadResult, Step, Verdict, WriteOp};
use super::work::Desk;
use super::{Client, state};
use crate::ids::{DocumentId, Incarnation, Sequence};
use crate::ordered::OrderedMap;
use crate::planted::{self, Bug};
use crate::prelude::*;

/// What a task does next.
#[derive(Debug)]
pub(super) enum Next {
    /// Reads, then goes on.
    Read(Vec<Read>),
    /// Has decided everything.
    Done,
}

/// The task that runs.
#[derive(Debug)]
pub(super) struct Task {
    kind: Kind,
    stage: Stage,
    desk: Desk,
    /// The connection in which it began.
    connection: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing read.
    Prelude,
    /// The fence and the outboxes are being read.
    Checking,
    Running,
    Fenced,
}

#[derive(Debug)]
pub(super) enum Kind {
    Load(Load),
    /// Reads the outboxes and nothing else.
    Look,
    Apply(Apply),
    Settle(Settle),
    Collect(Collect),
    Adopt(Adopt),
    List(List),
    Mend(Mend),
    Recall(Recall),
    Resolve(Resolve),
    /// The client's storage was rolled back: it goes on under another incarnation.
    Renew,
}

impl Client {
    /// The task that is due, the most urgent first.
    pub(super) fn next_task(&mut self) -> Option<Task> {
        let kind = self.next_kind()?;
        if !matches!(kind, Kind::Load(_)) {
            // Whatever the application writes from here on raises it again.
            self.captured = false;
        }
        Some(Task { kind, stage: Stage::Prelude, desk: Desk::default(), connection: self.connections })
    }

    fn next_kind(&mut self) -> Option<Kind> {
        if !self.loaded {
            return Some(Kind::Load(Load));
        }
        if let Some(mend) = self.next_mend() {
            return Some(Kind::Mend(mend));
        }
        if let Some((id, value)) = self.resolved.pop_front() {
            return Some(Kind::Resolve(Resolve { id, value }));
        }
        if !self.results.is_empty() {
            return Settle::take(self).map(Kind::Settle);
        }
        if self.inbound.front().is_some_and(|front| !self.is_held(front)) {
            return Apply::take(self).map(Kind::Apply);
        }
        if self.connection.welcomed() {
            return self.next_outgoing();
        }
        self.captured.then_some(Kind::Look)
    }

    fn next_outgoing(&mut self) -> Option<Kind> {
        if self.rolled_back {
            return self.pending.is_empty().then_some(Kind::Renew);
        }
        if self.restore.is_some() {
            return self.next_restoring().map(Kind::Recall).or(self.captured.then_some(Kind::Look));
        }
        if let Some(list) = List::next(self) {
            return Some(Kind::List(list));
        }
        if self.connection.listing() {
            return None;
        }
        let window = self.limits.push_window_mutations_max as usize;
        // A frame that waits for results is not to wait for those of ever more mutations.
        let gated = self.inbound.front().is_some_and(|front| self.waits_for_results(front));
        let room = self.pending.len() < window.div_ceil(2) && !gated;
        if room && (self.captured || (!self.mirror.is_empty() && !self.idle)) {
            return Some(Kind::Collect(Collect::default()));
        }
        if room && self.caught_up && self.inbound.is_empty() && self.pending.is_empty() {
            return Adopt::next(self).map(Kind::Adopt);
        }
        self.captured.then_some(Kind::Look)
    }
}

impl Task {
    /// One step; see [`super::storage`].
    pub(super) fn step(&mut self, client: &mut Client, results: Vec<ReadResult>) -> Step {
        if matches!(self.kind, Kind::Load(_)) {
            return match self.stage {
                Stage::Prelude => {
                    self.stage = Stage::Running;
                    Step { reads: Load::reads(client), ..Step::default() }
                }
                Stage::Checking | Stage::Running | Stage::Fenced => {
                    Step { writes: Load::finish(client, results), verdict: Verdict::Commit, ..Step::default() }
                }
            };
        }
        match self.stage {
            Stage::Prelude => {
                self.stage = Stage::Checking;
                let mut reads = prelude(client);
                reads.extend(self.early_reads(client));
                return Step { reads, ..Step::default() };
            }
            Stage::Checking => {
                let mut results = results;
                let early = results.split_off(results.len().min(prelude_len(client)));
                self.desk.absorb(early);
                if !check(client, results) {
                    self.stage = Stage::Fenced;
                    return Step { verdict: Verdict::Abort, ..Step::default() };
                }
                self.stage = Stage::Running;
            }
            Stage::Running => self.desk_absorb(client, results),
            Stage::Fenced => return Step { verdict: Verdict::Abort, ..Step::default() },
        }
        match self.run(client) {
            Next::Read(reads) if !reads.is_empty() => Step { reads, ..Step::default() },
            Next::Read(_) => self.step_again(client),
            Next::Done => Step { writes: self.desk.take_writes(), verdict: Verdict::Commit, ..Step::default() },
        }
    }

    /// What can be read together with the prelude, because it does not depend on what the application wrote: a round trip less.
    fn early_reads(&mut self, client: &Client) -> Vec<Read> {
        let pages = match &self.kind {
            Kind::Apply(apply) => apply.pages(client),
            Kind::Settle(settle) => settle.pages(client),
            Kind::Load(_)
            | Kind::Look
            | Kind::Collect(_)
            | Kind::Adopt(_)
            | Kind::List(_)
            | Kind::Mend(_)
            | Kind::Recall(_)
            | Kind::Resolve(_)
            | Kind::Renew => return Vec::new(),
        };
        self.desk.want(pages, [])
    }

    /// A frame whose connection is gone comes again: which of its states are older than a result is not known any more. And the
    /// application may have written since the task was chosen: a frame that has to wait for that goes back.
    fn reconsider(&mut self, client: &mut Client) {
        let Kind::Apply(apply) = &self.kind else { return };
        let same_connection = self.connection == client.connections;
        if same_connection && !(apply.begins() && client.is_held(apply.inbound())) {
            return;
        }
        if let Kind::Apply(apply) = core::mem::replace(&mut self.kind, Kind::Look)
            && same_connection
        {
            apply.give_back(client);
        }
    }

    /// What applies frames of the server needs no flush: rows, shadow and cursor are lost together or not at all, and what is lost is
    /// sent again, because the server learns the cursor only when the client subscribes. Everything else is promised to somebody: a
    /// mutation whose sequence is used, an outcome that the server may forget, an incarnation.
    /// While a server is restored, frames form mutations as well.
    pub(super) fn durability(&self, restoring: bool) -> Durability {
        match self.kind {
            Kind::Apply(_) if restoring => Durability::Strict,
            Kind::Apply(_) | Kind::Look => Durability::Relaxed,
            Kind::Load(_)
            | Kind::Settle(_)
            | Kind::Collect(_)
            | Kind::Adopt(_)
            | Kind::List(_)
            | Kind::Mend(_)
            | Kind::Recall(_)
            | Kind::Resolve(_)
            | Kind::Renew => Durability::Strict,
        }
    }

    /// Whether the transaction was given up because another leader took over.
    pub(super) fn fenced(&self) -> bool {
        self.stage == Stage::Fenced
    }

    /// Nothing of the task is stored: what it took from the queues goes back, unless it belongs to a connection that is gone.
    pub(super) fn failed(self, client: &mut Client) {
        client.captured = true;
        let same_connection = self.connection == client.connections;
        match self.kind {
            Kind::Apply(apply) if same_connection => apply.give_back(client),
            Kind::Settle(settle) if same_connection => settle.give_back(client),
            Kind::Resolve(resolve) => client.resolved.push_front((resolve.id, resolve.value)),
            Kind::Mend(mend) => mend.failed(client),
            Kind::Apply(_)
            | Kind::Settle(_)
            | Kind::Load(_)
            | Kind::Look
            | Kind::Collect(_)
            | Kind::Adopt(_)
            | Kind::List(_)
            | Kind::Recall(_)
            | Kind::Renew => {}
        }
    }

    /// What rows with unsent changes were before they were written over.
    pub(super) fn rebased(&mut self) -> OrderedMap<DocumentId, Option<Vec<u8>>> {
        core::mem::take(&mut self.desk.after.rebased)
    }

    /// Whether it wrote rows again that were refused before.
    pub(super) fn is_mend(&self) -> bool {
        matches!(self.kind, Kind::Mend(_))
    }

    /// The memory follows.
    pub(super) fn committed(self, client: &mut Client) {
        let mut after = self.desk.after;
        if self.connection != client.connections {
            // What another connection said of offsets does not hold on this one.
            after.settled.clear();
            after.forgotten.clear();
            after.caught_up = None;
            after.credit_bytes = 0;
        } else if matches!(self.kind, Kind::Apply(_) | Kind::Settle(_)) {
            client.note_progress();
            // What stood in the way of a refused row may be gone.
            if client.quarantine.keys().any(|id| after.changed.contains_key(&id.collection)) {
                client.retry = Retry::Due;
            }
        }
        let mut recall = None;
        match self.kind {
            Kind::Load(_) => client.loaded_from_storage(),
            Kind::List(list) => list.committed(client),
            // What follows from it needs the position that it stored.
            Kind::Recall(recalled) => recall = (self.connection == client.connections).then_some(recalled),
            Kind::Mend(mend) => mend.committed(client),
            Kind::Renew => client.renewed(),
            Kind::Adopt(adopt) => adopt.committed(client),
            // These may have marked rows in the outboxes.
            Kind::Settle(_) | Kind::Resolve(_) => client.captured = true,
            Kind::Apply(_) => client.deferrals = 0,
            Kind::Collect(_) if !client.inbound.is_empty() => client.deferrals = client.deferrals.saturating_add(1),
            Kind::Look | Kind::Collect(_) => {}
        }
        let lacks = after.lacks;
        client.follow(after);
        if lacks {
            // What is under way of the snapshot does not help: the next session lists anew what the client has.
            client.reconnect();
        }
        if let Some(recall) = recall {
            recall.committed(client);
        }
    }

    fn run(&mut self, client: &mut Client) -> Next {
        self.reconsider(client);
        match &mut self.kind {
            Kind::Load(_) | Kind::Look => Next::Done,
            Kind::Apply(apply) => apply.step(client, &mut self.desk),
            Kind::Settle(settle) => settle.step(client, &mut self.desk),
            Kind::Collect(collect) => collect.step(client, &mut self.desk),
            Kind::Adopt(adopt) => adopt.step(client, &mut self.desk),
            Kind::List(list) => list.step(),
            Kind::Mend(mend) => mend.step(client, &mut self.desk),
            Kind::Recall(recall) => recall.step(client, &mut self.desk),
            Kind::Resolve(resolve) => resolve.step(client, &mut self.desk),
            Kind::Renew => {
                let mut replica = client.replica.clone();
                replica.incarnation = Incarnation(client.random.next());
                replica.assigned = Sequence(0);
                replica.settled = Sequence(0);
                (replica.kept, replica.refused) = (None, None);
                self.desk.put_replica(replica);
                // They could not be pushed again under their own sequences.
                self.desk.after.kept_forgotten = client.kept.len();
                let kept = client.kept.iter().map(|(record, ..)| WriteOp::PendingDelete(*record));
                self.desk.writes.extend(kept);
                Next::Done
            }
        }
    }

    /// A task that asked for nothing goes on at once.
    fn step_again(&mut self, client: &mut Client) -> Step {
        loop {
            match self.run(client) {
                Next::Read(reads) if reads.is_empty() => {}
                Next::Read(reads) => return Step { reads, ..Step::default() },
                Next::Done => {
                    return Step { writes: self.desk.take_writes(), verdict: Verdict::Commit, ..Step::default() };
                }
            }
        }
    }

    fn desk_absorb(&mut self, client: &Client, results: Vec<ReadResult>) {
        match &mut self.kind {
            Kind::Adopt(adopt) => adopt.absorb(&mut self.desk, results),
            Kind::List(list) => list.absorb(results),
            Kind::Recall(recall) => recall.absorb(client, results),
            Kind::Collect(collect) => collect.absorb(&mut self.desk, results),
            Kind::Load(_)
            | Kind::Look
            | Kind::Apply(_)
            | Kind::Settle(_)
            | Kind::Mend(_)
            | Kind::Resolve(_)
            | Kind::Renew => {
                self.desk.absorb(results);
            }
        }
    }
}

/// What every task but the first reads before anything else.
fn prelude(client: &Client) -> Vec<Read> {
    let outbox = |collection: &String| Read::Outbox {
        collection: collection.clone(),
        after: client.mirror.read_through(collection),
    };
    core::iter::once(Read::State(state::FENCE)).chain(client.config.collections.iter().map(outbox)).collect()
}

/// Number of the prelude's reads.
fn prelude_len(client: &Client) -> usize {
    client.config.collections.len() + 1
}

/// Takes the prelude's answers; whether this client is still the leader.
fn check(client: &mut Client, results: Vec<ReadResult>) -> bool {
    let mut results = results.into_iter();
    let ours = client.fence.to_be_bytes();
    let fence = match results.next() {
        Some(ReadResult::State(fence)) => fence,
        _ => None,
    };
    if fence.as_deref() != Some(ours.as_slice()) && !planted::has(Bug::FenceUnchecked) {
        return false;
    }
    // What was read is committed, whatever becomes of this transaction: the mirror may take it at once.
    let collections = client.config.collections.clone();
    for (collection, result) in collections.iter().zip(results) {
        if let ReadResult::Outbox(records) = result {
            client.mirror.add(collection, records);
        }
    }
    true
}

impl Client {
    /// The new incarnation is durable: it begins with another hello.
    fn renewed(&mut self) {
        self.rolled_back = false;
        self.reconnect();
    }

    fn follow(&mut self, after: super::work::Aftermath) {
        if let Some(replica) = after.replica {
            self.replica = replica;
        }
        if let Some(position) = after.position {
            self.position = position;
        }
        if let Some(unresolved) = after.unresolved {
            self.unresolved = unresolved;
            for id in &after.asked_again {
                self.asked.remove(id);
            }
            self.ask_resolver();
        }
        for sequence in after.pending_removed {
            self.pending.remove(&sequence);
        }
        self.kept.extend(after.kept_added);
        self.kept.drain(..after.kept_forgotten.min(self.kept.len()));
        for pending in after.pending_added {
            self.pending.insert(pending.mutation.sequence, pending);
        }
        self.mirror.remove(&after.outbox_removed);
        for change in after.page_changes {
            self.directory.follow(change);
        }
        for (id, offset) in after.settled {
            // The result of a refused mutation may name an earlier offset than that of the mutation before it.
            let settled = self.settled.or_default(id);
            *settled = offset.max(*settled);
        }
        for id in &after.forgotten {
            // The state at that offset is not held: it may be sent again.
            if let Some(settled) = self.settled.get_mut(id) {
                settled.0 = settled.0.saturating_sub(1);
            }
        }
        // During a snapshot, frames to come may be as old as its beginning.
        let complete = self.position.cursor.as_ref().filter(|cursor| cursor.snapshot.is_none());
        if let Some(position) = complete.map(|cursor| cursor.offset) {
            // Documents of gained channels may be as old as the cursor itself.
            self.settled.retain(|_, offset| *offset >= position);
        }
        self.rejected = self.rejected.saturating_add(after.rejected_added);
        self.caught_up = after.caught_up.unwrap_or(self.caught_up);
        if after.reconciled.is_some() {
            self.reconcile.take_if(|running| after.reconciled == Some(running.round()));
        }
        self.idle = after.idle;
        for (collection, keys) in after.changed {
            for key in &keys {
                if self.quarantine.remove(&DocumentId::new(collection.as_str(), key.as_str())).is_some() {
                    self.retry = self.retry.max(Retry::Note);
                }
            }
            self.event(super::Event::Changed { collection, keys });
        }
        for event in after.events {
            self.event(event);
        }
        self.note_conflicts(after.conflicts);
        self.give_credit(after.credit_bytes);
    }
}

/// Deletes outbox records, by collection.
pub(super) fn outbox_deletes(records: &[(String, u64)]) -> Vec<WriteOp> {
    let mut by_collection: OrderedMap<&str, Vec<u64>> = OrderedMap::new();
    for (collection, number) in records {
        by_collection.or_default(collection).push(*number);
    }
    by_collection.into_iter().map(|(collection, numbers)| WriteOp::OutboxDelete(collection.into(), numbers)).collect()
}
