//! A small push pipeline over a store: merge, commit, result. Rules: a document with the member `"forbidden": true` is refused.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tidelock_core::ids::{DocumentId, Offset, SessionId, Version};
use tidelock_core::json::{self, Value};
use tidelock_core::merge::{self, Merged};
use tidelock_core::server::{Filter, Processed, Submission};
use tidelock_core::version;
use tidelock_core::wire::{ConflictNote, DocumentChange, DocumentState, ErrorCode, Outcome, Policy, PushResult};
use tidelock_store::{Commit, CommitOutcome, Document, Store, Write};

/// A mutation on its way: merged into what was read, not committed.
#[derive(Debug)]
pub(crate) struct Plan {
    commit: Commit,
    placed: Vec<(DocumentId, Vec<String>)>,
    read_offset: Offset,
}

/// What becomes of one document.
enum Fate {
    Write { value: Option<Value>, told: bool, conflicts: Vec<ConflictNote> },
    Keep,
    Refuse(ErrorCode, String),
    Resolve,
}

/// Polls a future of the memory store, which is ready at once.
pub(crate) fn ready<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a future of the memory store is ready when it is first polled"),
    }
}

/// The channels of a document: `room:` and its member `room` where it has one, else `all`.
pub(crate) fn channels_of(body: &[u8]) -> Vec<String> {
    let room = json::parse(body).ok().and_then(|value| Some(value.member("room")?.as_str()?.to_owned()));
    vec![room.map_or_else(|| "all".to_owned(), |room| format!("room:{room}"))]
}

/// Reads and merges.
pub(crate) fn plan(
    store: &dyn Store,
    policies: &BTreeMap<String, Policy>,
    submission: &Submission,
    reader: &Filter,
    session: SessionId,
    now_ms: u64,
) -> Plan {
    let changes = &submission.mutation.changes;
    let ids: Vec<DocumentId> = changes.iter().map(|change| change.id.clone()).collect();
    let read = ready(store.read(&ids)).expect("the memory store answers");
    let mut draft = Draft::default();
    if let Some((code, message)) = &submission.refused {
        draft.refusal = Some((*code, message.clone()));
    }
    for (change, document) in changes.iter().zip(&read.documents) {
        let policy = policies.get(&change.id.collection).cloned().unwrap_or_default();
        let fate = fate_of(change, document.as_ref(), &policy, submission.mutation.edited_ms);
        draft.add(change, document.as_ref(), fate, submission.mutation.edited_ms);
    }
    mask(&mut draft.current, reader);
    mask(&mut draft.merged, reader);
    let (outcome, writes, conflicts) = draft.finish();
    let written = writes.iter().filter(|write| write.body.is_some()).map(|w| (w.id.clone(), w.channels.clone()));
    let placed = if writes.is_empty() { placed(&ids, &read.documents) } else { written.collect() };
    Plan {
        placed,
        read_offset: read.offset,
        commit: Commit {
            mutation: Some(submission.id),
            session,
            acknowledged: submission.acknowledged,
            writes,
            outcome,
            conflicts,
            actor: "sim".into(),
            now_ms,
        },
    }
}

/// Commits; `None` when a document changed since it was read: plan again.
pub(crate) fn commit(
    store: &dyn Store,
    plan: Plan,
    submission: &Submission,
    reader: &Filter,
) -> Option<Result<Processed, String>> {
    let sequence = submission.mutation.sequence;
    let (outcome, read_offset) = (plan.commit.outcome.clone(), plan.read_offset);
    let refused = plan.commit.writes.is_empty();
    match ready(store.commit(plan.commit)).expect("the memory store answers") {
        CommitOutcome::Committed(offset) => {
            let offset = if refused { read_offset } else { offset };
            let result = PushResult { sequence, offset, outcome };
            Some(Ok(Processed { result, placed: plan.placed }))
        }
        CommitOutcome::Repeated(recorded) => {
            Some(Ok(repeated(store, submission, reader, recorded.map(|recorded| recorded.outcome))))
        }
        CommitOutcome::OutOfOrder(finished) => Some(Err(format!("{sequence} does not follow {finished}"))),
        CommitOutcome::Mismatch(_) => None,
    }
}

/// The recorded outcome with the states of this moment.
fn repeated(store: &dyn Store, submission: &Submission, reader: &Filter, outcome: Option<Outcome>) -> Processed {
    let ids: Vec<DocumentId> = submission.mutation.changes.iter().map(|change| change.id.clone()).collect();
    let read = ready(store.read(&ids)).expect("the memory store answers");
    let mut states: Vec<DocumentState> =
        ids.iter().zip(&read.documents).map(|(id, document)| state_of(id, document.as_ref())).collect();
    mask(&mut states, reader);
    let outcome = match outcome {
        Some(Outcome::Rejected(code, message, _)) => Outcome::Rejected(code, message, states),
        Some(Outcome::Resolve(_)) => Outcome::Resolve(states),
        Some(Outcome::Merged(_, notes)) => Outcome::Merged(states, notes),
        Some(Outcome::Accepted) | None => Outcome::Merged(states, Vec::new()),
    };
    let result = PushResult { sequence: submission.mutation.sequence, offset: read.offset, outcome };
    Processed { result, placed: placed(&ids, &read.documents) }
}

