//! Sorting with one copy of the code: the standard library's sorts cost the browser's core 3 kB for each type.

use crate::prelude::*;

/// The indexes below `count` in order; what `is_before` does not tell apart stays as it is. `is_before` gets two indexes.
pub(crate) fn sorted_indexes(count: usize, is_before: &dyn Fn(usize, usize) -> bool) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    let mut merged = Vec::with_capacity(count);
    let mut run = 1;
    while run < count {
        merged.clear();
        for runs in order.chunks(2 * run) {
            let (left, right) = runs.split_at(run.min(runs.len()));
            merge(left, right, is_before, &mut merged);
        }
        core::mem::swap(&mut order, &mut merged);
        run *= 2;
    }
    order
}

/// References to the items in order; see [`sorted_indexes`].
pub(crate) fn sorted_by<'a, T>(items: &'a [T], is_before: &dyn Fn(&T, &T) -> bool) -> Vec<&'a T> {
    let compare = |a, b| items.get(a).zip(items.get(b)).is_some_and(|(a, b)| is_before(a, b));
    sorted_indexes(items.len(), &compare).into_iter().filter_map(|index| items.get(index)).collect()
}

fn merge(mut left: &[usize], mut right: &[usize], is_before: &dyn Fn(usize, usize) -> bool, out: &mut Vec<usize>) {
    while let (Some((first_left, rest_left)), Some((first_right, rest_right))) =
        (left.split_first(), right.split_first())
    {
        if is_before(*first_right, *first_left) {
            out.push(*first_right);
            right = rest_right;
        } else {
            out.push(*first_left);
            left = rest_left;
        }
    }
    out.extend_from_slice(left);
    out.extend_from_slice(right);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sorts_and_keeps_the_order_of_equals(items in prop::collection::vec(0..30_u8, 0..100)) {
            let mut expected: Vec<usize> = (0..items.len()).collect();
            expected.sort_by_key(|index| items[*index]);
            prop_assert_eq!(sorted_indexes(items.len(), &|a, b| items[a] < items[b]), expected);
            let mut values = items.clone();
            values.sort_unstable();
            prop_assert!(sorted_by(&items, &|a, b| a < b).into_iter().eq(&values));
        }
    }
}
