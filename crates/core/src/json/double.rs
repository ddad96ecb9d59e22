//! From decimal literals to the nearest double, ties to even: without the tables of the standard library's parser, which take a tenth of the
//! browser's core.

use crate::prelude::*;

/// Powers of ten that are doubles without rounding.
const TENS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// Significant digits that can decide about the nearest double (768 for the longest halfway point); of what follows only counts
/// whether it is zero.
const DIGITS_MAX: usize = 770;

/// From this power of ten on, any digits are beyond the doubles.
const TENS_MAX: i64 = 310;
/// Below this power of ten, all of [`DIGITS_MAX`] digits are nearer to zero than to the smallest double.
const TENS_MIN: i64 = -1100;

/// The nearest double of a literal as JSON has them (leading zeros do no harm); infinite beyond the doubles, `None` for anything else.
pub(crate) fn nearest(literal: &str) -> Option<f64> {
    let (negative, literal) = literal.strip_prefix('-').map_or((false, literal), |rest| (true, rest));
    let (coefficient, exponent) = match literal.split_once(['e', 'E']) {
        Some((coefficient, exponent)) => (coefficient, power(exponent)?),
        None => (literal, 0),
    };
    let (whole, fraction) = match coefficient.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (coefficient, ""),
    };
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut decimal = Decimal { digits: Vec::new(), tens: exponent, rest: false };
    whole.bytes().for_each(|digit| decimal.push(digit - b'0', 0));
    fraction.bytes().for_each(|digit| decimal.push(digit - b'0', 1));
    let magnitude = decimal.nearest();
    Some(if negative { -magnitude } else { magnitude })
}

/// The exponent; far beyond what matters, about.
fn power(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // More than any literal has digits.
    let clamped = digits.bytes().fold(0_i64, |sum, digit| (sum * 10 + i64::from(digit - b'0')).min(1 << 40));
    Some(if text.starts_with('-') { -clamped } else { clamped })
}

/// `digits * 10^tens`, and more behind the last digit when `rest`. No leading zeros.
struct Decimal {
    digits: Vec<u8>,
    tens: i64,
    rest: bool,
}

impl Decimal {
    /// Appends a digit, `places` (0 or 1) behind the point.
    fn push(&mut self, digit: u8, places: i64) {
        if self.digits.len() == DIGITS_MAX {
            self.rest |= digit != 0;
            self.tens += 1 - places;
            return;
        }
        if digit != 0 || !self.digits.is_empty() {
            self.digits.push(digit);
        }
        self.tens -= places;
    }

    fn nearest(mut self) -> f64 {
        while self.digits.last() == Some(&0) && !self.rest {
            self.digits.pop();
            self.tens += 1;
        }
        if self.digits.is_empty() || self.tens < TENS_MIN {
            return 0.0;
        }
        if self.tens > TENS_MAX {
            return f64::INFINITY;
        }
        self.nearest_fast().unwrap_or_else(|| self.nearest_exact())
    }

    /// Where digits and power are doubles without rounding, one operation rounds.
    fn nearest_fast(&self) -> Option<f64> {
        if self.digits.len() > 15 {
            return None;
        }
        let whole = self.digits.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(*digit));
        #[expect(clippy::cast_precision_loss, reason = "fifteen digits are below 2^53")]
        let whole = whole as f64;
        let tens = TENS.get(usize::try_from(self.tens.unsigned_abs()).ok()?)?;
        Some(if self.tens < 0 { whole / tens } else { whole * tens })
    }

    /// In integers of any size: the quotient of digits and power, to 64 bits and whether more follows.
    fn nearest_exact(&self) -> f64 {
        let mut dividend = Big::default();
        for digit in &self.digits {
            dividend.multiply_add(10, u32::from(*digit));
        }
        let mut divisor = Big::one();
        let scaled = if self.tens < 0 { &mut divisor } else { &mut dividend };
        (0..self.tens.unsigned_abs()).for_each(|_| scaled.multiply_add(10, 0));
        // Aligned so that the first bit of the quotient is its highest, or the one below.
        let mut exponent = dividend.bits() - divisor.bits();
        let narrower = if exponent < 0 { &mut dividend } else { &mut divisor };
        narrower.shift(exponent.unsigned_abs());
        if dividend.is_below(&divisor) {
            dividend.shift(1);
            exponent -= 1;
        }
        let mut quotient = 0_u64;
        for _ in 0..64 {
            quotient <<= 1;
            if !dividend.is_below(&divisor) {
                dividend.subtract(&divisor);
                quotient |= 1;
            }
            dividend.shift(1);
        }
        rounded(quotient, exponent, self.rest || !dividend.is_zero())
    }
}

