//! Subscriptions: a server keeps a queue of events for this client, other servers keep copies, and nothing is
//! forgotten before it is acknowledged.

mod duplicates;
mod feed;
mod interest;
mod keeper;
#[cfg(test)]
mod tests;
mod wants;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

pub use interest::{InitialEntry, Interest, InterestIn, Snapshot, SnapshotKind};

use crate::client::Client;
use crate::error::Error;
use crate::net::pool::check;
use crate::wire::codes::message;
use crate::wire::event_id::EventId;
use crate::wire::message::Request;
use crate::wire::notification::{Change, RegionChange};
use duplicates::latest_of;
use interest::Want;
use keeper::Keeper;

/// How many events wait for the caller before the server's socket is not read any more.
const EVENTS_MAX: usize = 1024;
/// How many ends of feeds wait to be looked at.
const ENDS_MAX: usize = 64;
/// How often missing servers are looked for.
const REPAIR_INTERVAL: Duration = Duration::from_secs(1);
/// How often who waits for an event looks whether the client is closed.
const CLOSED_CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// The most acknowledgements in one message.
const ACKNOWLEDGED_MAX: usize = 1000;

/// What a subscription tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An entry changed.
    Change(Box<Change>),
    /// A whole region changed. There are no events for its entries.
    Region {
        /// The full path.
        region: String,
        /// What happened.
        change: RegionChange,
        /// The identity of the change, with which it is acknowledged.
        id: EventId,
    },
    /// Everything that waited in the queue has been told.
    CaughtUp,
    /// Events may be missing before this point. The servers remember from here on: read all entries again.
    Lost(Loss),
    /// No server has the queue, and none takes it, for this reason: no events come. It is tried again every second, and told once in an
    /// outage for each kind of reason. [`CaughtUp`](Self::CaughtUp) or [`Lost`](Self::Lost) comes when it is over. Where the reason is
    /// [`Error::Authentication`] or [`Error::DurableIdInUse`] somebody has to do something about it.
    Interrupted(Error),
}

/// Why events may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// No server had a queue for this client: it is the first time, or the servers that had it are gone.
    NoQueue,
    /// The client was away for longer than its durable timeout.
    TimedOut,
    /// A server sent something that this client cannot read. The queue was given up.
    Unreadable,
    /// A region that was destroyed is there again. Until now there were no events of it; the queue is the same.
    RegionReturned,
}

/// What a subscription begins with.
#[derive(Clone, Debug, Default)]
pub struct Subscribe {
    /// On how many further servers a copy of the queue is kept.
    pub redundancy: usize,
    /// The regions to hear of.
    pub interests: Vec<Interest>,
    /// Continuous queries: names of the caller's choice, and OQL. Only a client that the cluster lets query hears.
    pub queries: Vec<(String, String)>,
}

/// A client's event queue. Dropping it ends the delivery; a durable queue is kept by the servers for its timeout.
pub struct Subscription {
    events: mpsc::Receiver<Event>,
    keeper: Arc<Keeper>,
}

impl Client {
    /// Begins to hear of changes. There is one subscription of a client at a time.
    ///
    /// All interests and queries are registered before the queue begins to flow. The first event is [`Event::Lost`]
    /// unless a durable queue was found: then come the events that waited, and [`Event::CaughtUp`].
    pub async fn subscribe(&self, subscribe: Subscribe) -> Result<Subscription, Error> {
        let (events_in, events) = mpsc::channel(EVENTS_MAX);
        let (ends_in, ends) = mpsc::channel(ENDS_MAX);
        let keeper = Arc::new(Keeper::new(self.clone(), subscribe, events_in, ends_in));
        keeper.start().await?;
        tokio::spawn(keeper::keep(Arc::downgrade(&keeper), ends));
        Ok(Subscription { events, keeper })
    }
}

impl Subscription {
    /// Waits for the next event. `None` once the client is closed, which is noticed within a second, and what was waiting has been told.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match timeout(CLOSED_CHECK_INTERVAL, self.events.recv()).await {
                Ok(event) => return event,
                Err(_) if self.keeper.client().pool().is_closed() => return None,
                Err(_) => {}
            }
        }
    }

    /// Whether an event is waiting, so that [`next`](Self::next) would answer at once.
    pub fn has_event(&self) -> bool {
        !self.events.is_empty()
    }

    /// Registers an interest, and answers with what is there if the interest asks for it.
    ///
    /// Take events meanwhile if there may be many: while a server replaces another one, this waits.
    pub async fn register(&self, interest: Interest) -> Result<Snapshot, Error> {
        self.keeper.want(Want::Interest(interest)).await
    }

    /// Takes an interest back. Events that wait already still come.
    pub async fn unregister(&self, interest: &Interest) -> Result<(), Error> {
        self.keeper.drop_interest(interest).await
    }

    /// Registers a continuous query. Its events come as [`Change`]s that name it, own changes included.
    pub async fn add_query(&self, name: &str, oql: &str) -> Result<(), Error> {
        self.keeper.want(Want::Query { name: name.to_owned(), oql: oql.to_owned() }).await.map(drop)
    }

    /// Ends a continuous query.
    pub async fn drop_query(&self, name: &str) -> Result<(), Error> {
        self.keeper.drop_query(name).await
    }

    /// Waits until the queue has as many copies as were asked for. Where there are fewer servers, it waits for more of them.
    /// A copy that may lack events does not count: one that a server keeps of a durable queue, and that could not be told of an interest,
    /// never does.
    pub async fn redundancy_restored(&self) {
        while !self.keeper.is_redundant().await {
            tokio::time::sleep(REPAIR_INTERVAL / 4).await;
        }
    }

    /// Tells the servers that these events, and all earlier ones of the same threads, need not come again. Do it after
    /// what they brought is durable here. Without a durable queue it only spares repetitions after a fail-over.
    pub async fn acknowledge<'a>(&self, ids: impl IntoIterator<Item = &'a EventId>) -> Result<(), Error> {
        let latest = latest_of(ids);
        for some in latest.chunks(ACKNOWLEDGED_MAX) {
            let request = some.iter().fold(Request::new(message::PERIODIC_ACK), |request, id| {
                let mut object = Vec::with_capacity(64);
                id.write_object(&mut object);
                request.object(&object)
            });
            let mut lease = self.keeper.lease_primary().await?;
            let config = &self.keeper.client().pool().config;
            check(lease.exchange(&request, false, config).await?, false)?;
        }
        Ok(())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.keeper.stop();
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Subscription").finish_non_exhaustive()
    }
}
