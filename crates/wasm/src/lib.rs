//! The core for the browser: bindings and nothing else.
//!
//! What crosses the border often crosses it in bulk: the bodies of a step's row writes are one JSON array that the browser parses
//! once; names, keys and numbers of a step are one JSON text; pages and frames are byte arrays. Texts and bytes that a function takes
//! are handed over before it is called, see `boundary.rs`. Times are milliseconds since 1970.

#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

mod boundary;
mod input;
mod step;

use alloc::vec;
use alloc::vec::Vec;

use tidelock_core::client::storage::{Durability, RefusedRow, StorageFailure};
use tidelock_core::client::{Client, Config, Effect, Event, Kept, Status};
use tidelock_core::ids::DocumentId;
use tidelock_core::json::{self, Value};

use boundary::{text, with};
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

/// Makes the client, which has read nothing. `seed`: 53 random bits; of the acknowledged mutations it keeps `kept_ms` and `kept_bytes`.
/// Takes the database's name, the collections to sync, of which there are so many, and the channels to begin with.
#[unsafe(no_mangle)]
extern "C" fn create(
    now_ms: f64,
    seed: f64,
    kept_ms: f64,
    kept_bytes: f64,
    resolver: bool,
    offline: bool,
    every_channel: bool,
    collections: usize,
) {
    with(|core| {
        let mut texts = core.texts().into_iter();
        let database = texts.next().unwrap_or_default();
        let collections = texts.by_ref().take(collections).collect();
        let channels = (!every_channel).then(|| texts.collect());
        let bytes = usize::try_from(unsigned(kept_bytes)).unwrap_or(usize::MAX);
        let kept = Kept { ms: unsigned(kept_ms), bytes };
        let config = Config { database, collections, channels, resolver, offline, kept };
        core.client = Some(Client::new(config, unsigned(seed), unsigned(now_ms)));
    });
}

/// Whether there is another effect, which has two results: `connect`, `send`, `disconnect`, `task`, `reopen` or the name of an event;
/// and the bytes to send or JSON text of the event's details.
#[unsafe(no_mangle)]
extern "C" fn poll_effect() -> bool {
    with(|core| {
        let Some(effect) = core.client().poll_effect() else { return false };
        let (kind, detail) = match effect {
            Effect::Connect => ("connect", Vec::new()),
            Effect::Send(bytes) => ("send", bytes),
            Effect::Disconnect => ("disconnect", Vec::new()),
            Effect::RunTask => ("task", Vec::new()),
            Effect::ReopenStorage => ("reopen", Vec::new()),
            Effect::Event(event) => {
                let (kind, detail) = event_detail(event);
                (kind, json::write(&detail))
            }
        };
        core.give(vec![kind.into(), detail]);
        true
    })
}

/// When `handle_timeout` is due; no number for never.
#[unsafe(no_mangle)]
extern "C" fn next_timeout_ms() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are exact for 285,000 years")]
    with(|core| core.client().next_timeout_ms().map_or(f64::NAN, |ms| ms as f64))
}

/// Time has passed.
#[unsafe(no_mangle)]
extern "C" fn handle_timeout(now_ms: f64) {
    with(|core| core.client().handle_timeout(unsigned(now_ms)));
}

/// The application wrote.
#[unsafe(no_mangle)]
extern "C" fn handle_captured(now_ms: f64) {
    with(|core| core.client().handle_captured(unsigned(now_ms)));
}

/// The application took an entry off the list of rejected mutations.
#[unsafe(no_mangle)]
extern "C" fn handle_rejected_removed(now_ms: f64) {
    with(|core| core.client().handle_rejected_removed(unsigned(now_ms)));
}

/// One result, JSON text: the first rows that the application's stores refused, each as (collection, key, reason).
#[unsafe(no_mangle)]
extern "C" fn quarantine() {
    with(|core| {
        let rows = core.client().quarantine().take(QUARANTINE_SHOWN_MAX);
        let row = |(id, reason): (&DocumentId, &str)| {
            vec![id.collection.as_str().text(), id.key.as_str().text(), reason.text()].text()
        };
        let rows = rows.map(row).collect::<Vec<_>>().text();
        core.give(vec![json::write(&rows)]);
    });
}

/// The connection is open. Takes a token.
#[unsafe(no_mangle)]
extern "C" fn handle_connected(now_ms: f64) {
    with(|core| {
        let [token] = core.texts_of();
        core.client().handle_connected(unsigned(now_ms), &token);
    });
}

