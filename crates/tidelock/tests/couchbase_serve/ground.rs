//! A scope of a cluster, servers of it, and the other applications that write there.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tidelock_couchbase_dcp::kv::{Client, Request, Response};
use tidelock_couchbase_dcp::{Config, Credentials};
use tidelock_couchbase_double::{Double, Options, test_cluster, tls};
use tidelock_store_couchbase::{CouchbaseOptions, CouchbasePlatform, Durability};

use crate::process::{Scratch, Serve};

const GET: u8 = 0x00;
const SET: u8 = 0x01;
const REPLACE: u8 = 0x03;
const DELETE: u8 = 0x04;
const KEY_NOT_FOUND: u16 = 1;
const KEY_EXISTS: u16 = 2;

pub(crate) struct Ground {
    /// Nothing when the cluster is another one.
    double: Option<Double>,
    connection: Config,
    address: String,
    scope: String,
    others: Client,
    scratch: Scratch,
    /// With it, connections are over TLS.
    roots: Option<PathBuf>,
}

impl Ground {
    /// The scope is made by `tidelock init`.
    pub(crate) async fn new(scope: &str) -> Self {
        let ground = Self::bare(scope).await;
        let (succeeded, said) = Self::run("init", &ground.config("init", ""));
        assert!(succeeded, "{said}");
        ground
    }

    pub(crate) async fn bare(scope: &str) -> Self {
        Self::of(scope, Options::default()).await
    }

    /// A double with such options. The nodes without data are asked first.
    pub(crate) async fn of(scope: &str, options: Options) -> Self {
        let (double, text) = test_cluster(Options { vbuckets: 16, ..options }).await.unwrap();
        let mut connection = Config::new(&text).unwrap();
        if connection.bucket.is_empty() {
            "default".clone_into(&mut connection.bucket);
        }
        // The password goes where a configuration has it.
        let hosts = text.rsplit_once('@').unwrap().1.split(['/', '?']).next().unwrap();
        let hosts: Vec<&str> = if double.is_some() { hosts.rsplit(',').collect() } else { vec![hosts] };
        let address = format!("couchbase://{}", hosts.join(","));
        let others = Client::connect(connection.clone()).await.unwrap();
        let scratch = Scratch::new();
        Self { double, connection, address, scope: scope.to_owned(), others, scratch, roots: None }
    }

    /// Servers come over TLS from here on.
    pub(crate) async fn encrypt(&mut self) {
        self.double().encrypt().await.unwrap();
        let text = self.double().encrypted_connection_string();
        self.address = format!("couchbases://{}", text.rsplit_once('@').unwrap().1);
        self.trust(tls::ROOT);
    }

    /// Servers trust these root certificates.
    pub(crate) fn trust(&mut self, roots: &str) {
        let path = self.scratch.0.join("roots.pem");
        std::fs::write(&path, roots).unwrap();
        self.roots = Some(path);
    }

    /// What other applications have to know: address, user, password, bucket and scope.
    pub(crate) fn place(&self) -> [&str; 5] {
        let Credentials::Password { user, password } = &self.connection.credentials else { panic!("a password") };
        [&self.address, user, password, &self.connection.bucket, &self.scope]
    }

    pub(crate) fn double(&mut self) -> &mut Double {
        self.double.as_mut().expect("a test of a module local_*")
    }

    /// A server's configuration; gives its path.
    pub(crate) fn config(&self, node: &str, options: &str) -> PathBuf {
        let Credentials::Password { user, password } = &self.connection.credentials else { panic!("a password") };
        let (address, scope, bucket) = (&self.address, &self.scope, &self.connection.bucket);
        let roots = self.roots.as_ref().map(|path| format!("ca_file = \"{}\"\n", path.display())).unwrap_or_default();
        let database = format!(
            "[databases.test.cluster]\nkind = \"couchbase\"\naddresses = [\"{address}\"]\nnode = \"{node}\"\nuser = \"{user}\"\n\
             password = \"{password}\"\n[databases.test.cluster.options]\nbucket = \"{bucket}\"\nscope = \"{scope}\"\n{roots}{options}\n\
             [databases.test.collections.notes.conflict.fields]\nn = \"sum\"\n"
        );
        let path = self.scratch.0.join(format!("{node}.toml"));
        let text = crate::process::CONFIG
            .replace("SERVER", "public_origins = [\"https://app.example.com\"]\n")
            .replace("DATABASE", &database);
        std::fs::write(&path, text.replace("test.db", &format!("{node}.db"))).unwrap();
        path
    }

    /// A server's configuration with other lines; gives its path.
    pub(crate) fn config_with(&self, node: &str, change: &dyn Fn(String) -> String) -> PathBuf {
        let path = self.config(node, "");
        std::fs::write(&path, change(std::fs::read_to_string(&path).unwrap())).unwrap();
        path
    }

    pub(crate) fn serve(&self, node: &str, options: &str) -> Serve {
        Serve::start(&self.config(node, options))
    }

    /// Runs a command of the binary; whether it succeeded, and all that it said.
    pub(crate) fn run(command: &str, config: &Path) -> (bool, String) {
        let mut tidelock = Command::new(env!("CARGO_BIN_EXE_tidelock"));
        let output = tidelock.args(command.split(' ')).arg("--config").arg(config).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    }

    /// The platform as a server has it.
    pub(crate) async fn platform(&self) -> CouchbasePlatform {
        let mut options = CouchbaseOptions::new(self.connection.clone());
        self.scope.clone_into(&mut options.scope);
        options.durability = Durability::None;
        CouchbasePlatform::connect(options).await.unwrap()
    }

    async fn call(&self, opcode: u8, key: &str, value: &str, cas: u64) -> Response {
        let request = Request {
            opcode,
            collection: format!("{}.notes", self.scope),
            key: key.into(),
            cas,
            extras: if matches!(opcode, SET | REPLACE) { vec![0; 8] } else { Vec::new() },
            value: value.into(),
            // Others would come to something else the second time.
            is_repeatable: matches!(opcode, GET | SET),
            ..Request::default()
        };
        self.others.call(&request).await.unwrap()
    }

    /// Another application stores a document.
    pub(crate) async fn set(&self, key: &str, value: &str) {
        assert_eq!(self.call(SET, key, value, 0).await.status, 0);
    }

    pub(crate) async fn delete(&self, key: &str) {
        assert_eq!(self.call(DELETE, key, "", 0).await.status, 0);
    }

    /// What another application reads.
    pub(crate) async fn get(&self, key: &str) -> Option<Value> {
        self.get_with_cas(key).await.map(|(value, _)| value)
    }

    /// And which version it is.
    pub(crate) async fn get_with_cas(&self, key: &str) -> Option<(Value, u64)> {
        let answer = self.call(GET, key, "", 0).await;
        match answer.status {
            KEY_NOT_FOUND => None,
            status => {
                assert_eq!(status, 0);
                Some((serde_json::from_slice(&answer.value).unwrap(), answer.cas))
            }
        }
    }

    /// Another application replaces the version that it has read. Whether it was still there.
    pub(crate) async fn replace(&self, key: &str, value: &str, cas: u64) -> bool {
        match self.call(REPLACE, key, value, cas).await.status {
            KEY_EXISTS => false,
            status => {
                assert_eq!(status, 0);
                true
            }
        }
    }
}
