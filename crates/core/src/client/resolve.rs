//! Conflicts that the application's resolver decides.

use super::state::Unresolved;
use super::storage::Row;
use super::task::Next;
use super::work::{Desk, same_content};
use super::{Client, Event};
use crate::ids::DocumentId;
use crate::prelude::*;
use crate::version;

/// The task that applies the resolver's answer: the row takes the outcome; its transaction is marked in the
/// outboxes since the conflict came, and is pushed on top of theirs.
#[derive(Debug)]
pub(super) struct Resolve {
    pub(super) id: DocumentId,
    /// JSON text, `None` to delete.
    pub(super) value: Option<Vec<u8>>,
}

impl Resolve {
    pub(super) fn step(&mut self, client: &Client, desk: &mut Desk) -> Next {
        let page = client.directory.page_of(&self.id.collection, &self.id.key);
        if !desk.pages.has(&page) {
            return Next::Read(desk.want([page], [self.id.clone()]));
        }
        let Some(entry) = client.unresolved.get(&self.id) else { return Next::Done };
        if let Some(Err(error)) = self.value.as_deref().map(version::of_body) {
            let message = format!("the resolver's answer for {} is no document: {error}", self.id);
            desk.after.events.push(Event::Problem { code: "resolver-invalid", message, retryable: false });
            return Next::Done;
        }
        let row = match desk.row(&self.id) {
            Row::Absent => None,
            Row::Json(json) if version::of_body(json).is_ok() => Some(json.as_slice()),
            // It cannot be synced: the transaction is taken back when it is formed. Asking about it would never end.
            Row::Json(_) | Row::Unsupported(_) => entry.mine.as_deref(),
        };
        if !same_content(row, entry.mine.as_deref()) {
            // The user went on editing: the answer was to another question.
            let mine = row.map(<[u8]>::to_vec);
            desk.add_unresolved(client, Unresolved { mine, ..entry.clone() });
            return Next::Done;
        }
        if !same_content(row, self.value.as_deref()) {
            desk.write_row(&self.id, self.value.clone());
        }
        desk.remove_unresolved(client, &self.id);
        Next::Done
    }
}

impl Client {
    /// Asks the resolver for every conflict that it was not asked for yet.
    pub(super) fn ask_resolver(&mut self) {
        let unresolved = &self.unresolved;
        self.asked.retain(|id, _| unresolved.contains_key(id));
        if !self.config.resolver {
            return;
        }
        let open: Vec<_> =
            self.unresolved.values().filter(|entry| !self.asked.contains_key(&entry.id)).cloned().collect();
        for entry in open {
            self.rounds += 1;
            self.asked.insert(entry.id.clone(), self.rounds);
            self.event(Event::Resolve {
                id: entry.id,
                round: self.rounds,
                base: entry.base,
                mine: entry.mine,
                theirs: entry.theirs,
            });
        }
    }
}
