//! Java objects to JSON: PDX instances of any class, strings, numbers, collections, maps.
//!
//! What `JSONFormatter` shows is shown in the same way. It refuses dates, characters and UUIDs; they are text here.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::date;
use super::types::{FieldType, PdxField, PdxType};
use crate::json::{Json, decimal_of};
use crate::wire::codes::{ds, fixed};
use crate::wire::reader::DEPTH_MAX;
use crate::wire::{Malformed, Reader};

/// Finds types and enum constants by their ids.
pub(crate) trait Types {
    fn type_of(&self, id: i32) -> Option<Arc<PdxType>>;
    /// The name of an enum constant.
    fn enum_of(&self, id: i32) -> Option<Arc<str>>;
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// The registry must be asked for this type first.
    UnknownType(i32),
    UnknownEnum(i32),
    /// An object whose bytes only its Java class can read; its class, as far as it is known.
    Opaque(String),
    Malformed(Malformed),
}

impl From<Malformed> for DecodeError {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

type Result<T> = std::result::Result<T, DecodeError>;

/// Decodes one serialised object.
pub(crate) fn decode(bytes: &[u8], types: &dyn Types) -> Result<Json> {
    // Each value takes a byte at least, unless fields of a forged type share their bytes.
    let mut decoder = Decoder { types, budget: bytes.len() + 16 };
    let mut reader = Reader::new(bytes);
    let value = decoder.object(&mut reader, 0)?;
    if reader.is_empty() { Ok(value) } else { Err(Malformed("object: bytes follow it").into()) }
}

struct Decoder<'a> {
    types: &'a dyn Types,
    budget: usize,
}

