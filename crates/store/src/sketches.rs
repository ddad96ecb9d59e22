//! Symbols of the documents of a changelog, kept per class so that those of any filter are a sum (`tidelock_core::reconcile`).
//!
//! Documents of a collection with exactly the same channels are a class. Classes are disjoint, whatever a reader may see is a union of
//! them, and a document in two of its channels counts once. What a request costs follows the classes that its filter matches and the
//! symbols that it asks for, not the documents.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tidelock_core::ids::{ChangelogId, DocumentId, Offset, Version};
use tidelock_core::reconcile::{Checker, SYMBOLS_MAX, Sketch};
use tidelock_core::server::{ChangeRecord, ChannelSet, Filter, SymbolPage};
use tidelock_core::version::ItemHasher;

use crate::changelog::{Former, Segment};
use crate::limits::{CLASS_ITEMS_KEPT_MAX, CLASS_ITEMS_MIN};

/// The symbols of a changelog's documents, and where its items are.
#[derive(Clone, Debug)]
pub struct Sketches {
    hasher: ItemHasher,
    checker: Checker,
    /// What is added up: every document at this offset.
    offset: Offset,
    collections: BTreeMap<String, Collection>,
    /// Where each item was committed.
    offsets: HashMap<u64, Offset>,
}

/// Documents of one collection.
#[derive(Clone, Debug, Default)]
struct Collection {
    /// All of them: the class of a reader of the whole collection.
    whole: Class,
    /// Those in channels, by their channels (sorted, each once).
    classes: BTreeMap<Arc<[String]>, Class>,
    /// The classes of each channel.
    by_channel: BTreeMap<String, BTreeSet<Arc<[String]>>>,
}

/// A set of items. Few are kept as they are, many as their first [`SYMBOLS_MAX`] symbols; in between both are kept, as many symbols as
/// there are items, for nearly every difference needs fewer.
#[derive(Clone, Debug, Default)]
struct Class {
    count: u64,
    /// Sorted; none once there are only symbols.
    items: Vec<u64>,
    sketch: Option<Sketch>,
}

impl Sketches {
    /// Of no documents.
    pub fn new(changelog: ChangelogId) -> Self {
        Self {
            hasher: ItemHasher::new(changelog),
            checker: Checker::new(changelog),
            offset: Offset(0),
            collections: BTreeMap::new(),
            offsets: HashMap::new(),
        }
    }

    /// The documents are those at this offset.
    pub fn stand_at(&mut self, offset: Offset) {
        self.offset = offset;
    }

    /// Adds a live document.
    pub fn insert(&mut self, id: &DocumentId, version: Version, channels: &[String], offset: Offset) {
        let item = self.hasher.hash(&id.collection, &id.key, version);
        self.offsets.insert(item, offset);
        let checker = self.checker;
        let collection = match self.collections.get_mut(&id.collection) {
            Some(collection) => collection,
            None => self.collections.entry(id.collection.clone()).or_default(),
        };
        collection.whole.insert(item, checker);
        let Some(channels) = class_of(channels) else { return };
        if !collection.classes.contains_key(&channels) {
            for channel in channels.iter() {
                collection.by_channel.entry(channel.clone()).or_default().insert(channels.clone());
            }
        }
        collection.classes.entry(channels).or_default().insert(item, checker);
    }

    /// Takes out a document that was added with this version and these channels.
    pub fn remove(&mut self, id: &DocumentId, version: Version, channels: &[String]) {
        let item = self.hasher.hash(&id.collection, &id.key, version);
        self.offsets.remove(&item);
        let Some(collection) = self.collections.get_mut(&id.collection) else { return };
        collection.whole.remove(item);
        let Some(channels) = class_of(channels) else { return };
        let Some(class) = collection.classes.get_mut(&channels) else { return };
        class.remove(item);
        if class.count == 0 {
            collection.drop_class(&channels);
        }
    }

    /// Follows a group of commits.
    pub fn follow(&mut self, segment: &Segment) {
        for (record, former) in segment.records.iter().zip(&segment.former) {
            self.replace(record, former);
        }
        self.offset = self.offset.max(segment.to);
    }

    fn replace(&mut self, record: &ChangeRecord, former: &Former) {
        if former.version.exists() {
            self.remove(&record.id, former.version, &former.channels);
        }
        if record.body.is_some() {
            self.insert(&record.id, record.version, &record.channels, record.offset);
        }
    }

    /// The first `count` symbols of the documents that the filter matches.
    pub fn symbols(&self, filter: &Filter, count: u32) -> SymbolPage {
        let mut sum = Sketch::new(self.checker, count.min(SYMBOLS_MAX));
        let mut documents = 0;
        for (name, wanted) in &filter.collections {
            let Some(collection) = self.collections.get(name) else { continue };
            for class in collection.matched(wanted) {
                documents += class.count;
                class.add_to(&mut sum);
            }
        }
        SymbolPage { offset: self.offset, documents, symbols: sum.symbols().to_vec() }
    }

    /// Where an item was committed; `None` when there is none (any more).
    pub fn offset_of(&self, item: u64) -> Option<Offset> {
        self.offsets.get(&item).copied()
    }

    /// The item of a document.
    pub fn item(&self, id: &DocumentId, version: Version) -> u64 {
        self.hasher.hash(&id.collection, &id.key, version)
    }
}

/// The class of a document in these channels; `None` in no channel: only readers of the whole collection see it.
fn class_of(channels: &[String]) -> Option<Arc<[String]>> {
    let names: BTreeSet<&String> = channels.iter().collect();
    (!names.is_empty()).then(|| names.into_iter().cloned().collect())
}

