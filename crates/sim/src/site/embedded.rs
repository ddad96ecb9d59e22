//! The embedded store: a real file. Its threads work while the simulation waits for them, so that a seed has one trace.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::{env, fs, process};

use tidelock_core::ids::{ChangelogId, Epoch, Offset};
use tidelock_store::{Changelog, EmbeddedOptions, EmbeddedStore, Store};

use super::{Access, Opened, Opening, Site};
use crate::node::Life;
use crate::random::Random;
use crate::slow::wait_for;

/// Page cache of a connection, in bytes: there are few documents.
const CACHE_BYTES: u32 = 256 << 10;

/// A database in a folder of its own, which goes with it.
pub(super) struct EmbeddedSite {
    folder: PathBuf,
    /// `None` while no node runs.
    store: Arc<Mutex<Option<Arc<EmbeddedStore>>>>,
}

impl EmbeddedSite {
    pub(super) fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("tidelock-sim-{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("the system's temporary folder can be written to");
        Self { folder, store: Arc::default() }
    }

    fn store(&self) -> Option<Arc<EmbeddedStore>> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How many symbols a client needs depends on the changelog's identity: the first process chooses it, so that a seed has one trace.
fn open(path: &Path, changelog: ChangelogId) -> Arc<EmbeddedStore> {
    let identity = Some((Epoch(7), changelog));
    let options = EmbeddedOptions { readers: 1, cache_bytes: CACHE_BYTES, identity, ..EmbeddedOptions::default() };
    Arc::new(EmbeddedStore::open(path, options).expect("the file is ours alone"))
}

impl Site for EmbeddedSite {
    fn name(&self) -> &'static str {
        "embedded"
    }

    fn nodes_max(&self) -> u64 {
        1
    }

    fn is_in_one_order(&self) -> bool {
        true
    }

    fn open(&mut self, _node: usize, life: Life) -> Opening {
        let (path, slot) = (self.folder.join("main.db"), Arc::clone(&self.store));
        Box::new(move |_| {
            let store = open(&path, life.changelog);
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&store));
            let changelog = Arc::clone(&store) as _;
            let access = Access { store, changelog, view: None, threaded: true };
            Box::pin(async move { Ok(Opened { access, task: None, complete: None }) })
        })
    }

    fn ended(&mut self, _node: usize) {
        // The node's futures are gone: this is the last one who holds the store, and dropping it closes the file.
        self.store.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn documents(&self, collection: &str) -> Vec<(String, Vec<u8>)> {
        let Some(store) = self.store() else { return Vec::new() };
        let found = wait_for(store.scan(collection, None, usize::MAX)).expect("the store answers");
        found.into_iter().map(|(key, document)| (key, document.body.to_vec())).collect()
    }

    fn forget_tombstones(&mut self, random: &mut Random) -> bool {
        if let Some(store) = self.store() {
            let before = Offset(random.below(store.head().0 + 1));
            wait_for(store.purge(before)).expect("the store answers");
        }
        true
    }
}

impl Drop for EmbeddedSite {
    fn drop(&mut self) {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).take();
        // What is left behind is in the system's temporary folder.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
