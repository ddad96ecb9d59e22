//! What all tests share.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::sync::{Mutex, OnceLock, PoisonError};

use tidelock_geode_client::{Address, Client, Config, Json};
use tidelock_geode_cluster::{Artifacts, Cluster, Foreign};

fn locator_text() -> String {
    std::env::var("TIDELOCK_TEST_GEODE")
        .expect("TIDELOCK_TEST_GEODE names no locator: run `cargo xtask test --stage geode`")
}

pub(crate) fn locator() -> Address {
    locator_text().parse().unwrap()
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

/// Gives the Java application a command; it is started once, and shared by the tests. `TIDELOCK_GEODE_JARS` names the folder with its jars.
pub(crate) fn java(words: &[&str]) -> String {
    static FOREIGN: OnceLock<Mutex<Foreign>> = OnceLock::new();
    let start = || {
        let jars = std::env::var_os("TIDELOCK_GEODE_JARS").expect("TIDELOCK_GEODE_JARS names no folder");
        let artifacts = Artifacts::in_folder(std::path::Path::new(&jars));
        let folder = artifacts.folder().join("foreign");
        Mutex::new(Foreign::start_on(&artifacts, &locator_text(), &folder).unwrap())
    };
    FOREIGN.get_or_init(start).lock().unwrap_or_else(PoisonError::into_inner).run(words).unwrap()
}
