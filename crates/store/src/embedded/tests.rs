//! Tests of what the conformance suite cannot see: the file, the threads, errors of the disk.

use crate::conformance;

use super::{EmbeddedOptions, EmbeddedStore};

/// A directory of its own in the system's temporary directory, removed when dropped.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tidelock-store-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    fn database(&self) -> std::path::PathBuf {
        self.0.join("data.db")
    }

    fn open(&self) -> EmbeddedStore {
        EmbeddedStore::open(&self.database(), EmbeddedOptions::default()).expect("the database opens")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Best effort: a directory that stays does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Stores in files of their own below one directory.
fn fresh(scratch: &Scratch) -> impl Fn() -> EmbeddedStore {
    let count = std::cell::Cell::new(0);
    move || {
        count.set(count.get() + 1);
        let path = scratch.0.join(format!("{}.db", count.get()));
        EmbeddedStore::open(&path, EmbeddedOptions::default()).expect("the database opens")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms() {
    let scratch = Scratch::new();
    conformance::run(fresh(&scratch)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_everything_when_reopened() {
    let scratch = Scratch::new();
    conformance::run_reopen(
        || scratch.open(),
        |store| {
            drop(store);
            scratch.open()
        },
    )
    .await;
}

#[test]
fn behaves_as_the_model() {
    let scratch = Scratch::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    conformance::run_model(fresh(&scratch), |future| runtime.block_on(future), 100);
}
