//! How a client finds servers, and keeps in touch with them.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidelock_geode_client::{Address, Client, Config, Error, Event, Key, Protocol, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::subscriptions::{all, next, next_change};
use crate::support::{client, config, locator};

/// A port of this machine where nobody listens.
async fn nobody() -> Address {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    Address::new("127.0.0.1", listener.local_addr().unwrap().port())
}

#[tokio::test]
async fn a_locator_that_is_down_is_passed_over() {
    let down = nobody().await;
    let both = Config { locators: vec![down.clone(), locator()], ..config() };
    let client = Client::connect(both).await.unwrap();
    client.region("docs").put(&Key::from("locators"), &Value::string("x")).await.unwrap();
    let error = Client::connect(Config { locators: vec![down.clone()], ..config() }).await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable(why) if why.contains(&down.to_string())), "{error}");
}

#[tokio::test]
async fn both_versions_of_the_protocol_are_spoken() {
    for (protocol, name) in [(Protocol::V1_14, "protocol-1.14"), (Protocol::V1_15, "protocol-1.15")] {
        let client = Client::connect(Config { protocol: Some(protocol), ..config() }).await.unwrap();
        let docs = client.region("docs");
        let mut subscription = client.subscribe(all("docs", 1)).await.unwrap();
        assert!(matches!(next(&mut subscription).await, Event::Lost(_)));
        let (key, value) = (Key::from(name), Value::string(name));
        let other = crate::support::client().await;
        let tag = other.region("docs").put(&key, &value).await.unwrap();
        let change = next_change(&mut subscription).await;
        assert_eq!((change.key, change.value.as_ref(), &change.tag), (key.clone(), Some(&value), &tag), "{protocol:?}");
        let read = docs.get(&key).await.unwrap();
        assert_eq!((read.value(), &read.tag), (Some(&value), &tag), "{protocol:?}");
        assert!(docs.destroy(&key).await.unwrap().was_there, "{protocol:?}");
    }
}

/// Stands between a client and a server: every connection of the client is passed on in its own way.
async fn between(server: Address, pass: impl Fn(TcpStream, TcpStream) + Send + 'static) -> Address {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect((server.host.as_str(), server.port)).await.unwrap();
            pass(near, far);
        }
    });
    address
}

/// Passes everything on between a client and a server, and counts the client's pings.
async fn counting_relay(server: Address, pings: Arc<AtomicUsize>) -> Address {
    let pass = move |near: TcpStream, far: TcpStream| {
        let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (near.into_split(), far.into_split());
        tokio::spawn(async move { tokio::io::copy(&mut far_in, &mut near_out).await });
        let pings = Arc::clone(&pings);
        tokio::spawn(async move {
            let mut bytes = vec![0; 64 << 10];
            while let Ok(count @ 1..) = near_in.read(&mut bytes).await {
                let heard = bytes.get(..count).unwrap_or_default();
                // A message without parts, of the kind 5.
                if count == 17 && heard.starts_with(&[0, 0, 0, 5, 0, 0, 0, 0]) {
                    pings.fetch_add(1, Ordering::Relaxed);
                }
                if far_out.write_all(heard).await.is_err() {
                    break;
                }
            }
        });
    };
    between(server, pass).await
}

#[tokio::test]
async fn an_idle_client_is_heard_of() {
    let pings = Arc::new(AtomicUsize::new(0));
    let server = client().await.servers().remove(0);
    let relay = counting_relay(server, Arc::clone(&pings)).await;
    let interval = Duration::from_millis(100);
    let idle = Config { locators: Vec::new(), servers: vec![relay], ping_interval: interval, ..config() };
    let client = Client::connect(idle).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while pings.load(Ordering::Relaxed) < 3 {
        assert!(Instant::now() < deadline, "{} pings within 30 s", pings.load(Ordering::Relaxed));
        sleep(interval).await;
    }
    // The connection that was idle is the one that serves.
    client.region("docs").get(&Key::from("idle")).await.unwrap();
}

/// Passes everything on between a client and a server, but holds back what the server says while nothing flows, and tells so.
async fn holding_relay(server: Address, flows: watch::Receiver<bool>, holds: watch::Sender<bool>) -> Address {
    let pass = move |near: TcpStream, far: TcpStream| {
        let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (near.into_split(), far.into_split());
        tokio::spawn(async move { tokio::io::copy(&mut near_in, &mut far_out).await });
        let (mut flows, holds) = (flows.clone(), holds.clone());
        tokio::spawn(async move {
            let mut bytes = vec![0; 64 << 10];
            while let Ok(count @ 1..) = far_in.read(&mut bytes).await {
                holds.send_replace(!*flows.borrow());
                if flows.wait_for(|flows| *flows).await.is_err() {
                    break;
                }
                if near_out.write_all(bytes.get(..count).unwrap_or_default()).await.is_err() {
                    break;
                }
            }
        });
    };
    between(server, pass).await
}

#[tokio::test]
async fn the_reply_to_a_request_that_was_given_up_answers_no_other_one() {
    let plain = client().await;
    let (one, two) = (Key::from("given-up-1"), Key::from("given-up-2"));
    for (key, text) in [(&one, "one"), (&two, "two")] {
        plain.region("docs").put(key, &Value::string(text)).await.unwrap();
    }
    let (passing, may_pass) = watch::channel(true);
    let (held_back, mut holds) = watch::channel(false);
    let servers = vec![holding_relay(plain.servers().remove(0), may_pass, held_back.clone()).await];
    // One connection: who comes next gets the one before.
    let through =
        Config { locators: Vec::new(), servers, connections_per_server_max: 1, single_hop: false, ..config() };
    let client = Client::connect(through).await.unwrap();
    let docs = client.region("docs");
    for end in ["drop", "rollback", "commit", "another operation"] {
        let mut transaction = client.begin(None).await.unwrap();
        transaction.get(&docs, &two).await.unwrap();
        passing.send_replace(false);
        held_back.send_replace(false);
        tokio::select! {
            found = transaction.get(&docs, &one) => panic!("{end}: {found:?}"),
            held = holds.wait_for(|holds| *holds) => drop(held.unwrap()),
        }
        passing.send_replace(true);
        match end {
            "rollback" => transaction.rollback().await.unwrap(),
            "commit" => assert!(matches!(transaction.commit().await, Err(Error::Unreachable(_)))),
            "another operation" => {
                assert!(matches!(transaction.get(&docs, &two).await, Err(Error::Unreachable(_))));
            }
            _ => drop(transaction),
        }
        for (key, text) in [(&two, "two"), (&one, "one")] {
            assert_eq!(docs.get(key).await.unwrap().value(), Some(&Value::string(text)), "{end}");
        }
    }
}
