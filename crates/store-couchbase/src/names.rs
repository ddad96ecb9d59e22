//! Which collections of the bucket hold what, and which keys are documents.

use tidelock_core::key;
use tidelock_core::limits::Limits;
use tidelock_store::platform::{PlatformError, system};

use crate::config::CouchbaseOptions;

/// Largest key, in bytes: the server's limit in collections other than the default one (`kv_engine` docs/Collections.md).
pub(crate) const KEY_BYTES_MAX: u32 = 246;
/// Largest content, in bytes (`kv_engine` docs/DocumentSizeLimits.md).
pub(crate) const CONTENT_BYTES_MAX: u32 = 20 << 20;
/// Bodies that are not set as a whole may be nested so deep: the server edits 32 levels, of which the xattr takes two, and counts what is
/// in the innermost one (`subjson` subdoc/path.h). The rest is for doubt about how it counts.
pub(crate) const DEPTH_MAX: usize = 24;
/// Largest meta, in bytes: system xattrs have 1 MiB, and base64 makes four bytes of three.
pub(crate) const META_BYTES_MAX: u32 = 700 << 10;
/// Longest name of a scope or a collection.
const NAME_BYTES_MAX: usize = 251;

/// The path `scope.name` of a collection. Tidelock's own have the prefix without its underscore, which Couchbase keeps for itself.
pub(crate) fn path_of(options: &CouchbaseOptions, collection: &str) -> Result<String, PlatformError> {
    if collection.starts_with(system::PREFIX) {
        return Ok(format!("{}.{}", options.scope, collection.trim_start_matches('_')));
    }
    let name = options.collections.get(collection).map_or(collection, String::as_str);
    let (scope, name) = name.split_once('.').unwrap_or((&options.scope, name));
    for part in [scope, name] {
        check(part).map_err(|why| {
            let advice = "name another one for this collection under `names`";
            PlatformError::Refused(format!("{collection:?} cannot be the collection {scope}.{name}: {why}; {advice}"))
        })?;
    }
    let path = format!("{scope}.{name}");
    match system::ALL.iter().find(|own| path == format!("{}.{}", options.scope, own.trim_start_matches('_'))) {
        None => Ok(path),
        Some(_) => {
            Err(PlatformError::Refused(format!("{collection:?} cannot be the collection {path}: Tidelock's own")))
        }
    }
}

/// What a scope or a collection may be called (`kv_engine` docs/Collections.md).
fn check(name: &str) -> Result<(), &'static str> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '%');
    match name {
        "_default" => Ok(()),
        "" => Err("a name is empty"),
        _ if name.len() > NAME_BYTES_MAX => Err("a name is longer than 251 bytes"),
        _ if name.starts_with(['_', '%']) => Err("a name begins with _ or %"),
        _ if !name.chars().all(fits) => Err("names have letters, digits, -, _ and % alone"),
        _ => Ok(()),
    }
}

/// The key of the document that an entry is; `None` for entries that are none.
pub(crate) fn document_key(key: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(key).ok()?;
    let limits = Limits { key_bytes_max: KEY_BYTES_MAX, ..Limits::default() };
    key::check(text, &limits).is_ok().then_some(text)
}

#[cfg(test)]
mod tests {
    use tidelock_couchbase_dcp::Config;

    use super::*;

    #[test]
    fn collections_have_paths() {
        let mut options = CouchbaseOptions::new(Config::new("couchbase://u:p@h/b").unwrap());
        options.scope = "app".to_owned();
        let named =
            [("cards", "Cards"), ("far", "other.far"), ("bad", "a b"), ("own", "tl_state"), ("free", "x.tl_state")];
        options.collections = named.map(|(collection, name)| (collection.to_owned(), name.to_owned())).into();
        let path = |collection| path_of(&options, collection);
        assert_eq!(path("notes").unwrap(), "app.notes");
        assert_eq!(path("cards").unwrap(), "app.Cards");
        assert_eq!(path("far").unwrap(), "other.far");
        assert_eq!(path("free").unwrap(), "x.tl_state");
        assert_eq!(path(system::STATE).unwrap(), "app.tl_state");
        for wrong in ["bad", "own", "_x", "", "ñ", "a.b.c"] {
            assert!(matches!(path(wrong), Err(PlatformError::Refused(_))), "{wrong}");
        }
    }

    #[test]
    fn keys_that_are_no_platform_form_are_no_documents() {
        assert_eq!(document_key(b"card-7"), Some("card-7"));
        assert_eq!(document_key(b"~n42"), Some("~n42"));
        for none in [&b"~nope"[..], b"\xff", b""] {
            assert_eq!(document_key(none), None, "{none:?}");
        }
    }
}
