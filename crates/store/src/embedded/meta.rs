//! The identities and marks of a database.

use rusqlite::{Connection, OptionalExtension, Result, params};
use tidelock_core::ids::{ChangelogId, Epoch, Offset};

use super::error::translate;
use super::rows::{signed, unsigned};
use crate::error::StoreError;

/// The rows of table `meta`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Name {
    /// Identity of the data.
    Epoch,
    /// Identity of the changelog.
    Changelog,
    /// The head at the last purge; the head is this or the largest offset of a document.
    Head,
    /// The purge floor.
    Floor,
    /// Present in a backup: the first to open it draws other identities, for its history may part from the original's.
    Backup,
}

impl Name {
    fn text(self) -> &'static str {
        match self {
            Name::Epoch => "epoch",
            Name::Changelog => "changelog",
            Name::Head => "head",
            Name::Floor => "floor",
            Name::Backup => "backup",
        }
    }
}

/// What a database says about itself.
pub(super) struct Identity {
    pub(super) epoch: Epoch,
    pub(super) changelog: ChangelogId,
    pub(super) head: Offset,
    pub(super) floor: Offset,
    pub(super) conflict: u64,
}

/// Reads the identities. A database that has none, and a backup, get the `chosen` ones, or some that are drawn.
pub(super) fn identify(
    connection: &mut Connection,
    chosen: Option<(Epoch, ChangelogId)>,
) -> std::result::Result<Identity, StoreError> {
    let is_new = read(connection, Name::Epoch).map_err(translate)?.is_none();
    if is_new || read(connection, Name::Backup).map_err(translate)?.is_some() {
        let (epoch, changelog) = match chosen {
            Some((epoch, changelog)) => (epoch.0, changelog.0),
            None => (random()?, random()?),
        };
        draw(connection, epoch, changelog).map_err(translate)?;
    }
    load(connection).map_err(translate)
}

fn draw(connection: &mut Connection, epoch: u64, changelog: u64) -> Result<()> {
    let transaction = connection.transaction()?;
    write(&transaction, Name::Epoch, epoch)?;
    write(&transaction, Name::Changelog, changelog)?;
    transaction.execute("DELETE FROM meta WHERE name = ?1", [Name::Backup.text()])?;
    transaction.commit()
}

fn load(connection: &Connection) -> Result<Identity> {
    let read = |name| Ok::<_, rusqlite::Error>(read(connection, name)?.unwrap_or_default());
    let (head, floor) = bounds(connection)?;
    let conflict = "SELECT coalesce(max(number), 0) FROM conflicts";
    Ok(Identity {
        epoch: Epoch(read(Name::Epoch)?),
        changelog: ChangelogId(read(Name::Changelog)?),
        head,
        floor,
        conflict: connection.query_row(conflict, [], |row| unsigned(row, 0))?,
    })
}

/// Head and floor as the transaction of `connection` sees them.
pub(super) fn bounds(connection: &Connection) -> Result<(Offset, Offset)> {
    let sql = "SELECT coalesce(max(\"offset\"), 0) FROM documents";
    let documents = connection.prepare_cached(sql)?.query_row([], |row| unsigned(row, 0))?;
    let read = |name| Ok::<_, rusqlite::Error>(read(connection, name)?.unwrap_or_default());
    Ok((Offset(documents.max(read(Name::Head)?)), Offset(read(Name::Floor)?)))
}

/// The value of a row.
fn read(connection: &Connection, name: Name) -> Result<Option<u64>> {
    let sql = "SELECT value FROM meta WHERE name = ?1";
    connection.prepare_cached(sql)?.query_row([name.text()], |row| unsigned(row, 0)).optional()
}

/// Sets a row.
pub(super) fn write(connection: &Connection, name: Name, value: u64) -> Result<()> {
    let sql = "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2";
    connection.prepare_cached(sql)?.execute(params![name.text(), signed(value)])?;
    Ok(())
}

/// Sets a row unless it is larger already.
pub(super) fn raise(connection: &Connection, name: Name, value: u64) -> Result<()> {
    write(connection, name, read(connection, name)?.unwrap_or_default().max(value))
}

/// Notes are rows of the same table, under names that no other row has.
fn note_name(name: &str) -> String {
    format!("note:{name}")
}

/// What was remembered under a name.
pub(super) fn recall(connection: &Connection, name: &str) -> Result<Option<Vec<u8>>> {
    let sql = "SELECT value FROM meta WHERE name = ?1";
    connection.prepare_cached(sql)?.query_row([note_name(name)], |row| row.get(0)).optional()
}

/// Remembers a note. It is a BLOB, which SQLite keeps as it is in a column of any affinity.
pub(super) fn remember(connection: &Connection, name: &str, note: &[u8]) -> Result<()> {
    let sql = "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2";
    connection.prepare_cached(sql)?.execute(params![note_name(name), note])?;
    Ok(())
}

/// A random identity; 0 stands for none elsewhere and is not drawn.
pub(super) fn random() -> std::result::Result<u64, StoreError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)
        .map_err(|error| StoreError::Unavailable(format!("the system gives no random numbers: {error}")))?;
    Ok(u64::from_le_bytes(bytes).max(1))
}
