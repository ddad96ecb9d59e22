//! The histories of a database: whether the file was set back.
//!
//! Each opening draws a random history and notes where the one before ended. Whoever was told an offset of a history that goes beyond
//! its end, or of a history that the file does not know, was told of something that the file does not hold: it is an older copy.

use std::collections::BTreeMap;

use rusqlite::{Connection, Result, params};
use tidelock_core::ids::{History, Offset};

use super::error::translate;
use super::meta;
use super::rows::{signed, unsigned};
use crate::error::StoreError;
use crate::limits::HISTORIES_KEPT;

/// Every history that the file knows.
#[derive(Debug)]
pub(super) struct Histories {
    /// `None` for a new file on a full disk.
    present: Option<History>,
    ends: BTreeMap<History, Offset>,
}

impl Histories {
    /// Begins another history at `head`. Where there is no room for it, the last one goes on.
    pub(super) fn begin(connection: &mut Connection, head: Offset) -> std::result::Result<Self, StoreError> {
        let history = meta::random()?;
        match append(connection, head, history).map_err(translate) {
            Ok(()) | Err(StoreError::Full(_)) => {}
            Err(error) => return Err(error),
        }
        load(connection).map_err(translate)
    }

    pub(super) fn present(&self) -> Option<History> {
        self.present
    }

    /// Whether the file holds, or held, this offset of this history.
    pub(super) fn holds(&self, history: History, offset: Offset, head: Offset) -> bool {
        self.ends.get(&history).is_some_and(|end| offset <= head.min(*end))
    }
}

fn append(connection: &mut Connection, head: Offset, history: u64) -> Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute("UPDATE histories SET until = ?1 WHERE until IS NULL", [signed(head.0)])?;
    transaction.execute("INSERT INTO histories (history) VALUES (?1)", [signed(history)])?;
    let kept = i64::try_from(HISTORIES_KEPT).unwrap_or(i64::MAX);
    let sql = "DELETE FROM histories WHERE number <= (SELECT max(number) FROM histories) - ?1";
    transaction.execute(sql, params![kept])?;
    transaction.commit()
}

fn load(connection: &Connection) -> Result<Histories> {
    let mut statement = connection.prepare("SELECT history, until FROM histories ORDER BY number")?;
    let rows = statement.query_map([], |row| {
        let until = row.get::<_, Option<i64>>(1)?.map(|_| unsigned(row, 1)).transpose()?;
        Ok((History(unsigned(row, 0)?), until.map_or(Offset(u64::MAX), Offset)))
    })?;
    let rows: Vec<(History, Offset)> = rows.collect::<Result<_>>()?;
    Ok(Histories { present: rows.last().map(|(history, _)| *history), ends: rows.into_iter().collect() })
}
