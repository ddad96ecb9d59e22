//! Merging whole documents: the server's merge and the client's rebase.

use super::MergeError;
use super::apply::{Patch, apply, parse_patches};
use super::diff::{changes, strategy_at};
use super::engine::{Conflict, Engine, Rejection, Side, edit_wins, tree};
use super::object::{Index, splittable};
use crate::ids::Version;
use crate::json::{Value, parse};
use crate::prelude::*;
use crate::wire::{ConflictNote, DocumentChange, DocumentPolicy, Operation, Policy};

/// A document as it is.
#[derive(Clone, Copy, Debug)]
pub struct Current<'a> {
    /// Its version.
    pub version: Version,
    /// Its content.
    pub value: &'a Value,
}

/// What decides beside the values.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The collection's policy.
    pub policy: &'a Policy,
    /// When the user made the change: milliseconds since 1970.
    pub edited_ms: u64,
    /// When the document's state was made (also when it was deleted): milliseconds since 1970; 0 when unknown.
    pub current_edited_ms: u64,
}

/// What becomes of a change of one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Merged {
    /// The document has the content that the client sent already; nothing is to be written.
    Unchanged,
    /// Nobody else changed the document: it becomes what the client has. `None`: it is deleted.
    Fast {
        /// The content to write.
        value: Option<Value>,
    },
    /// Others changed it: this is the outcome, which the client has to be told. It may equal the current content.
    Merged {
        /// The content to write; `None` deletes.
        value: Option<Value>,
        /// The values that are not in it.
        conflicts: Vec<ConflictNote>,
    },
    /// The policy hands the conflict back to the user: the mutation is not committed.
    Rejected {
        /// The field; empty for the whole document.
        path: Vec<String>,
    },
    /// The client has to make another mutation from the current state: policy `resolver`, or a patch of a document that is gone
    /// under `edit-wins`. The mutation is not committed.
    Resolve,
}

/// What becomes of an unsent local edit when the client learns of a later server state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebased {
    /// The content to show.
    pub value: Option<Value>,
    /// Whether it differs from the server's state, so that something remains to be pushed.
    pub dirty: bool,
    /// Whether the server has to decide (`reject`, `resolver`, `newest` met a conflict): the edit has to be pushed against its own
    /// base, for against the later state the server would see no conflict. `value` is the edit's.
    pub undecided: bool,
    /// The values that are not in it.
    pub conflicts: Vec<Conflict>,
}

/// Merges a change into the document as it is; `None`: it does not exist.
pub fn merge(
    current: Option<Current<'_>>,
    change: &DocumentChange,
    context: &Context<'_>,
) -> Result<Merged, MergeError> {
    let version = current.map_or(Version::ABSENT, |current| current.version);
    let theirs = current.map(|current| current.value);
    if change.base == version {
        return Ok(Merged::Fast { value: apply(theirs, &change.operation)? });
    }
    let wanted = Wanted::of(&change.operation)?;
    let side = Side::Server { mine_is_newer: context.edited_ms > context.current_edited_ms };
    Ok(match decide(&wanted, theirs, context.policy, side) {
        Decision::Outcome { value, .. } if value.as_ref() == theirs && wanted.is_whole(theirs) => Merged::Unchanged,
        Decision::Outcome { value, conflicts, .. } => {
            let conflicts = conflicts.into_iter().map(|conflict| conflict.into_note(&change.id)).collect();
            Merged::Merged { value, conflicts }
        }
        Decision::Rejected { path } => Merged::Rejected { path },
        Decision::Resolve => Merged::Resolve,
    })
}

/// Moves an unsent local edit from `base` to the later server state `theirs`. What it yields is what the server would make of
/// [`diff`](super::diff())`(base, mine)`.
pub fn rebase(base: Option<&Value>, mine: Option<&Value>, theirs: Option<&Value>, policy: &Policy) -> Rebased {
    let clean = |value: Option<&Value>| Rebased {
        value: value.cloned(),
        dirty: value != theirs,
        undecided: false,
        conflicts: Vec::new(),
    };
    if mine == base {
        return clean(theirs);
    }
    if theirs == base {
        return clean(mine);
    }
    let wanted = Wanted::Whole { base: base.cloned(), mine: mine.cloned() };
    match decide(&wanted, theirs, policy, Side::Client) {
        Decision::Outcome { value, conflicts, undecided } => {
            Rebased { dirty: value.as_ref() != theirs, value, undecided, conflicts }
        }
        Decision::Rejected { .. } | Decision::Resolve => Rebased { undecided: true, dirty: true, ..clean(mine) },
    }
}

