//! All clients of a trial.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::{Home, Replica};
use crate::dice::Dice;
use crate::ledger::{Ledger, difference};
use crate::load::{Load, Mix};

/// How often somebody who waits looks again.
const POLL: Duration = Duration::from_millis(50);
/// How long clients may take to say what they show: one may be waiting for a server that does not answer.
const REPORT_LIMIT: Duration = Duration::from_secs(20);

/// What the clients are told, and what they answer.
#[derive(Debug)]
pub(crate) struct Orders {
    /// Milliseconds between two transactions of a client.
    pace_ms: u64,
    is_writing: AtomicBool,
    is_stopped: AtomicBool,
    /// How often they were asked what they show.
    asked: AtomicU64,
    answers: Mutex<Vec<(u64, Report)>>,
    failure: Mutex<Option<String>>,
}

/// What a client shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    pub(crate) is_synced: bool,
    /// For people.
    pub(crate) status: String,
    pub(crate) documents: crate::Documents,
}

impl Orders {
    pub(crate) fn stopped(&self) -> bool {
        self.is_stopped.load(Ordering::SeqCst)
    }

    /// How long to wait between two transactions; `None` while nobody writes.
    pub(crate) fn pace(&self) -> Option<Duration> {
        self.is_writing.load(Ordering::SeqCst).then(|| Duration::from_millis(self.pace_ms))
    }

    /// Answers when somebody has asked since the last answer.
    pub(crate) fn answer(&self, place: usize, report: impl FnOnce() -> Report) {
        let asked = self.asked.load(Ordering::SeqCst);
        let is_new = |answers: &[(u64, Report)]| answers.get(place).is_some_and(|(answered, _)| *answered < asked);
        if !is_new(&self.answers()) {
            return;
        }
        let report = report();
        if let Some(answer) = self.answers().get_mut(place) {
            *answer = (asked, report);
        }
    }

    fn answers(&self) -> MutexGuard<'_, Vec<(u64, Report)>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failure(&self) -> MutexGuard<'_, Option<String>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All clients of a trial, each in a thread.
#[derive(Debug)]
pub struct Fleet {
    orders: Arc<Orders>,
    ledger: Arc<Ledger>,
    threads: Vec<JoinHandle<()>>,
}

impl Fleet {
    /// Starts clients that write, each after a pause of `pace` from its last transaction.
    pub fn start(clients: u64, home: &Home, mix: Mix, pace: Duration, ledger: &Arc<Ledger>, dice: &mut Dice) -> Self {
        let orders = Arc::new(Orders {
            pace_ms: u64::try_from(pace.as_millis()).unwrap_or(u64::MAX),
            is_writing: AtomicBool::new(true),
            is_stopped: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            answers: Mutex::new((0..clients).map(|_| (0, Report::default())).collect()),
            failure: Mutex::default(),
        });
        let start = |number: u64| {
            let load = Load::new(number, mix, Dice::new(dice.below(u64::MAX)));
            let replica = Replica::new(number, home.clone(), load, Arc::clone(ledger));
            let orders = Arc::clone(&orders);
            let seat = usize::try_from(number).unwrap_or(usize::MAX);
            std::thread::spawn(move || {
                if let Err(what) = replica.run(seat, &orders) {
                    orders.failure().get_or_insert(format!("client {number}: {what}"));
                }
            })
        };
        let threads = (0..clients).map(start).collect();
        Self { orders, ledger: Arc::clone(ledger), threads }
    }

    /// Panics when a client has seen what it must not.
    pub fn check(&self) {
        if let Some(what) = self.orders.failure().clone() {
            panic!("{what}");
        }
        assert!(self.threads.iter().all(|thread| !thread.is_finished()), "a client has ended");
    }

    /// Lets the clients work on for so long.
    pub fn work(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.check();
            std::thread::sleep(POLL.min(end.saturating_duration_since(Instant::now())));
        }
    }

    /// Waits until the clients have confirmed so many further documents.
    pub fn progress(&self, documents: usize, limit: Duration) {
        let before = self.ledger.acknowledged().len();
        until("further documents are confirmed", limit, || {
            self.check();
            let more = self.ledger.acknowledged().len() - before;
            if more >= documents { Ok(()) } else { Err(format!("{more} of {documents}, {}", self.describe())) }
        });
    }

    /// Waits until all clients show these documents so; `None` is none.
    pub fn show(&self, documents: &[(String, String, Option<Value>)], limit: Duration) {
        until("all clients show what others wrote", limit, || {
            let reports = self.reports();
            for (collection, key, value) in documents {
                let id = (collection.clone(), key.clone());
                if let Some(report) = reports.iter().find(|report| report.documents.get(&id) != value.as_ref()) {
                    let (found, status) = (report.documents.get(&id), &report.status);
                    return Err(format!("{collection}/{key} is {value:?}, and one shows {found:?}: {status}"));
                }
            }
            Ok(())
        });
    }

    /// Waits until all clients show this under a key.
    pub fn shows(&self, collection: &str, key: &str, value: Option<&Value>, limit: Duration) {
        self.show(&[(collection.to_owned(), key.to_owned(), value.cloned())], limit);
    }

    /// Ends the writing, and waits until everything is confirmed and every client shows what the ledger says.
    pub fn settle(&self, limit: Duration) {
        self.orders.is_writing.store(false, Ordering::SeqCst);
        until("all clients have confirmed everything and show it", limit, || {
            let reports = self.reports();
            let expected = self.ledger.documents();
            for (number, report) in reports.iter().enumerate() {
                if !report.is_synced {
                    return Err(format!("client {number} is not synced: {}", report.status));
                }
                if let Some(text) = difference(&expected, &report.documents) {
                    return Err(format!("client {number}: {text}\n  {}", report.status));
                }
            }
            Ok(())
        });
    }

    /// Lets them write again.
    pub fn go_on(&self) {
        self.orders.is_writing.store(true, Ordering::SeqCst);
    }

    /// Ends the clients.
    pub fn finish(mut self) {
        self.check();
        self.orders.is_stopped.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().expect("a client panicked");
        }
    }

    /// What every client shows, from this moment on.
    fn reports(&self) -> Vec<Report> {
        let asked = self.orders.asked.fetch_add(1, Ordering::SeqCst) + 1;
        until("all clients say what they show", REPORT_LIMIT, || {
            self.check();
            let answers = self.orders.answers();
            if answers.iter().all(|(answered, _)| *answered >= asked) {
                return Ok(answers.iter().map(|(_, report)| report.clone()).collect());
            }
            Err("some do not".to_owned())
        })
    }

    fn describe(&self) -> String {
        let mut text = String::new();
        for (number, report) in self.reports().iter().enumerate() {
            let _ = write!(text, "\n  client {number}: {}", report.status);
        }
        text
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.orders.is_stopped.store(true, Ordering::SeqCst);
    }
}

/// Waits until something holds. Panics with what was in the way when it does not within the limit.
pub fn until<T>(what: &str, limit: Duration, mut holds: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        match holds() {
            Ok(value) => return value,
            Err(why) => assert!(Instant::now() < deadline, "not within {limit:?}: {what}: {why}"),
        }
        std::thread::sleep(POLL);
    }
}
