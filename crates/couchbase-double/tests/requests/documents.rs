//! Commands on whole documents (daemon/protocol/mcbp, engines/ep/src).

use std::time::{SystemTime, UNIX_EPOCH};

use crate::client::{ALL, Client, Request, bare, double, on};

const GET: u8 = 0x00;
const SET: u8 = 0x01;
const ADD: u8 = 0x02;
const REPLACE: u8 = 0x03;
const DELETE: u8 = 0x04;
const INCREMENT: u8 = 0x05;
const DECREMENT: u8 = 0x06;
const APPEND: u8 = 0x0e;
const PREPEND: u8 = 0x0f;
const TOUCH: u8 = 0x1c;
const GET_AND_TOUCH: u8 = 0x1d;
const GET_LOCKED: u8 = 0x94;
const GET_META: u8 = 0xa0;

const OK: u16 = 0;
const NOT_FOUND: u16 = 0x01;
const EXISTS: u16 = 0x02;
const BAD_NUMBER: u16 = 0x06;
const LOCKED: u16 = 0x09;

fn set(key: &str, value: &str) -> Request {
    on(SET, key).extras(&[0; 8]).value(value.as_bytes())
}

fn count(opcode: u8, key: &str, delta: u64, initial: u64, expiry: u32) -> Request {
    let extras = [&delta.to_be_bytes()[..], &initial.to_be_bytes(), &expiry.to_be_bytes()].concat();
    on(opcode, key).extras(&extras)
}

#[tokio::test]
async fn writes_depend_on_what_is_there() {
    let double = double().await;
    let mut client = Client::new(&double, ALL).await;
    let stored = |opcode: u8, cas: u64| on(opcode, "k").extras(&[0; 8]).value(b"1").cas(cas);
    client
        .check(vec![
            ("replace nothing", stored(REPLACE, 0), NOT_FOUND),
            ("set with a CAS of nothing", stored(SET, 5), NOT_FOUND),
            ("add", stored(ADD, 0), OK),
            ("add again", stored(ADD, 0), EXISTS),
            ("set with a wrong CAS", stored(SET, 5), EXISTS),
            ("replace with a wrong CAS", stored(REPLACE, 5), EXISTS),
            ("append with a wrong CAS", on(APPEND, "k").value(b"2").cas(5), EXISTS),
            ("append", on(APPEND, "k").value(b"2"), OK),
            ("prepend", on(PREPEND, "k").value(b"3"), OK),
            ("delete with a wrong CAS", on(DELETE, "k").cas(5), EXISTS),
        ])
        .await;
    let found = client.call(&on(GET, "k")).await.unwrap();
    assert_eq!((&found.value[..], found.datatype), (&b"312"[..], 1));
    client.check(vec![("delete", on(DELETE, "k").cas(found.cas), OK), ("again", on(DELETE, "k"), NOT_FOUND)]).await;
    // A tombstone is seen by its meta alone.
    let meta = client.call(&on(GET_META, "k").extras(&[2])).await.unwrap();
    assert_eq!((meta.status, &meta.extras[..4], meta.extras.len()), (OK, &[0, 0, 0, 1][..], 21));
}

#[tokio::test]
async fn counters_have_64_bits() {
    let double = double().await;
    let mut client = Client::new(&double, ALL).await;
    let mut number = async |request: Request| {
        let answer = client.call(&request).await.unwrap();
        answer.value.try_into().map(u64::from_be_bytes).map_err(|_| answer.status)
    };
    assert_eq!(number(count(INCREMENT, "n", 1, 5, u32::MAX)).await, Err(NOT_FOUND));
    assert_eq!(number(count(INCREMENT, "n", 1, 5, 0)).await, Ok(5));
    assert_eq!(number(count(INCREMENT, "n", 2, 5, 0)).await, Ok(7));
    assert_eq!(number(count(DECREMENT, "n", 9, 5, 0)).await, Ok(0));
    assert_eq!(number(count(INCREMENT, "n", u64::MAX, 0, 0)).await, Ok(u64::MAX));
    assert_eq!(number(count(INCREMENT, "n", 2, 0, 0)).await, Ok(1));
    assert_eq!(number(set("n", "x")).await, Err(OK), "a set answers no number");
    assert_eq!(number(count(INCREMENT, "n", 1, 0, 0)).await, Err(BAD_NUMBER));
}

