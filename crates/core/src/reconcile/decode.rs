//! From the symbols of two sets to the items that only one of them has.

use super::symbol::{Checker, Indexes, Symbol, upper};
use crate::prelude::*;

/// What two sets do not have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Items that only the set has from which the other was subtracted.
    pub theirs: Vec<u64>,
    /// Items that only the subtracted set has.
    pub ours: Vec<u64>,
}

/// The symbols of `theirs` without those of `ours`, as far as there are both.
pub fn subtract(theirs: &[Symbol], ours: &[Symbol]) -> Vec<Symbol> {
    let pairs = theirs.iter().zip(ours);
    let rest = pairs.map(|(theirs, ours)| {
        let mut rest = *theirs;
        rest.subtract(ours);
        rest
    });
    rest.collect()
}

/// The items in the symbols of a difference; `None` when they are not enough, or are not the symbols of any two sets.
///
/// A symbol that holds one item gives it away; taking it out of its other symbols leaves others with one. Whatever the symbols are,
/// at most as many items are taken out as there are symbols.
pub fn decode(checker: Checker, mut rest: Vec<Symbol>) -> Option<Difference> {
    let mut found = Difference::default();
    let mut left = rest.len();
    let mut candidates: Vec<usize> = (0..rest.len()).rev().collect();
    while let Some(candidate) = candidates.pop() {
        let Some(symbol) = rest.get(candidate).copied() else { continue };
        if symbol.count != 1 && symbol.count != -1 {
            continue;
        }
        let check = checker.check(symbol.items);
        if upper(check) != symbol.checks {
            continue;
        }
        left = left.checked_sub(1)?;
        if symbol.count == 1 { &mut found.theirs } else { &mut found.ours }.push(symbol.items);
        let mut at = Indexes::new(check);
        while let Some(other) = rest.get_mut(at.index as usize) {
            other.apply(symbol.items, check, -symbol.count);
            candidates.push(at.index as usize);
            at.advance();
        }
    }
    rest.iter().all(Symbol::is_empty).then_some(found)
}

