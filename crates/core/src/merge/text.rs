//! Text: three-way by lines, then by words within lines that both sides changed.

use core::ops::Range;

use super::sequence::stretches;
use crate::json::Value;
use crate::prelude::*;

/// Merges texts; the flag says whether everything of both sides is in the outcome. `None` when one is not a text.
///
/// Where both changed the same words: when both only inserted, both insertions stand, theirs first; when one removed what the other
/// changed, the changed words stay; else mine stand and theirs are discarded.
pub(super) fn merge_text(base: Option<&Value>, mine: &Value, theirs: &Value) -> Option<(Value, bool)> {
    let (base, mine, theirs) = (base?.as_str()?, mine.as_str()?, theirs.as_str()?);
    let mut merger = Merger { out: String::with_capacity(theirs.len().max(mine.len())), complete: true };
    merger.merge(base, mine, theirs, Grain::Lines);
    Some((Value::String(merger.out), merger.complete))
}

#[derive(Clone, Copy, PartialEq)]
enum Grain {
    Lines,
    Words,
}

struct Merger {
    out: String,
    complete: bool,
}

impl Merger {
    fn merge(&mut self, base: &str, mine: &str, theirs: &str, grain: Grain) {
        let (b, m, t) = (tokens(base, grain), tokens(mine, grain), tokens(theirs, grain));
        for stretch in stretches(&b, &m, &t) {
            let base = joined(&b, stretch.base);
            let mine = joined(&m, stretch.mine);
            let theirs = joined(&t, stretch.theirs);
            if stretch.unchanged || mine == theirs || theirs == base {
                self.out.push_str(&mine);
            } else if mine == base {
                self.out.push_str(&theirs);
            } else {
                self.conflict(&base, &mine, &theirs, grain);
            }
        }
    }

    fn conflict(&mut self, base: &str, mine: &str, theirs: &str, grain: Grain) {
        if base.is_empty() {
            self.out.push_str(theirs);
            self.separate(mine, grain);
            self.out.push_str(mine);
        } else if grain == Grain::Lines {
            self.merge(base, mine, theirs, Grain::Words);
        } else {
            self.complete = false;
            self.out.push_str(if mine.is_empty() { theirs } else { mine });
        }
    }

    /// Keeps two insertions at one place from running into each other.
    fn separate(&mut self, following: &str, grain: Grain) {
        let last = self.out.chars().next_back();
        match grain {
            Grain::Lines if last != Some('\n') => self.out.push('\n'),
            Grain::Words if last.is_some_and(in_word) && following.starts_with(in_word) => self.out.push(' '),
            Grain::Lines | Grain::Words => {}
        }
    }
}

fn joined(tokens: &[&str], range: Range<usize>) -> String {
    tokens.get(range).unwrap_or_default().concat()
}

fn tokens(text: &str, grain: Grain) -> Vec<&str> {
    match grain {
        Grain::Lines => text.split_inclusive('\n').collect(),
        Grain::Words => words(text),
    }
}

/// Words, runs of spaces, and every other character by itself.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let run: fn(char) -> bool = if in_word(first) { in_word } else { |character| character == ' ' };
        let length = rest.find(|character| !run(character)).unwrap_or(rest.len()).max(first.len_utf8());
        let (word, tail) = rest.split_at(length);
        words.push(word);
        rest = tail;
    }
    words
}

/// Letters and digits. Beyond ASCII every character below U+2E80 counts; scripts above write without spaces, so each of their
/// characters is a word.
fn in_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_' || ('\u{80}'..'\u{2e80}').contains(&character)
}
