//! The parser's refusals, and round trips.

use proptest::prelude::*;

use super::*;
use crate::limits::DEPTH_MAX;

/// Any value with exact numbers, nested a little.
pub(crate) fn any_value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<i64>().prop_map(|n| Number::from_i128(n.into())),
        any::<i128>().prop_map(Number::from_i128),
        any::<f64>().prop_filter_map("finite", Number::from_f64),
        (-50i64..50).prop_map(|n| Number::from_i128(n.into())),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        number.prop_map(Value::Number),
        ".{0,8}".prop_map(Value::String),
        any::<String>().prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::btree_map("[a-d~_\u{e000}\u{10000}\"]{0,3}", inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn kind(text: &str) -> JsonErrorKind {
    parse(text.as_bytes()).expect_err(text).kind
}

fn canonical_text(text: &str) -> String {
    String::from_utf8(canonical(&parse(text.as_bytes()).unwrap())).unwrap()
}

#[test]
fn refuses_with_offset() {
    use JsonErrorKind as K;
    for (text, offset, expected) in [
        ("", 0, K::End),
        ("[1,", 3, K::End),
        ("\"abc", 4, K::End),
        ("{\"a\"", 4, K::End),
        ("\"\\", 1, K::End),
        ("[1 2]", 3, K::Unexpected(b'2')),
        ("[1,]", 3, K::Unexpected(b']')),
        ("{,}", 1, K::Unexpected(b',')),
        ("{\"a\":1,}", 7, K::Unexpected(b'}')),
        ("{a:1}", 1, K::Unexpected(b'a')),
        ("nul", 0, K::Unexpected(b'n')),
        ("NaN", 0, K::Unexpected(b'N')),
        ("+1", 0, K::Unexpected(b'+')),
        ("1 1", 2, K::Trailing),
        ("truex", 4, K::Trailing),
        ("01", 0, K::Number),
        ("-", 0, K::Number),
        ("1.", 0, K::Number),
        ("[1.e3]", 1, K::Number),
        ("1e", 0, K::Number),
        ("1e+", 0, K::Number),
        ("[1e400]", 1, K::Range),
        ("-1e309", 0, K::Range),
        ("\"a\u{1}\"", 2, K::Control(1)),
        ("\"\\x\"", 1, K::Escape),
        ("\"\\u12g4\"", 1, K::Escape),
        ("\"\\u12\"", 1, K::Escape),
        ("\"\\u+123\"", 1, K::Escape),
        ("\"\\ud800\"", 1, K::Surrogate),
        ("\"x\\udc00\"", 2, K::Surrogate),
        ("\"\\ud800\\u0041\"", 1, K::Surrogate),
        ("\"\\ud800\\ud800\"", 1, K::Surrogate),
        ("[{\"a\":1,\"\\u0061\":2}]", 1, K::Duplicate("a".into())),
    ] {
        assert_eq!(parse(text.as_bytes()), Err(JsonError { offset, kind: expected }), "{text}");
    }
    assert_eq!(parse(b"\"\xff\"").unwrap_err(), JsonError { offset: 1, kind: K::Utf8 });
    assert_eq!(parse(b"\"\xed\xa0\x80\"").unwrap_err().kind, K::Utf8, "an encoded surrogate");
}

#[test]
fn duplicates_are_found_in_large_objects() {
    let members: Vec<String> = (0..500).map(|n| format!("\"m{n}\":0,")).collect();
    let text = format!("{{{}", members.concat());
    assert_eq!(kind(&format!("{text}\"m250\":1}}")), JsonErrorKind::Duplicate("m250".into()));
    assert!(parse(format!("{text}\"other\":1}}").as_bytes()).is_ok());
}

#[test]
fn depth_ends_at_the_limit() {
    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(parse(nested(DEPTH_MAX).as_bytes()).unwrap().depth(), DEPTH_MAX);
    assert_eq!(kind(&nested(DEPTH_MAX + 1)), JsonErrorKind::Depth);
    assert_eq!(kind(&"[".repeat(1_000_000)), JsonErrorKind::Depth);
}

#[test]
fn check_applies_the_size_limit() {
    let limits = Limits { document_bytes_max: 4, ..Limits::default() };
    assert!(check(b"1234", &limits).is_ok());
    let error = check(b"12345", &limits).unwrap_err();
    assert_eq!(error.kind, JsonErrorKind::TooLarge { bytes: 5, limit: 4 });
    assert_eq!(error.to_string(), "at byte 4: the document has 5 bytes and the limit is 4; split it");
}

#[test]
fn literals_survive_and_canonical_numbers_agree() {
    let text = "{\"b\":1.0,\"a\":[1e2,-0,12345678901234567890123,0.10]}";
    assert_eq!(write(&parse(text.as_bytes()).unwrap()), text.as_bytes());
    for (literal, expected) in [
        ("1.0", "1"),
        ("1e2", "100"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("1e-400", "0"),
        ("0.10", "0.1"),
        ("1E21", "1e+21"),
        ("1e20", "1e20"),
        ("100000000000000000000", "100000000000000000000"),
        ("9007199254740991.0", "9007199254740991"),
        ("9007199254740992.0", "9.007199254740992e15"),
        ("-9007199254740994e0", "-9.007199254740994e15"),
        ("9007199254740993", "9007199254740993"),
        ("5e-324", "5e-324"),
    ] {
        assert_eq!(canonical_text(literal), expected, "{literal}");
    }
}

#[test]
fn canonical_sorts_by_utf16() {
    assert_eq!(canonical_text("{\"\u{e000}\":1,\"\u{10000}\":2,\"b\":3,\"a\":4,\"\":5}"), {
        "{\"\":5,\"a\":4,\"b\":3,\"\u{10000}\":2,\"\u{e000}\":1}"
    });
    assert_eq!(canonical_text("\"\\u001F\\/\\u007f\\b\\n\\u00e9\""), "\"\\u001f/\u{7f}\\b\\n\u{e9}\"");
}

#[test]
fn equality_ignores_order_and_spelling() {
    let equal = |a: &str, b: &str| parse(a.as_bytes()).unwrap() == parse(b.as_bytes()).unwrap();
    assert!(equal("{\"a\":1,\"__proto__\":[2.0]}", "{\"__proto__\":[2],\"a\":1e0}"));
    assert!(!equal("{\"a\":1,\"b\":2}", "{\"a\":1,\"c\":2}"));
    assert!(!equal("{\"a\":1}", "{\"a\":1,\"b\":null}"));
    assert!(!equal("[1,2]", "[2,1]"));
    assert!(!equal("9007199254740993", "9007199254740992"));
    assert!(!equal("9007199254740992", "9007199254740992.0"));
}

proptest! {
    #[test]
    fn written_text_parses_to_the_same(value in any_value()) {
        let text = write(&value);
        let parsed = parse(&text).unwrap();
        prop_assert_eq!(&parsed, &value);
        prop_assert_eq!(write(&parsed), text);
        let canonical_form = canonical(&value);
        let reparsed = parse(&canonical_form).unwrap();
        prop_assert_eq!(&reparsed, &value);
        prop_assert_eq!(canonical(&reparsed), canonical_form);
    }

    #[test]
    fn order_is_that_of_utf16(a in any::<String>(), b in any::<String>()) {
        prop_assert_eq!(utf16_order(&a, &b), a.encode_utf16().cmp(b.encode_utf16()));
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\",:\\u0d8e-.1 ".to_vec())], 0..60)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn what_serde_reads_we_read_alike(value in any_value()) {
        let text = write(&value);
        let theirs: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let again = parse(theirs.to_string().as_bytes()).unwrap();
        // serde_json holds integers beyond 64 bits as doubles.
        if again != value {
            prop_assert!(String::from_utf8_lossy(&text).bytes().filter(u8::is_ascii_digit).count() > 16);
        }
    }
}
