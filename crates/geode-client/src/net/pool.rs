//! All servers, and requests that any of them may answer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::locator;
use super::server::{Lease, Server, Signs};
use tokio::task::JoinSet;

use crate::config::Config;
use crate::error::Error;
use crate::value::{Key, text_of};
use crate::wire::codes::{ds, message};
use crate::wire::event_id;
use crate::wire::identity::ClientIdentity;
use crate::wire::locator::{Address, Answer, all_locators, all_servers};
use crate::wire::message::{Reply, Request};
use crate::wire::version_tag::VersionSource;

/// A request and how its reply comes.
pub(crate) struct Call {
    pub(crate) request: Request,
    pub(crate) is_chunked: bool,
    /// It changes something: without a reply its outcome is unknown.
    pub(crate) is_change: bool,
}

/// A reply and the server that gave it.
pub(crate) struct Answered {
    pub(crate) reply: Reply,
    pub(crate) member: VersionSource,
}

/// A thread of this client, for event ids. Its sequences rise, and it serves one request at a time.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) thread: i64,
    next: i64,
}

impl Lane {
    /// Takes `count` sequences; answers the event id of the first.
    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        let first = self.next;
        self.next += i64::try_from(count).unwrap_or(i64::MAX / 2);
        event_id::parts(self.thread, first)
    }
}

pub(crate) struct Pool {
    pub(crate) config: Config,
    pub(crate) identity: ClientIdentity,
    locators: Mutex<Vec<Address>>,
    servers: Mutex<BTreeMap<Address, Arc<Server>>>,
    rotation: AtomicUsize,
    lanes: Mutex<Vec<Lane>>,
    next_thread: AtomicI64,
    is_closed: AtomicBool,
    pub(crate) signs: Arc<Signs>,
}

impl Pool {
    pub(crate) fn new(config: Config, identity: ClientIdentity) -> Self {
        let signs = Arc::default();
        let server = |one: &Address| (one.clone(), Arc::new(Server::new(one.clone(), &config, &signs)));
        let servers = config.servers.iter().map(server);
        Self {
            locators: Mutex::new(config.locators.clone()),
            servers: Mutex::new(servers.collect()),
            config,
            identity,
            rotation: AtomicUsize::new(0),
            lanes: Mutex::default(),
            next_thread: AtomicI64::new(1),
            is_closed: AtomicBool::new(false),
            signs,
        }
    }

    pub(crate) fn locators(&self) -> Vec<Address> {
        self.locators.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn servers(&self) -> Vec<Arc<Server>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Asks the locators which servers and locators there are.
    pub(crate) async fn refresh(&self) -> Result<(), Error> {
        let known = self.locators();
        if known.is_empty() {
            return Ok(());
        }
        let ordinal = self.identity.ordinal;
        let answer = locator::ask(&known, &all_servers(ordinal, &self.config.server_group), &self.config).await?;
        if let Answer::Servers(found) = answer {
            let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
            // A server that is gone from the list and serves a feed is kept until the feed notices.
            servers.retain(|address, server| found.contains(address) || server.feeds.load(Ordering::Relaxed) > 0);
            for address in found {
                servers
                    .entry(address.clone())
                    .or_insert_with(|| Arc::new(Server::new(address, &self.config, &self.signs)));
            }
        }
        // Locators that were configured stay in the list: one that is down now may come back.
        if let Ok(Answer::Locators(found)) = locator::ask(&known, &all_locators(ordinal), &self.config).await {
            let mut locators = self.config.locators.clone();
            locators.extend(found.into_iter().filter(|one| !self.config.locators.contains(one)));
            *self.locators.lock().unwrap_or_else(PoisonError::into_inner) = locators;
        }
        Ok(())
    }

    /// The server for what is asked of a key where any will do: one for each key, as long as the servers, which are sorted, are the same.
    pub(crate) fn home_of(&self, key: &Key) -> Option<Address> {
        let servers = self.servers();
        let hash = key.java_hash().unwrap_or_default().unsigned_abs();
        let at = usize::try_from(hash).ok()?.checked_rem(servers.len())?;
        servers.get(at).map(|server| server.address.clone())
    }

    /// The servers in the order in which to try them.
    fn candidates(&self, preferred: Option<&Address>) -> Vec<Arc<Server>> {
        let mut servers = self.servers();
        if servers.is_empty() {
            return servers;
        }
        let turn = self.rotation.fetch_add(1, Ordering::Relaxed) % servers.len();
        servers.rotate_left(turn);
        servers.sort_by_key(|server| (server.is_suspect(), preferred != Some(&server.address)));
        servers
    }

    /// A connection to the preferred server, or to another one.
    pub(crate) async fn lease(&self, preferred: Option<&Address>) -> Result<Lease, Error> {
        self.check_open()?;
        let mut candidates = self.candidates(preferred);
        if candidates.is_empty() {
            self.refresh().await?;
            candidates = self.candidates(preferred);
        }
        let mut reasons = Vec::new();
        let mut refusal = None;
        for server in candidates {
            match server.lease(&self.config, &self.identity).await {
                Ok(lease) => return Ok(lease),
                Err(Error::Unreachable(reason)) => reasons.push(reason),
                Err(refused @ Error::Refused { .. }) => refusal = Some(refused),
                Err(error) => return Err(error),
            }
        }
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        Err(Error::Unreachable(if reasons.is_empty() {
            "the locators know no server".to_owned()
        } else {
            reasons.join("; ")
        }))
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.is_closed.load(Ordering::Relaxed) { Err(Error::Closed) } else { Ok(()) }
    }

    /// Sends a request to the preferred server, and on failure to others.
    pub(crate) async fn call(&self, mut call: Call, preferred: Option<&Address>) -> Result<Answered, Error> {
        let mut was_sent = false;
        let mut was_renewed = false;
        let mut last = None;
        let mut attempts = self.config.attempts_max;
        while attempts > 0 {
            attempts -= 1;
            let mut lease = match self.lease(preferred).await {
                Ok(lease) => lease,
                Err(Error::Unreachable(reason) | Error::Refused { reason, .. }) => {
                    last = Some(reason);
                    self.refresh_quietly().await;
                    continue;
                }
                // What was sent before may have been done.
                Err(error) if was_sent && call.is_change => {
                    last = Some(error.to_string());
                    break;
                }
                Err(error) => return Err(error),
            };
            let outcome = lease.exchange(&call.request, call.is_chunked, &self.config).await;
            match outcome.and_then(|reply| check(reply, call.is_chunked)) {
                Ok(reply) => {
                    return Ok(Answered { reply, member: lease.member() });
                }
                Err(Error::Unreachable(reason)) => last = Some(reason),
                Err(Error::Server { exception, message }) if is_shutting_down(&exception) => {
                    lease.server().failed();
                    last = Some(format!("{}: {exception}: {message}", lease.server().address));
                }
                // The server has forgotten whom it let in, and did nothing: another connection authenticates again. One on which that was
                // just done is refused for good.
                Err(Error::Authentication(reason)) if !was_renewed => {
                    was_renewed = true;
                    lease.server().forget_idle();
                    lease.discard();
                    last = Some(reason);
                    attempts += 1;
                    continue;
                }
                Err(error) => return Err(error),
            }
            was_sent = true;
            call.request.mark_retry();
        }
        let reason = last.unwrap_or_default();
        Err(if was_sent && call.is_change { Error::OutcomeUnknown(reason) } else { Error::Unreachable(reason) })
    }

    async fn refresh_quietly(&self) {
        // The request that asked for this fails by itself when there is no server.
        let _ = self.refresh().await;
    }

    /// A thread for the event ids of a change. [`give_back`](Self::give_back) it after a definite answer; after an
    /// indefinite one it must not be used again.
    pub(crate) fn lane(&self) -> Lane {
        let lane = self.lanes.lock().unwrap_or_else(PoisonError::into_inner).pop();
        lane.unwrap_or_else(|| Lane { thread: self.next_thread.fetch_add(1, Ordering::Relaxed), next: 1 })
    }

    pub(crate) fn give_back(&self, lane: Lane) {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).push(lane);
    }

