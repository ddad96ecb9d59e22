//! The feed of a bucket: one connection to each node, one stream for each vbucket, and one consumer.

mod copies;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::address::Address;
use crate::checkpoint::{Checkpoint, Position};
use crate::config::{Config, Start};
use crate::error::Error;
use crate::event::{EndReason, Event, Opened};
use crate::limits::BATCHES_MAX;
use crate::manifest::{Ids, Manifest};
use crate::monitor::{Beginning, bootstrap, watch_cluster};
use crate::producer::{Batch, Command, Item, Producer, Refusal, Shared};
use crate::topology::Topology;
use crate::vbuckets::{Held, State, Vbuckets};
use crate::wire::message::Message;
use copies::Copies;

/// The changes of a bucket, from a checkpoint on.
///
/// [`next`](Self::next) drives it: streams are moved, opened again and rolled back inside of it. Connections work on in the background, so that
/// a consumer that takes its time loses none; what waits in memory is limited by [`Config::buffer_bytes`] for each node.
///
/// [`acknowledge`](Self::acknowledge) and [`checkpoint`](Self::checkpoint) both speak of all events that `next` has returned so far.
pub struct Feed {
    shared: Shared,
    ids: Ids,
    /// The manifest that the ids are of: an older one says nothing about them.
    manifest_uid: u64,
    topology: Arc<Topology>,
    changes: watch::Receiver<Arc<Topology>>,
    vbuckets: Vbuckets,
    connections: BTreeMap<u64, Node>,
    last_connection: u64,
    incoming: mpsc::Receiver<Batch>,
    /// The rest of the batch that is being told, and its connection.
    batch: (u64, std::vec::IntoIter<Item>),
    /// Events that move no position: one for each connection that broke, and the news that the feed has caught up.
    notices: VecDeque<Event>,
    copies: Copies,
    has_told_caught_up: bool,
    /// Why the feed goes no further.
    failure: Option<Error>,
    monitor: JoinHandle<()>,
}

/// A connection, and the bytes that its events took which the consumer has got and not acknowledged.
struct Node {
    address: Address,
    producer: Producer,
    delivered: u64,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.monitor.abort();
    }
}

impl Feed {
    /// Connects to the cluster, finds what the configuration names, and begins. Vbuckets go on from their positions in the checkpoint.
    ///
    /// # Errors
    /// When no node answers, when one refuses the client, or when the configuration or the checkpoint does not fit the bucket.
    pub async fn open(config: Config, checkpoint: &Checkpoint) -> Result<Self, Error> {
        let Beginning { topology, ids, manifest_uid } = bootstrap(&config).await?;
        let count = topology.vbuckets.len();
        if let Some((vbucket, _)) = checkpoint.positions.range(u16::try_from(count).unwrap_or(u16::MAX)..).next()
            && usize::from(*vbucket) >= count
        {
            return Err(Error::Checkpoint(format!("it has the vbucket {vbucket}, the bucket has {count}")));
        }
        let start = (config.start == Start::Beginning).then(Position::default);
        let vbuckets = Vbuckets::new(count, |vbucket| checkpoint.positions.get(&vbucket).copied().or(start));
        let config = Arc::new(config);
        let topology = Arc::new(topology);
        let (topologies, changes) = watch::channel(Arc::clone(&topology));
        let (batches, incoming) = mpsc::channel(BATCHES_MAX);
        let monitor = tokio::spawn(watch_cluster(Arc::clone(&config), topologies.clone()));
        let mut feed = Self {
            copies: Copies::new(&config),
            shared: Shared { config, topologies, batches },
            ids,
            manifest_uid,
            topology,
            changes,
            vbuckets,
            connections: BTreeMap::new(),
            last_connection: 0,
            incoming,
            batch: (0, Vec::new().into_iter()),
            notices: VecDeque::new(),
            has_told_caught_up: false,
            failure: None,
            monitor,
        };
        feed.copies.watch(&feed.topology);
        Ok(feed)
    }

