//! One mutation against the current documents: what would be committed, and what the client would be told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use tidelock_core::ids::{ChangelogId, DocumentId, Offset, Sequence, Version};
use tidelock_core::json::{self, Value};
use tidelock_core::limits::DEPTH_MAX;
use tidelock_core::merge::{self, Context, Current, MergeError, Merged};
use tidelock_core::planted::{self, Bug};
use tidelock_core::server::Submission;
use tidelock_core::wire::{ConflictNote, DocumentChange, DocumentState, ErrorCode, Mutation, Operation, Outcome};
use tidelock_core::{key, version};
use tidelock_store::{Commit, Document, Trace, Write};

use super::Caller;
use crate::database::Database;

/// Documents as they are, or will be once the mutations prepared before are committed.
pub(crate) struct View {
    /// What was read is at least as new as this.
    pub(crate) offset: Offset,
    /// By rising id, each once.
    documents: Vec<(DocumentId, State)>,
    /// Of documents that are brought back.
    traces: BTreeMap<DocumentId, Trace>,
}

/// One document of a [`View`].
#[derive(Clone, Default)]
pub(crate) struct State {
    pub(crate) version: Version,
    pub(crate) body: Option<Arc<[u8]>>,
    /// What the body says, `None` when it cannot be read; found out when somebody asks.
    parsed: OnceLock<Option<Arc<Value>>>,
    edited_ms: u64,
}

/// A mutation that is ready to be committed.
pub(crate) struct Prepared {
    pub(crate) commit: Commit,
    pub(crate) answer: Answerable,
}

/// What there is to tell once the commit is durable. The session hides what the client may not see by then.
pub(crate) struct Answerable {
    pub(crate) sequence: Sequence,
    pub(crate) outcome: Outcome,
    pub(crate) read_offset: Offset,
    /// Whether the commit holds the mutation's documents; if not, it only records that the mutation was refused.
    pub(crate) committed: bool,
    /// The documents that exist afterwards, with their channels.
    pub(crate) placed: Vec<Placed>,
    /// The documents of conflict notes that existed before, with the channels that they were in.
    pub(crate) noted: Vec<Placed>,
}

/// A document with its channels.
pub(crate) type Placed = (DocumentId, Vec<String>);

/// Why a mutation is not committed.
enum Verdict {
    Rejected(ErrorCode, String),
    Resolve,
}

/// What a mutation comes to.
#[derive(Default)]
struct Plan {
    writes: Vec<Write>,
    results: Vec<(DocumentId, State)>,
    states: Vec<DocumentState>,
    conflicts: Vec<ConflictNote>,
}

impl View {
    /// Of documents that were read: by rising id, each once.
    pub(crate) fn new(offset: Offset, documents: impl Iterator<Item = (DocumentId, Option<Document>)>) -> Self {
        let state = |document: Option<Document>| document.map_or_else(State::default, State::of);
        let documents = documents.map(|(id, document)| (id, state(document))).collect();
        Self { offset, documents, traces: BTreeMap::new() }
    }

    pub(super) fn remember(&mut self, traces: impl Iterator<Item = (DocumentId, Trace)>) {
        self.traces.extend(traces);
    }

    fn trace(&self, id: &DocumentId) -> Trace {
        self.traces.get(id).copied().unwrap_or_default()
    }

    /// A document as it is; one that was not read does not exist.
    pub(crate) fn state(&self, id: &DocumentId) -> State {
        let found = self.place(id).ok().and_then(|place| self.documents.get(place));
        found.map(|(_, state)| state.clone()).unwrap_or_default()
    }

    fn set(&mut self, id: DocumentId, state: State) {
        match self.place(&id) {
            Ok(place) => {
                if let Some((_, former)) = self.documents.get_mut(place) {
                    *former = state;
                }
            }
            Err(place) => self.documents.insert(place, (id, state)),
        }
    }

    fn place(&self, id: &DocumentId) -> Result<usize, usize> {
        self.documents.binary_search_by(|(other, _)| other.cmp(id))
    }
}

impl State {
    fn of(document: Document) -> Self {
        let Document { version, body, edited_ms } = document;
        Self { version, body: Some(body), parsed: OnceLock::new(), edited_ms }
    }

    /// The content; `None` when the document does not exist or its stored body cannot be read.
    fn value(&self) -> Option<&Value> {
        let body = self.body.as_ref()?;
        self.parsed.get_or_init(|| json::parse(body).ok().map(Arc::new)).as_deref()
    }

    /// Whether the stored body cannot be read: nothing but a whole replacement is possible.
    fn is_damaged(&self) -> bool {
        self.body.is_some() && self.value().is_none()
    }
}

