//! What a subscription does at the words of a server that is none: it greets, and answers whatever it is asked with nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::{Event, Interest, Loss, Subscribe, Subscription};
use crate::client::Client;
use crate::config::Config;
use crate::error::Error;
use crate::wire::codes::message;
use crate::wire::locator::Address;

const REQUESTS: u8 = 100;
const PRIMARY: u8 = 101;
const GREETING: &[u8] = &[59, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// There was no queue; a ping every minute.
const NO_QUEUE: &[u8] = &[105, 2, 0xFF, 0xFF, 0xFF, 0xFE, 0, 0, 0, 0, 0, 0, 0, 0xEA, 0x60];
/// There was one, in which nothing waits.
const QUEUE: &[u8] = &[105, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xEA, 0x60];
const TAKEN: &[u8] = &[64, 0, 0, 0, 0, 0, 0, 0];

/// What happens at a server, and what it is told to do.
#[derive(Default)]
struct Script {
    authenticated: watch::Sender<usize>,
    feeds: watch::Sender<usize>,
    /// One of them was that of a primary.
    is_primary: watch::Sender<bool>,
    /// Connections for requests that were not taken.
    refused: watch::Sender<usize>,
    /// No connection for requests is taken, and those that are open are closed.
    is_full: watch::Sender<bool>,
    /// A queue outlives its feed.
    keeps: watch::Sender<bool>,
    /// The queue flows to nobody, though its server answers.
    is_mute: watch::Sender<bool>,
    /// Whether the client that last ended a connection for requests wanted its queue kept.
    left: watch::Sender<Option<bool>>,
    /// Connections for requests that are opened are told that the durable id is another process's.
    is_held: watch::Sender<bool>,
    /// Feeds are told so.
    is_taken: watch::Sender<bool>,
    /// Kinds of messages to send to the feed.
    say: watch::Sender<Option<i32>>,
}

async fn serve(mut stream: TcpStream, script: &Script) -> std::io::Result<()> {
    let kind = stream.read_u8().await?;
    // A client sends the rest of its greeting at once.
    let mut greeting = vec![0; 4096];
    if stream.read(&mut greeting).await? == 0 {
        return Ok(());
    }
    let mut is_full = script.is_full.subscribe();
    if kind == REQUESTS && *is_full.borrow() {
        script.refused.send_modify(|count| *count += 1);
        return Ok(());
    }
    if kind == REQUESTS && *script.is_held.borrow() {
        script.refused.send_modify(|count| *count += 1);
        return stream.write_all(TAKEN).await;
    }
    if kind == REQUESTS {
        stream.write_all(GREETING).await?;
        return tokio::select! {
            _ = is_full.wait_for(|is_full| *is_full) => Ok(()),
            done = answer(&mut stream, script) => done,
        };
    }
    let is_first = *script.feeds.borrow() == 0;
    script.feeds.send_modify(|count| *count += 1);
    script.is_primary.send_modify(|is_primary| *is_primary |= kind == PRIMARY);
    let (mut is_taken, mut say) = (script.is_taken.subscribe(), script.say.subscribe());
    if *is_taken.borrow() {
        return stream.write_all(TAKEN).await;
    }
    stream.write_all(if is_first || !*script.keeps.borrow() { NO_QUEUE } else { QUEUE }).await?;
    loop {
        tokio::select! {
            _ = is_taken.wait_for(|is_taken| *is_taken) => return Ok(()),
            said = say.changed() => if said.is_err() { return Ok(()) },
        }
        let said = *say.borrow_and_update();
        if let Some(kind) = said {
            stream.write_all(&message_of(kind)).await?;
        }
    }
}

/// A response in one chunk with one part without bytes.
const CHUNK: &[u8] = &[0, 0, 0, 1, 0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 5, 0x21, 0, 0, 0, 0, 0];

/// A message of one part without bytes.
fn message_of(kind: i32) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &[0, 0, 0, 5, 0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0], &[0; 5]].concat()
}

