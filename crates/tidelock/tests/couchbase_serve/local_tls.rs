//! Everything over TLS, with a root certificate of the cluster's own, as docs/couchbase.md has it.

use serde_json::json;
use tidelock_core::wire::Outcome;
use tidelock_couchbase_double::tls::CLIENT;

use crate::client::{Client, put};
use crate::ground::Ground;

#[tokio::test(flavor = "multi_thread")]
async fn init_doctor_and_a_server_come_over_tls() {
    let mut ground = Ground::bare("encrypted").await;
    ground.encrypt().await;
    let config = ground.config("one", "");
    let (succeeded, said) = Ground::run("init", &config);
    assert!(succeeded, "{said}");
    // It has read what only the management tells.
    let (succeeded, said) = Ground::run("doctor", &config);
    assert!(succeeded && said.contains("tombstones are purged after 3 days"), "{said}");
    let serve = ground.serve("one", "");
    let (mut writer, mut reader) = (Client::open(&serve, 1).await, Client::open(&serve, 2).await);
    reader.subscribe().await;
    writer.push(1, vec![put("card", r#"{"n":1}"#)]).await;
    assert_eq!(writer.outcome().await, Outcome::Accepted);
    assert_eq!(ground.get("card").await, Some(json!({"n": 1})));
    reader.hears("card", Some(&json!({"n": 1}))).await;
    ground.set("card", r#"{"n":2}"#).await;
    reader.hears("card", Some(&json!({"n": 2}))).await;
    serve.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_with_another_root_is_refused() {
    let mut ground = Ground::bare("untrusted").await;
    ground.encrypt().await;
    // The client's certificate is no root of the servers'.
    ground.trust(CLIENT.0);
    for command in ["init", "doctor", "serve"] {
        let (succeeded, said) = Ground::run(command, &ground.config("one", ""));
        assert!(!succeeded && said.contains("certificate"), "{command}: {said}");
    }
}
