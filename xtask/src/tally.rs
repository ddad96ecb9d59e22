//! Counts of tests, and the lines that report them.

use std::fmt::Write as _;
use std::ops::AddAssign;

/// What a runner, a stage or the whole run counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    /// Why something was skipped, one line each; a runner that gives no reason adds the test's name.
    pub(crate) reasons: Vec<String>,
}

impl Tally {
    /// One thing that passed.
    pub(crate) fn passed() -> Self {
        Self { passed: 1, ..Self::default() }
    }

    /// One thing that failed.
    pub(crate) fn failed() -> Self {
        Self { failed: 1, ..Self::default() }
    }

    /// One thing that was skipped for `reason`.
    pub(crate) fn skipped(reason: String) -> Self {
        Self { skipped: 1, reasons: vec![reason], ..Self::default() }
    }

    /// The closing line: `unit: 12 passed, 0 failed`, with `, 1 skipped` when something was.
    pub(crate) fn line(&self, name: &str) -> String {
        let mut line = format!("{name}: {} passed, {} failed", self.passed, self.failed);
        if self.skipped > 0 {
            // Writing to a String cannot fail.
            let _ = write!(line, ", {} skipped", self.skipped);
        }
        line
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.reasons.extend(other.reasons);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_skipped_tests_only_when_there_are_some() {
        let mut tally = Tally::passed();
        assert_eq!(tally.line("unit"), "unit: 1 passed, 0 failed");
        tally += Tally::failed();
        tally += Tally::skipped("no cluster here".into());
        assert_eq!(tally.line("total"), "total: 1 passed, 1 failed, 1 skipped");
        assert_eq!(tally.reasons, ["no cluster here"]);
    }
}
