//! The form of packets (`daemon/mcbp_validators.cc`).

use crate::client::{ALL, Client, Request, bare, double, on};

const GET: u8 = 0x00;
const SET: u8 = 0x01;
const ADD: u8 = 0x02;
const DELETE: u8 = 0x04;
const INCREMENT: u8 = 0x05;
const APPEND: u8 = 0x0e;
const TOUCH: u8 = 0x1c;
const GET_AND_TOUCH: u8 = 0x1d;
const GET_ALL_VB_SEQNOS: u8 = 0x48;
const OBSERVE_SEQNO: u8 = 0x91;
const GET_LOCKED: u8 = 0x94;
const UNLOCK: u8 = 0x95;
const GET_META: u8 = 0xa0;
const GET_CLUSTER_CONFIG: u8 = 0xb5;
const GET_MANIFEST: u8 = 0xba;
const GET_COLLECTION_ID: u8 = 0xbb;
const GET_SCOPE_ID: u8 = 0xbc;
const SUBDOC_GET: u8 = 0xc5;
const GET_ERROR_MAP: u8 = 0xfe;

const OK: u16 = 0;
const NOT_FOUND: u16 = 0x01;
const TOO_BIG: u16 = 0x03;
const INVALID: u16 = 0x04;
const NOT_STORED: u16 = 0x05;
const UNKNOWN_FRAME: u16 = 0x80;
const UNKNOWN_COMMAND: u16 = 0x81;
const NOT_SUPPORTED: u16 = 0x83;
const UNKNOWN_COLLECTION: u16 = 0x88;
const UNKNOWN_SCOPE: u16 = 0x8c;
const INVALID_LEVEL: u16 = 0xa0;

fn set(key: &str) -> Request {
    on(SET, key).extras(&[0; 8])
}

fn lengths_and_cas() -> Vec<(&'static str, Request, u16)> {
    vec![
        ("get", on(GET, "k"), NOT_FOUND),
        ("get with extras", on(GET, "k").extras(&[0]), INVALID),
        ("get with a value", on(GET, "k").value(b"v"), INVALID),
        ("get with a CAS", on(GET, "k").cas(1), INVALID),
        ("get without a key", bare(GET), INVALID),
        ("set without extras", on(SET, "k"), INVALID),
        ("set with short extras", on(SET, "k").extras(&[0; 7]), INVALID),
        ("set of nothing", set("empty"), OK),
        ("add with a CAS", on(ADD, "k").extras(&[0; 8]).cas(1), INVALID),
        ("append with extras", on(APPEND, "k").extras(&[0; 8]), INVALID),
        ("append to nothing", on(APPEND, "k").value(b"v"), NOT_STORED),
        ("count with short extras", on(INCREMENT, "k").extras(&[0; 19]), INVALID),
        ("count with a CAS", on(INCREMENT, "k").extras(&[0; 20]).cas(1), INVALID),
        ("touch without a time", on(TOUCH, "k"), INVALID),
        ("touch with a CAS", on(TOUCH, "k").extras(&[0; 4]).cas(1), INVALID),
        ("get and touch of nothing", on(GET_AND_TOUCH, "k").extras(&[0; 4]), NOT_FOUND),
        ("lock with a CAS", on(GET_LOCKED, "k").cas(1), INVALID),
        ("lock for a short time", on(GET_LOCKED, "k").extras(&[0; 3]), INVALID),
        ("unlock without a CAS", on(UNLOCK, "k"), INVALID),
        ("delete with extras", on(DELETE, "k").extras(&[0; 4]), INVALID),
        ("delete with a CAS of nothing", on(DELETE, "k").cas(1), NOT_FOUND),
        ("meta of version 2", on(GET_META, "k").extras(&[2]), NOT_FOUND),
        ("meta of version 3", on(GET_META, "k").extras(&[3]), INVALID),
        ("meta with a CAS", on(GET_META, "k").cas(1), INVALID),
        ("manifest with a key", bare(GET_MANIFEST).key(b"k"), INVALID),
        ("manifest of a vbucket", bare(GET_MANIFEST).vbucket(1), INVALID),
        ("error map without a version", bare(GET_ERROR_MAP), INVALID),
        ("error map of version 0", bare(GET_ERROR_MAP).value(&[0, 0]), NOT_FOUND),
        ("error map of a version to come", bare(GET_ERROR_MAP).value(&[0, 9]), OK),
        ("configuration with short extras", bare(GET_CLUSTER_CONFIG).extras(&[0; 8]), INVALID),
        ("configuration after revision 0", bare(GET_CLUSTER_CONFIG).extras(&[0; 16]), INVALID),
        ("configuration after a negative one", bare(GET_CLUSTER_CONFIG).extras(&[0xff; 16]), INVALID),
        ("configuration with a CAS", bare(GET_CLUSTER_CONFIG).cas(1), INVALID),
        ("seqnos of dead vbuckets", bare(GET_ALL_VB_SEQNOS).extras(&[0, 0, 0, 4]), OK),
        ("seqnos of an unknown state", bare(GET_ALL_VB_SEQNOS).extras(&[0, 0, 0, 5]), INVALID),
        ("seqnos with odd extras", bare(GET_ALL_VB_SEQNOS).extras(&[0; 5]), INVALID),
        (
            "seqnos of an unknown collection",
            bare(GET_ALL_VB_SEQNOS).extras(&[0, 0, 0, 1, 0, 0, 0, 99]),
            UNKNOWN_COLLECTION,
        ),
        ("seqno of a short history", bare(OBSERVE_SEQNO).value(&[0; 7]), INVALID),
        ("seqno of an unknown history", bare(OBSERVE_SEQNO).value(&[0; 8]), NOT_FOUND),
    ]
}

