//! The model of the value codec. The browser has its own (`packages/tidelock/src/worker/value.ts`); both read
//! `testdata/values.json`.

use super::{bigint, date, is_tag};
use crate::base64::{self, Variant};
use crate::json::{Number, Value};
use crate::prelude::*;

/// A value that structured clone carries and IndexedDB stores. Cyclic and shared references, functions, `Blob`s and host objects
/// are refused in the browser.
#[derive(Clone, Debug, PartialEq)]
pub enum Cloned {
    /// `undefined`
    Undefined,
    /// `null`
    Null,
    /// A boolean.
    Bool(bool),
    /// Any number, also NaN, the infinities and -0.
    Number(f64),
    /// A `BigInt`, as an integer literal.
    BigInt(Number),
    /// A well-formed string.
    String(String),
    /// Milliseconds since 1970; `None` for an invalid `Date`.
    Date(Option<f64>),
    /// Binary data.
    Bytes(BytesKind, Vec<u8>),
    /// Entries of a `Map` in order.
    Map(Vec<(Cloned, Cloned)>),
    /// Elements of a `Set` in order.
    Set(Vec<Cloned>),
    /// Source and flags.
    RegExp(String, String),
    /// Name and message.
    Error(String, String),
    /// Elements; holes are `undefined`.
    Array(Vec<Cloned>),
    /// Own enumerable members in order.
    Object(Vec<(String, Cloned)>),
}

macro_rules! bytes_kinds {
    ($($name:ident $element_bytes:literal,)*) => {
        /// Which object holds binary data.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the names of ECMAScript")]
        pub enum BytesKind { $($name,)* }

        impl BytesKind {
            /// Every kind.
            pub const ALL: &'static [BytesKind] = &[$(BytesKind::$name),*];

            /// Its constructor's name.
            pub fn name(self) -> &'static str {
                match self { $(BytesKind::$name => stringify!($name),)* }
            }

            /// Bytes of one element; the data's length is a multiple of it.
            pub fn element_bytes(self) -> usize {
                match self { $(BytesKind::$name => $element_bytes,)* }
            }
        }
    };
}

bytes_kinds! {
    ArrayBuffer 1, DataView 1, Int8Array 1, Uint8Array 1, Uint8ClampedArray 1, Int16Array 2, Uint16Array 2, Int32Array 4,
    Uint32Array 4, Float32Array 4, Float64Array 8, BigInt64Array 8, BigUint64Array 8,
}

/// The JSON of a value.
pub fn encode(value: &Cloned) -> Value {
    match value {
        Cloned::Undefined => tagged("undefined", Value::Null),
        Cloned::Null => Value::Null,
        Cloned::Bool(flag) => Value::Bool(*flag),
        Cloned::Number(number) => encode_number(*number),
        Cloned::BigInt(number) if number.is_unsafe_integer() => Value::Number(number.clone()),
        Cloned::BigInt(number) => tagged("bigint", text(number.literal())),
        Cloned::String(string) => text(string),
        Cloned::Date(ms) => tagged("date", ms.and_then(Number::from_f64).map_or(Value::Null, Value::Number)),
        Cloned::Bytes(kind, bytes) => {
            tagged("bytes", Value::Array(vec![text(kind.name()), text(&base64::encode(bytes, Variant::Standard))]))
        }
        Cloned::Map(entries) => {
            let pair = |(key, value): &(Cloned, Cloned)| Value::Array(vec![encode(key), encode(value)]);
            tagged("map", Value::Array(entries.iter().map(pair).collect()))
        }
        Cloned::Set(elements) => tagged("set", Value::Array(elements.iter().map(encode).collect())),
        Cloned::RegExp(source, flags) => tagged("regexp", Value::Array(vec![text(source), text(flags)])),
        Cloned::Error(name, message) => tagged("error", Value::Array(vec![text(name), text(message)])),
        Cloned::Array(elements) => Value::Array(elements.iter().map(encode).collect()),
        Cloned::Object(members) => match &members[..] {
            [(name, value)] if is_tag(name) => Value::Object(vec![(format!("~{name}"), encode(value))]),
            _ => Value::Object(members.iter().map(|(name, value)| (name.clone(), encode(value))).collect()),
        },
    }
}

