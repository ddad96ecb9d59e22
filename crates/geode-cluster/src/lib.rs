//! A real Apache Geode cluster on this machine: one locator and two servers on free loopback ports, with persistent
//! partitioned regions of one redundant copy, and a Java application beside it. For tests, benches and the demo.
//!
//! The jars come from Maven Central. Every process ends when its owner ends, however the owner ends.

mod artifacts;
mod cluster;
mod foreign;
mod java;

pub use artifacts::{Artifacts, Regions, Version};
pub use cluster::{Cluster, SERVERS};
pub use foreign::Foreign;
