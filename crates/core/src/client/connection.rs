//! The connection: hello, welcome, subscription, push window, heartbeat, backoff.

use super::event::{Effect, Event, Phase};
use super::{Client, Inbound, Pending};
use crate::ids::{Sequence, SubscriptionId};
use crate::limits::CREDIT_BYTES_INITIAL;
use crate::planted::{self, Bug};
use crate::prelude::*;
use crate::wire::{
    Auth, ClientFrame, Credit, Cursor, ErrorCode, ErrorFrame, Hello, PROTOCOL_VERSION, PROTOCOL_VERSION_MIN, Packed,
    Ping, Push, PushResult, ServerFrame, Subscribe, Welcome, WireError, decode, encode,
};

/// First delay before connecting again; it doubles up to [`RECONNECT_MS_MAX`], with jitter.
const RECONNECT_MS: u64 = 250;
/// Longest delay before connecting again.
const RECONNECT_MS_MAX: u64 = 30_000;
/// Longest wait for a connection and its welcome.
const CONNECT_MS_MAX: u64 = 15_000;
/// Pushes are packed into one message up to about this many bytes.
const PUSH_BYTES_MAX: usize = 256 << 10;
/// The one subscription of a client; it is replaced when the channels change.
pub(super) const SUBSCRIPTION: SubscriptionId = SubscriptionId(1);

/// State of the connection.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    state: State,
    /// Whether the application lets the client be online.
    enabled: bool,
    failures: u32,
    retry_at_ms: u64,
    /// When something is overdue.
    deadline_ms: Option<u64>,
    /// When to ping.
    ping_at_ms: Option<u64>,
    silence_ms_max: u64,
    nonce: u64,
    /// Whether there was a subscription on this connection.
    subscribed: bool,
    pub(super) error: Option<(String, String, bool)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    /// The host opens a connection.
    Opening,
    /// Hello is sent.
    Greeting,
    /// Welcome, but what the client has is still being listed.
    Listing,
    /// Subscribed.
    Open,
}

impl Connection {
    pub(super) fn new(offline: bool) -> Self {
        Self {
            state: State::Closed,
            enabled: !offline,
            failures: 0,
            retry_at_ms: 0,
            deadline_ms: None,
            ping_at_ms: None,
            silence_ms_max: 45_000,
            nonce: 0,
            subscribed: false,
            error: None,
        }
    }

    /// `may_connect`: whether a connection would be opened when it is due.
    pub(super) fn next_timeout_ms(&self, may_connect: bool) -> Option<u64> {
        if self.state == State::Closed {
            return (may_connect && self.enabled).then_some(self.retry_at_ms);
        }
        [self.deadline_ms, self.ping_at_ms].into_iter().flatten().min()
    }

    /// Whether the welcome has come.
    pub(super) fn welcomed(&self) -> bool {
        matches!(self.state, State::Listing | State::Open)
    }

    /// Whether the client still has to list what it has.
    pub(super) fn listing(&self) -> bool {
        self.state == State::Listing
    }

    /// What the client has is to be listed before it subscribes.
    pub(super) fn list(&mut self) {
        self.state = State::Listing;
    }

    pub(super) fn phase(&self, caught_up: bool) -> Phase {
        match self.state {
            State::Closed => Phase::Offline,
            State::Opening | State::Greeting => Phase::Connecting,
            State::Open if caught_up => Phase::Live,
            State::Listing | State::Open => Phase::CatchingUp,
        }
    }

    /// Forgets the connection; whether there was one.
    pub(super) fn close(&mut self) -> bool {
        self.deadline_ms = None;
        self.ping_at_ms = None;
        self.subscribed = false;
        core::mem::replace(&mut self.state, State::Closed) != State::Closed
    }
}

impl Client {
    /// The application switched the network on or off.
    pub fn set_online(&mut self, now_ms: u64, online: bool) {
        self.connection.enabled = online;
        self.connection.failures = 0;
        self.connection.retry_at_ms = now_ms;
        if !online && self.connection.close() {
            self.effects.push_back(Effect::Disconnect);
            self.forget_connection();
        }
        self.advance(now_ms);
    }

