//! Tests of the cluster store over a platform in memory, on virtual time.

mod conformance;
mod crashes;
mod following;
mod groups;
mod host;
mod lagging;
mod platform;
mod races;
mod rig;
mod sessions;
mod stuck;
