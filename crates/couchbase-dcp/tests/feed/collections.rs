//! Filters, and collections that come and go.

use tidelock_couchbase_dcp::{EndReason, Event, Feed, Filter, Start, SystemChange};

use crate::support::{
    VBUCKETS, Writer, caught_up, change, cluster, config, config_with, is_change, keys, next, open, until,
};

#[tokio::test]
async fn a_filter_shows_its_collections_and_moves_on_with_the_others() {
    let double = cluster(2).await;
    let one = double.create_collection("default", "app", "one");
    let two = double.create_collection("default", "app", "two");
    let mut in_one = Writer::connect(&double).await.into_collection(one);
    let mut in_two = Writer::connect(&double).await.into_collection(two);
    let mut in_default = Writer::connect(&double).await;
    in_one.set(1, "in one", "{}").await;
    in_two.set(1, "in two", "{}").await;
    in_default.set(1, "in default", "{}").await;

    let mut feed = open(config(&double).collections(["app.one"])).await;
    assert_eq!(feed.collection_ids(), [one]);
    let events = caught_up(&mut feed).await;
    assert_eq!(keys(&events), ["in one"]);
    // Three collections' events and three documents: from the disk, the filter's end is the vbucket's.
    let position = feed.position(1).unwrap().seqno();
    assert!(events.contains(&Event::SeqnoAdvanced { vbucket: 1, seqno: position }));
    // What others write meanwhile is not told while it is in memory; who comes back is taken past it.
    in_two.set(1, "in two", "{}").await;
    in_one.set(1, "also in one", "{}").await;
    let events = until(&mut feed, |event| is_change(event, "also in one")).await;
    assert!(!events.iter().any(|event| matches!(event, Event::SeqnoAdvanced { .. })), "{events:?}");
    let written = in_two.set(1, "in two", "{}").await;
    assert!(feed.position(1).unwrap().seqno() < written.seqno);
    let checkpoint = feed.checkpoint();
    let mut feed = Feed::open(config(&double).collections(["app.one"]), &checkpoint).await.unwrap();
    let advanced = Event::SeqnoAdvanced { vbucket: 1, seqno: written.seqno };
    let events = until(&mut feed, |event| *event == advanced).await;
    assert_eq!(keys(&events), [] as [&str; 0]);
    assert_eq!(feed.position(1).unwrap().seqno(), written.seqno);

    let mut feed = open(config(&double).collections(["app.two", "_default._default"])).await;
    let mut found = keys(&caught_up(&mut feed).await);
    found.sort();
    assert_eq!(found, ["in default", "in two"]);
    let mut feed = open(config_with(&double, |config| config.filter = Filter::Scope("app".into()))).await;
    let events = caught_up(&mut feed).await;
    let mut found = keys(&events);
    found.sort();
    assert_eq!(found, ["also in one", "in one", "in two"]);
    let created = |event: &&Event| matches!(event, Event::System(event) if matches!(event.change, SystemChange::CollectionCreated { .. }));
    assert_eq!(events.iter().filter(created).count(), usize::from(VBUCKETS) * 2);
}

/// Of what a filter leaves out, a node tells nothing while it streams from memory: no feed may wait for it.
#[tokio::test]
async fn a_feed_catches_up_with_its_collections_though_others_were_written_last() {
    let double = cluster(2).await;
    let one = double.create_collection("default", "app", "one");
    let two = double.create_collection("default", "app", "two");
    let mut in_one = Writer::connect(&double).await.into_collection(one);
    let mut in_two = Writer::connect(&double).await.into_collection(two);
    let mut in_default = Writer::connect(&double).await;
    double.keep_in_memory(true);
    in_one.set(1, "in one", "{}").await;
    for vbucket in 0..VBUCKETS {
        in_two.set(vbucket, "in two", "{}").await;
        in_default.set(vbucket, "in default", "{}").await;
    }
    let mut feed = open(config(&double).collections(["app.one"])).await;
    assert_eq!(keys(&caught_up(&mut feed).await), ["in one"]);
    let checkpoint = feed.checkpoint();
    in_two.set(1, "in two", "{}").await;
    let mut feed = Feed::open(config(&double).collections(["app.one"]), &checkpoint).await.unwrap();
    assert_eq!(keys(&caught_up(&mut feed).await), [] as [&str; 0]);
    // A scope, and one without a collection; and from now on.
    let of_scope = |scope: &str| config_with(&double, |config| config.filter = Filter::Scope(scope.into()));
    let mut feed = open(of_scope("app")).await;
    assert_eq!(keys(&caught_up(&mut feed).await).len(), 1 + usize::from(VBUCKETS));
    double.create_collection("default", "empty", "gone");
    double.drop_collection("default", "empty", "gone");
    let mut feed = open(of_scope("empty")).await;
    caught_up(&mut feed).await;
    let mut feed = open(config_with(&double, |config| config.start = Start::Now).collections(["app.one"])).await;
    assert_eq!(keys(&caught_up(&mut feed).await), [] as [&str; 0]);
    // A node that a stream moves to is asked again.
    double.rebalance();
    in_one.set(1, "later", "{}").await;
    change(&mut feed, "later").await;
}

