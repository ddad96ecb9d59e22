//! The tasks of a node: the feed, what it loses, roll-backs, horizons, and what others write.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidelock_core::ids::{Incarnation, Offset, Sequence, Version};
use tidelock_core::server::{ChannelSet, Filter};
use tidelock_core::wire::{DocumentChange, Operation};

use super::platform::Fault;
use super::rig::{Node, Push, Rig, Told, counter, doc, increment, mutation, pause};
use crate::changelog::Changelog;
use crate::cluster::host::Host;
use crate::cluster::meta::Meta;
use crate::error::StoreError;
use crate::platform::{FeedEvent, system};
use crate::store::Store;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

pub(super) fn create(sequence: u64, key: &str) -> Push {
    let operation = Operation::Put(counter(1));
    Push {
        id: mutation(1, sequence),
        changes: vec![DocumentChange { id: doc(key), base: Version::ABSENT, operation, whole: None }],
    }
}

/// Deletes a document that the client knows with a counter of `n`.
fn delete(client: u8, key: &str, n: u64) -> Push {
    let base = tidelock_core::version::of_body(&counter(n)).unwrap();
    let change = DocumentChange { id: doc(key), base, operation: Operation::Delete, whole: None };
    Push { id: mutation(client, 1), changes: vec![change] }
}

fn everything() -> Filter {
    let names = ["notes"].into_iter().chain(system::ALL);
    Filter { collections: names.map(|name| (name.to_owned(), ChannelSet::All)).collect() }
}

/// How often each document was published.
fn published(node: &mut Node) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for (_, step) in node.history() {
        for key in step.into_keys() {
            *times.entry(key).or_default() += 1;
        }
    }
    times
}

#[test]
fn what_anybody_writes_reaches_every_node_once() {
    for together in [false, true] {
        let mut rig = Rig::new(1, together);
        let (mut one, mut other) = (rig.node(), rig.node());
        rig.push(&one, &create(1, "a"));
        rig.push(&one, &increment(mutation(1, 2), &["a"], 1));
        rig.cluster.set(&doc("foreign"), Some("{\"f\":1, \"in\":[\"x\"]}"), false);
        rig.converge(&[&one, &other]);
        rig.cluster.set(&doc("foreign"), None, true);
        rig.push(&other, &delete(2, "a", 2));
        rig.converge(&[&one, &other]);
        // Two writes of its own and a delete; the other may have seen the first two states as one.
        assert_eq!(published(&mut one), BTreeMap::from([("a".into(), 3), ("foreign".into(), 2)]));
        let of_other = published(&mut other);
        assert!((2..=3).contains(&of_other["a"]), "{of_other:?}");
        assert_eq!(of_other["foreign"], 2);
    }
}

#[test]
fn a_foreign_document_gets_its_channels_and_a_tombstone_keeps_them() {
    let mut rig = Rig::new(1, false);
    let node = rig.node();
    rig.cluster.set(&doc("a"), Some("{\"in\":[\"x\",\"y\"]}"), false);
    rig.converge(&[&node]);
    rig.cluster.set(&doc("a"), Some("{\"in\":[\"y\"]}"), false);
    rig.converge(&[&node]);
    let record = |rig: &mut Rig| rig.run(node.store.changes(Offset(0), &everything(), 1_000)).unwrap().records.pop();
    let moved = record(&mut rig).unwrap();
    assert_eq!((moved.channels, moved.left), (vec!["y".to_owned()], vec!["x".to_owned()]));
    rig.cluster.set(&doc("a"), None, false);
    rig.converge(&[&node]);
    let gone = record(&mut rig).unwrap();
    assert_eq!((gone.body, gone.channels, gone.left), (None, vec!["y".to_owned()], vec!["x".to_owned()]));
}

/// A state that the feed brings late does not replace a later one.
#[test]
fn nothing_older_is_published_than_what_was() {
    for ordered in [false, true] {
        let mut rig = Rig::new(1, !ordered);
        let mut node = rig.node();
        rig.push(&node, &create(1, "a"));
        let old = rig.cluster.last_event(&doc("a")).unwrap();
        rig.push(&node, &increment(mutation(1, 2), &["a"], 1));
        rig.converge(&[&node]);
        node.history();
        rig.cluster.announce(old);
        rig.cluster.set(&doc("z"), Some("{}"), false);
        rig.converge(&[&node]);
        assert_eq!(published(&mut node), BTreeMap::from([("z".into(), 1)]));
    }
}

