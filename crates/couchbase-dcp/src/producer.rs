//! The DCP connection to one node, as a task: it opens streams when it is told to, answers NOOPs, acknowledges what the consumer has dealt
//! with, and hands on everything else in batches. It keeps reading however slow the consumer is; flow control limits what piles up.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::address::Address;
use crate::checkpoint::{Branch, Position};
use crate::config::Config;
use crate::connection::{Connection, Purpose, success};
use crate::error::Error;
use crate::limits::{ACKNOWLEDGE_PART, BATCH_ITEMS_MAX, COMMANDS_MAX, OVERRUN_BYTES_MAX, SILENT_INTERVALS_MAX};
use crate::manifest::{Ids, Manifest};
use crate::monitor::{Topologies, publish};
use crate::output::Output;
use crate::wire::codes::{magic, opcode, open_flag, status};
use crate::wire::message::{self, Message};
use crate::wire::packet::{Outgoing, Packet};
use crate::wire::reader::Reader;
use crate::wire::request;

/// What a connection is told to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Opens a stream. Without a position it begins with what happens from now on. Everything about it carries its opaque.
    Open {
        vbucket: u16,
        opaque: u32,
        position: Option<Position>,
        /// The JSON that says which collections.
        value: String,
    },
    Close {
        vbucket: u16,
    },
}

/// What a connection tells.
#[derive(Debug)]
pub(crate) enum Item {
    Opened {
        vbucket: u16,
        opaque: u32,
        /// Where it goes on.
        position: Position,
        log: Vec<Branch>,
        /// The last sequence number not long ago of what the filter shows in the vbucket.
        high_seqno: Option<u64>,
    },
    Refused {
        vbucket: u16,
        opaque: u32,
        refusal: Refusal,
    },
    Message {
        vbucket: u16,
        opaque: u32,
        message: Message,
        /// What flow control counts for it.
        bytes: u32,
    },
    /// The last word of a connection.
    Closed(Error),
}

/// Why a stream was not opened.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Both have the same history up to this sequence number only.
    Rollback(u64),
    /// The vbucket is active elsewhere.
    Elsewhere,
    /// The node does not know all that the filter shows, but this.
    UnknownCollection(Manifest),
    Failed(Error),
}

/// Items of one connection, in order.
pub(crate) struct Batch {
    /// The connection's number.
    pub(crate) connection: u64,
    pub(crate) items: Vec<Item>,
}

/// What flow control counts: the bytes that the consumer has dealt with, until they are acknowledged.
pub(crate) struct Window {
    released: AtomicU64,
    threshold: u64,
    enough: Notify,
}

impl Window {
    fn new(buffer_bytes: u32) -> Self {
        let threshold = u64::from(buffer_bytes).div_ceil(ACKNOWLEDGE_PART);
        Self { released: AtomicU64::new(0), threshold, enough: Notify::new() }
    }

    /// The consumer has dealt with these bytes.
    pub(crate) fn release(&self, bytes: u64) {
        if self.released.fetch_add(bytes, Ordering::AcqRel) + bytes >= self.threshold {
            self.enough.notify_one();
        }
    }
}

/// A running connection; it ends when this is dropped.
pub(crate) struct Producer {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) window: Arc<Window>,
    task: JoinHandle<()>,
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What all connections of a feed share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) topologies: Topologies,
    pub(crate) batches: mpsc::Sender<Batch>,
}

impl Producer {
    pub(crate) fn start(number: u64, address: Address, shared: Shared, ids: Ids) -> Self {
        let (commands, orders) = mpsc::channel(COMMANDS_MAX);
        let window = Arc::new(Window::new(shared.config.buffer_bytes));
        let mut session = Session::new(number, address, shared, Arc::clone(&window), ids);
        let task = tokio::spawn(async move {
            let error = match session.run(orders).await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            session.items.push(Item::Closed(error));
            let items = std::mem::take(&mut session.items);
            // Nobody listens any more when the feed is gone.
            let _ = session.shared.batches.send(Batch { connection: number, items }).await;
        });
        Self { commands, window, task }
    }
}

/// A request that waits for its answer, by opaque.
enum Pending {
    Stream {
        vbucket: u16,
        position: Position,
    },
    /// The failover log, for a stream that begins now.
    Log {
        vbucket: u16,
        value: String,
    },
    /// Sequence numbers: how many of the requests were answered, and what was found.
    Seqnos {
        answered: usize,
        found: HashMap<u16, u64>,
    },
    /// What the node knows, for a stream that it has refused.
    Manifest {
        vbucket: u16,
    },
}

