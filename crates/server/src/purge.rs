//! Forgets deleted documents once they were remembered long enough.
//!
//! A tombstone says nothing about when it was committed, but offsets rise with time: the task notes where the head stands, and when, and
//! later forgets what lies at or below the latest note that is old enough. The notes are kept with the changelog, so that a server which
//! is often restarted forgets, too. A client whose cursor is below what was forgotten takes a snapshot.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tidelock_core::ids::Offset;
use tidelock_store::StoreError;

use crate::clock::Clock;
use crate::database::Database;
use crate::metrics::add;

/// The name of the notes.
const NOTE: &str = "purge";
/// Parts of the horizon between two notes: a tombstone is remembered for up to one of them longer than it has to be.
const PARTS: u32 = 16;
/// The shortest time between two notes.
const STEP_MIN: Duration = Duration::from_millis(50);
/// The longest: a server looks once an hour.
const STEP_MAX: Duration = Duration::from_secs(3_600);

/// Where the head stood, and when, by rising time.
#[derive(Debug, Default)]
struct Marks(VecDeque<(u64, Offset)>);

impl Marks {
    /// Reads notes; what cannot be read counts as nothing, which only forgets later.
    fn read(note: &[u8]) -> Self {
        let marks: Vec<(u64, u64)> = serde_json::from_slice(note).unwrap_or_default();
        Self(marks.into_iter().map(|(at_ms, offset)| (at_ms, Offset(offset))).collect())
    }

    fn write(&self) -> Vec<u8> {
        let marks: Vec<(u64, u64)> = self.0.iter().map(|(at_ms, offset)| (*at_ms, offset.0)).collect();
        serde_json::to_vec(&marks).unwrap_or_default()
    }

    /// Notes the head, and takes out what was the head at least `kept_ms` ago: the latest such offset.
    fn pass(&mut self, now_ms: u64, head: Offset, kept_ms: u64) -> Option<Offset> {
        // A clock that was set back must not make older notes wait for it.
        self.0.retain(|(at_ms, _)| *at_ms <= now_ms);
        let step_ms = kept_ms / u64::from(PARTS);
        if self.0.back().is_none_or(|(at_ms, offset)| *offset < head && now_ms - at_ms >= step_ms) {
            self.0.push_back((now_ms, head));
        }
        let mut reached = None;
        while let Some((at_ms, offset)) = self.0.front()
            && at_ms.saturating_add(kept_ms) <= now_ms
        {
            reached = Some(*offset);
            self.0.pop_front();
        }
        reached
    }
}

/// Forgets from time to time, for ever.
pub(crate) async fn run(database: Arc<Database>, clock: Clock) {
    let pause = (database.tombstones_kept / PARTS).clamp(STEP_MIN, STEP_MAX);
    let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    loop {
        if let Err(error) = step(&database, clock.now_ms()).await {
            tracing::error!(database = %database.name, %error, "deleted documents cannot be forgotten yet");
        }
        clock.sleep_until(clock.now_ms().saturating_add(pause_ms)).await;
    }
}

async fn step(database: &Database, now_ms: u64) -> Result<(), StoreError> {
    let changelog = &database.changelog;
    let mut marks = Marks::read(&changelog.recall(NOTE).await?.unwrap_or_default());
    let kept_ms = u64::try_from(database.tombstones_kept.as_millis()).unwrap_or(u64::MAX);
    let before = marks.write();
    let reached = marks.pass(now_ms, changelog.head(), kept_ms);
    if marks.write() != before {
        changelog.remember(NOTE, marks.write()).await?;
    }
    let Some(reached) = reached.filter(|reached| *reached > changelog.floor()) else { return Ok(()) };
    let purged = changelog.purge(reached).await?;
    add(&database.metrics.tombstones_purged, purged);
    tracing::info!(database = %database.name, floor = reached.0, purged, "deleted documents were forgotten");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_enough_is_reached_once() {
        let mut marks = Marks::default();
        assert_eq!(marks.pass(1_000, Offset(5), 100), None);
        assert_eq!(marks.pass(1_050, Offset(9), 100), None);
        assert_eq!(marks.pass(1_099, Offset(9), 100), None, "not old enough");
        let mut marks = Marks::read(&marks.write());
        assert_eq!(marks.pass(1_100, Offset(9), 100), Some(Offset(5)));
        assert_eq!(marks.pass(1_149, Offset(20), 100), None);
        assert_eq!(
            marks.pass(1_400, Offset(20), 100),
            Some(Offset(20)),
            "a long sleep reaches the latest that is old enough"
        );
        assert_eq!(marks.pass(1_500, Offset(21), 100), None);
        assert_eq!(marks.pass(1_501, Offset(22), 100), None);
        assert_eq!(marks.0.len(), 1, "notes have a distance");
    }

    #[test]
    fn a_clock_that_was_set_back_only_delays() {
        let mut marks = Marks::default();
        assert_eq!(marks.pass(5_000, Offset(5), 100), None);
        assert_eq!(marks.pass(1_000, Offset(6), 100), None);
        assert_eq!(marks.pass(1_100, Offset(6), 100), Some(Offset(6)));
        assert_eq!(Marks::read(b"garbage").0.len(), 0);
    }
}
