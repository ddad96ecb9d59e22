//! IndexedDB keys as strings, the form in which platforms hold them.
//!
//! | key | platform form | example |
//! |---|---|---|
//! | string, not empty, not beginning with `~` | itself | `card-7` |
//! | any other string | `~s` and the string | `~s`, `~s~x` |
//! | number | `~n` and the number as JavaScript prints it | `~n42`, `~n-1.5`, `~nInfinity` |
//! | date | `~d` and milliseconds since 1970 | `~d1700000000000` |
//! | binary | `~b` and base64url without padding | `~bAQI` |
//! | array | `~a` and a JSON array of the elements' platform forms | `~a["x","~n1"]` |
//!
//! Decoding is strict: two forms of one key never exist. The form does not keep the order of keys; nothing relies on it.

use core::cmp::Ordering;

use crate::base64::{self, Variant};
use crate::escape::is_whole;
use crate::json::{self, Value, utf16_order};
use crate::limits::Limits;
use crate::prelude::*;

/// Deepest nesting of array keys. Each level escapes the quotes of the levels within, so that deeper keys exceed any limit on bytes.
const KEY_DEPTH_MAX: usize = 12;
/// Largest distance of a date from 1970, in milliseconds (ECMAScript `TimeClip`).
pub(crate) const DATE_MS_MAX: f64 = 8.64e15;

/// A valid IndexedDB key. Ordered as IndexedDB orders: number < date < string < binary < array.
#[derive(Clone, Debug)]
pub enum Key {
    /// A number; never NaN. -0 equals 0.
    Number(f64),
    /// A date in milliseconds since 1970, integral.
    Date(f64),
    /// A string, ordered by UTF-16 code units.
    String(String),
    /// Bytes of an `ArrayBuffer` or a view on one.
    Binary(Vec<u8>),
    /// Elements in order.
    Array(Vec<Key>),
}

/// A key, or the platform form of one, that is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The platform form is the empty string, which is `~s`.
    #[error("empty key; the empty string is written as \"~s\"")]
    Empty,
    /// Begins with `~` but is not the form of any key.
    #[error(
        "{} begins with '~' but is not the form of a key; a string beginning with '~' is written as \"~s\" and the string",
        json::quoted(.0)
    )]
    Form(String),
    /// NaN, or a date that is not a time value.
    #[error("not a key: numbers must not be NaN, dates must be valid")]
    NotAKey,
    /// Arrays nested too deep.
    #[error("key arrays nested deeper than {KEY_DEPTH_MAX} levels")]
    Depth,
    /// Beyond the announced limit.
    #[error("the key has {bytes} bytes and the limit is {limit}; use a shorter one")]
    TooLong {
        /// Bytes of UTF-8 of the platform form.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
}

/// The platform form of a key.
pub fn encode(key: &Key) -> Result<String, KeyError> {
    encode_within(key, 0)
}

/// The key of a platform form.
pub fn decode(form: &str) -> Result<Key, KeyError> {
    let key = decode_within(form, 0)?;
    if encode(&key)? == form { Ok(key) } else { Err(KeyError::Form(form.to_owned())) }
}

/// Validates a platform form that came from outside and yields its key.
pub fn check(form: &str, limits: &Limits) -> Result<Key, KeyError> {
    let limit = limits.key_bytes_max as usize;
    if form.len() > limit {
        return Err(KeyError::TooLong { bytes: form.len(), limit });
    }
    decode(form)
}

fn encode_within(key: &Key, depth: usize) -> Result<String, KeyError> {
    match key {
        Key::Number(number) if number.is_nan() => Err(KeyError::NotAKey),
        Key::Number(number) => Ok(format!("~n{}", print(*number))),
        Key::Date(ms) if !is_whole(*ms) || ms.abs() > DATE_MS_MAX => Err(KeyError::NotAKey),
        Key::Date(ms) => Ok(format!("~d{}", print(*ms))),
        Key::String(text) if text.is_empty() || text.starts_with('~') => Ok(format!("~s{text}")),
        Key::String(text) => Ok(text.clone()),
        Key::Binary(bytes) => Ok(format!("~b{}", base64::encode(bytes, Variant::Url))),
        Key::Array(_) if depth == KEY_DEPTH_MAX => Err(KeyError::Depth),
        Key::Array(keys) => {
            let forms: Result<Vec<Value>, KeyError> =
                keys.iter().map(|key| Ok(Value::String(encode_within(key, depth + 1)?))).collect();
            let mut form = String::from("~a");
            form.push_str(&String::from_utf8_lossy(&json::write(&Value::Array(forms?))));
            Ok(form)
        }
    }
}

