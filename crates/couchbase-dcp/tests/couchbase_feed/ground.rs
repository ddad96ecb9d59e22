//! A scope of a cluster, and another client that writes there.

use std::time::Duration;

use base64::Engine as _;
use tidelock_couchbase_dcp::kv::{Client, Request, management};
use tidelock_couchbase_dcp::{Config, Credentials, Error, Filter};
use tidelock_couchbase_double::{Double, Options, test_cluster};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// Longer than anything takes on a busy machine; reached only when something is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const SET: u8 = 0x01;
const DELETE: u8 = 0x04;
const GET: u8 = 0x00;
const MULTI_MUTATION: u8 = 0xd1;
const KEY_NOT_FOUND: u16 = 1;

pub(crate) struct Ground {
    /// Nothing when the cluster is another one.
    _double: Option<Double>,
    config: Config,
    client: Client,
    scope: String,
}

impl Ground {
    /// An empty scope with the collection `docs`.
    pub(crate) async fn new(name: &str) -> Self {
        let (double, text) = test_cluster(Options { vbuckets: 16, ..Options::default() }).await.unwrap();
        let mut config = Config::new(&text).unwrap();
        if config.bucket.is_empty() {
            "default".clone_into(&mut config.bucket);
        }
        let client = Client::connect(config.clone()).await.unwrap();
        let ground = Self { _double: double, config, client, scope: format!("feed-{name}") };
        let scopes = ground.scopes();
        // What an earlier run has left.
        ground.rest("DELETE", &format!("{scopes}/{}", ground.scope), "").await;
        let made = ground.rest("POST", &scopes, &format!("name={}", ground.scope)).await;
        assert!(made.starts_with("HTTP/1.1 2"), "{made}");
        ground.collection("docs").await;
        ground
    }

    fn scopes(&self) -> String {
        format!("/pools/default/buckets/{}/scopes", self.config.bucket)
    }

    fn path(&self, collection: &str) -> String {
        format!("{}.{collection}", self.scope)
    }

    /// Creates a collection, and waits until it is known.
    pub(crate) async fn collection(&self, name: &str) {
        let made =
            self.rest("POST", &format!("{}/{}/collections", self.scopes(), self.scope), &format!("name={name}")).await;
        assert!(made.starts_with("HTTP/1.1 2"), "{made}");
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.client.id_of(&self.path(name)).await {
            assert!(matches!(error, Error::UnknownCollection(_)) && Instant::now() < deadline, "{error}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn drop_collection(&self, name: &str) {
        let dropped = self.rest("DELETE", &format!("{}/{}/collections/{name}", self.scopes(), self.scope), "").await;
        assert!(dropped.starts_with("HTTP/1.1 2"), "{dropped}");
    }

    /// A feed of some collections.
    pub(crate) fn config(&self, collections: &[&str]) -> Config {
        self.config.clone().collections(collections.iter().map(|name| self.path(name)))
    }

    /// A feed of the whole scope.
    pub(crate) fn config_of_scope(&self) -> Config {
        let mut config = self.config.clone();
        config.filter = Filter::Scope(self.scope.clone());
        config
    }

    async fn ask(&self, opcode: u8, collection: &str, key: &str, extras: Vec<u8>, value: Vec<u8>) -> u16 {
        let (collection, key) = (self.path(collection), key.into());
        let request = Request { opcode, collection, key, extras, value, ..Request::default() };
        self.client.call(&request).await.unwrap().status
    }

    pub(crate) async fn set(&self, collection: &str, key: &str, value: &str) {
        assert_eq!(self.ask(SET, collection, key, vec![0; 8], value.into()).await, 0, "{key}");
    }

    pub(crate) async fn remove(&self, collection: &str, key: &str) {
        assert_eq!(self.ask(DELETE, collection, key, Vec::new(), Vec::new()).await, 0, "{key}");
    }

    /// A document that expires after a second.
    pub(crate) async fn set_brief(&self, collection: &str, key: &str) {
        let extras = [0_u32.to_be_bytes(), 1_u32.to_be_bytes()].concat();
        assert_eq!(self.ask(SET, collection, key, extras, b"{}".to_vec()).await, 0, "{key}");
    }

    /// Reads a document until it has gone: one whose time has come goes when it is read, if not before.
    pub(crate) async fn gone(&self, collection: &str, key: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.ask(GET, collection, key, Vec::new(), Vec::new()).await != KEY_NOT_FOUND {
            assert!(Instant::now() < deadline, "{key} stays");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sets a system xattr together with the body; without one the document goes, and the xattr stays in its tombstone.
    pub(crate) async fn set_with_xattr(&self, key: &str, xattr: (&str, &str), body: Option<&str>) {
        let is_to_be = body.is_some();
        let body = body.map_or_else(|| spec(DELETE, 0, "", ""), |body| spec(SET, 0, "", body));
        let value = [spec(0xc8, 0x04, xattr.0, xattr.1), body].concat();
        // A document that is to be is made when it is missing.
        let extras = if is_to_be { vec![0x01] } else { Vec::new() };
        let status = self.ask(MULTI_MUTATION, "docs", key, extras, value).await;
        // Also one of a tombstone (`kv_engine` include/mcbp/protocol/status.h, `SubdocSuccessDeleted`).
        assert!(status == 0 || status == 0xcd, "{key}: {status:#x}");
    }

    /// So many keys that are in the first vbucket (CRC-32, as every client of the server has it).
    pub(crate) fn keys_of_one_vbucket(&self, count: usize) -> Vec<String> {
        let crc = |key: &str| {
            !key.bytes().fold(u32::MAX, |crc, byte| {
                (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
            })
        };
        let is_first = |key: &String| ((crc(key) >> 16 & 0x7fff) as usize).is_multiple_of(self.client.vbuckets());
        (0..).map(|n| format!("k{n}")).filter(is_first).take(count).collect()
    }

    /// Documents `k0`, `k1`, …
    pub(crate) async fn fill(&self, collection: &str, count: usize, body: fn(usize) -> String) {
        for n in 0..count {
            self.set(collection, &format!("k{n}"), &body(n)).await;
        }
    }

    /// A request to the management; the whole answer.
    async fn rest(&self, method: &str, path: &str, form: &str) -> String {
        let nodes = management(&self.config).await.unwrap();
        let (host, port) = nodes.first().unwrap();
        let Credentials::Password { user, password } = &self.config.credentials else {
            panic!("a user with a password")
        };
        let token = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        let mut stream = TcpStream::connect((host.as_str(), *port)).await.unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Basic {token}\r\nconnection: close\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
            form.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

/// A path of a sub-document command.
fn spec(opcode: u8, flags: u8, path: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![opcode, flags];
    bytes.extend(u16::try_from(path.len()).unwrap().to_be_bytes());
    bytes.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
    bytes.extend(path.bytes());
    bytes.extend(value.bytes());
    bytes
}

/// The keys that [`Ground::fill`] makes, sorted.
pub(crate) fn keys(count: usize) -> Vec<String> {
    let mut keys: Vec<String> = (0..count).map(|n| format!("k{n}")).collect();
    keys.sort();
    keys
}
