//! JSON to Java objects, as `JSONFormatter` makes them.

use super::types::{FieldType, PdxType};
use crate::json::{Json, twos_complement_of};
use crate::wire::codes::ds;
use crate::wire::reader::DEPTH_MAX;
use crate::wire::writer::Write as _;

/// Which types JSON documents get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TypeMode {
    /// As `JSONFormatter` chooses them: the narrowest number that fits. The bytes equal those of a Java client or of
    /// the REST interface, but one field has up to six types, each combination of which stays in the cluster's
    /// registry for ever.
    #[default]
    Formatter,
    /// Numbers and booleans are objects, so that a type depends only on the names of the fields and their order.
    /// Queries and `JSONFormatter` show the same document; Java's `equals` tells it from the other form.
    Stable,
    /// As [`Stable`](Self::Stable), and objects below the root are Java maps, whose keys make no types: for documents
    /// with keys that are data.
    StableWithMaps,
}

/// Finds the ids of types.
pub(crate) trait Shapes {
    /// The id of the type with these fields.
    fn id_of(&self, shape: &[u8]) -> Option<i32>;
}

#[derive(Debug, PartialEq)]
pub(crate) enum EncodeError {
    /// The registry must be asked for the id of this type first.
    UnknownShape {
        shape: Box<[u8]>,
        pdx_type: Box<PdxType>,
    },
    DuplicateField(String),
    TooDeep,
    /// An integer with too many digits, or text that is none.
    Integer,
}

pub(crate) struct Encoder<'a, S> {
    pub(crate) mode: TypeMode,
    pub(crate) shapes: &'a S,
}

impl<S: Shapes> Encoder<'_, S> {
    /// Appends the serialised object.
    pub(crate) fn write(&self, value: &Json, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.object(value, 0, out)
    }

    fn object(&self, value: &Json, depth: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if depth >= DEPTH_MAX {
            return Err(EncodeError::TooDeep);
        }
        match value {
            Json::Null => out.u8(ds::NULL),
            Json::Bool(value) => out.bytes(&[ds::BOOLEAN, u8::from(*value)]),
            Json::Integer(number) => boxed_integer(*number, out),
            Json::BigInteger(digits) => {
                out.u8(ds::BIG_INTEGER);
                out.byte_array(&twos_complement_of(digits).ok_or(EncodeError::Integer)?);
            }
            Json::Double(_) | Json::Decimal(_) => {
                out.u8(ds::DOUBLE);
                out.bytes(&double(value).to_be_bytes());
            }
            Json::String(text) => out.string(text),
            Json::Array(items) => {
                out.u8(ds::LINKED_LIST);
                out.array_len(items.len());
                for item in items {
                    self.object(item, depth + 1, out)?;
                }
            }
            Json::Object(fields) if self.mode == TypeMode::StableWithMaps && depth > 0 => {
                reject_duplicates(fields)?;
                out.u8(ds::HASH_MAP);
                out.array_len(fields.len());
                for (name, item) in fields {
                    out.string(name);
                    self.object(item, depth + 1, out)?;
                }
            }
            Json::Object(fields) => self.instance(fields, depth, out)?,
        }
        Ok(())
    }

    fn instance(&self, fields: &[(String, Json)], depth: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        reject_duplicates(fields)?;
        let start = out.len();
        out.u8(ds::PDX);
        // The length and the type are filled in at the end.
        out.bytes(&[0; 8]);
        let data = out.len();
        let mut offsets = Vec::new();
        let mut seen_variable = false;
        for (_, value) in fields {
            if self.kind_of(value).width().is_some() {
                fixed(value, out);
                continue;
            }
            if seen_variable {
                offsets.push(out.len() - data);
            }
            seen_variable = true;
            self.object(value, depth + 1, out)?;
        }
        append_offsets(&offsets, out.len() - data, out);
        let id = self.id_of(fields)?;
        let mut head = Vec::with_capacity(8);
        head.len32(out.len() - data);
        head.i32(id);
        if let Some(place) = out.get_mut(start + 1..data) {
            place.copy_from_slice(&head);
        }
        Ok(())
    }

    pub(super) fn kind_of(&self, value: &Json) -> FieldType {
        if self.mode != TypeMode::Formatter {
            return FieldType::Object;
        }
        match value {
            Json::Bool(_) => FieldType::Boolean,
            Json::Integer(number) if i8::try_from(*number).is_ok() => FieldType::Byte,
            Json::Integer(number) if i16::try_from(*number).is_ok() => FieldType::Short,
            Json::Integer(number) if i32::try_from(*number).is_ok() => FieldType::Int,
            Json::Integer(_) => FieldType::Long,
            Json::Double(_) | Json::Decimal(_) => FieldType::Double,
            Json::Null | Json::BigInteger(_) | Json::String(_) | Json::Array(_) | Json::Object(_) => FieldType::Object,
        }
    }

    fn id_of(&self, fields: &[(String, Json)]) -> Result<i32, EncodeError> {
        let mut shape = Vec::with_capacity(fields.len() * 12);
        for (name, value) in fields {
            // No byte of UTF-8 is above 0xF4: the kind ends the name.
            shape.extend_from_slice(name.as_bytes());
            shape.push(0xFF);
            shape.push(self.kind_of(value).number());
        }
        self.shapes.id_of(&shape).ok_or_else(|| EncodeError::UnknownShape {
            shape: shape.into(),
            pdx_type: Box::new(PdxType::of_json(
                fields.iter().map(|(name, value)| (name.as_str(), self.kind_of(value))),
            )),
        })
    }
}

