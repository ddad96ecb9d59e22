//! `[databases.*]`: databases, their collections, rules and conflict policies.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Number, Value};
use tidelock_core::wire::{DeletePolicy, DocumentPolicy, FieldStrategy, Policy};
use tidelock_store::platform::system;
use toml::de::DeValue;

use super::cluster;
use super::error::Location;
use super::reader::{Found, Section, one_of, suggestion};
use super::{CollectionConfig, DatabaseConfig, GrantConfig, Mode, SchemaConfig, expression};

/// Longest name of a database or collection, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// How long a deleted document is remembered without `tombstones_kept_s`: 30 days.
pub(super) const TOMBSTONES_KEPT_S_DEFAULT: u32 = 30 * 24 * 3_600;
/// The longest `tombstones_kept_s`: ten years.
const TOMBSTONES_KEPT_S_MAX: u32 = 3_650 * 24 * 3_600;
/// Entries of the conflict log that are kept without `conflicts_kept`.
pub(super) const CONFLICTS_KEPT_DEFAULT: u32 = 100_000;

const DOCUMENT_POLICIES: &[(&str, DocumentPolicy)] = &[
    ("merge", DocumentPolicy::Merge),
    ("last-write", DocumentPolicy::LastWrite),
    ("first-write", DocumentPolicy::FirstWrite),
    ("newest", DocumentPolicy::Newest),
    ("reject", DocumentPolicy::Reject),
    ("resolver", DocumentPolicy::Resolver),
];

const DELETE_POLICIES: &[(&str, DeletePolicy)] =
    &[("edit-wins", DeletePolicy::EditWins), ("delete-wins", DeletePolicy::DeleteWins)];

const FIELD_STRATEGIES: &[(&str, FieldStrategy)] = &[
    ("last-write", FieldStrategy::LastWrite),
    ("first-write", FieldStrategy::FirstWrite),
    ("newest", FieldStrategy::Newest),
    ("sum", FieldStrategy::Sum),
    ("min", FieldStrategy::Min),
    ("max", FieldStrategy::Max),
    ("union", FieldStrategy::Union),
    ("text", FieldStrategy::Text),
    ("reject", FieldStrategy::Reject),
];

/// Whether a text can name a database or a collection. Control characters are left to the browser's hidden stores, and a prefix to the
/// records that a store on a cluster keeps.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.chars().any(|c| c.is_control() || c == '/')
        && !name.starts_with(system::PREFIX)
}

pub(super) fn read(section: &Section<'_, '_>, mode: Mode) -> BTreeMap<String, DatabaseConfig> {
    let databases: BTreeMap<String, DatabaseConfig> = section
        .named_sections()
        .into_iter()
        .map(|(name, table)| (name.clone(), database(name, &table, mode)))
        .collect();
    if databases.is_empty() {
        section.source().problem(section.location(), "expected at least one database, like [databases.board]");
    }
    databases
}

fn database(name: String, section: &Section<'_, '_>, mode: Mode) -> DatabaseConfig {
    check_name(section, &name);
    let path = section.string("path", "the path of the database's file");
    if path.is_none() && section.raw("path").is_none() {
        section.source().problem(section.location(), "expected `path`, like `path = \"data/board.db\"`");
    }
    let open_collections = section.boolean("open_collections", false);
    if open_collections && mode == Mode::Production {
        let location = section.raw("open_collections").map_or_else(|| section.location(), |found| found.location);
        let message = "found `true`, which only `tidelock dev` allows; expected each collection to be configured";
        section.source().problem(location, message);
    }
    let collections = section.section("collections").named_sections();
    let collections = collections.into_iter().map(|(name, table)| (name.clone(), collection(&name, &table))).collect();
    let tombstones_kept_s =
        section.integer("tombstones_kept_s", "seconds", 1..=TOMBSTONES_KEPT_S_MAX, TOMBSTONES_KEPT_S_DEFAULT);
    let conflicts_kept = section.integer("conflicts_kept", "entries", 0..=100_000_000, CONFLICTS_KEPT_DEFAULT);
    // 0 stands for none only here: the file has no limit then.
    let size_mib_max = section.integer("size_mib_max", "MiB", 0..=u32::MAX, 0);
    let cluster = cluster::read(&section.section("cluster"));
    section.finish();
    let path = path.map_or_else(PathBuf::new, |found| section.source().resolve(&found.value));
    let size_mib_max = (size_mib_max > 0).then_some(size_mib_max);
    DatabaseConfig {
        name,
        path,
        cluster,
        open_collections,
        tombstones_kept_s,
        conflicts_kept,
        size_mib_max,
        collections,
    }
}

fn check_name(section: &Section<'_, '_>, name: &str) {
    if !is_name(name) {
        let prefix = system::PREFIX;
        let message = format!(
            "expected a name of 1 to {NAME_BYTES_MAX} bytes without `/` and control characters that does not begin with `{prefix}`"
        );
        section.source().problem(section.location(), message);
    }
}

