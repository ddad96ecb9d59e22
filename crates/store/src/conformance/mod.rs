//! The suite that every implementation of [`Store`] and [`Changelog`](crate::Changelog) runs: [`run`] and [`run_model`], and
//! [`run_reopen`] for those that keep their data. Each case names itself on standard error before it runs.
//!
//! It depends on no runtime: concurrency is many futures of one task, polled as they wake.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    reason = "a test suite: a panic is how it reports"
)]

mod changelog;
mod concurrency;
mod documents;
mod forward;
mod model;
mod mutations;
mod noting;
pub mod platform;
mod reopen;
mod symbols;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tidelock_core::ids::{ClientId, DocumentId, Incarnation, MutationId, Offset, Sequence, SessionId, Version};
use tidelock_core::wire::ConflictNote;

pub use model::{run_model, run_model_without_conflicts};
pub use noting::{NotedRules, Noting};
pub use reopen::run_reopen;

use crate::changelog::{ChangeRecord, Changelog, ChannelSet, Filter};
use crate::store::{Commit, CommitOutcome, Document, Store, Trace, Write};

/// Runs every case, each against an empty store that `make` gives.
pub async fn run<S: Store + Changelog>(make: impl Fn() -> S) {
    macro_rules! cases {
        ($($module:ident :: $case:ident),* $(,)?) => {
            $(
                eprintln!("conformance: {}", stringify!($case));
                $module::$case(&make()).await;
            )*
        };
    }
    cases![
        documents::an_empty_store_holds_nothing,
        documents::a_commit_is_read_back,
        documents::several_documents_are_written_whole,
        documents::a_commit_is_conditional,
        documents::a_condition_holds_and_changes_nothing,
        documents::a_mismatch_leaves_nothing,
        documents::a_delete_leaves_a_tombstone,
        documents::what_was_offered_or_deleted_is_remembered,
        documents::a_scan_is_ordered_and_paged,
        documents::unicode_keys_are_ordered_bytewise,
        documents::large_bodies_survive,
        mutations::a_repetition_changes_nothing,
        mutations::a_gap_is_out_of_order,
        mutations::an_acknowledged_gap_is_jumped_over,
        mutations::acknowledged_outcomes_are_forgotten,
        mutations::a_rejected_mutation_advances_the_record,
        mutations::incarnations_are_separate,
        mutations::outcomes_are_listed,
        mutations::conflicts_are_logged_and_paged,
        mutations::conflicts_of_one_moment_are_all_paged,
        mutations::a_conflict_is_read_by_who_could_read_both_states,
        changelog::documents_of_a_mutation_share_an_offset,
        changelog::a_document_is_named_once_at_its_last_offset,
        changelog::a_page_never_splits_an_offset,
        changelog::a_filter_selects_collections_and_channels,
        changelog::a_document_that_left_a_channel_is_reported,
        changelog::a_deleted_document_keeps_its_channels,
        changelog::few_changes_are_found_among_many,
        changelog::a_snapshot_pages_through_every_document,
        changelog::a_snapshot_of_channels_is_complete,
        changelog::segments_come_in_order,
        changelog::a_purge_raises_the_floor,
        changelog::notes_are_kept_by_name,
        symbols::symbols_follow_every_commit,
        symbols::a_filter_selects_the_symbols,
        symbols::items_are_found_by_their_hashes,
        symbols::segments_tell_what_was_before,
        symbols::symbols_are_whole_while_commits_run,
        concurrency::increments_are_never_lost,
        concurrency::a_commit_is_readable_when_it_resolves,
        concurrency::mutations_sent_twice_at_once_commit_once,
        concurrency::a_snapshot_is_whole_while_commits_run,
        concurrency::changes_and_segments_tell_the_same_story,
    ];
}

/// Names a document of the collection that most cases use.
fn note(key: &str) -> DocumentId {
    DocumentId::new("notes", key)
}

/// A body that says `text`: the text itself where it is JSON, which all that stores hold is, and otherwise a JSON string.
fn json(text: &str) -> String {
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(_) => text.to_owned(),
        Err(_) => serde_json::to_string(text).unwrap(),
    }
}

/// A version that stands for a content; the store does not compute versions.
fn version_of(body: &[u8]) -> Version {
    let body = json(std::str::from_utf8(body).unwrap());
    let hash = body
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    Version(hash.max(1))
}

/// A write of a body that says `text`, in no channel.
fn put(id: DocumentId, expected: Version, text: &str) -> Write {
    let body = json(text);
    Write {
        id,
        expected,
        change: None,
        body: Some(Arc::from(body.as_bytes())),
        version: version_of(body.as_bytes()),
        channels: Vec::new(),
        edited_ms: 7,
        trace: Trace::None,
    }
}

/// A delete of a document in these channels.
fn delete(id: DocumentId, expected: Version, channels: &[&str]) -> Write {
    Write {
        id,
        expected,
        change: None,
        body: None,
        version: Version::ABSENT,
        channels: strings(channels),
        edited_ms: 7,
        trace: Trace::None,
    }
}

