//! A scope of a cluster, and another client that writes there.

use std::time::Duration;

use base64::Engine as _;
use tidelock_couchbase_dcp::kv::{Client, Request, management};
use tidelock_couchbase_dcp::{Config, Credentials, Error};
use tidelock_couchbase_double::{Double, Options, test_cluster};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// Longer than anything takes on a busy machine; reached only when something is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const SET: u8 = 0x01;
const DELETE: u8 = 0x04;

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

    async fn call(&self, opcode: u8, collection: &str, key: &str, value: &str) {
        let request = Request {
            opcode,
            collection: self.path(collection),
            key: key.into(),
            extras: if opcode == SET { vec![0; 8] } else { Vec::new() },
            value: value.into(),
            ..Request::default()
        };
        assert_eq!(self.client.call(&request).await.unwrap().status, 0, "{key}");
    }

    pub(crate) async fn set(&self, collection: &str, key: &str, value: &str) {
        self.call(SET, collection, key, value).await;
    }

    pub(crate) async fn remove(&self, collection: &str, key: &str) {
        self.call(DELETE, collection, key, "").await;
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

/// The keys that [`Ground::fill`] makes, sorted.
pub(crate) fn keys(count: usize) -> Vec<String> {
    let mut keys: Vec<String> = (0..count).map(|n| format!("k{n}")).collect();
    keys.sort();
    keys
}
