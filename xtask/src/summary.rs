//! Reads the closing lines of test runners: cargo's test harness, and node's in its `spec` and `tap` forms.
//!
//! A runner that breaks off before its closing line must never look like one with nothing to do: it counts as one
//! failure.

use crate::process::{Finished, plain};
use crate::tally::Tally;

/// Counts what `cargo test` ran. Each test program prints `running N tests` and closes with `test result:`; a
/// program that opens and does not close has crashed. A line `left out: what: why` is of a test that ran without a part of it.
pub(crate) fn cargo_test(finished: &Finished) -> Tally {
    let mut tally = Tally::default();
    let mut opened = 0_u64;
    let mut closed = 0_u64;
    for line in plain(&finished.output).lines() {
        let line = line.trim();
        if is_opening(line) {
            opened += 1;
        } else if let Some(counts) = line.strip_prefix("test result:") {
            closed += 1;
            tally.passed += count_before(counts, "passed");
            tally.failed += count_before(counts, "failed");
            tally.skipped += count_before(counts, "ignored");
        } else if let Some(reason) = line.strip_prefix("left out: ") {
            tally += Tally::skipped(reason.to_owned());
        } else if let Some(reason) = ignored(line) {
            tally.reasons.push(reason);
        }
    }
    tally.failed += opened.saturating_sub(closed);
    at_least_one_failure(tally, finished)
}

/// Counts what `node --test` ran. Cancelled tests failed; tests marked `todo` count as skipped.
pub(crate) fn node_test(finished: &Finished) -> Tally {
    let text = plain(&finished.output);
    let mut tally = Tally::default();
    let mut closed = false;
    for line in text.lines() {
        if let Some((word, count)) = node_count(line) {
            match word {
                "tests" => closed = true,
                "pass" => tally.passed += count,
                "fail" | "cancelled" => tally.failed += count,
                "skipped" | "todo" => tally.skipped += count,
                _ => {}
            }
        } else if let Some(reason) = node_skipped(line) {
            tally.reasons.push(reason);
        }
    }
    if !closed {
        tally.failed += 1;
    }
    at_least_one_failure(tally, finished)
}

/// A runner that says by its exit code that it failed has failed, whatever it counted: it may not have compiled.
fn at_least_one_failure(mut tally: Tally, finished: &Finished) -> Tally {
    if !finished.ok && tally.failed == 0 {
        tally.failed = 1;
    }
    tally
}

/// `running 3 tests`, `running 1 test`.
fn is_opening(line: &str) -> bool {
    let mut words = line.split_whitespace();
    words.next() == Some("running")
        && words.next().is_some_and(|count| count.parse::<u64>().is_ok())
        && matches!(words.next(), Some("test" | "tests"))
        && words.next().is_none()
}

