//! Several items in one byte string.

use minicbor::Encode;

use super::cbor::{Decode, Malformed, Reader};
use super::error::WireError;

/// Encoded items, one after the other without a separator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode)]
#[cbor(transparent)]
pub struct Packed(#[cbor(n(0), with = "minicbor::bytes")] pub Vec<u8>);

impl Decode for Packed {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Vec::decode(reader).map(Self)
    }
}

/// Reads the items.
pub fn unpack<T: Decode>(packed: &Packed) -> Result<Vec<T>, WireError> {
    let mut reader = Reader::new(&packed.0);
    let mut items = Vec::new();
    while reader.rest() > 0 {
        items.push(T::decode(&mut reader)?);
    }
    Ok(items)
}
