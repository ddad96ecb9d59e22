//! The canonical form of ordinary texts without a tree of values: several times as fast as parsing and writing.

use core::ops::Range;

use super::utf16_order;
use crate::limits::DEPTH_MAX;
use crate::prelude::*;

/// Objects beyond so many members are left to the parser: sorting here is by insertion.
const MEMBERS_MAX: usize = 64;
/// Digits of a decimal fraction that are its double's shortest form: two decimals of so many digits are two doubles.
const DIGITS_MAX: usize = 15;
/// A fraction below 0.000001 has an exponent in the canonical form.
const ZEROS_MAX: usize = 5;

/// The canonical form of a text that is canonical but for the order of its members. `None` for every other text, valid or not.
pub(crate) fn quick(text: &[u8]) -> Option<Vec<u8>> {
    let text = core::str::from_utf8(text).ok()?;
    let mut scan = Scan { text, at: 0, out: Vec::with_capacity(text.len()), members: Vec::new() };
    scan.value(0)?;
    (scan.at == text.len()).then_some(scan.out)
}

/// What is read, and the canonical form of it.
struct Scan<'a> {
    text: &'a str,
    at: usize,
    out: Vec<u8>,
    /// Members of the objects around `at`, those of each one sorted: name, and where name and value are in `out`.
    members: Vec<(&'a str, Range<usize>)>,
}

impl<'a> Scan<'a> {
    fn value(&mut self, depth: usize) -> Option<()> {
        let start = self.at;
        match self.next()? {
            open @ (b'{' | b'[') if depth < DEPTH_MAX => return self.nested(open == b'{', depth + 1),
            b'"' => self.string()?,
            b't' => self.word("rue")?,
            b'f' => self.word("alse")?,
            b'n' => self.word("ull")?,
            first @ (b'-' | b'0'..=b'9') => self.number(first)?,
            _ => return None,
        }
        self.copy(start)
    }

    /// The elements or members behind the bracket.
    fn nested(&mut self, object: bool, depth: usize) -> Option<()> {
        let close = if object { b'}' } else { b']' };
        let (first, begin) = (self.members.len(), self.out.len());
        let mut sorted = true;
        self.copy(self.at - 1)?;
        if self.peek() == Some(close) {
            self.at += 1;
            return self.copy(self.at - 1);
        }
        loop {
            let start = self.out.len();
            if object {
                let name = self.name()?;
                self.value(depth)?;
                sorted &= self.insert(first, name, start..self.out.len())?;
            } else {
                self.value(depth)?;
            }
            let next = self.next()?;
            if next == close {
                break;
            }
            if next != b',' {
                return None;
            }
            self.out.push(b',');
        }
        if !sorted {
            self.sort(first, begin);
        }
        self.members.truncate(first);
        self.copy(self.at - 1)
    }

