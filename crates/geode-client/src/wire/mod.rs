//! The bytes on the wire: primitives of Java's `DataOutput` and of Geode's `DataSerializer`, messages, handshakes.
//!
//! Everything is big-endian. Decoders take any input: they answer [`Malformed`], never panic, and reserve no more
//! memory than the input has bytes.

pub(crate) mod codes;
pub(crate) mod event_id;
pub(crate) mod handshake;
pub(crate) mod identity;
pub(crate) mod locator;
pub(crate) mod message;
pub(crate) mod notification;
pub(crate) mod object_list;
pub(crate) mod reader;
pub(crate) mod skip;
pub(crate) mod utf8;
pub(crate) mod version_tag;
pub(crate) mod writer;

#[cfg(test)]
pub(crate) mod random_tests;

pub(crate) use reader::Reader;

/// Input that is not what the protocol says, with what was being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub(crate) struct Malformed(pub(crate) &'static str);
