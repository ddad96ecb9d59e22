//! The session: states, deadlines and the way of a frame.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::effect::{Effect, Grant, Outgoing, Refusal};
use super::filter::Filter;
use super::pump::Loading;
use super::push::PushState;
use super::subscription::Subscription;
use crate::ids::{ChangelogId, ClientId, Incarnation, Offset, SessionId, SubscriptionId};
use crate::limits::Limits;
use crate::prelude::*;
use crate::wire::{ClientFrame, ErrorCode, ErrorFrame, Hello, Pong, ServerFrame, decode, encode};

/// How long a client may be silent to send as many frames at once as it could have sent meanwhile.
const BURST_MS: u64 = 10_000;

/// The host's settings, shared by its sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// Announced to the client.
    pub limits: Limits,
    /// How long a connection may stay without a hello, and a hello without an answer.
    pub hello_ms_max: u64,
    /// How long a session may be behind without any credit.
    pub slow_consumer_ms_max: u64,
    /// Frames per second that are read, averaged over ten seconds; beyond it the session stops reading.
    pub frames_per_second_max: u32,
    /// About how many bytes of bodies a page of changes or of a snapshot holds.
    pub page_bytes_max: usize,
    /// Bytes of mutations without a result beyond which the session stops reading.
    pub push_bytes_max: usize,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            hello_ms_max: 5_000,
            slow_consumer_ms_max: 10_000,
            frames_per_second_max: 5_000,
            page_bytes_max: 512 << 10,
            push_bytes_max: 8 << 20,
        }
    }
}

/// One client over one connection, as the server sees it.
///
/// # Contract
///
/// - After every `handle_*` call, drain [`poll_effect`](Self::poll_effect); effects are carried out in their order.
/// - `now_ms` never decreases: milliseconds since 1970 by the server's clock.
/// - [`wants_input`](Self::wants_input) says whether to read the next frame; while it is false the transport's own back-pressure
///   slows the client down.
/// - [`Effect::Close`] is the last effect; calls after it do nothing.
#[derive(Debug)]
pub struct Session {
    pub(super) config: Arc<SessionConfig>,
    pub(super) state: State,
    pub(super) effects: VecDeque<Effect>,
    started_ms: u64,
    heard_ms: u64,
    /// Documents in the frames sent since the host asked.
    pub(super) delivered: u64,
    /// Frames that may be read at once, in thousandths; refilled with time.
    frame_budget: u64,
    budget_ms: u64,
}

/// What may happen next.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing but a hello is accepted.
    Connected,
    /// The hello's token is being verified.
    Opening(Box<Hello>),
    /// Everything but a hello is accepted.
    Open(Box<OpenSession>),
    /// Closed.
    Closed,
}

/// An authenticated session.
#[derive(Debug)]
pub(super) struct OpenSession {
    pub(super) id: SessionId,
    pub(super) client: ClientId,
    /// Whether the client was never told of anything: nothing that it has came from a server.
    pub(super) newcomer: bool,
    pub(super) incarnation: Incarnation,
    pub(super) changelog: ChangelogId,
    pub(super) head: Offset,
    pub(super) floor: Offset,
    pub(super) grant: Grant,
    /// Whether a fresh token is being verified.
    pub(super) authenticating: bool,
    /// Numbers of the collections in change frames.
    pub(super) numbers: BTreeMap<String, u32>,
    /// Boxed: a map has room for several values as soon as it has one, and a session mostly has one.
    pub(super) subscriptions: BTreeMap<SubscriptionId, Box<Subscription>>,
    /// Bytes of change frames that may be sent; negative when the last frame was larger than what was left.
    pub(super) credit: i64,
    /// Since when there is something to send and no credit.
    pub(super) stalled_since_ms: Option<u64>,
    pub(super) loading: Option<Loading>,
    pub(super) ticket: u64,
    /// Whether the last page was one of changes: a snapshot page is next, so that neither starves the other.
    pub(super) snapshot_turn: bool,
    pub(super) push: PushState,
}

