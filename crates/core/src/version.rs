//! Content versions: equal content has one version everywhere, whatever platform or client holds it.
//!
//! ```text
//! version   = BLAKE3(canonical form)[0..8], big-endian; 0 is "absent", so a hash of 0 becomes 1
//! item hash = BLAKE3 keyed with derive_key(CONTEXT, changelog id, big-endian)
//!             over collection, 00, key, 00, version (8 bytes, big-endian); [0..8], big-endian
//! ```

#[cfg(target_arch = "wasm32")]
use crate::blake3;
use crate::ids::{ChangelogId, Version};
use crate::json::{JsonError, Value, canonical, parse, quick};

/// Context of the key derivation; part of the protocol.
const ITEM_HASH_CONTEXT: &str = "tidelock 2026 item hash v1";

/// The version of a document with this content.
pub fn of(value: &Value) -> Version {
    of_canonical(&canonical(value))
}

/// The version of a document with this body.
pub fn of_body(body: &[u8]) -> Result<Version, JsonError> {
    quick(body).map_or_else(|| Ok(of(&parse(body)?)), |text| Ok(of_canonical(&text)))
}

fn of_canonical(text: &[u8]) -> Version {
    match first_eight(blake3::hash(text)) {
        0 => Version(1),
        hash => Version(hash),
    }
}

/// Names one state of one document in eight bytes: an item of [`crate::reconcile`], and of [`crate::wire::Subscribe::have`].
///
/// Keyed by the changelog, so that nobody can prepare documents whose hashes collide. Collection names hold no U+0000.
pub fn item_hash(changelog: ChangelogId, collection: &str, key: &str, version: Version) -> u64 {
    ItemHasher::new(changelog).hash(collection, key, version)
}

/// Computes many item hashes of one changelog: the key is derived once.
#[derive(Clone, Debug)]
pub struct ItemHasher([u8; 32]);

impl ItemHasher {
    /// For the items of a changelog.
    pub fn new(changelog: ChangelogId) -> Self {
        Self(blake3::derive_key(ITEM_HASH_CONTEXT, &changelog.0.to_be_bytes()))
    }

    /// See [`item_hash`].
    pub fn hash(&self, collection: &str, key: &str, version: Version) -> u64 {
        // One piece: the hasher for several is set up for longer than such a piece takes.
        let version = version.0.to_be_bytes();
        let item = [collection.as_bytes(), &[0], key.as_bytes(), &[0], &version].concat();
        first_eight(blake3::keyed_hash(&self.0, &item))
    }
}

fn first_eight(hash: impl Into<[u8; 32]>) -> u64 {
    hash.into().iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::tests::any_value;

    fn reversed(value: &Value) -> Value {
        match value {
            Value::Array(elements) => Value::Array(elements.iter().map(reversed).collect()),
            Value::Object(members) => {
                Value::Object(members.iter().rev().map(|(name, value)| (name.clone(), reversed(value))).collect())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
        }
    }

    proptest! {
        #[test]
        fn member_order_does_not_count(value in any_value()) {
            prop_assert_eq!(of(&value), of(&reversed(&value)));
            prop_assert!(of(&value).exists());
        }

        #[test]
        fn equality_is_equality_of_versions(a in any_value(), b in any_value()) {
            prop_assert_eq!(a == b, of(&a) == of(&b));
        }
    }

    #[test]
    fn item_hashes_depend_on_every_part() {
        let hash = |log, collection, key, version| item_hash(ChangelogId(log), collection, key, Version(version));
        let one = hash(1, "a", "b", 3);
        assert_eq!(one, ItemHasher::new(ChangelogId(1)).hash("a", "b", Version(3)));
        for other in [
            hash(2, "a", "b", 3),
            hash(1, "c", "b", 3),
            hash(1, "a", "c", 3),
            hash(1, "a", "b", 4),
            hash(1, "ab", "", 3),
        ] {
            assert_ne!(one, other);
        }
    }
}
