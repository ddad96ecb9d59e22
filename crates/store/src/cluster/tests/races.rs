//! Races between nodes, writers and readers that no single fault shows.

use futures_util::future::{join, join_all, select};
use tidelock_core::ids::{MutationId, Version};
use tidelock_core::version;
use tidelock_core::wire::DocumentPolicy;

use super::platform::Fault;
use super::rig::{Rig, Told, commit_of, counter, doc, increment, mutation};
use crate::cluster::conflicts::intent_key;
use crate::cluster::host::Host;
use crate::cluster::meta::{Meta, Seen, Sight};
use crate::error::StoreError;
use crate::platform::{Platform as _, PutContent, PutIf, PutOutcome, system};
use crate::store::{Commit, CommitOutcome, Store, Write};

/// Calls that no scenario exceeds.
const CALLS_MAX: u64 = 60;

fn counter_of(rig: &Rig, key: &str) -> u64 {
    let content = rig.cluster.content(&doc(key)).unwrap();
    serde_json::from_str::<serde_json::Value>(&content).unwrap()["n"].as_u64().unwrap()
}

fn rig(keys: &[&str], seed: u64) -> Rig {
    let rig = Rig::new(seed, false);
    for key in keys {
        rig.cluster.set(&doc(key), Some("{\"n\":0}"), false);
    }
    rig
}

/// A node that knows a client's record prunes what the record has passed, and nothing else.
#[test]
fn a_trace_stays_until_the_record_has_passed_it() {
    for call in 0..CALLS_MAX {
        let mut rig = rig(&["a"], call);
        let (one, other) = (rig.idle_node(), rig.idle_node());
        rig.push(&one, &increment(mutation(1, 1), &["a"], 0));
        other.platform.fail(call, Fault::StopAfter);
        let push = increment(mutation(1, 2), &["a"], 1);
        rig.push_until_stopped(&other, &push);
        rig.push(&one, &increment(mutation(2, 1), &["a"], 1));
        rig.push(&one, &push);
        assert_eq!(counter_of(&rig, "a"), 3, "{call}");
    }
}

/// A mutation that would be refused now, while an intent of an earlier attempt is committed, is made by that intent.
#[test]
fn a_refusal_does_not_contradict_a_committed_intent() {
    let mut made = [0; 2];
    for call in 0..CALLS_MAX {
        let mut rig = rig(&["a", "b"], call);
        rig.policy.document = DocumentPolicy::Reject;
        rig.policy.fields.clear();
        let (first, second) = (rig.idle_node(), rig.idle_node());
        first.platform.fail(call, Fault::StopAfter);
        let push = increment(mutation(1, 1), &["a", "b"], 0);
        rig.push_until_stopped(&first, &push);
        drop(first);
        rig.cluster.set(&doc("a"), Some("{\"n\":20}"), true);
        let told = rig.push(&second, &push);
        let cluster = rig.cluster.clone();
        rig.start(&second);
        rig.until("an end of every intent", || !cluster.keys(system::INTENTS).iter().any(|key| cluster.is_live(key)));
        let is_made = counter_of(&rig, "b") == 1;
        assert_eq!(is_made, told != Told::Rejected, "{call}: {told:?}");
        made[usize::from(is_made)] += 1;
    }
    assert!(made.iter().all(|times| *times > 0), "{made:?}");
}

