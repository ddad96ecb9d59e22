//! What is served where.

use super::process::{Scratch, Serve, free_port, http};

#[test]
fn health_and_metrics_are_on_the_admin_listener() {
    let scratch = Scratch::new();
    let admin = free_port();
    let serve = Serve::start(&scratch.configure(&format!("admin_listen = \"127.0.0.1:{admin}\""), ""));
    assert_eq!(serve.rest("PUT", "notes/a", "1").0, 201);

    let get = |port, path| http(port, "GET", path, "", "");
    assert_eq!(get(admin, "/health"), (200, r#"{"status":"ok"}"#.to_owned()));
    assert_eq!(get(serve.port, "/health").0, 200);
    let (status, metrics) = get(admin, "/metrics");
    assert_eq!(status, 200);
    for line in ["tidelock_requests_total 1", "tidelock_changelog_head{database=\"test\"} 1", "tidelock_connections 0"]
    {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
    assert_eq!(get(serve.port, "/metrics").0, 404, "metrics are not the users'");
    assert_eq!(get(serve.port, "/v1/db/test/notes").0, 401, "documents are for those with a token");
    let authorization = format!("authorization: Bearer {}\r\n", serve.token());
    for path in ["/v1/db/test/notes/a", "/v1/db/test/notes", "/v1/sync", "/"] {
        assert_eq!(http(admin, "GET", path, &authorization, "").0, 404, "{path}: documents are not the operators'");
    }
    for port in [admin, serve.port] {
        let (status, _) = http(port, "POST", "/v1/dev/token", "", r#"{"sub":"ann"}"#);
        assert_eq!(status, 404, "nobody mints tokens in production");
    }
    serve.stop();
}

#[test]
fn without_an_admin_listener_there_are_no_metrics() {
    let scratch = Scratch::new();
    let serve = Serve::start(&scratch.configure("", ""));
    assert_eq!(http(serve.port, "GET", "/metrics", "", "").0, 404);
    assert_eq!(http(serve.port, "GET", "/health", "", "").0, 200);
    serve.stop();
}
