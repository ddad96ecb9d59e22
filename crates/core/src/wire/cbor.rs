//! Reading CBOR (RFC 8949). Derived decoders are ten times as large in the browser: this one is a few plain functions, and each type
//! adds the calls that read its fields.
//!
//! A struct is an array of its fields, a variant the array `[number, fields]`. Fields beyond those that are known are skipped; an
//! optional field that is missing is `None`. Strings are of definite length.

use super::error::WireError;

/// A type that can be read from CBOR.
pub trait Decode: Sized {
    /// Reads one item.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed>;

    /// What stands for a missing field.
    fn absent() -> Option<Self> {
        None
    }
}

/// Bytes that are not what a type needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    at: usize,
    what: &'static str,
}

impl From<Malformed> for WireError {
    fn from(error: Malformed) -> Self {
        WireError::Malformed { at: error.at, what: error.what }
    }
}

/// Where reading stands. Invariant: `at` is at most the length of `bytes`.
#[derive(Clone, Debug)]
pub struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

/// Items of an array that are still to be read; `None` while a break ends it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Items(Option<u64>);

const UNSIGNED: u8 = 0;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const SIMPLE: u8 = 7;

const NULL: u8 = 0xF6;
const BREAK: u8 = 0xFF;

impl<'b> Reader<'b> {
    /// At the first byte.
    pub fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes that follow.
    pub fn rest(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    pub(crate) fn malformed(&self, what: &'static str) -> Malformed {
        Malformed { at: self.at, what }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, length: u64) -> Result<&'b [u8], Malformed> {
        let end = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length));
        match end.and_then(|end| Some((end, self.bytes.get(self.at..end)?))) {
            Some((end, taken)) => {
                self.at = end;
                Ok(taken)
            }
            None => Err(self.malformed("the bytes end within an item")),
        }
    }

    /// Major type and argument of an item; no argument for an indefinite length and for a break.
    fn head(&mut self) -> Result<(u8, Option<u64>), Malformed> {
        let initial = self.take(1)?.first().copied().unwrap_or_default();
        let argument = match initial & 0x1F {
            small @ 0..=23 => Some(u64::from(small)),
            size @ 24..=27 => {
                let bytes = self.take(1 << (size - 24))?;
                Some(bytes.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
            }
            31 => None,
            _ => return Err(self.malformed("reserved length")),
        };
        Ok((initial >> 5, argument))
    }

    /// The argument of an item of this type, which has a definite length.
    fn argument(&mut self, major: u8, what: &'static str) -> Result<u64, Malformed> {
        match self.head()? {
            (found, Some(argument)) if found == major => Ok(argument),
            _ => Err(self.malformed(what)),
        }
    }

    pub(crate) fn unsigned(&mut self) -> Result<u64, Malformed> {
        self.argument(UNSIGNED, "expected an unsigned integer")
    }

    pub(crate) fn bytes(&mut self) -> Result<&'b [u8], Malformed> {
        let length = self.argument(BYTES, "expected a byte string")?;
        self.take(length)
    }

    pub(crate) fn text(&mut self) -> Result<&'b str, Malformed> {
        let length = self.argument(TEXT, "expected a text")?;
        let bytes = self.take(length)?;
        core::str::from_utf8(bytes).map_err(|_| self.malformed("invalid UTF-8"))
    }

    /// Begins an array.
    pub(crate) fn items(&mut self) -> Result<Items, Malformed> {
        match self.head()? {
            (ARRAY, length) => Ok(Items(length)),
            _ => Err(self.malformed("expected an array")),
        }
    }

    /// Whether an item follows; takes the break that ends the array.
    pub(crate) fn more(&mut self, items: &mut Items) -> bool {
        match &mut items.0 {
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
            None if self.peek() == Some(BREAK) => {
                self.at += 1;
                items.0 = Some(0);
                false
            }
            None => true,
        }
    }

    /// The next field.
    pub(crate) fn field<T: Decode>(&mut self, fields: &mut Items) -> Result<T, Malformed> {
        if self.more(fields) { T::decode(self) } else { T::absent().ok_or_else(|| self.malformed("missing field")) }
    }

    /// Skips the fields that are not known.
    pub(crate) fn end(&mut self, mut fields: Items) -> Result<(), Malformed> {
        while self.more(&mut fields) {
            self.skip()?;
        }
        Ok(())
    }

    /// Begins a variant: its number, and its fields.
    pub(crate) fn variant(&mut self) -> Result<(u64, Items), Malformed> {
        match self.items()?.0 {
            Some(2) => Ok((self.unsigned()?, self.items()?)),
            _ => Err(self.malformed("expected [variant, fields]")),
        }
    }

    /// Skips one item with all that is in it.
    fn skip(&mut self) -> Result<(), Malformed> {
        // Items to skip on each open level; `None` up to a break.
        let mut open = vec![Some(1)];
        while let Some(level) = open.last_mut() {
            match level {
                Some(0) => {
                    open.pop();
                    continue;
                }
                Some(left) => *left -= 1,
                None if self.peek() == Some(BREAK) => {
                    self.at += 1;
                    open.pop();
                    continue;
                }
                None => {}
            }
            match self.head()? {
                (BYTES | TEXT, Some(length)) => _ = self.take(length)?,
                (ARRAY | BYTES | TEXT | MAP, None) => open.push(None),
                (ARRAY, length) => open.push(length),
                (MAP, Some(pairs)) => open.push(Some(pairs.saturating_mul(2))),
                (TAG, Some(_)) => open.push(Some(1)),
                (_, Some(_)) => {}
                _ => return Err(self.malformed("unexpected break")),
            }
        }
        Ok(())
    }
}