/// Two mutations that make the same of a document are two all the same: when it has what one of them makes of it, that may be the
/// other's.
#[test]
fn mutations_of_equal_outcome_are_both_carried_out() {
    let mut halves = 0;
    for call in 0..2 * CALLS_MAX {
        for torn_ms in [0, 2] {
            let mut rig = rig(&["a", "b", "c"], call);
            rig.cluster.tear(torn_ms);
            let (first, second) = (rig.idle_node(), rig.idle_node());
            first.platform.fail(call / 2, if call % 2 == 0 { Fault::StopBefore } else { Fault::StopAfter });
            rig.push_until_stopped(&first, &increment(mutation(1, 1), &["a", "b"], 0));
            drop(first);
            let is_half = |key: &str| {
                counter_of(&rig, key) == 0
                    && rig.cluster.keys(system::INTENTS).iter().any(|key| rig.cluster.is_live(key))
            };
            halves += u64::from(is_half("a") && is_half("b"));
            assert_eq!(rig.push(&second, &increment(mutation(2, 1), &["a", "c"], 0)), Told::Done);
            rig.start(&second);
            let cluster = rig.cluster.clone();
            rig.until("an end of every intent", || {
                !cluster.keys(system::INTENTS).iter().any(|key| cluster.is_live(key))
            });
            assert_eq!(counter_of(&rig, "a"), 1 + counter_of(&rig, "b"), "{call} {torn_ms}");
        }
    }
    assert!(halves > 0, "none was left to another node");
}

/// A foreign writer comes to the same as an intent while that is carried out.
#[test]
fn a_foreign_write_of_equal_outcome_is_not_taken_for_ours() {
    for call in 0..CALLS_MAX {
        for torn_ms in [0, 2] {
            let mut rig = rig(&["a", "b"], call);
            rig.cluster.tear(torn_ms);
            let node = rig.idle_node();
            node.platform.before(call, |cluster| {
                let n = if cluster.content(&doc("a")).as_deref() == Some("{\"n\":0}") { 1 } else { 2 };
                cluster.set(&doc("a"), Some(&format!("{{\"n\":{n}}}")), true);
            });
            rig.push(&node, &increment(mutation(1, 1), &["a", "b"], 0));
            let counted = 1 + u64::from(node.platform.is_played());
            assert_eq!(counter_of(&rig, "a"), counted, "{call} {torn_ms}");
        }
    }
}

/// A document that an intent leaves as it is has seen the mutation before the others have it: that is not yet its end.
#[test]
fn a_mutation_is_finished_in_all_documents_before_it_is_found_in_one() {
    let version = |n| version::of_body(&counter(n)).unwrap();
    let write = |key: &str, n| Write {
        id: doc(key),
        expected: version(0),
        change: None,
        body: Some(counter(n).into()),
        version: version(n),
        channels: Vec::new(),
        edited_ms: 1,
        trace: crate::store::Trace::None,
    };
    let mut halves = 0;
    for (kept, changed) in [("a", "b"), ("b", "a")] {
        for call in 0..2 * CALLS_MAX {
            let mut rig = rig(&["a", "b"], call);
            let (first, second) = (rig.idle_node(), rig.idle_node());
            let writes = vec![write(kept, 0), write(changed, 1)];
            let commit = Commit { writes, ..commit_of(mutation(1, 1), 1) };
            let fault = if call % 2 == 0 { Fault::StopBefore } else { Fault::StopAfter };
            first.platform.fail(call / 2, fault);
            let platform = first.platform.clone();
            rig.run(select(first.store.commit(commit.clone()), Box::pin(platform.stopped())));
            drop(first);
            let meta = rig.cluster.meta(&doc(kept)).and_then(|meta| Meta::read(&meta)).unwrap_or_default();
            halves += u64::from((meta.sight(mutation(1, 1), None) == Sight::Seen) && counter_of(&rig, changed) == 0);
            rig.run(second.store.commit(commit)).unwrap();
            assert_eq!(counter_of(&rig, changed), 1, "{kept} {call}");
        }
    }
    assert!(halves > 0);
}

