//! Another configuration, while the server runs.

use std::sync::Arc;

use tidelock_store::StoreError;

use crate::app::{App, Live};
use crate::auth::Authenticator;
use crate::config::{Config, ConfigError};
use crate::rules::Rules;
use crate::tls;

/// Why a configuration does not come into force. The present one stays.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// Something is wrong with it.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// A store did not note that its rules change; databases before it, by name, have their new rules already.
    #[error("database {0}: {1}")]
    Store(String, StoreError),
}

impl App {
    /// Puts rules, keys of tokens, origins and the certificate of a configuration in force. Nothing changes when any of it is wrong. What else differs
    /// needs a restart, and is named in the answer.
    ///
    /// Live sessions are looked at again: what they gained is sent, what they lost is purged, and those end whose tokens were signed by a
    /// key that is gone.
    pub async fn reload(&self, config: &Config, before: &Config) -> Result<Vec<&'static str>, ReloadError> {
        let authenticator = Authenticator::new(&config.auth)?;
        let tls = match (&self.options.tls, &config.server.tls) {
            (Some(tls), Some(config)) => Some((tls, tls::load(config)?)),
            _ => None,
        };
        let mut rules = Vec::new();
        for (name, database) in &self.databases {
            if let Some(config_of) = config.databases.get(name) {
                rules.push((database, Rules::compile(config_of, &config.identity)?));
            }
        }
        for (database, rules) in rules {
            let replaced = database.replace_rules(rules).await;
            replaced.map_err(|error| ReloadError::Store(database.name.clone(), error))?;
        }
        if let Some((tls, config)) = tls {
            tls.replace(config);
        }
        let origins = config.server.public_origins.clone();
        self.live.send_replace(Arc::new(Live { authenticator, origins }));
        Ok(config.needs_restart(before))
    }
}