impl Decoder<'_> {
    fn object(&mut self, reader: &mut Reader<'_>, depth: usize) -> Result<Json> {
        self.budget = self.budget.checked_sub(1).ok_or(Malformed("object: values share their bytes"))?;
        if depth >= DEPTH_MAX {
            return Err(Malformed("object: nested too deep").into());
        }
        let code = reader.u8()?;
        Ok(match code {
            ds::NULL | ds::NULL_STRING => Json::Null,
            ds::STRING | ds::STRING_BYTES | ds::HUGE_STRING | ds::HUGE_STRING_BYTES => text(reader.string_after(code)?),
            ds::BOOLEAN => Json::Bool(reader.bool()?),
            ds::CHARACTER => character(reader.u16()?)?,
            ds::BYTE => Json::Integer(reader.i8()?.into()),
            ds::SHORT => Json::Integer(reader.i16()?.into()),
            ds::INTEGER => Json::Integer(reader.i32()?.into()),
            ds::LONG => Json::Integer(reader.i64()?),
            ds::FLOAT => float(reader.f32()?),
            ds::DOUBLE => Json::Double(reader.f64()?),
            ds::BIG_INTEGER => big_integer(reader)?,
            ds::BIG_DECIMAL => decimal(reader)?,
            ds::PDX => self.instance(reader, depth)?,
            ds::LINKED_LIST | ds::ARRAY_LIST | ds::VECTOR | ds::STACK | ds::HASH_SET | ds::LINKED_HASH_SET => {
                self.items(reader, depth)?
            }
            ds::TREE_SET => {
                comparator(reader)?;
                self.items(reader, depth)?
            }
            ds::OBJECT_ARRAY => self.object_array(reader, depth)?,
            ds::HASH_MAP | ds::HASH_TABLE | ds::IDENTITY_HASH_MAP | ds::CONCURRENT_HASH_MAP | ds::PROPERTIES => {
                self.map(reader, depth)?
            }
            ds::TREE_MAP => {
                comparator(reader)?;
                self.map(reader, depth)?
            }
            ds::PDX_ENUM => self.registered_enum(reader)?,
            _ => scalar(code, reader)?,
        })
    }

    fn items(&mut self, reader: &mut Reader<'_>, depth: usize) -> Result<Json> {
        let Some(len) = reader.array_len()? else { return Ok(Json::Null) };
        let mut items = Vec::with_capacity(len.min(reader.rest().len()));
        for _ in 0..len {
            items.push(self.object(reader, depth + 1)?);
        }
        Ok(Json::Array(items))
    }

    fn object_array(&mut self, reader: &mut Reader<'_>, depth: usize) -> Result<Json> {
        let Some(len) = reader.array_len()? else { return Ok(Json::Null) };
        class_name(reader)?;
        let mut items = Vec::with_capacity(len.min(reader.rest().len()));
        for _ in 0..len {
            items.push(self.object(reader, depth + 1)?);
        }
        Ok(Json::Array(items))
    }

    fn map(&mut self, reader: &mut Reader<'_>, depth: usize) -> Result<Json> {
        let Some(len) = reader.array_len()? else { return Ok(Json::Null) };
        let mut fields = Vec::with_capacity(len.min(reader.rest().len()));
        for _ in 0..len {
            let name = match self.object(reader, depth + 1)? {
                Json::String(name) => name,
                scalar @ (Json::Bool(_)
                | Json::Integer(_)
                | Json::BigInteger(_)
                | Json::Double(_)
                | Json::Decimal(_)) => scalar.to_string(),
                Json::Null => "null".to_owned(),
                Json::Array(_) | Json::Object(_) => return Err(DecodeError::Opaque("key of a map".to_owned())),
            };
            fields.push((name, self.object(reader, depth + 1)?));
        }
        Ok(Json::Object(fields))
    }

    fn registered_enum(&self, reader: &mut Reader<'_>) -> Result<Json> {
        let system = i32::from(reader.i8()?) << 24;
        let number = i32::try_from(reader.len()?).unwrap_or_default() & 0x00FF_FFFF;
        let id = system | number;
        let name = self.types.enum_of(id).ok_or(DecodeError::UnknownEnum(id))?;
        Ok(Json::String(name.to_string()))
    }

    fn instance(&mut self, reader: &mut Reader<'_>, depth: usize) -> Result<Json> {
        let len = reader.count()?;
        let id = reader.i32()?;
        let data = reader.take(len)?;
        let pdx_type = self.types.type_of(id).ok_or(DecodeError::UnknownType(id))?;
        let mut fields = Vec::with_capacity(pdx_type.fields.len().min(data.len()));
        for field in pdx_type.fields.iter().filter(|field| !field.is_deleted) {
            let place = place(&pdx_type, field, data)?;
            let mut value = Reader::new(data.get(place..).ok_or(Malformed("place of a PDX field"))?);
            fields.push((field.name.clone(), self.field(field.kind, &mut value, depth)?));
        }
        Ok(Json::Object(fields))
    }

    fn field(&mut self, kind: FieldType, reader: &mut Reader<'_>, depth: usize) -> Result<Json> {
        Ok(match kind {
            FieldType::Boolean => Json::Bool(reader.bool()?),
            FieldType::Byte => Json::Integer(reader.i8()?.into()),
            FieldType::Char => character(reader.u16()?)?,
            FieldType::Short => Json::Integer(reader.i16()?.into()),
            FieldType::Int => Json::Integer(reader.i32()?.into()),
            FieldType::Long => Json::Integer(reader.i64()?),
            FieldType::Float => float(reader.f32()?),
            FieldType::Double => Json::Double(reader.f64()?),
            FieldType::Date => day(reader)?,
            FieldType::String => text(reader.string()?),
            FieldType::Object => self.object(reader, depth + 1)?,
            FieldType::ObjectArray => self.object_array(reader, depth)?,
            FieldType::BooleanArray => scalar(ds::BOOLEAN_ARRAY, reader)?,
            FieldType::CharArray => scalar(ds::CHAR_ARRAY, reader)?,
            FieldType::ByteArray => scalar(ds::BYTE_ARRAY, reader)?,
            FieldType::ShortArray => scalar(ds::SHORT_ARRAY, reader)?,
            FieldType::IntArray => scalar(ds::INT_ARRAY, reader)?,
            FieldType::LongArray => scalar(ds::LONG_ARRAY, reader)?,
            FieldType::FloatArray => scalar(ds::FLOAT_ARRAY, reader)?,
            FieldType::DoubleArray => scalar(ds::DOUBLE_ARRAY, reader)?,
            FieldType::StringArray => scalar(ds::STRING_ARRAY, reader)?,
            FieldType::ArrayOfByteArrays => scalar(ds::ARRAY_OF_BYTE_ARRAYS, reader)?,
        })
    }
}