/// A meta whose content a crash has lost does not tell of it once it is dated as a tombstone: a foreign write may come next.
#[test]
fn a_meta_without_its_content_is_taken_back_where_it_is_dated() {
    let mut rig = Rig::new(1, false);
    let (node, id, seen) = (rig.node(), doc("a"), mutation(1, 1));
    let of = |MutationId { client, incarnation, sequence }| Seen { client, incarnation, sequence, fingerprint: None };
    let meta = Meta {
        version: version::of_body(&counter(1)).unwrap(),
        tag: 77,
        seen: vec![of(mutation(2, 7)), of(seen)],
        over: Some(Version::ABSENT),
        by: Some(seen),
        ..Meta::default()
    };
    let token = rig.run(node.platform.get(std::slice::from_ref(&id))).unwrap().remove(0).token;
    let put = PutIf { id: id.clone(), token, content: PutContent::Keep, meta: Some(meta.write()) };
    assert!(matches!(rig.run(node.platform.put_if(&[put])), Ok(PutOutcome::Done(_))));
    rig.options.scan_every_ms = 1_000;
    let sweeper = rig.node();
    let cluster = rig.cluster.clone();
    let found = || cluster.meta(&doc("a")).and_then(|meta| Meta::read(&meta)).unwrap_or_default();
    rig.until("a date", || found().deleted_ms.is_some());
    assert_eq!(found().sight(seen, None), Sight::Unseen);
    assert_eq!(found().sight(mutation(2, 7), None), Sight::Seen);
    assert_ne!(found().tag, 77, "its writer takes it for his");
    rig.cluster.set(&id, Some("{\"n\":5}"), true);
    rig.push(&sweeper, &increment(seen, &["a"], 0));
    assert_eq!(counter_of(&rig, "a"), 6);
}

/// A client that was set back uses its sequences again: that a document has seen a later one tells nothing of another one before.
#[test]
fn a_document_tells_a_sequence_that_is_used_again_below_a_later_one() {
    let mut meta = Meta::default();
    meta.see(mutation(1, 1), Some(10));
    meta.see(mutation(1, 2), Some(20));
    assert_eq!(meta.sight(mutation(1, 1), Some(10)), Sight::Seen);
    assert_eq!(meta.sight(mutation(1, 1), Some(11)), Sight::Another(10));
    assert_eq!(meta.sight(mutation(1, 2), Some(20)), Sight::Seen);
    let mut later = Meta::default();
    later.see(mutation(1, 2), Some(20));
    assert_eq!(later.sight(mutation(1, 1), Some(11)), Sight::Unseen, "it has not changed this document");
    later.see(mutation(1, 3), None);
    assert_eq!(later.sight(mutation(1, 1), Some(11)), Sight::Seen, "nothing tells which");
}

/// A read that is slow does not publish what was there before a commit.
#[test]
fn a_slow_read_publishes_nothing_old() {
    let mut rig = rig(&["a"], 1);
    let mut node = rig.idle_node();
    let host = std::sync::Arc::clone(&rig.host);
    rig.run(async {
        let writer = async {
            for sequence in 1..=30 {
                node.push(&increment(mutation(1, sequence), &["a"], sequence - 1), &host).await;
            }
        };
        let reader = |pause_ms| {
            let (store, host) = (node.store.clone(), &host);
            async move {
                for _ in 0..100 {
                    store.read(&[doc("a")]).await.unwrap();
                    host.sleep(pause_ms).await;
                }
            }
        };
        join(writer, join_all([0, 0, 1].map(reader))).await;
    });
    let published: Vec<u64> = node
        .history()
        .into_iter()
        .map(|(_, step)| serde_json::from_str::<serde_json::Value>(step["a"].as_deref().unwrap()).unwrap())
        .map(|value| value["n"].as_u64().unwrap())
        .collect();
    assert_eq!(published, (0..=30).collect::<Vec<_>>());
}

/// Without a mutation nobody repeats it: what is not known is found out, or said.
#[test]
fn a_write_without_a_mutation_is_never_denied_once_it_is_made() {
    for fault in [Fault::LostBefore, Fault::LostAfter] {
        for call in 0..20 {
            let mut rig = Rig::new(call, false);
            let node = rig.idle_node();
            node.platform.fail(call, fault);
            let mut commit = Commit { mutation: None, ..commit_of(mutation(1, 1), 1) };
            commit.writes.push(Write {
                id: doc("a"),
                expected: Version::ABSENT,
                change: None,
                body: Some(counter(1).into()),
                version: version::of_body(&counter(1)).unwrap(),
                channels: Vec::new(),
                edited_ms: 1,
                trace: crate::store::Trace::None,
            });
            match rig.run(node.store.commit(commit)) {
                Ok(CommitOutcome::Committed(_)) => assert_eq!(counter_of(&rig, "a"), 1),
                Err(StoreError::Unavailable(_)) => {}
                other => panic!("{fault:?} {call}: {other:?}"),
            }
        }
    }
}