    /// A name and its colon. With an escape it would have to be read to be sorted.
    fn name(&mut self) -> Option<&'a str> {
        let start = self.at;
        if self.next()? != b'"' {
            return None;
        }
        self.string()?;
        let name = self.text.get(start + 1..self.at - 1)?;
        if self.next()? != b':' || name.contains('\\') {
            return None;
        }
        self.copy(start)?;
        Some(name)
    }

    /// Puts a member in its place among those from `first` on; whether that is the last. `None` when it is there already.
    fn insert(&mut self, first: usize, name: &'a str, place: Range<usize>) -> Option<bool> {
        let mut at = self.members.len();
        if at - first == MEMBERS_MAX {
            return None;
        }
        while at > first {
            let order = utf16_order(self.members.get(at - 1)?.0, name);
            if order.is_eq() {
                return None;
            }
            if order.is_lt() {
                break;
            }
            at -= 1;
        }
        let last = at == self.members.len();
        self.members.insert(at, (name, place));
        Some(last)
    }

    /// Writes the object that begins at `begin` again, its members from `first` on in their order.
    fn sort(&mut self, first: usize, begin: usize) {
        let unsorted = self.out.split_off(begin);
        for (_, place) in self.members.iter().skip(first) {
            self.out.push(if self.out.len() == begin { b'{' } else { b',' });
            self.out.extend_from_slice(unsorted.get(place.start - begin..place.end - begin).unwrap_or_default());
        }
    }

    /// The rest of a string. Escapes are those that the canonical form has, but for `\u`.
    fn string(&mut self) -> Option<()> {
        loop {
            let rest = self.text.as_bytes().get(self.at..)?;
            self.at += rest.iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\'))?;
            match self.next()? {
                b'"' => return Some(()),
                b'\\' if matches!(self.peek()?, b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
                _ => return None,
            }
        }
    }

    /// The rest of an integer, or of a decimal fraction that is the shortest form of a double.
    fn number(&mut self, first: u8) -> Option<()> {
        if first == b'-' {
            // Minus zero has no canonical form of its own.
            let digit = self.next()?;
            return if digit == b'0' && self.peek() != Some(b'.') { None } else { self.digits(digit) };
        }
        self.digits(first)
    }

    fn digits(&mut self, first: u8) -> Option<()> {
        let start = self.at;
        if first.is_ascii_digit() && first != b'0' {
            self.skip_digits();
        } else if first != b'0' {
            return None;
        }
        let whole = 1 + self.at - start;
        match self.peek() {
            Some(b'e' | b'E' | b'0'..=b'9') => return None,
            Some(b'.') => self.at += 1,
            _ => return Some(()),
        }
        let start = self.at;
        self.skip_digits();
        let fraction = self.text.as_bytes().get(start..self.at)?;
        let zeros = fraction.iter().take_while(|digit| **digit == b'0').count();
        let short = whole + fraction.len() <= DIGITS_MAX && (first != b'0' || zeros <= ZEROS_MAX);
        let shortest = short && fraction.last().is_some_and(|last| *last != b'0');
        (shortest && !matches!(self.peek(), Some(b'e' | b'E'))).then_some(())
    }

    fn skip_digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn word(&mut self, rest: &str) -> Option<()> {
        self.text.get(self.at..)?.starts_with(rest).then(|| self.at += rest.len())
    }

    /// Copies what was read since `start`.
    fn copy(&mut self, start: usize) -> Option<()> {
        self.out.extend_from_slice(self.text.as_bytes().get(start..self.at)?);
        Some(())
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::tests::any_value;
    use crate::json::{canonical, parse, write};

    /// What the parser makes of a text; `None` when it is not valid.
    fn slow(text: &[u8]) -> Option<Vec<u8>> {
        parse(text).ok().map(|value| canonical(&value))
    }

    #[test]
    fn ordinary_texts_are_taken() {
        for (text, expected) in [
            (
                r#"{"b":[1,{"z":null,"a":"x\n\"\\"}],"a":-0.25,"":true}"#,
                r#"{"":true,"a":-0.25,"b":[1,{"a":"x\n\"\\","z":null}]}"#,
            ),
            (r#"{"a":{},"b":[],"c":0,"d":false}"#, r#"{"a":{},"b":[],"c":0,"d":false}"#),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("[1750274735687,372.824,0.000001,123456789012345]", "[1750274735687,372.824,0.000001,123456789012345]"),
            ("{\"\u{e000}\":1,\"\u{1f600}\":2}", "{\"\u{1f600}\":2,\"\u{e000}\":1}"),
        ] {
            assert_eq!(quick(text.as_bytes()).as_deref(), Some(expected.as_bytes()), "{text}");
            assert_eq!(slow(text.as_bytes()).as_deref(), Some(expected.as_bytes()), "{text}");
        }
    }

    #[test]
    fn texts_that_are_not_canonical_are_left_to_the_parser() {
        for text in [
            "",
            " 1",
            "1 ",
            "[1, 2]",
            "-0",
            "-",
            "01",
            "-01",
            "1.0",
            "1.",
            "1.50",
            "-0.0",
            "1e3",
            "1.5e3",
            "0.0000001",
            "1234567890.123456",
            "\"\\/\"",
            "\"\\u0041\"",
            "\"\t\"",
            "\"",
            "{\"a\":1,\"a\":2}",
            "{\"b\":1,\"a\":2,\"b\":3}",
            "{\"\\n\":1}",
            "{\"a\"}",
            "{\"a\":1,}",
            "[1,]",
            "[,]",
            "[1}",
            "{a:1}",
            "truf",
            "tru",
            "nul",
            "1 2",
            "[1]]",
        ] {
            assert_eq!(quick(text.as_bytes()), None, "{text}");
        }
        assert_eq!(quick(b"\"\xff\""), None);
        let nested = |levels| ["[".repeat(levels), "]".repeat(levels)].concat();
        assert!(quick(nested(DEPTH_MAX).as_bytes()).is_some());
        assert_eq!(quick(nested(DEPTH_MAX + 1).as_bytes()), None);
        let members = |count: usize| {
            let members: Vec<String> = (0..count).map(|number| format!("\"{number:03}\":1")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(quick(members(MEMBERS_MAX).as_bytes()).is_some());
        assert_eq!(quick(members(MEMBERS_MAX + 1).as_bytes()), None);
    }

    proptest! {
        #[test]
        fn it_is_the_form_that_the_parser_gives(value in any_value()) {
            let text = write(&value);
            if let Some(form) = quick(&text) {
                prop_assert_eq!(form, canonical(&value));
            }
            let canonical = canonical(&value);
            if let Some(form) = quick(&canonical) {
                prop_assert_eq!(form, canonical);
            }
        }

        #[test]
        fn what_is_taken_is_valid(text in r#"[\[\]{},:"\\0-9.eE+\- a-cntrufls]{0,16}"#) {
            if let Some(form) = quick(text.as_bytes()) {
                prop_assert_eq!(Some(form), slow(text.as_bytes()));
            }
        }

        #[test]
        fn decimal_fractions_are_their_shortest_form(text in r"-?(0|[1-9][0-9]{0,15})(\.[0-9]{0,16})?") {
            if let Some(form) = quick(text.as_bytes()) {
                prop_assert_eq!(Some(form), slow(text.as_bytes()));
            }
        }

        /// Pieces of valid texts, put together at random: more of them are valid than of random characters.
        #[test]
        fn pieces_of_texts(pieces in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"a\"", "\"b\"", "\"\"", "1", "-2.5", "0.10", "null", "true", "{\"c\":1,\"b\":2}", " ",
        ]), 0..12)) {
            let text = pieces.concat();
            if let Some(form) = quick(text.as_bytes()) {
                prop_assert_eq!(Some(form), slow(text.as_bytes()));
            }
        }
    }
}
