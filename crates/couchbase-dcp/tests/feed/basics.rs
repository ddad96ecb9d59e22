//! What a feed tells of a cluster where nothing goes wrong.

use std::time::Duration;

use tidelock_couchbase_dcp::{ChangeKind, Checkpoint, Config, Error, Event, Feed};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::{
    VBUCKETS, Writer, caught_up, change, changes, cluster, config, config_with, is_change, keys, next, open, until,
};

#[tokio::test]
async fn everything_is_told_then_what_happens() {
    let double = cluster(2).await;
    let mut writer = Writer::connect(&double).await;
    let mut expected = Vec::new();
    for vbucket in 0..VBUCKETS {
        let key = format!("k{vbucket}");
        writer.set(vbucket, &key, &format!(r#"{{"n":{vbucket}}}"#)).await;
        expected.push(key);
    }
    let mut feed = open(config(&double)).await;
    assert_eq!(feed.vbuckets(), usize::from(VBUCKETS));
    let events = caught_up(&mut feed).await;
    let mut found = keys(&events);
    found.sort();
    assert_eq!(found, expected);
    for change in changes(&events) {
        let ChangeKind::Mutation { flags: 0, expiry_s: 0, lock_s: 0 } = change.kind else { panic!("{change:?}") };
        assert_eq!(change.body, format!(r#"{{"n":{}}}"#, change.vbucket));
        assert!(change.is_json && change.xattrs.is_empty());
        assert_eq!((change.collection, change.seqno, change.revision), (0, 1, 1));
    }
    let written = writer.set(3, "live", "not JSON").await;
    let live = change(&mut feed, "live").await;
    assert_eq!((live.cas, live.seqno, live.vbucket), (written.cas, written.seqno, 3));
    assert!(!live.is_json);
}

#[tokio::test]
async fn versions_in_between_are_left_out() {
    let double = cluster(1).await;
    let mut writer = Writer::connect(&double).await;
    let mut feed = open(config(&double)).await;
    caught_up(&mut feed).await;
    double.pause_dcp(true);
    for count in 0..10 {
        writer.set(2, "often", &count.to_string()).await;
    }
    writer.set(2, "last", "{}").await;
    double.pause_dcp(false);
    let events = until(&mut feed, |event| is_change(event, "last")).await;
    assert_eq!(keys(&events), ["often", "last"]);
    let often = changes(&events).next().unwrap();
    assert_eq!((&often.body[..], often.seqno, often.revision), (&b"9"[..], 10, 10));
}

#[tokio::test]
async fn a_feed_may_end_with_what_is_there() {
    let double = cluster(2).await;
    let mut writer = Writer::connect(&double).await;
    for count in 0..20 {
        writer.set(count % VBUCKETS, &format!("k{count}"), "{}").await;
    }
    let mut feed = open(config_with(&double, |config| config.to_latest = true)).await;
    let mut count = 0;
    while let Some(event) = feed.next().await.unwrap() {
        count += usize::from(matches!(event, Event::Change(_)));
        feed.acknowledge();
    }
    assert_eq!(count, 20);
    assert_eq!(feed.next().await, Ok(None), "it stays at its end");
}

#[tokio::test]
async fn who_may_not_is_told_so() {
    let double = cluster(1).await;
    let check = async |config: Config, is_expected: fn(&Error) -> bool| {
        let error = Feed::open(config, &Checkpoint::default()).await.err().expect("refused");
        assert!(is_expected(&error) && !error.is_transient(), "{error}");
    };
    check(config(&double).password("Administrator", "wrong"), |error| matches!(error, Error::Authentication(_))).await;
    check(config(&double).password("nobody", "password"), |error| matches!(error, Error::Authentication(_))).await;
    check(config(&double).bucket("missing"), |error| matches!(error, Error::Access(_))).await;
    check(config(&double).collections(["_default.missing"]), |error| matches!(error, Error::UnknownCollection(_)))
        .await;
    check(config(&double).bucket(""), |error| matches!(error, Error::Configuration(_))).await;
    let mut other = Checkpoint::default();
    other.positions.insert(VBUCKETS, tidelock_couchbase_dcp::Position::default());
    assert!(matches!(Feed::open(config(&double), &other).await, Err(Error::Checkpoint(_))));
    drop(double);
    let nowhere = Config::new("couchbase://u:p@127.0.0.1:1/b").unwrap();
    assert!(Feed::open(nowhere, &Checkpoint::default()).await.err().unwrap().is_transient());
}

/// A server from before collections: it agrees to fewer features.
#[tokio::test]
async fn a_server_that_is_too_old_is_named_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut header = [0; 24];
        stream.read_exact(&mut header).await.unwrap();
        let length = u32::from_be_bytes(*header[8..].first_chunk().unwrap());
        stream.read_exact(&mut vec![0; length as usize]).await.unwrap();
        // HELLO, granted: xattrs, bucket selection, JSON.
        let mut answer = [[0x81, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6].as_slice(), &header[12..16], &[0; 8]].concat();
        answer.extend([0, 6, 0, 8, 0, 0x0b]);
        stream.write_all(&answer).await.unwrap();
        // Kept until the client leaves.
        stream.read_to_end(&mut Vec::new()).await.unwrap();
    });
    let config = Config::new(&format!("couchbase://u:p@127.0.0.1:{port}/b")).unwrap();
    let error = Feed::open(config, &Checkpoint::default()).await.err().unwrap();
    let Error::Unsupported(why) = &error else { panic!("{error}") };
    assert!(why.contains("0x12") && why.contains("7.0 or later") && !error.is_transient(), "{error}");
    serving.await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_is_kept_and_a_silent_one_is_left() {
    let double = cluster(1).await;
    let mut writer = Writer::connect(&double).await;
    let noop_interval = Duration::from_millis(100);
    let mut feed = open(config_with(&double, |config| config.noop_interval = noop_interval)).await;
    caught_up(&mut feed).await;
    // The double would close the connection after the first NOOP without an answer, and tell that.
    assert!(tokio::time::timeout(noop_interval * 10, feed.next()).await.is_err());
    double.mute_dcp(true);
    let Event::Disconnected { error: Error::Timeout(_), .. } = next(&mut feed).await else { panic!("not left") };
    double.mute_dcp(false);
    writer.set(0, "back", "{}").await;
    change(&mut feed, "back").await;
}
