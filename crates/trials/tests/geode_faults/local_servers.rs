//! Processes of the cluster end and return.

use std::time::{Duration, Instant};

use tidelock_trials::{Dice, Geode, LIMIT, Mix, Plan, Trial};

/// How long clients work between two faults.
const WORK: Duration = Duration::from_secs(1);

#[test]
fn servers_of_the_cluster_that_end_and_return_lose_nothing() {
    let mut dice = Dice::from_environment();
    let plan = Plan { clients: 4, mix: Mix::ALL, pace: Duration::from_millis(40), options: "" };
    let mut trial = Geode::trial(&plan, &[], &mut dice);
    let mut servers = ["s1", "s2"];
    dice.shuffle(&mut servers);
    let [first, second] = servers;

    // One of the two has the primary queue of each node, whichever it is.
    for name in [first, second] {
        step(&mut trial, &format!("{name} killed"), |trial| {
            trial.ground.cluster.kill(name).expect("killed");
            trial.fleet.progress(20, LIMIT);
            trial.ground.cluster.start_server(name).expect("started");
        });
    }
    step(&mut trial, "both servers killed, their queues with them", |trial| {
        for name in servers {
            trial.ground.cluster.kill(name).expect("killed");
        }
        trial.fleet.work(WORK);
        for name in servers {
            trial.ground.cluster.launch_server(name).expect("launched");
        }
        for name in servers {
            trial.ground.cluster.wait_for_server(name).expect("started");
        }
    });
    step(&mut trial, "the locator is down, and a server dies meanwhile", |trial| {
        trial.ground.cluster.kill_locator().expect("killed");
        trial.fleet.progress(20, LIMIT);
        trial.ground.cluster.kill(first).expect("killed");
        trial.fleet.progress(20, LIMIT);
        trial.ground.cluster.start_locator().expect("started");
        trial.ground.cluster.start_server(first).expect("started");
    });
    step(&mut trial, "a node dies in the middle of intents, another one takes its place", |trial| {
        trial.kill_with_open_intents(0);
        trial.replace(0);
    });
    step(&mut trial, "a rolling restart", |trial| {
        for name in servers {
            trial.ground.cluster.stop(name).expect("stopped");
            trial.ground.cluster.start_server(name).expect("started");
            trial.fleet.progress(20, LIMIT);
        }
        trial.ground.cluster.kill_locator().expect("killed");
        trial.ground.cluster.start_locator().expect("started");
    });
    trial.settle();
    trial.fleet.finish();
}

/// Lets something happen under load, and waits until everything works again.
fn step(trial: &mut Trial<Geode>, what: &str, fault: impl FnOnce(&mut Trial<Geode>)) {
    let began = Instant::now();
    trial.fleet.work(WORK);
    fault(trial);
    trial.goes_on();
    println!("{what}: {} transactions, {:.1} s", trial.ledger.transactions(), began.elapsed().as_secs_f32());
}
