//! What an SQLite error means to the caller of a store.

use rusqlite::{Error, ErrorCode};

use crate::error::StoreError;

/// Translates an error of SQLite.
#[expect(clippy::needless_pass_by_value, reason = "the signature that `map_err` takes")]
pub(super) fn translate(error: Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full(error.to_string()),
        // None: not from SQLite, a column does not hold what was written.
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) | None => StoreError::Corrupt(error.to_string()),
        Some(_) => StoreError::Unavailable(error.to_string()),
    }
}

/// The answer of a store whose threads have ended.
pub(super) fn stopped() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}
