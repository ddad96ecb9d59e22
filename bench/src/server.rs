//! The server's binary as a process.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An open collection, and a rate of messages that no client here reaches.
pub(crate) const OPEN: &str = r#"
[limits]
messages_per_second_max = 1000000

[auth]
algorithms = ["HS256"]
secret = "0b4b7235229ae0cc777989ace3485896251610e28a316744ec85689202816931"

[databases.app]
path = "app.db"

[databases.app.collections.cards]
read = 'identity.sub != ""'
write = 'identity.sub != ""'
"#;

/// A collection whose documents are read by the channels that rules compute.
pub(crate) const CHANNELS: &str = r#"
[limits]
messages_per_second_max = 1000000

[identity]
channels = 'identity.claims.lists'

[auth]
algorithms = ["HS256"]
secret = "0b4b7235229ae0cc777989ace3485896251610e28a316744ec85689202816931"

[databases.app]
path = "app.db"

[databases.app.collections.cards]
read = 'identity.sub != ""'
write = 'identity.sub != ""'
channels = '[doc.list]'
"#;

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts the binary that `TIDELOCK_BIN` names with a configuration, and with its data (`app.db`) in `directory`.
    pub(crate) fn start(directory: &Path, configuration: &str) -> Self {
        let binary = std::env::var("TIDELOCK_BIN").expect("TIDELOCK_BIN names the server's binary");
        let config = directory.join("tidelock.toml");
        std::fs::write(&config, configuration).unwrap();
        let mut child = Command::new(binary)
            .args(["dev", "--port", "0", "--config"])
            .arg(&config)
            .current_dir(directory)
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let address = BufReader::new(stdout)
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("listening on http://").and_then(|rest| rest.trim().parse().ok()))
            .expect("the server says where it listens");
        Self { child, address }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A token of a subject.
    pub(crate) async fn token(&self, subject: &str, claims: &Value) -> String {
        let body = json!({ "sub": subject, "claims": claims }).to_string();
        let (address, length) = (self.address, body.len());
        let request = format!(
            "POST /v1/dev/token HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (_, json) = answer.split_once("\r\n\r\n").expect("an answer with a body");
        let json: Value = serde_json::from_str(json).unwrap();
        json.get("token").and_then(Value::as_str).expect("a token").to_owned()
    }

    /// Stops it the orderly way, so that the database is one file.
    pub(crate) fn stop(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