fn encode_number(number: f64) -> Value {
    let name = match number {
        _ if number.is_nan() => "NaN",
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ if number == 0.0 && number.is_sign_negative() => "-0",
        _ => return Number::from_f64(number).map_or(Value::Null, Value::Number),
    };
    tagged("number", text(name))
}

fn tagged(tag: &str, payload: Value) -> Value {
    Value::Object(vec![(format!("~{tag}"), payload)])
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

/// The value of a JSON. Every JSON stands for a value.
pub fn decode(value: &Value) -> Cloned {
    match value {
        Value::Null => Cloned::Null,
        Value::Bool(flag) => Cloned::Bool(*flag),
        Value::Number(number) if number.is_unsafe_integer() => Cloned::BigInt(number.clone()),
        // Adding 0 turns -0 into 0: numbers of one canonical form stand for one value.
        Value::Number(number) => Cloned::Number(number.as_f64() + 0.0),
        Value::String(string) => Cloned::String(string.clone()),
        Value::Array(elements) => Cloned::Array(elements.iter().map(decode).collect()),
        Value::Object(members) => decode_tagged(value).unwrap_or_else(|| decode_object(members)),
    }
}

fn decode_object(members: &[(String, Value)]) -> Cloned {
    let plain = |name: &str| match name.strip_prefix('~') {
        Some(inner) if members.len() == 1 && is_tag(inner) => inner.to_owned(),
        _ => name.to_owned(),
    };
    Cloned::Object(members.iter().map(|(name, value)| (plain(name), decode(value))).collect())
}

fn decode_tagged(value: &Value) -> Option<Cloned> {
    let [(name, inner)] = value.as_object()? else { return None };
    match name.strip_prefix('~')? {
        "date" if *inner == Value::Null => Some(Cloned::Date(None)),
        "date" => date(value).map(|ms| Cloned::Date(Some(ms))),
        "bytes" => decode_bytes(inner),
        "map" => inner.as_array()?.iter().map(entry).collect::<Option<_>>().map(Cloned::Map),
        "set" => Some(Cloned::Set(inner.as_array()?.iter().map(decode).collect())),
        "bigint" => bigint(value).map(Cloned::BigInt),
        "undefined" => (*inner == Value::Null).then_some(Cloned::Undefined),
        "number" => special_number(inner.as_str()?).map(Cloned::Number),
        "regexp" => {
            texts(inner).filter(|(_, flags)| are_flags(flags)).map(|(source, flags)| Cloned::RegExp(source, flags))
        }
        "error" => texts(inner).map(|(name, message)| Cloned::Error(name, message)),
        _ => None,
    }
}

fn decode_bytes(payload: &Value) -> Option<Cloned> {
    let (kind, data) = texts(payload)?;
    let kind = BytesKind::ALL.iter().copied().find(|candidate| candidate.name() == kind)?;
    let bytes = base64::decode(&data, Variant::Standard)?;
    bytes.len().is_multiple_of(kind.element_bytes()).then_some(Cloned::Bytes(kind, bytes))
}

fn entry(pair: &Value) -> Option<(Cloned, Cloned)> {
    match pair.as_array()? {
        [key, value] => Some((decode(key), decode(value))),
        _ => None,
    }
}

fn special_number(name: &str) -> Option<f64> {
    match name {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        "-0" => Some(-0.0),
        _ => None,
    }
}

fn texts(payload: &Value) -> Option<(String, String)> {
    match payload.as_array()? {
        [Value::String(first), Value::String(second)] => Some((first.clone(), second.clone())),
        _ => None,
    }
}

/// Whether these are flags of a regular expression, each at most once.
fn are_flags(flags: &str) -> bool {
    flags.char_indices().all(|(at, flag)| "dgimsuvy".contains(flag) && flags.find(flag) == Some(at))
}