    /// Connecting may succeed (the network came back, the page is visible): no further wait, and a short one after the next failure.
    pub fn handle_network_hint(&mut self, now_ms: u64) {
        self.connection.failures = 0;
        self.connection.retry_at_ms = now_ms;
        self.advance(now_ms);
    }

    /// The connection that was asked for is open; `token` is for the hello.
    pub fn handle_connected(&mut self, now_ms: u64, token: &str) {
        if self.connection.state == State::Opening {
            self.connection.state = State::Greeting;
            let hello = ClientFrame::Hello(Hello {
                protocol: PROTOCOL_VERSION,
                protocol_min: PROTOCOL_VERSION_MIN,
                database: self.config.database.clone(),
                token: token.into(),
                client: self.replica.client,
                incarnation: self.replica.incarnation,
                acknowledged: self.acknowledged(),
                epoch: self.position.epoch,
                credit_bytes: CREDIT_BYTES_INITIAL,
                collections: self.config.collections.clone(),
                history: self.position.history,
                restoring: self.position.restoring.map(|_| true),
            });
            self.send(&hello);
        }
        self.advance(now_ms);
    }

    /// The connection that was asked for did not open, or is gone. `retryable` is false where the server said so for good.
    pub fn handle_disconnected(&mut self, now_ms: u64, reason: &str) {
        if self.connection.close() {
            self.connection_failed(now_ms, "disconnected", reason, 0);
        }
        self.advance(now_ms);
    }

    /// A binary message arrived.
    pub fn handle_message(&mut self, now_ms: u64, bytes: &[u8]) {
        self.now_ms = now_ms.max(self.now_ms);
        if self.connection.state == State::Closed || self.connection.state == State::Opening {
            return;
        }
        match decode::<ServerFrame>(bytes) {
            Ok(frame) => self.handle_frame(frame, bytes.len()),
            Err(error) => self.protocol_error(&error.to_string()),
        }
        if self.connection.welcomed() {
            self.note_activity();
        }
        self.advance(now_ms);
    }

    /// A fresh token for the live session.
    pub fn handle_token(&mut self, now_ms: u64, token: &str) {
        if self.connection.welcomed() {
            self.send(&ClientFrame::Auth(Auth { token: token.into() }));
        }
        self.advance(now_ms);
    }

    /// Changes the channels wanted; `None` for all that the identity may read.
    pub fn set_channels(&mut self, now_ms: u64, channels: Option<Vec<String>>) {
        self.config.channels = channels;
        if self.connection.welcomed() && self.restore.is_none() {
            self.caught_up = false;
            self.begin_subscription(self.reconcile.is_some());
        }
        self.advance(now_ms);
    }

    pub(super) fn connect_if_due(&mut self) {
        let connection = &mut self.connection;
        if connection.enabled && connection.state == State::Closed && connection.retry_at_ms <= self.now_ms {
            connection.state = State::Opening;
            connection.deadline_ms = Some(self.now_ms.saturating_add(CONNECT_MS_MAX));
            self.connections += 1;
            self.effects.push_back(Effect::Connect);
        }
    }

    pub(super) fn connection_timeout(&mut self, now_ms: u64) {
        if self.connection.deadline_ms.is_some_and(|at| at <= now_ms) && self.connection.close() {
            self.effects.push_back(Effect::Disconnect);
            self.connection_failed(now_ms, "timeout", "the server does not answer", 0);
        }
        if self.connection.ping_at_ms.is_some_and(|at| at <= now_ms) {
            self.connection.nonce = self.connection.nonce.wrapping_add(1);
            let ping = ClientFrame::Ping(Ping { nonce: self.connection.nonce });
            self.send(&ping);
            let third = self.connection.silence_ms_max / 3;
            self.connection.ping_at_ms = Some(now_ms.saturating_add(third));
            // Whatever arrives clears it: a connection that the network dropped silently is given up within a third of the limit.
            let deadline = now_ms.saturating_add(third);
            self.connection.deadline_ms = Some(self.connection.deadline_ms.map_or(deadline, |at| at.min(deadline)));
        }
    }

