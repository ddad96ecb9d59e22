//! Sets: arrays of distinct values, or tagged `Set`s.

use super::object::indexed;
use crate::json::{Value, canonical};
use crate::ordered::{OrderedMap, OrderedSet};
use crate::prelude::*;

/// What either side added or removed. `None` when a side is not a set.
///
/// What survives of the base keeps the order of `theirs`; what either side added follows in the order of canonical forms, so that
/// the outcome does not depend on who came first.
pub(super) fn union(base: Option<&Value>, mine: &Value, theirs: &Value) -> Option<Value> {
    let before = by_content(base.map_or(Some(&[][..]), elements)?);
    let wanted = by_content(elements(mine)?);
    let present = elements(theirs)?;
    let present_by_content = by_content(present);
    let mut result: Vec<Value> = Vec::new();
    let mut placed = OrderedSet::new();
    for element in present {
        let content = canonical(element);
        let stays = before.contains_key(&content) && wanted.contains_key(&content);
        if stays && placed.insert(content) {
            result.push(element.clone());
        }
    }
    let mut added = present_by_content;
    for (content, element) in wanted {
        added.insert(content, element);
    }
    result
        .extend(added.into_iter().filter(|(content, _)| !before.contains_key(content)).map(|(_, value)| value.clone()));
    Some(shaped_like(theirs, result))
}

fn by_content(elements: &[Value]) -> OrderedMap<Vec<u8>, &Value> {
    indexed(elements.iter().map(|element| (canonical(element), element)))
}

/// The elements of an array or of `{"~set": […]}`.
fn elements(value: &Value) -> Option<&[Value]> {
    match value.as_object() {
        Some([(tag, elements)]) if tag == "~set" => elements.as_array(),
        _ => value.as_array(),
    }
}

fn shaped_like(model: &Value, elements: Vec<Value>) -> Value {
    match model.as_object() {
        Some(_) => Value::Object(vec![("~set".to_owned(), Value::Array(elements))]),
        None => Value::Array(elements),
    }
}
