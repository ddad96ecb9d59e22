//! Bodies taken apart: what a command that makes a document needs instead of the whole.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::subdoc::PATH_BYTES_MAX;

/// The members of an object, each as the path of a sub-document command and the text of its value; `None` when the text is no object, has
/// more members than `most`, or one that no path can name.
pub(crate) fn members(text: &[u8], most: usize) -> Option<Vec<(String, String)>> {
    let Members(members) = serde_json::from_slice(text).ok()?;
    let named = |(name, value): (String, Box<RawValue>)| Some((path(&name)?, value.get().to_owned()));
    if members.len() > most { None } else { members.into_iter().map(named).collect() }
}

/// A member's name as a path: in JSON's escapes, within backticks (`subjson` subdoc/path.cc, which knows no code points).
fn path(name: &str) -> Option<String> {
    let quoted = serde_json::to_string(name).ok()?;
    let escaped = quoted.strip_prefix('"')?.strip_suffix('"')?;
    let path = format!("`{}`", escaped.replace('`', "``"));
    let is_right = !name.is_empty() && !has_code_point(escaped) && path.len() <= PATH_BYTES_MAX;
    is_right.then_some(path)
}

fn has_code_point(escaped: &str) -> bool {
    let mut letters = escaped.chars();
    while let Some(letter) = letters.next() {
        if letter == '\\' && letters.next() == Some('u') {
            return true;
        }
    }
    false
}

/// How many arrays and objects of a JSON text are in one another at most.
pub(crate) fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = text.iter();
    let mut is_text = false;
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => is_text = !is_text,
            // Whatever is escaped neither ends the string nor begins anything.
            b'\\' => drop(bytes.next()),
            b'[' | b'{' if !is_text => depth += 1,
            b']' | b'}' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// An object's members, in their order.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collector;
        impl<'de> Visitor<'de> for Collector {
            type Value = Members;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collector)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_taken_apart_in_order() {
        let found = members(br#"{"z":1.50,"a.b":{"x":[1, 2]},"`\"\\":null}"#, 3).unwrap();
        let expected = [("`z`", "1.50"), ("`a.b`", "{\"x\":[1, 2]}"), ("```\\\"\\\\`", "null")];
        assert_eq!(found, expected.map(|(path, value)| (path.to_owned(), value.to_owned())));
        assert_eq!(members(b"{}", 3), Some(Vec::new()));
        let long = format!("{{\"{}\":1}}", "x".repeat(PATH_BYTES_MAX - 1));
        for other in ["[]", "1", "{", r#"{"a":1,"b":2,"c":3,"d":4}"#, r#"{"":1}"#, r#"{"\u0001":1}"#, &long] {
            assert_eq!(members(other.as_bytes(), 3), None, "{other}");
        }
        assert!(members(br#"{"\\u":1}"#, 3).is_some());
    }

    #[test]
    fn depth_counts_what_is_open() {
        for (text, expected) in [("1", 0), ("[]", 1), (r#"{"a":[{}],"b":[]}"#, 3), (r#""[[{""#, 0), (r#"["\"[",1]"#, 1)]
        {
            assert_eq!(depth(text.as_bytes()), expected, "{text}");
        }
    }
}
