//! The three-way merge of fields.

use super::apply::Patch;
use super::diff::{MemberChange, changes, strategy_at};
use super::object::{Slots, splittable};
use super::{list, number, set, text, text::merge_text};
use crate::ids::DocumentId;
use crate::json::Value;
use crate::planted::{self, Bug};
use crate::prelude::*;
use crate::wire::{ConflictNote, DeletePolicy, FieldStrategy, Policy};

/// A value of one side that is not in the outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Member names from the root; elements of a list by their identity; empty for the whole document.
    pub path: Vec<String>,
    /// What decided: the name of a strategy, `edit-wins`, `delete-wins` or `type-changed`.
    pub strategy: &'static str,
    /// Before both changes, where the change tells.
    pub base: Option<Value>,
    /// What the change wanted.
    pub mine: Option<Value>,
    /// What the document had.
    pub theirs: Option<Value>,
    /// After the merge.
    pub outcome: Option<Value>,
}

impl Conflict {
    /// For the wire and the conflict log.
    pub fn into_note(self, id: &DocumentId) -> ConflictNote {
        ConflictNote {
            id: id.clone(),
            path: self.path,
            strategy: self.strategy.to_owned(),
            base: text(self.base.as_ref()),
            mine: text(self.mine.as_ref()),
            theirs: text(self.theirs.as_ref()),
            outcome: text(self.outcome.as_ref()),
        }
    }
}

/// Who decides what the values alone do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The server, which knows both edit times.
    Server {
        /// Whether the change was made after the document's state.
        mine_is_newer: bool,
    },
    /// The client, which keeps its own value where the server has to decide.
    Client,
}

/// The policy's `reject` met a conflict at this path.
#[derive(Debug)]
pub(super) struct Rejection(pub(super) Vec<String>);

/// Whether an edit of what somebody else deleted brings it back.
pub(super) fn edit_wins(policy: &Policy) -> bool {
    policy.delete == DeletePolicy::EditWins || planted::has(Bug::Resurrection)
}

/// Merges the fields of one document. `path` is always that of the field at hand.
pub(super) struct Engine<'p> {
    policy: &'p Policy,
    side: Side,
    path: Vec<String>,
    pub(super) conflicts: Vec<Conflict>,
    /// The client kept its value where the server has to decide.
    pub(super) undecided: bool,
}

/// A tree of changes in the order of the change.
pub(super) enum Node<'a> {
    Leaf { base: Option<&'a Value>, mine: Option<&'a Value> },
    Branch(Vec<(&'a str, Node<'a>)>),
}

/// The tree of patches that do not overlap.
pub(super) fn tree<'a>(patches: &'a [Patch<'a>]) -> Node<'a> {
    let mut children = Vec::new();
    for patch in patches {
        let leaf = Node::Leaf { base: patch.base.as_ref(), mine: patch.mine.as_ref() };
        match patch.path.split_last() {
            None => return leaf,
            Some((name, parents)) => insert(&mut children, parents, name, leaf),
        }
    }
    Node::Branch(children)
}

fn insert<'a>(children: &mut Vec<(&'a str, Node<'a>)>, parents: &'a [String], name: &'a str, leaf: Node<'a>) {
    let Some((parent, parents)) = parents.split_first() else {
        children.push((name, leaf));
        return;
    };
    // Patches below one object stand together, so only the last child can be that object.
    if !matches!(children.last(), Some((last, Node::Branch(_))) if last == parent) {
        children.push((parent, Node::Branch(Vec::new())));
    }
    if let Some((_, Node::Branch(inner))) = children.last_mut() {
        insert(inner, parents, name, leaf);
    }
}

/// The changes of the members of an object; what it was before counts as empty when it was none.
fn member_changes<'a>(base: Option<&'a Value>, mine: Option<&'a Value>) -> Option<Vec<(&'a str, Node<'a>)>> {
    let before = base.and_then(splittable).unwrap_or_default();
    let leaf = |change: MemberChange<'a>| (change.name, Node::Leaf { base: change.base, mine: change.mine });
    Some(changes(before, mine.and_then(splittable)?).into_iter().map(leaf).collect())
}

