//! Writes Java's primitives and Geode's strings and arrays.

use super::codes::ds;
use super::utf8;

/// What Geode's `DataSerializer` writes, appended to a vector.
pub(crate) trait Write {
    fn u8(&mut self, value: u8);
    fn bytes(&mut self, value: &[u8]);

    fn i8(&mut self, value: i8) {
        self.bytes(&value.to_be_bytes());
    }

    fn i16(&mut self, value: i16) {
        self.bytes(&value.to_be_bytes());
    }

    fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    fn i32(&mut self, value: i32) {
        self.bytes(&value.to_be_bytes());
    }

    fn i64(&mut self, value: i64) {
        self.bytes(&value.to_be_bytes());
    }

    /// A length that Java holds in an `int`. Callers bound their input far below: see [`super::message::BYTES_MAX`].
    fn len32(&mut self, len: usize) {
        self.i32(i32::try_from(len).unwrap_or(i32::MAX));
    }

    fn array_len(&mut self, len: usize) {
        match len {
            0..=252 => self.u8(u8::try_from(len).unwrap_or_default()),
            253..=0xFFFF => {
                self.u8(0xFE);
                self.u16(u16::try_from(len).unwrap_or_default());
            }
            _ => {
                self.u8(0xFD);
                self.len32(len);
            }
        }
    }

    fn byte_array(&mut self, value: &[u8]) {
        self.array_len(value.len());
        self.bytes(value);
    }

    /// A string with its own code, in the form that Java would choose.
    fn string(&mut self, value: &str) {
        if utf8::is_plain(value) {
            if let Ok(len) = u16::try_from(value.len()) {
                self.u8(ds::STRING_BYTES);
                self.u16(len);
            } else {
                self.u8(ds::HUGE_STRING_BYTES);
                self.len32(value.len());
            }
            self.bytes(value.as_bytes());
        } else if let Ok(len) = u16::try_from(utf8::encoded_len(value)) {
            self.u8(ds::STRING);
            self.u16(len);
            let mut encoded = Vec::with_capacity(usize::from(len));
            utf8::encode(value, &mut encoded);
            self.bytes(&encoded);
        } else {
            self.u8(ds::HUGE_STRING);
            self.len32(value.encode_utf16().count());
            for unit in value.encode_utf16() {
                self.u16(unit);
            }
        }
    }

    /// A version: one byte, or `FF` and two.
    fn version(&mut self, ordinal: i16) {
        if let Ok(short @ 0..=127) = u8::try_from(ordinal) {
            self.u8(short);
        } else {
            self.u8(0xFF);
            self.i16(ordinal);
        }
    }
}

impl Write for Vec<u8> {
    fn u8(&mut self, value: u8) {
        self.push(value);
    }

    fn bytes(&mut self, value: &[u8]) {
        self.extend_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Reader;
    use super::*;

    #[test]
    fn strings_of_every_length_come_back() {
        for text in ["", "plain", "é\0😀", &"x".repeat(70_000), &"é".repeat(40_000)] {
            let mut out = Vec::new();
            out.string(text);
            let mut reader = Reader::new(&out);
            assert_eq!(reader.string().unwrap().as_deref(), Some(text));
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn array_lengths_take_the_shortest_form() {
        for (len, bytes) in [(252, &[252][..]), (253, &[0xFE, 0, 253]), (65_536, &[0xFD, 0, 1, 0, 0])] {
            let mut out = Vec::new();
            out.array_len(len);
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn versions_above_127_take_three_bytes() {
        let mut out = Vec::new();
        out.version(125);
        out.version(150);
        assert_eq!(out, [125, 0xFF, 0, 150]);
    }
}
