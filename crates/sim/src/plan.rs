//! The schedule of a run: what the applications do and which faults strike, and when. It is drawn before the run begins, each item with a
//! seed of its own, so that items can be left out without changing the others.

use std::collections::BTreeSet;

use crate::faults::{self, FaultKind};
use crate::random::Random;

/// What happens at one time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub(crate) at_ms: u64,
    /// Everything random of it.
    pub(crate) seed: u64,
    pub(crate) replica: usize,
    pub(crate) what: What,
}

/// What happens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    /// An application commits a transaction.
    Write,
    /// A fault strikes.
    Fault(&'static FaultKind),
    /// A writer of the platform that knows nothing of the servers, where there are such.
    Foreign,
}

/// Everything that is to happen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// When faults and writes stop, in virtual milliseconds.
    pub(crate) duration_ms: u64,
    pub(crate) items: Vec<Item>,
    /// Whether a client is away for long, once everything is healed.
    pub(crate) goes_away: bool,
}

/// What is left of a schedule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Items by their number; `None` for all.
    pub items: Option<BTreeSet<usize>>,
    /// Clients by their number; `None` for all.
    pub clients: Option<BTreeSet<usize>>,
}

impl Kept {
    /// Whether a client takes part.
    pub(crate) fn has_client(&self, number: usize) -> bool {
        self.clients.as_ref().is_none_or(|clients| clients.contains(&number))
    }

    /// Whether an item takes part.
    pub(crate) fn has_item(&self, number: usize, item: &Item) -> bool {
        self.items.as_ref().is_none_or(|items| items.contains(&number)) && self.has_client(item.replica)
    }
}

impl Plan {
    /// A plan for replicas of which some only read.
    pub(crate) fn draw(seed: u64, writers: &[bool]) -> Self {
        let mut random = Random::new(seed);
        let duration_ms = random.between(500, 25_000);
        let goes_away = random.chance(300);
        let mut items = Vec::new();
        for (replica, _) in writers.iter().enumerate().filter(|(_, writes)| **writes) {
            for _ in 0..random.between(1, 40) {
                let (at_ms, seed) = (random.below(duration_ms), random.any());
                items.push(Item { at_ms, seed, replica, what: What::Write });
            }
        }
        for _ in 0..random.below(RUSHES_MAX) {
            let begin_ms = random.below(duration_ms);
            for (replica, _) in writers.iter().enumerate().filter(|(_, writes)| **writes) {
                let (at_ms, seed) = (begin_ms + random.below(RUSH_MS), random.any());
                items.push(Item { at_ms, seed, replica, what: What::Write });
            }
        }
        for _ in 0..random.between(FAULTS_MIN, FAULTS_MAX) {
            let (at_ms, seed) = (random.below(duration_ms), random.any());
            let replica = usize::try_from(random.below(writers.len() as u64)).unwrap_or(0);
            items.push(Item { at_ms, seed, replica, what: What::Fault(faults::draw(&mut random)) });
        }
        for _ in 0..random.below(FOREIGN_MAX) {
            let (at_ms, seed) = (random.below(duration_ms), random.any());
            let replica = usize::try_from(random.below(writers.len() as u64)).unwrap_or(0);
            items.push(Item { at_ms, seed, replica, what: What::Foreign });
        }
        items.sort_by_key(|item| item.at_ms);
        Self { duration_ms, items, goes_away }
    }
}

/// Fewest faults of a run.
const FAULTS_MIN: u64 = 20;
/// Most faults of a run.
const FAULTS_MAX: u64 = 290;
/// Most changes by foreign writers.
const FOREIGN_MAX: u64 = 30;
/// Most times that all applications write at once, but one; and how long one such time is, in milliseconds.
const RUSHES_MAX: u64 = 5;
const RUSH_MS: u64 = 40;
