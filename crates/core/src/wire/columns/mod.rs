//! Changes in columns (`docs/protocol.md` section 8): what is alike stands together, so that it deflates well.
//!
//! A body of which others have the shape is taken apart: a *template* is the text with a mark in place of each outermost member's
//! value, and the values at one mark make one column. The texts come back byte for byte, and neither side parses them.

#[cfg(not(target_arch = "wasm32"))]
mod pack;
mod unpack;

use super::cbor::{Cbor, Reader, Writer};
use super::change::{Change, ChangeKind};
use crate::prelude::*;

#[cfg(not(target_arch = "wasm32"))]
pub use pack::pack;
pub use unpack::unpack_changes;

/// Stands in a template for a value, and ends a value in its column. JSON text does not hold it.
const MARK: u8 = 0;
/// The value that is the document's key in quotation marks. No JSON value begins so.
const KEY: u8 = 1;
/// Most bytes that changes unpack to, each counted as [`Change::bytes`] does.
pub const UNPACKED_BYTES_MAX: usize = 64 << 20;

/// Most pieces between marks that all templates of a batch have: what is read has to be kept at hand while it is put together.
const PIECES_MAX: usize = 1 << 16;

/// Numbers of the kinds of changes.
const PUT: u64 = 0;
const DELETE: u64 = 1;
const LEAVE: u64 = 2;
const SAME: u64 = 3;

/// Packed [`Change`]s.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns(pub Vec<u8>);

impl Cbor for Columns {
    fn write(&self, writer: &mut Writer) {
        self.0.write(writer);
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        Self(Vec::read(reader))
    }
}

impl Change {
    /// Bytes that a change takes, packed or not: at most, and about.
    pub fn bytes(&self) -> usize {
        /// Numbers and lengths, each in its longest form.
        const BESIDE_TEXTS: usize = 48;
        let body = if let ChangeKind::Put(_, body) = &self.kind { body.len() } else { 0 };
        BESIDE_TEXTS + self.key.len() + body
    }
}
