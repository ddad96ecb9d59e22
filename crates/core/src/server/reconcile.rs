//! Reconciliation of a subscription: symbols until the client knows the difference, then the documents that differ.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::batch::{change_of, is_tombstone};
use super::deliver::chunked;
use super::effect::{Effect, Refusal, Sought};
use super::pump::Load;
use super::record::{ChangeRecord, DocumentPage, SymbolPage};
use super::session::{OpenSession, Session, State};
use crate::ids::{DocumentId, Offset, SubscriptionId};
use crate::planted::{self, Bug};
use crate::prelude::*;
use crate::reconcile::{SYMBOL_BYTES, SYMBOLS_MAX, Symbol, symbols_to_bytes};
use crate::wire::{
    Change, Difference, ErrorCode, MoreSymbols, Reconciled, Restart, ServerFrame, Symbols, pack, unpack,
};

/// Documents that one load reads.
const DOCUMENTS_LOADED_MAX: usize = 128;

/// A reconciliation under way.
#[derive(Debug)]
pub(super) struct ReconcilePhase {
    /// The client's number for it.
    round: u64,
    /// Where the symbols sent last stand; `None` before the first.
    pub(super) offset: Option<Offset>,
    /// Symbols to be sent: the first, and the end.
    wanted: Option<(u32, u32)>,
    /// Item hashes that the client lacks, not answered.
    lacks: VecDeque<u64>,
    /// Documents of items that only the client has, not answered.
    only: VecDeque<DocumentId>,
    /// Documents that were answered.
    answered: BTreeSet<DocumentId>,
    /// Items named by the client so far.
    named: usize,
    /// Whether the client has named them all.
    whole: bool,
}

impl ReconcilePhase {
    pub(super) fn new((round, symbols): (u64, u32)) -> Self {
        Self {
            round,
            offset: None,
            wanted: Some((0, symbols)),
            lacks: VecDeque::new(),
            only: VecDeque::new(),
            answered: BTreeSet::new(),
            named: 0,
            whole: false,
        }
    }

    /// What to load next; `None` while the client has to say something.
    fn next_load(&self, id: SubscriptionId) -> Option<Load> {
        if let Some((_, until)) = self.wanted {
            return Some(Load::Symbols(id, until));
        }
        let sought = if self.lacks.is_empty() {
            Sought::Named(self.only.iter().take(DOCUMENTS_LOADED_MAX).cloned().collect())
        } else {
            Sought::Items(self.lacks.iter().take(DOCUMENTS_LOADED_MAX).copied().collect())
        };
        // An empty load ends the reconciliation.
        let due = self.whole || !self.lacks.is_empty() || !self.only.is_empty();
        due.then_some(Load::Documents(id, sought))
    }

    fn done(&self) -> bool {
        self.whole && self.lacks.is_empty() && self.only.is_empty()
    }
}

impl Session {
    /// The client cannot decode what was sent.
    pub(super) fn more_symbols(&mut self, now_ms: u64, more: &MoreSymbols) {
        if let Some(phase) = self.phase(more.subscription, more.round) {
            phase.wanted = Some((more.first, more.until));
            self.pump(now_ms);
        }
    }

    /// The client knows what differs.
    pub(super) fn difference(&mut self, now_ms: u64, difference: &Difference) {
        let named = match unpack::<(u32, String)>(&difference.only) {
            Ok(named) => named,
            Err(error) => return self.fail(&Refusal::new(ErrorCode::Protocol, error.to_string())),
        };
        let (hashes, rest) = difference.lacks.as_chunks::<8>();
        if !rest.is_empty() {
            return self.fail(&Refusal::new(ErrorCode::Protocol, "`lacks` is not a list of 8-byte hashes"));
        }
        let State::Open(open) = &mut self.state else { return };
        let collections: BTreeMap<u32, &String> = open.numbers.iter().map(|(name, number)| (*number, name)).collect();
        let only: Option<Vec<DocumentId>> = named
            .into_iter()
            .map(|(number, key)| collections.get(&number).map(|name| DocumentId::new(name.as_str(), key)))
            .collect();
        let Some(only) = only else {
            return self.fail(&Refusal::new(ErrorCode::Protocol, "a document of a collection without a number"));
        };
        let Some(phase) = self.phase(difference.subscription, difference.round) else { return };
        phase.named += hashes.len() + only.len();
        if phase.offset.is_none() || phase.whole || phase.named > SYMBOLS_MAX as usize {
            let message = format!("a difference before the symbols, twice, or of more than {SYMBOLS_MAX} items");
            return self.fail(&Refusal::new(ErrorCode::Protocol, message));
        }
        phase.lacks.extend(hashes.iter().map(|hash| u64::from_be_bytes(*hash)));
        phase.only.extend(only);
        phase.whole = !difference.more;
        phase.wanted = None;
        self.pump(now_ms);
    }

    /// A reconciliation that still runs; what belongs to an earlier one crossed a frame of the server's, and means nothing any more.
    fn phase(&mut self, id: SubscriptionId, round: u64) -> Option<&mut ReconcilePhase> {
        let State::Open(open) = &mut self.state else { return None };
        let phase = open.subscriptions.get_mut(&id)?.reconcile.as_mut()?;
        (phase.round == round).then_some(phase)
    }

    /// The answer to [`Effect::LoadSymbols`].
    pub fn handle_symbols(&mut self, now_ms: u64, ticket: u64, answer: Result<SymbolPage, Refusal>) {
        let Some(Load::Symbols(id, until)) = self.loaded(now_ms, ticket) else { return };
        let page = match answer {
            Ok(page) => page,
            Err(refusal) => return self.fail(&refusal),
        };
        self.deliver_symbols(id, until, &page);
        self.pump(now_ms);
    }

