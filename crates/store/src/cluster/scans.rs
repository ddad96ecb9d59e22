//! Which collections are to be gone through, and who waits for that.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

/// Collections that are to be gone through.
#[derive(Debug, Default)]
pub(super) struct Scans {
    all: Vec<String>,
    walks: Mutex<BTreeMap<String, Walks>>,
    pub(super) woken: Notify,
    /// How many walks have ended.
    ended: watch::Sender<u64>,
    /// When records of intents were first met as they are, by a hash of record and state.
    ages: Mutex<HashMap<u64, u64>>,
}

/// Walks through one collection. They are numbered: one that begins after a request serves it, and all requests before.
#[derive(Clone, Copy, Debug, Default)]
struct Walks {
    /// The last that was asked for.
    asked: u64,
    /// The last that was asked for because something is missing: until it is done, no position of the feed is safe.
    missing: u64,
    /// The last that is done.
    done: u64,
    /// The last that failed.
    failed: u64,
    /// When the last one ended, done or failed, counted in walks through any collection.
    turn: u64,
}

impl Scans {
    pub(super) fn new(all: Vec<String>) -> Self {
        Self { all, ..Self::default() }
    }

    /// Something may be missing in a collection.
    pub(super) fn request(&self, collection: String) {
        let mut walks = self.walks();
        let walks = walks.entry(collection).or_default();
        walks.asked += 1;
        walks.missing = walks.asked;
        self.woken.notify_one();
    }

    /// A collection is to be gone through, though nothing tells that something is missing. The number of the walk.
    pub(super) fn ask(&self, collection: &str) -> u64 {
        let mut walks = self.walks();
        let walks = walks.entry(collection.to_owned()).or_default();
        walks.asked += 1;
        self.woken.notify_one();
        walks.asked
    }

    pub(super) fn ask_all(&self) {
        for collection in &self.all {
            self.ask(collection);
        }
    }

    pub(super) fn request_all(&self) {
        for collection in &self.all {
            self.request(collection.clone());
        }
    }

    /// Waits for walks through collections that begin after this was called. Whether they are done; `false` when they fail, and `gives_up`.
    pub(super) async fn walk(&self, collections: impl Iterator<Item = &String>, gives_up: impl Fn() -> bool) -> bool {
        let mut ended = self.ended.subscribe();
        let asked: Vec<(&String, u64)> = collections.map(|collection| (collection, self.ask(collection))).collect();
        let walks_of = |collection: &str| self.walks().get(collection).copied().unwrap_or_default();
        let are_done = || asked.iter().all(|(collection, number)| walks_of(collection).done >= *number);
        let failed = |walks: Walks, number: u64| walks.failed >= number && walks.done < number;
        let has_failed = || asked.iter().any(|(collection, number)| failed(walks_of(collection), *number));
        // The sender lives as long as the scans.
        let _ = ended.wait_for(|_| are_done() || has_failed() && gives_up()).await;
        are_done()
    }

    /// Whether nothing is missing.
    pub(super) fn is_done(&self) -> bool {
        self.walks().values().all(|walks| walks.done >= walks.missing)
    }

    /// The next walk to begin: through the collection that had none for longest.
    pub(super) fn first(&self) -> Option<(String, u64)> {
        let walks = self.walks();
        let wanted = walks.iter().filter(|(_, walks)| walks.done < walks.asked);
        wanted.min_by_key(|(_, walks)| walks.turn).map(|(collection, walks)| (collection.clone(), walks.asked))
    }

    /// A walk has ended: done, or to be begun again after the others.
    pub(super) fn ended(&self, collection: &str, number: u64, done: bool) {
        let turn = self.ended.borrow().wrapping_add(1);
        if let Some(walks) = self.walks().get_mut(collection) {
            walks.turn = turn;
            if done {
                walks.done = number;
            } else {
                walks.failed = number;
            }
        }
        self.ended.send_replace(turn);
    }

    pub(super) fn ages(&self) -> MutexGuard<'_, HashMap<u64, u64>> {
        self.ages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn walks(&self) -> MutexGuard<'_, BTreeMap<String, Walks>> {
        self.walks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// A walk that was under way when somebody asked may have passed what he asks for.
    #[test]
    fn a_walk_serves_those_who_asked_before_it_began() {
        let (scans, names) = (Scans::default(), ["a".to_owned(), "b".to_owned()]);
        scans.request("a".to_owned());
        let (_, under_way) = scans.first().unwrap();
        let mut asked = Box::pin(scans.walk(names.iter(), || true));
        assert_eq!((&mut asked).now_or_never(), None);
        scans.ended("a", under_way, true);
        assert!(scans.is_done(), "nothing is missing");
        for name in ["b", "a"] {
            assert_eq!((&mut asked).now_or_never(), None);
            let (next, number) = scans.first().unwrap();
            assert_eq!(next, name, "the one that had no walk for longest");
            scans.ended(&next, number, true);
        }
        assert_eq!(asked.now_or_never(), Some(true));
        assert_eq!(scans.first(), None);
    }

    /// All walks together may take longer than the time between two rounds.
    #[test]
    fn a_round_that_is_due_makes_nothing_missing() {
        let scans = Scans::new(["a", "b"].map(str::to_owned).to_vec());
        scans.request_all();
        for rest in [1, 0] {
            assert!(!scans.is_done());
            let (next, number) = scans.first().unwrap();
            scans.ask_all();
            scans.ended(&next, number, true);
            assert_eq!(scans.is_done(), rest == 0);
        }
        assert!(scans.first().is_some(), "the round comes all the same");
    }

    /// A collection that cannot be gone through holds the others up no more than once.
    #[test]
    fn a_walk_that_failed_comes_after_the_others() {
        let (scans, names) = (Scans::default(), ["b".to_owned()]);
        scans.request("a".to_owned());
        let mut asked = Box::pin(scans.walk(names.iter(), || true));
        assert_eq!((&mut asked).now_or_never(), None);
        for (name, done) in [("a", false), ("b", true), ("a", false)] {
            let (next, number) = scans.first().unwrap();
            assert_eq!(next, name);
            scans.ended(&next, number, done);
        }
        assert_eq!(asked.now_or_never(), Some(true));
        assert!(!scans.is_done(), "something is missing in a");
    }

    /// Whoever needs a walk is not kept waiting by walks that fail, once he has waited for long enough.
    #[test]
    fn a_walk_that_fails_is_waited_for_so_long() {
        let (scans, names) = (Scans::default(), ["a".to_owned(), "b".to_owned()]);
        let is_late = std::cell::Cell::new(false);
        scans.request("a".to_owned());
        let (_, under_way) = scans.first().unwrap();
        let mut asked = Box::pin(scans.walk(names.iter(), || is_late.get()));
        assert_eq!((&mut asked).now_or_never(), None);
        is_late.set(true);
        scans.ended("a", under_way, false);
        assert_eq!((&mut asked).now_or_never(), None, "that one began before it was asked for");
        is_late.set(false);
        for (name, late, answer) in
            [("b", false, None), ("a", false, None), ("b", false, None), ("a", true, Some(false))]
        {
            let (next, number) = scans.first().unwrap();
            assert_eq!(next, name);
            is_late.set(late);
            scans.ended(&next, number, false);
            assert_eq!((&mut asked).now_or_never(), answer);
        }
    }
}
