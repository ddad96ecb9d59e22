//! One coded symbol, and which symbols an item takes part in.

use crate::ids::ChangelogId;

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
        let distance = ((f64::from(self.index) + 1.5) * (65_536.0 / drawn.sqrt() - 1.0)).ceil();
        #[expect(clippy::cast_possible_truncation, reason = "a distance beyond 32 bits is beyond every symbol")]
        #[expect(
            clippy::cast_sign_loss,
            reason = "the root of at most 2^32 is at most 65,536: no distance is negative"
        )]
        let distance = distance as u32;
        self.index = self.index.saturating_add(distance.max(1));
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
