//! Nodes over one cluster, clients that push to them, and what has to hold in the end.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use futures_util::future::{Either, select};
use tidelock_core::ids::{
    ChangelogId, ClientId, DocumentId, Epoch, Incarnation, MutationId, Offset, Sequence, SessionId, Version,
};
use tidelock_core::json;
use tidelock_core::merge::{self, Context, Current, Merged};
use tidelock_core::version;
use tidelock_core::wire::{
    ConflictNote, DocumentChange, ErrorCode, FieldPatch, FieldStrategy, Operation, Outcome, Policy,
};

use super::host::{Book, TestHost, Time};
use super::platform::{Cluster, TestPlatform};
use crate::changelog::{Changelog, Segment};
use crate::cluster::host::Host;
use crate::cluster::{ClusterOptions, ClusterStore};
use crate::memory::MemoryStore;
use crate::store::{BoxFuture, Commit, CommitOutcome, Document, Recorded, Store, Write};

/// Longest that anything may take to settle, in virtual milliseconds.
const SETTLED_MS_MAX: u64 = 60_000;

/// One test.
pub(super) struct Rig {
    pub(super) time: Arc<Time>,
    pub(super) host: Arc<TestHost>,
    pub(super) cluster: Arc<Cluster>,
    pub(super) policy: Policy,
    pub(super) depends: bool,
    pub(super) options: ClusterOptions,
    background: Vec<BoxFuture<'static, ()>>,
    nodes: u64,
}

/// A node.
pub(super) struct Node {
    pub(super) store: Arc<ClusterStore<TestPlatform>>,
    pub(super) platform: TestPlatform,
    pub(super) journal: Arc<MemoryStore>,
    pub(super) book: Arc<Book>,
    pub(super) segments: tokio::sync::broadcast::Receiver<Arc<Segment>>,
}

/// What a client pushes.
#[derive(Clone, Debug)]
pub(super) struct Push {
    pub(super) id: MutationId,
    pub(super) changes: Vec<DocumentChange>,
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Done,
    Repeated,
    Rejected,
    /// Another mutation has its sequence.
    Another,
}

pub(super) fn doc(key: &str) -> DocumentId {
    DocumentId::new("notes", key)
}

pub(super) fn mutation(client: u8, sequence: u64) -> MutationId {
    MutationId { client: ClientId([client; 16]), incarnation: Incarnation(9), sequence: Sequence(sequence) }
}

/// Adds 1 to the counter `n` of documents that the client knows with a counter of `n`.
pub(super) fn increment(id: MutationId, keys: &[&str], n: u64) -> Push {
    let text = |n: u64| n.to_string().into_bytes();
    let change = |key: &&str| DocumentChange {
        id: doc(key),
        base: version::of_body(&counter(n)).unwrap(),
        operation: Operation::Patch(vec![FieldPatch {
            path: vec!["n".into()],
            base: Some(text(n)),
            value: Some(text(n + 1)),
        }]),
        whole: None,
    };
    Push { id, changes: keys.iter().map(change).collect() }
}

pub(super) fn counter(n: u64) -> Vec<u8> {
    format!("{{\"n\":{n}}}").into_bytes()
}

impl Rig {
    pub(super) fn new(seed: u64, together: bool) -> Self {
        let time = Time::new(seed);
        let options = ClusterOptions { collections: vec!["notes".to_owned()], ..ClusterOptions::default() };
        let policy = Policy { fields: vec![(vec!["n".to_owned()], FieldStrategy::Sum)], ..Policy::default() };
        Self {
            host: Arc::new(TestHost { time: Arc::clone(&time), ahead_ms: 0 }),
            time,
            cluster: Cluster::new(together, !together),
            policy,
            depends: false,
            options,
            background: Vec::new(),
            nodes: 0,
        }
    }

    /// Opens a node over a new journal; its tasks do not run.
    pub(super) fn idle_node(&mut self) -> Node {
        self.nodes += 1;
        let journal = Arc::new(MemoryStore::new(Epoch(1), ChangelogId(self.nodes)));
        self.node_over(journal)
    }

