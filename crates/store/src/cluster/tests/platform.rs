//! A platform in memory with scripted faults.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};

use tidelock_core::ids::DocumentId;
use tidelock_core::limits::DEPTH_MAX;

use crate::cluster::meta::{IntentRow, unseal};
use crate::platform::{
    Entry, Feed, FeedEvent, Finding, Order, Platform, PlatformCapabilities, PlatformError, Position, PutContent, PutIf,
    PutOutcome, Scan, Token, Written,
};
use crate::store::BoxFuture;

/// The cluster that nodes share.
#[derive(Default)]
pub(super) struct Cluster(Mutex<Data>);

#[derive(Default)]
struct Data {
    entries: BTreeMap<DocumentId, Item>,
    /// Every change and notice, in order; a position is an index.
    log: Vec<FeedEvent>,
    wakers: Vec<Waker>,
    last: u64,
    history: u64,
    together: bool,
    /// Whether entries tell their order.
    ordered: bool,
    /// How long a put is visible in part.
    torn_ms: u32,
    /// Documents whose content, or whose meta, or both, a read still sees as they were.
    halves: BTreeMap<DocumentId, (Item, bool, bool)>,
    /// The states before the last ones.
    before: BTreeMap<DocumentId, Item>,
    /// Which documents take no writes.
    holds: Option<fn(&DocumentId) -> bool>,
    /// How often that changed.
    holds_changed: u64,
}

#[derive(Clone, Default)]
struct Item {
    content: Option<Arc<[u8]>>,
    meta: Option<Arc<[u8]>>,
    number: u64,
    /// The content is none of a document.
    spoilt: bool,
}

/// What happens to a call of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The node stops before it.
    StopBefore,
    /// The node stops after it.
    StopAfter,
    /// It is not done, and nobody says so.
    LostBefore,
    /// It is done, and nobody says so.
    LostAfter,
}

/// A node's access to the cluster.
#[derive(Clone)]
pub(super) struct TestPlatform {
    pub(super) cluster: Arc<Cluster>,
    script: Arc<Mutex<Script>>,
}

/// What somebody else does.
type Hook = Box<dyn FnOnce(&Cluster) + Send>;

/// Contents and metas.
pub(super) type Backup = BTreeMap<DocumentId, (Option<Arc<[u8]>>, Option<Arc<[u8]>>)>;

#[derive(Default)]
struct Script {
    /// Calls so far.
    calls: u64,
    /// Documents that were read, by collection.
    read: BTreeMap<String, usize>,
    fault: Option<(u64, Fault)>,
    /// Runs before the call of this number.
    hook: Option<(u64, Hook)>,
    stopped: bool,
    resumed: bool,
    waker: Option<Waker>,
    resuming: Vec<Waker>,
}

