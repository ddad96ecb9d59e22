//! The parser: one pass over text that is known to be UTF-8.

use super::write::quoted;
use super::{Number, Value, sorted};
use crate::limits::DEPTH_MAX;
use crate::prelude::*;

/// Objects up to this many members are searched for duplicates pair by pair: faster than sorting.
const PAIRWISE_MEMBERS_MAX: usize = 12;

/// Text that is not an acceptable JSON document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {kind}")]
pub struct JsonError {
    /// Where, in bytes from the start; for a duplicate member, where its object begins.
    pub offset: usize,
    /// What is wrong.
    pub kind: JsonErrorKind,
}

/// What is wrong with a JSON text, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonErrorKind {
    /// The text ends within a value.
    #[error("the text ends within a value; send the whole document")]
    End,
    /// A byte that cannot stand here.
    #[error("unexpected {}; the document must be JSON (RFC 8259)", ascii(*.0))]
    Unexpected(u8),
    /// Something follows the value.
    #[error("something follows the value; send exactly one JSON value")]
    Trailing,
    /// Not UTF-8.
    #[error("invalid UTF-8; encode the document as UTF-8")]
    Utf8,
    /// A control character within a string.
    #[error("unescaped control character in a string; write it as \\u{0:04x}")]
    Control(u8),
    /// An escape that JSON does not have.
    #[error("unknown escape in a string; JSON has \\\" \\\\ \\/ \\b \\f \\n \\r \\t and \\uXXXX")]
    Escape,
    /// Half of a surrogate pair.
    #[error("lone surrogate in a string; replace it (JavaScript: text.toWellFormed())")]
    Surrogate,
    /// A literal that is not a JSON number.
    #[error("malformed number; JSON numbers have no leading zeros, no plus sign and digits around the point")]
    Number,
    /// A number with fraction or exponent that no double holds.
    #[error("number beyond the range of a double; store it as a string")]
    Range,
    /// Two members of one name in one object.
    #[error("the object has two members named {}; remove one", quoted(.0))]
    Duplicate(String),
    /// Nesting beyond [`DEPTH_MAX`].
    #[error("nested deeper than {DEPTH_MAX} levels; flatten the document")]
    Depth,
    /// A body beyond the announced limit.
    #[error("the document has {bytes} bytes and the limit is {limit}; split it")]
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
}

fn ascii(byte: u8) -> String {
    if byte.is_ascii_graphic() { format!("'{}'", char::from(byte)) } else { format!("byte 0x{byte:02x}") }
}

/// Parses exactly one JSON value.
pub fn parse(text: &[u8]) -> Result<Value, JsonError> {
    let text = core::str::from_utf8(text)
        .map_err(|error| JsonError { offset: error.valid_up_to(), kind: JsonErrorKind::Utf8 })?;
    let mut parser = Parser { text, at: 0, depth: 0 };
    parser.skip_space();
    let value = parser.value()?;
    parser.skip_space();
    if parser.at < text.len() {
        return parser.fail(JsonErrorKind::Trailing);
    }
    Ok(value)
}

