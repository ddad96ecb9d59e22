//! CBOR (RFC 8949) in a few plain functions: derived codecs are several times as large in the browser. Each type adds the calls that
//! write and read its fields.
//!
//! A struct is an array of its fields, a variant the array `[number, fields]`. Fields beyond those that are known are skipped; an
//! optional field that is missing is `None`. All lengths are definite.
//!
//! Reading does not stop at an error: the reader keeps the first one, is at its end from there on, and gives empty values. So no
//! type has to handle errors halfway; [`decode`](super::decode) looks once, at the end.
//!
//! An empty text is one byte on the wire and a few words in memory. What lists take there is bounded by the length of the input
//! ([`MEMORY_PER_BYTE_MAX`]), so that no frame costs much more than its bytes before its sender's limits are looked at.

use super::error::WireError;
use crate::planted::{self, Bug};
use crate::prelude::*;

/// A type with a form on the wire.
pub trait Cbor: Sized {
    /// Writes one item.
    fn write(&self, writer: &mut Writer);

    /// Reads one item.
    fn read(reader: &mut Reader<'_>) -> Self;

    /// What stands for a missing field.
    fn absent() -> Option<Self> {
        None
    }
}

/// What was written so far.
#[derive(Debug, Default)]
pub struct Writer(pub(crate) Vec<u8>);

/// Bytes of memory that the items of lists may take for each byte of input. What a sender has reason to send takes at most 12: a
/// patch of one digit in a member whose name is one character.
const MEMORY_PER_BYTE_MAX: usize = 16;
/// Bytes of memory that are granted to any input.
const MEMORY_MIN: usize = 64 << 10;

/// Where reading stands. Invariant: `at` is at most the length of `bytes`, and equal to it after an error.
#[derive(Clone, Debug)]
pub struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
    /// Bytes that items of lists may still take.
    memory: usize,
    error: Option<WireError>,
}

/// Items of an array that are still to be read.
#[derive(Clone, Copy, Debug)]
pub struct Items(u64);

const UNSIGNED: u8 = 0;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const SIMPLE: u8 = 7;

const FALSE: u64 = 20;
const TRUE: u64 = 21;
const NULL: u64 = 22;
const NULL_BYTE: u8 = 0xF6;

impl Writer {
    /// Major type and argument, in the shortest form.
    fn head(&mut self, major: u8, argument: u64) {
        let bytes = argument.to_be_bytes();
        let size = match argument {
            0..=23 => 0,
            24..=0xFF => 1,
            0x100..=0xFFFF => 2,
            0x1_0000..=0xFFFF_FFFF => 4,
            _ => 8,
        };
        let short = match size {
            0 => bytes[7],
            1 => 24,
            2 => 25,
            4 => 26,
            _ => 27,
        };
        self.0.push((major << 5) | short);
        self.0.extend_from_slice(bytes.get(8 - size..).unwrap_or_default());
    }

    /// Writes an unsigned integer.
    pub fn unsigned(&mut self, number: u64) {
        self.head(UNSIGNED, number);
    }

    /// Writes a byte string.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.head(BYTES, bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// Writes a text.
    pub fn text(&mut self, text: &str) {
        self.head(TEXT, text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    /// Begins an array.
    pub fn array(&mut self, items: usize) {
        self.head(ARRAY, items as u64);
    }

    /// Begins a variant.
    pub fn variant(&mut self, number: u64, fields: usize) {
        self.array(2);
        self.unsigned(number);
        self.array(fields);
    }
}

impl<'b> Reader<'b> {
    /// At the first byte.
    pub fn new(bytes: &'b [u8]) -> Self {
        let memory = bytes.len().saturating_mul(MEMORY_PER_BYTE_MAX).saturating_add(MEMORY_MIN);
        Self { bytes, at: 0, memory, error: None }
    }

    /// Bytes that follow; none after an error.
    pub fn rest(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// The first error, if there was one.
    pub fn finish(self) -> Result<(), WireError> {
        self.error.map_or(Ok(()), Err)
    }

    /// Notes an error.
    pub fn fail(&mut self, what: &'static str) {
        let error = WireError::Malformed { at: self.at, what };
        self.error.get_or_insert(error);
        self.at = self.bytes.len();
    }

    fn take(&mut self, length: u64) -> &'b [u8] {
        let end = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length));
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        if taken.is_none() {
            self.fail("the bytes end within an item");
        }
        let taken = taken.unwrap_or_default();
        self.at += taken.len();
        taken
    }

