//! Conflicts that the application's resolver decides.

use super::task::Next;
use super::work::Desk;
use super::{Client, Event};
use crate::ids::DocumentId;
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
        let value = self.value.as_ref().and_then(|body| Some((version::of_body(body).ok()?, body.clone())));
        // What the user did since goes on top of the outcome, as it would on top of a change by the server.
        let confirmed = desk.pages.confirmed(&self.id).map(|(version, body)| (version, body.to_vec()));
        desk.settle(client, &self.id, entry.mine.as_deref(), value, true);
        desk.confirm(&self.id, confirmed);
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