/// Decodes more than the strict form; the caller compares with what encoding gives.
fn decode_within(form: &str, depth: usize) -> Result<Key, KeyError> {
    let Some(tagged) = form.strip_prefix('~') else {
        return if form.is_empty() { Err(KeyError::Empty) } else { Ok(Key::String(form.to_owned())) };
    };
    let bad = || KeyError::Form(form.to_owned());
    let (tag, rest) = tagged.split_at_checked(1).ok_or_else(bad)?;
    match tag {
        "s" => Ok(Key::String(rest.to_owned())),
        "n" => number(rest).map(Key::Number).ok_or_else(bad),
        "d" => number(rest).map(Key::Date).ok_or_else(bad),
        "b" => base64::decode(rest, Variant::Url).map(Key::Binary).ok_or_else(bad),
        "a" if depth == KEY_DEPTH_MAX => Err(KeyError::Depth),
        "a" => match json::parse(rest.as_bytes()) {
            Ok(Value::Array(elements)) => elements
                .iter()
                .map(|element| decode_within(element.as_str().ok_or_else(bad)?, depth + 1))
                .collect::<Result<_, _>>()
                .map(Key::Array),
            _ => Err(bad()),
        },
        _ => Err(bad()),
    }
}

fn print(number: f64) -> String {
    ryu_js::Buffer::new().format(number).to_owned()
}

fn number(text: &str) -> Option<f64> {
    match text {
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => json::nearest(text),
    }
}

impl Key {
    fn rank(&self) -> u8 {
        match self {
            Key::Number(_) => 0,
            Key::Date(_) => 1,
            Key::String(_) => 2,
            Key::Binary(_) => 3,
            Key::Array(_) => 4,
        }
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            // Adding 0 turns -0 into 0; the rest of the total order is that of the numbers.
            (Key::Number(a), Key::Number(b)) | (Key::Date(a), Key::Date(b)) => (a + 0.0).total_cmp(&(b + 0.0)),
            (Key::String(a), Key::String(b)) => utf16_order(a, b),
            (Key::Binary(a), Key::Binary(b)) => a.cmp(b),
            (Key::Array(a), Key::Array(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Key {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_key() -> impl Strategy<Value = Key> {
        let leaf = prop_oneof![
            any::<f64>().prop_filter_map("NaN", |n| (!n.is_nan()).then_some(Key::Number(n))),
            (-1000i32..1000).prop_map(|n| Key::Number(n.into())),
            any::<i32>().prop_map(|n| Key::Date(f64::from(n) * 1000.0)),
            "[~a-z\u{e000}\u{10000}\"]{0,4}".prop_map(Key::String),
            any::<String>().prop_map(Key::String),
            prop::collection::vec(any::<u8>(), 0..8).prop_map(Key::Binary),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| prop::collection::vec(inner, 0..4).prop_map(Key::Array))
    }

    proptest! {
        #[test]
        fn round_trips(key in any_key()) {
            let form = encode(&key).unwrap();
            prop_assert!(!form.is_empty());
            prop_assert_eq!(decode(&form).unwrap(), key);
        }

        #[test]
        fn forms_are_unique(a in any_key(), b in any_key()) {
            prop_assert_eq!(a == b, encode(&a).unwrap() == encode(&b).unwrap());
        }

        #[test]
        fn what_decodes_is_canonical(form in "~?[sndba]?[\\[\\]\",~ns0-9.eE+A-C-]{0,10}") {
            if let Ok(key) = decode(&form) {
                prop_assert_eq!(encode(&key).unwrap(), form);
            }
        }

        #[test]
        fn order_is_total(mut keys in prop::collection::vec(any_key(), 3)) {
            keys.sort();
            prop_assert!(keys.is_sorted_by(|a, b| a.cmp(b).is_le() && b.cmp(a).is_ge()));
            prop_assert_eq!(keys[0].cmp(&keys[1]), keys[1].cmp(&keys[0]).reverse());
        }
    }

    #[test]
    fn limits_apply() {
        let limits = Limits { key_bytes_max: 3, ..Limits::default() };
        assert_eq!(check("abc", &limits), Ok(Key::String("abc".into())));
        assert_eq!(check("abcd", &limits), Err(KeyError::TooLong { bytes: 4, limit: 3 }));
        assert_eq!(decode(""), Err(KeyError::Empty));
        let nested = (0..20).fold(Key::Number(1.0), |key, _| Key::Array(vec![key]));
        assert_eq!(encode(&nested), Err(KeyError::Depth));
        assert_eq!(encode(&Key::Number(f64::NAN)), Err(KeyError::NotAKey));
        assert_eq!(encode(&Key::Date(0.5)), Err(KeyError::NotAKey));
        assert_eq!(encode(&Key::Date(8.64e15 + 2.0)), Err(KeyError::NotAKey));
    }
}
