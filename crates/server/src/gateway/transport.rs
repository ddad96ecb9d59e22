//! What a connection needs of its transport.

use std::task::{Context, Poll};

use axum::body::Bytes;

/// Carries messages both ways, in order, and says when it is gone.
pub trait Transport: Send {
    /// Queues a message.
    fn push(&mut self, message: Bytes);

    /// Queues the end of the connection, with its code and its reason for people.
    fn push_close(&mut self, code: u16, reason: &str);

    /// Bytes that wait for the peer to read.
    fn queued_bytes(&self) -> usize;

    /// Rises whenever something of what was queued is taken.
    fn taken(&self) -> u64;

    /// Whether anything is not taken.
    fn is_writing(&self) -> bool;

    /// The next event; messages are read only when asked to.
    fn poll_next(&mut self, context: &mut Context<'_>, reads: bool) -> Poll<TransportEvent>;
}

/// What happened on a connection.
#[derive(Debug)]
pub enum TransportEvent {
    /// A binary message arrived.
    Message(Bytes),
    /// A text message arrived.
    Text,
    /// Everything queued was taken. Need not be told while messages are read.
    Flushed,
    /// A message larger than the limit arrived.
    TooLarge,
    /// The connection is gone.
    Closed,
}