/// Where the bytes of a field begin.
fn place(pdx_type: &PdxType, field: &PdxField, data: &[u8]) -> Result<usize> {
    let malformed = DecodeError::Malformed(Malformed("place of a PDX field"));
    let width = match data.len() {
        0..=0xFF => 1,
        0x100..=0xFFFF => 2,
        _ => 4,
    };
    let entry = |index: i32| {
        let from_end = usize::try_from(index).ok()?.checked_mul(width)?;
        let start = data.len().checked_sub(from_end)?;
        let bytes = data.get(start..start + width)?;
        Some(bytes.iter().fold(0usize, |value, byte| (value << 8) | usize::from(*byte)))
    };
    let base = match (field.kind.width(), field.offset_index) {
        (None, -1) => Some(0),
        (None, index) => return entry(index).ok_or(malformed),
        (Some(_), _) if field.relative_offset >= 0 => Some(0),
        (Some(_), index) if index > 0 => entry(index),
        // Backwards from the end of the fields, where the table of offsets begins.
        (Some(_), _) => {
            usize::try_from(pdx_type.offsets).ok().and_then(|count| data.len().checked_sub(count.checked_mul(width)?))
        }
    };
    let offset = isize::try_from(field.relative_offset).unwrap_or_default();
    base.and_then(|base| base.checked_add_signed(offset)).ok_or(malformed)
}

/// Objects that hold no other objects.
fn scalar(code: u8, reader: &mut Reader<'_>) -> Result<Json> {
    Ok(match code {
        ds::DATE => day(reader)?,
        ds::TIMESTAMP => Json::String(date::iso(reader.i64()?)),
        ds::UUID => uuid(reader.take(16)?),
        ds::BOOLEAN_ARRAY => array(reader, |reader| reader.bool().map(Json::Bool))?,
        ds::CHAR_ARRAY => {
            let Some(len) = reader.array_len()? else { return Ok(Json::Null) };
            let bytes = reader.take(len.checked_mul(2).ok_or(Malformed("array"))?)?;
            let units: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
            Json::String(String::from_utf16(&units).map_err(|_| Malformed("text with half a surrogate pair"))?)
        }
        ds::BYTE_ARRAY => array(reader, |reader| reader.i8().map(|number| Json::Integer(number.into())))?,
        ds::SHORT_ARRAY => array(reader, |reader| reader.i16().map(|number| Json::Integer(number.into())))?,
        ds::INT_ARRAY => array(reader, |reader| reader.i32().map(|number| Json::Integer(number.into())))?,
        ds::LONG_ARRAY => array(reader, |reader| reader.i64().map(Json::Integer))?,
        ds::FLOAT_ARRAY => array(reader, |reader| reader.f32().map(float))?,
        ds::DOUBLE_ARRAY => array(reader, |reader| reader.f64().map(Json::Double))?,
        ds::STRING_ARRAY => array(reader, |reader| reader.string().map(text))?,
        ds::ARRAY_OF_BYTE_ARRAYS => {
            array(reader, |reader| array(reader, |reader| reader.i8().map(|number| Json::Integer(number.into()))))?
        }
        ds::GEMFIRE_ENUM | ds::PDX_INLINE_ENUM => {
            reader.string()?;
            let name = reader.string()?;
            if code == ds::PDX_INLINE_ENUM {
                reader.array_len()?;
            }
            text(name)
        }
        ds::CLASS => Json::String(class_name(reader)?),
        primitive if ds::PRIMITIVE_CLASSES.contains(&primitive) => Json::String("primitive class".to_owned()),
        ds::FILE => text(reader.string()?),
        ds::INET_ADDRESS => address(reader.byte_array()?),
        ds::TIME_UNIT => time_unit(reader.i8()?)?,
        ds::FIXED_ID_BYTE if reader.peek()? == fixed::UNDEFINED.cast_unsigned() => {
            reader.u8()?;
            Json::Null
        }
        other => return Err(opaque(other, reader)),
    })
}

