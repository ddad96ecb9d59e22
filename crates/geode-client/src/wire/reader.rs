//! Reads Java's primitives and Geode's strings and arrays from a slice.

use super::codes::ds;
use super::{Malformed, utf8};

/// How deep serialised objects may nest. Java's own reader recurses and would overflow its stack much earlier than ours.
pub(crate) const DEPTH_MAX: usize = 128;

/// A position in serialised bytes.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(Malformed("end of input"))?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed("end of input"))?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn peek(&self) -> Result<u8, Malformed> {
        self.rest.first().copied().ok_or(Malformed("end of input"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn i8(&mut self) -> Result<i8, Malformed> {
        self.array().map(i8::from_be_bytes)
    }

    pub(crate) fn bool(&mut self) -> Result<bool, Malformed> {
        Ok(self.u8()? != 0)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, Malformed> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_be_bytes)
    }

    pub(crate) fn f32(&mut self) -> Result<f32, Malformed> {
        self.array().map(f32::from_be_bytes)
    }

    pub(crate) fn f64(&mut self) -> Result<f64, Malformed> {
        self.array().map(f64::from_be_bytes)
    }

    /// A count that Java wrote as a non-negative `int`.
    pub(crate) fn count(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.i32()?).map_err(|_| Malformed("negative length"))
    }

    /// An unsigned number of variable length: 7 bits per byte, low ones first.
    pub(crate) fn vl(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed("number of variable length"))
    }

    /// The length of an array; `None` for a null array.
    pub(crate) fn array_len(&mut self) -> Result<Option<usize>, Malformed> {
        match self.u8()? {
            0xFF => Ok(None),
            0xFE => Ok(Some(usize::from(self.u16()?))),
            0xFD => self.count().map(Some),
            short => Ok(Some(usize::from(short))),
        }
    }

    /// The length of an array that may not be null.
    pub(crate) fn len(&mut self) -> Result<usize, Malformed> {
        self.array_len()?.ok_or(Malformed("array that must not be null"))
    }

    /// A byte array after its length.
    pub(crate) fn byte_array(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match self.array_len()? {
            Some(len) => self.take(len).map(Some),
            None => Ok(None),
        }
    }

    /// `readUTF` of Java: a u16 length and modified UTF-8.
    pub(crate) fn utf(&mut self) -> Result<String, Malformed> {
        let len = usize::from(self.u16()?);
        utf8::decode(self.take(len)?)
    }

    /// A string with its own code; `None` for null.
    pub(crate) fn string(&mut self) -> Result<Option<String>, Malformed> {
        let code = self.u8()?;
        self.string_after(code)
    }

    /// A string whose code has been read.
    pub(crate) fn string_after(&mut self, code: u8) -> Result<Option<String>, Malformed> {
        match code {
            ds::NULL | ds::NULL_STRING => Ok(None),
            ds::STRING => self.utf().map(Some),
            ds::STRING_BYTES => {
                let len = usize::from(self.u16()?);
                Ok(Some(latin1(self.take(len)?)))
            }
            ds::HUGE_STRING_BYTES => {
                let len = self.count()?;
                Ok(Some(latin1(self.take(len)?)))
            }
            ds::HUGE_STRING => {
                let units = self.count()?;
                let bytes = self.take(units.checked_mul(2).ok_or(Malformed("string length"))?)?;
                let units: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
                String::from_utf16(&units).map(Some).map_err(|_| Malformed("text with half a surrogate pair"))
            }
            _ => Err(Malformed("string")),
        }
    }

    /// An array of strings.
    pub(crate) fn string_array(&mut self) -> Result<Vec<Option<String>>, Malformed> {
        let len = self.array_len()?.unwrap_or_default();
        let mut strings = Vec::with_capacity(len.min(self.rest.len()));
        for _ in 0..len {
            strings.push(self.string()?);
        }
        Ok(strings)
    }
}

/// Java reads these bytes as the low halves of its characters.
fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn array_lengths_have_four_forms() {
        let read = |bytes: &[u8]| Reader::new(bytes).array_len();
        assert_eq!(read(&[252]), Ok(Some(252)));
        assert_eq!(read(&[0xFE, 1, 0]), Ok(Some(256)));
        assert_eq!(read(&[0xFD, 0, 1, 0, 0]), Ok(Some(65_536)));
        assert_eq!(read(&[0xFF]), Ok(None));
        assert!(read(&[0xFD, 0xFF, 0, 0, 0]).is_err());
    }

    #[test]
    fn strings_have_five_forms() {
        let read = |bytes: &[u8]| Reader::new(bytes).string().unwrap();
        assert_eq!(read(&[ds::STRING_BYTES, 0, 2, b'a', 0xE9]).as_deref(), Some("aé"));
        assert_eq!(read(&[ds::STRING, 0, 2, 0xC3, 0xA9]).as_deref(), Some("é"));
        assert_eq!(read(&[ds::HUGE_STRING_BYTES, 0, 0, 0, 1, b'a']).as_deref(), Some("a"));
        assert_eq!(read(&[ds::HUGE_STRING, 0, 0, 0, 2, 0xD8, 0x3D, 0xDE, 0x00]).as_deref(), Some("😀"));
        assert_eq!(read(&[ds::NULL_STRING]), None);
    }

    #[test]
    fn lengths_beyond_the_input_are_refused() {
        for bytes in [
            &[ds::STRING, 0, 9, b'a'][..],
            &[ds::HUGE_STRING_BYTES, 0x7F, 0xFF, 0xFF, 0xFF],
            &[ds::HUGE_STRING, 0x7F, 0xFF, 0xFF, 0xFF],
        ] {
            assert!(Reader::new(bytes).string().is_err());
        }
        assert!(Reader::new(&[0xFD, 0x7F, 0xFF, 0xFF, 0xFF]).string_array().is_err());
    }

    #[test]
    fn numbers_of_variable_length_end() {
        assert_eq!(Reader::new(&[0xAC, 0x02]).vl(), Ok(300));
        assert!(Reader::new(&[0x80; 12]).vl().is_err());
    }
}
