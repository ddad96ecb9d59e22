//! Documents and claims as rules and schemas see them.

use std::collections::HashMap;

use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt};
use cel::common::value::Val;
use serde_json::{Map, Value};

/// A CEL value that borrows its strings from a document.
pub(super) type CelValue<'v> = Box<dyn Val + 'v>;

/// Largest magnitude of an integer that a double holds exactly.
const SAFE_INTEGER_MAX: f64 = 9_007_199_254_740_991.0;

/// A JSON value that rules can be applied to.
///
/// Numbers: an integer that fits 64 bits becomes a CEL `int` (or `uint` above the range of `int`) exactly, and so does a number
/// without a fractional part up to 2^53 - 1, however it is spelled. Every other number becomes a `double`, rounded where it must be.
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

/// A JSON object that is not wrapped in a value.
pub(super) fn object_to_cel(members: &Map<String, Value>) -> CelValue<'_> {
    map(members.iter().map(|(name, value)| (name.as_str(), value.to_cel())))
}

/// The weight of [`object_to_cel`]'s result.
pub(super) fn object_weight(members: &Map<String, Value>) -> Weight {
    let member = |(name, value): (&String, &Value)| {
        Weight { nodes: 0, bytes: Weight::text(name.len()).bytes }.plus(value.weight())
    };
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
