//! The pipeline over the memory store, with another writer in between.

use std::sync::Mutex;
use std::time::Duration;

use tidelock_core::ids::{ClientId, Incarnation, MutationId, Sequence, Version};
use tidelock_core::limits::Limits;
use tidelock_core::version;
use tidelock_core::wire::{DocumentChange, DocumentState, FieldPatch, Mutation, Operation, Outcome};
use tidelock_store::{
    BoxFuture, Changelog, Commit, CommitOutcome, ConflictQuery, MemoryStore, Store, StoreError, Trace, Write,
};

use super::*;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::rules::Rules;

const CONFIG: &str = r#"
[auth]
algorithms = ["HS256"]
secret = "0b4b7235229ae0cc777989ace3485896251610e28a316744ec85689202816931"
[databases.test]
path = "unused.db"
[databases.test.collections.notes]
read = 'true'
write = 'true'
channels = '["room:" + doc.room]'
"#;

/// The memory store; once, another writer commits right before a commit of the pipeline.
struct Meddled {
    store: Arc<MemoryStore>,
    meddle: Mutex<Option<Write>>,
}

impl Store for Meddled {
    tidelock_store::forward_store! { store: capabilities epoch read traces client outcomes scan conflicts }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<CommitOutcome, StoreError>> {
        Box::pin(async move {
            let meddle = self.meddle.lock().unwrap().take();
            if let Some(write) = meddle {
                self.store.commit(foreign(write)).await?;
            }
            self.store.commit(commit).await
        })
    }
}

fn note(key: &str) -> DocumentId {
    DocumentId::new("notes", key)
}

fn version_of(body: &str) -> Version {
    version::of_body(body.as_bytes()).unwrap()
}

fn put(key: &str, expected: Version, body: &str) -> Write {
    let (body, version) = (Some(body.as_bytes().into()), version_of(body));
    let channels = vec!["room:x".to_owned()];
    Write { id: note(key), expected, change: None, body, version, channels, edited_ms: 1, trace: Trace::None }
}

fn foreign(write: Write) -> Commit {
    Commit { actor: "another".to_owned(), ..Commit::new(vec![write], 1) }
}

