//! Opening the file: the lock, the checks, the connections.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::EmbeddedOptions;
use super::error::translate;
use super::meta::{self, Identity};
use super::schema;
use crate::error::StoreError;
use crate::limits::{BUSY_MS_MAX, CHECKPOINT_PAGES, WAL_BYTES_KEPT};

/// Size of a database page in bytes.
pub(super) const PAGE_BYTES: u32 = 4096;
/// Prepared statements that a connection keeps; there are fewer.
const STATEMENTS_CACHED: usize = 64;

/// A path with something appended to its last part.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Takes the lock that keeps a second server out. It lies beside the database: closing a handle of the database file itself would
/// drop the locks that SQLite holds on it. The system releases it when the process ends, however it ends.
pub(super) fn lock(path: &Path) -> Result<File, StoreError> {
    let lock_path = beside(path, "-lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(|error| StoreError::Unavailable(format!("cannot open {}: {error}", lock_path.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Unavailable(format!(
            "another server has the database {} open (lock {})",
            path.display(),
            lock_path.display()
        ))),
        Err(TryLockError::Error(error)) => {
            Err(StoreError::Unavailable(format!("cannot lock {}: {error}", lock_path.display())))
        }
    }
}

/// The writing connection and what the database says about itself; creates the database when there is none.
pub(super) fn writer(path: &Path, options: &EmbeddedOptions) -> Result<(Connection, Identity), StoreError> {
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    let pragma = |connection: &Connection, name, value: i64| {
        let updated = connection.pragma_update_and_check(None, name, value, |_| Ok(()));
        // Some give no row back.
        updated
            .or_else(|error| if error == rusqlite::Error::QueryReturnedNoRows { Ok(()) } else { Err(translate(error)) })
    };
    // Has an effect on an empty file only. Nothing else may change before the file is known to be ours.
    pragma(&connection, "page_size", PAGE_BYTES.into())?;
    schema::migrate(&mut connection)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).map_err(translate)?;
    if mode != "wal" {
        return Err(StoreError::Unavailable(format!("SQLite refuses a write-ahead log here (journal mode {mode})")));
    }
    connection.pragma_update(None, "synchronous", "FULL").map_err(translate)?;
    pragma(&connection, "foreign_keys", 0)?;
    pragma(&connection, "wal_autocheckpoint", CHECKPOINT_PAGES.into())?;
    pragma(&connection, "journal_size_limit", WAL_BYTES_KEPT.into())?;
    // Negative: in KiB.
    pragma(&connection, "cache_size", -i64::from(options.cache_bytes >> 10))?;
    pragma(&connection, "max_page_count", pages(options.size_bytes_max).into())?;
    let identity = meta::identify(&mut connection, options.identity)?;
    Ok((connection, identity))
}

/// A connection that cannot write.
pub(super) fn reader(path: &Path, options: &EmbeddedOptions) -> Result<Connection, StoreError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.pragma_update(None, "cache_size", -i64::from(options.cache_bytes >> 10)).map_err(translate)?;
    Ok(connection)
}

/// Opens a connection that one thread at a time uses.
pub(super) fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|error| named(path, error))?;
    connection.busy_timeout(Duration::from_millis(BUSY_MS_MAX)).map_err(translate)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    Ok(connection)
}

/// The most pages of a file of that many bytes; SQLite's own limit for `None`.
pub(super) fn pages(size_bytes_max: Option<u64>) -> u32 {
    const SQLITE_PAGES_MAX: u32 = 4_294_967_294;
    let pages = size_bytes_max.map(|bytes| u32::try_from(bytes / u64::from(PAGE_BYTES)).unwrap_or(SQLITE_PAGES_MAX));
    pages.unwrap_or(SQLITE_PAGES_MAX).clamp(1, SQLITE_PAGES_MAX)
}

fn named(path: &Path, error: rusqlite::Error) -> StoreError {
    match translate(error) {
        StoreError::Unavailable(reason) => StoreError::Unavailable(format!("cannot open {}: {reason}", path.display())),
        error @ (StoreError::Full(_) | StoreError::Corrupt(_)) => error,
    }
}
