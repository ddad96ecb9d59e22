//! Java's `BigInteger`: two's complement, high byte first, in as few bytes as possible; JSON has decimal digits.

use std::fmt::Write as _;

/// The longest integer that is converted. The conversion takes quadratic time.
pub(crate) const DIGITS_MAX: usize = 5_000;
/// The bytes of an integer with [`DIGITS_MAX`] digits.
const BYTES_MAX: usize = 2_080;

/// The decimal digits of a `BigInteger`'s bytes; `None` when there are none or too many.
pub(crate) fn decimal_of(bytes: &[u8]) -> Option<String> {
    let first = *bytes.first()?;
    if bytes.len() > BYTES_MAX {
        return None;
    }
    let is_negative = first & 0x80 != 0;
    // Groups of nine digits, low ones first.
    let mut groups: Vec<u32> = Vec::new();
    for byte in bytes {
        let byte = if is_negative { !byte } else { *byte };
        multiply_add(&mut groups, 256, u64::from(byte), 1_000_000_000);
    }
    if is_negative {
        // -x is the complement of x, plus one.
        multiply_add(&mut groups, 1, 1, 1_000_000_000);
    }
    let mut digits = String::new();
    for (at, group) in groups.iter().rev().enumerate() {
        let width = if at == 0 { 1 } else { 9 };
        // Writing to a String cannot fail.
        let _ = write!(digits, "{group:0width$}");
    }
    let digits = if digits.is_empty() { "0" } else { &digits };
    Some(if is_negative { format!("-{digits}") } else { digits.to_owned() })
}

/// The bytes of a `BigInteger` with these decimal digits; `None` when they are none.
pub(crate) fn twos_complement_of(digits: &str) -> Option<Vec<u8>> {
    let magnitude = digits.strip_prefix('-').unwrap_or(digits);
    let is_number = !magnitude.is_empty() && magnitude.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || magnitude.len() > DIGITS_MAX {
        return None;
    }
    let mut words: Vec<u32> = Vec::new();
    for digit in magnitude.bytes() {
        multiply_add(&mut words, 10, u64::from(digit - b'0'), 1 << 32);
    }
    let mut bytes: Vec<u8> = words.iter().rev().flat_map(|word| word.to_be_bytes()).collect();
    bytes.insert(0, 0);
    if digits.starts_with('-') {
        for byte in &mut bytes {
            *byte = !*byte;
        }
        for byte in bytes.iter_mut().rev() {
            let (sum, carried) = byte.overflowing_add(1);
            *byte = sum;
            if !carried {
                break;
            }
        }
    }
    // A leading byte that only repeats the sign is left out.
    let redundant = bytes.windows(2).take_while(|pair| {
        matches!(pair, [0, next] if next & 0x80 == 0) || matches!(pair, [0xFF, next] if next & 0x80 != 0)
    });
    let count = redundant.count();
    Some(bytes.split_off(count))
}

/// `groups = groups * factor + addend` in the given base, low group first.
fn multiply_add(groups: &mut Vec<u32>, factor: u64, addend: u64, base: u64) {
    let mut carry = addend;
    for group in groups.iter_mut() {
        let value = u64::from(*group) * factor + carry;
        *group = u32::try_from(value % base).unwrap_or_default();
        carry = value / base;
    }
    if carry > 0 {
        groups.push(u32::try_from(carry).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_bytes_and_digits_are_the_same_number() {
        for (digits, bytes) in [
            ("0", &[0][..]),
            ("127", &[0x7F]),
            ("128", &[0, 0x80]),
            ("-128", &[0x80]),
            ("-129", &[0xFF, 0x7F]),
            ("-1", &[0xFF]),
            ("9223372036854775808", &[0, 0x80, 0, 0, 0, 0, 0, 0, 0]),
            ("-9223372036854775809", &[0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
            ("1000000000000000000000", &[0x36, 0x35, 0xC9, 0xAD, 0xC5, 0xDE, 0xA0, 0, 0]),
        ] {
            assert_eq!(twos_complement_of(digits).unwrap(), bytes, "{digits}");
            assert_eq!(decimal_of(bytes).unwrap(), digits);
        }
    }

    #[test]
    fn what_is_no_number_or_too_long_is_refused() {
        assert_eq!(decimal_of(&[]), None);
        assert_eq!(decimal_of(&[1; 10_000]), None);
        for digits in ["", "-", "1x", "+1"] {
            assert_eq!(twos_complement_of(digits), None);
        }
    }

    #[test]
    fn a_negative_number_keeps_its_zeros() {
        let digits = format!("-1{}", "0".repeat(40));
        assert_eq!(decimal_of(&twos_complement_of(&digits).unwrap()).unwrap(), digits);
    }
}
