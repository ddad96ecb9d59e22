//! The core for the browser: bindings and nothing else.
//!
//! What crosses the border often crosses it in bulk: the bodies of a step's row writes are one JSON array that the browser parses
//! once; names, keys and numbers of a step are one JSON text; pages and frames are byte arrays.

#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

mod input;
mod step;

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use js_sys::{Array, Uint8Array};
use tidelock_core::client::storage::{Durability, ReadResult, RefusedRow, StorageFailure, Verdict};
use tidelock_core::client::{Client, Config, Effect, Event, Kept, Status};
use tidelock_core::ids::DocumentId;
use tidelock_core::json::{self, Value};
use wasm_bindgen::prelude::wasm_bindgen;

use step::{Text, object};

/// One thread has the memory: an allocator without locks.
#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();

/// A panic is a trap, which the worker reports: nobody would see a message, and without one its formatting is not compiled.
#[cfg(target_arch = "wasm32")]
#[panic_handler]
fn panicked(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

/// Refused rows that the application is shown at once.
const QUARANTINE_SHOWN_MAX: usize = 100;

/// The client, as the worker drives it. Times are milliseconds since 1970.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Core {
    client: Client,
    inputs: Vec<ReadResult>,
    refused: Vec<RefusedRow>,
}

/// An effect for the worker to carry out.
#[wasm_bindgen]
#[derive(Debug)]
pub struct WorkerEffect {
    kind: &'static str,
    bytes: Vec<u8>,
    detail: String,
}

#[wasm_bindgen]
impl WorkerEffect {
    /// `connect`, `send`, `disconnect`, `task`, `reopen` or the name of an event.
    #[wasm_bindgen(getter)]
    pub fn kind(&self) -> String {
        self.kind.into()
    }

    /// What to send.
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes.clone()
    }

    /// JSON text of an event's details.
    #[wasm_bindgen(getter)]
    pub fn detail(&self) -> String {
        self.detail.clone()
    }
}

/// A step of a task.
#[wasm_bindgen]
#[derive(Debug)]
pub struct WorkerStep {
    verdict: Verdict,
    plan: String,
    bodies: String,
    blobs: Array,
}

#[wasm_bindgen]
impl WorkerStep {
    /// `continue`, `commit` or `abort`.
    #[wasm_bindgen(getter)]
    pub fn verdict(&self) -> String {
        let verdict = match self.verdict {
            Verdict::Continue => "continue",
            Verdict::Commit => "commit",
            Verdict::Abort => "abort",
        };
        verdict.into()
    }

    /// JSON text: `{"writes": [...], "reads": [...]}`, see `step.rs`.
    #[wasm_bindgen(getter)]
    pub fn plan(&self) -> String {
        self.plan.clone()
    }

    /// JSON text: the array of all row values that the plan's row writes take in turn.
    #[wasm_bindgen(getter)]
    pub fn bodies(&self) -> String {
        self.bodies.clone()
    }

    /// Byte arrays that the plan's other writes take in turn.
    #[wasm_bindgen(getter)]
    pub fn blobs(&self) -> Array {
        self.blobs.clone()
    }
}

#[wasm_bindgen]
impl Core {
    /// A client that has read nothing. `collections` to sync; `channels` to begin with, undefined for all; `seed` 53 random bits.
    #[wasm_bindgen(constructor)]
    pub fn new(
        database: String,
        collections: Vec<String>,
        channels: Option<Vec<String>>,
        resolver: bool,
        offline: bool,
        seed: f64,
        now_ms: f64,
    ) -> Self {
        let config = Config { database, collections, channels, resolver, offline, kept: Kept::default() };
        Self { client: Client::new(config, unsigned(seed), unsigned(now_ms)), inputs: Vec::new(), refused: Vec::new() }
    }

    /// Limits of the acknowledged mutations that are kept: milliseconds and bytes.
    pub fn keep(&mut self, ms: f64, bytes: f64) {
        let bytes = usize::try_from(unsigned(bytes)).unwrap_or(usize::MAX);
        self.client.keep(Kept { ms: unsigned(ms), bytes });
    }

    /// The next effect, until undefined.
    pub fn poll_effect(&mut self) -> Option<WorkerEffect> {
        Some(effect(self.client.poll_effect()?))
    }

