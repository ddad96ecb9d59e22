//! Events that were told already: after a fail-over, a server repeats what was not acknowledged.

use std::collections::HashMap;

use bytes::Bytes;

use crate::wire::event_id::EventId;

/// How many threads of members are remembered. Beyond it, the half that was heard of longest ago is forgotten: its
/// events could then be told twice after a fail-over.
const THREADS_MAX: usize = 200_000;

/// The last sequence of each thread of each member.
#[derive(Debug, Default)]
pub(super) struct Duplicates {
    last: HashMap<(Bytes, i64), Seen>,
    clock: u64,
}

#[derive(Debug)]
struct Seen {
    sequence: i64,
    at: u64,
}

impl Duplicates {
    /// Whether an event is told for the first time; it counts as told from here on.
    pub(super) fn is_first(&mut self, id: &EventId) -> bool {
        self.clock += 1;
        let at = self.clock;
        if let Some(seen) = self.last.get_mut(&(id.member.clone(), id.thread)) {
            let is_first = id.sequence > seen.sequence;
            seen.at = at;
            seen.sequence = seen.sequence.max(id.sequence);
            return is_first;
        }
        if self.last.len() >= THREADS_MAX {
            let mut ages: Vec<u64> = self.last.values().map(|seen| seen.at).collect();
            let middle = ages.len() / 2;
            let (_, median, _) = ages.select_nth_unstable(middle);
            let median = *median;
            self.last.retain(|_, seen| seen.at > median);
        }
        self.last.insert((id.member.clone(), id.thread), Seen { sequence: id.sequence, at });
        true
    }

    /// A queue that begins anew repeats nothing.
    pub(super) fn forget(&mut self) {
        self.last.clear();
    }
}

/// The latest event of each thread: acknowledgements are cumulative.
pub(super) fn latest_of<'a>(ids: impl IntoIterator<Item = &'a EventId>) -> Vec<&'a EventId> {
    let mut latest: HashMap<(&Bytes, i64), &EventId> = HashMap::new();
    for id in ids {
        let place = latest.entry((&id.member, id.thread)).or_insert(id);
        if id.sequence > place.sequence {
            *place = id;
        }
    }
    latest.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(member: &'static str, thread: i64, sequence: i64) -> EventId {
        EventId { member: Bytes::from_static(member.as_bytes()), thread, sequence }
    }

    #[test]
    fn each_thread_counts_for_itself() {
        let mut duplicates = Duplicates::default();
        assert!(duplicates.is_first(&id("a", 1, 5)));
        assert!(!duplicates.is_first(&id("a", 1, 5)));
        assert!(!duplicates.is_first(&id("a", 1, 4)));
        assert!(duplicates.is_first(&id("a", 2, 4)));
        assert!(duplicates.is_first(&id("b", 1, 1)));
        assert!(duplicates.is_first(&id("a", 1, 6)));
        duplicates.forget();
        assert!(duplicates.is_first(&id("a", 1, 1)));
    }

    #[test]
    fn the_threads_that_are_remembered_are_bounded() {
        let mut duplicates = Duplicates::default();
        for thread in 0..i64::try_from(THREADS_MAX).unwrap() + 10 {
            assert!(duplicates.is_first(&id("a", thread, 1)));
        }
        assert!(duplicates.last.len() <= THREADS_MAX);
        assert!(!duplicates.is_first(&id("a", i64::try_from(THREADS_MAX).unwrap(), 1)));
    }

    #[test]
    fn the_latest_of_a_thread_stands_for_all() {
        let ids = [id("a", 1, 5), id("a", 1, 7), id("a", 1, 6), id("b", 1, 1)];
        let mut latest = latest_of(&ids);
        latest.sort_by_key(|id| id.sequence);
        assert_eq!(latest, [&ids[3], &ids[1]]);
    }
}
