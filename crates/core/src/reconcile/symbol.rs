//! One coded symbol, and which symbols an item takes part in.

#[cfg(target_arch = "wasm32")]
use crate::blake3;
use crate::ids::ChangelogId;
use crate::prelude::*;

/// Context of the key derivation; part of the protocol.
const CHECK_CONTEXT: &str = "tidelock 2026 symbol check v1";
/// Multiplier of the generator that draws the distances between an item's indexes (L'Ecuyer 1999, 64 bits).
const MULTIPLIER: u64 = 0xda94_2042_e4dd_58b5;

/// Bytes of a symbol on the wire: items (8), checks (4), count (1).
pub const SYMBOL_BYTES: usize = 13;

/// What some items come to.
///
/// Four bytes of check: with `SYMBOLS_MAX` symbols, each looked at ten times, some sum of items passes for one item in 1 of 10,000
/// decodings; the rest then does not come to nothing, and the client asks for the list. One byte of count: it only says which side
/// an item is on, and modulo 256 that is enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Symbol {
    /// Exclusive or of the items.
    pub items: u64,
    /// Exclusive or of the upper halves of their checks.
    pub checks: u32,
    /// How many there are, modulo 256.
    pub count: i8,
}

impl Symbol {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Puts in an item (`sign` 1), or takes one out (-1).
    pub(super) fn apply(&mut self, item: u64, check: u64, sign: i8) {
        self.items ^= item;
        self.checks ^= upper(check);
        self.count = self.count.wrapping_add(sign);
    }

    /// Adds what is in another one.
    pub fn add(&mut self, other: &Symbol) {
        self.items ^= other.items;
        self.checks ^= other.checks;
        self.count = self.count.wrapping_add(other.count);
    }

    /// Takes out what is in another one.
    pub fn subtract(&mut self, other: &Symbol) {
        self.items ^= other.items;
        self.checks ^= other.checks;
        self.count = self.count.wrapping_sub(other.count);
    }
}

/// Computes the checks of one changelog's items. Keyed, so that whoever writes documents without being a client of the changelog
/// cannot prepare items that keep others from decoding.
#[derive(Clone, Copy, Debug)]
pub struct Checker(u64);

impl Checker {
    /// For the items of a changelog.
    pub fn new(changelog: ChangelogId) -> Self {
        let key = blake3::derive_key(CHECK_CONTEXT, &changelog.0.to_be_bytes());
        Self(key.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    }

    /// The check of an item: the finaliser of `SplitMix64` (Steele, Lea, Flood 2014) over item and key.
    pub fn check(self, item: u64) -> u64 {
        let mut z = (item ^ self.0).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// The half of a check that a symbol holds.
pub(super) fn upper(check: u64) -> u32 {
    u32::try_from(check >> 32).unwrap_or_default()
}

/// The rising indexes of the symbols that an item takes part in, from 0: symbol `i` holds one item in `1 + i / 2`.
pub(super) struct Indexes {
    state: u64,
    pub(super) index: u32,
}

impl Indexes {
    pub(super) fn new(check: u64) -> Self {
        Self { state: check | 1, index: 0 }
    }

    /// To the next index: the distance is drawn so that the density falls as it has to. IEEE 754 doubles, the same everywhere.
    pub(super) fn advance(&mut self) {
        self.state = self.state.wrapping_mul(MULTIPLIER);
        let drawn = f64::from(upper(self.state)) + 1.0;
        let distance = (f64::from(self.index) + 1.5) * (65_536.0 / root(drawn) - 1.0);
        #[expect(clippy::cast_possible_truncation, reason = "a distance beyond 32 bits is beyond every symbol")]
        #[expect(
            clippy::cast_sign_loss,
            reason = "the root of at most 2^32 is at most 65,536: no distance is negative"
        )]
        let whole = distance as u32;
        let distance = whole.saturating_add(u32::from(distance > f64::from(whole)));
        self.index = self.index.saturating_add(distance.max(1));
    }
}

/// The square root of a whole number from 1 to 2^32, rounded as IEEE 754 demands: `core` has no roots, and every platform has to get
/// the same.
fn root(number: f64) -> f64 {
    /// Bits of a double's fraction.
    const FRACTION_BITS: u32 = 52;
    /// What the exponent of 1 is stored as.
    const BIAS: u64 = 1023;
    // Half the exponent for a start, then Newton's steps, each of which doubles the digits that are right.
    let mut root = f64::from_bits((number.to_bits() >> 1) + (BIAS << (FRACTION_BITS - 1)));
    for _ in 0..4 {
        root = 0.5 * (root + number / root);
    }
    // The last digit: of the doubles around, the one whose halfway points to its neighbours lie around the root.
    let mut bits = root.to_bits();
    loop {
        let exponent = (bits >> FRACTION_BITS) - BIAS;
        let twice = u128::from((1 << FRACTION_BITS) | (bits & ((1 << FRACTION_BITS) - 1))) << 1;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the number is whole and positive")]
        let square = u128::from(number as u64) << (2 * (u64::from(FRACTION_BITS) + 1 - exponent));
        if square < (twice - 1).pow(2) {
            bits -= 1;
        } else if square > (twice + 1).pow(2) {
            bits += 1;
        } else {
            return f64::from_bits(bits);
        }
    }
}

/// Symbols as they travel: items and checks big-endian, then the count.
pub fn symbols_to_bytes(symbols: &[Symbol]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(symbols.len().saturating_mul(SYMBOL_BYTES));
    for symbol in symbols {
        bytes.extend_from_slice(&symbol.items.to_be_bytes());
        bytes.extend_from_slice(&symbol.checks.to_be_bytes());
        bytes.push(symbol.count.cast_unsigned());
    }
    bytes
}

/// Reads what [`symbols_to_bytes`] wrote; `None` when a part of a symbol is missing.
pub fn symbols_from_bytes(bytes: &[u8]) -> Option<Vec<Symbol>> {
    let (chunks, rest) = bytes.as_chunks::<SYMBOL_BYTES>();
    let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    let symbol = |chunk: &[u8; SYMBOL_BYTES]| {
        let (items, others) = chunk.split_at(8);
        let (checks, count) = others.split_at(4);
        Symbol {
            items: number(items),
            checks: u32::try_from(number(checks)).unwrap_or_default(),
            count: count.first().copied().unwrap_or_default().cast_signed(),
        }
    };
    rest.is_empty().then(|| chunks.iter().map(symbol).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn roots_are_those_of_the_standard_library(number in 1..=(1_u64 << 32)) {
            #[expect(clippy::cast_precision_loss, reason = "at most 2^32")]
            let number = number as f64;
            prop_assert_eq!(root(number).to_bits(), number.sqrt().to_bits());
        }
    }

    #[test]
    fn roots_near_powers_of_two_and_squares() {
        let near = |number: u64| [number.saturating_sub(1).max(1), number, (number + 1).min(1 << 32)];
        let numbers =
            (0..=32).map(|exponent| 1 << exponent).chain((1..=65_536_u64).map(|root| root * root)).flat_map(near);
        for number in numbers {
            #[expect(clippy::cast_precision_loss, reason = "at most 2^32")]
            let number = number as f64;
            assert_eq!(root(number).to_bits(), number.sqrt().to_bits(), "{number}");
        }
    }
}
