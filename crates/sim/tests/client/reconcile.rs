//! A client whose cursor is of no use.

use std::collections::BTreeMap;

use tidelock_core::ids::{ChangelogId, Offset, SubscriptionId};
use tidelock_core::reconcile::{Checker, Sketch, symbols_to_bytes};
use tidelock_core::version::{item_hash, of_body};
use tidelock_core::wire::{
    ClientFrame, Cursor, Difference, MoreSymbols, Outcome, Reconciled, Restart, ServerFrame, Symbols, unpack,
};

use crate::script::{LOG, Script, columns};

const OTHER: ChangelogId = ChangelogId(10);

/// What the server has: "collection/key" to JSON text.
type Documents = BTreeMap<String, String>;

fn documents(count: u32) -> Documents {
    (0..count).map(|number| (format!("cards/k{number:03}"), format!("{{\"n\":{number}}}"))).collect()
}

/// A client that holds these documents, offline.
fn offline(documents: &Documents) -> Script {
    let mut script = Script::live();
    let items: Vec<(u64, &str, &str)> = documents.iter().map(|(id, json)| (1, id.as_str(), json.as_str())).collect();
    script.changes(0, 1, &items);
    script.disconnect();
    script.wait();
    script.sent.clear();
    script
}

/// The same client at another node.
fn elsewhere(documents: &Documents) -> Script {
    let mut script = offline(documents);
    script.changelog = OTHER;
    script.connect(0);
    script
}

fn item(id: &str, json: &str) -> u64 {
    let (collection, key) = id.split_once('/').expect("collection/key");
    item_hash(OTHER, collection, key, of_body(json.as_bytes()).expect("valid JSON"))
}

impl Script {
    fn round(&self) -> u64 {
        self.subscribe().reconcile.expect("the client reconciles").0
    }

    /// Sends the symbols from `first` up to `until`.
    fn symbols(&mut self, server: &Documents, offset: u64, (first, until): (u32, u32)) {
        let mut sketch = Sketch::new(Checker::new(OTHER), until);
        for (id, json) in server {
            sketch.add(item(id, json));
        }
        let symbols = symbols_to_bytes(sketch.symbols().get(first as usize..).expect("a first symbol"));
        self.receive(&ServerFrame::Symbols(Symbols {
            subscription: SubscriptionId(1),
            round: self.round(),
            offset: Offset(offset),
            documents: server.len() as u64,
            first,
            symbols,
            last: true,
        }));
    }

    fn first_symbols(&mut self, server: &Documents) {
        let (_, count) = self.subscribe().reconcile.expect("the client reconciles");
        self.symbols(server, 5, (0, count));
    }

    fn difference(&self) -> &Difference {
        self.find_difference().expect("the client tells what differs")
    }

    fn find_difference(&self) -> Option<&Difference> {
        self.sent.iter().rev().find_map(|frame| if let ClientFrame::Difference(d) = frame { Some(d) } else { None })
    }

    /// What differs: how many items the client lacks, and the documents of items that only it has.
    fn differing(&self) -> (usize, Vec<String>) {
        let difference = self.difference();
        let mut only: Vec<String> =
            unpack::<(u32, String)>(&difference.only).expect("names").into_iter().map(|(_, key)| key).collect();
        only.sort_unstable();
        (difference.lacks.len() / 8, only)
    }

    fn reconciled(&mut self, last: bool, items: &[(u64, &str, &str)]) {
        self.receive(&ServerFrame::Reconciled(Reconciled {
            changelog: OTHER,
            subscription: SubscriptionId(1),
            round: self.round(),
            offset: Offset(5),
            changes: columns(items),
            channels: self.labels.clone(),
            last,
        }));
    }

    fn cursor_after_a_restart(&mut self) -> Option<Cursor> {
        self.restart();
        self.connect(0);
        self.subscribe().cursor.clone()
    }
}

const AT_FIVE: Cursor = Cursor { changelog: OTHER, offset: Offset(5), snapshot: None };

#[test]
fn nothing_differs() {
    let server = documents(60);
    let mut script = elsewhere(&server);
    assert_eq!((script.subscribe().cursor.clone(), script.subscribe().reconcile), (None, Some((1, 60))));
    script.first_symbols(&server);
    assert_eq!(script.differing(), (0, vec![]));
    script.reconciled(true, &[]);
    script.changes(5, 5, &[]);
    assert_eq!(script.confirmed().len(), 60);
    assert!(script.host.client().is_synced());
    assert_eq!(script.cursor_after_a_restart(), Some(AT_FIVE));
}

