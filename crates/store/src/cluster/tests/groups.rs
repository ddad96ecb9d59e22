//! Documents that were changed together, at nodes that lag.

use std::sync::Arc;

use tidelock_core::ids::MutationId;
use tidelock_core::wire::{DocumentChange, Operation};

use super::following::create;
use super::platform::Fault;
use super::rig::{Push, Rig, counter, doc, increment, mutation};
use crate::cluster::follow::Following;
use crate::cluster::host::Host;
use crate::store::Store;

/// Sets counters from one number to another, in one mutation.
fn set_all(id: MutationId, counters: &[(&str, u64, u64)]) -> Push {
    let change = |(key, from, to): &(&str, u64, u64)| DocumentChange {
        id: doc(key),
        base: tidelock_core::version::of_body(&counter(*from)).unwrap(),
        operation: Operation::Put(counter(*to)),
        whole: None,
    };
    Push { id, changes: counters.iter().map(change).collect() }
}

/// A document that came back to the content that a node has connects those that it was changed with on the way.
#[test]
fn groups_of_a_document_that_came_back_are_published_together() {
    for together in [false, true] {
        let mut rig = Rig::new(1, together);
        for key in ["a", "b", "c"] {
            rig.cluster.set(&doc(key), Some("{\"n\":0}"), false);
        }
        let (writer, mut lagging) = (rig.node(), rig.idle_node());
        rig.run(lagging.store.read(&[doc("a"), doc("b"), doc("c")])).unwrap();
        lagging.history();
        rig.push(&writer, &set_all(mutation(1, 1), &[("a", 0, 1), ("b", 0, 1)]));
        rig.push(&writer, &set_all(mutation(1, 2), &[("a", 1, 0), ("c", 0, 1)]));
        rig.run(lagging.store.read(&[doc("b")])).unwrap();
        let steps = lagging.history();
        let keys: Vec<Vec<&String>> = steps.iter().map(|(_, step)| step.keys().collect()).collect();
        assert_eq!(keys, [["b", "c"]], "{together}: {steps:?}");
    }
}

/// A mutation found a document as it would have made it: a node that has not got so far publishes what it wrote with that one.
#[test]
fn what_a_mutation_leaves_as_it_is_is_published_with_the_others() {
    for together in [false, true] {
        let mut rig = Rig::new(1, together);
        for key in ["a", "b"] {
            rig.cluster.set(&doc(key), Some("{\"n\":0}"), false);
        }
        let (writer, mut lagging) = (rig.node(), rig.idle_node());
        rig.run(lagging.store.read(&[doc("a"), doc("b")])).unwrap();
        lagging.history();
        rig.push(&writer, &set_all(mutation(1, 1), &[("a", 0, 1)]));
        rig.push(&writer, &set_all(mutation(2, 1), &[("a", 1, 1), ("b", 0, 1)]));
        rig.run(lagging.store.read(&[doc("b")])).unwrap();
        let steps = lagging.history();
        let keys: Vec<Vec<&String>> = steps.iter().map(|(_, step)| step.keys().collect()).collect();
        assert_eq!(keys, [["a", "b"]], "{together}: {steps:?}");
    }
}

/// What waits for an intent is put off; the rest goes in together, also what more groups connect than a meta names.
#[test]
fn an_intent_in_the_way_does_not_part_the_others() {
    let many: Vec<String> = (0..20).map(|n| format!("m{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut begun = 0;
    for call in 0..200 {
        let mut rig = Rig::new(1, true);
        for key in ["a", "b", "c"].iter().chain(&many) {
            rig.cluster.set(&doc(key), Some("{\"n\":0}"), false);
        }
        let mut lagging = rig.node();
        rig.converge(&[&lagging]);
        rig.stop_tasks();
        lagging.history();
        let (writer, stopping) = (rig.idle_node(), rig.idle_node());
        // Another node carries an intent out, and stops on its way.
        stopping.platform.fail(call, Fault::StopBefore);
        if rig.push_until_stopped(&stopping, &increment(mutation(2, 1), &many, 0)).is_some() {
            break;
        }
        let ones = rig.cluster.documents("notes").values().filter(|n| *n == "{\"n\":1}").count();
        if ones == 0 || ones == many.len() {
            continue;
        }
        begun += 1;
        rig.push(&writer, &set_all(mutation(1, 1), &[("a", 0, 100), ("b", 0, 100)]));
        for n in 0..crate::cluster::limits::GROUPS_KEPT_MAX as u64 {
            rig.push(&writer, &set_all(mutation(1, n + 2), &[("a", 100 + n, 101 + n), ("c", n, n + 1)]));
        }
        let ids = ["a", "b", "c"].iter().chain(&many).map(|key| (doc(key), None));
        let (documents, mut following) = (ids.collect(), Following::default());
        rig.run(lagging.store.take_in(&mut following, documents)).unwrap();
        let steps = lagging.history();
        let keys: Vec<Vec<&String>> = steps.iter().map(|(_, step)| step.keys().collect()).collect();
        assert_eq!(keys, [["a", "b", "c"]], "{call}: {steps:?}");
    }
    assert!(begun > 0, "no call stops in the middle");
}

/// Where a put can be seen in part, a node looks again before it publishes.
#[test]
fn a_put_that_is_visible_in_part_is_published_whole() {
    // The last ones last for longer than the platform says: only where the content comes last can they be told from what others write.
    let halves = [(true, false, 1), (false, true, 1), (true, true, 1), (true, false, 1_500), (true, true, 1_500)];
    for (content, meta, half_ms) in halves {
        let mut rig = Rig::new(1, true);
        rig.cluster.tear(2);
        for key in ["a", "b"] {
            rig.cluster.set(&doc(key), Some("{\"n\":0}"), false);
        }
        let (writer, mut reader) = (rig.idle_node(), rig.idle_node());
        rig.run(reader.store.read(&[doc("a"), doc("b")])).unwrap();
        reader.history();
        rig.push(&writer, &increment(mutation(1, 1), &["a", "b"], 0));
        rig.cluster.half(&doc("b"), content, meta);
        let (cluster, host) = (rig.cluster.clone(), Arc::clone(&rig.host));
        let mending = async {
            host.sleep(half_ms).await;
            cluster.mend();
        };
        rig.run(futures_util::future::join(reader.store.read(&[doc("a")]), mending)).0.unwrap();
        rig.run(reader.store.read(&[doc("a"), doc("b")])).unwrap();
        let steps = reader.history();
        let sizes: Vec<_> = steps.iter().map(|(_, step)| step.len()).collect();
        assert_eq!(sizes, [2], "{content} {meta} {half_ms}: {steps:?}");
    }
    // What a foreign writer leaves does not match either, and is taken as it is.
    let mut rig = Rig::new(1, true);
    rig.cluster.tear(2);
    let node = rig.node();
    rig.push(&node, &create(1, "a"));
    rig.cluster.set(&doc("a"), Some("{\"n\":9}"), true);
    rig.converge(&[&node]);
}
