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
/// After other rules came into force, what the former ones allowed may be sent for so long: stored channels follow them in the
/// background, and a server that is restarted, or whose store fails, begins again.
pub(super) const RULES_MS_MAX: u64 = 20_000;

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
            ServerFrame::Changes(frame) => check_changes(&frame.changes, leak),
            ServerFrame::Snapshot(frame) => check_changes(&frame.changes, leak),
            ServerFrame::Reconciled(frame) => check_changes(&frame.changes, leak),
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
        if self.set_back {
            // The offset is one of several histories.
            return None;
        }
        self.history.state_at(id, offset)?.body.as_deref()
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

/// Looks at every document of the collection of rooms.
fn check_changes(
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

#[cfg(test)]
mod tests {
    use tidelock_core::ids::{Sequence, Version};
    use tidelock_core::wire::PushResult;

    use super::*;

    /// A document of a room is sent at a time to somebody whose tokens arrived at these times and grant these rooms.
    fn check(room: &str, at_ms: u64, tokens: &[(u64, &[&str])], rules: &[u64], allowed: bool) {
        let mut checkers = Checkers::default();
        for at_ms in rules {
            checkers.rules_changed(*at_ms, checkers.settings.with_next_access());
        }
        let rooms = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let wire = checkers.wires.entry(1).or_default();
        wire.tokens = tokens.iter().map(|(at_ms, names)| (*at_ms, rooms(names))).collect();
        let body = Some(format!(r#"{{"room":"{room}"}}"#).into_bytes());
        let states = vec![DocumentState { id: DocumentId::new(ROOMS, "a"), version: Version(7), body }];
        let outcome = Outcome::Merged(states, Vec::new());
        let frame = ServerFrame::Result(PushResult { sequence: Sequence(1), offset: Offset(1), outcome });
        assert_eq!(checkers.check_frame(1, at_ms, &frame).is_ok(), allowed, "{room} at {at_ms} with {tokens:?}");
    }

    #[test]
    fn what_nobody_granted_is_a_leak() {
        check("x", 100, &[(0, &["x"])], &[], true);
        check("y", 100, &[(0, &["x"])], &[], false);
        check("x", 100, &[], &[], false);
    }

    #[test]
    fn what_was_taken_back_is_a_leak_after_a_second() {
        let tokens: &[(u64, &[&str])] = &[(0, &["x", "y"]), (5_000, &["y"])];
        check("x", 6_000, tokens, &[], true);
        check("x", 6_001, tokens, &[], false);
        check("y", 60_000, tokens, &[], true);
    }

    #[test]
    fn other_rules_count_after_a_while() {
        // By the second rule those of y read x, and those of x do not.
        check("x", 10_000, &[(0, &["y"])], &[4_000], true);
        check("x", 24_000, &[(0, &["x"])], &[4_000], true);
        check("x", 24_001, &[(0, &["x"])], &[4_000], false);
    }
    #[test]
    fn time_in_which_no_server_ran_does_not_count() {
        let mut checkers = Checkers::default();
        checkers.rules_changed(4_000, checkers.settings.with_next_access());
        checkers.time_passed(1_000_000);
        assert_eq!(checkers.rules_between(1_024_000).len(), 2);
        assert_eq!(checkers.rules_between(1_024_001).len(), 1);
    }
}