    /// Sends pending mutations that this connection has not sent yet, in order.
    pub(super) fn push_pending(&mut self) {
        // A document that leaves the subscription by its own write is purged by it: nothing is sent before there is one.
        let subscribed = self.connection.state == State::Open && !self.finds_difference();
        let first = self.connection.welcomed() && (self.rolled_back || self.restore.is_some());
        if !subscribed && !first {
            return;
        }
        let frame_bytes_max = self.limits.frame_bytes_max as usize / 2;
        let window = self.limits.push_window_mutations_max as usize;
        let acknowledged = self.answered_before();
        let (answered, queue): (usize, Vec<&mut Pending>) = match &mut self.restore {
            Some(restore) => (restore.answered(), restore.mutations.iter_mut().collect()),
            None => (0, self.pending.values_mut().collect()),
        };
        let sent = queue.iter().filter(|pending| pending.sent).count();
        let room = window.saturating_sub(sent.saturating_sub(answered));
        let mut batch = Vec::new();
        let mut count = 0_u32;
        let mut messages = Vec::new();
        for pending in queue.into_iter().filter(|pending| !pending.sent).take(room) {
            pending.sent = true;
            for push in split(pending, acknowledged, self.position.is_before(&pending.mutation), frame_bytes_max) {
                if !batch.is_empty() && batch.len().saturating_add(push.len()) > frame_bytes_max.min(PUSH_BYTES_MAX) {
                    messages.push((core::mem::take(&mut batch), count));
                    count = 0;
                }
                batch.extend_from_slice(&push);
                count += 1;
            }
        }
        if !batch.is_empty() {
            messages.push((batch, count));
        }
        for (bytes, count) in messages {
            match (count, decode::<Push>(&bytes)) {
                (1, Ok(push)) => self.send(&ClientFrame::Push(push)),
                _ => self.send(&ClientFrame::Pushes(Packed(bytes))),
            }
        }
    }

    /// Asks for the documents; without a usable cursor `have` lists what the client has, or `reconcile` begins with symbols.
    pub(super) fn subscribe(&mut self, have: Vec<u8>, reconcile: Option<(u64, u32)>) {
        let subscribe = Subscribe {
            id: SUBSCRIPTION,
            collections: self.config.collections.clone(),
            channels: self.config.channels.clone(),
            cursor: self.position.cursor.clone(),
            held: self.position.channels.clone(),
            have,
            reconcile,
        };
        self.connection.state = State::Open;
        self.connection.subscribed = true;
        self.send(&ClientFrame::Subscribe(subscribe));
    }

    /// Tells the server that frames were applied.
    pub(super) fn give_credit(&mut self, bytes: usize) {
        if self.connection.welcomed() && bytes > 0 {
            self.send(&ClientFrame::Credit(Credit { bytes: u32::try_from(bytes).unwrap_or(u32::MAX) }));
        }
    }

    /// Every mutation up to here has a durable result.
    pub(super) fn acknowledged(&self) -> Sequence {
        self.replica.settled
    }

