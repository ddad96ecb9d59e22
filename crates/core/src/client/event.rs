//! What the client tells its host.

use crate::ids::{ClientId, DocumentId, Incarnation, Offset, Sequence};
use crate::prelude::*;
use crate::wire::{ConflictNote, ErrorCode};

/// Something for the host to do. Effects are to be carried out in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Open a connection and get a token; then call `handle_connected` or `handle_disconnected`.
    Connect,
    /// Send a binary message.
    Send(Vec<u8>),
    /// Close the connection; nothing of it is to be reported afterwards.
    Disconnect,
    /// Run the current task in one transaction: see [`super::storage`].
    RunTask,
    /// Reopen the database before the next task.
    ReopenStorage,
    /// Tell the application.
    Event(Event),
}

/// Something for the application to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The status changed.
    Status(Status),
    /// Rows were changed by the server's changes: keys in platform form.
    Changed {
        /// The collection.
        collection: String,
        /// Which rows.
        keys: Vec<String>,
    },
    /// A mutation was rejected and rolled back; the list of rejected mutations holds it.
    Rejected {
        /// Why.
        code: ErrorCode,
        /// For people.
        message: String,
        /// Which documents.
        documents: Vec<DocumentId>,
    },
    /// Values of this client were merged, or lost in a merge; the server's conflict log holds them too.
    Conflicts(Vec<ConflictNote>),
    /// The application's resolver is asked; answer with `resolve`.
    Resolve {
        /// The document.
        id: DocumentId,
        /// Number of the question; the answer repeats it.
        round: u64,
        /// JSON text before the user's change.
        base: Option<Vec<u8>>,
        /// JSON text that the user wanted.
        mine: Option<Vec<u8>>,
        /// JSON text that the server has.
        theirs: Option<Vec<u8>>,
    },
    /// Something that cannot be synced, or a fault that people should see.
    Problem {
        /// Stable name.
        code: &'static str,
        /// For people.
        message: String,
        /// Whether it may mend itself.
        retryable: bool,
    },
    /// Another leader took over: this client does nothing any more.
    Fenced,
}

/// How far the client is, for diagnostics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The replica.
    pub client: ClientId,
    /// Of its sequences.
    pub incarnation: Incarnation,
    /// The last mutation whose result is applied.
    pub settled: Sequence,
    /// Everything up to here is applied; `None` before the first snapshot is complete.
    pub offset: Option<Offset>,
}

/// Where the client stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its phase.
    pub phase: Phase,
    /// Unsent transactions and mutations without a durable result.
    pub pending: u64,
    /// When the oldest of them was made, milliseconds since 1970.
    pub oldest_pending_at_ms: Option<u64>,
    /// Entries in the list of rejected mutations.
    pub rejected: u64,
    /// Conflicts since the client was loaded.
    pub conflicts: u64,
    /// Rows of the server that the application's stores refused.
    pub quarantined: u64,
    /// When everything was last confirmed, milliseconds since 1970.
    pub last_synced_at_ms: Option<u64>,
    /// The last failure of the connection, until the next success: code, for people, retryable.
    pub error: Option<(String, String, bool)>,
}

/// The phases of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Reading its state.
    Starting,
    /// Switched off by the application, or waiting to connect again.
    Offline,
    /// A connection is being opened.
    Connecting,
    /// Connected, behind.
    CatchingUp,
    /// Connected, nothing known to be missing.
    Live,
    /// For good: fenced, or refused by the server in a way that retrying does not mend.
    Stopped,
}

impl Phase {
    /// The phase's name in the browser's API.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Offline => "offline",
            Phase::Connecting => "connecting",
            Phase::CatchingUp => "catching-up",
            Phase::Live => "live",
            Phase::Stopped => "stopped",
        }
    }
}
