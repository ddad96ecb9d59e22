//! Symbols of the documents: added up by one scan when they are first asked for, kept up to date by every commit since.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Result};
use tidelock_core::ids::{ChangelogId, DocumentId, Offset, Version};
use tidelock_core::version::ItemHasher;

use super::meta;
use super::rows::{bound, id, names, unsigned};
use crate::error::StoreError;
use crate::limits::SKETCH_CHANGES_MAX;
use crate::{Segment, Sketches};

/// The symbols as the writer and the callers share them.
#[derive(Default)]
pub(super) struct Symbols {
    state: Mutex<State>,
    /// Held by whoever adds up, or waits until it is done.
    pub(super) adding: tokio::sync::Mutex<()>,
}

#[derive(Default)]
enum State {
    /// Nobody has asked.
    #[default]
    Idle,
    /// A scan runs; what is committed meanwhile waits here, with the number of its documents.
    Adding(Vec<Arc<Segment>>, usize),
    Ready(Sketches),
}

impl Symbols {
    /// Follows a group that is durable. Called by the writer, in order.
    pub(super) fn follow(&self, segment: &Arc<Segment>) {
        let mut state = self.state();
        match &mut *state {
            State::Idle => {}
            State::Adding(waiting, documents) => {
                *documents += segment.records.len();
                waiting.push(Arc::clone(segment));
                if *documents > SKETCH_CHANGES_MAX {
                    *state = State::Idle;
                }
            }
            State::Ready(sketches) => sketches.follow(segment),
        }
    }

    /// Whether the caller has to scan; commits wait for the result from here on. A scan that nobody finished is begun again.
    pub(super) fn begin(&self) -> bool {
        let mut state = self.state();
        if matches!(&*state, State::Ready(_)) {
            return false;
        }
        *state = State::Adding(Vec::new(), 0);
        true
    }

    /// Takes what was scanned, and what was committed after that.
    pub(super) fn finish(
        &self,
        scanned: std::result::Result<(Sketches, Offset), StoreError>,
    ) -> std::result::Result<(), StoreError> {
        let mut state = self.state();
        let State::Adding(waiting, _) = std::mem::take(&mut *state) else {
            let reason =
                format!("more than {SKETCH_CHANGES_MAX} documents were written while the symbols were added up");
            return Err(StoreError::Unavailable(reason));
        };
        let (mut sketches, offset) = scanned?;
        // A segment is one transaction: the scan saw all of it or nothing.
        waiting.iter().filter(|segment| segment.to > offset).for_each(|segment| sketches.follow(segment));
        *state = State::Ready(sketches);
        Ok(())
    }

    /// Reads them; they were added up before.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Sketches) -> T) -> std::result::Result<T, StoreError> {
        match &*self.state() {
            State::Ready(sketches) => Ok(read(sketches)),
            State::Idle | State::Adding(..) => Err(StoreError::Unavailable("the symbols are not added up".into())),
        }
    }

    /// A panic of another holder leaves sketches that nobody should trust: it ends the process's use of them with itself.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| {
            let mut state = PoisonError::into_inner(poisoned);
            *state = State::Idle;
            self.state.clear_poison();
            state
        })
    }
}

/// Adds up all live documents, and says at which offset. Reads no bodies: they are the last column.
pub(super) fn scan(connection: &Connection, changelog: ChangelogId) -> Result<(Sketches, Offset)> {
    let (offset, _) = meta::bounds(connection)?;
    let mut sketches = Sketches::new(changelog);
    let sql = "SELECT collection, key, \"offset\", version, channels FROM documents WHERE version <> 0";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        sketches.insert(&id(row)?, Version(unsigned(row, 3)?), &names(row, 4)?, Offset(unsigned(row, 2)?));
    }
    sketches.stand_at(offset);
    Ok((sketches, offset))
}

/// The documents at these offsets that have one of the item hashes.
pub(super) fn items(
    connection: &Connection,
    changelog: ChangelogId,
    offsets: impl Iterator<Item = Offset>,
    items: &BTreeSet<u64>,
) -> Result<Vec<DocumentId>> {
    let hasher = ItemHasher::new(changelog);
    let sql = "SELECT collection, key, version FROM documents INDEXED BY documents_offset WHERE \"offset\" = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut found = Vec::new();
    for offset in offsets {
        let mut rows = statement.query([bound(offset.0)])?;
        while let Some(row) = rows.next()? {
            let document = id(row)?;
            if items.contains(&hasher.hash(&document.collection, &document.key, Version(unsigned(row, 2)?))) {
                found.push(document);
            }
        }
    }
    Ok(found)
}
