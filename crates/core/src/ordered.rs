//! Ordered maps and sets whose code is small: the browser's core holds many of them, and a B-tree costs it 10 kB for each type.
//!
//! Entries are in blocks by rising key; no block is empty or holds more than [`BLOCK_ENTRIES_MAX`].

use core::borrow::Borrow;
use core::iter::Flatten;
use std::vec::IntoIter;

/// Most entries of a block. Inserting moves at most a block, and one pointer for each block that follows.
const BLOCK_ENTRIES_MAX: usize = 64;

/// A map in the order of its keys.
#[derive(Clone, Debug)]
pub(crate) struct OrderedMap<K, V> {
    blocks: Vec<Vec<(K, V)>>,
}

/// Where an entry is, or would be: block and place in it.
type Place = (usize, usize);

impl<K, V> OrderedMap<K, V> {
    pub(crate) const fn new() -> Self {
        Self { blocks: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.blocks.iter().map(Vec::len).sum()
    }

    pub(crate) fn clear(&mut self) {
        self.blocks.clear();
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.blocks.iter().flatten().map(|(key, value)| (key, value))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.blocks.iter_mut().flatten().map(|(_, value)| value)
    }

    pub(crate) fn into_values(self) -> impl Iterator<Item = V> {
        self.into_iter().map(|(_, value)| value)
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        for block in &mut self.blocks {
            block.retain_mut(|(key, value)| keep(key, value));
        }
        self.blocks.retain(|block| !block.is_empty());
    }
}

impl<K, V> OrderedMap<K, V> {
    /// Takes the entry with the smallest key.
    pub(crate) fn pop_first(&mut self) -> Option<(K, V)> {
        let block = self.blocks.first_mut()?;
        let first = block.remove(0);
        if block.is_empty() {
            self.blocks.remove(0);
        }
        Some(first)
    }
}

impl<K: Ord, V> OrderedMap<K, V> {
    fn find<Q: Ord + ?Sized>(&self, key: &Q) -> Result<Place, Place>
    where
        K: Borrow<Q>,
    {
        let below = |block: &Vec<(K, V)>| block.last().is_some_and(|(last, _)| last.borrow() < key);
        let at = self.blocks.partition_point(below);
        let Some(block) = self.blocks.get(at) else { return Err((at, 0)) };
        match block.binary_search_by(|(entry, _)| entry.borrow().cmp(key)) {
            Ok(place) => Ok((at, place)),
            Err(place) => Err((at, place)),
        }
    }

    fn at(&self, (block, place): Place) -> Option<&(K, V)> {
        self.blocks.get(block)?.get(place)
    }

    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.at(self.find(key).ok()?).map(|(_, value)| value)
    }

    pub(crate) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let (block, place) = self.find(key).ok()?;
        self.blocks.get_mut(block)?.get_mut(place).map(|(_, value)| value)
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
        let (block, place) = match self.find(key) {
            Ok(place) => place,
            Err((block, 0)) => return self.blocks.get(block.checked_sub(1)?)?.last().map(|(key, value)| (key, value)),
            Err((block, place)) => (block, place - 1),
        };
        self.at((block, place)).map(|(key, value)| (key, value))
    }

    /// The entries with keys from this one on.
    pub(crate) fn starting_at<'a, Q: Ord + ?Sized>(
        &'a self,
        key: &Q,
    ) -> impl Iterator<Item = (&'a K, &'a V)> + use<'a, K, V, Q>
    where
        K: Borrow<Q>,
    {
        let (block, place) = self.find(key).unwrap_or_else(|place| place);
        self.blocks.get(block..).unwrap_or_default().iter().flatten().skip(place).map(|(key, value)| (key, value))
    }

    /// Gives a key its value; the one that it had.
    #[inline(never)]
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.find(&key) {
            Ok((block, place)) => {
                let entry = self.blocks.get_mut(block)?.get_mut(place)?;
                Some(core::mem::replace(&mut entry.1, value))
            }
            Err(place) => {
                self.insert_at(place, (key, value));
                None
            }
        }
    }

    /// The value of a key, which it gets if it has none.
    pub(crate) fn or_insert(&mut self, key: K, value: V) -> &mut V {
        let (block, place) = match self.find(&key) {
            Ok(place) => place,
            Err(place) => self.insert_at(place, (key, value)),
        };
        #[expect(clippy::indexing_slicing, reason = "the entry was found, or inserted, at this place")]
        &mut self.blocks[block][place].1
    }

    /// The value of a key; the default if it had none.
    pub(crate) fn or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        self.or_insert(key, V::default())
    }

    #[inline(never)]
    pub(crate) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (at, place) = self.find(key).ok()?;
        let block = self.blocks.get_mut(at)?;
        let (_, value) = block.remove(place);
        if block.is_empty() {
            self.blocks.remove(at);
        }
        Some(value)
    }

    /// Inserts an entry where [`find`](Self::find) did not find its key, and tells where it is.
    #[inline(never)]
    fn insert_at(&mut self, (mut at, mut place): Place, entry: (K, V)) -> Place {
        if at == self.blocks.len() {
            // Above every key: the last block takes it, or another that follows, so that keys that come in order fill their blocks.
            match self.blocks.last() {
                Some(last) if last.len() < BLOCK_ENTRIES_MAX => (at, place) = (at - 1, last.len()),
                _ => self.blocks.push(Vec::new()),
            }
        }
        let Some(block) = self.blocks.get_mut(at) else { return (at, place) };
        if block.len() < BLOCK_ENTRIES_MAX {
            block.insert(place, entry);
            return (at, place);
        }
        let mut upper = block.split_off(BLOCK_ENTRIES_MAX / 2);
        let next = at + 1;
        if place <= block.len() {
            block.insert(place, entry);
        } else {
            at = next;
            place -= block.len();
            upper.insert(place, entry);
        }
        self.blocks.insert(next, upper);
        (at, place)
    }
}

impl<K, V> Default for OrderedMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> IntoIterator for OrderedMap<K, V> {
    type Item = (K, V);
    type IntoIter = Flatten<IntoIter<Vec<(K, V)>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.blocks.into_iter().flatten()
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
        self.0.blocks.last()?.last().map(|(item, ())| item)
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
    type IntoIter = core::iter::Map<<OrderedMap<T, ()> as IntoIterator>::IntoIter, fn((T, ())) -> T>;

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
            prop_assert!(map.blocks.iter().all(|block| !block.is_empty() && block.len() <= BLOCK_ENTRIES_MAX));
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
        let map: OrderedMap<usize, ()> = (0..10 * BLOCK_ENTRIES_MAX).map(|key| (key, ())).collect();
        assert_eq!(map.blocks.len(), 10);
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
