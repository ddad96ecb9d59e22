//! A node stops, a call is lost, a foreign writer comes in between: at every call of a commit.

use std::collections::BTreeMap;

use tidelock_core::ids::{Incarnation, MutationId, Sequence, Version};
use tidelock_core::version;
use tidelock_core::wire::{DocumentPolicy, Operation};

use super::following::create;
use super::platform::Fault;
use super::rig::{Node, Rig, Told, commit_of, counter, doc, increment, mutation};
use crate::cluster::host::Host;
use crate::store::{CommitOutcome, ConflictQuery, Store, Write};

/// Calls that no scenario exceeds.
const CALLS_MAX: u64 = 200;

/// A way in which a cluster and its rules may be.
#[derive(Clone, Copy, Debug)]
struct Kind {
    together: bool,
    depends: bool,
    keys: &'static [&'static str],
}

const KINDS: [Kind; 5] = [
    Kind { together: false, depends: false, keys: &["a"] },
    Kind { together: true, depends: false, keys: &["a", "b", "c"] },
    Kind { together: true, depends: true, keys: &["a"] },
    Kind { together: false, depends: false, keys: &["a", "b", "c"] },
    Kind { together: false, depends: true, keys: &["a", "b", "c"] },
];

fn rig(kind: Kind, seed: u64) -> Rig {
    let mut rig = Rig::new(seed, kind.together);
    rig.depends = kind.depends;
    for key in kind.keys {
        rig.cluster.set(&doc(key), Some("{\"n\":0}"), false);
    }
    rig
}

/// The counters of the documents on the platform.
fn counters(rig: &Rig, keys: &[&str]) -> Vec<u64> {
    let counter = |key: &&str| {
        let content = rig.cluster.content(&doc(key)).unwrap();
        serde_json::from_str::<serde_json::Value>(&content).unwrap()["n"].as_u64().unwrap()
    };
    keys.iter().map(counter).collect()
}

/// No state that a reader could have seen has part of a mutation.
fn assert_never_torn(node: &mut Node, keys: &[&str]) {
    let mut state: BTreeMap<String, Option<String>> = BTreeMap::new();
    for (offset, step) in node.history() {
        state.extend(step);
        let seen: Vec<_> = keys.iter().map(|key| state.get(*key).cloned().flatten()).collect();
        if seen.iter().all(Option::is_some) {
            assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "torn at {offset}: {seen:?}");
        }
    }
}

fn finished(rig: &mut Rig, node: &Node, client: u8) -> Sequence {
    let MutationId { client, incarnation, .. } = mutation(client, 1);
    assert_eq!(incarnation, Incarnation(9));
    rig.run(node.store.client(client, incarnation)).unwrap().finished
}

/// Runs a scenario with a fault at its first call, its second, …, until there are no more. Returns how many there were.
fn at_every_call(mut scenario: impl FnMut(u64) -> bool) -> u64 {
    for call in 0..CALLS_MAX {
        if !scenario(call) {
            return call;
        }
    }
    panic!("a scenario does not end");
}

#[test]
fn a_node_that_stops_anywhere_leaves_nothing_lost_doubled_or_torn() {
    for kind in KINDS {
        for fault in [Fault::StopBefore, Fault::StopAfter] {
            let calls = at_every_call(|call| {
                let mut rig = rig(kind, call);
                let (first, mut observer) = (rig.idle_node(), rig.node());
                first.platform.fail(call, fault);
                let push = increment(mutation(1, 1), kind.keys, 0);
                let told = rig.push_until_stopped(&first, &push);
                let played = first.platform.is_played();
                drop(first);
                let second = rig.node();
                if told.is_none() {
                    rig.push(&second, &push);
                }
                assert_eq!(rig.push(&second, &push), Told::Repeated, "{kind:?} {fault:?} {call}");
                assert_eq!(counters(&rig, kind.keys), vec![1; kind.keys.len()], "{kind:?} {fault:?} {call}");
                assert_eq!(finished(&mut rig, &second, 1), Sequence(1));
                rig.push(&second, &increment(mutation(1, 2), kind.keys, 1));
                rig.converge(&[&second, &observer]);
                assert_eq!(counters(&rig, kind.keys), vec![2; kind.keys.len()]);
                assert_never_torn(&mut observer, kind.keys);
                played
            });
            assert!(calls >= 5, "{kind:?} {fault:?}: {calls}");
        }
    }
}

