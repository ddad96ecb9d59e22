//! Cases of the feed.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::task::Poll;

use super::{Follower, Subject, json, meta, value};
use crate::platform::{Entry, FeedEvent, Platform, PutContent};

/// The number that a state's content is.
fn number(entry: &Entry) -> Option<u64> {
    value(entry).and_then(|value| value.as_u64())
}

pub(super) async fn a_feed_without_position_has_lost_everything<P: Platform>(subject: &Subject<P>) {
    let id = subject.id("a");
    subject.put(&id, json("0"), Some("m")).await;
    let mut follower = subject.feed(None).await;
    let begun = follower.catch_up().await;
    assert_eq!(begun.first(), Some(&FeedEvent::Lost(None)), "{begun:?}");
    subject.put(&id, json("1"), Some("m")).await;
    follower.until(&id, "a change after the feed began", |entry| number(entry) == Some(1)).await;
    follower.position().await;
}

pub(super) async fn every_kind_of_change_is_fed<P: Platform>(subject: &Subject<P>) {
    let mut follower = subject.feed(None).await;
    follower.catch_up().await;
    let id = subject.id("a");
    let is = |content: Option<u64>, wanted: Option<&'static str>| {
        move |entry: &Entry| number(entry) == content && meta(entry) == wanted
    };
    subject.put(&id, json("1"), Some("m1")).await;
    follower.until(&id, "a creation", is(Some(1), Some("m1"))).await;
    subject.put(&id, json("2"), Some("m2")).await;
    follower.until(&id, "an update", is(Some(2), Some("m2"))).await;
    subject.put(&id, PutContent::Keep, Some("m3")).await;
    if subject.tells_of_metas {
        follower.until(&id, "a change of the meta", is(Some(2), Some("m3"))).await;
    }
    subject.put(&id, PutContent::Delete, Some("m4")).await;
    follower.until(&id, "a delete", is(None, Some("m4"))).await;
    subject.put(&id, json("5"), Some("m5")).await;
    follower.until(&id, "a document that came back", is(Some(5), Some("m5"))).await;
    subject.put(&id, PutContent::Delete, None).await;
    follower.until(&id, "a delete without a trace", is(None, None)).await;
}

pub(super) async fn states_of_a_document_come_in_order<P: Platform>(subject: &Subject<P>) {
    const STATES: u64 = 12;
    let mut follower = subject.feed(None).await;
    follower.catch_up().await;
    let ids = [subject.id("a"), subject.id("b"), subject.id_in(1, "c")];
    for n in 1..=STATES {
        for id in &ids {
            subject.put(id, json(&n.to_string()), Some("m")).await;
        }
    }
    let mut last = [0; 3];
    while last != [STATES; 3] {
        let FeedEvent::Changed(id, entry) = follower.next("the last states").await else { continue };
        let Some(at) = ids.iter().position(|known| *known == id) else { continue };
        let entry = match entry {
            Some(entry) => entry,
            None => subject.get(&id).await,
        };
        let n = number(&entry).expect("it is never deleted");
        assert!(n >= last[at], "{id}: state {n} comes after {}", last[at]);
        last[at] = n;
    }
}

pub(super) async fn a_feed_goes_on_from_its_position<P: Platform>(subject: &Subject<P>) {
    let ids = [subject.id("a"), subject.id("b"), subject.id_in(1, "c")];
    let mut follower = subject.feed(None).await;
    follower.catch_up().await;
    for round in 1..4 {
        subject.put(&ids[0], json(&round.to_string()), Some("m")).await;
        follower.until(&ids[0], "a change before the position", |entry| number(entry) == Some(round)).await;
        let position = follower.position().await;
        follower.feed.acknowledge(&position).await.unwrap();
        drop(follower);
        for id in &ids[1..] {
            subject.put(id, json(&round.to_string()), Some("m")).await;
        }
        follower = subject.feed(Some(&position)).await;
        let mut missing: BTreeSet<_> = ids[1..].iter().cloned().collect();
        while !missing.is_empty() {
            if let FeedEvent::Changed(id, entry) = follower.next("what changed meanwhile").await
                && entry.is_none_or(|entry| number(&entry) == Some(round))
            {
                missing.remove(&id);
            }
        }
        assert!(!follower.lost(), "nothing was lost: {:?}", follower.seen);
        if !follower.seen.contains(&FeedEvent::CaughtUp) {
            follower.catch_up().await;
        }
    }
}