#[tokio::test]
async fn an_expiry_is_relative_for_thirty_days() {
    const MONTH: u32 = 30 * 24 * 60 * 60;
    let double = double().await;
    let mut client = Client::new(&double, ALL).await;
    let now = u32::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let stored = |seconds: u32| on(SET, "e").extras(&[[0; 4], seconds.to_be_bytes()].concat()).value(b"1");
    let meta = on(GET_META, "e");
    for (asked, expected) in [(0, 0), (MONTH, now + MONTH), (now + 5, now + 5), (u32::MAX, u32::MAX)] {
        client.check(vec![("set", stored(asked), OK)]).await;
        let expiry = client.call(&meta).await.unwrap().extras[8..12].try_into().map(u32::from_be_bytes).unwrap();
        assert!((expected..=expected.saturating_add(5)).contains(&expiry), "{asked}: {expiry}, not {expected}");
    }
    // More than a month is a time of long ago.
    client.check(vec![("the past", stored(MONTH + 1), OK), ("is over", on(GET, "e"), NOT_FOUND)]).await;
    // What is kept stays, what is not named goes.
    let kept = |request: Request| request.frames(&[0x50]);
    client.check(vec![("set", stored(now + 900), OK), ("keep", kept(stored(0)), OK)]).await;
    assert_eq!(client.call(&meta).await.unwrap().extras[8..12], (now + 900).to_be_bytes());
    // A touch that changes nothing leaves the version.
    let touch = |opcode: u8, seconds: u32| on(opcode, "e").extras(&seconds.to_be_bytes());
    let first = client.call(&touch(TOUCH, now + 900)).await.unwrap();
    let same = client.call(&touch(GET_AND_TOUCH, now + 900)).await.unwrap();
    let other = client.call(&touch(GET_AND_TOUCH, now + 901)).await.unwrap();
    assert_eq!((first.cas, &first.value[..], &same.value[..]), (same.cas, &b""[..], &b"1"[..]));
    assert_ne!(other.cas, same.cas);
    client.check(vec![("set", stored(0), OK)]).await;
    assert_eq!(client.call(&meta).await.unwrap().extras[8..12], [0; 4]);
}

#[tokio::test]
async fn a_locked_document_is_written_with_the_lock_alone() {
    let double = double().await;
    let mut client = Client::new(&double, ALL).await;
    client.check(vec![("lock nothing", on(GET_LOCKED, "k"), NOT_FOUND), ("set", set("k", "1"), OK)]).await;
    let before = client.call(&on(GET, "k")).await.unwrap().cas;
    let lock = client.call(&on(GET_LOCKED, "k").extras(&[0, 0, 0, 31])).await.unwrap().cas;
    assert_ne!(lock, before);
    assert_eq!(client.call(&on(GET, "k")).await.unwrap().cas, u64::MAX, "the CAS is the locker's own");
    client
        .check(vec![
            ("set", set("k", "2"), LOCKED),
            ("set with the CAS from before", set("k", "2").cas(before), LOCKED),
            ("append", on(APPEND, "k").value(b"2"), LOCKED),
            ("count", count(INCREMENT, "k", 1, 0, 0), LOCKED),
            ("touch", on(TOUCH, "k").extras(&[0, 0, 0, 9]), LOCKED),
            ("set with the lock", set("k", "2").cas(lock), OK),
            ("which ends it", set("k", "3"), OK),
        ])
        .await;
}

#[tokio::test]
async fn a_key_is_one_of_its_collection() {
    let double = double().await;
    let id = u8::try_from(double.create_collection("default", "s", "c")).unwrap();
    let mut client = Client::new(&double, ALL).await;
    let inside = |opcode: u8| bare(opcode).key(&[id, b'k']);
    client
        .check(vec![
            ("in the default one", set("k", "1"), OK),
            ("not in the other", inside(GET), NOT_FOUND),
            ("there, too", inside(SET).extras(&[0; 8]), OK),
            ("gone there", inside(DELETE), OK),
            ("still here", on(GET, "k"), OK),
        ])
        .await;
    double.drop_collection("default", "s", "c");
    client.check(vec![("a collection that was dropped", inside(GET), 0x88)]).await;
}
