//! Cases with many futures at once.

use std::collections::BTreeMap;

use futures_util::future::{join, join_all};
use tidelock_core::ids::{DocumentId, Offset, Version};
use tokio::sync::broadcast::error::TryRecvError;

use super::{
    all_changes, all_documents, apply, commit_of, delete, everything, keys_of, mutation_of, note, put, read, text,
    version_of, write, yield_once,
};
use crate::changelog::Changelog;
use crate::store::{CommitOutcome, Store};

pub(super) async fn increments_are_never_lost<S: Store + Changelog>(store: &S) {
    const TASKS: usize = 16;
    const INCREMENTS: usize = 20;
    write(store, vec![put(note("n"), Version::ABSENT, "0")]).await;
    let task = || async {
        let mut done = 0;
        while done < INCREMENTS {
            let current = read(store, &note("n")).await.unwrap();
            yield_once().await;
            let number: usize = std::str::from_utf8(&current.body).unwrap().parse().unwrap();
            let increment = put(note("n"), current.version, &(number + 1).to_string());
            match store.commit(commit_of(vec![increment])).await.unwrap() {
                CommitOutcome::Committed(_) => done += 1,
                CommitOutcome::Mismatch(_) => {}
                other @ (CommitOutcome::Repeated(_) | CommitOutcome::OutOfOrder(_)) => panic!("{other:?}"),
            }
        }
    };
    join_all((0..TASKS).map(|_| task())).await;
    assert_eq!(text(store, &note("n")).await, Some((TASKS * INCREMENTS).to_string()));
    assert_eq!(store.head(), Offset((TASKS * INCREMENTS) as u64 + 1));
}

pub(super) async fn a_commit_is_readable_when_it_resolves<S: Store + Changelog>(store: &S) {
    let task = |name: usize| async move {
        for n in 0..20 {
            let id = note(&format!("{name}-{n}"));
            let offset = write(store, vec![put(id.clone(), Version::ABSENT, "x")]).await;
            assert!(store.head() >= offset);
            assert!(read(store, &id).await.is_some(), "{id} is not readable");
            let page = store.changes(Offset(offset.0 - 1), &everything(), 1).await.unwrap();
            assert!(page.to >= offset);
            assert_eq!(keys_of(&page.records)[0], id.key);
        }
    };
    join_all((0..8).map(task)).await;
}

/// Every mutation of several clients is sent twice at once: one commits, the other is a repetition.
pub(super) async fn mutations_sent_twice_at_once_commit_once<S: Store + Changelog>(store: &S) {
    const CLIENTS: u8 = 8;
    const MUTATIONS: u64 = 30;
    let client = |client: u8| async move {
        for sequence in 1..=MUTATIONS {
            let own = put(note(&format!("{client}-{sequence}")), Version::ABSENT, "x");
            let send = || store.commit(mutation_of(client, sequence, vec![own.clone()]));
            let outcomes = join(send(), send()).await;
            let ((CommitOutcome::Committed(offset), CommitOutcome::Repeated(Some(recorded)))
            | (CommitOutcome::Repeated(Some(recorded)), CommitOutcome::Committed(offset))) =
                (outcomes.0.unwrap(), outcomes.1.unwrap())
            else {
                panic!("mutation {client}:{sequence} did not commit exactly once");
            };
            assert_eq!(recorded.offset, offset);
        }
    };
    join_all((1..=CLIENTS).map(client)).await;
    let (records, _) = all_changes(store, Offset(0), &everything(), 1 << 20).await;
    assert_eq!(records.len() as u64, u64::from(CLIENTS) * MUTATIONS);
    assert_eq!(store.head().0, u64::from(CLIENTS) * MUTATIONS);
}

/// Documents that are never written during the snapshot are in it exactly once, whatever is written beside them; with the changes
/// that follow, a reader holds what the store holds.
pub(super) async fn a_snapshot_is_whole_while_commits_run<S: Store + Changelog>(store: &S) {
    let stable = |n: u32| DocumentId::new("notes", format!("s{n:03}"));
    let writes = (0..100).map(|n| put(stable(n), Version::ABSENT, "\"stable\"")).collect();
    write(store, writes).await;
    let begin = store.head();
    let writing = async {
        for n in 0..60_u32 {
            let id = note(&format!("s{:03}-x", n * 7 % 100));
            write(store, vec![put(id.clone(), Version::ABSENT, "1")]).await;
            if n % 3 == 0 {
                write(store, vec![delete(id, version_of(b"1"), &[])]).await;
            }
        }
    };
    let reading = async {
        let mut seen = Vec::new();
        for _ in 0..4 {
            let records = all_documents(store, &everything(), 300).await;
            let stable_seen = records.iter().filter(|record| !record.id.key.ends_with('x')).count();
            assert_eq!(stable_seen, 100);
            seen = records;
            yield_once().await;
        }
        seen
    };
    let (seen, ()) = join(reading, writing).await;
    let mut state = BTreeMap::new();
    apply(&mut state, seen);
    apply(&mut state, all_changes(store, begin, &everything(), 500).await.0);
    let mut held = BTreeMap::new();
    apply(&mut held, all_documents(store, &everything(), 1 << 20).await);
    assert_eq!(state, held);
}

pub(super) async fn changes_and_segments_tell_the_same_story<S: Store + Changelog>(store: &S) {
    let mut segments = store.subscribe();
    let task = |name: usize| async move {
        for n in 0..15 {
            // Every task writes a document of its own, and one that they share whatever its version.
            let own = put(note(&format!("own-{name}-{n}")), Version::ABSENT, &format!("{name}-{n}"));
            let shared = read(store, &note("shared")).await.map_or(Version::ABSENT, |document| document.version);
            let writes = vec![own, put(note("shared"), shared, &format!("{name}-{n}"))];
            let outcome = store.commit(commit_of(writes)).await.unwrap();
            assert!(matches!(outcome, CommitOutcome::Committed(_) | CommitOutcome::Mismatch(_)), "{outcome:?}");
        }
    };
    join_all((0..6).map(task)).await;
    let mut cursor = Offset(0);
    let mut from_segments = BTreeMap::new();
    loop {
        match segments.try_recv() {
            Ok(segment) => {
                assert_eq!(segment.from, cursor, "a gap between segments");
                assert!(segment.records.is_sorted_by_key(|record| record.offset));
                cursor = segment.to;
                apply(&mut from_segments, segment.records.iter().map(|record| (**record).clone()));
            }
            // A store may publish after it answers; wait for the rest.
            Err(TryRecvError::Empty) if cursor < store.head() => yield_once().await,
            Err(TryRecvError::Empty) => break,
            Err(error @ (TryRecvError::Closed | TryRecvError::Lagged(_))) => panic!("{error}"),
        }
    }
    let (records, to) = all_changes(store, Offset(0), &everything(), 200).await;
    assert_eq!(to, cursor);
    let mut from_pages = BTreeMap::new();
    apply(&mut from_pages, records);
    assert_eq!(from_segments, from_pages);
    // The shared document and the own one of the same mutation are of one offset.
    let shared = text(store, &note("shared")).await.unwrap();
    let own = note(&format!("own-{}", shared.trim_matches('"')));
    assert!(from_pages.contains_key(&own), "a torn mutation");
}
