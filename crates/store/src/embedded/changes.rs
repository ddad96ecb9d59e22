//! Pages of the changelog.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Result, params};
use tidelock_core::ids::{DocumentId, Offset};

use super::meta::bounds;
use super::rows::{bound, id, names, record, record_columns, unsigned};
use crate::channels::concerns;
use crate::limits::{CHANGES_INDEXED_MAX, CHANGES_SCANNED_MAX, RECORD_BYTES_OVERHEAD};
use crate::{ChangePage, ChangeRecord, ChannelSet, Filter};

/// Entries after `from` that concern the filter's readers, as the transaction of `connection` sees them.
pub(super) fn changes(connection: &Connection, from: Offset, filter: &Filter, bytes_max: usize) -> Result<ChangePage> {
    let (head, floor) = bounds(connection)?;
    let page = ChangePage { records: Vec::new(), to: from, last: false, floor };
    let builder = Builder { from, head, page, bytes: 0, bytes_max };
    match indexed(connection, from, head, filter)? {
        Some(entries) => page_of(connection, builder, &entries, filter),
        None => scan(connection, builder, filter),
    }
}

/// A page under construction.
struct Builder {
    from: Offset,
    head: Offset,
    page: ChangePage,
    bytes: usize,
    bytes_max: usize,
}

impl Builder {
    /// Whether the page ends before an entry at `offset`: never within an offset, never without one.
    fn ends_before(&self, offset: Offset) -> bool {
        self.bytes >= self.bytes_max && self.page.to > self.from && offset != self.page.to
    }

    fn push(&mut self, record: ChangeRecord) {
        self.bytes += record_bytes(&record);
        self.page.records.push(record);
    }

    /// The page, when nothing follows it.
    fn finish(mut self) -> ChangePage {
        self.page.to = self.page.to.max(self.head);
        self.page.last = true;
        self.page
    }
}

/// What a record counts against the limit of a page.
pub(super) fn record_bytes(record: &ChangeRecord) -> usize {
    record.body.as_ref().map_or(0, |body| body.len()) + record.id.key.len() + RECORD_BYTES_OVERHEAD
}

/// Looks at every entry by rising offset.
fn scan(connection: &Connection, mut builder: Builder, filter: &Filter) -> Result<ChangePage> {
    let sql = concat!(
        "SELECT ",
        record_columns!(),
        " FROM documents INDEXED BY documents_offset WHERE \"offset\" > ?1 ORDER BY \"offset\", collection, key"
    );
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([bound(builder.from.0)])?;
    let mut scanned = 0;
    while let Some(row) = rows.next()? {
        let offset = Offset(unsigned(row, 2)?);
        let tired = scanned >= CHANGES_SCANNED_MAX && offset != builder.page.to;
        if tired || builder.ends_before(offset) {
            return Ok(builder.page);
        }
        builder.page.to = offset;
        scanned += 1;
        let collection = row.get_ref(0)?.as_str().unwrap_or_default();
        let concerned = match filter.collections.get(collection) {
            None => false,
            Some(ChannelSet::All) => true,
            Some(ChannelSet::Only(_)) => concerns(filter, collection, &names(row, 5)?, &names(row, 6)?),
        };
        if concerned {
            builder.push(record(row)?);
        }
    }
    Ok(builder.finish())
}

/// The entries after `from` in the filter's channels, when looking them up costs less than a scan: the channels hold few documents
/// and the scan would pass many offsets.
fn indexed(
    connection: &Connection,
    from: Offset,
    head: Offset,
    filter: &Filter,
) -> Result<Option<BTreeSet<(Offset, DocumentId)>>> {
    let distance = usize::try_from(head.0.saturating_sub(from.0)).unwrap_or(usize::MAX);
    let mut budget = CHANGES_INDEXED_MAX.min(distance / 4);
    let mut entries = BTreeSet::new();
    let sql = "SELECT d.collection, d.key, d.\"offset\" FROM channel_index AS i CROSS JOIN documents AS d \
               ON d.collection = i.collection AND d.key = i.key WHERE i.channel = ?1 AND i.collection = ?2 LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    for (collection, channels) in &filter.collections {
        let ChannelSet::Only(channels) = channels else { return Ok(None) };
        for channel in channels {
            // An empty channel costs a look too.
            let Some(left) = budget.checked_sub(1) else { return Ok(None) };
            budget = left;
            let limit = i64::try_from(budget + 1).unwrap_or(i64::MAX);
            let mut rows = statement.query(params![channel, collection, limit])?;
            while let Some(row) = rows.next()? {
                let Some(left) = budget.checked_sub(1) else { return Ok(None) };
                budget = left;
                let offset = Offset(unsigned(row, 2)?);
                if offset > from {
                    entries.insert((offset, id(row)?));
                }
            }
        }
    }
    Ok(Some(entries))
}

fn page_of(
    connection: &Connection,
    mut builder: Builder,
    entries: &BTreeSet<(Offset, DocumentId)>,
    filter: &Filter,
) -> Result<ChangePage> {
    for (offset, id) in entries {
        if builder.ends_before(*offset) {
            return Ok(builder.page);
        }
        builder.page.to = *offset;
        if let Some(record) = document(connection, id)?
            && concerns(filter, &id.collection, &record.channels, &record.left)
        {
            builder.push(record);
        }
    }
    Ok(builder.finish())
}

/// One document or tombstone.
pub(super) fn document(connection: &Connection, id: &DocumentId) -> Result<Option<ChangeRecord>> {
    let sql = concat!("SELECT ", record_columns!(), " FROM documents WHERE collection = ?1 AND key = ?2");
    connection.prepare_cached(sql)?.query_row(params![id.collection, id.key], record).optional()
}
