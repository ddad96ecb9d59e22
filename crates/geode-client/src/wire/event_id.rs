//! Event ids: who made a change, in which of its threads, with which sequence.

use bytes::Bytes;

use super::codes::{ds, fixed};
use super::writer::Write;
use super::{Malformed, Reader};

/// Identifies one change across the cluster: events of one member and thread have rising sequences.
///
/// A server drops a change whose sequence its thread has passed, and a client drops an event that it has seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventId {
    /// The serialised identity of the member or client that made the change.
    pub(crate) member: Bytes,
    /// A thread of that member; operations on many entries use invented ones.
    pub(crate) thread: i64,
    /// The position within the thread.
    pub(crate) sequence: i64,
}

impl EventId {
    /// The thread of the member that made the change.
    pub fn thread(&self) -> i64 {
        self.thread
    }

    /// The position of the change within its thread.
    pub fn sequence(&self) -> i64 {
        self.sequence
    }

    /// The identity of the member or client that made the change, as Geode serialises it.
    pub fn member(&self) -> &[u8] {
        &self.member
    }

    /// The object form (`01 24`), as acknowledgements carry it.
    pub(crate) fn write_object(&self, out: &mut Vec<u8>) {
        out.u8(ds::FIXED_ID_BYTE);
        out.i8(fixed::EVENT_ID);
        out.byte_array(&self.member);
        out.byte_array(&parts(self.thread, self.sequence));
        // No bucket and no bread crumb: they serve the members among themselves.
        out.i32(-1);
        out.u8(0);
    }

    /// Reads the object form.
    pub(crate) fn read_object(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        if reader.u8()? != ds::FIXED_ID_BYTE || reader.i8()? != fixed::EVENT_ID {
            return Err(Malformed("event id"));
        }
        let member = Bytes::copy_from_slice(reader.byte_array()?.ok_or(Malformed("event id"))?);
        let mut numbers = Reader::new(reader.byte_array()?.ok_or(Malformed("event id"))?);
        let (thread, sequence) = (number(&mut numbers)?, number(&mut numbers)?);
        reader.i32()?;
        reader.u8()?;
        Ok(Self { member, thread, sequence })
    }
}

/// The form of a request: the server knows the member from the connection.
pub(crate) fn parts(thread: i64, sequence: i64) -> Vec<u8> {
    let mut out = Vec::with_capacity(18);
    for value in [thread, sequence] {
        out.u8(3);
        out.i64(value);
    }
    out
}

fn number(reader: &mut Reader<'_>) -> Result<i64, Malformed> {
    match reader.u8()? {
        0 => reader.i8().map(i64::from),
        1 => reader.i16().map(i64::from),
        2 => reader.i32().map(i64::from),
        3 => reader.i64(),
        _ => Err(Malformed("number of an event id")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_form_comes_back() {
        let id = EventId { member: Bytes::from_static(b"member"), thread: 7, sequence: -3 };
        let mut out = Vec::new();
        id.write_object(&mut out);
        assert_eq!(EventId::read_object(&mut Reader::new(&out)), Ok(id));
    }

    #[test]
    fn numbers_have_four_widths() {
        let mut reader = Reader::new(&[0, 0xFF, 1, 1, 0, 2, 0, 1, 0, 0, 4]);
        assert_eq!((number(&mut reader), number(&mut reader), number(&mut reader)), (Ok(-1), Ok(256), Ok(65_536)));
        assert!(number(&mut reader).is_err());
    }
}
