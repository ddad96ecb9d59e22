//! Sub-document commands: what their validators refuse (`daemon/subdocument_validators.cc`, `daemon/subdocument_traits.h`), and what they do
//! (daemon/subdocument.cc, `daemon/subdocument_context.cc`).

use crate::client::{ALL, Answer, Client, Request, double, on};

const GET: u8 = 0x00;
const SET: u8 = 0x01;
const DELETE: u8 = 0x04;
const GET_PATH: u8 = 0xc5;
const EXISTS: u8 = 0xc6;
const DICT_ADD: u8 = 0xc7;
const DICT_UPSERT: u8 = 0xc8;
const DELETE_PATH: u8 = 0xc9;
const REPLACE: u8 = 0xca;
const PUSH_LAST: u8 = 0xcb;
const INSERT: u8 = 0xcd;
const ADD_UNIQUE: u8 = 0xce;
const COUNTER: u8 = 0xcf;
const LOOKUP: u8 = 0xd0;
const MUTATION: u8 = 0xd1;
const GET_COUNT: u8 = 0xd2;
const REPLACE_BODY: u8 = 0xd3;

const WAY: u8 = 0x01;
const XATTR: u8 = 0x04;
const MACROS: u8 = 0x10;
const BINARY: u8 = 0x20;

const MAKE: u8 = 0x01;
const ADD: u8 = 0x02;
const DELETED: u8 = 0x04;
const AS_DELETED: u8 = 0x08;
const REVIVE: u8 = 0x10;

const OK: u16 = 0;
const NOT_FOUND: u16 = 0x01;
const KEY_EXISTS: u16 = 0x02;
const TOO_BIG: u16 = 0x03;
const INVALID: u16 = 0x04;
const XATTR_INVALID: u16 = 0x87;
const PATH_NOT_FOUND: u16 = 0xc0;
const PATH_TOO_BIG: u16 = 0xc3;
const VALUE_CANNOT_INSERT: u16 = 0xc5;
const NOT_JSON: u16 = 0xc6;
const COMBINATION: u16 = 0xcb;
const PATHS_FAILED: u16 = 0xcc;
const OK_DELETED: u16 = 0xcd;
const FLAG_COMBINATION: u16 = 0xce;
const UNKNOWN_MACRO: u16 = 0xd0;
const UNKNOWN_VATTR: u16 = 0xd1;
const VATTR: u16 = 0xd2;
const PATHS_FAILED_DELETED: u16 = 0xd3;
const ORDER: u16 = 0xd4;
const UNKNOWN_VATTR_MACRO: u16 = 0xd5;
const ONLY_DELETED: u16 = 0xd6;
const NO_VALUE: u16 = 0xd7;

/// What a command takes that makes documents.
const MAKING: u8 = MAKE | ADD | AS_DELETED | DELETED | REVIVE;

/// A path of a command: its own command, flags, path, value.
type Path<'a> = (u8, u8, &'a str, &'a str);

