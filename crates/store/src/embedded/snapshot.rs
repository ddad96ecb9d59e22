//! Pages of the live documents by key.

use std::collections::BTreeSet;

use rusqlite::{Connection, Result, params};
use tidelock_core::ids::DocumentId;

use super::changes::{document, record_bytes};
use super::meta::bounds;
use super::rows::{record, record_columns};
use crate::limits::SNAPSHOT_KEYS_MAX;
use crate::{ChangeRecord, ChannelSet, Filter, SnapshotPage};

/// Live documents that the filter matches, after `after`, as the transaction of `connection` sees them.
///
/// SQLite compares text bytewise (collation BINARY), as Rust orders strings.
pub(super) fn snapshot(
    connection: &Connection,
    after: Option<&DocumentId>,
    filter: &Filter,
    bytes_max: usize,
) -> Result<SnapshotPage> {
    let (offset, floor) = bounds(connection)?;
    let mut page = Page { records: Vec::new(), bytes: 0, bytes_max };
    for (collection, channels) in &filter.collections {
        let after = match after {
            Some(after) if after.collection > *collection => continue,
            Some(after) if after.collection == *collection => Some(after.key.as_str()),
            Some(_) | None => None,
        };
        let complete = match channels {
            ChannelSet::All => page.take_all(connection, collection, after)?,
            ChannelSet::Only(channels) => page.take_channels(connection, collection, channels, after, filter)?,
        };
        if !complete {
            break;
        }
    }
    let through = if page.full() { page.records.last().map(|record| record.id.clone()) } else { None };
    Ok(SnapshotPage { records: page.records, through, offset, floor })
}

struct Page {
    records: Vec<ChangeRecord>,
    bytes: usize,
    bytes_max: usize,
}

impl Page {
    fn full(&self) -> bool {
        self.bytes >= self.bytes_max && !self.records.is_empty()
    }

    fn push(&mut self, record: ChangeRecord) {
        self.bytes += record_bytes(&record);
        self.records.push(record);
    }

    /// Takes documents of a collection until the page is full; whether the collection is exhausted.
    fn take_all(&mut self, connection: &Connection, collection: &str, after: Option<&str>) -> Result<bool> {
        let sql = concat!(
            "SELECT ",
            record_columns!(),
            " FROM documents WHERE collection = ?1 AND key >= ?2 AND body IS NOT NULL ORDER BY key"
        );
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![collection, after.unwrap_or_default()])?;
        while let Some(row) = rows.next()? {
            if after.is_some_and(|after| row.get_ref(1).is_ok_and(|key| key.as_str() == Ok(after))) {
                continue;
            }
            if self.full() {
                return Ok(false);
            }
            self.push(record(row)?);
        }
        Ok(true)
    }

    /// As `take_all`, for the documents in `channels`, by the channel index.
    fn take_channels(
        &mut self,
        connection: &Connection,
        collection: &str,
        channels: &BTreeSet<String>,
        after: Option<&str>,
        filter: &Filter,
    ) -> Result<bool> {
        let mut after = after.map(str::to_owned);
        loop {
            let keys = keys(connection, collection, channels, after.as_deref())?;
            for key in keys.keys {
                if self.full() {
                    return Ok(false);
                }
                let id = DocumentId::new(collection, key);
                // The index also lists tombstones and the channels that a document left.
                if let Some(record) = document(connection, &id)?
                    && record.body.is_some()
                    && filter.matches(collection, &record.channels)
                {
                    self.push(record);
                }
            }
            let Some(through) = keys.through else { return Ok(true) };
            after = Some(through);
        }
    }
}

/// Keys of a range in some channels.
struct Keys {
    keys: BTreeSet<String>,
    /// Inclusive end of the range; `None` when nothing follows.
    through: Option<String>,
}

/// The keys after `after` in any of the channels, a bounded number of each: complete up to the least last key of the channels that
/// have more.
fn keys(connection: &Connection, collection: &str, channels: &BTreeSet<String>, after: Option<&str>) -> Result<Keys> {
    // Two at least: the first may be `after` itself.
    let limit = (SNAPSHOT_KEYS_MAX / channels.len().max(1)).max(16);
    let sql =
        "SELECT key FROM channel_index WHERE channel = ?1 AND collection = ?2 AND key >= ?3 ORDER BY key LIMIT ?4";
    let mut statement = connection.prepare_cached(sql)?;
    let mut keys = BTreeSet::new();
    let mut through: Option<String> = None;
    for channel in channels {
        let limit_sql = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![channel, collection, after.unwrap_or_default(), limit_sql], |row| {
            row.get::<_, String>(0)
        })?;
        let found = rows.collect::<Result<Vec<String>>>()?;
        if found.len() == limit
            && let Some(last) = found.last()
            && through.as_ref().is_none_or(|through| last < through)
        {
            through = Some(last.clone());
        }
        keys.extend(found);
    }
    keys.retain(|key| {
        after.is_none_or(|after| key.as_str() > after) && through.as_ref().is_none_or(|through| key <= through)
    });
    Ok(Keys { keys, through })
}
