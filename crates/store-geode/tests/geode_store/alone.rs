//! Writes without transactions, when a server answers the exchange of a content with an exception. A relay in front of one server says so.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use tidelock_core::ids::DocumentId;
use tidelock_geode_client::{Address, Client, Json, Key};
use tidelock_store::platform::{Entry, Platform as _, PlatformError, PutOutcome};
use tidelock_store_geode::{GeodeOptions, GeodePlatform};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{content, doc, get, options, put, text};

/// Bytes of a message before its parts: kind, length, number of parts, transaction, flags.
const HEADER_LEN: usize = 17;
const PUT: i32 = 7;
const EXCEPTION: i32 = 2;
const REPLACE: u8 = 45;

/// What becomes of an exchange.
#[derive(Clone, Debug)]
enum Fate {
    Passed,
    /// The server does it, and the answer is an exception.
    DoneAndDenied,
    /// The server hears nothing of it, and the answer is an exception.
    Refused,
    /// As `Refused`, after another application has stored this.
    Overtaken(&'static str),
    /// As `Refused`, and all reads that follow find no server.
    RefusedAndGone,
}

/// A relay between a client and a server.
struct Relay {
    address: Address,
    /// Of the exchanges in `/docs`, one after the other; those after them pass.
    fates: Arc<Mutex<VecDeque<Fate>>>,
}

impl Relay {
    async fn start(server: Address, other: Client, key: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
        let fates = Arc::new(Mutex::new(VecDeque::new()));
        let (shared, key) = (Arc::clone(&fates), Key::from(key));
        let is_gone = Arc::new(Mutex::new(false));
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                if *is_gone.lock().unwrap() {
                    continue;
                }
                let far = TcpStream::connect((server.host.as_str(), server.port)).await.unwrap();
                let link = Link {
                    near,
                    far,
                    fates: Arc::clone(&shared),
                    other: other.clone(),
                    key: key.clone(),
                    is_gone: Arc::clone(&is_gone),
                };
                // Its end is that of one of the two connections.
                tokio::spawn(async move { drop(link.run().await) });
            }
        });
        Self { address, fates }
    }

    /// What becomes of the next exchanges.
    fn next(&self, fates: &[Fate]) {
        *self.fates.lock().unwrap() = fates.iter().cloned().collect();
    }
}

struct Link {
    near: TcpStream,
    far: TcpStream,
    fates: Arc<Mutex<VecDeque<Fate>>>,
    other: Client,
    key: Key,
    is_gone: Arc<Mutex<bool>>,
}

impl Link {
    async fn run(mut self) -> io::Result<()> {
        // The first message comes after the answer to the greeting, which has no frame.
        let mut greeting = [0; 4096];
        let count = self.near.read(&mut greeting).await?;
        self.far.write_all(&greeting[..count]).await?;
        loop {
            self.answers().await?;
            let request = message(&mut self.near).await?;
            if !is_exchange(&request) {
                self.far.write_all(&request).await?;
                continue;
            }
            let fate = self.fates.lock().unwrap().pop_front().unwrap_or(Fate::Passed);
            match fate {
                Fate::Passed => {
                    self.far.write_all(&request).await?;
                    continue;
                }
                Fate::DoneAndDenied => {
                    self.far.write_all(&request).await?;
                    message(&mut self.far).await?;
                }
                Fate::Refused => {}
                Fate::Overtaken(json) => {
                    self.other.region("docs").put_json(&self.key, &Json::parse(json).unwrap()).await.unwrap();
                }
                Fate::RefusedAndGone => {
                    *self.is_gone.lock().unwrap() = true;
                    self.near.write_all(&exception()).await?;
                    return Ok(());
                }
            }
            self.near.write_all(&exception()).await?;
        }
    }

    /// Passes on what the server says, until the client speaks.
    async fn answers(&mut self) -> io::Result<()> {
        let (mut bytes, mut first) = (vec![0; 64 << 10], [0]);
        loop {
            tokio::select! {
                biased;
                count = self.far.read(&mut bytes) => match count? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    count => self.near.write_all(&bytes[..count]).await?,
                },
                heard = self.near.peek(&mut first) => return match heard? {
                    0 => Err(io::ErrorKind::UnexpectedEof.into()),
                    _ => Ok(()),
                },
            }
        }
    }
}

/// One message with its header.
async fn message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; HEADER_LEN];
    stream.read_exact(&mut bytes).await?;
    let length = u32::from_be_bytes(bytes[4..8].try_into().unwrap());
    bytes.resize(HEADER_LEN + length as usize, 0);
    stream.read_exact(&mut bytes[HEADER_LEN..]).await?;
    Ok(bytes)
}

