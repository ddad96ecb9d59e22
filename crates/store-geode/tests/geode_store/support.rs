//! What all tests share.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tidelock_core::ids::DocumentId;
use tidelock_geode_client::Config;
use tidelock_geode_cluster::{Artifacts, Foreign};
use tidelock_store::platform::{Entry, Platform as _, PutContent, PutIf, PutOutcome, Token};
use tidelock_store_geode::{GeodeOptions, GeodePlatform};

fn locator() -> String {
    std::env::var("TIDELOCK_TEST_GEODE")
        .expect("TIDELOCK_TEST_GEODE names no locator: run `cargo xtask test --stage geode`")
}

pub(crate) fn options(node: &str) -> GeodeOptions {
    let config = Config::with_locator(locator().parse().unwrap());
    let config = match std::env::var("TIDELOCK_TEST_GEODE_USER") {
        Ok(user) => {
            let (name, password) = user.split_once(':').expect("write name:password");
            config.user(name, password)
        }
        Err(_) => config,
    };
    GeodeOptions::new(config, node)
}

pub(crate) async fn platform(node: &str) -> GeodePlatform {
    GeodePlatform::connect(options(node)).await.unwrap()
}

/// Gives the Java application a command; it is started once, and shared by the tests. `TIDELOCK_GEODE_JARS` names the folder with its jars.
pub(crate) fn java(words: &[&str]) -> String {
    static FOREIGN: OnceLock<Mutex<Foreign>> = OnceLock::new();
    let start = || {
        let jars = std::env::var_os("TIDELOCK_GEODE_JARS").expect("TIDELOCK_GEODE_JARS names no folder");
        let artifacts = Artifacts::in_folder(std::path::Path::new(&jars));
        let folder = artifacts.folder().join("foreign-store");
        Mutex::new(Foreign::start_on(&artifacts, &locator(), &folder).unwrap())
    };
    FOREIGN.get_or_init(start).lock().unwrap_or_else(PoisonError::into_inner).run(words).unwrap()
}

pub(crate) fn doc(key: &str) -> DocumentId {
    DocumentId::new("docs", key)
}

pub(crate) async fn get(platform: &GeodePlatform, id: &DocumentId) -> Entry {
    platform.get(std::slice::from_ref(id)).await.unwrap().pop().unwrap()
}

pub(crate) fn text(entry: &Entry) -> Option<String> {
    entry.content.as_ref().map(|content| String::from_utf8(content.to_vec()).unwrap())
}

pub(crate) fn put(id: &DocumentId, token: &Token, content: PutContent, meta: Option<&[u8]>) -> PutIf {
    PutIf { id: id.clone(), token: token.clone(), content, meta: meta.map(Arc::from) }
}

pub(crate) fn content(text: &str) -> PutContent {
    PutContent::Put(Arc::from(text.as_bytes()))
}

/// Puts and answers with the token.
pub(crate) async fn done(platform: &GeodePlatform, put: PutIf) -> Token {
    match platform.put_if(&[put]).await.unwrap() {
        PutOutcome::Done(mut written) => written.pop().unwrap().token,
        other @ (PutOutcome::Mismatch | PutOutcome::NotTogether) => panic!("{other:?}"),
    }
}
