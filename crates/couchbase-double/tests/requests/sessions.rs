//! Connections: before a user and a bucket are known, features, and what a client hears that knows no extended errors.

use tidelock_couchbase_double::{Double, Options, Privilege, Withheld};

use crate::client::{ALL, Client, HELLO, PLAIN_ERRORS, SASL_AUTH, SELECT_BUCKET, bare, double, on};

const GET: u8 = 0x00;
const SET: u8 = 0x01;
const DELETE: u8 = 0x04;
const QUIT: u8 = 0x07;
const NOOP: u8 = 0x0a;
const VERSION: u8 = 0x0b;
const SASL_LIST: u8 = 0x20;
const SASL_STEP: u8 = 0x22;
const GET_LOCKED: u8 = 0x94;
const UNLOCK: u8 = 0x95;
const GET_CLUSTER_CONFIG: u8 = 0xb5;
const GET_COLLECTION_ID: u8 = 0xbb;
const SUBDOC_MULTI_MUTATION: u8 = 0xd1;
const DCP_OPEN: u8 = 0x50;

const OK: u16 = 0;
const NOT_FOUND: u16 = 0x01;
const EXISTS: u16 = 0x02;
const INVALID: u16 = 0x04;
const NO_BUCKET: u16 = 0x08;
const LOCKED: u16 = 0x09;
const CONFIG_ONLY: u16 = 0x0d;
const NOT_LOCKED: u16 = 0x0e;
const AUTH_ERROR: u16 = 0x20;
const AUTH_CONTINUE: u16 = 0x21;
const NO_ACCESS: u16 = 0x24;
const UNKNOWN_COMMAND: u16 = 0x81;
const NOT_SUPPORTED: u16 = 0x83;
const TEMPORARY_FAILURE: u16 = 0x86;
const UNKNOWN_COLLECTION: u16 = 0x88;

#[tokio::test]
async fn who_has_not_said_who_he_is_may_do_little() {
    let double = double().await;
    let mut client = Client::silent(&double, 0).await;
    client.hello(&[0x07]).await;
    let first = bare(SASL_AUTH).key(b"SCRAM-SHA256").value(b"n,,n=Administrator,r=abc");
    client
        .check(vec![
            ("noop", bare(NOOP), NO_ACCESS),
            ("version", bare(VERSION), NO_ACCESS),
            ("quit", bare(QUIT), NO_ACCESS),
            ("a bucket", bare(SELECT_BUCKET).key(b"default"), NO_ACCESS),
            ("a configuration", bare(GET_CLUSTER_CONFIG), NO_ACCESS),
            ("a document", bare(GET).key(b"k"), NO_ACCESS),
            ("an unknown command", bare(0xff), NO_ACCESS),
            ("mechanisms", bare(SASL_LIST), OK),
            ("mechanisms with a key", bare(SASL_LIST).key(b"k"), INVALID),
            ("hello with extras", bare(HELLO).extras(&[0]), INVALID),
            ("hello with half a feature", bare(HELLO).value(&[0]), INVALID),
            ("hello with a CAS", bare(HELLO).cas(1), INVALID),
            ("a step without a start", bare(SASL_STEP).key(b"SCRAM-SHA256").value(b"c=biws"), INVALID),
            ("no mechanism", bare(SASL_AUTH), INVALID),
            ("an unknown mechanism", bare(SASL_AUTH).key(b"CRAM-MD5"), AUTH_ERROR),
            ("a wrong password", bare(SASL_AUTH).key(b"PLAIN").value(b"\0Administrator\0wrong"), AUTH_ERROR),
            ("a start", first.clone(), AUTH_CONTINUE),
            ("another start instead of a step", first.clone(), INVALID),
            (
                "the step of another exchange",
                bare(SASL_STEP).key(b"SCRAM-SHA256").value(b"c=biws,r=abc,p=AAAA"),
                INVALID,
            ),
            ("a start after that", first, AUTH_CONTINUE),
            ("its empty step", bare(SASL_STEP).key(b"SCRAM-SHA256"), INVALID),
            ("a malformed start", bare(SASL_AUTH).key(b"PLAIN").value(b"Administrator"), INVALID),
            ("an unknown user", bare(SASL_AUTH).key(b"PLAIN").value(b"\0nobody\0password"), AUTH_ERROR),
            ("small letters", bare(SASL_AUTH).key(b"plain").value(b"\0Administrator\0password"), OK),
            ("noop then", bare(NOOP), OK),
            ("noop with a value", bare(NOOP).value(b"v"), INVALID),
            ("a document of no bucket", bare(GET).key(b"k"), NO_BUCKET),
            ("a wrong request of no bucket", bare(GET), INVALID),
            ("an unknown command of no bucket", bare(0xff), UNKNOWN_COMMAND),
            ("a bucket that is not there", bare(SELECT_BUCKET).key(b"other"), NOT_FOUND),
            ("a bucket with a value", bare(SELECT_BUCKET).key(b"default").value(b"v"), INVALID),
            ("the bucket", bare(SELECT_BUCKET).key(b"default"), OK),
            ("a document", bare(GET).key(b"k"), NOT_FOUND),
            ("no bucket", bare(SELECT_BUCKET).key(b"@no bucket@"), OK),
            ("a document of none", bare(GET).key(b"k"), NO_BUCKET),
            ("quit", bare(QUIT), OK),
        ])
        .await;
    assert_eq!(client.call(&bare(NOOP)).await, None, "the connection has ended");
}