#[test]
fn what_was_changed_created_and_deleted_is_told() {
    let mine = documents(60);
    let mut server = mine.clone();
    server.insert("cards/k007".into(), "7".into());
    server.insert("cards/new".into(), "8".into());
    server.remove("cards/k009");
    let mut script = elsewhere(&mine);
    script.first_symbols(&server);
    assert_eq!(script.differing(), (2, vec!["k007".to_owned(), "k009".to_owned()]));
    script.reconciled(true, &[(6, "cards/k007", "7"), (6, "cards/new", "8"), (6, "cards/k009", "")]);
    assert_eq!(script.row("cards/k007"), Some(7.into()));
    assert_eq!((script.row("cards/new"), script.row("cards/k009")), (Some(8.into()), None));
    assert_eq!(script.confirmed().len(), 60);
}

#[test]
fn many_differences_take_further_symbols() {
    let mine = documents(400);
    let mut server = mine.clone();
    server.values_mut().take(120).for_each(|json| *json = "[1]".into());
    let mut script = elsewhere(&mine);
    script.first_symbols(&server);
    assert!(script.find_difference().is_some(), "240 items are found in 320 symbols most of the time");
    server.values_mut().take(140).for_each(|json| *json = "[2]".into());
    let mut script = elsewhere(&mine);
    script.symbols(&server, 4, (0, 100.min(script.subscribe().reconcile.unwrap().1)));
    assert!(script.find_difference().is_none() && !script.subscribe().have.is_empty(), "fewer than asked: a list");
    let mut script = elsewhere(&documents(3_000));
    let mut server = documents(3_000);
    server.values_mut().take(400).for_each(|json| *json = "[2]".into());
    script.symbols(&server, 4, (0, 320));
    let Some(ClientFrame::MoreSymbols(MoreSymbols { first: 320, until, .. })) = script.sent.last().cloned() else {
        panic!("{:?}", script.sent.last())
    };
    assert!((1_050..2_000).contains(&until), "{until} symbols for 800 items");
    // The documents have changed since the first ones: they come again.
    server.insert("cards/new".into(), "1".into());
    script.symbols(&server, 5, (0, until));
    assert_eq!(script.differing().0, 401);
    assert_eq!(script.differing().1.len(), 400);
}

#[test]
fn sets_that_differ_wholly_are_listed() {
    let server: Documents = (0..200).map(|number| (format!("cards/x{number}"), "1".to_owned())).collect();
    let mut script = offline(&documents(60));
    script.floor = Offset(2);
    script.connect(0);
    script.first_symbols(&server);
    assert!(script.find_difference().is_none());
    let subscribe = script.subscribe();
    assert_eq!((subscribe.reconcile, subscribe.have.len(), &subscribe.cursor), (None, 60 * 8, &None));
    script.snapshot(5, None, None, &[(5, "cards/a", "1")]);
    assert_eq!(script.confirmed(), ["cards/a"]);
}

/// A node that the client does not come from would go through its whole store to answer a list.
#[test]
fn elsewhere_symbols_tell_what_differs_wholly() {
    let server: Documents = (0..200).map(|number| (format!("cards/x{number}"), "1".to_owned())).collect();
    let mut script = elsewhere(&documents(60));
    script.first_symbols(&server);
    let Some(ClientFrame::MoreSymbols(MoreSymbols { until, .. })) = script.sent.last().cloned() else {
        panic!("{:?}", script.sent.last())
    };
    script.symbols(&server, 5, (60, until));
    assert_eq!((script.differing().0, script.differing().1.len()), (200, 60));
    let mut script = elsewhere(&documents(2));
    script.first_symbols(&documents(3));
    assert_eq!(script.differing(), (1, vec![]));
}