impl Collection {
    fn matched(&self, wanted: &ChannelSet) -> Vec<&Class> {
        let ChannelSet::Only(channels) = wanted else { return vec![&self.whole] };
        let classes: BTreeSet<&Arc<[String]>> =
            channels.iter().filter_map(|channel| self.by_channel.get(channel)).flatten().collect();
        classes.into_iter().filter_map(|class| self.classes.get(class)).collect()
    }

    fn drop_class(&mut self, channels: &Arc<[String]>) {
        self.classes.remove(channels);
        for channel in channels.iter() {
            if let Some(classes) = self.by_channel.get_mut(channel) {
                classes.remove(channels);
                if classes.is_empty() {
                    self.by_channel.remove(channel);
                }
            }
        }
    }
}

impl Class {
    fn keeps_items(&self) -> bool {
        self.items.len() as u64 == self.count
    }

    fn insert(&mut self, item: u64, checker: Checker) {
        if self.keeps_items() {
            let at = self.items.partition_point(|other| *other < item);
            self.items.insert(at, item);
        }
        self.count += 1;
        if let Some(sketch) = &mut self.sketch {
            sketch.add(item);
        }
        self.grow(checker);
    }

    fn remove(&mut self, item: u64) {
        if self.keeps_items()
            && let Ok(at) = self.items.binary_search(&item)
        {
            self.items.remove(at);
        }
        self.count = self.count.saturating_sub(1);
        if let Some(sketch) = &mut self.sketch {
            sketch.remove(item);
        }
    }

    /// Keeps as many symbols as there are items, rounded up to a power of two, or all symbols and no items.
    fn grow(&mut self, checker: Checker) {
        let count = self.items.len();
        let length = self.sketch.as_ref().map_or(0, |sketch| sketch.symbols().len());
        if count < CLASS_ITEMS_MIN || count <= length {
            return;
        }
        let all = count > CLASS_ITEMS_KEPT_MAX;
        let length = u32::try_from(count.next_power_of_two()).unwrap_or(SYMBOLS_MAX);
        let mut sketch = Sketch::new(checker, if all { SYMBOLS_MAX } else { length });
        self.items.iter().for_each(|item| sketch.add(*item));
        self.sketch = Some(sketch);
        if all {
            self.items = Vec::new();
        }
    }

    fn add_to(&self, sum: &mut Sketch) {
        match &self.sketch {
            Some(sketch) if sketch.symbols().len() >= sum.symbols().len() => sum.unite(sketch.symbols()),
            // Only a class that keeps its items has fewer symbols.
            Some(_) | None => self.items.iter().for_each(|item| sum.add(*item)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> DocumentId {
        DocumentId::new("notes", format!("{number:05}"))
    }

    fn channels(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    fn only(names: &[&str]) -> Filter {
        Filter::from_labels(&names.iter().map(|name| format!("notes\0{name}")).collect::<Vec<_>>())
    }

    /// The symbols of the numbers themselves.
    fn expected(sketches: &Sketches, numbers: impl Iterator<Item = u32>, count: u32) -> Sketch {
        let mut sketch = Sketch::new(sketches.checker, count);
        numbers.for_each(|number| sketch.add(sketches.item(&id(number), Version(1))));
        sketch
    }

    #[test]
    fn a_class_of_any_size_has_the_symbols_of_its_documents() {
        let mut sketches = Sketches::new(ChangelogId(5));
        let sizes = [0, 1, 255, 256, 257, 1_000, 8_192, 8_193, 12_000];
        let mut grown = 0;
        for size in sizes {
            for number in grown..size {
                sketches.insert(&id(number), Version(1), &channels(&["x"]), Offset(u64::from(number)));
            }
            grown = size;
            for count in [16, 300, 5_000] {
                let page = sketches.symbols(&only(&["x"]), count);
                assert_eq!(page.symbols, expected(&sketches, 0..size, count).symbols(), "{count} of {size}");
                assert_eq!(page.documents, u64::from(size));
            }
        }
        for size in sizes.into_iter().rev() {
            for number in size..grown {
                sketches.remove(&id(number), Version(1), &channels(&["x"]));
            }
            grown = size;
            let page = sketches.symbols(&only(&["x"]), 300);
            assert_eq!(page.symbols, expected(&sketches, 0..size, 300).symbols(), "{size} are left");
        }
        assert!(sketches.collections["notes"].classes.is_empty() && sketches.offsets.is_empty());
    }

    #[test]
    fn a_document_in_two_channels_counts_once() {
        let mut sketches = Sketches::new(ChangelogId(5));
        for (number, names) in [(0, &["x"][..]), (1, &["y", "x", "y"]), (2, &["y"]), (3, &["z"]), (4, &[])] {
            sketches.insert(&id(number), Version(1), &channels(names), Offset(1));
        }
        let symbols = |filter: &Filter| sketches.symbols(filter, 40).symbols;
        let of = |numbers: &[u32]| expected(&sketches, numbers.iter().copied(), 40).symbols().to_vec();
        assert_eq!(symbols(&only(&["x", "y"])), of(&[0, 1, 2]));
        assert_eq!(symbols(&only(&["y"])), of(&[1, 2]));
        assert_eq!(symbols(&only(&["nothing"])), of(&[]));
        assert_eq!(symbols(&Filter::from_labels(&channels(&["notes"]))), of(&[0, 1, 2, 3, 4]));
        assert_eq!(symbols(&Filter::from_labels(&channels(&["others"]))), of(&[]));
    }
}
