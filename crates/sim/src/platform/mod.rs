//! Models of key-value clusters with their real defects, under the simulation's clock and chance.
//!
//! A [`Cluster`] is what all nodes and all foreign writers share. A node reaches it through a [`PlatformClient`], which is the
//! [`Platform`](tidelock_store::platform::Platform): its calls take their time both ways, fail before or after they did what was
//! asked, or do it later. What happens inside, and what may go wrong there, is the [`Model`]'s: [`Couchbase`] or [`Geode`].
//!
//! Nothing runs by itself: a cluster does what is due when somebody looks at it ([`Model::settle`]), and whoever waits asks the clock
//! to be woken at the next thing due.

mod client;
pub(crate) mod couchbase;
pub(crate) mod geode;
mod path;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tidelock_core::ids::DocumentId;
use tidelock_server::TimeSource;
use tidelock_store::platform::{
    Entry, FeedEvent, Finding, PlatformCapabilities, PlatformError, Position, PutIf, PutOutcome, system,
};

pub(crate) use client::PlatformClient;

pub(crate) use path::{Path, Weather};

use crate::time::VirtualTime;

/// Faults by kind.
pub(crate) type Faults = BTreeMap<&'static str, u64>;

/// What becomes of a put, once it is known.
pub(crate) type Reply = Arc<Mutex<Option<Result<PutOutcome, PlatformError>>>>;

/// The inside of a cluster.
pub(crate) trait Model: Send + 'static {
    /// How far a feed is.
    type Stream: Send + 'static;

    fn capabilities(&self) -> PlatformCapabilities;

    /// Does what is due up to `now_ms`.
    fn settle(&mut self, now_ms: u64);

    /// When something is due next.
    fn due_ms(&self) -> Option<u64>;

    fn get(&mut self, id: &DocumentId, now_ms: u64) -> Result<Entry, PlatformError>;

    /// The content of a document, as a foreign writer sees it who waits for commits under way.
    fn content(&self, id: &DocumentId) -> Option<Body>;

    fn together(&self, ids: &[&DocumentId], now_ms: u64) -> bool;

    /// A put arrives. The reply is given at once or later.
    fn put(&mut self, puts: &[PutIf], reply: Reply, now_ms: u64);

    /// Opens the feed of a node.
    fn open(
        &mut self,
        node: &str,
        collections: &[String],
        from: Option<&Position>,
        now_ms: u64,
    ) -> Result<Self::Stream, PlatformError>;

    /// The next event; `None` when there is nothing to say.
    fn next(&mut self, stream: &mut Self::Stream, now_ms: u64) -> Result<Option<FeedEvent>, PlatformError>;

    /// Whether [`next`](Model::next) has something to say.
    fn has_news(&self, stream: &Self::Stream) -> bool;

    fn acknowledge(&mut self, stream: &Self::Stream, position: &Position) -> Result<(), PlatformError>;

    /// The feed's connection is gone.
    fn close(&mut self, stream: &mut Self::Stream, now_ms: u64);

    /// The keys of a collection after `after`, at most `limit`, those that hold a meta alone included.
    fn keys(&self, collection: &str, after: Option<&str>, limit: usize) -> Vec<String>;

    fn has_collection(&self, name: &str) -> bool;

    fn add_collection(&mut self, name: &str);

    /// A client that knows nothing of Tidelock stores a content.
    fn foreign_set(&mut self, id: &DocumentId, content: Body, now_ms: u64) -> Result<(), PlatformError>;

    /// A client that knows nothing of Tidelock deletes a document.
    fn foreign_delete(&mut self, id: &DocumentId, now_ms: u64) -> Result<(), PlatformError>;

    /// What went wrong inside since the last call.
    fn take_faults(&mut self) -> Faults {
        Faults::default()
    }
}

/// What a content is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// JSON text.
    Json(Arc<[u8]>),
    /// Something else.
    Raw(Arc<[u8]>),
}

impl Body {
    /// Content and unreadable part of an entry.
    fn into_parts(self) -> (Option<Arc<[u8]>>, Option<String>) {
        match self {
            Body::Json(text) => (Some(text), None),
            Body::Raw(bytes) => (None, Some(format!("{} bytes that are not JSON", bytes.len()))),
        }
    }
}

/// A cluster that nodes and foreign writers share.
pub(crate) struct Cluster<M> {
    time: Arc<VirtualTime>,
    hall: Mutex<Hall<M>>,
    /// When it was made, where every call is told on standard error.
    told_from_ms: Option<u64>,
}

/// The model, and who waits for it.
struct Hall<M> {
    model: M,
    /// Puts under way, by arrival.
    arriving: BTreeMap<(u64, u64), (Vec<PutIf>, Reply)>,
    puts: u64,
    waiting: Vec<Waker>,
}