#[test]
fn a_read_sees_what_the_feed_has_not_brought() {
    let mut rig = Rig::new(1, false);
    let node = rig.idle_node();
    rig.cluster.set(&doc("a"), Some("{\"n\":1}"), false);
    let set = rig.run(node.store.read(&[doc("a"), doc("b")])).unwrap();
    assert_eq!(set.documents.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false]);
    assert_eq!((set.offset, node.documents().len()), (node.journal.head(), 1));
    rig.cluster.set(&doc("a"), None, true);
    let set = rig.run(node.store.read(&[doc("a")])).unwrap();
    assert_eq!((set.documents, node.documents().len()), (vec![None], 0));
}

/// A node that lags publishes a group whole, also when a document of it was changed again since, and when it meets it by a read.
#[test]
fn a_group_is_published_whole_by_a_node_that_lags() {
    for together in [false, true] {
        for reads in [false, true] {
            let mut rig = Rig::new(1, together);
            for key in ["a", "b", "c"] {
                rig.cluster.set(&doc(key), Some("{\"n\":0}"), false);
            }
            let (writer, mut lagging) = (rig.node(), rig.idle_node());
            rig.run(lagging.store.read(&[doc("a"), doc("b"), doc("c")])).unwrap();
            lagging.history();
            rig.push(&writer, &increment(mutation(1, 1), &["a", "b", "c"], 0));
            rig.push(&writer, &increment(mutation(1, 2), &["a"], 1));
            if reads {
                rig.run(lagging.store.read(&[doc("a")])).unwrap();
            } else {
                rig.start(&lagging);
            }
            rig.converge(&[&lagging]);
            let steps = lagging.history();
            let first = &steps.first().unwrap().1;
            assert_eq!(first.len(), 3, "{together} {reads}: {steps:?}");
            assert_eq!(first["b"], first["c"]);
        }
    }
}

/// Documents of an intent that is not done are not published, and hold the position back, but nothing else.
#[test]
fn an_unfinished_intent_holds_up_only_its_documents() {
    let mut halves = 0;
    for call in 0..40 {
        let mut rig = Rig::new(1, false);
        rig.options.patience_ms = 3_000;
        for key in ["a", "b"] {
            rig.cluster.set(&doc(key), Some("{\"n\":0}"), false);
        }
        let (writer, mut observer) = (rig.idle_node(), rig.node());
        observer.history();
        writer.platform.fail(call, Fault::StopBefore);
        rig.push_until_stopped(&writer, &increment(mutation(2, 1), &["a", "b"], 0));
        if rig.cluster.content(&doc("a")) == rig.cluster.content(&doc("b")) {
            continue;
        }
        halves += 1;
        rig.cluster.set(&doc("z"), Some("{}"), false);
        let journal = observer.journal.clone();
        let position = move || futures_util::FutureExt::now_or_never(journal.recall("cluster:feed")).unwrap().unwrap();
        rig.until("the other document", || observer.documents().contains_key("z"));
        let before = position();
        rig.run(pause(&observer.store));
        // It covers nothing that is put off.
        let half = if rig.cluster.content(&doc("a")).as_deref() == Some("{\"n\":0}") { "b" } else { "a" };
        let covered = u64::from_be_bytes(position().unwrap().try_into().unwrap());
        assert!(covered <= rig.cluster.last_index(&doc(half)) as u64);
        assert!(observer.history().iter().all(|(_, step)| !step.contains_key("a") && !step.contains_key("b")));
        rig.converge(&[&observer]);
        assert_eq!(observer.documents()["a"], observer.documents()["b"]);
        rig.until("a position", || position() != before);
    }
    assert!(halves > 0, "no call writes one of them alone");
}

#[test]
fn a_lost_feed_is_made_up_for_by_a_scan() {
    let mut rig = Rig::new(1, false);
    let node = rig.node();
    for n in 0..10 {
        rig.push(&node, &create(n + 1, &format!("k{n}")));
    }
    rig.converge(&[&node]);
    rig.cluster.silence(|cluster| {
        cluster.set(&doc("k3"), None, true);
        cluster.set(&doc("k4"), None, false);
        cluster.set(&doc("k5"), Some("{\"n\":5}"), false);
        cluster.set(&doc("new"), Some("{}"), false);
    });
    rig.run(pause(&node.store));
    assert_ne!(node.documents(), rig.cluster.documents("notes"));
    rig.cluster.announce(FeedEvent::Lost(Some("notes".to_owned())));
    rig.converge(&[&node]);
}

