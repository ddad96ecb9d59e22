//! Faults of the servers. They end processes of the cluster.

use std::time::Duration;

use tidelock_geode_client::{ChangeKind, Event, Key, Subscribe};
use tokio::time::timeout;

use crate::subscriptions::{all, durable, next};
use crate::support::{client, cluster, json};

/// How many documents are written.
const ALL: usize = 60;

/// Documents with even numbers go to a region with an interest, the others to one with a continuous query for every other of them.
#[tokio::test]
async fn a_killed_primary_loses_and_repeats_nothing() {
    let mut cluster = cluster();
    let (writer, listener) = (client().await, durable("test-failover").await);
    let regions = [writer.region("docs"), writer.region("people")];
    let queries = vec![("found".to_owned(), "SELECT * FROM /people p WHERE p.failover = 1".to_owned())];
    let mut subscription = listener.subscribe(Subscribe { queries, ..all("docs", 1) }).await.unwrap();
    assert!(matches!(next(&mut subscription).await, Event::Lost(_)));
    let key = |at: usize| Key::String(format!("failover-{at}"));
    for at in 0..ALL {
        regions[at % 2].destroy(&key(at)).await.unwrap();
    }
    let is_expected = |at: &usize| at % 4 != 3;
    let write = async |at: usize| {
        let document = json(&format!("{{\"failover\":{}}}", u8::from(is_expected(&at))));
        regions[at % 2].put_json(&key(at), &document).await.unwrap();
    };
    for at in 0..20 {
        write(at).await;
    }
    // Both servers in turn: one of them has the primary queue, whichever it is.
    for (name, from) in [("s1", 20), ("s2", 40)] {
        cluster.kill(name).unwrap();
        for at in from..from + 20 {
            write(at).await;
        }
        cluster.start_server(name).unwrap();
        // Until the queue has its copy again, the other server could not be lost, too.
        let restored = timeout(Duration::from_secs(60), subscription.redundancy_restored()).await;
        restored.expect("the queue has its copy within a minute");
    }
    let expected: Vec<_> = (0..ALL).filter(is_expected).map(key).collect();
    let mut told = Vec::new();
    while told.len() < expected.len() {
        match next(&mut subscription).await {
            // The destroys of the beginning are told too.
            Event::Change(change) if change.kind == ChangeKind::Destroy => {}
            Event::Change(change) => told.push(change.key),
            Event::CaughtUp => {}
            other @ (Event::Region { .. } | Event::Lost(_) | Event::Interrupted(_)) => {
                panic!("after {} events: {other:?}", told.len())
            }
        }
    }
    assert_eq!(told, expected);
    drop(subscription);
    listener.close(false).await;
}
