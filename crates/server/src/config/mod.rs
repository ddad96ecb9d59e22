//! The configuration file (`docs/configuration.md` describes every key).
//!
//! A configuration is read and checked whole at start: every problem is reported with file, line, column, key, what was found and what
//! was expected. Files that it names (secrets, keys, schemas) are read with it.

mod auth;
mod cluster;
mod databases;
mod dev;
mod error;
mod limits;
mod reader;
mod secret;
mod server;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tidelock_core::wire::Policy;
use toml::de::DeTable;

pub use auth::{Algorithm, AuthConfig, KeySet, PublicKey};
pub use cluster::ClusterConfig;
pub(crate) use databases::is_name;
pub use error::{ConfigError, Location, Problem};
pub use limits::LimitsConfig;
pub use secret::Secret;
pub use server::{ServerConfig, TlsConfig};

use reader::{Section, Source};

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Listeners and origins.
    pub server: ServerConfig,
    /// What clients may use.
    pub limits: LimitsConfig,
    /// How tokens are checked.
    pub auth: AuthConfig,
    /// What an identity may read, across collections.
    pub identity: IdentityConfig,
    /// By name; at least one.
    pub databases: BTreeMap<String, DatabaseConfig>,
}

/// What an identity may read, across collections.
#[derive(Clone, Debug, Default)]
pub struct IdentityConfig {
    /// CEL over `identity`, gives the channels that the identity may read; none without it.
    pub channels: Option<Expression>,
}

/// A database.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    /// Its name.
    pub name: String,
    /// The file of the embedded store; with a cluster, of the node's own changelog.
    pub path: PathBuf,
    /// The platform that holds the database; without one, the embedded store does.
    pub cluster: Option<ClusterConfig>,
    /// Serve every collection name, to every authenticated identity. Development only.
    pub open_collections: bool,
    /// How long a deleted document is remembered at least, in seconds.
    pub tombstones_kept_s: u32,
    /// Entries of the conflict log that are kept; the oldest go first.
    pub conflicts_kept: u32,
    /// Size beyond which the file must not grow, in MiB.
    pub size_mib_max: Option<u32>,
    /// By name.
    pub collections: BTreeMap<String, CollectionConfig>,
}

/// The rules of a collection.
#[derive(Clone, Debug, Default)]
pub struct CollectionConfig {
    /// CEL over `identity`, a bool; nobody reads without it.
    pub read: Option<Expression>,
    /// CEL over `doc` and `key`, a list of channel names; without it every reader of the collection sees every document.
    pub channels: Option<Expression>,
    /// Whom a document opens channels to.
    pub grant: Option<GrantConfig>,
    /// CEL over `old`, `new`, `key` and `identity`, a bool; nobody writes without it.
    pub write: Option<Expression>,
    /// JSON Schema that every document written through the server satisfies.
    pub schema: Option<SchemaConfig>,
    /// How conflicts are resolved.
    pub policy: Policy,
}

/// How the documents of a collection open channels to identities.
#[derive(Clone, Debug)]
pub struct GrantConfig {
    /// CEL over `doc` and `key`, a list of subjects.
    pub subjects: Expression,
    /// CEL over `doc` and `key`, a list of channels: each of the subjects may read them.
    pub channels: Expression,
}

/// A CEL expression and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    /// The text.
    pub text: String,
    /// Where the configuration has it.
    pub location: Location,
}

/// A JSON Schema and where it stands.
#[derive(Clone, Debug)]
pub struct SchemaConfig {
    /// The schema.
    pub value: serde_json::Value,
    /// Where the configuration has or names it.
    pub location: Location,
}

/// What is allowed beyond production.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Production,
    Development,
}

impl Config {
    /// Reads a configuration file for production.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        Config::parse(&read_file(path)?, &path.to_string_lossy())
    }

    /// Reads a configuration for production. Relative paths in it start at the directory of `file_name`.
    pub fn parse(text: &str, file_name: &str) -> Result<Config, ConfigError> {
        parse(text, file_name, Mode::Production)
    }

    /// Reads a configuration file for `tidelock dev`, which allows `open_collections` and draws a secret when `[auth]` is absent.
    pub fn load_dev(path: &Path) -> Result<Config, ConfigError> {
        Config::parse_dev(&read_file(path)?, &path.to_string_lossy())
    }

    /// [`Config::load_dev`] of a text.
    pub fn parse_dev(text: &str, file_name: &str) -> Result<Config, ConfigError> {
        parse(text, file_name, Mode::Development)
    }

    /// What a running server does not take over from this configuration when it runs with `before`.
    pub(crate) fn needs_restart(&self, before: &Config) -> Vec<&'static str> {
        let stores = |config: &Config| -> Vec<_> {
            let databases = config.databases.values();
            let settings = |database: &DatabaseConfig| {
                (database.tombstones_kept_s, database.conflicts_kept, database.size_mib_max, database.open_collections)
            };
            databases.map(|one| (one.name.clone(), one.path.clone(), one.cluster.clone(), settings(one))).collect()
        };
        let (server, former) = (&self.server, &before.server);
        let differs = [
            ("server.listen", server.listen != former.listen),
            ("server.admin_listen", server.admin_listen != former.admin_listen),
            ("server.tls", server.tls.is_some() != former.tls.is_some()),
            ("limits", self.limits != before.limits),
            ("databases", stores(self) != stores(before)),
        ];
        differs.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
    }

    /// The configuration of `tidelock dev` without a file: loopback, a secret drawn at random, the database `board` of the demo
    /// application, and each of `open_databases` with any collection and the default policy. Databases are stored below `data`.
    pub fn dev(data: &Path, open_databases: &[&str]) -> Result<Config, ConfigError> {
        dev::config(data, open_databases)
    }
}

fn read_file(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| {
        let location = Location { file: path.to_string_lossy().into_owned(), ..Location::default() };
        ConfigError::new(location, format!("cannot be read: {error}"))
    })
}

fn parse(text: &str, file_name: &str, mode: Mode) -> Result<Config, ConfigError> {
    let source = Source::new(text, file_name);
    let table = DeTable::parse(text).map_err(|error| {
        let location = error.span().map_or_else(|| source.whole(""), |span| source.location(&span, ""));
        ConfigError::new(location, format!("not TOML: {}", error.message()))
    })?;
    let config = read(&source, table.get_ref(), mode);
    source.finish(config)
}

fn read<'t>(source: &Source<'t>, table: &DeTable<'t>, mode: Mode) -> Config {
    let root = Section::root(source, table);
    let config = Config {
        server: server::read(&root.section("server")),
        limits: limits::read(&root.section("limits")),
        auth: auth::read(&root.section("auth"), mode),
        identity: read_identity(&root.section("identity")),
        databases: databases::read(&root.section("databases"), mode),
    };
    root.finish();
    config
}

fn read_identity(section: &Section<'_, '_>) -> IdentityConfig {
    let identity = IdentityConfig { channels: expression(section, "channels") };
    section.finish();
    identity
}

fn expression(section: &Section<'_, '_>, name: &'static str) -> Option<Expression> {
    let found = section.string(name, "a CEL expression (a string)")?;
    Some(Expression { text: found.value, location: found.location })
}
