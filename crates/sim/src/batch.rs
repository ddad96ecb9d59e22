//! Many seeds on several threads.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::check::{Failure, Options, Report, Violation, run};
use crate::site::Sites;

/// Failing seeds after which a batch gives up.
const FAILURES_MAX: usize = 20;

/// Which seeds are run, and how.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// The first seed.
    pub from: u64,
    /// How many; `None` until the time is over.
    pub seeds: Option<u64>,
    /// After this long no seed is begun.
    pub limit: Option<Duration>,
    /// Threads.
    pub workers: usize,
    /// One seed of so many is run twice; both runs have to be alike. 0 for none.
    pub twice_in: u64,
    /// The first failing seed ends the batch.
    pub stops_at_failure: bool,
    /// Over what.
    pub sites: Sites,
}

/// What a batch did.
#[derive(Debug, Default)]
pub struct Totals {
    /// Seeds run.
    pub seeds: u64,
    /// Seeds run twice, alike.
    pub repeated: u64,
    /// Events handled.
    pub events: u64,
    /// Transactions of the applications.
    pub transactions: u64,
    /// Of those, rejected and listed.
    pub rejected: u64,
    /// Seeds that passed, by what the nodes were run over.
    pub sites: BTreeMap<&'static str, u64>,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// The longest virtual time from healing until everything was drained.
    pub drained_ms_max: u64,
    /// Seeds in which something did not hold.
    pub failures: BTreeMap<u64, Failure>,
}

impl Totals {
    /// Faults of every kind.
    pub fn fault_count(&self) -> u64 {
        self.faults.values().sum()
    }

    /// Adds what another batch did, but for its failures: seeds of the two may have the same numbers.
    pub fn include(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.repeated += other.repeated;
        self.events += other.events;
        self.transactions += other.transactions;
        self.rejected += other.rejected;
        for (counts, others) in [(&mut self.sites, other.sites), (&mut self.faults, other.faults)] {
            for (name, count) in others {
                *counts.entry(name).or_default() += count;
            }
        }
        self.drained_ms_max = self.drained_ms_max.max(other.drained_ms_max);
    }

    fn add(&mut self, seed: u64, result: Result<Report, Box<Failure>>) {
        self.seeds += 1;
        match result {
            Ok(report) => {
                self.events += report.events;
                *self.sites.entry(report.site).or_default() += 1;
                self.transactions += report.transactions;
                self.rejected += report.rejected;
                self.drained_ms_max = self.drained_ms_max.max(report.drained_ms);
                for (kind, count) in report.faults {
                    *self.faults.entry(kind).or_default() += count;
                }
            }
            Err(failure) => {
                self.failures.insert(seed, *failure);
            }
        }
    }
}

impl Batch {
    /// Runs the seeds.
    pub fn run(&self) -> Totals {
        let (next, ended) = (AtomicU64::new(0), AtomicBool::new(false));
        let totals = Mutex::new(Totals::default());
        let started = Instant::now();
        let work = || {
            loop {
                let number = next.fetch_add(1, Ordering::SeqCst);
                let over = self.limit.is_some_and(|limit| started.elapsed() >= limit);
                if over || self.seeds.is_some_and(|seeds| number >= seeds) || ended.load(Ordering::SeqCst) {
                    return;
                }
                let repeats = self.twice_in > 0 && number.is_multiple_of(self.twice_in);
                let result = one(self.from + number, repeats, self.sites);
                let failed = result.is_err();
                let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
                totals.add(self.from + number, result);
                totals.repeated += u64::from(repeats && !failed);
                if failed && (self.stops_at_failure || totals.failures.len() >= FAILURES_MAX) {
                    ended.store(true, Ordering::SeqCst);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..self.workers.max(1) {
                scope.spawn(work);
            }
        });
        totals.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a seed, perhaps twice.
fn one(seed: u64, repeats: bool, sites: Sites) -> Result<Report, Box<Failure>> {
    let options = Options { sites, ..Options::default() };
    let report = guarded(seed, &options)?;
    if !repeats || guarded(seed, &options)? == report {
        return Ok(report);
    }
    let text = "two runs of one seed differ".to_owned();
    Err(Box::new(Failure { violation: Violation::new("determinism", text), schedule: Vec::new(), size: (0, 0) }))
}

/// Runs a seed; a panic is a failure of it.
pub fn guarded(seed: u64, options: &Options) -> Result<Report, Box<Failure>> {
    catch_unwind(AssertUnwindSafe(|| run(seed, options))).unwrap_or_else(|_| {
        let violation = Violation::new("panic", "the code under test panicked: its message is above".to_owned());
        Err(Box::new(Failure { violation, schedule: Vec::new(), size: (0, 0) }))
    })
}
