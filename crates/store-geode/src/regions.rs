//! Which regions hold a collection, and which keys are documents.

use std::collections::BTreeMap;

use tidelock_core::ids::DocumentId;
use tidelock_core::key;
use tidelock_core::limits::Limits;
use tidelock_geode_client::{Client, Key, Region};
use tidelock_store::platform::{PlatformError, system};

use crate::config::META_SUFFIX;

/// Largest key, in bytes: what a Java string takes without its long form. The server's own limit is below it.
pub(crate) const KEY_BYTES_MAX: u32 = 32 * 1024;

/// Largest content and largest meta, in bytes. Servers hold larger ones, but every read and every event moves them whole.
pub(crate) const VALUE_BYTES_MAX: u32 = 16 << 20;

/// Where a collection is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// The application's documents, and what Tidelock knows of them.
    Documents { content: Region, meta: Region },
    /// Tidelock's own records: JSON texts as bytes, so that they make no PDX types.
    System(Region),
}

impl Place {
    pub(crate) fn of(client: &Client, regions: &BTreeMap<String, String>, collection: &str) -> Self {
        if collection.starts_with(system::PREFIX) {
            return Self::System(client.region(collection));
        }
        let path = regions.get(collection).map_or(collection, String::as_str);
        Self::Documents { content: client.region(path), meta: client.region(&format!("{path}{META_SUFFIX}")) }
    }

    /// The region whose changes are heard of.
    pub(crate) fn content(&self) -> &Region {
        match self {
            Self::Documents { content, .. } => content,
            Self::System(region) => region,
        }
    }
}

/// The key of a document in the region.
pub(crate) fn key_of(id: &DocumentId) -> Key {
    Key::String(id.key.clone())
}

/// The key of the document that an entry is; `None` for entries that are none.
pub(crate) fn document_key(key: &Key) -> Option<&str> {
    let Key::String(text) = key else { return None };
    let limits = Limits { key_bytes_max: KEY_BYTES_MAX, ..Limits::default() };
    key::check(text, &limits).is_ok().then_some(text)
}

/// A path that a region can have: its name, or the names of those that it is in and its own, each after a `/`.
pub(crate) fn check_path(path: &str) -> Result<(), PlatformError> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let is_name = |name: &str| !name.is_empty() && !name.starts_with("__") && name.chars().all(fits);
    if path.strip_prefix('/').unwrap_or(path).split('/').all(is_name) {
        return Ok(());
    }
    Err(PlatformError::Refused(format!(
        "a region cannot be called {path:?}: name another one for this collection under `names`"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_names_between_slashes() {
        for path in ["docs", "/docs", "/a/b", "a/b.c/d-e_f", "_tl_state"] {
            assert!(check_path(path).is_ok(), "{path}");
        }
        for path in ["", "/", "//docs", "/a//b", "/a/", "a b", "/a/__b", "__a", "/a/ü"] {
            assert!(check_path(path).is_err(), "{path}");
        }
    }
}
