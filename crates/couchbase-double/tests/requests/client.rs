//! A client that sends what it is told to, right or wrong, and shares nothing with the double.

use tidelock_couchbase_double::{Double, Options};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::packet::Packet;

pub(crate) const HELLO: u8 = 0x1f;
pub(crate) const SASL_AUTH: u8 = 0x21;
pub(crate) const SELECT_BUCKET: u8 = 0x89;
/// Features: mutation tokens, xattrs, extended errors, snappy, JSON, collections, preserved expiry.
pub(crate) const ALL: &[u16] = &[0x04, 0x06, 0x07, 0x0a, 0x0b, 0x12, 0x14];
/// The same without extended errors.
pub(crate) const PLAIN_ERRORS: &[u16] = &[0x06, 0x0b, 0x12];

/// A request to a document, or to nothing.
pub(crate) type Request = Packet;

/// A request without a key.
pub(crate) fn bare(opcode: u8) -> Request {
    Request::request(opcode)
}

/// A request to a document of the default collection.
pub(crate) fn on(opcode: u8, key: &str) -> Request {
    bare(opcode).key(&[b"\0", key.as_bytes()].concat())
}

impl Request {
    pub(crate) fn key(self, key: &[u8]) -> Self {
        Self { key: key.to_vec(), ..self }
    }

    pub(crate) fn extras(self, extras: &[u8]) -> Self {
        Self { extras: extras.to_vec(), ..self }
    }

    pub(crate) fn value(self, value: &[u8]) -> Self {
        Self { value: value.to_vec(), ..self }
    }

    pub(crate) fn frames(self, frames: &[u8]) -> Self {
        Self { frames: frames.to_vec(), ..self }
    }

    pub(crate) fn cas(self, cas: u64) -> Self {
        Self { cas, ..self }
    }

    pub(crate) fn datatype(self, datatype: u8) -> Self {
        Self { datatype, ..self }
    }

    pub(crate) fn vbucket(self, vbucket: u16) -> Self {
        Self { vbucket, ..self }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) datatype: u8,
    pub(crate) cas: u64,
    pub(crate) extras: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

impl Answer {
    /// The number and the status of the path that failed.
    pub(crate) fn failed_path(&self) -> Option<(u8, u16)> {
        let [at, high, low] = self.value[..] else { return None };
        Some((at, u16::from_be_bytes([high, low])))
    }
}

pub(crate) struct Client {
    stream: TcpStream,
}

/// A cluster of one node that has one vbucket.
pub(crate) async fn double() -> Double {
    Double::start(Options { nodes: 1, vbuckets: 1, ..Options::default() }).await.unwrap()
}

impl Client {
    /// A connection that has said nothing.
    pub(crate) async fn silent(double: &Double, node: usize) -> Self {
        Self { stream: TcpStream::connect(("127.0.0.1", double.kv_ports()[node])).await.unwrap() }
    }

    /// A connection with these features, a user and a bucket.
    pub(crate) async fn new(double: &Double, features: &[u16]) -> Self {
        let mut client = Self::silent(double, 0).await;
        client.hello(features).await;
        client.log_in().await;
        assert_eq!(client.status(&bare(SELECT_BUCKET).key(b"default")).await, 0);
        client
    }

    /// The features that are granted.
    pub(crate) async fn hello(&mut self, features: &[u16]) -> Vec<u16> {
        let value: Vec<u8> = features.iter().flat_map(|feature| feature.to_be_bytes()).collect();
        let answer = self.call(&bare(HELLO).value(&value)).await.unwrap();
        assert_eq!(answer.status, 0);
        answer.value.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
    }

    pub(crate) async fn log_in(&mut self) {
        let request = bare(SASL_AUTH).key(b"PLAIN").value(b"\0Administrator\0password");
        assert_eq!(self.status(&request).await, 0);
    }

    /// The answer; `None` when the connection ends instead.
    pub(crate) async fn call(&mut self, request: &Request) -> Option<Answer> {
        self.stream.write_all(&request.bytes()).await.unwrap();
        let Packet { vbucket: status, datatype, cas, extras, value, .. } = Packet::read(&mut self.stream).await?;
        Some(Answer { status, datatype, cas, extras, value })
    }

    /// Waits for the end of the connection; nothing comes before it.
    pub(crate) async fn ended(&mut self) {
        assert!(Packet::read(&mut self.stream).await.is_none());
    }

    pub(crate) async fn status(&mut self, request: &Request) -> u16 {
        self.call(request).await.expect("an answer").status
    }

    /// Sends every request of a table and compares its status.
    pub(crate) async fn check(&mut self, table: Vec<(&str, Request, u16)>) {
        for (what, request, expected) in table {
            let status = self.status(&request).await;
            assert_eq!(status, expected, "{what}: {status:#04x} instead of {expected:#04x}; {request:?}");
        }
    }
}