/// The number before `word` in `ok. 5 passed; 0 failed; 1 ignored`.
fn count_before(counts: &str, word: &str) -> u64 {
    let words: Vec<&str> = counts.split([' ', ';', '.']).filter(|part| !part.is_empty()).collect();
    words
        .iter()
        .position(|part| *part == word)
        .and_then(|at| at.checked_sub(1))
        .and_then(|at| words.get(at))
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// `test a::b ... ignored, reason` becomes `a::b: reason`.
fn ignored(line: &str) -> Option<String> {
    let (name, verdict) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let reason = verdict.strip_prefix("ignored")?.trim_start_matches(',').trim();
    Some(if reason.is_empty() { format!("{name}: ignored without a reason") } else { format!("{name}: {reason}") })
}

/// `ℹ pass 3` (spec) or `# pass 3` (tap), at the start of the line: indented ones belong to subtests.
fn node_count(line: &str) -> Option<(&str, u64)> {
    let rest = line.strip_prefix("ℹ ").or_else(|| line.strip_prefix("# "))?;
    let (word, count) = rest.split_once(' ')?;
    Some((word, count.trim().parse().ok()?))
}

/// `﹣ name (0.1ms) # reason` (spec) or `ok 2 - name # SKIP reason` (tap).
fn node_skipped(line: &str) -> Option<String> {
    let line = line.trim();
    if let Some(rest) = line.strip_prefix("﹣ ") {
        let (name, reason) = rest.split_once(" # ").unwrap_or((rest, "skipped without a reason"));
        let name = name.rsplit_once(" (").map_or(name, |(name, _)| name);
        return Some(format!("{name}: {reason}"));
    }
    let rest = line.strip_prefix("ok ")?;
    let (name, reason) = rest.split_once(" # SKIP").or_else(|| rest.split_once(" # TODO"))?;
    let name = name.split_once(" - ").map_or(name, |(_, name)| name);
    let reason = reason.trim();
    Some(format!("{name}: {}", if reason.is_empty() { "skipped without a reason" } else { reason }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn finished(ok: bool, output: &str) -> Finished {
        Finished { ok, status: String::new(), stdout: output.into(), output: output.into(), elapsed: Duration::ZERO }
    }

    fn check_cargo(ok: bool, output: &str, expected: (u64, u64, u64)) -> Tally {
        let tally = cargo_test(&finished(ok, output));
        assert_eq!((tally.passed, tally.failed, tally.skipped), expected, "{output}");
        tally
    }

    fn check_node(ok: bool, output: &str, expected: (u64, u64, u64)) -> Tally {
        let tally = node_test(&finished(ok, output));
        assert_eq!((tally.passed, tally.failed, tally.skipped), expected, "{output}");
        tally
    }

    #[test]
    fn cargo_counts_are_summed_over_programs() {
        let output = "\
     Running unittests src/lib.rs
running 2 tests
test a ... ok
test net::b ... ignored, needs a cluster
test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
running 1 test
test c ... FAILED
test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s
";
        let tally = check_cargo(false, output, (1, 1, 1));
        assert_eq!(tally.reasons, ["net::b: needs a cluster"]);
    }

    #[test]
    fn a_cargo_program_that_crashed_is_a_failure() {
        let output = "running 2 tests\ntest a ... ok\nerror: test failed (signal: 6, SIGABRT)\n\
            running 1 test\ntest b ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; finished in 0.00s\n";
        check_cargo(false, output, (1, 1, 0));
    }

    #[test]
    fn a_cargo_run_that_did_not_compile_is_a_failure() {
        check_cargo(false, "error[E0425]: cannot find value `x`\nerror: could not compile `a`\n", (0, 1, 0));
    }

    #[test]
    fn what_a_test_leaves_out_is_skipped() {
        let output = "running 1 test\ntest cuts ... \nleft out: cuts: it takes root\nok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored\n";
        let tally = check_cargo(true, output, (1, 0, 1));
        assert_eq!(tally.reasons, ["cuts: it takes root"]);
    }

    #[test]
    fn a_test_that_prints_about_running_opens_nothing() {
        check_cargo(
            true,
            "running 3 workers\nrunning late\nrunning 0 tests\ntest result: ok. 0 passed; 0 failed\n",
            (0, 0, 0),
        );
    }

    #[test]
    fn node_spec_lines_are_read_with_and_without_colours() {
        let output = "✔ a (0.7ms)\n﹣ b (0.09ms) # because of rain\nℹ tests 4\nℹ suites 0\nℹ pass 1\nℹ fail 1\n\
            ℹ cancelled 1\nℹ skipped 1\nℹ todo 0\nℹ duration_ms 83.5\n";
        let tally = check_node(false, output, (1, 2, 1));
        assert_eq!(tally.reasons, ["b: because of rain"]);
        check_node(true, "\u{1b}[34mℹ tests 1\u{1b}[39m\n\u{1b}[34mℹ pass 1\u{1b}[39m\n", (1, 0, 0));
    }

    #[test]
    fn node_tap_lines_are_read() {
        let output = "# Subtest: b\nok 2 - b # SKIP because of rain\n1..2\n# tests 2\n# pass 1\n# fail 0\n# cancelled 0\n# skipped 1\n# todo 0\n";
        let tally = check_node(true, output, (1, 0, 1));
        assert_eq!(tally.reasons, ["b: because of rain"]);
    }

    #[test]
    fn a_node_runner_without_a_summary_is_a_failure() {
        check_node(false, "Error: Cannot find package 'tsx'\n", (0, 1, 0));
        check_node(true, "", (0, 1, 0));
    }
}