    /// Major type and argument of an item.
    fn head(&mut self) -> (u8, u64) {
        let initial = self.take(1).first().copied().unwrap_or_default();
        let argument = match initial & 0x1F {
            small @ 0..=23 => u64::from(small),
            size @ 24..=27 => {
                self.take(1 << (size - 24)).iter().fold(0, |number, byte| (number << 8) | u64::from(*byte))
            }
            _ => {
                self.fail("indefinite or reserved length");
                0
            }
        };
        (initial >> 5, argument)
    }

    /// The argument of an item of this type; 0 after an error.
    fn argument(&mut self, major: u8, what: &'static str) -> u64 {
        let (found, argument) = self.head();
        if found == major && self.error.is_none() {
            return argument;
        }
        self.fail(what);
        0
    }

    /// Reads an unsigned integer.
    pub fn unsigned(&mut self) -> u64 {
        self.argument(UNSIGNED, "expected an unsigned integer")
    }

    /// Reads a byte string.
    pub fn bytes(&mut self) -> &'b [u8] {
        let length = self.argument(BYTES, "expected a byte string");
        self.take(length)
    }

    /// Reads a text.
    pub fn text(&mut self) -> &'b str {
        let length = self.argument(TEXT, "expected a text");
        let bytes = self.take(length);
        core::str::from_utf8(bytes).unwrap_or_else(|_| {
            self.fail("invalid UTF-8");
            ""
        })
    }

    /// Begins an array.
    pub fn items(&mut self) -> Items {
        Items(self.argument(ARRAY, "expected an array"))
    }

    /// Whether an item follows.
    pub fn more(&mut self, items: &mut Items) -> bool {
        if items.0 == 0 || self.error.is_some() {
            return false;
        }
        items.0 -= 1;
        true
    }

    /// Counts an item of a list; whether there is room for it.
    pub(crate) fn admit<T>(&mut self) -> bool {
        let room = self.memory.checked_sub(size_of::<T>());
        if room.is_none() {
            self.fail("more items than a frame of this length may hold");
        }
        self.memory = room.unwrap_or_default();
        room.is_some()
    }

    /// The next field.
    pub fn field<T: Cbor>(&mut self, fields: &mut Items) -> T {
        if !self.more(fields) {
            if let Some(absent) = T::absent().filter(|_| !planted::has(Bug::AbsentRefused)) {
                return absent;
            }
            self.fail("missing field");
        }
        T::read(self)
    }

    /// Skips the fields that are not known.
    pub fn end(&mut self, fields: Items) {
        if fields.0 > 0 && planted::has(Bug::UnknownRefused) {
            self.fail("a field that is not known");
        }
        self.skip(fields);
    }

    /// Skips items.
    pub fn skip(&mut self, mut fields: Items) {
        while self.more(&mut fields) {
            let (major, argument) = self.head();
            let inside = match major {
                BYTES | TEXT => {
                    self.take(argument);
                    0
                }
                ARRAY => argument,
                MAP => argument.saturating_mul(2),
                TAG => 1,
                _ => 0,
            };
            fields.0 = fields.0.saturating_add(inside);
        }
    }

    /// Begins a variant, one of `count`: its number, and its fields.
    pub fn variant(&mut self, count: u64) -> (u64, Items) {
        if self.items().0 != 2 {
            self.fail("expected [variant, fields]");
        }
        (self.number(count), self.items())
    }

    /// A number below `count`.
    pub fn number(&mut self, count: u64) -> u64 {
        let number = self.unsigned();
        if number < count {
            return number;
        }
        self.fail("unknown variant");
        0
    }
}

impl Cbor for u64 {
    fn write(&self, writer: &mut Writer) {
        writer.unsigned(*self);
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        reader.unsigned()
    }
}

impl Cbor for u32 {
    fn write(&self, writer: &mut Writer) {
        writer.unsigned((*self).into());
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        u32::try_from(reader.unsigned()).unwrap_or_else(|_| {
            reader.fail("number beyond 32 bits");
            0
        })
    }
}

impl Cbor for u16 {
    fn write(&self, writer: &mut Writer) {
        writer.unsigned((*self).into());
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        u16::try_from(reader.unsigned()).unwrap_or_else(|_| {
            reader.fail("number beyond 16 bits");
            0
        })
    }
}

impl Cbor for bool {
    fn write(&self, writer: &mut Writer) {
        writer.head(SIMPLE, if *self { TRUE } else { FALSE });
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        match reader.argument(SIMPLE, "expected a boolean") {
            TRUE => true,
            other => {
                if other != FALSE {
                    reader.fail("expected a boolean");
                }
                false
            }
        }
    }
}

