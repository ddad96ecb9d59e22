//! Changes that nobody is told of: queues that ran out, regions that were cleared, imports, deletes that the servers have forgotten.

use std::time::Duration;

use serde_json::{Value, json};
use tidelock_trials::{Dice, Geode, LIMIT, Link, Mix, Plan, Trial, until};

/// The servers forget a client that is silent for a minute, and its queue two seconds later.
const AWAY: Duration = Duration::from_secs(66);
const OPTIONS: &str = "scan_every_s = 8\noptions = { queue_kept_s = \"2\" }\n";
/// Deleted entries are forgotten as soon as possible.
const PROPERTIES: [&str; 2] = ["tombstone-timeout=1000", "tombstone-gc-threshold=1"];
const DOCUMENTS: usize = 20;

#[test]
fn what_makes_no_event_reaches_all_clients() {
    let mut dice = Dice::from_environment();
    let plan = Plan { clients: 4, mix: Mix::ALL, pace: Duration::from_millis(30), options: OPTIONS };
    let mut trial = Geode::trial(&plan, &PROPERTIES, &mut dice);
    clear(&trial);
    imports(&mut trial);
    forgotten_deletes(&mut trial);
    silence(&trial);
    trial.settle();
    trial.fleet.finish();
}

fn key(number: usize) -> String {
    format!("f{number}")
}

/// Another application writes some documents; all clients come to show them.
fn write(trial: &Trial<Geode>, collection: &str, value: &Value) {
    for number in 0..DOCUMENTS {
        trial.foreign(collection, &key(number), Some(value));
    }
    shown(trial, collection, Some(value));
}

fn shown(trial: &Trial<Geode>, collection: &str, value: Option<&Value>) {
    for number in 0..DOCUMENTS {
        trial.fleet.shows(collection, &key(number), value, LIMIT);
    }
}

/// A region is cleared: one event, which names no entry.
fn clear(trial: &Trial<Geode>) {
    write(trial, "copies", &json!({ "a": "copy" }));
    let mut java = trial.ground.java();
    java.run(&["clear", "copies"]).expect("cleared");
    (0..DOCUMENTS).for_each(|number| trial.ledger.set("copies", &key(number), None));
    shown(trial, "copies", None);
    trial.goes_on();
    println!("a region was cleared: {} transactions", trial.ledger.transactions());
}

/// An export is imported again, which makes no events: while the nodes serve, and while they are down.
fn imports(trial: &mut Trial<Geode>) {
    let file = trial.ground.folder().join("foreign.gfd");
    let file = file.to_str().expect("a path in Unicode").to_owned();
    let mut java = trial.ground.java();
    let (old, new) = (json!({ "is": "old", "n": 1 }), json!({ "is": "new", "n": 2 }));
    write(trial, "foreign", &old);
    java.run(&["export", "suite5", &file]).expect("exported");
    for is_down in [false, true] {
        write(trial, "foreign", &new);
        for number in 0..DOCUMENTS / 2 {
            trial.foreign("foreign", &key(number), None);
        }
        trial.fleet.shows("foreign", &key(0), None, LIMIT);
        if is_down {
            trial.nodes.iter_mut().for_each(tidelock_trials::Server::kill);
        }
        java.run(&["import", "suite5", &file]).expect("imported");
        (0..DOCUMENTS).for_each(|number| trial.ledger.set("foreign", &key(number), Some(old.clone())));
        if is_down {
            trial.nodes.iter_mut().for_each(tidelock_trials::Server::launch);
            trial.nodes.iter_mut().for_each(tidelock_trials::Server::wait);
        }
        shown(trial, "foreign", Some(&old));
        trial.goes_on();
        println!("imported, nodes down: {is_down}: {} transactions", trial.ledger.transactions());
    }
}

/// Documents are deleted while a node is away for longer than its queue, and the servers forget that they ever were.
fn forgotten_deletes(trial: &mut Trial<Geode>) {
    trial.node(0).kill();
    for number in 0..DOCUMENTS {
        trial.foreign("foreign", &key(number), None);
    }
    until("the servers have forgotten the deletes", LIMIT, || {
        if trial.ground.has_tombstones("foreign") { Err("they remember".to_owned()) } else { Ok(()) }
    });
    trial.fleet.work(Duration::from_secs(3));
    trial.node(0).start();
    shown(trial, "foreign", None);
    trial.goes_on();
    println!("deletes forgotten: {} transactions", trial.ledger.transactions());
}

/// A node is cut off from the cluster until its queue is given up; others write meanwhile.
fn silence(trial: &Trial<Geode>) {
    if !trial.has_network() {
        println!("no network is cut for longer than a queue is kept");
        return;
    }
    let (before, after) = (json!({ "n": "before" }), json!({ "n": "after" }));
    write(trial, "foreign", &before);
    trial.cut(1, &[Link::Clients, Link::Cluster], |trial| {
        for number in 0..DOCUMENTS {
            let value = (number % 2 == 0).then_some(&after);
            trial.foreign("foreign", &key(number), value);
        }
        trial.fleet.work(AWAY);
    });
    for number in 0..DOCUMENTS {
        let value = (number % 2 == 0).then_some(&after);
        trial.fleet.shows("foreign", &key(number), value, LIMIT);
    }
    trial.goes_on();
    println!("cut off for longer than the queue is kept: {} transactions", trial.ledger.transactions());
}
