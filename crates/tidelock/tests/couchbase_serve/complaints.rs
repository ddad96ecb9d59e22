//! What users of Sync Gateway have complained of, as it is expected to be here. Numbers are those of its issues
//! (`couchbase/sync_gateway` on GitHub); those about fail-overs are in `local_complaints`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;
use tidelock_core::wire::Outcome;
use tidelock_store::platform::{FeedEvent, Platform as _};

use crate::client::{Client, Place, increment, put};
use crate::ground::Ground;
use crate::process::Serve;

/// How long anything may take that has to happen by itself.
const LIMIT: Duration = Duration::from_secs(120);
const WRITE: &str = "write = 'identity.sub != \"\"'";

/// 2672: updates were reverted where the gateway and an SDK wrote one document at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_application_writes_in_a_race_with_a_browser_is_not_reverted() {
    const EACH: u64 = 40;
    const FIRST: &str = r#"{"n":0,"theirs":0}"#;
    let ground = Ground::new("race").await;
    let serve = ground.serve("one", "");
    ground.set("card", FIRST).await;
    let mut browser = Client::open(&serve, 1).await;
    browser.subscribe().await;
    let ours = async {
        for sequence in 1..=EACH {
            // Always on the first state: whatever others wrote since has to survive it.
            browser.push(sequence, vec![increment("card", FIRST, 0)]).await;
            let outcome = browser.outcome().await;
            assert!(matches!(outcome, Outcome::Accepted | Outcome::Merged(..)), "{outcome:?}");
        }
    };
    let theirs = async {
        for count in 1..=EACH {
            loop {
                let (mut value, cas) = ground.get_with_cas("card").await.unwrap();
                assert_eq!(
                    value["theirs"],
                    json!(count - 1),
                    "what was written is there as long as nobody else writes it"
                );
                value["theirs"] = json!(count);
                if ground.replace("card", &value.to_string(), cas).await {
                    break;
                }
            }
        }
    };
    tokio::join!(ours, theirs);
    assert_eq!(ground.get("card").await, Some(json!({"n": EACH, "theirs": EACH})));
    serve.stop();
}

