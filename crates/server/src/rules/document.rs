//! Documents and claims as rules and schemas see them.

use std::collections::HashMap;

use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt};
use cel::common::value::Val;
use serde_json::{Map, Number, Value};
use tidelock_core::json;

/// A CEL value that borrows its strings from a document.
pub(super) type CelValue<'v> = Box<dyn Val + 'v>;

/// Largest magnitude of an integer that a double holds exactly.
const SAFE_INTEGER_MAX: f64 = 9_007_199_254_740_991.0;

/// A JSON value that rules can be applied to.
///
/// Numbers: an integer that fits 64 bits becomes a CEL `int` (or `uint` above the range of `int`) exactly, and so does a number
/// without a fractional part up to 2^53 - 1, however it is spelled. An integer that does not fit 64 bits becomes the `string` of its
/// digits, so that two of them are equal only when they are. Every other number is a `double`.
/// Structured values keep their escaped form: a date is the map `{"~date": milliseconds}`.
pub trait Document: Sync {
    /// The value in CEL.
    fn to_cel(&self) -> Box<dyn Val + '_>;

    /// The value for a JSON Schema.
    fn to_json(&self) -> Value;

    /// How much work a rule may have with the value.
    fn weight(&self) -> Weight;
}

/// How much work a rule may have with its inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Values of any kind, nested ones included.
    pub nodes: u64,
    /// Bytes of strings and member names.
    pub bytes: u64,
}

impl Weight {
    /// Of one node with a text of `bytes` bytes.
    pub(super) fn text(bytes: usize) -> Self {
        Self { nodes: 1, bytes: u64::try_from(bytes).unwrap_or(u64::MAX) }
    }

    /// Of a member's name.
    fn name(name: &str) -> Self {
        Self { nodes: 0, ..Self::text(name.len()) }
    }

    /// The weight of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { nodes: self.nodes.saturating_add(other.nodes), bytes: self.bytes.saturating_add(other.bytes) }
    }
}

impl Document for Value {
    fn to_cel(&self) -> Box<dyn Val + '_> {
        match self {
            Value::Null => Box::new(CelNull),
            Value::Bool(value) => Box::new(CelBool::from(*value)),
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(integer), _) => Box::new(CelInt::from(integer)),
                (None, Some(integer)) => Box::new(CelUInt::from(integer)),
                (None, None) => double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => Box::new(CelString::from(text.as_str())),
            Value::Array(elements) => list(elements.iter().map(Document::to_cel).collect()),
            Value::Object(members) => object_to_cel(members),
        }
    }

    fn to_json(&self) -> Value {
        self.clone()
    }

    fn weight(&self) -> Weight {
        match self {
            Value::Null | Value::Bool(_) | Value::Number(_) => Weight::text(0),
            Value::String(text) => Weight::text(text.len()),
            Value::Array(elements) => elements.iter().map(Document::weight).fold(Weight::text(0), Weight::plus),
            Value::Object(members) => object_weight(members),
        }
    }
}

impl Document for json::Value {
    fn to_cel(&self) -> Box<dyn Val + '_> {
        match self {
            json::Value::Null => Box::new(CelNull),
            json::Value::Bool(value) => Box::new(CelBool::from(*value)),
            json::Value::Number(number) => number_to_cel(number),
            json::Value::String(text) => Box::new(CelString::from(text.as_str())),
            json::Value::Array(elements) => list(elements.iter().map(Document::to_cel).collect()),
            json::Value::Object(members) => map(members.iter().map(|(name, value)| (name.as_str(), value.to_cel()))),
        }
    }

    fn to_json(&self) -> Value {
        match self {
            json::Value::Null => Value::Null,
            json::Value::Bool(value) => Value::Bool(*value),
            json::Value::Number(number) => Value::Number(number_to_json(number)),
            json::Value::String(text) => Value::String(text.clone()),
            json::Value::Array(elements) => Value::Array(elements.iter().map(Document::to_json).collect()),
            json::Value::Object(members) => {
                Value::Object(members.iter().map(|(name, value)| (name.clone(), value.to_json())).collect())
            }
        }
    }

    fn weight(&self) -> Weight {
        match self {
            json::Value::Null | json::Value::Bool(_) => Weight::text(0),
            json::Value::Number(number) => Weight::text(number.literal().len()),
            json::Value::String(text) => Weight::text(text.len()),
            json::Value::Array(elements) => elements.iter().map(Document::weight).fold(Weight::text(0), Weight::plus),
            json::Value::Object(members) => {
                let member = |(name, value): &(String, json::Value)| Weight::name(name).plus(value.weight());
                members.iter().map(member).fold(Weight::text(0), Weight::plus)
            }
        }
    }
}

fn number_to_cel(number: &json::Number) -> CelValue<'_> {
    if !number.is_integer_literal() {
        return double(number.as_f64());
    }
    let integer = number.as_i128();
    let int = integer.and_then(|integer| i64::try_from(integer).ok());
    let uint = integer.and_then(|integer| u64::try_from(integer).ok());
    match (int, uint) {
        (Some(int), _) => Box::new(CelInt::from(int)),
        (None, Some(uint)) => Box::new(CelUInt::from(uint)),
        (None, None) => Box::new(CelString::from(number.literal())),
    }
}

/// JSON Schema sees integers beyond 64 bits as the nearest double, the largest one at most.
fn number_to_json(number: &json::Number) -> Number {
    let integer = number.as_i128().filter(|_| number.is_integer_literal());
    let exact = integer.and_then(|integer| {
        let int = i64::try_from(integer).ok().map(Number::from);
        int.or_else(|| u64::try_from(integer).ok().map(Number::from))
    });
    let nearest = number.as_f64().clamp(f64::MIN, f64::MAX);
    exact.or_else(|| Number::from_f64(nearest)).unwrap_or_else(|| Number::from(0))
}

/// A JSON object that is not wrapped in a value.
pub(super) fn object_to_cel(members: &Map<String, Value>) -> CelValue<'_> {
    map(members.iter().map(|(name, value)| (name.as_str(), value.to_cel())))
}

/// The weight of [`object_to_cel`]'s result.
pub(super) fn object_weight(members: &Map<String, Value>) -> Weight {
    let member = |(name, value): (&String, &Value)| Weight::name(name).plus(value.weight());
    members.iter().map(member).fold(Weight::text(0), Weight::plus)
}

pub(super) fn map<'v>(members: impl Iterator<Item = (&'v str, CelValue<'v>)>) -> CelValue<'v> {
    let entries: HashMap<CelMapKey<'v>, CelValue<'v>> =
        members.map(|(name, value)| (CelMapKey::from(name), value)).collect();
    Box::new(CelMap::from(entries))
}

pub(super) fn list(elements: Vec<CelValue<'_>>) -> CelValue<'_> {
    Box::new(CelList::from(elements))
}

/// A number that is not known to be an integer: JavaScript does not tell 1 from 1.0, so rules must not either.
#[expect(clippy::cast_possible_truncation, reason = "integral and within the exact range")]
pub(super) fn double<'v>(number: f64) -> CelValue<'v> {
    if number.fract() == 0.0 && number.abs() <= SAFE_INTEGER_MAX {
        Box::new(CelInt::from(number as i64))
    } else {
        Box::new(CelDouble::from(number))
    }
}
