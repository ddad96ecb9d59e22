//! Types of PDX instances: a class name and a list of fields with the places of their bytes.

use crate::wire::codes::ds;
use crate::wire::writer::Write as _;
use crate::wire::{Malformed, Reader};

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the Java type of the same name")]
pub enum FieldType {
    Boolean,
    Byte,
    Char,
    Short,
    Int,
    Long,
    Float,
    Double,
    Date,
    String,
    Object,
    BooleanArray,
    CharArray,
    ByteArray,
    ShortArray,
    IntArray,
    LongArray,
    FloatArray,
    DoubleArray,
    StringArray,
    ObjectArray,
    ArrayOfByteArrays,
}

/// All kinds, in the order of their numbers on the wire.
const FIELD_TYPES: [FieldType; 22] = [
    FieldType::Boolean,
    FieldType::Byte,
    FieldType::Char,
    FieldType::Short,
    FieldType::Int,
    FieldType::Long,
    FieldType::Float,
    FieldType::Double,
    FieldType::Date,
    FieldType::String,
    FieldType::Object,
    FieldType::BooleanArray,
    FieldType::CharArray,
    FieldType::ByteArray,
    FieldType::ShortArray,
    FieldType::IntArray,
    FieldType::LongArray,
    FieldType::FloatArray,
    FieldType::DoubleArray,
    FieldType::StringArray,
    FieldType::ObjectArray,
    FieldType::ArrayOfByteArrays,
];

impl FieldType {
    fn of(number: usize) -> Option<Self> {
        FIELD_TYPES.get(number).copied()
    }

    pub(crate) fn number(self) -> u8 {
        self as u8
    }

    /// The bytes of a value; `None` when they vary.
    pub fn width(self) -> Option<usize> {
        match self {
            Self::Boolean | Self::Byte => Some(1),
            Self::Char | Self::Short => Some(2),
            Self::Int | Self::Float => Some(4),
            Self::Long | Self::Double | Self::Date => Some(8),
            Self::String
            | Self::Object
            | Self::BooleanArray
            | Self::CharArray
            | Self::ByteArray
            | Self::ShortArray
            | Self::IntArray
            | Self::LongArray
            | Self::FloatArray
            | Self::DoubleArray
            | Self::StringArray
            | Self::ObjectArray
            | Self::ArrayOfByteArrays => None,
        }
    }
}

/// One field of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PdxField {
    /// The field's name.
    pub name: String,
    /// What it holds.
    pub kind: FieldType,
    /// It is part of the object's identity, see `PdxWriter.markIdentityField`.
    pub is_identity: bool,
    /// It was deleted with gfsh: its bytes are there, and no reader shows them.
    pub is_deleted: bool,
    pub(crate) variable_sequence: i32,
    /// From the start, or from the place that `offset_index` names when it is negative.
    pub(crate) relative_offset: i32,
    /// Which entry of the table of offsets; -1: the place is `relative_offset` (or the end of the fields).
    pub(crate) offset_index: i32,
}

/// A type of PDX instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PdxType {
    /// The Java class; [`JSON_CLASS`](super::JSON_CLASS) for JSON documents.
    pub class_name: String,
    /// There is no Java class of that name.
    pub has_no_class: bool,
    /// The id in the cluster's registry: the high byte is the distributed system, the rest a hash of the type.
    pub id: i32,
    /// The fields, in the order of their bytes.
    pub fields: Vec<PdxField>,
    /// Entries in the table of offsets.
    pub(crate) offsets: i32,
}

