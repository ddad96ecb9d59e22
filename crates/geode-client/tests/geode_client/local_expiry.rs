//! A cluster whose users' authentication expires.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fs;
use std::time::Duration;

use tidelock_geode_client::{Client, Config, Error, Event, Key, Loss, Subscription, Value};
use tidelock_geode_cluster::{Cluster, Regions, SERVERS};

use crate::subscriptions::{all, next};
use crate::support::cluster;

const LISTENER: &str = "listener";
const WRITER: &str = "writer";
/// What a server says in its log when it gives a queue up.
const GIVEN_UP: &str = "Client did not re-authenticate back successfully";

/// Tells the servers' security manager something of a user.
fn tell(cluster: &Cluster, file: &str, user: &str) {
    for server in SERVERS {
        fs::write(cluster.folder().join(server).join(file), user).unwrap();
    }
}

fn logs(cluster: &Cluster) -> String {
    let log = |server: &str| fs::read_to_string(cluster.folder().join(server).join("output.log")).unwrap();
    SERVERS.map(log).concat()
}

async fn client(cluster: &Cluster, user: &str) -> Client {
    let config = Config::with_locator(cluster.locator().parse().unwrap()).user(user, user);
    Client::connect(config.durable(user, Duration::from_secs(300))).await.unwrap()
}

/// Waits for the change of an entry; a queue that goes on tells nothing else.
async fn until_changed(subscription: &mut Subscription, key: &Key) {
    loop {
        match next(subscription).await {
            Event::Change(change) if change.key == *key => return,
            Event::Change(_) | Event::CaughtUp => {}
            unexpected @ (Event::Lost(_) | Event::Region { .. } | Event::Interrupted(_)) => panic!("{unexpected:?}"),
        }
    }
}

#[tokio::test]
async fn a_queue_goes_on_when_its_authentication_expires_and_says_so_when_there_is_no_other() {
    let shared = cluster();
    let folder = shared.folder().join("expiry");
    let properties = [
        "security-manager=tidelock.testing.Expiring",
        // Of the servers, to each other.
        "security-username=cluster",
        "security-password=cluster",
        "reauthenticate.wait.time=15000",
    ];
    let cluster = Cluster::start(shared.artifacts(), &folder, Regions::Tests, &properties).unwrap();
    let (writer, listener) = (client(&cluster, WRITER).await, client(&cluster, LISTENER).await);
    let docs = writer.region("docs");
    let value = Value::string("told");
    let mut subscription = listener.subscribe(all("docs", 1)).await.unwrap();
    assert_eq!(next(&mut subscription).await, Event::Lost(Loss::NoQueue));
    for round in 0..2 {
        tell(&cluster, "expired", WRITER);
        let key = Key::String(format!("authenticated-{round}"));
        docs.put(&key, &value).await.unwrap();
        assert_eq!(docs.get(&key).await.unwrap().value(), Some(&value), "requests authenticate again");
    }
    for round in 0..2 {
        tell(&cluster, "expired", LISTENER);
        let key = Key::String(format!("expired-{round}"));
        docs.put(&key, &value).await.unwrap();
        until_changed(&mut subscription, &key).await;
        assert!(!logs(&cluster).contains(GIVEN_UP), "the client answered");
    }
    tell(&cluster, "refused", LISTENER);
    tell(&cluster, "expired", LISTENER);
    let key = Key::from("expired-refused");
    docs.put(&key, &value).await.unwrap();
    loop {
        match next(&mut subscription).await {
            Event::Interrupted(Error::Authentication(_)) => break,
            Event::CaughtUp | Event::Interrupted(_) => {}
            unexpected @ (Event::Change(_) | Event::Lost(_) | Event::Region { .. }) => panic!("{unexpected:?}"),
        }
    }
    for server in SERVERS {
        fs::remove_file(cluster.folder().join(server).join("refused")).unwrap();
    }
    while !matches!(next(&mut subscription).await, Event::Change(change) if change.key == key) {}
}
