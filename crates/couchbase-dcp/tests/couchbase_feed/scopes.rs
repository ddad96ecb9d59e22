//! Feeds of a scope, and collections that come and go in it.

use tidelock_couchbase_dcp::{Event, Feed, SystemChange};

use crate::ground::Ground;
use crate::{changes, keys, next, open};

/// The next change of a collection that is as wanted.
async fn system(feed: &mut Feed, is_it: impl Fn(&SystemChange) -> bool) -> SystemChange {
    loop {
        if let Some(Event::System(event)) = next(feed).await
            && is_it(&event.change)
        {
            return event.change;
        }
    }
}

#[tokio::test]
async fn a_feed_of_a_scope_has_all_its_collections() {
    let (ground, other) = (Ground::new("whole").await, Ground::new("beside").await);
    ground.collection("more").await;
    ground.set("docs", "a", "{}").await;
    ground.set("more", "b", "{}").await;
    other.set("docs", "hidden", "{}").await;
    let mut feed = open(ground.config_of_scope()).await;
    assert_eq!(keys(&changes(&mut feed, |event| *event == Event::CaughtUp).await), ["a", "b"]);
    other.set("docs", "hidden", "{}").await;
    ground.set("more", "c", "{}").await;
    let is_change = |event: &Event| matches!(event, Event::Change(_));
    assert_eq!(keys(&changes(&mut feed, is_change).await), ["c"]);
}

#[tokio::test]
async fn collections_come_and_go() {
    let ground = Ground::new("system").await;
    let mut feed = open(ground.config_of_scope()).await;
    changes(&mut feed, |event| *event == Event::CaughtUp).await;
    ground.collection("notes").await;
    let is_made =
        |change: &SystemChange| matches!(change, SystemChange::CollectionCreated { name, .. } if name == "notes");
    let SystemChange::CollectionCreated { collection, max_ttl_s, .. } = system(&mut feed, is_made).await else {
        unreachable!("it is as wanted")
    };
    assert_eq!(max_ttl_s, None);
    ground.set("notes", "k", "{}").await;
    let found = changes(&mut feed, |event| matches!(event, Event::Change(_))).await;
    assert_eq!((keys(&found), found[0].collection), (vec!["k".to_owned()], collection));
    ground.drop_collection("notes").await;
    system(&mut feed, |change| *change == SystemChange::CollectionDropped { collection }).await;
}