impl PdxType {
    /// The type of a JSON object with these fields, without an id.
    pub(crate) fn of_json<'a>(fields: impl Iterator<Item = (&'a str, FieldType)>) -> Self {
        let mut list: Vec<PdxField> = fields
            .map(|(name, kind)| PdxField {
                name: name.to_owned(),
                kind,
                is_identity: false,
                is_deleted: false,
                variable_sequence: 0,
                relative_offset: 0,
                offset_index: 0,
            })
            .collect();
        let offsets = place(&mut list);
        Self { class_name: super::JSON_CLASS.to_owned(), has_no_class: true, id: 0, fields: list, offsets }
    }

    /// The serialised `PdxType`, as the registry of the cluster keeps it.
    pub(crate) fn write_object(&self, out: &mut Vec<u8>) {
        out.u8(ds::DATA_SERIALIZABLE);
        out.u8(ds::CLASS);
        out.string(TYPE_CLASS);
        out.string(&self.class_name);
        out.u8(u8::from(self.has_no_class));
        out.i32(self.id);
        out.i32(self.offsets);
        out.array_len(self.fields.len());
        for (index, field) in self.fields.iter().enumerate() {
            out.string(&field.name);
            out.len32(index);
            out.i32(field.variable_sequence);
            out.array_len(usize::from(field.kind.number()));
            out.i32(field.relative_offset);
            out.i32(field.offset_index);
            out.u8(u8::from(field.is_identity) | (u8::from(field.is_deleted) << 1));
        }
    }

    /// Reads a serialised `PdxType`.
    pub(crate) fn read_object(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        if reader.u8()? != ds::DATA_SERIALIZABLE
            || reader.u8()? != ds::CLASS
            || reader.string()?.as_deref() != Some(TYPE_CLASS)
        {
            return Err(Malformed("PDX type"));
        }
        let class_name = reader.string()?.unwrap_or_default();
        let has_no_class = reader.bool()?;
        let (id, offsets) = (reader.i32()?, reader.i32()?);
        let count = reader.array_len()?.unwrap_or_default();
        let mut fields = Vec::with_capacity(count.min(reader.rest().len()));
        for _ in 0..count {
            fields.push(Self::read_field(reader)?);
        }
        Ok(Self { class_name, has_no_class, id, fields, offsets })
    }

    fn read_field(reader: &mut Reader<'_>) -> Result<PdxField, Malformed> {
        let name = reader.string()?.unwrap_or_default();
        reader.i32()?;
        let variable_sequence = reader.i32()?;
        let kind = FieldType::of(reader.len()?).ok_or(Malformed("type of a PDX field"))?;
        let (relative_offset, offset_index) = (reader.i32()?, reader.i32()?);
        let bits = reader.u8()?;
        Ok(PdxField {
            name,
            kind,
            is_identity: bits & 1 != 0,
            is_deleted: bits & 2 != 0,
            variable_sequence,
            relative_offset,
            offset_index,
        })
    }
}

const TYPE_CLASS: &str = "org.apache.geode.pdx.internal.PdxType";

/// Places fields as `PdxType.initialize` does; returns the number of entries in the table of offsets.
fn place(fields: &mut [PdxField]) -> i32 {
    let mut variable = -1;
    for field in fields.iter_mut() {
        if field.kind.width().is_none() {
            variable += 1;
        }
        field.variable_sequence = variable.max(0);
    }
    let mut offset = 0;
    let mut seen_variable = false;
    for field in fields.iter_mut() {
        match field.kind.width() {
            None if seen_variable => field.offset_index = field.variable_sequence,
            None => {
                field.relative_offset = offset;
                field.offset_index = -1;
                seen_variable = true;
            }
            Some(width) if !seen_variable => {
                field.relative_offset = offset;
                offset += width_of(width);
            }
            Some(_) => {}
        }
    }
    place_backwards(fields);
    variable.max(0)
}

/// A field of fixed width after a variable one is found from the next variable field, or from the end.
fn place_backwards(fields: &mut [PdxField]) {
    let first_variable = fields.iter().position(|field| field.kind.width().is_none()).unwrap_or(fields.len());
    let mut distance = 0;
    let mut next = -1;
    for field in fields.iter_mut().skip(first_variable).rev() {
        match field.kind.width() {
            None => {
                distance = 0;
                next = field.variable_sequence;
            }
            Some(width) => {
                distance += width_of(width);
                field.relative_offset = -distance;
                field.offset_index = next;
            }
        }
    }
}

fn width_of(width: usize) -> i32 {
    i32::try_from(width).unwrap_or_default()
}