fn collection(name: &str, section: &Section<'_, '_>) -> CollectionConfig {
    check_name(section, name);
    let collection = CollectionConfig {
        read: expression(section, "read"),
        channels: expression(section, "channels"),
        grant: grant(&section.section("grant")),
        write: expression(section, "write"),
        schema: schema(section),
        policy: policy(&section.section("conflict")),
    };
    section.finish();
    collection
}

fn grant(section: &Section<'_, '_>) -> Option<GrantConfig> {
    let (subjects, channels) = (expression(section, "subjects"), expression(section, "channels"));
    section.finish();
    if section.present() && (section.raw("subjects").is_none() || section.raw("channels").is_none()) {
        section.source().problem(section.location(), "expected both `subjects` and `channels`");
    }
    Some(GrantConfig { subjects: subjects?, channels: channels? })
}

fn policy(section: &Section<'_, '_>) -> Policy {
    let document = section.choice("policy", DOCUMENT_POLICIES, DocumentPolicy::default());
    let delete = section.choice("delete", DELETE_POLICIES, DeletePolicy::default());
    let field = section.raw("field").and_then(|found| strategy(section, &found)).unwrap_or_default();
    let table = section.section("fields");
    let mut fields = Vec::new();
    for (path, found) in table.entries() {
        let segments = split_path(&path);
        if segments.iter().any(String::is_empty) {
            let message =
                "expected member names joined by dots, like `\"address.city\"`; `*` stands for any one member";
            section.source().problem(found.location.clone(), message);
        }
        if let Some(strategy) = strategy(&table, &found) {
            fields.push((segments, strategy));
        }
    }
    if document != DocumentPolicy::Merge && (table.present() || section.raw("field").is_some()) {
        let message = "`field` and `fields` are for the policy `merge`";
        section.source().problem(section.location(), message);
    }
    section.finish();
    Policy { document, field, fields, delete }
}

/// Splits at dots; `\.` and `\\` stand for a dot and a backslash within a name.
fn split_path(path: &str) -> Vec<String> {
    let mut segments = vec![String::new()];
    let mut characters = path.chars();
    while let Some(character) = characters.next() {
        let literal = match character {
            '.' => None,
            '\\' => characters.next(),
            other => Some(other),
        };
        match (literal, segments.last_mut()) {
            (Some(literal), Some(segment)) => segment.push(literal),
            _ => segments.push(String::new()),
        }
    }
    segments
}

fn strategy(section: &Section<'_, '_>, found: &Found<&DeValue<'_>>) -> Option<FieldStrategy> {
    if let Some(table) = found.value.as_table()
        && table.len() == 1
        && let Some(member) = table.get("list").and_then(|value| value.get_ref().as_str())
        && !member.is_empty()
    {
        return Some(FieldStrategy::List(member.to_owned()));
    }
    let wanted = found.value.as_str().unwrap_or("");
    if let Some((_, strategy)) = FIELD_STRATEGIES.iter().find(|(word, _)| *word == wanted) {
        return Some(strategy.clone());
    }
    let words: Vec<&str> = FIELD_STRATEGIES.iter().map(|(word, _)| *word).collect();
    let hint = suggestion(wanted, &words);
    section.refuse(found, &format!("{}, or `{{ list = \"id\" }}`{hint}", one_of(&words)));
    None
}

fn schema(section: &Section<'_, '_>) -> Option<SchemaConfig> {
    let found = section.raw("schema")?;
    let value = if let Some(path) = found.value.as_str() {
        schema_file(section, path, &found.location)?
    } else if found.value.is_table() {
        to_json(section, found.value, &found.location)
    } else {
        section.refuse(&found, "a JSON Schema: a table, or the path of a JSON file");
        return None;
    };
    Some(SchemaConfig { value, location: found.location })
}

fn schema_file(section: &Section<'_, '_>, path: &str, location: &Location) -> Option<Value> {
    let path = section.source().resolve(path);
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{} cannot be read: {error}", path.display()));
    let parsed = text.and_then(|text| {
        serde_json::from_str(&text).map_err(|error| format!("{} is not JSON: {error}", path.display()))
    });
    parsed.map_err(|message| section.source().problem(location.clone(), message)).ok()
}

fn to_json(section: &Section<'_, '_>, value: &DeValue<'_>, location: &Location) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Value::Null, |value| Value::Number(value.into())),
        DeValue::Float(number) => {
            let number: Option<f64> = number.as_str().parse().ok();
            number.and_then(Number::from_f64).map_or(Value::Null, Value::Number)
        }
        DeValue::Array(elements) => {
            Value::Array(elements.iter().map(|element| to_json(section, element.get_ref(), location)).collect())
        }
        DeValue::Table(members) => {
            let member = |(name, value): (&toml::Spanned<std::borrow::Cow<'_, str>>, &toml::Spanned<DeValue<'_>>)| {
                (name.get_ref().to_string(), to_json(section, value.get_ref(), location))
            };
            Value::Object(members.iter().map(member).collect::<Map<_, _>>())
        }
        DeValue::Datetime(_) => {
            section.source().problem(location.clone(), "found a date in a JSON Schema; expected JSON (a string?)");
            Value::Null
        }
    }
}
