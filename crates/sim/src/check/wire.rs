//! What goes over the wires: who speaks, what they pushed, what they were told.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tidelock_core::ids::{ClientId, Incarnation, MutationId, Offset};
use tidelock_core::wire::{ClientFrame, DocumentChange, Operation, Outcome, Push, ServerFrame, decode, unpack};

use super::{Checkers, Violation};
use crate::node::LinkId;
use crate::workload::LEDGER;

/// A connection as its frames show it.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    /// Who said hello.
    replica: Option<(ClientId, Incarnation)>,
    /// The tokens that reached the server: when, and the rooms that they grant.
    pub(crate) tokens: Vec<(u64, Vec<String>)>,
    /// The highest offset of a result that was sent.
    pub(crate) result_offset: Offset,
    /// Bytes both ways.
    pub(crate) bytes: u64,
}

/// What was pushed, and what was promised.
#[derive(Debug, Default)]
pub(crate) struct Pushes {
    /// Mutations that reached a server.
    mutations: BTreeMap<MutationId, Vec<DocumentChange>>,
    /// Parts of mutations that go on.
    parts: BTreeMap<MutationId, Vec<DocumentChange>>,
    /// Tokens that acknowledged mutations added to ledger documents: (key, token).
    pub(crate) acknowledged: Vec<(MutationId, String, String)>,
    /// Mutations of which a client was told that they were not carried out.
    refused: BTreeSet<MutationId>,
}

impl Pushes {
    /// What a mutation asked for.
    pub(crate) fn changes(&self, mutation: MutationId) -> Option<&[DocumentChange]> {
        self.mutations.get(&mutation).map(Vec::as_slice)
    }

    fn add(&mut self, mutation: MutationId, push: Push) {
        let parts = self.parts.entry(mutation).or_default();
        parts.extend(push.changes);
        if !push.more {
            let whole = self.parts.remove(&mutation).unwrap_or_default();
            self.mutations.insert(mutation, whole);
        }
    }
}

impl Checkers {
    /// A message of a client reached its server.
    pub(crate) fn at_server(&mut self, link: LinkId, now_ms: u64, bytes: &[u8]) {
        let wire = self.wires.entry(link).or_default();
        wire.bytes += bytes.len() as u64;
        let Ok(frame) = decode::<ClientFrame>(bytes) else { return };
        let token = match frame {
            ClientFrame::Hello(hello) => {
                wire.replica = Some((hello.client, hello.incarnation));
                hello.token
            }
            ClientFrame::Auth(auth) => auth.token,
            ClientFrame::Push(push) => return self.pushed(link, vec![push]),
            ClientFrame::Pushes(packed) => return self.pushed(link, unpack::<Push>(&packed).unwrap_or_default()),
            ClientFrame::Subscribe(_)
            | ClientFrame::Unsubscribe(_)
            | ClientFrame::Credit(_)
            | ClientFrame::Ping(_)
            | ClientFrame::MoreSymbols(_)
            | ClientFrame::Difference(_) => return,
        };
        let rooms = self.minted.get(&token).cloned().unwrap_or_default();
        wire.tokens.push((now_ms, rooms));
    }

    fn pushed(&mut self, link: LinkId, pushes: Vec<Push>) {
        let Some((client, incarnation)) = self.wires.get(&link).and_then(|wire| wire.replica) else { return };
        for push in pushes {
            self.pushes.add(MutationId { client, incarnation, sequence: push.sequence }, push);
        }
    }

    /// A server sends a message that it made at this time: a peer that takes nothing gets what was right then.
    pub(crate) fn server_sends(&mut self, link: LinkId, made_ms: u64, bytes: &[u8]) -> Result<(), Violation> {
        let Ok(frame) = decode::<ServerFrame>(bytes) else { return Ok(()) };
        self.check_frame(link, made_ms, &frame)?;
        let ServerFrame::Result(result) = &frame else { return Ok(()) };
        let Some(wire) = self.wires.get_mut(&link) else { return Ok(()) };
        wire.result_offset = wire.result_offset.max(result.offset);
        let Some((client, incarnation)) = wire.replica else { return Ok(()) };
        let mutation = MutationId { client, incarnation, sequence: result.sequence };
        if !matches!(result.outcome, Outcome::Accepted | Outcome::Merged(..)) {
            self.pushes.refused.insert(mutation);
            return Ok(());
        }
        // An old leader asks for an answer that its successor has acknowledged: what it is told, the fence keeps out.
        if self.pushes.refused.contains(&mutation) {
            return Ok(());
        }
        match self.history.finished(mutation) {
            Some(finished) if !finished.done => return Ok(()),
            Some(_) => {}
            None if !self.in_one_order => {}
            None => {
                let text = format!("{mutation:?} is acknowledged and was never committed");
                return Err(Violation::new("acknowledged", text));
            }
        }
        let changes = self.pushes.changes(mutation).unwrap_or_default();
        let claims = changes.iter().flat_map(claims).map(|(key, token)| (mutation, key, token));
        self.pushes.acknowledged.extend(claims.collect::<Vec<_>>());
        Ok(())
    }

    /// A message of a server reached its client.
    pub(crate) fn at_client(&mut self, link: LinkId, bytes: &[u8]) {
        self.wires.entry(link).or_default().bytes += bytes.len() as u64;
    }
}

/// The tokens that a change adds to a ledger document.
fn claims(change: &DocumentChange) -> Vec<(String, String)> {
    if change.id.collection != LEDGER {
        return Vec::new();
    }
    let (before, after) = match &change.operation {
        Operation::Put(body) => (Vec::new(), super::ledger::tokens_of(body)),
        Operation::Delete | Operation::Offer(_) => return Vec::new(),
        Operation::Patch(fields) => {
            let Some(field) = fields.iter().find(|field| field.path == ["tokens"]) else { return Vec::new() };
            (list(field.base.as_deref()), list(field.value.as_deref()))
        }
    };
    let added = after.into_iter().filter(|token| !before.contains(token));
    added.map(|token| (change.id.key.clone(), token)).collect()
}

fn list(json: Option<&[u8]>) -> Vec<String> {
    json.and_then(|json| serde_json::from_slice::<Value>(json).ok())
        .and_then(|value| value.as_array().cloned())
        .map(|items| items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect())
        .unwrap_or_default()
}
