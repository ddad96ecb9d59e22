//! The cluster as a client sees it: locators, servers, connections.

pub(crate) mod connection;
pub(crate) mod locator;
pub(crate) mod pool;
pub(crate) mod server;