/// A database that holds `notes/b`, and what another writer does before the first commit of the pipeline.
async fn database(meddle: Option<Write>) -> (Database, Arc<MemoryStore>) {
    let config = Config::parse_dev(CONFIG, "test.toml").unwrap();
    let rules = Rules::compile(&config.databases["test"], &config.identity).unwrap();
    let store = Arc::new(MemoryStore::default());
    store.commit(foreign(put("b", Version::ABSENT, r#"{"room":"x"}"#))).await.unwrap();
    let meddled = Arc::new(Meddled { store: Arc::clone(&store), meddle: Mutex::new(meddle) });
    let limits = Limits::default();
    let changelog: Arc<dyn Changelog> = store.clone();
    let kept = Duration::from_secs(3_600);
    (Database::new("test", meddled, changelog, rules, limits, kept, Arc::new(Metrics::default())), store)
}

fn caller(rooms: &[&str]) -> Caller {
    let labels: Vec<String> = rooms.iter().map(|room| format!("notes\0room:{room}")).collect();
    Caller {
        identity: Arc::new(Identity::default()),
        filter: Arc::new(Filter::from_labels(&labels)),
        session: SessionId(7),
        clock: Clock::default(),
    }
}

fn submission(sequence: u64, puts: &[(&str, &str)]) -> Submission {
    let change = |(key, body): &(&str, &str)| DocumentChange {
        id: note(key),
        base: Version::ABSENT,
        operation: Operation::Put(body.as_bytes().to_vec()),
        whole: None,
    };
    let id = MutationId { client: ClientId([1; 16]), incarnation: Incarnation(1), sequence: Sequence(sequence) };
    let mutation =
        Mutation { sequence: id.sequence, edited_ms: 5, changes: puts.iter().map(change).collect(), before: None };
    Submission {
        id,
        acknowledged: Sequence(0),
        mutation,
        jumps: false,
        refused: None,
        again: false,
        brings_back: false,
    }
}

async fn one(database: &Database, caller: &Caller, submission: Submission) -> Processed {
    process(database, caller, vec![submission]).await.pop().unwrap().unwrap()
}

#[tokio::test]
async fn a_document_that_stays_as_it_is_holds_at_the_offset_of_the_result() {
    let (database, store) = database(None).await;
    let mutation = submission(1, &[("a", r#"{"room":"x"}"#), ("b", r#"{"room":"x"}"#)]);
    let processed = one(&database, &caller(&["x"]), mutation).await;
    assert_eq!((&processed.result.outcome, processed.result.offset), (&Outcome::Accepted, store.head()));
    let places: Vec<String> = processed.placed.iter().map(|(id, channels)| format!("{id} {channels:?}")).collect();
    assert_eq!(places, [r#"notes/a ["room:x"]"#, r#"notes/b ["room:x"]"#]);
}

#[tokio::test]
async fn a_document_that_changed_under_a_mutation_that_leaves_it_starts_it_over() {
    // Between the read and the commit `b` is changed: "accepted" at the offset of the commit would be wrong for it.
    let changed = put("b", version_of(r#"{"room":"x"}"#), r#"{"room":"x","n":1}"#);
    let (database, store) = database(Some(changed)).await;
    let mutation = submission(1, &[("a", r#"{"room":"x"}"#), ("b", r#"{"room":"x"}"#)]);
    let processed = one(&database, &caller(&["x"]), mutation).await;
    let Outcome::Merged(states, _) = &processed.result.outcome else { panic!("{processed:?}") };
    assert_eq!(states.iter().map(|state| state.id.key.as_str()).collect::<Vec<_>>(), ["b"]);
    assert_eq!(processed.result.offset, store.head());
}

#[tokio::test]
async fn a_merge_into_a_hidden_document_tells_what_may_be_read_afterwards() {
    let hidden = put("h", Version::ABSENT, r#"{"room":"y","secret":1}"#);
    let (database, store) = database(None).await;
    store.commit(foreign(hidden)).await.unwrap();
    // The document moves into the writer's room, where every reader sees all of it. What it was before is in the note, which the
    // session hides by the former channels; what is kept for a repetition is without it.
    let mutation = submission(1, &[("h", r#"{"room":"x"}"#)]);
    let processed = one(&database, &caller(&["x"]), mutation.clone()).await;
    let Outcome::Merged(states, notes) = &processed.result.outcome else { panic!("{processed:?}") };
    let merged = r#"{"room":"x","secret":1}"#;
    let state = DocumentState { id: note("h"), version: version_of(merged), body: Some(merged.as_bytes().to_vec()) };
    assert_eq!((states.as_slice(), notes.len()), ([state].as_slice(), 1));
    assert_eq!(processed.noted, [(note("h"), vec!["room:y".to_owned()])]);
    let outcomes = store.outcomes(mutation.id.client, mutation.id.incarnation, Sequence(0)).await.unwrap();
    let recorded: Vec<&Outcome> = outcomes.iter().map(|one| &one.outcome).collect();
    assert_eq!(recorded, [&Outcome::Merged(Vec::new(), Vec::new())]);
    let again = one(&database, &caller(&["x"]), mutation).await;
    assert!(matches!(&again.result.outcome, Outcome::Merged(states, notes) if states.len() == 1 && notes.is_empty()));
    assert_eq!(
        database.store.conflicts(&ConflictQuery { limit: 9, ..ConflictQuery::default() }).await.unwrap().len(),
        1
    );
}

/// One change of one document.
fn change(sequence: u64, key: &str, base: Version, operation: &Operation) -> Submission {
    let mut submission = submission(sequence, &[(key, "")]);
    for change in &mut submission.mutation.changes {
        change.base = base;
        change.operation = operation.clone();
    }
    submission
}

fn offer(body: &str) -> Operation {
    Operation::Offer(body.as_bytes().to_vec())
}

/// What the caller is told of the one document, `None` when it is as it was sent.
#[expect(clippy::option_option, reason = "a document that is told to be absent is not one that nothing is told of")]
fn told(processed: &Processed) -> Option<Option<String>> {
    match &processed.result.outcome {
        Outcome::Accepted => None,
        Outcome::Merged(states, _) => {
            states.first().map(|state| state.body.clone().map(|body| String::from_utf8(body).unwrap()))
        }
        other @ (Outcome::Rejected(..) | Outcome::Resolve(_)) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_offer_creates_what_is_not_known_and_nothing_else() {
    let (database, store) = database(None).await;
    store.commit(foreign(put("gone", Version::ABSENT, r#"{"room":"x"}"#))).await.unwrap();
    let delete = Write { body: None, version: Version::ABSENT, ..put("gone", version_of(r#"{"room":"x"}"#), "0") };
    store.commit(foreign(delete)).await.unwrap();
    let hidden = put("hidden", Version::ABSENT, r#"{"room":"y"}"#);
    store.commit(foreign(Write { channels: vec!["room:y".to_owned()], ..hidden })).await.unwrap();
    let head = store.head();
    let mine = r#"{"mine":1,"room":"x"}"#;
    let caller = caller(&["x"]);
    // The session conceals what may not be read, by where it is placed.
    let known = [("b", Some(r#"{"room":"x"}"#)), ("gone", None), ("hidden", Some(r#"{"room":"y"}"#))];
    for ((key, expected), sequence) in known.into_iter().zip(1..) {
        let processed = one(&database, &caller, change(sequence, key, Version::ABSENT, &offer(mine))).await;
        assert_eq!(told(&processed), Some(expected.map(str::to_owned)), "{key}");
        assert_eq!(processed.placed.len(), usize::from(expected.is_some()), "{key}");
    }
    assert_eq!(store.head(), head, "nothing was written");
    let processed = one(&database, &caller, change(4, "lacking", Version::ABSENT, &offer(mine))).await;
    assert_eq!((told(&processed), store.head()), (None, Offset(head.0 + 1)));
    assert_eq!(store.traces(&[note("lacking")]).await.unwrap(), [Trace::Offered]);
    // The same from another client is no write; something else is not taken.
    let processed = one(&database, &caller, change(5, "lacking", Version::ABSENT, &offer(mine))).await;
    assert!(told(&processed).is_none_or(|state| state.as_deref() == Some(mine)));
    let processed = one(&database, &caller, change(6, "lacking", Version::ABSENT, &offer(r#"{"room":"x"}"#))).await;
    assert_eq!((told(&processed), store.head()), (Some(Some(mine.to_owned())), Offset(head.0 + 1)));
}

/// `n` from one value to another, as it was acknowledged before the store was set back.
fn again(sequence: u64, key: &str, base: &str, value: &str) -> Submission {
    let text = |value: &str| Some(value.as_bytes().to_vec());
    let patch = FieldPatch { path: vec!["n".to_owned()], base: text(base), value: text(value) };
    Submission { again: true, ..change(sequence, key, Version(1), &Operation::Patch(vec![patch])) }
}

#[tokio::test]
async fn what_an_offered_document_holds_already_is_not_applied_twice() {
    let (database, store) = database(None).await;
    let caller = caller(&["x"]);
    let body = |n: i64| format!(r#"{{"n":{n},"room":"x"}}"#);
    one(&database, &caller, change(1, "a", Version::ABSENT, &offer(&body(5)))).await;
    let conflicts =
        async || store.conflicts(&ConflictQuery { limit: 9, ..ConflictQuery::default() }).await.unwrap().len();
    // (from, to, what the document has then, how many values were set aside by then)
    let cases = [("2", "5", 5, 0), ("5", "7", 7, 0), ("7", "7", 7, 0), ("0", "2", 7, 1)];
    for ((base, value, expected, set_aside), sequence) in cases.into_iter().zip(2..) {
        one(&database, &caller, again(sequence, "a", base, value)).await;
        let found = store.read(&[note("a")]).await.unwrap().documents.pop().unwrap().unwrap();
        assert_eq!(*found.body, *body(expected).into_bytes(), "{base} to {value}");
        assert_eq!(conflicts().await, set_aside, "{base} to {value}");
    }
    let create = Operation::Put(body(1).into_bytes());
    one(&database, &caller, Submission { again: true, ..change(6, "a", Version::ABSENT, &create) }).await;
    assert_eq!(conflicts().await, 2);
    let processed = one(&database, &caller, again(7, "b", "0", "1")).await;
    let merged = r#"{"room":"x","n":1}"#.to_owned();
    assert_eq!(told(&processed), Some(Some(merged)), "any other document takes it as ever");
}

#[tokio::test]
async fn a_delete_of_what_the_store_lacks_is_remembered() {
    let (database, _) = database(None).await;
    let caller = caller(&["x"]);
    let delete = change(1, "a", Version(9), &Operation::Delete);
    one(&database, &caller, Submission { again: true, brings_back: true, ..delete }).await;
    let processed = one(&database, &caller, change(2, "a", Version::ABSENT, &offer(r#"{"room":"x"}"#))).await;
    assert_eq!(told(&processed), Some(None), "nobody brings it back");
}

#[tokio::test]
async fn what_was_brought_back_and_deleted_since_stays_deleted() {
    let (database, store) = database(None).await;
    let caller = caller(&["x"]);
    let body = r#"{"n":2,"room":"x"}"#;
    one(&database, &caller, change(1, "a", Version::ABSENT, &offer(body))).await;
    one(&database, &caller, change(2, "a", version_of(body), &Operation::Delete)).await;
    assert_eq!(store.traces(&[note("a")]).await.unwrap(), [Trace::Withdrawn]);
    // Its author pushes what he made of it before: nothing is brought back, and nothing goes unsaid.
    let create = change(3, "a", Version::ABSENT, &Operation::Put(body.into()));
    let pushed = [Submission { again: true, ..create }, again(4, "a", "1", "2")];
    for (submission, notes) in pushed.into_iter().zip(1..) {
        one(&database, &caller, submission).await;
        assert_eq!(store.read(&[note("a")]).await.unwrap().documents, [None]);
        let logged = store.conflicts(&ConflictQuery { limit: 9, ..ConflictQuery::default() }).await.unwrap();
        assert_eq!((logged.len(), logged[0].note.strategy.as_str()), (notes, "restored"));
    }
    // Whoever creates it now means another one.
    one(&database, &caller, change(5, "a", Version::ABSENT, &Operation::Put(body.into()))).await;
    assert!(store.read(&[note("a")]).await.unwrap().documents[0].is_some());
}

#[tokio::test]
async fn an_edit_of_what_the_store_lacks_needs_the_whole() {
    let (database, store) = database(None).await;
    let caller = caller(&["x"]);
    let new = change(1, "new", Version::ABSENT, &Operation::Put(br#"{"room":"x"}"#.to_vec()));
    one(&database, &caller, Submission { brings_back: true, ..new }).await;
    let replaced = change(2, "replaced", Version(9), &Operation::Put(br#"{"room":"x"}"#.to_vec()));
    one(&database, &caller, Submission { brings_back: true, ..replaced }).await;
    let deleted = change(3, "deleted", Version(9), &Operation::Delete);
    one(&database, &caller, Submission { brings_back: true, ..deleted }).await;
    let edit = |sequence: u64, key: &str, whole: Option<&str>| {
        let mut submission = Submission { again: false, brings_back: true, ..again(sequence, key, "1", "2") };
        submission.mutation.changes[0].whole = whole.map(Into::into);
        submission
    };
    let asked = one(&database, &caller, edit(4, "edited", None)).await;
    assert!(matches!(&asked.result.outcome, Outcome::Resolve(states) if !states[0].version.exists()), "{asked:?}");
    one(&database, &caller, edit(5, "edited", Some(r#"{"n":1,"room":"x"}"#))).await;
    let ids = ["new", "replaced", "deleted", "edited"].map(note);
    let found = store.read(&ids).await.unwrap().documents.pop().unwrap().unwrap();
    assert_eq!(*found.body, *br#"{"n":2,"room":"x"}"#);
    let traces = [Trace::None, Trace::Offered, Trace::Withdrawn, Trace::Offered];
    assert_eq!(store.traces(&ids).await.unwrap(), traces, "what others did comes with the latter");
}
