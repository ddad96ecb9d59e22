//! What a check says of servers from which no events come. A relay in front of one server holds them back.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

use tidelock_geode_client::{Address, Client};
use tidelock_store::platform::{Finding, Platform as _};
use tidelock_store_geode::{GeodeOptions, GeodePlatform};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy, copy_bidirectional, sink};
use tokio::net::{TcpListener, TcpStream};

use crate::support::options;

/// The first byte of a connection on which a server sends events.
const EVENTS: u8 = 101;
/// Bytes of the longest answer to a greeting.
const GREETING_MAX: usize = 64 << 10;

/// What becomes of the connections on which events come.
#[derive(Clone, Copy)]
enum Events {
    Passed,
    /// They are closed before the server hears of them.
    Refused,
    /// The server's answer to the greeting is the last that comes.
    Withheld,
}

async fn relay(server: Address, events: Events) -> Address {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect((server.host.as_str(), server.port)).await.unwrap();
            // Its end is that of one of the two connections.
            tokio::spawn(async move { drop(pass(near, far, events).await) });
        }
    });
    address
}

async fn pass(mut near: TcpStream, mut far: TcpStream, events: Events) -> std::io::Result<()> {
    let kind = near.read_u8().await?;
    match events {
        Events::Refused if kind == EVENTS => return Ok(()),
        Events::Withheld if kind == EVENTS => {
            far.write_u8(kind).await?;
            let (mut from_near, mut to_near) = near.split();
            let (mut from_far, mut to_far) = far.split();
            let answers = async {
                let mut answer = vec![0; GREETING_MAX];
                let count = from_far.read(&mut answer).await?;
                to_near.write_all(answer.get(..count).unwrap_or_default()).await?;
                copy(&mut from_far, &mut sink()).await
            };
            tokio::try_join!(copy(&mut from_near, &mut to_far), answers)?;
        }
        Events::Passed | Events::Refused | Events::Withheld => {
            far.write_u8(kind).await?;
            copy_bidirectional(&mut near, &mut far).await?;
        }
    }
    Ok(())
}

/// What a check says that goes through such a relay.
async fn findings(events: Events) -> Vec<Finding> {
    let plain = options("doctor");
    let server = Client::connect(plain.connection.clone()).await.unwrap().servers().remove(0);
    let mut connection = plain.connection.clone();
    connection.locators.clear();
    connection.servers = vec![relay(server, events).await];
    connection.single_hop = false;
    let platform = GeodePlatform::connect(GeodeOptions { connection, ..plain }).await.unwrap();
    platform.check(&["docs".to_owned()]).await.unwrap()
}

#[tokio::test]
async fn servers_from_which_no_events_come_are_complained_of() {
    assert_eq!(findings(Events::Passed).await, []);
    for (events, expected) in [
        (Events::Refused, "subscriptions are off: no server keeps an event queue: "),
        (Events::Withheld, "subscriptions are off: what was written to /_tl_state made no event in 10s"),
    ] {
        let findings = findings(events).await;
        let [finding] = findings.as_slice() else { panic!("{findings:?}") };
        assert!(finding.fatal && finding.what.starts_with(expected), "{finding:?}");
        assert!(finding.remedy.contains("queues"), "{finding:?}");
    }
}
