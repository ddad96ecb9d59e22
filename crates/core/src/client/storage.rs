//! The storage side of the client as plain data.
//!
//! A host runs one *task* at a time, inside one native transaction over the application's stores and the hidden ones: it calls
//! [`Client::task_step`](super::Client::task_step) with what the last step read (nothing at first), executes the step's writes, then
//! its reads, and goes on until the step says [`Verdict::Commit`] or [`Verdict::Abort`]. Nothing that a task decided has an effect on
//! the client's memory before the host reports the commit.

use crate::ids::{DocumentId, Sequence};
use crate::prelude::*;

/// What the host has to do next within the task's transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// To be executed in this order, before the reads.
    pub writes: Vec<WriteOp>,
    /// To be answered in this order.
    pub reads: Vec<Read>,
    /// How the transaction goes on.
    pub verdict: Verdict,
}

/// How a task's transaction goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Call the client again with what was read.
    #[default]
    Continue,
    /// Commit once the writes have succeeded.
    Commit,
    /// Abort: another leader took over.
    Abort,
}

/// Something to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// A record of the state store.
    State(&'static str),
    /// First keys of all shadow pages, as (collection, first key).
    ShadowPages,
    /// Contents of one shadow page.
    ShadowPage(PageId),
    /// Every pending record.
    Pending,
    /// Number of entries in the list of rejected mutations.
    RejectedCount,
    /// Records of a collection's outbox with numbers above `after`, by rising number.
    Outbox {
        /// The collection.
        collection: String,
        /// Exclusive.
        after: u64,
    },
    /// Values of rows.
    Rows {
        /// The collection.
        collection: String,
        /// Keys in platform form.
        keys: Vec<String>,
    },
    /// A page of rows, by rising IndexedDB key.
    Scan {
        /// The collection.
        collection: String,
        /// Exclusive, in platform form; `None` for the start.
        after: Option<String>,
        /// At most this many.
        limit: u32,
    },
}

/// Names a shadow page by the collection and the lower bound of its keys (platform form, bytewise); the first page of a collection
/// has the empty bound.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageId {
    /// The collection.
    pub collection: String,
    /// Inclusive.
    pub first: String,
}

/// Answer to a [`Read`], of the variant with the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadResult {
    /// `None` when there is no such record.
    State(Option<Vec<u8>>),
    /// All pages.
    ShadowPages(Vec<PageId>),
    /// `None` when there is no such page.
    ShadowPage(Option<Vec<u8>>),
    /// (First sequence, record) by rising sequence.
    Pending(Vec<(Sequence, Vec<u8>)>),
    /// How many.
    RejectedCount(u64),
    /// The records.
    Outbox(Vec<OutboxRecord>),
    /// One per key asked.
    Rows(Vec<Row>),
    /// Keys and values; fewer than the limit means the end.
    Scan(Vec<(String, Row)>),
}

/// A row of the application, as the host could encode it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// There is no such row.
    Absent,
    /// JSON text of its value.
    Json(Vec<u8>),
    /// A value that cannot be encoded: the reason, for people.
    Unsupported(String),
}

/// What one application transaction marked in one outbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboxRecord {
    /// Its number in the outbox.
    pub number: u64,
    /// The transaction: equal in all outboxes that it touched.
    pub transaction: String,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// Keys written or deleted, in platform form.
    pub keys: Vec<String>,
    /// Ranges deleted.
    pub ranges: Vec<KeyRange>,
    /// Every row of the store is to be compared: the store was populated before it was synced.
    pub adopt: bool,
    /// Keys that have no platform form (reason, for people): they cannot be synced.
    pub unsupported: Vec<String>,
}

/// When a transaction counts as committed (Indexed Database API 3.0, `IDBTransactionDurability`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When a failure of power cannot undo it any more.
    Strict,
    /// Earlier: a failure of power may undo it, whole, with everything that was committed after it.
    Relaxed,
}

/// A range of keys in IndexedDB order. Bounds are in platform form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// `None` is unbounded.
    pub lower: Option<String>,
    /// `None` is unbounded.
    pub upper: Option<String>,
    /// Whether the lower bound is excluded.
    pub lower_open: bool,
    /// Whether the upper bound is excluded.
    pub upper_open: bool,
}

/// Something to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOp {
    /// Stores an application row. A row that the store refuses (key path, unique index) does not fail the transaction: the host
    /// reports it with the commit.
    RowPut(DocumentId, Vec<u8>),
    /// Deletes an application row.
    RowDelete(DocumentId),
    /// Stores a shadow page.
    ShadowPut(PageId, Vec<u8>),
    /// Deletes a shadow page.
    ShadowDelete(PageId),
    /// Deletes outbox records by number.
    OutboxDelete(String, Vec<u64>),
    /// Appends a record to a collection's outbox.
    OutboxAdd(String, OutboxRecord),
    /// Stores a pending record under its first sequence.
    PendingPut(Sequence, Vec<u8>),
    /// Deletes a pending record.
    PendingDelete(Sequence),
    /// Stores a state record.
    StatePut(&'static str, Vec<u8>),
    /// Appends to the list of rejected mutations: metadata for the core, and the losing values for the application.
    RejectedAdd(RejectedRecord),
}

/// An entry of the list of rejected mutations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedRecord {
    /// Name of the error code.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// The losing values.
    pub documents: Vec<RejectedDocument>,
}

/// One document of a rejected mutation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedDocument {
    /// The document.
    pub id: DocumentId,
    /// What the user wanted: JSON text, `None` for a delete.
    pub mine: Option<Vec<u8>>,
    /// The row has no JSON form: the host keeps a copy of the row itself, as it is before the task's later writes.
    pub copy_row: bool,
}

/// A row that the application's store refused. The host has removed the row that was there: what the server's state does not say
/// must not be edited as if it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRow {
    /// The document.
    pub id: DocumentId,
    /// The store's words.
    pub reason: String,
}

/// Why a task's transaction did not commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageFailure {
    /// No room: retried, with a growing delay; the application is told.
    Quota,
    /// The connection to the database is gone or closing: the host reopens it and the client starts over from storage.
    Closed,
    /// Anything else: retried, with a growing delay.
    Other,
}
