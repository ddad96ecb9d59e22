//! Big-endian numbers from the front of bytes, and collection ids.

use bytes::Bytes;

/// Reads from the front; every read fails, and leaves things as they were, when too little is there.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(length)?;
        self.rest = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.rest.split_first_chunk()?;
        self.rest = tail;
        Some(*head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}

/// The collection id at the front of a key, unsigned LEB128 of at most five bytes (docs/Collections.md), and the key behind it.
pub(crate) fn split_collection(key: &Bytes) -> Option<(u32, Bytes)> {
    let mut id = 0_u64;
    for (at, byte) in key.iter().take(5).enumerate() {
        id |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((u32::try_from(id).ok()?, key.slice(at + 1..)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collection_ids_are_leb128() {
        for (id, bytes) in
            [(0, vec![0]), (0x7f, vec![0x7f]), (0x80, vec![0x80, 1]), (u32::MAX, vec![255, 255, 255, 255, 15])]
        {
            let key = Bytes::from([bytes, b"k".to_vec()].concat());
            assert_eq!(split_collection(&key), Some((id, Bytes::from_static(b"k"))));
        }
        assert_eq!(split_collection(&Bytes::from_static(&[0x80])), None);
        assert_eq!(split_collection(&Bytes::from_static(&[255, 255, 255, 255, 16])), None);
        assert_eq!(split_collection(&Bytes::new()), None);
    }

    #[test]
    fn a_read_beyond_the_end_takes_nothing() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u32(), None);
        assert_eq!(reader.u16(), Some(0x0102));
        assert_eq!(reader.u8(), Some(3));
        assert!(reader.is_empty());
    }
}
