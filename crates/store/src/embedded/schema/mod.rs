//! The tables, one file for each step from one on-disk version to the next.

use rusqlite::Connection;

use crate::embedded::error::translate;
use crate::error::StoreError;

/// `application_id` of the file: the letters T, d, L, k.
pub(super) const APPLICATION_ID: i32 = 0x5464_4c6b;

/// Step n leads from on-disk version n to n + 1. A released step is never edited.
const STEPS: &[&str] = &[include_str!("0001_initial.sql"), include_str!("0002_epochs.sql")];

/// Brings the file to the version that this build reads, in one transaction; refuses a file that is not a Tidelock database or was
/// written by a later build.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(translate)?;
    let pragma = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, i32>(0)).map_err(translate);
    let application_id = pragma("application_id")?;
    let version = usize::try_from(pragma("user_version")?).unwrap_or(usize::MAX);
    let tables: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(translate)?;
    let empty = application_id == 0 && version == 0 && tables == 0;
    if application_id != APPLICATION_ID && !empty {
        return Err(StoreError::Corrupt("this SQLite file is not a Tidelock database".into()));
    }
    let Some(steps) = STEPS.get(version..) else {
        let known = STEPS.len();
        return Err(StoreError::Corrupt(format!(
            "a later Tidelock wrote this database: its format is {version}, this build reads up to {known}"
        )));
    };
    if steps.is_empty() {
        return Ok(());
    }
    for step in steps {
        transaction.execute_batch(step).map_err(translate)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(translate)?;
    let version = i32::try_from(STEPS.len()).unwrap_or(i32::MAX);
    transaction.pragma_update(None, "user_version", version).map_err(translate)?;
    transaction.commit().map_err(translate)
}
