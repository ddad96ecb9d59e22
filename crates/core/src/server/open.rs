//! Hello, welcome, and fresh tokens.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::effect::{Effect, Grant, Opening, Refusal};
use super::filter::Filter;
use super::push::PushState;
use super::session::{OpenSession, Session, State};
use crate::planted::{self, Bug};
use crate::prelude::*;
use crate::wire::{ErrorCode, Hello, PROTOCOL_VERSION, PROTOCOL_VERSION_MIN, ServerFrame, Welcome};

impl Session {
    pub(super) fn hello(&mut self, hello: Hello) {
        if hello.protocol < PROTOCOL_VERSION_MIN || hello.protocol_min > PROTOCOL_VERSION {
            let older = if hello.protocol < PROTOCOL_VERSION_MIN { "application" } else { "server" };
            let message = format!(
                "the application speaks protocol versions {} to {}, this server {PROTOCOL_VERSION_MIN} to {PROTOCOL_VERSION}: \
                 update the {older}",
                hello.protocol_min, hello.protocol
            );
            return self.fail(&Refusal::new(ErrorCode::UnsupportedVersion, message));
        }
        let host_hello = hello.clone();
        let kept = Hello { token: String::new(), ..hello };
        self.state = State::Opening(Box::new(kept));
        self.effects.push_back(Effect::Open(Box::new(host_hello)));
    }

    /// The answer to [`Effect::Open`].
    pub fn handle_opening(&mut self, now_ms: u64, answer: Result<Opening, Refusal>) {
        let hello = match std::mem::replace(&mut self.state, State::Connected) {
            State::Opening(hello) => hello,
            other @ (State::Connected | State::Open(_) | State::Closed) => {
                self.state = other;
                return;
            }
        };
        let opening = match answer {
            Ok(opening) => opening,
            Err(refusal) => return self.fail(&refusal),
        };
        let numbers: BTreeMap<String, u32> =
            opening.collections.iter().map(|info| (info.name.clone(), info.number)).collect();
        let subject = opening.grant.subject.clone();
        self.state = State::Open(Box::new(OpenSession {
            id: opening.session,
            client: hello.client,
            newcomer: hello.epoch.is_none(),
            incarnation: hello.incarnation,
            changelog: opening.changelog,
            head: opening.head,
            floor: opening.floor,
            grant: opening.grant,
            authenticating: false,
            numbers,
            subscriptions: BTreeMap::new(),
            credit: i64::from(hello.credit_bytes),
            stalled_since_ms: None,
            loading: None,
            ticket: 0,
            snapshot_turn: false,
            push: PushState::new(opening.finished, hello.acknowledged, opening.brings_back),
        }));
        if !self.still_open(now_ms) {
            return;
        }
        self.send(&ServerFrame::Welcome(Welcome {
            protocol: PROTOCOL_VERSION.min(hello.protocol),
            session: opening.session,
            epoch: opening.epoch,
            changelog: opening.changelog,
            finished: opening.finished,
            limits: self.config.limits,
            collections: opening.collections,
            subject,
            now_ms,
            floor: opening.floor,
            history: opening.history,
        }));
    }

    pub(super) fn reauthenticate(&mut self, token: String) {
        let State::Open(open) = &mut self.state else { return };
        if open.authenticating {
            return self.fail(&Refusal::new(ErrorCode::Protocol, "a token while another is being verified"));
        }
        open.authenticating = true;
        self.effects.push_back(Effect::Authenticate(token));
    }

    /// The answer to [`Effect::Authenticate`].
    pub fn handle_grant(&mut self, now_ms: u64, answer: Result<Grant, Refusal>) {
        let State::Open(open) = &mut self.state else { return };
        open.authenticating = false;
        let grant = match answer {
            Ok(grant) => grant,
            Err(refusal) => return self.fail(&refusal),
        };
        if grant.subject != open.grant.subject {
            let message = "the token is another subject's; open another session for it";
            return self.fail(&Refusal::new(ErrorCode::Forbidden, message));
        }
        let filter = Arc::clone(&grant.filter);
        open.grant = Grant { filter: Arc::clone(&open.grant.filter), ..grant };
        self.handle_access(now_ms, filter);
    }

    /// What the identity may read, which may have changed by itself: rules, documents that grant, a fresh token. What it may not read
    /// any more is purged; what it gained is sent.
    pub fn handle_access(&mut self, now_ms: u64, filter: Arc<Filter>) {
        let State::Open(open) = &mut self.state else { return };
        if filter != open.grant.filter && !planted::has(Bug::FilterKept) {
            open.grant.filter = filter;
            let mut restarted = Vec::new();
            for subscription in open.subscriptions.values_mut().filter(|one| !one.ending) {
                let filter = open.grant.filter.narrowed(&subscription.collections, subscription.channels.as_deref());
                if subscription.refilter(filter) {
                    subscription.restart();
                    restarted.push(subscription.id);
                }
            }
            self.send_restarts(restarted);
            self.watch();
        }
        if self.still_open(now_ms) {
            self.pump(now_ms);
        }
    }
}
