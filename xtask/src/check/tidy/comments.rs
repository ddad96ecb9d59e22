//! Comments state what holds and why; the story of a change belongs in its commit.

use super::Finding;
use crate::source::{Language, Source};

/// Words that only a story of changes needs, wherever they stand.
const STORY_WORDS: &[&str] = &["previously", "legacy", "for now", "no longer needed", "as before"];
/// Contrasts to an earlier state of the code. A point in time called `now` is written as code.
const CONTRASTS: &[&str] =
    &["is now", "are now", "we now", "now we", "now uses", "now returns", "now takes", "can now"];
/// Words that make a comment's first sentence a piece of news.
const OPENINGS: &[&str] = &["now", "new"];

pub(super) fn narrations(file: &str, text: &str) -> Vec<Finding> {
    let Some(language) = Language::of(file) else { return Vec::new() };
    let mut findings = Vec::new();
    for comment in Source::parse(text, language).comments {
        let words = words(&comment.text);
        let spaced = format!(" {} ", words.join(" "));
        let found = STORY_WORDS.iter().chain(CONTRASTS).find(|phrase| spaced.contains(&format!(" {phrase} ")));
        let opening = words.first().filter(|word| comment.opens && OPENINGS.contains(&word.as_str()));
        if let Some(phrase) = found {
            findings.push((comment.line, format!("the comment says `{phrase}`")));
        } else if let Some(word) = opening {
            findings.push((comment.line, format!("the comment begins with `{word}`")));
        }
    }
    findings
}

/// The words of a comment in lower case, without its pieces of code.
fn words(comment: &str) -> Vec<String> {
    let prose: String =
        comment.split('`').enumerate().map(|(at, part)| if at % 2 == 0 { part } else { " # " }).collect();
    prose
        .split(|character: char| !character.is_alphanumeric() && character != '#')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, lines: &[usize]) {
        let found: Vec<usize> = narrations("a.rs", text).into_iter().map(|(line, _)| line).collect();
        assert_eq!(found, lines, "{text}");
    }

    #[test]
    fn stories_are_found() {
        check("// Previously this was a map.", &[1]);
        check("x();\n/// The cursor is now checked first.", &[2]);
        check("// Ordered.\n// Kept for now.", &[2]);
        check("/// New way of sending.", &[1]);
        check("/* the legacy path */", &[1]);
    }

    #[test]
    fn plain_uses_are_not() {
        check("/// `now` is in milliseconds; a new session gets a new id.", &[]);
        check("/// Sent with every\n/// new session.", &[]);
        check("let s = \"previously\"; // The text above is shown to people.", &[]);
        check("/// Returns `is now` unchanged.", &[]);
    }
}
