//! What has to hold. The judges are the simulation's own: they use nothing of the server but its frames and its commits.
//!
//! | Checker | What it says |
//! | --- | --- |
//! | `convergence` | when faults stop, outboxes drain and replicas equal the server within 30 virtual seconds |
//! | `ledger`, `exactly-once`, `acknowledged` | each transaction is there once or on the list of rejected ones; what was acknowledged stays |
//! | `fracture` | a transaction is never shown in part: on the server, in what is confirmed to a client, in its rows |
//! | `server-order` | session guarantees over what is confirmed, by `adya` |
//! | `registers` | session guarantees over what the user sees, unsent writes included |
//! | `resurrection` | what was deleted for good stays deleted, also after months |
//! | `leak` | no document reaches an identity that the rules deny |
//! | `conflict-log` | what a committed mutation asked for is in the document or in the log |
//! | `versions` | a client of another major version is refused with a clear error, and told nothing else |
//! | `bytes` | a client that was away for long transfers about the difference |

mod bytes;
mod conflicts;
mod convergence;
mod graves;
mod history;
mod leaks;
mod ledger;
mod observe;
mod registers;
mod server_order;
mod wire;

use std::collections::BTreeMap;
use std::fmt;

use tidelock_core::ids::Version;

use crate::journal::Committed;
use crate::node::LinkId;
use crate::plan::Kept;
use crate::rules::Settings;
use crate::world::{DRAIN_MS_MAX, World};

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Who found it.
    pub checker: &'static str,
    /// What was found, for people.
    pub text: String,
}

impl Violation {
    pub(crate) fn new(checker: &'static str, text: String) -> Self {
        Self { checker, text }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "[{}] {}", self.checker, self.text)
    }
}

/// What the judges remember of a run.
#[derive(Debug, Default)]
pub(crate) struct Checkers {
    pub(crate) history: history::History,
    pub(crate) pushes: wire::Pushes,
    pub(crate) wires: BTreeMap<LinkId, wire::Wire>,
    server_order: server_order::ServerOrder,
    registers: registers::Registers,
    graves: graves::Graves,
    /// Tokens of ledger documents by their version: a version is one content.
    tokens: BTreeMap<Version, Vec<String>>,
    /// The rooms that a token grants.
    pub(crate) minted: BTreeMap<String, Vec<String>>,
    /// The rules in force.
    pub(crate) settings: Settings,
    /// Rules that were in force, until when.
    pub(crate) former_rules: Vec<(u64, Settings)>,
    /// Whether all commits have one order, which the judges know.
    in_one_order: bool,
    /// Whether the store was set back: offsets and versions of before say nothing any more.
    set_back: bool,
}

impl Checkers {
    /// Judges of a run. Where nodes have orders of their own, and others write, some have nothing to go by: what is confirmed to a client
    /// is in no order that they know, a value may be in no mutation's log, and a write need not follow what its writer saw.
    pub(crate) fn new(in_one_order: bool) -> Self {
        Self { in_one_order, registers: registers::Registers::new(in_one_order), ..Self::default() }
    }

    /// Takes over a commit.
    pub(crate) fn committed(&mut self, committed: &Committed) -> Result<(), Violation> {
        if !self.in_one_order {
            self.graves.bury(committed);
            return Ok(());
        }
        self.history.add(committed);
        if self.set_back {
            return Ok(());
        }
        self.graves.add(committed)?;
        conflicts::check(committed, &self.pushes, &self.history)
    }

    /// The store is an earlier one. What was acknowledged since is to come back; what clients showed and what was deleted was so in a
    /// history that is gone.
    pub(crate) fn store_set_back(&mut self) {
        self.set_back = true;
        self.in_one_order = false;
        self.graves = graves::Graves::default();
    }

    /// Who brings back what a store has lost may bring back what was deleted since, once nothing tells of that.
    pub(crate) fn tombstones_forgotten(&mut self) {
        if self.set_back {
            self.graves = graves::Graves::default();
        }
    }

