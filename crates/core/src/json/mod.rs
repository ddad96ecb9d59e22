//! Strict JSON with exact numbers.
//!
//! Documents cross the core as JSON text. The parser accepts what RFC 8259 allows and refuses what two readers could understand
//! differently: duplicate members, lone surrogates, invalid UTF-8, doubles out of range, nesting beyond [`crate::limits::DEPTH_MAX`]. A number
//! keeps its literal, so that a field nobody touched goes back to the platform byte for byte.

mod double;
mod number;
mod parse;
mod quick;
mod write;

use core::cmp::Ordering;

pub(crate) use double::nearest;
pub use number::{Number, SAFE_INTEGER_MAX};
pub use parse::{JsonError, JsonErrorKind, parse};
pub(crate) use quick::quick;
pub(crate) use write::quoted;
pub use write::{canonical, write};

use crate::limits::Limits;
use crate::order::sorted_by;
use crate::prelude::*;

/// A JSON value. Equality is that of canonical forms: member order and the spelling of numbers do not count.
#[derive(Clone, Debug)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as its literal.
    Number(Number),
    /// A string; lone surrogates cannot occur.
    String(String),
    /// Elements in order.
    Array(Vec<Value>),
    /// Members in the order of the text. Names are distinct; `__proto__` is a name like any other.
    Object(Vec<(String, Value)>),
}

/// Parses the body of a document that came from outside, within the limits in force.
pub fn check(body: &[u8], limits: &Limits) -> Result<Value, JsonError> {
    let limit = limits.document_bytes_max as usize;
    if body.len() > limit {
        return Err(JsonError { offset: limit, kind: JsonErrorKind::TooLarge { bytes: body.len(), limit } });
    }
    parse(body)
}

impl Value {
    /// The member of an object; `None` for anything else.
    pub fn member(&self, name: &str) -> Option<&Value> {
        self.as_object()?.iter().find(|(member, _)| member == name).map(|(_, value)| value)
    }

    /// The members of an object.
    pub fn as_object(&self) -> Option<&[(String, Value)]> {
        if let Value::Object(members) = self { Some(members) } else { None }
    }

    /// The elements of an array.
    pub fn as_array(&self) -> Option<&[Value]> {
        if let Value::Array(elements) = self { Some(elements) } else { None }
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        if let Value::String(text) = self { Some(text) } else { None }
    }

    /// The number.
    pub fn as_number(&self) -> Option<&Number> {
        if let Value::Number(number) = self { Some(number) } else { None }
    }

    /// Levels of arrays and objects: 0 for a scalar, 1 for `[]`.
    pub fn depth(&self) -> usize {
        match self {
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
            Value::Array(elements) => 1 + elements.iter().map(Value::depth).max().unwrap_or(0),
            Value::Object(members) => 1 + members.iter().map(|(_, value)| value.depth()).max().unwrap_or(0),
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Number(a), Value::Number(b)) => a == b,
            (Value::String(a), Value::String(b)) => a == b,
            (Value::Array(a), Value::Array(b)) => a == b,
            (Value::Object(a), Value::Object(b)) => members_equal(a, b),
            _ => false,
        }
    }
}

impl Eq for Value {}

fn members_equal(a: &[(String, Value)], b: &[(String, Value)]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    if a.iter().zip(b).all(|((left, _), (right, _))| left == right) {
        return a.iter().zip(b).all(|((_, left), (_, right))| left == right);
    }
    sorted(a).into_iter().zip(sorted(b)).all(|(left, right)| left == right)
}

/// Members in canonical order.
fn sorted(members: &[(String, Value)]) -> Vec<&(String, Value)> {
    sorted_by(members, &|(a, _), (b, _)| utf16_order(a, b).is_lt())
}

/// Orders strings by their UTF-16 code units, as JavaScript, IndexedDB and RFC 8785 do.
///
/// It differs from the order of the UTF-8 bytes in one place: code points above U+FFFF (lead bytes F0 to F4) are surrogates in
/// UTF-16 and come before U+E000 to U+FFFF (lead bytes EE and EF).
pub fn utf16_order(a: &str, b: &str) -> Ordering {
    let rank = |byte: u8| if matches!(byte, 0xEE | 0xEF) { byte | 0x10 } else { byte };
    a.bytes().map(rank).cmp(b.bytes().map(rank))
}

#[cfg(test)]
pub(crate) mod tests;
