//! Where documents are committed.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tidelock_core::ids::{ClientId, DocumentId, Epoch, Incarnation, MutationId, Offset, Sequence, SessionId, Version};
use tidelock_core::limits::DEPTH_MAX;
use tidelock_core::wire::{ConflictNote, DocumentChange, Outcome};

use crate::error::StoreError;

/// A future of any runtime.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One database.
///
/// # Guarantees
///
/// - [`commit`](Store::commit) is atomic over all its writes and the record of its mutation, conditional on every expected version,
///   and durable before it resolves. It is linearizable per document.
/// - A mutation whose sequence is not beyond the finished one of its (client, incarnation) is [`Repeated`](CommitOutcome::Repeated)
///   and changes nothing, whatever happened to the first answer.
/// - The next mutation is the one after the finished one, unless it [jumps](Commit::jumps).
/// - [`read`](Store::read) returns what was committed before it was called, or something later.
/// - Dropping a future does not undo what it began.
pub trait Store: Send + Sync + 'static {
    /// What this store can do beyond the guarantees.
    fn capabilities(&self) -> Capabilities;

    /// Identity of the data: another one after a restore.
    fn epoch(&self) -> Epoch;

    /// The documents named, in that order.
    fn read<'a>(&'a self, ids: &'a [DocumentId]) -> BoxFuture<'a, Result<ReadSet, StoreError>>;

    /// What is remembered of each of these documents besides its state.
    fn traces<'a>(&'a self, ids: &'a [DocumentId]) -> BoxFuture<'a, Result<Vec<Trace>, StoreError>>;

    /// Commits a mutation whole, or says why not.
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<CommitOutcome, StoreError>>;

    /// What is known of a client's incarnation; the default for one never seen.
    fn client(&self, client: ClientId, incarnation: Incarnation) -> BoxFuture<'_, Result<ClientRecord, StoreError>>;

    /// The recorded outcomes of a client's incarnation after `after`, by rising sequence, as far as they are kept.
    fn outcomes(
        &self,
        client: ClientId,
        incarnation: Incarnation,
        after: Sequence,
    ) -> BoxFuture<'_, Result<Vec<Recorded>, StoreError>>;

    /// Live documents of a collection with keys after `after`, by rising key (bytewise), at most `limit`.
    fn scan<'a>(
        &'a self,
        collection: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, Document)>, StoreError>>;

    /// The conflict log, the latest first.
    fn conflicts<'a>(&'a self, query: &'a ConflictQuery) -> BoxFuture<'a, Result<Vec<ConflictRecord>, StoreError>>;
}

/// What a store can do beyond the guarantees of the trait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Name for people and metrics.
    pub name: &'static str,
    /// Whether others write to the data without this server.
    pub foreign_writers: bool,
    /// Largest key in platform form, in bytes.
    pub key_bytes_max: u32,
    /// Largest document body, in bytes.
    pub document_bytes_max: u32,
    /// How many arrays and objects of a document may be in one another.
    pub depth_max: usize,
}

impl Capabilities {
    /// Those of a store that is the server's own, with no limits but the protocol's.
    pub fn own(name: &'static str) -> Self {
        Self {
            name,
            foreign_writers: false,
            key_bytes_max: u32::MAX,
            document_bytes_max: u32::MAX,
            depth_max: DEPTH_MAX,
        }
    }
}

/// A live document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its content version.
    pub version: Version,
    /// Its JSON text.
    pub body: Arc<[u8]>,
    /// When the user made the last change, milliseconds since 1970; the time of the commit when nobody said.
    pub edited_ms: u64,
}

/// Answer to a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadSet {
    /// One per id asked; `None` for a document that does not exist.
    pub documents: Vec<Option<Document>>,
    /// The documents are at least as new as this offset of the node's changelog.
    pub offset: Offset,
}

/// A mutation ready to be committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its identity; `None` for a request that is not repeated by anyone (REST).
    pub mutation: Option<MutationId>,
    /// The session that it came by, so that its own changes need not be sent back to it.
    pub session: SessionId,
    /// Outcomes up to this sequence may be forgotten.
    pub acknowledged: Sequence,
    /// Whether it is the next although it does not follow the finished one: the store was set back, and nobody has what is between.
    pub jumps: bool,
    /// The documents; each at most once. Empty for a mutation that was rejected.
    pub writes: Vec<Write>,
    /// To be recorded with the mutation and given back when it is repeated.
    pub outcome: Outcome,
    /// The documents that the mutation names, whether it writes them or not: a store that finds the traces of a mutation in its
    /// documents looks there, also when the mutation is refused this time. May be empty without a mutation.
    pub named: Vec<DocumentId>,
    /// Tells the mutation from another one under its sequence, where the store asks for that: a client whose storage was set back, while
    /// the store carried out what it had pushed, uses a sequence again. `None` where nothing tells.
    pub fingerprint: Option<u64>,
    /// Values that the merge discarded, for the conflict log.
    pub conflicts: Vec<ConflictNote>,
    /// Who: subject of the identity.
    pub actor: String,
    /// The server's clock, milliseconds since 1970.
    pub now_ms: u64,
}