#[tokio::test]
async fn features_are_granted_in_order_and_need_one_another() {
    let double = double().await;
    let mut client = Client::silent(&double, 0).await;
    assert_eq!(client.hello(&[0x12, 0x06, 0x06, 0x01, 0x7fff, 0x0b]).await, [0x06, 0x0b, 0x12]);
    assert_eq!(client.hello(&[0x1f, 0x0d, 0x0c]).await, [0x0c, 0x1f], "the brief form stands for both");
    let of = |features: &[u16]| {
        bare(HELLO).value(&features.iter().flat_map(|feature| feature.to_be_bytes()).collect::<Vec<_>>())
    };
    client
        .check(vec![
            ("pushes without duplex", of(&[0x0d]), INVALID),
            ("brief pushes without duplex", of(&[0x1f]), INVALID),
            ("virtual xattrs without xattrs", of(&[0x15]), INVALID),
            ("macros without xattrs", of(&[0x18]), INVALID),
        ])
        .await;
}

#[tokio::test]
async fn a_connection_that_streams_keeps_its_bucket() {
    let double = double().await;
    let mut client = Client::new(&double, ALL).await;
    let open = bare(DCP_OPEN).key(b"name").extras(&[0, 0, 0, 0, 0, 0, 0, 1]);
    let select = bare(SELECT_BUCKET).key(b"default");
    client.check(vec![("open", open, OK), ("select", select, NOT_SUPPORTED)]).await;
}

/// Requests about a locked document, and what is heard with extended errors and without them.
#[tokio::test]
async fn errors_are_plain_where_nobody_asked_for_more() {
    let double = double().await;
    let set = on(SET, "k").extras(&[0; 8]).value(b"1");
    let lock = on(GET_LOCKED, "k");
    let path = [&[0xc8, 4, 0, 1, 0, 0, 0, 1][..], b"x1"].concat();
    let mutate = on(SUBDOC_MULTI_MUTATION, "k").value(&path);
    for (features, locked, passes, not_locked) in
        [(ALL, LOCKED, LOCKED, NOT_LOCKED), (PLAIN_ERRORS, EXISTS, TEMPORARY_FAILURE, TEMPORARY_FAILURE)]
    {
        let mut client = Client::new(&double, features).await;
        client.check(vec![("set", set.clone(), OK)]).await;
        let cas = client.call(&lock).await.unwrap().cas;
        client
            .check(vec![
                ("lock again", lock.clone(), passes),
                ("mutate", mutate.clone(), passes),
                ("set", set.clone(), locked),
                ("delete", on(DELETE, "k"), locked),
                ("unlock as another", on(UNLOCK, "k").cas(cas + 1), locked),
                ("unlock", on(UNLOCK, "k").cas(cas), OK),
                ("unlock again", on(UNLOCK, "k").cas(cas), not_locked),
                ("an unknown collection", bare(GET).key(&[99, b'k']), UNKNOWN_COLLECTION),
            ])
            .await;
    }
    // What has no plain form ends the connection.
    double.deny(&[Privilege::Read]);
    let mut client = Client::new(&double, ALL).await;
    assert_eq!(client.status(&on(GET, "k")).await, NO_ACCESS);
    let mut client = Client::new(&double, PLAIN_ERRORS).await;
    assert_eq!(client.call(&on(GET, "k")).await, None);
}

