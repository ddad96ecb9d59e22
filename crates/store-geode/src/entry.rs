//! Reading entries: both values of one moment, as JSON.

use std::sync::Arc;

use tidelock_geode_client::{Client, Entry as Found, Error, Key, Region, Value, pdx};
use tidelock_store::platform::{Entry, PlatformError, Token};

use crate::regions::Place;

/// How often an entry is read again because it changed meanwhile, before it counts as unavailable.
const READS_MAX: usize = 32;
/// How many entries one request asks for.
pub(crate) const BATCH: usize = 200;

/// What the platform says of an error. `may_have_happened` of a put is what [`PlatformError::Unavailable`] stands for.
pub(crate) fn refused(error: &Error) -> PlatformError {
    let text = error.to_string();
    match error {
        Error::Unreachable(_)
        | Error::OutcomeUnknown(_)
        | Error::Closed
        | Error::Dropped
        | Error::Protocol(_)
        | Error::CommitConflict(_)
        | Error::DurableIdInUse { .. }
        | Error::Refused { .. }
        | Error::NotColocated(_) => PlatformError::Unavailable(text),
        Error::Server { exception, .. } => {
            let full = ["LowMemoryException", "DiskAccessException", "OutOfMemory"];
            if full.iter().any(|name| exception.contains(name)) {
                PlatformError::Full(text)
            } else {
                PlatformError::Unavailable(text)
            }
        }
        Error::Configuration(_)
        | Error::Authentication(_)
        | Error::NotAuthorized(_)
        | Error::NoSuchRegion(_)
        | Error::Opaque { .. }
        | Error::Value(_)
        | Error::Json(_)
        | _ => PlatformError::Refused(text),
    }
}

/// Both values of a document, or the one of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Values {
    pub(crate) content: Option<Value>,
    pub(crate) meta: Option<Value>,
}

impl Values {
    /// Equal bytes have equal tokens, and no others.
    pub(crate) fn token(&self) -> Token {
        let mut hasher = blake3::Hasher::new();
        for value in [&self.content, &self.meta] {
            match value {
                None => hasher.update(&[0]),
                Some(Value::Bytes(bytes)) => hasher.update(&[1]).update(&length(bytes.len())).update(bytes),
                Some(Value::Object(bytes)) => hasher.update(&[2]).update(&length(bytes.len())).update(bytes),
            };
        }
        Token(hasher.finalize().as_bytes().to_vec())
    }

    /// The entry that they are.
    pub(crate) async fn entry(&self, client: &Client, place: &Place) -> Result<Entry, PlatformError> {
        let meta = match &self.meta {
            Some(Value::Bytes(bytes)) => Some(Arc::from(&bytes[..])),
            // Nothing of ours: whoever wrote it has made this a foreign document.
            Some(Value::Object(_)) | None => None,
        };
        let mut entry = Entry { meta, token: self.token(), ..Entry::default() };
        match (place, &self.content) {
            (_, None) => {}
            (Place::System(_), Some(Value::Bytes(bytes))) => entry.content = Some(Arc::from(&bytes[..])),
            (Place::System(region), Some(Value::Object(_))) => {
                let path = region.path();
                return Err(PlatformError::Refused(format!("{path} holds a value that Tidelock has not written")));
            }
            (Place::Documents { .. }, Some(value)) => match text_of(client, value).await {
                Ok(text) => entry.content = Some(text.into_bytes().into()),
                Err(Unreadable::Value(why)) => entry.unreadable = Some(why),
                Err(Unreadable::Failed(error)) => return Err(error),
            },
        }
        Ok(entry)
    }
}

fn length(bytes: usize) -> [u8; 8] {
    (bytes as u64).to_be_bytes()
}

enum Unreadable {
    /// It is no document, and will not become one.
    Value(String),
    Failed(PlatformError),
}