fn reject_duplicates(fields: &[(String, Json)]) -> Result<(), EncodeError> {
    if fields.len() <= 16 {
        for (at, (name, _)) in fields.iter().enumerate() {
            if fields.iter().skip(at + 1).any(|(other, _)| other == name) {
                return Err(EncodeError::DuplicateField(name.clone()));
            }
        }
        return Ok(());
    }
    let mut names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| matches!(pair, [a, b] if a == b)) {
        Some(pair) => Err(EncodeError::DuplicateField(pair.first().copied().unwrap_or_default().to_owned())),
        None => Ok(()),
    }
}

/// A field of fixed width, in its narrowest form.
fn fixed(value: &Json, out: &mut Vec<u8>) {
    match value {
        Json::Bool(value) => out.u8(u8::from(*value)),
        Json::Integer(number) => narrowest(*number, out),
        Json::Double(_) | Json::Decimal(_) => out.bytes(&double(value).to_be_bytes()),
        Json::Null | Json::BigInteger(_) | Json::String(_) | Json::Array(_) | Json::Object(_) => {}
    }
}

fn double(value: &Json) -> f64 {
    if let Json::Double(number) = value {
        return *number;
    }
    let Json::Decimal(digits) = value else { return f64::NAN };
    digits.parse().unwrap_or(f64::NAN)
}

fn narrowest(number: i64, out: &mut Vec<u8>) {
    if let Ok(byte) = i8::try_from(number) {
        out.i8(byte);
    } else if let Ok(short) = i16::try_from(number) {
        out.i16(short);
    } else if let Ok(int) = i32::try_from(number) {
        out.i32(int);
    } else {
        out.i64(number);
    }
}

fn boxed_integer(number: i64, out: &mut Vec<u8>) {
    out.u8(if i8::try_from(number).is_ok() {
        ds::BYTE
    } else if i16::try_from(number).is_ok() {
        ds::SHORT
    } else if i32::try_from(number).is_ok() {
        ds::INTEGER
    } else {
        ds::LONG
    });
    narrowest(number, out);
}

/// The places of the variable fields but the first, last one first, as narrow as the whole allows.
fn append_offsets(offsets: &[usize], len: usize, out: &mut Vec<u8>) {
    let width = if offsets.len() + len <= 0xFF {
        1
    } else if 2 * offsets.len() + len <= 0xFFFF {
        2
    } else {
        4
    };
    for offset in offsets.iter().rev() {
        let bytes = u32::try_from(*offset).unwrap_or(u32::MAX).to_be_bytes();
        out.extend_from_slice(bytes.get(4 - width..).unwrap_or_default());
    }
}