/// `write` with these channels.
fn within(write: Write, channels: &[&str]) -> Write {
    Write { channels: strings(channels), ..write }
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// A commit without a mutation.
fn commit_of(writes: Vec<Write>) -> Commit {
    Commit { session: SessionId(5), actor: "ann".into(), ..Commit::new(writes, 1_000) }
}

/// A commit of a mutation of client `client`, incarnation 1.
fn mutation_of(client: u8, sequence: u64, writes: Vec<Write>) -> Commit {
    let mutation =
        MutationId { client: ClientId([client; 16]), incarnation: Incarnation(1), sequence: Sequence(sequence) };
    Commit { mutation: Some(mutation), ..commit_of(writes) }
}

fn conflict_on(id: DocumentId) -> ConflictNote {
    ConflictNote {
        id,
        path: strings(&["title", "naïve \"name\""]),
        strategy: "last-write".into(),
        base: Some(b"1".to_vec()),
        mine: Some(b"\"x\"".to_vec()),
        theirs: None,
        outcome: Some(b"null".to_vec()),
    }
}

/// Commits and expects success.
async fn commit<S: Store>(store: &S, commit: Commit) -> Offset {
    match store.commit(commit).await.unwrap() {
        CommitOutcome::Committed(offset) => offset,
        other @ (CommitOutcome::Repeated(_) | CommitOutcome::OutOfOrder(_) | CommitOutcome::Mismatch(_)) => {
            panic!("expected a commit, got {other:?}")
        }
    }
}

/// Commits writes and expects success.
async fn write<S: Store>(store: &S, writes: Vec<Write>) -> Offset {
    commit(store, commit_of(writes)).await
}

/// The current document.
async fn read<S: Store>(store: &S, id: &DocumentId) -> Option<Document> {
    let mut set = store.read(std::slice::from_ref(id)).await.unwrap();
    assert_eq!(set.documents.len(), 1);
    set.documents.pop().unwrap()
}

/// The current body as text.
async fn text<S: Store>(store: &S, id: &DocumentId) -> Option<String> {
    read(store, id).await.map(|document| String::from_utf8(document.body.to_vec()).unwrap())
}

/// A filter over collections: `None` stands for every channel.
fn filter(collections: &[(&str, Option<&[&str]>)]) -> Filter {
    let set = |channels: Option<&[&str]>| match channels {
        None => ChannelSet::All,
        Some(names) => ChannelSet::Only(names.iter().map(ToString::to_string).collect()),
    };
    Filter { collections: collections.iter().map(|(name, channels)| ((*name).to_owned(), set(*channels))).collect() }
}

fn everything() -> Filter {
    filter(&[("notes", None), ("tasks", None)])
}

/// Every change after `from`, read page by page; checks the contract of the pages.
async fn all_changes<S: Changelog>(
    store: &S,
    from: Offset,
    filter: &Filter,
    bytes_max: usize,
) -> (Vec<ChangeRecord>, Offset) {
    let mut records: Vec<ChangeRecord> = Vec::new();
    let mut cursor = from;
    loop {
        let page = store.changes(cursor, filter, bytes_max).await.unwrap();
        for record in page.records {
            assert!(record.offset > cursor, "{} at {} repeats a page up to {cursor}", record.id, record.offset);
            assert!(record.offset <= page.to);
            assert!(records.last().is_none_or(|last| last.offset <= record.offset), "offsets fall");
            records.push(record);
        }
        assert!(page.last || page.to > cursor, "a page without progress");
        cursor = page.to;
        if page.last {
            return (records, cursor);
        }
    }
}

/// Every document of a snapshot, read page by page; checks the contract of the pages.
async fn all_documents<S: Changelog>(store: &S, filter: &Filter, bytes_max: usize) -> Vec<ChangeRecord> {
    let mut records: Vec<ChangeRecord> = Vec::new();
    let mut after: Option<DocumentId> = None;
    loop {
        let page = store.snapshot(after.as_ref(), filter, bytes_max).await.unwrap();
        for record in page.records {
            assert!(after.as_ref().is_none_or(|after| *after < record.id), "{} is before the page", record.id);
            assert!(page.through.as_ref().is_none_or(|through| record.id <= *through), "{} is after it", record.id);
            assert!(records.last().is_none_or(|last| last.id < record.id), "keys fall at {}", record.id);
            assert!(record.body.is_some(), "a snapshot holds live documents");
            records.push(record);
        }
        let Some(through) = page.through else { return records };
        assert!(after.as_ref().is_none_or(|after| *after < through), "a page without progress");
        after = Some(through);
    }
}

fn keys_of(records: &[ChangeRecord]) -> Vec<&str> {
    records.iter().map(|record| record.id.key.as_str()).collect()
}

/// What a reader that applies changes holds: key to body.
fn apply(state: &mut BTreeMap<DocumentId, Arc<[u8]>>, records: impl IntoIterator<Item = ChangeRecord>) {
    for record in records {
        match record.body {
            Some(body) => state.insert(record.id, body),
            None => state.remove(&record.id),
        };
    }
}

/// Lets the other futures of the task run.
async fn yield_once() {
    struct Yield(bool);
    impl Future for Yield {
        type Output = ();
        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
            if self.0 {
                return Poll::Ready(());
            }
            self.0 = true;
            context.waker().wake_by_ref();
            Poll::Pending
        }
    }
    Yield(false).await;
}
