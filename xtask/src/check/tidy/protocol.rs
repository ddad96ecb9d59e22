//! The specification names every type that travels.

use crate::source::{Language, Source};

/// The public types of a source that have a wire form: those declared as public that a macro `cbor_…!` or an `impl Cbor` names.
pub(super) fn wire_types(text: &str) -> Vec<String> {
    let code = Source::parse(text, Language::Rust).code_without_tests();
    let lines = || code.lines().map(str::trim);
    let public: Vec<&str> = lines().filter_map(declared).collect();
    let mut types: Vec<String> =
        lines().filter_map(coded).filter(|name| public.contains(name)).map(str::to_owned).collect();
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

/// `cbor_struct!(Name {`, `impl Cbor for Name {`
fn coded(line: &str) -> Option<&str> {
    let by_macro = line.strip_prefix("cbor_").and_then(|rest| rest.split_once("!("));
    let (_, name) = by_macro.or_else(|| line.strip_prefix("impl Cbor").and_then(|rest| rest.split_once("for ")))?;
    Some(leading_word(name))
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
            pub struct Hello<'a> { pub version: u16 }
            cbor_struct!(Hello { version });
            pub struct Local;
            struct Hidden { a: u8 }
            cbor_struct!(Hidden { a });
            pub struct Key(u8);
            impl Cbor for Key { }
            pub enum Kind { A }
            cbor_number!(Kind { A });
            #[cfg(test)]
            mod tests { pub struct Sample; cbor_struct!(Sample {}); }
        ";
        assert_eq!(wire_types(text), ["Hello", "Key", "Kind"]);
    }

    #[test]
    fn a_mention_is_a_whole_word() {
        assert!(mentions("### `Hello` (1)", "Hello"));
        assert!(!mentions("### `HelloAgain`", "Hello"));
    }
}
