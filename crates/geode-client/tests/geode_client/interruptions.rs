//! What a subscription tells when it cannot go on, and when the queue may lack something.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::mem::discriminant;
use std::time::Duration;

use tidelock_geode_client::{Address, Error, Event, Interest, Key, Loss, Subscription, Value};
use tokio::time::{Instant, timeout};

use crate::relays::{Gate, relays, through};
use crate::subscriptions::{all, durable, next};
use crate::support::client;

/// An id under which no earlier run left a queue.
fn fresh_id(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

/// The reason of the next interruption.
async fn interruption(subscription: &mut Subscription) -> Error {
    loop {
        if let Event::Interrupted(reason) = next(subscription).await {
            return reason;
        }
    }
}

#[tokio::test]
async fn the_end_of_the_client_is_the_end_of_its_events() {
    let listener = client().await;
    let mut subscription = listener.subscribe(all("docs", 1)).await.unwrap();
    assert_eq!(next(&mut subscription).await, Event::Lost(Loss::NoQueue));
    let ended = tokio::spawn(async move {
        while subscription.next().await.is_some() {}
        subscription.next().await
    });
    listener.close(false).await;
    let ended = timeout(Duration::from_secs(20), ended).await.expect("the events end");
    assert_eq!(ended.unwrap(), None, "and stay ended");
}

#[tokio::test]
async fn why_no_server_has_the_queue_is_told_once_for_each_reason() {
    let relays = relays().await;
    let id = fresh_id("test-taken");
    let listener = through(&relays, &id).await;
    let mut subscription = listener.subscribe(all("docs", 1)).await.unwrap();
    assert_eq!(next(&mut subscription).await, Event::Lost(Loss::NoQueue));
    for relay in &relays {
        relay.set(Gate::Shut);
    }
    assert!(matches!(interruption(&mut subscription).await, Error::Unreachable(_)));
    // Meanwhile another process takes the queue, as soon as the servers have noticed that this one is gone.
    let deadline = Instant::now() + Duration::from_secs(60);
    let (other, mut theirs) = loop {
        let other = durable(&id).await;
        match other.subscribe(all("docs", 1)).await {
            // Its own connections would keep the queue taken.
            Err(Error::DurableIdInUse { .. }) if Instant::now() < deadline => other.close(true).await,
            taken => break (other, taken.unwrap()),
        }
    };
    for relay in &relays {
        relay.set(Gate::Open);
    }
    let reason = interruption(&mut subscription).await;
    let somebody = Error::DurableIdInUse { server: Address::new("", 0) };
    assert_eq!(discriminant(&reason), discriminant(&somebody), "{reason}");
    // Three more attempts, at one of the two.
    for _ in 0..3 {
        let [first, second] = relays.each_ref().map(|relay| (relay, relay.seen().primaries));
        tokio::select! {
            () = first.0.until(|seen| seen.primaries > first.1) => {}
            () = second.0.until(|seen| seen.primaries > second.1) => {}
        }
    }
    assert!(!subscription.has_event(), "{:?}", next(&mut subscription).await);
    // The queue comes back, once a server that sends something to the other process has noticed that it is gone.
    assert!(!matches!(next(&mut theirs).await, Event::Interrupted(_)));
    drop(theirs);
    other.close(true).await;
    let docs = client().await.region("docs");
    let deadline = Instant::now() + Duration::from_secs(60);
    let event = loop {
        docs.put(&Key::from("taken"), &Value::string("told")).await.unwrap();
        match timeout(Duration::from_millis(100), subscription.next()).await {
            Ok(event) => break event.unwrap(),
            Err(_) => assert!(Instant::now() < deadline, "the queue is not taken back within a minute"),
        }
    };
    // It may be one of which this process cannot know whether it has begun it itself.
    assert!(matches!(event, Event::Change(_) | Event::CaughtUp | Event::Lost(_)), "{event:?}");
    drop(subscription);
    listener.close(false).await;
}

#[tokio::test]
async fn a_copy_that_lacks_an_interest_is_not_trusted() {
    let relays = relays().await;
    let listener = through(&relays, &fresh_id("test-lacking")).await;
    let mut subscription = listener.subscribe(all("docs", 1)).await.unwrap();
    assert_eq!(next(&mut subscription).await, Event::Lost(Loss::NoQueue));
    timeout(Duration::from_secs(60), subscription.redundancy_restored()).await.expect("there is a copy");
    let [first, second] = &relays;
    let (primary, copy) = if first.seen().primaries > 0 { (first, second) } else { (second, first) };
    // The server of the copy takes no more connections, and the client has noticed.
    copy.set(Gate::NoRequests);
    copy.until(|seen| seen.refused > 0).await;
    subscription.register(Interest::all("people")).await.unwrap();
    primary.set(Gate::Shut);
    let writer = client().await;
    let (missed, last) = (Key::from("lacking-missed"), Key::from("lacking-last"));
    writer.region("people").put(&missed, &Value::string("missed")).await.unwrap();
    writer.region("docs").put(&last, &Value::string("last")).await.unwrap();
    copy.set(Gate::Open);
    let mut is_told = false;
    loop {
        match next(&mut subscription).await {
            Event::Change(change) if change.key == last => break,
            Event::Change(change) => is_told |= change.key == missed,
            Event::Lost(_) => is_told = true,
            Event::CaughtUp | Event::Interrupted(_) => {}
            unexpected @ Event::Region { .. } => panic!("{unexpected:?}"),
        }
    }
    assert!(is_told, "neither the change of a person nor that one may be missing");
    drop(subscription);
    listener.close(false).await;
}