/// The position is not remembered before the scan is done: who stops in between scans again.
#[test]
fn a_node_that_stops_during_a_scan_scans_again() {
    for call in 0..30 {
        let mut rig = Rig::new(call, false);
        let node = rig.node();
        rig.push(&node, &create(1, "a"));
        rig.converge(&[&node]);
        rig.cluster.silence(|cluster| cluster.set(&doc("b"), Some("{}"), false));
        node.platform.fail(call, Fault::StopBefore);
        rig.cluster.announce(FeedEvent::Lost(None));
        let (stopped, host) = (node.platform.clone(), Arc::clone(&rig.host));
        rig.run(futures_util::future::select(Box::pin(stopped.stopped()), host.sleep(60_000)));
        rig.stop_tasks();
        let again = rig.node_over(node.journal.clone());
        rig.start(&again);
        rig.converge(&[&again]);
    }
}

#[test]
fn a_silent_import_is_found_by_the_periodic_scan() {
    let mut rig = Rig::new(1, false);
    rig.options.scan_every_ms = 20_000;
    let node = rig.node();
    rig.cluster.silence(|cluster| cluster.set(&doc("a"), Some("{}"), false));
    rig.converge(&[&node]);
}

#[test]
fn a_silent_import_while_a_node_was_away_is_found_at_its_start() {
    let mut rig = Rig::new(1, false);
    let node = rig.node();
    rig.push(&node, &create(1, "a"));
    rig.converge(&[&node]);
    rig.stop_tasks();
    rig.cluster.silence(|cluster| {
        cluster.set(&doc("a"), None, true);
        cluster.set(&doc("b"), Some("{}"), false);
    });
    let again = rig.node_over(node.journal.clone());
    rig.start(&again);
    rig.converge(&[&again]);
}

#[test]
fn a_node_serves_once_it_has_everything() {
    let mut rig = Rig::new(1, false);
    for n in 0..20 {
        rig.cluster.set(&doc(&format!("k{n}")), Some("{}"), false);
    }
    let node = rig.node();
    assert_eq!(node.documents().len(), 20);
    // One that has had everything lags, no more.
    let again = rig.node_over(node.journal.clone());
    rig.run(again.store.complete());
}

#[test]
fn a_roll_back_makes_another_epoch_once() {
    let mut rig = Rig::new(1, false);
    let (one, other) = (rig.node(), rig.node());
    rig.push(&one, &create(1, "a"));
    let backup = rig.cluster.backup();
    rig.push(&one, &increment(mutation(1, 2), &["a"], 1));
    rig.converge(&[&one, &other]);
    let epoch = one.store.epoch();
    assert_eq!(other.store.epoch(), epoch);
    rig.cluster.announce(FeedEvent::RolledBack("first".to_owned()));
    rig.cluster.restore(backup);
    rig.converge(&[&one, &other]);
    rig.until("another epoch", || one.store.epoch() != epoch && other.store.epoch() == one.store.epoch());
    assert_eq!(one.documents()["a"], "{\"n\":1}");
    // The same roll-back, told again, is the same epoch.
    let epoch = one.store.epoch();
    rig.cluster.announce(FeedEvent::RolledBack("first".to_owned()));
    rig.push(&one, &increment(mutation(1, 2), &["a"], 1));
    rig.converge(&[&one, &other]);
    assert_eq!((one.store.epoch(), other.store.epoch()), (epoch, epoch));
    // The record went back with the data: the mutation after it is made again, and no other can be.
    let record = rig.run(one.store.client(mutation(1, 1).client, Incarnation(9))).unwrap();
    assert_eq!(record.finished, Sequence(2));
    rig.cluster.announce(FeedEvent::RolledBack("second".to_owned()));
    rig.until("another epoch", || one.store.epoch() != epoch && other.store.epoch() == one.store.epoch());
}

#[test]
fn a_restored_backup_is_another_epoch() {
    let mut rig = Rig::new(1, false);
    rig.options.beat_every_ms = 1_000;
    let (one, other) = (rig.node(), rig.node());
    rig.push(&one, &create(1, "a"));
    let backup = rig.cluster.backup();
    rig.push(&one, &create(2, "b"));
    let host = Arc::clone(&rig.host);
    rig.run(host.sleep(10_000));
    let epoch = one.store.epoch();
    rig.stop_tasks();
    rig.cluster.silence(|cluster| cluster.restore(backup.clone()));
    let (one, other) = (rig.node_over(one.journal.clone()), rig.node_over(other.journal.clone()));
    rig.start(&one);
    rig.start(&other);
    assert_ne!(one.store.epoch(), epoch);
    rig.converge(&[&one, &other]);
    rig.until("the same epoch", || other.store.epoch() == one.store.epoch());
    // An older one again, from before the epoch changed.
    let epoch = one.store.epoch();
    rig.cluster.restore(backup);
    rig.until("another epoch", || one.store.epoch() != epoch && other.store.epoch() == one.store.epoch());
    assert!(!one.documents().contains_key("b"));
}

