//! Changes in columns: golden vectors, round trips, and columns that are refused.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tidelock_core::ids::{Offset, Version};
use tidelock_core::version;
use tidelock_core::wire::{Change, ChangeKind, Columns, UNPACKED_BYTES_MAX, pack, unpack_changes};

use super::examples;
use crate::hex;

/// The columns of one batch, which unpack to it.
pub(super) fn vector((name, changes): &(&str, Vec<Change>)) -> Json {
    let columns = pack(changes);
    assert_eq!(unpack_changes(&columns).as_ref(), Ok(changes), "{name}");
    json!({ "name": name, "changes": changes.iter().map(described).collect::<Vec<_>>(), "bytes": hex(&columns.0) })
}

fn described(change: &Change) -> Json {
    let (kind, content) = match &change.kind {
        ChangeKind::Put(_, body) => ("put", Some(String::from_utf8(body.clone()).unwrap())),
        ChangeKind::Delete => ("delete", None),
        ChangeKind::Leave => ("leave", None),
        ChangeKind::Same(version) => ("same", Some(format!("{:016x}", version.0))),
    };
    json!([change.offset.0, change.collection, change.key, kind, content])
}

/// The nine columns and those of the values, as they are written.
#[derive(Clone)]
struct Raw {
    fixed: [&'static [u8]; 9],
    values: Vec<&'static [u8]>,
}

impl Raw {
    /// Two documents of one shape: `{"a":1}` with the key `x`, `{"a":"y"}` with the key `y`.
    fn sound() -> Self {
        let fixed: [&[u8]; 9] =
            [&[0, 0], &[7, 0], &[0, 0], &[0, 0], b"\x61x\x61y", &[], &[1, 1], &[], b"\x47{\"a\":\0}"];
        Self { fixed, values: vec![b"1\0\x01\0"] }
    }

    fn with(column: usize, bytes: &'static [u8]) -> Self {
        let mut raw = Self::sound();
        raw.fixed[column] = bytes;
        raw
    }

