//! Faults that set something back: the store to an earlier copy, a client to an earlier state of its profile or to nothing.
//!
//! A world has one kind of them: what both sides have lost, nobody has.

use std::sync::Arc;

use tidelock_core::ids::{Epoch, History};
use tidelock_store::{ConflictQuery, MemoryCopy, MemoryStore, Store};

use crate::check::tokens_of;
use crate::database::ModelDatabase;
use crate::node::ready;
use crate::random::Random;
use crate::world::{HostId, World};

/// What is set back in a world.
#[derive(Debug)]
pub(crate) enum Setbacks {
    /// Nothing.
    None,
    /// The store, to one of the copies made of it; whether it was.
    Store(Vec<MemoryCopy>, bool),
    /// Clients, to copies of their profiles.
    Profiles(Vec<(usize, ModelDatabase)>),
}

impl Setbacks {
    pub(crate) fn draw(random: &mut Random) -> Self {
        match random.below(4) {
            0 => Self::Store(Vec::new(), false),
            1 => Self::Profiles(Vec::new()),
            _ => Self::None,
        }
    }

    /// Whether the store was set back.
    pub(crate) fn happened(&self) -> bool {
        matches!(self, Self::Store(_, true))
    }
}

impl World {
    /// Name of what the next such fault does.
    pub(crate) fn setback_due(&self) -> &'static str {
        match self.setbacks {
            Setbacks::None => "no-setback",
            Setbacks::Store(..) => "store-set-back",
            Setbacks::Profiles(_) => "profile-set-back",
        }
    }

    pub(crate) fn set_back(&mut self, replica: usize) {
        let restores = self.random.chance(500);
        let random = self.random.any();
        match &mut self.setbacks {
            Setbacks::None => {}
            Setbacks::Store(copies, happened) if restores && !copies.is_empty() => {
                let at = usize::try_from(random % copies.len() as u64).unwrap_or(0);
                *happened = true;
                // Later copies are of a history that is gone.
                copies.truncate(at + 1);
                let copy = copies.last().cloned().unwrap_or_default();
                self.restore_store(copy);
            }
            Setbacks::Store(copies, _) => copies.push(self.store.copy()),
            Setbacks::Profiles(copies) => {
                let copied = copies.iter().position(|(of, _)| *of == replica);
                match copied {
                    Some(at) if restores => {
                        let (_, copy) = copies.swap_remove(at);
                        self.restore_profile(replica, copy);
                    }
                    _ => {
                        let copy = self.replicas.get(replica).map(|replica| replica.database.backup());
                        copies.extend(copy.map(|copy| (replica, copy)));
                    }
                }
            }
        }
    }

    /// A backup is restored, as another epoch; or the file of an earlier day is copied back, and nobody knows.
    fn restore_store(&mut self, copy: MemoryCopy) {
        let epoch = if self.random.chance(500) { Epoch(self.random.any()) } else { self.store.epoch() };
        let (changelog, history) = (tidelock_store::Changelog::id(&*self.store), History(self.random.any()));
        self.store = Arc::new(MemoryStore::open(copy, epoch, changelog, history));
        for index in 0..self.nodes.len() {
            self.restart_node(index);
        }
    }

    /// The browser ends; its profile is that of an earlier day, or there is none any more.
    fn restore_profile(&mut self, replica: usize, copy: ModelDatabase) {
        let ids: Vec<HostId> =
            self.hosts.iter().filter(|(_, seat)| seat.replica == replica).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.end_host(id));
        let wiped = self.random.chance(400);
        if let Some(target) = self.replicas.get_mut(replica) {
            target.database = if wiped { ModelDatabase::new() } else { copy };
        }
        self.ledger.excuse(replica);
        self.start_host(replica);
    }

    /// Whether the conflict log holds a value of a transaction.
    pub(crate) fn is_set_aside(&self, token: &str) -> bool {
        let query = ConflictQuery { limit: usize::MAX, ..ConflictQuery::default() };
        let log = ready(self.store.conflicts(&query)).expect("the memory store answers");
        log.iter().filter_map(|entry| entry.note.mine.as_deref()).any(|mine| {
            let list: Vec<String> = serde_json::from_slice(mine).unwrap_or_default();
            tokens_of(mine).into_iter().chain(list).any(|found| found == token)
        })
    }
}
