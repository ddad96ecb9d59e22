//! Copies of a database that is in use.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rusqlite::OpenFlags;

use super::error::translate;
use super::meta::{self, Name};
use super::open::{beside, connect};
use crate::error::StoreError;

/// Writes a consistent, compact copy to `to`, which must not exist. It appears there whole or not at all. Whoever opens the copy
/// first gets other identities: its history may part from the original's.
pub(super) fn backup(from: &Path, to: &Path) -> Result<(), StoreError> {
    if to.exists() {
        return Err(StoreError::Unavailable(format!("{} exists already", to.display())));
    }
    let partial = beside(to, "-partial");
    let written = write(from, &partial).and_then(|()| publish(&partial, to));
    if written.is_err() {
        // What is left of a failed copy is of no use; its absence is fine too.
        let _ = fs::remove_file(&partial);
    }
    written
}

fn write(from: &Path, partial: &Path) -> Result<(), StoreError> {
    if partial.exists() {
        fs::remove_file(partial).map_err(|error| failed(partial, &error))?;
    }
    let name = partial.to_str().ok_or_else(|| StoreError::Unavailable("the path is not valid UTF-8".into()))?;
    let source = connect(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    source.execute("VACUUM INTO ?1", [name]).map_err(translate)?;
    let copy = connect(partial, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    meta::write(&copy, Name::Backup, 1).map_err(translate)?;
    copy.close().map_err(|(_, error)| translate(error))
}

fn publish(partial: &Path, to: &Path) -> Result<(), StoreError> {
    File::open(partial).and_then(|file| file.sync_all()).map_err(|error| failed(partial, &error))?;
    fs::rename(partial, to).map_err(|error| failed(to, &error))?;
    let directory = match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    };
    File::open(&directory).and_then(|file| file.sync_all()).map_err(|error| failed(&directory, &error))
}

fn failed(path: &Path, error: &std::io::Error) -> StoreError {
    let text = format!("{}: {error}", path.display());
    if error.kind() == std::io::ErrorKind::StorageFull { StoreError::Full(text) } else { StoreError::Unavailable(text) }
}
