//! The test host of the client core, and the simulator of the whole system.
//!
//! [`ModelDatabase`] is a model of IndexedDB, [`Host`] drives a client over it. [`World`] puts several of them and server nodes (the
//! real gateway's connections, rules, pipeline and fan-out) on a virtual network with faults, and checks what the design guarantees.
//! One seed decides everything.
//!
//! | Module | What it is |
//! | --- | --- |
//! | `world` | the scheduler, the clock, and what every event does |
//! | `plan`, `faults`, `workload` | what is to happen: a schedule of transactions and faults, each item with a seed of its own |
//! | `host`, `database`, `application` | a client on a model of IndexedDB, and the application that writes into it |
//! | `node`, `slow`, `tasks`, `time` | a server on a store that takes its time and fails |
//! | `site`, `platform`, `foreign` | the kinds of stores, models of the clusters below them, and their other writers |
//! | `versions` | processes of other versions, by what is done to their messages |
//! | `check`, `journal` | the judges, and the store's commits as they see them |
//! | `batch`, `shrink`, `planted` | many seeds, a failing one made small, bugs planted on purpose |

pub mod application;
mod batch;
mod check;
mod database;
mod describe;
mod faults;
mod foreign;
mod host;
mod journal;
mod network;
mod node;
mod plan;
#[cfg(feature = "planted")]
pub mod planted;
mod platform;
mod random;
mod rules;
mod shrink;
mod site;
mod slow;
mod tasks;
mod time;
mod versions;
mod workload;
mod world;

pub use batch::{Batch, Totals, guarded};
pub use check::{Failure, Options, Report, Violation, run};
pub use database::{ModelDatabase, Transaction};
pub use host::{Host, Request, StepOutcome};
pub use plan::Kept;
pub use random::Random;
pub use rules::policies;
pub use shrink::{Shrunk, read_ranges, shrink};
pub use site::Sites;
pub use workload::{Entry, Ledger, Writer};
pub use world::{HostId, World};