/// A deleted document is forgotten after its time, and does not come back by a mutation that is repeated after that.
#[test]
fn a_tombstone_is_forgotten_after_its_time_and_nothing_comes_back() {
    for moved in [false, true] {
        let mut rig = Rig::new(1, false);
        rig.options.tombstones_kept_ms = 30 * DAY_MS;
        // A client creates a document and never hears of it: its record is not advanced.
        let first = rig.idle_node();
        let push = create(1, "a");
        let mut call = 0;
        while rig.cluster.content(&doc("a")).is_none() {
            let node = rig.idle_node();
            node.platform.fail(call, Fault::StopAfter);
            rig.push_until_stopped(&node, &push);
            call += 1;
        }
        drop(first);
        let node = rig.node();
        rig.push(&node, &delete(2, "a", 1));
        assert!(rig.cluster.meta(&doc("a")).is_some());
        let cluster = rig.cluster.clone();
        if moved {
            rig.time.advance(29 * DAY_MS);
            rig.run(pause(&node.store));
            assert!(cluster.meta(&doc("a")).is_some(), "it is kept until then");
            rig.time.advance(2 * DAY_MS);
            rig.until("the end of a tombstone", || cluster.meta(&doc("a")).is_none());
        }
        assert_eq!(rig.push(&node, &push), Told::Repeated);
        assert_eq!(cluster.content(&doc("a")), None);
        // What was noted for that is gone with the next mutation; the document can be made again.
        assert_eq!(rig.push(&node, &create(2, "a")), Told::Done);
        assert!(cluster.content(&doc("a")).is_some());
    }
}

#[test]
fn a_foreign_delete_becomes_a_tombstone_and_is_forgotten() {
    let mut rig = Rig::new(1, false);
    rig.options.tombstones_kept_ms = DAY_MS;
    rig.options.scan_every_ms = 10_000;
    let node = rig.node();
    rig.push(&node, &create(1, "a"));
    rig.cluster.set(&doc("a"), None, true);
    rig.converge(&[&node]);
    let cluster = rig.cluster.clone();
    let dated = |bytes: Arc<[u8]>| Meta::read(&bytes).unwrap().deleted_ms.is_some();
    rig.until("a date", || cluster.meta(&doc("a")).is_some_and(dated));
    rig.time.advance(2 * DAY_MS);
    rig.until("its end", || cluster.meta(&doc("a")).is_none());
    // A plain set over a tombstone is a live document.
    rig.cluster.set(&doc("a"), Some("{\"n\":4}"), false);
    rig.converge(&[&node]);
}

/// Entries in a meta that the client's record has passed go at the next write.
#[test]
fn what_a_document_has_seen_does_not_pile_up() {
    let mut rig = Rig::new(1, false);
    rig.cluster.set(&doc("a"), Some("{\"n\":0}"), false);
    let (one, other) = (rig.idle_node(), rig.idle_node());
    for client in 0..100_u8 {
        let node = if client % 2 == 0 { &one } else { &other };
        rig.push(node, &increment(mutation(client, 1), &["a"], client.into()));
        let meta = Meta::read(&rig.cluster.meta(&doc("a")).unwrap()).unwrap();
        assert!(meta.seen.len() <= 17, "{}", meta.seen.len());
    }
    assert_eq!(rig.cluster.content(&doc("a")).as_deref(), Some("{\"n\":100}"));
}

#[test]
fn intents_and_log_entries_are_forgotten_after_their_time() {
    let mut rig = Rig::new(1, false);
    rig.policy.fields.clear();
    rig.options.scan_every_ms = 10_000;
    let node = rig.node();
    rig.cluster.set(&doc("a"), Some("{\"n\":7}"), false);
    rig.push(&node, &increment(mutation(1, 1), &["a"], 0));
    let cluster = rig.cluster.clone();
    assert_eq!([system::INTENTS, system::CONFLICTS].map(|name| cluster.documents(name).len()), [1, 1]);
    rig.run(node.store.host.sleep(30_000));
    rig.time.advance(2 * 60 * 60 * 1_000);
    rig.until("the end of an intent", || cluster.documents(system::INTENTS).is_empty());
    assert_eq!(cluster.documents(system::CONFLICTS).len(), 1);
    rig.time.advance(100 * DAY_MS);
    rig.until("the end of the entry", || cluster.documents(system::CONFLICTS).is_empty());
}

