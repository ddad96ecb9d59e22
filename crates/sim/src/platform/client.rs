//! A node's access to a cluster: the platform that a [`ClusterStore`](tidelock_store) is made over.

use std::future::poll_fn;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};

use tidelock_core::ids::DocumentId;
use tidelock_server::TimeSource;
use tidelock_store::BoxFuture;
use tidelock_store::platform::{
    Entry, Feed, FeedEvent, Finding, Platform, PlatformCapabilities, PlatformError, Position, PutContent, PutIf,
    PutOutcome, Scan,
};

use super::path::{Fate, Trip, unavailable};
use super::{Cluster, Model, Path, Reply, findings};

/// After this many milliseconds without an answer a put is unavailable.
const PUT_MS_MAX: u64 = 2_500;
/// Entries of one page of a scan, at most.
const SCAN_PAGE: usize = 7;
/// Bytes of a content that are told.
const SHORT: usize = 60;

/// One node's client.
pub(crate) struct PlatformClient<M> {
    cluster: Arc<Cluster<M>>,
    path: Arc<Path>,
    node: String,
}

impl<M: Model> PlatformClient<M> {
    /// The client of the node of that name. A node that starts again keeps its name.
    pub(crate) fn new(cluster: Arc<Cluster<M>>, path: Arc<Path>, node: &str) -> Self {
        Self { cluster, path, node: node.to_owned() }
    }

    async fn wait(&self, ms: u64) {
        wait(&self.path, ms).await;
    }

    /// A call that may be repeated at will.
    async fn ask<R>(&self, call: impl FnOnce(&mut M, u64) -> Result<R, PlatformError>) -> Result<R, PlatformError> {
        let Trip { to_ms, back_ms, fate } = self.path.draw();
        self.wait(to_ms).await;
        let result =
            if fate == Fate::Fine { self.cluster.look(call) } else { Err(unavailable("a call without an answer")) };
        self.wait(back_ms).await;
        result
    }

    async fn put_told(&self, puts: &[PutIf]) -> Result<PutOutcome, PlatformError> {
        let outcome = self.put(puts).await;
        let what = |put: &PutIf| {
            let content = match &put.content {
                PutContent::Keep => "kept".to_owned(),
                PutContent::Delete => "deleted".to_owned(),
                PutContent::Put(text) => short(text),
            };
            format!(" {} {content}", put.id)
        };
        self.cluster.tell(|| {
            let became = match &outcome {
                Ok(PutOutcome::Done(_)) => "done".to_owned(),
                other => format!("{other:?}"),
            };
            format!("{} puts{}: {became}", self.node, puts.iter().map(what).collect::<String>())
        });
        outcome
    }

    async fn get_told(&self, ids: &[DocumentId]) -> Result<Vec<Entry>, PlatformError> {
        let found = self.ask(|model, now_ms| ids.iter().map(|id| model.get(id, now_ms)).collect()).await;
        self.cluster.tell(|| {
            let what = |(id, entry): (&DocumentId, &Entry)| {
                let meta = if entry.meta.is_some() { "" } else { " without meta" };
                format!(" {id} {}{meta}", entry.content.as_deref().map_or("absent".to_owned(), short))
            };
            let found: String = match &found {
                Ok(entries) => ids.iter().zip(entries).map(what).collect(),
                Err(error) => format!(" {error}"),
            };
            format!("{} gets{found}", self.node)
        });
        found
    }

    async fn put(&self, puts: &[PutIf]) -> Result<PutOutcome, PlatformError> {
        super::check_limits(&self.capabilities(), puts)?;
        let Trip { to_ms, back_ms, fate } = self.path.draw();
        let arrives_ms = self.path.time.now_ms() + to_ms;
        match fate {
            Fate::Refused => {
                self.wait(to_ms + back_ms).await;
                return Err(unavailable("a put that did not arrive"));
            }
            Fate::Late(later_ms) => {
                self.cluster.send(arrives_ms + later_ms, puts.to_vec());
                self.wait(to_ms + back_ms).await;
                return Err(unavailable("a put that will happen"));
            }
            Fate::Fine | Fate::Unanswered => {}
        }
        let reply = self.cluster.send(arrives_ms, puts.to_vec());
        let answer = poll_fn(|context| self.poll_reply(context, &reply, arrives_ms + PUT_MS_MAX)).await;
        let cuts = answer.is_ok() && puts.iter().any(|put| put.meta.is_some()) && self.path.has_put();
        self.wait(back_ms).await;
        if fate == Fate::Fine && !cuts { answer } else { Err(unavailable("a put whose answer was lost")) }
    }

    fn poll_reply(
        &self,
        context: &mut Context<'_>,
        reply: &Reply,
        deadline_ms: u64,
    ) -> Poll<Result<PutOutcome, PlatformError>> {
        let look = |_: &mut M, _| reply.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Poll::Ready(answer) = self.cluster.poll(context, look) {
            return Poll::Ready(answer);
        }
        self.path.time.poll_until(deadline_ms, context).map(|()| Err(unavailable("no answer in time")))
    }
}

/// The beginning of a content, for people.
fn short(text: &[u8]) -> String {
    String::from_utf8_lossy(text.get(..SHORT).unwrap_or(text)).into_owned()
}

async fn wait(path: &Path, ms: u64) {
    let at_ms = path.time.now_ms() + ms;
    poll_fn(|context| path.time.poll_until(at_ms, context)).await;
}

impl<M: Model> Platform for PlatformClient<M> {
    fn capabilities(&self) -> PlatformCapabilities {
        self.cluster.look(|model, _| model.capabilities())
    }

    fn get<'a>(&'a self, ids: &'a [DocumentId]) -> BoxFuture<'a, Result<Vec<Entry>, PlatformError>> {
        Box::pin(self.get_told(ids))
    }

