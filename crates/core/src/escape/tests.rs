//! Round trips of values, and the scan against the codec.

use proptest::prelude::*;

use super::*;
use crate::json::tests::any_value;
use crate::json::{parse, write};

fn any_cloned() -> impl Strategy<Value = Cloned> {
    let leaf = prop_oneof![
        Just(Cloned::Undefined),
        Just(Cloned::Null),
        any::<bool>().prop_map(Cloned::Bool),
        prop_oneof![any::<f64>(), Just(-0.0), Just(f64::INFINITY), (-9i32..9).prop_map(f64::from)]
            .prop_filter("NaN differs from itself", |number| !number.is_nan())
            .prop_map(Cloned::Number),
        any::<i128>().prop_map(|n| Cloned::BigInt(Number::from_i128(n))),
        any::<i32>().prop_map(|n| Cloned::BigInt(Number::from_i128(n.into()))),
        any::<String>().prop_map(Cloned::String),
        prop::option::of(any::<i32>().prop_map(f64::from)).prop_map(Cloned::Date),
        (prop::sample::select(BytesKind::ALL), prop::collection::vec(any::<[u8; 8]>(), 0..3))
            .prop_map(|(kind, bytes)| Cloned::Bytes(kind, bytes.concat())),
        ("[a-z(]{0,3}", "g?i?").prop_map(|(source, flags)| Cloned::RegExp(source, flags)),
        (".{0,3}", ".{0,3}").prop_map(|(name, message)| Cloned::Error(name, message)),
    ];
    leaf.prop_recursive(4, 30, 4, |inner| {
        let name = prop_oneof!["[ab]{0,2}", "~{0,3}(date|map|number|undefined|dates)"];
        prop_oneof![
            prop::collection::vec((inner.clone(), inner.clone()), 0..3).prop_map(Cloned::Map),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Cloned::Set),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Cloned::Array),
            prop::collection::btree_map(name, inner, 0..3)
                .prop_map(|members| Cloned::Object(members.into_iter().collect())),
        ]
    })
}

/// What `JSON.parse` makes of a value.
fn plain(value: &Value) -> Cloned {
    match value {
        Value::Number(number) => Cloned::Number(number.as_f64()),
        Value::Array(elements) => Cloned::Array(elements.iter().map(plain).collect()),
        Value::Object(members) => {
            Cloned::Object(members.iter().map(|(name, value)| (name.clone(), plain(value))).collect())
        }
        Value::Null | Value::Bool(_) | Value::String(_) => decode(value),
    }
}

/// Equality that tells -0 from 0.
fn same(a: &Cloned, b: &Cloned) -> bool {
    format!("{a:?}") == format!("{b:?}")
}

proptest! {
    #[test]
    fn values_round_trip(value in any_cloned()) {
        let text = write(&encode(&value));
        let decoded = decode(&parse(&text).unwrap());
        prop_assert!(same(&decoded, &value), "{} {:?}", String::from_utf8_lossy(&text), decoded);
    }

    #[test]
    fn the_scan_misses_nothing(value in prop_oneof![any_value(), any_cloned().prop_map(|value| encode(&value))]) {
        let text = write(&value);
        if !needs_decoding(&text) {
            prop_assert!(same(&decode(&value), &plain(&value)), "{}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn decoding_is_total_and_stable(value in any_value()) {
        let decoded = decode(&value);
        prop_assert!(same(&decode(&encode(&decoded)), &decoded));
    }
}

#[test]
fn ordinary_documents_need_no_decoding() {
    let text = r#"{"id":"a-0","n":-0.5,"m":-1,"at":1700000000000,"pi":3.14159265358979,"s":"x\u007e \"~\" 12345678901234567890","t":"2024-01-05"}"#;
    assert!(!needs_decoding(text.as_bytes()));
}

#[test]
fn the_scan_sees() {
    for text in [
        r#"{"~date":1}"#,
        r#"{"\u007edate":1}"#,
        r#"{"a\\":{"~set":[]}}"#,
        "[9007199254740993]",
        "-9007199254740993",
        "-0",
        "[-0.0]",
        "-0e1",
        "-1e-400",
    ] {
        assert!(needs_decoding(text.as_bytes()), "{text}");
    }
}

#[test]
fn invalid_payloads_are_plain_objects() {
    for text in [
        r#"{"~date":"x"}"#,
        r#"{"~date":1.5}"#,
        r#"{"~date":8640000000000001}"#,
        r#"{"~bytes":["Uint16Array","AA=="]}"#,
        r#"{"~bytes":["Nope",""]}"#,
        r#"{"~bytes":["Uint8Array","A"]}"#,
        r#"{"~map":[[1]]}"#,
        r#"{"~set":{}}"#,
        r#"{"~bigint":"9007199254740992"}"#,
        r#"{"~bigint":"01"}"#,
        r#"{"~bigint":1}"#,
        r#"{"~undefined":0}"#,
        r#"{"~number":"1"}"#,
        r#"{"~regexp":["a","gg"]}"#,
        r#"{"~error":["Error"]}"#,
        r#"{"~date":1,"a":2}"#,
    ] {
        assert!(matches!(decode(&parse(text.as_bytes()).unwrap()), Cloned::Object(_)), "{text}");
    }
}
