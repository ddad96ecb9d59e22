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