    fn together(&self, ids: &[&DocumentId]) -> bool {
        self.cluster.look(|model, now_ms| model.together(ids, now_ms))
    }

    fn put_if<'a>(&'a self, puts: &'a [PutIf]) -> BoxFuture<'a, Result<PutOutcome, PlatformError>> {
        Box::pin(self.put_told(puts))
    }

    fn feed<'a>(
        &'a self,
        collections: &'a [String],
        from: Option<&'a Position>,
    ) -> BoxFuture<'a, Result<Box<dyn Feed>, PlatformError>> {
        Box::pin(async move {
            let stream = self.ask(|model, now_ms| model.open(&self.node, collections, from, now_ms)).await?;
            let (cluster, path) = (Arc::clone(&self.cluster), Arc::clone(&self.path));
            Ok(Box::new(ModelFeed { cluster, path, stream, looks_ms: None }) as Box<dyn Feed>)
        })
    }

    fn scan<'a>(&'a self, collection: &'a str) -> BoxFuture<'a, Result<Box<dyn Scan>, PlatformError>> {
        Box::pin(async move {
            self.ask(|model, _| {
                let there = model.has_collection(collection);
                there.then_some(()).ok_or_else(|| PlatformError::Refused(format!("no collection {collection}")))
            })
            .await?;
            let client = Self::new(Arc::clone(&self.cluster), Arc::clone(&self.path), &self.node);
            Ok(Box::new(ModelScan { client, collection: collection.to_owned(), after: None }) as Box<dyn Scan>)
        })
    }

    fn check<'a>(&'a self, collections: &'a [String]) -> BoxFuture<'a, Result<Vec<Finding>, PlatformError>> {
        Box::pin(self.ask(move |model, _| Ok(findings(model, collections))))
    }

    fn configure<'a>(&'a self, collections: &'a [String]) -> BoxFuture<'a, Result<Vec<Finding>, PlatformError>> {
        Box::pin(self.ask(move |model, _| {
            for name in collections {
                if !model.has_collection(name) {
                    model.add_collection(name);
                }
            }
            Ok(findings(model, collections))
        }))
    }
}

/// A feed that looks some time after there is something to see.
struct ModelFeed<M: Model> {
    cluster: Arc<Cluster<M>>,
    path: Arc<Path>,
    stream: M::Stream,
    /// When it looks, while there is something to see.
    looks_ms: Option<u64>,
}

impl<M: Model> ModelFeed<M> {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<FeedEvent, PlatformError>> {
        if self.path.is_cut() {
            self.cluster.look(|model, now_ms| model.close(&mut self.stream, now_ms));
            return Poll::Ready(Err(unavailable("the feed is cut off")));
        }
        let stream = &mut self.stream;
        let looks_ms = match self.looks_ms {
            Some(at_ms) => at_ms,
            None => match self.cluster.poll(context, |model, _| model.has_news(stream).then_some(())) {
                Poll::Ready(()) => self.path.time.now_ms() + self.path.delay_ms(),
                Poll::Pending => return Poll::Pending,
            },
        };
        self.looks_ms = Some(looks_ms);
        if self.path.time.poll_until(looks_ms, context).is_pending() {
            return Poll::Pending;
        }
        match self.cluster.poll(context, |model, now_ms| model.next(stream, now_ms).transpose()) {
            Poll::Ready(event) => {
                let more = self.cluster.look(|model, _| model.has_news(stream));
                self.looks_ms = self.looks_ms.filter(|_| more);
                Poll::Ready(event)
            }
            Poll::Pending => {
                self.looks_ms = None;
                Poll::Pending
            }
        }
    }
}

impl<M: Model> Feed for ModelFeed<M> {
    fn next(&mut self) -> BoxFuture<'_, Result<FeedEvent, PlatformError>> {
        Box::pin(poll_fn(|context| self.poll_next(context)))
    }

    fn acknowledge(&mut self, position: &Position) -> BoxFuture<'_, Result<(), PlatformError>> {
        let position = position.clone();
        Box::pin(async move {
            let Trip { to_ms, back_ms, fate } = self.path.draw();
            wait(&self.path, to_ms).await;
            let done = match fate {
                Fate::Refused | Fate::Late(_) => Err(unavailable("an acknowledgement that did not arrive")),
                Fate::Fine | Fate::Unanswered => {
                    self.cluster.look(|model, _| model.acknowledge(&self.stream, &position))
                }
            };
            wait(&self.path, back_ms).await;
            if fate == Fate::Unanswered { Err(unavailable("an acknowledgement without an answer")) } else { done }
        })
    }
}

impl<M: Model> Drop for ModelFeed<M> {
    fn drop(&mut self) {
        self.cluster.look(|model, now_ms| model.close(&mut self.stream, now_ms));
    }
}

/// A scan that asks page by page.
struct ModelScan<M: Model> {
    client: PlatformClient<M>,
    collection: String,
    after: Option<String>,
}

impl<M: Model> Scan for ModelScan<M> {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<(String, Entry)>, PlatformError>> {
        Box::pin(async move {
            let Self { client, collection, after } = self;
            let page = client.ask(|model, now_ms| {
                let keys = model.keys(collection, after.as_deref(), SCAN_PAGE);
                let entry = |key: String| {
                    let entry = model.get(&DocumentId::new(collection.as_str(), key.as_str()), now_ms)?;
                    Ok((key, entry))
                };
                keys.into_iter().map(entry).collect::<Result<Vec<_>, _>>()
            });
            let page = page.await?;
            if let Some((key, _)) = page.last() {
                self.after = Some(key.clone());
            }
            Ok(page)
        })
    }
}