impl Session {
    /// A session for a connection that was just accepted.
    pub fn new(now_ms: u64, config: Arc<SessionConfig>) -> Self {
        let frame_budget = u64::from(config.frames_per_second_max) * BURST_MS;
        Self {
            config,
            state: State::Connected,
            effects: VecDeque::new(),
            started_ms: now_ms,
            heard_ms: now_ms,
            delivered: 0,
            frame_budget,
            budget_ms: now_ms,
        }
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`handle_tick`](Self::handle_tick) is due at the latest; `None` once closed.
    pub fn poll_timeout(&self) -> Option<u64> {
        let mut due = match &self.state {
            State::Closed => return None,
            State::Connected | State::Opening(_) => self.started_ms + self.config.hello_ms_max,
            State::Open(open) => {
                let stalled = open.stalled_since_ms.map(|since| since + self.config.slow_consumer_ms_max);
                let silence = self.heard_ms + u64::from(self.config.limits.silence_ms_max);
                [stalled, open.grant.expires_ms].into_iter().flatten().fold(silence, u64::min)
            }
        };
        if self.frame_budget < 1_000 {
            due = due.min(self.budget_ms + 1_000 / u64::from(self.config.frames_per_second_max).max(1) + 1);
        }
        Some(due)
    }

    /// Whether the next frame may be read.
    pub fn wants_input(&self) -> bool {
        let room = match &self.state {
            State::Closed => return false,
            State::Connected | State::Opening(_) => true,
            State::Open(open) => open.push.bytes_inflight() <= self.config.push_bytes_max,
        };
        room && self.frame_budget >= 1_000
    }

    /// Whether the session has ended.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Whether no mutation is waiting for its result.
    pub fn is_idle(&self) -> bool {
        match &self.state {
            State::Open(open) => open.push.is_idle(),
            State::Connected | State::Opening(_) | State::Closed => true,
        }
    }

    /// How many documents were sent since this was asked last: in changes, snapshots, gained channels and differences.
    pub fn take_delivered(&mut self) -> u64 {
        std::mem::take(&mut self.delivered)
    }

    /// How many offsets of the changelog lie between its head, as far as the session was told, and where the subscription stands that
    /// is furthest behind. One that has no position yet (snapshot, reconciliation) does not count.
    pub fn lag(&self) -> u64 {
        let State::Open(open) = &self.state else { return 0 };
        let lowest = open.subscriptions.values().filter(|one| one.is_live()).map(|one| one.covered).min();
        lowest.map_or(0, |covered| open.head.0.saturating_sub(covered.0))
    }

    /// Subject and client of an open session.
    pub fn peer(&self) -> Option<(&str, ClientId)> {
        match &self.state {
            State::Open(open) => Some((&open.grant.subject, open.client)),
            State::Connected | State::Opening(_) | State::Closed => None,
        }
    }

    /// A binary message arrived.
    pub fn handle_frame(&mut self, now_ms: u64, bytes: &[u8]) {
        if !self.still_open(now_ms) {
            return;
        }
        self.refill(now_ms);
        self.frame_budget = self.frame_budget.saturating_sub(1_000);
        self.heard_ms = now_ms;
        if bytes.len() > self.config.limits.frame_bytes_max as usize {
            let message = format!("a frame of {} bytes; at most {}", bytes.len(), self.config.limits.frame_bytes_max);
            return self.fail(&Refusal::new(ErrorCode::TooLarge, message));
        }
        match decode::<ClientFrame>(bytes) {
            Ok(frame) => self.dispatch(now_ms, frame, bytes.len()),
            Err(error) => self.fail(&Refusal::new(ErrorCode::Protocol, error.to_string())),
        }
    }

    fn dispatch(&mut self, now_ms: u64, frame: ClientFrame, len: usize) {
        match (&self.state, frame) {
            (State::Closed, _) => {}
            (State::Connected, ClientFrame::Hello(hello)) => self.hello(hello),
            (State::Connected | State::Opening(_), ClientFrame::Ping(ping)) => {
                self.send(&ServerFrame::Pong(Pong { nonce: ping.nonce }));
            }
            (State::Connected, _) => self.fail(&Refusal::new(ErrorCode::Protocol, "the first frame must be a hello")),
            (State::Opening(_), _) => {
                self.fail(&Refusal::new(ErrorCode::Protocol, "wait for the welcome before anything else"));
            }
            (State::Open(_), ClientFrame::Hello(_)) => {
                self.fail(&Refusal::new(ErrorCode::Protocol, "a second hello"));
            }
            (State::Open(_), ClientFrame::Subscribe(subscribe)) => self.subscribe(now_ms, subscribe),
            (State::Open(_), ClientFrame::Unsubscribe(unsubscribe)) => self.unsubscribe(now_ms, unsubscribe.id),
            (State::Open(_), ClientFrame::Push(push)) => self.push(push, len),
            (State::Open(_), ClientFrame::Pushes(packed)) => self.pushes(&packed, len),
            (State::Open(_), ClientFrame::Credit(credit)) => self.credit(now_ms, credit.bytes),
            (State::Open(_), ClientFrame::Ping(ping)) => {
                self.send(&ServerFrame::Pong(Pong { nonce: ping.nonce }));
                self.tell_position(now_ms);
            }
            (State::Open(_), ClientFrame::Auth(auth)) => self.reauthenticate(auth.token),
            (State::Open(_), ClientFrame::MoreSymbols(more)) => self.more_symbols(now_ms, &more),
            (State::Open(_), ClientFrame::Difference(difference)) => self.difference(now_ms, &difference),
        }
    }

