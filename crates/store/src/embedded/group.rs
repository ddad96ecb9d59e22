//! One transaction of the writer: the mutations of a group, checked and written one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Result, params};
use tidelock_core::ids::{ClientId, DocumentId, Incarnation, MutationId, Offset, Sequence, Version};
use tidelock_core::wire::{self, ConflictNote};

use super::documents::{Documents, Latest};
use super::rows::{Json, bound, conversion, names, names_to_sql, signed, unsigned};
use crate::channels::{channels_of_conflict, left_after};
use crate::recent::Recent;
use crate::store::{Commit, CommitOutcome, Recorded, Write};
use crate::{ChangeRecord, Former, Segment};

/// What the writer knows without asking the file; it takes a group's value over once the group is durable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    /// The latest offset.
    pub(super) head: Offset,
    /// The latest number of the conflict log.
    pub(super) conflict: u64,
}

/// What the writer knows of a client's incarnation: its outcomes are recorded without gaps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail {
    /// The last finished mutation, 0 for none.
    finished: Sequence,
    /// The first whose outcome is recorded; one beyond `finished` when there is none.
    first: Sequence,
}

/// What was finished lately, by incarnation.
pub(super) type Tails = Recent<(ClientId, Incarnation), Tail>;

/// The mutations of one transaction.
pub(super) struct Group<'c> {
    connection: &'c Connection,
    documents: &'c Documents,
    tails: &'c mut Tails,
    from: Offset,
    position: Position,
    /// What the transaction wrote: it comes before what is remembered of earlier ones.
    written: BTreeMap<DocumentId, Latest>,
    /// What those documents were before the transaction.
    former: BTreeMap<DocumentId, Former>,
    finished: BTreeMap<(ClientId, Incarnation), Tail>,
    frequent: Frequent<'c>,
}

/// The statements of nearly every mutation, looked up once for the group.
struct Frequent<'c> {
    replace: CachedStatement<'c>,
    record: CachedStatement<'c>,
}

/// What is true once a group is durable.
pub(super) struct Done {
    pub(super) position: Position,
    /// What was published; `None` for a group that changed no document.
    pub(super) segment: Option<Segment>,
    /// The documents as they are after it.
    pub(super) written: BTreeMap<DocumentId, Latest>,
    /// Where the incarnations stand after it.
    pub(super) tails: BTreeMap<(ClientId, Incarnation), Tail>,
}

/// A document as a write finds it.
struct Current {
    version: Version,
    channels: Vec<String>,
    left: Vec<String>,
}

impl<'c> Group<'c> {
    /// A group that follows `position`, inside a transaction of `connection`. What it remembers of earlier ones is in `documents` and
    /// `tails`, which it does not change but for the order of use and what it reads from the file.
    pub(super) fn new(
        connection: &'c Connection,
        documents: &'c Documents,
        tails: &'c mut Tails,
        position: Position,
    ) -> Result<Self> {
        let (written, former, finished) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let frequent = Frequent::new(connection)?;
        let from = position.head;
        Ok(Self { connection, documents, tails, from, position, written, former, finished, frequent })
    }

    /// Where the writer stands after the group, and what the group changed.
    pub(super) fn finish(mut self) -> Done {
        let mut records: Vec<_> = self.written.values().map(|latest| Arc::clone(&latest.record)).collect();
        records.sort_by_key(|record| record.offset);
        let former = records.iter().map(|record| self.former.remove(&record.id).unwrap_or_default()).collect();
        let (from, to) = (self.from, self.position.head);
        let segment = (!records.is_empty()).then_some(Segment { from, to, records, former });
        Done { position: self.position, segment, written: self.written, tails: self.finished }
    }