/// A committed mutation whose client never comes back is carried out whole, or not at all.
#[test]
fn an_intent_of_a_node_that_stopped_is_settled_by_others() {
    for kind in KINDS {
        let mut whole = 0;
        at_every_call(|call| {
            let mut rig = rig(kind, call);
            let (first, mut observer) = (rig.idle_node(), rig.node());
            first.platform.fail(call, Fault::StopAfter);
            rig.push_until_stopped(&first, &increment(mutation(1, 1), kind.keys, 0));
            let played = first.platform.is_played();
            drop(first);
            let cluster = rig.cluster.clone();
            let live = move || {
                let keys = cluster.keys(crate::platform::system::INTENTS);
                keys.iter().any(|key| cluster.is_live(key))
            };
            rig.until("an end of every intent", || !live());
            rig.converge(&[&observer]);
            let counters = counters(&rig, kind.keys);
            assert!(counters.iter().all(|n| *n == counters[0]), "{kind:?} {call}: {counters:?}");
            whole += counters[0];
            assert_never_torn(&mut observer, kind.keys);
            // Nothing that was left behind holds others up.
            rig.push(&observer, &increment(mutation(2, 1), kind.keys, 0));
            assert_eq!(self::counters(&rig, kind.keys)[0], counters[0] + 1);
            played
        });
        assert!(whole > 0, "{kind:?}");
    }
}

#[test]
fn a_call_without_an_answer_is_found_out() {
    for kind in KINDS {
        for fault in [Fault::LostBefore, Fault::LostAfter] {
            at_every_call(|call| {
                let mut rig = rig(kind, call);
                let (node, mut observer) = (rig.node(), rig.node());
                node.platform.fail(call, fault);
                let push = increment(mutation(1, 1), kind.keys, 0);
                rig.push(&node, &push);
                let played = node.platform.is_played();
                assert_eq!(rig.push(&node, &push), Told::Repeated);
                assert_eq!(counters(&rig, kind.keys), vec![1; kind.keys.len()], "{kind:?} {fault:?} {call}");
                rig.converge(&[&node, &observer]);
                assert_never_torn(&mut observer, kind.keys);
                played
            });
        }
    }
}

/// Another node carries the same mutation out between any two calls of the first.
#[test]
fn two_nodes_run_one_mutation_once() {
    for kind in KINDS {
        at_every_call(|call| {
            let mut rig = rig(kind, call);
            let (first, second, mut observer) = (rig.idle_node(), rig.idle_node(), rig.node());
            first.platform.fail(call, Fault::StopBefore);
            let push = increment(mutation(1, 1), kind.keys, 0);
            let host = std::sync::Arc::clone(&rig.host);
            // The first node waits at this call until the second is done, or for ever if it holds the second up.
            let (stopped, going) = (first.platform.clone(), first.platform.clone());
            let other = async {
                futures_util::future::select(Box::pin(stopped.stopped()), host.sleep(10_000)).await;
                second.push(&push, &host).await;
                // By then the client's record has passed the mutation: another's write takes its trace away.
                second.push(&increment(mutation(2, 1), kind.keys, 1), &host).await;
                going.resume();
            };
            rig.run(futures_util::future::join(first.push(&push, &host), other));
            let played = first.platform.is_played();
            assert_eq!(counters(&rig, kind.keys), vec![2; kind.keys.len()], "{kind:?} {call}");
            rig.push(&first, &increment(mutation(1, 2), kind.keys, 2));
            assert_eq!(rig.push(&second, &push), Told::Repeated);
            assert_eq!(counters(&rig, kind.keys), vec![3; kind.keys.len()], "{kind:?} {call}");
            rig.converge(&[&observer]);
            assert_never_torn(&mut observer, kind.keys);
            played
        });
    }
}

/// A foreign writer adds 10 between any two calls: nothing of either is lost.
#[test]
fn a_foreign_write_in_between_is_merged() {
    for kind in KINDS {
        for keeps_meta in [true, false] {
            at_every_call(|call| {
                let mut rig = rig(kind, call);
                let node = rig.node();
                node.platform.before(call, move |cluster| {
                    let content = cluster.content(&doc("a")).unwrap();
                    let n: u64 = content.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
                    // Without the meta nobody knows afterwards that the mutation was made, so it does that only before it.
                    if n == 0 || keeps_meta {
                        cluster.set(&doc("a"), Some(&format!("{{\"n\":{}}}", n + 10)), keeps_meta);
                    }
                });
                let push = increment(mutation(1, 1), kind.keys, 0);
                rig.push(&node, &push);
                let played = node.platform.is_played();
                rig.converge(&[&node]);
                let n = counters(&rig, kind.keys)[0];
                assert!(n == 11 || (n == 1 && !keeps_meta) || (n == 1 && !played), "{kind:?} {call}: {n}");
                assert_eq!(counters(&rig, &kind.keys[1..]), vec![1; kind.keys.len() - 1]);
                assert_eq!(rig.push(&node, &push), Told::Repeated);
                assert_eq!(counters(&rig, kind.keys)[0], n);
                played
            });
        }
    }
}

