//! tidy: long because a map, its set and the order below them share their invariants
//!
//! Ordered maps and sets whose code is small: the browser's core holds many of them, and a B-tree costs it 10 kB for each type.
//!
//! The entries of a map stand in slots, in any order; an [`Order`] of slot numbers, whose code is the same for all types, keeps them
//! sorted.

use alloc::vec::IntoIter;
use core::borrow::Borrow;
use core::cmp::Ordering;
use core::iter::Map;

use crate::prelude::*;

/// Most slots of a block. Inserting moves at most a block, and a few bytes for each block that follows.
const BLOCK_SLOTS_MAX: usize = 128;

/// Numbers of slots in order, in blocks none of which is empty or holds more than [`BLOCK_SLOTS_MAX`].
#[derive(Clone, Debug)]
struct Order {
    blocks: Vec<Vec<u32>>,
    /// Slots below `slots` that hold nothing.
    free: Vec<u32>,
    slots: u32,
}

/// Where a slot is in the order, or would be: block and place in it.
type Place = (usize, usize);

impl Order {
    const fn new() -> Self {
        Self { blocks: Vec::new(), free: Vec::new(), slots: 0 }
    }

    fn len(&self) -> usize {
        self.blocks.iter().map(Vec::len).sum()
    }

    fn at(&self, (block, place): Place) -> Option<u32> {
        self.blocks.get(block)?.get(place).copied()
    }

    /// Finds the slot that `order` tells to be equal to what is sought, or where it would be.
    fn find(&self, order: &dyn Fn(u32) -> Ordering) -> Result<Place, Place> {
        let below = |block: &Vec<u32>| block.last().is_some_and(|last| order(*last).is_lt());
        let at = self.blocks.partition_point(below);
        match self.blocks.get(at).map(|block| block.binary_search_by(|slot| order(*slot))) {
            Some(Ok(place)) => Ok((at, place)),
            Some(Err(place)) => Err((at, place)),
            None => Err((at, 0)),
        }
    }

    /// The slots from a place on.
    fn from(&self, (block, place): Place) -> impl Iterator<Item = u32> {
        self.blocks.get(block..).unwrap_or_default().iter().flatten().copied().skip(place)
    }

    /// All slots, in order.
    fn all(&self) -> Vec<u32> {
        self.blocks.concat()
    }

    /// A slot for the entry that was not found and belongs at this place: a free one, or one more than there were.
    fn insert(&mut self, (at, place): Place) -> usize {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots += 1;
            self.slots - 1
        });
        self.insert_at(at, place, slot);
        slot as usize
    }

    fn insert_at(&mut self, mut at: usize, mut place: usize, slot: u32) {
        if at == self.blocks.len() {
            // Above all: the last block takes it, or another that follows, so that what comes in order fills its blocks.
            match self.blocks.last() {
                Some(last) if last.len() < BLOCK_SLOTS_MAX => (at, place) = (at - 1, last.len()),
                _ => self.blocks.push(Vec::new()),
            }
        }
        let Some(block) = self.blocks.get_mut(at) else { return };
        if block.len() < BLOCK_SLOTS_MAX {
            return block.insert(place, slot);
        }
        let mut upper = block.split_off(BLOCK_SLOTS_MAX / 2);
        match place.checked_sub(block.len()) {
            Some(above @ 1..) => upper.insert(above, slot),
            _ => block.insert(place, slot),
        }
        self.blocks.insert(at + 1, upper);
    }

    /// Frees the slot at a place.
    fn remove(&mut self, (at, place): Place) -> Option<usize> {
        let block = self.blocks.get_mut(at)?;
        let slot = block.remove(place);
        if block.is_empty() {
            self.blocks.remove(at);
        }
        self.free.push(slot);
        Some(slot as usize)
    }

    /// Frees the slots that are not to be kept.
    fn retain(&mut self, keep: &mut dyn FnMut(usize) -> bool) {
        let Self { blocks, free, .. } = self;
        for block in &mut *blocks {
            block.retain(|slot| {
                let kept = keep(*slot as usize);
                if !kept {
                    free.push(*slot);
                }
                kept
            });
        }
        blocks.retain(|block| !block.is_empty());
    }
}

/// A map in the order of its keys.
///
/// Invariant: the slots of the order hold an entry each, sorted by key, and the others none.
#[derive(Clone, Debug)]
pub(crate) struct OrderedMap<K, V> {
    order: Order,
    entries: Vec<Option<(K, V)>>,
}