    /// Checks a mutation and writes it. What is refused has written nothing.
    pub(super) fn commit(&mut self, commit: &Commit) -> Result<CommitOutcome> {
        let recording = match commit.mutation {
            Some(mutation) => Some((mutation, self.tail(mutation)?)),
            None => None,
        };
        if let Some((mutation, tail)) = recording
            && let Some(refusal) = self.refuse_sequence(mutation, tail, commit.jumps)?
        {
            return Ok(refusal);
        }
        let mut current = Vec::with_capacity(commit.writes.len());
        let mut mismatched = Vec::new();
        for write in &commit.writes {
            let found = self.current(&write.id)?;
            if found.as_ref().map_or(Version::ABSENT, |found| found.version) != write.expected {
                mismatched.push(write.id.clone());
            }
            current.push(found);
        }
        if !mismatched.is_empty() {
            return Ok(CommitOutcome::Mismatch(mismatched));
        }
        let stays = |(write, found): &(&Write, Option<Current>)| {
            write.leaves(found.as_ref().map_or(&[], |found| found.channels.as_slice()))
        };
        let placed = self.placed(commit)?;
        let changed: Vec<_> = commit.writes.iter().zip(current).filter(|one| !stays(one)).collect();
        if !changed.is_empty() {
            self.position.head = Offset(self.position.head.0 + 1);
        }
        for (write, found) in changed {
            self.write(commit, write, found)?;
        }
        for (note, former) in commit.conflicts.iter().zip(placed) {
            self.log_conflict(commit, note, former.as_deref())?;
        }
        if let Some((mutation, tail)) = recording {
            self.record(commit, mutation, tail)?;
        }
        Ok(CommitOutcome::Committed(self.position.head))
    }

    fn refuse_sequence(&self, mutation: MutationId, tail: Tail, jumps: bool) -> Result<Option<CommitOutcome>> {
        let finished = tail.finished;
        if mutation.sequence <= finished {
            return Ok(Some(CommitOutcome::Repeated(self.recorded(mutation)?)));
        }
        let follows = jumps || mutation.sequence == finished.next();
        Ok((!follows).then_some(CommitOutcome::OutOfOrder(finished)))
    }

    fn tail(&mut self, mutation: MutationId) -> Result<Tail> {
        let incarnation = (mutation.client, mutation.incarnation);
        if let Some(tail) = self.finished.get(&incarnation).or_else(|| self.tails.get(&incarnation)) {
            return Ok(*tail);
        }
        let tail = tail(self.connection, mutation.client, mutation.incarnation)?;
        self.finished.insert(incarnation, tail);
        Ok(tail)
    }

    fn recorded(&self, mutation: MutationId) -> Result<Option<Recorded>> {
        let after = Sequence(mutation.sequence.0.saturating_sub(1));
        let mut recorded = outcomes(self.connection, mutation.client, mutation.incarnation, after, 1)?;
        Ok(recorded.pop().filter(|recorded| recorded.sequence == mutation.sequence))
    }

    fn current(&self, id: &DocumentId) -> Result<Option<Current>> {
        let of = |latest: &Latest| {
            let record = &latest.record;
            Current { version: record.version, channels: record.channels.clone(), left: record.left.clone() }
        };
        if let Some(current) = self.written.get(id).map(of).or_else(|| self.documents.look_up(id, of)) {
            return Ok(Some(current));
        }
        let sql = "SELECT version, channels, departed FROM documents WHERE collection = ?1 AND key = ?2";
        self.connection
            .prepare_cached(sql)?
            .query_row(params![id.collection, id.key], |row| {
                Ok(Current { version: Version(unsigned(row, 0)?), channels: names(row, 1)?, left: names(row, 2)? })
            })
            .optional()
    }

