//! What `tidelock init` and `tidelock doctor` do and say.

use tidelock_store::platform::{Platform as _, PlatformError};
use tidelock_store_couchbase::{Config, CouchbaseOptions, CouchbasePlatform, Durability};

use crate::support::{Ground, collections, doc};

#[tokio::test]
async fn what_is_missing_is_named_and_created() {
    let ground = Ground::bare("made").await;
    let platform = ground.platform().await;
    let findings = platform.check(&collections()).await.unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].fatal && findings[0].what.contains("made.tl_clients, made.tl_intents"), "{findings:?}");
    assert!(findings[0].what.contains("made.docs"), "{findings:?}");
    for _ in 0..2 {
        let findings = platform.configure(&collections()).await.unwrap();
        assert!(findings.iter().all(|finding| !finding.fatal), "{findings:?}");
    }
    assert_eq!(platform.check(&["nowhere".to_owned()]).await.unwrap()[0].what, "missing collections: made.nowhere");
}

#[tokio::test]
async fn advice_is_given_about_tombstones() {
    let ground = Ground::new("tombstones").await;
    let advice = async |days: u64| {
        let tombstones_kept = std::time::Duration::from_secs(days * 24 * 60 * 60);
        let options = CouchbaseOptions { tombstones_kept, ..ground.options.clone() };
        let platform = CouchbasePlatform::connect(options).await.unwrap();
        platform.check(&collections()).await.unwrap()
    };
    // A bucket keeps them for at most 60 days.
    let findings = advice(61).await;
    assert!(findings.iter().any(|one| !one.fatal && one.what.contains("tombstones are purged after")), "{findings:?}");
    assert!(findings.iter().any(|one| one.remedy.contains("--purge-interval 60")), "{findings:?}");
    assert_eq!(advice(0).await, [], "it is ready");
}

#[tokio::test]
async fn a_bucket_that_is_missing_is_told_by_every_call() {
    let ground = Ground::bare("missing").await;
    let connection = ground.options.connection.clone().bucket("no-such-bucket");
    let platform = CouchbasePlatform::connect(CouchbaseOptions::new(connection)).await.unwrap();
    let findings = platform.check(&collections()).await.unwrap();
    assert!(findings[0].fatal && findings[0].what.contains("no bucket no-such-bucket"), "{findings:?}");
    let error = platform.get(&[doc("a")]).await.unwrap_err();
    assert!(matches!(&error, PlatformError::Refused(why) if why.contains("no-such-bucket")), "{error}");
}

#[tokio::test]
async fn whoever_is_not_let_in_is_told_why() {
    let ground = Ground::bare("refused").await;
    let connection = ground.options.connection.clone().password("nobody", "wrong");
    let error = CouchbasePlatform::connect(CouchbaseOptions::new(connection)).await.unwrap_err();
    let says = |why: &str| why.contains("user and password") && why.contains("`password_file`");
    assert!(matches!(&error, PlatformError::Refused(why) if says(why)), "{error}");
    let nowhere = Config::new("couchbase://u:p@127.0.0.1:1/b").unwrap();
    let error = CouchbasePlatform::connect(CouchbaseOptions::new(nowhere)).await.unwrap_err();
    assert!(matches!(&error, PlatformError::Unavailable(why) if why.contains("firewall")), "{error}");
}

#[tokio::test]
async fn durability_has_names() {
    let names = Durability::NAMES.map(|(name, _)| name);
    assert_eq!(names, ["none", "majority", "majority-and-persist-to-active", "persist-to-majority"]);
}