/// Prepares a mutation on top of `view`, which then holds its outcome.
pub(crate) fn prepare(database: &Database, caller: &Caller, submission: &Submission, view: &mut View) -> Prepared {
    let mutation = &submission.mutation;
    let now_ms = caller.clock.now_ms();
    let plan = match &submission.refused {
        Some((code, message)) => Err(Verdict::Rejected(*code, message.clone())),
        None => plan(database, caller, submission, view, now_ms),
    };
    let committed = plan.is_ok();
    let mut noted = Vec::new();
    let (plan, outcome, placed) = match plan {
        Ok(mut plan) => {
            noted = former(database, view, &plan.conflicts);
            let outcome = outcome_of(&mut plan);
            let placed = plan.writes.iter().filter(|write| write.body.is_some());
            let placed: Vec<Placed> = placed.map(|write| (write.id.clone(), write.channels.clone())).collect();
            (plan, outcome, placed)
        }
        Err(verdict) => {
            let (states, placed) = differing(database, view, mutation);
            let outcome = match verdict {
                Verdict::Rejected(code, message) => Outcome::Rejected(code, message, states),
                Verdict::Resolve => Outcome::Resolve(states),
            };
            (Plan::default(), outcome, placed)
        }
    };
    for (id, state) in plan.results {
        view.set(id, state);
    }
    // Only such a store looks for traces of the mutation in its documents.
    let traced = database.store.capabilities().foreign_writers;
    let named = if traced { &mutation.changes[..] } else { &[] };
    let commit = Commit {
        jumps: submission.jumps,
        mutation: Some(submission.id),
        session: caller.session,
        acknowledged: submission.acknowledged,
        writes: plan.writes,
        named: named.iter().map(|change| change.id.clone()).collect(),
        fingerprint: if traced { fingerprint(mutation) } else { None },
        outcome: recorded(&outcome, |id| {
            placed
                .iter()
                .chain(&noted)
                .all(|(one, channels)| one != id || caller.filter.matches(&id.collection, channels))
        }),
        conflicts: if planted::has(Bug::ConflictUnlogged) { Vec::new() } else { plan.conflicts },
        actor: caller.identity.subject.clone(),
        now_ms,
    };
    let (sequence, read_offset) = (mutation.sequence, view.offset);
    Prepared { commit, answer: Answerable { sequence, outcome, read_offset, committed, placed, noted } }
}

/// Tells a mutation from another one under its sequence: when the user made it, and what it changed. Its values have no part in it: one
/// that comes again to a server of another version has to be the same there. One without changes has nothing to lose.
fn fingerprint(mutation: &Mutation) -> Option<u64> {
    let hasher = version::ItemHasher::new(ChangelogId(mutation.edited_ms));
    let each = mutation.changes.iter().map(|change| hasher.hash(&change.id.collection, &change.id.key, change.base));
    each.reduce(|all, one| all ^ one)
}

fn plan(
    database: &Database,
    caller: &Caller,
    submission: &Submission,
    view: &View,
    now_ms: u64,
) -> Result<Plan, Verdict> {
    let mutation = &submission.mutation;
    let mut named = BTreeSet::new();
    let mut plan = Plan::default();
    for change in &mutation.changes {
        if !named.insert(&change.id) {
            let message = format!("the mutation names {} twice", change.id);
            return Err(Verdict::Rejected(ErrorCode::InvalidDocument, message));
        }
        // A clock that runs ahead must not win for ever.
        let edited_ms = mutation.edited_ms.min(now_ms);
        let Submission { again, brings_back, .. } = *submission;
        let brought = Brought { again, brings_back, trace: view.trace(&change.id) };
        plan_change(database, caller, change, &view.state(&change.id), brought, edited_ms, &mut plan)?;
    }
    Ok(plan)
}

/// How a change comes to a store that was set back.
#[derive(Clone, Copy)]
struct Brought {
    /// It may have been committed before.
    again: bool,
    /// By a client that knows of more than the store.
    brings_back: bool,
    trace: Trace,
}

impl Brought {
    /// Whether the server knows better than what is offered: there is such a document, or it was deleted.
    fn is_known(self, current: &State) -> bool {
        current.version.exists() || self.trace.is_tombstone()
    }

    /// Whether what others have brought back may hold the change, and nothing tells.
    fn hides(self, change: &DocumentChange, current: &State) -> bool {
        let other = change.base != current.version || !current.version.exists();
        self.again && self.trace.is_brought_back() && other && !current.is_damaged()
    }

    /// Whether the document may only not be back.
    fn may_come(self, current: &State) -> bool {
        self.brings_back && !self.is_known(current)
    }