/// The double nearest to `quotient * 2^(exponent - 63)` (and more, when `rest`); the highest bit of the quotient is set.
fn rounded(quotient: u64, exponent: i64, rest: bool) -> f64 {
    if exponent > 1023 {
        return f64::INFINITY;
    }
    // Bits that the significand lacks: 11, and more below the normal doubles.
    let dropped = 11 + (-1022 - exponent).max(0);
    if dropped > 64 {
        return 0.0;
    }
    let (kept, half) = if dropped == 64 { (0, 1 << 63) } else { (quotient >> dropped, 1_u64 << (dropped - 1)) };
    let lost = if dropped == 64 { quotient } else { quotient & ((half << 1) - 1) };
    let up = lost > half || (lost == half && (rest || kept & 1 == 1));
    // A significand that overflows raises the exponent: the bits carry over.
    let biased = (exponent + 1022).max(0).unsigned_abs();
    f64::from_bits((biased << 52) + kept + u64::from(up))
}

/// An unsigned integer: digits of 32 bits from the lowest, the last not 0.
#[derive(Default)]
struct Big(Vec<u32>);

impl Big {
    fn one() -> Self {
        Self(vec![1])
    }

    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    fn bits(&self) -> i64 {
        let top = self.0.last().map_or(0, |top| 32 - i64::from(top.leading_zeros()));
        i64::try_from(self.0.len()).map_or(i64::MAX, |digits| (digits - 1).max(0) * 32 + top)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the halves of 64 bits")]
    fn multiply_add(&mut self, factor: u32, addend: u32) {
        let mut carry = u64::from(addend);
        for digit in &mut self.0 {
            carry += u64::from(*digit) * u64::from(factor);
            *digit = carry as u32;
            carry >>= 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }

    fn shift(&mut self, bits: u64) {
        if self.is_zero() {
            return;
        }
        self.multiply_add(1 << (bits % 32), 0);
        let zeros = usize::try_from(bits / 32).unwrap_or_default();
        self.0.splice(..0, core::iter::repeat_n(0, zeros));
    }

    fn is_below(&self, other: &Self) -> bool {
        let key = |big: &Self| big.0.len();
        key(self) < key(other) || (key(self) == key(other) && self.0.iter().rev().lt(other.0.iter().rev()))
    }

    /// Takes away what is not more.
    fn subtract(&mut self, other: &Self) {
        let mut borrow = false;
        let others = other.0.iter().copied().chain(core::iter::repeat(0));
        for (digit, taken) in self.0.iter_mut().zip(others) {
            let (less, first) = digit.overflowing_sub(taken);
            let (less, second) = less.overflowing_sub(u32::from(borrow));
            *digit = less;
            borrow = first || second;
        }
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(literal: &str) {
        let found = nearest(literal).map(f64::to_bits);
        assert_eq!(found, Some(literal.parse::<f64>().unwrap().to_bits()), "{literal}");
    }

    proptest! {
        #[test]
        fn doubles_are_found_again(bits in any::<u64>()) {
            let double = f64::from_bits(bits);
            if double.is_finite() {
                check(&format!("{double:e}"));
                check(&format!("{double:?}"));
            }
        }

        #[test]
        fn literals_are_rounded_as_the_standard_library_rounds_them(
            literal in "-?[0-9]{1,25}(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?"
        ) {
            check(&literal);
        }

        #[test]
        fn halfway_points_are_exact(bits in 0..0x7FEF_FFFF_FFFF_FFFF_u64, tail in "[0-9]{0,3}") {
            // All the digits of the double that lies below; of which one half of the step above is the midpoint.
            let (low, high) = (f64::from_bits(bits), f64::from_bits(bits + 1));
            let exact = format!("{low:.1100}");
            check(&exact);
            check(&format!("{exact}{tail}"));
            let middle = format!("{:.1100}", low / 2.0 + high / 2.0);
            check(&middle);
            check(&format!("{middle}{tail}1"));
        }
    }

    #[test]
    fn edges() {
        for literal in [
            "0",
            "-0",
            "0.0",
            "0e999999999999999999999",
            "1e308",
            "1.7976931348623157e308",
            "1.7976931348623158e308",
            "1.7976931348623159e308",
            "1e309",
            "1e400",
            "-1e999999999999999999999",
            "5e-324",
            "4.9e-324",
            "2.5e-324",
            "2.4703282292062327e-324",
            "2.4703282292062328e-324",
            "2.2250738585072011e-308",
            "2.2250738585072014e-308",
            "1e-400",
            "9007199254740993",
            "9007199254740992.9",
            "9007199254740993.1",
            "00012.5",
            "123456789012345e22",
        ] {
            check(literal);
        }
        check(&format!("0.{}1e1000", "0".repeat(1000)));
        check(&format!("{}e-1500", "7".repeat(1500)));
        check(&format!("9007199254740993{}1", "0".repeat(900)));
        // Halfway between two doubles but for a digit beyond those that are kept.
        check(&format!("9007199254740993.{}", "0".repeat(900)));
        check(&format!("9007199254740993.{}1", "0".repeat(900)));
        for wrong in ["", "-", "1.", ".5", "1e", "1e+", "+1", "NaN", "inf", "1_0", "0x1", "1e5.5", "--1", " 1"] {
            assert_eq!(nearest(wrong), None, "{wrong}");
        }
    }
}
