//! The leak oracle: what is sent and what is held is allowed by the rules, evaluated once more without the server's code.

use tidelock_core::ids::{DocumentId, Offset};
use tidelock_core::wire::{ChangeKind, Columns, ConflictNote, DocumentState, Outcome, ServerFrame, unpack_changes};

use super::{Checkers, Violation};
use crate::node::LinkId;
use crate::rules::{Settings, policies};
use crate::workload::ROOMS;
use crate::world::World;

/// What was allowed before may still be sent for so long after it was taken back, in milliseconds.
const REVOKED_MS_MAX: u64 = 1_000;
/// After other rules came into force, what the former ones allowed may be sent for so long: stored channels follow them.
const RULES_MS_MAX: u64 = 5_000;

impl Checkers {
    /// No document in the frame is one that the identity may not read at this moment.
    pub(crate) fn check_frame(&self, link: LinkId, now_ms: u64, frame: &ServerFrame) -> Result<(), Violation> {
        let leak = |id: &DocumentId, body: &[u8]| {
            if self.may_be_sent(link, now_ms, id, body) {
                return Ok(());
            }
            let rooms = self.wires.get(&link).map(|wire| wire.tokens.clone()).unwrap_or_default();
            let text = format!("link {link} is sent {id} {} with {rooms:?}", String::from_utf8_lossy(body));
            Err(Violation::new("leak", text))
        };
        match frame {
            ServerFrame::Changes(frame) => self.check_changes(&frame.changes, leak),
            ServerFrame::Snapshot(frame) => self.check_changes(&frame.changes, leak),
            ServerFrame::Reconciled(frame) => self.check_changes(&frame.changes, leak),
            ServerFrame::Result(result) => {
                let (states, notes): (&[DocumentState], &[ConflictNote]) = match &result.outcome {
                    Outcome::Accepted => (&[], &[]),
                    Outcome::Merged(states, notes) => (states, notes),
                    Outcome::Rejected(_, _, states) | Outcome::Resolve(states) => (states, &[]),
                };
                for state in states {
                    state.body.as_ref().map_or(Ok(()), |body| leak(&state.id, body))?;
                }
                for note in notes {
                    self.body_at(&note.id, result.offset).map_or(Ok(()), |body| leak(&note.id, body))?;
                }
                Ok(())
            }
            ServerFrame::Welcome(_)
            | ServerFrame::Purge(_)
            | ServerFrame::Pong(_)
            | ServerFrame::Error(_)
            | ServerFrame::Restart(_)
            | ServerFrame::Symbols(_) => Ok(()),
        }
    }

    fn body_at(&self, id: &DocumentId, offset: Offset) -> Option<&[u8]> {
        self.history.state_at(id, offset)?.body.as_deref()
    }

    fn check_changes(
        &self,
        columns: &Columns,
        leak: impl Fn(&DocumentId, &[u8]) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        // The numbers of the simulated server's collections are those of their names in order.
        let Some(rooms) = policies().keys().position(|name| name == ROOMS) else { return Ok(()) };
        for change in unpack_changes(columns).unwrap_or_default() {
            if change.collection as usize == rooms
                && let ChangeKind::Put(_, body) = &change.kind
            {
                leak(&DocumentId::new(ROOMS, change.key.as_str()), body)?;
            }
        }
        Ok(())
    }

    fn may_be_sent(&self, link: LinkId, now_ms: u64, id: &DocumentId, body: &[u8]) -> bool {
        let tokens = self.wires.get(&link).map_or(&[][..], |wire| wire.tokens.as_slice());
        // A token counts until the next one has been at the server for a while.
        let replaced_ms = tokens.iter().skip(1).map(|(at_ms, _)| *at_ms).chain([u64::MAX]);
        let current =
            tokens.iter().zip(replaced_ms).filter(|(_, until)| until.saturating_add(REVOKED_MS_MAX) >= now_ms);
        let rules = self.rules_between(now_ms);
        current.into_iter().any(|((_, rooms), _)| rules.iter().any(|one| one.may_read(rooms, &id.collection, body)))
    }

    /// The rules in force, and those that were a moment ago.
    fn rules_between(&self, now_ms: u64) -> Vec<Settings> {
        let recent = |until_ms: u64| until_ms.saturating_add(RULES_MS_MAX) >= now_ms;
        let former = self.former_rules.iter().filter(|(until_ms, _)| recent(*until_ms)).map(|(_, settings)| *settings);
        former.chain([self.settings]).collect()
    }
}

impl World {
    /// A client that is synced, and was told of its grant a while ago, holds nothing that it may not read.
    pub(crate) fn check_held(&self, replica: usize, told_ms: u64) -> Result<(), Violation> {
        let settled_ms = told_ms.max(self.checkers.rules_changed_ms()) + RULES_MS_MAX + 10 * self.latency_ms_max;
        let rooms = self.rooms.get(replica).map_or(&[][..], Vec::as_slice);
        if self.now_ms < settled_ms {
            return Ok(());
        }
        let Some(database) = self.replicas.get(replica).map(|replica| &replica.database) else { return Ok(()) };
        for (key, row) in database.scan(ROOMS, None, usize::MAX) {
            if let tidelock_core::client::storage::Row::Json(body) = row
                && !self.settings.may_read(rooms, ROOMS, &body)
            {
                let text = format!("client {replica} with {rooms:?} holds {key} {}", String::from_utf8_lossy(&body));
                return Err(Violation::new("leak", text));
            }
        }
        Ok(())
    }

    /// What a list of rejected mutations holds, its user wrote or could read once.
    pub(crate) fn check_rejected(&self, replica: usize) -> Result<(), Violation> {
        let Some(one) = self.replicas.get(replica) else { return Ok(()) };
        let entries = one.database.rejected().skip(one.rejected_checked).flat_map(|record| &record.documents);
        for document in entries.filter(|document| document.id.collection == ROOMS) {
            let Some(mine) = &document.mine else { continue };
            let room = serde_json::from_slice::<serde_json::Value>(mine).ok();
            let room = room.as_ref().and_then(|body| body.get("room")?.as_str()).unwrap_or_default().to_owned();
            let wrote = self.ledger.placed.contains(&(replica, document.id.key.clone(), room));
            if !wrote && !Settings::all_access().any(|rules| rules.may_read(&one.granted, ROOMS, mine)) {
                let text = format!("client {replica} lists {} {}", document.id, String::from_utf8_lossy(mine));
                return Err(Violation::new("leak", text));
            }
        }
        Ok(())
    }
}
