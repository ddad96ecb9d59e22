//! What a key-value cluster has to offer so that a [`Store`](crate::Store) can be made of it.
//!
//! An implementation is thin: it moves entries and knows nothing of mutations, clients, rules or channels. Everything else
//! (exactly-once, many documents, grouped publication, tombstones, epochs) is written once above it.

use std::cmp::Ordering;
use std::sync::Arc;

use tidelock_core::ids::DocumentId;

use crate::store::BoxFuture;

/// Names of the collections that hold Tidelock's own records. A platform keeps them apart from the application's (a Couchbase
/// collection or a Geode region each); no application collection begins with the [prefix](system::PREFIX).
pub mod system {
    /// No application collection begins with this.
    pub const PREFIX: &str = "_tl_";
    /// Client records: client and incarnation to the last finished mutation and the outcomes kept.
    pub const CLIENTS: &str = "_tl_clients";
    /// Intents: mutations of many documents, until they are done.
    pub const INTENTS: &str = "_tl_intents";
    /// The conflict log.
    pub const CONFLICTS: &str = "_tl_conflicts";
    /// The epoch and other single records of a database.
    pub const STATE: &str = "_tl_state";
    /// All of them.
    pub const ALL: [&str; 4] = [CLIENTS, INTENTS, CONFLICTS, STATE];
}

/// A key-value cluster that holds one database.
///
/// # Guarantees
///
/// - [`get`](Platform::get) shows every [`put_if`](Platform::put_if) that resolved before it was called, or something later: it asks
///   whoever decides (the primary), not a replica that may lag.
/// - [`put_if`](Platform::put_if) is linearizable per document, changes content and meta together, and is durable as configured before
///   it resolves.
/// - Foreign writers change contents at any time, with or without keeping the meta. The platform reports their states as they are.
/// - A platform may still lose what was acknowledged (a fail-over before replication, a restored backup). What it notices of that, it
///   says by [`FeedEvent::RolledBack`].
/// - Dropping a future does not undo what it began.
pub trait Platform: Send + Sync + 'static {
    /// Names and limits.
    fn capabilities(&self) -> PlatformCapabilities;

    /// The entries named, in that order. An entry that was never there, or of which nothing is left, is [`Entry::default`] but for its
    /// token, which stands for its absence.
    fn get<'a>(&'a self, ids: &'a [DocumentId]) -> BoxFuture<'a, Result<Vec<Entry>, PlatformError>>;

    /// Whether these documents could be written by one [`put_if`](Platform::put_if) as things are at this moment. A hint: the put may
    /// answer [`NotTogether`](PutOutcome::NotTogether) all the same.
    fn together(&self, ids: &[&DocumentId]) -> bool;

    /// Writes entries, each at most once, if each still has its token: all of them, or none. One entry is always possible, several
    /// where [`together`](Platform::together) says so. After [`PlatformError::Unavailable`] it may have happened, or happen later.
    fn put_if<'a>(&'a self, puts: &'a [PutIf]) -> BoxFuture<'a, Result<PutOutcome, PlatformError>>;

    /// Follows these collections (system ones included) from a position that an earlier feed of this platform reported; from the
    /// present when there is none, after a [`FeedEvent::Lost`] for everything.
    fn feed<'a>(
        &'a self,
        collections: &'a [String],
        from: Option<&'a Position>,
    ) -> BoxFuture<'a, Result<Box<dyn Feed>, PlatformError>>;

    /// Goes through all entries of a collection, those that hold a meta alone included.
    fn scan<'a>(&'a self, collection: &'a str) -> BoxFuture<'a, Result<Box<dyn Scan>, PlatformError>>;

    /// Looks whether everything that these collections need is there and set as it has to be. An empty answer: ready to serve.
    fn check<'a>(&'a self, collections: &'a [String]) -> BoxFuture<'a, Result<Vec<Finding>, PlatformError>>;

    /// Creates what [`check`](Platform::check) found missing, as far as it may, and says what it did not.
    fn configure<'a>(&'a self, collections: &'a [String]) -> BoxFuture<'a, Result<Vec<Finding>, PlatformError>>;
}

/// Names and limits of a platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformCapabilities {
    /// Name for people and metrics.
    pub name: &'static str,
    /// Largest key, in bytes.
    pub key_bytes_max: u32,
    /// Largest content, in bytes of JSON text.
    pub content_bytes_max: u32,
    /// How many arrays and objects of a content may be in one another, one that was not there before included.
    pub depth_max: usize,
    /// Largest meta, in bytes.
    pub meta_bytes_max: u32,
    /// How long a put is visible in part, in milliseconds: a read meanwhile shows the content of after it with the meta of before, or the
    /// reverse, or one entry of a put of several. 0 when a read never does. A member that is busy may take longer if it shows metas before
    /// their contents: such halves are told from what others write.
    pub torn_ms_max: u32,
}

