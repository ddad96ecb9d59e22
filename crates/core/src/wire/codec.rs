//! CBOR at the edge: one call in, one call out; input never panics.

use minicbor::Encode;

use super::cbor::{Decode, Reader};
use super::error::WireError;

/// Encodes a frame (or any part of one).
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    match minicbor::to_vec(value) {
        Ok(bytes) => bytes,
        Err(error) => unreachable!("writing to a vector cannot fail: {error}"),
    }
}

/// Decodes a frame; every byte must belong to it.
pub fn decode<T: Decode>(bytes: &[u8]) -> Result<T, WireError> {
    let mut reader = Reader::new(bytes);
    let value = T::decode(&mut reader)?;
    match reader.rest() {
        0 => Ok(value),
        rest => Err(WireError::Trailing(rest)),
    }
}
