//! Which documents a reader sees.

use std::collections::{BTreeMap, BTreeSet};

use crate::prelude::*;

/// Separates collection and channel in a label; a character that neither may contain.
const LABEL_SEPARATOR: char = '\0';

/// Which documents a reader sees. The empty filter sees nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// By collection name; a collection that is not named is not seen.
    pub collections: BTreeMap<String, ChannelSet>,
}

/// Which channels of a collection a reader sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelSet {
    /// Every document, whatever its channels.
    All,
    /// Documents in any of these.
    Only(BTreeSet<String>),
}

impl Filter {
    /// Whether a document of `collection` with these channels is seen.
    pub fn matches(&self, collection: &str, channels: &[String]) -> bool {
        match self.collections.get(collection) {
            None => false,
            Some(ChannelSet::All) => true,
            Some(ChannelSet::Only(wanted)) => channels.iter().any(|channel| wanted.contains(channel)),
        }
    }

    /// Whether nothing is seen.
    pub fn is_empty(&self) -> bool {
        self.collections.is_empty()
    }

    /// What of this filter remains for a reader who wants these collections and channels (`None`: all channels).
    #[must_use]
    pub fn narrowed(&self, collections: &[String], channels: Option<&[String]>) -> Filter {
        let mut narrowed = Filter::default();
        for collection in collections {
            let Some(allowed) = self.collections.get(collection) else { continue };
            let set = match (allowed, channels) {
                (set, None) => set.clone(),
                (ChannelSet::All, Some(wanted)) => ChannelSet::Only(wanted.iter().cloned().collect()),
                (ChannelSet::Only(allowed), Some(wanted)) => {
                    ChannelSet::Only(wanted.iter().filter(|channel| allowed.contains(*channel)).cloned().collect())
                }
            };
            narrowed.insert(collection, set);
        }
        narrowed
    }

    /// Adds what `other` sees.
    pub fn extend(&mut self, other: &Filter) {
        for (collection, set) in &other.collections {
            match (self.collections.get_mut(collection), set) {
                (None, set) => self.insert(collection, set.clone()),
                (Some(ChannelSet::All), _) => {}
                (Some(mine), ChannelSet::All) => *mine = ChannelSet::All,
                (Some(ChannelSet::Only(mine)), ChannelSet::Only(theirs)) => mine.extend(theirs.iter().cloned()),
            }
        }
    }

    /// What this filter sees and `other` may not see. A collection that becomes narrower than "all" is named whole: which of its
    /// documents `other` sees as well is decided per document.
    #[must_use]
    pub fn without(&self, other: &Filter) -> Filter {
        let mut rest = Filter::default();
        for (collection, set) in &self.collections {
            let set = match (set, other.collections.get(collection)) {
                (_, Some(ChannelSet::All)) => continue,
                (ChannelSet::All, _) => ChannelSet::All,
                (ChannelSet::Only(mine), None) => ChannelSet::Only(mine.clone()),
                (ChannelSet::Only(mine), Some(ChannelSet::Only(theirs))) => {
                    ChannelSet::Only(mine.difference(theirs).cloned().collect())
                }
            };
            rest.insert(collection, set);
        }
        rest
    }

    /// What both filters see by the same name.
    #[must_use]
    pub fn common(&self, other: &Filter) -> Filter {
        let mut common = Filter::default();
        for (collection, mine) in &self.collections {
            let set = match (mine, other.collections.get(collection)) {
                (_, None) => continue,
                (set, Some(ChannelSet::All)) | (ChannelSet::All, Some(set)) => set.clone(),
                (ChannelSet::Only(mine), Some(ChannelSet::Only(theirs))) => {
                    ChannelSet::Only(mine.intersection(theirs).cloned().collect())
                }
            };
            common.insert(collection, set);
        }
        common
    }

    /// The filter as labels: a collection's name for all of it, or the name, U+0000 and a channel. Clients keep and echo them.
    pub fn labels(&self) -> Vec<String> {
        let mut labels = Vec::with_capacity(self.labels_count());
        for (collection, set) in &self.collections {
            match set {
                ChannelSet::All => labels.push(collection.clone()),
                ChannelSet::Only(channels) => {
                    labels.extend(channels.iter().map(|channel| format!("{collection}{LABEL_SEPARATOR}{channel}")));
                }
            }
        }
        labels
    }

