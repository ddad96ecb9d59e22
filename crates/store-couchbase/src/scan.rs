//! A walk through a collection: DCP from its beginning to what is there. It needs no index, and shows tombstones.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidelock_couchbase_dcp::kv::Client;
use tidelock_couchbase_dcp::{Checkpoint, Event, Feed as Changes, Filter, Start};
use tidelock_store::BoxFuture;
use tidelock_store::platform::{Entry, PlatformError, Scan};

use crate::config::CouchbaseOptions;
use crate::entry::{read, refused};
use crate::feed::{entry_of, numbered};
use crate::names::document_key;

/// A page has at most so many entries …
const PAGE_ENTRIES_MAX: usize = 500;
/// … and is full after so many bytes.
const PAGE_BYTES: usize = 4 << 20;

pub(crate) struct CouchbaseScan {
    changes: Changes,
    client: Arc<Client>,
    path: String,
    /// The branch that each vbucket is in.
    uuids: BTreeMap<u16, u64>,
    /// Entries that are no documents.
    passed_over: u64,
}

impl CouchbaseScan {
    pub(crate) async fn begin(
        options: &CouchbaseOptions,
        client: Arc<Client>,
        path: String,
    ) -> Result<Self, PlatformError> {
        let mut config = options.connection.clone();
        config.filter = Filter::Collections(vec![path.clone()]);
        config.start = Start::Beginning;
        config.to_latest = true;
        config.out_of_order = true;
        config.compression = true;
        config.name = numbered(&config.name);
        let changes = Changes::open(config, &Checkpoint::default()).await.map_err(|error| refused(&error))?;
        Ok(Self { changes, client, path, uuids: BTreeMap::new(), passed_over: 0 })
    }

    async fn page(&mut self) -> Result<Vec<(String, Entry)>, PlatformError> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        while entries.len() < PAGE_ENTRIES_MAX && bytes < PAGE_BYTES {
            let event = self.changes.next().await.map_err(|error| refused(&error))?;
            let Some(event) = event else {
                if self.passed_over > 0 {
                    let entries = std::mem::take(&mut self.passed_over);
                    tracing::warn!(
                        collection = self.path,
                        entries,
                        "entries whose keys are no documents are not synced"
                    );
                }
                break;
            };
            self.changes.acknowledge();
            match event {
                Event::Opened(opened) => {
                    let uuid = opened.failover_log.first().map_or(0, |branch| branch.uuid);
                    self.uuids.insert(opened.vbucket, uuid);
                }
                Event::Change(change) => {
                    let Some(key) = document_key(&change.key).map(str::to_owned) else {
                        self.passed_over += 1;
                        continue;
                    };
                    bytes += change.body.len();
                    let uuid = self.uuids.get(&change.vbucket).copied().unwrap_or(0);
                    let entry = match entry_of(&change, uuid) {
                        Some(entry) => entry,
                        None => read(&self.client, &self.path, &key).await?.0,
                    };
                    // Nothing is left of a tombstone without a meta.
                    if entry.content.is_some() || entry.meta.is_some() || entry.unreadable.is_some() {
                        entries.push((key, entry));
                    }
                }
                Event::Rollback { .. } => {
                    return Err(PlatformError::Unavailable("the bucket was rolled back during the walk".to_owned()));
                }
                // They concern no document; kinds that are added later do not either.
                Event::Snapshot(_)
                | Event::System(_)
                | Event::SeqnoAdvanced { .. }
                | Event::OutOfOrder { .. }
                | Event::Ended { .. }
                | Event::CaughtUp
                | Event::Disconnected { .. }
                | _ => {}
            }
        }
        Ok(entries)
    }
}

impl Scan for CouchbaseScan {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<(String, Entry)>, PlatformError>> {
        Box::pin(self.page())
    }
}