#[tokio::test]
async fn a_vbucket_that_is_elsewhere_comes_with_the_map() {
    let double = Double::start(Options { nodes: 2, vbuckets: 2, ..Options::default() }).await.unwrap();
    let mut client = Client::new(&double, ALL).await;
    let elsewhere = client.call(&on(GET, "k").vbucket(1)).await.unwrap();
    let config: serde_json::Value = serde_json::from_slice(&elsewhere.value).unwrap();
    assert_eq!((elsewhere.status, elsewhere.datatype, config["name"].as_str()), (0x07, 1, Some("default")));
    // A client that knows the map is not told it again where it asked for that.
    let is_told = async |client: &mut Client| !client.call(&on(GET, "k").vbucket(1)).await.unwrap().value.is_empty();
    assert!(is_told(&mut client).await);
    let mut sparing = Client::new(&double, &[0x07, 0x0b, 0x12, 0x1e]).await;
    assert!(is_told(&mut sparing).await && !is_told(&mut sparing).await);
    double.create_collection("default", "s", "c");
    assert!(is_told(&mut sparing).await, "there is another one");
    let current = [1_u64.to_be_bytes(), 99_u64.to_be_bytes()].concat();
    let config = bare(GET_CLUSTER_CONFIG);
    assert!(!sparing.call(&config).await.unwrap().value.is_empty());
    assert!(sparing.call(&config.extras(&current)).await.unwrap().value.is_empty());
    // The form comes first, and a collection that is unknown before a vbucket that is elsewhere as a replica.
    client
        .check(vec![
            ("a wrong form", bare(GET).vbucket(1), INVALID),
            ("beyond the last one", on(GET, "k").vbucket(2), 0x07),
            (
                "an unknown collection where there is a replica",
                bare(GET).key(&[99, b'k']).vbucket(1),
                UNKNOWN_COLLECTION,
            ),
        ])
        .await;
    let unknown = client.call(&bare(GET).key(&[99, b'k'])).await.unwrap();
    let why: serde_json::Value = serde_json::from_slice(&unknown.value).unwrap();
    assert_eq!((why["manifest_uid"].as_str(), unknown.datatype), (Some("2"), 1));
    assert!(why["error"]["context"].is_string());
}

#[tokio::test]
async fn nodes_without_data_have_no_bucket_or_its_configuration_alone() {
    let start = async |version: &str| {
        let options = Options { nodes: 1, other_nodes: 1, vbuckets: 2, version: version.into(), ..Options::default() };
        Double::start(options).await.unwrap()
    };
    let select = || bare(SELECT_BUCKET).key(b"default");
    let double = start("7.2.0-5325-enterprise").await;
    let mut client = Client::silent(&double, 1).await;
    client.hello(ALL).await;
    client.log_in().await;
    client.check(vec![("no bucket", select(), NOT_FOUND), ("none still", on(GET, "k"), NO_BUCKET)]).await;
    let double = start("7.6.4-5146-enterprise").await;
    for (features, refused) in [(ALL, CONFIG_ONLY), (PLAIN_ERRORS, NOT_SUPPORTED)] {
        let mut client = Client::silent(&double, 1).await;
        client.hello(features).await;
        client.log_in().await;
        let refusals = [bare(GET_COLLECTION_ID).value(b"_default._default"), on(GET, "k"), bare(DCP_OPEN), bare(NOOP)];
        client.check(vec![("the configuration", select(), OK)]).await;
        client.check(refusals.into_iter().map(|request| ("the rest", request, refused)).collect()).await;
        let config = client.call(&bare(GET_CLUSTER_CONFIG)).await.unwrap();
        let config: serde_json::Value = serde_json::from_slice(&config.value).unwrap();
        let servers = config["vBucketServerMap"]["serverList"].as_array().unwrap();
        let nodes = config["nodesExt"].as_array().unwrap();
        assert_eq!((servers.len(), nodes.len(), &nodes[1]["thisNode"]), (1, 2, &true.into()));
        assert_eq!((nodes[0]["services"]["kv"].is_u64(), nodes[1]["services"]["kv"].is_u64()), (true, false));
    }
}

#[tokio::test]
async fn a_bucket_that_is_withheld_ends_connections_and_comes_back_with_its_documents() {
    let double = double().await;
    let mut client = Client::new(&double, ALL).await;
    assert_eq!(client.status(&on(SET, "k").extras(&[0; 8])).await, OK);
    for (answer, status) in [(Withheld::NotFound, NOT_FOUND), (Withheld::NoAccess, NO_ACCESS)] {
        double.withhold_buckets(0, Some(answer));
        client.ended().await;
        client = Client::silent(&double, 0).await;
        client.hello(ALL).await;
        client.log_in().await;
        assert_eq!(client.status(&bare(SELECT_BUCKET).key(b"default")).await, status);
        double.withhold_buckets(0, None);
        client = Client::new(&double, ALL).await;
        assert_eq!(client.status(&on(GET, "k")).await, OK);
    }
}

#[tokio::test]
async fn durable_writes_need_a_majority() {
    let mut double = Double::start(Options { nodes: 2, vbuckets: 1, ..Options::default() }).await.unwrap();
    let mut client = Client::new(&double, ALL).await;
    let durable = on(SET, "k").extras(&[0; 8]).frames(&[0x11, 1]);
    client.check(vec![("with a replica", durable.clone(), OK)]).await;
    double.hold_replication();
    client.check(vec![("with one that lags", durable.clone(), 0xa3)]).await;
    double.release_replication();
    double.kill(1);
    client.check(vec![("without it", durable, 0xa1), ("not durable", on(SET, "k").extras(&[0; 8]), OK)]).await;
}