/// Invariant: `at` is on a character boundary of `text` and at most its length.
struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn value(&mut self) -> Result<Value, JsonError> {
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => Ok(Value::String(self.string()?)),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.unexpected(),
        }
    }

    fn nested(&mut self, inner: fn(&mut Self) -> Result<Value, JsonError>) -> Result<Value, JsonError> {
        if self.depth == DEPTH_MAX {
            return self.fail(JsonErrorKind::Depth);
        }
        self.depth += 1;
        let value = inner(self);
        self.depth -= 1;
        value
    }

    fn array(&mut self) -> Result<Value, JsonError> {
        self.at += 1;
        let mut elements = Vec::new();
        self.skip_space();
        if self.take(b']') {
            return Ok(Value::Array(elements));
        }
        loop {
            self.skip_space();
            elements.push(self.value()?);
            self.skip_space();
            if self.take(b']') {
                return Ok(Value::Array(elements));
            }
            self.require(b',')?;
        }
    }

    fn object(&mut self) -> Result<Value, JsonError> {
        let start = self.at;
        self.at += 1;
        let mut members = Vec::new();
        self.skip_space();
        if self.take(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return self.unexpected();
            }
            let name = self.string()?;
            self.skip_space();
            self.require(b':')?;
            self.skip_space();
            members.push((name, self.value()?));
            self.skip_space();
            if self.take(b'}') {
                break;
            }
            self.require(b',')?;
        }
        match duplicate(&members) {
            Some(name) => Err(JsonError { offset: start, kind: JsonErrorKind::Duplicate(name.to_owned()) }),
            None => Ok(Value::Object(members)),
        }
    }

    /// A string; a run without escapes is copied at once.
    fn string(&mut self) -> Result<String, JsonError> {
        self.at += 1;
        let run = self.run()?;
        if self.take(b'"') {
            return Ok(run.to_owned());
        }
        let mut text = run.to_owned();
        while !self.take(b'"') {
            text.push(self.escape()?);
            text.push_str(self.run()?);
        }
        Ok(text)
    }

    /// The characters up to the next quote or backslash.
    fn run(&mut self) -> Result<&'a str, JsonError> {
        let rest = self.rest();
        let length = rest.bytes().position(|byte| byte < 0x20 || matches!(byte, b'"' | b'\\'));
        self.at += length.unwrap_or(rest.len());
        match self.peek() {
            None => self.fail(JsonErrorKind::End),
            Some(byte) if byte < 0x20 => self.fail(JsonErrorKind::Control(byte)),
            Some(_) => Ok(rest.get(..length.unwrap_or(rest.len())).unwrap_or_default()),
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let start = self.at;
        let kind = self.rest().as_bytes().get(1).copied();
        self.at += 2;
        match kind {
            Some(byte @ (b'"' | b'\\' | b'/')) => Ok(char::from(byte)),
            Some(b'b') => Ok('\u{8}'),
            Some(b'f') => Ok('\u{c}'),
            Some(b'n') => Ok('\n'),
            Some(b'r') => Ok('\r'),
            Some(b't') => Ok('\t'),
            Some(b'u') => self.unicode(start),
            None => Err(JsonError { offset: start, kind: JsonErrorKind::End }),
            Some(_) => Err(JsonError { offset: start, kind: JsonErrorKind::Escape }),
        }
    }

    /// The character of `\uXXXX`, or of a pair of them; `at` is behind the `u`.
    fn unicode(&mut self, start: usize) -> Result<char, JsonError> {
        let failed = |kind| JsonError { offset: start, kind };
        let first = self.hex(start)?;
        if let Some(character) = char::from_u32(first) {
            return Ok(character);
        }
        if first >= 0xDC00 || !self.rest().starts_with("\\u") {
            return Err(failed(JsonErrorKind::Surrogate));
        }
        self.at += 2;
        let second = self.hex(start)?;
        if !(0xDC00..0xE000).contains(&second) {
            return Err(failed(JsonErrorKind::Surrogate));
        }
        char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)).ok_or(failed(JsonErrorKind::Surrogate))
    }

    fn hex(&mut self, start: usize) -> Result<u32, JsonError> {
        let digits = self.rest().get(..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        self.at += 4;
        code.ok_or(JsonError { offset: start, kind: JsonErrorKind::Escape })
    }

    fn number(&mut self) -> Result<Value, JsonError> {
        let start = self.at;
        let rest = self.rest();
        self.take(b'-');
        let integer = self.digits();
        let leading_zero = self.text.as_bytes().get(self.at - integer) == Some(&b'0') && integer > 1;
        let fraction = !self.take(b'.') || self.digits() > 0;
        let exponent = !(self.take(b'e') || self.take(b'E')) || {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits() > 0
        };
        if integer == 0 || leading_zero || !fraction || !exponent {
            return Err(JsonError { offset: start, kind: JsonErrorKind::Number });
        }
        let number = Number::from_checked(rest.get(..self.at - start).unwrap_or_default());
        if number.may_be_infinite() && !number.as_f64().is_finite() {
            return Err(JsonError { offset: start, kind: JsonErrorKind::Range });
        }
        Ok(Value::Number(number))
    }

    fn digits(&mut self) -> usize {
        let rest = self.rest().as_bytes();
        let count = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        self.at += count;
        count
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, JsonError> {
        if !self.rest().starts_with(word) {
            return self.unexpected();
        }
        self.at += word.len();
        Ok(value)
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let taken = self.peek() == Some(byte);
        self.at += usize::from(taken);
        taken
    }

    fn require(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.take(byte) { Ok(()) } else { self.unexpected() }
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn unexpected<T>(&self) -> Result<T, JsonError> {
        self.fail(self.peek().map_or(JsonErrorKind::End, JsonErrorKind::Unexpected))
    }

    fn fail<T>(&self, kind: JsonErrorKind) -> Result<T, JsonError> {
        Err(JsonError { offset: self.at, kind })
    }
}

fn duplicate<'a>(members: &'a [(String, Value)]) -> Option<&'a str> {
    if members.len() <= PAIRWISE_MEMBERS_MAX {
        let earlier = |at: usize, name: &str| members.iter().take(at).any(|(other, _)| other == name);
        return members.iter().enumerate().find(|(at, (name, _))| earlier(*at, name)).map(|(_, (name, _))| &**name);
    }
    let same = |pair: &[&'a (String, Value)]| if let [(a, _), (b, _)] = pair { (a == b).then_some(&**a) } else { None };
    sorted(members).windows(2).find_map(same)
}