impl<K, V> OrderedMap<K, V> {
    pub(crate) const fn new() -> Self {
        Self { order: Order::new(), entries: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.order.blocks.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }

    fn from(&self, place: Place) -> impl Iterator<Item = (&K, &V)> {
        self.order.from(place).filter_map(|slot| self.entry(slot))
    }

    fn entry(&self, slot: u32) -> Option<(&K, &V)> {
        self.entries.get(slot as usize)?.as_ref().map(|(key, value)| (key, value))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.from((0, 0))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        let mut entries: Vec<_> = self.entries.iter_mut().map(Option::as_mut).collect();
        self.order.all().into_iter().filter_map(move |slot| Some(&mut entries.get_mut(slot as usize)?.take()?.1))
    }

    pub(crate) fn into_values(self) -> impl Iterator<Item = V> {
        self.into_iter().map(|(_, value)| value)
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        let entries = &mut self.entries;
        self.order.retain(&mut |slot| {
            let Some(entry) = entries.get_mut(slot) else { return false };
            let kept = entry.as_mut().is_some_and(|(key, value)| keep(key, value));
            if !kept {
                *entry = None;
            }
            kept
        });
    }
}

impl<K, V> OrderedMap<K, V> {
    /// Takes the entry with the smallest key.
    pub(crate) fn pop_first(&mut self) -> Option<(K, V)> {
        let slot = self.order.remove((0, 0))?;
        self.entries.get_mut(slot)?.take()
    }
}

impl<K: Ord, V> OrderedMap<K, V> {
    #[inline(never)]
    fn find<Q: Ord + ?Sized>(&self, key: &Q) -> Result<Place, Place>
    where
        K: Borrow<Q>,
    {
        self.order.find(&|slot| self.entry(slot).map_or(Ordering::Less, |(entry, _)| entry.borrow().cmp(key)))
    }

    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entry(self.order.at(self.find(key).ok()?)?).map(|(_, value)| value)
    }

    pub(crate) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let slot = self.order.at(self.find(key).ok()?)?;
        self.entries.get_mut(slot as usize)?.as_mut().map(|(_, value)| value)
    }

    pub(crate) fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.find(key).is_ok()
    }

    /// The entry with the greatest key that is not above this one.
    pub(crate) fn floor<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        let slot = match self.find(key) {
            Ok(place) => self.order.at(place),
            Err((block, 0)) => self.order.blocks.get(block.checked_sub(1)?)?.last().copied(),
            Err((block, place)) => self.order.at((block, place - 1)),
        };
        self.entry(slot?)
    }

    /// The entries with keys from this one on.
    pub(crate) fn starting_at<'a, Q: Ord + ?Sized>(
        &'a self,
        key: &Q,
    ) -> impl Iterator<Item = (&'a K, &'a V)> + use<'a, K, V, Q>
    where
        K: Borrow<Q>,
    {
        let (Ok(place) | Err(place)) = self.find(key);
        self.from(place)
    }

    /// Gives a key its value; the one that it had.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.find(&key) {
            Ok(place) => {
                let (_, old) = self.entries.get_mut(self.order.at(place)? as usize)?.as_mut()?;
                Some(core::mem::replace(old, value))
            }
            Err(place) => {
                self.insert_at(place, key, value);
                None
            }
        }
    }

    /// Inserts an entry where [`find`](Self::find) did not find its key, and tells its slot.
    #[inline(never)]
    fn insert_at(&mut self, place: Place, key: K, value: V) -> usize {
        let slot = self.order.insert(place);
        match self.entries.get_mut(slot) {
            Some(entry) => *entry = Some((key, value)),
            None => self.entries.push(Some((key, value))),
        }
        slot
    }

    /// The value of a key, which it gets if it has none.
    pub(crate) fn or_insert(&mut self, key: K, value: V) -> &mut V {
        let slot = match self.find(&key) {
            Ok(place) => self.order.at(place).map(|slot| slot as usize),
            Err(place) => Some(self.insert_at(place, key, value)),
        };
        let entry = slot.and_then(|slot| self.entries.get_mut(slot)?.as_mut());
        #[expect(clippy::expect_used, reason = "the entry was found, or inserted, in this slot")]
        let (_, value) = entry.expect("a slot of the order holds an entry");
        value
    }

    /// The value of a key; the default if it had none.
    pub(crate) fn or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        self.or_insert(key, V::default())
    }

    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let slot = self.order.remove(self.find(key).ok()?)?;
        self.entries.get_mut(slot)?.take().map(|(_, value)| value)
    }
}

impl<K, V> Default for OrderedMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

/// The entries of a map in order.
#[derive(Debug)]
pub(crate) struct Entries<K, V> {
    slots: IntoIter<u32>,
    entries: Vec<Option<(K, V)>>,
}

impl<K, V> Iterator for Entries<K, V> {
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        self.entries.get_mut(self.slots.next()? as usize)?.take()
    }
}

impl<K, V> IntoIterator for OrderedMap<K, V> {
    type Item = (K, V);
    type IntoIter = Entries<K, V>;

    fn into_iter(self) -> Entries<K, V> {
        Entries { slots: self.order.all().into_iter(), entries: self.entries }
    }
}

impl<K: Ord, V> Extend<(K, V)> for OrderedMap<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

/// Of two entries with one key the later stays.
impl<K: Ord, V> FromIterator<(K, V)> for OrderedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::new();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

/// A set in order.
#[derive(Clone, Debug)]
pub(crate) struct OrderedSet<T>(OrderedMap<T, ()>);

impl<T> OrderedSet<T> {
    pub(crate) const fn new() -> Self {
        Self(OrderedMap::new())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.keys()
    }