    /// When `handle_timeout` is due.
    pub fn next_timeout_ms(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are exact for 285,000 years")]
        self.client.next_timeout_ms().map(|ms| ms as f64)
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now_ms: f64) {
        self.client.handle_timeout(unsigned(now_ms));
    }

    /// The application wrote.
    pub fn handle_captured(&mut self, now_ms: f64) {
        self.client.handle_captured(unsigned(now_ms));
    }

    /// The application took an entry off the list of rejected mutations.
    pub fn handle_rejected_removed(&mut self, now_ms: f64) {
        self.client.handle_rejected_removed(unsigned(now_ms));
    }

    /// The database was opened again: the application may have changed its schema.
    pub fn handle_schema_changed(&mut self, now_ms: f64) {
        self.client.handle_schema_changed(unsigned(now_ms));
    }

    /// JSON text: the first rows that the application's stores refused, each as (collection, key, reason).
    pub fn quarantine(&self) -> String {
        let rows = self.client.quarantine().take(QUARANTINE_SHOWN_MAX);
        let row = |(id, reason): (&DocumentId, &str)| {
            vec![id.collection.as_str().text(), id.key.as_str().text(), reason.text()].text()
        };
        text(&rows.map(row).collect::<Vec<_>>().text())
    }

    /// The connection is open.
    pub fn handle_connected(&mut self, now_ms: f64, token: &str) {
        self.client.handle_connected(unsigned(now_ms), token);
    }

    /// The connection is gone, or did not open.
    pub fn handle_disconnected(&mut self, now_ms: f64, reason: &str) {
        self.client.handle_disconnected(unsigned(now_ms), reason);
    }

    /// A binary message came.
    pub fn handle_message(&mut self, now_ms: f64, bytes: &[u8]) {
        self.client.handle_message(unsigned(now_ms), bytes);
    }

    /// A fresh token for the live session.
    pub fn handle_token(&mut self, now_ms: f64, token: &str) {
        self.client.handle_token(unsigned(now_ms), token);
    }

    /// The network may be back.
    pub fn handle_network_hint(&mut self, now_ms: f64) {
        self.client.handle_network_hint(unsigned(now_ms));
    }

    /// Switches the network on or off for this client.
    pub fn set_online(&mut self, now_ms: f64, online: bool) {
        self.client.set_online(unsigned(now_ms), online);
    }

    /// Changes the channels wanted; undefined for all.
    pub fn set_channels(&mut self, now_ms: f64, channels: Option<Vec<String>>) {
        self.client.set_channels(unsigned(now_ms), channels);
    }

    /// The resolver's answer; `value` is JSON text, undefined to delete.
    pub fn resolve(&mut self, now_ms: f64, collection: &str, key: &str, round: f64, value: Option<String>) {
        let id = DocumentId::new(collection, key);
        self.client.resolve(unsigned(now_ms), id, unsigned(round), value.map(String::into_bytes));
    }

    /// JSON text of the present status.
    pub fn status(&self) -> String {
        text(&status(&self.client.status()))
    }

    /// Whether nothing is pending.
    pub fn is_synced(&self) -> bool {
        self.client.is_synced()
    }

    /// Whether a failure of power may undo the current task's transaction; asked before it begins.
    pub fn task_relaxed(&self) -> bool {
        self.client.task_durability() == Durability::Relaxed
    }

    /// The next step of the current task; takes what was read since the last one.
    pub fn step(&mut self) -> WorkerStep {
        let inputs = core::mem::take(&mut self.inputs);
        let step = self.client.task_step(inputs);
        step::worker_step(step)
    }

    /// The task's transaction is durable.
    pub fn task_committed(&mut self, now_ms: f64) {
        self.inputs.clear();
        let refused = core::mem::take(&mut self.refused);
        self.client.handle_task_committed(unsigned(now_ms), refused);
    }

    /// The task's transaction did not commit. `failure`: `quota`, `closed` or anything else.
    pub fn task_failed(&mut self, now_ms: f64, failure: &str, message: &str) {
        self.inputs.clear();
        self.refused.clear();
        let failure = match failure {
            "quota" => StorageFailure::Quota,
            "closed" => StorageFailure::Closed,
            _ => StorageFailure::Other,
        };
        self.client.handle_task_failed(unsigned(now_ms), failure, message);
    }

