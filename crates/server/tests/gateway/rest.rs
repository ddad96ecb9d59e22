//! REST over real sockets.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::harness::{PATIENCE, TestServer, items, parsed, put};

/// Method, path, headers, body, expected status.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, u16);

#[tokio::test]
async fn documents() {
    let server = TestServer::start().await;
    let token = server.token("ann", &["x"]);
    let big = r#"{"n":12345678901234567890}"#;
    let (status, head, _) = server.rest("PUT", "notes/a", &token, &[("if-none-match", "*")], big).await;
    assert_eq!(status, 201);
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
    assert_eq!(tag.len(), 18);
    let (status, head, body) = server.rest("GET", "notes/a", &token, &[], "").await;
    assert_eq!((status, body.as_str()), (200, big));
    assert!(head.contains(&tag) && head.contains("nosniff"));

    let wrong = "\"0000000000000000\"";
    let cases: &[Case<'_>] = &[
        ("GET", "notes/a", &[("if-none-match", &tag)], "", 304),
        ("PUT", "notes/a", &[("if-none-match", "*")], "1", 412),
        ("PUT", "notes/a", &[("if-match", wrong)], "1", 412),
        ("PUT", "notes/a", &[("if-match", &tag)], "{\"n\":1}", 200),
        ("PUT", "notes/a", &[("if-match", &tag)], "{\"n\":2}", 412),
        ("PUT", "notes/none", &[("if-match", "*")], "1", 412),
        ("PUT", "notes/a", &[], "{\"n\":3}", 200),
        ("PUT", "notes/a", &[], "{", 400),
        ("PUT", "notes/~x", &[], "1", 400),
        ("PUT", "nonsense/a", &[], "1", 404),
        ("PUT", "locked/a", &[], "1", 403),
        ("PUT", "strict/a", &[], "{\"owner\":\"ann\",\"n\":\"x\"}", 422),
        ("DELETE", "notes/a", &[("if-match", wrong)], "", 412),
        ("DELETE", "notes/a", &[], "", 204),
        ("DELETE", "notes/a", &[], "", 404),
        ("GET", "notes/a", &[], "", 404),
        ("POST", "notes/a", &[], "", 405),
        ("PATCH", "notes", &[], "", 405),
    ];
    for (method, path, headers, body, expected) in cases {
        let (status, _, text) = server.rest(method, path, &token, headers, body).await;
        assert_eq!(status, *expected, "{method} {path} {headers:?}: {text}");
        if status >= 400 {
            let error = parsed(&text);
            assert!(error["code"].is_string() && error["message"].is_string() && error["retryable"].is_boolean());
        }
    }
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    assert_eq!(server.rest("PUT", "notes/l", &token, &[], &large).await.0, 413);
    assert_eq!(server.http("GET", "/v1/db/test/notes/a", &[], "").await.0, 401);
    assert_eq!(server.http("GET", "/v1/db/test/notes/a", &[("authorization", "Basic x")], "").await.0, 401);
    // Its sender is asked for before a body is.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"PUT /v1/db/test/notes/a HTTP/1.1\r\nhost: h\r\ncontent-length: 1000000\r\n\r\n").await.unwrap();
    let mut status = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut status)).await.unwrap().unwrap();
    assert_eq!(status, *b"HTTP/1.1 401");
    assert_eq!(server.rest("GET", "../other/notes/a", &token, &[], "").await.0, 404);
    server.stop().await;
}

