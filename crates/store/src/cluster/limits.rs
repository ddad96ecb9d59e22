//! Every named limit of the cluster store.

/// Locks over which the documents of a database are spread.
pub(super) const STRIPES: usize = 1024;
/// Documents whose last state a node remembers, so that it need not be read and hashed again.
pub(super) const DOCUMENTS_REMEMBERED_MAX: usize = 100_000;
/// Documents that others take in while a walk goes on, before those that it finds are read again, all of them.
pub(super) const DOCUMENTS_NOTED_MAX: usize = 1_000_000;
/// Groups that a node remembers to have published.
pub(super) const GROUPS_REMEMBERED_MAX: usize = 20_000;
/// Clients whose record a node remembers.
pub(super) const CLIENTS_REMEMBERED_MAX: usize = 20_000;
/// Outcomes that a client's record holds at most; a client has no more mutations without a result.
pub(super) const OUTCOMES_KEPT_MAX: usize = 1_024;
/// Clients that a document's meta names before their records are read to find those that it need not.
pub(super) const SEEN_KEPT_MAX: usize = 16;
/// Groups that a document's meta names. A node that lags by more of them may publish the oldest in part.
pub(super) const GROUPS_KEPT_MAX: usize = 32;
/// About how many bytes of groups a document's meta holds.
pub(super) const GROUPS_BYTES_MAX: usize = 8 << 10;
/// Documents that are written in one step at most: each of their metas names them all.
pub(super) const TOGETHER_DOCUMENTS_MAX: usize = 16;
/// Attempts of one commit before it is handed back.
pub(super) const ATTEMPTS_MAX: u32 = 12;
/// Attempts to carry out a part of an intent before it is left to others.
pub(super) const FINISH_ATTEMPTS_MAX: u32 = 16;
/// How long an intent is carried out before it is left to others, in milliseconds; counted after each round through its documents.
pub(super) const FINISH_MS_MAX: u64 = 10_000;
/// How long whoever meets a committed intent waits until it is carried out, in milliseconds.
pub(super) const READER_WAITS_MS_MAX: u64 = 2_000;
/// How long a read or a commit waits for its turn at documents that others of this node read or write, in milliseconds.
pub(super) const TURN_WAITS_MS_MAX: u64 = 10_000;
/// As long does the feed, before it goes on without them; and so long until it looks again.
pub(super) const FEED_WAITS_MS_MAX: u64 = 100;
/// How long others need not try an intent that somebody waited for in vain, in milliseconds.
pub(super) const STUCK_MS: u64 = 1_000;
/// Intents that a node helps to their end at the same time.
pub(super) const HELPED_AT_ONCE_MAX: usize = 16;
/// How long a commit may begin another attempt, in milliseconds, before it is handed back.
pub(super) const COMMIT_MS_MAX: u64 = 30_000;
/// How long somebody who needs a walk through collections waits while walks fail, in milliseconds.
pub(super) const CATCH_UP_MS_MAX: u64 = 5_000;
/// Requests that the steps of one intent have at the platform at the same time.
pub(super) const REQUESTS_AT_ONCE_MAX: usize = 32;
/// Documents that one request reads.
pub(super) const GET_DOCUMENTS_MAX: usize = 512;
/// An intent up to this size is held by its record itself, in bytes.
pub(super) const INTENT_INLINE_BYTES_MAX: usize = 64 << 10;
/// Size of a piece of a larger one, in bytes; a record is a third longer.
pub(super) const INTENT_PIECE_BYTES_MAX: usize = 1 << 20;
/// Events of a feed that are taken in together.
pub(super) const EVENTS_AT_ONCE_MAX: usize = 256;
/// Records of intents of which a node remembers since when they are settled; the others are forgotten later.
pub(super) const RECORDS_AGED_MAX: usize = 1_000_000;
/// How far the clocks of two nodes may be apart, in milliseconds, before something is forgotten too early that one dated for the other.
pub(super) const CLOCKS_APART_MS_MAX: u64 = 2 * 24 * 60 * 60 * 1_000;
/// Documents of the journal that are compared with a scan at a time.
pub(super) const COMPARED_AT_ONCE_MAX: usize = 512;
/// Positions of a feed that wait for what they cover.
pub(super) const POSITIONS_WAITING_MAX: usize = 64;
/// Roll-backs, and former epochs, that the record of the epoch names.
pub(super) const EPOCHS_KEPT_MAX: usize = 32;
/// Longest pause between two attempts, in milliseconds.
pub(super) const BACKOFF_MS_MAX: u64 = 2_000;
/// Times that a journal is written again when it was changed by another hand.
pub(super) const JOURNAL_ATTEMPTS_MAX: u32 = 4;
/// How long a half of a put of ours is waited for, in milliseconds: a busy member, or one that is catching up, takes longer for the rest
/// than any platform says.
pub(super) const HALF_MS_MAX: u64 = 2_000;
