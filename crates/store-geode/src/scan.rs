//! A walk through a region: its keys at one moment, then their entries batch by batch.

use std::collections::BTreeSet;

use tidelock_geode_client::{Client, Key, Region};
use tidelock_store::BoxFuture;
use tidelock_store::platform::{Entry, PlatformError, Scan};

use crate::entry::{BATCH, read_many, refused};
use crate::regions::{Place, document_key};

/// The keys are held in memory: about 100 bytes each.
pub(crate) struct GeodeScan {
    client: Client,
    place: Place,
    keys: std::vec::IntoIter<Key>,
}

impl GeodeScan {
    pub(crate) async fn begin(client: Client, place: Place) -> Result<Self, PlatformError> {
        let mut keys = BTreeSet::new();
        let mut foreign = 0_u64;
        let mut take = async |region: &Region, counts: bool| {
            for key in region.key_set().await.map_err(|error| refused(&error))? {
                if document_key(&key).is_some() {
                    keys.insert(key);
                } else if counts {
                    foreign += 1;
                }
            }
            Ok::<_, PlatformError>(())
        };
        take(place.content(), true).await?;
        if let Place::Documents { meta, .. } = &place {
            take(meta, false).await?;
        }
        if foreign > 0 {
            let region = place.content().path();
            tracing::warn!(
                region,
                entries = foreign,
                "entries whose keys are no strings, or begin with '~', are not synced"
            );
        }
        Ok(Self { client, place, keys: keys.into_iter().collect::<Vec<_>>().into_iter() })
    }
}

impl Scan for GeodeScan {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<(String, Entry)>, PlatformError>> {
        Box::pin(async move {
            let keys: Vec<Key> = self.keys.by_ref().take(BATCH).collect();
            let mut entries = Vec::with_capacity(keys.len());
            for (key, values) in keys.iter().zip(read_many(&self.place, &keys).await?) {
                let Some(key) = document_key(key) else { continue };
                entries.push((key.to_owned(), values.entry(&self.client, &self.place).await?));
            }
            Ok(entries)
        })
    }
}
