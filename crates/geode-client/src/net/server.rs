//! The connections to one server.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::connection::{Connection, close_request};
use crate::config::Config;
use crate::error::Error;
use crate::wire::handshake::Mode;
use crate::wire::identity::ClientIdentity;
use crate::wire::locator::Address;
use crate::wire::message::{Reply, Request};
use crate::wire::version_tag::VersionSource;

/// A server that failed is tried last for so long.
const SUSPECT_FOR: Duration = Duration::from_secs(5);

/// One server of the cluster, and the idle connections to it.
pub(crate) struct Server {
    pub(crate) address: Address,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    failed_at: Mutex<Option<Instant>>,
    /// Feeds that this server serves: it must hear of this client even if there are no requests.
    pub(crate) feeds: AtomicUsize,
    /// It has answered since it last failed.
    is_live: AtomicBool,
    signs: Arc<Signs>,
}

/// What all servers together have shown of the cluster.
#[derive(Default)]
pub(crate) struct Signs {
    /// Rises when a server fails, or comes, or goes: primaries may be elsewhere since.
    pub(crate) changes: AtomicUsize,
    /// How many servers have answered since they last failed.
    live: AtomicUsize,
    /// Rises when the last of these fails or goes: the cluster may be another one since, with other ids of types.
    pub(crate) losses: AtomicUsize,
}

impl Signs {
    fn lives(&self, server: &AtomicBool) {
        if !server.swap(true, Ordering::Relaxed) {
            self.live.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn fails(&self, server: &AtomicBool) {
        self.changes.fetch_add(1, Ordering::Relaxed);
        if server.swap(false, Ordering::Relaxed) && self.live.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.losses.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signs.fails(&self.is_live);
    }
}

impl Server {
    pub(crate) fn new(address: Address, config: &Config, signs: &Arc<Signs>) -> Self {
        signs.changes.fetch_add(1, Ordering::Relaxed);
        Self {
            address,
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(config.connections_per_server_max)),
            failed_at: Mutex::default(),
            feeds: AtomicUsize::new(0),
            is_live: AtomicBool::new(false),
            signs: Arc::clone(signs),
        }
    }

    /// Takes an idle connection, or opens one; waits while all are in use.
    pub(crate) async fn lease(self: &Arc<Self>, config: &Config, identity: &ClientIdentity) -> Result<Lease, Error> {
        let permit = self.permit(config.request_timeout).await?;
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => match Connection::open(&self.address, config, identity, Mode::Operations).await {
                Ok(connection) => connection,
                Err(error) => {
                    self.failed();
                    return Err(error);
                }
            },
        };
        self.signs.lives(&self.is_live);
        Ok(Lease { server: Arc::clone(self), connection: Some(connection), _permit: permit })
    }

    async fn permit(&self, patience: Duration) -> Result<OwnedSemaphorePermit, Error> {
        // Nearly always: without a timer.
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        let permits = Arc::clone(&self.permits).acquire_owned();
        let late = |_| Error::Unreachable(format!("{}: all connections are in use", self.address));
        timeout(patience, permits).await.map_err(late)?.map_err(|_| Error::Closed)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the idle connections.
    pub(crate) fn forget_idle(&self) {
        self.idle().clear();
    }

    pub(crate) fn has_idle(&self) -> bool {
        !self.idle().is_empty()
    }

    /// The other connections are probably dead, too.
    pub(crate) fn failed(&self) {
        self.forget_idle();
        self.signs.fails(&self.is_live);
        *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    pub(crate) fn is_suspect(&self) -> bool {
        let failed_at = *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner);
        failed_at.is_some_and(|at| at.elapsed() < SUSPECT_FOR)
    }

    /// Ends the idle connections, and says so: with the last one of a client the server ends its queue, unless it is durable and `keep`.
    pub(crate) async fn leave(&self, keep: bool) {
        let connections = std::mem::take(&mut *self.idle());
        for mut connection in connections {
            // A server that does not hear it notices the closed connection, and keeps a durable queue for its timeout.
            let _ = connection.send(&close_request(keep)).await;
        }
    }
}

/// A connection in use. It goes back when it is dropped, unless a request is still under way on it.
pub(crate) struct Lease {
    server: Arc<Server>,
    connection: Option<Connection>,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Who the server is, as a maker of versions.
    pub(crate) fn member(&self) -> VersionSource {
        let told = self.connection.as_ref().and_then(|connection| connection.welcome.member.clone());
        match told {
            Some(member) => member,
            None => VersionSource::Member(bytes::Bytes::new()),
        }
    }

    pub(crate) fn connection(&mut self) -> Result<&mut Connection, Error> {
        self.connection.as_mut().ok_or(Error::Closed)
    }

    /// Whether the connection can still be used: a request whose caller went away before its reply leaves it useless.
    pub(crate) fn is_usable(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| !connection.is_busy)
    }

    /// Ends the connection instead of giving it back.
    pub(crate) fn discard(&mut self) {
        self.connection = None;
    }

    /// Sends a request and waits for its reply, for as long as the configuration allows.
    pub(crate) async fn exchange(
        &mut self,
        request: &Request,
        is_chunked: bool,
        config: &Config,
    ) -> Result<Reply, Error> {
        let connection = self.connection.as_mut().ok_or(Error::Closed)?;
        if connection.is_busy {
            // The next message on it answers the request that was given up.
            self.connection = None;
            let address = &self.server.address;
            return Err(Error::Unreachable(format!("{address}: an earlier request on the connection was given up")));
        }
        let answer = connection.exchange(request, is_chunked, config.request_timeout).await;
        let error = match answer {
            Ok(reply) => return Ok(reply),
            Err(error) => error,
        };
        self.connection = None;
        self.server.failed();
        let Error::Unreachable(reason) = error else { return Err(error) };
        Err(Error::Unreachable(format!("{}: {reason}", self.server.address)))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && !connection.is_busy
        {
            self.server.idle().push(connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_server_that_fails_is_a_loss() {
        let config = Config::with_locator(Address::new("h", 1));
        let signs = Arc::<Signs>::default();
        let [one, other] = [2, 3].map(|port| Server::new(Address::new("h", port), &config, &signs));
        let losses = || signs.losses.load(Ordering::Relaxed);
        one.failed();
        assert_eq!(losses(), 0, "nothing was known of the cluster");
        signs.lives(&one.is_live);
        signs.lives(&one.is_live);
        signs.lives(&other.is_live);
        one.failed();
        one.failed();
        assert_eq!(losses(), 0, "the other one lives");
        other.failed();
        assert_eq!(losses(), 1);
        signs.lives(&other.is_live);
        drop(other);
        assert_eq!(losses(), 2, "it is no server of the cluster any more");
    }
}
