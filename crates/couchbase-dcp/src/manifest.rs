//! The scopes and collections that a node knows, for telling a dropped collection from a node that has not heard of it yet.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// A bucket's manifest (`kv_engine` docs/Collections.md); numbers are hexadecimal text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Grows with each change.
    pub(crate) uid: u64,
    /// With the collections of each.
    pub(crate) scopes: BTreeMap<u32, Vec<u32>>,
    pub(crate) collections: BTreeSet<u32>,
}

#[derive(Deserialize)]
struct Text {
    uid: String,
    scopes: Vec<ScopeText>,
}

#[derive(Deserialize)]
struct ScopeText {
    uid: String,
    #[serde(default)]
    collections: Vec<CollectionText>,
}

#[derive(Deserialize)]
struct CollectionText {
    uid: String,
}

impl Manifest {
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let text: Text = serde_json::from_slice(text).ok()?;
        let hex = |text: &str| u32::from_str_radix(text, 16).ok();
        let mut manifest = Self { uid: u64::from_str_radix(&text.uid, 16).ok()?, ..Self::default() };
        for scope in &text.scopes {
            let collections: Vec<u32> =
                scope.collections.iter().map(|collection| hex(&collection.uid)).collect::<Option<_>>()?;
            manifest.collections.extend(&collections);
            manifest.scopes.insert(hex(&scope.uid)?, collections);
        }
        Some(manifest)
    }
}

/// What a filter shows, by ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ids {
    All,
    Scope(u32),
    Collections(Vec<u32>),
}

impl Ids {
    /// Forgets what a manifest has no more. Whether anything is left, when something was forgotten.
    pub(crate) fn keep_existing(&mut self, manifest: &Manifest) -> Option<bool> {
        match self {
            Self::All => None,
            Self::Scope(id) => (!manifest.scopes.contains_key(id)).then_some(false),
            Self::Collections(ids) => {
                let is_there = |id: &u32| manifest.collections.contains(id);
                if !ids.iter().any(is_there) {
                    // They stay: who asks with them hears that they are gone, and no server takes a filter of none.
                    return Some(false);
                }
                let before = ids.len();
                ids.retain(is_there);
                (ids.len() < before).then_some(true)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"uid":"1f","scopes":[{"uid":"0","name":"_default","collections":[{"uid":"0","name":"_default"}]},
        {"uid":"8","name":"app","collections":[{"uid":"a","name":"notes"}]},{"uid":"9","name":"empty"}]}"#;

    #[test]
    fn a_manifest_is_read() {
        let manifest = Manifest::parse(TEXT.as_bytes()).unwrap();
        let scopes = [(0, vec![0]), (8, vec![10]), (9, vec![])];
        assert_eq!((manifest.uid, manifest.scopes, manifest.collections), (31, scopes.into(), [0, 10].into()));
        for text in ["", "{}", r#"{"uid":"x","scopes":[]}"#, r#"{"uid":"1","scopes":[{"uid":"100000000"}]}"#] {
            assert_eq!(Manifest::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_filter_forgets_what_is_gone() {
        let manifest = Manifest::parse(TEXT.as_bytes()).unwrap();
        let check = |mut ids: Ids, expected, left| {
            assert_eq!(ids.keep_existing(&manifest), expected);
            assert_eq!(ids, left);
        };
        check(Ids::All, None, Ids::All);
        check(Ids::Scope(8), None, Ids::Scope(8));
        check(Ids::Scope(7), Some(false), Ids::Scope(7));
        check(Ids::Collections(vec![10, 0]), None, Ids::Collections(vec![10, 0]));
        check(Ids::Collections(vec![10, 11]), Some(true), Ids::Collections(vec![10]));
        check(Ids::Collections(vec![11]), Some(false), Ids::Collections(vec![11]));
        check(Ids::Collections(vec![]), Some(false), Ids::Collections(vec![]));
    }
}