    /// Labels of what a client holds in part, or not at all: what of it is lost has to go, and all of it is still to be sent.
    pub(super) fn labels_of_part(&self) -> impl Iterator<Item = String> {
        self.labels().into_iter().map(|label| format!("{LABEL_SEPARATOR}{label}"))
    }

    /// What labels name that a client holds, and what they name that it holds in part.
    pub(super) fn held(labels: &[String]) -> (Filter, Filter) {
        let in_part = labels.iter().filter_map(|label| label.strip_prefix(LABEL_SEPARATOR)).map(str::to_owned);
        let in_part: Vec<String> = in_part.collect();
        let whole = labels.iter().filter(|label| !label.starts_with(LABEL_SEPARATOR)).cloned();
        (Self::from_labels(&whole.collect::<Vec<_>>()), Self::from_labels(&in_part))
    }

    /// How many labels [`labels`](Self::labels) gives.
    pub fn labels_count(&self) -> usize {
        self.collections
            .values()
            .map(|set| match set {
                ChannelSet::All => 1,
                ChannelSet::Only(channels) => channels.len(),
            })
            .sum()
    }

    /// The filter that these labels name. Whoever made them up, the result only says what to compare with: it grants nothing.
    pub fn from_labels(labels: &[String]) -> Filter {
        let mut filter = Filter::default();
        for label in labels {
            let part = match label.split_once(LABEL_SEPARATOR) {
                None => (label.as_str(), ChannelSet::All),
                Some((collection, channel)) => (collection, ChannelSet::Only(BTreeSet::from([channel.to_owned()]))),
            };
            filter.extend(&Filter { collections: BTreeMap::from([(part.0.to_owned(), part.1)]) });
        }
        filter
    }

    /// Adds a collection, unless the set is empty.
    fn insert(&mut self, collection: &str, set: ChannelSet) {
        if !matches!(&set, ChannelSet::Only(channels) if channels.is_empty()) {
            self.collections.insert(collection.to_owned(), set);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(labels: &[&str]) -> Filter {
        Filter::from_labels(&labels.iter().map(|label| label.replace('/', "\0")).collect::<Vec<_>>())
    }

    fn strings(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    #[test]
    fn narrowing_never_widens() {
        let allowed = filter(&["cards/a", "cards/b", "lists"]);
        assert_eq!(allowed.narrowed(&strings(&["cards", "users"]), None), filter(&["cards/a", "cards/b"]));
        let wanted = strings(&["b", "c"]);
        assert_eq!(
            allowed.narrowed(&strings(&["cards", "lists"]), Some(&wanted)),
            filter(&["cards/b", "lists/b", "lists/c"])
        );
        assert!(allowed.narrowed(&strings(&["cards"]), Some(&strings(&["z"]))).is_empty());
    }

    #[test]
    fn lost_and_gained() {
        let old = filter(&["cards/a", "cards/b", "lists"]);
        let current = filter(&["cards/b", "cards/c", "lists/x"]);
        assert_eq!(old.without(&current), filter(&["cards/a", "lists"]));
        assert_eq!(current.without(&old), filter(&["cards/c"]));
        assert!(old.without(&old).is_empty());
    }

    #[test]
    fn labels_round_trip() {
        let original = filter(&["cards/a", "cards/b", "lists"]);
        assert_eq!(original.labels(), vec!["cards\0a", "cards\0b", "lists"]);
        assert_eq!(Filter::from_labels(&original.labels()), original);
        assert_eq!(original.labels_count(), 3);
        let part = filter(&["cards/c", "users"]);
        let labels: Vec<String> = original.labels().into_iter().chain(part.labels_of_part()).collect();
        assert_eq!(labels[3..], ["\0cards\0c", "\0users"]);
        assert_eq!(Filter::held(&labels), (original, part));
    }
}
