//! TLS with own roots, and client certificates: somebody who speaks TLS stands in front of each node of a double.

#![expect(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a panic is how a test fails")]

use tidelock_couchbase_dcp::tls::Tls;
use tidelock_couchbase_dcp::{Checkpoint, Config, Credentials, Error, Event, Feed};
use tidelock_couchbase_double::tls::{CLIENT, ROOT};
use tidelock_couchbase_double::{Double, Options};

async fn cluster() -> Double {
    let mut double = Double::start(Options { vbuckets: 8, ..Options::default() }).await.unwrap();
    double.encrypt().await.unwrap();
    double
}

/// Of a user with his password, or of nobody.
fn config(double: &Double, user: &str, tls: Tls) -> Config {
    let hosts = double.encrypted_connection_string();
    let (_, hosts) = hosts.split_once('@').unwrap();
    let mut config = Config::new(&format!("couchbases://{user}{hosts}/default")).unwrap();
    config.tls = Some(tls);
    config
}

fn trusting(roots: &str, identity: Option<(&str, &str)>) -> Tls {
    Tls::with_pem(roots.as_bytes(), identity.map(|(chain, key)| (chain.as_bytes(), key.as_bytes()))).unwrap()
}

/// Both nodes' streams open, over TLS.
async fn follow(config: Config) {
    let mut feed = Feed::open(config, &Checkpoint::default()).await.unwrap();
    loop {
        match feed.next().await.unwrap().unwrap() {
            Event::CaughtUp => return,
            Event::Disconnected { error, .. } => panic!("{error}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_password_goes_over_tls() {
    let cluster = cluster().await;
    follow(config(&cluster, "Administrator:password@", trusting(ROOT, None))).await;
    let wrong = config(&cluster, "Administrator:wrong@", trusting(ROOT, None));
    assert!(matches!(Feed::open(wrong, &Checkpoint::default()).await, Err(Error::Authentication(_))));
}

#[tokio::test]
async fn a_certificate_says_who_the_client_is() {
    let cluster = cluster().await;
    let with_certificate = config(&cluster, "", trusting(ROOT, Some(CLIENT)));
    assert_eq!(with_certificate.credentials, Credentials::Certificate);
    follow(with_certificate).await;
    let without = config(&cluster, "", trusting(ROOT, None));
    assert!(matches!(Feed::open(without, &Checkpoint::default()).await, Err(Error::Access(_))));
}

#[tokio::test]
async fn a_server_of_another_root_is_refused() {
    let cluster = cluster().await;
    // The client's certificate is no root of the server's.
    let other = config(&cluster, "Administrator:password@", trusting(CLIENT.0, None));
    let error = Feed::open(other, &Checkpoint::default()).await.err().unwrap();
    assert!(matches!(&error, Error::Connection(why) if why.contains("certificate")), "{error}");
    // A node that speaks no TLS.
    let string = cluster.connection_string().replace("couchbase://", "couchbases://");
    let mut plain = Config::new(&string).unwrap().bucket("default");
    plain.tls = Some(trusting(ROOT, None));
    assert!(matches!(Feed::open(plain, &Checkpoint::default()).await, Err(Error::Connection(_))));
}