    /// What is to be remembered of the document after the change.
    fn trace_of(self, change: &DocumentChange, current: &State) -> Trace {
        match &change.operation {
            Operation::Offer(_) if !self.is_known(current) => Trace::Offered,
            // With it comes what others did.
            Operation::Put(_) | Operation::Patch(_) if self.may_come(current) && change.base.exists() => Trace::Offered,
            // Another client may offer it.
            Operation::Delete if self.may_come(current) => Trace::Withdrawn,
            Operation::Offer(_) | Operation::Delete | Operation::Put(_) | Operation::Patch(_) => Trace::None,
        }
    }
}

/// What a change makes of the current document, by itself and by policy.
fn merged(
    change: &DocumentChange,
    current: &State,
    old: Option<&Value>,
    brought: Brought,
    context: &Context<'_>,
) -> Result<Merged, MergeError> {
    let id = &change.id;
    match (&change.operation, old) {
        (operation @ Operation::Offer(_), _) => Ok(Merged::Fast { value: merge::apply(None, operation)? }),
        (operation @ (Operation::Put(_) | Operation::Patch(_)), _) if brought.hides(change, current) => {
            merge::again(current.value(), id, operation)
        }
        (operation @ Operation::Put(_), _) if change.base == current.version => {
            Ok(Merged::Fast { value: merge::apply(None, operation)? })
        }
        (operation, _) if current.is_damaged() => replace(operation),
        // Nobody deleted it: its client knows the rest of the document.
        (operation @ Operation::Put(_), None) if brought.may_come(current) => {
            Ok(Merged::Fast { value: merge::apply(None, operation)? })
        }
        (operation @ Operation::Patch(_), None) if brought.may_come(current) => match &change.whole {
            Some(whole) => Ok(Merged::Fast { value: merge::apply(Some(&json::parse(whole)?), operation)? }),
            None => Ok(Merged::Resolve),
        },
        _ => merge::merge(old.map(|value| Current { version: current.version, value }), change, context),
    }
}

fn plan_change(
    database: &Database,
    caller: &Caller,
    change: &DocumentChange,
    current: &State,
    brought: Brought,
    edited_ms: u64,
    plan: &mut Plan,
) -> Result<(), Verdict> {
    let id = &change.id;
    let reject = |code, message: String| Verdict::Rejected(code, format!("{id}: {message}"));
    let rules = database.rules();
    let Some(rules) = rules.collection(&id.collection) else {
        return Err(reject(ErrorCode::UnknownCollection, "no such collection".to_owned()));
    };
    if let Err(error) = key::check(&id.key, &database.limits) {
        return Err(Verdict::Rejected(ErrorCode::InvalidDocument, format!("{}: a key: {error}", id.collection)));
    }
    // The client replaces what it knows: the current content matters only to a rule that asks for it.
    let replaces = change.base == current.version && matches!(change.operation, Operation::Put(_));
    let old = if replaces && !rules.reads_current_state() { None } else { current.value() };
    let context = Context { policy: rules.policy(), edited_ms, current_edited_ms: current.edited_ms };
    let merged = merged(change, current, old, brought, &context)
        .map_err(|error| reject(ErrorCode::InvalidDocument, error.to_string()))?;
    let (mut value, conflicts, mut told) = match merged {
        Merged::Unchanged => (old.cloned(), Vec::new(), false),
        Merged::Fast { value } => (value, Vec::new(), false),
        Merged::Merged { value, conflicts } => (value, conflicts, true),
        Merged::Rejected { path } => {
            let message = format!("changed by another at {path:?} since version {}", change.base);
            return Err(reject(ErrorCode::Conflict, message));
        }
        Merged::Resolve => return Err(Verdict::Resolve),
    };
    let offers = matches!(change.operation, Operation::Offer(_));
    if offers && current.is_damaged() {
        return Err(reject(ErrorCode::Conflict, "the stored document cannot be read".to_owned()));
    }
    let new = value.as_ref();
    rules
        .may_write(&caller.identity, &id.key, old.filter(|_| !offers), new)
        .map_err(|denied| reject(ErrorCode::Forbidden, denied.to_string()))?;
    if let Some(new) = new {
        rules.validate(new).map_err(|violation| reject(ErrorCode::SchemaViolation, violation.to_string()))?;
    }
    if offers && brought.is_known(current) {
        // Only who might create it is told that it is known.
        (value, told) = (old.cloned(), true);
    }
    let new = value.as_ref();
    let channels = new.or(old).map_or_else(Vec::new, |one| rules.channels(&id.key, one));
    let body: Option<Arc<[u8]>> = value.as_ref().map(|value| json::write(value).into());
    let bytes_max = database.limits.document_bytes_max as usize;
    if let Some(body) = body.as_ref().filter(|body| body.len() > bytes_max) {
        let message = format!("a document of {} bytes; at most {bytes_max}", body.len());
        return Err(reject(ErrorCode::TooLarge, message));
    }
    let depth_max = database.store.capabilities().depth_max;
    // Nothing that was parsed is deeper than the protocol allows.
    if depth_max < DEPTH_MAX
        && let Some(depth) = value.as_ref().map(Value::depth).filter(|depth| *depth > depth_max)
    {
        let message = format!("a document nested {depth} levels deep; at most {depth_max} on this platform");
        return Err(reject(ErrorCode::TooLarge, message));
    }
    let version = value.as_ref().map_or(Version::ABSENT, version::of);
    if told && predicted(&change.operation) != Some(version) {
        let body = body.as_deref().map(<[u8]>::to_vec);
        plan.states.push(DocumentState { id: id.clone(), version, body });
    }
    plan.conflicts.extend(conflicts);
    if version != current.version {
        let parsed = OnceLock::from(value.map(Arc::new));
        plan.results.push((id.clone(), State { version, body: body.clone(), parsed, edited_ms }));
    }
    // A document that stays as it is is part of the commit too: the result tells the client at which offset it was so.
    let trace = brought.trace_of(change, current);
    let (id, change) = (id.clone(), database.store.capabilities().foreign_writers.then(|| change.clone()));
    plan.writes.push(Write { id, expected: current.version, change, body, version, channels, edited_ms, trace });
    Ok(())
}

