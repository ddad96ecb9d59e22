//! Faults that set something back: the store to an earlier copy, a client to an earlier state of its profile or to nothing.
//!
//! A world has one kind of them: what both sides have lost, nobody has.

use std::collections::BTreeMap;

use crate::database::ModelDatabase;
use crate::random::Random;
use crate::world::World;

/// Of a thousand worlds, how many have a store that is set back, and how many have profiles that are.
const STORE_PER_MILLE: u64 = 100;
const PROFILES_PER_MILLE: u64 = 150;

/// What is set back in a world.
#[derive(Debug)]
pub(crate) enum Setbacks {
    /// Nothing.
    None,
    /// The store, to copies that its site keeps.
    Store,
    /// Clients, to the copy of their profile that was made last.
    Profiles(BTreeMap<usize, ModelDatabase>),
}

impl Setbacks {
    pub(crate) fn draw(random: &mut Random) -> Self {
        match random.below(1_000) {
            drawn if drawn < STORE_PER_MILLE => Self::Store,
            drawn if drawn < STORE_PER_MILLE + PROFILES_PER_MILLE => Self::Profiles(BTreeMap::new()),
            _ => Self::None,
        }
    }
}

impl World {
    /// Something is copied, or what was copied takes the place of what there is. It is counted by its own name.
    pub(crate) fn set_back(&mut self, replica: usize) -> bool {
        let restores = self.random.chance(500);
        match &mut self.setbacks {
            Setbacks::None => {}
            Setbacks::Store if restores && self.site.restore(&mut self.random) => {
                self.checkers.store_set_back();
                (0..self.nodes.len()).for_each(|node| self.restart_node(node));
                self.struck("store-set-back", replica);
            }
            Setbacks::Store => self.site.copy(),
            Setbacks::Profiles(copies) => {
                if let Some(copy) = copies.remove(&replica).filter(|_| restores) {
                    self.restore_profile(replica, copy);
                } else {
                    let copy = self.replicas.get(replica).map(|replica| replica.database.backup());
                    // What is unsent in a copy becomes a mutation once more, which nothing tells from the one of before.
                    copies.extend(copy.filter(|copy| copy.unsent().0 == 0).map(|copy| (replica, copy)));
                }
            }
        }
        false
    }

    /// The browser ends; its profile is that of an earlier day, or there is none any more.
    fn restore_profile(&mut self, replica: usize, copy: ModelDatabase) {
        self.end_client(replica);
        let wiped = self.random.chance(400);
        self.next_id += 1;
        if let Some(target) = self.replicas.get_mut(replica) {
            target.database = if wiped { ModelDatabase::new() } else { copy };
            target.session = i64::try_from(self.next_id).unwrap_or_default();
            target.rejected_checked = 0;
        }
        self.ledger.excuse(replica);
        self.start_host(replica);
        self.struck(if wiped { "profile-wiped" } else { "profile-set-back" }, replica);
    }
}
