//! Whose changes a node publishes: a session is not sent its own again, so nothing else may pass for its own.

use std::sync::Arc;

use tidelock_core::ids::{SessionId, Version};
use tidelock_core::version;

use super::rig::{Push, Rig, Told, commit_of, counter, doc, increment, mutation};
use crate::store::{CommitOutcome, Store, Write};
use tidelock_core::wire::{DocumentChange, Operation};

/// The session of a client of this node.
const SESSION: SessionId = SessionId(9);

fn create(client: u8, key: &str) -> Push {
    let change =
        DocumentChange { id: doc(key), base: Version::ABSENT, operation: Operation::Put(counter(1)), whole: None };
    Push { id: mutation(client, 1), changes: vec![change] }
}

/// A write of a counter over another one.
fn count(key: &str, from: u64, to: u64) -> Write {
    let body = counter(to);
    Write {
        id: doc(key),
        expected: version::of_body(&counter(from)).unwrap(),
        change: None,
        version: version::of_body(&body).unwrap(),
        body: Some(Arc::from(body)),
        channels: Vec::new(),
        edited_ms: 1,
        trace: crate::store::Trace::None,
    }
}

#[test]
fn what_comes_with_a_commit_is_not_of_its_session() {
    for together in [false, true] {
        let mut rig = Rig::new(1, together);
        let (mut one, other) = (rig.idle_node(), rig.idle_node());
        for (client, key) in [(1, "a"), (2, "b")] {
            assert_eq!(rig.push(&one, &create(client, key)), Told::Done);
        }
        // Another node writes both; this one meets it when a client of its own writes one of them.
        assert_eq!(rig.push(&other, &increment(mutation(3, 1), &["a", "b"], 1)), Told::Done);
        one.history();
        let mut commit = commit_of(mutation(4, 1), 1);
        (commit.session, commit.writes) = (SESSION, vec![count("a", 1, 5)]);
        assert!(matches!(rig.run(one.store.commit(commit)).unwrap(), CommitOutcome::Mismatch(_)));
        let mut commit = commit_of(mutation(4, 1), 1);
        (commit.session, commit.writes) = (SESSION, vec![count("a", 2, 6)]);
        assert!(matches!(rig.run(one.store.commit(commit)).unwrap(), CommitOutcome::Committed(_)));
        let mut sessions = Vec::new();
        while let Ok(segment) = one.segments.try_recv() {
            sessions.extend(segment.records.iter().map(|record| (record.id.key.clone(), record.session)));
        }
        sessions.retain(|(key, _)| key == "a" || key == "b");
        let others = SessionId(0);
        assert_eq!(sessions, [("a".into(), others), ("b".into(), others), ("a".into(), SESSION)]);
    }
}
