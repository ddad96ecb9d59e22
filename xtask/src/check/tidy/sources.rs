//! Rules on sources as files: their length, their channels, and what a lock file may hold.

use super::Finding;
use crate::source::{Language, Source};

const LINES_MAX: usize = 500;
/// How many lines at the top are searched for the reason of a long file.
const REASON_LINES: usize = 20;

/// Rust and TypeScript of the product; tests and vectors may be long.
pub(super) fn has_length_limit(file: &str) -> bool {
    [".rs", ".ts", ".tsx"].iter().any(|extension| file.ends_with(extension)) && !is_test(file)
}

pub(super) fn is_test(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    file.split('/').any(|part| ["test", "tests", "testdata"].contains(&part))
        || name == "tests.rs"
        || name.ends_with("_tests.rs")
        || name.ends_with(".test.ts")
}

pub(super) fn too_long(text: &str) -> Vec<Finding> {
    let lines = text.lines().count();
    let excused = text.lines().take(REASON_LINES).any(|line| line.contains("tidy: long because"));
    if lines <= LINES_MAX || excused { Vec::new() } else { vec![(lines, format!("{lines} lines, of {LINES_MAX}"))] }
}

/// Channels without a limit: a slow reader would fill the memory.
pub(super) fn limitless_channels(_file: &str, text: &str) -> Vec<Finding> {
    const NAMES: &[&str] = &["unbounded_channel", "UnboundedSender", "mpsc::unbounded", "mpsc::channel()"];
    let code = Source::parse(text, Language::Rust).code_without_tests();
    let mut found = Vec::new();
    for (at, line) in code.lines().enumerate() {
        // `mpsc::channel::<T>()` is `mpsc::channel()` with its type said.
        let plain = without_turbofish(line);
        let name = NAMES.iter().find(|name| plain.contains(**name));
        found.extend(name.map(|name| (at + 1, format!("uses {name}"))));
    }
    found
}

fn without_turbofish(line: &str) -> String {
    match line.split_once("channel::<") {
        Some((head, rest)) => {
            let call = rest.find(">(").map_or("", |at| rest.get(at + 1..).unwrap_or_default());
            format!("{head}channel{call}")
        }
        None => line.to_owned(),
    }
}

/// Download addresses in a lock file.
pub(super) fn registry_addresses(text: &str) -> Vec<Finding> {
    let addressed = |line: &str| line.contains("\"resolved\"") && line.contains("://");
    let lines = text.lines().enumerate();
    lines.filter(|(_, line)| addressed(line)).map(|(at, _)| (at + 1, "names a registry".to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_need_a_reason() {
        let long = "x\n".repeat(501);
        assert_eq!(too_long(&long).len(), 1);
        assert!(too_long(&"x\n".repeat(500)).is_empty());
        assert!(too_long(&format!("// tidy: long because it is one table\n{long}")).is_empty());
    }

    #[test]
    fn tests_have_no_limit() {
        assert!(has_length_limit("crates/core/src/wire/mod.rs"));
        for file in ["crates/core/tests/a.rs", "crates/core/src/tests.rs", "packages/a/test/unit/b.test.ts", "a.json"] {
            assert!(!has_length_limit(file), "{file}");
        }
    }

    #[test]
    fn unbounded_channels_are_found_in_code() {
        let check = |text: &str, count: usize| assert_eq!(limitless_channels("", text).len(), count, "{text}");
        check("let (a, b) = mpsc::unbounded_channel();", 1);
        check("let (a, b) = mpsc::channel();", 1);
        check("let (a, b) = mpsc::channel::<Vec<u8>>();", 1);
        check("let (a, b) = mpsc::channel::<u8>(LIMIT);", 0);
        check("// no unbounded_channel here", 0);
    }

    #[test]
    fn addresses_in_a_lock_are_found() {
        let text = "\"resolved\": \"packages/board\",\n\"resolved\": \"https://example.org/a.tgz\",\n";
        assert_eq!(registry_addresses(text).len(), 1);
    }
}
