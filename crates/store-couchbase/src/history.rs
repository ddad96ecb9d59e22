//! Which states of a bucket were told, and what a vbucket's failover log says about them: a fail-over takes back what its new active copy
//! never had.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tidelock_couchbase_dcp::Branch;
use tidelock_store::platform::Order;

/// Branches of one vbucket that are remembered until a log was seen.
const BRANCHES_MAX: usize = 4;

/// A place in the history of a vbucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) uuid: u64,
    pub(crate) seqno: u64,
}

/// What a log says of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// Everything up to it is there.
    Kept,
    /// Something before it was lost when the branch of this uuid began.
    Cut(u64),
    /// It is of another history: the bucket was flushed, or made anew.
    Unknown,
}

/// `log` is the newest branch first.
pub(crate) fn judge(log: &[Branch], place: Place) -> Verdict {
    if place.seqno == 0 {
        return Verdict::Kept;
    }
    let Some(at) = log.iter().position(|branch| branch.uuid == place.uuid) else { return Verdict::Unknown };
    match at.checked_sub(1).and_then(|at| log.get(at)) {
        Some(next) if next.seqno < place.seqno => Verdict::Cut(next.uuid),
        Some(_) | None => Verdict::Kept,
    }
}

/// The last places that reads and writes told of, by vbucket. What the feed told it knows itself.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<BTreeMap<u16, Vec<Place>>>);

impl Told {
    pub(crate) fn note(&self, vbucket: u16, order: Option<Order>) {
        let Some(Order { history: uuid, number: seqno }) = order else { return };
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let places = told.entry(vbucket).or_default();
        if let Some(place) = places.iter_mut().find(|place| place.uuid == uuid) {
            place.seqno = place.seqno.max(seqno);
            return;
        }
        if places.len() == BRANCHES_MAX {
            places.remove(0);
        }
        places.push(Place { uuid, seqno });
    }

    /// Takes the places that a log can judge; those of its newest branch stay, to be judged by the next one.
    pub(crate) fn take(&self, vbucket: u16, log: &[Branch]) -> Vec<Place> {
        let newest = log.first().map(|branch| branch.uuid);
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(places) = told.get_mut(&vbucket) else { return Vec::new() };
        let (kept, taken) = places.iter().partition(|place| Some(place.uuid) == newest);
        *places = kept;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: [Branch; 2] = [Branch { uuid: 2, seqno: 10 }, Branch { uuid: 1, seqno: 0 }];

    #[test]
    fn a_place_beyond_the_end_of_its_branch_was_cut() {
        for (uuid, seqno, verdict) in [
            (1, 10, Verdict::Kept),
            (1, 11, Verdict::Cut(2)),
            (2, 99, Verdict::Kept),
            (3, 1, Verdict::Unknown),
            (0, 0, Verdict::Kept),
        ] {
            assert_eq!(judge(&LOG, Place { uuid, seqno }), verdict, "{uuid} {seqno}");
        }
    }

    #[test]
    fn what_was_told_before_a_fail_over_is_judged_after_it() {
        let told = Told::default();
        for (history, number) in [(1, 11), (1, 9), (2, 12)] {
            told.note(7, Some(Order { history, number }));
        }
        assert_eq!(told.take(7, &LOG[1..]), [Place { uuid: 2, seqno: 12 }], "its branch began since");
        assert_eq!(told.take(7, &LOG), [Place { uuid: 1, seqno: 11 }]);
        assert_eq!(told.take(7, &LOG), []);
        assert_eq!(told.take(8, &LOG), []);
    }
}