    /// Opens a node over a journal; its tasks do not run.
    pub(super) fn node_over(&mut self, journal: Arc<MemoryStore>) -> Node {
        let book = Arc::new(Book::new(self.policy.clone(), self.depends));
        let (platform, segments) = (self.cluster.node(), journal.subscribe());
        let (host, rules) = (Arc::clone(&self.host), Arc::clone(&book));
        let opening = ClusterStore::open(platform.clone(), journal.clone(), rules, host, self.options.clone());
        let store = self.time.run(opening).unwrap();
        Node { store, platform, journal, book, segments }
    }

    /// Opens a node whose tasks run.
    pub(super) fn node(&mut self) -> Node {
        let node = self.idle_node();
        self.start(&node);
        let store = Arc::clone(&node.store);
        self.run(async move { store.complete().await });
        node
    }

    /// Runs the tasks of a node.
    pub(super) fn start(&mut self, node: &Node) {
        self.background.push(Box::pin(Arc::clone(&node.store).run()));
    }

    /// Lets something go on beside the tasks of the nodes.
    pub(super) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.background.push(Box::pin(async move {
            task.await;
            std::future::pending::<()>().await;
        }));
    }

    /// Ends the tasks of all nodes.
    pub(super) fn stop_tasks(&mut self) {
        self.background.clear();
    }

    /// Drives a future beside the tasks of the nodes.
    pub(super) fn run<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        let background = &mut self.background;
        self.time.run(poll_fn(move |context| {
            for task in background.iter_mut() {
                assert!(task.as_mut().poll(context).is_pending(), "a task of a node ended");
            }
            match future.as_mut().poll(context) {
                Poll::Ready(output) => Poll::Ready(output),
                Poll::Pending => Poll::Pending,
            }
        }))
    }

    /// A push to a node that may stop meanwhile.
    pub(super) fn push_until_stopped(&mut self, node: &Node, push: &Push) -> Option<Told> {
        let (host, platform) = (Arc::clone(&self.host), node.platform.clone());
        self.run(async {
            match select(Box::pin(node.push(push, &host)), Box::pin(platform.stopped())).await {
                Either::Left((told, _)) => Some(told),
                Either::Right(_) => None,
            }
        })
    }

    pub(super) fn push(&mut self, node: &Node, push: &Push) -> Told {
        let host = Arc::clone(&self.host);
        self.run(node.push(push, &host))
    }

    /// Waits until something holds.
    pub(super) fn until(&mut self, what: &str, mut holds: impl FnMut() -> bool) {
        let host = Arc::clone(&self.host);
        let started_ms = host.now_ms();
        self.run(async {
            while !holds() {
                assert!(host.now_ms() < started_ms + SETTLED_MS_MAX, "{what} does not come true");
                host.sleep(50).await;
            }
        });
    }

    /// Waits until the journals of nodes have what the platform has.
    pub(super) fn converge(&mut self, nodes: &[&Node]) {
        let cluster = Arc::clone(&self.cluster);
        for node in nodes {
            self.until("convergence", || node.documents() == cluster.documents("notes"));
        }
    }
}

impl Node {
    /// As the server's pipeline and a client together: merges, commits, and tries again until there is an answer.
    pub(super) async fn push(&self, push: &Push, host: &TestHost) -> Told {
        for _ in 0..200 {
            match self.try_push(push, host).await {
                Ok(CommitOutcome::Committed(_)) => return Told::Done,
                Ok(CommitOutcome::Repeated(Some(Recorded { outcome: Outcome::Resolve(_), .. }))) => {
                    return Told::Another;
                }
                Ok(CommitOutcome::Repeated(_)) => return Told::Repeated,
                Ok(CommitOutcome::Mismatch(_)) => {}
                Ok(CommitOutcome::OutOfOrder(finished)) => panic!("out of order after {finished}"),
                Err(told) => match told {
                    Some(told) => return told,
                    None => host.sleep(500).await,
                },
            }
        }
        panic!("no answer to a push");
    }

    async fn try_push(&self, push: &Push, host: &TestHost) -> Result<CommitOutcome, Option<Told>> {
        let ids: Vec<DocumentId> = push.changes.iter().map(|change| change.id.clone()).collect();
        let current = self.store.read(&ids).await.map_err(|_| None)?.documents;
        self.push_onto(current, push, host).await
    }