#[test]
fn unsent_edits_are_kept_and_rebased() {
    let mine = documents(60);
    let mut server = mine.clone();
    server.insert("cards/k001".into(), r#"{"n":1,"theirs":true}"#.into());
    server.remove("cards/k002");
    let mut script = offline(&mine);
    script.write(|tx| tx.put("cards", "k001", r#"{"n":1,"mine":true}"#));
    script.write(|tx| tx.put("cards", "k002", r#"{"n":22}"#));
    script.write(|tx| tx.put("cards", "k003", r#"{"n":33}"#));
    script.changelog = OTHER;
    script.connect(0);
    script.first_symbols(&server);
    assert_eq!(script.differing(), (1, vec!["k001".to_owned(), "k002".to_owned()]));
    let difference = script.sent.iter().position(|frame| matches!(frame, ClientFrame::Difference(_)));
    let push = script.sent.iter().position(|frame| matches!(frame, ClientFrame::Push(_) | ClientFrame::Pushes(_)));
    assert!(difference < push, "mutations go out once the difference is known; what differs waits for their results");
    script.reconciled(true, &[(5, "cards/k001", r#"{"n":1,"theirs":true}"#), (5, "cards/k002", "")]);
    assert!(script.row("cards/k001").unwrap().get("theirs").is_none());
    for sequence in 1..=3 {
        script.result(sequence, 5 + sequence, Outcome::Accepted);
    }
    assert_eq!(script.row("cards/k003").unwrap()["n"], 33);
    assert_eq!(script.row("cards/k002").unwrap()["n"], 22, "the edit is newer than the delete");
    assert_eq!(script.cursor_after_a_restart(), Some(AT_FIVE));
}

#[test]
fn a_client_killed_in_the_middle_begins_again() {
    let mine = documents(60);
    let mut server = mine.clone();
    server.insert("cards/k001".into(), "1".into());
    server.insert("cards/k002".into(), "2".into());
    let mut script = elsewhere(&mine);
    script.first_symbols(&server);
    script.reconciled(false, &[(5, "cards/k001", "1")]);
    assert_eq!(script.row("cards/k001"), Some(1.into()));
    assert_eq!(script.cursor_after_a_restart(), None);
    script.first_symbols(&server);
    assert_eq!(script.differing(), (1, vec!["k002".to_owned()]), "what was applied does not differ any more");
    // Nor does the node of before go on from where it was.
    script.restart();
    script.changelog = LOG;
    script.connect(0);
    assert_eq!(script.subscribe().cursor, None);
}

#[test]
fn a_result_voids_the_cursor_of_the_node_of_before() {
    let mine = documents(60);
    let mut script = offline(&mine);
    script.write(|tx| tx.put("cards", "k003", r#"{"n":33}"#));
    script.changelog = OTHER;
    script.connect(0);
    script.first_symbols(&mine);
    assert_eq!(script.sequences(), [1]);
    script.result(1, 6, Outcome::Accepted);
    script.restart();
    script.changelog = LOG;
    script.connect(1);
    assert_eq!(script.subscribe().cursor, None, "that node may not have heard of the mutation");
}

#[test]
fn a_cursor_below_the_floor_is_of_no_use() {
    let mut script = offline(&documents(60));
    script.floor = Offset(2);
    script.connect(0);
    assert!(script.subscribe().cursor.is_none() && script.subscribe().reconcile.is_some());
    let mut script = offline(&documents(60));
    script.floor = Offset(1);
    script.connect(0);
    assert!(script.subscribe().cursor.is_some(), "nothing after it was forgotten");
}

#[test]
fn revoked_channels_begin_it_on_a_live_session() {
    let mine = documents(60);
    let mut script = elsewhere(&mine);
    script.first_symbols(&mine);
    script.reconciled(true, &[]);
    script.changes(5, 5, &[]);
    script.sent.clear();
    script.receive(&ServerFrame::Restart(Restart { subscription: SubscriptionId(1) }));
    assert_eq!(script.subscribe().reconcile, Some((2, 60)));
    assert!(!script.host.client().is_synced());
    // Frames of the subscription of before cross: they are paid for and change nothing.
    script.changes(5, 9, &[(9, "cards/k000", "9")]);
    assert_eq!(script.row("cards/k000").unwrap()["n"], 0);
    let server: Documents = mine.into_iter().skip(3).collect();
    script.first_symbols(&server);
    assert_eq!(script.differing(), (0, ["k000", "k001", "k002"].map(String::from).to_vec()));
    script.reconciled(true, &[(5, "cards/k000", ""), (5, "cards/k001", ""), (5, "cards/k002", "")]);
    assert_eq!(script.confirmed().len(), 57);
}

#[test]
fn results_under_way_come_before_the_listing() {
    let mine = documents(60);
    let mut script = elsewhere(&mine);
    script.first_symbols(&mine);
    script.reconciled(true, &[]);
    script.changes(5, 5, &[]);
    script.write(|tx| tx.put("cards", "k000", "1"));
    assert_eq!(script.sequences(), [1]);
    script.receive(&ServerFrame::Restart(Restart { subscription: SubscriptionId(1) }));
    assert!(!script.sent.iter().any(|frame| matches!(frame, ClientFrame::Subscribe(_))));
    script.result(1, 6, Outcome::Accepted);
    let mut server = mine.clone();
    server.insert("cards/k000".into(), "1".into());
    script.first_symbols(&server);
    assert_eq!(script.differing(), (0, vec![]), "the result is part of what is listed");
}

#[test]
fn symbols_that_are_none_end_the_connection() {
    for (first, length) in [(0, 12), (3, 13)] {
        let mut script = elsewhere(&documents(60));
        script.receive(&ServerFrame::Symbols(Symbols {
            subscription: SubscriptionId(1),
            round: 1,
            offset: Offset(5),
            documents: 60,
            first,
            symbols: vec![1; length],
            last: true,
        }));
        assert_eq!(script.disconnects, 1);
    }
}

#[test]
fn a_difference_larger_than_a_frame_comes_in_parts() {
    let mine = documents(60);
    let mut script = offline(&mine);
    script.limits.frame_bytes_max = 100;
    script.changelog = OTHER;
    script.connect(0);
    let server: Documents = mine.iter().skip(20).map(|(id, json)| (id.clone(), json.clone())).collect();
    script.first_symbols(&server);
    let parts = script.sent.iter().filter_map(|frame| {
        let ClientFrame::Difference(difference) = frame else { return None };
        let items = unpack::<(u32, String)>(&difference.only).unwrap();
        Some((items.len(), difference.more))
    });
    let parts: Vec<(usize, bool)> = parts.collect();
    assert_eq!(parts.iter().map(|(count, _)| count).sum::<usize>(), 20);
    assert!(parts.len() > 2 && parts.iter().rev().skip(1).all(|(_, more)| *more) && !parts.last().unwrap().1);
}

/// A client that listed three documents to a node that has forgotten what it was told there.
fn listing() -> Script {
    let mut script = offline(&documents(3));
    script.floor = Offset(2);
    script.connect(0);
    assert_eq!(script.subscribe().have.len(), 3 * 8);
    script
}

const THREE_EQUAL: [(u64, &str, &str); 3] =
    [(7, "cards/k000", "same:{\"n\":0}"), (7, "cards/k001", "same:{\"n\":1}"), (7, "cards/k002", "same:{\"n\":2}")];

#[test]
fn what_was_purged_since_it_was_listed_is_listed_anew() {
    for crashes in [false, true] {
        let mut script = listing();
        // The channels that were lost are granted again before the snapshot comes to the document.
        script.purge(6, &["k001"]);
        assert_eq!(script.row("cards/k001"), None);
        script.snapshot(5, None, None, &THREE_EQUAL);
        if crashes {
            script.restart();
        }
        script.changelog = OTHER;
        script.connect(0);
        assert_eq!(script.subscribe().cursor, None, "crashes: {crashes}");
        script.first_symbols(&documents(3));
        assert_eq!(script.differing(), (1, vec![]));
        script.reconciled(true, &[(8, "cards/k001", r#"{"n":1}"#)]);
        script.changes(8, 8, &[]);
        assert_eq!(script.confirmed().len(), 3);
        assert!(script.host.client().is_synced());
    }
}

#[test]
fn what_a_result_replaced_since_it_was_listed_is_listed_anew() {
    let mut script = listing();
    script.write(|tx| tx.put("cards", "k001", "[]"));
    script.result(1, 6, Outcome::Accepted);
    // Somebody else brought the former content back.
    script.sent.clear();
    script.snapshot(5, None, None, &THREE_EQUAL);
    assert_eq!(script.disconnects, 1);
    script.changelog = OTHER;
    script.connect(0);
    assert_eq!(script.subscribe().cursor, None);
    script.first_symbols(&documents(3));
    assert_eq!(script.differing(), (1, vec!["k001".to_owned()]));
}

#[test]
fn a_row_that_the_user_changed_since_it_was_listed_waits_for_its_result() {
    let mut script = listing();
    script.write_unseen(|tx| tx.delete("cards", "k001"));
    let connects = script.connects;
    script.snapshot(5, None, None, &THREE_EQUAL);
    assert_eq!((script.connects, script.disconnects), (connects, 0));
    assert_eq!(script.row("cards/k001"), None);
}