    fn handle_frame(&mut self, frame: ServerFrame, bytes: usize) {
        let replaced = self.connection.subscribed && self.finds_difference();
        match frame {
            ServerFrame::Changes(_) | ServerFrame::Snapshot(_) | ServerFrame::Reconciled(_) if replaced => {
                self.give_credit(bytes);
            }
            ServerFrame::Purge(_) | ServerFrame::Restart(_) if replaced && self.connection.listing() => {}
            ServerFrame::Purge(_) if replaced => {}
            ServerFrame::Welcome(welcome) if self.connection.state == State::Greeting => self.handle_welcome(welcome),
            ServerFrame::Error(error) => self.handle_error(&error),
            ServerFrame::Pong(_) => {}
            ServerFrame::Result(result) if self.connection.welcomed() => self.handle_result(result),
            ServerFrame::Changes(changes) if self.connection.state == State::Open => {
                if planted::has(Bug::CursorBeforeRows) {
                    self.position.cursor =
                        Some(Cursor { changelog: changes.changelog, offset: changes.to, snapshot: None });
                }
                self.queue(Inbound::changes(changes, bytes));
            }
            ServerFrame::Snapshot(snapshot) if self.connection.state == State::Open => {
                self.queue(Inbound::snapshot(snapshot, bytes));
            }
            ServerFrame::Reconciled(frame) if self.connection.state == State::Open => {
                if self.reconciles(frame.round) {
                    self.queue(Inbound::reconciled(frame, bytes));
                } else {
                    self.give_credit(bytes);
                }
            }
            ServerFrame::Purge(purge) if self.connection.state == State::Open => {
                self.inbound.push_back(Inbound::Purge(purge));
            }
            ServerFrame::Symbols(symbols) if self.connection.welcomed() => self.handle_symbols(&symbols, bytes),
            ServerFrame::Restart(_) if self.connection.state == State::Open => self.handle_restart(),
            ServerFrame::Welcome(_)
            | ServerFrame::Result(_)
            | ServerFrame::Changes(_)
            | ServerFrame::Snapshot(_)
            | ServerFrame::Reconciled(_)
            | ServerFrame::Symbols(_)
            | ServerFrame::Restart(_)
            | ServerFrame::Purge(_) => self.protocol_error("a frame that is not expected in this state"),
        }
    }

    /// Results come in the order of their sequences. One of a mutation that is settled answers a repetition.
    fn handle_result(&mut self, result: PushResult) {
        let last = self.answered.max(self.answered_before());
        if result.sequence > last.next() {
            return self.protocol_error(&format!("result {} does not follow {last}", result.sequence));
        }
        if result.sequence > last {
            self.answered = result.sequence;
            if let Some(result) = self.restored(result) {
                self.results.push_back(result);
            }
        }
    }

    fn queue(&mut self, inbound: Result<Inbound, WireError>) {
        match inbound {
            Ok(inbound) => self.enqueue(inbound),
            Err(error) => self.protocol_error(&error.to_string()),
        }
    }

    fn handle_welcome(&mut self, welcome: Welcome) {
        if welcome.protocol < PROTOCOL_VERSION_MIN || welcome.protocol > PROTOCOL_VERSION {
            return self
                .protocol_error("the server answers in a protocol version that was not offered: update the server");
        }
        self.connection.state = State::Listing;
        self.connection.error = None;
        self.connection.silence_ms_max = u64::from(welcome.limits.silence_ms_max);
        self.limits = welcome.limits;
        self.policies = welcome.collections.iter().map(|info| (info.name.clone(), info.policy.clone())).collect();
        let names: Vec<&str> = welcome.collections.iter().map(|info| info.name.as_str()).collect();
        let missing: Vec<String> =
            self.config.collections.iter().filter(|name| !names.contains(&name.as_str())).cloned().collect();
        self.collections = welcome.collections;
        if !missing.is_empty() {
            let message = format!(
                "the server does not offer {} to this identity: its writes stay on this device",
                missing.join(", ")
            );
            self.event(Event::Problem { code: "unknown-collection", message, retryable: false });
        }
        let follows = |cursor: &Cursor| cursor.changelog == welcome.changelog && cursor.offset >= welcome.floor;
        let usable =
            self.position.cursor.as_ref().is_some_and(follows) && self.position.collections == self.config.collections;
        self.changelog = welcome.changelog;
        let (history, lost) = welcome.history.map_or((None, false), |(history, lost)| (Some(history), lost));
        self.history = history;
        self.rolled_back = welcome.finished > self.replica.assigned;
        self.idle = false;
        if !self.rolled_back {
            self.restore_if_set_back(welcome.finished, welcome.epoch, lost);
        }
        if self.restore.is_none() {
            self.begin_subscription(!usable);
        }
    }

