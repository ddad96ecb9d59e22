//! A node whose journal lags, among nodes whose clocks are days apart.

use std::sync::Arc;

use futures_util::FutureExt;
use tidelock_core::server::{ChannelSet, Filter};

use super::host::TestHost;
use super::platform::Fault;
use super::rig::{Node, Rig, counter, doc, increment, mutation};
use crate::changelog::Changelog;
use crate::platform::system;
use crate::store::Store;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

fn notes() -> Filter {
    let names = ["notes", system::STATE, "elsewhere"];
    Filter { collections: names.map(|name| (name.to_owned(), ChannelSet::All)).into() }
}

fn let_pass(rig: &mut Rig, node: &Node, ms: u64) {
    let pause = node.store.host.sleep(ms);
    rig.run(pause);
}

/// What nobody told a node of is in its journal once it has caught up.
#[test]
fn a_node_catches_up_with_what_no_event_told() {
    let mut rig = Rig::new(1, true);
    rig.cluster.set(&doc("gone"), Some("{\"n\":0}"), false);
    let node = rig.node();
    assert!(node.documents().contains_key("gone"));
    rig.cluster.silence(|cluster| {
        cluster.set(&doc("a"), Some("{\"n\":1}"), false);
        cluster.set(&doc("gone"), None, false);
    });
    let_pass(&mut rig, &node, 10_000);
    assert!(!node.documents().contains_key("a"), "the next walk is far");
    rig.run(node.store.catch_up(&notes())).unwrap();
    assert_eq!(node.documents(), rig.cluster.documents("notes"));
}

/// An intent is kept for its time by the clock of whoever forgets it: that of the node that made it may be days behind.
#[test]
fn an_intent_is_kept_whatever_the_clocks_say() {
    let mut rig = Rig::new(1, false);
    for key in ["a", "b"] {
        rig.cluster.set(&doc(key), Some(std::str::from_utf8(&counter(0)).unwrap()), false);
    }
    let writer = rig.node();
    let mut lagging = rig.idle_node();
    rig.run(lagging.store.read(&[doc("a"), doc("b")])).unwrap();
    lagging.history();
    rig.push(&writer, &increment(mutation(1, 1), &["a", "b"], 0));
    rig.options.scan_every_ms = 1_000;
    rig.host = Arc::new(TestHost { time: Arc::clone(&rig.time), ahead_ms: DAY_MS });
    let ahead = rig.node();
    let_pass(&mut rig, &ahead, 60_000);
    assert_eq!(rig.cluster.documents(system::INTENTS).len(), 1, "it is young");
    // The node that is ahead changes a document of the group, too: the group stays with it.
    rig.push(&ahead, &increment(mutation(2, 1), &["a"], 1));
    rig.run(lagging.store.read(&[doc("a")])).unwrap();
    let steps = lagging.history();
    assert_eq!(steps.first().map(|(_, step)| step.len()), Some(2), "{steps:?}");
    let_pass(&mut rig, &ahead, 2 * 60 * 60 * 1_000);
    assert_eq!(rig.cluster.documents(system::INTENTS).len(), 0, "it is forgotten after its time");
}

/// A node that comes back after intents were forgotten takes everything in before it serves: nothing names their documents any more.
#[test]
fn an_old_journal_is_completed_before_it_serves() {
    for (away_ms, is_old) in [(5 * 60 * 1_000, false), (3 * 60 * 60 * 1_000, true)] {
        let mut rig = Rig::new(1, false);
        for key in ["a", "b"] {
            rig.cluster.set(&doc(key), Some(std::str::from_utf8(&counter(0)).unwrap()), false);
        }
        let first = rig.node();
        rig.stop_tasks();
        let (journal, writer) = (Arc::clone(&first.journal), rig.node());
        drop(first);
        rig.push(&writer, &increment(mutation(1, 1), &["a", "b"], 0));
        let_pass(&mut rig, &writer, away_ms);
        assert_eq!(rig.cluster.documents(system::INTENTS).is_empty(), is_old);
        for attempt in 0..2 {
            // A process that ends before the walk did leaves it to the next one.
            let again = rig.node_over(Arc::clone(&journal));
            assert_eq!(again.store.complete().now_or_never().is_none(), is_old, "{away_ms} {attempt}");
        }
        let again = rig.node_over(journal);
        rig.start(&again);
        let store = Arc::clone(&again.store);
        rig.run(async move { store.complete().await });
        if is_old {
            assert_eq!(again.documents(), rig.cluster.documents("notes"));
        }
    }
}

/// A content of an intent whose meta was lost is one of its group again once the intent is carried out.
#[test]
fn a_document_that_lost_its_meta_stays_with_its_group() {
    let mut halves = 0;
    for call in 0..40 {
        let mut rig = Rig::new(1, false);
        rig.cluster.tear(2);
        for key in ["a", "b"] {
            rig.cluster.set(&doc(key), Some(std::str::from_utf8(&counter(0)).unwrap()), false);
        }
        let (writer, mut lagging) = (rig.idle_node(), rig.idle_node());
        rig.run(lagging.store.read(&[doc("a"), doc("b")])).unwrap();
        lagging.history();
        writer.platform.fail(call, Fault::StopBefore);
        rig.push_until_stopped(&writer, &increment(mutation(1, 1), &["a", "b"], 0));
        let contents = ["a", "b"].map(|key| rig.cluster.content(&doc(key)).unwrap());
        if contents[0] == contents[1] {
            continue;
        }
        halves += 1;
        let written = if contents[0] == "{\"n\":1}" { "a" } else { "b" };
        rig.cluster.set(&doc(written), Some("{\"n\":1}"), false);
        let helper = rig.node();
        rig.until("the other half", || helper.documents().values().all(|text| text == "{\"n\":1}"));
        rig.run(lagging.store.read(&[doc(written)])).unwrap();
        let steps = lagging.history();
        assert_eq!(steps.first().map(|(_, step)| step.len()), Some(2), "{call}: {steps:?}");
    }
    assert!(halves > 0);
}