type Outcome = Result<Option<Value>, Rejection>;

impl<'p> Engine<'p> {
    pub(super) fn new(policy: &'p Policy, side: Side) -> Self {
        Self { policy, side, path: Vec::new(), conflicts: Vec::new(), undecided: false }
    }

    pub(super) fn node(&mut self, node: &Node<'_>, theirs: Option<Value>) -> Outcome {
        match node {
            Node::Leaf { base, mine } => self.field(*base, *mine, theirs),
            Node::Branch(children) => self.branch(children, theirs),
        }
    }

    /// The same one level down.
    pub(super) fn within(&mut self, name: &str, merge: impl FnOnce(&mut Self) -> Outcome) -> Outcome {
        self.path.push(name.to_owned());
        let outcome = merge(self);
        self.path.pop();
        outcome
    }

    /// Merges one field of which the change gives the whole value before and after.
    pub(super) fn field(&mut self, base: Option<&Value>, mine: Option<&Value>, theirs: Option<Value>) -> Outcome {
        if theirs.as_ref() == base {
            return Ok(mine.cloned());
        }
        if mine == base {
            return Ok(theirs);
        }
        let named = strategy_at(self.policy, &self.path);
        let objects = [base, theirs.as_ref()].into_iter().flatten().any(|value| splittable(value).is_some());
        if let (true, Some(children)) = (named.is_none() && objects, member_changes(base, mine)) {
            return self.branch(&children, theirs);
        }
        let strategy = named.unwrap_or(&self.policy.field);
        if mine == theirs.as_ref() && *strategy != FieldStrategy::Sum {
            return Ok(theirs);
        }
        match (mine, theirs) {
            (Some(mine), Some(theirs)) => self.both(strategy, base, mine, &theirs),
            (mine, theirs) => self.removal(base, mine, theirs.as_ref()),
        }
    }

