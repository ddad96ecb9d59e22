//! The test host of the client core, and the simulator of the whole system.
//!
//! [`ModelDatabase`] is a model of IndexedDB, [`Host`] drives a client over it, [`Server`] is a node made of the real session, a
//! store and a small pipeline, [`World`] puts several of them on a virtual network with faults and checks what the design
//! guarantees. One seed decides everything.

pub mod application;
mod check;
mod database;
mod describe;
mod faults;
mod host;
mod network;
mod pipeline;
mod random;
mod server;
mod workload;
mod world;

pub use check::{Report, run};
pub use database::{ModelDatabase, Transaction};
pub use host::{Host, Request, StepOutcome};
pub use random::Random;
pub use server::{LinkId, Output, Server};
pub use workload::{Entry, Ledger, policies};
pub use world::{HostId, World};
