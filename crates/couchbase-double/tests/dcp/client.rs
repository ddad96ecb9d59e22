//! A client that sends what a test says and takes apart what comes: one packet at a time, no more of the protocol than that.

use std::sync::atomic::{AtomicU32, Ordering};

use tidelock_couchbase_double::{Double, Options};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

pub(crate) use crate::packet::Packet;

pub(crate) const SNAPPY: u16 = 0x0a;
pub(crate) const JSON: u16 = 0x0b;
pub(crate) const UNORDERED: u16 = 0x0e;
pub(crate) const COLLECTIONS: u16 = 0x12;
/// What a consumer of this project asks for: xattrs, extended errors, snappy, JSON, collections.
pub(crate) const USUAL: &[u16] = &[0x06, 0x07, SNAPPY, JSON, COLLECTIONS];

pub(crate) const PRODUCER: u32 = 0x01;
pub(crate) const XATTRS: u32 = 0x04;
pub(crate) const DELETE_TIMES: u32 = 0x20;

/// Statuses by the names of `kv_engine` include/mcbp/protocol/status.h.
pub(crate) mod status {
    pub(crate) const SUCCESS: u16 = 0x00;
    pub(crate) const KEY_NOT_FOUND: u16 = 0x01;
    pub(crate) const KEY_EXISTS: u16 = 0x02;
    pub(crate) const INVALID: u16 = 0x04;
    pub(crate) const NOT_MY_VBUCKET: u16 = 0x07;
    pub(crate) const RANGE: u16 = 0x22;
    pub(crate) const ROLLBACK: u16 = 0x23;
    pub(crate) const NO_ACCESS: u16 = 0x24;
    pub(crate) const UNKNOWN_FRAME_INFO: u16 = 0x80;
    pub(crate) const UNKNOWN_COMMAND: u16 = 0x81;
    pub(crate) const NOT_SUPPORTED: u16 = 0x83;
    pub(crate) const UNKNOWN_COLLECTION: u16 = 0x88;
    pub(crate) const UNKNOWN_SCOPE: u16 = 0x8c;
    pub(crate) const STREAM_ID_INVALID: u16 = 0x8d;
}

impl Packet {
    pub(crate) fn control(key: &str, value: &str) -> Self {
        Self { key: key.into(), value: value.into(), ..Self::request(0x5e) }
    }

    pub(crate) fn open(flags: u32) -> Self {
        Self { key: b"a consumer".to_vec(), extras: [[0; 4], flags.to_be_bytes()].concat(), ..Self::request(0x50) }
    }

    pub(crate) fn number(&self, at: usize) -> u64 {
        u64::from_be_bytes(self.extras.get(at..at + 8).unwrap().try_into().unwrap())
    }
}

/// The numbers of a stream request; all of them 0, and the end open, unless a test says otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    pub(crate) vbucket: u16,
    pub(crate) flags: u32,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) uuid: u64,
    pub(crate) snapshot: (u64, u64),
    pub(crate) value: String,
}

impl Default for Stream {
    fn default() -> Self {
        Self { vbucket: 0, flags: 0, start: 0, end: u64::MAX, uuid: 0, snapshot: (0, 0), value: String::new() }
    }
}

impl From<Stream> for Packet {
    fn from(stream: Stream) -> Self {
        let mut extras = stream.flags.to_be_bytes().to_vec();
        extras.extend([0; 4]);
        for number in [stream.start, stream.end, stream.uuid, stream.snapshot.0, stream.snapshot.1] {
            extras.extend(number.to_be_bytes());
        }
        Self { vbucket: stream.vbucket, opaque: 77, extras, value: stream.value.into(), ..Self::request(0x53) }
    }
}

pub(crate) struct Client {
    socket: TcpStream,
}

impl Client {
    /// A connection to a node that has agreed on features and chosen the bucket.
    pub(crate) async fn connect(double: &Double, node: usize, features: &[u16]) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", double.kv_ports()[node])).await.unwrap();
        let mut client = Self { socket };
        let value = features.iter().flat_map(|feature| feature.to_be_bytes()).collect();
        client.done(Packet { value, ..Packet::request(0x1f) }).await;
        let (key, value) = (b"PLAIN".to_vec(), b"\0Administrator\0password".to_vec());
        client.done(Packet { key, value, ..Packet::request(0x21) }).await;
        client.done(Packet { key: b"default".to_vec(), ..Packet::request(0x89) }).await;
        client
    }

    /// A connection on which DCP is open under a name of its own, with NOOPs on so that it may have streams.
    pub(crate) async fn producer(double: &Double, flags: u32) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mut client = Self::connect(double, 0, USUAL).await;
        let key = format!("consumer {}", COUNT.fetch_add(1, Ordering::Relaxed)).into_bytes();
        client.done(Packet { key, ..Packet::open(PRODUCER | flags) }).await;
        client.done(Packet::control("enable_noop", "true")).await;
        client
    }

    pub(crate) async fn send(&mut self, packet: impl Into<Packet>) {
        self.socket.write_all(&packet.into().bytes()).await.unwrap();
    }

    /// The next packet; `None` when the node has closed the connection.
    pub(crate) async fn next(&mut self) -> Option<Packet> {
        Packet::read(&mut self.socket).await
    }

    /// The next message of a stream or a NOOP.
    pub(crate) async fn message(&mut self) -> Packet {
        let packet = self.next().await.expect("the connection lasts");
        assert!(packet.magic != 0x81, "an answer where a message was due: {packet:?}");
        packet
    }

    /// So many messages.
    pub(crate) async fn messages(&mut self, count: usize) -> Vec<Packet> {
        let mut messages = Vec::new();
        for _ in 0..count {
            messages.push(self.message().await);
        }
        messages
    }

    /// The answer to a packet; messages that come before it are passed over.
    pub(crate) async fn ask(&mut self, packet: impl Into<Packet>) -> Packet {
        self.send(packet).await;
        loop {
            let packet = self.next().await.expect("an answer");
            if packet.magic == 0x81 {
                return packet;
            }
        }
    }

    pub(crate) async fn status(&mut self, packet: impl Into<Packet>) -> u16 {
        self.ask(packet).await.vbucket
    }

    pub(crate) async fn done(&mut self, packet: impl Into<Packet>) -> Packet {
        let packet = packet.into();
        let answer = self.ask(packet.clone()).await;
        assert_eq!(answer.vbucket, status::SUCCESS, "{packet:?}");
        answer
    }

    /// Writes a document of the collection with this (one-byte) id.
    pub(crate) async fn set(&mut self, vbucket: u16, collection: u8, key: &str, value: &str) {
        let key = [&[collection], key.as_bytes()].concat();
        self.done(Packet { vbucket, key, extras: vec![0; 8], value: value.into(), ..Packet::request(0x01) }).await;
    }

    pub(crate) async fn delete(&mut self, vbucket: u16, collection: u8, key: &str) {
        self.done(Packet { vbucket, key: [&[collection], key.as_bytes()].concat(), ..Packet::request(0x04) }).await;
    }
}

/// A cluster with few vbuckets; vbucket 0 is active on node 0.
pub(crate) async fn cluster(nodes: usize) -> Double {
    Double::start(Options { nodes, vbuckets: 4, ..Options::default() }).await.unwrap()
}

/// The opcodes of messages, and the first number of each.
pub(crate) fn outline(messages: &[Packet]) -> Vec<(u8, u64)> {
    messages.iter().map(|message| (message.opcode, message.extras.get(..8).map_or(0, |_| message.number(0)))).collect()
}