impl Decode for u64 {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.unsigned()
    }
}

impl Decode for u32 {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        u32::try_from(reader.unsigned()?).map_err(|_| reader.malformed("number beyond 32 bits"))
    }
}

impl Decode for u16 {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        u16::try_from(reader.unsigned()?).map_err(|_| reader.malformed("number beyond 16 bits"))
    }
}

impl Decode for bool {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match reader.head()? {
            (SIMPLE, Some(20)) => Ok(false),
            (SIMPLE, Some(21)) => Ok(true),
            _ => Err(reader.malformed("expected a boolean")),
        }
    }
}

impl Decode for String {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.text().map(str::to_owned)
    }
}

/// A byte string.
impl Decode for Vec<u8> {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.bytes().map(<[u8]>::to_vec)
    }
}

impl<T: Decode> Decode for Vec<T> {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut items = reader.items()?;
        // Not allocated ahead: the length is only claimed.
        let mut all = Vec::new();
        while reader.more(&mut items) {
            all.push(T::decode(reader)?);
        }
        Ok(all)
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        if reader.peek() == Some(NULL) {
            reader.at += 1;
            return Ok(None);
        }
        T::decode(reader).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<A: Decode, B: Decode> Decode for (A, B) {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut fields = reader.items()?;
        let pair = (reader.field(&mut fields)?, reader.field(&mut fields)?);
        reader.end(fields)?;
        Ok(pair)
    }
}

/// Reads a struct: its fields in the order of their numbers, from 0.
macro_rules! decode_struct {
    ($name:ident { $($field:ident),* }) => {
        impl $crate::wire::Decode for $name {
            fn decode(reader: &mut $crate::wire::Reader<'_>) -> Result<Self, $crate::wire::Malformed> {
                let mut fields = reader.items()?;
                let value = Self { $($field: reader.field(&mut fields)?),* };
                reader.end(fields)?;
                Ok(value)
            }
        }
    };
}
pub(crate) use decode_struct;

/// Reads an enum: each variant by its number, its fields in the order of theirs.
macro_rules! decode_enum {
    ($name:ident { $($number:literal => $variant:ident $(($($field:ident),*))?),* }) => {
        impl $crate::wire::Decode for $name {
            fn decode(reader: &mut $crate::wire::Reader<'_>) -> Result<Self, $crate::wire::Malformed> {
                let (number, mut fields) = reader.variant()?;
                let value = match number {
                    $($number => {
                        $($(let $field = reader.field(&mut fields)?;)*)?
                        Self::$variant $(($($field),*))?
                    })*
                    _ => return Err(reader.malformed("unknown variant")),
                };
                reader.end(fields)?;
                Ok(value)
            }
        }
    };
}
pub(crate) use decode_enum;

/// Reads an enum that is its number.
macro_rules! decode_number {
    ($name:ident { $($number:literal => $variant:ident),* }) => {
        impl $crate::wire::Decode for $name {
            fn decode(reader: &mut $crate::wire::Reader<'_>) -> Result<Self, $crate::wire::Malformed> {
                match reader.unsigned()? {
                    $($number => Ok(Self::$variant),)*
                    _ => Err(reader.malformed("unknown variant")),
                }
            }
        }
    };
}
pub(crate) use decode_number;
