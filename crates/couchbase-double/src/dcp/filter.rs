//! Which items a stream shows (`kv_engine` docs/dcp/documentation/commands/stream-request-value.md;
//! `engines/ep/src/collections/vbucket_filter.cc`).

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::item::{Item, Kind};
use crate::manifest::{Manifest, What};
use crate::target::{Failure, unknown};
use crate::wire::{Status, read_leb128};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// Everything, on a connection with collections.
    All,
    /// Documents of the default collection, on a connection without collections; keys have no prefix.
    DefaultOnly {
        is_dropped: bool,
    },
    Collections(BTreeSet<u32>),
    Scope {
        id: u32,
        is_dropped: bool,
    },
}

/// The JSON value of a stream request.
#[derive(Debug)]
pub(super) struct RequestValue {
    pub(super) filter: Filter,
    pub(super) stream_id: Option<u16>,
    /// The purge seqno that the consumer has seen; 0 for none.
    pub(super) purge_seqno: u64,
}

impl RequestValue {
    /// Reads it as `Filter::constructFromJson` does: `uid` is for the log whatever it is, but an object that has none of the known
    /// fields is refused.
    pub(super) fn parse(value: &[u8], has_collections: bool, manifest: &Manifest) -> Result<Self, Failure> {
        if !has_collections {
            if manifest.collection(0).is_none() {
                return Err(unknown(Status::UNKNOWN_COLLECTION, manifest.uid));
            }
            return Ok(Self { filter: Filter::DefaultOnly { is_dropped: false }, stream_id: None, purge_seqno: 0 });
        }
        if value.is_empty() {
            return Ok(Self { filter: Filter::All, stream_id: None, purge_seqno: 0 });
        }
        let json: Value = serde_json::from_slice(value).map_err(|_| Status::INVALID)?;
        let fields = json.as_object().ok_or(Status::INVALID)?;
        if !["uid", "sid", "scope", "collections", "purge_seqno"].iter().any(|name| fields.contains_key(*name)) {
            return Err(Status::INVALID.into());
        }
        let stream_id = match fields.get("sid") {
            None => None,
            Some(id) => Some(read_stream_id(id)?),
        };
        let filter = read_filter(fields, manifest)?;
        let purge_seqno = match fields.get("purge_seqno") {
            None => 0,
            Some(seqno) => seqno.as_str().and_then(|text| text.parse().ok()).ok_or(Status::INVALID)?,
        };
        Ok(Self { filter, stream_id, purge_seqno })
    }
}

fn read_filter(fields: &Map<String, Value>, manifest: &Manifest) -> Result<Filter, Failure> {
    match (fields.get("collections"), fields.get("scope")) {
        (Some(_), Some(_)) => Err(Status::INVALID.into()),
        (Some(ids), None) => {
            let mut found = BTreeSet::new();
            for id in ids.as_array().ok_or(Status::INVALID)? {
                let id = hex(id).filter(|id| !(1..=7).contains(id)).ok_or(Status::INVALID)?;
                if manifest.collection(id).is_none() {
                    return Err(unknown(Status::UNKNOWN_COLLECTION, manifest.uid));
                }
                found.insert(id);
            }
            Ok(Filter::Collections(found))
        }
        (None, Some(id)) => {
            let id = hex(id).ok_or(Status::INVALID)?;
            if !manifest.scopes.iter().any(|scope| scope.id == id) {
                return Err(unknown(Status::UNKNOWN_SCOPE, manifest.uid));
            }
            Ok(Filter::Scope { id, is_dropped: false })
        }
        (None, None) => Ok(Filter::All),
    }
}

/// A number, of which the server takes the low 16 bits; 0 is none.
fn read_stream_id(id: &Value) -> Result<u16, Status> {
    let id = id.as_u64().ok_or(Status::INVALID)?;
    let id = u16::try_from(id & 0xffff).unwrap_or_default();
    if id == 0 { Err(Status::STREAM_ID_INVALID) } else { Ok(id) }
}