    /// Tells the servers that this client goes. `keep` keeps a durable queue.
    pub(crate) async fn close(&self, keep: bool) {
        self.is_closed.store(true, Ordering::Relaxed);
        for server in self.servers() {
            server.leave(keep).await;
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }
}

/// Keeps the list of servers fresh and every server in use aware of this client, until the pool is gone.
pub(crate) async fn maintain(pool: Weak<Pool>) {
    let Some(interval) = pool.upgrade().map(|pool| pool.config.ping_interval) else { return };
    loop {
        tokio::time::sleep(interval).await;
        let Some(pool) = pool.upgrade().filter(|pool| !pool.is_closed()) else { return };
        // At once: what one of them has to wait for keeps no other one from being heard of.
        let mut running = JoinSet::new();
        for server in pool.servers() {
            if server.has_idle() || server.feeds.load(Ordering::Relaxed) > 0 {
                running.spawn(ping(Arc::clone(&pool), server));
            }
        }
        running.spawn(async move { pool.refresh_quietly().await });
        running.join_all().await;
    }
}

async fn ping(pool: Arc<Pool>, server: Arc<Server>) {
    if let Ok(mut lease) = server.lease(&pool.config, &pool.identity).await {
        // A failure marks the server by itself.
        let _ = lease.exchange(&Request::new(message::PING), false, &pool.config).await;
    }
}

/// The server goes away: others can answer.
fn is_shutting_down(exception: &str) -> bool {
    ["CacheClosedException", "DistributedSystemDisconnectedException", "ShutdownException"]
        .iter()
        .any(|name| exception.ends_with(name))
}

/// Turns exceptions and errors in a reply into errors.
pub(crate) fn check(reply: Reply, is_chunked: bool) -> Result<Reply, Error> {
    if reply.kind == message::EXCEPTION {
        return Err(Error::of_trace(&reply.parts.get(1).map(text_of).unwrap_or_default()));
    }
    if message::is_error(reply.kind) {
        return Err(Error::of_sentence(reply.parts.first().map(text_of).unwrap_or_default()));
    }
    if is_chunked {
        // An exception after the first chunk: a Java object, and its text.
        let thrown =
            reply.parts.iter().position(|part| part.is_object && part.bytes.first() == Some(&ds::SERIALIZABLE));
        if let Some(at) = thrown {
            let text = reply.parts.get(at + 1).map_or_else(|| "an exception".to_owned(), text_of);
            return Err(Error::of_trace(&text));
        }
    }
    Ok(reply)
}
