//! `keys.json`

use serde_json::Value as Json;
use tidelock_core::key::{Key, decode, encode};

use crate::{list, read, text, unhex};

fn key(json: &Json) -> Key {
    match (text(&json[0]), &json[1]) {
        ("string", value) => Key::String(text(value).to_owned()),
        ("number", value) => Key::Number(text(value).parse().unwrap()),
        ("date", value) => Key::Date(value.as_f64().unwrap_or(f64::NAN)),
        ("binary", value) => Key::Binary(unhex(text(value))),
        ("array", value) => Key::Array(list(value).iter().map(key).collect()),
        (kind, _) => panic!("unknown type of key {kind}"),
    }
}

#[test]
fn keys_and_forms() {
    for vector in list(&read("keys.json")["keys"]) {
        let (key, form) = (key(&vector["key"]), text(&vector["form"]));
        assert_eq!(encode(&key).as_deref(), Ok(form), "{vector}");
        assert_eq!(decode(form), Ok(key), "{vector}");
    }
}

#[test]
fn keys_stand_in_order() {
    let vectors = read("keys.json");
    let keys: Vec<Key> = list(&vectors["keys"]).iter().map(|vector| key(&vector["key"])).collect();
    for (at, pair) in keys.windows(2).enumerate() {
        assert!(pair[0] < pair[1], "{}", vectors["keys"][at]);
    }
}

#[test]
fn forms_of_equal_keys() {
    for vector in list(&read("keys.json")["encode_only"]) {
        assert_eq!(encode(&key(&vector["key"])).as_deref(), Ok(text(&vector["form"])), "{vector}");
    }
}

#[test]
fn invalid_forms_and_keys() {
    for form in list(&read("keys.json")["invalid_forms"]) {
        assert!(decode(text(form)).is_err(), "{form}");
    }
    for invalid in list(&read("keys.json")["invalid_keys"]) {
        assert!(encode(&key(invalid)).is_err(), "{invalid}");
    }
}