/// A mutation that is refused at its second try, because of what its first try did, was carried out all the same.
#[test]
fn a_mutation_is_not_refused_for_its_own_trace() {
    for keys in [&["a"][..], &["a", "b"]] {
        at_every_call(|call| {
            let mut rig = rig(Kind { together: false, depends: true, keys: &["a", "b"] }, call);
            rig.policy.document = DocumentPolicy::Reject;
            rig.policy.fields.clear();
            let (first, second) = (rig.idle_node(), rig.node());
            first.platform.fail(call, Fault::StopAfter);
            let push = increment(mutation(1, 1), keys, 0);
            rig.push_until_stopped(&first, &push);
            let played = first.platform.is_played();
            drop(first);
            // Another client changes the same field: the first one's change is refused from here on, if it was not made.
            let n = counters(&rig, &["a"])[0];
            let mut other = increment(mutation(2, 1), &["a"], n);
            other.changes[0].operation = Operation::Put(counter(n + 10));
            let other = rig.push(&second, &other);
            let told = rig.push(&second, &push);
            let made = counters(&rig, keys);
            // The other's was refused when an intent of the first was finished before it.
            let of_other = if other == Told::Done { 10 } else { 0 };
            let of_first = u64::from(told != Told::Rejected);
            assert_eq!(made[0], of_other + of_first, "{call}: {told:?}, {other:?}");
            if keys.len() > 1 {
                assert_eq!(made[1], u64::from(told != Told::Rejected), "{call}");
            }
            played
        });
    }
}

/// The values that a merge discards are in the log once, wherever a node stops.
#[test]
fn a_discarded_value_is_logged_once() {
    for fault in [Fault::StopBefore, Fault::StopAfter, Fault::LostBefore, Fault::LostAfter] {
        at_every_call(|call| {
            let mut rig = rig(Kind { together: false, depends: false, keys: &["a"] }, call);
            rig.policy.fields.clear();
            rig.cluster.set(&doc("a"), Some("{\"n\":7}"), false);
            let (first, second) = (rig.idle_node(), rig.node());
            first.platform.fail(call, fault);
            let push = increment(mutation(1, 1), &["a"], 0);
            let told = rig.push_until_stopped(&first, &push);
            let played = first.platform.is_played();
            drop(first);
            if told.is_none() {
                rig.push(&second, &push);
            }
            assert_eq!(counters(&rig, &["a"]), [1]);
            rig.converge(&[&second]);
            let store = second.store.clone();
            let query = ConflictQuery { limit: 10, ..ConflictQuery::default() };
            let log = rig.run(async move {
                let mut log = store.conflicts(&query).await.unwrap();
                for _ in 0..100 {
                    if !log.is_empty() {
                        break;
                    }
                    super::rig::pause(&store).await;
                    log = store.conflicts(&query).await.unwrap();
                }
                log
            });
            assert_eq!(log.len(), 1, "{fault:?} {call}");
            assert_eq!(log[0].note.theirs.as_deref(), Some(&b"7"[..]));
            assert_eq!(log[0].mutation, Some(mutation(1, 1)));
            played
        });
    }
}

/// A foreign writer deletes a document that a committed patch is of: the edit wins, and the delete is in the log.
#[test]
fn a_patch_of_a_document_that_is_gone_writes_what_was_prepared() {
    let mut logged = 0;
    at_every_call(|call| {
        let mut rig = rig(Kind { together: false, depends: false, keys: &["a", "b"] }, call);
        let node = rig.node();
        node.platform.before(call, move |cluster| {
            if cluster.content(&doc("a")).as_deref() == Some("{\"n\":0}") {
                cluster.set(&doc("a"), None, true);
            }
        });
        let mut push = increment(mutation(1, 1), &["a", "b"], 0);
        // A client that is asked to resolve sends the whole.
        if rig.push(&node, &push) == Told::Rejected {
            push.id = mutation(1, 2);
            push.changes[0].operation = Operation::Put(counter(1));
            rig.push(&node, &push);
        }
        let played = node.platform.is_played();
        rig.converge(&[&node]);
        assert_eq!(counters(&rig, &["b"]), [1], "{call}");
        assert_eq!(rig.cluster.content(&doc("a")).as_deref(), Some("{\"n\":1}"), "{call}");
        let store = node.store.clone();
        let query = ConflictQuery { limit: 10, ..ConflictQuery::default() };
        logged += rig.run(async move { store.conflicts(&query).await.unwrap().len() });
        played
    });
    assert!(logged > 0);
}

