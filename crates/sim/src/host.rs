//! The host of a client: it owns the steps of the tasks, the caller owns clock and network.

use tidelock_core::client::storage::{Durability, ReadResult, RefusedRow, StorageFailure, Verdict};
use tidelock_core::client::{Client, Config, Effect, Event};

use crate::database::{ModelDatabase, Transaction};

/// What the caller has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Open a connection.
    Connect,
    /// Send a message.
    Send(Vec<u8>),
    /// Close the connection.
    Disconnect,
    /// Tell the application.
    Event(Event),
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// There is no task.
    Idle,
    /// Another transaction runs; nothing happened.
    Blocked,
    /// More steps follow.
    Continues,
    /// The task's transaction was committed.
    Committed,
    /// The task's transaction was aborted.
    Aborted,
}

/// A client and its storage transaction.
#[derive(Debug)]
pub struct Host {
    client: Client,
    requests: Vec<Request>,
    task_due: bool,
    running: Option<Running>,
    /// The storage operation that fails, counted from 0, and how.
    fails_at: Option<(u64, StorageFailure)>,
    operations: u64,
}

#[derive(Debug)]
struct Running {
    transaction: Transaction,
    durability: Durability,
    results: Vec<ReadResult>,
    refused: Vec<RefusedRow>,
    writes: bool,
}

impl Host {
    /// Starts a client.
    pub fn new(config: Config, seed: u64, now_ms: u64) -> Self {
        let client = Client::new(config, seed, now_ms);
        let mut host =
            Self { client, requests: Vec::new(), task_due: false, running: None, fails_at: None, operations: 0 };
        host.collect_effects();
        host
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Calls the client and carries out what it asks for.
    pub fn tell<R>(&mut self, call: impl FnOnce(&mut Client) -> R) -> R {
        let result = call(&mut self.client);
        self.collect_effects();
        result
    }

    /// What the caller has to do, in order.
    pub fn take_requests(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.requests)
    }

    /// Whether a task waits or runs.
    pub fn has_task(&self) -> bool {
        self.task_due || self.running.is_some()
    }

    /// Whether a transaction is open.
    pub fn in_transaction(&self) -> bool {
        self.running.is_some()
    }

    /// One step of the task.
    pub fn step(&mut self, database: &mut ModelDatabase, now_ms: u64) -> StepOutcome {
        if self.running.is_none() {
            if !self.task_due {
                return StepOutcome::Idle;
            }
            let Some(transaction) = database.begin() else { return StepOutcome::Blocked };
            self.task_due = false;
            let durability = self.client.task_durability();
            let (results, refused) = (Vec::new(), Vec::new());
            self.running = Some(Running { transaction, durability, results, refused, writes: false });
        }
        let Some(mut running) = self.running.take() else { return StepOutcome::Idle };
        let step = self.client.task_step(std::mem::take(&mut running.results));
        running.writes |= !step.writes.is_empty();
        let operations = (step.writes.len() + step.reads.len()) as u64;
        let first = self.operations;
        self.operations += operations;
        if let Some((at, failure)) = self.fails_at.take_if(|(at, _)| (first..first + operations).contains(at)) {
            // What came before it in the transaction is taken back with it.
            let before = usize::try_from(at - first).unwrap_or(usize::MAX);
            for write in step.writes.into_iter().take(before) {
                database.write(&mut running.transaction, write);
            }
            database.abort(running.transaction);
            self.tell(|client| client.handle_task_failed(now_ms, failure, "injected"));
            return StepOutcome::Aborted;
        }
        for write in step.writes {
            running.refused.extend(database.write(&mut running.transaction, write));
        }
        match step.verdict {
            Verdict::Continue => {
                running.results = step.reads.iter().map(|read| database.read(read)).collect();
                self.running = Some(running);
                StepOutcome::Continues
            }
            Verdict::Commit => {
                let strict = running.writes && running.durability == Durability::Strict;
                database.commit(running.transaction, strict, None);
                self.tell(|client| client.handle_task_committed(now_ms, running.refused));
                StepOutcome::Committed
            }
            Verdict::Abort => {
                database.abort(running.transaction);
                self.tell(|client| client.handle_task_failed(now_ms, StorageFailure::Other, "aborted by the client"));
                StepOutcome::Aborted
            }
        }
    }

    /// The storage operation with this number (from 0, of those from now on) fails.
    pub fn fail_operation(&mut self, number: Option<u64>, failure: StorageFailure) {
        self.fails_at = number.map(|number| (self.operations + number, failure));
    }

    /// Whether the operation that was to fail has failed.
    pub fn operation_failed(&self) -> bool {
        self.fails_at.is_none()
    }

    /// The storage fails: the open transaction, or the one that should begin, does not commit.
    pub fn fail(&mut self, database: &mut ModelDatabase, now_ms: u64, failure: StorageFailure) {
        if !self.has_task() {
            return;
        }
        self.interrupt(database);
        self.task_due = false;
        self.tell(|client| client.handle_task_failed(now_ms, failure, "injected"));
    }

    /// The open transaction is aborted, and the client is not told yet: [`fail`](Self::fail) is to follow.
    pub fn interrupt(&mut self, database: &mut ModelDatabase) {
        if let Some(running) = self.running.take() {
            database.abort(running.transaction);
            self.task_due = true;
        }
    }

    /// Runs tasks until there is none, or another transaction blocks.
    pub fn run(&mut self, database: &mut ModelDatabase, now_ms: u64) {
        while self.has_task() && self.step(database, now_ms) != StepOutcome::Blocked {}
    }

    fn collect_effects(&mut self) {
        while let Some(effect) = self.client.poll_effect() {
            match effect {
                Effect::Connect => self.requests.push(Request::Connect),
                Effect::Send(bytes) => self.requests.push(Request::Send(bytes)),
                Effect::Disconnect => self.requests.push(Request::Disconnect),
                Effect::Event(event) => self.requests.push(Request::Event(event)),
                Effect::RunTask => self.task_due = true,
                // The model's database is always open.
                Effect::ReopenStorage => {}
            }
        }
    }
}
