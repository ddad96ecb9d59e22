//! `wire-v1.json`: the bytes of every frame and every variant of protocol version 1, and of changes in columns.

mod columns;
mod examples;
mod random;

use std::fmt::Debug;

use serde_json::{Value as Json, json};
use tidelock_core::wire::{Cbor, ClientFrame, ServerFrame, decode, encode};

use crate::{check_file, hex, list, read, render, text, unhex};

const ABOUT: &str = "The encoding of one example of every frame and every variant of protocol version 1, in hexadecimal; batches of \
    changes in columns (each change as [offset, collection, key, kind, body or version]), and columns that are refused. The examples \
    are in crates/core/tests/vectors/wire.";

/// The vector of one example, which decodes to itself.
fn vector<T: Cbor + PartialEq + Debug>((name, example): &(String, T)) -> Json {
    let bytes = encode(example);
    assert_eq!(decode::<T>(&bytes).as_ref(), Ok(example), "{name}");
    json!({ "name": name, "bytes": hex(&bytes) })
}

#[test]
fn encodings_do_not_change() {
    let sections = [
        ("client_frames", examples::client().iter().map(vector).collect()),
        ("server_frames", examples::server().iter().map(vector).collect()),
        ("columns", examples::batches().iter().map(columns::vector).collect()),
        ("columns_refused", columns::refused()),
    ];
    check_file("wire-v1.json", &render(ABOUT, &sections));
}

/// The bytes of all frames in the file: from clients, from servers.
fn recorded() -> [Vec<Vec<u8>>; 2] {
    let vectors = read("wire-v1.json");
    ["client_frames", "server_frames"]
        .map(|section| list(&vectors[section]).iter().map(|vector| unhex(text(&vector["bytes"]))).collect())
}

#[test]
fn truncated_frames_are_errors() {
    let [client, server] = recorded();
    for frame in client {
        assert!((0..frame.len()).all(|length| decode::<ClientFrame>(&frame[..length]).is_err()), "{}", hex(&frame));
    }
    for frame in server {
        assert!((0..frame.len()).all(|length| decode::<ServerFrame>(&frame[..length]).is_err()), "{}", hex(&frame));
    }
}

#[test]
fn what_follows_a_frame_is_an_error() {
    let [client, _] = recorded();
    for frame in client {
        assert!(decode::<ClientFrame>(&[&frame[..], &[0]].concat()).is_err(), "{}", hex(&frame));
    }
}

#[test]
fn damaged_frames_never_panic() {
    let [client, server] = recorded();
    for frame in client.iter().chain(&server) {
        for at in 0..frame.len() {
            for byte in [
                0x00,
                0x1b,
                0x5f,
                0x7f,
                0x80,
                0x9b,
                0x9f,
                0xbf,
                0xc0,
                0xf6,
                0xfb,
                0xff,
                frame[at] ^ 1,
                frame[at] ^ 0x20,
            ] {
                let mut damaged = frame.clone();
                damaged[at] = byte;
                let _ = decode::<ClientFrame>(&damaged);
                let _ = decode::<ServerFrame>(&damaged);
            }
        }
    }
}

#[test]
fn claimed_lengths_and_nesting_cost_nothing() {
    let huge = [0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    for prefix in [&[0x82, 0x01, 0x81, 0x86, 0x01][..], &[0x82, 0x03, 0x81], &[]] {
        assert!(decode::<ClientFrame>(&[prefix, &huge].concat()).is_err());
    }
    // A field that this version does not know, nested without end.
    let nested = [&[0x82, 0x05, 0x82, 0x00][..], &vec![0x81; 1_000_000], &[0x00]].concat();
    let _ = decode::<ClientFrame>(&nested);
}

/// A peer of a later minor version appends fields; this version ignores them.
#[test]
fn appended_fields_are_ignored() {
    let appended = [0x82, 0x05, 0x81, 0x82, 0x07, 0x63, b'a', b'b', b'c'];
    let known = [0x82, 0x05, 0x81, 0x81, 0x07];
    let ping = decode::<ClientFrame>(&known);
    assert!(ping.is_ok());
    assert_eq!(decode::<ClientFrame>(&appended), ping);
}
