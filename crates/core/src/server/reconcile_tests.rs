//! Reconciliation as the server carries it out.

use super::tests::{Host, LOG, MINE, grant, item_of};
use crate::ids::{DocumentId, Epoch, Offset, SessionId, SubscriptionId};
use crate::reconcile::{Checker, Sketch, decode, subtract, symbols_from_bytes};
use crate::wire::{ClientFrame, Cursor, Difference, ErrorCode, MoreSymbols, Packed, ServerFrame, Subscribe, encode};

const OTHER: SessionId = SessionId(0);

impl Host {
    fn begin(&mut self, round: u64, symbols: u32) {
        self.frame(&ClientFrame::Subscribe(Subscribe {
            id: SubscriptionId(1),
            collections: vec!["cards".into(), "lists".into()],
            channels: None,
            cursor: None,
            held: Vec::new(),
            have: Vec::new(),
            reconcile: Some((round, symbols)),
        }));
    }

    fn differ(&mut self, round: u64, lacks: &[u64], only: &[&str], more: bool) {
        let lacks = lacks.iter().flat_map(|item| item.to_be_bytes()).collect();
        let only = Packed(only.iter().flat_map(|key| encode(&(0_u32, (*key).to_owned()))).collect());
        let difference = Difference { subscription: SubscriptionId(1), round, lacks, only, more };
        self.frame(&ClientFrame::Difference(difference));
    }

    fn item(&self, key: &str) -> u64 {
        item_of(&self.documents[&DocumentId::new("cards", key)])
    }

    /// Items that a client without documents learns from the symbols sent last.
    fn told(&self) -> Vec<u64> {
        let symbols = self.sent.iter().rev().find_map(|frame| {
            if let ServerFrame::Symbols(symbols) = frame { symbols_from_bytes(&symbols.symbols) } else { None }
        });
        let symbols = symbols.expect("symbols were sent");
        let none = Sketch::new(Checker::new(LOG), u32::try_from(symbols.len()).unwrap());
        let mut items = decode(Checker::new(LOG), subtract(&symbols, none.symbols())).expect("enough symbols").theirs;
        items.sort_unstable();
        items
    }
}

#[test]
fn symbols_then_what_differs_then_changes() {
    let mut host = Host::open(&["cards"]);
    for key in ["a", "b", "c"] {
        host.commit(key, Some("1"), &[], OTHER);
    }
    host.log();
    host.begin(7, 32);
    let mut items = vec![host.item("a"), host.item("b"), host.item("c")];
    items.sort_unstable();
    assert_eq!(host.told(), items);
    assert_eq!(host.log(), ["symbols @3 of 3: 0+32"]);
    // Others go on meanwhile; one of the documents is asked for twice, one is gone.
    host.commit("d", Some("1"), &[], OTHER);
    host.differ(7, &[host.item("a")], &["b", "a", "gone"], false);
    assert_eq!(host.log(), ["reconciled @3 [a=1]", "reconciled @3 last [b=1 -gone]", "changes 3..4 last [d=1]"]);
    host.commit("a", Some("2"), &[], OTHER);
    assert_eq!(host.log(), ["changes 4..5 last [a=2]"]);
}

/// What a client has and a snapshot lacks is deleted there: the changelog first has to have what the client may have heard of elsewhere.
#[test]
fn a_list_is_answered_by_a_changelog_that_has_caught_up() {
    let snapshot = |epoch: Option<Epoch>, have: &[u64]| {
        let mut host = Host::open_knowing(epoch, &["cards"]);
        for key in ["a", "b", "c"] {
            host.commit(key, Some("1"), &[], OTHER);
        }
        let have = have.iter().flat_map(|item| item.to_be_bytes()).collect();
        host.frame(&ClientFrame::Subscribe(Subscribe {
            id: SubscriptionId(1),
            collections: vec!["cards".into()],
            channels: None,
            cursor: None,
            held: Vec::new(),
            have,
            reconcile: None,
        }));
        host.catch_ups
    };
    assert_eq!(snapshot(Some(Epoch(1)), &[7]), [true, false], "once, before the first page");
    assert_eq!(snapshot(Some(Epoch(1)), &[]), [false, false], "a client without documents loses none");
    assert_eq!(snapshot(None, &[7]), [false, false], "nor does one that lists what no server told it");
}

