//! What is sent: snapshots, changes, channels, credit.

use super::*;

#[test]
fn snapshot_then_changes() {
    let mut host = Host::open(&["cards"]);
    for key in ["a", "b", "c"] {
        host.commit(key, Some("1"), &[], SessionId(0));
    }
    host.commit("b", None, &[], SessionId(0));
    host.subscribe(None, &[], None);
    assert_eq!(host.log(), ["welcome ann finished 3", "snapshot @4 ..end [a=1 c=1]", "changes 4..4 last []"]);
    host.commit("a", Some("2"), &[], SessionId(0));
    host.commit("c", Some("3"), &[], MINE);
    host.commit("d", Some("4"), &[], SessionId(0));
    assert_eq!(host.log(), ["changes 4..5 last [a=2]", "changes 5..7 last [d=4]"]);
    assert_eq!(host.loads, 1, "commits are handed on without a read");
}

#[test]
fn a_snapshot_that_shows_later_states_is_followed_by_the_changes() {
    let mut host = Host::open(&["cards"]);
    host.commit("a", Some("1"), &[], SessionId(0));
    host.commit("b", Some("1"), &[], SessionId(0));
    host.commit("c", Some("1"), &[], SessionId(0));
    host.late = Some(vec![("a", "2"), ("d", "2")]);
    host.subscribe(None, &[], None);
    let expected = [
        "welcome ann finished 3",
        "snapshot @3 ..b [a=1 b=1]",
        "snapshot @3 ..end [c=1 d=2]",
        "changes 3..4 last [a=2 d=2]",
    ];
    assert_eq!(host.log(), expected, "the second page shows a mutation that the first does not");
}

#[test]
fn a_floor_that_rises_while_a_page_is_read_starts_the_subscription_over() {
    let mut host = Host::open(&["cards"]);
    for key in ["a", "b", "c", "d"] {
        host.commit(key, Some("1"), &[], SessionId(0));
    }
    host.commit("b", None, &[], SessionId(0));
    host.session.handle_head(host.now_ms, host.head, host.floor);
    host.log();
    // The session was told of no floor; the tombstone is gone when the page is read.
    host.documents.remove(&DocumentId::new("cards", "b"));
    host.floor_unseen = Some(Offset(5));
    host.subscribe(Some(at(2)), &["cards"], None);
    assert_eq!(host.log(), ["restart 1"]);
}

#[test]
fn a_snapshot_confirms_what_the_client_has() {
    let mut host = Host::open(&["cards"]);
    host.commit("a", Some("1"), &[], SessionId(0));
    host.commit("b", Some("2"), &[], SessionId(0));
    let have = item_hash(LOG, "cards", "b", of_body(b"2").unwrap()).to_be_bytes().to_vec();
    host.log();
    host.frame(&ClientFrame::Subscribe(Subscribe {
        id: SubscriptionId(1),
        collections: vec!["cards".into()],
        channels: None,
        cursor: None,
        held: Vec::new(),
        have,
        reconcile: None,
    }));
    assert_eq!(host.log(), ["snapshot @2 ..end [a=1 same:b]", "changes 2..2 last []"]);
}

#[test]
fn an_interrupted_snapshot_goes_on() {
    let mut host = Host::open(&["cards"]);
    for key in ["a", "b", "c"] {
        host.commit(key, Some("1"), &[], SessionId(0));
    }
    host.session = Host::open(&["cards"]).session;
    let snapshot = Some(("cards".to_owned(), "b".to_owned()));
    host.session.handle_head(host.now_ms, host.head, host.floor);
    host.log();
    host.subscribe(Some(Cursor { changelog: LOG, offset: Offset(2), snapshot }), &["cards"], None);
    assert_eq!(host.log(), ["snapshot @2 ..end [c=1]", "changes 2..3 last [c=1]"]);
}

#[test]
fn resume_from_a_cursor() {
    let mut host = Host::open(&["cards"]);
    for key in ["a", "b", "c", "d", "e"] {
        host.commit(key, Some("1"), &[], SessionId(0));
    }
    host.session.handle_head(host.now_ms, host.head, host.floor);
    host.log();
    host.subscribe(Some(at(2)), &["cards"], None);
    assert_eq!(host.log(), ["changes 2..4 [c=1 d=1]", "changes 4..5 last [e=1]"]);
    // Below the floor, of another changelog, or from the future: the client has to say what it has.
    host.floor = Offset(3);
    host.session.handle_head(host.now_ms, host.head, host.floor);
    let foreign = Cursor { changelog: ChangelogId(1), offset: Offset(4), snapshot: None };
    for cursor in [at(2), at(77), foreign] {
        host.log();
        host.subscribe(Some(cursor.clone()), &["cards"], None);
        assert_eq!(host.log(), ["restart 1"], "{cursor:?}");
    }
}

