//! A client that was away for long transfers about the difference, never everything.

use std::collections::BTreeSet;

use serde_json::json;
use tidelock_core::ids::DocumentId;
use tidelock_core::server::SessionConfig;

use super::convergence::Documents;
use super::{Violation, drain};
use crate::application::write;
use crate::world::{DRAIN_MS_MAX, Event, World};

/// What a connection costs without any difference: hello with a token, welcome with the policies, a subscription, symbols or a list of a
/// small store, pings, in bytes.
const FIXED_BYTES: u64 = 4_000;
/// Documents that everybody has, so that everything is much more than the difference.
const BULK_DOCUMENTS: u64 = 60;
/// Bytes of each of them.
const BULK_BYTES: usize = 400;
/// What a document costs beside its content: collection, version, offset, and its share of the symbols.
const DOCUMENT_BYTES: u64 = 40;
/// Most transactions that others make meanwhile.
const TRANSACTIONS_MAX: u64 = 30;
/// Numbers of those transactions: beyond those of any plan.
const FIRST_NUMBER: usize = 1 << 20;

impl World {
    /// One client is away while the others go on, sometimes for months; then it comes back. Nothing else disturbs it.
    pub(crate) fn check_bytes(&mut self) -> Result<(), Violation> {
        let present: Vec<usize> = (0..self.replicas.len()).filter(|index| self.takes_part(*index)).collect();
        let Some(away) = self.random.pick(&present).copied().filter(|_| present.len() > 1) else { return Ok(()) };
        let others: Vec<usize> = present.iter().copied().filter(|index| *index != away).collect();
        let Some(first) = others.first().copied() else { return Ok(()) };
        self.write_bulk(first);
        drain(self)?;
        self.end_client(away);
        if let Some(replica) = self.replicas.get_mut(away) {
            // A transaction that was open is gone with its page.
            replica.database.crash(|commits| commits);
        }
        self.set_takes_part(away, false);
        for number in 0..self.random.between(1, TRANSACTIONS_MAX) {
            let Some(writer) = self.random.pick(&others).copied() else { break };
            self.write(writer, FIRST_NUMBER + usize::try_from(number).unwrap_or_default());
        }
        drain(self)?;
        // A node that has not heard of documents sends those that a client names.
        self.level()?;
        if self.random.chance(500) {
            let away_ms = self.draw_weeks_ms();
            self.depart(away, away_ms);
            drain(self)?;
            self.level()?;
        }
        let (server, held) = (self.server_documents(), self.shadow_of(away));
        let difference = self.difference_bytes(away, &server, &held);
        self.set_takes_part(away, true);
        let host = self.start_host(away);
        drain(self)?;
        let wires = &self.checkers.wires;
        let of_host = self.links.iter().filter(|(_, link)| link.host == host);
        let bytes: u64 = of_host.filter_map(|(id, _)| wires.get(id)).map(|wire| wire.bytes).sum();
        // Where pages or frames are tiny, their headers are most of what is sent.
        let (usual, here) = (SessionConfig::default(), self.node_config);
        let tiny =
            here.page_bytes_max < usual.page_bytes_max || here.limits.frame_bytes_max < usual.limits.frame_bytes_max;
        if tiny || bytes <= difference * 3 / 2 + FIXED_BYTES {
            return Ok(());
        }
        let text = format!(
            "client {away} transferred {bytes} bytes for a difference of {difference} ({} documents at the server, {} held)",
            server.len(),
            held.len()
        );
        Err(Violation::new("bytes", text))
    }

    /// Waits until every node has taken in what is there.
    fn level(&mut self) -> Result<(), Violation> {
        let until_ms = self.elapsed_ms() + DRAIN_MS_MAX;
        while !self.site.is_level() {
            if self.elapsed_ms() >= until_ms {
                return Err(Violation::new("convergence", "a node does not take in what is there".to_owned()));
            }
            let until = self.elapsed_ms() + 100;
            while self.step(until) {
                self.take_violation()?;
            }
        }
        Ok(())
    }

    /// An application stores many documents.
    fn write_bulk(&mut self, replica: usize) {
        let (now_ms, text) = (self.wall_ms(replica), "x".repeat(BULK_BYTES));
        let Some(target) = self.replicas.get_mut(replica) else { return };
        let done = write(&mut target.database, "bulk", now_ms, true, |tx| {
            for number in 0..BULK_DOCUMENTS {
                tx.put("newest", &format!("bulk{number}"), &json!({ "number": number, "text": text }).to_string());
            }
        });
        let leader = target.leader;
        if done.is_some() {
            self.schedule(1, Event::Captured(leader));
        }
    }

    fn takes_part(&self, index: usize) -> bool {
        self.replicas.get(index).is_some_and(|replica| replica.takes_part)
    }

    fn set_takes_part(&mut self, index: usize, takes_part: bool) {
        if let Some(replica) = self.replicas.get_mut(index) {
            replica.takes_part = takes_part;
        }
    }

    /// Bytes of what a client has to learn.
    fn difference_bytes(&self, index: usize, server: &Documents, held: &Documents) -> u64 {
        let ids: BTreeSet<&DocumentId> = server.keys().chain(held.keys()).collect();
        let mut bytes = 0;
        for id in ids {
            let theirs = server.get(id).filter(|(_, body)| self.may_read(index, id, body));
            if theirs.map(|(version, _)| version) != held.get(id).map(|(version, _)| version) {
                bytes += DOCUMENT_BYTES + id.key.len() as u64 + theirs.map_or(0, |(_, body)| body.len() as u64);
            }
        }
        bytes
    }
}