/// Up to eight hexadecimal digits without a prefix (`utilities/dockey_view.cc`, `makeUid`).
fn hex(id: &Value) -> Option<u32> {
    let digits = id.as_str().filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
    (digits.len() <= 8).then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

impl Filter {
    /// Whether the stream shows an item. An event that drops what the filter names changes the filter (`Filter::checkAndUpdate`).
    pub(super) fn takes(&mut self, item: &Item, manifest: &Manifest) -> bool {
        let Kind::System(event) = &item.kind else {
            let id = read_leb128(&item.key).map(|(id, _)| id);
            return id.is_some_and(|id| match self {
                Self::All => true,
                Self::DefaultOnly { .. } => id == 0,
                Self::Collections(ids) => ids.contains(&id),
                Self::Scope { id: scope, .. } => manifest.scope_of(id) == Some(*scope),
            });
        };
        match (self, &event.what) {
            (Self::All, _) => true,
            (Self::DefaultOnly { is_dropped }, what) => {
                *is_dropped |= *what == What::CollectionEnd { id: 0 };
                false
            }
            (Self::Collections(ids), What::CollectionEnd { id }) => ids.remove(id),
            (Self::Collections(ids), _) => event.collection().is_some_and(|id| ids.contains(&id)),
            (Self::Scope { id, is_dropped }, what) => {
                let is_in = event.scope == *id;
                *is_dropped |= is_in && *what == What::ScopeDrop;
                is_in
            }
        }
    }

    /// Whether nothing can come any more (commands/stream-end.md, 0x07).
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::All => false,
            Self::DefaultOnly { is_dropped } | Self::Scope { is_dropped, .. } => *is_dropped,
            Self::Collections(ids) => ids.is_empty(),
        }
    }

    /// Whether its documents may be streamed in the order of their keys (`Filter::isOsoSuitable`; engines/ep/configuration.json,
    /// `dcp_oso_max_collections_per_backfill`).
    pub(super) fn is_oso_suitable(&self, manifest: &Manifest) -> bool {
        self.collections(manifest).is_some_and(|ids| ids.len() <= 1)
    }

    /// The ids of the collections that it shows; `None` for all.
    pub(super) fn collections(&self, manifest: &Manifest) -> Option<Vec<u32>> {
        match self {
            Self::All => None,
            Self::DefaultOnly { .. } => Some(vec![0]),
            Self::Collections(ids) => Some(ids.iter().copied().collect()),
            Self::Scope { id, .. } => {
                let scope = manifest.scopes.iter().find(|scope| scope.id == *id);
                Some(scope.map(|scope| scope.collections.iter().map(|one| one.id).collect()).unwrap_or_default())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RequestValue, Status> {
        RequestValue::parse(text.as_bytes(), true, &Manifest::default()).map_err(|failure| failure.status)
    }

    #[test]
    fn values_are_read_as_documented() {
        assert_eq!(parse("").unwrap().filter, Filter::All);
        assert_eq!(parse(r#"{"collections":["0"]}"#).unwrap().filter, Filter::Collections([0].into()));
        assert_eq!(parse(r#"{"scope":"0","purge_seqno":"12"}"#).unwrap().purge_seqno, 12);
        assert_eq!(parse(r#"{"sid":7}"#).unwrap().stream_id, Some(7));
        // Not looked at (`Filter::constructFromJson`).
        assert_eq!(parse(r#"{"uid":1}"#).unwrap().filter, Filter::All);
        assert!(parse(r#"{"collections":[]}"#).unwrap().filter.is_empty());
    }

    #[test]
    fn wrong_values_are_refused_as_documented() {
        for (text, status) in [
            ("[]", Status::INVALID),
            ("{}", Status::INVALID),
            (r#"{"other":1}"#, Status::INVALID),
            (r#"{"collections":["0"],"scope":"0"}"#, Status::INVALID),
            (r#"{"collections":"0"}"#, Status::INVALID),
            (r#"{"collections":[0]}"#, Status::INVALID),
            (r#"{"collections":["0x0"]}"#, Status::INVALID),
            (r#"{"collections":["+0"]}"#, Status::INVALID),
            (r#"{"collections":["1"]}"#, Status::INVALID),
            (r#"{"collections":["9"]}"#, Status::UNKNOWN_COLLECTION),
            (r#"{"scope":0}"#, Status::INVALID),
            (r#"{"scope":"9"}"#, Status::UNKNOWN_SCOPE),
            (r#"{"sid":0}"#, Status::STREAM_ID_INVALID),
            (r#"{"sid":"1"}"#, Status::INVALID),
            (r#"{"sid":-1}"#, Status::INVALID),
            (r#"{"purge_seqno":1}"#, Status::INVALID),
            (r#"{"purge_seqno":"a"}"#, Status::INVALID),
        ] {
            assert_eq!(parse(text).unwrap_err(), status, "{text}");
        }
    }

    #[test]
    fn a_drop_changes_the_filter() {
        let end = |id| event(What::CollectionEnd { id }, 8);
        for (mut filter, dropped, is_shown) in [
            (Filter::Collections([9].into()), end(9), true),
            (Filter::DefaultOnly { is_dropped: false }, end(0), false),
            (Filter::Scope { id: 8, is_dropped: false }, event(What::ScopeDrop, 8), true),
        ] {
            assert!(!filter.takes(&end(10), &Manifest::default()) || matches!(filter, Filter::Scope { .. }));
            assert!(!filter.is_empty());
            assert_eq!(filter.takes(&dropped, &Manifest::default()), is_shown, "{filter:?}");
            assert!(filter.is_empty());
        }
        assert!(!Filter::Collections([9].into()).takes(&event(What::ScopeDrop, 8), &Manifest::default()));
    }

    fn event(what: What, scope: u32) -> Item {
        let event = crate::manifest::SystemEvent { what, scope, manifest_uid: 1 };
        let mut vbucket = crate::vbucket::VBucket::new();
        vbucket.record(&event);
        vbucket.after(0).next().map(|item| (**item).clone()).unwrap()
    }
}