struct Session {
    number: u64,
    address: Address,
    shared: Shared,
    window: Arc<Window>,
    /// Read, and not yet handed on.
    items: Vec<Item>,
    output: Output,
    pending: HashMap<u32, Pending>,
    ids: Ids,
    /// The collections that the filter shows; all of them without.
    collections: Option<Vec<u32>>,
    /// The last sequence numbers of these in the node's vbuckets, as they were when they were asked for. That of the vbucket would be none to
    /// wait for: of what a filter leaves out, a node tells nothing while it streams from memory (`kv_engine`
    /// `engines/ep/src/dcp/active_stream.cc`, `processItemsInner`).
    high_seqnos: HashMap<u16, u64>,
    /// Bytes that came and are not acknowledged.
    unacknowledged: u64,
}

/// Opaque of requests that belong to no stream; those of streams begin at 1.
const NO_STREAM: u32 = 0;

impl Session {
    fn new(number: u64, address: Address, shared: Shared, window: Arc<Window>, ids: Ids) -> Self {
        Self {
            number,
            address,
            shared,
            window,
            items: Vec::new(),
            output: Output::default(),
            pending: HashMap::new(),
            ids,
            collections: None,
            high_seqnos: HashMap::new(),
            unacknowledged: 0,
        }
    }

    async fn run(&mut self, commands: mpsc::Receiver<Command>) -> Result<std::convert::Infallible, Error> {
        let config = &Arc::clone(&self.shared.config);
        let mut connection = Connection::open_member(&self.address, config, Purpose::Streams).await?;
        timeout(config.timeout, self.set_up(&mut connection))
            .await
            .map_err(|_| Error::Timeout(format!("opening DCP at {}", self.address)))??;
        self.stream(connection, commands).await
    }

    /// What a connection does on which DCP is open.
    async fn stream(
        &mut self,
        connection: Connection,
        mut commands: mpsc::Receiver<Command>,
    ) -> Result<std::convert::Infallible, Error> {
        let Connection { mut reader, mut writer } = connection;
        let (shared, window) = (self.shared.clone(), Arc::clone(&self.window));
        let silence = (shared.config.noop_interval * SILENT_INTERVALS_MAX).max(Duration::from_millis(1));
        let mut deadline = Instant::now() + silence;
        loop {
            tokio::select! {
                filled = reader.fill() => {
                    filled?;
                    deadline = Instant::now() + silence;
                    while let Some(packet) = reader.take()? {
                        self.take(&packet)?;
                    }
                }
                permit = shared.batches.reserve(), if !self.items.is_empty() => {
                    let permit = permit.map_err(|_| Error::Connection("the feed is gone".into()))?;
                    let rest = self.items.split_off(self.items.len().min(BATCH_ITEMS_MAX));
                    let items = std::mem::replace(&mut self.items, rest);
                    permit.send(Batch { connection: self.number, items });
                }
                sent = self.output.send(&mut writer), if !self.output.is_sent() => sent?,
                command = commands.recv() => {
                    let command = command.ok_or_else(|| Error::Connection("the feed is gone".into()))?;
                    self.obey(command);
                }
                () = window.enough.notified() => self.acknowledge(),
                () = sleep_until(deadline) => {
                    return Err(Error::Timeout(format!("{} was silent for {silence:?}", self.address)));
                }
            }
        }
    }

    /// Opens DCP and sets what the feed needs.
    async fn set_up(&mut self, connection: &mut Connection) -> Result<(), Error> {
        let config = Arc::clone(&self.shared.config);
        let mut flags = open_flag::PRODUCER | open_flag::XATTRS | open_flag::DELETE_TIMES;
        if config.without_bodies {
            flags |= open_flag::NO_VALUE;
        }
        if config.deleted_user_xattrs {
            flags |= open_flag::DELETED_USER_XATTRS;
        }
        success(&connection.request(&request::dcp_open(&config.name, flags)).await?, "DCP_OPEN")?;
        let interval = config.noop_interval.as_secs_f32().to_string();
        let buffer = config.buffer_bytes.to_string();
        let needed = [("enable_noop", "true"), ("set_noop_interval", &interval), ("connection_buffer_size", &buffer)];
        for (key, value) in needed {
            success(&connection.request(&request::control(key, value)).await?, "DCP_CONTROL")?;
        }
        let mut wished =
            vec![("enable_expiry_opcode", "true"), ("supports_cursor_dropping", "true"), ("max_marker_version", "2.2")];
        if config.out_of_order {
            wished.push(("enable_out_of_order_snapshots", "true_with_seqno_advanced"));
        }
        if config.compression {
            wished.push(("force_value_compression", "true"));
        }
        if config.deleted_user_xattrs {
            wished.push(("include_deleted_user_xattrs", "true"));
        }
        for (key, value) in wished {
            let answer = connection.request(&request::control(key, value)).await?;
            // A server that does not know it does without.
            if !matches!(answer.vbucket, status::INVALID | status::NOT_SUPPORTED) {
                success(&answer, "DCP_CONTROL")?;
            }
        }
        self.collections = match &self.ids {
            Ids::All => None,
            Ids::Collections(ids) => Some(ids.clone()),
            Ids::Scope(id) => {
                let manifest = read_manifest(&connection.request(&Outgoing::new(opcode::GET_MANIFEST)).await?)?;
                Some(manifest.scopes.get(id).cloned().unwrap_or_default())
            }
        };
        let mut found = HashMap::new();
        for (number, request) in self.seqno_requests().iter().enumerate() {
            let answer = connection.request(request).await?;
            self.seqnos(number, &answer, &mut found)?;
        }
        self.high_seqnos = found;
        Ok(())
    }

