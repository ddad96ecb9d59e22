//! Structured-clone values as JSON: what JSON lacks is an object with exactly one member whose name is a tag.
//!
//! | value | JSON |
//! |---|---|
//! | `Date` | `{"~date": ms}`, `null` for an invalid one |
//! | `ArrayBuffer` and views | `{"~bytes": [kind, base64]}` |
//! | `Map` | `{"~map": [[key, value], …]}` |
//! | `Set` | `{"~set": […]}` |
//! | `BigInt` up to 2^53 - 1 in magnitude | `{"~bigint": "123"}` |
//! | larger `BigInt` | the integer itself |
//! | `undefined` | `{"~undefined": null}` |
//! | NaN, the infinities, -0 | `{"~number": "NaN"}`, `"Infinity"`, `"-Infinity"`, `"-0"` |
//! | other numbers | themselves; integral ones beyond 2^53 - 1 with an exponent |
//! | `RegExp` | `{"~regexp": [source, flags]}` |
//! | `Error` | `{"~error": [name, message]}` |
//!
//! An application's object whose only member is named like a tag, after any number of `~`, gets one more `~` there. A tag whose
//! payload is not as above stands for the plain object. Plain JSON stays plain JSON for SQL++ and OQL.

mod codec;
mod scan;

pub use codec::{BytesKind, Cloned, decode, encode};
pub use scan::needs_decoding;

use crate::json::{Number, Value};
use crate::key::DATE_MS_MAX;

/// Names that follow the `~` of a tag.
const TAGS: [&str; 9] = ["date", "bytes", "map", "set", "bigint", "undefined", "number", "regexp", "error"];

/// Whether a member name is a tag or an escaped one: one or more `~` and a name of the table.
pub fn is_tag(name: &str) -> bool {
    let plain = name.trim_start_matches('~');
    plain.len() < name.len() && TAGS.contains(&plain)
}

/// The payload of a tagged value.
fn payload<'a>(value: &'a Value, tag: &str) -> Option<&'a Value> {
    match value.as_object()? {
        [(name, payload)] if name.strip_prefix('~') == Some(tag) => Some(payload),
        _ => None,
    }
}

/// The number of a tagged `BigInt`.
pub fn bigint(value: &Value) -> Option<Number> {
    let text = payload(value, "bigint")?.as_str()?;
    Number::from_integer_text(text).filter(|number| !number.is_unsafe_integer())
}

/// Milliseconds since 1970 of a tagged valid `Date`.
pub fn date(value: &Value) -> Option<f64> {
    let ms = payload(value, "date")?.as_number()?.as_f64();
    // Adding 0 turns -0 into 0, as ECMAScript's TimeClip does.
    (is_whole(ms) && ms.abs() <= DATE_MS_MAX).then_some(ms + 0.0)
}

/// Whether the number has no digits behind the point; whole numbers beyond 2^63 are not told from others.
pub(crate) fn is_whole(number: f64) -> bool {
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "what is lost is what is asked")]
    let whole = number as i64 as f64;
    number - whole == 0.0
}

#[cfg(test)]
mod tests;
