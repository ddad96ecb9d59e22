//! The server's process, and what REST tells of its state.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

const START_MS_MAX: u64 = 20_000;

/// A server that can be killed and started again on the same data and port.
pub(crate) struct Server {
    binary: PathBuf,
    directory: PathBuf,
    child: Option<Child>,
    pub(crate) port: u16,
}

impl Server {
    pub(crate) fn new(binary: PathBuf, config: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("tidelock-crash-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory for the data");
        let config = config.replace("DATA", directory.to_str().expect("a path in Unicode"));
        std::fs::write(directory.join("tidelock.toml"), config).expect("a configuration file");
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
        Self { binary, directory, child: None, port }
    }

    /// Starts the server and waits for the line that says that it listens.
    pub(crate) fn start(&mut self) {
        let mut child = Command::new(&self.binary)
            .args(["dev", "--port", &self.port.to_string(), "--config"])
            .arg(self.directory.join("tidelock.toml"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("the server's first line");
        self.child = Some(child);
        assert!(line.starts_with("listening on "), "the server said {line:?}");
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the server can be killed");
            child.wait().expect("the server has ended");
        }
    }

    /// Stores a document.
    pub(crate) fn put(&self, collection: &str, key: &str, json: &str) {
        let token = token(self.port).expect("a token");
        request(self.port, "PUT", &format!("/v1/db/crash/{collection}/{key}"), &token, json)
            .expect("a stored document");
    }

    /// Every document of a collection.
    pub(crate) fn scan(&self, collection: &str) -> Vec<(String, Value)> {
        let token = token(self.port).expect("a token");
        let mut found = Vec::new();
        let mut after = String::new();
        loop {
            let path = format!("/v1/db/crash/{collection}?limit=1000{after}");
            let page = request(self.port, "GET", &path, &token, "").expect("a page of documents");
            for document in page["documents"].as_array().expect("documents") {
                found.push((document["key"].as_str().expect("a key").to_owned(), document["value"].clone()));
            }
            match page["after"].as_str() {
                Some(key) => after = format!("&after={key}"),
                None => return found,
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        // What is left behind in the temporary directory harms nobody.
        let _removed = std::fs::remove_dir_all(&self.directory);
    }
}

/// A token of the development server; `None` while it does not answer.
pub(crate) fn token(port: u16) -> Option<String> {
    let deadline = Instant::now() + Duration::from_millis(START_MS_MAX);
    while Instant::now() < deadline {
        if let Some(answer) = request(port, "POST", "/v1/dev/token", "", r#"{"sub":"ann"}"#) {
            return answer["token"].as_str().map(str::to_owned);
        }
    }
    None
}

/// One HTTP/1.1 request on a connection of its own; `None` when the server went away.
fn request(port: u16, method: &str, path: &str, token: &str, body: &str) -> Option<Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 2"), "{method} {path}: {head}");
    Some(serde_json::from_str(body).unwrap_or(Value::Null))
}