/// The connection is gone, or did not open. Takes the reason.
#[unsafe(no_mangle)]
extern "C" fn handle_disconnected(now_ms: f64) {
    with(|core| {
        let [reason] = core.texts_of();
        core.client().handle_disconnected(unsigned(now_ms), &reason);
    });
}

/// A binary message came. Takes it.
#[unsafe(no_mangle)]
extern "C" fn handle_message(now_ms: f64) {
    with(|core| {
        let message = core.arguments().pop().unwrap_or_default();
        core.client().handle_message(unsigned(now_ms), &message);
    });
}

/// A fresh token for the live session. Takes it.
#[unsafe(no_mangle)]
extern "C" fn handle_token(now_ms: f64) {
    with(|core| {
        let [token] = core.texts_of();
        core.client().handle_token(unsigned(now_ms), &token);
    });
}

/// The network may be back.
#[unsafe(no_mangle)]
extern "C" fn handle_network_hint(now_ms: f64) {
    with(|core| core.client().handle_network_hint(unsigned(now_ms)));
}

/// Switches the network on or off for this client.
#[unsafe(no_mangle)]
extern "C" fn set_online(now_ms: f64, online: bool) {
    with(|core| core.client().set_online(unsigned(now_ms), online));
}

/// Takes the channels that are wanted from now on.
#[unsafe(no_mangle)]
extern "C" fn set_channels(now_ms: f64) {
    with(|core| {
        let channels = core.texts();
        core.client().set_channels(unsigned(now_ms), Some(channels));
    });
}

/// The resolver's answer. Takes collection, key and JSON text of the value; no text to delete.
#[unsafe(no_mangle)]
extern "C" fn resolve(now_ms: f64, round: f64) {
    with(|core| {
        let mut arguments = core.arguments().into_iter();
        let mut name = || arguments.next().map(text).unwrap_or_default();
        let id = DocumentId::new(name(), name());
        core.client().resolve(unsigned(now_ms), id, unsigned(round), arguments.next());
    });
}

/// One result: JSON text of the present status.
#[unsafe(no_mangle)]
extern "C" fn status() {
    with(|core| {
        let now = status_value(&core.client().status());
        core.give(vec![json::write(&now)]);
    });
}

/// Whether nothing is pending.
#[unsafe(no_mangle)]
extern "C" fn is_synced() -> bool {
    with(|core| core.client().is_synced())
}

/// Whether a failure of power may undo the current task's transaction; asked before it begins.
#[unsafe(no_mangle)]
extern "C" fn task_relaxed() -> bool {
    with(|core| core.client().task_durability() == Durability::Relaxed)
}

/// The next step of the current task; takes what was read since the last one. Its results are in `step.rs`.
#[unsafe(no_mangle)]
extern "C" fn step() {
    with(|core| {
        let inputs = core::mem::take(&mut core.inputs);
        let step = core.client().task_step(inputs);
        core.give(step::results(step));
    });
}

/// The task's transaction is durable.
#[unsafe(no_mangle)]
extern "C" fn task_committed(now_ms: f64) {
    with(|core| {
        core.inputs.clear();
        let refused = core::mem::take(&mut core.refused);
        core.client().handle_task_committed(unsigned(now_ms), refused);
    });
}

/// The task's transaction did not commit. Takes `quota`, `closed` or anything else, and a message.
#[unsafe(no_mangle)]
extern "C" fn task_failed(now_ms: f64) {
    with(|core| {
        core.inputs.clear();
        core.refused.clear();
        let [failure, message] = core.texts_of();
        let failure = match failure.as_str() {
            "quota" => StorageFailure::Quota,
            "closed" => StorageFailure::Closed,
            _ => StorageFailure::Other,
        };
        core.client().handle_task_failed(unsigned(now_ms), failure, &message);
    });
}

/// A row that the application's store refused, to be reported with the commit. Takes collection, key and reason.
#[unsafe(no_mangle)]
extern "C" fn row_refused() {
    with(|core| {
        let [collection, key, reason] = core.texts_of();
        core.refused.push(RefusedRow { id: DocumentId::new(collection, key), reason });
    });
}

fn event_detail(event: Event) -> (&'static str, Value) {
    match event {
        Event::Status(now) => ("status", status_value(&now)),
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

fn status_value(status: &Status) -> Value {
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

/// A JavaScript number as an unsigned integer; what is negative, not finite or too large is clamped, as `as` does.
fn unsigned(number: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamping is meant")]
    let clamped = number as u64;
    clamped
}