    /// Time passed.
    pub fn handle_tick(&mut self, now_ms: u64) {
        if !self.still_open(now_ms) {
            return;
        }
        self.refill(now_ms);
        let silence_ms_max = u64::from(self.config.limits.silence_ms_max);
        let waiting = match &self.state {
            State::Closed => return,
            State::Connected | State::Opening(_) => {
                if now_ms >= self.started_ms + self.config.hello_ms_max {
                    let message = format!("no session within {} ms", self.config.hello_ms_max);
                    self.fail(&Refusal::new(ErrorCode::Unauthenticated, message));
                }
                return;
            }
            State::Open(open) => {
                let stalled = open.stalled_since_ms;
                let slow = stalled.is_some_and(|since| now_ms >= since + self.config.slow_consumer_ms_max);
                if slow {
                    let message =
                        format!("no credit for {} ms; resume from the cursor", self.config.slow_consumer_ms_max);
                    return self.fail(&Refusal::new(ErrorCode::SlowConsumer, message));
                }
                !self.wants_input()
            }
        };
        if waiting {
            // The server itself does not read: the client's silence says nothing.
            self.heard_ms = now_ms;
        } else if now_ms >= self.heard_ms + silence_ms_max {
            self.fail(&Refusal::new(ErrorCode::SessionEnded, format!("nothing was heard for {silence_ms_max} ms")));
        }
    }

    /// The client took bytes: it is alive, though slow, and the frames that used up its credit may still be on their way.
    pub fn handle_taken(&mut self, now_ms: u64) {
        if let State::Open(open) = &mut self.state
            && let Some(since) = &mut open.stalled_since_ms
        {
            *since = now_ms;
        }
    }

    /// The host ends the session: shutdown, or a later session of the same client.
    pub fn handle_end(&mut self, refusal: &Refusal) {
        self.fail(refusal);
    }

    /// Whether the session goes on: no data frame after the token expired.
    pub(super) fn still_open(&mut self, now_ms: u64) -> bool {
        if let State::Open(open) = &self.state
            && open.grant.expires_ms.is_some_and(|expires_ms| now_ms >= expires_ms)
        {
            self.fail(&Refusal::new(ErrorCode::Unauthenticated, "the token has expired"));
        }
        !self.is_closed()
    }

    /// Tells the client why, and closes.
    pub(super) fn fail(&mut self, refusal: &Refusal) {
        if self.is_closed() {
            return;
        }
        self.send(&ServerFrame::Error(ErrorFrame {
            code: refusal.code,
            retryable: refusal.code.retryable(),
            message: refusal.message.clone(),
            retry_after_ms: refusal.retry_after_ms,
        }));
        self.effects.push_back(Effect::Close { code: refusal.code, reason: refusal.message.clone() });
        self.state = State::Closed;
    }

    pub(super) fn send(&mut self, frame: &ServerFrame) -> usize {
        let bytes = encode(frame);
        let len = bytes.len();
        self.effects.push_back(Effect::Send(Arc::new(Outgoing::new(bytes))));
        len
    }

    fn refill(&mut self, now_ms: u64) {
        let rate = u64::from(self.config.frames_per_second_max);
        let passed_ms = now_ms.saturating_sub(self.budget_ms);
        self.frame_budget = (self.frame_budget + passed_ms.saturating_mul(rate)).min(rate * BURST_MS);
        self.budget_ms = now_ms;
    }
}

impl OpenSession {
    /// Whether a document with these channels is covered by a subscription that stays.
    pub(super) fn covers(&self, collection: &str, channels: &[String]) -> bool {
        self.subscriptions.values().any(|one| !one.ending && one.filter.matches(collection, channels))
    }

    /// Everything that the subscriptions see.
    pub(super) fn watched(&self) -> Arc<Filter> {
        let mut filters = self.subscriptions.values().filter(|one| !one.ending).map(|one| &one.filter);
        let Some(first) = filters.next() else { return Arc::default() };
        let mut watched = Arc::clone(first);
        for filter in filters {
            Arc::make_mut(&mut watched).extend(filter);
        }
        watched
    }
}
