//! What users of Sync Gateway have complained of, where nodes of the cluster fail; see `complaints`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{Client, Place};
use crate::ground::Ground;

const DOCUMENTS: usize = 120;
/// How long a reader may take to have everything once the cluster is well.
const LIMIT: Duration = Duration::from_secs(60);

fn key(number: usize) -> String {
    format!("d{number:03}")
}

/// Another application stores documents one after the other, while a node fails, is failed over, and comes back.
async fn inserts(ground: &mut Ground) {
    for number in 0..DOCUMENTS {
        match number {
            30 => ground.double().hold_replication(),
            // The last ones are on the node that fails, and on no other.
            40 => {
                ground.double().kill(0);
                ground.double().fail_over(0);
            }
            50 => ground.double().release_replication(),
            70 => {
                ground.double().revive(0).await.unwrap();
                ground.double().rebalance();
            }
            _ => {}
        }
        ground.set(&key(number), &json!({ "n": number }).to_string()).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The documents that the cluster has in the end.
async fn kept(ground: &Ground) -> BTreeSet<String> {
    let mut kept = BTreeSet::new();
    for key in (0..DOCUMENTS).map(key) {
        if ground.get(&key).await.is_some() {
            kept.insert(key);
        }
    }
    kept
}

/// Notes what was told.
fn note(shown: &mut BTreeSet<String>, told: &[String]) {
    for word in told {
        match word.strip_prefix('-') {
            Some(gone) => drop(shown.remove(gone)),
            None => drop(shown.insert(word.split('=').next().unwrap().to_owned())),
        }
    }
}

/// 2079, 2108: documents that were stored while a node was failed over were missing in the changes feed, until the gateway was started
/// again, or for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_hears_of_every_document_while_a_node_is_failed_over() {
    let mut ground = Ground::new("missed").await;
    let serve = ground.serve("one", "");
    let mut reader = Client::open(&serve, 1).await;
    let mut shown = BTreeSet::new();
    note(&mut shown, &reader.follow(None, Place::default()).await);
    inserts(&mut ground).await;
    let kept = kept(&ground).await;
    assert!(kept.len() < DOCUMENTS && kept.len() > DOCUMENTS / 2, "the fail-over lost some: {}", kept.len());
    while shown != kept {
        note(&mut shown, &reader.told().await);
    }
    serve.stop();
}

/// 3721: a client that asked for the changes since the last answer, again and again, did not get all of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_on_from_its_cursor_again_and_again_misses_nothing() {
    let mut ground = Ground::new("cursor").await;
    let serve = ground.serve("one", "");
    let (mut shown, mut place, mut rounds) = (BTreeSet::new(), Place::default(), 0);
    let mut ask = async |shown: &mut BTreeSet<String>| {
        let mut reader = Client::open(&serve, 1).await;
        note(shown, &reader.follow(None, place.clone()).await);
        place = reader.place.clone();
        rounds += 1;
    };
    {
        let mut writing = std::pin::pin!(inserts(&mut ground));
        loop {
            tokio::select! {
                biased;
                () = ask(&mut shown) => {}
                () = &mut writing => break,
            }
        }
    }
    let kept = kept(&ground).await;
    let deadline = Instant::now() + LIMIT;
    while shown != kept {
        assert!(Instant::now() < deadline, "missing, or too much: {:?}", shown.symmetric_difference(&kept));
        ask(&mut shown).await;
    }
    println!("{} documents in {rounds} answers", kept.len());
    serve.stop();
}
