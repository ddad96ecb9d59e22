//! Queries beside a server. The double has no query service: these tests are for clusters that have one, and ask it by Couchbase's client for
//! Go, which `cargo xtask test --stage couchbase` builds and names.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use tidelock_core::wire::Outcome;

use crate::client::{Client, increment, put};
use crate::ground::Ground;

/// How other applications are called, by the name of their client: JSON.
const APPLICATIONS: &str = "TIDELOCK_COUCHBASE_APPLICATIONS";

/// Another application; it ends when its input does.
struct Application {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _process: Child,
}

impl Application {
    fn start(ground: &Ground) -> Self {
        let programs = std::env::var(APPLICATIONS).expect("`cargo xtask test --stage couchbase` names the program");
        let programs: Value = serde_json::from_str(&programs).unwrap();
        let program = programs["Go"][0].as_str().expect("a program of the client for Go");
        let mut command = Command::new(program);
        let started = command.args(ground.place()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = started.unwrap();
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { input, output: BufReader::new(output), _process: process }
    }

    /// The rows of a statement.
    fn query(&mut self, statement: &str) -> Value {
        writeln!(self.input, "{}", json!({"do": "query", "statement": statement})).unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let mut answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer.get("error"), None, "{statement}: {answer}");
        answer["ok"].take()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a query service, which the double has not, and Couchbase's client for Go: TIDELOCK_TEST_COUCHBASE names a cluster"]
async fn queries_find_what_a_browser_wrote_and_browsers_hear_of_what_queries_change() {
    let ground = Ground::new("queries").await;
    let serve = ground.serve("one", "");
    let (mut writer, mut reader) = (Client::open(&serve, 1).await, Client::open(&serve, 2).await);
    reader.subscribe().await;
    writer.push(1, vec![put("card", r#"{"n":1,"title":"mine"}"#), put("other", "{}")]).await;
    assert_eq!(writer.outcome().await, Outcome::Accepted);
    let mut application = Application::start(&ground);
    // Servers before 7.6 need it for what names no keys.
    application.query("CREATE PRIMARY INDEX IF NOT EXISTS ON notes");
    let find = "SELECT META(d).id AS id, d.* FROM notes AS d WHERE d.title = \"mine\"";
    // The body, and nothing of Tidelock's.
    assert_eq!(application.query(find), json!([{"id": "card", "n": 1, "title": "mine"}]));
    let whole = json!({"n": 5, "title": "mine"});
    application.query("UPDATE notes AS d SET d.n = 5 WHERE d.title = \"mine\"");
    reader.hears("card", Some(&whole)).await;
    // A browser goes on from there.
    reader.push(1, vec![increment("card", &whole.to_string(), 5)]).await;
    assert_eq!(reader.outcome().await, Outcome::Accepted);
    assert_eq!(application.query(find), json!([{"id": "card", "n": 6, "title": "mine"}]));
    application.query("DELETE FROM notes AS d WHERE d.title = \"mine\"");
    reader.hears("card", None).await;
    assert_eq!(application.query("SELECT META(d).id AS id FROM notes AS d"), json!([{"id": "other"}]));
    serve.stop();
}
