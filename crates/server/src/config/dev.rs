//! The configuration of `tidelock dev` without a file.

use std::path::Path;

use super::databases::{CONFLICTS_KEPT_DEFAULT, TOMBSTONES_KEPT_S_DEFAULT, is_name};
use super::error::{ConfigError, Location};
use super::{Config, DatabaseConfig};

/// The demo application's database: an example of a configuration, too.
const BOARD: &str = include_str!("board.toml");

pub(super) fn config(data: &Path, open_databases: &[&str]) -> Result<Config, ConfigError> {
    let mut config = Config::parse_dev(BOARD, "built-in configuration")?;
    for database in config.databases.values_mut() {
        database.path = data.join(&database.path);
    }
    for name in open_databases {
        if !is_name(name) {
            return Err(ConfigError::new(Location::default(), format!("{name:?} cannot name a database")));
        }
        let path = data.join(format!("{name}.db"));
        let database = config.databases.entry((*name).to_owned()).or_insert_with(|| DatabaseConfig {
            name: (*name).to_owned(),
            path,
            cluster: None,
            open_collections: true,
            tombstones_kept_s: TOMBSTONES_KEPT_S_DEFAULT,
            conflicts_kept: CONFLICTS_KEPT_DEFAULT,
            size_mib_max: None,
            collections: std::collections::BTreeMap::new(),
        });
        database.open_collections = true;
    }
    Ok(config)
}
