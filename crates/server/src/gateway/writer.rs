//! Reading and writing one WebSocket at once, without losing a message when a wait is abandoned.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::{Sink, Stream};
use tungstenite::error::CapacityError;

use super::transport::{Transport, TransportEvent};

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

impl Wire {
    pub(super) fn new(socket: WebSocket) -> Self {
        Self { socket, queue: VecDeque::new(), queued_bytes: 0, unflushed: false, taken: 0 }
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

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<TransportEvent> {
        loop {
            let event = match ready!(Pin::new(&mut self.socket).poll_next(context)) {
                Some(Ok(Message::Binary(bytes))) => TransportEvent::Message(bytes),
                Some(Ok(Message::Text(_))) => TransportEvent::Text,
                // The transport answers pings by itself.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(Message::Close(_))) | None => TransportEvent::Closed,
                Some(Err(error)) => failure(error),
            };
            return Poll::Ready(event);
        }
    }
}

impl Transport for Wire {
    fn push(&mut self, bytes: Bytes) {
        self.queued_bytes += bytes.len();
        self.queue.push_back(Message::Binary(bytes));
    }

    fn push_close(&mut self, code: u16, reason: &str) {
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

    fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    fn taken(&self) -> u64 {
        self.taken
    }

    fn is_writing(&self) -> bool {
        self.unflushed || !self.queue.is_empty()
    }

    fn poll_next(&mut self, context: &mut Context<'_>, reads: bool) -> Poll<TransportEvent> {
        if self.is_writing() {
            match self.poll_write(context) {
                // Whoever does not read may do so now; whoever reads goes on.
                Poll::Ready(Ok(())) if !reads => return Poll::Ready(TransportEvent::Flushed),
                Poll::Ready(Ok(())) | Poll::Pending => {}
                Poll::Ready(Err(_)) => return Poll::Ready(TransportEvent::Closed),
            }
        }
        if reads { self.poll_read(context) } else { Poll::Pending }
    }
}

fn failure(error: axum::Error) -> TransportEvent {
    let error = error.into_inner();
    match error.downcast_ref::<tungstenite::Error>() {
        Some(tungstenite::Error::Capacity(CapacityError::MessageTooLong { .. })) => TransportEvent::TooLarge,
        _ => TransportEvent::Closed,
    }
}
