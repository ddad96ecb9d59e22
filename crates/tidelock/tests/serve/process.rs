//! The process, and a few HTTP requests to it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tidelock_server::Clock;
use tidelock_server::auth::Authenticator;
use tidelock_server::config::Config;

/// Longer than anything takes on a busy machine; reached only when something is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The secret that tokens are signed with; it must not appear in a log.
pub(crate) const SECRET: &str = "0b4b7235229ae0cc777989ace3485896251610e28a316744ec85689202816931";

/// A configuration with one database; `SERVER` stands for further lines of `[server]`, `DATABASE` for those of the database.
pub(crate) const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"
SERVER
[auth]
algorithms = ["HS256"]
secret = "0b4b7235229ae0cc777989ace3485896251610e28a316744ec85689202816931"

[databases.test]
path = "test.db"
DATABASE
[databases.test.collections.notes]
read = 'identity.sub != ""'
write = 'identity.sub != ""'
"#;

/// A directory of its own, removed at the end.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tidelock-serve-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes the configuration; gives its path.
    pub(crate) fn configure(&self, server: &str, database: &str) -> PathBuf {
        let path = self.0.join("tidelock.toml");
        fs::write(&path, CONFIG.replace("SERVER", server).replace("DATABASE", database)).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left in the temporary directory harms nobody.
        let _removed = fs::remove_dir_all(&self.0);
    }
}

/// A running `tidelock serve`.
pub(crate) struct Serve {
    child: Child,
    pub(crate) port: u16,
    pub(crate) scheme: String,
    log: Arc<Mutex<String>>,
    token: String,
}

impl Serve {
    pub(crate) fn start(config: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidelock"))
            .args(["serve", "--config"])
            .arg(config)
            .env("TIDELOCK_LOG", "trace")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        follow(child.stderr.take().unwrap(), Arc::clone(&log));
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ");
        let address = address.unwrap_or_else(|| panic!("{line:?}: {}", log.lock().unwrap()));
        let (scheme, rest) = address.split_once("://").unwrap();
        let port = rest.rsplit_once(':').unwrap().1.parse().unwrap();
        let config = Config::load(config).unwrap();
        let token = Authenticator::new(&config.auth).unwrap();
        let token = token.mint("ann", &Map::new(), 3_600, Clock::default().now_ms()).unwrap();
        Self { child, port, scheme: scheme.to_owned(), log, token }
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Waits until the log holds a text that it did not hold `before` bytes ago.
    pub(crate) fn until_logged(&self, before: usize, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.log()[before..].contains(text) {
            assert!(Instant::now() < deadline, "{text:?} is not in the log: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How much memory it has, in KiB.
    #[allow(dead_code, reason = "the target couchbase_serve looks at it")]
    pub(crate) fn resident_kib(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Ends it in good order.
    pub(crate) fn stop(mut self) {
        self.signal("TERM");
        assert!(self.child.wait().unwrap().success());
    }

    /// A request to a document or a page of documents, with the token.
    pub(crate) fn rest(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let authorization = format!("authorization: Bearer {}\r\n", self.token);
        http(self.port, method, &format!("/v1/db/test/{path}"), &authorization, body)
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn follow(mut from: impl Read + Send + 'static, log: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            log.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    });
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// One request on a connection of its own: status and body.
pub(crate) fn http(port: u16, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    request(TcpStream::connect(("127.0.0.1", port)).unwrap(), method, path, headers, body)
}

pub(crate) fn request(
    mut stream: impl Read + Write,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> (u16, String) {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A peer that closes without a TLS close notify is an error only when nothing came.
    let ended = stream.read_to_end(&mut answer);
    assert!(ended.is_ok() || !answer.is_empty(), "{ended:?}");
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Key and value of every document.
pub(crate) fn documents(serve: &Serve) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let (status, body) = serve.rest("GET", &format!("notes?limit=1000{after}"), "");
        assert_eq!(status, 200, "{body}");
        let page: Value = serde_json::from_str(&body).unwrap();
        for document in page["documents"].as_array().unwrap() {
            all.push((document["key"].as_str().unwrap().to_owned(), document["value"].clone()));
        }
        match page["after"].as_str() {
            Some(key) => after = format!("&after={key}"),
            None => return all,
        }
    }
}
