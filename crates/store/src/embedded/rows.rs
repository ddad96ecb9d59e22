//! Columns to values and back.

use std::sync::Arc;

use rusqlite::types::{FromSqlError, ToSqlOutput, Type, Value, ValueRef};
use rusqlite::{Error, Result, Row, ToSql};
use tidelock_core::ids::{DocumentId, Offset, SessionId, Version};

use crate::ChangeRecord;

/// The columns that [`record`] reads, in its order.
macro_rules! record_columns {
    () => {
        "collection, key, \"offset\", version, session, channels, departed, body"
    };
}
pub(super) use record_columns;

/// A 64-bit identifier as the signed integer of the same bits.
pub(super) fn signed(id: u64) -> i64 {
    id.cast_signed()
}

/// An offset, sequence or number as a bound of a range: beyond the signed range there is nothing.
pub(super) fn bound(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

/// Reads what [`signed`] wrote.
pub(super) fn unsigned(row: &Row<'_>, column: usize) -> Result<u64> {
    Ok(row.get::<_, i64>(column)?.cast_unsigned())
}

/// JSON text bound as TEXT, so that the tools of SQLite see JSON.
pub(super) struct Json<'a>(pub(super) &'a [u8]);

impl ToSql for Json<'_> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

/// Reads what [`Json`] wrote.
pub(super) fn json(row: &Row<'_>, column: usize) -> Result<Option<Vec<u8>>> {
    Ok(row.get_ref(column)?.as_bytes_or_null().map_err(|error| mistyped(column, error))?.map(<[u8]>::to_vec))
}

/// Reads a body.
pub(super) fn body(row: &Row<'_>, column: usize) -> Result<Option<Arc<[u8]>>> {
    Ok(row.get_ref(column)?.as_bytes_or_null().map_err(|error| mistyped(column, error))?.map(Arc::from))
}

/// A list of names: a JSON array, NULL when it is empty.
pub(super) fn names_to_sql(names: &[String]) -> Value {
    if names.is_empty() {
        return Value::Null;
    }
    Value::Text(serde_json::Value::from(names).to_string())
}

/// Reads what [`names_to_sql`] wrote.
pub(super) fn names(row: &Row<'_>, column: usize) -> Result<Vec<String>> {
    let text = row.get_ref(column)?.as_bytes_or_null().map_err(|error| mistyped(column, error))?;
    text.map_or_else(
        || Ok(Vec::new()),
        |text| serde_json::from_slice(text).map_err(|error| conversion(column, Type::Text, error)),
    )
}

/// Reads the columns of `record_columns!`.
pub(super) fn record(row: &Row<'_>) -> Result<ChangeRecord> {
    Ok(ChangeRecord {
        id: id(row)?,
        offset: Offset(unsigned(row, 2)?),
        version: Version(unsigned(row, 3)?),
        session: SessionId(unsigned(row, 4)?),
        channels: names(row, 5)?,
        left: names(row, 6)?,
        body: body(row, 7)?,
    })
}

/// Reads the first two columns.
pub(super) fn id(row: &Row<'_>) -> Result<DocumentId> {
    Ok(DocumentId { collection: row.get(0)?, key: row.get(1)? })
}

/// A column that does not hold what was written there.
pub(super) fn conversion(column: usize, kind: Type, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::FromSqlConversionFailure(column, kind, Box::new(error))
}

fn mistyped(column: usize, error: FromSqlError) -> Error {
    conversion(column, Type::Text, error)
}