/// Whether a message replaces a value in `/docs`: its first parts, each with its length and a byte for its kind, are the region and the operation.
fn is_exchange(request: &[u8]) -> bool {
    let parts = [&5_u32.to_be_bytes()[..], &[0], b"/docs", &1_u32.to_be_bytes(), &[0, REPLACE]].concat();
    request.starts_with(&PUT.to_be_bytes()) && request[HEADER_LEN..].starts_with(&parts)
}

fn exception() -> Vec<u8> {
    let (object, trace) = (b"\x29", b"org.apache.geode.cache.CacheException: a copy failed");
    let part = |is_object: u8, bytes: &[u8]| {
        [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], &[is_object], bytes].concat()
    };
    let parts = [part(1, object), part(0, trace)].concat();
    let header = [EXCEPTION, i32::try_from(parts.len()).unwrap(), 2, -1].map(i32::to_be_bytes).concat();
    [header, vec![0], parts].concat()
}

/// A document that is there, a platform whose writes go through a relay, and one whose do not.
struct Ground {
    id: DocumentId,
    before: Entry,
    relay: Relay,
    relayed: GeodePlatform,
    direct: GeodePlatform,
}

const BEFORE: &str = r#"{"n":1}"#;
const AFTER: &str = r#"{"n":2}"#;

impl Ground {
    async fn new(name: &str) -> Self {
        let plain = options(&format!("alone-{name}"));
        let other = Client::connect(plain.connection.clone()).await.unwrap();
        let id = doc(&format!("alone-{name}"));
        let relay = Relay::start(other.servers().remove(0), other, &id.key).await;
        let mut connection = plain.connection.clone();
        connection.locators.clear();
        connection.servers = vec![relay.address.clone()];
        connection.single_hop = false;
        let relayed = GeodeOptions { transactions: false, connection, ..plain.clone() };
        let (relayed, direct) =
            (GeodePlatform::connect(relayed).await.unwrap(), GeodePlatform::connect(plain).await.unwrap());
        let token = get(&direct, &id).await.token;
        let written = direct.put_if(&[put(&id, &token, content(BEFORE), Some(b"before"))]).await.unwrap();
        assert!(matches!(written, PutOutcome::Done(_)), "{written:?}");
        let before = get(&direct, &id).await;
        Self { id, before, relay, relayed, direct }
    }

    async fn put(&self, fates: &[Fate]) -> Result<PutOutcome, PlatformError> {
        self.relay.next(fates);
        self.relayed.put_if(&[put(&self.id, &self.before.token, content(AFTER), Some(b"after"))]).await
    }

    /// What is there, as others see it.
    async fn holds(&self, wanted: &str, meta: &[u8]) {
        let entry = get(&self.direct, &self.id).await;
        assert_eq!((text(&entry).as_deref(), entry.meta.as_deref()), (Some(wanted), Some(meta)));
    }
}

fn is_unavailable(outcome: &Result<PutOutcome, PlatformError>) -> bool {
    matches!(outcome, Err(PlatformError::Unavailable(_)))
}

#[tokio::test]
async fn what_the_servers_know_to_have_stored_is_done() {
    let ground = Ground::new("done").await;
    let outcome = ground.put(&[Fate::DoneAndDenied, Fate::Passed]).await;
    assert!(matches!(outcome, Ok(PutOutcome::Done(_))), "{outcome:?}");
    ground.holds(AFTER, b"after").await;
}

#[tokio::test]
async fn the_meta_of_a_content_that_was_stored_all_the_same_stays() {
    let ground = Ground::new("stored").await;
    let outcome = ground.put(&[Fate::DoneAndDenied, Fate::Refused]).await;
    assert!(is_unavailable(&outcome), "{outcome:?}");
    ground.holds(AFTER, b"after").await;
}

#[tokio::test]
async fn the_meta_of_a_content_that_was_not_stored_is_taken_back() {
    let ground = Ground::new("refused").await;
    let outcome = ground.put(&[Fate::Refused, Fate::Refused]).await;
    assert!(is_unavailable(&outcome), "{outcome:?}");
    assert_eq!(get(&ground.direct, &ground.id).await, ground.before);
}

/// The exception may be that of a comparison with what another application has stored.
#[tokio::test]
async fn the_meta_of_a_content_that_another_one_replaced_is_taken_back() {
    let ground = Ground::new("overtaken").await;
    let outcome = ground.put(&[Fate::Overtaken(r#"{"n":300}"#), Fate::Passed]).await;
    assert!(outcome.is_err(), "{outcome:?}");
    ground.holds(r#"{"n":300}"#, b"before").await;
}

/// Nothing is known then: a meta that is ahead names the content that it replaces, so whoever reads them sees that it was not stored.
#[tokio::test]
async fn the_meta_stays_where_the_content_cannot_be_read() {
    let ground = Ground::new("gone").await;
    let outcome = ground.put(&[Fate::Refused, Fate::RefusedAndGone]).await;
    assert!(is_unavailable(&outcome), "{outcome:?}");
    ground.holds(BEFORE, b"after").await;
}
