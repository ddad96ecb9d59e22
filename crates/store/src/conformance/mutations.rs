//! Cases about mutations: exactly once, in order, and the conflict log.

use tidelock_core::ids::{ClientId, DocumentId, Incarnation, MutationId, Offset, Sequence, Version};
use tidelock_core::wire::{ConflictNote, DocumentState, ErrorCode, Outcome};

use super::{commit, conflict_on, mutation_of, note, put, strings, text, version_of, within, write};
use crate::changelog::Changelog;
use crate::store::{ClientRecord, Commit, CommitOutcome, ConflictQuery, Recorded, Store};

const INCARNATION: Incarnation = Incarnation(1);

fn client(number: u8) -> ClientId {
    ClientId([number; 16])
}

async fn finished<S: Store>(store: &S, number: u8) -> Sequence {
    store.client(client(number), INCARNATION).await.unwrap().finished
}

pub(super) async fn a_repetition_changes_nothing<S: Store + Changelog>(store: &S) {
    let state = DocumentState { id: note("a"), version: version_of(b"1"), body: Some(b"1".to_vec()) };
    let outcome = Outcome::Merged(vec![state], vec![conflict_on(note("a"))]);
    let first = Commit { outcome: outcome.clone(), ..mutation_of(1, 1, vec![put(note("a"), Version::ABSENT, "1")]) };
    let offset = commit(store, first.clone()).await;
    write(store, vec![put(note("a"), version_of(b"1"), "2")]).await;
    let recorded = Recorded { sequence: Sequence(1), offset, outcome };
    // Also when it comes with other content, and when its condition holds.
    let other = mutation_of(1, 1, vec![put(note("a"), version_of(b"2"), "3")]);
    for repeated in [first, other] {
        let head = store.head();
        let outcome = store.commit(repeated).await.unwrap();
        assert_eq!(outcome, CommitOutcome::Repeated(Some(recorded.clone())));
        assert_eq!(store.head(), head);
    }
    assert_eq!(text(store, &note("a")).await.as_deref(), Some("2"));
    assert_eq!(finished(store, 1).await, Sequence(1));
    let zero = mutation_of(1, 0, vec![put(note("z"), Version::ABSENT, "1")]);
    assert_eq!(store.commit(zero).await.unwrap(), CommitOutcome::Repeated(None));
}

pub(super) async fn a_gap_is_out_of_order<S: Store + Changelog>(store: &S) {
    let second = mutation_of(1, 2, vec![put(note("a"), Version::ABSENT, "1")]);
    assert_eq!(store.commit(second.clone()).await.unwrap(), CommitOutcome::OutOfOrder(Sequence(0)));
    assert_eq!(text(store, &note("a")).await, None);
    commit(store, mutation_of(1, 1, Vec::new())).await;
    commit(store, second).await;
    let fourth = mutation_of(1, 4, Vec::new());
    assert_eq!(store.commit(fourth).await.unwrap(), CommitOutcome::OutOfOrder(Sequence(2)));
    // A mutation that does not hold does not finish.
    let third = mutation_of(1, 3, vec![put(note("a"), Version::ABSENT, "x")]);
    assert_eq!(store.commit(third).await.unwrap(), CommitOutcome::Mismatch(vec![note("a")]));
    assert_eq!(finished(store, 1).await, Sequence(2));
    commit(store, mutation_of(1, 3, vec![put(note("a"), version_of(b"1"), "2")])).await;
    assert_eq!(finished(store, 1).await, Sequence(3));
}

/// A store that was set back, and a client that has forgotten what the store lacks.
pub(super) async fn an_acknowledged_gap_is_jumped_over<S: Store + Changelog>(store: &S) {
    commit(store, mutation_of(1, 1, Vec::new())).await;
    let told = |sequence: u64, acknowledged: u64| Commit {
        jumps: sequence == 5 && acknowledged == 4,
        acknowledged: Sequence(acknowledged),
        ..mutation_of(1, sequence, vec![put(note(&sequence.to_string()), Version::ABSENT, "1")])
    };
    for out_of_order in [told(6, 5), told(5, 5)] {
        assert_eq!(store.commit(out_of_order).await.unwrap(), CommitOutcome::OutOfOrder(Sequence(1)));
    }
    commit(store, told(5, 4)).await;
    assert_eq!(finished(store, 1).await, Sequence(5));
    assert_eq!(store.commit(told(4, 3)).await.unwrap(), CommitOutcome::Repeated(None));
    commit(store, told(6, 4)).await;
    let kept = store.outcomes(client(1), INCARNATION, Sequence(0)).await.unwrap();
    assert_eq!(kept.iter().map(|recorded| recorded.sequence.0).collect::<Vec<_>>(), [5, 6]);
}

