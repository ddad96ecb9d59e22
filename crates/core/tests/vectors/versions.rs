//! `versions.json`

use serde_json::{Value as Json, json};
use tidelock_core::ids::{ChangelogId, Version};
use tidelock_core::json::{canonical, parse};
use tidelock_core::version;

use crate::{check_file, list, read, render, text};

const ABOUT: &str = "Documents, their canonical form and their version in hexadecimal; texts that are no documents, with the byte at \
    which they fail; item hashes (changelog, version and hash in hexadecimal).";

fn document(entry: &Json) -> Json {
    let body = text(&entry["text"]);
    let value = parse(body.as_bytes()).unwrap_or_else(|error| panic!("{body}: {error}"));
    let canonical = String::from_utf8(canonical(&value)).unwrap();
    json!({ "text": body, "canonical": canonical, "version": format!("{:016x}", version::of(&value).0) })
}

fn invalid(entry: &Json) -> Json {
    let body = text(&entry["text"]);
    json!({ "text": body, "offset": parse(body.as_bytes()).expect_err(body).offset })
}

fn item(entry: &Json) -> Json {
    let number = |name: &str| u64::from_str_radix(text(&entry[name]), 16).unwrap();
    let (collection, key) = (text(&entry["collection"]), text(&entry["key"]));
    let hash = version::item_hash(ChangelogId(number("changelog")), collection, key, Version(number("version")));
    json!({
        "changelog": entry["changelog"], "collection": collection, "key": key, "version": entry["version"],
        "hash": format!("{hash:016x}"),
    })
}

#[test]
fn versions() {
    let vectors = read("versions.json");
    let each =
        |section: &str, compute: fn(&Json) -> Json| list(&vectors[section]).iter().map(compute).collect::<Vec<_>>();
    let sections = [
        ("documents", each("documents", document)),
        ("invalid", each("invalid", invalid)),
        ("item_hashes", each("item_hashes", item)),
    ];
    assert!(sections.iter().all(|(_, entries)| !entries.is_empty()));
    check_file("versions.json", &render(ABOUT, &sections));
}