/// What the platform holds under one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// JSON text; `None` when the document does not exist.
    pub content: Option<Arc<[u8]>>,
    /// What the last [`put_if`](Platform::put_if) stored, as far as it is still there: a foreign write over a tombstone, an expiry or a
    /// crash may have dropped it, and a foreign write or delete may have left it behind.
    pub meta: Option<Arc<[u8]>>,
    /// Stands for exactly this state in [`PutIf`].
    pub token: Token,
    /// Where this state stands among those of its document.
    pub order: Option<Order>,
    /// The platform's content that no document of ours can be (not JSON, an unknown class, too large): why. `content` is `None` then,
    /// and whoever reads it must not take that for a delete.
    pub unreadable: Option<String>,
}

/// Names the state of one entry: a CAS, or the bytes that were read. Only equality has a meaning, and only for one document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Token(pub Vec<u8>);

/// The number that a platform gives a state of a document. States of one document compare within one history; across histories (a
/// counter that began again, another member's tag) nothing is known, and the document has to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Whose counting it is.
    pub history: u64,
    /// Rises within the history.
    pub number: u64,
}

impl PartialOrd for Order {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.history == other.history).then(|| self.number.cmp(&other.number))
    }
}

/// A conditional write of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutIf {
    /// The document.
    pub id: DocumentId,
    /// The state that must be there.
    pub token: Token,
    /// What to do to the content.
    pub content: PutContent,
    /// The meta to store with it; `None` removes it. Entries of system collections have none.
    pub meta: Option<Arc<[u8]>>,
}

/// What a [`PutIf`] does to the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutContent {
    /// It stays as it is, whether it is there or not; only the meta changes.
    Keep,
    /// JSON text to store.
    Put(Arc<[u8]>),
    /// The document is deleted; its meta stays behind as the tombstone.
    Delete,
}

/// What became of a [`put_if`](Platform::put_if).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// Written; the new states, in the order of the puts.
    Done(Vec<Written>),
    /// Nothing was written: an entry did not have its token.
    Mismatch,
    /// Nothing was written: these entries cannot be written in one step (any more).
    NotTogether,
}

/// The state after a put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its token.
    pub token: Token,
    /// Its order where the platform tells it.
    pub order: Option<Order>,
}

/// How far a feed was followed, in the platform's own form. Persisted by the node, with what it covers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position(pub Vec<u8>);

/// Every writer's changes, at least once, in order for each document; states that were overtaken may be left out.
pub trait Feed: Send {
    /// The next event. Cancel-safe: dropping the future loses nothing. After an error the feed is at its end; another one goes on from
    /// the last position.
    fn next(&mut self) -> BoxFuture<'_, Result<FeedEvent, PlatformError>>;

    /// Says that everything up to a [`Position`] that this feed reported is safe with the node: the platform need not keep it.
    fn acknowledge(&mut self, position: &Position) -> BoxFuture<'_, Result<(), PlatformError>>;
}

/// An event of a [`Feed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedEvent {
    /// A document changed. The entry is its state then, where the event carries all of it; without one it has to be read.
    Changed(DocumentId, Option<Entry>),
    /// Everything before this event is covered by this position.
    Position(Position),
    /// The feed has reached what was there when it began.
    CaughtUp,
    /// Changes of a collection (of all, without one) may be missing: it has to be scanned and compared.
    Lost(Option<String>),
    /// The platform lost states that it had acknowledged. Documents that are affected follow as [`Changed`](FeedEvent::Changed), or a
    /// [`Lost`](FeedEvent::Lost) does. The name is the same for every node that sees this roll-back.
    RolledBack(String),
}

/// A walk through a collection, in any order. What changes meanwhile may be seen or not; the feed tells.
pub trait Scan: Send {
    /// Some more entries with their keys; none at the end.
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<(String, Entry)>, PlatformError>>;
}

/// Something that is not as it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether the server must not start with it; otherwise it is advice.
    pub fatal: bool,
    /// What is wrong, for a person.
    pub what: String,
    /// What to do about it, a command where there is one.
    pub remedy: String,
}

/// Why a platform did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// No answer in time, a connection that broke, a member that left: to be tried again. A put may have happened.
    #[error("the platform is unavailable: {0}")]
    Unavailable(String),
    /// The platform has no room, or holds back writes.
    #[error("the platform has no room left: {0}")]
    Full(String),
    /// The platform refuses this request for good: rights, a missing collection, a content that it cannot hold.
    #[error("the platform refuses: {0}")]
    Refused(String),
}
