//! Two servers on one cluster, and clients that use both.

use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::client::Home;
use crate::dice::Dice;
use crate::fleet::{Fleet, until};
use crate::ground::Ground;
use crate::ledger::{Ledger, difference};
use crate::load::{COLLECTIONS, Mix};
use crate::network::{Link, Network};
use crate::server::{Server, Spawn};

/// How long anything may take that has to happen by itself once a fault is over.
pub const LIMIT: Duration = Duration::from_secs(60);
/// What a server has sent before it stops has arrived after this time. What takes longer may settle an intent after all: then less is
/// shown, and nothing fails.
const ON_THE_WAY: Duration = Duration::from_millis(100);
/// Documents that have to be confirmed before something counts as working.
const PROGRESS: usize = 20;

/// How many documents another application has in a collection.
const FOREIGN: usize = 20;
/// Servers of a trial.
pub(crate) const NODES: u8 = 2;
/// Trials run one after the other: what they judge is how servers share a machine with their clients, not with another trial.
static TURN: Mutex<()> = Mutex::new(());

/// Two servers on one cluster, and clients that use both.
#[derive(Debug)]
pub struct Trial<G> {
    /// The clients.
    pub fleet: Fleet,
    /// The servers.
    pub nodes: [Server; 2],
    /// The cluster.
    pub ground: G,
    /// What everything comes to.
    pub ledger: Arc<Ledger>,
    /// The error is why servers cannot be cut off here.
    network: Result<Network, String>,
    /// Further lines of the configuration of the cluster.
    options: String,
    /// How many nodes there have been.
    count: usize,
    /// Given up last.
    _turn: MutexGuard<'static, ()>,
}

/// The keys of another application's documents.
pub fn foreign_keys() -> impl Iterator<Item = String> {
    (0..FOREIGN).map(|number| format!("f{number}"))
}

/// What a trial begins with.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// How many clients write.
    pub clients: u64,
    /// What they write.
    pub mix: Mix,
    /// How long each waits between two transactions.
    pub pace: Duration,
    /// Further lines of `[databases.trials.cluster]`.
    pub options: &'a str,
}