fn keys() -> Vec<(&'static str, Request, u16)> {
    let long = |collection: &[u8], length: usize| bare(GET).key(&[collection, &vec![b'k'; length]].concat());
    vec![
        ("a key of nothing but a collection", bare(GET).key(b"\0"), INVALID),
        ("a collection without an end", bare(GET).key(&[0x88]), INVALID),
        ("a collection in a long form", bare(GET).key(&[0x80, 0, b'k']), INVALID),
        ("a reserved collection", bare(GET).key(&[7, b'k']), INVALID),
        ("an unknown collection", bare(GET).key(&[9, b'k']), UNKNOWN_COLLECTION),
        ("the longest key", long(&[0], 250), NOT_FOUND),
        ("a key that is too long", long(&[0], 251), INVALID),
        ("the longest key of a collection", long(&[8], 246), UNKNOWN_COLLECTION),
        ("a key that is too long for a collection", long(&[8], 247), INVALID),
        ("a collection by two names", bare(GET_COLLECTION_ID).key(b"a.b").value(b"a.b"), INVALID),
        ("a collection without a scope", bare(GET_COLLECTION_ID).value(b"a"), INVALID),
        ("a collection of too many parts", bare(GET_COLLECTION_ID).value(b"a.b.c"), INVALID),
        ("a collection of no scope", bare(GET_COLLECTION_ID).value(b"a.b"), UNKNOWN_SCOPE),
        ("no collection of a scope", bare(GET_COLLECTION_ID).value(b"_default.b"), UNKNOWN_COLLECTION),
        ("the default collection", bare(GET_COLLECTION_ID).value(b"."), OK),
        ("the default scope", bare(GET_SCOPE_ID).value(b""), OK),
        ("a scope and its collection", bare(GET_SCOPE_ID).value(b"_default.x"), OK),
        ("a scope of too many parts", bare(GET_SCOPE_ID).value(b"a.b.c"), INVALID),
        ("a name that cannot be", bare(GET_SCOPE_ID).value(b"a b"), INVALID),
    ]
}

fn datatypes_and_sizes() -> Vec<(&'static str, Request, u16)> {
    // Snappy: a length, then one literal.
    let snappy = |length: &[u8]| [length, &[0, b'1']].concat();
    let large = vec![b'x'; (20 << 20) + 1];
    vec![
        ("JSON", set("d").value(b"1").datatype(1), OK),
        ("what is called JSON", set("d").value(b"{").datatype(1), OK),
        ("snappy", set("d").value(&snappy(&[1])).datatype(2), OK),
        ("what is called snappy", set("d").value(b"no").datatype(2), INVALID),
        ("snappy of 31 MiB", set("d").value(&snappy(&[0x80, 0x80, 0x80, 0x0f])).datatype(2), INVALID),
        ("xattrs in a set", set("d").value(b"1").datatype(4), INVALID),
        ("an unknown datatype", set("d").value(b"1").datatype(8), INVALID),
        ("a get with a datatype", on(GET, "d").datatype(1), INVALID),
        (
            "a sub-document command with a datatype",
            on(SUBDOC_GET, "d").extras(&[0, 1, 0]).value(b"a").datatype(1),
            INVALID,
        ),
        ("the largest body", set("d").value(&large[1..]), OK),
        ("a body that is too large", set("d").value(&large), TOO_BIG),
        ("an append that makes it too large", on(APPEND, "d").value(b"x"), TOO_BIG),
        ("away with it", on(DELETE, "d"), OK),
    ]
}

