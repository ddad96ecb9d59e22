//! The commands of operators, and configurations that are wrong.

use crate::ground::Ground;

#[tokio::test(flavor = "multi_thread")]
async fn init_creates_what_is_missing_and_doctor_says_what_is_wrong() {
    let ground = Ground::bare("commands").await;
    let config = ground.config("one", "");
    let (succeeded, said) = Ground::run("doctor", &config);
    assert!(!succeeded && said.contains("wrong: missing collections: commands.notes, commands.tl_clients"), "{said}");
    assert!(said.contains("  tidelock init"), "{said}");
    let (succeeded, said) = Ground::run("serve", &config);
    assert!(!succeeded && said.contains("the platform is not ready"), "{said}");
    for _ in 0..2 {
        let (succeeded, said) = Ground::run("init", &config);
        assert!(succeeded, "{said}");
    }
    let (succeeded, said) = Ground::run("doctor", &config);
    assert!(succeeded && said.contains("tombstones are purged after"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_configuration_is_named() {
    let ground = Ground::bare("wrong").await;
    let refused = |change: &dyn Fn(String) -> String, expected: &str| {
        let path = ground.config("one", "");
        std::fs::write(&path, change(std::fs::read_to_string(&path).unwrap())).unwrap();
        let (succeeded, said) = Ground::run("serve", &path);
        assert!(!succeeded && said.contains(expected), "{expected}: {said}");
    };
    let adds = |line: &'static str| move |text: String| text.replace("scope = ", &format!("{line}\nscope = "));
    refused(&adds("durability = \"some\""), "options.durability: found \"some\"; expected one of `none`, `majority`");
    refused(&adds("buckets = \"b\""), "unknown option for the kind \"couchbase\"");
    refused(&adds("bucket_memory_mib = \"much\""), "expected a number of MiB");
    refused(&adds("ca_file = \"nowhere.pem\""), "nowhere.pem: No such file");
    refused(&|text| text.replace("bucket = ", "#"), "expected the option `bucket`");
    refused(&|text| text.replace("couchbase://", "http://"), "it begins with couchbase:// or couchbases://");
    refused(&|text| text.replace("couchbase://", "couchbases://"), "expected the option `ca_file`");
    refused(
        &|text| text.replace("addresses = [", "addresses = [\"couchbase://a\", "),
        "expected one connection string",
    );
    refused(&|text| text.replace("scope = \"", "scope = \"_"), "a name begins with _ or %");
}
