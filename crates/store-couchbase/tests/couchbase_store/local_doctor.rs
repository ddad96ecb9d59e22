//! What `tidelock doctor` says of a user who may not do everything, and of a bucket that is nearly full.

use std::time::Duration;

use tidelock_couchbase_double::{Options, Privilege};
use tidelock_store::platform::{Finding, Platform as _, PlatformError};
use tidelock_store_couchbase::CouchbasePlatform;

use crate::support::{Ground, collections, content, doc, done, rest};

/// What is found while the user lacks a privilege.
async fn without(ground: &Ground, privilege: Privilege) -> Vec<Finding> {
    ground.double().deny(&[privilege]);
    // A feed that is refused tries for as long.
    let mut options = ground.options.clone();
    options.connection.timeout = Duration::from_secs(2);
    let platform = CouchbasePlatform::connect(options).await.expect("there is a cluster");
    let findings = platform.check(&collections()).await.expect("what is missing is a finding");
    ground.double().deny(&[]);
    findings
}

#[tokio::test]
async fn every_privilege_that_is_missing_is_noticed() {
    let ground = Ground::new("privileges").await;
    let docs = |part: &str| format!("privileges.docs: {part}");
    for (privilege, expected) in [
        (Privilege::Read, "reading from privileges.docs: the user lacks a privilege".to_owned()),
        (Privilege::Upsert, docs("the user may not write")),
        (Privilege::SystemXattrWrite, docs("the user may not write documents and their system xattrs")),
        (Privilege::SystemXattrRead, "reading the xattr _tl from privileges.tl_state: the user lacks".to_owned()),
        (Privilege::DcpProducer, "changes cannot be followed".to_owned()),
        (Privilege::DcpStream, "changes cannot be followed".to_owned()),
    ] {
        let findings = without(&ground, privilege).await;
        let found = findings.iter().find(|finding| finding.what.contains(&expected));
        let found = found.unwrap_or_else(|| panic!("{privilege:?}: {findings:?}"));
        assert!(found.fatal && found.remedy.contains("`replication_target`"), "{privilege:?}: {found:?}");
    }
    let findings = without(&ground, Privilege::BucketSettings).await;
    let unseen = |finding: &Finding| !finding.fatal && finding.what.contains("settings could not be read: status 403");
    assert!(findings.len() == 1 && unseen(&findings[0]), "{findings:?}");
}

/// What is said of the purge interval, if anything.
fn purged(findings: &[Finding]) -> Option<&Finding> {
    findings.iter().find(|one| one.what.contains("purge"))
}

/// The roles for data see what the bucket has of its own, and not what it has from the cluster.
#[tokio::test]
async fn a_purge_interval_that_is_too_short_or_unseen_is_told() {
    let ground = Ground::new("purge").await;
    let findings = ground.platform().await.check(&collections()).await.unwrap();
    let found = purged(&findings).unwrap();
    assert!(!found.fatal && found.what.contains("after 3 days"), "{found:?}");
    assert!(found.remedy.contains("--bucket default --purge-interval 30"), "{found:?}");
    let findings = without(&ground, Privilege::CompactionSettings).await;
    let found = purged(&findings).unwrap();
    assert!(!found.fatal && found.what.contains("may not see"), "{found:?}");
    assert!(
        found.remedy.contains("--purge-interval 30") && found.remedy.contains("`mobile_sync_gateway`"),
        "{found:?}"
    );
}

/// With the settings that make it one to keep: nothing is left to say, to a user with the roles for data either.
#[tokio::test]
async fn a_bucket_that_is_made_keeps_tombstones_as_long_as_the_store_counts_on_them() {
    for (kept_days, interval) in [(30.0, 30), (0.2, 1), (1.5, 2), (90.0, 60)] {
        let mut ground = Ground::bare("made").await;
        "made".clone_into(&mut ground.options.connection.bucket);
        ground.options.tombstones_kept = Duration::from_secs_f64(kept_days * 24.0 * 60.0 * 60.0);
        let findings = ground.platform().await.configure(&collections()).await.unwrap();
        ground.double().deny(&[Privilege::CompactionSettings]);
        let seen = ground.platform().await.check(&collections()).await.unwrap();
        assert_eq!(findings, seen);
        let expected = format!("after {interval} days");
        match purged(&findings) {
            None => assert!(kept_days <= 60.0 && findings.is_empty(), "{findings:?}"),
            Some(found) => assert!(kept_days > 60.0 && found.what.contains(&expected), "{found:?}"),
        }
        let bucket = rest(&ground.options, "GET", "/pools/default/buckets/made").await;
        assert!(bucket.contains(&format!("\"purgeInterval\":{interval},")), "{bucket}");
        // Each threshold of the bucket's own, as the cluster has them.
        assert_eq!(bucket.matches("\"percentage\":30").count(), 2, "{bucket}");
    }
}