pub(super) async fn what_was_not_acknowledged_comes_again<P: Platform>(subject: &Subject<P>) {
    let (first, second) = (subject.id("a"), subject.id("b"));
    let mut follower = subject.feed(None).await;
    follower.catch_up().await;
    subject.put(&first, json("1"), Some("m")).await;
    follower.until(&first, "a change before the position", |_| true).await;
    let position = follower.position().await;
    subject.put(&second, json("1"), Some("m")).await;
    follower.feed.acknowledge(&position).await.unwrap();
    follower.until(&second, "a change after the position", |_| true).await;
    follower.position().await;
    for _ in 0..2 {
        drop(follower);
        follower = subject.feed(Some(&position)).await;
        follower.until(&second, "the change again", |entry| number(entry) == Some(1)).await;
        assert!(!follower.lost(), "nothing was lost: {:?}", follower.seen);
    }
}

pub(super) async fn foreign_changes_are_fed<P: Platform>(subject: &Subject<P>) {
    let mut follower = subject.feed(None).await;
    follower.catch_up().await;
    let (theirs, ours) = (subject.id("a"), subject.id_in(1, "b"));
    subject.put(&ours, json("1"), Some("m")).await;
    for id in [&theirs, &ours] {
        subject.foreign.set(id, "2").await;
        follower.until(id, "a foreign write", |entry| number(entry) == Some(2)).await;
        subject.foreign.delete(id).await;
        follower.until(id, "a foreign delete", |entry| entry.content.is_none()).await;
        subject.foreign.set(id, "3").await;
        follower.until(id, "a foreign document that came back", |entry| number(entry) == Some(3)).await;
        subject.foreign.spoil(id).await;
        follower.until(id, "a content that is no document", |entry| entry.unreadable.is_some()).await;
    }
}

pub(super) async fn other_collections_are_not_fed<P: Platform>(subject: &Subject<P>) {
    let second = std::slice::from_ref(&subject.collections[1]);
    let feed = subject.platform.feed(second, None).await.unwrap();
    let mut follower = Follower { subject, feed, seen: Vec::new() };
    follower.catch_up().await;
    subject.put(&subject.id_in(0, "a"), json("1"), Some("m")).await;
    let id = subject.id_in(1, "a");
    subject.put(&id, json("1"), Some("m")).await;
    follower.until(&id, "a change of the collection", |_| true).await;
    follower.position().await;
    for event in &follower.seen {
        if let FeedEvent::Changed(id, _) = event {
            assert_eq!(id.collection, subject.collections[1]);
        }
    }
}

/// A wait that is dropped after one poll, again and again, while changes are made.
pub(super) async fn dropping_a_wait_loses_nothing<P: Platform>(subject: &Subject<P>) {
    const DOCUMENTS: usize = 12;
    let mut follower = subject.feed(None).await;
    follower.catch_up().await;
    let ids: Vec<_> = (0..DOCUMENTS).map(|n| subject.id(&n.to_string())).collect();
    let mut missing: BTreeSet<_> = ids.iter().cloned().collect();
    let note = |missing: &mut BTreeSet<_>, event: FeedEvent| {
        if let FeedEvent::Changed(id, _) = event {
            missing.remove(&id);
        }
    };
    for id in &ids {
        for _ in 0..3 {
            let mut wait = follower.feed.next();
            let polled = poll_fn(|context| Poll::Ready(wait.as_mut().poll(context))).await;
            drop(wait);
            if let Poll::Ready(event) = polled {
                note(&mut missing, event.unwrap());
            }
        }
        subject.put(id, json("1"), Some("m")).await;
    }
    while !missing.is_empty() {
        let event = follower.next("the changes").await;
        note(&mut missing, event);
    }
}