    /// The next event; none when every stream has come to its end (with [`Config::to_latest`], or when all that the filter shows was
    /// dropped). Cancel-safe: dropping the future loses nothing.
    ///
    /// # Errors
    /// When trying again did not help for [`Config::timeout`], or cannot help. The feed is over then.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.notices.pop_front() {
                return Ok(Some(event));
            }
            if let Some(error) = &self.failure {
                return Err(error.clone());
            }
            if let Some(event) = self.step() {
                return Ok(Some(event));
            }
            if !self.has_told_caught_up && self.vbuckets.has_caught_up() {
                self.has_told_caught_up = true;
                return Ok(Some(Event::CaughtUp));
            }
            if self.vbuckets.is_finished() {
                return Ok(None);
            }
            if self.batch.1.len() == 0 && self.notices.is_empty() && self.failure.is_none() && !self.copies.has_ready()
            {
                self.wait().await;
            }
        }
    }

    /// Says that the consumer has dealt with every event that it has got: the nodes may send as much again. Without it they stop when their
    /// buffers are full.
    pub fn acknowledge(&mut self) {
        for node in self.connections.values_mut().filter(|node| node.delivered > 0) {
            node.producer.window.release(std::mem::take(&mut node.delivered));
        }
    }

    /// Where the feed stands after the events that the consumer has got. It is to be stored with what was made of them.
    pub fn checkpoint(&self) -> Checkpoint {
        let position = |(vbucket, slot): (u16, &crate::vbuckets::Slot)| Some((vbucket, slot.stream.position()?));
        Checkpoint { positions: self.vbuckets.iter().filter_map(position).collect() }
    }

    /// Where one vbucket stands. Nothing when it has not been opened yet.
    pub fn position(&self, vbucket: u16) -> Option<Position> {
        self.vbuckets.get(vbucket)?.stream.position()
    }

    /// The number of the bucket's vbuckets.
    pub fn vbuckets(&self) -> usize {
        self.vbuckets.len()
    }

    /// The ids of the collections that the filter names, in its order; none for other filters. A change has the id of its collection.
    pub fn collection_ids(&self) -> &[u32] {
        match &self.ids {
            Ids::Collections(ids) => ids,
            Ids::All | Ids::Scope(_) => &[],
        }
    }

    async fn wait(&mut self) {
        let due = self.vbuckets.next_due();
        tokio::select! {
            Some(batch) = self.incoming.recv() => self.batch = (batch.connection, batch.items.into_iter()),
            Ok(()) = self.changes.changed() => self.follow_topology(),
            () = async { sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => self.open_due(),
            Some(sight) = self.copies.look() => self.copies.take(&sight, &self.topology, &self.vbuckets),
        }
    }

    /// Does one thing, which may be an event.
    fn step(&mut self) -> Option<Event> {
        if let Some(vbucket) = self.copies.next_ready() {
            return self.tell_held(vbucket);
        }
        let item = self.batch.1.next()?;
        self.take(self.batch.0, item)
    }

    fn take(&mut self, connection: u64, item: Item) -> Option<Event> {
        match item {
            Item::Message { vbucket, opaque, message, bytes } => {
                if !self.is_current(vbucket, opaque) {
                    self.release(connection, bytes);
                    return None;
                }
                if !self.copies.is_holding() {
                    return self.tell(connection, vbucket, message, bytes);
                }
                if let Message::End(reason) = message
                    && !reason.is_complete()
                {
                    // What waits comes again on the next stream.
                    self.drop_held(vbucket);
                    return self.tell(connection, vbucket, message, bytes);
                }
                let slot = self.vbuckets.get_mut(vbucket)?;
                slot.held.push_back(Held { message, bytes });
                self.copies.waits(vbucket, slot.stream.uuid());
                self.copies.look_at(vbucket, &self.topology, &self.vbuckets);
                None
            }
            Item::Opened { vbucket, opaque, position, log, high_seqno } => {
                if !self.is_current(vbucket, opaque) {
                    return None;
                }
                let failover_log = log.clone();
                self.vbuckets.get_mut(vbucket)?.stream.opened(position, log);
                self.vbuckets.opened(vbucket, connection, high_seqno);
                Some(Event::Opened(Opened { vbucket, seqno: position.seqno(), failover_log }))
            }
            Item::Refused { vbucket, opaque, refusal } if self.is_current(vbucket, opaque) => {
                self.refused(connection, vbucket, refusal)
            }
            Item::Refused { .. } => None,
            Item::Closed(error) => {
                self.lost(connection, error);
                None
            }
        }
    }

    fn is_current(&self, vbucket: u16, opaque: u32) -> bool {
        self.vbuckets.get(vbucket).is_some_and(|slot| slot.opaque == opaque && slot.state.connection().is_some())
    }

    fn refused(&mut self, connection: u64, vbucket: u16, refusal: Refusal) -> Option<Event> {
        match refusal {
            Refusal::Rollback(seqno) => {
                self.vbuckets.rolled_back(vbucket, seqno);
                // Not at once: a server that says so again and again would keep both busy.
                self.vbuckets.failed(vbucket);
                Some(Event::Rollback { vbucket, seqno })
            }
            Refusal::Elsewhere => {
                self.vbuckets.failed(vbucket);
                None
            }
            Refusal::UnknownCollection(manifest) => self.unknown_collection(connection, vbucket, &manifest),
            Refusal::Failed(error) => self.failed(connection, vbucket, error),
        }
    }

    /// A stream asked for something that the node does not know: it was dropped, or the node has not heard of it yet.
    fn unknown_collection(&mut self, connection: u64, vbucket: u16, manifest: &Manifest) -> Option<Event> {
        if manifest.uid >= self.manifest_uid && self.ids.keep_existing(manifest) == Some(false) {
            self.vbuckets.finished(vbucket);
            return Some(Event::Ended { vbucket, reason: EndReason::FilterEmpty });
        }
        self.failed(connection, vbucket, Error::UnknownCollection("a node does not know what the filter shows".into()))
    }

    fn failed(&mut self, connection: u64, vbucket: u16, error: Error) -> Option<Event> {
        let failing = self.vbuckets.failed(vbucket);
        if !error.is_transient() && failing >= self.shared.config.timeout {
            self.failure = Some(error);
            return None;
        }
        let node = self.connections.get(&connection).map(|node| node.address.to_string()).unwrap_or_default();
        Some(Event::Disconnected { node, error })
    }

    /// A message has come to its turn.
    fn tell(&mut self, connection: u64, vbucket: u16, message: Message, bytes: u32) -> Option<Event> {
        let slot = self.vbuckets.get_mut(vbucket)?;
        if let Err(why) = slot.stream.apply(&message) {
            self.lost(connection, Error::Protocol(why.into()));
            return None;
        }
        self.vbuckets.look_at_target(vbucket);
        if let Some(node) = self.connections.get_mut(&connection) {
            node.delivered += u64::from(bytes);
        }
        Some(match message {
            Message::Snapshot(snapshot) => Event::Snapshot(snapshot),
            Message::Change(change) => Event::Change(change),
            Message::System(event) => Event::System(event),
            Message::SeqnoAdvanced(seqno) => Event::SeqnoAdvanced { vbucket, seqno },
            Message::OutOfOrder { is_start } => Event::OutOfOrder { vbucket, is_start },
            Message::End(reason) => {
                // A stream without an end that says that it has come to it has not told what comes.
                if reason == EndReason::Done && self.shared.config.to_latest {
                    self.vbuckets.finished(vbucket);
                } else {
                    self.vbuckets.failed(vbucket);
                }
                // Whoever asks again hears whether there is nothing left.
                if reason == EndReason::FilterEmpty {
                    return None;
                }
                Event::Ended { vbucket, reason }
            }
        })
    }

    fn tell_held(&mut self, vbucket: u16) -> Option<Event> {
        let slot = self.vbuckets.get_mut(vbucket)?;
        let connection = slot.state.connection()?;
        let Held { message, bytes } = slot.held.pop_front()?;
        let event = self.tell(connection, vbucket, message, bytes);
        self.copies.look_at(vbucket, &self.topology, &self.vbuckets);
        event
    }

    fn drop_held(&mut self, vbucket: u16) {
        self.copies.forget(vbucket);
        let Some(slot) = self.vbuckets.get_mut(vbucket) else { return };
        let connection = slot.state.connection();
        let bytes = slot.held.drain(..).map(|held| held.bytes).fold(0, u32::saturating_add);
        if let Some(connection) = connection {
            self.release(connection, bytes);
        }
    }

    fn release(&self, connection: u64, bytes: u32) {
        if let Some(node) = self.connections.get(&connection) {
            node.producer.window.release(bytes.into());
        }
    }

    /// A connection is of no more use: its streams go on elsewhere, or on a new one.
    fn lost(&mut self, connection: u64, error: Error) {
        let Some(node) = self.connections.remove(&connection) else { return };
        let has_it = |state: State| state.connection() == Some(connection);
        let lost: Vec<u16> =
            self.vbuckets.iter().filter(|(_, slot)| has_it(slot.state)).map(|(vbucket, _)| vbucket).collect();
        for vbucket in lost {
            self.leave(vbucket);
            let failing = self.vbuckets.failed(vbucket);
            if !error.is_transient() && failing >= self.shared.config.timeout {
                self.failure = Some(error.clone());
            }
        }
        self.notices.push_back(Event::Disconnected { node: node.address.to_string(), error });
    }

    /// What its stream has not told is dropped: it comes again.
    fn leave(&mut self, vbucket: u16) {
        self.drop_held(vbucket);
        if let Some(slot) = self.vbuckets.get_mut(vbucket) {
            slot.stream.closed();
            slot.opaque = 0;
        }
    }

    /// Moves the streams of vbuckets that are active elsewhere, and leaves nodes that are no members.
    fn follow_topology(&mut self) {
        self.topology = Arc::clone(&self.changes.borrow_and_update());
        let mut moved = Vec::new();
        for (vbucket, slot) in self.vbuckets.iter() {
            let active = self.topology.active(vbucket);
            let connection = slot.state.connection();
            let node = connection.and_then(|connection| self.connections.get(&connection));
            match slot.state {
                State::Finished => {}
                State::Waiting { .. } => moved.push((vbucket, None)),
                State::Opening(_) | State::Open(_) if node.map(|node| &node.address) == active => {}
                State::Opening(_) | State::Open(_) => moved.push((vbucket, connection)),
            }
        }
        for (vbucket, connection) in moved {
            self.leave(vbucket);
            if let Some(node) = connection.and_then(|connection| self.connections.get(&connection)) {
                // When it cannot be told, the connection ends anyway.
                let _ = node.producer.commands.try_send(Command::Close { vbucket });
            }
            self.vbuckets.reopen(vbucket);
        }
        let topology = Arc::clone(&self.topology);
        self.connections.retain(|_, node| topology.nodes.contains(&node.address));
        self.copies.watch(&self.topology);
    }

    /// Asks for the streams whose time has come.
    fn open_due(&mut self) {
        let now = Instant::now();
        while let Some(vbucket) = self.vbuckets.take_due(now) {
            let Some(address) = self.topology.active(vbucket).cloned() else {
                // The next configuration says where it is.
                self.vbuckets.failed(vbucket);
                continue;
            };
            let connection = self.connection_to(&address);
            let position = self.vbuckets.get(vbucket).and_then(|slot| slot.stream.position());
            let opaque = self.vbuckets.opening(vbucket, connection);
            let value = self.request_value(position);
            let command = Command::Open { vbucket, opaque, position, value };
            let is_sent =
                self.connections.get(&connection).is_some_and(|node| node.producer.commands.try_send(command).is_ok());
            if !is_sent {
                self.vbuckets.failed(vbucket);
            }
        }
    }

    fn connection_to(&mut self, address: &Address) -> u64 {
        if let Some((number, _)) = self.connections.iter().find(|(_, node)| node.address == *address) {
            return *number;
        }
        self.last_connection += 1;
        let number = self.last_connection;
        let producer = Producer::start(number, address.clone(), self.shared.clone(), self.ids.clone());
        self.connections.insert(number, Node { address: address.clone(), producer, delivered: 0 });
        number
    }

    /// The JSON of a stream request (`kv_engine` docs/dcp/documentation/commands/stream-request-value.md): ids are hexadecimal, the purge
    /// seqno is decimal.
    fn request_value(&self, position: Option<Position>) -> String {
        let mut fields = Vec::new();
        match &self.ids {
            Ids::All => {}
            Ids::Scope(id) => fields.push(format!(r#""scope":"{id:x}""#)),
            Ids::Collections(ids) => {
                let ids: Vec<String> = ids.iter().map(|id| format!(r#""{id:x}""#)).collect();
                fields.push(format!(r#""collections":[{}]"#, ids.join(",")));
            }
        }
        if let Some(seqno) = position.map(|position| position.purge_seqno()).filter(|seqno| *seqno > 0) {
            fields.push(format!(r#""purge_seqno":"{seqno}""#));
        }
        if fields.is_empty() { String::new() } else { format!("{{{}}}", fields.join(",")) }
    }
}
