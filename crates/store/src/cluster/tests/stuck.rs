//! The platform takes no writes for a while, and a mutation is half carried out: who reads, follows or comes back is not held up by that.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::{Either, select};
use tidelock_core::ids::{Offset, Sequence};
use tidelock_core::server::{ChannelSet, Filter};

use super::following::create;
use super::platform::Fault;
use super::rig::{Node, Push, Rig, Told, counter, doc, increment, mutation};
use crate::changelog::Changelog;
use crate::cluster::host::Host;
use crate::cluster::limits::{
    CATCH_UP_MS_MAX, COMMIT_MS_MAX, FEED_WAITS_MS_MAX, READER_WAITS_MS_MAX, STUCK_MS, TURN_WAITS_MS_MAX,
};
use crate::error::StoreError;
use crate::platform::system;
use crate::store::{CommitOutcome, Store};

/// What is answered without waiting takes less, in virtual milliseconds.
const AT_ONCE_MS: u64 = 100;

/// How long a put takes that is not done.
const PUT_WAITS_MS: u64 = 2_500;

/// What comes of something that may take so long.
fn within<T>(rig: &mut Rig, ms: u64, what: impl Future<Output = T>) -> T {
    let host = Arc::clone(&rig.host);
    match rig.run(select(pin!(what), host.sleep(ms))) {
        Either::Left((answer, _)) => answer,
        Either::Right(_) => panic!("no answer within {ms} ms"),
    }
}

/// Two nodes, with a mutation of the first that has changed `a` and not `b`, and what its client is told in the end.
fn half_done() -> (Rig, Arc<Node>, Node, Arc<Mutex<Option<Told>>>) {
    let mut rig = Rig::new(1, false);
    let (one, other) = (Arc::new(rig.node()), rig.node());
    for (sequence, key) in [(1, "a"), (2, "b"), (3, "c")] {
        rig.push(&one, &create(sequence, key));
    }
    rig.converge(&[&one, &other]);
    rig.cluster.hold(|id| id.key == "b");
    let told: Arc<Mutex<Option<Told>>> = Arc::default();
    let (node, host, answer) = (Arc::clone(&one), Arc::clone(&rig.host), Arc::clone(&told));
    rig.spawn(async move {
        let told = node.push(&increment(mutation(4, 1), &["a", "b"], 1), &host).await;
        *answer.lock().unwrap() = Some(told);
    });
    let (cluster, counted) = (Arc::clone(&rig.cluster), String::from_utf8(counter(2)).unwrap());
    rig.until("a has its part", || cluster.content(&doc("a")).as_ref() == Some(&counted));
    rig.cluster.hold(|_| true);
    // Whoever wants to help has begun.
    let host = Arc::clone(&rig.host);
    rig.run(host.sleep(10 * STUCK_MS));
    (rig, one, other, told)
}

