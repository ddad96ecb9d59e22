//! Changes that nobody is told of: queues that ran out, regions that were cleared, imports, deletes that the servers have forgotten.

use std::time::Duration;

use serde_json::json;
use tidelock_trials::{Dice, Geode, LIMIT, Link, Mix, Plan, Trial, foreign_keys, until};

/// The servers forget a client that is silent for a minute, and its queue two seconds later.
const AWAY: Duration = Duration::from_secs(66);
const OPTIONS: &str = "scan_every_s = 8\noptions = { queue_kept_s = \"2\" }\n";
/// Deleted entries are forgotten as soon as possible.
const PROPERTIES: [&str; 2] = ["tombstone-timeout=1000", "tombstone-gc-threshold=1"];

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

/// A region is cleared: one event, which names no entry.
fn clear(trial: &Trial<Geode>) {
    trial.foreign_all("copies", Some(&json!({ "a": "copy" })));
    let mut java = trial.ground.java();
    java.run(&["clear", "copies"]).expect("cleared");
    foreign_keys().for_each(|key| trial.ledger.set("copies", &key, None));
    trial.all_show("copies", None);
    trial.goes_on();
    println!("a region was cleared: {} transactions", trial.ledger.transactions());
}

/// An export is imported again, which makes no events: while the nodes serve, and while they are down.
fn imports(trial: &mut Trial<Geode>) {
    let file = trial.ground.folder().join("foreign.gfd");
    let file = file.to_str().expect("a path in Unicode").to_owned();
    let mut java = trial.ground.java();
    let (old, new) = (json!({ "is": "old", "n": 1 }), json!({ "is": "new", "n": 2 }));
    trial.foreign_all("foreign", Some(&old));
    java.run(&["export", "suite5", &file]).expect("exported");
    for is_down in [false, true] {
        trial.foreign_all("foreign", Some(&new));
        for key in foreign_keys().step_by(2) {
            trial.foreign("foreign", &key, None);
        }
        trial.fleet.shows("foreign", "f0", None, LIMIT);
        if is_down {
            trial.nodes.iter_mut().for_each(tidelock_trials::Server::kill);
        }
        java.run(&["import", "suite5", &file]).expect("imported");
        foreign_keys().for_each(|key| trial.ledger.set("foreign", &key, Some(old.clone())));
        if is_down {
            trial.nodes.iter_mut().for_each(tidelock_trials::Server::launch);
            trial.nodes.iter_mut().for_each(tidelock_trials::Server::wait);
        }
        trial.all_show("foreign", Some(&old));
        trial.goes_on();
        println!("imported, nodes down: {is_down}: {} transactions", trial.ledger.transactions());
    }
}

/// Documents are deleted while a node is away for longer than its queue, and the servers forget that they ever were.
fn forgotten_deletes(trial: &mut Trial<Geode>) {
    trial.node(0).kill();
    foreign_keys().for_each(|key| trial.foreign("foreign", &key, None));
    until("the servers have forgotten the deletes", LIMIT, || {
        if trial.ground.has_tombstones("foreign") { Err("they remember".to_owned()) } else { Ok(()) }
    });
    trial.fleet.work(Duration::from_secs(3));
    trial.node(0).start();
    trial.all_show("foreign", None);
    trial.goes_on();
    println!("deletes forgotten: {} transactions", trial.ledger.transactions());
}

/// A node is cut off from the cluster until its queue is given up; others write meanwhile.
fn silence(trial: &Trial<Geode>) {
    if !trial.can_cut("a server that is cut off from its cluster for longer than its queue is kept") {
        return;
    }
    let (before, after) = (json!({ "n": "before" }), json!({ "n": "after" }));
    trial.foreign_all("foreign", Some(&before));
    trial.cut(1, &[Link::Clients, Link::Cluster], |trial| {
        for (number, key) in foreign_keys().enumerate() {
            trial.foreign("foreign", &key, (number % 2 == 0).then_some(&after));
        }
        trial.fleet.work(AWAY);
    });
    for (number, key) in foreign_keys().enumerate() {
        trial.fleet.shows("foreign", &key, (number % 2 == 0).then_some(&after), LIMIT);
    }
    trial.goes_on();
    println!("cut off for longer than the queue is kept: {} transactions", trial.ledger.transactions());
}
