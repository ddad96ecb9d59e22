//! Several items in one byte string.

use super::cbor::{Cbor, Reader, Writer};
use super::error::WireError;
use crate::prelude::*;

/// Encoded items, one after the other without a separator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed(pub Vec<u8>);

impl Cbor for Packed {
    fn write(&self, writer: &mut Writer) {
        self.0.write(writer);
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        Self(Vec::read(reader))
    }
}

/// Reads the items.
pub fn unpack<T: Cbor>(packed: &Packed) -> Result<Vec<T>, WireError> {
    let mut reader = Reader::new(&packed.0);
    let mut items = Vec::new();
    while reader.rest() > 0 && reader.admit::<T>() {
        items.push(T::read(&mut reader));
    }
    reader.finish()?;
    Ok(items)
}
