//! A cluster, a writer that speaks the key-value protocol, and a consumer that waits for what it expects.

use std::time::Duration;

use tidelock_couchbase_dcp::{Change, Checkpoint, Config, Event, Feed};
use tidelock_couchbase_double::{Double, Options};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Nothing here takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const VBUCKETS: u16 = 8;

pub(crate) async fn cluster(nodes: usize) -> Double {
    Double::start(Options { nodes, vbuckets: VBUCKETS, ..Options::default() }).await.unwrap()
}

pub(crate) fn config(double: &Double) -> Config {
    Config::new(&double.connection_string()).unwrap().bucket("default")
}

/// The same with some settings.
pub(crate) fn config_with(double: &Double, change: impl FnOnce(&mut Config)) -> Config {
    let mut config = config(double);
    change(&mut config);
    config
}

pub(crate) async fn open(config: Config) -> Feed {
    Feed::open(config, &Checkpoint::default()).await.unwrap()
}

/// The next event; it has to come.
pub(crate) async fn next(feed: &mut Feed) -> Event {
    let event = timeout(PATIENCE, feed.next()).await.expect("an event in time").unwrap().expect("the feed goes on");
    feed.acknowledge();
    event
}

/// Takes events until one is the last, which is told, too.
pub(crate) async fn until(feed: &mut Feed, mut is_last: impl FnMut(&Event) -> bool) -> Vec<Event> {
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

pub(crate) fn is_change(event: &Event, key: &str) -> bool {
    matches!(event, Event::Change(change) if change.key == key.as_bytes())
}

pub(crate) async fn change(feed: &mut Feed, key: &str) -> Change {
    let events = until(feed, |event| is_change(event, key)).await;
    let Some(Event::Change(change)) = events.last() else { unreachable!("the last event is a change") };
    change.clone()
}

pub(crate) async fn caught_up(feed: &mut Feed) -> Vec<Event> {
    until(feed, |event| *event == Event::CaughtUp).await
}

/// The keys of changes, in order.
pub(crate) fn keys(events: &[Event]) -> Vec<String> {
    changes(events).map(|change| String::from_utf8(change.key.to_vec()).unwrap()).collect()
}

pub(crate) fn changes(events: &[Event]) -> impl Iterator<Item = &Change> {
    events.iter().filter_map(|event| if let Event::Change(change) = event { Some(change) } else { None })
}

/// A client that says itself which vbucket a document is in, and asks every node until one has it.
pub(crate) struct Writer {
    nodes: Vec<TcpStream>,
    pub(crate) collection: u32,
}

/// What a write says of its document.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) cas: u64,
    pub(crate) seqno: u64,
}

const SUCCESS: u16 = 0;
const NOT_MY_VBUCKET: u16 = 7;

impl Writer {
    pub(crate) async fn connect(double: &Double) -> Self {
        let mut nodes = Vec::new();
        for port in double.kv_ports() {
            // A node that is down is asked for nothing.
            let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
            // Mutation tokens, xattrs, bucket selection, JSON, collections.
            let features: Vec<u8> = [4_u16, 6, 8, 0x0b, 0x12].iter().flat_map(|id| id.to_be_bytes()).collect();
            ask(&mut stream, 0x1f, 0, &[], b"writer", &features).await.unwrap();
            ask(&mut stream, 0x21, 0, &[], b"PLAIN", b"\0Administrator\0password").await.unwrap();
            ask(&mut stream, 0x89, 0, &[], b"default", b"").await.unwrap();
            nodes.push(stream);
        }
        Self { nodes, collection: 0 }
    }

    pub(crate) fn into_collection(self, collection: u32) -> Self {
        assert!(collection < 0x80, "one byte of LEB128");
        Self { collection, ..self }
    }

    async fn write(&mut self, code: u8, vbucket: u16, extras: &[u8], key: &str, value: &[u8]) -> Written {
        let key = [&[u8::try_from(self.collection).unwrap()][..], key.as_bytes()].concat();
        loop {
            for node in &mut self.nodes {
                match ask(node, code, vbucket, extras, &key, value).await {
                    Err(_) | Ok((NOT_MY_VBUCKET, ..)) => {}
                    Ok((SUCCESS, cas, extras)) => {
                        let seqno = u64::from_be_bytes(extras[8..16].try_into().unwrap());
                        return Written { cas, seqno };
                    }
                    Ok((status, ..)) => panic!("{code:#x} of {key:?}: status {status:#x}"),
                }
            }
        }
    }

    pub(crate) async fn set(&mut self, vbucket: u16, key: &str, value: &str) -> Written {
        self.write(0x01, vbucket, &[0; 8], key, value.as_bytes()).await
    }

    pub(crate) async fn delete(&mut self, vbucket: u16, key: &str) -> Written {
        self.write(0x04, vbucket, &[], key, b"").await
    }
}

/// Status, CAS and extras of the answer.
async fn ask(
    stream: &mut TcpStream,
    code: u8,
    vbucket: u16,
    extras: &[u8],
    key: &[u8],
    value: &[u8],
) -> std::io::Result<(u16, u64, Vec<u8>)> {
    let mut bytes = vec![0x80, code];
    bytes.extend(u16::try_from(key.len()).unwrap().to_be_bytes());
    bytes.extend([u8::try_from(extras.len()).unwrap(), 0]);
    bytes.extend(vbucket.to_be_bytes());
    bytes.extend(u32::try_from(extras.len() + key.len() + value.len()).unwrap().to_be_bytes());
    bytes.extend([0; 12]);
    bytes.extend([extras, key, value].concat());
    stream.write_all(&bytes).await?;
    let mut header = [0; 24];
    stream.read_exact(&mut header).await?;
    let mut body = vec![0; u32::from_be_bytes(header[8..12].try_into().unwrap()) as usize];
    stream.read_exact(&mut body).await?;
    let status = u16::from_be_bytes([header[6], header[7]]);
    let cas = u64::from_be_bytes(header[16..24].try_into().unwrap());
    Ok((status, cas, body[..usize::from(header[4])].to_vec()))
}
