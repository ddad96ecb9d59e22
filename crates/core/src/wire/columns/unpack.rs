//! Columns into changes: the client's half. It is part of the browser's core, so it is written to be small.

use super::{Columns, DELETE, KEY, LEAVE, MARK, PIECES_MAX, PUT, SAME, UNPACKED_BYTES_MAX};
use crate::ids::{Offset, Version};
use crate::prelude::*;
use crate::version;
use crate::wire::cbor::Reader;
use crate::wire::{Change, ChangeKind, WireError};

/// Columns before those of the values.
const FIXED: usize = 9;

const TOO_LARGE: &str = "more than 64 MiB of changes";

/// Reads what [`pack`](super::pack) wrote; every byte must belong to a change.
pub fn unpack_changes(packed: &Columns) -> Result<Vec<Change>, WireError> {
    let mut reader = Reader::new(&packed.0);
    let mut changes = Vec::new();
    let read = read(&mut reader, &mut changes);
    if let Err(what) = read {
        reader.fail(what);
    }
    if reader.rest() > 0 {
        reader.fail("bytes follow the columns");
    }
    reader.finish()?;
    Ok(changes)
}

fn read(reader: &mut Reader<'_>, changes: &mut Vec<Change>) -> Result<(), &'static str> {
    let mut fields = reader.items();
    let mut columns: [Reader<'_>; FIXED] = core::array::from_fn(|_| {
        let present = reader.more(&mut fields);
        Reader::new(if present { reader.bytes() } else { &[] })
    });
    let [kinds, offsets, collections, shared, keys, versions, places, whole, templates] = &mut columns;
    let mut shapes = Vec::new();
    let mut values = if reader.more(&mut fields) { Some(reader.items()) } else { None };
    let mut pieces_left = PIECES_MAX;
    while templates.rest() > 0 {
        let pieces: Vec<&[u8]> = templates.bytes().split(|byte| *byte == MARK).take(pieces_left + 1).collect();
        pieces_left = pieces_left.checked_sub(pieces.len()).ok_or("too many marks")?;
        let mut columns = Vec::new();
        for _ in 1..pieces.len() {
            if !values.as_mut().is_some_and(|values| reader.more(values)) {
                return Err("a mark without a column");
            }
            columns.push(reader.bytes());
        }
        shapes.push(Shape { pieces, columns, last: 0 });
    }
    if values.as_mut().is_some_and(|values| reader.more(values)) {
        return Err("a column without a mark");
    }
    reader.end(fields);
    let (mut offset, mut room) = (0_u64, UNPACKED_BYTES_MAX);
    while kinds.rest() > 0 {
        offset = offset.wrapping_add(offsets.unsigned());
        let before = changes.last().map_or("", |change: &Change| &change.key);
        let common = usize::try_from(shared.unsigned()).ok().and_then(|common| before.get(..common));
        let key = [common.ok_or("a key that shares too much")?, keys.text()].concat();
        let kind = match kinds.unsigned() {
            PUT => {
                let place = usize::try_from(places.unsigned()).unwrap_or(usize::MAX);
                let body = match place.checked_sub(1) {
                    None => whole.bytes().to_vec(),
                    Some(shape) => shapes.get_mut(shape).ok_or("a place without a template")?.body(&key, room)?,
                };
                ChangeKind::Put(version::of_body(&body).map_err(|_| "a body that is no document")?, body)
            }
            DELETE => ChangeKind::Delete,
            LEAVE => ChangeKind::Leave,
            SAME => ChangeKind::Same(Version(versions.unsigned())),
            _ => return Err("an unknown kind"),
        };
        let collection = u32::try_from(collections.unsigned()).map_err(|_| "a collection beyond 32 bits")?;
        let change = Change { offset: Offset(offset), collection, key, kind };
        room = room.checked_sub(change.bytes()).ok_or(TOO_LARGE)?;
        changes.push(change);
    }
    let left = shapes.iter().flat_map(|shape| &shape.columns).any(|column| !column.is_empty());
    if left || columns.into_iter().any(|column| column.rest() > 0 || column.finish().is_err()) {
        return Err("columns of unequal lengths");
    }
    Ok(())
}

/// Bodies of one shape.
struct Shape<'b> {
    /// The template between its marks.
    pieces: Vec<&'b [u8]>,
    /// For each mark, the values that are left.
    columns: Vec<&'b [u8]>,
    /// Bytes of the last body: the next one has about as many.
    last: usize,
}

impl Shape<'_> {
    /// The next body, of at most `room` bytes.
    fn body(&mut self, key: &str, room: usize) -> Result<Vec<u8>, &'static str> {
        let mut body = Vec::with_capacity(self.last);
        for (number, piece) in self.pieces.iter().enumerate() {
            let column = number.checked_sub(1).and_then(|before| self.columns.get_mut(before));
            let mut parts: [&[u8]; 4] = [&[], &[], &[], piece];
            if let Some(column) = column {
                let end = column.iter().position(|byte| *byte == MARK).ok_or("a value is missing")?;
                let (value, rest) = column.split_at(end);
                *column = rest.get(1..).unwrap_or_default();
                parts = if value == [KEY] { [b"\"", key.as_bytes(), b"\"", piece] } else { [value, &[], &[], piece] };
            }
            for part in parts {
                if body.len() + part.len() > room {
                    return Err(TOO_LARGE);
                }
                body.extend_from_slice(part);
            }
        }
        self.last = body.len();
        Ok(body)
    }
}
