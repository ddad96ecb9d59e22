//! What all tests share.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

use std::sync::Arc;
use std::time::Duration;

use tidelock_core::ids::DocumentId;
use tidelock_couchbase_dcp::kv::{Client, Request, Response};
use tidelock_couchbase_double::{Double, Options, test_cluster};
use tidelock_store::platform::{Entry, Feed, FeedEvent, Platform as _, PutContent, PutIf, PutOutcome, Token, system};
use tidelock_store_couchbase::{Config, CouchbaseOptions, CouchbasePlatform, Durability};
use tokio::time::timeout;

/// Longer than anything takes on a busy machine; reached only when something is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const VBUCKETS: u16 = 16;

const GET: u8 = 0x00;
const SET: u8 = 0x01;
const DELETE: u8 = 0x04;
const KEY_NOT_FOUND: u16 = 1;

/// A scope of a cluster.
pub(crate) struct Ground {
    /// Nothing when the cluster is another one.
    pub(crate) double: Option<Double>,
    pub(crate) options: CouchbaseOptions,
}

impl Ground {
    /// An empty scope of this name, with Tidelock's collections and those of `docs` and `people`.
    pub(crate) async fn new(scope: &str) -> Self {
        let ground = Self::bare(scope).await;
        let findings = ground.platform().await.configure(&collections()).await.unwrap();
        assert!(findings.iter().all(|finding| !finding.fatal), "{findings:?}");
        ground
    }

    /// The cluster alone.
    pub(crate) async fn bare(scope: &str) -> Self {
        Self::bare_with(scope, Options::default()).await
    }

    /// A cluster of another kind alone, where it is a double.
    pub(crate) async fn bare_with(scope: &str, options: Options) -> Self {
        let (double, text) = test_cluster(Options { vbuckets: VBUCKETS, ..options }).await.unwrap();
        let mut connection = Config::new(&text).unwrap();
        if connection.bucket.is_empty() {
            "default".clone_into(&mut connection.bucket);
        }
        let mut options = CouchbaseOptions::new(connection);
        scope.clone_into(&mut options.scope);
        let ground = Self { double, options };
        ground.drop_scope().await;
        ground
    }

    /// What an earlier run has left in a cluster that stays.
    async fn drop_scope(&self) {
        if self.double.is_none() {
            let path =
                format!("/pools/default/buckets/{}/scopes/{}", self.options.connection.bucket, self.options.scope);
            rest(&self.options, "DELETE", &path).await;
        }
    }

    pub(crate) fn double(&self) -> &Double {
        self.double.as_ref().expect("a test of a module local_*")
    }

    pub(crate) async fn platform(&self) -> CouchbasePlatform {
        CouchbasePlatform::connect(self.options.clone()).await.unwrap()
    }

    /// A platform whose writes are acknowledged by one node alone.
    pub(crate) async fn hasty(&self) -> CouchbasePlatform {
        let options = CouchbaseOptions { durability: Durability::None, ..self.options.clone() };
        CouchbasePlatform::connect(options).await.unwrap()
    }

    pub(crate) async fn others(&self) -> Others {
        Others {
            client: Client::connect(self.options.connection.clone()).await.unwrap(),
            options: self.options.clone(),
        }
    }
}

