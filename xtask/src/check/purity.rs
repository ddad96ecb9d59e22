//! The core performs no I/O, reads no clock, starts no thread and iterates in no random order.

use super::dependencies::is_product_source;
use super::{Check, Verdict};
use crate::project::Project;
use crate::source::{Language, Source};

pub(super) const CHECKS: &[Check] = &[Check {
    name: "the core is pure",
    advice: "take time, randomness and I/O as input of the core's functions; use BTreeMap and BTreeSet",
    run: core_is_pure,
}];

const CORE: &str = "crates/core/src/";
/// Modules of `std` that reach outside the program.
const MODULES: &[&str] = &["env", "fs", "io", "net", "os", "process", "thread", "time"];
/// Names that are wrong wherever they come from.
const NAMES: &[&str] = &[
    "HashMap",
    "HashSet",
    "Instant",
    "OnceLock",
    "LazyLock",
    "RandomState",
    "SystemTime",
    "thread_local",
    "getrandom",
];

fn core_is_pure(project: &Project) -> Result<Verdict, String> {
    let mut findings = Vec::new();
    for file in project.files()? {
        if !file.starts_with(CORE) || !is_product_source(&file) {
            continue;
        }
        let Some(text) = project.read(&file) else { continue };
        findings.extend(impure(&text).into_iter().map(|(line, name)| format!("{file}:{line}: uses {name}")));
    }
    Ok(Verdict::of(&findings))
}

/// The impure names in the code outside tests, with their lines.
fn impure(text: &str) -> Vec<(usize, String)> {
    let code = Source::parse(text, Language::Rust).code_without_tests();
    let mut found = Vec::new();
    for (line, word, before) in words(&code) {
        if NAMES.contains(&word) {
            found.push((line, word.to_owned()));
        } else if MODULES.contains(&word) && comes_from_std(before) {
            found.push((line, format!("std::{word}")));
        }
    }
    found
}

/// Each word of the code with its line and the code before it.
fn words(code: &str) -> impl Iterator<Item = (usize, &str, &str)> {
    let mut at = 0;
    let mut line = 1;
    std::iter::from_fn(move || {
        let rest = code.get(at..)?;
        let start = at + rest.find(is_word)?;
        line += code.get(at..start)?.matches('\n').count();
        let length = code.get(start..)?.find(|next| !is_word(next)).unwrap_or(code.len() - start);
        at = start + length;
        Some((line, code.get(start..at)?, code.get(..start)?))
    })
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Whether a word after `before` is a member of `std`: `std::X`, or in the first level of `std::{X, …}`.
fn comes_from_std(before: &str) -> bool {
    let before = before.trim_end();
    if let Some(head) = before.strip_suffix("::") {
        return ends_with_word(head, "std");
    }
    if !before.ends_with(['{', ',']) {
        return false;
    }
    let mut depth = 0_usize;
    for (at, character) in before.char_indices().rev() {
        match character {
            ';' => return false,
            '}' => depth += 1,
            '{' if depth > 0 => depth -= 1,
            '{' => {
                let head = before.get(..at).unwrap_or_default().trim_end();
                return head.strip_suffix("::").is_some_and(|head| ends_with_word(head, "std"));
            }
            _ => {}
        }
    }
    false
}

fn ends_with_word(text: &str, word: &str) -> bool {
    text.trim_end().strip_suffix(word).is_some_and(|head| !head.ends_with(is_word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(usize, &str)]) {
        let expected: Vec<(usize, String)> = expected.iter().map(|(line, name)| (*line, (*name).to_owned())).collect();
        assert_eq!(impure(text), expected, "{text}");
    }

    #[test]
    fn ways_to_the_outside_are_found() {
        check("use std::collections::BTreeMap;\nuse std::time::Duration;", &[(2, "std::time")]);
        check("use std::{collections::{BTreeMap}, fmt, fs::File, net};", &[(1, "std::fs"), (1, "std::net")]);
        check("let m = std::collections::HashMap::new();", &[(1, "HashMap")]);
        check("fn f() { ::std::thread::spawn(g) }", &[(1, "std::thread")]);
    }

    #[test]
    fn words_that_only_look_like_it_are_not() {
        check("// std::time is banned\nlet time = \"std::fs\"; self.net.io(process);", &[]);
        check("use crate::{time, net};\nuse std::fmt;\nuse my_std::time;", &[]);
        check("#[cfg(test)]\nmod tests { use std::fs; }", &[]);
    }
}