    /// Which vbuckets are here, and how far each collection of the filter is in them.
    fn seqno_requests(&self) -> Vec<Outgoing> {
        let collections = self.collections.iter().flatten().map(|id| request::all_seqnos(Some(*id)));
        std::iter::once(request::all_seqnos(None)).chain(collections).collect()
    }

    /// Takes the answer to one of [`Self::seqno_requests`] in.
    fn seqnos(&self, number: usize, answer: &Packet, found: &mut HashMap<u16, u64>) -> Result<(), Error> {
        // A collection that was dropped meanwhile: its streams hear of it.
        if number > 0 && answer.vbucket == status::UNKNOWN_COLLECTION {
            return Ok(());
        }
        success(answer, "GET_ALL_VB_SEQNOS")?;
        let seqnos = request::read_seqnos(&answer.value);
        let seqnos = seqnos.ok_or_else(|| Error::Protocol("the list of sequence numbers is malformed".into()))?;
        for (vbucket, seqno) in seqnos {
            if number == 0 {
                found.insert(vbucket, if self.collections.is_some() { 0 } else { seqno });
            } else if let Some(high) = found.get_mut(&vbucket) {
                *high = seqno.max(*high);
            }
        }
        Ok(())
    }

    fn ask(&mut self, request: &Outgoing) {
        self.output.push(request);
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Close { vbucket } => self.ask(&Outgoing { opaque: NO_STREAM, ..request::close_stream(vbucket) }),
            Command::Open { vbucket, opaque, position, value } => {
                if !self.high_seqnos.contains_key(&vbucket) && !self.pending.contains_key(&NO_STREAM) {
                    self.pending.insert(NO_STREAM, Pending::Seqnos { answered: 0, found: HashMap::new() });
                    for request in self.seqno_requests() {
                        self.ask(&Outgoing { opaque: NO_STREAM, ..request });
                    }
                }
                if let Some(position) = position {
                    self.ask_for_stream(vbucket, opaque, position, value);
                } else {
                    self.pending.insert(opaque, Pending::Log { vbucket, value });
                    self.ask(&Outgoing { opaque, ..request::failover_log(vbucket) });
                }
            }
        }
    }

    fn ask_for_stream(&mut self, vbucket: u16, opaque: u32, position: Position, value: String) {
        self.pending.insert(opaque, Pending::Stream { vbucket, position });
        let request = request::stream(vbucket, &position, self.shared.config.to_latest, value);
        self.ask(&Outgoing { opaque, ..request });
    }

    fn take(&mut self, packet: &Packet) -> Result<(), Error> {
        if packet.is_response() {
            return self.answered(packet);
        }
        if packet.opcode == opcode::DCP_NOOP {
            let mut bytes = Vec::new();
            Outgoing::write_answer(packet, &mut bytes);
            self.output.extend(&bytes);
            return Ok(());
        }
        if packet.magic == magic::SERVER_REQUEST {
            return Ok(());
        }
        // Flow control counts every request but NOOPs, known here or not.
        self.unacknowledged += u64::from(packet.wire_bytes);
        if self.unacknowledged > u64::from(self.shared.config.buffer_bytes) + OVERRUN_BYTES_MAX {
            return Err(Error::Protocol("the server sends more than flow control allows".into()));
        }
        if !message::is_stream_message(packet.opcode) {
            self.window.release(packet.wire_bytes.into());
            return Ok(());
        }
        let message = message::decode(packet).map_err(|why| Error::Protocol(why.into()))?;
        let (vbucket, opaque, bytes) = (packet.vbucket, packet.opaque, packet.wire_bytes);
        self.items.push(Item::Message { vbucket, opaque, message, bytes });
        Ok(())
    }

    fn answered(&mut self, packet: &Packet) -> Result<(), Error> {
        // Of the answers without a request that waits, closed streams', none matters.
        match self.pending.remove(&packet.opaque) {
            Some(Pending::Seqnos { answered, mut found }) if packet.opcode == opcode::GET_ALL_VB_SEQNOS => {
                self.seqnos(answered, packet, &mut found)?;
                let answered = answered + 1;
                // The requests are one more than the collections, and are answered in their order.
                if answered > self.collections.as_ref().map_or(0, Vec::len) {
                    self.high_seqnos = found;
                } else {
                    self.pending.insert(packet.opaque, Pending::Seqnos { answered, found });
                }
            }
            Some(waiting @ Pending::Seqnos { .. }) => drop(self.pending.insert(packet.opaque, waiting)),
            Some(Pending::Log { vbucket, value }) => {
                if packet.vbucket != status::SUCCESS {
                    self.refused(vbucket, packet)?;
                    return Ok(());
                }
                let log = failover_log(packet)?;
                let high = self.high_seqnos.get(&vbucket).copied().unwrap_or(0);
                let uuid = crate::checkpoint::branch_of(&log, high);
                let position = if high == 0 { Position::default() } else { Position::at(uuid, high, 0) };
                self.ask_for_stream(vbucket, packet.opaque, position, value);
            }
            Some(Pending::Stream { vbucket, position }) => {
                if packet.vbucket != status::SUCCESS {
                    self.refused(vbucket, packet)?;
                    return Ok(());
                }
                let (opaque, log) = (packet.opaque, failover_log(packet)?);
                let high_seqno = self.high_seqnos.get(&vbucket).copied();
                self.items.push(Item::Opened { vbucket, opaque, position, log, high_seqno });
            }
            Some(Pending::Manifest { vbucket }) => {
                let refusal = Refusal::UnknownCollection(read_manifest(packet)?);
                self.items.push(Item::Refused { vbucket, opaque: packet.opaque, refusal });
            }
            None => {}
        }
        Ok(())
    }

    fn refused(&mut self, vbucket: u16, packet: &Packet) -> Result<(), Error> {
        let refusal = match packet.vbucket {
            status::ROLLBACK => {
                let seqno = Reader::new(&packet.value).u64();
                let seqno = seqno.ok_or_else(|| Error::Protocol("a rollback without a sequence number".into()))?;
                // What is known of its end is of another history.
                self.high_seqnos.remove(&vbucket);
                Refusal::Rollback(seqno)
            }
            status::NOT_MY_VBUCKET => {
                publish(&self.shared.topologies, &packet.value, &self.address, &self.shared.config);
                Refusal::Elsewhere
            }
            status::UNKNOWN_COLLECTION | status::UNKNOWN_SCOPE => {
                self.pending.insert(packet.opaque, Pending::Manifest { vbucket });
                self.ask(&Outgoing { opaque: packet.opaque, ..Outgoing::new(opcode::GET_MANIFEST) });
                return Ok(());
            }
            // The stream that was there before is being closed; or the vbucket is being filled.
            status @ (status::KEY_EXISTS | status::RANGE) => {
                Refusal::Failed(Error::Status { request: "DCP_STREAM_REQUEST", status })
            }
            _ => {
                let error = success(packet, "DCP_STREAM_REQUEST").expect_err("the status is another one");
                Refusal::Failed(error)
            }
        };
        self.items.push(Item::Refused { vbucket, opaque: packet.opaque, refusal });
        Ok(())
    }

    fn acknowledge(&mut self) {
        let mut released = self.window.released.swap(0, Ordering::AcqRel);
        self.unacknowledged = self.unacknowledged.saturating_sub(released);
        while let Some(bytes) = u32::try_from(released).ok().or(Some(u32::MAX)).filter(|bytes| *bytes > 0) {
            self.ask(&request::buffer_ack(bytes));
            released -= u64::from(bytes);
        }
    }
}

fn read_manifest(packet: &Packet) -> Result<Manifest, Error> {
    success(packet, "GET_MANIFEST")?;
    Manifest::parse(&packet.value).ok_or_else(|| Error::Protocol("a manifest is malformed".into()))
}

fn failover_log(packet: &Packet) -> Result<Vec<Branch>, Error> {
    request::read_failover_log(&packet.value).ok_or_else(|| Error::Protocol("a failover log is malformed".into()))
}

#[cfg(test)]
mod tests;