/// A document that cannot be read can only be replaced whole.
fn replace(operation: &Operation) -> Result<Merged, MergeError> {
    match operation {
        Operation::Put(_) | Operation::Delete | Operation::Offer(_) => {
            Ok(Merged::Merged { value: merge::apply(None, operation)?, conflicts: Vec::new() })
        }
        Operation::Patch(_) => Ok(Merged::Resolve),
    }
}

/// The version that the client expects its document to have; `None` when the change does not tell.
pub(super) fn predicted(operation: &Operation) -> Option<Version> {
    match operation {
        Operation::Put(body) | Operation::Offer(body) => version::of_body(body).ok(),
        Operation::Delete => Some(Version::ABSENT),
        Operation::Patch(_) => None,
    }
}

fn outcome_of(plan: &mut Plan) -> Outcome {
    let (states, notes) = (std::mem::take(&mut plan.states), plan.conflicts.clone());
    if states.is_empty() && notes.is_empty() { Outcome::Accepted } else { Outcome::Merged(states, notes) }
}

/// Where the documents of notes were before: a note holds what they were.
fn former(database: &Database, view: &View, notes: &[ConflictNote]) -> Vec<Placed> {
    let ids: BTreeSet<&DocumentId> = notes.iter().map(|note| &note.id).collect();
    let existing = ids.into_iter().filter_map(|id| told(database, id, &view.state(id)).1);
    existing.collect()
}

/// The channels of a document's state.
fn channels_of(database: &Database, id: &DocumentId, state: &State) -> Vec<String> {
    match (state.value(), database.rules().collection(&id.collection)) {
        (Some(value), Some(rules)) => rules.channels(&id.key, value),
        _ => Vec::new(),
    }
}

/// The current states of the mutation's documents that are not what the client had changed, and where those are that exist.
fn differing(database: &Database, view: &View, mutation: &Mutation) -> (Vec<DocumentState>, Vec<Placed>) {
    let mut states = Vec::new();
    let mut placed = Vec::new();
    for change in &mutation.changes {
        let state = view.state(&change.id);
        if state.version != change.base {
            let (told, place) = told(database, &change.id, &state);
            states.push(told);
            placed.extend(place);
        }
    }
    (states, placed)
}

/// A state, and where the document is when it exists.
pub(super) fn told(database: &Database, id: &DocumentId, state: &State) -> (DocumentState, Option<Placed>) {
    let body = state.body.as_deref().map(<[u8]>::to_vec);
    let place = state.version.exists().then(|| (id.clone(), channels_of(database, id, state)));
    (DocumentState { id: id.clone(), version: state.version, body }, place)
}

/// The outcome as it is recorded for a repetition: states are read again then, and of the notes only those of documents that the
/// caller may read both before and after are kept, because nobody knows later where the documents were.
fn recorded(outcome: &Outcome, readable: impl Fn(&DocumentId) -> bool) -> Outcome {
    match outcome {
        Outcome::Accepted => Outcome::Accepted,
        Outcome::Merged(_, notes) => {
            Outcome::Merged(Vec::new(), notes.iter().filter(|note| readable(&note.id)).cloned().collect())
        }
        Outcome::Rejected(code, message, _) => Outcome::Rejected(*code, message.clone(), Vec::new()),
        Outcome::Resolve(_) => Outcome::Resolve(Vec::new()),
    }
}
