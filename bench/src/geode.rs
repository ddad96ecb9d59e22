//! The client for Apache Geode beside Geode's own Java client, on one cluster in one run, and the sync over two servers of it.
//!
//! Both clients do the same one request at a time on the same keys: put, get, and a transaction that reads, writes and commits. They take
//! short turns, and take turns in who begins, so that both meet the cluster in the same states; told is what each did in all of its
//! turns. Most of a put's time is the servers', to which both clients are alike. A durable queue is filled while its client is away, so
//! that what is measured is the way of the events and not who writes them.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs, process};

use serde_json::{Value as Row, json};
use tidelock_geode_client::{Address, Client, Config, Event, EventId, Interest, Json, Key, Region, Subscribe, Value};
use tidelock_geode_cluster::{Cluster, Foreign};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::{Client as SyncClient, Document};
use crate::figures::{figure, latencies, ratio};
use crate::server::Server;
use crate::usage;

/// Requests of each kind in a turn: a quarter of a second.
const PUTS: u32 = 1_000;
const GETS: u32 = 5_000;
const TRANSACTIONS: u32 = 250;
/// Turns of each client.
const TURNS: usize = 40;
/// Turns before those: the servers, which are Java as well, compile while they run.
const WARM_UP: usize = 25;
/// Keys that are used in turn, as `Foreign.java` does.
const KEYS: u32 = 1_000;
/// Tasks that share one client.
const TASKS: u32 = 16;
const EVENTS: usize = 30_000;
/// Events between two acknowledgements: as many as the feed of a server acknowledges at once.
const ACKNOWLEDGED: usize = 256;
/// Writes whose way to another client is measured.
const WRITES: usize = 200;
const DOCUMENT: &str = r#"{"name":"Ada Lovelace","age":36,"tags":["a","b"],"ok":true}"#;
const REGION: &str = "docs";

/// Measures against the cluster in the folder that `TIDELOCK_GEODE_CLUSTER` names.
pub(crate) fn run() {
    let folder = env::var_os("TIDELOCK_GEODE_CLUSTER").expect("TIDELOCK_GEODE_CLUSTER names no folder");
    let cluster = Cluster::attach(Path::new(&folder)).unwrap();
    let directory = env::temp_dir().join(format!("tidelock-bench-geode-{}", process::id()));
    fs::create_dir_all(&directory).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let bench = Bench { cluster, directory: directory.clone() };
    // A task, as in a server, and not the thread that waits for it.
    let rows = runtime.block_on(async { tokio::spawn(bench.rows()).await.unwrap() });
    fs::remove_dir_all(&directory).unwrap();
    println!("{:#}", Row::Array(rows));
}

struct Bench {
    cluster: Cluster,
    directory: PathBuf,
}

impl Bench {
    async fn rows(self) -> Vec<Row> {
        let mut rows = self.requests().await;
        rows.extend(self.events().await);
        rows.extend(self.latency().await);
        rows
    }

    fn config(&self) -> Config {
        Config::with_locator(Address::new("127.0.0.1", self.cluster.locator_port()))
    }

    async fn requests(&self) -> Vec<Row> {
        let mut java = Foreign::start_on(self.cluster.artifacts(), &self.cluster.locator(), &self.directory).unwrap();
        let client = Client::connect(self.config()).await.unwrap();
        let docs = Docs {
            region: client.region(REGION),
            value: client.encode(&Json::parse(DOCUMENT).unwrap()).await.unwrap(),
        };
        let mut rows = Vec::new();
        for (what, count, budget) in
            [(What::Put, PUTS, Some(1.0)), (What::Get, GETS, Some(1.0)), (What::Transaction, TRANSACTIONS, None)]
        {
            let (mut of_java, mut of_rust) = (Duration::ZERO, Duration::ZERO);
            for turn in 0..WARM_UP + TURNS {
                for who in [turn % 2, (turn + 1) % 2] {
                    let (sum, took) = if who == 0 {
                        (&mut of_rust, docs.measure(&client, what, count).await)
                    } else {
                        let words = ["bench", what.name(), REGION, &count.to_string()];
                        (&mut of_java, Duration::from_secs_f64(java.run(&words).unwrap().parse().unwrap()))
                    };
                    if turn >= WARM_UP {
                        *sum += took;
                    }
                }
            }
            let requests = f64::from(count) * TURNS as f64;
            let (javas, ours) = (requests / of_java.as_secs_f64(), requests / of_rust.as_secs_f64());
            eprintln!("{what:?}: Java {javas:.0}/s, Rust {ours:.0}/s; load {}", usage::load());
            let name = what.name();
            rows.push(figure(&format!("Java client, {name}, one thread"), javas, "/s"));
            rows.push(figure(&format!("Rust client, {name}, one task"), ours, "/s"));
            rows.push(ratio(&format!("Rust / Java, {name}"), ours / javas, budget));
        }
        for what in [What::Put, What::Get] {
            let rate = docs.measure_together(&client, what).await;
            rows.push(figure(&format!("Rust client, {}, {TASKS} tasks", what.name()), rate, "/s"));
        }
        client.close(false).await;
        rows
    }

    async fn events(&self) -> Vec<Row> {
        let javas = self.drain_by_java().await;
        let ours = self.drain().await;
        vec![
            figure("Java client, events of a durable queue", javas, "/s"),
            figure("Rust client, events of a durable queue", ours, "/s"),
            ratio("Rust / Java, events", ours / javas, None),
        ]
    }