async fn answer(stream: &mut TcpStream, script: &Script) -> std::io::Result<()> {
    loop {
        let kind = stream.read_i32().await?;
        let len = usize::try_from(stream.read_i32().await?).unwrap();
        let mut rest = vec![0; 9 + len];
        stream.read_exact(&mut rest).await?;
        match kind {
            message::USER_CREDENTIALS => script.authenticated.send_modify(|count| *count += 1),
            // The marker comes after what waits in a queue.
            message::CLIENT_READY if *script.keeps.borrow() && !*script.is_mute.borrow() => {
                script.say.send_replace(Some(message::CLIENT_MARKER));
            }
            message::CLOSE_CONNECTION => {
                script.left.send_replace(Some(rest.last() != Some(&0)));
            }
            _ => {}
        }
        match kind {
            message::REGISTER_INTEREST => stream.write_all(CHUNK).await?,
            message::CLOSE_CONNECTION => return Ok(()),
            _ => stream.write_all(&message_of(message::RESPONSE)).await?,
        }
    }
}

async fn server() -> (Arc<Script>, Address) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
    let script = Arc::new(Script::default());
    let of_server = Arc::clone(&script);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let script = Arc::clone(&of_server);
            tokio::spawn(async move { serve(stream, &script).await });
        }
    });
    (script, address)
}

/// What fails is noticed soon.
fn config(servers: Vec<Address>) -> Config {
    let config = Config { servers, ping_interval: Duration::from_millis(100), ..Config::default() }.user("u", "p");
    config.durable("test", Duration::from_secs(60))
}

async fn subscribe_to(servers: Vec<Address>, redundancy: usize) -> (Client, Subscription) {
    let client = Client::connect(config(servers)).await.unwrap();
    let interests = vec![Interest::all("docs")];
    let mut subscription = client.subscribe(Subscribe { redundancy, interests, ..Subscribe::default() }).await.unwrap();
    assert_eq!(next(&mut subscription).await, Some(Event::Lost(Loss::NoQueue)));
    (client, subscription)
}

async fn subscribe() -> (Arc<Script>, Client, Subscription) {
    let (script, address) = server().await;
    let (client, subscription) = subscribe_to(vec![address], 0).await;
    (script, client, subscription)
}

async fn next(subscription: &mut Subscription) -> Option<Event> {
    timeout(Duration::from_secs(20), subscription.next()).await.expect("no event within 20 s")
}

async fn copied(subscription: &Subscription) {
    let restored = timeout(Duration::from_secs(20), subscription.redundancy_restored()).await;
    restored.expect("there is a copy within 20 s");
}

async fn more(count: &watch::Sender<usize>, by: usize) {
    let before = *count.borrow();
    let mut count = count.subscribe();
    let more = timeout(Duration::from_secs(20), count.wait_for(|count| *count >= before + by)).await;
    more.expect("it happens within 20 s").unwrap();
}

#[tokio::test]
async fn the_end_of_the_client_is_the_end_of_its_events() {
    let (_script, client, mut subscription) = subscribe().await;
    client.close(true).await;
    assert_eq!(next(&mut subscription).await, None);
    assert_eq!(next(&mut subscription).await, None);
}

#[tokio::test]
async fn why_the_queue_is_not_to_be_had_is_told_once() {
    let (script, _client, mut subscription) = subscribe().await;
    script.is_taken.send_replace(true);
    let told = next(&mut subscription).await;
    assert!(matches!(told, Some(Event::Interrupted(Error::DurableIdInUse { .. }))), "{told:?}");
    more(&script.feeds, 3).await;
    assert!(!subscription.has_event());
    script.is_taken.send_replace(false);
    assert_eq!(next(&mut subscription).await, Some(Event::Lost(Loss::NoQueue)), "it is over");
    script.is_taken.send_replace(true);
    let told = next(&mut subscription).await;
    assert!(matches!(told, Some(Event::Interrupted(_))), "another outage: {told:?}");
}