/// A change with its values parsed.
enum Wanted<'a> {
    /// The whole document after the change, and before it where the change tells.
    Whole { base: Option<Value>, mine: Option<Value> },
    /// Some fields.
    Fields(Vec<Patch<'a>>),
}

impl<'a> Wanted<'a> {
    fn of(operation: &'a Operation) -> Result<Self, MergeError> {
        Ok(match operation {
            Operation::Put(body) | Operation::Offer(body) => Wanted::Whole { base: None, mine: Some(parse(body)?) },
            Operation::Delete => Wanted::Whole { base: None, mine: None },
            Operation::Patch(patches) => {
                let mut patches = parse_patches(patches)?;
                match patches.pop_if(|patch| patch.path.is_empty()) {
                    Some(whole) => Wanted::Whole { base: whole.base, mine: whole.mine },
                    None => Wanted::Fields(patches),
                }
            }
        })
    }

    /// Whether the change tells the whole document, and it is `theirs`.
    fn is_whole(&self, theirs: Option<&Value>) -> bool {
        match self {
            Wanted::Whole { mine, .. } => mine.as_ref() == theirs,
            Wanted::Fields(_) => false,
        }
    }

    /// Whether every field that the change names has the value that the change gives it.
    fn is_in(&self, theirs: Option<&Value>, policy: &Policy) -> bool {
        match self {
            Wanted::Whole { base, mine } => holds(base.as_ref(), mine.as_ref(), theirs, &mut Vec::new(), policy),
            Wanted::Fields(patches) => patches.iter().all(|patch| patch.mine.as_ref() == found(theirs, patch.path)),
        }
    }

    fn has_base(&self) -> bool {
        !matches!(self, Wanted::Whole { base: None, .. })
    }
}

/// Whether `theirs` has what changed from `base` to `mine`, field by field as [`diff`](super::diff()) divides them.
fn holds(
    base: Option<&Value>,
    mine: Option<&Value>,
    theirs: Option<&Value>,
    path: &mut Vec<String>,
    policy: &Policy,
) -> bool {
    match [base, mine].map(|value| value.and_then(splittable)) {
        [Some(before), Some(after)] if strategy_at(policy, path).is_none() => {
            let present = Index::new(theirs.and_then(splittable).unwrap_or_default());
            changes(before, after).into_iter().all(|change| {
                path.push(change.name.to_owned());
                let held = holds(change.base, change.mine, present.find(change.name), path, policy);
                path.pop();
                held
            })
        }
        _ => mine == theirs,
    }
}

/// The value at a path.
pub(super) fn found<'a>(document: Option<&'a Value>, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(document?, |value, name| Index::new(splittable(value)?).find(name))
}

enum Decision {
    Outcome { value: Option<Value>, conflicts: Vec<Conflict>, undecided: bool },
    Rejected { path: Vec<String> },
    Resolve,
}

/// Both sides changed the document.
fn decide(wanted: &Wanted<'_>, theirs: Option<&Value>, policy: &Policy, side: Side) -> Decision {
    // Without a common base there are no differences to add up, so equal documents are equal whatever the strategies.
    let fields = policy.document == DocumentPolicy::Merge && wanted.has_base();
    if wanted.is_whole(theirs) && !fields {
        return Decision::Outcome { value: theirs.cloned(), conflicts: Vec::new(), undecided: false };
    }
    match policy.document {
        DocumentPolicy::FirstWrite | DocumentPolicy::Reject | DocumentPolicy::Resolver
            if wanted.is_in(theirs, policy) =>
        {
            Decision::Outcome { value: theirs.cloned(), conflicts: Vec::new(), undecided: false }
        }
        DocumentPolicy::Merge => merge_fields(wanted, theirs, policy, side),
        DocumentPolicy::LastWrite => keep_mine(wanted, theirs, "last-write", side),
        DocumentPolicy::FirstWrite => keep_theirs(wanted, theirs, "first-write"),
        DocumentPolicy::Newest => match side {
            Side::Server { mine_is_newer: true } => keep_mine(wanted, theirs, "newest", side),
            Side::Server { mine_is_newer: false } => keep_theirs(wanted, theirs, "newest"),
            Side::Client => undecided(keep_mine(wanted, theirs, "newest", side)),
        },
        DocumentPolicy::Reject => Decision::Rejected { path: Vec::new() },
        DocumentPolicy::Resolver => Decision::Resolve,
    }
}

