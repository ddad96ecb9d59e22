//! What all tests share.

use tidelock_geode_client::{Address, Client, Config, Json};

pub fn locator() -> Address {
    let text = std::env::var("TIDELOCK_TEST_GEODE")
        .expect("TIDELOCK_TEST_GEODE names no locator: run `cargo xtask test --stage geode`");
    text.parse().unwrap()
}

pub fn config() -> Config {
    Config::with_locator(locator())
}

pub async fn client() -> Client {
    Client::connect(config()).await.unwrap()
}

pub fn json(text: &str) -> Json {
    text.parse().unwrap()
}

/// The cluster, whose processes a test may end and must start again.
pub fn cluster() -> tidelock_geode_cluster::Cluster {
    let folder = std::env::var_os("TIDELOCK_GEODE_CLUSTER").expect("TIDELOCK_GEODE_CLUSTER names no folder");
    tidelock_geode_cluster::Cluster::attach(std::path::Path::new(&folder)).unwrap()
}

/// The Java application; started once, and shared by the tests.
pub fn foreign() -> std::sync::MutexGuard<'static, tidelock_geode_cluster::Foreign> {
    use std::sync::{Mutex, OnceLock, PoisonError};
    static FOREIGN: OnceLock<Mutex<tidelock_geode_cluster::Foreign>> = OnceLock::new();
    let start = || {
        let cluster = cluster();
        let folder = cluster.folder().join("foreign");
        Mutex::new(
            tidelock_geode_cluster::Foreign::start(cluster.artifacts(), cluster.locator_port(), &folder).unwrap(),
        )
    };
    FOREIGN.get_or_init(start).lock().unwrap_or_else(PoisonError::into_inner)
}