/// A delete by an SDK was not imported when the sync function rejected it.
#[tokio::test(flavor = "multi_thread")]
async fn a_delete_by_another_application_reaches_browsers_that_may_not_delete() {
    let ground = Ground::new("delete-rules").await;
    let may_create = "write = 'old == null'";
    let config = ground.config_with("one", &|text| text.replace(WRITE, may_create));
    let serve = Serve::start(&config);
    let mut client = Client::open(&serve, 1).await;
    client.subscribe().await;
    client.push(1, vec![put("card", r#"{"n":1}"#)]).await;
    assert_eq!(client.outcome().await, Outcome::Accepted);
    client.push(2, vec![increment("card", r#"{"n":1}"#, 1)]).await;
    let outcome = client.outcome().await;
    assert!(matches!(outcome, Outcome::Rejected(..)), "the rule allows to create alone: {outcome:?}");
    ground.delete("card").await;
    client.hears("card", None).await;
    serve.stop();
}

/// 4968: one deleted document kept a gateway busy for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_delete_by_another_application_is_taken_in_once() {
    let ground = Ground::new("delete-once").await;
    // Both go through all collections again and again.
    let often = |text: String| text.replace("kind = \"couchbase\"", "kind = \"couchbase\"\nscan_every_s = 1");
    let servers = ["one", "two"].map(|node| Serve::start(&ground.config_with(node, &often)));
    let mut clients = Vec::new();
    for serve in &servers {
        let mut client = Client::open(serve, 1).await;
        client.subscribe().await;
        clients.push(client);
    }
    ground.set("card", r#"{"n":1}"#).await;
    for client in &mut clients {
        client.hears("card", Some(&json!({"n": 1}))).await;
    }
    let platform = ground.platform().await;
    let mut feed = platform.feed(&["notes".to_owned()], None).await.unwrap();
    while feed.next().await.unwrap() != FeedEvent::CaughtUp {}
    ground.delete("card").await;
    for client in &mut clients {
        client.hears("card", None).await;
    }
    let mut versions = 0;
    let listen = async {
        loop {
            versions += usize::from(matches!(feed.next().await.unwrap(), FeedEvent::Changed(..)));
        }
    };
    // Long enough for some walks of each node.
    assert!(tokio::time::timeout(Duration::from_secs(4), listen).await.is_err());
    assert!((1..=2).contains(&versions), "the delete, and the date that one node gives its tombstone: {versions}");
    // Nothing more is told of it.
    ground.set("next", r#"{"n":2}"#).await;
    for client in &mut clients {
        let mut told = Vec::new();
        while told.is_empty() {
            told = client.told().await;
        }
        assert_eq!(told, [r#"next={"n":2}"#]);
    }
    servers.into_iter().for_each(Serve::stop);
}

/// 1116: a resync took hours and so much memory that servers died of it, and nobody was served meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn other_rules_for_channels_come_into_force_while_everybody_is_served() {
    const DOCUMENTS: usize = 400;
    const TEXT_BYTES: usize = 16 << 10;
    let ground = Ground::new("resync").await;
    let rules = |by: &'static str, reads: &'static str| {
        move |text: String| {
            let channels = format!("{WRITE}\nchannels = '[\"{by}:\" + doc.{by}]'");
            text.replace(WRITE, &channels) + &format!("\n[identity]\nchannels = '[\"{reads}\"]'\n")
        }
    };
    let config = ground.config_with("one", &rules("team", "team:red"));
    let serve = Serve::start(&config);
    let text = "x".repeat(TEXT_BYTES);
    for number in 0..DOCUMENTS {
        let project = if number % 2 == 0 { "sea" } else { "moon" };
        let document = json!({"team": "red", "project": project, "text": text});
        ground.set(&format!("d{number:03}"), &document.to_string()).await;
    }
    // Everything is there.
    let deadline = Instant::now() + LIMIT;
    while Client::open(&serve, 1).await.follow(None, Place::default()).await.len() < DOCUMENTS {
        assert!(Instant::now() < deadline, "what another application writes is not taken in");
    }
    let (_, cas) = ground.get_with_cas("d000").await.unwrap();
    let (log, memory) = (serve.log().len(), serve.resident_kib());
    ground.config_with("one", &rules("project", "project:sea"));
    serve.signal("HUP");
    serve.until_logged(log, "the configuration is in force");
    // Writers are served while documents get their channels.
    let mut writer = Client::open(&serve, 2).await;
    let mut sequence = 0;
    let is_done = |line: &str| line.contains("channels are those of the rules") && !line.contains("changed=0");
    while !serve.log()[log..].lines().any(is_done) {
        assert!(Instant::now() < deadline, "the rules do not come into force");
        for _ in 0..10 {
            sequence += 1;
            let document = json!({"team": "red", "project": "sea", "n": sequence}).to_string();
            writer.push(sequence, vec![put(&format!("w{sequence:03}"), &document)]).await;
            assert_eq!(writer.outcome().await, Outcome::Accepted);
        }
    }
    let grown = serve.resident_kib().saturating_sub(memory);
    println!("{sequence} writes were accepted meanwhile; {grown} KiB more memory");
    assert!(grown < (DOCUMENTS * TEXT_BYTES / 2) >> 10, "less than half of what the documents weigh: {grown} KiB");
    let (_, after) = ground.get_with_cas("d000").await.unwrap();
    assert_eq!(after, cas, "channels are no part of a document: nothing is written to the bucket");
    let mut later = Client::open(&serve, 3).await;
    let told = later.follow(None, Place::default()).await;
    let count = |first: char| told.iter().filter(|word| word.starts_with(first)).count();
    assert_eq!((count('d'), count('w')), (DOCUMENTS / 2, usize::try_from(sequence).unwrap()));
    serve.stop();
}

/// 947, 1296, 836: what a device gets could be chosen by access alone, not by time.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_chooses_a_window_of_time_among_what_he_may_read() {
    let ground = Ground::new("windows").await;
    let config = ground.config_with("one", &|text| {
        let channels = format!("{WRITE}\nchannels = '[doc.user, doc.user + \"/\" + doc.week]'");
        let reads = "'[identity.sub] + [\"w24\", \"w25\", \"w26\"].map(week, identity.sub + \"/\" + week)'";
        text.replace(WRITE, &channels) + &format!("\n[identity]\nchannels = {reads}\n")
    });
    let serve = Serve::start(&config);
    let write = async |key: &str, user: &str, week: &str| {
        ground.set(key, &json!({"user": user, "week": week}).to_string()).await;
    };
    let mut all = Client::open(&serve, 1).await;
    all.subscribe().await;
    for (key, user, week) in [("a", "ann", "w24"), ("b", "ann", "w25"), ("c", "bob", "w25")] {
        write(key, user, week).await;
    }
    let mut told = Vec::new();
    while told.len() < 2 {
        told.extend(all.told().await);
    }
    assert_eq!(keys(&told), BTreeSet::from(["a", "b"]), "all that is his");
    let mut device = Client::open(&serve, 2).await;
    let told = device.follow(Some(&["ann/w25"]), Place::default()).await;
    assert_eq!(keys(&told), BTreeSet::from(["b"]), "nothing of other weeks, nothing of others");
    // What comes into the window is told, what leaves it goes; the rest is not heard of.
    for (key, week) in [("d", "w26"), ("a", "w25"), ("b", "w26")] {
        write(key, "ann", week).await;
    }
    let mut told = Vec::new();
    while told.len() < 2 {
        told.extend(device.told().await);
    }
    assert_eq!(told, [r#"a={"user":"ann","week":"w25"}"#, "leaves b"]);
    // The window moves on: nobody has to be granted anything.
    let place = device.place.clone();
    let mut moved = Client::open(&serve, 2).await;
    let told = moved.follow(Some(&["ann/w26"]), place).await;
    let put: BTreeSet<&str> = told.iter().filter_map(|word| Some(word.split_once('=')?.0)).collect();
    assert_eq!(put, BTreeSet::from(["b", "d"]), "{told:?}");
    serve.stop();
}

fn keys(told: &[String]) -> BTreeSet<&str> {
    told.iter().map(|word| word.split_once('=').map_or(word.as_str(), |(key, _)| key)).collect()
}
