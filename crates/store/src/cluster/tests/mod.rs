//! Tests of the cluster store over a platform in memory, on virtual time.

mod conformance;
mod crashes;
mod host;
mod platform;
mod rig;
