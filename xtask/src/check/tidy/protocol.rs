//! The specification names every type that travels.

use crate::source::{Language, Source};

/// The public types of a source that have a wire form: those that derive `Encode` or `Decode`, and those that
/// implement them by hand.
pub(super) fn wire_types(text: &str) -> Vec<String> {
    let code = Source::parse(text, Language::Rust).code_without_tests();
    let mut types = Vec::new();
    let mut derives = false;
    for line in code.lines().map(str::trim) {
        if line.starts_with("#[derive(") {
            derives |= has_word(line, "Encode") || has_word(line, "Decode");
        } else if let Some(name) = declared(line) {
            if derives {
                types.push(name.to_owned());
            }
            derives = false;
        } else if let Some(name) = implemented(line) {
            types.push(name.to_owned());
        }
    }
    types.sort();
    types.dedup();
    types
}

/// Whether the specification has the type's name as a word of its own.
pub(super) fn mentions(specification: &str, name: &str) -> bool {
    has_word(specification, name)
}

/// `pub struct Name…`, `pub enum Name…`
fn declared(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("pub struct ").or_else(|| line.strip_prefix("pub enum "))?;
    Some(leading_word(rest))
}

/// `impl<C> Encode<C> for Name {`
fn implemented(line: &str) -> Option<&str> {
    let (head, name) = line.strip_prefix("impl")?.split_once(" for ")?;
    has_word(head, "Encode").then(|| leading_word(name))
}

fn leading_word(text: &str) -> &str {
    let end = text.find(|one: char| !one.is_alphanumeric() && one != '_').unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|one: char| !one.is_alphanumeric() && one != '_').any(|part| part == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_with_a_wire_form_are_found() {
        let text = "
            /// A hello.
            #[derive(Clone, Debug, Encode, Decode)]
            pub struct Hello<'a> { pub version: u16 }
            #[derive(Clone)]
            pub struct Local;
            impl<C> minicbor::Encode<C> for Key { }
            #[derive(Encode)]
            #[cbor(index_only)]
            pub enum Kind { A }
            #[cfg(test)]
            mod tests { #[derive(Encode)] pub struct Sample; }
        ";
        assert_eq!(wire_types(text), ["Hello", "Key", "Kind"]);
    }

    #[test]
    fn a_mention_is_a_whole_word() {
        assert!(mentions("### `Hello` (1)", "Hello"));
        assert!(!mentions("### `HelloAgain`", "Hello"));
    }
}