/// Who meets the mark of a node that stopped waits for the lease, and no longer.
#[test]
fn a_mark_that_was_left_holds_others_up_for_the_lease() {
    let mut waited = 0;
    for call in 0..CALLS_MAX {
        let mut rig = rig(&["a", "b"], call);
        rig.depends = true;
        let (first, second) = (rig.idle_node(), rig.idle_node());
        first.platform.fail(call, Fault::StopAfter);
        rig.push_until_stopped(&first, &increment(mutation(1, 1), &["a", "b"], 0));
        drop(first);
        let started_ms = rig.host.now_ms();
        rig.push(&second, &increment(mutation(2, 1), &["a"], 0));
        let took_ms = rig.host.now_ms() - started_ms;
        assert!(took_ms < 2 * rig.options.lease_ms, "{call}: {took_ms} ms");
        waited += u64::from(took_ms >= rig.options.lease_ms);
    }
    assert!(waited > 0);
}

#[test]
fn a_content_of_another_kind_is_no_delete() {
    let mut rig = Rig::new(1, false);
    rig.cluster.set(&doc("a"), Some("{}"), false);
    let node = rig.node();
    rig.cluster.spoil(&doc("a"));
    rig.cluster.set(&doc("z"), Some("{}"), false);
    rig.until("the other", || node.documents().contains_key("z"));
    assert_eq!(node.documents()["a"], "{}");
    let document = rig.run(node.store.read(&[doc("a")])).unwrap().documents.pop().unwrap().unwrap();
    assert!(document.version.exists() && document.body.is_empty());
}

/// A client was set back to an earlier state while a node carried out what it had pushed, wherever that is: its next mutation under that
/// sequence is not taken for the other one.
#[test]
fn a_sequence_that_is_used_again_is_noticed() {
    let (mut told_apart, mut made) = (0, 0);
    for (together, keys) in [(false, &["a"][..]), (false, &["b", "c"]), (false, &["a", "b"]), (true, &["a", "b"])] {
        for call in 0..CALLS_MAX {
            let mut rig = Rig::new(call, together);
            rig.options.lease_ms = 500;
            for key in ["a", "b", "c"] {
                rig.cluster.set(&doc(key), Some("{\"n\":0}"), false);
            }
            let (first, second) = (rig.idle_node(), rig.node());
            first.platform.fail(call, if call % 2 == 0 { Fault::StopBefore } else { Fault::StopAfter });
            let lost = rig.push_until_stopped(&first, &increment(mutation(1, 1), &["a", "b"], 0));
            let next = increment(mutation(1, 1), keys, 7);
            let mut told = rig.push(&second, &next);
            if told == Told::Another {
                told_apart += 1;
                assert_eq!(rig.push(&second, &next), Told::Another, "{keys:?} {call}: it stays so");
                told = rig.push(&second, &increment(mutation(1, 2), keys, 7));
            }
            assert_eq!(told, Told::Done, "{keys:?} {call}");
            if lost.is_none() {
                // The other one is carried out some time, or never.
                let (cluster, key) = (rig.cluster.clone(), intent_key(Some(mutation(1, 1)), 0));
                rig.until("its end", || !cluster.is_live(&key));
            }
            let counts = ["a", "b", "c"].map(|key| counter_of(&rig, key) - u64::from(keys.contains(&key)));
            made += counts[0];
            assert!(counts == [0, 0, 0] || counts == [1, 1, 0], "{keys:?} {call}: {counts:?}");
            if !first.platform.is_played() {
                break;
            }
        }
    }
    assert!(told_apart > 0 && made > told_apart, "{told_apart} of {made}");
}
