//! Faults of the servers. They end processes of the cluster.

use tidelock_geode_client::{Event, Key, Value};

use crate::subscriptions::{all, durable, next};
use crate::support::{client, cluster};

#[tokio::test]
async fn a_killed_primary_loses_and_repeats_nothing() {
    let mut cluster = cluster();
    let (writer, listener) = (client().await, durable("test-failover").await);
    let docs = writer.region("docs");
    let mut subscription = listener.subscribe(all("docs", 1)).await.unwrap();
    assert!(matches!(next(&mut subscription).await, Event::Lost(_)));
    let key = |at: i32| Key::String(format!("failover-{at}"));
    for at in 0..20 {
        docs.put(&key(at), &Value::string("x")).await.unwrap();
    }
    // Both servers in turn: one of them has the primary queue, whichever it is.
    for (name, from) in [("s1", 20), ("s2", 40)] {
        cluster.kill(name).unwrap();
        for at in from..from + 20 {
            docs.put(&key(at), &Value::string("x")).await.unwrap();
        }
        cluster.start_server(name).unwrap();
        // The queue has its copy again once the other server could be lost, too.
        subscription.redundancy_restored().await;
    }
    let mut told = Vec::new();
    while told.len() < 60 {
        match next(&mut subscription).await {
            Event::Change(change) => told.push(change.key),
            Event::CaughtUp => {}
            other @ (Event::Region { .. } | Event::Lost(_)) => panic!("after {} events: {other:?}", told.len()),
        }
    }
    assert_eq!(told, (0..60).map(key).collect::<Vec<_>>());
    drop(subscription);
    listener.close(false).await;
}