    fn write(&mut self, commit: &Commit, write: &Write, found: Option<Current>) -> Result<()> {
        let exists = found.is_some();
        let found = found.unwrap_or(Current { version: Version::ABSENT, channels: Vec::new(), left: Vec::new() });
        let left = left_after(&found.channels, &found.left, &write.channels);
        let version = if write.body.is_some() { write.version } else { Version::ABSENT };
        let row = params![
            write.id.collection,
            write.id.key,
            signed(self.position.head.0),
            signed(version.0),
            signed(write.edited_ms),
            signed(commit.session.0),
            names_to_sql(&write.channels),
            names_to_sql(&left),
            write.body.as_deref().map(Json),
        ];
        if exists {
            self.frequent.replace.execute(row)?;
        } else {
            let sql = "INSERT INTO documents (collection, key, \"offset\", version, edited_ms, session, channels, departed, body) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
            self.connection.prepare_cached(sql)?.execute(row)?;
        }
        if write.trace.is_brought_back() {
            let sql = "INSERT OR IGNORE INTO offered (collection, key) VALUES (?1, ?2)";
            self.connection.prepare_cached(sql)?.execute(params![write.id.collection, write.id.key])?;
        }
        // The index holds channels and left channels together, and a channel that a write takes away is left: only additions occur.
        for channel in &write.channels {
            if !found.channels.contains(channel) && !found.left.contains(channel) {
                let sql = "INSERT OR IGNORE INTO channel_index (channel, collection, key) VALUES (?1, ?2, ?3)";
                self.connection.prepare_cached(sql)?.execute(params![channel, write.id.collection, write.id.key])?;
            }
        }
        let record = Arc::new(ChangeRecord {
            offset: self.position.head,
            id: write.id.clone(),
            version,
            body: write.body.clone(),
            channels: write.channels.clone(),
            left,
            session: commit.session,
        });
        // A document that the group changed before was then what it was before the group.
        let former = Former { version: found.version, channels: found.channels };
        self.former.entry(write.id.clone()).or_insert(former);
        self.written.insert(write.id.clone(), Latest { record, edited_ms: write.edited_ms });
        Ok(())
    }

    /// The channels of the documents that a commit has conflicts on, at this moment; `None` for those that are not there.
    fn placed(&self, commit: &Commit) -> Result<Vec<Option<Vec<String>>>> {
        let of = |note: &ConflictNote| {
            let found = self.current(&note.id)?.filter(|found| found.version.exists());
            Ok(found.map(|found| found.channels))
        };
        commit.conflicts.iter().map(of).collect()
    }

    fn log_conflict(&mut self, commit: &Commit, note: &ConflictNote, former: Option<&[String]>) -> Result<()> {
        self.position.conflict += 1;
        let channels = self.current(&note.id)?.map_or_else(Vec::new, |found| found.channels);
        let channels = channels_of_conflict(former, channels);
        let sql = "INSERT INTO conflicts (number, at_ms, actor, client, incarnation, sequence, collection, key, path, strategy, \
                   base, mine, theirs, outcome, channels) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
        self.connection.prepare_cached(sql)?.execute(params![
            signed(self.position.conflict),
            signed(commit.now_ms),
            commit.actor,
            commit.mutation.map(|mutation| mutation.client.0),
            commit.mutation.map(|mutation| signed(mutation.incarnation.0)),
            commit.mutation.map(|mutation| signed(mutation.sequence.0)),
            note.id.collection,
            note.id.key,
            names_to_sql(&note.path),
            note.strategy,
            note.base.as_deref().map(Json),
            note.mine.as_deref().map(Json),
            note.theirs.as_deref().map(Json),
            note.outcome.as_deref().map(Json),
            names_to_sql(&channels),
        ])?;
        Ok(())
    }