impl<G: Ground> Trial<G> {
    /// Starts everything on a cluster, and waits until it works. With a network, each server is on links of its own; the error is why
    /// there is none.
    pub fn start(ground: G, network: Result<Network, String>, plan: &Plan<'_>, dice: &mut Dice) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let spawn = |node: u8| {
            let spawn = Spawn::here(&(ground.configuration(&name(node.into()), plan.options) + &Mix::configuration()));
            match &network {
                Ok(network) => Spawn { prefix: network.prefix(node), address: network.node(node), ..spawn },
                Err(_) => spawn,
            }
        };
        let mut nodes = [spawn(0), spawn(1)].map(Server::new);
        let [first, _] = &mut nodes;
        first.start();
        let ledger = Arc::new(Ledger::default());
        Mix::prepare(&ledger, |collection, key, value| first.put(collection, key, value));
        let token = first.token();
        let [_, second] = &mut nodes;
        second.start();
        let home = Home { servers: nodes.iter().map(Server::address).collect(), token };
        let fleet = Fleet::start(plan.clients, &home, plan.mix, plan.pace, &ledger, dice);
        fleet.progress(PROGRESS, LIMIT);
        let options = plan.options.to_owned();
        Self { fleet, nodes, ground, ledger, network, options, count: NODES.into(), _turn: turn }
    }

    /// Whether servers can be cut off. If not, `what` is left out: that is said, so that the stage counts it as skipped.
    pub fn can_cut(&self, what: &str) -> bool {
        if let Err(why) = &self.network {
            // The harness keeps what a test prints to itself, and has begun the line. A reader that went away does not matter.
            drop(writeln!(io::stdout(), "\nleft out: {what}: {why}"));
        }
        self.network.is_ok()
    }

    /// A server.
    pub fn node(&mut self, at: usize) -> &mut Server {
        self.nodes.get_mut(at).expect("a node")
    }

    /// Another application writes a document, or removes it.
    pub fn foreign(&self, collection: &str, key: &str, value: Option<&Value>) {
        self.ground.write(collection, key, value);
        self.ledger.set(collection, key, value.cloned());
    }

    /// Another application writes all of its documents in a collection, or removes them; all clients come to show that.
    pub fn foreign_all(&self, collection: &str, value: Option<&Value>) {
        foreign_keys().for_each(|key| self.foreign(collection, &key, value));
        self.all_show(collection, value);
    }

    /// Waits until all clients show this as each of the other application's documents in a collection.
    pub fn all_show(&self, collection: &str, value: Option<&Value>) {
        let all: Vec<_> = foreign_keys().map(|key| (collection.to_owned(), key, value.cloned())).collect();
        self.fleet.show(&all, LIMIT);
    }

    /// Kills servers at once, and starts them again together.
    pub fn restart(&mut self, nodes: &[usize], pause: Duration) {
        for at in nodes {
            self.node(*at).kill();
        }
        self.fleet.work(pause);
        for at in nodes {
            self.node(*at).launch();
        }
        for at in nodes {
            self.node(*at).wait();
        }
    }

    /// Kills a server in the middle of intents. Clients stay with the server that they have: the other one ends and comes back first, so
    /// that all are with this one. The intents are left to the other server, which finishes them only after a patience.
    pub fn kill_with_open_intents(&mut self, at: usize) {
        let other = 1 - at;
        self.node(other).kill();
        let of_other = self.ground.open_intents();
        self.fleet.progress(PROGRESS, LIMIT);
        self.node(other).start();
        let (node, ground) = (&self.nodes[at], &self.ground);
        until("a server that stops leaves intents open", LIMIT, || {
            node.pause();
            let mut open = &ground.open_intents() - &of_other;
            if !open.is_empty() {
                // What it had sent may still arrive.
                std::thread::sleep(ON_THE_WAY);
                open = &ground.open_intents() & &open;
            }
            if open.is_empty() {
                node.resume();
                return Err("none is open at the moments looked at".to_owned());
            }
            Ok(())
        });
        self.node(at).kill();
    }

    /// Ends a server for good, and lets another one with another name and an empty disk take its place.
    pub fn replace(&mut self, at: usize) {
        let database = self.ground.configuration(&name(self.count), &self.options) + &Mix::configuration();
        self.count += 1;
        self.node(at).replace(&database);
        self.node(at).start();
    }

    /// Cuts links of a server, waits until `meanwhile` is over, and heals them.
    pub fn cut(&self, at: u8, links: &[Link], meanwhile: impl FnOnce(&Self)) {
        let network = self.network.as_ref().expect("namespaces");
        let each = |change: &dyn Fn(Link) -> Result<(), String>| {
            links.iter().try_for_each(|link| change(*link)).unwrap_or_else(|sentence| panic!("{sentence}"));
        };
        each(&|link| network.cut(at, link));
        meanwhile(self);
        each(&|link| network.heal(at, link));
    }

    /// Waits until clients get their documents confirmed, and looks whether what was confirmed before is on the cluster.
    pub fn goes_on(&self) {
        let acknowledged = self.ledger.acknowledged();
        self.fleet.progress(PROGRESS, LIMIT);
        until("everything that was confirmed is on the cluster", LIMIT, || {
            let found = self.ground.documents()?;
            let missing: Vec<_> = acknowledged.iter().filter(|id| !found.contains_key(*id)).collect();
            assert!(missing.is_empty(), "confirmed and lost: {missing:?}");
            Ok(())
        });
    }

    /// Ends the writing; then clients, cluster and servers all have to come to what the ledger says.
    pub fn settle(&self) {
        self.fleet.settle(LIMIT);
        let expected = self.ledger.documents();
        let differs = |text: Option<String>, whose: &str| text.map_or(Ok(()), |text| Err(format!("{whose}: {text}")));
        until("the cluster holds what the ledger says", LIMIT, || {
            differs(difference(&expected, &self.ground.documents()?), "the cluster")
        });
        for node in &self.nodes {
            until("the servers hold what the ledger says", LIMIT, || {
                differs(difference(&expected, &node.documents(&COLLECTIONS)), &node.address().to_string())
            });
        }
        until("no intent is open", LIMIT, || {
            let open = self.ground.open_intents();
            if open.is_empty() { Ok(()) } else { Err(format!("{open:?} are")) }
        });
    }
}

/// The name of a node.
fn name(number: usize) -> String {
    format!("sync-{number}")
}
