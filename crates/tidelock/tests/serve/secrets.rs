//! The most talkative log names no token, no secret and no content of a document.

use super::process::{SECRET, Scratch, Serve, http};

#[test]
fn no_secrets_and_no_contents_in_the_log() {
    let scratch = Scratch::new();
    let serve = Serve::start(&scratch.configure("", ""));
    let before = serve.log().len();
    let canary = "canary-4711-body";
    assert_eq!(serve.rest("PUT", "notes/a", &format!(r#"{{"text":"{canary}"}}"#)).0, 201);
    assert_eq!(serve.rest("PUT", "notes/a", &format!(r#"{{"text":"{canary}","#)).0, 400, "a body that is cut off");
    assert_eq!(serve.rest("GET", "notes/a", "").0, 200);
    let broken = format!("{}x", serve.token());
    let authorization = format!("authorization: Bearer {broken}\r\n");
    assert_eq!(http(serve.port, "GET", "/v1/db/test/notes/a", &authorization, "").0, 401);
    let (status, answer) = http(serve.port, "GET", "/v1/db/test/nothing", &authorization, "");
    assert_eq!(status, 401);
    let signature = serve.token().rsplit_once('.').unwrap().1.to_owned();
    let payload = serve.token().split('.').nth(1).unwrap().to_owned();
    assert!(!answer.contains(&signature), "{answer}");
    serve.signal("HUP");
    serve.until_logged(before, "the configuration is in force");
    let log = serve.log();
    for (name, text) in
        [("the body", canary), ("the secret", SECRET), ("the signature", &signature), ("the claims", &payload)]
    {
        assert!(!log.contains(text), "{name} is in the log: {log}");
    }
    serve.stop();
}