fn array<'a>(
    reader: &mut Reader<'a>,
    mut item: impl FnMut(&mut Reader<'a>) -> std::result::Result<Json, Malformed>,
) -> std::result::Result<Json, Malformed> {
    let Some(len) = reader.array_len()? else { return Ok(Json::Null) };
    let mut items = Vec::with_capacity(len.min(reader.rest().len()));
    for _ in 0..len {
        items.push(item(reader)?);
    }
    Ok(Json::Array(items))
}

fn text(text: Option<String>) -> Json {
    text.map_or(Json::Null, Json::String)
}

fn character(unit: u16) -> Result<Json> {
    let one = char::from_u32(u32::from(unit)).ok_or(Malformed("text with half a surrogate pair"))?;
    Ok(Json::String(one.to_string()))
}

/// The number that has the same shortest digits: 0.1 as a `float` is 0.1, not 0.10000000149011612.
fn float(number: f32) -> Json {
    let shortest = if number.is_finite() { number.to_string().parse().ok() } else { None };
    Json::Double(shortest.unwrap_or_else(|| f64::from(number)))
}

fn big_integer(reader: &mut Reader<'_>) -> Result<Json> {
    let bytes = reader.byte_array()?.unwrap_or_default();
    let digits = decimal_of(bytes).ok_or(Malformed("BigInteger"))?;
    Ok(digits.parse().map_or(Json::BigInteger(digits), Json::Integer))
}

fn decimal(reader: &mut Reader<'_>) -> Result<Json> {
    let digits = reader.string()?.ok_or(Malformed("BigDecimal"))?;
    match Json::parse(&digits) {
        Ok(Json::Integer(_) | Json::BigInteger(_) | Json::Double(_)) => Ok(Json::Decimal(digits)),
        _ => Err(Malformed("BigDecimal").into()),
    }
}

fn day(reader: &mut Reader<'_>) -> Result<Json> {
    let ms = reader.i64()?;
    // Geode writes a null date as -1, and reads that millisecond before 1970 as null.
    Ok(if ms == -1 { Json::Null } else { Json::String(date::iso(ms)) })
}

fn uuid(bytes: &[u8]) -> Json {
    let mut out = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    Json::String(out)
}

fn address(bytes: Option<&[u8]>) -> Json {
    let Some(bytes) = bytes else { return Json::Null };
    let text = match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
        (Ok(four), _) => Ipv4Addr::from(four).to_string(),
        (_, Ok(six)) => Ipv6Addr::from(six).to_string(),
        _ => String::new(),
    };
    Json::String(text)
}

fn time_unit(code: i8) -> Result<Json> {
    let name = match code {
        -1 => "NANOSECONDS",
        -2 => "MICROSECONDS",
        -3 => "MILLISECONDS",
        -4 => "SECONDS",
        _ => return Err(Malformed("TimeUnit").into()),
    };
    Ok(Json::String(name.to_owned()))
}

/// The comparator of a sorted collection: only the natural order has no class of its own.
fn comparator(reader: &mut Reader<'_>) -> Result<()> {
    match reader.u8()? {
        ds::NULL => Ok(()),
        other => Err(opaque(other, reader)),
    }
}

fn class_name(reader: &mut Reader<'_>) -> std::result::Result<String, Malformed> {
    match reader.u8()? {
        ds::CLASS => Ok(reader.string()?.unwrap_or_default()),
        _ => Ok("primitive class".to_owned()),
    }
}

/// Names the class of an object that cannot be read.
fn opaque(code: u8, reader: &mut Reader<'_>) -> DecodeError {
    let class = match code {
        ds::DATA_SERIALIZABLE | ds::NO_FIXED_ID => class_name(reader).ok(),
        ds::SERIALIZABLE => java_class(reader),
        ds::FIXED_ID_BYTE | ds::FIXED_ID_SHORT | ds::FIXED_ID_INT => Some("a class of Geode".to_owned()),
        _ => None,
    };
    DecodeError::Opaque(class.unwrap_or_else(|| format!("unknown class (code {code})")))
}

/// The class at the start of Java's own serialisation: magic, version, object, class description, name.
fn java_class(reader: &mut Reader<'_>) -> Option<String> {
    let [0xAC, 0xED, 0, 5, 0x73, 0x72] = reader.take(6).ok()? else { return None };
    reader.utf().ok()
}
