//! Keeps the feeds of a subscription: one primary, and as many secondaries as were asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::{Discriminant, discriminant};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::feed::{End, Feed, FeedId, Sinks};
use super::interest::Want;
use super::{Event, Loss, REPAIR_INTERVAL, Subscribe};
use crate::client::{Client, FREE_WITHIN, REFUSED_RETRY};
use crate::config::Config;
use crate::error::Error;
use crate::net::connection::{Connection, open_stream};
use crate::net::locator;
use crate::net::pool::{Pool, check};
use crate::net::server::{Lease, Server};
use crate::wire::codes::message;
use crate::wire::handshake::{Mode, QueueRole};
use crate::wire::locator::{Address, Answer, queue_servers};
use crate::wire::message::Request;
use crate::wire::version_tag::VersionSource;

/// How long a queue that was found may take to send what waits in it, or that nothing does.
const FLOWS_WITHIN: Duration = Duration::from_secs(10);

pub(super) struct Keeper {
    client: Client,
    redundancy: usize,
    sinks: Sinks,
    is_stopped: AtomicBool,
    pub(super) state: Mutex<State>,
}

pub(super) struct State {
    pub(super) primary: Option<Feed>,
    pub(super) secondaries: Vec<Feed>,
    pub(super) wants: Vec<Want>,
    next_feed: FeedId,
    /// Servers whose queues may lack events that nobody was told are lost: one was begun and nobody knows of it yet, or was begun as a copy
    /// while the primary went, or lacks an interest. Such a copy begins empty, and no server says so. With each the server of the primary
    /// when it was begun; none where no primary makes it whole.
    pub(super) doubtful: BTreeMap<Address, Option<VersionSource>>,
    /// The kinds of reasons that were told in the present outage.
    told: Vec<Discriminant<Error>>,
}

impl State {
    /// From here on the queue of a server is doubtful.
    fn doubt(&mut self, server: &Address) {
        let primary = self.primary.as_ref().map(|feed| feed.member.clone());
        self.doubtful.insert(server.clone(), primary);
    }

    fn end_feeds(&mut self) {
        self.primary = None;
        self.secondaries.clear();
    }

    fn is_doubtful(&self, feed: &Feed) -> bool {
        self.doubtful.contains_key(&feed.server.address)
    }
}

/// A feed whose connection is open and that does not read yet.
struct Opened {
    feed: Feed,
    go: oneshot::Sender<Option<Loss>>,
    /// Told at the first message that comes by way of the queue; gone with the feed.
    flows: oneshot::Receiver<()>,
    waiting: i32,
    /// Whether the server's queue was before.
    was_doubtful: bool,
}

impl Keeper {
    pub(super) fn new(
        client: Client,
        subscribe: Subscribe,
        events: mpsc::Sender<Event>,
        ends: mpsc::Sender<End>,
    ) -> Self {
        let interests = subscribe.interests.into_iter().map(Want::Interest);
        let queries = subscribe.queries.into_iter().map(|(name, oql)| Want::Query { name, oql });
        let wants = interests.chain(queries).collect();
        Self {
            client,
            redundancy: subscribe.redundancy,
            sinks: Sinks { events, ends, duplicates: Arc::default(), destroyed: Arc::default() },
            is_stopped: AtomicBool::new(false),
            state: Mutex::new(State {
                primary: None,
                secondaries: Vec::new(),
                wants,
                next_feed: 0,
                doubtful: BTreeMap::new(),
                told: Vec::new(),
            }),
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn pool(&self) -> &Arc<Pool> {
        self.client.pool()
    }

    pub(super) fn config(&self) -> &Config {
        &self.pool().config
    }

    pub(super) fn is_durable(&self) -> bool {
        self.config().durable.is_some()
    }

    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        // Feeds that nobody ends here end with the keeper.
        if let Ok(mut state) = self.state.try_lock() {
            state.end_feeds();
        }
    }

    pub(super) async fn start(&self) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        let deadline = Instant::now() + FREE_WITHIN;
        loop {
            match self.begin(&mut state, Loss::NoQueue).await {
                Err(Error::DurableIdInUse { .. }) if Instant::now() < deadline => sleep(REFUSED_RETRY).await,
                begun => break begun?,
            }
        }
        self.replenish(&mut state).await;
        Ok(())
    }