impl<M: Model> Cluster<M> {
    /// `tells`: every call is told on standard error.
    pub(crate) fn new(model: M, time: Arc<VirtualTime>, tells: bool) -> Arc<Self> {
        let hall = Hall { model, arriving: BTreeMap::new(), puts: 0, waiting: Vec::new() };
        let told_from_ms = tells.then(|| time.now_ms());
        Arc::new(Self { time, hall: Mutex::new(hall), told_from_ms })
    }

    /// A line for people.
    fn tell(&self, text: impl FnOnce() -> String) {
        let Some(from_ms) = self.told_from_ms else { return };
        let line = format!("{:>7} {}\n", self.time.now_ms() - from_ms, text());
        // A reader that went away does not matter.
        let _gone = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
    }

    /// Does something at this moment that nobody waits for.
    pub(crate) fn look<R>(&self, call: impl FnOnce(&mut M, u64) -> R) -> R {
        let now_ms = self.time.now_ms();
        let mut hall = self.hall();
        hall.settle(now_ms);
        call(&mut hall.model, now_ms)
    }

    /// Changes the model at this moment; whoever waits looks again.
    pub(crate) fn change<R>(&self, call: impl FnOnce(&mut M, u64) -> R) -> R {
        let result = self.look(call);
        self.hall().wake();
        result
    }

    /// Polls for something that the model may come to say.
    fn poll<R>(&self, context: &mut Context<'_>, look: impl FnOnce(&mut M, u64) -> Option<R>) -> Poll<R> {
        let now_ms = self.time.now_ms();
        let mut hall = self.hall();
        hall.settle(now_ms);
        if let Some(result) = look(&mut hall.model, now_ms) {
            return Poll::Ready(result);
        }
        if !hall.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            hall.waiting.push(context.waker().clone());
        }
        if let Some(due_ms) = hall.due_ms() {
            // Not ready: everything that was due has been done.
            let _ = self.time.poll_until(due_ms.max(now_ms + 1), context);
        }
        Poll::Pending
    }

    /// A put arrives at `at_ms`.
    fn send(&self, at_ms: u64, puts: Vec<PutIf>) -> Reply {
        let reply = Reply::default();
        let mut hall = self.hall();
        hall.puts += 1;
        let number = hall.puts;
        hall.arriving.insert((at_ms, number), (puts, Arc::clone(&reply)));
        // Whoever waits has to learn of another time to wake.
        hall.wake();
        reply
    }

    /// Puts under way do not arrive.
    pub(crate) fn drop_arriving(&self) {
        self.hall().arriving.clear();
    }

    fn hall(&self) -> MutexGuard<'_, Hall<M>> {
        self.hall.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Model> Hall<M> {
    fn settle(&mut self, now_ms: u64) {
        while let Some(due_ms) = self.due_ms().filter(|due_ms| *due_ms <= now_ms) {
            self.model.settle(due_ms);
            while let Some(entry) = self.arriving.first_entry().filter(|entry| entry.key().0 <= due_ms) {
                let (puts, reply) = entry.remove();
                self.model.put(&puts, reply, due_ms);
            }
            self.wake();
        }
        self.model.settle(now_ms);
    }

    fn due_ms(&self) -> Option<u64> {
        let arrival = self.arriving.first_key_value().map(|((at_ms, _), _)| *at_ms);
        arrival.into_iter().chain(self.model.due_ms()).min()
    }

    fn wake(&mut self) {
        std::mem::take(&mut self.waiting).into_iter().for_each(Waker::wake);
    }
}

/// Gives a reply, unless there is one.
fn answer(reply: &Reply, result: Result<PutOutcome, PlatformError>) {
    reply.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(result);
}

/// What a check finds: the collections that are not there.
fn findings<M: Model>(model: &M, collections: &[String]) -> Vec<Finding> {
    let missing = collections.iter().filter(|name| !model.has_collection(name));
    missing
        .map(|name| Finding {
            fatal: true,
            what: format!("the collection {name} does not exist"),
            remedy: "tidelock init".into(),
        })
        .collect()
}

/// Refuses what no entry may be.
fn check_limits(limits: &PlatformCapabilities, puts: &[PutIf]) -> Result<(), PlatformError> {
    use tidelock_store::platform::PutContent;
    let too_large = |what: &str, length: usize, most: u32| {
        if length <= most as usize {
            return Ok(());
        }
        Err(PlatformError::Refused(format!("a {what} of {length} bytes; at most {most} are possible")))
    };
    for put in puts {
        too_large("key", put.id.key.len(), limits.key_bytes_max)?;
        too_large("meta", put.meta.as_ref().map_or(0, |meta| meta.len()), limits.meta_bytes_max)?;
        if let PutContent::Put(content) = &put.content {
            too_large("content", content.len(), limits.content_bytes_max)?;
        }
    }
    Ok(())
}

/// The collections that a cluster begins with.
fn all_collections(application: &[String]) -> impl Iterator<Item = String> {
    application.iter().cloned().chain(system::ALL.map(str::to_owned))
}