impl Cluster {
    pub(super) fn new(together: bool, ordered: bool) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Data { together, ordered, ..Data::default() })))
    }

    /// From here on a read may see part of a put.
    pub(super) fn tear(&self, ms: u32) {
        self.data().torn_ms = ms;
    }

    /// A read sees a document as it was: its content, its meta, or both; until a [`mend`](Self::mend).
    pub(super) fn half(&self, id: &DocumentId, content: bool, meta: bool) {
        let mut data = self.data();
        let before = data.before.get(id).cloned().unwrap_or_default();
        data.halves.insert(id.clone(), (before, content, meta));
    }

    /// Puts of these documents get no answer from here on. Those that wait fail when others are held.
    pub(super) fn hold(&self, holds: fn(&DocumentId) -> bool) {
        let mut data = self.data();
        data.holds = Some(holds);
        data.holds_changed += 1;
        data.wakers.drain(..).for_each(Waker::wake);
    }

    /// Waits while a document is held. Whether it was.
    async fn held(&self, puts: &[PutIf]) -> bool {
        let mut since = None;
        std::future::poll_fn(|context| {
            let mut data = self.data();
            let is_held = data.holds.is_some_and(|holds| puts.iter().any(|put| holds(&put.id)));
            if !is_held || since.is_some_and(|since| since != data.holds_changed) {
                return Poll::Ready(since.is_some());
            }
            since = Some(data.holds_changed);
            data.wakers.push(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Every put is whole.
    pub(super) fn mend(&self) {
        self.data().halves.clear();
    }

    pub(super) fn node(self: &Arc<Self>) -> TestPlatform {
        TestPlatform { cluster: Arc::clone(self), script: Arc::default() }
    }

    fn data(&self) -> MutexGuard<'_, Data> {
        self.0.lock().unwrap()
    }

    /// A foreign writer stores a content and keeps the meta, or not.
    pub(super) fn set(&self, id: &DocumentId, content: Option<&str>, keeps_meta: bool) {
        let mut data = self.data();
        let mut item = data.entries.get(id).cloned().unwrap_or_default();
        item.content = content.map(|content| Arc::from(content.as_bytes()));
        if !keeps_meta {
            item.meta = None;
        }
        data.store(id, item);
    }

    pub(super) fn content(&self, id: &DocumentId) -> Option<String> {
        let content = self.data().entries.get(id)?.content.clone()?;
        Some(String::from_utf8(content.to_vec()).unwrap())
    }

    pub(super) fn meta(&self, id: &DocumentId) -> Option<Arc<[u8]>> {
        self.data().entries.get(id)?.meta.clone()
    }

    /// What a reader of a collection would see.
    pub(super) fn documents(&self, collection: &str) -> BTreeMap<String, String> {
        let data = self.data();
        let entries = data.entries.iter().filter(|(id, _)| id.collection == collection);
        let content = |item: &Item| Some(String::from_utf8(item.content.as_ref()?.to_vec()).unwrap());
        entries.filter_map(|(id, item)| Some((id.key.clone(), content(item)?))).collect()
    }

    /// Whether an intent is not settled.
    pub(super) fn is_live(&self, key: &str) -> bool {
        let content = self.content(&DocumentId::new(crate::platform::system::INTENTS, key));
        content.and_then(|content| unseal::<IntentRow>(content.as_bytes())).is_some_and(|row| row.is_live())
    }

    /// How often documents of a collection were written.
    pub(super) fn writes(&self, collection: &str) -> usize {
        let data = self.data();
        let written = |event: &&FeedEvent| matches!(event, FeedEvent::Changed(id, _) if id.collection == collection);
        data.log.iter().filter(written).count()
    }

    /// Every entry of a collection with something in it.
    pub(super) fn keys(&self, collection: &str) -> Vec<String> {
        let data = self.data();
        data.entries.keys().filter(|id| id.collection == collection).map(|id| id.key.clone()).collect()
    }

    /// A foreign writer stores what no document can be made of.
    pub(super) fn spoil(&self, id: &DocumentId) {
        let mut data = self.data();
        let item = data.entries.get(id).cloned().unwrap_or_default();
        data.store(id, Item { spoilt: true, ..item });
    }

    /// Where the last event about a document is.
    pub(super) fn last_index(&self, id: &DocumentId) -> usize {
        let data = self.data();
        let about = |event: &FeedEvent| matches!(event, FeedEvent::Changed(changed, _) if changed == id);
        data.log.iter().rposition(about).unwrap()
    }

    /// Tells every feed something.
    pub(super) fn announce(&self, event: FeedEvent) {
        self.data().append(event);
    }

    /// The last event about a document.
    pub(super) fn last_event(&self, id: &DocumentId) -> Option<FeedEvent> {
        let data = self.data();
        data.log.iter().rev().find(|event| matches!(event, FeedEvent::Changed(changed, _) if changed == id)).cloned()
    }

    /// Drops what the feed has, so that who follows hears of changes no more.
    pub(super) fn silence(&self, change: impl FnOnce(&Self)) {
        let length = self.data().log.len();
        change(self);
        self.data().log.truncate(length);
    }

    /// A copy of the data.
    pub(super) fn backup(&self) -> Backup {
        let data = self.data();
        data.entries.iter().map(|(id, item)| (id.clone(), (item.content.clone(), item.meta.clone()))).collect()
    }

    /// Puts a copy in the place of the data; orders count anew.
    pub(super) fn restore(&self, backup: Backup) {
        let mut data = self.data();
        data.history += 1;
        let now = std::mem::take(&mut data.entries);
        for id in now.into_keys().filter(|id| !backup.contains_key(id)) {
            let entry = data.entry_of(&id);
            data.append(FeedEvent::Changed(id, Some(entry)));
        }
        for (id, (content, meta)) in backup {
            data.store(&id, Item { content, meta, number: 0, spoilt: false });
        }
    }
}

impl Data {
    fn store(&mut self, id: &DocumentId, item: Item) -> u64 {
        self.last += 1;
        let number = self.last;
        self.before.insert(id.clone(), self.entries.get(id).cloned().unwrap_or_default());
        if item.content.is_none() && item.meta.is_none() {
            self.entries.remove(id);
        } else {
            self.entries.insert(id.clone(), Item { number, ..item });
        }
        let entry = self.entry_of(id);
        self.append(FeedEvent::Changed(id.clone(), Some(entry)));
        number
    }

    fn append(&mut self, event: FeedEvent) {
        self.log.push(event);
        self.wakers.drain(..).for_each(Waker::wake);
    }

    fn entry_of(&self, id: &DocumentId) -> Entry {
        self.entry(self.entries.get(id).cloned().unwrap_or_default())
    }

    fn entry(&self, item: Item) -> Entry {
        let history = self.history;
        let order = (self.ordered && item.number > 0).then_some(Order { history, number: item.number });
        let token = Token(item.number.to_be_bytes().to_vec());
        let unreadable = item.spoilt.then(|| "another kind".to_owned());
        let content = item.content.filter(|_| !item.spoilt);
        Entry { content, meta: item.meta, token, order, unreadable }
    }

    /// As a read sees it.
    fn seen_entry(&self, id: &DocumentId) -> Entry {
        let mut entry = self.entry_of(id);
        if let Some((before, content, meta)) = self.halves.get(id) {
            if *content && *meta {
                // Nothing of the put is there yet: it is the very state that readers may know.
                return self.entry(before.clone());
            }
            entry.token.0.extend([u8::from(*content), u8::from(*meta)]);
            if *content {
                entry.content.clone_from(&before.content);
            }
            if *meta {
                entry.meta.clone_from(&before.meta);
            }
        }
        entry
    }

    fn put(&mut self, puts: &[PutIf]) -> PutOutcome {
        if puts.len() > 1 && !self.together {
            return PutOutcome::NotTogether;
        }
        if puts.iter().any(|put| self.entry_of(&put.id).token != put.token) {
            return PutOutcome::Mismatch;
        }
        let mut written = Vec::new();
        for put in puts {
            let mut item = self.entries.get(&put.id).cloned().unwrap_or_default();
            match &put.content {
                PutContent::Keep => {}
                PutContent::Put(content) => {
                    item.content = Some(Arc::clone(content));
                    item.spoilt = false;
                }
                PutContent::Delete => item.content = None,
            }
            item.meta.clone_from(&put.meta);
            self.store(&put.id, item);
            let entry = self.entry_of(&put.id);
            written.push(Written { token: entry.token, order: entry.order });
        }
        PutOutcome::Done(written)
    }
}

impl TestPlatform {
    /// The call of this number, from now on, goes wrong; 0 is the next.
    pub(super) fn fail(&self, call: u64, fault: Fault) {
        let mut script = self.script.lock().unwrap();
        script.fault = Some((script.calls + call, fault));
    }

    /// How many documents of a collection the node has read by itself.
    pub(super) fn documents_read(&self, collection: &str) -> usize {
        self.script.lock().unwrap().read.get(collection).copied().unwrap_or_default()
    }

    /// Something happens before the call of this number, from now on.
    pub(super) fn before(&self, call: u64, hook: impl FnOnce(&Cluster) + Send + 'static) {
        let mut script = self.script.lock().unwrap();
        script.hook = Some((script.calls + call, Box::new(hook)));
    }

    /// Takes the fault or hook back. Whether it has happened.
    pub(super) fn is_played(&self) -> bool {
        let mut script = self.script.lock().unwrap();
        script.fault.take().is_none() && script.hook.take().is_none()
    }

    /// Resolves once the node has stopped.
    pub(super) async fn stopped(&self) {
        std::future::poll_fn(|context| {
            let mut script = self.script.lock().unwrap();
            script.waker = Some(context.waker().clone());
            if script.stopped { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Goes on where it stopped.
    pub(super) fn resume(&self) {
        let waker = {
            let mut script = self.script.lock().unwrap();
            script.stopped = false;
            script.resumed = true;
            std::mem::take(&mut script.resuming)
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// Stops here, until it is told to go on.
    async fn stop(&self) {
        let waker = {
            let mut script = self.script.lock().unwrap();
            script.stopped = true;
            script.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
        std::future::poll_fn(|context| {
            let mut script = self.script.lock().unwrap();
            script.resuming.push(context.waker().clone());
            if script.resumed { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    async fn call<T>(&self, call: impl FnOnce(&mut Data) -> T) -> Result<T, PlatformError> {
        let (number, fault, hook) = {
            let mut script = self.script.lock().unwrap();
            let number = script.calls;
            script.calls += 1;
            let fault = script.fault.take_if(|(at, _)| *at == number).map(|(_, fault)| fault);
            (number, fault, script.hook.take_if(|(at, _)| *at == number))
        };
        if let Some((_, hook)) = hook {
            hook(&self.cluster);
        }
        let lost = || PlatformError::Unavailable("no answer".to_owned());
        // Calls made at the same time overtake each other.
        for _ in 0..=number % 3 {
            yield_once().await;
        }
        match fault {
            Some(Fault::StopBefore) => self.stop().await,
            Some(Fault::LostBefore) => return Err(lost()),
            // Its node has stopped at another call.
            None if self.script.lock().unwrap().stopped => self.stop().await,
            Some(Fault::StopAfter | Fault::LostAfter) | None => {}
        }
        let answer = call(&mut self.cluster.data());
        // The answer takes its time, too.
        for _ in 0..number % 4 {
            yield_once().await;
        }
        match fault {
            Some(Fault::StopAfter) => {
                self.stop().await;
                Ok(answer)
            }
            Some(Fault::LostAfter) => Err(lost()),
            Some(Fault::StopBefore | Fault::LostBefore) | None => Ok(answer),
        }
    }
}

async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Platform for TestPlatform {
    fn capabilities(&self) -> PlatformCapabilities {
        PlatformCapabilities {
            name: "test",
            key_bytes_max: 250,
            content_bytes_max: 20 << 20,
            depth_max: DEPTH_MAX,
            meta_bytes_max: 1 << 20,
            torn_ms_max: self.cluster.data().torn_ms,
        }
    }

    fn get<'a>(&'a self, ids: &'a [DocumentId]) -> BoxFuture<'a, Result<Vec<Entry>, PlatformError>> {
        for id in ids {
            *self.script.lock().unwrap().read.entry(id.collection.clone()).or_default() += 1;
        }
        Box::pin(self.call(|data| ids.iter().map(|id| data.seen_entry(id)).collect()))
    }

    fn together(&self, _ids: &[&DocumentId]) -> bool {
        self.cluster.data().together
    }

    fn put_if<'a>(&'a self, puts: &'a [PutIf]) -> BoxFuture<'a, Result<PutOutcome, PlatformError>> {
        Box::pin(async move {
            if self.cluster.held(puts).await {
                return Err(PlatformError::Unavailable("no copy confirms it".to_owned()));
            }
            self.call(|data| data.put(puts)).await
        })
    }

    fn feed<'a>(
        &'a self,
        collections: &'a [String],
        from: Option<&'a Position>,
    ) -> BoxFuture<'a, Result<Box<dyn Feed>, PlatformError>> {
        Box::pin(async move {
            let length = self.call(|data| data.log.len()).await?;
            let at = from.map(|position| u64::from_be_bytes(position.0.as_slice().try_into().unwrap()));
            let lost = at.is_none();
            let at = at.map_or(length, |at| usize::try_from(at).unwrap());
            let collections = collections.to_vec();
            let feed = TestFeed { cluster: Arc::clone(&self.cluster), collections, at, lost, told: None };
            Ok(Box::new(feed) as Box<dyn Feed>)
        })
    }

    fn scan<'a>(&'a self, collection: &'a str) -> BoxFuture<'a, Result<Box<dyn Scan>, PlatformError>> {
        Box::pin(async move {
            let entries = self
                .call(|data| {
                    let ids = data.entries.keys().filter(|id| id.collection == collection);
                    ids.map(|id| (id.key.clone(), data.entry_of(id))).collect()
                })
                .await?;
            Ok(Box::new(TestScan(entries)) as Box<dyn Scan>)
        })
    }

    fn check<'a>(&'a self, _collections: &'a [String]) -> BoxFuture<'a, Result<Vec<Finding>, PlatformError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn configure<'a>(&'a self, _collections: &'a [String]) -> BoxFuture<'a, Result<Vec<Finding>, PlatformError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// Reports a position after every event.
struct TestFeed {
    cluster: Arc<Cluster>,
    collections: Vec<String>,
    at: usize,
    lost: bool,
    /// The position to be reported next, and whether it was.
    told: Option<usize>,
}

impl Feed for TestFeed {
    fn next(&mut self) -> BoxFuture<'_, Result<FeedEvent, PlatformError>> {
        Box::pin(std::future::poll_fn(|context| {
            if std::mem::take(&mut self.lost) {
                return Poll::Ready(Ok(FeedEvent::Lost(None)));
            }
            let mut data = self.cluster.data();
            loop {
                if self.told != Some(self.at) {
                    self.told = Some(self.at);
                    let position = Position((self.at as u64).to_be_bytes().to_vec());
                    return Poll::Ready(Ok(FeedEvent::Position(position)));
                }
                let Some(event) = data.log.get(self.at).cloned() else {
                    data.wakers.push(context.waker().clone());
                    return Poll::Pending;
                };
                self.at += 1;
                if let FeedEvent::Changed(id, _) = &event
                    && !self.collections.contains(&id.collection)
                {
                    self.told = Some(self.at);
                    continue;
                }
                return Poll::Ready(Ok(event));
            }
        }))
    }

    fn acknowledge(&mut self, _position: &Position) -> BoxFuture<'_, Result<(), PlatformError>> {
        Box::pin(async { Ok(()) })
    }
}

struct TestScan(Vec<(String, Entry)>);

impl Scan for TestScan {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<(String, Entry)>, PlatformError>> {
        let rest = self.0.split_off(self.0.len().min(3));
        let page = std::mem::replace(&mut self.0, rest);
        Box::pin(async { Ok(page) })
    }
}
