//! The server killed with SIGKILL at random points of pushes, while clients write: an independent ledger of acknowledgements finds
//! nothing lost, doubled or torn.
//!
//! `TIDELOCK_TEST_SEED` repeats the kill delays and the load; `TIDELOCK_TEST_KILLS` changes the number of kills. The server is
//! `TIDELOCK_BIN`.

use std::sync::Arc;
use std::time::Duration;

use tidelock_trials::{COLLECTIONS, Dice, Fleet, Home, Ledger, Mix, Server, Spawn, difference, until};

const KILLS: u64 = 100;
const CLIENTS: u64 = 4;
/// Clients of the storm, and how many transactions they commit before it ends.
const STORM_CLIENTS: u64 = 20;
const STORM_TRANSACTIONS: u64 = 1_000;
const DRAIN: Duration = Duration::from_secs(60);

#[test]
fn killed_server_loses_doubles_and_tears_nothing() {
    let mut dice = Dice::from_environment();
    let kills = std::env::var("TIDELOCK_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let (mut server, home, ledger) = started();
    let fleet = Fleet::start(CLIENTS, &home, Mix::ALL, Duration::ZERO, &ledger, &mut dice);
    for kill in 0..kills {
        // Delays within which connections open, push and are answered.
        fleet.work(Duration::from_millis(dice.between(20, 200)));
        server.kill();
        let acknowledged = ledger.acknowledged();
        server.start();
        if kill % 10 == 9 {
            let found = server.documents(&["docs"]);
            let missing: Vec<_> = acknowledged.iter().filter(|id| !found.contains_key(*id)).collect();
            assert!(missing.is_empty(), "acknowledged and lost: {missing:?}");
        }
    }
    fleet.settle(DRAIN);
    assert_eq!(difference(&ledger.documents(), &server.documents(&COLLECTIONS)), None);
    let transactions = ledger.transactions();
    println!("{transactions} transactions, {kills} kills");
    assert!(transactions > kills, "the clients had time to write between the kills");
    fleet.finish();
}

#[test]
fn twenty_clients_that_storm_one_document_converge() {
    let mut dice = Dice::from_environment();
    let (server, home, ledger) = started();
    let mix = Mix { documents: 0, pairs: 0, counts: 1, transfers: 0, slots: 0 };
    let fleet = Fleet::start(STORM_CLIENTS, &home, mix, Duration::ZERO, &ledger, &mut dice);
    until("the clients have counted enough", DRAIN, || {
        fleet.check();
        let count = ledger.transactions();
        if count >= STORM_TRANSACTIONS { Ok(()) } else { Err(count.to_string()) }
    });
    fleet.settle(DRAIN);
    assert_eq!(difference(&ledger.documents(), &server.documents(&COLLECTIONS)), None);
    println!("{} increments by {STORM_CLIENTS} clients", ledger.transactions());
    fleet.finish();
}

/// A server with what clients need to begin.
fn started() -> (Server, Home, Arc<Ledger>) {
    let mut server = Server::new(Spawn::here(&Mix::configuration()));
    server.start();
    let ledger = Arc::new(Ledger::default());
    Mix::prepare(&ledger, |collection, key, value| server.put(collection, key, value));
    let home = Home { servers: vec![server.address()], token: server.token() };
    (server, home, ledger)
}