    /// Records the outcome and forgets those that the client has acknowledged; the mutation itself becomes the client record. The row
    /// of the last one that is forgotten is used again: mostly there is no other.
    fn record(&mut self, commit: &Commit, mutation: MutationId, Tail { first, .. }: Tail) -> Result<()> {
        let (client, incarnation, sequence) = (mutation.client.0, signed(mutation.incarnation.0), mutation.sequence);
        let acknowledged = commit.acknowledged.min(Sequence(sequence.0.saturating_sub(1)));
        if acknowledged > first {
            let sql = "DELETE FROM outcomes WHERE client = ?1 AND incarnation = ?2 AND sequence < ?3";
            self.connection.prepare_cached(sql)?.execute(params![client, incarnation, bound(acknowledged.0)])?;
        }
        let outcome = wire::encode(&commit.outcome);
        let (offset, at_ms) = (signed(self.position.head.0), signed(commit.now_ms));
        let mut replaced = 0;
        if acknowledged >= first {
            let (new, old) = (bound(sequence.0), bound(acknowledged.0));
            let row = params![client, incarnation, new, offset, at_ms, outcome, old];
            replaced = self.frequent.record.execute(row)?;
        }
        if replaced == 0 {
            let sql = "INSERT INTO outcomes (client, incarnation, sequence, \"offset\", at_ms, outcome) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            let row = params![client, incarnation, bound(sequence.0), offset, at_ms, outcome];
            self.connection.prepare_cached(sql)?.execute(row)?;
        }
        let tail = Tail { finished: sequence, first: first.max(acknowledged.next()) };
        self.finished.insert((mutation.client, mutation.incarnation), tail);
        Ok(())
    }
}

impl<'c> Frequent<'c> {
    fn new(connection: &'c Connection) -> Result<Self> {
        let replace = "UPDATE documents SET \"offset\" = ?3, version = ?4, edited_ms = ?5, session = ?6, channels = ?7, \
                       departed = ?8, body = ?9 WHERE collection = ?1 AND key = ?2";
        let record = "UPDATE outcomes SET sequence = ?3, \"offset\" = ?4, at_ms = ?5, outcome = ?6 \
                      WHERE client = ?1 AND incarnation = ?2 AND sequence = ?7";
        Ok(Self { replace: connection.prepare_cached(replace)?, record: connection.prepare_cached(record)? })
    }
}

fn tail(connection: &Connection, client: ClientId, incarnation: Incarnation) -> Result<Tail> {
    let finished = finished(connection, client, incarnation)?;
    let sql = "SELECT sequence FROM outcomes WHERE client = ?1 AND incarnation = ?2 ORDER BY sequence LIMIT 1";
    let mut statement = connection.prepare_cached(sql)?;
    let first = statement.query_row(params![client.0, signed(incarnation.0)], |row| unsigned(row, 0)).optional()?;
    Ok(Tail { finished, first: first.map_or(finished.next(), Sequence) })
}

/// The last finished mutation of an incarnation, 0 for none.
pub(super) fn finished(connection: &Connection, client: ClientId, incarnation: Incarnation) -> Result<Sequence> {
    // Not `max(sequence)`: SQLite would prepare the statement again for each call.
    let sql = "SELECT sequence FROM outcomes WHERE client = ?1 AND incarnation = ?2 ORDER BY sequence DESC LIMIT 1";
    let mut statement = connection.prepare_cached(sql)?;
    let finished = statement.query_row(params![client.0, signed(incarnation.0)], |row| unsigned(row, 0)).optional()?;
    Ok(Sequence(finished.unwrap_or_default()))
}

/// At most `limit` recorded outcomes of an incarnation after `after`, by rising sequence.
pub(super) fn outcomes(
    connection: &Connection,
    client: ClientId,
    incarnation: Incarnation,
    after: Sequence,
    limit: u32,
) -> Result<Vec<Recorded>> {
    let sql = "SELECT sequence, \"offset\", outcome FROM outcomes WHERE client = ?1 AND incarnation = ?2 AND sequence > ?3 \
               ORDER BY sequence LIMIT ?4";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(params![client.0, signed(incarnation.0), bound(after.0), limit], |row| {
        let outcome = row.get_ref(2)?.as_blob().map_err(|error| conversion(2, Type::Blob, error))?;
        Ok(Recorded {
            sequence: Sequence(unsigned(row, 0)?),
            offset: Offset(unsigned(row, 1)?),
            outcome: wire::decode(outcome).map_err(|error| conversion(2, Type::Blob, error))?,
        })
    })?;
    rows.collect()
}
