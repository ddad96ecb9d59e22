//! Two servers on one Geode cluster, killed, paused, cut off and replaced under the load of clients that use both. The ledger judges:
//! nothing confirmed is lost, nothing is applied twice, transactions are whole wherever anybody looks, and all come to the same.
//!
//! `TIDELOCK_TEST_SEED` repeats the order of the faults and the load. The server is `TIDELOCK_BIN`; `TIDELOCK_GEODE_JARS` is a folder
//! with Geode's jars. Cuts need network namespaces: without root they are left out, and the output says so.

use std::time::{Duration, Instant};

use tidelock_trials::{Dice, Geode, LIMIT, Link, Mix, Plan, Server, Trial};

/// Longer than the silence after which clients leave a server (4 s), and than the lease of intents (5 s).
const LONG: Duration = Duration::from_secs(6);

/// What happens to servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Killed(usize),
    BothKilled,
    Paused(usize),
    BothPaused,
    Cut(u8, &'static [Link]),
    Replaced(usize),
}

const FAULTS: [Fault; 10] = [
    Fault::Killed(0),
    Fault::Killed(1),
    Fault::BothKilled,
    Fault::Paused(0),
    Fault::Paused(1),
    Fault::BothPaused,
    Fault::Cut(0, &[Link::Clients]),
    Fault::Cut(1, &[Link::Cluster]),
    Fault::Cut(0, &[Link::Clients, Link::Cluster]),
    Fault::Replaced(1),
];

#[test]
fn two_servers_under_faults_lose_double_and_tear_nothing() {
    let mut dice = Dice::from_environment();
    let plan = Plan { clients: 4, mix: Mix::ALL, pace: Duration::from_millis(40), options: "" };
    let mut trial = Geode::trial(&plan, &[], &mut dice);
    let mut faults = FAULTS.to_vec();
    if !trial.can_cut("servers that are cut off from their clients and their cluster") {
        faults.retain(|fault| !matches!(fault, Fault::Cut(..)));
    }
    dice.shuffle(&mut faults);
    for fault in &faults {
        let began = Instant::now();
        trial.fleet.work(Duration::from_millis(dice.between(200, 1_200)));
        inject(&mut trial, *fault, &mut dice);
        trial.goes_on();
        println!("{fault:?}: {} transactions, {:.1} s", trial.ledger.transactions(), began.elapsed().as_secs_f32());
    }
    trial.settle();
    let transactions = trial.ledger.transactions();
    println!("{transactions} transactions, {} faults", faults.len());
    assert!(transactions > 500, "the clients had time to write");
    trial.fleet.finish();
}

fn inject(trial: &mut Trial<Geode>, fault: Fault, dice: &mut Dice) {
    match fault {
        Fault::Killed(at) => trial.restart(&[at], Duration::from_millis(dice.between(0, 800))),
        Fault::BothKilled => trial.restart(&[0, 1], Duration::from_millis(dice.between(0, 800))),
        Fault::Paused(at) => {
            trial.node(at).pause();
            // The other server serves everybody meanwhile.
            trial.fleet.progress(20, LIMIT);
            trial.fleet.work(LONG);
            trial.node(at).resume();
        }
        Fault::BothPaused => {
            trial.nodes.iter().for_each(Server::pause);
            trial.fleet.work(LONG);
            trial.nodes.iter().for_each(Server::resume);
        }
        Fault::Cut(at, links) => trial.cut(at, links, |trial| {
            trial.fleet.progress(20, LIMIT);
            trial.fleet.work(LONG);
        }),
        Fault::Replaced(at) => {
            trial.kill_with_open_intents(at);
            trial.replace(at);
        }
    }
}
