//! A bounded map of what was used lately.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::mem;

/// Keeps the entries that were used last, in two generations: a use moves an entry to the younger one; when that has half of the
/// weight allowed, the older one is forgotten and takes its place.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    young: HashMap<K, Entry<V>>,
    old: HashMap<K, Entry<V>>,
    young_weight: usize,
    weight_max: usize,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    weight: usize,
}

impl<K: Hash + Eq, V> Recent<K, V> {
    /// Empty; the entries together never weigh more than `weight_max`.
    pub(crate) fn new(weight_max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), young_weight: 0, weight_max }
    }

    /// An entry, which becomes the one used last.
    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        if !self.young.contains_key(key) {
            let (key, entry) = self.old.remove_entry(key)?;
            self.keep(key, entry);
        }
        self.young.get(key).map(|entry| &entry.value)
    }

    /// Adds or replaces an entry. One that weighs more than half of what is allowed is not kept, nor is what it replaces.
    pub(crate) fn insert(&mut self, key: K, value: V, weight: usize) {
        self.remove(&key);
        if weight <= self.weight_max / 2 {
            self.keep(key, Entry { value, weight });
        }
    }

    /// Forgets an entry.
    pub(crate) fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        if let Some(entry) = self.young.remove(key) {
            self.young_weight -= entry.weight;
        } else {
            self.old.remove(key);
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.weight_max);
    }

    fn keep(&mut self, key: K, entry: Entry<V>) {
        if self.young_weight + entry.weight > self.weight_max / 2 {
            self.old = mem::take(&mut self.young);
            self.young_weight = 0;
        }
        self.young_weight += entry.weight;
        self.young.insert(key, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::Recent;

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let mut recent = Recent::new(8);
        for key in 0..100 {
            recent.insert(key, key, 1);
            assert_eq!(recent.get(&0), Some(&0), "0 is used all the time");
            assert!(recent.young.len() + recent.old.len() <= 8);
        }
        assert_eq!(recent.get(&99), Some(&99));
        assert_eq!(recent.get(&50), None);
    }

    #[test]
    fn a_replaced_entry_is_gone_even_when_the_new_one_does_not_fit() {
        let mut recent = Recent::new(8);
        recent.insert("a", 1, 1);
        recent.insert("a", 2, 4);
        assert_eq!(recent.get("a"), Some(&2));
        assert_eq!(recent.young_weight, 4);
        recent.insert("a", 3, 5);
        assert_eq!(recent.get("a"), None);
        assert_eq!(recent.young_weight, 0);
    }

    #[test]
    fn what_is_removed_is_gone_from_both_generations() {
        let mut recent = Recent::new(4);
        for key in ["a", "b", "c"] {
            recent.insert(key, (), 1);
        }
        assert_eq!((recent.old.len(), recent.young.len()), (2, 1));
        recent.remove("a");
        recent.remove("c");
        assert_eq!(["a", "b", "c"].map(|key| recent.get(key).is_some()), [false, true, false]);
        recent.clear();
        assert_eq!(recent.get("b"), None);
    }
}