/// A mutation larger than a record: its intent is held in pieces.
#[test]
fn a_large_mutation_is_held_in_pieces() {
    let mut rig = Rig::new(1, false);
    rig.options.scan_every_ms = 10_000;
    let text = "x".repeat(700 << 10);
    let change = |key: &str| DocumentChange {
        id: doc(key),
        base: Version::ABSENT,
        operation: Operation::Put(format!("{{\"text\":\"{text}\"}}").into_bytes()),
        whole: None,
    };
    let push = Push { id: mutation(1, 1), changes: vec![change("a"), change("b")] };
    let mut pieces = 0;
    for call in 0..40 {
        let first = rig.idle_node();
        first.platform.fail(call, Fault::StopAfter);
        rig.push_until_stopped(&first, &push);
        pieces = pieces.max(rig.cluster.documents(system::INTENTS).len());
    }
    assert!(pieces >= 3, "{pieces}");
    let node = rig.node();
    rig.push(&node, &push);
    assert_eq!(rig.push(&node, &push), Told::Repeated);
    rig.converge(&[&node]);
    assert_eq!(node.documents().len(), 2);
    rig.run(node.store.host.sleep(30_000));
    rig.time.advance(2 * 60 * 60 * 1_000);
    let cluster = rig.cluster.clone();
    rig.until("the end of the intent and its pieces", || cluster.documents(system::INTENTS).is_empty());
}

#[test]
fn what_cannot_be_read_is_no_delete_and_can_be_replaced() {
    let mut rig = Rig::new(1, false);
    let node = rig.node();
    rig.push(&node, &create(1, "a"));
    rig.cluster.set(&doc("a"), Some("{not json"), true);
    rig.cluster.set(&doc("z"), Some("{}"), false);
    rig.until("the other", || node.documents().contains_key("z"));
    assert_eq!(node.documents()["a"], "{\"n\":1}", "the last that could be read stays");
    let document = rig.run(node.store.read(&[doc("a")])).unwrap().documents.pop().unwrap().unwrap();
    assert_eq!((&*document.body, document.version.exists()), (&b""[..], true));
    let mut commit = super::rig::commit_of(mutation(1, 2), 1);
    commit.writes.push(crate::store::Write {
        id: doc("a"),
        expected: document.version,
        change: None,
        body: Some(Arc::from(counter(5))),
        version: tidelock_core::version::of_body(&counter(5)).unwrap(),
        channels: Vec::new(),
        edited_ms: 1,
        trace: crate::store::Trace::None,
    });
    rig.run(node.store.commit(commit)).unwrap();
    rig.converge(&[&node]);
}

#[test]
fn records_are_not_shown_as_documents() {
    let mut rig = Rig::new(1, false);
    rig.policy.fields.clear();
    let node = rig.node();
    rig.cluster.set(&doc("a"), Some("{\"n\":7}"), false);
    rig.push(&node, &increment(mutation(1, 1), &["a"], 0));
    let all = everything();
    rig.run(async {
        let journal = node.journal.changes(Offset(0), &all, 1 << 20).await.unwrap().records;
        assert!(journal.iter().any(|record| record.id.collection == system::CONFLICTS));
        let ours = |records: Vec<crate::ChangeRecord>| records.iter().all(|record| record.id.collection == "notes");
        assert!(ours(node.store.changes(Offset(0), &all, 1 << 20).await.unwrap().records));
        assert!(ours(node.store.snapshot(None, &all, 1 << 20).await.unwrap().records));
        assert_eq!(node.store.symbols(&all, 10).await.unwrap().documents, 1);
        assert_eq!(node.store.scan(system::CONFLICTS, None, 10).await.unwrap(), []);
        let id = tidelock_core::ids::DocumentId::new(system::STATE, "epoch");
        assert!(matches!(node.store.read(&[id]).await, Err(StoreError::Corrupt(_))));
    });
}

/// What a walk finds tells all that is to be known, where the platform tells orders.
#[test]
fn an_empty_journal_is_filled_without_reading_documents_again() {
    for ordered in [true, false] {
        let mut rig = Rig::new(1, !ordered);
        for number in 0..1_000 {
            rig.cluster.set(&doc(&format!("k{number}")), Some(&format!("{{\"n\":{number}}}")), false);
        }
        let node = rig.node();
        rig.converge(&[&node]);
        assert_eq!(node.documents().len(), 1_000);
        assert_eq!(node.platform.documents_read("notes"), if ordered { 0 } else { 1_000 });
    }
}
