//! Entries of regions.

use std::collections::BTreeMap;

use tidelock_store::platform::Token;

use crate::platform::Body;

/// A region and its sibling for the metas.
#[derive(Default)]
pub(super) struct Region {
    pub(super) pairs: BTreeMap<String, Pair>,
}

/// The entries of one document: two writes of one transaction, and two that anybody may change apart.
#[derive(Clone, Debug, Default)]
pub(super) struct Pair {
    pub(super) content: Slot,
    pub(super) meta: Slot,
}

/// An entry, or its tombstone.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot {
    pub(super) value: Option<Body>,
    /// `None` for an entry of which nothing is left.
    pub(super) tag: Option<Tag>,
    changed_ms: u64,
}

/// Who made a change, and the how-manieth of his it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) member: u64,
    pub(super) version: u64,
}

impl Region {
    /// Forgets tombstones of before `before_ms`.
    pub(super) fn collect(&mut self, before_ms: u64) {
        for pair in self.pairs.values_mut() {
            for slot in [&mut pair.content, &mut pair.meta] {
                if slot.value.is_none() && slot.changed_ms < before_ms {
                    *slot = Slot::NONE;
                }
            }
        }
        self.pairs.retain(|_, pair| pair.content.tag.is_some() || pair.meta.tag.is_some());
    }
}

impl Pair {
    pub(super) const NONE: Self = Self { content: Slot::NONE, meta: Slot::NONE };

    /// The bytes that a put has to find: those of both entries.
    pub(super) fn token(&self) -> Token {
        let mut token = Vec::new();
        for slot in [&self.content, &self.meta] {
            let (kind, bytes): (u8, &[u8]) = match &slot.value {
                None => (0, &[]),
                Some(Body::Json(bytes)) => (1, bytes),
                Some(Body::Raw(bytes)) => (2, bytes),
            };
            token.push(kind);
            token.extend((bytes.len() as u64).to_be_bytes());
            token.extend(bytes);
        }
        Token(token)
    }
}

impl Slot {
    const NONE: Self = Self { value: None, tag: None, changed_ms: 0 };

    pub(super) fn store(&mut self, value: Option<Body>, tag: Tag, now_ms: u64) {
        *self = Self { value, tag: Some(tag), changed_ms: now_ms };
    }
}
