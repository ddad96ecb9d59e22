//! Forgetting tombstones and left channels.

use rusqlite::{Connection, Result, Transaction, TransactionBehavior, params};
use tidelock_core::ids::{DocumentId, Offset};

use super::meta::{self, Name};
use super::rows::{bound, id, names};
use crate::limits::PURGE_ROWS_MAX;

/// What one step did.
pub(super) struct Step {
    /// Tombstones removed.
    pub(super) purged: u64,
    /// Whether there may be more at or below the offset.
    pub(super) more: bool,
    /// The documents whose rows it changed.
    pub(super) changed: Vec<DocumentId>,
}

struct Entry {
    id: DocumentId,
    tombstone: bool,
    channels: Vec<String>,
    left: Vec<String>,
}

/// Removes some tombstones and left channels at or below `before`, and records the floor and the head: the entry that held the head
/// may be among what goes.
pub(super) fn step(connection: &Connection, before: Offset, head: Offset) -> Result<Step> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    meta::raise(&transaction, Name::Floor, before.0)?;
    meta::raise(&transaction, Name::Head, head.0)?;
    let entries = entries(&transaction, before)?;
    let mut step = Step { purged: 0, more: entries.len() == PURGE_ROWS_MAX, changed: Vec::new() };
    for entry in entries {
        let key = params![entry.id.collection, entry.id.key];
        let gone: Vec<&String> = if entry.tombstone {
            step.purged += 1;
            for table in ["documents", "offered"] {
                let sql = format!("DELETE FROM {table} WHERE collection = ?1 AND key = ?2");
                transaction.prepare_cached(&sql)?.execute(key)?;
            }
            entry.channels.iter().chain(&entry.left).collect()
        } else {
            let sql = "UPDATE documents SET departed = NULL WHERE collection = ?1 AND key = ?2";
            transaction.prepare_cached(sql)?.execute(key)?;
            entry.left.iter().collect()
        };
        for channel in gone {
            let sql = "DELETE FROM channel_index WHERE channel = ?1 AND collection = ?2 AND key = ?3";
            transaction.prepare_cached(sql)?.execute(params![channel, entry.id.collection, entry.id.key])?;
        }
        step.changed.push(entry.id);
    }
    transaction.commit()?;
    Ok(step)
}

fn entries(connection: &Connection, before: Offset) -> Result<Vec<Entry>> {
    let sql = "SELECT collection, key, body IS NULL, channels, departed FROM documents INDEXED BY documents_purgeable \
               WHERE (body IS NULL OR departed IS NOT NULL) AND \"offset\" <= ?1 ORDER BY \"offset\" LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let limit = i64::try_from(PURGE_ROWS_MAX).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![bound(before.0), limit], |row| {
        Ok(Entry { id: id(row)?, tombstone: row.get(2)?, channels: names(row, 3)?, left: names(row, 4)? })
    })?;
    rows.collect()
}
