//! Servers that allow no transactions on persistent regions.

use std::time::Duration;

use tidelock_trials::{Dice, Geode, Mix, Plan, Trial};

/// What a server has unless it is told otherwise.
const PROPERTIES: [&str; 1] = ["ALLOW_PERSISTENT_TRANSACTIONS=false"];
const OPTIONS: &str = "options = { transactions = \"false\" }\n";

#[test]
fn without_transactions_nothing_is_lost_doubled_or_torn() {
    let mut dice = Dice::from_environment();
    let plan = Plan { clients: 4, mix: Mix::ALL, pace: Duration::from_millis(40), options: OPTIONS };
    let mut trial: Trial<Geode> = Geode::trial(&plan, &PROPERTIES, &mut dice);
    for node in [0, 1] {
        trial.fleet.work(Duration::from_secs(2));
        trial.kill_with_open_intents(node);
        trial.goes_on();
        trial.node(node).start();
        trial.goes_on();
    }
    trial.settle();
    println!("without transactions: {} transactions", trial.ledger.transactions());
    trial.fleet.finish();
}
