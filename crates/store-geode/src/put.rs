//! Conditional writes by client transactions.

use tidelock_geode_client::{Client, Error, Json, Key, Region, Transaction, Value};
use tidelock_store::platform::{PlatformError, PutContent, PutIf, PutOutcome, Written};

use crate::entry::{Values, refused, value_of};
use crate::regions::{KEY_BYTES_MAX, Place, VALUE_BYTES_MAX};

/// A put with everything that is known before its transaction begins.
pub(crate) struct Planned<'a> {
    pub(crate) place: Place,
    pub(crate) key: Key,
    pub(crate) put: &'a PutIf,
    content: Option<Value>,
}

impl<'a> Planned<'a> {
    /// Encodes the content; may ask the cluster for ids of types.
    pub(crate) async fn new(client: &Client, place: Place, key: Key, put: &'a PutIf) -> Result<Self, PlatformError> {
        check_sizes(put)?;
        let content = match (&put.content, &place) {
            (PutContent::Put(text), Place::System(_)) => Some(Value::Bytes(text.to_vec().into())),
            (PutContent::Put(text), Place::Documents { .. }) => {
                let unfit = |why: String| PlatformError::Refused(format!("{}: {why}", put.id));
                let text = std::str::from_utf8(text).map_err(|error| unfit(error.to_string()))?;
                let json = Json::parse(text).map_err(|error| unfit(error.to_string()))?;
                Some(client.encode(&json).await.map_err(|error| refused(&error))?)
            }
            (PutContent::Keep | PutContent::Delete, _) => None,
        };
        Ok(Self { place, key, put, content })
    }

    /// What the put makes of a state.
    pub(crate) fn after(&self, before: &Values) -> Values {
        let content = match &self.put.content {
            PutContent::Put(_) => self.content.clone(),
            PutContent::Delete => None,
            PutContent::Keep => before.content.clone(),
        };
        let meta = match &self.place {
            Place::Documents { .. } => self.put.meta.as_ref().map(|meta| Value::Bytes(meta.to_vec().into())),
            Place::System(_) => None,
        };
        Values { content, meta }
    }

    /// Compares, and writes within the transaction. `None`: another state is there.
    async fn write(&self, transaction: &mut Transaction) -> Result<Option<Values>, Error> {
        let content_region = self.place.content();
        let before = match &self.place {
            Place::System(region) => Values { content: read(transaction, region, &self.key).await?, meta: None },
            Place::Documents { content, meta } => Values {
                content: read(transaction, content, &self.key).await?,
                meta: read(transaction, meta, &self.key).await?,
            },
        };
        if before.token() != self.put.token {
            return Ok(None);
        }
        let after = self.after(&before);
        // A commit applies its entries in this order. So whoever reads between two of them, or after a crash between them, has a meta
        // that tells of the content to come, never a content that looks like another writer's.
        if let Place::Documents { meta: region, .. } = &self.place {
            match (&after.meta, &before.meta) {
                (Some(value), _) => transaction.put(region, &self.key, value).await?,
                (None, Some(_)) => drop(transaction.destroy(region, &self.key).await?),
                (None, None) => {}
            }
        }
        match (&after.content, &before.content) {
            // What stays is written too: a transaction is checked for conflicts only where it writes.
            (Some(value), _) => transaction.put(content_region, &self.key, value).await?,
            (None, Some(_)) => drop(transaction.destroy(content_region, &self.key).await?),
            (None, None) => {}
        }
        Ok(Some(after))
    }
}

fn check_sizes(put: &PutIf) -> Result<(), PlatformError> {
    let content = if let PutContent::Put(text) = &put.content { text.len() } else { 0 };
    let meta = put.meta.as_ref().map_or(0, |meta| meta.len());
    let parts = [
        ("key", put.id.key.len(), KEY_BYTES_MAX),
        ("content", content, VALUE_BYTES_MAX),
        ("meta", meta, VALUE_BYTES_MAX),
    ];
    match parts.into_iter().find(|(_, length, limit)| *length > *limit as usize) {
        None => Ok(()),
        Some((part, length, limit)) => {
            Err(PlatformError::Refused(format!("{}: a {part} of {length} bytes; at most {limit}", put.id)))
        }
    }
}

async fn read(transaction: &mut Transaction, region: &Region, key: &Key) -> Result<Option<Value>, Error> {
    transaction.get(region, key).await.map(value_of)
}

/// Writes all of them in one transaction.
pub(crate) async fn put_all(client: &Client, puts: &[Planned<'_>]) -> Result<PutOutcome, PlatformError> {
    let Some(first) = puts.first() else { return Ok(PutOutcome::Done(Vec::new())) };
    let begun = client.begin(Some((first.place.content(), &first.key))).await;
    let mut transaction = begun.map_err(|error| refused(&error))?;
    let mut written = Vec::with_capacity(puts.len());
    for put in puts {
        match put.write(&mut transaction).await {
            Ok(Some(after)) => written.push(Written { token: after.token(), order: None }),
            Ok(None) | Err(Error::CommitConflict(_)) => return end(transaction, PutOutcome::Mismatch).await,
            Err(Error::NotColocated(_)) if puts.len() > 1 => return end(transaction, PutOutcome::NotTogether).await,
            Err(Error::NotColocated(why)) => {
                let _ = transaction.rollback().await;
                let path = put.place.content().path();
                // Colocated buckets come to another member one after the other.
                let what = format!(
                    "{path} and its meta region are on different members; if they stay there, run `tidelock doctor`: {why}"
                );
                return Err(PlatformError::Unavailable(what));
            }
            Err(error) => {
                // Nothing was committed, whatever becomes of the transaction.
                let _ = transaction.rollback().await;
                return Err(refused(&error));
            }
        }
    }
    match transaction.commit().await {
        Ok(()) => Ok(PutOutcome::Done(written)),
        Err(Error::CommitConflict(_)) => Ok(PutOutcome::Mismatch),
        Err(error) => Err(refused(&error)),
    }
}

/// Nothing was committed, whether the servers hear of it or not.
async fn end(transaction: Transaction, outcome: PutOutcome) -> Result<PutOutcome, PlatformError> {
    let _ = transaction.rollback().await;
    Ok(outcome)
}