fn merge_fields(wanted: &Wanted<'_>, theirs: Option<&Value>, policy: &Policy, side: Side) -> Decision {
    let mut engine = Engine::new(policy, side);
    let outcome = match (wanted, theirs) {
        (Wanted::Fields(_), None) if edit_wins(policy) => return Decision::Resolve,
        // The document's deletion is one decision, whatever the strategies of its fields.
        (Wanted::Fields(_), None) => return keep_theirs(wanted, None, "delete-wins"),
        (Wanted::Fields(patches), theirs) => engine.node(&tree(patches), theirs.cloned()),
        // The change brings the whole document, so an edited one comes back whole.
        (Wanted::Whole { base, mine: mine @ Some(_) }, None) => engine.removal(base.as_ref(), mine.as_ref(), None),
        (Wanted::Whole { base, mine: None }, theirs) => engine.removal(base.as_ref(), None, theirs),
        (Wanted::Whole { base, mine }, theirs) => engine.field(base.as_ref(), mine.as_ref(), theirs.cloned()),
    };
    match outcome {
        Ok(value) => Decision::Outcome { value, conflicts: engine.conflicts, undecided: engine.undecided },
        Err(Rejection(path)) => Decision::Rejected { path },
    }
}

/// The change stands whole.
fn keep_mine(wanted: &Wanted<'_>, theirs: Option<&Value>, strategy: &'static str, side: Side) -> Decision {
    match wanted {
        Wanted::Whole { base, mine } => {
            let conflict = whole_conflict(base.as_ref(), mine.as_ref(), theirs, mine.as_ref(), strategy);
            Decision::Outcome { value: mine.clone(), conflicts: vec![conflict], undecided: false }
        }
        // Fields only, of a client that does not know the policy yet: they stand, the rest cannot be known.
        Wanted::Fields(_) => merge_fields(wanted, theirs, &Policy::default(), side),
    }
}

/// The change is dropped.
fn keep_theirs(wanted: &Wanted<'_>, theirs: Option<&Value>, strategy: &'static str) -> Decision {
    let conflicts = match wanted {
        Wanted::Whole { base, mine } => vec![whole_conflict(base.as_ref(), mine.as_ref(), theirs, theirs, strategy)],
        Wanted::Fields(patches) => patches
            .iter()
            .map(|patch| {
                let (found, path) = (found(theirs, patch.path), patch.path.to_vec());
                Conflict { path, ..whole_conflict(patch.base.as_ref(), patch.mine.as_ref(), found, found, strategy) }
            })
            .filter(|conflict| conflict.mine != conflict.theirs)
            .collect(),
    };
    Decision::Outcome { value: theirs.cloned(), conflicts, undecided: false }
}

fn whole_conflict(
    base: Option<&Value>,
    mine: Option<&Value>,
    theirs: Option<&Value>,
    outcome: Option<&Value>,
    strategy: &'static str,
) -> Conflict {
    let [base, mine, theirs, outcome] = [base, mine, theirs, outcome].map(Option::<&Value>::cloned);
    Conflict { path: Vec::new(), strategy, base, mine, theirs, outcome }
}

fn undecided(decision: Decision) -> Decision {
    match decision {
        Decision::Outcome { value, conflicts, .. } => Decision::Outcome { value, conflicts, undecided: true },
        other @ (Decision::Rejected { .. } | Decision::Resolve) => other,
    }
}
