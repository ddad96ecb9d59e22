//! `tidelock serve` with an address for operators: metrics are there, and nowhere else.

#![allow(clippy::unwrap_used, reason = "a failure of a test is a panic")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Longer than any answer takes on a busy machine; reached only when something is wrong.
const PATIENCE: Duration = Duration::from_secs(20);

const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"

[auth]
algorithms = ["HS256"]
secret = "0b4b7235229ae0cc777989ace3485896251610e28a316744ec85689202816931"

[databases.test]
path = "DATA/test.db"

[databases.test.collections.notes]
read = "true"
write = "true"
"#;

/// A server's process; it ends with the test.
struct Served {
    child: Child,
    directory: PathBuf,
}

impl Served {
    fn start() -> Self {
        let directory = std::env::temp_dir().join(format!("tidelock-admin-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let config = directory.join("tidelock.toml");
        std::fs::write(&config, CONFIG.replace("DATA", directory.to_str().unwrap())).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_tidelock"))
            .args(["serve", "--config"])
            .arg(&config)
            .env("TIDELOCK_LOG", "info")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, directory }
    }

    /// The address for applications and the one for operators, as the server tells them.
    fn addresses(&mut self) -> (SocketAddr, SocketAddr) {
        let log = BufReader::new(self.child.stderr.take().unwrap()).lines();
        let line = log.map(Result::unwrap).find(|line| line.contains("health and metrics")).unwrap();
        let admin = line.split_once("address=").unwrap().1.trim().parse().unwrap();
        let mut line = String::new();
        BufReader::new(self.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let data = line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line:?}"));
        (data.parse().unwrap(), admin)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already; what stays in the temporary directory harms nobody.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The status and the body.
fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn metrics_are_at_the_address_for_operators_alone() {
    let mut served = Served::start();
    let (data, admin) = served.addresses();
    assert_ne!(data, admin);
    let (status, metrics) = get(admin, "/metrics");
    assert_eq!(status, 200);
    assert!(metrics.contains("tidelock_changelog_floor{database=\"test\"} "), "{metrics}");
    let (status, body) = get(data, "/metrics");
    assert_eq!(status, 404);
    assert!(!body.contains("tidelock_"), "{body}");
    for address in [data, admin] {
        assert_eq!(get(address, "/health").0, 200, "{address}");
    }
    // And what applications use is not at the address for operators.
    assert_eq!(get(data, "/v1/db/test/notes").0, 401);
    for path in ["/v1/db/test/notes", "/v1/sync"] {
        assert_eq!(get(admin, path).0, 404, "{path}");
    }
}
