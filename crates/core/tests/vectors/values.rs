//! `values.json`

use serde_json::Value as Json;
use tidelock_core::escape::{BytesKind, Cloned, decode, encode, needs_decoding};
use tidelock_core::json::{Number, parse, write};

use crate::{list, read, text, unhex};

fn value(json: &Json) -> Cloned {
    let pair = |pair: &Json| (value(&pair[0]), value(&pair[1]));
    let owned = |json: &Json| text(json).to_owned();
    match text(&json[0]) {
        "undefined" => Cloned::Undefined,
        "null" => Cloned::Null,
        "boolean" => Cloned::Bool(json[1].as_bool().unwrap()),
        "number" => Cloned::Number(text(&json[1]).parse().unwrap()),
        "bigint" => Cloned::BigInt(Number::from_integer_text(text(&json[1])).unwrap()),
        "string" => Cloned::String(owned(&json[1])),
        "date" => Cloned::Date(json[1].as_f64()),
        "bytes" => Cloned::Bytes(kind(text(&json[1])), unhex(text(&json[2]))),
        "map" => Cloned::Map(list(&json[1]).iter().map(pair).collect()),
        "set" => Cloned::Set(list(&json[1]).iter().map(value).collect()),
        "regexp" => Cloned::RegExp(owned(&json[1]), owned(&json[2])),
        "error" => Cloned::Error(owned(&json[1]), owned(&json[2])),
        "array" => Cloned::Array(list(&json[1]).iter().map(value).collect()),
        "object" => {
            Cloned::Object(list(&json[1]).iter().map(|member| (owned(&member[0]), value(&member[1]))).collect())
        }
        other => panic!("unknown type of value {other}"),
    }
}

fn kind(name: &str) -> BytesKind {
    BytesKind::ALL.iter().copied().find(|kind| kind.name() == name).unwrap()
}

/// Decoded text, compared so that -0 differs from 0 and NaN equals itself.
#[track_caller]
fn check_decodes(json: &str, expected: &Json) {
    let decoded = decode(&parse(json.as_bytes()).unwrap());
    assert_eq!(format!("{decoded:?}"), format!("{:?}", value(expected)), "{json}");
}

#[test]
fn values_and_their_json() {
    for vector in list(&read("values.json")["values"]) {
        let json = text(&vector["json"]);
        assert_eq!(String::from_utf8(write(&encode(&value(&vector["value"])))).unwrap(), json, "{vector}");
        check_decodes(json, &vector["value"]);
        if let Some(needed) = vector["needs_decoding"].as_bool() {
            assert_eq!(needs_decoding(json.as_bytes()), needed, "{vector}");
        }
    }
}

#[test]
fn json_that_only_decodes() {
    for vector in list(&read("values.json")["decode_only"]) {
        check_decodes(text(&vector["json"]), &vector["value"]);
    }
}

#[test]
fn every_kind_of_bytes_has_a_vector() {
    let vectors = read("values.json");
    for kind in BytesKind::ALL {
        assert!(list(&vectors["values"]).iter().any(|vector| vector["value"][1] == kind.name()), "{kind:?}");
    }
}
