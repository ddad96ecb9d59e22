//! CBOR at the edge: one call in, one call out; input never panics.

use minicbor::decode::Decoder;
use minicbor::{Decode, Encode};

use super::error::WireError;

/// Encodes a frame (or any part of one).
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    match minicbor::to_vec(value) {
        Ok(bytes) => bytes,
        Err(error) => unreachable!("writing to a vector cannot fail: {error}"),
    }
}

/// Decodes a frame; every byte must belong to it.
pub fn decode<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, WireError> {
    let mut decoder = Decoder::new(bytes);
    let value = decoder.decode::<T>().map_err(|error| WireError::Malformed(error.to_string()))?;
    match bytes.len().saturating_sub(decoder.position()) {
        0 => Ok(value),
        rest => Err(WireError::Trailing(rest)),
    }
}
