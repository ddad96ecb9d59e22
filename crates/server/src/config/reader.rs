//! Typed access to TOML tables. Every read names the key, so that what nobody read is an unknown key, and every refusal has a place.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Location, Problem};

/// One configuration text while it is read; collects problems.
pub(super) struct Source<'t> {
    text: &'t str,
    file: String,
    problems: RefCell<Vec<Problem>>,
    /// Every key that was asked for, with `NAME` for names chosen by the user, and its default: what the documentation must list.
    #[cfg(test)]
    asked: RefCell<std::collections::BTreeMap<String, Option<String>>>,
}

impl<'t> Source<'t> {
    pub(super) fn new(text: &'t str, file: &str) -> Self {
        Self {
            text,
            file: file.to_owned(),
            problems: RefCell::default(),
            #[cfg(test)]
            asked: RefCell::default(),
        }
    }

    /// Turns a byte range and a key into a place that a person finds.
    pub(super) fn location(&self, span: &Range<usize>, key: &str) -> Location {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Location {
            file: self.file.clone(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or("").chars().count() + 1,
            key: key.to_owned(),
        }
    }

    pub(super) fn problem(&self, location: Location, message: impl Into<String>) {
        self.problems.borrow_mut().push(Problem { location, message: message.into() });
    }

    /// The place that means the whole file.
    pub(super) fn whole(&self, key: &str) -> Location {
        Location { file: self.file.clone(), line: 0, column: 0, key: key.to_owned() }
    }

    /// A path of the configuration: relative ones start at the directory of the file.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        Path::new(&self.file).parent().unwrap_or(Path::new("")).join(path)
    }

    /// The problems found, by line; or the value when there are none.
    pub(super) fn finish<T>(self, value: T) -> Result<T, ConfigError> {
        let mut problems = self.problems.into_inner();
        if problems.is_empty() {
            return Ok(value);
        }
        problems.sort_by_key(|problem| (problem.location.line, problem.location.column));
        Err(ConfigError { problems })
    }

    #[cfg(test)]
    pub(super) fn asked(&self) -> std::collections::BTreeMap<String, Option<String>> {
        self.asked.borrow().clone()
    }
}

/// A table of the configuration.
pub(super) struct Section<'s, 't> {
    source: &'s Source<'t>,
    /// `None` when the file does not have the table: every read then yields `None`.
    table: Option<&'s DeTable<'t>>,
    span: Range<usize>,
    key: String,
    /// `key` with `NAME` for names chosen by the user.
    pattern: String,
    known: RefCell<BTreeSet<&'static str>>,
}

/// A value with its place.
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) location: Location,
}

impl<'s, 't> Section<'s, 't> {
    pub(super) fn root(source: &'s Source<'t>, table: &'s DeTable<'t>) -> Self {
        Self {
            source,
            table: Some(table),
            span: 0..0,
            key: String::new(),
            pattern: String::new(),
            known: RefCell::default(),
        }
    }

