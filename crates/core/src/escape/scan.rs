//! Whether a JSON text is safe for `JSON.parse`.

/// Fewer digits than this are a safe integer.
const UNSAFE_DIGITS_MIN: usize = 16;

/// Whether a document may hold a tag, an integer beyond 2^53 - 1 or a negative zero, so that `JSON.parse` alone would not give
/// its value. Has no false negatives for valid JSON; a false positive costs the slow path and nothing else.
pub fn needs_decoding(body: &[u8]) -> bool {
    let mut rest = body;
    while let Some((first, tail)) = rest.split_first() {
        rest = match first {
            b'"' if maybe_tag(tail) => return true,
            b'"' => after_string(tail),
            b'-' | b'0'..=b'9' => {
                let length = rest.iter().position(|byte| !is_number_byte(*byte)).unwrap_or(rest.len());
                let (literal, tail) = rest.split_at(length);
                if maybe_inexact(literal) {
                    return true;
                }
                tail
            }
            _ => tail,
        };
    }
    false
}

/// Whether a string may begin with `~`, written as such or as an escape.
fn maybe_tag(string: &[u8]) -> bool {
    matches!(string, [b'~', ..] | [b'\\', b'u', ..])
}

/// What follows the closing quote.
fn after_string(string: &[u8]) -> &[u8] {
    let mut rest = string;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
        let escaped = rest.get(at) == Some(&b'\\');
        rest = rest.get(at + 1 + usize::from(escaped)..).unwrap_or_default();
        if !escaped {
            return rest;
        }
    }
    &[]
}

fn is_number_byte(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
}

/// Whether a number may be an unsafe integer, or a negative one that is or becomes zero.
fn maybe_inexact(literal: &[u8]) -> bool {
    let is_integer = literal.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'-'));
    let long = is_integer && literal.len() >= UNSAFE_DIGITS_MIN;
    let negative = literal.first() == Some(&b'-');
    let may_be_zero = literal.iter().all(|byte| !matches!(byte, b'1'..=b'9'))
        || literal.iter().any(|byte| matches!(byte, b'e' | b'E'));
    // A long fraction of zeros may become zero without an exponent.
    long || (negative && (may_be_zero || literal.len() > 300))
}
