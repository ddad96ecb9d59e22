//! Reading and writing one WebSocket at once, without losing a message when a wait is abandoned.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::{Sink, Stream};
use tungstenite::error::CapacityError;

/// Most bytes of a reason that a close frame holds (RFC 6455 section 5.5).
const CLOSE_REASON_BYTES_MAX: usize = 123;

/// A WebSocket with its queue of messages to send.
pub(super) struct Wire {
    socket: WebSocket,
    queue: VecDeque<Message>,
    /// Bytes in `queue`.
    queued_bytes: usize,
    unflushed: bool,
    /// Counts what the operating system took.
    taken: u64,
}

/// What happened on the connection.
pub(super) enum WireEvent {
    /// A message arrived.
    Message(Message),
    /// Everything queued was handed to the operating system.
    Flushed,
    /// A message larger than the limit arrived.
    TooLarge,
    /// The connection is gone.
    Closed,
}

impl Wire {
    pub(super) fn new(socket: WebSocket) -> Self {
        Self { socket, queue: VecDeque::new(), queued_bytes: 0, unflushed: false, taken: 0 }
    }

    pub(super) fn push(&mut self, bytes: Bytes) {
        self.queued_bytes += bytes.len();
        self.queue.push_back(Message::Binary(bytes));
    }

    pub(super) fn push_close(&mut self, code: u16, reason: &str) {
        let mut text = String::new();
        for character in reason.chars() {
            if text.len() + character.len_utf8() > CLOSE_REASON_BYTES_MAX {
                break;
            }
            text.push(character);
        }
        let reason = text.into();
        self.queue.push_back(Message::Close(Some(CloseFrame { code, reason })));
    }

    /// Bytes that wait for the client to read.
    pub(super) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Rises whenever the operating system takes something of what was queued.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether anything is not with the operating system.
    pub(super) fn is_writing(&self) -> bool {
        self.unflushed || !self.queue.is_empty()
    }

    /// Waits for the next event; reads only when asked to. Safe to drop and call again.
    pub(super) async fn next(&mut self, reads: bool) -> WireEvent {
        poll_fn(|context| {
            if self.is_writing() {
                match self.poll_write(context) {
                    Poll::Ready(Ok(())) => return Poll::Ready(WireEvent::Flushed),
                    Poll::Ready(Err(_)) => return Poll::Ready(WireEvent::Closed),
                    Poll::Pending => {}
                }
            }
            if reads { self.poll_read(context) } else { Poll::Pending }
        })
        .await
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        while !self.queue.is_empty() {
            match Pin::new(&mut self.socket).poll_ready(context) {
                Poll::Ready(Ok(())) => {}
                other @ (Poll::Ready(Err(_)) | Poll::Pending) => return other,
            }
            if let Some(message) = self.queue.pop_front() {
                if let Message::Binary(bytes) = &message {
                    self.queued_bytes -= bytes.len();
                }
                self.unflushed = true;
                self.taken += 1;
                Pin::new(&mut self.socket).start_send(message)?;
            }
        }
        let flushed = Pin::new(&mut self.socket).poll_flush(context);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.unflushed = false;
            self.taken += 1;
        }
        flushed
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<WireEvent> {
        Pin::new(&mut self.socket).poll_next(context).map(|message| match message {
            Some(Ok(message)) => WireEvent::Message(message),
            Some(Err(error)) => failure(error),
            None => WireEvent::Closed,
        })
    }
}

fn failure(error: axum::Error) -> WireEvent {
    let error = error.into_inner();
    match error.downcast_ref::<tungstenite::Error>() {
        Some(tungstenite::Error::Capacity(CapacityError::MessageTooLong { .. })) => WireEvent::TooLarge,
        _ => WireEvent::Closed,
    }
}