/// What the store has lost is to be missing in the symbols, too, or the client would not bring it back.
#[test]
fn symbols_for_a_client_that_restores_are_of_a_changelog_that_has_caught_up() {
    let symbols = |epoch: u64| {
        let mut host = Host::open_knowing(Some(Epoch(epoch)), &["cards"]);
        host.commit("a", Some("1"), &[], OTHER);
        host.begin(1, 8);
        host.frame(&ClientFrame::MoreSymbols(MoreSymbols {
            subscription: SubscriptionId(1),
            round: 1,
            first: 8,
            until: 20,
        }));
        host.catch_ups
    };
    assert_eq!(symbols(2), [true, false], "once, before the first");
    assert_eq!(symbols(1), [false, false], "a client of the same epoch has heard of every change");
}

#[test]
fn nothing_differs() {
    let mut host = Host::open(&["cards"]);
    host.commit("a", Some("1"), &[], OTHER);
    host.begin(1, 8);
    host.log();
    host.differ(1, &[], &[], false);
    assert_eq!(host.log(), ["reconciled @1 last []", "changes 1..1 last []"]);
}

#[test]
fn only_what_the_filter_matches_is_in_the_symbols_and_in_the_answers() {
    let mut host = Host::open(&["cards/x"]);
    host.commit("mine", Some("1"), &["x"], OTHER);
    host.commit("secret", Some("1"), &["y"], OTHER);
    host.begin(1, 32);
    assert_eq!(host.told(), [host.item("mine")]);
    host.log();
    // By its hash, which a curious client may compute, or by its name: it is as if there were no such document.
    host.differ(1, &[host.item("secret"), 12_345], &["secret", "nothing"], false);
    assert_eq!(host.log(), ["reconciled @2 last [-secret -nothing]", "changes 2..2 last []"]);
}

#[test]
fn further_symbols_continue_or_begin_again() {
    let mut host = Host::open(&["cards"]);
    host.commit("a", Some("1"), &[], OTHER);
    host.begin(1, 8);
    let more = |first, until| {
        ClientFrame::MoreSymbols(MoreSymbols { subscription: SubscriptionId(1), round: 1, first, until })
    };
    host.log();
    host.frame(&more(8, 20));
    assert_eq!(host.log(), ["symbols @1 of 1: 8+12"]);
    host.commit("b", Some("1"), &[], MINE);
    host.frame(&more(20, 40));
    assert_eq!(host.log(), ["symbols @2 of 2: 0+40"]);
    // Whatever is asked for: no more than are kept.
    host.frame(&more(40, u32::MAX));
    assert_eq!(host.log(), ["symbols @2 of 2: 40+32728"]);
}

#[test]
fn frames_of_an_earlier_round_mean_nothing() {
    let mut host = Host::open(&["cards"]);
    host.commit("a", Some("1"), &[], OTHER);
    host.begin(1, 8);
    host.begin(2, 8);
    host.log();
    host.differ(1, &[], &["a"], false);
    assert!(host.log().is_empty());
    host.differ(2, &[], &["a"], false);
    assert_eq!(host.log(), ["reconciled @1 last [a=1]", "changes 1..1 last []"]);
    host.differ(2, &[], &["a"], false);
    assert!(host.log().is_empty(), "the reconciliation is over");
}

