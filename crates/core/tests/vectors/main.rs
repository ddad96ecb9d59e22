//! The vectors in `testdata/`, which every implementation of the protocol shares.
//!
//! `keys.json`, `values.json` and `skew.json` are written by hand. The outcomes in `versions.json`, `merge.json`, `reconcile.json` and `wire-v1.json` are computed
//! from the inputs beside them (for the wire: from the examples in `wire.rs`): `UPDATE_VECTORS=1 cargo test -p tidelock-core --test
//! vectors` writes them again. A released vector never changes: what changes its bytes is another version of the protocol.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a helper of a test is the test's failure"
)]

mod document;
mod keys;
mod merges;
mod skew;
mod symbols;
mod values;
mod versions;
mod wire;

use std::path::PathBuf;

use serde_json::Value as Json;

/// Reads a vector file.
fn read(name: &str) -> Json {
    let text = std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("testdata/{name}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("testdata/{name}: {error}"))
}

/// Compares a vector file with what it should be, or writes it when asked to.
fn check_file(name: &str, expected: &str) {
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        std::fs::write(path(name), expected).unwrap();
    }
    let found = std::fs::read_to_string(path(name)).unwrap_or_default();
    for (number, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "testdata/{name}, line {}", number + 1);
    }
    assert_eq!(found.len(), expected.len(), "testdata/{name} ends early or late");
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata")).join(name)
}

/// A vector file: sections with one entry a line.
fn render(about: &str, sections: &[(&str, Vec<Json>)]) -> String {
    let section = |(name, entries): &(&str, Vec<Json>)| {
        let lines: Vec<String> = entries.iter().map(|entry| format!("    {entry}")).collect();
        format!("  \"{name}\": [\n{}\n  ]", lines.join(",\n"))
    };
    let sections: Vec<String> = sections.iter().map(section).collect();
    format!("{{\n  \"about\": {},\n{}\n}}\n", Json::from(about), sections.join(",\n"))
}

fn list(json: &Json) -> &[Json] {
    json.as_array().unwrap_or_else(|| panic!("not a list: {json}"))
}

fn text(json: &Json) -> &str {
    json.as_str().unwrap_or_else(|| panic!("not a string: {json}"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
