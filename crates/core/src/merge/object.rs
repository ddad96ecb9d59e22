//! Members of objects by name, fast for large objects too.

use crate::escape::is_tag;
use crate::json::Value;
use crate::ordered::OrderedMap;
use crate::prelude::*;

/// Objects up to this many members are searched one by one.
const LINEAR_MEMBERS_MAX: usize = 16;

/// The members of an object that may be merged one by one: any object but a tagged value, which is whole.
pub(super) fn splittable(value: &Value) -> Option<&[(String, Value)]> {
    value.as_object().filter(|members| !is_tagged(members))
}

/// Whether an object's only member is a tag of the value escape, or an escaped one.
fn is_tagged(members: &[(String, Value)]) -> bool {
    matches!(members, [(name, _)] if is_tag(name))
}

/// A map of entries. Collecting would do, at the cost of a sort in the binary for every type.
pub(super) fn indexed<K: Ord, V>(entries: impl Iterator<Item = (K, V)>) -> OrderedMap<K, V> {
    let mut map = OrderedMap::new();
    for (key, value) in entries {
        map.insert(key, value);
    }
    map
}

/// Looks members up by name.
pub(super) struct Index<'a> {
    members: &'a [(String, Value)],
    by_name: Option<OrderedMap<&'a str, &'a Value>>,
}

impl<'a> Index<'a> {
    pub(super) fn new(members: &'a [(String, Value)]) -> Self {
        let large = members.len() > LINEAR_MEMBERS_MAX;
        let by_name = large.then(|| indexed(members.iter().map(|(name, value)| (&**name, value))));
        Self { members, by_name }
    }

    pub(super) fn find(&self, name: &str) -> Option<&'a Value> {
        match &self.by_name {
            Some(index) => index.get(name).copied(),
            None => self.members.iter().find(|(member, _)| member == name).map(|(_, value)| value),
        }
    }
}

/// The members of an object under change: each keeps its place, added ones follow at the end.
pub(super) struct Slots {
    slots: Vec<(String, Option<Value>)>,
    by_name: Option<OrderedMap<String, usize>>,
}

impl Slots {
    pub(super) fn new(members: Vec<(String, Value)>) -> Self {
        let by_name = (members.len() > LINEAR_MEMBERS_MAX)
            .then(|| indexed(members.iter().enumerate().map(|(at, (name, _))| (name.clone(), at))));
        Self { slots: members.into_iter().map(|(name, value)| (name, Some(value))).collect(), by_name }
    }

    fn find(&self, name: &str) -> Option<usize> {
        match &self.by_name {
            Some(index) => index.get(name).copied(),
            None => self.slots.iter().position(|(member, _)| member == name),
        }
    }

    /// Takes the value out; its place remains.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.find(name)?;
        self.slots.get_mut(at)?.1.take()
    }

    /// Gives the member a value, or removes it.
    pub(super) fn put(&mut self, name: &str, value: Option<Value>) {
        if let Some(at) = self.find(name) {
            if let Some(slot) = self.slots.get_mut(at) {
                slot.1 = value;
            }
        } else if value.is_some() {
            if let Some(index) = &mut self.by_name {
                index.insert(name.to_owned(), self.slots.len());
            }
            self.slots.push((name.to_owned(), value));
        }
    }

    pub(super) fn into_members(self) -> Vec<(String, Value)> {
        self.slots.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}
