//! Codings of messages (`docs/protocol.md` section 1): the handshake agrees on one by the name of the subprotocol.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::HeaderValue;
use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_with_limit};
use tidelock_core::server::{Outgoing, Refusal};
use tidelock_core::wire::ErrorCode;

/// Subprotocols, the preferred one first.
pub(super) const SUBPROTOCOLS: [&str; 2] = [DEFLATE, "tidelock.v1"];
const DEFLATE: &str = "tidelock.v1.deflate";

/// First byte of a deflated message. A frame begins with the head of a CBOR array, which is above it.
const DEFLATED: u8 = 1;
/// A frame below this many bytes travels as it is: nothing is gained on one small document.
const DEFLATE_BYTES_MIN: usize = 1 << 10;
/// Deflate level. Measured for pages of 2,000 documents of 250 bytes in columns: level 1 leaves 28 % of their JSON in a quarter of the
/// time of level 3, 3 leaves 21.3 %, 6 leaves 20.7 % in two to three times the time.
const LEVEL: u8 = 3;

/// How the frames of a connection travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// As they are.
    Plain,
    /// Raw deflate (RFC 1951) where it pays.
    Deflate,
}

impl Coding {
    /// The coding that a subprotocol stands for.
    pub(super) fn of(subprotocol: Option<&HeaderValue>) -> Self {
        if subprotocol.is_some_and(|name| name == DEFLATE) { Self::Deflate } else { Self::Plain }
    }

    /// The message that carries a frame.
    pub(super) fn message(self, frame: Arc<Outgoing>) -> Bytes {
        if self == Self::Deflate && frame.frame.len() >= DEFLATE_BYTES_MIN {
            // Shared by every session that sends this frame.
            let coded = frame.coded(deflated);
            if coded.len() < frame.frame.len() {
                return Bytes::from_owner(coded);
            }
        }
        Bytes::from_owner(Plain(frame))
    }

    /// The frame that a message carries.
    pub(super) fn frame(self, message: &[u8], frame_bytes_max: usize) -> Result<Cow<'_, [u8]>, Refusal> {
        let coded = match message {
            [DEFLATED, coded @ ..] if self == Self::Deflate => coded,
            _ => return Ok(Cow::Borrowed(message)),
        };
        match decompress_to_vec_with_limit(coded, frame_bytes_max) {
            Ok(frame) => Ok(Cow::Owned(frame)),
            Err(error) if error.status == TINFLStatus::HasMoreOutput => {
                let message = format!("a frame of more than {frame_bytes_max} bytes");
                Err(Refusal::new(ErrorCode::TooLarge, message))
            }
            Err(_) => Err(Refusal::new(ErrorCode::Protocol, "a message that cannot be inflated")),
        }
    }
}

fn deflated(frame: &[u8]) -> Vec<u8> {
    let mut message = vec![DEFLATED];
    message.extend(compress_to_vec(frame, LEVEL));
    message
}

/// The bytes of a frame as it is.
struct Plain(Arc<Outgoing>);

impl AsRef<[u8]> for Plain {
    fn as_ref(&self) -> &[u8] {
        &self.0.frame
    }
}
