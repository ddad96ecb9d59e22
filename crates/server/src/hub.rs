//! Fan-out: every commit is handed to the sessions whose filter it matches; those that tell the same of it share the frame.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidelock_core::ids::Offset;
use tidelock_core::server::{Batch, ChangeRecord, ChannelSet, Filter};
use tidelock_store::{Changelog, Segment};
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;

use crate::database::Database;

/// Batches that wait for one session; beyond it the session reads the changelog instead.
const MAILBOX_BATCHES_MAX: usize = 32;

/// The sessions of a database that wait for commits.
pub struct Hub {
    registry: Mutex<Registry>,
}

#[derive(Default)]
struct Registry {
    /// Everything up to here was handed out.
    head: Offset,
    watchers: BTreeMap<u64, Watcher>,
    next_key: u64,
    /// Watchers by what they watch: of a whole collection, and of single channels.
    collections: BTreeMap<String, Index>,
}

#[derive(Default)]
struct Index {
    all: BTreeSet<u64>,
    channels: BTreeMap<String, BTreeSet<u64>>,
}

struct Watcher {
    mailbox: Arc<Mailbox>,
    filter: Arc<Filter>,
}

/// What waits for one session.
#[derive(Default)]
pub(crate) struct Mailbox {
    state: Mutex<MailboxState>,
    notify: Notify,
}

#[derive(Default)]
struct MailboxState {
    /// Nothing that is watched was committed after this offset but what is in the queue.
    since: Offset,
    queue: VecDeque<Arc<Batch>>,
    /// Batches were dropped: the session has to be told the head.
    lagging: bool,
}

/// What a session has to be told.
pub(crate) enum Mail {
    /// A batch, and the offset after which it is the first that is watched.
    Batch(Offset, Arc<Batch>),
    /// Look at the changelog.
    Head,
}

impl Hub {
    pub(crate) fn new(head: Offset) -> Self {
        Self { registry: Mutex::new(Registry { head, ..Registry::default() }) }
    }

    /// Hands out commits until the changelog ends.
    pub async fn run(database: Arc<Database>) {
        let mut segments = database.changelog.subscribe();
        loop {
            match segments.recv().await {
                Ok(segment) => database.hub.hand_out(&segment),
                Err(RecvError::Lagged(_)) => database.hub.resynchronise(&*database.changelog),
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Enters a session; it watches nothing yet.
    pub(crate) fn enter(&self) -> Membership<'_> {
        let mut registry = self.registry();
        let key = registry.next_key;
        registry.next_key += 1;
        let mailbox = Arc::new(Mailbox::default());
        let watcher = Watcher { mailbox: Arc::clone(&mailbox), filter: Arc::default() };
        registry.watchers.insert(key, watcher);
        Membership { hub: self, key, mailbox }
    }

    fn hand_out(&self, segment: &Segment) {
        let mut registry = self.registry();
        registry.head = registry.head.max(segment.to);
        let watchers = registry.watchers_of(&segment.records);
        if watchers.is_empty() {
            return;
        }
        let batch = Arc::new(Batch::new(segment.from, segment.to, segment.records.clone()));
        for key in watchers {
            if let Some(watcher) = registry.watchers.get(&key) {
                watcher.mailbox.put(&batch);
            }
        }
    }

    /// Segments were missed: every session looks at the changelog.
    fn resynchronise(&self, changelog: &dyn Changelog) {
        let mut registry = self.registry();
        registry.head = registry.head.max(changelog.head());
        for watcher in registry.watchers.values() {
            watcher.mailbox.reset(registry.head, true);
        }
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        // Every change of the registry is whole before anything can panic.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    fn watchers_of(&self, records: &[Arc<ChangeRecord>]) -> BTreeSet<u64> {
        let mut keys = BTreeSet::new();
        for record in records {
            let Some(index) = self.collections.get(&record.id.collection) else { continue };
            keys.extend(&index.all);
            for channel in record.channels.iter().chain(&record.left) {
                keys.extend(index.channels.get(channel).into_iter().flatten());
            }
        }
        keys
    }

    fn index(&mut self, key: u64, filter: &Filter) {
        for (collection, set) in &filter.collections {
            let index = self.collections.entry(collection.clone()).or_default();
            match set {
                ChannelSet::All => drop(index.all.insert(key)),
                ChannelSet::Only(channels) => {
                    for channel in channels {
                        index.channels.entry(channel.clone()).or_default().insert(key);
                    }
                }
            }
        }
    }

    fn unindex(&mut self, key: u64, filter: &Filter) {
        for (collection, set) in &filter.collections {
            let Some(index) = self.collections.get_mut(collection) else { continue };
            match set {
                ChannelSet::All => drop(index.all.remove(&key)),
                ChannelSet::Only(channels) => {
                    for channel in channels {
                        if let Some(keys) = index.channels.get_mut(channel) {
                            keys.remove(&key);
                            if keys.is_empty() {
                                index.channels.remove(channel);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A session's place in the hub; leaving is dropping it.
pub(crate) struct Membership<'a> {
    hub: &'a Hub,
    key: u64,
    mailbox: Arc<Mailbox>,
}

impl Membership<'_> {
    /// From here on, commits that the filter matches are put into the mailbox. What was committed before is in the changelog.
    pub(crate) fn watch(&self, filter: &Arc<Filter>) {
        let mut registry = self.hub.registry();
        let head = registry.head;
        let Some(watcher) = registry.watchers.get_mut(&self.key) else { return };
        let before = std::mem::replace(&mut watcher.filter, Arc::clone(filter));
        registry.unindex(self.key, &before);
        registry.index(self.key, filter);
        self.mailbox.reset(head, false);
    }

    /// Up to where nothing watched is missing, when nothing waits: `(since, head)`.
    pub(crate) fn quiet(&self) -> Option<(Offset, Offset)> {
        let registry = self.hub.registry();
        let state = self.mailbox.state();
        (state.queue.is_empty() && !state.lagging).then_some((state.since, registry.head))
    }

    /// The next thing that waits.
    pub(crate) fn take(&self) -> Option<Mail> {
        let mut state = self.mailbox.state();
        if state.lagging {
            state.lagging = false;
            return Some(Mail::Head);
        }
        let batch = state.queue.pop_front()?;
        let since = std::mem::replace(&mut state.since, batch.to);
        Some(Mail::Batch(since, batch))
    }

    /// Where to wait.
    pub(crate) fn mailbox(&self) -> Arc<Mailbox> {
        Arc::clone(&self.mailbox)
    }
}

impl Drop for Membership<'_> {
    fn drop(&mut self) {
        let mut registry = self.hub.registry();
        if let Some(watcher) = registry.watchers.remove(&self.key) {
            registry.unindex(self.key, &watcher.filter);
        }
    }
}

impl Mailbox {
    /// Waits until something waits. Safe to drop and call again.
    pub(crate) async fn wait(&self) {
        self.notify.notified().await;
    }

    fn put(&self, batch: &Arc<Batch>) {
        let mut state = self.state();
        if state.queue.len() >= MAILBOX_BATCHES_MAX {
            state.queue.clear();
            state.lagging = true;
        }
        if state.lagging {
            state.since = batch.to;
        } else {
            state.queue.push_back(Arc::clone(batch));
        }
        drop(state);
        self.notify.notify_one();
    }

    fn reset(&self, since: Offset, lagging: bool) {
        let mut state = self.state();
        state.queue.clear();
        state.since = since;
        state.lagging = lagging;
        drop(state);
        if lagging {
            self.notify.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, MailboxState> {
        // Every change of the state is whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
