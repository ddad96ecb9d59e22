//! Real processes under faults.
//!
//! Servers are processes that are killed, paused and cut off; clients are threads with the real core over the model of IndexedDB, on
//! real sockets; a ledger, which nobody under test can reach, knows what every document has to be in the end.
//!
//! | Module | What it is |
//! | --- | --- |
//! | `server` | a `tidelock serve` that can be killed, paused, and started again |
//! | `network` | network namespaces: each server on links of its own, which can be cut |
//! | `load`, `ledger` | what the clients write, and what that comes to |
//! | `client`, `fleet` | one client, and all of them |
//! | `watch` | what a client may never see, whatever happens |
//! | `ground` | what the servers work on: a cluster of the test's own, and what it holds |
//! | `geode`, `couchbase` | the clusters there are |
//! | `trial` | all of it together: two servers on one cluster, and clients that use both |

#![allow(clippy::missing_panics_doc, reason = "a trial fails by a panic, as a test does")]
#![allow(
    clippy::indexing_slicing,
    reason = "JSON of the server under test: a missing member fails the trial by the expectation that follows"
)]

mod client;
mod couchbase;
mod dice;
mod fleet;
mod geode;
mod ground;
mod ledger;
mod load;
mod network;
mod server;
mod trial;
mod watch;

pub use client::Home;
pub use couchbase::{CLUSTER_NODES, Couchbase, VBUCKETS};
pub use dice::Dice;
pub use fleet::{Fleet, until};
pub use geode::Geode;
pub use ground::Ground;
pub use ledger::{Documents, Ledger, difference};
pub use load::{COLLECTIONS, Mix};
pub use network::{Link, Network};
pub use server::{Server, Spawn, Token};
pub use trial::{LIMIT, Plan, Trial, foreign_keys};