    /// Finds the queue, or begins a new one.
    async fn begin(&self, state: &mut State, loss: Loss) -> Result<(), Error> {
        let mut reasons = Vec::new();
        for server in self.queue_candidates().await? {
            match self.begin_on(state, &server, loss).await {
                Ok(()) => return Ok(()),
                Err(Error::Unreachable(reason)) => reasons.push(reason),
                Err(refused @ Error::Refused { .. }) => reasons.push(refused.to_string()),
                Err(in_use @ Error::DurableIdInUse { .. }) => {
                    // The server counts connections by durable id: those of this client keep it from noticing that the one before is gone.
                    server.leave(true).await;
                    return Err(in_use);
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::Unreachable(reasons.join("; ")))
    }

    async fn begin_on(&self, state: &mut State, server: &Arc<Server>, loss: Loss) -> Result<(), Error> {
        let opened = self.open(state, server, Mode::Primary).await?;
        let loss = match opened.waiting {
            -1 => Some(Loss::TimedOut),
            // Only a durable client finds a queue that is its own.
            0.. if self.is_durable() && !opened.was_doubtful => None,
            _ => Some(loss),
        };
        if loss.is_none() {
            state.doubtful.remove(&server.address);
        }
        let mut lease = server.lease(self.config(), &self.pool().identity).await?;
        for want in self.possible(state) {
            want.register(&mut lease, self.is_durable(), self.config()).await?;
        }
        if self.is_durable() {
            let request = Request::new(message::CLIENT_READY).raw(&[0]);
            check(lease.exchange(&request, false, self.config()).await?, false)?;
        }
        // The feed is gone already when nobody takes this; its end is reported by itself.
        let _ = opened.go.send(loss);
        // After what waits in it comes a marker. Geode interrupts the thread that sends a queue when its client goes. If the client is back
        // before the thread has noticed, it ends, and nothing starts another one however often the client comes
        // (`MessageDispatcher.runDispatcher`, `CacheClientProxy.startOrResumeMessageDispatcher`).
        let patience = FLOWS_WITHIN.min(self.config().request_timeout);
        if self.is_durable() && opened.waiting >= 0 && timeout(patience, opened.flows).await.is_err() {
            drop(opened.feed);
            drop(lease);
            server.leave(false).await;
            // As a copy it would not flow either.
            state.doubtful.insert(server.address.clone(), None);
            return Err(Error::Unreachable(format!("{}: the queue does not flow", server.address)));
        }
        state.primary = Some(opened.feed);
        // What it lacks is told.
        state.doubtful.remove(&server.address);
        Ok(())
    }

    /// Opens the connection of a feed.
    async fn open(&self, state: &mut State, server: &Arc<Server>, mode: Mode) -> Result<Opened, Error> {
        let (address, config) = (&server.address, self.config());
        let stream = open_stream(address, config).await?;
        let was_doubtful = state.doubtful.contains_key(address);
        if !was_doubtful {
            state.doubt(address);
        }
        let connection = Connection::greet(stream, address, config, &self.pool().identity, mode).await;
        // Only where no answer came may the server have begun a queue all the same.
        if connection.as_ref().is_err_and(|error| !matches!(error, Error::Unreachable(_))) && !was_doubtful {
            state.doubtful.remove(address);
        }
        let connection = connection?;
        // Asked for once the feed is there: whoever answers is the process that it is of, or the feed has ended.
        let member = self.member_of(server).await?;
        let waiting = connection.welcome.queue.waiting;
        state.next_feed += 1;
        let (go, wait) = oneshot::channel();
        let (id, server, sinks, pool) =
            (state.next_feed, Arc::clone(server), self.sinks.clone(), Arc::clone(self.pool()));
        let (first, flows) = oneshot::channel();
        let feed = Feed::start(id, server, connection, member, sinks, pool, (wait, first));
        Ok(Opened { feed, go, flows, waiting, was_doubtful })
    }

    /// Who a server is: an operations connection tells, and a subscription does not. One that waits may be of a process that is gone, which a
    /// request shows; all that wait go with it.
    async fn member_of(&self, server: &Arc<Server>) -> Result<VersionSource, Error> {
        for _ in 0..2 {
            let mut lease = server.lease(self.config(), &self.pool().identity).await?;
            match lease.exchange(&Request::new(message::PING), false, self.config()).await {
                Ok(_) => return Ok(lease.member()),
                Err(Error::Unreachable(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Unreachable(format!("{}: no request is answered", server.address)))
    }

    /// The servers to try for the queue: those that have it first, the primary of them before all.
    async fn queue_candidates(&self) -> Result<Vec<Arc<Server>>, Error> {
        self.pool().refresh().await?;
        let mut known = Vec::new();
        if self.is_durable() {
            known = self.ask_for_queues(&[], true).await;
        }
        let mut ranked = Vec::new();
        for server in self.pool().servers() {
            let role = match server.lease(self.config(), &self.pool().identity).await {
                Ok(mut lease) => lease.connection()?.welcome.queue.role,
                Err(Error::Unreachable(_) | Error::Refused { .. }) => continue,
                Err(error) => return Err(error),
            };
            let rank = match role {
                QueueRole::Primary => 0,
                QueueRole::Redundant => 1,
                QueueRole::None if known.contains(&server.address) => 2,
                QueueRole::None => 3,
            };
            ranked.push((rank, server));
        }
        ranked.sort_by_key(|(rank, _)| *rank);
        Ok(ranked.into_iter().map(|(_, server)| server).collect())
    }

    async fn ask_for_queues(&self, excluded: &[Address], find_durable: bool) -> Vec<Address> {
        let (pool, config) = (self.pool(), self.config());
        let copies = i32::try_from(self.redundancy).unwrap_or(-1);
        let request = queue_servers(&pool.identity, &config.server_group, copies, excluded, find_durable);
        match locator::ask(&pool.locators(), &request, config).await {
            Ok(Answer::Queues { is_known, servers }) if is_known || !find_durable => servers,
            _ => Vec::new(),
        }
    }

    /// Opens missing secondaries. What cannot be opened is tried again later.
    async fn replenish(&self, state: &mut State) {
        let Some(primary) = state.primary.as_ref().map(|feed| feed.server.address.clone()) else { return };
        for server in self.pool().servers() {
            if state.secondaries.len() >= self.redundancy {
                return;
            }
            let is_used =
                server.address == primary || state.secondaries.iter().any(|feed| feed.server.address == server.address);
            if is_used || server.is_suspect() {
                continue;
            }
            if let Ok(feed) = self.open_secondary(state, &server).await {
                state.secondaries.push(feed);
            }
        }
    }

    async fn open_secondary(&self, state: &mut State, server: &Arc<Server>) -> Result<Feed, Error> {
        let opened = self.open(state, server, Mode::Secondary).await?;
        let mut lease = server.lease(self.config(), &self.pool().identity).await?;
        for want in self.possible(state) {
            // The primary answers with the entries.
            want.register(&mut lease, self.is_durable(), self.config()).await?;
        }
        // A copy that a durable client finds was begun before.
        if opened.waiting < 0 || !self.is_durable() {
            state.doubt(&server.address);
        }
        // A primary that was there when the copy was begun, and answers after it, could give it what it had.
        if self.is_primary_there(state, &server.address).await {
            state.doubtful.remove(&server.address);
        }
        let _ = opened.go.send(None);
        Ok(opened.feed)
    }

    /// Whether the server of the primary queue is the process that it was when a copy was begun, and is not closing.
    async fn is_primary_there(&self, state: &State, copy: &Address) -> bool {
        let Some(primary) = &state.primary else { return false };
        if state.doubtful.get(copy) != Some(&Some(primary.member.clone())) {
            return false;
        }
        let Ok(mut lease) = primary.server.lease(self.config(), &self.pool().identity).await else { return false };
        // A closing server still answers pings. It touches no region any more.
        let possible = self.possible(state);
        let interest = possible.into_iter().find_map(|want| want.request_again(self.is_durable()));
        let (request, is_chunked) = match interest {
            Some(request) => (request, true),
            None => (Request::new(message::PING), false),
        };
        let answer = lease.exchange(&request, is_chunked, self.config()).await;
        lease.member() == primary.member && answer.and_then(|reply| check(reply, is_chunked)).is_ok()
    }

    /// Looks after a feed that has ended, and opens what is missing.
    async fn repair(&self, end: Option<End>) {
        let mut state = self.state.lock().await;
        let mut loss = Loss::NoQueue;
        if let Some(end) = end {
            state.secondaries.retain(|feed| feed.id != end.feed);
            if state.primary.as_ref().is_some_and(|feed| feed.id == end.feed) {
                state.primary = None;
                if end.is_unreadable {
                    loss = Loss::Unreadable;
                    self.forsake(&mut state).await;
                }
            }
        }
        if state.primary.is_none() && !self.promote(&mut state).await {
            // Tried again after the interval.
            if let Err(error) = self.begin(&mut state, loss).await {
                self.tell_interruption(&mut state, error);
            }
        }
        if state.primary.is_some() {
            state.told.clear();
        }
        self.replenish(&mut state).await;
        self.restore(&state).await;
    }

    /// Ends the queue and its copies: all of them hold what cannot be read, and would bring it again.
    async fn forsake(&self, state: &mut State) {
        state.end_feeds();
        for server in self.pool().servers() {
            server.leave(false).await;
            state.doubtful.insert(server.address.clone(), None);
        }
    }

    fn tell_interruption(&self, state: &mut State, reason: Error) {
        let kind = discriminant(&reason);
        // Not waiting: whoever takes the events may be waiting for this state. Otherwise the next attempt tells it.
        if !state.told.contains(&kind) && self.sinks.events.try_send(Event::Interrupted(reason)).is_ok() {
            state.told.push(kind);
        }
    }

    fn destroyed(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.sinks.destroyed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the servers can register: nothing in regions that were destroyed.
    fn possible<'a>(&self, state: &'a State) -> Vec<&'a Want> {
        let destroyed = self.destroyed();
        state.wants.iter().filter(|want| want.region().is_none_or(|region| !destroyed.contains(region))).collect()
    }

    /// Registers interest in regions that were destroyed, once they are there again.
    async fn restore(&self, state: &State) {
        if state.primary.is_none() {
            return;
        }
        let destroyed: Vec<String> = self.destroyed().iter().cloned().collect();
        for region in destroyed {
            // Not waiting: whoever takes the events may be waiting for this state. Otherwise it is tried again after the interval.
            if self.register_again(state, &region).await.is_ok()
                && self.sinks.events.try_send(Event::Lost(Loss::RegionReturned)).is_ok()
            {
                self.destroyed().remove(&region);
            }
        }
    }

    async fn register_again(&self, state: &State, region: &str) -> Result<(), Error> {
        for want in state.wants.iter().filter(|want| want.region() == Some(region)) {
            for feed in state.secondaries.iter().chain(&state.primary) {
                self.register_on(&feed.server, want).await?;
            }
        }
        Ok(())
    }

    /// Makes a secondary the primary: it repeats what was not acknowledged.
    async fn promote(&self, state: &mut State) -> bool {
        while !state.secondaries.is_empty() {
            let feed = state.secondaries.remove(0);
            if !state.is_doubtful(&feed) && self.make_primary(&feed.server).await.is_ok() {
                state.primary = Some(feed);
                return true;
            }
        }
        false
    }

    async fn make_primary(&self, server: &Arc<Server>) -> Result<(), Error> {
        let mut lease = server.lease(self.config(), &self.pool().identity).await?;
        // The client was ready before.
        let request = Request::new(message::MAKE_PRIMARY).raw(&[1]);
        check(lease.exchange(&request, false, self.config()).await?, false).map(drop)
    }

    pub(super) async fn is_redundant(&self) -> bool {
        let state = self.state.lock().await;
        let copies = state.secondaries.iter().filter(|feed| !state.is_doubtful(feed)).count();
        state.primary.is_some() && copies >= self.redundancy
    }

    /// A connection for requests to the server of the primary queue.
    pub(super) async fn lease_primary(&self) -> Result<Lease, Error> {
        let server = {
            let state = self.state.lock().await;
            state.primary.as_ref().map(|feed| Arc::clone(&feed.server))
        };
        let server = server.ok_or_else(|| Error::Unreachable("no server has the event queue".to_owned()))?;
        server.lease(self.config(), &self.pool().identity).await
    }
}

/// Repairs the subscription whenever a feed ends, and looks for missing servers from time to time.
pub(super) async fn keep(keeper: Weak<Keeper>, mut ends: mpsc::Receiver<End>) {
    loop {
        let end = timeout(REPAIR_INTERVAL, ends.recv()).await.ok().flatten();
        let Some(keeper) = keeper.upgrade() else { return };
        if keeper.is_stopped.load(Ordering::Relaxed) || keeper.pool().is_closed() {
            keeper.state.lock().await.end_feeds();
            return;
        }
        keeper.repair(end).await;
    }
}