/// A request to the management of the cluster.
pub(crate) async fn rest(options: &CouchbaseOptions, method: &str, path: &str) -> String {
    use base64::Engine as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let nodes = tidelock_couchbase_dcp::kv::management(&options.connection).await.unwrap();
    let (host, port) = nodes.first().unwrap();
    let tidelock_store_couchbase::Credentials::Password { user, password } = &options.connection.credentials else {
        panic!("a user with a password")
    };
    let token = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    let mut stream = tokio::net::TcpStream::connect((host.as_str(), *port)).await.unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Basic {token}\r\n");
    stream.write_all(format!("{head}content-length: 0\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Any other client of the cluster: plain writes, without a thought of xattrs.
pub(crate) struct Others {
    client: Client,
    options: CouchbaseOptions,
}

impl Others {
    async fn ask(&self, opcode: u8, id: &DocumentId, extras: Vec<u8>, value: &[u8]) -> Response {
        let name = self.options.collections.get(&id.collection).unwrap_or(&id.collection);
        let request = Request {
            opcode,
            collection: format!("{}.{name}", self.options.scope),
            key: id.key.clone().into_bytes(),
            extras,
            value: value.to_vec(),
            ..Request::default()
        };
        self.client.call(&request).await.unwrap()
    }

    async fn call(&self, opcode: u8, id: &DocumentId, extras: Vec<u8>, value: &[u8]) -> Response {
        let answer = self.ask(opcode, id, extras, value).await;
        assert_eq!(answer.status, 0, "{opcode:#x} of {id}");
        answer
    }

    /// The vbucket of a document that is not there.
    pub(crate) async fn is_absent(&self, id: &DocumentId) -> Option<u16> {
        let answer = self.ask(GET, id, Vec::new(), b"").await;
        (answer.status == KEY_NOT_FOUND).then_some(answer.vbucket)
    }

    pub(crate) async fn set(&self, id: &DocumentId, value: &[u8]) {
        self.call(SET, id, vec![0; 8], value).await;
    }

    pub(crate) async fn set_expiring(&self, id: &DocumentId, value: &[u8], seconds: u32) {
        self.call(SET, id, [0_u32.to_be_bytes(), seconds.to_be_bytes()].concat(), value).await;
    }

    pub(crate) async fn delete(&self, id: &DocumentId) {
        self.call(DELETE, id, Vec::new(), b"").await;
    }

    /// What `GET` shows: the body.
    pub(crate) async fn get(&self, id: &DocumentId) -> Vec<u8> {
        self.call(GET, id, Vec::new(), b"").await.value.to_vec()
    }
}

pub(crate) fn collections() -> Vec<String> {
    system::ALL.iter().map(ToString::to_string).chain(["docs".to_owned(), "people".to_owned()]).collect()
}

pub(crate) fn doc(key: &str) -> DocumentId {
    DocumentId::new("docs", key)
}

pub(crate) async fn get(platform: &CouchbasePlatform, id: &DocumentId) -> Entry {
    platform.get(std::slice::from_ref(id)).await.unwrap().pop().unwrap()
}

pub(crate) fn text(entry: &Entry) -> Option<String> {
    entry.content.as_ref().map(|content| String::from_utf8(content.to_vec()).unwrap())
}

pub(crate) fn put(id: &DocumentId, token: &Token, content: PutContent, meta: Option<&[u8]>) -> PutIf {
    PutIf { id: id.clone(), token: token.clone(), content, meta: meta.map(Arc::from) }
}

pub(crate) fn content(text: &str) -> PutContent {
    PutContent::Put(Arc::from(text.as_bytes()))
}

/// Puts over whatever is there, and answers with the token.
pub(crate) async fn done(
    platform: &CouchbasePlatform,
    id: &DocumentId,
    text: PutContent,
    meta: Option<&[u8]>,
) -> Token {
    let token = get(platform, id).await.token;
    match platform.put_if(&[put(id, &token, text, meta)]).await.unwrap() {
        PutOutcome::Done(mut written) => written.pop().unwrap().token,
        other @ (PutOutcome::Mismatch | PutOutcome::NotTogether) => panic!("{other:?}"),
    }
}

pub(crate) async fn next(feed: &mut Box<dyn Feed>) -> FeedEvent {
    timeout(PATIENCE, feed.next()).await.expect("an event in time").expect("the feed goes on")
}

/// All events up to one that is the last.
pub(crate) async fn until(feed: &mut Box<dyn Feed>, is_last: impl Fn(&FeedEvent) -> bool) -> Vec<FeedEvent> {
    let mut events = Vec::new();
    loop {
        let event = next(feed).await;
        let is_end = is_last(&event);
        events.push(event);
        if is_end {
            return events;
        }
    }
}

pub(crate) fn is_change(event: &FeedEvent, id: &DocumentId) -> bool {
    matches!(event, FeedEvent::Changed(changed, _) if changed == id)
}

pub(crate) async fn caught_up(feed: &mut Box<dyn Feed>) -> Vec<FeedEvent> {
    until(feed, |event| *event == FeedEvent::CaughtUp).await
}
