//! Paths in texts: those of the project, which must exist, and those of somebody's machine, which must not appear.

use super::Finding;

/// The paths in a Markdown text: pieces of inline code made of path characters, with a slash between names or with a
/// file's extension. Addresses (`/v1/sync`), placeholders (`tests/NAME.rs`, `packages/*`) and code are no paths.
pub(super) fn named(markdown: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut in_block = false;
    for (at, line) in markdown.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            let pieces = line.split('`').skip(1).step_by(2);
            found.extend(pieces.filter(|piece| is_path(piece)).map(|piece| (at + 1, piece.to_owned())));
        }
    }
    found
}

fn is_path(piece: &str) -> bool {
    const EXTENSIONS: &[&str] = &[".rs", ".ts", ".md", ".toml", ".json", ".yml", ".sql"];
    let characters = piece.chars().all(|one| one.is_ascii_alphanumeric() || "-_./".contains(one));
    let placeholder = piece.split(['/', '.']).any(|part| {
        part.len() > 1
            && part.chars().all(|one| one.is_ascii_uppercase())
            && !["README", "ARCHITECTURE"].contains(&part)
    });
    let inner_slash = piece.trim_end_matches('/').contains('/') || piece.ends_with('/');
    let extension = EXTENSIONS.iter().any(|extension| piece.ends_with(extension));
    characters && !placeholder && !piece.starts_with('/') && (inner_slash || extension)
}

/// Absolute paths of a work place or a temporary folder.
pub(super) fn of_a_machine(text: &str) -> Vec<Finding> {
    // Put together here, so that this file does not break its own rule.
    const ROOTS: [&str; 3] = [concat!("/wo", "rk/"), concat!("/tm", "p/"), concat!("/ho", "me/")];
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        for root in ROOTS {
            let starts_there = |position: usize| {
                let before = line.get(..position).and_then(|head| head.chars().next_back());
                !before.is_some_and(|one| one.is_alphanumeric() || "_-./*}".contains(one))
            };
            if line.match_indices(root).any(|(position, _)| starts_there(position)) {
                found.push((at + 1, format!("names {root}")));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_from_other_code() {
        for path in ["crates/core/src/lib.rs", "packages/tidelock/src/capture", "testdata/", "README.md"] {
            assert!(is_path(path), "{path}");
        }
        for other in ["/v1/sync", "cargo xtask test", "packages/*", "tests/NAME.rs", "Store", "a::b", "0.1"] {
            assert!(!is_path(other), "{other}");
        }
    }

    #[test]
    fn only_inline_code_is_read() {
        let text = "See `docs/a.md` and docs/b.md.\n```\n`docs/c.md`\n```\n1. `docs/d.md`";
        assert_eq!(named(text), [(1, "docs/a.md".to_owned()), (5, "docs/d.md".to_owned())]);
    }

    #[test]
    fn absolute_paths_are_found() {
        let text = format!("a {ROOT}x\nframe{ROOT}\n\"{ROOT}y\"");
        let lines: Vec<usize> = of_a_machine(&text).into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines, [1, 3]);
    }

    const ROOT: &str = concat!("/tm", "p/");
}
