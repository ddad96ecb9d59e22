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
        let (succeeded, said) = Ground::run("init --store couchbase", &config);
        assert!(succeeded, "{said}");
    }
    let (succeeded, said) = Ground::run("init --store geode", &config);
    assert!(!succeeded && said.contains("no database of the kind geode"), "{said}");
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

#[tokio::test(flavor = "multi_thread")]
async fn whoever_cannot_connect_is_told_what_to_look_at() {
    let ground = Ground::bare("apart").await;
    let refused = |lines: &dyn Fn(&str) -> Option<String>, expected: [&str; 2]| {
        let path = ground.config("one", "");
        let text = std::fs::read_to_string(&path).unwrap();
        let text: Vec<String> = text.lines().map(|line| lines(line).unwrap_or_else(|| line.to_owned())).collect();
        std::fs::write(&path, text.join("\n")).unwrap();
        let (succeeded, said) = Ground::run("doctor", &path);
        assert!(!succeeded && expected.iter().all(|expected| said.contains(expected)), "{expected:?}: {said}");
    };
    let nowhere =
        |line: &str| line.starts_with("addresses").then(|| "addresses = [\"couchbase://127.0.0.1:1\"]".into());
    refused(&nowhere, ["127.0.0.1:1", "firewall"]);
    let other = |line: &str| line.starts_with("password").then(|| "password = \"another\"".into());
    refused(&other, ["refuses user and password", "`password_file`"]);
    // The double speaks no TLS by itself.
    let roots = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testdata/a.pem");
    let tls = |line: &str| match line.split_once(' ').map_or(line, |(key, _)| key) {
        "addresses" => Some(line.replace("couchbase://", "couchbases://")),
        "scope" => Some(format!("ca_file = {roots:?}\n{line}")),
        _ => None,
    };
    refused(&tls, ["tls", "needs a cluster with TLS"]);
    // A service that is not the key-value service.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").unwrap();
        // Until the other side has gone.
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap_or(0)
    });
    let http =
        |line: &str| line.starts_with("addresses").then(|| format!("addresses = [\"couchbase://127.0.0.1:{port}\"]"));
    refused(&http, ["broke the protocol", "11210"]);
    answering.join().unwrap();
}
