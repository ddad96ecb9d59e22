//! What may happen to a cluster.

use tidelock_core::ids::DocumentId;
use tidelock_server::TimeSource as _;
use tidelock_store::platform::PutIf;

use super::queue::Notice;
use super::slots::{Region, Slot};
use super::{Body, Cluster, Geode, HINT_MS, changed};

impl Geode {
    /// The primary of a bucket moves to another member.
    pub(crate) fn move_bucket(&mut self, now_ms: u64) {
        let at = usize::try_from(self.random.below(self.buckets.len() as u64)).unwrap_or(0);
        self.move_primary(at, now_ms, 0);
    }

    /// A member is gone: its buckets get other primaries, which takes `for_ms`.
    pub(crate) fn end_member(&mut self, now_ms: u64, for_ms: u64) {
        let member = usize::try_from(self.random.below(self.members.len() as u64)).unwrap_or(0);
        for at in 0..self.buckets.len() {
            if self.buckets.get(at).is_some_and(|bucket| bucket.primary == member) {
                self.move_primary(at, now_ms, for_ms);
            }
        }
    }

    fn move_primary(&mut self, at: usize, now_ms: u64, for_ms: u64) {
        let members = self.members.len();
        let Some(bucket) = self.buckets.get_mut(at) else { return };
        bucket.former = (bucket.primary, now_ms + HINT_MS);
        bucket.primary = (bucket.primary + 1) % members;
        bucket.moving_until_ms = now_ms + for_ms;
    }

    /// All members are gone and come back in `for_ms` with what is on their disks. Queues are on no disk.
    pub(super) fn restart_all(&mut self, now_ms: u64, for_ms: u64) {
        self.down_until_ms = now_ms + for_ms;
        self.torn.clear();
        self.queues.lose();
    }

    /// Whether nobody answers.
    pub(crate) fn is_down(&self, now_ms: u64) -> bool {
        now_ms < self.down_until_ms
    }

    /// All members go with the next put. What of it is on the disks is as for [`Cluster::crash_all`].
    pub(crate) fn doom(&mut self, for_ms: u64, spared: &'static [&'static str]) {
        self.doomed = Some((for_ms, spared));
    }

    /// Everything is gone, the records included.
    pub(crate) fn lose_disks(&mut self) {
        self.regions.values_mut().for_each(|region| *region = Region::default());
        self.torn.clear();
        self.queues.lose();
    }

    /// A put that was under way when all members went: its contents are on disk and its metas are not, or the reverse. Contents alone
    /// count as a foreign write, and are made again when the mutation comes again; several would be seen apart (decision 0010). So
    /// collections that are judged are spared that.
    pub(super) fn tear(&mut self, puts: &[PutIf], spared: &[&str], now_ms: u64) {
        if puts.iter().any(|put| self.pair(&put.id).token() != put.token) {
            return;
        }
        let is_spared = |put: &PutIf| spared.contains(&put.id.collection.as_str());
        let content = self.random.chance(500) && !puts.iter().any(is_spared);
        for put in puts {
            let after = changed(self.pair(&put.id), put);
            // Nobody is told: the queues are gone with the members.
            if content {
                self.write(&put.id, Some(after), None, now_ms);
            } else {
                self.write(&put.id, None, Some(put.meta.clone()), now_ms);
                self.halves.insert(put.id.clone());
            }
        }
        self.fault("geode-torn");
    }

    /// The members that hold the queues restarted.
    pub(crate) fn lose_queues(&mut self) {
        self.queues.lose();
    }

    /// A region is cleared: nobody is told of its entries. With `metas` the sibling region goes as well.
    pub(crate) fn clear(&mut self, name: &str, metas: bool) {
        let Some(region) = self.regions.get_mut(name) else { return };
        let torn = |key: &String| self.halves.contains(&DocumentId::new(name, key.as_str()));
        for (_, pair) in region.pairs.iter_mut().filter(|(key, _)| !torn(key)) {
            pair.content = Slot::default();
            if metas {
                pair.meta = Slot::default();
            }
        }
        self.queues.tell(&Notice::Lost(name.to_owned()));
    }

    /// `gfsh import data` stores a content: no event tells of it.
    pub(crate) fn import(&mut self, id: &DocumentId, content: Body, now_ms: u64) {
        if self.halves.contains(id) {
            return;
        }
        let tag = self.next_tag(id);
        let pair = self.pair_mut(id);
        pair.content.store(Some(content), tag, now_ms);
    }
}

impl Cluster<Geode> {
    /// All members are gone at once, and come back in `for_ms`. Of a put that was on its way a part may be on the disks: transactions
    /// promise no atomicity there. Documents apart from each other are left out: that is a mutation in part, as a foreign writer leaves
    /// it, until the mutation comes again (decision 0010), and no judge can tell it from one of ours.
    pub(crate) fn crash_all(&self, for_ms: u64, spared: &[&str]) {
        let now_ms = self.time.now_ms();
        let mut hall = self.hall();
        hall.settle(now_ms);
        hall.model.restart_all(now_ms, for_ms);
        let under_way: Vec<Vec<PutIf>> = hall.arriving.values().map(|(puts, _)| puts.clone()).collect();
        for puts in under_way {
            if hall.model.random.chance(300) {
                hall.model.tear(&puts, spared, now_ms);
            }
        }
        hall.wake();
    }
}
