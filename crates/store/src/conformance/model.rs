//! Random operations against the memory store as the model.

use std::env;

use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use tidelock_core::ids::{ClientId, DocumentId, Incarnation, MutationId, Offset, Sequence, SessionId, Version};
use tidelock_core::wire::Outcome;

use super::symbols::check;
use super::{all_changes, all_documents, conflict_on, filter, json, version_of};
use crate::changelog::{Changelog, Filter};
use crate::memory::MemoryStore;
use crate::store::{BoxFuture, Commit, ConflictQuery, Store, Trace, Write};

/// Operations of one case.
const OPERATIONS_MAX: usize = 40;
/// Environment variable with the seed to repeat, as hexadecimal digits.
const SEED_VARIABLE: &str = "TIDELOCK_TEST_SEED";

/// One random operation.
#[derive(Clone, Debug)]
enum Operation {
    Commit {
        /// Client, incarnation, how far the sequence is from the next one.
        mutation: Option<(u8, u8, i8)>,
        writes: Vec<RandomWrite>,
        /// How far the acknowledgement is behind the sequence.
        acknowledged: Option<u8>,
        conflict: bool,
    },
    Changes {
        from: u8,
        filter: Filter,
        bytes_max: u16,
    },
    Snapshot {
        filter: Filter,
        bytes_max: u16,
    },
}

#[derive(Clone, Debug)]
struct RandomWrite {
    id: DocumentId,
    /// Whether it expects the version that is current, or another.
    expects_current: bool,
    body: Option<String>,
    channels: Vec<String>,
}

/// Runs `cases` random sequences of operations against a store of `make` and the memory store, and compares every answer. The seed
/// is printed; `TIDELOCK_TEST_SEED` repeats it. `block_on` drives a future to its end.
pub fn run_model<S: Store + Changelog>(make: impl Fn() -> S, block_on: impl Fn(BoxFuture<'_, ()>), cases: u32) {
    run_model_with(make, block_on, cases, true);
}

/// As [`run_model`], for a store whose conflict log is numbered otherwise than in the order of commits, because several nodes write it.
/// The commits discard nothing.
pub fn run_model_without_conflicts<S: Store + Changelog>(
    make: impl Fn() -> S,
    block_on: impl Fn(BoxFuture<'_, ()>),
    cases: u32,
) {
    run_model_with(make, block_on, cases, false);
}

fn run_model_with<S: Store + Changelog>(
    make: impl Fn() -> S,
    block_on: impl Fn(BoxFuture<'_, ()>),
    cases: u32,
    conflicts: bool,
) {
    let seed = seed();
    eprintln!("conformance: model, {SEED_VARIABLE}={}", seed.map(|byte| format!("{byte:02x}")).concat());
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let operations = proptest::collection::vec(operation(), 1..OPERATIONS_MAX);
    let outcome = runner.run(&operations, |operations| {
        let (store, model) = (make(), MemoryStore::default());
        block_on(Box::pin(compare(&store, &model, &operations, conflicts)));
        Ok::<_, TestCaseError>(())
    });
    if let Err(failure) = outcome {
        panic!("the store differs from the model: {failure}");
    }
}

fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    match env::var(SEED_VARIABLE) {
        Ok(text) => {
            assert_eq!(text.len(), 64, "{SEED_VARIABLE} has 64 hexadecimal digits");
            for (byte, at) in seed.iter_mut().zip((0..).step_by(2)) {
                *byte = u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits");
            }
        }
        Err(_) => getrandom::fill(&mut seed).expect("the system gives random numbers"),
    }
    seed
}

fn operation() -> impl Strategy<Value = Operation> {
    let mutation = proptest::option::weighted(0.8, (0..2_u8, 0..2_u8, prop_oneof![8 => Just(0_i8), 2 => -2..3_i8]));
    let commit =
        (mutation, proptest::collection::vec(random_write(), 0..4), proptest::option::of(0..3_u8), any::<bool>());
    let commit = commit.prop_map(|(mutation, mut writes, acknowledged, conflict)| {
        writes.sort_by(|a, b| a.id.cmp(&b.id));
        writes.dedup_by(|a, b| a.id == b.id);
        Operation::Commit { mutation, writes, acknowledged, conflict }
    });
    let changes = (any::<u8>(), random_filter(), 0..400_u16).prop_map(|(from, filter, bytes_max)| Operation::Changes {
        from,
        filter,
        bytes_max,
    });
    let snapshot =
        (random_filter(), 0..400_u16).prop_map(|(filter, bytes_max)| Operation::Snapshot { filter, bytes_max });
    prop_oneof![4 => commit, 1 => changes, 1 => snapshot]
}

fn random_write() -> impl Strategy<Value = RandomWrite> {
    let id = ("[ab]", "[a-dä日\u{10000}]").prop_map(|(collection, key)| DocumentId { collection, key });
    let current = prop_oneof![9 => Just(true), 1 => Just(false)];
    // Few short contents, so that some writes leave a document as it is.
    let content = prop_oneof!["[01]", "[0-9]{1,40}"];
    (id, current, proptest::option::weighted(0.8, content), random_channels())
        .prop_map(|(id, expects_current, body, channels)| RandomWrite { id, expects_current, body, channels })
}

fn random_channels() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::btree_set("[xyz]", 0..3).prop_map(|channels| channels.into_iter().collect())
}

fn random_filter() -> impl Strategy<Value = Filter> {
    let channels = || proptest::option::weighted(0.6, random_channels());
    proptest::collection::btree_map("[abc]", channels(), 0..3).prop_map(|collections| {
        let borrowed: Vec<(String, Option<Vec<String>>)> = collections.into_iter().collect();
        let names: Vec<Option<Vec<&str>>> = borrowed
            .iter()
            .map(|(_, names)| names.as_ref().map(|names| names.iter().map(String::as_str).collect()))
            .collect();
        let entries: Vec<(&str, Option<&[&str]>)> =
            borrowed.iter().zip(&names).map(|((name, _), names)| (name.as_str(), names.as_deref())).collect();
        filter(&entries)
    })
}

async fn compare<S: Store + Changelog>(store: &S, model: &MemoryStore, operations: &[Operation], conflicts: bool) {
    for operation in operations {
        match operation {
            Operation::Commit { mutation, writes, acknowledged, conflict } => {
                let commit = commit(model, *mutation, writes, *acknowledged, *conflict && conflicts).await;
                assert_eq!(store.commit(commit.clone()).await, model.commit(commit).await);
            }
            Operation::Changes { from, filter, bytes_max } => {
                let from = Offset(u64::from(*from) % (model.head().0 + 1));
                let bytes_max = usize::from(*bytes_max);
                let (records, to) = all_changes(store, from, filter, bytes_max).await;
                assert_eq!((records, to), all_changes(model, from, filter, bytes_max).await);
            }
            Operation::Snapshot { filter, bytes_max } => {
                let bytes_max = usize::from(*bytes_max);
                let records = all_documents(store, filter, bytes_max).await;
                assert_eq!(records, all_documents(model, filter, bytes_max).await);
                check(store, filter, 40).await;
                check(model, filter, 40).await;
            }
        }
    }
    compare_all(store, model).await;
}

/// Compares everything that can be read.
async fn compare_all<S: Store + Changelog>(store: &S, model: &MemoryStore) {
    assert_eq!((store.head(), store.floor()), (model.head(), model.floor()));
    let all = filter(&[("a", None), ("b", None)]);
    assert_eq!(all_changes(store, Offset(0), &all, 1).await, all_changes(model, Offset(0), &all, 1).await);
    assert_eq!(all_documents(store, &all, 1).await, all_documents(model, &all, 1).await);
    for collection in ["a", "b"] {
        assert_eq!(store.scan(collection, Some("b"), 3).await, model.scan(collection, Some("b"), 3).await);
        assert_eq!(store.scan(collection, None, 100).await, model.scan(collection, None, 100).await);
    }
    for (client, incarnation) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let (client, incarnation) = (ClientId([client; 16]), Incarnation(incarnation));
        assert_eq!(store.client(client, incarnation).await, model.client(client, incarnation).await);
        let after = Sequence(1);
        let outcomes = store.outcomes(client, incarnation, after).await;
        assert_eq!(outcomes, model.outcomes(client, incarnation, after).await);
    }
    let query = ConflictQuery { limit: 1_000, ..ConflictQuery::default() };
    assert_eq!(store.conflicts(&query).await, model.conflicts(&query).await);
}