fn fate_of(change: &DocumentChange, document: Option<&Document>, policy: &Policy, edited_ms: u64) -> Fate {
    let value = document.map(|document| json::parse(&document.body).expect("a stored body is valid"));
    let current =
        document.zip(value.as_ref()).map(|(document, value)| merge::Current { version: document.version, value });
    let current_edited_ms = document.map_or(0, |document| document.edited_ms);
    let context = merge::Context { policy, edited_ms, current_edited_ms };
    let fate = match merge::merge(current, change, &context) {
        Err(error) => Fate::Refuse(ErrorCode::InvalidDocument, error.to_string()),
        Ok(Merged::Unchanged) => Fate::Keep,
        Ok(Merged::Fast { value }) => Fate::Write { value, told: false, conflicts: Vec::new() },
        Ok(Merged::Merged { value, conflicts }) => Fate::Write { value, told: true, conflicts },
        Ok(Merged::Rejected { path }) => Fate::Refuse(ErrorCode::Conflict, format!("conflict at {path:?}")),
        Ok(Merged::Resolve) => Fate::Resolve,
    };
    match &fate {
        Fate::Write { value: Some(value), .. } if value.member("forbidden") == Some(&Value::Bool(true)) => {
            Fate::Refuse(ErrorCode::Forbidden, "the rules say no".into())
        }
        Fate::Write { .. } | Fate::Keep | Fate::Refuse(..) | Fate::Resolve => fate,
    }
}

#[derive(Default)]
struct Draft {
    refusal: Option<(ErrorCode, String)>,
    resolve: bool,
    /// States of documents that are not what the client thinks.
    current: Vec<DocumentState>,
    /// States of documents that were merged.
    merged: Vec<DocumentState>,
    conflicts: Vec<ConflictNote>,
    writes: Vec<Write>,
}

impl Draft {
    fn add(&mut self, change: &DocumentChange, document: Option<&Document>, fate: Fate, edited_ms: u64) {
        let expected = document.map_or(Version::ABSENT, |document| document.version);
        if expected != change.base {
            self.current.push(state_of(&change.id, document));
        }
        match fate {
            Fate::Keep => self.writes.push(Write {
                id: change.id.clone(),
                expected,
                change: Some(change.clone()),
                body: document.map(|document| document.body.clone()),
                version: expected,
                channels: document.map(|document| channels_of(&document.body)).unwrap_or_default(),
                edited_ms,
            }),
            Fate::Refuse(code, message) => self.refusal = Some((code, message)),
            Fate::Resolve => self.resolve = true,
            Fate::Write { value, told, conflicts } => {
                let body = value.as_ref().map(json::write);
                let version = value.as_ref().map_or(Version::ABSENT, version::of);
                if told {
                    let state = DocumentState { id: change.id.clone(), version, body: body.clone() };
                    self.merged.push(state);
                }
                self.conflicts.extend(conflicts);
                let channels = body.as_deref().or(document.map(|document| &*document.body)).map(channels_of);
                self.writes.push(Write {
                    id: change.id.clone(),
                    expected,
                    change: Some(change.clone()),
                    body: body.map(Arc::from),
                    version,
                    channels: channels.unwrap_or_default(),
                    edited_ms,
                });
            }
        }
    }

    fn finish(self) -> (Outcome, Vec<Write>, Vec<ConflictNote>) {
        if let Some((code, message)) = self.refusal {
            return (Outcome::Rejected(code, message, self.current), Vec::new(), Vec::new());
        }
        if self.resolve {
            return (Outcome::Resolve(self.current), Vec::new(), Vec::new());
        }
        let outcome = if self.merged.is_empty() {
            Outcome::Accepted
        } else {
            Outcome::Merged(self.merged, self.conflicts.clone())
        };
        (outcome, self.writes, self.conflicts)
    }
}

fn placed(ids: &[DocumentId], documents: &[Option<Document>]) -> Vec<(DocumentId, Vec<String>)> {
    let existing = ids.iter().zip(documents).filter_map(|(id, document)| Some((id, document.as_ref()?)));
    existing.map(|(id, document)| (id.clone(), channels_of(&document.body))).collect()
}

fn state_of(id: &DocumentId, document: Option<&Document>) -> DocumentState {
    DocumentState {
        id: id.clone(),
        version: document.map_or(Version::ABSENT, |document| document.version),
        body: document.map(|document| document.body.to_vec()),
    }
}

/// A document that the identity may not read does not exist for it.
fn mask(states: &mut [DocumentState], reader: &Filter) {
    for state in states {
        let readable = |body: &Vec<u8>| reader.matches(&state.id.collection, &channels_of(body));
        if !state.body.as_ref().is_some_and(readable) {
            (state.version, state.body) = (Version::ABSENT, None);
        }
    }
}