    /// The greatest item.
    pub(crate) fn last(&self) -> Option<&T> {
        let slot = *self.0.order.blocks.last()?.last()?;
        self.0.entry(slot).map(|(item, ())| item)
    }

    /// Takes the smallest item.
    pub(crate) fn pop_first(&mut self) -> Option<T> {
        self.0.pop_first().map(|(item, ())| item)
    }
}

impl<T: Ord> OrderedSet<T> {
    pub(crate) fn contains<Q: Ord + ?Sized>(&self, item: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        self.0.contains_key(item)
    }

    /// The greatest item that is not above this one.
    pub(crate) fn floor<Q: Ord + ?Sized>(&self, item: &Q) -> Option<&T>
    where
        T: Borrow<Q>,
    {
        self.0.floor(item).map(|(found, ())| found)
    }

    /// The items from this one on.
    pub(crate) fn starting_at<'a, Q: Ord + ?Sized>(&'a self, item: &Q) -> impl Iterator<Item = &'a T> + use<'a, T, Q>
    where
        T: Borrow<Q>,
    {
        self.0.starting_at(item).map(|(found, ())| found)
    }

    /// Whether the item was not in the set.
    pub(crate) fn insert(&mut self, item: T) -> bool {
        self.0.insert(item, ()).is_none()
    }

    /// Whether the item was in the set.
    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, item: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        self.0.remove(item).is_some()
    }
}

impl<T> Default for OrderedSet<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> IntoIterator for OrderedSet<T> {
    type Item = T;
    type IntoIter = Map<<OrderedMap<T, ()> as IntoIterator>::IntoIter, fn((T, ())) -> T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().map(|(item, ())| item)
    }
}

impl<T: Ord> Extend<T> for OrderedSet<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        for item in items {
            self.insert(item);
        }
    }
}

impl<T: Ord> FromIterator<T> for OrderedSet<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut set = Self::new();
        set.extend(items);
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u16),
        Remove(u16),
        OrInsert(u16),
        Retain(u16),
    }

    fn any_op() -> impl Strategy<Value = Op> {
        prop_oneof![
            6 => (0..2_000_u16).prop_map(Op::Insert),
            2 => (0..2_000_u16).prop_map(Op::Remove),
            2 => (0..2_000_u16).prop_map(Op::OrInsert),
            1 => (20..50_u16).prop_map(Op::Retain),
        ]
    }

    fn run(ops: &[Op]) -> (OrderedMap<u16, usize>, BTreeMap<u16, usize>) {
        let (mut map, mut model) = (OrderedMap::new(), BTreeMap::new());
        for (step, op) in ops.iter().enumerate() {
            match op {
                Op::Insert(key) => assert_eq!(map.insert(*key, step), model.insert(*key, step)),
                Op::Remove(key) => assert_eq!(map.remove(key), model.remove(key)),
                Op::OrInsert(key) => {
                    *map.or_insert(*key, step) += 1;
                    *model.entry(*key).or_insert(step) += 1;
                }
                Op::Retain(divisor) => {
                    map.retain(|key, _| key % divisor != 0);
                    model.retain(|key, _| key % divisor != 0);
                }
            }
        }
        (map, model)
    }

    proptest! {
        #[test]
        fn behaves_as_a_tree_map(ops in prop::collection::vec(any_op(), 0..1_000), probes in prop::collection::vec(0..2_000_u16, 20)) {
            let (mut map, mut model) = run(&ops);
            prop_assert!(map.order.blocks.iter().all(|block| !block.is_empty() && block.len() <= BLOCK_SLOTS_MAX));
            prop_assert_eq!(map.len(), model.len());
            prop_assert_eq!(map.is_empty(), model.is_empty());
            prop_assert!(map.iter().eq(model.iter()));
            prop_assert!(map.values_mut().eq(model.values_mut()));
            for probe in probes {
                prop_assert_eq!(map.get(&probe), model.get(&probe));
                prop_assert_eq!(map.get_mut(&probe), model.get_mut(&probe));
                prop_assert_eq!(map.contains_key(&probe), model.contains_key(&probe));
                prop_assert_eq!(map.floor(&probe), model.range(..=probe).next_back());
                prop_assert!(map.starting_at(&probe).eq(model.range(probe..)));
            }
            prop_assert!(map.into_iter().eq(model));
        }
    }

    #[test]
    fn keys_in_order_fill_their_blocks() {
        let map: OrderedMap<usize, ()> = (0..10 * BLOCK_SLOTS_MAX).map(|key| (key, ())).collect();
        assert_eq!(map.order.blocks.len(), 10);
    }

    #[test]
    fn a_set_tells_what_it_had() {
        let mut set: OrderedSet<&str> = ["b", "a", "b"].into_iter().collect();
        assert_eq!(set.len(), 2);
        assert!(set.insert("c") && !set.insert("c"));
        assert!(set.remove("a") && !set.remove("a"));
        assert!(set.contains("b") && set.len() > 0);
        assert_eq!(set.floor("bb"), Some(&"b"));
        assert_eq!(set.starting_at("bb").collect::<Vec<_>>(), [&"c"]);
        assert_eq!(set.into_iter().collect::<Vec<_>>(), ["b", "c"]);
    }
}
