//! One server's connection for events, and the task that reads it.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::duplicates::Duplicates;
use super::{Event, Loss};
use crate::error::Error;
use crate::net::connection::Connection;
use crate::net::pool::Pool;
use crate::net::server::Server;
use crate::wire::handshake::Mode;
use crate::wire::notification::{self, Notification, RegionChange};
use crate::wire::version_tag::VersionSource;

/// Numbers the feeds of a subscription.
pub(super) type FeedId = u64;

/// How a feed ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) feed: FeedId,
    /// The server sent something that cannot be read, and would send it again.
    pub(super) is_unreadable: bool,
}

/// A feed that runs.
pub(super) struct Feed {
    pub(super) id: FeedId,
    pub(super) server: Arc<Server>,
    /// Who the server is: another process at its address is another one.
    pub(super) member: VersionSource,
    task: JoinHandle<()>,
}

/// What all feeds of a subscription share.
#[derive(Clone)]
pub(super) struct Sinks {
    pub(super) events: mpsc::Sender<Event>,
    pub(super) ends: mpsc::Sender<End>,
    pub(super) duplicates: Arc<Mutex<Duplicates>>,
    /// Regions that were destroyed: the servers have forgotten the interest in them.
    pub(super) destroyed: Arc<Mutex<BTreeSet<String>>>,
}

impl Feed {
    /// Starts reading. The loss is told before the first event; reading begins when `go` says so, and `first` tells when the queue flows.
    pub(super) fn start(
        id: FeedId,
        server: Arc<Server>,
        connection: Connection,
        member: VersionSource,
        sinks: Sinks,
        pool: Arc<Pool>,
        (go, first): (oneshot::Receiver<Option<Loss>>, oneshot::Sender<()>),
    ) -> Self {
        server.feeds.fetch_add(1, Ordering::Relaxed);
        let of = (Arc::clone(&server), member.clone());
        let task = tokio::spawn(async move {
            let is_unreadable = run(connection, (&of.0, &of.1), &sinks, &pool, go, first).await;
            // The keeper is gone when nobody hears it.
            let _ = sinks.ends.send(End { feed: id, is_unreadable }).await;
        });
        Self { id, server, member, task }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.server.feeds.fetch_sub(1, Ordering::Relaxed);
        self.task.abort();
    }
}

/// Reads until the connection ends; answers whether something could not be read.
async fn run(
    mut connection: Connection,
    (server, member): (&Server, &VersionSource),
    sinks: &Sinks,
    pool: &Pool,
    go: oneshot::Receiver<Option<Loss>>,
    first: oneshot::Sender<()>,
) -> bool {
    let Ok(loss) = go.await else { return false };
    if let Some(loss) = loss {
        sinks.duplicates.lock().unwrap_or_else(PoisonError::into_inner).forget();
        if sinks.events.send(Event::Lost(loss)).await.is_err() {
            return false;
        }
    }
    let mut first = Some(first);
    // Kept: the server gives the queue up with the last of the client's connections for requests.
    let mut authenticated = None;
    // The server pings; one that is silent for longer is gone, as Geode's own clients see it.
    let silence_max = connection.welcome.ping_interval.mul_f32(1.25) + Duration::from_secs(1);
    loop {
        let reply = match timeout(silence_max, connection.receive()).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(Error::Protocol(_))) => return true,
            Ok(Err(_)) | Err(_) => return false,
        };
        let notification = notification::read(&reply, member);
        if !matches!(notification, Ok(Notification::Nothing))
            && let Some(first) = first.take()
        {
            // Nobody asks of a queue that was begun.
            let _ = first.send(());
        }
        let event = match notification {
            Ok(Notification::Entry(change)) => Event::Change(change),
            Ok(Notification::Region { region, change, id }) => Event::Region { region, change, id },
            Ok(Notification::Marker) => Event::CaughtUp,
            Ok(Notification::Reauthenticate) => {
                authenticated = authenticate_again(server, pool).await.or(authenticated);
                continue;
            }
            Ok(Notification::Nothing) => continue,
            Err(_) => return true,
        };
        let id = match &event {
            Event::Change(change) => Some(&change.id),
            Event::Region { id, .. } => Some(id),
            Event::CaughtUp | Event::Lost(_) | Event::Interrupted(_) => None,
        };
        let is_first = id.is_none_or(|id| sinks.duplicates.lock().unwrap_or_else(PoisonError::into_inner).is_first(id));
        if let Event::Region { region, change: RegionChange::Destroyed, .. } = &event {
            sinks.destroyed.lock().unwrap_or_else(PoisonError::into_inner).insert(region.clone());
        }
        // A caller that takes no events keeps the socket from being read: the server's queue holds the rest.
        if is_first && sinks.events.send(event).await.is_err() {
            return false;
        }
    }
}

/// Whatever connection of this client authenticates, the server takes it for the queue. One that is open has done so before.
async fn authenticate_again(server: &Server, pool: &Pool) -> Option<Connection> {
    // A server that was not satisfied in time closes the connection of the feed: what a new one meets with is told.
    Connection::open(&server.address, &pool.config, &pool.identity, Mode::Operations).await.ok()
}