/// About how many items two sets do not have in common, from symbols of their difference that do not suffice to decode it. `excess`:
/// how many more items the one set has than the subtracted one.
///
/// Each item of the difference is in symbol `i` with probability `2 / (2 + i)`, and counts 1 or -1 there: so the counts vary around
/// the excess's share by about the number of items times that probability.
pub fn estimate(rest: &[Symbol], excess: i64) -> u64 {
    // The first symbols hold so many items that their counts modulo 256 say nothing.
    let skipped = rest.len() / 8;
    let mut sum = 0_u64;
    for (index, symbol) in (0_i64..).zip(rest).skip(skipped) {
        let share = excess.saturating_mul(2) / (index + 2);
        let beside =
            i64::from(symbol.count).wrapping_sub(share).to_le_bytes().first().map_or(0, |low| low.cast_signed());
        let square = u64::from(beside.unsigned_abs()).pow(2);
        sum = sum.saturating_add(square.saturating_mul((index + 2).cast_unsigned()) / 2);
    }
    let looked_at = rest.len().saturating_sub(skipped).max(1) as u64;
    (sum / looked_at).max(excess.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{SYMBOLS_MAX, Sketch, symbols_from_bytes, symbols_to_bytes};
    use super::*;
    use crate::ids::ChangelogId;

    fn checker() -> Checker {
        Checker::new(ChangelogId(7))
    }

    /// Items that look as hashes do.
    fn items(from: u64, count: u64) -> impl Iterator<Item = u64> {
        (from..from + count).map(|number| Checker::new(ChangelogId(1)).check(number))
    }

    fn sketch(length: u32, items: impl Iterator<Item = u64>) -> Sketch {
        let mut sketch = Sketch::new(checker(), length);
        items.for_each(|item| sketch.add(item));
        sketch
    }

    fn sorted(mut items: Vec<u64>) -> Vec<u64> {
        items.sort_unstable();
        items
    }

    #[test]
    fn the_difference_is_found_from_a_third_more_symbols_than_items() {
        let mut needed = Vec::new();
        for seed in 0..40_u64 {
            let base = seed * 1_000_000;
            let theirs = sketch(1_000, items(base, 3_000));
            let ours = sketch(1_000, items(base + 100, 3_000));
            let rest = subtract(theirs.symbols(), ours.symbols());
            let enough = (200..1_000).find(|length| decode(checker(), rest[..*length].to_vec()).is_some());
            let enough = enough.expect("200 items are found in 1,000 symbols");
            let found = decode(checker(), rest[..enough].to_vec()).expect("found before");
            assert_eq!(sorted(found.theirs), sorted(items(base, 100).collect()));
            assert_eq!(sorted(found.ours), sorted(items(base + 3_000, 100).collect()));
            needed.push(enough);
        }
        let average = needed.iter().sum::<usize>() / needed.len();
        assert!((250..=300).contains(&average), "{average} symbols for 200 items, {needed:?}");
    }

    #[test]
    fn equal_sets_leave_nothing() {
        let one = sketch(64, items(0, 5_000));
        assert_eq!(decode(checker(), subtract(one.symbols(), one.symbols())), Some(Difference::default()));
    }

    #[test]
    fn too_few_symbols_are_no_difference() {
        let (theirs, none) = (sketch(64, items(0, 500)), Sketch::new(checker(), 64));
        assert_eq!(decode(checker(), subtract(theirs.symbols(), none.symbols())), None);
    }

    #[test]
    fn another_changelog_has_other_checks() {
        let other = Checker::new(ChangelogId(8));
        let (theirs, none) = (sketch(64, items(0, 3)), Sketch::new(checker(), 64));
        assert_eq!(decode(other, subtract(theirs.symbols(), none.symbols())), None);
    }

    #[test]
    fn the_size_of_a_difference_is_estimated_within_a_third() {
        for (theirs, ours) in [(300_u64, 300_u64), (2_000, 2_000), (10_000, 10_000), (400, 3_000), (9_000, 0)] {
            let with = sketch(320, items(0, 500).chain(items(1_000_000, theirs)));
            let without = sketch(320, items(0, 500).chain(items(5_000_000, ours)));
            let rest = subtract(with.symbols(), without.symbols());
            let truth = theirs + ours;
            let guess = estimate(&rest, theirs.cast_signed() - ours.cast_signed());
            assert!(guess * 3 > truth * 2 && guess * 3 < truth * 4, "{guess} of {truth}");
        }
    }

    proptest! {
        #[test]
        fn sums_of_disjoint_sets_are_the_symbols_of_their_union(a in 0_u64..200, b in 0_u64..200) {
            let mut sum = sketch(50, items(0, a));
            sum.unite(sketch(50, items(10_000, b)).symbols());
            let union = sketch(50, items(0, a).chain(items(10_000, b)));
            prop_assert_eq!(sum.symbols(), union.symbols());
        }

        #[test]
        fn what_is_taken_out_leaves_no_trace(kept in 0_u64..100, gone in 0_u64..100) {
            let mut sketch = sketch(50, items(0, kept + gone));
            items(kept, gone).for_each(|item| sketch.remove(item));
            let expected = super::tests::sketch(50, items(0, kept));
            prop_assert_eq!(sketch.symbols(), expected.symbols());
        }

        #[test]
        fn symbols_survive_the_wire(count in 0_u64..300) {
            let symbols = sketch(40, items(0, count));
            let bytes = symbols_to_bytes(symbols.symbols());
            let read = symbols_from_bytes(&bytes);
            prop_assert_eq!(read.as_deref(), Some(symbols.symbols()));
            prop_assert_eq!(symbols_from_bytes(&bytes[1..]), None);
        }

        /// Whatever is sent, decoding ends.
        #[test]
        fn hostile_symbols_end(bytes in prop::collection::vec(any::<u8>(), 0..130), pure in any::<[u64; 4]>()) {
            let whole = bytes.len() / 13 * 13;
            let mut symbols = symbols_from_bytes(&bytes[..whole]).expect("whole symbols");
            // Symbols that pass for one item, in places where that item does not belong.
            symbols.extend(pure.map(|items| Symbol { items, checks: upper(checker().check(items)), count: 1 }));
            let length = symbols.len();
            if let Some(found) = decode(checker(), symbols.clone()) {
                prop_assert!(found.theirs.len() + found.ours.len() <= length);
            }
            symbols.extend(symbols.clone());
            let _ends = (decode(checker(), symbols.clone()), estimate(&symbols, i64::MIN), estimate(&symbols, i64::MAX));
        }
    }

    #[test]
    fn the_largest_difference_fits() {
        let (theirs, none) = (sketch(SYMBOLS_MAX, items(0, 23_000)), Sketch::new(checker(), SYMBOLS_MAX));
        let found = decode(checker(), subtract(theirs.symbols(), none.symbols())).expect("1.42 symbols for an item");
        assert_eq!(found.theirs.len(), 23_000);
    }
}
