//! The embedded store: a real file. Its threads work while the simulation waits for them, so that a seed has one trace.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::{env, fs, io, process};

use tidelock_core::ids::{ChangelogId, Epoch, Offset};
use tidelock_store::{Changelog, ConflictQuery, EmbeddedOptions, EmbeddedStore, Store};

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
    /// Names of copies of the file and of its log, the oldest first.
    copies: Vec<String>,
    /// How many copies there have been.
    copied: u64,
    /// The copy that takes the file's place when the node's process ends.
    restored: Option<Restored>,
    /// Of a file that is created, or of a backup.
    epoch: Epoch,
}

/// A copy that was taken while nobody wrote.
struct Restored {
    name: String,
    /// It is restored as a backup, which makes another epoch; otherwise it is copied back, and nobody knows.
    is_backup: bool,
}

/// The file's name.
const MAIN: &str = "main.db";
/// What is appended to it for the log in which SQLite has its last commits.
const LOG: &str = "-wal";

impl EmbeddedSite {
    pub(super) fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("tidelock-sim-{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("the system's temporary folder can be written to");
        Self { folder, store: Arc::default(), copies: Vec::new(), copied: 0, restored: None, epoch: Epoch(7) }
    }

    fn store(&self) -> Option<Arc<EmbeddedStore>> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Copies a database that nobody writes to, with its log. What was at `to` is gone.
    fn copy_file(&self, from: &str, to: &str) -> io::Result<()> {
        self.remove_file(to)?;
        for part in ["", LOG] {
            let path = self.folder.join(format!("{from}{part}"));
            if path.exists() {
                fs::copy(path, self.folder.join(format!("{to}{part}")))?;
            }
        }
        Ok(())
    }

    /// Removes a database that nobody has open.
    fn remove_file(&self, name: &str) -> io::Result<()> {
        for part in ["", LOG, "-shm"] {
            let path = self.folder.join(format!("{name}{part}"));
            if path.exists() {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// A copy takes the place of the file, which nobody has open.
    fn put_back(&self, restored: &Restored) -> io::Result<()> {
        if !restored.is_backup {
            return self.copy_file(&restored.name, MAIN);
        }
        let former = "former.db";
        self.copy_file(&restored.name, former)?;
        let store = open(&self.folder.join(former), self.epoch, ChangelogId(0));
        self.remove_file(MAIN)?;
        wait_for(store.backup(&self.folder.join(MAIN))).expect("the folder is ours alone");
        Ok(())
    }
}

/// How many symbols a client needs depends on the changelog's identity: the first process chooses it, so that a seed has one trace.
fn open(path: &Path, epoch: Epoch, changelog: ChangelogId) -> Arc<EmbeddedStore> {
    let identity = Some((epoch, changelog));
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
        let (path, slot, epoch) = (self.folder.join(MAIN), Arc::clone(&self.store), self.epoch);
        Box::new(move |_| {
            let store = open(&path, epoch, life.changelog);
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&store));
            let changelog = Arc::clone(&store) as _;
            let access = Access { store, changelog, view: None, threaded: true };
            Box::pin(async move { Ok(Opened { access, task: None, complete: None }) })
        })
    }

    fn ended(&mut self, _node: usize) {
        // The node's futures are gone: this is the last one who holds the store, and dropping it closes the file.
        self.store.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(restored) = self.restored.take() {
            self.put_back(&restored).expect("the folder is ours alone");
        }
    }

    fn copy(&mut self) {
        if self.store().is_some() {
            self.copied += 1;
            let name = format!("copy-{}.db", self.copied);
            // Nobody writes at this moment: the simulation waits for the threads. So file and log belong together.
            self.copy_file(MAIN, &name).expect("the folder is ours alone");
            self.copies.push(name);
        }
    }

    fn restore(&mut self, random: &mut Random) -> bool {
        let Some(last) = (self.copies.len() as u64).checked_sub(1) else { return false };
        // Later copies are of a history that is gone.
        self.copies.truncate(usize::try_from(random.between(0, last)).unwrap_or(0) + 1);
        let Some(name) = self.copies.last().cloned() else { return false };
        let is_backup = random.chance(500);
        if is_backup {
            self.epoch = Epoch(random.any());
        }
        self.restored = Some(Restored { name, is_backup });
        true
    }

    fn forget_copies(&mut self) {
        self.copies.clear();
    }

    fn set_aside(&self) -> Vec<Vec<u8>> {
        let Some(store) = self.store() else { return Vec::new() };
        let query = ConflictQuery { limit: usize::MAX, ..ConflictQuery::default() };
        let log = wait_for(store.conflicts(&query)).expect("the store answers");
        log.into_iter().filter_map(|entry| entry.note.mine).collect()
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

#[cfg(test)]
mod tests {
    use tidelock_core::ids::{DocumentId, Version};
    use tidelock_core::version;

    use tidelock_store::{Commit, Trace, Write};

    use super::*;

    fn opened(site: &EmbeddedSite, changelog: u64) -> Arc<EmbeddedStore> {
        let store = open(&site.folder.join(MAIN), site.epoch, ChangelogId(changelog));
        *site.store.lock().unwrap() = Some(Arc::clone(&store));
        store
    }

    fn put(store: &EmbeddedStore, key: &str) {
        let write = Write {
            id: DocumentId::new("notes", key),
            expected: Version::ABSENT,
            change: None,
            body: Some(Arc::from(&b"1"[..])),
            version: version::of_body(b"1").unwrap(),
            channels: Vec::new(),
            edited_ms: 1,
            trace: Trace::None,
        };
        wait_for(store.commit(Commit::new(vec![write], 1))).unwrap();
    }

    /// Restored once as a backup, and once copied back: either way what came after the copy is gone, and the store knows that clients know
    /// of more, or tells them by another epoch.
    #[test]
    fn a_copy_takes_the_place_of_the_file() {
        let mut kinds = std::collections::BTreeSet::new();
        for seed in 0..8 {
            let (mut site, mut random) = (EmbeddedSite::new(), Random::new(seed));
            assert!(!site.restore(&mut random), "there is no copy");
            let store = opened(&site, 11);
            put(&store, "a");
            site.copy();
            put(&store, "b");
            let (epoch, told) = (store.epoch(), (store.history().unwrap(), store.head()));
            drop(store);
            assert!(site.restore(&mut random));
            site.ended(0);
            let store = opened(&site, 12);
            let keys: Vec<String> = site.documents("notes").into_iter().map(|(key, _)| key).collect();
            assert_eq!(keys, ["a"]);
            let is_backup = store.epoch() != epoch;
            assert_eq!(store.id() == ChangelogId(12), is_backup);
            assert!(is_backup || !store.holds(told.0, told.1));
            kinds.insert(is_backup);
        }
        assert_eq!(kinds.len(), 2);
    }
}
