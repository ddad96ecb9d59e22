//! The one place that knows which stores exist.

use std::sync::Arc;

use tidelock_core::ids::{ChangelogId, Epoch};
use tidelock_server::config::DatabaseConfig;
use tidelock_store::{Changelog, EmbeddedOptions, EmbeddedStore, MemoryStore, Store};

/// A database's store, in its roles, with what closes it.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) changelog: Arc<dyn Changelog>,
    /// To be closed at the end; nothing for a store in memory.
    pub(crate) embedded: Option<Arc<EmbeddedStore>>,
}

/// A store that forgets everything at the end.
pub(crate) fn memory() -> Result<Opened, String> {
    let random = || {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map(|()| u64::from_le_bytes(bytes).max(1)).map_err(|error| error.to_string())
    };
    let store = Arc::new(MemoryStore::new(Epoch(random()?), ChangelogId(random()?)));
    Ok(Opened { store: Arc::clone(&store) as _, changelog: store, embedded: None })
}

/// The embedded store in a file, which is made when it does not exist.
pub(crate) fn embedded(config: &DatabaseConfig) -> Result<Opened, String> {
    let path = &config.path;
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        std::fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    }
    let options = EmbeddedOptions {
        conflicts_kept: config.conflicts_kept.into(),
        size_bytes_max: config.size_mib_max.map(|mib| u64::from(mib) << 20),
        ..EmbeddedOptions::default()
    };
    let store = EmbeddedStore::open(path, options).map_err(|error| format!("{}: {error}", path.display()))?;
    let store = Arc::new(store);
    Ok(Opened { store: Arc::clone(&store) as _, changelog: Arc::clone(&store) as _, embedded: Some(store) })
}