    /// The answer to [`Effect::LoadDocuments`].
    pub fn handle_documents(&mut self, now_ms: u64, ticket: u64, answer: Result<DocumentPage, Refusal>) {
        let Some(Load::Documents(id, sought)) = self.loaded(now_ms, ticket) else { return };
        let page = match answer {
            Ok(page) => page,
            Err(refusal) => return self.fail(&refusal),
        };
        self.deliver_documents(id, &sought, &page);
        self.pump(now_ms);
    }

    fn deliver_symbols(&mut self, id: SubscriptionId, until: u32, page: &SymbolPage) {
        let frame_symbols = (self.chunk_bytes_max() / SYMBOL_BYTES).max(1);
        let State::Open(open) = &mut self.state else { return };
        open.head = open.head.max(page.offset);
        let Some(subscription) = open.subscriptions.get_mut(&id) else { return };
        let Some(phase) = &mut subscription.reconcile else { return };
        let Some((wanted, _)) = phase.wanted.take_if(|(_, end)| *end == until) else { return };
        // Symbols of different offsets do not belong together: the client begins with the first again.
        let first = if phase.offset == Some(page.offset) { wanted } else { 0 };
        phase.offset = Some(page.offset);
        let round = phase.round;
        let symbols: &[Symbol] = page.symbols.get(first as usize..).unwrap_or_default();
        let mut chunks: Vec<&[Symbol]> = symbols.chunks(frame_symbols).collect();
        let final_chunk = chunks.pop().unwrap_or_default();
        let mut at = first;
        for (chunk, last) in chunks.into_iter().map(|chunk| (chunk, false)).chain([(final_chunk, true)]) {
            self.send_charged(&ServerFrame::Symbols(Symbols {
                subscription: id,
                round,
                offset: page.offset,
                documents: page.documents,
                first: at,
                symbols: symbols_to_bytes(chunk),
                last,
            }));
            at = at.saturating_add(u32::try_from(chunk.len()).unwrap_or(u32::MAX));
        }
    }

    /// A document that the filter does not match is told like one that is not there: whoever names a key must not learn more.
    fn deliver_documents(&mut self, id: SubscriptionId, sought: &Sought, page: &DocumentPage) {
        let chunk_bytes_max = self.chunk_bytes_max();
        let State::Open(open) = &mut self.state else { return };
        // The client is caught up once it has what these documents show of its own and of others.
        let newest = page.records.iter().map(|record| record.offset).max().unwrap_or_default();
        open.head = open.head.max(newest);
        let (changelog, numbers) = (open.changelog, &open.numbers);
        let Some(subscription) = open.subscriptions.get_mut(&id) else { return };
        let channels = subscription.labels_held();
        let filter = &subscription.filter;
        let Some(phase) = &mut subscription.reconcile else { return };
        let Some(offset) = phase.offset else { return };
        let named = match sought {
            Sought::Items(hashes) => {
                phase.lacks.drain(..hashes.len().min(phase.lacks.len()));
                false
            }
            Sought::Named(ids) => {
                phase.only.drain(..ids.len().min(phase.only.len()));
                true
            }
        };
        let mut changes = Vec::new();
        for record in &page.records {
            let Some(number) = numbers.get(&record.id.collection) else { continue };
            let seen = !is_tombstone(record) && filter.matches(&record.id.collection, &record.channels);
            // What was known by a hash and has gone meanwhile is among the changes that follow.
            if (seen || named) && phase.answered.insert(record.id.clone()) {
                let hidden = ChangeRecord { body: None, ..record.clone() };
                changes.push(change_of(if seen { record } else { &hidden }, record.offset, *number));
            }
        }
        self.delivered += changes.len() as u64;
        let offset = if planted::has(Bug::StaleReconciled) { open.head } else { offset };
        let (round, done) = (phase.round, phase.done());
        if done {
            subscription.reconcile = None;
            subscription.told = offset;
            subscription.covered = offset;
        }
        let mut chunks = chunked(changes, chunk_bytes_max);
        let final_chunk = chunks.pop().unwrap_or_default();
        let frame = |changes: &[Change], last: bool| {
            let (changes, channels) = (pack(changes), channels.clone());
            ServerFrame::Reconciled(Reconciled { changelog, subscription: id, round, offset, changes, channels, last })
        };
        for chunk in chunks {
            self.send_charged(&frame(&chunk, false));
        }
        if done || !final_chunk.is_empty() {
            self.send_charged(&frame(&final_chunk, done));
        }
    }

    /// Tells the client to subscribe again.
    pub(super) fn send_restarts(&mut self, ids: Vec<SubscriptionId>) {
        for subscription in ids {
            self.send(&ServerFrame::Restart(Restart { subscription }));
        }
    }
}

impl OpenSession {
    /// What reconciliations wait for.
    pub(super) fn reconcile_load(&self) -> Option<Load> {
        let mut running = self.subscriptions.values().filter(|one| !one.ending);
        running.find_map(|one| one.reconcile.as_ref()?.next_load(one.id))
    }

    /// The effect that carries out such a load.
    pub(super) fn reconcile_effect(&self, load: &Load, ticket: u64) -> Option<Effect> {
        match load {
            Load::Symbols(id, until) => {
                let subscription = self.subscriptions.get(id)?;
                let is_first = subscription.reconcile.as_ref()?.offset.is_none();
                let (filter, count) = (subscription.filter.clone(), (*until).min(SYMBOLS_MAX));
                Some(Effect::LoadSymbols { ticket, filter, count, catches_up: is_first && self.push.brings_back() })
            }
            Load::Documents(_, sought) => Some(Effect::LoadDocuments { ticket, sought: sought.clone() }),
            Load::Purge(_) | Load::Gain(_) | Load::Snapshot(_) | Load::Changes(_) => None,
        }
    }
}
