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
    unreadable: Unreadable,
}

/// Entries that are no documents, until the end of the walk.
#[derive(Default)]
struct Unreadable {
    entries: u64,
    /// The key and the reason of the first.
    first: Option<(String, String)>,
}

impl Unreadable {
    fn note(&mut self, key: &str, why: &str) {
        self.entries += 1;
        self.first.get_or_insert_with(|| (key.to_owned(), why.to_owned()));
    }

    /// Once at the end: there may be many.
    fn report(&mut self, region: &str) {
        let Self { entries, first: Some((key, why)) } = std::mem::take(self) else { return };
        tracing::warn!(region, entries, key, why, "entries that are no documents are passed over; this is the first");
    }
}

impl GeodeScan {
    pub(crate) async fn begin(client: Client, place: Place) -> Result<Self, PlatformError> {
        let mut keys = BTreeSet::new();
        let mut foreign = 0;
        let mut take = async |region: &Region, counts: bool| {
            let found = region.string_keys().await.map_err(|error| refused(&error))?;
            let mut others = found.others;
            for key in found.strings.into_iter().map(Key::String) {
                if document_key(&key).is_some() {
                    keys.insert(key);
                } else {
                    others += 1;
                }
            }
            if counts {
                foreign = others;
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
        let keys = keys.into_iter().collect::<Vec<_>>().into_iter();
        Ok(Self { client, place, keys, unreadable: Unreadable::default() })
    }
}

impl Scan for GeodeScan {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<(String, Entry)>, PlatformError>> {
        Box::pin(async move {
            let keys: Vec<Key> = self.keys.by_ref().take(BATCH).collect();
            let mut entries = Vec::with_capacity(keys.len());
            for (key, values) in keys.iter().zip(read_many(&self.place, &keys).await?) {
                let Some(key) = document_key(key) else { continue };
                let entry = values.entry(&self.client, &self.place).await?;
                if let Some(why) = &entry.unreadable {
                    self.unreadable.note(key, why);
                }
                entries.push((key.to_owned(), entry));
            }
            if keys.is_empty() {
                self.unreadable.report(self.place.content().path());
            }
            Ok(entries)
        })
    }
}