    fn handle_error(&mut self, error: &ErrorFrame) {
        let welcomed = self.connection.welcomed();
        if self.connection.close() {
            self.effects.push_back(Effect::Disconnect);
        }
        let wait = u64::from(error.retry_after_ms.unwrap_or(0));
        self.connection_failed(self.now_ms, error.code.name(), &error.message, wait);
        if let Some(last) = &mut self.connection.error {
            last.2 = error.retryable;
        }
        // A token that was good has expired, or its key is accepted no more: the next one is asked for at once.
        let outdated = welcomed && error.code == ErrorCode::Unauthenticated;
        if !error.retryable && !outdated {
            // A new token or a newer application may mend it, not patience alone.
            self.connection.retry_at_ms = self.now_ms.saturating_add(RECONNECT_MS_MAX);
        }
    }

    pub(super) fn protocol_error(&mut self, message: &str) {
        if self.connection.close() {
            self.effects.push_back(Effect::Disconnect);
        }
        self.connection_failed(self.now_ms, "protocol", message, 0);
    }

    fn connection_failed(&mut self, now_ms: u64, code: &str, message: &str, wait_ms: u64) {
        self.connection.failures = self.connection.failures.saturating_add(1);
        let ceiling = (RECONNECT_MS << self.connection.failures.min(8).saturating_sub(1)).min(RECONNECT_MS_MAX);
        let delay = ceiling / 2 + self.random.next() % (ceiling / 2 + 1);
        self.connection.retry_at_ms = now_ms.saturating_add(delay.max(wait_ms)).max(1);
        self.connection.error = Some((code.into(), message.into(), true));
        self.forget_connection();
    }

    /// What belonged to the connection is void: frames not applied come again from the cursor, pushes not answered are repeated.
    fn forget_connection(&mut self) {
        self.connections += 1;
        self.inbound.clear();
        self.results.clear();
        self.answered = Sequence(0);
        self.settled.clear();
        self.caught_up = false;
        self.reconcile = None;
        self.restore = None;
        for pending in self.pending.values_mut() {
            pending.sent = false;
        }
    }

    fn note_activity(&mut self) {
        self.connection.deadline_ms = None;
        // What arrives does not postpone the ping: a client that only listens, because its storage is slow, must not seem to be gone.
        let ping_at_ms = self.now_ms.saturating_add(self.connection.silence_ms_max / 3);
        self.connection.ping_at_ms.get_or_insert(ping_at_ms);
    }

    /// Ends the connection and opens another one at once.
    pub(super) fn reconnect(&mut self) {
        if self.connection.close() {
            self.effects.push_back(Effect::Disconnect);
        }
        self.connection.retry_at_ms = self.now_ms;
        self.forget_connection();
    }

    /// The session works: later failures start from a short delay again.
    pub(super) fn note_progress(&mut self) {
        self.connection.failures = 0;
    }

    pub(super) fn send(&mut self, frame: &ClientFrame) {
        self.effects.push_back(Effect::Send(encode(frame)));
    }
}

/// A mutation as push frames, each within the limit.
fn split(pending: &Pending, acknowledged: Sequence, before: bool, frame_bytes_max: usize) -> Vec<Vec<u8>> {
    let mutation = &pending.mutation;
    let mut parts = vec![Vec::new()];
    let mut bytes = 0_usize;
    for change in &mutation.changes {
        let size = encode(change).len();
        if bytes > 0 && bytes.saturating_add(size) > frame_bytes_max {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes = bytes.saturating_add(size);
        parts.last_mut().into_iter().for_each(|part| part.push(change.clone()));
    }
    let last = parts.len().saturating_sub(1);
    let push = |(index, changes)| {
        encode(&Push {
            sequence: mutation.sequence,
            acknowledged,
            edited_ms: mutation.edited_ms,
            changes,
            more: index < last,
            before: before.then_some(true),
        })
    };
    parts.into_iter().enumerate().map(push).collect()
}
