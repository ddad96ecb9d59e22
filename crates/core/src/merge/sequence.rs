//! Differences of sequences, and the stretches on which two sides agree with a base.

use core::ops::Range;

use crate::prelude::*;

/// Most differences that are searched for the shortest script (time and memory grow with the square); beyond, the differing
/// stretch counts as replaced whole.
const DIFFERENCES_MAX: usize = 1000;

/// For each position of `base`: where `other` has the same element, in rising order (a longest common subsequence).
pub(super) fn matches<T: Eq>(base: &[T], other: &[T]) -> Vec<Option<usize>> {
    let mut matched = vec![None; base.len()];
    let prefix = base.iter().zip(other).take_while(|(a, b)| a == b).count();
    let rest = base.len().min(other.len()) - prefix;
    let suffix = base.iter().rev().zip(other.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let middle_base = base.get(prefix..base.len() - suffix).unwrap_or_default();
    let middle_other = other.get(prefix..other.len() - suffix).unwrap_or_default();
    for (at, slot) in matched.iter_mut().enumerate() {
        if at < prefix {
            *slot = Some(at);
        } else if at >= base.len() - suffix {
            *slot = Some(at + other.len() - base.len());
        }
    }
    for (a, b) in common(middle_base, middle_other) {
        if let Some(slot) = matched.get_mut(prefix + a) {
            *slot = Some(prefix + b);
        }
    }
    matched
}

/// Pairs of equal elements by the greedy algorithm of Myers (1986).
fn common<T: Eq>(a: &[T], b: &[T]) -> Vec<(usize, usize)> {
    if a.is_empty() || b.is_empty() {
        return Vec::new();
    }
    let limit = (a.len() + b.len()).min(DIFFERENCES_MAX).cast_signed();
    let mut reach = Reach::new(limit);
    let mut trace = Vec::new();
    for d in 0..=limit {
        let mut steps = Vec::new();
        for k in (-d..=d).step_by(2) {
            let down = k == -d || (k != d && reach.at(k - 1) < reach.at(k + 1));
            let start = if down { reach.at(k + 1) } else { reach.at(k - 1) + 1 };
            // A diagonal that has left the table keeps its position, so that its neighbours do not enter from it.
            let run = match start.checked_add_signed(-k) {
                Some(y) if start <= a.len() && y <= b.len() => {
                    a.iter().skip(start).zip(b.iter().skip(y)).take_while(|(left, right)| left == right).count()
                }
                _ => 0,
            };
            reach.set(k, start + run);
            steps.push(Step { k, start, run, down });
            if start + run == a.len() && (start + run).checked_add_signed(-k) == Some(b.len()) {
                trace.push(steps);
                return backtrack(&trace, k);
            }
        }
        trace.push(steps);
    }
    Vec::new()
}

/// The furthest position of `a` on each diagonal (position in `a` less position in `b`).
struct Reach {
    positions: Vec<usize>,
    middle: isize,
}

impl Reach {
    fn new(limit: isize) -> Self {
        Self { positions: vec![0; limit.unsigned_abs() * 2 + 3], middle: limit + 1 }
    }

    fn at(&self, k: isize) -> usize {
        self.positions.get((self.middle + k).cast_unsigned()).copied().unwrap_or(0)
    }

    fn set(&mut self, k: isize, position: usize) {
        if let Some(slot) = self.positions.get_mut((self.middle + k).cast_unsigned()) {
            *slot = position;
        }
    }
}

/// One diagonal at one number of differences.
struct Step {
    k: isize,
    start: usize,
    run: usize,
    down: bool,
}

fn backtrack(trace: &[Vec<Step>], last: isize) -> Vec<(usize, usize)> {
    let mut pairs = Vec::new();
    let mut k = last;
    for steps in trace.iter().rev() {
        let Some(step) = steps.iter().find(|step| step.k == k) else { break };
        let y = step.start.saturating_add_signed(-step.k);
        pairs.extend((0..step.run).map(|n| (step.start + n, y + n)));
        k = if step.down { k + 1 } else { k - 1 };
    }
    pairs
}

/// Positions of a stretch in the base and on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) base: Range<usize>,
    pub(super) mine: Range<usize>,
    pub(super) theirs: Range<usize>,
    /// Whether both sides have the base's elements here.
    pub(super) unchanged: bool,
}

/// Divides three sequences into stretches that both sides left alone and stretches that at least one changed.
pub(super) fn stretches<T: Eq>(base: &[T], mine: &[T], theirs: &[T]) -> Vec<Stretch> {
    let (to_mine, to_theirs) = (matches(base, mine), matches(base, theirs));
    let both: Vec<(usize, usize, usize)> =
        to_mine.iter().zip(&to_theirs).enumerate().filter_map(|(b, (m, t))| Some((b, (*m)?, (*t)?))).collect();
    let end = (base.len(), mine.len(), theirs.len());
    let mut result = Vec::new();
    let (mut b, mut m, mut t) = (0, 0, 0);
    let mut push = |base: Range<usize>, mine: Range<usize>, theirs: Range<usize>, unchanged| {
        if !(base.is_empty() && mine.is_empty() && theirs.is_empty()) {
            result.push(Stretch { base, mine, theirs, unchanged });
        }
    };
    for (next_b, next_m, next_t) in both.into_iter().chain([end]) {
        if (next_b, next_m, next_t) != (b, m, t) {
            push(b..next_b, m..next_m, t..next_t, false);
        }
        if next_b < base.len() {
            push(next_b..next_b + 1, next_m..next_m + 1, next_t..next_t + 1, true);
        }
        (b, m, t) = (next_b + 1, next_m + 1, next_t + 1);
    }
    result
}
