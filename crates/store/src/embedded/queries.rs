//! The reads of the store that are one statement each.

use rusqlite::{Connection, OptionalExtension, Result, Row, params, params_from_iter, types::Value};
use tidelock_core::ids::{ClientId, DocumentId, Incarnation, MutationId, Sequence, Version};
use tidelock_core::wire::ConflictNote;

use super::rows::{body, bound, json, names, unsigned};
use crate::store::{ConflictQuery, ConflictRecord, Document, Trace};

/// The documents named, in that order.
pub(super) fn read(connection: &Connection, ids: &[DocumentId]) -> Result<Vec<Option<Document>>> {
    let sql =
        "SELECT key, version, edited_ms, body FROM documents WHERE collection = ?1 AND key = ?2 AND body IS NOT NULL";
    let mut statement = connection.prepare_cached(sql)?;
    ids.iter()
        .map(|id| {
            let found = statement.query_row(params![id.collection, id.key], document).optional()?;
            Ok(found.flatten().map(|(_, document)| document))
        })
        .collect()
}

/// What is remembered of documents besides their state.
pub(super) fn traces(connection: &Connection, ids: &[DocumentId]) -> Result<Vec<Trace>> {
    let sql = "SELECT body IS NULL, EXISTS (SELECT 1 FROM offered WHERE collection = ?1 AND key = ?2) \
               FROM documents WHERE collection = ?1 AND key = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let trace = |row: &Row<'_>| {
        Ok(match (row.get(0)?, row.get(1)?) {
            (true, true) => Trace::Withdrawn,
            (true, false) => Trace::Buried,
            (false, true) => Trace::Offered,
            (false, false) => Trace::None,
        })
    };
    ids.iter()
        .map(|id| Ok(statement.query_row(params![id.collection, id.key], trace).optional()?.unwrap_or_default()))
        .collect()
}

/// Live documents of a collection after `after`, by rising key.
pub(super) fn scan(
    connection: &Connection,
    collection: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<(String, Document)>> {
    let sql = "SELECT key, version, edited_ms, body FROM documents \
               WHERE collection = ?1 AND (?2 IS NULL OR key > ?2) AND key >= coalesce(?2, '') AND body IS NOT NULL \
               ORDER BY key LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![collection, after, limit], document)?;
    rows.filter_map(Result::transpose).collect()
}

fn document(row: &Row<'_>) -> Result<Option<(String, Document)>> {
    let Some(body) = body(row, 3)? else { return Ok(None) };
    let document = Document { version: Version(unsigned(row, 1)?), edited_ms: unsigned(row, 2)?, body };
    Ok(Some((row.get(0)?, document)))
}

/// The conflict log, the latest first.
pub(super) fn conflicts(connection: &Connection, query: &ConflictQuery) -> Result<Vec<ConflictRecord>> {
    let mut sql = "SELECT number, at_ms, actor, client, incarnation, sequence, collection, key, path, strategy, base, mine, theirs, \
                   outcome, channels FROM conflicts WHERE number < ?"
        .to_owned();
    let mut values = vec![Value::Integer(query.before.map_or(i64::MAX, bound))];
    for (column, value) in [(" AND collection = ?", &query.collection), (" AND key = ?", &query.key)] {
        if let Some(value) = value {
            sql.push_str(column);
            values.push(Value::Text(value.clone()));
        }
    }
    sql.push_str(" ORDER BY number DESC LIMIT ?");
    values.push(Value::Integer(i64::try_from(query.limit).unwrap_or(i64::MAX)));
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(values), conflict)?;
    rows.collect()
}

fn conflict(row: &Row<'_>) -> Result<ConflictRecord> {
    let mutation = match row.get::<_, Option<[u8; 16]>>(3)? {
        None => None,
        Some(client) => Some(MutationId {
            client: ClientId(client),
            incarnation: Incarnation(unsigned(row, 4)?),
            sequence: Sequence(unsigned(row, 5)?),
        }),
    };
    Ok(ConflictRecord {
        number: unsigned(row, 0)?,
        at_ms: unsigned(row, 1)?,
        actor: row.get(2)?,
        mutation,
        note: ConflictNote {
            id: DocumentId { collection: row.get(6)?, key: row.get(7)? },
            path: names(row, 8)?,
            strategy: row.get(9)?,
            base: json(row, 10)?,
            mine: json(row, 11)?,
            theirs: json(row, 12)?,
            outcome: json(row, 13)?,
        },
        channels: names(row, 14)?,
    })
}
