//! Numbers that are never rounded.

use core::fmt;

use super::double::nearest;
use crate::prelude::*;

/// Largest integer that a JavaScript number holds exactly with all below it: 2^53 - 1.
pub const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;
/// Its digits: an integer literal with fewer is safe, with more is not.
const SAFE_DIGITS: &str = "9007199254740991";

/// A literal of so many bytes that has no exponent is not beyond the doubles.
const SAFE_BYTES: usize = 300;

/// A JSON number as its literal. Equality is that of canonical forms: `1e2` equals `100`, `-0` equals `0`.
#[derive(Clone)]
pub struct Number(Box<str>);

impl Number {
    /// Takes a literal that the parser has checked.
    pub(super) fn from_checked(literal: &str) -> Self {
        Self(literal.into())
    }

    /// The canonical literal of a double; `None` when it is not finite.
    pub fn from_f64(value: f64) -> Option<Self> {
        value.is_finite().then(|| Self(double(value).into()))
    }

    /// The literal of an integer.
    pub fn from_i128(value: i128) -> Self {
        Self(value.to_string().into())
    }

    /// An integer of any size from decimal digits with an optional minus; `None` when they are not in canonical form.
    pub fn from_integer_text(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let canonical = match digits.as_bytes() {
            [b'0'] => digits.len() == text.len(),
            [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
            _ => false,
        };
        canonical.then(|| Self(text.into()))
    }

    /// The literal as it was written.
    pub fn literal(&self) -> &str {
        &self.0
    }

    /// Whether the literal has neither fraction nor exponent: such a number is exact at any size.
    pub fn is_integer_literal(&self) -> bool {
        !self.0.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'))
    }

    /// Whether it is an integer literal beyond 2^53 - 1: a `BigInt` in the browser.
    pub fn is_unsafe_integer(&self) -> bool {
        let digits = self.0.strip_prefix('-').unwrap_or(&self.0);
        let beyond = digits.len() > SAFE_DIGITS.len() || (digits.len() == SAFE_DIGITS.len() && digits > SAFE_DIGITS);
        beyond && self.is_integer_literal()
    }

    /// Whether it has a fraction or an exponent, and either the exponent or so many digits that it may be beyond the doubles.
    pub(super) fn may_be_infinite(&self) -> bool {
        let has_exponent = self.0.bytes().any(|byte| matches!(byte, b'e' | b'E'));
        has_exponent || (self.0.len() > SAFE_BYTES && !self.is_integer_literal())
    }

    /// The nearest double. Infinite only for an integer literal beyond the doubles.
    pub fn as_f64(&self) -> f64 {
        // A checked literal is one that this accepts.
        nearest(&self.0).unwrap_or(f64::NAN)
    }

    /// The exact integer, when the literal is one and fits.
    pub fn as_i128(&self) -> Option<i128> {
        self.0.parse().ok()
    }

    /// The canonical literal: integers exactly, every other number as the double that it stands for (module [`crate::version`]).
    pub fn canonical(&self) -> String {
        let mut text = String::new();
        self.write_canonical(&mut text);
        text
    }

    pub(super) fn write_canonical(&self, out: &mut String) {
        if !self.is_integer_literal() {
            out.push_str(&double(self.as_f64()));
        } else if &*self.0 == "-0" {
            out.push('0');
        } else {
            out.push_str(&self.0);
        }
    }
}

/// A finite double as ECMAScript prints it, but integral ones beyond 2^53 - 1 with an exponent, so that they are not taken for
/// exact integers.
fn double(value: f64) -> String {
    let mut buffer = ryu_js::Buffer::new();
    let text = buffer.format_finite(value);
    #[expect(clippy::cast_precision_loss, reason = "2^53 - 1 is a double")]
    let safe = value.abs() <= SAFE_INTEGER_MAX as f64;
    if safe || text.contains('e') {
        return text.to_owned();
    }
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let exponent = digits.len().saturating_sub(1);
    let significant = digits.trim_end_matches('0');
    let (first, rest) = significant.split_at_checked(1).unwrap_or((significant, ""));
    let point = if rest.is_empty() { "" } else { "." };
    format!("{sign}{first}{point}{rest}e{exponent}")
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || self.canonical() == other.canonical()
    }
}

impl Eq for Number {}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