pub(super) async fn acknowledged_outcomes_are_forgotten<S: Store + Changelog>(store: &S) {
    for sequence in 1..=4 {
        commit(store, mutation_of(1, sequence, Vec::new())).await;
    }
    commit(store, mutation_of(2, 1, Vec::new())).await;
    let fifth = Commit { acknowledged: Sequence(3), ..mutation_of(1, 5, Vec::new()) };
    commit(store, fifth).await;
    let kept = store.outcomes(client(1), INCARNATION, Sequence(0)).await.unwrap();
    assert_eq!(kept.iter().map(|recorded| recorded.sequence.0).collect::<Vec<_>>(), [4, 5]);
    assert_eq!(store.commit(mutation_of(1, 2, Vec::new())).await.unwrap(), CommitOutcome::Repeated(None));
    let repeated = store.commit(mutation_of(1, 4, Vec::new())).await.unwrap();
    assert!(matches!(repeated, CommitOutcome::Repeated(Some(recorded)) if recorded.sequence == Sequence(4)));
    assert_eq!(store.outcomes(client(2), INCARNATION, Sequence(0)).await.unwrap().len(), 1);
    // A client cannot make the store forget what is not finished.
    let sixth = Commit { acknowledged: Sequence(u64::MAX), ..mutation_of(1, 6, Vec::new()) };
    commit(store, sixth).await;
    assert_eq!(finished(store, 1).await, Sequence(6));
    commit(store, mutation_of(1, 7, Vec::new())).await;
}

pub(super) async fn a_rejected_mutation_advances_the_record<S: Store + Changelog>(store: &S) {
    let head = write(store, vec![put(note("a"), Version::ABSENT, "1")]).await;
    let outcome = Outcome::Rejected(ErrorCode::SchemaViolation, "title: expected a string".into(), Vec::new());
    let rejected = Commit { outcome: outcome.clone(), ..mutation_of(1, 1, Vec::new()) };
    assert_eq!(commit(store, rejected.clone()).await, head);
    assert_eq!(store.head(), head);
    assert_eq!(finished(store, 1).await, Sequence(1));
    let recorded = Recorded { sequence: Sequence(1), offset: head, outcome };
    assert_eq!(store.commit(rejected).await.unwrap(), CommitOutcome::Repeated(Some(recorded)));
}

pub(super) async fn incarnations_are_separate<S: Store + Changelog>(store: &S) {
    commit(store, mutation_of(1, 1, Vec::new())).await;
    commit(store, mutation_of(1, 2, Vec::new())).await;
    let other = MutationId { client: client(1), incarnation: Incarnation(u64::MAX), sequence: Sequence(1) };
    let first = Commit { mutation: Some(other), ..mutation_of(1, 1, vec![put(note("a"), Version::ABSENT, "1")]) };
    commit(store, first).await;
    assert_eq!(finished(store, 1).await, Sequence(2));
    let record = store.client(client(1), Incarnation(u64::MAX)).await.unwrap();
    assert_eq!(record.finished, Sequence(1));
    assert_eq!(store.client(client(1), Incarnation(3)).await.unwrap(), ClientRecord::default());
    assert_eq!(finished(store, 2).await, Sequence(0));
}

pub(super) async fn outcomes_are_listed<S: Store + Changelog>(store: &S) {
    let mut offsets = Vec::new();
    for sequence in 1..=3 {
        let key = format!("k{sequence}");
        let writes = vec![put(note(&key), Version::ABSENT, "1")];
        let resolve = Commit { outcome: Outcome::Resolve(Vec::new()), ..mutation_of(1, sequence, writes) };
        offsets.push(commit(store, resolve).await);
    }
    let listed = store.outcomes(client(1), INCARNATION, Sequence(1)).await.unwrap();
    let expected = [(2, offsets[1]), (3, offsets[2])].map(|(sequence, offset)| Recorded {
        sequence: Sequence(sequence),
        offset,
        outcome: Outcome::Resolve(Vec::new()),
    });
    assert_eq!(listed, expected);
    assert_eq!(store.outcomes(client(1), INCARNATION, Sequence(u64::MAX)).await.unwrap(), []);
    assert!(offsets.iter().all(|offset| *offset > Offset(0)));
}