/// A refused mutation leaves no trace but the record: later ones do not go ahead of it.
#[test]
fn a_refused_mutation_is_recorded_before_the_next_one_is_made() {
    at_every_call(|call| {
        let mut rig = Rig::new(call, false);
        let node = rig.idle_node();
        node.platform.fail(call, Fault::StopAfter);
        let refused = commit_of(mutation(1, 1), 1);
        let mut next = commit_of(mutation(1, 2), 1);
        next.writes.push(Write {
            id: doc("a"),
            expected: Version::ABSENT,
            change: None,
            body: Some(counter(1).into()),
            version: version::of_body(&counter(1)).unwrap(),
            channels: Vec::new(),
            edited_ms: 1,
            trace: crate::store::Trace::None,
        });
        let (store, stopped) = (node.store.clone(), node.platform.clone());
        let commits = async { futures_util::future::join(store.commit(refused), store.commit(next)).await };
        rig.run(futures_util::future::select(Box::pin(commits), Box::pin(stopped.stopped())));
        let played = node.platform.is_played();
        drop(node);
        let other = rig.idle_node();
        let is_made = rig.cluster.content(&doc("a")).is_some();
        assert!(!is_made || finished(&mut rig, &other, 1) >= Sequence(1), "{call}");
        played
    });
}

#[test]
fn mutations_of_one_client_that_come_together_share_a_record() {
    let mut rig = Rig::new(1, false);
    let node = rig.node();
    let commits = (1..=20_u64).map(|sequence| {
        let mut commit = commit_of(mutation(1, sequence), 1);
        commit.writes.push(Write {
            id: doc(&format!("k{sequence}")),
            expected: Version::ABSENT,
            change: None,
            body: Some(counter(1).into()),
            version: version::of_body(&counter(1)).unwrap(),
            channels: Vec::new(),
            edited_ms: 1,
            trace: crate::store::Trace::None,
        });
        node.store.commit(commit)
    });
    let outcomes = rig.run(futures_util::future::join_all(commits));
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(CommitOutcome::Committed(_)))), "{outcomes:?}");
    assert_eq!(finished(&mut rig, &node, 1), Sequence(20));
    let writes = rig.cluster.writes(crate::platform::system::CLIENTS);
    assert_eq!(writes, 1);
}

/// A crash of the whole platform kept what a put stored beside the content, and lost the content: the mutation is not done.
#[test]
fn a_meta_whose_content_was_lost_tells_of_no_mutation() {
    for others in [false, true] {
        for keys in [&["a"][..], &["a", "b"]] {
            let mut rig = Rig::new(1, true);
            rig.cluster.tear(5);
            for key in keys {
                rig.cluster.set(&doc(key), Some("{\"n\":0}"), false);
            }
            let push = increment(mutation(1, 1), keys, 0);
            let mut call = 0;
            while rig.cluster.content(&doc("a")).as_deref() == Some("{\"n\":0}") {
                let node = rig.idle_node();
                node.platform.fail(call, Fault::StopAfter);
                rig.push_until_stopped(&node, &push);
                call += 1;
            }
            for key in keys {
                rig.cluster.set(&doc(key), Some("{\"n\":0}"), true);
            }
            let node = rig.node();
            let mut n = 1;
            if others {
                assert_eq!(rig.push(&node, &increment(mutation(2, 1), keys, 0)), Told::Done);
                n = 2;
            }
            assert_eq!(rig.push(&node, &push), Told::Done);
            assert_eq!(rig.push(&node, &push), Told::Repeated);
            for key in keys {
                assert_eq!(rig.cluster.content(&doc(key)), Some(format!("{{\"n\":{n}}}")), "{keys:?} {others}");
            }
        }
    }
}

/// Such a crash leaves a put without an answer, and a node that goes through the collection dates what is left for a tombstone, before the
/// writer looks again: the mutation is made then.
#[test]
fn a_put_whose_content_was_lost_is_made_again_when_a_walk_came_before() {
    let push = create(1, "a");
    let calls = at_every_call(|call| {
        let mut rig = Rig::new(call, true);
        let node = rig.idle_node();
        node.platform.fail(call, Fault::StopAfter);
        rig.push_until_stopped(&node, &push);
        rig.cluster.content(&doc("a")).is_none()
    });
    let mut rig = Rig::new(calls, true);
    rig.options.scan_every_ms = 200;
    rig.cluster.tear(5);
    let (walker, node) = (rig.node(), rig.idle_node());
    node.platform.fail(calls, Fault::LostAfter);
    node.platform.before(calls + 1, |cluster| {
        assert!(cluster.content(&doc("a")).is_some(), "the put was done");
        cluster.set(&doc("a"), None, true);
    });
    assert_eq!(rig.push(&node, &push), Told::Done);
    assert_eq!(rig.cluster.content(&doc("a")), Some("{\"n\":1}".to_owned()));
    rig.converge(&[&walker]);
}
