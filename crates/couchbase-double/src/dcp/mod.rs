//! The producer's side of DCP (`kv_engine` docs/dcp/documentation): one connection's streams, and what it sends when.

mod encode;
mod filter;
mod request;
mod stream;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub(crate) use request::run;
use stream::{Place, Stream};

use crate::cluster::State;
use crate::dcp::encode::EncodeOptions;
use crate::session::Session;
use crate::wire::{Packet, magic, opcode};

/// How many bytes are put together before they are written to the connection.
const WRITE_BYTES: usize = 256 << 10;

/// Reasons for the end of a stream (commands/stream-end.md).
pub(crate) mod end {
    pub(crate) const OK: u32 = 0;
    pub(crate) const CLOSED: u32 = 1;
    pub(crate) const STATE_CHANGED: u32 = 2;
    pub(crate) const FILTER_EMPTY: u32 = 7;
}

/// A stream's place: its vbucket, and its id when the connection uses stream ids.
type StreamKey = (u16, Option<u16>);

/// A DCP connection after its `DCP_OPEN`.
pub(crate) struct Producer {
    name: String,
    encode: EncodeOptions,
    settings: Settings,
    streams: BTreeMap<StreamKey, Stream>,
    /// Bytes sent and not acknowledged (flow-control.md).
    unacknowledged: u64,
    last_sent: Instant,
    /// The NOOP that waits for its answer, and since when.
    noop: Option<(u32, Instant)>,
    next_noop: u32,
    /// The faults that this connection has seen.
    seen_ends: usize,
    seen_cut_round: u64,
    /// The place of the stream that sent last, so that the next one goes on.
    turn: Option<StreamKey>,
    /// Whether a stream was ever requested: NOOPs start then (dead-connections.md).
    has_streamed: bool,
}

/// What `DCP_CONTROL` sets (commands/control.md).
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own that the protocol names")]
struct Settings {
    is_noop_enabled: bool,
    noop_interval: Option<Duration>,
    /// 0 is no flow control.
    buffer_bytes: u64,
    ends_closed_streams: bool,
    has_stream_ids: bool,
    has_oso: bool,
    has_oso_with_seqno_advanced: bool,
    has_sync_writes: bool,
    has_v7_status: bool,
}

/// The NOOP interval unless the consumer sets one (configuration.json, `dcp_noop_tx_interval`).
const NOOP_INTERVAL: Duration = Duration::from_secs(1);

impl Producer {
    fn new(name: String, encode: EncodeOptions, state: &State) -> Self {
        Self {
            name,
            encode,
            settings: Settings::default(),
            streams: BTreeMap::new(),
            unacknowledged: 0,
            last_sent: Instant::now(),
            noop: None,
            next_noop: 0x1000_0000,
            seen_ends: state.faults.end_streams.len(),
            seen_cut_round: state.faults.cut_dcp_round,
            turn: None,
            has_streamed: false,
        }
    }

    /// The consumer has answered a NOOP; only the right opaque counts.
    pub(crate) fn noop_answered(&mut self, opaque: u32) {
        self.noop.take_if(|(waiting, _)| *waiting == opaque);
    }

    fn noop_interval(&self) -> Duration {
        self.settings.noop_interval.unwrap_or(NOOP_INTERVAL)
    }

    /// When [`Self::tick`] wants to be called again.
    pub(crate) fn next_tick(&self) -> Option<Instant> {
        if !self.settings.is_noop_enabled || !self.has_streamed {
            return None;
        }
        let since = self.noop.map_or(self.last_sent, |(_, since)| since);
        Some(since + self.noop_interval())
    }

    /// Sends a NOOP on an idle connection; false when the last one was not answered (dead-connections.md).
    pub(crate) fn tick(&mut self, out: &mut Vec<u8>) -> bool {
        if self.next_tick().is_none_or(|due| due > Instant::now()) {
            return true;
        }
        if self.noop.is_some() {
            return false;
        }
        self.next_noop += 1;
        self.noop = Some((self.next_noop, Instant::now()));
        self.last_sent = Instant::now();
        let noop =
            Packet { magic: magic::REQUEST, opcode: opcode::DCP_NOOP, opaque: self.next_noop, ..Packet::default() };
        noop.write(out);
        true
    }

    fn has_room(&self) -> bool {
        self.settings.buffer_bytes == 0 || self.unacknowledged < self.settings.buffer_bytes
    }
}

/// What [`pump`] leaves.
#[derive(PartialEq, Eq)]
pub(crate) enum Pumped {
    /// Nothing to send until something changes.
    Idle,
    /// More to send at once.
    More,
    /// The connection is over.
    Closed,
}

/// Lets the streams of a connection send what they can.
pub(crate) fn pump(session: &mut Session, state: &State, out: &mut Vec<u8>) -> Pumped {
    let place = Place { node: session.node, has_collections: session.has_collections() };
    let (id, bucket) = (session.id, session.bucket.clone());
    let Some(dcp) = &mut session.dcp else { return Pumped::Idle };
    let Some(name) = bucket else { return Pumped::Closed };
    // Another connection has taken the name (commands/open-connection.md, "Note").
    if state.dcp_names.get(&(place.node, name.clone(), dcp.name.clone())) != Some(&id)
        || dcp.seen_cut_round != state.faults.cut_dcp_round
    {
        return Pumped::Closed;
    }
    let Some(bucket) = state.buckets.get(&name) else { return Pumped::Closed };
    dcp.apply_faults(state);
    if state.faults.is_dcp_paused {
        return Pumped::Idle;
    }
    for stream in dcp.streams.values_mut() {
        stream.fill(bucket, &place, &dcp.settings);
    }
    dcp.send(out)
}

impl Producer {
    fn apply_faults(&mut self, state: &State) {
        let ends = &state.faults.end_streams;
        for (vbucket, reason) in ends.iter().skip(std::mem::replace(&mut self.seen_ends, ends.len())) {
            for ((number, _), stream) in &mut self.streams {
                if number == vbucket {
                    stream.end(*reason);
                }
            }
        }
    }

    /// Sends in turn, one message per stream, while there is room.
    fn send(&mut self, out: &mut Vec<u8>) -> Pumped {
        while out.len() < WRITE_BYTES {
            if !self.has_room() {
                return Pumped::Idle;
            }
            let Some(key) = self.next_in_turn() else { return Pumped::Idle };
            self.turn = Some(key);
            let Some(stream) = self.streams.get_mut(&key) else { return Pumped::Idle };
            let Some(message) = stream.queue.pop_front() else { continue };
            let packet = self.encode.packet(&message, stream.opaque, key, stream.strips_collection());
            let is_end = packet.opcode == opcode::DCP_STREAM_END;
            packet.write(out);
            if self.settings.buffer_bytes > 0 {
                self.unacknowledged += packet.wire_bytes() as u64;
            }
            self.last_sent = Instant::now();
            if is_end {
                self.streams.remove(&key);
            }
        }
        Pumped::More
    }

    /// The next stream after the one that sent last that has something to send.
    fn next_in_turn(&self) -> Option<StreamKey> {
        let has_message = |(key, stream): (&StreamKey, &Stream)| (!stream.queue.is_empty()).then_some(*key);
        let after = self.turn.and_then(|turn| {
            let range = (std::ops::Bound::Excluded(turn), std::ops::Bound::Unbounded);
            self.streams.range(range).find_map(has_message)
        });
        after.or_else(|| self.streams.iter().find_map(has_message))
    }
}