    /// One attempt, on these documents; the error is an answer where there is one.
    pub(super) async fn push_onto(
        &self,
        current: Vec<Option<Document>>,
        push: &Push,
        host: &TestHost,
    ) -> Result<CommitOutcome, Option<Told>> {
        let ids: Vec<DocumentId> = push.changes.iter().map(|change| change.id.clone()).collect();
        let mut commit = commit_of(push.id, host.now_ms());
        commit.named = ids;
        commit.fingerprint =
            Some(BuildHasherDefault::<DefaultHasher>::default().hash_one(format!("{:?}", push.changes)));
        let mut rejected = false;
        for (change, current) in push.changes.iter().zip(current) {
            match self.prepare(change, current.as_ref(), host.now_ms()) {
                Some((write, notes)) => {
                    commit.writes.push(write);
                    commit.conflicts.extend(notes);
                }
                None => rejected = true,
            }
        }
        if rejected {
            commit.writes.clear();
            commit.conflicts.clear();
            commit.outcome = Outcome::Rejected(ErrorCode::Conflict, String::new(), Vec::new());
        }
        match self.store.commit(commit).await {
            Ok(CommitOutcome::Committed(_)) if rejected => Err(Some(Told::Rejected)),
            Ok(outcome) => Ok(outcome),
            Err(_) => Err(None),
        }
    }

    fn prepare(
        &self,
        change: &DocumentChange,
        current: Option<&Document>,
        now_ms: u64,
    ) -> Option<(Write, Vec<ConflictNote>)> {
        let expected = current.map_or(Version::ABSENT, |current| current.version);
        let value = current.map(|current| json::parse(&current.body).unwrap());
        let met = value.as_ref().map(|value| Current { version: expected, value });
        let current_edited_ms = current.map_or(0, |current| current.edited_ms);
        let context = Context { policy: &self.book.policy, edited_ms: now_ms, current_edited_ms };
        let (value, notes) = match merge::merge(met, change, &context).unwrap() {
            Merged::Unchanged => (value, Vec::new()),
            Merged::Fast { value } => (value, Vec::new()),
            Merged::Merged { value, conflicts } => (value, conflicts),
            Merged::Rejected { .. } | Merged::Resolve => return None,
        };
        let write = Write {
            id: change.id.clone(),
            expected,
            change: Some(change.clone()),
            body: value.as_ref().map(|value| json::write(value).into()),
            version: value.as_ref().map_or(Version::ABSENT, version::of),
            channels: Vec::new(),
            edited_ms: now_ms,
            trace: crate::store::Trace::None,
        };
        Some((write, notes))
    }

    /// What the journal has.
    pub(super) fn documents(&self) -> BTreeMap<String, String> {
        let page = futures_util::FutureExt::now_or_never(self.journal.scan("notes", None, usize::MAX));
        let page = page.unwrap().unwrap();
        page.into_iter().map(|(key, document)| (key, String::from_utf8(document.body.to_vec()).unwrap())).collect()
    }

    /// Every state of the journal that a reader could have seen since the last call, the first one at offset 0.
    pub(super) fn history(&mut self) -> Vec<(Offset, BTreeMap<String, Option<String>>)> {
        let mut steps = Vec::new();
        while let Ok(segment) = self.segments.try_recv() {
            let text = |body: &Arc<[u8]>| String::from_utf8(body.to_vec()).unwrap();
            let records = segment.records.iter().filter(|record| record.id.collection == "notes");
            let step = records.map(|record| (record.id.key.clone(), record.body.as_ref().map(text)));
            steps.push((segment.to, step.collect()));
        }
        steps
    }
}

/// An empty commit of a mutation.
pub(super) fn commit_of(mutation: MutationId, now_ms: u64) -> Commit {
    Commit {
        mutation: Some(mutation),
        session: SessionId(1),
        actor: "ann".to_owned(),
        ..Commit::new(Vec::new(), now_ms)
    }
}

/// Lets the tasks of the nodes go on.
pub(super) async fn pause(store: &ClusterStore<TestPlatform>) {
    store.host.sleep(100).await;
}
