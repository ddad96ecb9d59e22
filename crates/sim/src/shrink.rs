//! Makes a failing schedule small: clients and items are left out as long as the same checker finds something.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::batch::guarded;
use crate::check::{Failure, Options};
use crate::plan::Kept;
use crate::site::Sites;

/// Most runs that a search may take.
const RUNS_MAX: usize = 600;

/// A schedule that fails and cannot easily be made smaller.
#[derive(Debug)]
pub struct Shrunk {
    /// What is left.
    pub kept: Kept,
    /// What it leads to.
    pub failure: Failure,
    /// Runs that it took.
    pub runs: usize,
}

/// Shrinks the schedule of a seed that failed (delta debugging).
pub fn shrink(seed: u64, failure: Failure, sites: Sites) -> Shrunk {
    let (items, clients) = failure.size;
    let mut search = Search { seed, sites, runs: 0, best: failure };
    let mut clients: BTreeSet<usize> = (0..clients).collect();
    let mut items: BTreeSet<usize> = (0..items).collect();
    for client in clients.clone() {
        let fewer: BTreeSet<usize> = clients.iter().copied().filter(|other| *other != client).collect();
        if search.fails(&items, &fewer) {
            clients = fewer;
        }
    }
    let mut parts = 2;
    while parts <= items.len() && search.runs < RUNS_MAX {
        let size = items.len().div_ceil(parts);
        let all: Vec<usize> = items.iter().copied().collect();
        let smaller = all.chunks(size).find_map(|left_out| {
            let left: BTreeSet<usize> = items.iter().copied().filter(|item| !left_out.contains(item)).collect();
            search.fails(&left, &clients).then_some(left)
        });
        match smaller {
            Some(left) => {
                items = left;
                parts = parts.saturating_sub(1).max(2);
            }
            None if size == 1 => break,
            None => parts = (parts * 2).min(items.len()),
        }
    }
    Shrunk { kept: Kept { items: Some(items), clients: Some(clients) }, failure: search.best, runs: search.runs }
}

struct Search {
    seed: u64,
    sites: Sites,
    runs: usize,
    best: Failure,
}

impl Search {
    /// Whether what is left fails in the same way.
    fn fails(&mut self, items: &BTreeSet<usize>, clients: &BTreeSet<usize>) -> bool {
        if self.runs >= RUNS_MAX {
            return false;
        }
        self.runs += 1;
        let kept = Kept { items: Some(items.clone()), clients: Some(clients.clone()) };
        match guarded(self.seed, &Options { kept, sites: self.sites, ..Options::default() }) {
            Err(failure) if failure.violation.checker == self.best.violation.checker => {
                self.best = *failure;
                true
            }
            Ok(_) | Err(_) => false,
        }
    }
}

impl Shrunk {
    /// The command that replays it (`options`: those that say over what), what happens, and what does not hold.
    pub fn describe(&self, seed: u64, options: &str) -> String {
        let mut text = format!("cargo xtask sim --seed {seed} {options}").trim_end().to_owned();
        for (name, numbers) in [("--keep", &self.kept.items), ("--clients", &self.kept.clients)] {
            // Writing to a String cannot fail.
            let _ = write!(text, " {name} {}", numbers.as_ref().map_or_else(String::new, ranges));
        }
        let _ = write!(text, "\n  (after {} runs)", self.runs);
        for line in &self.failure.schedule {
            let _ = write!(text, "\n  {line}");
        }
        let _ = write!(text, "\n  => {}", self.failure.violation);
        text
    }
}

/// Numbers as people write them: `1,4-6`; a dash for none.
fn ranges(numbers: &BTreeSet<usize>) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for number in numbers {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => parts.push((*number, *number)),
        }
    }
    let part = |(first, last): &(usize, usize)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    if parts.is_empty() { "-".to_owned() } else { parts.iter().map(part).collect::<Vec<_>>().join(",") }
}

/// Reads what [`Shrunk::describe`] writes.
pub fn read_ranges(text: &str) -> Result<BTreeSet<usize>, String> {
    let mut numbers = BTreeSet::new();
    if text == "-" {
        return Ok(numbers);
    }
    let number = |part: &str| part.parse::<usize>().map_err(|error| format!("`{part}`: {error}"));
    for part in text.split(',') {
        match part.split_once('-') {
            Some((first, last)) => numbers.extend(number(first)?..=number(last)?),
            None => numbers.extend([number(part)?]),
        }
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_they_are_written() {
        for (numbers, text) in [(vec![], "-"), (vec![3], "3"), (vec![0, 1, 2, 5, 7, 8], "0-2,5,7-8")] {
            let numbers: BTreeSet<usize> = numbers.into_iter().collect();
            assert_eq!(ranges(&numbers), text);
            assert_eq!(read_ranges(text), Ok(numbers));
        }
        assert!(read_ranges("1,x").is_err());
    }
}