    fn columns(&self) -> Columns {
        fn short(column: &[u8]) -> Vec<u8> {
            let length = u8::try_from(column.len()).unwrap();
            assert!(length < 24, "a head of one byte");
            [&[0x40 | length], column].concat()
        }
        let mut bytes = vec![0x8a];
        bytes.extend(self.fixed.iter().flat_map(|column| short(column)));
        bytes.push(0x80 | u8::try_from(self.values.len()).unwrap());
        bytes.extend(self.values.iter().flat_map(|column| short(column)));
        Columns(bytes)
    }
}

/// Columns that are refused.
pub(super) fn refused() -> Vec<Json> {
    let values = |values: Vec<&'static [u8]>| Raw { values, ..Raw::sound() };
    let cases = [
        ("an unknown kind", Raw::with(0, &[0, 4])),
        ("more kinds than offsets", Raw::with(1, &[7])),
        ("more offsets than kinds", Raw::with(1, &[7, 0, 0])),
        ("a collection beyond 32 bits", Raw::with(2, &[0, 0x1b, 0, 0, 0, 1, 0, 0, 0, 0])),
        ("a key that shares more than there is", Raw::with(3, &[0, 2])),
        ("a key that is no UTF-8", Raw::with(4, b"\x61x\x61\xff")),
        ("a version without a change", Raw::with(5, &[1])),
        ("a place without a template", Raw::with(6, &[1, 2])),
        ("a place without a body", Raw::with(6, &[1, 0])),
        ("a body without a place", Raw::with(7, b"\x411")),
        ("a template that ends early", Raw::with(8, b"\x48{\"a\":\0}")),
        ("a mark without a column", values(vec![])),
        ("a column without a mark", values(vec![b"1\0\x01\0", b""])),
        ("a value that does not end", values(vec![b"1\0\x01"])),
        ("a value too few", values(vec![b"1\0"])),
        ("a value too many", values(vec![b"1\0\x01\0\x31\0"])),
        ("a body that is no document", values(vec![b"1\0x\0"])),
    ];
    let expected = [("x", r#"{"a":1}"#), ("y", r#"{"a":"y"}"#)].map(|(key, body)| put(7, key, body));
    assert_eq!(unpack_changes(&Raw::sound().columns()), Ok(expected.to_vec()));
    let refused = |(name, raw): &(&str, Raw)| {
        let columns = raw.columns();
        assert!(unpack_changes(&columns).is_err(), "{name}");
        json!({ "name": name, "bytes": hex(&columns.0) })
    };
    cases.iter().map(refused).collect()
}

fn put(offset: u64, key: &str, text: &str) -> Change {
    let kind = ChangeKind::Put(version::of_body(text.as_bytes()).unwrap(), text.as_bytes().to_vec());
    Change { offset: Offset(offset), collection: 0, key: key.to_owned(), kind }
}

#[test]
fn what_is_appended_is_ignored_and_what_follows_is_not() {
    let mut columns = Raw::sound().columns();
    columns.0[0] += 1;
    columns.0.push(7);
    assert_eq!(unpack_changes(&columns), unpack_changes(&Raw::sound().columns()));
    columns.0.push(7);
    assert!(unpack_changes(&columns).is_err());
}

#[test]
fn truncated_columns_are_errors_and_damaged_ones_never_panic() {
    for (name, changes) in examples::batches() {
        let bytes = pack(&changes).0;
        for length in 0..bytes.len() {
            assert!(unpack_changes(&Columns(bytes[..length].to_vec())).is_err(), "{name}: {length} bytes");
        }
        for at in 0..bytes.len() {
            for byte in [0, 1, 0x18, 0x1b, 0x3b, 0x40, 0x5b, 0x5f, 0x60, 0x7b, 0x80, 0x9b, 0xff, bytes[at] ^ 1] {
                let mut damaged = bytes.clone();
                damaged[at] = byte;
                let _ = unpack_changes(&Columns(damaged));
            }
        }
    }
}

/// A template, a key, or a key in a template, that unpacks to far more than it takes.
#[test]
fn what_would_unpack_to_too_much_is_refused() {
    let large = "x".repeat(1 << 20);
    let some = |count: usize, change: &dyn Fn(usize) -> Change| (0..count).map(change).collect::<Vec<_>>();
    let of_one_shape = |number: usize| put(1, &number.to_string(), &format!(r#"{{"{large}":{number}}}"#));
    let within = some(10, &of_one_shape);
    let columns = pack(&within);
    assert!(columns.0.len() < 2 << 20, "{} bytes", columns.0.len());
    assert_eq!(unpack_changes(&columns), Ok(within));
    let refused = |changes: &[Change]| {
        assert!(changes.iter().map(Change::bytes).sum::<usize>() > UNPACKED_BYTES_MAX);
        let columns = pack(changes);
        assert!(columns.0.len() < 3 << 20, "{} bytes", columns.0.len());
        let error = unpack_changes(&columns).unwrap_err().to_string();
        assert!(error.contains("64 MiB"), "{error}");
    };
    refused(&some(65, &of_one_shape));
    refused(&some(65, &|number| put(1, &format!("{large}{number}"), "1")));
    let members: Vec<String> = (0..40).map(|number| format!(r#""{number}":"{large}""#)).collect();
    let object = put(1, &large, &format!("{{{}}}", members.join(",")));
    refused(&[object.clone(), object]);
}

/// Templates have so many pieces at most; bodies beyond them travel whole.
#[test]
fn marks_are_limited() {
    let object = |first: usize, members: usize| {
        let members: Vec<String> = (first..first + members).map(|number| format!(r#""{number}":1"#)).collect();
        format!("{{{}}}", members.join(","))
    };
    let shapes = [object(0, 40_000), object(1, 40_000), object(2, 20_000)];
    let changes: Vec<Change> = shapes.iter().chain(&shapes).map(|text| put(1, "a", text)).collect();
    let columns = pack(&changes);
    let whole = columns.0.windows(shapes[1].len()).filter(|bytes| *bytes == shapes[1].as_bytes()).count();
    assert_eq!(whole, 2, "the second shape has no room");
    assert_eq!(unpack_changes(&columns), Ok(changes));
    let mut marks = vec![0x5a, 0, 1, 0, 0];
    marks.resize(5 + (1 << 16), 0);
    let head = [0x8a, 0x40, 0x40, 0x40, 0x40, 0x40, 0x40, 0x40, 0x40, 0x5a, 0, 1, 0, 5];
    let mut values = vec![0x9a, 0, 1, 0, 0];
    values.resize(5 + (1 << 16), 0x40);
    let error = unpack_changes(&Columns([&head[..], &marks, &values].concat())).unwrap_err().to_string();
    assert!(error.contains("too many marks"), "{error}");
}

/// A text of one of a few shapes, or of none.
fn text() -> impl Strategy<Value = String> {
    let odd = vec!["null", "true", "[]", "{}", "1e5", r#""\u0000\u0001""#, r#""}\",{""#, r#""k""#, r#""l""#];
    let scalar = move || {
        prop_oneof![
            any::<i64>().prop_map(|number| number.to_string()),
            any::<f64>().prop_filter_map("finite", |number| number.is_finite().then(|| json!(number).to_string())),
            any::<String>().prop_map(|text| json!(text).to_string()),
            prop::sample::select(odd.clone()).prop_map(str::to_owned),
        ]
    };
    let value = move || {
        prop_oneof![
            scalar(),
            vec(scalar(), 0..3).prop_map(|items| format!("[{}]", items.join(", "))),
            scalar().prop_map(|value| format!("{{\"a\" : {value},\"b\":[{value}]}}")),
        ]
    };
    let names = prop_oneof![Just(vec!["id", "title"]), Just(vec!["id", "title", "a:b,c}"]), Just(vec![r#"\"{"#])];
    let space = prop::sample::select(vec!["", " ", "\n\t"]);
    prop_oneof![
        (names, space, vec(value(), 3)).prop_map(|(names, space, values)| {
            let member = |(name, value): (&&str, &String)| format!("{space}\"{name}\"{space}:{space}{value}{space}");
            let members: Vec<String> = names.iter().zip(&values).map(member).collect();
            format!("{space}{{{}}}{space}", members.join(","))
        }),
        value(),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let kind = prop_oneof![
        5 => text().prop_map(|text| ChangeKind::Put(version::of_body(text.as_bytes()).unwrap(), text.into_bytes())),
        1 => Just(ChangeKind::Delete),
        1 => Just(ChangeKind::Leave),
        1 => any::<u64>().prop_map(|version| ChangeKind::Same(Version(version))),
    ];
    let key = prop_oneof!["[kl]{0,4}", "[käå\u{1f600}\0]{0,4}", any::<String>()];
    let offset = prop_oneof![0..10_u64, any::<u64>()];
    (offset, any::<u32>(), key, kind).prop_map(|(offset, collection, key, kind)| Change {
        offset: Offset(offset),
        collection,
        key,
        kind,
    })
}

proptest! {
    #[test]
    fn batches_round_trip(changes in vec(change(), 0..60)) {
        let columns = pack(&changes);
        let most: usize = changes.iter().map(Change::bytes).sum();
        prop_assert!(columns.0.len() <= most + 64, "{} of {most} bytes", columns.0.len());
        prop_assert_eq!(unpack_changes(&columns), Ok(changes));
    }

    /// Any bytes in place of some, and as a body.
    #[test]
    fn damage_never_panics(
        changes in vec(change(), 1..8),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        body in vec(any::<u8>(), 0..30),
    ) {
        let mut bytes = pack(&changes).0;
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = unpack_changes(&Columns(bytes));
        let odd = Change { kind: ChangeKind::Put(Version(1), body), ..changes[0].clone() };
        let _ = unpack_changes(&pack(&[odd.clone(), odd]));
    }
}
