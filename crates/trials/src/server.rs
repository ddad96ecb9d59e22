//! A server's process.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Map, Value};
use tidelock_server::Clock;
use tidelock_server::auth::Authenticator;
use tidelock_server::config::Config;

use crate::ledger::Documents;

/// The web origin of the clients.
pub(crate) const ORIGIN: &str = "https://trials.example";
/// The database.
pub(crate) const DATABASE: &str = "trials";
/// How long a request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(20);
/// How long a token is good for, in seconds: longer than any test.
const TOKEN_S: u64 = 86_400;

/// What every server's configuration begins with. The database's own lines follow.
const CONFIG: &str = r#"
[server]
listen = "LISTEN"
public_origins = ["https://trials.example"]

[limits]
silence_ms_max = 4000
requests_per_second_max = 10000

[auth]
algorithms = ["HS256"]
secret = "5d8f3e02c4a7961b0e5a44d1f6b9c3872ad95e10f4c86b7d3e2f1a0b9c8d7e6f"

[databases.trials]
path = "journal.db"
"#;

/// A token for clients.
#[derive(Clone, Debug)]
pub struct Token(pub(crate) String);

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Spawn {
    /// The program.
    pub binary: PathBuf,
    /// The words before it: how to run a command where the server is to be.
    pub prefix: Vec<String>,
    /// Where it listens.
    pub address: Ipv4Addr,
    /// Lines of the configuration after those that all have.
    pub database: String,
}

impl Spawn {
    /// The program that `TIDELOCK_BIN` names, on this machine's own address.
    pub fn here(database: &str) -> Self {
        let binary = std::env::var_os("TIDELOCK_BIN").map(PathBuf::from);
        let binary =
            binary.unwrap_or_else(|| panic!("TIDELOCK_BIN names no server: run `cargo xtask test --stage crash`"));
        Self { binary, prefix: Vec::new(), address: Ipv4Addr::LOCALHOST, database: database.to_owned() }
    }
}

/// A server that can be killed, and started again with what is on its disk, under the same address.
#[derive(Debug)]
pub struct Server {
    spawn: Spawn,
    directory: PathBuf,
    child: Option<Child>,
    address: SocketAddr,
    token: Token,
}

impl Server {
    /// One that is not started yet.
    pub fn new(spawn: Spawn) -> Self {
        // A port that is free here; a namespace of its own has all of them.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let address = SocketAddr::from((spawn.address, port.expect("a free port").port()));
        Self::at(address, spawn)
    }

    fn at(address: SocketAddr, spawn: Spawn) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("tidelock-trials-{}-{count}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory for the data");
        let path = directory.join("tidelock.toml");
        let config = CONFIG.replace("LISTEN", &address.to_string()) + &spawn.database;
        fs::write(&path, config).expect("a configuration file");
        let token = mint(&path);
        Self { spawn, directory, child: None, address, token }
    }

    /// Ends it for good. Another one, which has nothing of it, takes its address; it is not started yet.
    pub fn replace(&mut self, database: &str) {
        self.kill();
        *self = Self::at(self.address, Spawn { database: database.to_owned(), ..self.spawn.clone() });
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What clients show: the same for all servers.
    pub fn token(&self) -> Token {
        self.token.clone()
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        let text = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(30)..).unwrap_or_default().join("\n")
    }

    /// Starts the process and waits for the line that says that it listens.
    pub fn start(&mut self) {
        self.launch();
        self.wait();
    }

    /// Starts the process without waiting.
    pub fn launch(&mut self) {
        let log = File::options().create(true).append(true).open(self.directory.join("log")).expect("a log file");
        let mut words = self.spawn.prefix.iter().map(String::as_str).map(std::ffi::OsStr::new).collect::<Vec<_>>();
        words.push(self.spawn.binary.as_os_str());
        let (program, before) = words.split_first().expect("a command line has a program");
        let mut command = Command::new(program);
        command.args(before).args(["serve", "--config"]).arg(self.directory.join("tidelock.toml"));
        command.stdout(Stdio::piped()).stderr(log);
        self.child = Some(command.spawn().expect("the server starts"));
    }

    /// Waits until a process that was launched listens.
    pub fn wait(&mut self) {
        let child = self.child.as_mut().expect("it was launched");
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped"));
        lines.read_line(&mut line).expect("the server's first line");
        assert!(line.starts_with("listening on "), "the server said {line:?}; its log ends with\n{}", self.log());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the server can be killed");
            child.wait().expect("the server has ended");
        }
    }

    /// SIGSTOP: it stays where it is, connections included.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().expect("`kill` starts").success(), "kill {name}");
    }

    /// Whether it can be reached at this moment, and says that it is alive.
    pub fn answers(&self) -> bool {
        request(self.address, "GET", "/health", &self.token, "").is_some()
    }

    /// Stores a document.
    pub fn put(&self, collection: &str, key: &str, json: &Value) {
        let path = format!("/v1/db/{DATABASE}/{collection}/{key}");
        request(self.address, "PUT", &path, &self.token, &json.to_string()).expect("a stored document");
    }

    /// Every document of some collections.
    pub fn documents(&self, collections: &[&str]) -> Documents {
        let mut found = Documents::new();
        for collection in collections {
            let mut after = String::new();
            loop {
                let path = format!("/v1/db/{DATABASE}/{collection}?limit=1000{after}");
                let page = request(self.address, "GET", &path, &self.token, "").expect("a page of documents");
                for document in page["documents"].as_array().expect("documents") {
                    let key = document["key"].as_str().expect("a key").to_owned();
                    found.insert(((*collection).to_owned(), key), document["value"].clone());
                }
                match page["after"].as_str() {
                    Some(key) => after = format!("&after={key}"),
                    None => break,
                }
            }
        }
        found
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if !std::thread::panicking() {
            // What is left behind in the temporary directory harms nobody.
            let _removed = fs::remove_dir_all(&self.directory);
        }
    }
}

fn mint(config: &Path) -> Token {
    let config = Config::load(config).unwrap_or_else(|error| panic!("{error}"));
    let authenticator = Authenticator::new(&config.auth).unwrap_or_else(|error| panic!("{error}"));
    Token(authenticator.mint("ann", &Map::new(), TOKEN_S, Clock::default().now_ms()).expect("a token"))
}

/// One HTTP/1.1 request on a connection of its own; `None` when the server does not answer.
fn request(address: SocketAddr, method: &str, path: &str, token: &Token, body: &str) -> Option<Value> {
    let mut stream = TcpStream::connect_timeout(&address, REQUEST_LIMIT).ok()?;
    stream.set_read_timeout(Some(REQUEST_LIMIT)).ok()?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        token.0,
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 2"), "{method} {path}: {head}");
    Some(serde_json::from_str(body).unwrap_or(Value::Null))
}