async fn commit(
    model: &MemoryStore,
    mutation: Option<(u8, u8, i8)>,
    writes: &[RandomWrite],
    acknowledged: Option<u8>,
    conflict: bool,
) -> Commit {
    let ids: Vec<DocumentId> = writes.iter().map(|write| write.id.clone()).collect();
    let current = model.read(&ids).await.expect("the model answers").documents;
    let mutation = match mutation {
        None => None,
        Some((client, incarnation, distance)) => {
            let (client, incarnation) = (ClientId([client; 16]), Incarnation(incarnation.into()));
            let record = model.client(client, incarnation).await.expect("the model answers");
            let sequence = record.finished.next().0.saturating_add_signed(distance.into());
            Some(MutationId { client, incarnation, sequence: Sequence(sequence) })
        }
    };
    let sequence = mutation.map_or(0, |mutation| mutation.sequence.0);
    let writes: Vec<Write> = writes
        .iter()
        .zip(current)
        .map(|(write, current)| Write {
            id: write.id.clone(),
            expected: match current {
                Some(document) if write.expects_current => document.version,
                None if write.expects_current => Version::ABSENT,
                Some(_) | None => Version(12_345),
            },
            change: None,
            body: write.body.as_ref().map(|body| json(body).as_bytes().into()),
            version: write.body.as_ref().map_or(Version::ABSENT, |body| version_of(body.as_bytes())),
            channels: write.channels.clone(),
            edited_ms: sequence,
            trace: Trace::None,
        })
        .collect();
    Commit {
        jumps: false,
        mutation,
        session: SessionId(sequence),
        acknowledged: Sequence(acknowledged.map_or(0, |behind| sequence.saturating_sub(behind.into()))),
        named: ids.clone(),
        fingerprint: None,
        conflicts: ids.into_iter().filter(|_| conflict).map(conflict_on).collect(),
        writes,
        outcome: Outcome::Accepted,
        actor: "model".into(),
        now_ms: sequence,
    }
}