#[tokio::test]
async fn a_server_that_asks_for_it_is_authenticated_to_again() {
    let (script, _client, mut subscription) = subscribe().await;
    for _ in 0..2 {
        let before = *script.authenticated.borrow();
        script.say.send_replace(Some(message::CLIENT_RE_AUTHENTICATE));
        let mut authenticated = script.authenticated.subscribe();
        let again = timeout(Duration::from_secs(5), authenticated.wait_for(|count| *count > before)).await;
        again.expect("within 5 s").unwrap();
    }
    assert_eq!(*script.feeds.borrow(), 1, "the feed is the same");
    script.say.send_replace(Some(message::CLIENT_MARKER));
    assert_eq!(next(&mut subscription).await, Some(Event::CaughtUp), "and goes on");
}

#[tokio::test]
async fn a_copy_that_could_not_be_told_of_an_interest_is_not_trusted() {
    let ((first, one), (second, two)) = (server().await, server().await);
    let (_client, mut subscription) = subscribe_to(vec![one, two], 1).await;
    copied(&subscription).await;
    let (primary, copy) = if *first.is_primary.borrow() { (first, second) } else { (second, first) };
    copy.keeps.send_replace(true);
    copy.is_full.send_replace(true);
    more(&copy.refused, 1).await;
    subscription.register(Interest::all("people")).await.unwrap();
    copy.is_full.send_replace(false);
    primary.is_full.send_replace(true);
    primary.is_taken.send_replace(true);
    loop {
        match next(&mut subscription).await {
            Some(Event::Interrupted(_)) => {}
            told => break assert_eq!(told, Some(Event::Lost(Loss::NoQueue))),
        }
    }
}

#[tokio::test]
async fn a_queue_that_does_not_flow_is_given_up_for_its_copy() {
    let ((first, one), (second, two)) = (server().await, server().await);
    let (former, mut subscription) = subscribe_to(vec![one.clone(), two.clone()], 1).await;
    copied(&subscription).await;
    former.close(true).await;
    assert_eq!(next(&mut subscription).await, None);
    let (primary, copy) = if *first.is_primary.borrow() { (first, second) } else { (second, first) };
    for script in [&primary, &copy] {
        script.keeps.send_replace(true);
    }
    primary.is_mute.send_replace(true);
    let config = Config { request_timeout: Duration::from_secs(1), ..config(vec![one, two]) };
    let client = Client::connect(config).await.unwrap();
    let mut subscription = client.subscribe(Subscribe { redundancy: 1, ..Subscribe::default() }).await.unwrap();
    assert_eq!(next(&mut subscription).await, Some(Event::CaughtUp), "the copy has everything");
    assert_eq!(*primary.left.borrow(), Some(false), "a queue that does not flow is of use to nobody");
    assert!(*copy.is_primary.borrow());
}

#[tokio::test]
async fn a_durable_id_that_is_free_soon_is_waited_for() {
    let (script, address) = server().await;
    script.is_held.send_replace(true);
    let free = async {
        more(&script.refused, 2).await;
        script.is_held.send_replace(false);
    };
    let (client, ()) = tokio::join!(Client::connect(config(vec![address])), free);
    let client = client.unwrap();
    script.is_taken.send_replace(true);
    let free = async {
        more(&script.feeds, 2).await;
        let mut left = script.left.subscribe();
        let left = timeout(Duration::from_secs(20), left.wait_for(Option::is_some)).await;
        assert_eq!(*left.expect("within 20 s").unwrap(), Some(true), "what it has open keeps the id from being free");
        script.is_taken.send_replace(false);
    };
    let (subscription, ()) = tokio::join!(client.subscribe(Subscribe::default()), free);
    assert_eq!(next(&mut subscription.unwrap()).await, Some(Event::Lost(Loss::NoQueue)));
}

#[tokio::test]
async fn a_durable_queue_with_an_event_that_cannot_be_read_is_given_up() {
    let (script, _client, mut subscription) = subscribe().await;
    script.keeps.send_replace(true);
    script.say.send_replace(Some(message::LOCAL_CREATE));
    assert_eq!(next(&mut subscription).await, Some(Event::Lost(Loss::Unreadable)), "it would come again and again");
    assert_eq!(*script.left.borrow(), Some(false));
    assert_eq!(next(&mut subscription).await, Some(Event::CaughtUp));
}