fn frames() -> Vec<(&'static str, Request, u16)> {
    vec![
        ("a durable write", set("f").frames(&[0x11, 1]), OK),
        ("with a time", set("f").frames(&[0x13, 3, 0, 1]), OK),
        ("no level", set("f").frames(&[0x11, 0]), INVALID_LEVEL),
        ("an unknown level", set("f").frames(&[0x11, 4]), INVALID_LEVEL),
        ("no time at all", set("f").frames(&[0x13, 1, 0, 0]), INVALID_LEVEL),
        ("for ever", set("f").frames(&[0x13, 1, 0xff, 0xff]), INVALID_LEVEL),
        ("a level of two bytes", set("f").frames(&[0x12, 1, 0]), INVALID),
        ("a frame that ends early", set("f").frames(&[0x12, 1]), INVALID),
        ("a durable read", on(GET, "f").frames(&[0x11, 1]), INVALID),
        ("a durable touch", on(TOUCH, "f").extras(&[0; 4]).frames(&[0x11, 1]), NOT_SUPPORTED),
        ("a kept expiry", set("f").frames(&[0x50]), OK),
        ("with a value", set("f").frames(&[0x51, 1]), INVALID),
        ("of an add", on(ADD, "f").extras(&[0; 8]).frames(&[0x50]), NOT_SUPPORTED),
        ("of a read", on(GET, "f").frames(&[0x50]), NOT_SUPPORTED),
        ("a barrier", on(GET, "f").frames(&[0x00]), OK),
        ("a barrier with a value", on(GET, "f").frames(&[0x01, 1]), INVALID),
        ("of a stream", on(GET, "f").frames(&[0x22, 0, 1]), OK),
        ("of a stream, short", on(GET, "f").frames(&[0x21, 0]), INVALID),
        ("the trace of a version that is gone", on(GET, "f").frames(&[0x31, 0]), UNKNOWN_FRAME),
        ("on behalf of somebody", on(GET, "f").frames(&[0x41, b'u']), NOT_SUPPORTED),
        ("an unknown frame", on(GET, "f").frames(&[0xe0]), UNKNOWN_FRAME),
        ("an unknown frame with a long number", on(GET, "f").frames(&[0xf0, 1]), UNKNOWN_FRAME),
    ]
}

#[tokio::test]
async fn packets_have_their_form() {
    let double = double().await;
    let mut client = Client::new(&double, ALL).await;
    for table in [lengths_and_cas(), keys(), datatypes_and_sizes(), frames()] {
        client.check(table).await;
    }
}

#[tokio::test]
async fn what_is_not_offered_is_said_to_be_so() {
    let double = double().await;
    let mut client = Client::new(&double, ALL).await;
    // Of the server's commands, those that nobody needs here, and those that no server has any more.
    let known = [
        0x08, 0x09, 0x0c, 0x0d, 0x10, 0x11, 0x14, 0x1e, 0x23, 0x30, 0x40, 0x82, 0x85, 0x92, 0x93, 0x97, 0x9e, 0xa1,
        0xa2, 0xa8, 0xb2, 0xb6, 0xb8, 0xb9, 0xc1, 0xda, 0xdb, 0xdc, 0xf0, 0xf3, 0xfd,
    ];
    for opcode in known {
        client.check(vec![("a known command", on(opcode, "k"), NOT_SUPPORTED)]).await;
    }
    for opcode in
        [0x4f, 0x66, 0x7f, 0x84, 0x88, 0x90, 0x98, 0x9d, 0xab, 0xbd, 0xc0, 0xc4, 0xd4, 0xd9, 0xdd, 0xef, 0xf9, 0xff]
    {
        client.check(vec![("an unknown command", bare(opcode), UNKNOWN_COMMAND)]).await;
    }
}

#[tokio::test]
async fn a_client_without_features_has_plain_keys_and_values() {
    let double = double().await;
    let mut client = Client::new(&double, &[0x07]).await;
    let long = |length: usize| bare(GET).key(&vec![b'k'; length]);
    client
        .check(vec![
            ("JSON that was not negotiated", set("d").value(b"1").datatype(1), INVALID),
            ("snappy that was not negotiated", set("d").value(&[1, 0, b'1']).datatype(2), INVALID),
            ("the shortest key", bare(GET).key(b"k"), NOT_FOUND),
            ("the longest key", long(250), NOT_FOUND),
            ("a key that is too long", long(251), INVALID),
            ("an xattr", on(SUBDOC_GET, "d").extras(&[0, 1, 4]).value(b"a"), NOT_SUPPORTED),
            ("seqnos of a collection", bare(GET_ALL_VB_SEQNOS).extras(&[0; 8]), INVALID),
        ])
        .await;
}
