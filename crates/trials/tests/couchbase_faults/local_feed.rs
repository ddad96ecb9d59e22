//! What happens to streams and connections, and what nobody tells a server that was away.

use std::time::Duration;

use serde_json::{Value, json};
use tidelock_trials::{Couchbase, Dice, Ground as _, LIMIT, Trial, VBUCKETS, foreign_keys};

use crate::{WORK, run};

/// Reasons for the end of a stream, one that nobody knows among them (`kv_engine` docs/dcp/documentation/commands/stream-end.md).
const REASONS: [u32; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 42];
/// How long a server does not read. Less than the silence after which clients leave it.
const SLOW: Duration = Duration::from_secs(2);
/// Bytes of a document of which many come while a server does not read: …
const LARGE: usize = 1 << 20;
/// … so many, so that each node of the cluster has more for it than it may send before some is acknowledged (10 MiB).
const COUNT: usize = 60;

/// What happens to the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Streams end, for each reason that there is.
    StreamsEnded,
    /// All connections of the feed break.
    ConnectionsCut,
    /// The cluster tells nothing for a while; versions in between are left out.
    Silence,
    /// A server does not read for a while, and more comes than fits into buffers.
    SlowConsumer,
    /// Documents are deleted while a server is away, and the cluster forgets that they ever were.
    DeletesPurged,
    /// A collection is dropped, and made again.
    CollectionMadeAgain,
    /// A server ends in the middle of intents; another one, with an empty disk, takes its place.
    ServerReplaced,
}

const FAULTS: [Fault; 7] = [
    Fault::StreamsEnded,
    Fault::ConnectionsCut,
    Fault::Silence,
    Fault::SlowConsumer,
    Fault::DeletesPurged,
    Fault::CollectionMadeAgain,
    Fault::ServerReplaced,
];

#[test]
fn a_feed_under_faults_misses_and_resurrects_nothing() {
    run(&FAULTS, inject);
}

fn inject(trial: &mut Trial<Couchbase>, fault: Fault, dice: &mut Dice) {
    match fault {
        Fault::StreamsEnded => {
            for reason in REASONS {
                for vbucket in (0..VBUCKETS).filter(|_| dice.below(2) == 0) {
                    trial.ground.double().end_streams(vbucket, reason);
                }
                trial.foreign_all("foreign", Some(&json!({ "after": reason })));
            }
        }
        Fault::ConnectionsCut => {
            for round in 0..3 {
                trial.ground.double().cut_dcp();
                trial.foreign_all("foreign", Some(&json!({ "round": round })));
            }
        }
        Fault::Silence => {
            trial.ground.double().pause_dcp(true);
            for round in 0..5 {
                foreign_keys().for_each(|key| trial.foreign("foreign", &key, Some(&json!({ "silent": round }))));
                trial.fleet.work(WORK / 5);
            }
            trial.ground.double().pause_dcp(false);
            trial.all_show("foreign", Some(&json!({ "silent": 4 })));
        }
        Fault::SlowConsumer => slow(trial),
        Fault::DeletesPurged => purged(trial),
        Fault::CollectionMadeAgain => made_again(trial),
        Fault::ServerReplaced => {
            trial.kill_with_open_intents(0);
            trial.goes_on();
            trial.replace(0);
        }
    }
}

fn slow(trial: &mut Trial<Couchbase>) {
    trial.node(1).pause();
    let text = Value::from("x".repeat(LARGE));
    // They are in the feed, but their keys are those of no documents: what clients take in is not the question here.
    let key = |count: usize| format!("~x{count}");
    (0..COUNT).for_each(|count| trial.ground.write("copies", &key(count), Some(&text)));
    foreign_keys().for_each(|key| trial.foreign("foreign", &key, Some(&json!({ "is": "behind them" }))));
    trial.fleet.work(SLOW);
    trial.node(1).resume();
    trial.all_show("foreign", Some(&json!({ "is": "behind them" })));
    (0..COUNT).for_each(|count| trial.ground.write("copies", &key(count), None));
}

fn purged(trial: &mut Trial<Couchbase>) {
    trial.foreign_all("foreign", Some(&json!({ "is": "to go" })));
    trial.node(0).kill();
    foreign_keys().for_each(|key| trial.foreign("foreign", &key, None));
    // The newest item of a vbucket is never purged.
    trial.fleet.progress(20, LIMIT);
    trial.ground.double().purge();
    trial.node(0).start();
    trial.all_show("foreign", None);
}

fn made_again(trial: &mut Trial<Couchbase>) {
    let copy = json!({ "a": "copy" });
    trial.foreign_all("copies", Some(&copy));
    trial.ground.drop_collection("copies");
    foreign_keys().for_each(|key| trial.ledger.set("copies", &key, None));
    // The others go on.
    trial.fleet.progress(20, LIMIT);
    trial.ground.create_collection("copies");
    trial.all_show("copies", None);
    trial.foreign_all("copies", Some(&copy));
}
