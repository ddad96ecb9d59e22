//! The test host of the client core, and the simulator of the whole system.
//!
//! [`ModelDatabase`] is a model of IndexedDB, [`Host`] drives a client over it. [`World`] puts several of them and server nodes (the
//! real gateway's connections, rules, pipeline and fan-out) on a virtual network with faults, and checks what the design guarantees.
//! One seed decides everything.

pub mod application;
mod check;
mod database;
mod describe;
mod faults;
mod host;
mod network;
mod node;
mod random;
mod rules;
mod setback;
mod slow;
mod tasks;
mod time;
mod workload;
mod world;

pub use check::{Report, run};
pub use database::{ModelDatabase, Transaction};
pub use host::{Host, Request, StepOutcome};
pub use random::Random;
pub use rules::policies;
pub use workload::{Entry, Ledger};
pub use world::{HostId, World};