    /// Writes what both drain.
    async fn fill(&self) {
        let client = Client::connect(self.config()).await.unwrap();
        let docs = client.region(REGION);
        let value = client.encode(&Json::parse(DOCUMENT).unwrap()).await.unwrap();
        let keys: Vec<u32> = (0..u32::try_from(EVENTS).unwrap()).collect();
        for some in keys.chunks(500) {
            let entries: Vec<_> = some.iter().map(|at| (key(*at), value.clone())).collect();
            docs.put_all(&entries).await.unwrap();
        }
        client.close(false).await;
    }

    fn listener(&self, queue: &str) -> Foreign {
        Foreign::start_listener(self.cluster.artifacts(), &self.cluster.locator(), &self.directory, queue).unwrap()
    }

    async fn drain_by_java(&self) -> f64 {
        let queue = format!("bench-java-{}", process::id());
        let mut away = self.listener(&queue);
        for words in [&["listen", REGION][..], &["drain", "0"], &["leave"]] {
            away.run(words).unwrap();
        }
        drop(away);
        self.fill().await;
        let mut back = self.listener(&queue);
        back.run(&["listen", REGION]).unwrap();
        let seconds: f64 = back.run(&["drain", &EVENTS.to_string()]).unwrap().parse().unwrap();
        eprintln!("Java drained {EVENTS} events in {seconds:.2} s; load {}", usage::load());
        EVENTS as f64 / seconds
    }

    async fn drain(&self) -> f64 {
        let config = self.config().durable(&format!("bench-rust-{}", process::id()), Duration::from_secs(300));
        let subscribe = || Subscribe { redundancy: 1, interests: vec![Interest::all(REGION)], queries: Vec::new() };
        let client = Client::connect(config.clone()).await.unwrap();
        drop(client.subscribe(subscribe()).await.unwrap());
        client.close(true).await;
        self.fill().await;
        let client = Client::connect(config).await.unwrap();
        let start = Instant::now();
        let mut subscription = client.subscribe(subscribe()).await.unwrap();
        let mut ids: Vec<EventId> = Vec::new();
        let mut count = 0;
        while count < EVENTS {
            match subscription.next().await.unwrap() {
                Event::Change(change) => {
                    count += 1;
                    ids.push(change.id);
                }
                Event::CaughtUp => {}
                other => panic!("expected a change, found {other:?}"),
            }
            if ids.len() >= ACKNOWLEDGED || count == EVENTS {
                subscription.acknowledge(&ids).await.unwrap();
                ids.clear();
            }
        }
        let took = start.elapsed();
        eprintln!("Rust drained {EVENTS} events in {took:?}; load {}", usage::load());
        drop(subscription);
        client.close(false).await;
        EVENTS as f64 / took.as_secs_f64()
    }

    /// From the push of a client to the news of a client of another server.
    async fn latency(&self) -> Vec<Row> {
        let mut servers = Vec::new();
        for node in ["one", "two"] {
            let directory = self.directory.join(node);
            fs::create_dir_all(&directory).unwrap();
            servers.push(Server::start(&directory, &self.configuration(node)));
        }
        let mut writer = SyncClient::open(&servers[0], 1, &json!({})).await;
        let mut reader = SyncClient::open(&servers[1], 2, &json!({})).await;
        reader.subscribe().await;
        let (mut to_result, mut to_reader) = (Vec::new(), Vec::new());
        for number in 0..WRITES as u64 {
            let start = Instant::now();
            writer.commit(&mut [Document::absent(number)]).await;
            to_result.push(start.elapsed());
            reader.changes().await;
            to_reader.push(start.elapsed());
        }
        for server in servers {
            server.stop();
        }
        let mut rows = latencies("write, confirmed", to_result);
        rows.extend(latencies("write, at a client of another server", to_reader));
        rows
    }

    fn configuration(&self, node: &str) -> String {
        let (locator, id) = (self.cluster.locator(), process::id());
        let cluster = format!(
            "[databases.app.cluster]\nkind = \"geode\"\naddresses = [\"{locator}\"]\nnode = \"bench-{node}-{id}\"\n\
             names = {{ cards = \"suite1\" }}\n\n[databases.app.collections.cards]"
        );
        crate::server::OPEN.replace("[databases.app.collections.cards]", &cluster)
    }
}

#[derive(Clone, Copy, Debug)]
enum What {
    Put,
    Get,
    Transaction,
}

impl What {
    /// As `Foreign.java` calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Transaction => "transaction",
        }
    }
}

fn key(at: u32) -> Key {
    Key::String(format!("bench-{}", at % KEYS))
}

#[derive(Clone)]
struct Docs {
    region: Region,
    value: Value,
}

impl Docs {
    /// How long requests take, one after the other.
    async fn measure(&self, client: &Client, what: What, count: u32) -> Duration {
        let start = Instant::now();
        for at in 0..count {
            self.request(client, what, at).await;
        }
        start.elapsed()
    }

    async fn request(&self, client: &Client, what: What, at: u32) {
        let key = key(at);
        match what {
            What::Put => drop(self.region.put(&key, &self.value).await.unwrap()),
            What::Get => assert!(self.region.get(&key).await.unwrap().value().is_some()),
            What::Transaction => {
                let mut transaction = client.begin(Some((&self.region, &key))).await.unwrap();
                transaction.get(&self.region, &key).await.unwrap();
                transaction.put(&self.region, &key, &self.value).await.unwrap();
                transaction.commit().await.unwrap();
            }
        }
    }

    /// Requests per second of many tasks.
    async fn measure_together(&self, client: &Client, what: What) -> f64 {
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..TASKS {
            let (docs, client) = (self.clone(), client.clone());
            tasks.spawn(async move { docs.measure(&client, what, PUTS).await });
        }
        tasks.join_all().await;
        f64::from(TASKS * PUTS) / start.elapsed().as_secs_f64()
    }
}