#[tokio::test]
async fn rest_and_sync_see_each_other() {
    let server = TestServer::start().await;
    let mut ann = server.session("ann", &["x"]).await;
    ann.catch_up(&["cards"]).await;
    let token = server.token("bob", &["x", "y"]);
    assert_eq!(server.rest("PUT", "cards/a", &token, &[], r#"{"channel":"x"}"#).await.0, 201);
    assert_eq!(items(&ann.changes().await.changes), [r#"a={"channel":"x"}"#]);
    assert_eq!(server.rest("PUT", "cards/b", &token, &[], r#"{"channel":"y"}"#).await.0, 201);

    // A reader of x sees nothing of y: not by key, not by scan.
    let reader = server.token("ann", &["x"]);
    assert_eq!(server.rest("GET", "cards/b", &reader, &[], "").await.0, 404);
    assert_eq!(server.rest("DELETE", "cards/b", &reader, &[], "").await.0, 404);
    let keys = |text: String| -> Vec<String> {
        let page = parsed(&text);
        page["documents"].as_array().unwrap().iter().map(|one| one["key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(keys(server.rest("GET", "cards", &reader, &[], "").await.2), ["a"]);
    assert_eq!(keys(server.rest("GET", "cards", &token, &[], "").await.2), ["a", "b"]);
    assert_eq!(keys(server.rest("GET", "cards?limit=1&after=a", &token, &[], "").await.2), ["b"]);
    assert_eq!(server.rest("GET", "locked", &token, &[], "").await.0, 404);

    // Nor by where a page ends, nor by a write that shall create.
    assert_eq!(server.rest("PUT", "cards/c", &token, &[], r#"{"channel":"x"}"#).await.0, 201);
    let mut after = String::new();
    let mut ends = Vec::new();
    loop {
        let page = parsed(&server.rest("GET", &format!("cards?limit=1{after}"), &reader, &[], "").await.2);
        let Some(key) = page["after"].as_str() else { break };
        after = format!("&after={key}");
        ends.push(key.to_owned());
    }
    assert_eq!(ends, ["a"], "c is the last one");
    let stranger = server.token("eve", &["z"]);
    let page = parsed(&server.rest("GET", "cards?limit=1", &stranger, &[], "").await.2);
    assert_eq!(page, serde_json::json!({ "documents": [], "after": null }));
    let create = [("if-none-match", "*")];
    assert_eq!(server.rest("PUT", "cards/b", &stranger, &create, r#"{"channel":"z"}"#).await.0, 412);
    assert_eq!(server.rest("GET", "cards/b", &token, &[], "").await.2, r#"{"channel":"y"}"#);
    server.stop().await;
}

#[tokio::test]
async fn the_rest_of_the_routes() {
    let app_dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let server = TestServer::start_with(|options| options.app_dir = Some(app_dir)).await;
    let (status, _, body) = server.http("GET", "/health", &[], "").await;
    assert_eq!((status, parsed(&body)), (200, serde_json::json!({"status": "ok"})));
    let (status, _, body) = server.http("GET", "/metrics", &[], "").await;
    assert!(status == 200 && body.contains("tidelock_commit_seconds_count"), "{body}");
    let mut ann = server.session("ann", &[]).await;
    ann.commit(vec![put("notes", "a", "1"), put("notes", "b", "1")]).await;
    ann.catch_up(&["notes"]).await;
    let (_, _, body) = server.http("GET", "/metrics", &[], "").await;
    for line in ["tidelock_changes_delivered_total 2", "tidelock_session_lag_offsets 0"] {
        assert!(body.lines().any(|found| found == line), "{line}: {body}");
    }
    let (status, head, _) = server.http("GET", "/lib.rs", &[], "").await;
    assert!(status == 200 && head.contains("content-security-policy") && head.contains("nosniff"), "{head}");

    let (status, _, body) = server.http("POST", "/v1/dev/token", &[], r#"{"sub":"ann"}"#).await;
    let token = parsed(&body)["token"].as_str().unwrap().to_owned();
    assert_eq!((status, server.rest("GET", "notes", &token, &[], "").await.0), (200, 200));
    assert_eq!(
        server.http("POST", "/v1/dev/token", &[("origin", "https://evil.com")], r#"{"sub":"ann"}"#).await.0,
        403
    );
    assert_eq!(server.http("POST", "/v1/dev/token", &[], "{}").await.0, 400);
    for trick in [
        "/v1//sync",
        "/v1/sync/",
        "/v1/nothing",
        "/v1",
        "/v1/%73ync",
        "/../Cargo.toml",
        "/%2e%2e/Cargo.toml",
        "/.git",
        "/none.js",
    ] {
        assert_eq!(server.http("GET", trick, &[], "").await.0, 404, "{trick}");
    }
    assert_eq!(server.http("GET", "/v1/sync", &[], "").await.0, 400, "no upgrade");
    server.stop().await;
}