#[test]
fn a_difference_comes_in_parts_and_has_a_limit() {
    let mut host = Host::open(&["cards"]);
    for key in ["a", "b"] {
        host.commit(key, Some("1"), &[], OTHER);
    }
    host.begin(1, 8);
    host.log();
    host.differ(1, &[host.item("a")], &[], true);
    assert_eq!(host.log(), ["reconciled @2 [a=1]"]);
    host.differ(1, &[], &["b"], false);
    assert_eq!(host.log(), ["reconciled @2 last [b=1]", "changes 2..2 last []"]);
    host.begin(2, 8);
    host.log();
    host.differ(2, &vec![1; 32_769], &[], true);
    assert_eq!(host.log(), ["error protocol"]);
}

#[test]
fn many_documents_are_read_in_parts() {
    let mut host = Host::open(&["cards"]);
    let keys: Vec<String> = (0..300).map(|number| format!("k{number:03}")).collect();
    for key in &keys {
        host.commit(key, Some("1"), &[], OTHER);
    }
    host.begin(1, 8);
    host.log();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    host.differ(1, &[], &keys, false);
    let log = host.log();
    assert_eq!(log.len(), 4, "128, 128, 44, and the confirmation");
    assert!(log[2].starts_with("reconciled @300 last [k256=1"), "{}", log[2]);
}

#[test]
fn a_malformed_difference_is_an_error() {
    let broken = |lacks: Vec<u8>, only: Packed| {
        let mut host = Host::open(&["cards"]);
        host.begin(1, 8);
        host.log();
        let difference = Difference { subscription: SubscriptionId(1), round: 1, lacks, only, more: false };
        host.frame(&ClientFrame::Difference(difference));
        host.closed
    };
    assert_eq!(broken(vec![1; 9], Packed::default()), Some(ErrorCode::Protocol));
    assert_eq!(broken(Vec::new(), Packed(vec![0xff])), Some(ErrorCode::Protocol));
    assert_eq!(broken(Vec::new(), Packed(encode(&(9_u32, "a".to_owned())))), Some(ErrorCode::Protocol));
    assert_eq!(broken(Vec::new(), Packed::default()), None);
}

#[test]
fn symbols_and_documents_wait_for_credit() {
    let mut host = Host::open(&["cards"]);
    host.commit("a", Some("1"), &[], OTHER);
    host.begin(1, 32_768);
    host.begin(2, 32_768);
    host.begin(3, 32_768);
    assert_eq!(host.log().iter().filter(|one| one.starts_with("symbols")).count(), 3, "1 MiB of credit holds them");
    host.begin(4, 32_768);
    assert!(host.log().is_empty());
}

#[test]
fn lost_and_gained_channels_begin_it_again() {
    let mut host = Host::open(&["cards/x"]);
    host.commit("a", Some("1"), &["x"], OTHER);
    host.begin(1, 8);
    host.log();
    host.session.handle_grant(host.now_ms, Ok(grant(&["cards/y"])));
    host.drain();
    assert_eq!(host.log(), ["restart 1"]);
    host.differ(1, &[host.item("a")], &["a"], false);
    assert!(host.log().is_empty());
    host.begin(2, 8);
    host.differ(2, &[], &["a"], false);
    assert_eq!(host.log(), ["symbols @1 of 0: 0+8", "reconciled @1 last [-a]", "changes 1..1 last []"]);
}

#[test]
fn a_floor_that_rises_begins_it_again() {
    let mut host = Host::open(&["cards"]);
    host.commit("a", Some("1"), &[], OTHER);
    host.begin(1, 8);
    host.log();
    host.commit("b", Some("1"), &[], OTHER);
    host.floor = Offset(2);
    host.session.handle_head(host.now_ms, host.head, host.floor);
    host.drain();
    assert_eq!(host.log(), ["restart 1"]);
    let resumed = Cursor { changelog: LOG, offset: Offset(1), snapshot: Some(("cards".into(), "a".into())) };
    host.frame(&ClientFrame::Subscribe(Subscribe {
        id: SubscriptionId(1),
        collections: vec!["cards".into()],
        channels: None,
        cursor: Some(resumed),
        held: Vec::new(),
        have: Vec::new(),
        reconcile: None,
    }));
    assert_eq!(host.log(), ["restart 1"], "a snapshot is resumed above the floor only");
}