    /// Other rules are in force.
    pub(crate) fn rules_changed(&mut self, now_ms: u64, settings: Settings) {
        let former = std::mem::replace(&mut self.settings, settings);
        self.former_rules.push((now_ms, former));
    }

    /// Time passed in which nothing ran, the servers included: what follows from a change of the rules is as far as it was.
    pub(crate) fn time_passed(&mut self, away_ms: u64) {
        self.former_rules.iter_mut().for_each(|(until_ms, _)| *until_ms += away_ms);
    }

    /// A node was replaced: what it was bringing up to changed rules begins again.
    pub(crate) fn node_replaced(&mut self, now_ms: u64) {
        let is_under_way = |until_ms: u64| until_ms.saturating_add(leaks::RULES_MS_MAX) >= now_ms;
        self.former_rules
            .iter_mut()
            .filter(|(until_ms, _)| is_under_way(*until_ms))
            .for_each(|former| former.0 = now_ms);
    }

    /// When the rules changed last.
    fn rules_changed_ms(&self) -> u64 {
        self.former_rules.last().map_or(0, |(at_ms, _)| *at_ms)
    }
}

/// How a seed is run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Every event is told on standard error.
    pub verbose: bool,
    /// What is left of the schedule.
    pub kept: Kept,
    /// Over what.
    pub sites: crate::site::Sites,
}

/// What a run did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What the nodes were run over.
    pub site: &'static str,
    /// Equal for equal seeds.
    pub trace_hash: u64,
    /// Events handled.
    pub events: u64,
    /// Transactions of the applications.
    pub transactions: u64,
    /// Of those, rejected and listed.
    pub rejected: u64,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Virtual milliseconds from healing until everything was drained.
    pub drained_ms: u64,
}

/// A run in which something did not hold.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What.
    pub violation: Violation,
    /// What had happened, in words.
    pub schedule: Vec<String>,
    /// How many items the schedule has, and how many clients.
    pub size: (usize, usize),
}

/// Runs a seed to its end.
pub fn run(seed: u64, options: &Options) -> Result<Report, Box<Failure>> {
    let mut world = World::new(seed, options);
    match judge(&mut world) {
        Ok(report) => Ok(report),
        Err(violation) => {
            let violation = Violation { text: format!("over {}: {}", world.site.name(), violation.text), ..violation };
            let size = (world.plan.items.len(), world.replicas.len());
            Err(Box::new(Failure { violation, schedule: std::mem::take(&mut world.told), size }))
        }
    }
}

fn judge(world: &mut World) -> Result<Report, Violation> {
    let duration_ms = world.plan.duration_ms;
    world.begin();
    while world.step(duration_ms) {
        world.take_violation()?;
    }
    world.heal();
    let drained_ms = drain(world)?;
    if world.plan.goes_away {
        world.check_bytes()?;
    }
    let documents = world.server_documents();
    let rejected = world.check_ledger(&documents)?;
    world.check_absence()?;
    let server_order = std::mem::take(&mut world.checkers.server_order);
    if !world.checkers.set_back {
        server_order.check(&world.checkers.history)?;
    }
    let mut faults = world.fault_counts().clone();
    for (name, count) in world.site.take_faults() {
        *faults.entry(name).or_default() += count;
    }
    Ok(Report {
        site: world.site.name(),
        trace_hash: world.trace_hash(),
        events: world.event_count(),
        transactions: world.ledger.transactions.len() as u64,
        rejected,
        faults,
        drained_ms,
    })
}

/// Goes on until every client is synced and equals the server. Returns how long that took.
pub(crate) fn drain(world: &mut World) -> Result<u64, Violation> {
    let from_ms = world.elapsed_ms();
    while world.elapsed_ms() < from_ms + DRAIN_MS_MAX && !world.is_drained() {
        let until = world.elapsed_ms() + 100;
        while world.step(until) {
            world.take_violation()?;
        }
    }
    if world.is_drained() {
        return Ok(world.elapsed_ms() - from_ms);
    }
    let text = format!("not drained {DRAIN_MS_MAX} ms after healing: {}", world.describe_difference());
    Err(Violation::new("convergence", text))
}
