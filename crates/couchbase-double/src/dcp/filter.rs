//! Which items a stream shows (`kv_engine` docs/dcp/documentation/commands/stream-request-value.md).

use std::collections::BTreeSet;

use serde_json::Value;

use crate::item::{Item, Kind};
use crate::manifest::{Manifest, What};
use crate::target::{Failure, unknown};
use crate::wire::{Status, read_leb128};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// Everything, on a connection with collections.
    All,
    /// Documents of the default collection, on a connection without collections; keys have no prefix.
    DefaultOnly,
    Collections(BTreeSet<u32>),
    Scope(u32),
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
    pub(super) fn parse(value: &[u8], has_collections: bool, manifest: &Manifest) -> Result<Self, Failure> {
        if !has_collections {
            return Ok(Self { filter: Filter::DefaultOnly, stream_id: None, purge_seqno: 0 });
        }
        if value.is_empty() {
            return Ok(Self { filter: Filter::All, stream_id: None, purge_seqno: 0 });
        }
        let json: Value = serde_json::from_slice(value).map_err(|_| Status::INVALID)?;
        let fields = json.as_object().ok_or(Status::INVALID)?;
        let filter = match (fields.get("collections"), fields.get("scope")) {
            (Some(_), Some(_)) => return Err(Status::INVALID.into()),
            (Some(ids), None) => {
                let ids = ids.as_array().ok_or(Status::INVALID)?;
                let ids: Option<BTreeSet<u32>> = ids.iter().map(hex).collect();
                let ids = ids.filter(|ids| !ids.is_empty()).ok_or(Status::INVALID)?;
                if ids.iter().any(|id| manifest.collection(*id).is_none()) {
                    return Err(unknown(Status::UNKNOWN_COLLECTION, manifest.uid));
                }
                Filter::Collections(ids)
            }
            (None, Some(id)) => {
                let id = hex(id).ok_or(Status::INVALID)?;
                if !manifest.scopes.iter().any(|scope| scope.id == id) {
                    return Err(unknown(Status::UNKNOWN_SCOPE, manifest.uid));
                }
                Filter::Scope(id)
            }
            (None, None) => Filter::All,
        };
        if fields.get("uid").is_some_and(|uid| !uid.is_string()) {
            return Err(Status::INVALID.into());
        }
        let stream_id = match fields.get("sid") {
            None => None,
            Some(id) => {
                let id = id.as_u64().and_then(|id| u16::try_from(id).ok()).filter(|id| *id > 0);
                Some(id.ok_or(Status::STREAM_ID_INVALID)?)
            }
        };
        let purge_seqno = match fields.get("purge_seqno") {
            None => 0,
            Some(seqno) => seqno.as_str().and_then(|text| text.parse().ok()).ok_or(Status::INVALID)?,
        };
        Ok(Self { filter, stream_id, purge_seqno })
    }
}

fn hex(id: &Value) -> Option<u32> {
    u32::from_str_radix(id.as_str()?, 16).ok()
}

impl Filter {
    pub(super) fn shows(&self, item: &Item, manifest: &Manifest) -> bool {
        let Kind::System(event) = &item.kind else {
            let id = read_leb128(&item.key).map(|(id, _)| id);
            return id.is_some_and(|id| match self {
                Self::All => true,
                Self::DefaultOnly => id == 0,
                Self::Collections(ids) => ids.contains(&id),
                Self::Scope(scope) => manifest.scope_of(id) == Some(*scope),
            });
        };
        match self {
            Self::All => true,
            Self::DefaultOnly => false,
            Self::Collections(ids) => event.collection().is_some_and(|id| ids.contains(&id)),
            Self::Scope(scope) => event.scope == *scope,
        }
    }

    /// Takes an event that goes to the consumer; whether nothing can come any more after it (stream-end.md, 0x07).
    pub(super) fn is_emptied_by(&mut self, item: &Item) -> bool {
        let Kind::System(event) = &item.kind else { return false };
        match (self, &event.what) {
            (Self::Collections(ids), What::CollectionEnd { id }) => {
                ids.remove(id);
                ids.is_empty()
            }
            (Self::Scope(scope), What::ScopeDrop) => event.scope == *scope,
            _ => false,
        }
    }

    /// The ids of the collections that it shows; `None` for all.
    pub(super) fn collections(&self, manifest: &Manifest) -> Option<Vec<u32>> {
        match self {
            Self::All => None,
            Self::DefaultOnly => Some(vec![0]),
            Self::Collections(ids) => Some(ids.iter().copied().collect()),
            Self::Scope(id) => {
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
    }

    #[test]
    fn wrong_values_are_refused_as_documented() {
        for (text, status) in [
            ("[]", Status::INVALID),
            (r#"{"collections":["0"],"scope":"0"}"#, Status::INVALID),
            (r#"{"collections":"0"}"#, Status::INVALID),
            (r#"{"collections":["9"]}"#, Status::UNKNOWN_COLLECTION),
            (r#"{"scope":"9"}"#, Status::UNKNOWN_SCOPE),
            (r#"{"uid":1}"#, Status::INVALID),
            (r#"{"sid":0}"#, Status::STREAM_ID_INVALID),
            (r#"{"purge_seqno":1}"#, Status::INVALID),
        ] {
            assert_eq!(parse(text).unwrap_err(), status, "{text}");
        }
    }
}