    /// Merges changes of members into what is at this path.
    fn branch(&mut self, children: &[(&str, Node<'_>)], theirs: Option<Value>) -> Outcome {
        let existed = theirs.is_some();
        let members = match theirs {
            Some(theirs) if splittable(&theirs).is_none() => {
                self.drop_changes(children, "type-changed")?;
                return Ok(Some(theirs));
            }
            Some(Value::Object(members)) => members,
            _ if !edit_wins(self.policy) => {
                self.drop_changes(children, "delete-wins")?;
                return Ok(None);
            }
            _ => Vec::new(),
        };
        let mut slots = Slots::new(members);
        for (name, child) in children {
            let theirs = slots.take(name);
            let outcome = self.within(name, |engine| engine.node(child, theirs))?;
            slots.put(name, outcome);
        }
        let members = slots.into_members();
        Ok((existed || !members.is_empty()).then_some(Value::Object(members)))
    }

    /// Notes changes that have no place to go.
    fn drop_changes(&mut self, children: &[(&str, Node<'_>)], why: &'static str) -> Result<(), Rejection> {
        for (name, child) in children {
            self.within(name, |engine| {
                match child {
                    Node::Branch(inner) => engine.drop_changes(inner, why)?,
                    Node::Leaf { base, mine } => engine.drop_change(*base, *mine, why)?,
                }
                Ok(None)
            })?;
        }
        Ok(())
    }

    fn drop_change(&mut self, base: Option<&Value>, mine: Option<&Value>, why: &'static str) -> Result<(), Rejection> {
        let named = strategy_at(self.policy, &self.path);
        if let (None, Some(_), Some(children)) = (named, base.and_then(splittable), member_changes(base, mine)) {
            return self.drop_changes(&children, why);
        }
        let strategy = named.unwrap_or(&self.policy.field);
        if mine.is_none() {
            return Ok(());
        }
        if *strategy == FieldStrategy::Reject {
            return Err(self.rejection());
        }
        self.note(why, base, mine, None, None);
        Ok(())
    }

    /// One side removed what the other changed.
    pub(super) fn removal(&mut self, base: Option<&Value>, mine: Option<&Value>, theirs: Option<&Value>) -> Outcome {
        let strategy = strategy_at(self.policy, &self.path).unwrap_or(&self.policy.field);
        if *strategy == FieldStrategy::Reject && !self.path.is_empty() {
            return Err(self.rejection());
        }
        let (name, outcome) =
            if edit_wins(self.policy) { ("edit-wins", mine.or(theirs).cloned()) } else { ("delete-wins", None) };
        self.note(name, base, mine, theirs, outcome.as_ref());
        Ok(outcome)
    }

    /// Both sides have a value and they differ, or are to be added.
    fn both(&mut self, strategy: &FieldStrategy, base: Option<&Value>, mine: &Value, theirs: &Value) -> Outcome {
        let outcome = match strategy {
            FieldStrategy::LastWrite => Some(mine.clone()),
            FieldStrategy::FirstWrite => Some(theirs.clone()),
            FieldStrategy::Newest => Some(if self.mine_is_newest() { mine.clone() } else { theirs.clone() }),
            FieldStrategy::Reject => return Err(self.rejection()),
            FieldStrategy::Min => number::smaller(mine, theirs, core::cmp::Ordering::Less),
            FieldStrategy::Max => number::smaller(mine, theirs, core::cmp::Ordering::Greater),
            FieldStrategy::Sum => match number::sum(base, mine, theirs) {
                Some(sum) => return Ok(Some(sum)),
                None => None,
            },
            FieldStrategy::Union => match set::union(base, mine, theirs) {
                Some(union) => return Ok(Some(union)),
                None => None,
            },
            FieldStrategy::List(identity) => match list::merge_list(self, identity, base, mine, theirs)? {
                Some(list) => return Ok(Some(list)),
                None => None,
            },
            FieldStrategy::Text => match merge_text(base, mine, theirs) {
                Some((text, true)) => return Ok(Some(text)),
                Some((text, false)) => Some(text),
                None => None,
            },
        };
        let (name, outcome) = outcome.map_or(("last-write", mine.clone()), |outcome| (name_of(strategy), outcome));
        if mine != theirs {
            self.note(name, base, Some(mine), Some(theirs), Some(&outcome));
        }
        Ok(Some(outcome))
    }

    fn mine_is_newest(&mut self) -> bool {
        match self.side {
            Side::Server { mine_is_newer } => mine_is_newer,
            Side::Client => {
                self.undecided = true;
                true
            }
        }
    }

    fn rejection(&self) -> Rejection {
        Rejection(self.path.clone())
    }

    /// Records a conflict at the current path.
    pub(super) fn note(
        &mut self,
        strategy: &'static str,
        base: Option<&Value>,
        mine: Option<&Value>,
        theirs: Option<&Value>,
        outcome: Option<&Value>,
    ) {
        self.conflicts.push(Conflict {
            path: self.path.clone(),
            strategy,
            base: base.cloned(),
            mine: mine.cloned(),
            theirs: theirs.cloned(),
            outcome: outcome.cloned(),
        });
    }
}

/// Name of a strategy in conflict notes.
fn name_of(strategy: &FieldStrategy) -> &'static str {
    match strategy {
        FieldStrategy::LastWrite => "last-write",
        FieldStrategy::FirstWrite => "first-write",
        FieldStrategy::Newest => "newest",
        FieldStrategy::Sum => "sum",
        FieldStrategy::Min => "min",
        FieldStrategy::Max => "max",
        FieldStrategy::Union => "union",
        FieldStrategy::Text => "text",
        FieldStrategy::List(_) => "list",
        FieldStrategy::Reject => "reject",
    }
}