#[test]
fn channels_are_enforced() {
    let mut host = Host::open(&["cards/x"]);
    host.subscribe(None, &[], Some(&["x", "y"]));
    host.log();
    host.commit("a", Some("1"), &["x"], SessionId(0));
    host.commit("b", Some("1"), &["y"], SessionId(0));
    host.commit("a", Some("2"), &["y"], SessionId(0));
    host.commit("a", Some("3"), &["y"], SessionId(0));
    host.commit("a", None, &["y"], SessionId(0));
    assert_eq!(
        host.log(),
        [
            "changes 0..1 last [a=1]",
            "changes 1..3 last [leave:a]",
            "changes 3..4 last [leave:a]",
            "changes 4..5 last [-a]"
        ]
    );
}

#[test]
fn lost_channels_are_purged_and_gained_ones_sent() {
    let mut host = Host::open(&["cards/x", "cards/y"]);
    host.commit("a", Some("1"), &["x"], SessionId(0));
    host.commit("b", Some("1"), &["x", "y"], SessionId(0));
    host.commit("c", Some("1"), &["z"], SessionId(0));
    host.subscribe(None, &[], None);
    host.log();
    host.session.handle_grant(host.now_ms, Ok(grant(&["cards/y", "cards/z"])));
    host.drain();
    assert_eq!(
        host.log(),
        [
            "purge [a] holds cards/y /cards/x /cards/z",
            "purge [] holds cards/y /cards/z",
            "changes 3..3 [c=1]",
            "purge [] holds cards/y cards/z",
            "changes 3..3 last []",
        ]
    );
    host.commit("a", Some("2"), &["x"], SessionId(0));
    assert!(host.log().is_empty());
}

/// A client that was sent a part of what it gained says so in its next session: all of it is sent, or what it got is purged.
#[test]
fn what_was_gained_in_part_is_sent_whole_or_purged() {
    let mut host = Host::open(&["cards/x", "cards/z"]);
    for (key, channel) in [("a", "x"), ("b", "z"), ("c", "z")] {
        host.commit(key, Some("1"), &[channel], SessionId(0));
    }
    let cursor = || Some(Cursor { changelog: LOG, offset: Offset(3), snapshot: None });
    let held = ["cards/x", "/cards/z"];
    host.subscribe(None, &[], None);
    host.log();
    host.subscribe(cursor(), &held, None);
    assert_eq!(
        host.log(),
        [
            "purge [] holds cards/x /cards/z",
            "changes 3..3 [b=1 c=1]",
            "purge [] holds cards/x cards/z",
            "changes 3..3 last []"
        ]
    );
    host.subscribe(cursor(), &held, Some(&["x"]));
    assert_eq!(host.log(), ["purge [b c] holds cards/x /cards/z", "purge [] holds cards/x", "changes 3..3 last []"]);
    // Where it may not be told their names, it begins anew.
    let mut host = Host::open(&["cards/x"]);
    host.commit("a", Some("1"), &["x"], SessionId(0));
    host.subscribe(Some(Cursor { changelog: LOG, offset: Offset(0), snapshot: None }), &held, None);
    assert_eq!(host.log().last().map(String::as_str), Some("restart 1"));
}

/// A client whose connection ends amid a purge says in its next session what it holds in part: what it gained again meanwhile is sent
/// whole.
#[test]
fn what_was_purged_in_part_and_gained_again_is_sent_whole() {
    let mut host = Host::open(&["cards/x", "cards/z"]);
    for (key, channel) in [("a", "x"), ("b", "z"), ("c", "z")] {
        host.commit(key, Some("1"), &[channel], SessionId(0));
    }
    host.subscribe(None, &[], None);
    host.log();
    host.session.handle_grant(host.now_ms, Ok(grant(&["cards/x"])));
    host.drain();
    assert_eq!(host.log(), ["purge [b c] holds cards/x /cards/z", "purge [] holds cards/x"]);
    host.session.handle_grant(host.now_ms, Ok(grant(&["cards/x", "cards/z"])));
    host.drain();
    host.log();
    let cursor = Cursor { changelog: LOG, offset: Offset(3), snapshot: None };
    host.subscribe(Some(cursor), &["cards/x", "/cards/z"], None);
    let told = host.log();
    assert!(told.contains(&"changes 3..3 [b=1 c=1]".to_owned()), "{told:?}");
}

