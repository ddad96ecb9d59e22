//! Cases for stores that keep their data.

use tidelock_core::ids::{ClientId, Incarnation, Offset, Sequence, Version};

use super::{
    all_changes, all_documents, commit, conflict_on, delete, everything, mutation_of, note, put, text, version_of,
    within, write,
};
use crate::changelog::Changelog;
use crate::store::{Commit, CommitOutcome, ConflictQuery, Store};

/// Fills a store, reopens it twice, and expects everything to be as it was and work to go on.
pub async fn run_reopen<S: Store + Changelog>(make: impl Fn() -> S, reopen: impl Fn(S) -> S) {
    eprintln!("conformance: reopening_keeps_everything");
    let mut store = make();
    let first = vec![within(put(note("a"), Version::ABSENT, "1"), &["list:1"]), put(note("b"), Version::ABSENT, "2")];
    let conflicts = vec![conflict_on(note("a"))];
    commit(&store, Commit { conflicts, ..mutation_of(1, 1, first.clone()) }).await;
    commit(&store, mutation_of(1, 2, vec![within(put(note("a"), version_of(b"1"), "3"), &["list:2"])])).await;
    write(&store, vec![delete(note("b"), version_of(b"2"), &[])]).await;
    let query = ConflictQuery { limit: 10, ..ConflictQuery::default() };
    for round in 0..2 {
        let (epoch, id, head) = (store.epoch(), store.id(), store.head());
        let changes = all_changes(&store, Offset(0), &everything(), 1).await;
        let documents = all_documents(&store, &everything(), 1).await;
        let log = store.conflicts(&query).await.unwrap();
        let outcomes = store.outcomes(ClientId([1; 16]), Incarnation(1), Sequence(0)).await.unwrap();
        store = reopen(store);
        assert_eq!((store.epoch(), store.id(), store.head(), store.floor()), (epoch, id, head, Offset(0)));
        assert_eq!(all_changes(&store, Offset(0), &everything(), 1).await, changes);
        assert_eq!(all_documents(&store, &everything(), 1).await, documents);
        assert_eq!(store.conflicts(&query).await.unwrap(), log);
        assert_eq!(store.outcomes(ClientId([1; 16]), Incarnation(1), Sequence(0)).await.unwrap(), outcomes);
        assert_eq!((changes.0.len(), log.len(), outcomes.len()), (2, 1 + round, 2 + round));
        let repeated = store.commit(mutation_of(1, 1, first.clone())).await.unwrap();
        assert!(matches!(repeated, CommitOutcome::Repeated(Some(_))));
        let writes = vec![put(note("a"), version_of((3 + round).to_string().as_bytes()), &(4 + round).to_string())];
        let conflicts = vec![conflict_on(note("a"))];
        let offset = commit(&store, Commit { conflicts, ..mutation_of(1, 3 + round as u64, writes) }).await;
        assert_eq!(offset, Offset(head.0 + 1));
        let numbers = store.conflicts(&query).await.unwrap();
        assert!(numbers.is_sorted_by(|later, earlier| later.number > earlier.number));
    }
    assert_eq!(text(&store, &note("a")).await.as_deref(), Some("5"));
}
