//! Every limit of this crate in one place.

use std::time::Duration;

/// The largest body of a packet: a document of 20 MiB, its system xattrs of 1 MiB, its key, and room to grow.
pub(crate) const BODY_BYTES_MAX: usize = 30 << 20;
/// The largest value that compressed bytes may claim to hold.
pub(crate) const VALUE_BYTES_MAX: usize = 30 << 20;
/// How much one read takes from a socket at most.
pub(crate) const READ_BYTES: usize = 64 << 10;
/// DCP names are not longer (`kv_engine` docs/dcp/documentation/commands/open-connection.md).
pub(crate) const NAME_BYTES_MAX: usize = 200;
/// Buffers that the server is promised: at least this. A smaller one would cost an acknowledgement for every document.
pub(crate) const BUFFER_BYTES_MIN: u32 = 1 << 10;
/// Acknowledge when this part of the buffer was dealt with (`kv_engine` docs/dcp/documentation/flow-control.md says 20 %).
pub(crate) const ACKNOWLEDGE_PART: u64 = 5;
/// A server may send one packet more than the buffer holds; with this much above that it breaks the rules.
pub(crate) const OVERRUN_BYTES_MAX: u64 = BODY_BYTES_MAX as u64 + (1 << 20);
/// Batches of one connection that wait for the consumer. What they hold is limited by flow control, not by this number.
pub(crate) const BATCHES_MAX: usize = 16;
/// Packets in one batch at most.
pub(crate) const BATCH_ITEMS_MAX: usize = 4096;
/// Vbuckets of a bucket at most: the protocol has 16 bits, the server 1024.
pub(crate) const VBUCKETS_MAX: usize = 1 << 16;
/// Branches in a failover log at most; the server keeps 25.
pub(crate) const BRANCHES_MAX: usize = 1 << 10;
/// Commands that wait for one connection: a request and a close for each vbucket.
pub(crate) const COMMANDS_MAX: usize = 2 * VBUCKETS_MAX;
/// After a failure the next attempt comes after this time, then after twice as much, …
pub(crate) const RETRY_DELAY_MIN: Duration = Duration::from_millis(20);
/// … up to this.
pub(crate) const RETRY_DELAY_MAX: Duration = Duration::from_secs(5);
/// How often the configuration is asked for, besides what the server pushes.
pub(crate) const CONFIG_INTERVAL: Duration = Duration::from_millis(2500);
/// Requests to documents that wait for one connection to take them.
#[cfg(feature = "kv")]
pub(crate) const REQUESTS_WAITING_MAX: usize = 1024;
/// A connection takes no further request while so many bytes wait to be written.
#[cfg(feature = "kv")]
pub(crate) const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// The longest key, with the id of its collection before it: one byte says how long it is.
#[cfg(feature = "kv")]
pub(crate) const KEY_BYTES_MAX: usize = 250;
/// SCRAM: more iterations than this would be an attack on the client's processor.
pub(crate) const SCRAM_ITERATIONS_MAX: u32 = 1_000_000;
/// A connection is dead after so many NOOP intervals without a byte (`kv_engine` docs/dcp/documentation/dead-connections.md).
pub(crate) const SILENT_INTERVALS_MAX: u32 = 2;
/// How long a name server may take for an answer.
#[cfg(feature = "srv")]
pub(crate) const DNS_PATIENCE: Duration = Duration::from_secs(2);
/// Datagrams of name servers are not longer.
#[cfg(feature = "srv")]
pub(crate) const DNS_DATAGRAM_BYTES_MAX: usize = 4 << 10;