impl Commit {
    /// Writes that no client asked for: nobody repeats them, and no session made them.
    pub fn new(writes: Vec<Write>, now_ms: u64) -> Self {
        Self {
            mutation: None,
            session: SessionId(0),
            acknowledged: Sequence(0),
            jumps: false,
            writes,
            outcome: Outcome::Accepted,
            named: Vec::new(),
            fingerprint: None,
            conflicts: Vec::new(),
            actor: String::new(),
            now_ms,
        }
    }
}

/// What a store remembers of a document besides its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trace {
    /// Nothing.
    #[default]
    None,
    /// There is none, and a tombstone says that there was one.
    Buried,
    /// Its content came from a client that offered what the store, set back, lacked: nobody knows which mutations are in it.
    Offered,
    /// Its content came so, and was deleted; or a client brought back that it was deleted. So until its tombstone is forgotten.
    Withdrawn,
}

impl Trace {
    /// Whether a tombstone is kept of the document.
    pub fn is_tombstone(self) -> bool {
        matches!(self, Self::Buried | Self::Withdrawn)
    }

    /// Whether the state came from a client that brought it back.
    pub fn is_brought_back(self) -> bool {
        matches!(self, Self::Offered | Self::Withdrawn)
    }
}

/// The write of one document. One that [leaves](Write::leaves) content and channels as they are is a condition alone: it has to hold
/// like any other, and neither stores nor publishes anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The document.
    pub id: DocumentId,
    /// The version that must be current; absent to create.
    pub expected: Version,
    /// What the client asked for, for a store with [`foreign_writers`](Capabilities::foreign_writers): it merges the change again into
    /// the then-current document.
    pub change: Option<DocumentChange>,
    /// The content to store, JSON text; `None` deletes.
    pub body: Option<Arc<[u8]>>,
    /// Version of that content.
    pub version: Version,
    /// Channels of that content; for a delete those that the document had.
    pub channels: Vec<String>,
    /// When the user made the change, milliseconds since 1970.
    pub edited_ms: u64,
    /// To be remembered: that the content was offered, or, withdrawn, a tombstone although there was no document.
    pub trace: Trace,
}

impl Write {
    /// Whether the document stays as it is when it is as expected, in these channels.
    pub fn leaves(&self, channels: &[String]) -> bool {
        match self.body {
            _ if self.trace != Trace::None => false,
            Some(_) => self.expected == self.version && self.channels == channels,
            None => !self.expected.exists(),
        }
    }
}

/// What became of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Durable; visible in the changelog at this offset (where nothing was stored: the head). Every document of the commit is at this
    /// offset as the commit says.
    Committed(Offset),
    /// This mutation was finished before: the recorded outcome, `None` when it was acknowledged and forgotten. [`Outcome::Resolve`] where
    /// another mutation turns out to have been finished under this sequence: it is to be made again, under another one.
    Repeated(Option<Recorded>),
    /// The mutation is not the next of its incarnation; nothing was written. Holds the last finished one.
    OutOfOrder(Sequence),
    /// These documents do not have the expected version; nothing was written.
    Mismatch(Vec<DocumentId>),
}

/// The recorded outcome of a mutation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The mutation.
    pub sequence: Sequence,
    /// The offset at which it was committed.
    pub offset: Offset,
    /// What became of it.
    pub outcome: Outcome,
}

/// What is known of a client's incarnation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientRecord {
    /// Its last finished mutation, 0 for none.
    pub finished: Sequence,
}

/// Selects from the conflict log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConflictQuery {
    /// Only this collection.
    pub collection: Option<String>,
    /// Only this key.
    pub key: Option<String>,
    /// Only entries before this number (for paging).
    pub before: Option<u64>,
    /// At most so many, and with them what shares the number of the last.
    pub limit: usize,
}

/// An entry of the conflict log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConflictRecord {
    /// Rising number.
    pub number: u64,
    /// When, milliseconds since 1970 by the server's clock.
    pub at_ms: u64,
    /// Who made the mutation.
    pub actor: String,
    /// The mutation, when it was a client's.
    pub mutation: Option<MutationId>,
    /// Base, mine, theirs and outcome.
    pub note: ConflictNote,
    /// Channels that the document was in before the change and after it: who may see it.
    pub channels: Vec<String>,
}