/// The JSON text of a value.
async fn text_of(client: &Client, value: &Value) -> Result<String, Unreadable> {
    let Value::Object(bytes) = value else {
        return Err(Unreadable::Value("a byte[] is no JSON document".to_owned()));
    };
    match client.decode(value).await {
        Ok(json) => Ok(json.to_string()),
        Err(Error::Opaque { class }) => {
            Err(Unreadable::Value(format!("an object of {class}, which only Java can read: store it by PDX")))
        }
        // A type that the registry lacks, or bytes that are no object: the same however often it is read.
        Err(error @ (Error::Protocol(_) | Error::Value(_))) => {
            let type_id = pdx::type_id_of(bytes).map_or_else(String::new, |id| format!(" (PDX type {id})"));
            Err(Unreadable::Value(format!("{error}{type_id}")))
        }
        Err(error) => Err(Unreadable::Failed(refused(&error))),
    }
}

/// What is there; an invalidated entry has no value.
pub(crate) fn value_of(found: Found) -> Option<Value> {
    match found.found {
        tidelock_geode_client::Found::Value(value) => Some(value),
        tidelock_geode_client::Found::Invalid | tidelock_geode_client::Found::Absent => None,
    }
}

/// Reads one entry. The meta is read before the content and after it: every put of ours changes the meta, so that between two equal
/// ones there was none.
pub(crate) async fn read_one(place: &Place, key: &Key) -> Result<Values, PlatformError> {
    let get = async |region: &Region| region.get(key).await.map(value_of).map_err(|error| refused(&error));
    let (region, meta_region) = match place {
        Place::System(region) => return Ok(Values { content: get(region).await?, meta: None }),
        Place::Documents { content, meta } => (content, meta),
    };
    let mut meta = get(meta_region).await?;
    for _ in 0..READS_MAX {
        let content = get(region).await?;
        let after = get(meta_region).await?;
        if after == meta {
            return Ok(Values { content, meta });
        }
        meta = after;
    }
    Err(PlatformError::Unavailable(format!("{key:?} of {} changes too often to be read", region.path())))
}

/// Reads many entries of one collection, in the order of the keys.
pub(crate) async fn read_many(place: &Place, keys: &[Key]) -> Result<Vec<Values>, PlatformError> {
    let mut all = Vec::with_capacity(keys.len());
    for keys in keys.chunks(BATCH) {
        match read_batch(place, keys).await {
            Ok(values) => all.extend(values),
            Err(BatchError::Failed(error)) => return Err(error),
            Err(BatchError::Unreadable) => {
                for key in keys {
                    all.push(read_one(place, key).await?);
                }
            }
        }
    }
    Ok(all)
}

enum BatchError {
    /// In an answer to many keys the values have no lengths: where an object is that only Java reads, its end is not known.
    Unreadable,
    Failed(PlatformError),
}

impl From<PlatformError> for BatchError {
    fn from(error: PlatformError) -> Self {
        Self::Failed(error)
    }
}

async fn read_batch(place: &Place, keys: &[Key]) -> Result<Vec<Values>, BatchError> {
    if let [key] = keys {
        return Ok(vec![read_one(place, key).await?]);
    }
    let get_all = async |region: &Region| match region.get_all(keys).await {
        Ok(found) => Ok(found.into_iter().map(value_of)),
        Err(Error::Protocol(_)) => Err(BatchError::Unreadable),
        Err(error) => Err(BatchError::Failed(refused(&error))),
    };
    let (region, meta_region) = match place {
        Place::System(region) => {
            return Ok(get_all(region).await?.map(|content| Values { content, meta: None }).collect());
        }
        Place::Documents { content, meta } => (content, meta),
    };
    let before = get_all(meta_region).await?;
    let contents = get_all(region).await?;
    let after = get_all(meta_region).await?;
    let mut values = Vec::with_capacity(keys.len());
    for (((meta, content), after), key) in before.zip(contents).zip(after).zip(keys) {
        values.push(if after == meta { Values { content, meta } } else { read_one(place, key).await? });
    }
    Ok(values)
}