fn multi(opcode: u8, key: &str, flags: u8, paths: &[Path<'_>]) -> Request {
    let mut value = Vec::new();
    for (code, path_flags, path, text) in paths {
        value.extend([*code, *path_flags]);
        value.extend(u16::try_from(path.len()).unwrap().to_be_bytes());
        if opcode == MUTATION {
            value.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
        }
        value.extend(path.bytes());
        value.extend(text.bytes());
    }
    let extras = if flags == 0 { vec![] } else { vec![flags] };
    on(opcode, key).extras(&extras).value(&value)
}

fn mutate(key: &str, flags: u8, paths: &[Path<'_>]) -> Request {
    multi(MUTATION, key, flags, paths)
}

fn look(key: &str, flags: u8, paths: &[Path<'_>]) -> Request {
    multi(LOOKUP, key, flags, paths)
}

/// A command on one path.
fn single(opcode: u8, key: &str, path_flags: u8, path: &str, value: &str, more: &[u8]) -> Request {
    let length = u16::try_from(path.len()).unwrap().to_be_bytes();
    let extras = [&[length[0], length[1], path_flags], more].concat();
    on(opcode, key).extras(&extras).value(&[path, value].concat().into_bytes())
}

/// The flags that a command on a path takes, and those that it does not.
#[tokio::test]
async fn every_command_has_its_flags() {
    let double = double().await;
    let mut client = Client::new(&double, ALL).await;
    for (code, value, path_flags, doc_flags) in [
        (SET, "1", 0, MAKE | ADD),
        (DELETE, "", 0, DELETED | REVIVE),
        (DICT_ADD, "1", WAY | XATTR | MACROS, MAKING),
        (DICT_UPSERT, "1", WAY | XATTR | MACROS, MAKING),
        (DELETE_PATH, "", XATTR, DELETED | REVIVE),
        (REPLACE, "1", XATTR | MACROS, DELETED | REVIVE | ADD),
        (PUSH_LAST, "1", WAY | XATTR | MACROS, MAKING),
        (0xcc, "1", WAY | XATTR | MACROS, MAKING),
        (INSERT, "1", XATTR | MACROS, DELETED | REVIVE | ADD | AS_DELETED),
        (ADD_UNIQUE, "1", WAY | XATTR, MAKING),
        (COUNTER, "1", WAY | XATTR, MAKING),
        (REPLACE_BODY, "", XATTR, DELETED | REVIVE),
    ] {
        let is_whole = code == SET || code == DELETE;
        let path = if is_whole { "" } else { "x[0]" };
        let needed = if code == REPLACE_BODY { XATTR } else { 0 };
        for flag in [WAY, XATTR, MACROS, BINARY, 0x02, 0x08, 0x40, 0x80] {
            // Macros need more than their flag.
            let flags = if flag == MACROS { MACROS | XATTR } else { flag | needed };
            let value = if flag == MACROS { "\"${Mutation.CAS}\"" } else { value };
            let status = client.status(&mutate("flags", 0, &[(code, flags, path, value)])).await;
            let is_taken = path_flags & flags == flags;
            assert_eq!(status, if is_taken { NOT_FOUND } else { INVALID }, "{code:#x}: the path's flag {flag:#x}");
        }
        for flag in [MAKE, ADD, DELETED, AS_DELETED, REVIVE | DELETED, 0x20, 0x40, 0x80] {
            // The value cannot be inserted, so nothing is made.
            let value = if value.is_empty() || is_whole { value } else { "}" };
            let key = if is_whole { "whole" } else { "flags" };
            let status = client.status(&mutate(key, flag, &[(code, needed, path, value)])).await;
            let is_refused = status == INVALID;
            assert_eq!(is_refused, doc_flags & flag != flag, "{code:#x}: the command's flag {flag:#x}: {status:#x}");
            client.call(&on(DELETE, key)).await;
        }
    }
    for (code, path) in [(GET, ""), (GET_PATH, "x"), (EXISTS, "x"), (GET_COUNT, "")] {
        for flag in [MAKE, ADD, AS_DELETED, 0x20, DELETED, DELETED | REVIVE] {
            let status = client.status(&look("nothing", flag, &[(code, 0, path, "")])).await;
            let is_taken = flag & !(DELETED | REVIVE) == 0;
            assert_eq!(status, if is_taken { NOT_FOUND } else { INVALID }, "{code:#x}: the flag {flag:#x}");
        }
    }
}

fn forms() -> Vec<(&'static str, Request, u16)> {
    let upsert: Path<'_> = (DICT_UPSERT, 0, "a", "1");
    let xattr: Path<'_> = (DICT_UPSERT, XATTR, "x", "1");
    let of = |paths: &[Path<'_>]| mutate("k", 0, paths);
    let with = |extras: &[u8]| of(&[upsert]).extras(extras);
    vec![
        ("no path", of(&[]), COMBINATION),
        ("16 paths", of(&[upsert; 16]), NOT_FOUND),
        ("17 paths", of(&[upsert; 17]), COMBINATION),
        ("half a path", on(MUTATION, "k").value(&[DICT_UPSERT, 0, 0, 9, 0, 0, 0, 0]), INVALID),
        ("a lookup in a mutation", of(&[(GET_PATH, 0, "a", "")]), COMBINATION),
        ("a mutation in a lookup", look("k", 0, &[(DICT_UPSERT, 0, "a", "")]), COMBINATION),
        ("a command that is none of a path", of(&[(0x02, 0, "", "1")]), COMBINATION),
        ("a multi command in itself", of(&[(MUTATION, 0, "a", "1")]), COMBINATION),
        ("a whole body with a path", of(&[(SET, 0, "a", "1")]), INVALID),
        ("a whole body that is empty", of(&[(SET, 0, "", "")]), INVALID),
        ("a deletion with a value", of(&[(DELETE_PATH, 0, "a", "1")]), INVALID),
        ("an addition without a value", of(&[(DICT_ADD, 0, "a", "")]), INVALID),
        ("an addition without a path", of(&[(DICT_ADD, 0, "", "1")]), INVALID),
        ("a push without a path", of(&[(PUSH_LAST, 0, "", "1")]), NOT_FOUND),
        ("a path of 1,024 bytes", of(&[(DICT_UPSERT, 0, &"p".repeat(1024), "1")]), NOT_FOUND),
        ("a path that is longer", of(&[(DICT_UPSERT, 0, &"p".repeat(1025), "1")]), INVALID),
        ("an xattr after the body", of(&[upsert, xattr]), ORDER),
        ("a deletion after an xattr", of(&[xattr, (DELETE, 0, "", "")]), NOT_FOUND),
        ("a deletion after another path of the body", of(&[upsert, (DELETE, 0, "", "")]), COMBINATION),
        ("a path after a deletion", of(&[(DELETE, 0, "", ""), upsert]), COMBINATION),
        ("an expiry", with(&[0, 0, 0, 9]), NOT_FOUND),
        ("expiry and the document's flags", with(&[0; 8]), NOT_FOUND),
        ("all of them", with(&[0; 9]), NOT_FOUND),
        ("odd extras", with(&[0; 3]), INVALID),
        ("a lookup with an expiry", look("k", 0, &[(GET, 0, "", "")]).extras(&[0; 4]), INVALID),
        ("add and make", mutate("k", ADD | MAKE, &[upsert]), INVALID),
        ("add with a CAS", mutate("k", ADD, &[upsert]).cas(1), INVALID),
        ("revive what is not looked at", mutate("k", REVIVE, &[xattr]), INVALID),
        ("revive as a tombstone", mutate("k", REVIVE | DELETED | AS_DELETED | MAKE, &[xattr]), INVALID),
        ("a tombstone that is not made", mutate("k", AS_DELETED, &[xattr]), NOT_FOUND),
    ]
}

fn single_forms() -> Vec<(&'static str, Request, u16)> {
    let one = |more: &[u8]| single(DICT_UPSERT, "k", XATTR, "x", "1", more);
    vec![
        ("one path", one(&[]), NOT_FOUND),
        ("with all extras", one(&[0; 9]), NOT_FOUND),
        ("with odd extras", one(&[0; 2]), INVALID),
        ("without extras", on(DICT_UPSERT, "k").value(b"x1"), INVALID),
        ("a path longer than the value", on(DICT_UPSERT, "k").extras(&[0, 9, 0]).value(b"x1"), INVALID),
        ("a lookup with an expiry", single(GET_PATH, "k", 0, "x", "", &[0; 4]), INVALID),
        ("a lookup with a value", single(GET_PATH, "k", 0, "x", "1", &[]), INVALID),
        ("a mutation without a value", single(DICT_UPSERT, "k", 0, "x", "", &[]), INVALID),
        ("a tombstone that is not made", one(&[AS_DELETED]), INVALID),
        ("a tombstone with a body", single(DICT_UPSERT, "k", 0, "x", "1", &[AS_DELETED | MAKE]), INVALID),
        ("the body from the body", single(REPLACE_BODY, "k", 0, "x", "", &[]), INVALID),
    ]
}

fn xattr_forms() -> Vec<(&'static str, Request, u16)> {
    let named = |name: &str| mutate("k", 0, &[(DICT_UPSERT, XATTR, name, "1")]);
    let expanding = |value: &str| mutate("k", 0, &[(DICT_UPSERT, XATTR | MACROS, "x", value)]);
    vec![
        ("a name of 15 bytes", named("123456789012345"), NOT_FOUND),
        ("a name of 16 bytes", named("1234567890123456"), XATTR_INVALID),
        ("a name of 15 bytes and a path", named("123456789012345.more"), NOT_FOUND),
        ("no name", named(""), XATTR_INVALID),
        ("a path without a name", named(".x"), XATTR_INVALID),
        ("a system name that ends", named("_"), XATTR_INVALID),
        ("a system name that ends before its path", named("_.x"), XATTR_INVALID),
        ("a name with a sign", named("#x"), XATTR_INVALID),
        ("a name with a control character", named("\u{7}x"), XATTR_INVALID),
        ("a name with a zero", named("x\0"), XATTR_INVALID),
        ("a virtual xattr", named("$document.x"), VATTR),
        ("macros in the body", mutate("k", 0, &[(DICT_UPSERT, MACROS, "x", "\"${Mutation.CAS}\"")]), FLAG_COMBINATION),
        ("a macro", expanding("\"${Mutation.seqno}\""), NOT_FOUND),
        ("a virtual macro", expanding("\"${$document.CAS}\""), NOT_FOUND),
        ("an unknown macro", expanding("\"${Mutation.rev}\""), UNKNOWN_MACRO),
        ("a macro in something", expanding("{\"a\":\"${Mutation.CAS}\"}"), UNKNOWN_MACRO),
        ("a macro without quotes", expanding("${Mutation.CAS}"), UNKNOWN_MACRO),
    ]
}

#[tokio::test]
async fn commands_have_their_form() {
    let double = double().await;
    let mut client = Client::new(&double, ALL).await;
    for table in [forms(), single_forms(), xattr_forms()] {
        client.check(table).await;
    }
}

/// The results of a lookup: status and value of each path.
fn results(answer: &Answer) -> Vec<(u16, String)> {
    let mut rest = &answer.value[..];
    let mut results = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[2..6].try_into().unwrap()) as usize;
        results
            .push((u16::from_be_bytes([rest[0], rest[1]]), String::from_utf8(rest[6..6 + length].to_vec()).unwrap()));
        rest = &rest[6 + length..];
    }
    results
}

fn expect(answer: &Answer, status: u16, expected: &[(u16, &str)]) {
    let found = results(answer);
    let found: Vec<(u16, &str)> = found.iter().map(|(status, text)| (*status, text.as_str())).collect();
    assert_eq!((answer.status, &found[..]), (status, expected));
}

#[tokio::test]
async fn tombstones_are_made_changed_and_revived() {
    let double = double().await;
    let mut client = Client::new(&double, ALL).await;
    let xattr = |name: &'static str, value: &'static str| (DICT_UPSERT, XATTR, name, value);
    let staged = xattr("_t", "{\"b\":{\"n\":1}}");
    client
        .check(vec![
            ("a tombstone with a body", mutate("t", MAKE | AS_DELETED, &[(DICT_UPSERT, 0, "a", "1")]), PATHS_FAILED),
            ("a tombstone", mutate("t", ADD | DELETED | AS_DELETED, &[xattr("u", "1"), staged]), OK_DELETED),
            ("another over it", mutate("t", ADD | DELETED | AS_DELETED, &[staged]), KEY_EXISTS),
            ("who does not look", mutate("t", 0, &[staged]), NOT_FOUND),
            ("a body for it", mutate("t", DELETED, &[(REPLACE_BODY, XATTR, "_t.b", "")]), NO_VALUE),
            ("a member of its body", mutate("t", DELETED, &[(DICT_UPSERT, 0, "a", "1")]), PATHS_FAILED),
            ("a set over it by who looks", mutate("t", ADD | DELETED, &[(SET, 0, "", "1")]), INVALID),
            ("a revival by a set", mutate("t", REVIVE | DELETED, &[(SET, 0, "", "1")]), INVALID),
            ("a deletion of it", mutate("t", DELETED, &[(DELETE, 0, "", "")]), OK_DELETED),
        ])
        .await;
    let failed = client.call(&mutate("t", DELETED, &[staged, (DICT_UPSERT, 0, "a", "1")])).await.unwrap();
    assert_eq!((failed.status, failed.failed_path()), (PATHS_FAILED, Some((1, NOT_JSON))));
    let paths = [(GET_PATH, XATTR, "u", ""), (GET_PATH, 0, "a", ""), (GET, 0, "", "")];
    let seen = client.call(&look("t", DELETED, &paths)).await.unwrap();
    expect(&seen, PATHS_FAILED_DELETED, &[(PATH_NOT_FOUND, ""), (NOT_JSON, ""), (PATH_NOT_FOUND, "")]);
    let cas = client.call(&look("t", DELETED, &[(GET_PATH, XATTR, "_t", "")])).await.unwrap().cas;
    let revival: &[Path<'_>] = &[(REPLACE_BODY, XATTR, "_t.b", ""), (DELETE_PATH, XATTR, "_t", "")];
    client
        .check(vec![
            ("a lookup with a wrong CAS", look("t", DELETED, &[(EXISTS, XATTR, "_t", "")]).cas(cas + 1), KEY_EXISTS),
            ("a revival with a wrong CAS", mutate("t", REVIVE | DELETED, revival).cas(cas + 1), KEY_EXISTS),
            ("a revival", mutate("t", REVIVE | DELETED, revival).cas(cas), OK),
            ("another", mutate("t", REVIVE | DELETED, &[staged]), ONLY_DELETED),
            ("one that only looks", look("t", REVIVE | DELETED, &[(GET, 0, "", "")]), ONLY_DELETED),
        ])
        .await;
    let seen = client.call(&look("t", 0, &[(GET_PATH, XATTR, "$XTOC", ""), (GET, 0, "", "")])).await.unwrap();
    expect(&seen, OK, &[(OK, "[]"), (OK, "{\"n\":1}")]);
    // An expiry that is kept is the time of the deletion.
    let cas = client.call(&mutate("e", ADD | DELETED | AS_DELETED, &[staged])).await.unwrap().cas;
    let kept = mutate("e", REVIVE | DELETED, revival).cas(cas).frames(&[0x50]);
    client.check(vec![("a revival that keeps it", kept, OK), ("is over", on(GET, "e"), NOT_FOUND)]).await;
    // User xattrs go with the document; when none is left, a deletion of the tombstone finds nothing.
    client
        .check(vec![
            ("xattrs of both kinds", mutate("t", 0, &[xattr("u", "1"), xattr("_s", "1"), (DELETE, 0, "", "")]), OK),
            ("one is left", look("t", DELETED, &[(EXISTS, XATTR, "_s", "")]), OK_DELETED),
            ("and goes", mutate("t", DELETED, &[(DELETE_PATH, XATTR, "_s", ""), (DELETE, 0, "", "")]), NOT_FOUND),
        ])
        .await;
}

#[tokio::test]
async fn documents_are_made_of_what_paths_need() {
    let double = double().await;
    let mut client = Client::new(&double, ALL).await;
    for (what, paths, body) in [
        ("an object for a member", &[(DICT_UPSERT, 0, "a.b", "1")][..], "{\"a\":{\"b\":1}}"),
        ("an array for a push", &[(PUSH_LAST, 0, "", "1,2")], "[1,2]"),
        ("an object for an xattr", &[(DICT_UPSERT, XATTR, "x", "1")], "{}"),
        ("nothing for a whole body", &[(SET, 0, "", "7")], "7"),
        ("a whole body over the object", &[(DICT_UPSERT, XATTR, "x", "1"), (SET, 0, "", "7")], "7"),
    ] {
        // A CAS is of a document that is there.
        assert_eq!(client.status(&mutate("m", MAKE, paths).cas(5)).await, OK, "{what}");
        assert_eq!(client.call(&on(GET, "m")).await.unwrap().value, body.as_bytes(), "{what}");
        assert_eq!(client.status(&on(DELETE, "m")).await, OK);
    }
    // The document's flags come with the command, or stay.
    let set = |extras: &[u8]| mutate("m", 0, &[(SET, 0, "", "7")]).extras(extras);
    for (extras, flags) in [(&[0, 0, 0, 0, 0, 0, 0, 6, MAKE][..], 6), (&[], 6), (&[0, 0, 0, 0, 0, 0, 0, 0], 0)] {
        assert_eq!(client.status(&set(extras)).await, OK);
        assert_eq!(client.call(&on(GET, "m")).await.unwrap().extras, [0, 0, 0, flags]);
    }
}

#[tokio::test]
async fn macros_are_expanded_in_order_and_xattrs_written_in_one_form() {
    let double = double().await;
    let mut client = Client::new(&double, ALL).await;
    let crc = "\"${Mutation.value_crc32c}\"";
    let expanding = XATTR | MACROS;
    let paths: &[Path<'_>] = &[
        (DICT_UPSERT, XATTR, "z", "{ \"b\" : 1.0, \"a\": [ ] }"),
        (DICT_UPSERT, expanding, "_x.gone", crc),
        (DICT_UPSERT, XATTR, "_x", "{\"v\":1}"),
        (DICT_UPSERT, expanding, "_x.crc", crc),
        (SET, 0, "", "123456789"),
    ];
    assert_eq!(client.status(&mutate("x", MAKE, paths)).await, OK);
    let seen = ["$XTOC", "z", "_x"].map(|name| (GET_PATH, XATTR, name, ""));
    let expected = [(OK, "[\"_x\",\"z\"]"), (OK, "{\"a\":[],\"b\":1.0}"), (OK, "{\"crc\":\"0xe3069283\",\"v\":1}")];
    expect(&client.call(&look("x", 0, &seen)).await.unwrap(), OK, &expected);
    for (value, status) in [
        ("\"${$document.revid}\"", OK),
        ("\"${$document}\"", OK),
        ("\"${$document.value_crc32c}\"", UNKNOWN_VATTR_MACRO),
        ("\"${$document.none}\"", UNKNOWN_VATTR_MACRO),
    ] {
        assert_eq!(client.status(&single(DICT_UPSERT, "x", expanding, "m", value, &[])).await, status, "{value}");
    }
    let vattrs = ["$vbucket.HLC.mode", "$document.deleted", "$other"].map(|name| (GET_PATH, XATTR, name, ""));
    let expected = [(OK, "\"real\""), (OK, "false"), (UNKNOWN_VATTR, "")];
    expect(&client.call(&look("x", 0, &vattrs)).await.unwrap(), PATHS_FAILED, &expected);
}

#[tokio::test]
async fn limits_are_those_of_the_server() {
    let double = double().await;
    let mut client = Client::new(&double, ALL).await;
    let text = |length: usize| format!("\"{}\"", "x".repeat(length));
    let (system, user) = (text(1 << 20), text(2 << 20));
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let (deep, deeper) = (nested(30), nested(40));
    let steps = |count: usize| vec!["a"; count].join(".");
    let upsert = |flags, path: &str, value: &str| single(DICT_UPSERT, "l", flags, path, value, &[MAKE]);
    let raw = |value: &str| on(SET, "raw").extras(&[0; 8]).value(value.as_bytes());
    client
        .check(vec![
            ("a system xattr that is too large", upsert(XATTR, "_s", &system), TOO_BIG),
            ("a user xattr as large", upsert(XATTR, "u", &user), OK),
            (
                "a system xattr",
                upsert(XATTR, "_s", &system[..(1 << 20) - 100].to_owned().replace('"', "")),
                VALUE_CANNOT_INSERT,
            ),
            ("a deep value", upsert(0, "a", &deep), OK),
            ("a value that is too deep", upsert(0, "a", &deeper), 0xca),
            ("31 steps", upsert(0, &steps(31), "1"), 0xc1),
            ("32 steps", upsert(0, &steps(32), "1"), PATH_TOO_BIG),
            ("a deep document", raw(&deeper), OK),
            ("what is in it", single(GET_PATH, "raw", 0, "[0]", "", &[]), 0xc4),
            ("no JSON", raw("{"), OK),
            ("what is in that", single(GET_PATH, "raw", 0, "a", "", &[]), NOT_JSON),
            ("its root", single(DICT_UPSERT, "l", 0, "b[0]", "1", &[]), 0xc2),
            (
                "a value that is no JSON where nothing is",
                single(DICT_UPSERT, "l", 0, "q.r", "}", &[]),
                VALUE_CANNOT_INSERT,
            ),
            ("a counter that counts by nothing", single(COUNTER, "l", 0, "n", "0", &[]), 0xc8),
        ])
        .await;
    // Values of one path are JSON, and say so.
    assert_eq!(client.status(&upsert(0, "n", "5")).await, OK);
    for (request, value) in [
        (single(GET_PATH, "l", 0, "n", "", &[]), "5"),
        (single(GET_COUNT, "l", XATTR, "$XTOC", "", &[]), "1"),
        (single(COUNTER, "l", 0, "n", "-7", &[]), "-2"),
    ] {
        let answer = client.call(&request).await.unwrap();
        assert_eq!((answer.status, answer.datatype, &answer.value[..]), (OK, 1, value.as_bytes()), "{request:?}");
    }
}