#[tokio::test]
async fn a_feed_of_a_dropped_collection_ends() {
    let double = cluster(2).await;
    let id = double.create_collection("default", "app", "notes");
    let mut writer = Writer::connect(&double).await.into_collection(id);
    writer.set(2, "note", "{}").await;
    let mut feed = open(config(&double).collections(["app.notes"])).await;
    change(&mut feed, "note").await;
    double.drop_collection("default", "app", "notes");
    let mut ended = 0;
    while let Some(event) = feed.next().await.unwrap() {
        feed.acknowledge();
        ended += u16::from(matches!(event, Event::Ended { reason: EndReason::FilterEmpty, .. }));
    }
    assert_eq!(ended, VBUCKETS);
    // Created again it is another one.
    let again = double.create_collection("default", "app", "notes");
    assert_ne!(again, id);
    let mut feed = Feed::open(config(&double).collections(["app.notes"]), &feed.checkpoint()).await.unwrap();
    writer.collection = again;
    writer.set(2, "new note", "{}").await;
    assert_eq!(keys(&until(&mut feed, |event| crate::support::is_change(event, "new note")).await), ["new note"]);
}

#[tokio::test]
async fn other_collections_go_on_when_one_is_dropped() {
    let double = cluster(1).await;
    let gone = double.create_collection("default", "app", "gone");
    let kept = double.create_collection("default", "app", "kept");
    let mut writer = Writer::connect(&double).await.into_collection(kept);
    let mut feed = open(config(&double).collections(["app.gone", "app.kept"])).await;
    assert_eq!(feed.collection_ids(), [gone, kept]);
    caught_up(&mut feed).await;
    double.drop_collection("default", "app", "gone");
    // Streams that are opened again must not ask for it, whether they have heard of it or not.
    double.cut_dcp();
    writer.set(4, "still", "{}").await;
    change(&mut feed, "still").await;
    assert_eq!(feed.collection_ids(), [kept]);
}

#[tokio::test]
async fn a_feed_ends_when_its_collection_went_while_it_was_cut_off() {
    let double = cluster(1).await;
    double.create_collection("default", "app", "gone");
    let mut feed = open(config(&double).collections(["app.gone"])).await;
    caught_up(&mut feed).await;
    double.mute_dcp(true);
    double.cut_dcp();
    double.drop_collection("default", "app", "gone");
    double.mute_dcp(false);
    let mut ended = 0;
    while let Some(event) = feed.next().await.unwrap() {
        ended += u16::from(matches!(event, Event::Ended { reason: EndReason::FilterEmpty, .. }));
    }
    assert_eq!(ended, VBUCKETS);
}

#[tokio::test]
async fn an_out_of_order_snapshot_is_no_place_to_stop() {
    let double = cluster(1).await;
    let id = double.create_collection("default", "app", "notes");
    let mut writer = Writer::connect(&double).await.into_collection(id);
    for key in ["c", "a", "b"] {
        writer.set(6, key, "{}").await;
    }
    let mut feed = open(config_with(&double, |config| config.out_of_order = true).collections(["app.notes"])).await;
    until(&mut feed, |event| *event == Event::OutOfOrder { vbucket: 6, is_start: true }).await;
    let mut seqnos = Vec::new();
    loop {
        // Nothing of it counts before its end.
        assert_eq!(feed.position(6).unwrap().seqno(), 0);
        match next(&mut feed).await {
            Event::Change(change) if change.vbucket == 6 => seqnos.push(change.seqno),
            Event::OutOfOrder { vbucket: 6, is_start: false } => break,
            _ => {}
        }
    }
    assert!(!seqnos.is_sorted(), "{seqnos:?} is in order: it shows nothing");
    let position = feed.position(6).unwrap();
    assert_eq!((Some(&position.seqno()), position.is_consistent()), (seqnos.iter().max(), true));
    writer.set(6, "d", "{}").await;
    let mut feed = Feed::open(config(&double).collections(["app.notes"]), &feed.checkpoint()).await.unwrap();
    let events = until(&mut feed, |event| crate::support::is_change(event, "d")).await;
    assert!(!keys(&events).iter().any(|key| ["a", "b", "c"].contains(&key.as_str())));
}