#[test]
fn what_is_known_is_told_and_what_is_not_in_bounded_time() {
    let (mut rig, one, other, told) = half_done();
    let filter = Filter { collections: [("notes".to_owned(), ChannelSet::All)].into() };
    // Who comes back is told what is recorded of him, and what has changed, though his own mutation is under way here.
    let id = mutation(4, 1);
    let record = within(&mut rig, AT_ONCE_MS, one.store.client(id.client, id.incarnation)).unwrap();
    assert_eq!(record.finished, Sequence(0));
    for (node, is_at_work) in [(&*one, true), (&other, false)] {
        let page = within(&mut rig, AT_ONCE_MS, node.store.changes(Offset(0), &filter, 10_000)).unwrap();
        assert_eq!(page.records.len(), 3);
        // Other documents are read; those of the mutation cannot be told now. Nobody waits long for that, and the next not at all.
        let read = within(&mut rig, AT_ONCE_MS, node.store.read(&[doc("c")])).unwrap();
        assert_eq!(read.documents[0].as_ref().unwrap().body[..], counter(1));
        // On the node that is at work it is a matter of turns.
        let waits_ms = if is_at_work { [TURN_WAITS_MS_MAX; 2] } else { [READER_WAITS_MS_MAX, 0] };
        for ms in waits_ms {
            let read = within(&mut rig, ms + AT_ONCE_MS, node.store.read(&[doc("a")]));
            assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
        }
        let all = within(&mut rig, CATCH_UP_MS_MAX + 2 * TURN_WAITS_MS_MAX, node.store.catch_up(&filter));
        assert!(matches!(all, Err(StoreError::Unavailable(_))), "{all:?}");
    }
    // The feed goes on.
    rig.cluster.set(&doc("foreign"), Some("{}"), false);
    let host = Arc::clone(&rig.host);
    let begun_ms = host.now_ms();
    rig.until("both have heard of it", || [&*one, &other].iter().all(|node| node.documents().contains_key("foreign")));
    assert!(host.now_ms() - begun_ms <= AT_ONCE_MS + FEED_WAITS_MS_MAX, "{} ms", host.now_ms() - begun_ms);
    assert_eq!(told.lock().unwrap().take(), None, "nobody was told that it is done");
    // Then it is done, everywhere.
    rig.cluster.hold(|_| false);
    rig.until("the client is told", || told.lock().unwrap().is_some());
    assert!(matches!(told.lock().unwrap().take(), Some(Told::Done | Told::Repeated)));
    rig.converge(&[&one, &other]);
    assert_eq!(other.documents()["a"].as_bytes(), counter(2));
    assert_eq!(other.documents()["b"].as_bytes(), counter(2));
    assert_eq!(rig.run(other.store.catch_up(&filter)), Ok(()));
    assert_eq!(rig.run(one.store.client(id.client, id.incarnation)).unwrap().finished, Sequence(1));
}

/// A node ends at any call of a mutation, and from then on the platform takes no writes: whoever brings the mutation again, or another one on
/// one of its documents, is answered in bounded time all the same, whether what was begun can be settled or not.
#[test]
fn a_commit_does_not_wait_for_ever_for_what_another_one_has_begun() {
    for push in [increment(mutation(1, 1), &["a", "b"], 0), increment(mutation(2, 1), &["a"], 0)] {
        bring_to_a_stuck_platform(&push);
    }
}

fn bring_to_a_stuck_platform(push: &Push) {
    let mut refused = 0;
    for call in 0_u64.. {
        let mut rig = Rig::new(call, false);
        for key in ["a", "b"] {
            rig.cluster.set(&doc(key), Some("{\"n\":0}"), false);
        }
        let (first, second) = (rig.idle_node(), rig.node());
        let ids: Vec<_> = push.changes.iter().map(|change| change.id.clone()).collect();
        let current = rig.run(second.store.read(&ids)).unwrap().documents;
        first.platform.fail(call, Fault::StopAfter);
        rig.push_until_stopped(&first, &increment(mutation(1, 1), &["a", "b"], 0));
        if !first.platform.is_played() {
            break;
        }
        drop(first);
        let is_live = rig.cluster.keys(system::INTENTS).iter().any(|key| rig.cluster.is_live(key));
        // Whoever writes hears after a while that it was not done.
        let held = Arc::new(AtomicBool::new(true));
        rig.cluster.hold(|_| true);
        let (cluster, host, is_held) = (Arc::clone(&rig.cluster), Arc::clone(&rig.host), Arc::clone(&held));
        rig.spawn(async move {
            while is_held.load(Ordering::SeqCst) {
                host.sleep(PUT_WAITS_MS).await;
                cluster.hold(if is_held.load(Ordering::SeqCst) { |_| true } else { |_| false });
            }
        });
        let host = Arc::clone(&rig.host);
        let limit_ms = 2 * COMMIT_MS_MAX;
        let answer = within(&mut rig, limit_ms, second.push_onto(current, push, &host));
        assert!(!matches!(answer, Ok(CommitOutcome::Committed(_))), "{call}: {answer:?}");
        refused += u32::from(is_live && answer.is_err());
        held.store(false, Ordering::SeqCst);
        assert!(matches!(rig.push(&second, push), Told::Done | Told::Repeated), "{call}");
    }
    assert!(refused > 0, "no intent was in the way");
}