#[tokio::test]
async fn a_bucket_that_is_made_has_no_more_copies_than_there_are_nodes_for() {
    for (nodes, replicas, found) in [(1, 0, &["the bucket has no replica"][..]), (2, 1, &[])] {
        let mut ground = Ground::bare_with("made", Options { nodes, ..Options::default() }).await;
        "made".clone_into(&mut ground.options.connection.bucket);
        let findings = ground.platform().await.configure(&collections()).await.unwrap();
        assert_eq!(findings.len(), found.len(), "{findings:?}");
        assert!(findings.iter().zip(found).all(|(one, what)| !one.fatal && one.what.starts_with(what)), "{findings:?}");
        let bucket = rest(&ground.options, "GET", "/pools/default/buckets/made").await;
        assert!(bucket.contains(&format!("\"replicaNumber\":{replicas},")), "{bucket}");
    }
}

/// Clients of the network `external` cannot resolve the nodes' own names.
#[tokio::test]
async fn alternate_addresses_are_those_of_the_management_too() {
    let mut ground = Ground::bare("outside").await;
    ground.double().hide_in("external");
    for (bucket, option) in [("named", "?network=external"), ("found", "")] {
        let text = format!("{}/{bucket}{option}", ground.double().connection_string());
        ground.options.connection = tidelock_store_couchbase::Config::new(&text).unwrap();
        let findings = ground.platform().await.configure(&collections()).await.unwrap();
        assert_eq!(findings, []);
        assert_eq!(ground.platform().await.check(&collections()).await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_bucket_that_is_nearly_full_is_noticed() {
    let ground = Ground::new("memory").await;
    let platform = ground.platform().await;
    let full = |findings: &[Finding]| findings.iter().filter(|one| one.what.contains("% of its memory")).count();
    ground.double().use_memory(80);
    assert_eq!(full(&platform.check(&collections()).await.unwrap()), 0);
    ground.double().use_memory(91);
    let findings = platform.check(&collections()).await.unwrap();
    assert!(findings.iter().any(|one| !one.fatal && one.what == "the bucket uses 91 % of its memory"), "{findings:?}");
}

/// A server has to start in an outage: it serves what there is.
#[tokio::test]
async fn writes_that_nobody_confirms_are_noticed_and_no_reason_not_to_serve() {
    let ground = Ground::new("unconfirmed").await;
    let platform = ground.platform().await;
    ground.double().hold_replication();
    let findings = platform.check(&collections()).await.unwrap();
    let is_told = |one: &Finding| one.what.contains("no write is confirmed now") && one.remedy.contains("`durability`");
    assert!(findings.iter().any(is_told) && !findings.iter().any(|one| one.fatal), "{findings:?}");
}

/// An outage is no reason not to serve; a bucket that is never going to confirm anything is one.
#[tokio::test]
async fn a_bucket_that_can_never_confirm_a_write_is_told_from_an_outage() {
    let mut ground = Ground::new("impossible").await;
    let platform = ground.platform().await;
    let unconfirmed = |one: &Finding| !one.fatal && one.what.contains("too few copies are up");
    let double = ground.double.as_mut().unwrap();
    double.kill(1);
    double.fail_over(1);
    let findings = platform.check(&collections()).await.unwrap();
    assert!(findings.iter().any(unconfirmed) && !findings.iter().any(|one| one.fatal), "{findings:?}");
    // The node is left out, and the bucket goes on wanting a replica.
    let double = ground.double();
    double.rebalance();
    double.set_replicas("default", 1);
    let findings = platform.check(&collections()).await.unwrap();
    let never = |one: &Finding| one.fatal && one.what.contains("data nodes are 1") && one.remedy.contains("durability");
    assert!(findings.iter().any(unconfirmed) && findings.iter().any(never), "{findings:?}");
    ground.double().set_replicas("default", 3);
    let findings = platform.check(&collections()).await.unwrap();
    let never = |one: &Finding| one.fatal && one.what.contains("has 3 replicas");
    assert!(findings.iter().any(never), "{findings:?}");
    // Who asks for no confirmation has it.
    let findings = ground.hasty().await.check(&collections()).await.unwrap();
    assert!(!findings.iter().any(|one| one.fatal), "{findings:?}");
}

/// Not taken for a document without an xattr, which would be somebody else's.
#[tokio::test]
async fn whoever_may_not_see_the_xattr_reads_nothing() {
    let ground = Ground::new("unseen").await;
    let platform = ground.platform().await;
    done(&platform, &doc("a"), content("1"), Some(b"meta")).await;
    ground.double().deny(&[Privilege::SystemXattrRead]);
    let error = platform.get(&[doc("a")]).await.unwrap_err();
    assert!(matches!(&error, PlatformError::Refused(why) if why.contains("the xattr _tl")), "{error}");
}
