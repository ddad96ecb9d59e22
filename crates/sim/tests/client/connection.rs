//! Hello, heartbeat, backoff, fencing, storage failures.

use tidelock_core::client::storage::StorageFailure;
use tidelock_core::client::{Client, Event, Phase};
use tidelock_core::ids::{Offset, Sequence};
use tidelock_core::wire::{ClientFrame, Cursor, Outcome, Pong, ServerFrame};
use tidelock_sim::Host;

use crate::script::{COLLECTIONS, LOG, Script};

#[test]
fn a_fresh_client_greets_and_asks_for_everything() {
    let mut script = Script::new();
    assert_eq!(script.connects, 1);
    script.connect(0);
    let hello = script.hello();
    assert_eq!((hello.token.as_str(), hello.acknowledged, hello.epoch), ("token", Sequence(0), None));
    assert_eq!(hello.collections, ["cards", "lists"]);
    let subscribe = script.subscribe();
    assert_eq!((&subscribe.cursor, subscribe.have.len()), (&None, 0));
}

#[test]
fn a_caught_up_client_resumes_from_its_cursor_after_a_restart() {
    let mut script = Script::live();
    script.changes(0, 7, &[(7, "cards/a", "{}")]);
    script.restart();
    script.connect(0);
    assert_eq!(script.subscribe().cursor, Some(Cursor { changelog: LOG, offset: Offset(7), snapshot: None }));
    assert_eq!(script.subscribe().held, COLLECTIONS);
}

#[test]
fn an_unknown_changelog_is_asked_for_symbols() {
    let mut script = Script::live();
    script.changes(0, 7, &[(7, "cards/a", "{}"), (7, "lists/b", "[]")]);
    script.disconnect();
    script.wait();
    // Another node: the position is not one of its changelog's.
    script.tell(|client, now| client.handle_connected(now, "token"));
    let ServerFrame::Welcome(mut welcome) = welcome_of(&script) else { unreachable!("a welcome") };
    welcome.changelog = tidelock_core::ids::ChangelogId(10);
    script.receive(&ServerFrame::Welcome(welcome));
    let subscribe = script.subscribe();
    assert_eq!((&subscribe.cursor, subscribe.have.len(), subscribe.reconcile), (&None, 0, Some((1, 8))));
}

fn welcome_of(script: &Script) -> ServerFrame {
    let collections = ["cards", "lists"].iter().zip(0..).map(|(name, number)| tidelock_core::wire::CollectionInfo {
        number,
        name: (*name).into(),
        policy: tidelock_core::wire::Policy::default(),
    });
    ServerFrame::Welcome(tidelock_core::wire::Welcome {
        protocol: 1,
        session: tidelock_core::ids::SessionId(2),
        epoch: tidelock_core::ids::Epoch(1),
        changelog: LOG,
        finished: Sequence(0),
        history: None,
        limits: script.limits,
        collections: collections.collect(),
        subject: "ann".into(),
        now_ms: 0,
        floor: Offset(0),
    })
}

#[test]
fn silence_is_answered_by_a_ping_and_then_by_another_connection() {
    let mut script = Script::live();
    assert_eq!(script.wait(), 15_000);
    assert!(matches!(script.sent.last(), Some(ClientFrame::Ping(_))), "{:?}", script.sent);
    script.receive(&ServerFrame::Pong(Pong { nonce: 1 }));
    assert_eq!(script.wait(), 15_000);
    assert_eq!((script.wait(), script.disconnects), (15_000, 1));
    assert_eq!(script.host.client().status().phase, Phase::Offline);
    script.wait();
    assert_eq!(script.connects, 2);
}

#[test]
fn delays_between_attempts_grow_up_to_a_limit_and_shrink_after_progress() {
    let mut script = Script::live();
    let mut ceiling = 250;
    for _ in 0..12 {
        script.disconnect();
        let waited = script.wait();
        assert!((ceiling / 2..=ceiling).contains(&waited), "{waited} of {ceiling}");
        ceiling = (ceiling * 2).min(30_000);
    }
    script.connect(0);
    script.changes(0, 1, &[]);
    script.disconnect();
    assert!(script.wait() <= 250);
}

#[test]
fn a_hint_makes_the_wait_after_the_next_failure_short() {
    let mut script = Script::live();
    for _ in 0..12 {
        script.disconnect();
        script.wait();
    }
    // The network comes back while the attempt of before is under way, which fails.
    script.tell(Client::handle_network_hint);
    script.disconnect();
    assert!(script.wait() <= 250);
}

#[test]
fn garbage_ends_the_connection_and_nothing_else() {
    let mut script = Script::live();
    script.tell(|client, now| client.handle_message(now, &[0xff, 0x00]));
    assert_eq!((script.disconnects, script.host.client().status().phase), (1, Phase::Offline));
    let (code, ..) = script.host.client().status().error.expect("the status tells");
    assert_eq!(code, "protocol");
}

#[test]
fn a_result_out_of_order_is_a_fault_of_the_server() {
    let mut script = Script::live();
    script.write(|tx| tx.put("cards", "a", "{}"));
    script.result(2, 1, Outcome::Accepted);
    assert_eq!(script.disconnects, 1);
}

#[test]
fn a_replaced_leader_does_nothing_any_more() {
    let mut script = Script::live();
    let config = tidelock_core::client::Config {
        database: "main".into(),
        collections: vec!["cards".into(), "lists".into()],
        channels: None,
        resolver: false,
        offline: true,
        kept: tidelock_core::client::Kept::default(),
    };
    let mut other = Host::new(config, 3, script.now_ms);
    other.run(&mut script.database, script.now_ms);
    script.changes(0, 1, &[(1, "cards/a", "{}")]);
    assert!(script.events.contains(&Event::Fenced));
    assert_eq!(script.host.client().status().phase, Phase::Stopped);
    assert_eq!((script.row("cards/a"), script.host.client().next_timeout_ms()), (None, None));
}

#[test]
fn a_full_disk_is_reported_and_retried() {
    let mut script = Script::live();
    script.write_unseen(|tx| tx.put("cards", "a", "{}"));
    script.host.tell(|client| client.handle_captured(1_000));
    script.fail_task(StorageFailure::Quota);
    script.run();
    assert!(script.events.iter().any(|event| matches!(event, Event::Problem { code: "storage-full", .. })));
    assert_eq!(script.sequences(), [0_u64; 0]);
    assert_eq!(script.wait(), 500);
    assert_eq!(script.sequences(), [1]);
}

#[test]
fn a_client_that_was_rolled_back_goes_on_under_another_incarnation() {
    let mut script = Script::live();
    let first = script.host.client().status();
    script.disconnect();
    script.wait();
    script.connect(5);
    assert_eq!(first.pending, 0);
    let before = script.hello().incarnation;
    assert_eq!((script.disconnects, script.connects), (1, 3));
    script.connect_set_back(0);
    assert_ne!(script.hello().incarnation, before);
    script.write(|tx| tx.put("cards", "a", "{}"));
    assert_eq!(script.sequences(), [1]);
}

#[test]
fn no_more_is_sent_than_the_window_takes() {
    let mut script = Script::new();
    script.limits.push_window_mutations_max = 2;
    for key in ["a", "b", "c", "d"] {
        script.write_unseen(|tx| tx.put("cards", key, "{}"));
    }
    script.connect(0);
    script.snapshot(0, None, None, &[]);
    assert_eq!(script.sequences(), [1, 2]);
    script.result(1, 1, Outcome::Accepted);
    assert_eq!(script.sequences(), [3]);
}