pub(super) async fn conflicts_are_logged_and_paged<S: Store + Changelog>(store: &S) {
    for sequence in 1..=5_u64 {
        let id = note(if sequence % 2 == 0 { "even" } else { "odd" });
        let expected = if sequence < 3 { Version::ABSENT } else { version_of((sequence - 2).to_string().as_bytes()) };
        let writes = vec![within(put(id.clone(), expected, &sequence.to_string()), &["list:1"])];
        let conflicts = vec![conflict_on(id)];
        commit(store, Commit { conflicts, now_ms: sequence, ..mutation_of(1, sequence, writes) }).await;
    }
    // One that writes nothing takes the channels of the document as it is; a refused or repeated one logs nothing.
    let conflicts = vec![conflict_on(note("odd"))];
    commit(store, Commit { conflicts: conflicts.clone(), ..mutation_of(1, 6, Vec::new()) }).await;
    let repeated = Commit { conflicts: conflicts.clone(), ..mutation_of(1, 6, Vec::new()) };
    assert!(matches!(store.commit(repeated).await.unwrap(), CommitOutcome::Repeated(Some(_))));
    let refused = Commit { conflicts, ..mutation_of(1, 7, vec![put(note("odd"), Version(1), "x")]) };
    assert!(matches!(store.commit(refused).await.unwrap(), CommitOutcome::Mismatch(_)));

    let query = ConflictQuery { limit: 4, ..ConflictQuery::default() };
    let first = store.conflicts(&query).await.unwrap();
    let sequences = |page: &[crate::ConflictRecord]| {
        page.iter().map(|record| record.mutation.unwrap().sequence.0).collect::<Vec<_>>()
    };
    assert_eq!(sequences(&first), [6, 5, 4, 3]);
    let next = ConflictQuery { before: Some(first[3].number), ..query.clone() };
    assert_eq!(sequences(&store.conflicts(&next).await.unwrap()), [2, 1]);
    let odd = ConflictQuery { key: Some("odd".into()), collection: Some("notes".into()), ..query.clone() };
    assert_eq!(sequences(&store.conflicts(&odd).await.unwrap()), [6, 5, 3, 1]);
    let other = ConflictQuery { collection: Some("tasks".into()), ..query };
    assert_eq!(store.conflicts(&other).await.unwrap(), []);
    let record = &first[1];
    assert_eq!((record.at_ms, record.actor.as_str()), (5, "ann"));
    assert_eq!(record.note, conflict_on(note("odd")));
    assert!(first.iter().all(|record| record.channels == ["list:1"]));
}

/// What a conflict discards may be of the former state of its document or of the one after it.
pub(super) async fn a_conflict_is_read_by_who_could_read_both_states<S: Store + Changelog>(store: &S) {
    let id = note("moved");
    let move_to = |sequence: u64, from: &str, text: &str, channels: &[&str]| {
        let expected = if from.is_empty() { Version::ABSENT } else { version_of(from.as_bytes()) };
        let writes = vec![within(put(id.clone(), expected, text), channels)];
        Commit { conflicts: vec![conflict_on(id.clone())], now_ms: sequence, ..mutation_of(1, sequence, writes) }
    };
    commit(store, move_to(1, "", "1", &["hr"])).await;
    commit(store, move_to(2, "1", "2", &["public", "staff"])).await;
    commit(store, move_to(3, "2", "3", &["staff", "hr"])).await;
    let page = store.conflicts(&ConflictQuery { limit: 10, ..ConflictQuery::default() }).await.unwrap();
    let channels: Vec<_> = page.iter().map(|record| record.channels.clone()).collect();
    assert_eq!(channels, [strings(&["staff"]), Vec::new(), strings(&["hr"])]);
}

pub(super) async fn conflicts_of_one_moment_are_all_paged<S: Store + Changelog>(store: &S) {
    let ids: Vec<_> = (0..200).map(|at| note(&format!("at-once-{at:03}"))).collect();
    let on = |id: &DocumentId, at: usize| ConflictNote { path: vec![at.to_string()], ..conflict_on(id.clone()) };
    let writes = ids.iter().map(|id| put(id.clone(), Version::ABSENT, "1")).collect();
    // One document has more of them than the others together.
    let mut conflicts: Vec<_> = ids.iter().map(|id| on(id, 0)).collect();
    conflicts.extend((1..1_500).map(|at| on(&ids[0], at)));
    commit(store, Commit { conflicts: conflicts.clone(), ..mutation_of(1, 1, writes) }).await;
    let mut query = ConflictQuery { limit: 7, ..ConflictQuery::default() };
    let mut listed = Vec::new();
    loop {
        let page = store.conflicts(&query).await.unwrap();
        query.before = page.last().map(|record| record.number);
        let is_last = page.len() < query.limit;
        listed.extend(page.into_iter().map(|record| record.note));
        if is_last {
            break;
        }
    }
    let sorted = |notes: Vec<ConflictNote>| {
        let mut names: Vec<_> = notes.into_iter().map(|note| (note.id.key, note.path)).collect();
        names.sort();
        names
    };
    assert_eq!(sorted(listed), sorted(conflicts));
}
