//! A double of Couchbase, with the collections of a database in it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::{env, fs};

use serde_json::Value;
use tidelock_couchbase_dcp::Config;
use tidelock_couchbase_dcp::kv::{Client, Request};
use tokio::task::JoinSet;

use super::run::Took;
use crate::rows::{COLLECTION, body, key};
use crate::server::{OPEN, Server};

/// The bucket of the double.
pub(super) const BUCKET: &str = "default";
const SCOPE: &str = "bench";
/// As a real bucket has.
const VBUCKETS: &str = "1024";
/// Writers that fill a collection together.
const WRITERS: u32 = 32;
/// Stores a document; its extras are flags and expiry.
const SET: u8 = 0x01;

pub(super) struct Ground {
    /// It ends when its input does.
    double: Child,
    connection: String,
    user: String,
    password: String,
    directory: PathBuf,
    client: Arc<Client>,
}

impl Drop for Ground {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.double.kill();
        let _ = self.double.wait();
    }
}

impl Ground {
    /// Starts a double, and creates what a database needs there.
    pub(super) async fn start(directory: &Path) -> Self {
        fs::create_dir_all(directory).unwrap();
        let mut command = Command::new(from_environment("TIDELOCK_COUCHBASE_DOUBLE"));
        command.args(["--vbuckets", VBUCKETS]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut double = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(double.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let text = |name: &str| said[name].as_str().expect("the double says where it is").to_owned();
        let connection = text("connection_string");
        let (user, password) = (text("user"), text("password"));
        let client = Client::connect(Config::new(&connection).unwrap().bucket(BUCKET)).await.unwrap();
        let directory = directory.to_owned();
        let ground = Self { double, connection, user, password, directory, client: Arc::new(client) };
        let config = ground.directory.join("init.toml");
        fs::write(&config, ground.configuration("init")).unwrap();
        let init = Command::new(from_environment("TIDELOCK_BIN")).arg("init").arg("--config").arg(&config).output();
        let init = init.unwrap();
        assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
        ground
    }

    fn hosts(&self) -> &str {
        self.connection.rsplit_once('@').unwrap().1
    }

    fn configuration(&self, node: &str) -> String {
        let Self { user, password, .. } = self;
        let cluster = format!(
            "[databases.app.cluster]\nkind = \"couchbase\"\naddresses = [\"couchbase://{}\"]\nnode = \"{node}\"\nuser = \"{user}\"\n\
             password = \"{password}\"\n\n[databases.app.cluster.options]\nbucket = \"{BUCKET}\"\nscope = \"{SCOPE}\"\n\n\
             [databases.app.collections.cards]",
            self.hosts()
        );
        OPEN.replace("[databases.app.collections.cards]", &cluster)
    }

    /// A node with an empty changelog; it has taken in what is there.
    pub(super) fn serve(&self, node: &str) -> Server {
        let directory = self.directory.join(node);
        fs::create_dir_all(&directory).unwrap();
        Server::start(&directory, &self.configuration(node))
    }

    /// Another application stores a document.
    pub(super) async fn write(&self, collection: &str, number: u64) {
        write(&self.client, collection, number).await;
    }

    /// Another application stores the first so many documents.
    pub(super) async fn fill(&self, count: u32) {
        let mut tasks = JoinSet::new();
        for writer in 0..WRITERS {
            let client = Arc::clone(&self.client);
            tasks.spawn(async move {
                for number in (0..count).filter(|number| number % WRITERS == writer) {
                    write(&client, COLLECTION, number.into()).await;
                }
            });
        }
        tasks.join_all().await;
    }

    pub(super) fn follow(&self, count: u32) -> Took {
        Took::ours(&self.connection, &path(COLLECTION), count)
    }

    pub(super) async fn follow_by_gocbcore(&self, count: u32) -> Took {
        let id = self.client.id_of(&path(COLLECTION)).await.unwrap().to_string();
        let mut command = Command::new(from_environment("TIDELOCK_COUCHBASE_FOLLOW"));
        command.args([self.hosts(), &self.user, &self.password, BUCKET, &id, &count.to_string()]);
        Took::of(&mut command)
    }
}

fn path(collection: &str) -> String {
    format!("{SCOPE}.{collection}")
}

async fn write(client: &Client, collection: &str, number: u64) {
    let request = Request {
        opcode: SET,
        collection: path(collection),
        key: key(number).into(),
        extras: vec![0; 8],
        value: body(number, 1).into(),
        ..Request::default()
    };
    assert_eq!(client.call(&request).await.unwrap().status, 0);
}

fn from_environment(name: &str) -> PathBuf {
    PathBuf::from(
        env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: `cargo xtask bench couchbase` sets it")),
    )
}