    /// A row that the application's store refused, to be reported with the commit.
    pub fn row_refused(&mut self, collection: &str, key: &str, reason: String) {
        self.refused.push(RefusedRow { id: DocumentId::new(collection, key), reason });
    }
}

fn effect(effect: Effect) -> WorkerEffect {
    let plain = |kind| WorkerEffect { kind, bytes: Vec::new(), detail: String::new() };
    match effect {
        Effect::Connect => plain("connect"),
        Effect::Send(bytes) => WorkerEffect { bytes, ..plain("send") },
        Effect::Disconnect => plain("disconnect"),
        Effect::RunTask => plain("task"),
        Effect::ReopenStorage => plain("reopen"),
        Effect::Event(event) => {
            let (kind, detail) = event_detail(event);
            WorkerEffect { detail: text(&detail), ..plain(kind) }
        }
    }
}

fn event_detail(event: Event) -> (&'static str, Value) {
    match event {
        Event::Status(now) => ("status", status(&now)),
        Event::Changed { collection, keys } => (
            "changed",
            object([
                ("collection", collection.text()),
                ("keys", keys.iter().map(|key| key.as_str().text()).collect::<Vec<_>>().text()),
            ]),
        ),
        Event::Rejected { code, message, documents } => {
            let documents: Vec<Value> = documents.iter().map(step::document).collect();
            (
                "rejected",
                object([("code", code.name().text()), ("message", message.text()), ("documents", documents.text())]),
            )
        }
        Event::Conflicts(notes) => {
            let note = |note: &tidelock_core::wire::ConflictNote| {
                object([
                    ("collection", note.id.collection.as_str().text()),
                    ("key", note.id.key.as_str().text()),
                    ("path", note.path.iter().map(|name| name.as_str().text()).collect::<Vec<_>>().text()),
                    ("strategy", note.strategy.as_str().text()),
                    ("base", step::body(note.base.as_deref())),
                    ("mine", step::body(note.mine.as_deref())),
                    ("theirs", step::body(note.theirs.as_deref())),
                    ("outcome", step::body(note.outcome.as_deref())),
                ])
            };
            ("conflicts", notes.iter().map(note).collect::<Vec<_>>().text())
        }
        Event::Resolve { id, round, base, mine, theirs } => (
            "resolve",
            object([
                ("collection", id.collection.text()),
                ("key", id.key.text()),
                ("round", round.text()),
                ("base", step::body(base.as_deref())),
                ("mine", step::body(mine.as_deref())),
                ("theirs", step::body(theirs.as_deref())),
            ]),
        ),
        Event::Problem { code, message, retryable } => (
            "problem",
            object([("code", code.text()), ("message", message.text()), ("retryable", Value::Bool(retryable))]),
        ),
        Event::Fenced => ("fenced", Value::Null),
    }
}

fn status(status: &Status) -> Value {
    let error = status.error.as_ref().map(|(code, message, retryable)| {
        object([
            ("code", code.as_str().text()),
            ("message", message.as_str().text()),
            ("retryable", Value::Bool(*retryable)),
        ])
    });
    object([
        ("phase", status.phase.name().text()),
        ("pending", status.pending.text()),
        ("oldestPendingAt", status.oldest_pending_at_ms.map_or(Value::Null, Text::text)),
        ("rejected", status.rejected.text()),
        ("conflicts", status.conflicts.text()),
        ("quarantined", status.quarantined.text()),
        ("lastSyncedAt", status.last_synced_at_ms.map_or(Value::Null, Text::text)),
        ("error", error.unwrap_or(Value::Null)),
    ])
}

fn text(value: &Value) -> String {
    String::from_utf8(json::write(value)).unwrap_or_default()
}

/// A JavaScript number as an unsigned integer; what is negative, not finite or too large is clamped, as `as` does.
fn unsigned(number: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamping is meant")]
    let clamped = number as u64;
    clamped
}

/// Bytes as a JavaScript array of its own memory.
fn blob(bytes: &[u8]) -> Uint8Array {
    Uint8Array::from(bytes)
}
