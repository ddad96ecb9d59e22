//! `reconcile.json`

use serde_json::{Value as Json, json};
use tidelock_core::ids::ChangelogId;
use tidelock_core::reconcile::{Checker, Sketch, decode, subtract, symbols_to_bytes};

use crate::{check_file, hex, list, read, render, text};

const ABOUT: &str = "Coded symbols: of one item (changelog, item and check in hexadecimal) the indexes below 1,000 of the symbols \
    that it takes part in; of a set the first symbols as they travel; of two sets what only one has, by their symbols.";

fn number(text: &str) -> u64 {
    u64::from_str_radix(text, 16).unwrap()
}

fn items(list_of: &Json) -> Vec<u64> {
    list(list_of).iter().map(|item| number(text(item))).collect()
}

fn sketch(checker: Checker, length: u32, items: &[u64]) -> Sketch {
    let mut sketch = Sketch::new(checker, length);
    items.iter().for_each(|item| sketch.add(*item));
    sketch
}

fn mapping(entry: &Json) -> Json {
    let (changelog, item) = (text(&entry["changelog"]), text(&entry["item"]));
    let checker = Checker::new(ChangelogId(number(changelog)));
    let sketch = sketch(checker, 1_000, &[number(item)]);
    let indexes: Vec<usize> = (0..1_000).filter(|index| !sketch.symbols()[*index].is_empty()).collect();
    let check = format!("{:016x}", checker.check(number(item)));
    json!({ "changelog": changelog, "item": item, "check": check, "indexes": indexes })
}

fn set(entry: &Json) -> Json {
    let checker = Checker::new(ChangelogId(number(text(&entry["changelog"]))));
    let sketch = sketch(checker, 8, &items(&entry["items"]));
    json!({ "changelog": entry["changelog"], "items": entry["items"], "symbols": hex(&symbols_to_bytes(sketch.symbols())) })
}

fn difference(entry: &Json) -> Json {
    let checker = Checker::new(ChangelogId(number(text(&entry["changelog"]))));
    let [theirs, ours] = ["theirs", "ours"].map(|side| sketch(checker, 12, &items(&entry[side])));
    let found = decode(checker, subtract(theirs.symbols(), ours.symbols())).expect("twelve symbols are enough");
    let sorted = |mut items: Vec<u64>| {
        items.sort_unstable();
        items.into_iter().map(|item| format!("{item:016x}")).collect::<Vec<_>>()
    };
    json!({
        "changelog": entry["changelog"], "theirs": entry["theirs"], "ours": entry["ours"],
        "only_theirs": sorted(found.theirs), "only_ours": sorted(found.ours),
    })
}

#[test]
fn symbols() {
    let vectors = read("reconcile.json");
    let each =
        |section: &str, compute: fn(&Json) -> Json| list(&vectors[section]).iter().map(compute).collect::<Vec<_>>();
    let sections = [
        ("items", each("items", mapping)),
        ("sets", each("sets", set)),
        ("differences", each("differences", difference)),
    ];
    assert!(sections.iter().all(|(_, entries)| !entries.is_empty()));
    check_file("reconcile.json", &render(ABOUT, &sections));
}