#[test]
fn unsubscribing_purges() {
    let mut host = Host::open(&["cards/x", "cards/y"]);
    host.commit("a", Some("1"), &["x"], SessionId(0));
    host.commit("b", Some("1"), &["x", "y"], SessionId(0));
    host.subscribe(None, &[], Some(&["x"]));
    host.frame(&ClientFrame::Subscribe(Subscribe {
        id: SubscriptionId(2),
        collections: vec!["cards".into()],
        channels: Some(vec!["y".into()]),
        cursor: None,
        held: Vec::new(),
        have: Vec::new(),
        reconcile: None,
    }));
    host.log();
    host.frame(&ClientFrame::Unsubscribe(Unsubscribe { id: SubscriptionId(1) }));
    assert_eq!(host.log(), ["purge [a] holds /cards/x", "purge [] holds "]);
    host.commit("a", Some("2"), &["x"], SessionId(0));
    assert!(host.log().is_empty());
}

#[test]
fn a_claimed_channel_tells_no_keys() {
    let mut host = Host::open(&["cards/x"]);
    host.commit("secret", Some("1"), &["y"], SessionId(0));
    host.commit("a", Some("1"), &["x"], SessionId(0));
    host.session.handle_head(host.now_ms, host.head, host.floor);
    host.log();
    host.subscribe(Some(at(2)), &["cards/x", "cards/y"], None);
    assert_eq!(host.log(), ["restart 1"]);
}

#[test]
fn changes_wait_for_credit() {
    let mut host = Host::new(SessionConfig::default());
    host.hello(60);
    host.welcome(grant(&["cards"]));
    host.subscribe(None, &[], None);
    host.commit("a", Some("1"), &[], SessionId(0));
    host.commit("b", Some("1"), &[], SessionId(0));
    host.commit("a", Some("2"), &[], SessionId(0));
    let before = host.log();
    assert!(before.len() < 5, "{before:?}");
    host.frame(&ClientFrame::Credit(Credit { bytes: 1_000 }));
    let after = host.log();
    assert!(after.last().unwrap().contains("last"), "{after:?}");
    assert!(after.iter().any(|one| one.contains("a=2")), "{after:?}");
    host.tick(10_000);
    assert_eq!(host.closed, None, "nothing is left to send");
}

#[test]
fn what_was_delivered_and_what_is_behind_is_counted() {
    let mut host = Host::new(SessionConfig::default());
    host.hello(1);
    host.welcome(grant(&["cards"]));
    host.commit("a", Some("1"), &[], SessionId(0));
    host.commit("b", Some("1"), &[], SessionId(0));
    assert_eq!((host.session.take_delivered(), host.session.lag()), (0, 0));
    host.subscribe(None, &[], None);
    assert_eq!((host.session.take_delivered(), host.session.lag()), (2, 0), "a snapshot");
    for body in ["2", "3", "4"] {
        host.commit("a", Some(body), &[], SessionId(0));
    }
    assert_eq!((host.session.take_delivered(), host.session.lag()), (0, 3), "there is no credit");
    host.frame(&ClientFrame::Credit(Credit { bytes: 1 << 20 }));
    assert_eq!((host.session.take_delivered(), host.session.lag()), (1, 0), "only the last of three is told");
    host.commit("b", Some("2"), &[], SessionId(0));
    host.commit("c", Some("2"), &[], MINE);
    assert_eq!((host.session.take_delivered(), host.session.lag()), (1, 0), "a session is not sent its own");
}

#[test]
fn a_ping_moves_the_cursor_over_what_was_left_out() {
    let mut host = Host::open(&["cards"]);
    host.subscribe(None, &[], None);
    host.commit("a", Some("1"), &[], MINE);
    host.log();
    host.frame(&ClientFrame::Ping(Ping { nonce: 1 }));
    assert_eq!(host.log(), ["pong 1", "changes 0..1 last []"]);
}

#[test]
fn subscriptions_at_one_place_share_frames() {
    let mut host = Host::open(&["cards/x", "cards/y"]);
    for (id, channel) in [(1, "x"), (2, "y")] {
        host.frame(&ClientFrame::Subscribe(Subscribe {
            id: SubscriptionId(id),
            collections: vec!["cards".into()],
            channels: Some(vec![channel.into()]),
            cursor: Some(at(0)),
            held: vec![format!("cards\0{channel}")],
            have: Vec::new(),
            reconcile: None,
        }));
    }
    host.log();
    host.commit("a", Some("1"), &["x", "y"], SessionId(0));
    host.commit("a", Some("2"), &["y"], SessionId(0));
    assert_eq!(host.log(), ["changes 0..1 last [a=1]", "changes 1..2 last [a=2]"]);
}
