//! PDX, Geode's portable serialisation: a typed record whose type lives in the cluster's registry under an id.
//!
//! A JSON document is a PDX instance of the class `__GEMFIRE_JSON`, written exactly as Geode's `JSONFormatter` writes
//! it: the same type ids, the same bytes. Any other PDX instance, such as a Java application's domain object, is
//! decoded to JSON by its type.

mod date;
mod decode;
mod encode;
mod registry;
mod types;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

pub(crate) use decode::{DecodeError, Types, decode};
pub use encode::TypeMode;
pub(crate) use encode::{EncodeError, Encoder};
pub(crate) use registry::Registry;
pub use types::{FieldType, PdxField, PdxType};

/// The class of a JSON document.
pub const JSON_CLASS: &str = "__GEMFIRE_JSON";

/// The id of the type of a PDX instance; `None` when the object is no PDX instance.
pub fn type_id_of(object: &[u8]) -> Option<i32> {
    let (head, _) = object.split_first_chunk::<9>()?;
    let [crate::wire::codes::ds::PDX, _, _, _, _, id @ ..] = head else { return None };
    Some(i32::from_be_bytes(*id))
}

/// The name of an enum constant in the registry's `EnumInfo`: class, name, ordinal.
pub(crate) fn read_enum_info(reader: &mut crate::wire::Reader<'_>) -> Result<String, crate::wire::Malformed> {
    use crate::wire::codes::ds;
    match reader.u8()? {
        // One of Geode's classes with a fixed id.
        ds::FIXED_ID_BYTE => reader.u8().map(drop)?,
        ds::FIXED_ID_SHORT => reader.i16().map(drop)?,
        ds::FIXED_ID_INT => reader.i32().map(drop)?,
        ds::DATA_SERIALIZABLE => crate::wire::skip::skip_class(reader)?,
        _ => return Err(crate::wire::Malformed("PDX enum")),
    }
    reader.string()?;
    Ok(reader.string()?.unwrap_or_default())
}
