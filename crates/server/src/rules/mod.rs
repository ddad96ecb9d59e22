//! Who may read and write what: CEL expressions and JSON Schemas, compiled at start, deny by default.
//!
//! An expression that fails at run time (a missing member, a type that does not fit, too much work) denies: no read, no channel, no
//! write. It is counted and logged without any content.

mod collection;
mod document;
mod expression;
mod in_force;
mod inspect;
mod schema;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::RwLock;

use tidelock_store::{ChannelSet, Filter};

pub use collection::{CHANNEL_BYTES_MAX, CollectionRules, DOCUMENT_CHANNELS_MAX, Denied};
pub use document::{Document, Weight};
pub use in_force::RulesInForce;
pub use schema::SchemaViolation;

use crate::auth::Identity;
use crate::config::{ConfigError, DatabaseConfig, IdentityConfig, is_name};
use expression::Compiled;

/// Most collections that come into being by use in one database with `open_collections`.
const OPEN_COLLECTIONS_MAX: usize = 1_000;
/// Most channels that the rules may give one identity.
const IDENTITY_CHANNELS_MAX: usize = 10_000;

/// The rules of one database.
#[derive(Debug)]
pub struct Rules {
    collections: BTreeMap<String, CollectionRules>,
    identity_channels: Option<Compiled>,
    /// With `open_collections`: the rules of each collection that is not configured.
    open: Option<OpenCollections>,
}

#[derive(Debug)]
struct OpenCollections {
    rules: CollectionRules,
    /// Names in use.
    names: RwLock<BTreeSet<String>>,
}

impl Rules {
    /// Compiles the rules of a database; every problem of every collection is reported.
    pub fn compile(database: &DatabaseConfig, identity: &IdentityConfig) -> Result<Rules, ConfigError> {
        let mut problems = Vec::new();
        let mut collections = BTreeMap::new();
        for (name, config) in &database.collections {
            match CollectionRules::compile(name, config) {
                Ok(rules) => drop(collections.insert(name.clone(), rules)),
                Err(error) => problems.extend(error.problems),
            }
        }
        let identity_channels = identity.channels.as_ref().map(|text| Compiled::new(text, &["identity"])).transpose();
        let identity_channels = identity_channels.unwrap_or_else(|error| {
            problems.extend(error.problems);
            None
        });
        if !problems.is_empty() {
            return Err(ConfigError { problems });
        }
        let open = database
            .open_collections
            .then(|| OpenCollections { rules: CollectionRules::open(), names: RwLock::default() });
        Ok(Rules { collections, identity_channels, open })
    }

    /// The rules of a collection; `None` for one that does not exist. With `open_collections` every name that could be one exists, and
    /// is part of later [`filter`](Rules::filter)s from this call on.
    pub fn collection(&self, name: &str) -> Option<&CollectionRules> {
        if let Some(rules) = self.collections.get(name) {
            return Some(rules);
        }
        let open = self.open.as_ref()?;
        let known = |names: &BTreeSet<String>| names.contains(name);
        // A poisoned lock holds a set that is whole: insertion is the only change.
        if known(&open.names.read().unwrap_or_else(std::sync::PoisonError::into_inner)) {
            return Some(&open.rules);
        }
        let mut names = open.names.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !is_name(name) || (names.len() >= OPEN_COLLECTIONS_MAX && !known(&names)) {
            return None;
        }
        names.insert(name.to_owned());
        Some(&open.rules)
    }

    /// The collections and channels that an identity may read; `granted` are the channels that documents open to it.
    pub fn filter(&self, identity: &Identity, granted: &BTreeSet<String>) -> Filter {
        let readable: Vec<(&String, &CollectionRules)> =
            self.collections.iter().filter(|(_, rules)| rules.may_read(identity)).collect();
        let channels = if readable.iter().any(|(_, rules)| rules.has_channels()) {
            self.channels_of(identity, granted)
        } else {
            BTreeSet::new()
        };
        let mut collections = BTreeMap::new();
        for (name, rules) in readable {
            let set = if rules.has_channels() { ChannelSet::Only(channels.clone()) } else { ChannelSet::All };
            collections.insert(name.clone(), set);
        }
        if let Some(open) = self.open.as_ref().filter(|open| open.rules.may_read(identity)) {
            for name in open.names.read().unwrap_or_else(std::sync::PoisonError::into_inner).iter() {
                collections.insert(name.clone(), ChannelSet::All);
            }
        }
        Filter { collections }
    }

    /// The configured collections, by name.
    pub fn collections(&self) -> impl Iterator<Item = (&str, &CollectionRules)> {
        self.collections.iter().map(|(name, rules)| (name.as_str(), rules))
    }

    /// The collections that came into being by use, by name; none without `open_collections`.
    pub fn open_collections(&self) -> Vec<String> {
        let names = self.open.as_ref().map(|open| open.names.read().unwrap_or_else(std::sync::PoisonError::into_inner));
        names.map_or_else(Vec::new, |names| names.iter().cloned().collect())
    }

    /// Which documents grant something to a subject; nothing for a subject that is not known.
    pub fn grants(&self, subject: &str) -> Filter {
        let mut collections = BTreeMap::new();
        if !subject.is_empty() {
            for (name, _) in self.collections.iter().filter(|(_, rules)| rules.grants()) {
                collections
                    .insert(name.clone(), ChannelSet::Only(BTreeSet::from([collection::grant_channel(subject)])));
            }
        }
        Filter { collections }
    }

    /// What clients are told of the collections; sessions that were told something else have to begin anew.
    pub fn is_shaped_like(&self, other: &Rules) -> bool {
        let shape = |rules: &Rules| -> Vec<_> {
            rules.collections.iter().map(|(name, rules)| (name.clone(), rules.policy().clone())).collect()
        };
        self.open.is_some() == other.open.is_some() && shape(self) == shape(other)
    }

    /// The channels of an identity: those that `[identity] channels` gives, none when it fails, and those that documents grant.
    fn channels_of(&self, identity: &Identity, granted: &BTreeSet<String>) -> BTreeSet<String> {
        let own = self.identity_channels.as_ref().map_or(Ok(Vec::new()), |rule| {
            let (value, weight) = collection::identity_input(identity);
            let channels = rule.strings([("identity", value)], weight);
            channels.and_then(|channels| collection::checked_channels(channels, IDENTITY_CHANNELS_MAX))
        });
        let own = own.unwrap_or_else(|failure| {
            tracing::warn!(
                rule = "identity.channels",
                reason = failure.text(),
                "a rule could not be evaluated; no channels"
            );
            Vec::new()
        });
        let mut channels: BTreeSet<String> = own.into_iter().collect();
        // Beyond the limit nothing more is granted.
        let room = IDENTITY_CHANNELS_MAX.saturating_sub(channels.len());
        channels.extend(granted.iter().take(room).cloned());
        channels
    }
}
