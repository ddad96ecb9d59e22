//! What all tests share.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::sync::{Mutex, OnceLock, PoisonError};

use tidelock_geode_client::{Address, Client, Config, Json};
use tidelock_geode_cluster::{Cluster, Foreign};

pub(crate) fn locator() -> Address {
    let text = std::env::var("TIDELOCK_TEST_GEODE")
        .expect("TIDELOCK_TEST_GEODE names no locator: run `cargo xtask test --stage geode`");
    text.parse().unwrap()
}

/// `TIDELOCK_TEST_GEODE_USER=name:password` is for a cluster with a security manager.
pub(crate) fn config() -> Config {
    let config = Config::with_locator(locator());
    match std::env::var("TIDELOCK_TEST_GEODE_USER") {
        Ok(user) => {
            let (name, password) = user.split_once(':').expect("write name:password");
            config.user(name, password)
        }
        Err(_) => config,
    }
}

pub(crate) async fn client() -> Client {
    Client::connect(config()).await.unwrap()
}

pub(crate) fn json(text: &str) -> Json {
    text.parse().unwrap()
}

/// The cluster, whose processes a test may end and must start again.
pub(crate) fn cluster() -> Cluster {
    let folder = std::env::var_os("TIDELOCK_GEODE_CLUSTER").expect("TIDELOCK_GEODE_CLUSTER names no folder");
    Cluster::attach(std::path::Path::new(&folder)).unwrap()
}

/// Gives the Java application a command; it is started once, and shared by the tests.
pub(crate) fn java(words: &[&str]) -> String {
    static FOREIGN: OnceLock<Mutex<Foreign>> = OnceLock::new();
    let start = || {
        let cluster = cluster();
        let folder = cluster.folder().join("foreign");
        Mutex::new(Foreign::start(cluster.artifacts(), cluster.locator_port(), &folder).unwrap())
    };
    FOREIGN.get_or_init(start).lock().unwrap_or_else(PoisonError::into_inner).run(words).unwrap()
}
