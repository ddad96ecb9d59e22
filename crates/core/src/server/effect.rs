//! What a session asks of its host, and the answers.

use std::sync::{Arc, Mutex, PoisonError};

use super::filter::Filter;
use crate::ids::{ChangelogId, DocumentId, Epoch, History, MutationId, Offset, Sequence, SessionId};
use crate::prelude::*;
use crate::wire::{CollectionInfo, ErrorCode, Hello, Mutation, PushResult};

/// What the host has to do, in this order.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Send one frame.
    Send(Arc<Outgoing>),
    /// Verify the hello's token, find its database, and answer with [`handle_opening`](super::Session::handle_opening).
    Open(Box<Hello>),
    /// Verify a fresh token and answer with [`handle_grant`](super::Session::handle_grant).
    Authenticate(String),
    /// Commit a mutation and answer with [`handle_processed`](super::Session::handle_processed); mutations finish in the order of
    /// these effects.
    Process(Box<Submission>),
    /// Read the changelog after `from` and answer with [`handle_changes`](super::Session::handle_changes).
    LoadChanges {
        /// To be given back.
        ticket: u64,
        /// Exclusive.
        from: Offset,
        /// What to read.
        filter: Arc<Filter>,
        /// About how many bytes of bodies.
        bytes_max: usize,
    },
    /// Read documents in key order and answer with [`handle_snapshot`](super::Session::handle_snapshot).
    LoadSnapshot {
        /// To be given back.
        ticket: u64,
        /// Exclusive; `None` for the start.
        after: Option<DocumentId>,
        /// What to read.
        filter: Arc<Filter>,
        /// About how many bytes of bodies.
        bytes_max: usize,
        /// Whether the changelog first has to have everything that the store has at this moment: what the client has and the pages lack
        /// counts as deleted.
        catches_up: bool,
    },
    /// Add up the symbols of the documents that the filter sees and answer with [`handle_symbols`](super::Session::handle_symbols).
    LoadSymbols {
        /// To be given back.
        ticket: u64,
        /// Whose documents.
        filter: Arc<Filter>,
        /// How many symbols, from the first on.
        count: u32,
        /// Whether the changelog first has to be as the store is at this moment: the client brings back what the store lacks, and must
        /// not take it for what the store has.
        catches_up: bool,
    },
    /// Read documents from the store itself, not from the changelog, and answer with
    /// [`handle_documents`](super::Session::handle_documents).
    LoadDocuments {
        /// To be given back.
        ticket: u64,
        /// Which.
        sought: Sought,
    },
    /// From here on the session is to be told of commits that this filter matches, by [`handle_batch`](super::Session::handle_batch),
    /// and of the head, once, by [`handle_head`](super::Session::handle_head).
    Watch(Arc<Filter>),
    /// Close the connection once everything sent before is out. The last effect of a session.
    Close {
        /// Why.
        code: ErrorCode,
        /// For people.
        reason: String,
    },
}

/// How documents are sought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sought {
    /// By item hashes: those that the changelog knows by them. A hash that it does not know (any more) is passed over.
    Items(Vec<u64>),
    /// By name.
    Named(Vec<DocumentId>),
}

/// A frame to send. Sessions that receive the same one share it, and its coded form.
#[derive(Debug)]
pub struct Outgoing {
    /// The frame.
    pub frame: Vec<u8>,
    /// What the host made of it for the transport.
    coded: Mutex<Option<Arc<[u8]>>>,
}

impl Outgoing {
    pub(super) fn new(frame: Vec<u8>) -> Self {
        Self { frame, coded: Mutex::default() }
    }

    /// The coded form: `code` is called once, whoever sends the frame, and has to be the same for all.
    pub fn coded(&self, code: impl FnOnce(&[u8]) -> Vec<u8>) -> Arc<[u8]> {
        // It is there or not, whatever panicked.
        let mut coded = self.coded.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(coded.get_or_insert_with(|| code(&self.frame).into()))
    }
}

/// A whole mutation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Its identity.
    pub id: MutationId,
    /// Outcomes up to here may be forgotten.
    pub acknowledged: Sequence,
    /// What it changes; without changes when it is refused.
    pub mutation: Mutation,
    /// Whether it is the first of a client that does not have any more what the store, set back, lacks before it.
    pub jumps: bool,
    /// Why the session refuses it already (limits): to be recorded as rejected, so that its sequence is finished.
    pub refused: Option<(ErrorCode, String)>,
    /// Whether it may have been committed before the store was set back: the client had a result of it, or formed it before it noticed.
    pub again: bool,
    /// Whether the client is bringing back what the store lacks: a document that is not there may only not be back.
    pub brings_back: bool,
}

/// What became of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processed {
    /// The result, whoever may read what it tells: the session hides from it what the client may not see when it is sent. Whoever
    /// prepared the mutation cannot know that, because what may be read changes meanwhile.
    pub result: PushResult,
    /// The mutation's documents that exist after it, with their channels: of a mutation that was not committed at least those that the
    /// result names.
    pub placed: Vec<(DocumentId, Vec<String>)>,
    /// The documents of conflict notes that existed before it, with the channels that they were in.
    pub noted: Vec<(DocumentId, Vec<String>)>,
}

/// What an identity may do in this session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Subject of the identity.
    pub subject: String,
    /// When the token expires, milliseconds since 1970 by the server's clock.
    pub expires_ms: Option<u64>,
    /// What it may read.
    pub filter: Arc<Filter>,
}

/// The answer to a hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Drawn at random by the host.
    pub session: SessionId,
    /// The store's epoch.
    pub epoch: Epoch,
    /// The node's changelog.
    pub changelog: ChangelogId,
    /// Its head.
    pub head: Offset,
    /// Its floor.
    pub floor: Offset,
    /// The client's last finished mutation.
    pub finished: Sequence,
    /// Whether the client knows of data that the store may lack since it was set back.
    pub brings_back: bool,
    /// For the welcome.
    pub history: Option<(History, bool)>,
    /// What the identity may do.
    pub grant: Grant,
    /// Those collections of the hello that the identity may use.
    pub collections: Vec<CollectionInfo>,
}

/// Why something was not done. Ends the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code on the wire.
    pub code: ErrorCode,
    /// For people; never the content of a document.
    pub message: String,
    /// For a retryable code: milliseconds to wait at least.
    pub retry_after_ms: Option<u32>,
}

impl Refusal {
    /// A refusal without a waiting time.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after_ms: None }
    }
}