    fn full_key(&self, name: &str) -> String {
        if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) }
    }

    fn full_pattern(&self, name: &str) -> String {
        if self.pattern.is_empty() { name.to_owned() } else { format!("{}.{name}", self.pattern) }
    }

    pub(super) fn source(&self) -> &'s Source<'t> {
        self.source
    }

    /// Whether the file has this table.
    pub(super) fn present(&self) -> bool {
        self.table.is_some()
    }

    /// The place of the table itself.
    pub(super) fn location(&self) -> Location {
        if self.table.is_none() || self.key.is_empty() {
            return self.source.whole(&self.key);
        }
        self.source.location(&self.span, &self.key)
    }

    /// The raw value of `name`, which is known from this call on.
    pub(super) fn raw(&self, name: &'static str) -> Option<Found<&'s DeValue<'t>>> {
        self.known.borrow_mut().insert(name);
        self.note(name, || None);
        let value = self.table?.get(name)?;
        Some(Found { value: value.get_ref(), location: self.source.location(&value.span(), &self.full_key(name)) })
    }

    /// Remembers a key and its default, for the test of the documentation.
    #[cfg(test)]
    fn note(&self, name: &str, default: impl FnOnce() -> Option<String>) {
        let mut asked = self.source.asked.borrow_mut();
        let known = asked.entry(self.full_pattern(name)).or_default();
        *known = default().or(known.take());
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "only tests look at it")]
    fn note(&self, _name: &str, _default: impl FnOnce() -> Option<String>) {}

    /// Reports that a value is not what its key takes.
    pub(super) fn refuse(&self, found: &Found<&DeValue<'t>>, expected: &str) {
        let message = format!("found {}; expected {expected}", describe(found.value));
        self.source.problem(found.location.clone(), message);
    }

    pub(super) fn string(&self, name: &'static str, expected: &str) -> Option<Found<String>> {
        let found = self.raw(name)?;
        if let Some(text) = found.value.as_str() {
            return Some(Found { value: text.to_owned(), location: found.location });
        }
        self.refuse(&found, expected);
        None
    }

    /// A string that is not shown in messages.
    pub(super) fn secret(&self, name: &'static str) -> Option<Found<String>> {
        let found = self.raw(name)?;
        if let Some(text) = found.value.as_str() {
            return Some(Found { value: text.to_owned(), location: found.location });
        }
        let message = format!("found {}; expected a string", found.value.type_str());
        self.source.problem(found.location, message);
        None
    }

    pub(super) fn boolean(&self, name: &'static str, default: bool) -> bool {
        self.note(name, || Some(default.to_string()));
        let Some(found) = self.raw(name) else { return default };
        found.value.as_bool().unwrap_or_else(|| {
            self.refuse(&found, "`true` or `false`");
            default
        })
    }

    /// An integer in `range`, whose unit the message names.
    pub(super) fn integer(&self, name: &'static str, unit: &str, range: RangeInclusive<u32>, default: u32) -> u32 {
        self.note(name, || Some(default.to_string()));
        let Some(found) = self.raw(name) else { return default };
        let parsed = found.value.as_integer().and_then(|number| {
            i64::from_str_radix(number.as_str(), number.radix()).ok().and_then(|value| u32::try_from(value).ok())
        });
        if let Some(value) = parsed.filter(|value| range.contains(value)) {
            return value;
        }
        self.refuse(&found, &format!("an integer number of {unit} from {} to {}", range.start(), range.end()));
        default
    }

    pub(super) fn strings(&self, name: &'static str, expected: &str) -> Option<Vec<Found<String>>> {
        let found = self.raw(name)?;
        let Some(array) = found.value.as_array() else {
            self.refuse(&found, expected);
            return None;
        };
        let mut texts = Vec::new();
        for element in array {
            let location = self.source.location(&element.span(), &self.full_key(name));
            match element.get_ref().as_str() {
                Some(text) => texts.push(Found { value: text.to_owned(), location }),
                None => self.refuse(&Found { value: element.get_ref(), location }, expected),
            }
        }
        Some(texts)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, name: &'static str, choices: &[(&str, T)], default: T) -> T {
        let Some(found) = self.raw(name) else { return default };
        let wanted = found.value.as_str().unwrap_or("");
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == wanted) {
            return *value;
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        self.refuse(&found, &format!("{}{}", one_of(&words), suggestion(wanted, &words)));
        default
    }

    /// A table below this one; empty when the file does not have it.
    pub(super) fn section(&self, name: &'static str) -> Section<'s, 't> {
        let found = self.table.and_then(|table| table.get(name));
        self.known.borrow_mut().insert(name);
        self.below(name, self.full_pattern(name), found)
    }

    /// The tables below this one whose names the user chose.
    pub(super) fn named_sections(&self) -> Vec<(String, Section<'s, 't>)> {
        let Some(table) = self.table else { return Vec::new() };
        let pattern = self.full_pattern("NAME");
        table
            .iter()
            .map(|(name, value)| {
                let name = name.get_ref().to_string();
                let section = self.below(&name, pattern.clone(), Some(value));
                (name, section)
            })
            .collect()
    }

    /// The values of this table, whose names the user chose.
    pub(super) fn entries(&self) -> Vec<(String, Found<&'s DeValue<'t>>)> {
        self.note("NAME", || None);
        let Some(table) = self.table else { return Vec::new() };
        let entry = |(name, value): (&Spanned<_>, &'s Spanned<DeValue<'t>>)| {
            let name: &std::borrow::Cow<'t, str> = name.get_ref();
            let location = self.source.location(&value.span(), &self.full_key(&quote(name)));
            (name.to_string(), Found { value: value.get_ref(), location })
        };
        table.iter().map(entry).collect()
    }

    fn below(&self, name: &str, pattern: String, found: Option<&'s Spanned<DeValue<'t>>>) -> Section<'s, 't> {
        let key = self.full_key(&quote(name));
        let span = found.map_or(0..0, Spanned::span);
        let table = found.and_then(|value| value.get_ref().as_table());
        if let (Some(value), None) = (found, table) {
            let location = self.source.location(&span, &key);
            let example = if key.contains('"') { key.clone() } else { format!("[{key}]") };
            self.refuse(&Found { value: value.get_ref(), location }, &format!("a table ({example})"));
        }
        Section { source: self.source, table, span, key, pattern, known: RefCell::default() }
    }

    /// Reports the keys that nothing read. To be called once every known key was asked for.
    pub(super) fn finish(&self) {
        let Some(table) = self.table else { return };
        let known: Vec<&str> = self.known.borrow().iter().copied().collect();
        for (name, _) in table {
            let text = name.get_ref().as_ref();
            if known.contains(&text) {
                continue;
            }
            let location = self.source.location(&name.span(), &self.full_key(&quote(text)));
            let place = if self.key.is_empty() { String::new() } else { format!(" in [{}]", self.key) };
            let hint = suggestion(text, &known);
            self.source.problem(location, format!("unknown key{place}; expected {}{hint}", one_of(&known)));
        }
    }
}

/// A key as TOML writes it.
fn quote(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { name.to_owned() } else { format!("{name:?}") }
}

/// What was found, in words.
fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => {
            let short: String = text.chars().take(40).collect();
            let dots = if short.len() < text.len() { "..." } else { "" };
            format!("the string \"{}{dots}\"", short.escape_debug())
        }
        DeValue::Integer(number) => format!("the integer {}", number.as_str()),
        DeValue::Float(number) => format!("the number {}", number.as_str()),
        DeValue::Boolean(value) => format!("`{value}`"),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// "`a`, `b` or `c`".
pub(super) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        None => "nothing here".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

/// " (did you mean `x`?)" when a word is close to one of the known ones.
pub(super) fn suggestion(word: &str, known: &[&str]) -> String {
    let close = known.iter().map(|candidate| (distance(word, candidate), *candidate)).min();
    match close {
        Some((far, candidate)) if far > 0 && far <= 1 + candidate.len() / 4 => {
            format!(" (did you mean `{candidate}`?)")
        }
        _ => String::new(),
    }
}

/// Levenshtein distance.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut diagonal = line;
        let mut left_cell = line + 1;
        if let Some(first) = row.first_mut() {
            *first = left_cell;
        }
        for (cell, to) in row.iter_mut().skip(1).zip(&right) {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = *cell;
            left_cell = replaced.min(diagonal + 1).min(left_cell + 1);
            *cell = left_cell;
        }
    }
    row.last().copied().unwrap_or(0)
}
