//! Keys and values of entries.

use bytes::Bytes;

use crate::wire::codes::ds;
use crate::wire::message::{Part, Request};
use crate::wire::utf8;
use crate::wire::writer::Write as _;
use crate::wire::{Malformed, Reader};

/// The key of an entry. Java applications use strings most of the time, but any object may be a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// A `String`.
    String(String),
    /// An `Integer`. An `Integer` and a `Long` of the same number are different keys.
    Integer(i32),
    /// A `Long`.
    Long(i64),
    /// Another object, as Geode serialises it; it can be sent back as it came.
    Object(Bytes),
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<i32> for Key {
    fn from(number: i32) -> Self {
        Self::Integer(number)
    }
}

impl From<i64> for Key {
    fn from(number: i64) -> Self {
        Self::Long(number)
    }
}

impl Key {
    /// The serialised object.
    pub(crate) fn write_object(&self, out: &mut Vec<u8>) {
        match self {
            Self::String(text) => out.string(text),
            Self::Integer(number) => {
                out.u8(ds::INTEGER);
                out.i32(*number);
            }
            Self::Long(number) => {
                out.u8(ds::LONG);
                out.i64(*number);
            }
            Self::Object(bytes) => out.bytes(bytes),
        }
    }

    /// The part of a request: strings go raw.
    pub(crate) fn add_to(&self, request: Request) -> Request {
        if let Self::String(text) = self {
            return request.text(text);
        }
        let mut object = Vec::with_capacity(9);
        self.write_object(&mut object);
        request.object(&object)
    }

    /// The key in a part of an event.
    pub(crate) fn of_part(part: &Part) -> Self {
        if part.is_object {
            return Self::of_object(&part.bytes);
        }
        if let Ok(text) = part.text() {
            return Self::String(text);
        }
        // Half a surrogate pair: Java allows it. The object form of the same string is sent back.
        let mut object = vec![ds::STRING];
        object.u16(u16::try_from(part.bytes.len()).unwrap_or(u16::MAX));
        object.bytes(&part.bytes);
        Self::Object(object.into())
    }

    /// The key in a serialised object that is nothing but the key.
    pub(crate) fn of_object(bytes: &[u8]) -> Self {
        let mut reader = Reader::new(bytes);
        let known = match reader.u8() {
            Ok(ds::INTEGER) => reader.i32().map(Self::Integer),
            Ok(ds::LONG) => reader.i64().map(Self::Long),
            Ok(code) => reader.string_after(code).and_then(|text| text.map(Self::String).ok_or(Malformed("key"))),
            Err(error) => Err(error),
        };
        match known {
            Ok(key) if reader.is_empty() => key,
            _ => Self::Object(Bytes::copy_from_slice(bytes)),
        }
    }

    /// Java's `hashCode` of the key, by which a partitioned region chooses the bucket; `None` for other objects.
    pub(crate) fn java_hash(&self) -> Option<i32> {
        match self {
            Self::String(text) => {
                Some(text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit))))
            }
            Self::Integer(number) => Some(*number),
            // The two halves, one over the other.
            Self::Long(number) => {
                let bytes = (number ^ (number >> 32)).to_be_bytes();
                bytes.last_chunk::<4>().map(|low| i32::from_be_bytes(*low))
            }
            Self::Object(_) => None,
        }
    }
}

/// The value of an entry, as the server keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A `byte[]`.
    Bytes(Bytes),
    /// Any other object, serialised: a string, a PDX instance, a Java object.
    Object(Bytes),
}

impl Value {
    /// A Java `String`.
    pub fn string(text: &str) -> Self {
        let mut out = Vec::with_capacity(text.len() + 3);
        out.string(text);
        Self::Object(out.into())
    }

    /// The bytes as the server keeps them: equal bytes are equal values.
    pub fn as_bytes(&self) -> &Bytes {
        match self {
            Self::Bytes(bytes) | Self::Object(bytes) => bytes,
        }
    }

    pub(crate) fn add_to(&self, request: Request) -> Request {
        match self {
            Self::Bytes(bytes) => request.raw(bytes),
            Self::Object(bytes) => request.object(bytes),
        }
    }

    /// The object form, in which a `byte[]` has a code and a length.
    pub(crate) fn add_as_object(&self, request: Request) -> Request {
        match self {
            Self::Bytes(bytes) => {
                let mut out = Vec::with_capacity(bytes.len() + 6);
                out.u8(ds::BYTE_ARRAY);
                out.byte_array(bytes);
                request.object(&out)
            }
            Self::Object(bytes) => request.object(bytes),
        }
    }

    /// The value in a part; `None` for null.
    pub(crate) fn of_part(part: &Part) -> Option<Self> {
        if !part.is_object {
            return Some(Self::Bytes(part.bytes.clone()));
        }
        if part.is_null() { None } else { Some(Self::of_object(part.bytes.clone())) }
    }

    /// The value in a serialised object: a `byte[]` loses its code and length.
    pub(crate) fn of_object(bytes: Bytes) -> Self {
        let mut reader = Reader::new(&bytes);
        if reader.u8() == Ok(ds::BYTE_ARRAY)
            && let Ok(Some(content)) = reader.byte_array()
            && reader.is_empty()
        {
            let start = bytes.len() - content.len();
            return Self::Bytes(bytes.slice(start..));
        }
        Self::Object(bytes)
    }
}

/// The bytes of a string as a server sends a region's name or a message.
pub(crate) fn text_of(part: &Part) -> String {
    utf8::decode(&part.bytes).unwrap_or_else(|_| String::from_utf8_lossy(&part.bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_from_their_object_form() {
        for key in [
            Key::from("a"),
            Key::from("é😀"),
            Key::from(5),
            Key::from(5i64),
            Key::Object(Bytes::from_static(&[ds::BOOLEAN, 1])),
        ] {
            let mut out = Vec::new();
            key.write_object(&mut out);
            assert_eq!(Key::of_object(&out), key);
        }
    }

    #[test]
    fn a_key_with_half_a_surrogate_pair_is_kept_as_it_came() {
        let part = Part { is_object: false, bytes: Bytes::from_static(b"\xED\xA0\xBD") };
        assert_eq!(Key::of_part(&part), Key::Object(Bytes::from_static(b"\x2A\x00\x03\xED\xA0\xBD")));
    }

    #[test]
    fn hashes_are_those_of_java() {
        assert_eq!(Key::from("hello").java_hash(), Some(99_162_322));
        assert_eq!(Key::from("polygenelubricants").java_hash(), Some(i32::MIN));
        assert_eq!(Key::from("😀").java_hash(), Some(1_772_899));
        assert_eq!(Key::from(-7).java_hash(), Some(-7));
        assert_eq!(Key::from(0x1_0000_0002_i64).java_hash(), Some(3));
        assert_eq!(Key::from(-1i64).java_hash(), Some(0));
    }

    #[test]
    fn byte_arrays_are_values_without_their_code() {
        assert_eq!(
            Value::of_object(Bytes::from_static(&[ds::BYTE_ARRAY, 2, 7, 8])),
            Value::Bytes(Bytes::from_static(&[7, 8]))
        );
        let object = Bytes::from_static(&[ds::BOOLEAN, 1]);
        assert_eq!(Value::of_object(object.clone()), Value::Object(object));
    }
}
