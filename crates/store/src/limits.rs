//! Every named limit of the stores.

/// Openings of an embedded database that are remembered: a client that was last told of an earlier one is taken for one of a database
/// that was set back.
pub(crate) const HISTORIES_KEPT: u64 = 10_000;
/// Most segments that a subscriber may fall behind before it has to read the changelog instead.
pub const SEGMENTS_BUFFERED_MAX: usize = 256;
/// What a record counts against the size of a page besides its key and body, so that pages of tombstones are bounded too.
pub const RECORD_BYTES_OVERHEAD: usize = 64;
/// Entries of the conflict log that are kept when nothing else is configured.
pub const CONFLICTS_KEPT_DEFAULT: u64 = 100_000;

/// Requests that may wait for the writer of an embedded store; a further one waits for room.
pub const WRITES_QUEUED_MAX: usize = 1024;
/// Most mutations that share one transaction of an embedded store.
pub const GROUP_MUTATIONS_MAX: usize = 512;
/// A group takes no further mutation once its bodies have this many bytes.
pub const GROUP_BYTES_MAX: usize = 8 << 20;
/// Incarnations of clients whose last mutation the writer of an embedded store remembers; it asks the file for others.
pub const CLIENTS_REMEMBERED_MAX: usize = 20_000;
/// Requests that may wait for a reader of an embedded store; a further one waits for room.
pub const READS_QUEUED_MAX: usize = 1024;
/// Entries that one page of changes of an embedded store looks at: a filter that matches few of them must not hold a reader for long.
pub const CHANGES_SCANNED_MAX: usize = 20_000;
/// Most entries of the channel index that one page of changes of an embedded store collects instead of scanning by offset.
pub const CHANGES_INDEXED_MAX: usize = 4_000;
/// Keys that a page of a snapshot takes from the channel index at a time, over all channels.
pub const SNAPSHOT_KEYS_MAX: usize = 4_000;
/// Tombstones that one transaction of a purge removes: commits take turns with it.
pub const PURGE_ROWS_MAX: usize = 500;
/// Pages of the write-ahead log after which an embedded store moves them into the database file.
pub const CHECKPOINT_PAGES: u32 = 4_000;
/// Size to which the write-ahead log is cut back after a burst, in bytes.
pub const WAL_BYTES_KEPT: u32 = 64 << 20;
/// How long a connection of an embedded store waits for a lock that another program holds, in milliseconds.
pub const BUSY_MS_MAX: u64 = 5_000;

/// Items from which on the symbols of a class are kept: fewer are added up for each request in 50 µs.
pub const CLASS_ITEMS_MIN: usize = 256;
/// Items up to which those of a class are kept beside its symbols. Keeping the list in order moves 32 KB for each change at most; a
/// class beyond it holds 512 KB of symbols, 64 bytes for each document.
pub const CLASS_ITEMS_KEPT_MAX: usize = 8_192;
/// Documents that may be committed while the symbols of an embedded store are added up for the first time.
pub const SKETCH_CHANGES_MAX: usize = 200_000;