impl Cbor for String {
    fn write(&self, writer: &mut Writer) {
        writer.text(self);
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        reader.text().to_owned()
    }
}

/// A byte string.
impl Cbor for Vec<u8> {
    fn write(&self, writer: &mut Writer) {
        writer.bytes(self);
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        reader.bytes().to_vec()
    }
}

impl<T: Cbor> Cbor for Vec<T> {
    fn write(&self, writer: &mut Writer) {
        writer.array(self.len());
        for item in self {
            item.write(writer);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        let mut items = reader.items();
        // Not allocated ahead: the length is only claimed.
        let mut all = Vec::new();
        while reader.more(&mut items) && reader.admit::<T>() {
            all.push(T::read(reader));
        }
        all
    }
}

impl<T: Cbor> Cbor for Option<T> {
    fn write(&self, writer: &mut Writer) {
        match self {
            Some(value) => value.write(writer),
            None => writer.head(SIMPLE, NULL),
        }
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        if reader.bytes.get(reader.at) == Some(&NULL_BYTE) {
            reader.at += 1;
            return None;
        }
        Some(T::read(reader))
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<A: Cbor, B: Cbor> Cbor for (A, B) {
    fn write(&self, writer: &mut Writer) {
        writer.array(2);
        self.0.write(writer);
        self.1.write(writer);
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        let mut fields = reader.items();
        let pair = (reader.field(&mut fields), reader.field(&mut fields));
        reader.end(fields);
        pair
    }
}

/// The wire form of a struct: its fields in the order of their numbers, from 0.
#[macro_export]
macro_rules! cbor_struct {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::wire::Cbor for $name {
            fn write(&self, writer: &mut $crate::wire::Writer) {
                writer.array([$(stringify!($field)),*].len());
                $($crate::wire::Cbor::write(&self.$field, writer);)*
            }

            fn read(reader: &mut $crate::wire::Reader<'_>) -> Self {
                let mut fields = reader.items();
                let value = Self { $($field: reader.field(&mut fields)),* };
                reader.end(fields);
                value
            }
        }
    };
}
pub(crate) use cbor_struct;

/// The wire form of an enum: its variants in the order of their numbers, from 0, each with names for its fields in order.
#[macro_export]
macro_rules! cbor_enum {
    ($name:ident { $first:ident $(($($first_field:ident),*))? $(, $variant:ident $(($($field:ident),*))?)* $(,)? }) => {
        impl $crate::wire::Cbor for $name {
            fn write(&self, writer: &mut $crate::wire::Writer) {
                let mut number = 0;
                if let Self::$first $(($($first_field),*))? = self {
                    const FIELDS: &[&str] = &[$($(stringify!($first_field)),*)?];
                    writer.variant(number, FIELDS.len());
                    $($($crate::wire::Cbor::write($first_field, writer);)*)?
                }
                $(
                    number += 1;
                    if let Self::$variant $(($($field),*))? = self {
                        const FIELDS: &[&str] = &[$($(stringify!($field)),*)?];
                        writer.variant(number, FIELDS.len());
                        $($($crate::wire::Cbor::write($field, writer);)*)?
                    }
                )*
                let _ = number;
            }

            fn read(reader: &mut $crate::wire::Reader<'_>) -> Self {
                const NAMES: &[&str] = &[stringify!($first) $(, stringify!($variant))*];
                let (number, mut fields) = reader.variant(NAMES.len() as u64);
                let mut at = 0;
                $(
                    at += 1;
                    if number == at {
                        $($(let $field = reader.field(&mut fields);)*)?
                        reader.end(fields);
                        return Self::$variant $(($($field),*))?;
                    }
                )*
                let _ = at;
                $($(let $first_field = reader.field(&mut fields);)*)?
                reader.end(fields);
                Self::$first $(($($first_field),*))?
            }
        }
    };
}
pub(crate) use cbor_enum;

/// The wire form of an enum without fields: its number, in the order of its variants from 0.
#[macro_export]
macro_rules! cbor_number {
    ($name:ident { $first:ident $(, $variant:ident)* $(,)? }) => {
        impl $crate::wire::Cbor for $name {
            fn write(&self, writer: &mut $crate::wire::Writer) {
                writer.unsigned(*self as u64);
            }

            fn read(reader: &mut $crate::wire::Reader<'_>) -> Self {
                const REST: &[$name] = &[$($name::$variant),*];
                let number = reader.number(1 + REST.len() as u64);
                REST.iter().copied().find(|one| *one as u64 == number).unwrap_or(Self::$first)
            }
        }
    };
}
pub(crate) use cbor_number;
