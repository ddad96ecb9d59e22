//! Databases on a data platform: which platforms there are.

use std::time::Duration;

use tidelock_geode_client::tls::Tls as GeodeTls;
use tidelock_geode_client::{Address, Config as Connection, TypeMode};
use tidelock_server::config::{ClusterConfig, ConfigError, DatabaseConfig};
use tidelock_store::platform::{Finding, Platform, system};
use tidelock_store_couchbase::{Config as CouchbaseConfig, CouchbaseOptions, CouchbasePlatform, Durability, Tls};
use tidelock_store_geode::{GeodeOptions, GeodePlatform, MANAGER_PORT};

/// The kinds of platforms.
const KINDS: &[&str] = &["couchbase", "geode"];
/// The options of Apache Geode.
const GEODE_OPTIONS: &[&str] = &[
    "ca_file",
    "certificate_file",
    "key_file",
    "manager",
    "queue_copies",
    "queue_kept_s",
    "server_group",
    "stable_types",
    "transactions",
];
/// The options of Couchbase.
const COUCHBASE_OPTIONS: &[&str] = &["bucket", "bucket_memory_mib", "ca_file", "durability", "scope"];

/// A platform that was found.
pub(crate) enum Connected {
    Geode(GeodePlatform),
    Couchbase(CouchbasePlatform),
}

impl Connected {
    pub(crate) fn platform(&self) -> &dyn Platform {
        match self {
            Self::Geode(platform) => platform,
            Self::Couchbase(platform) => platform,
        }
    }

    /// Ends the connections.
    pub(crate) async fn close(self) {
        match self {
            Self::Geode(platform) => platform.close().await,
            // They end with it.
            Self::Couchbase(platform) => drop(platform),
        }
    }
}

/// Connects to the platform of a database.
pub(crate) async fn connect(database: &DatabaseConfig, config: &ClusterConfig) -> Result<Connected, String> {
    let wrong = |error: ConfigError| error.to_string();
    if config.kind == "couchbase" {
        let mut options = couchbase_options(config).map_err(wrong)?;
        options.tombstones_kept = Duration::from_secs(database.tombstones_kept_s.into());
        let platform = CouchbasePlatform::connect(options).await;
        return platform.map(Connected::Couchbase).map_err(|error| error.to_string());
    }
    let options = geode_options(config).map_err(wrong)?;
    GeodePlatform::connect(options).await.map(Connected::Geode).map_err(|error| error.to_string())
}

fn couchbase_options(config: &ClusterConfig) -> Result<CouchbaseOptions, ConfigError> {
    config.check(KINDS, COUCHBASE_OPTIONS)?;
    let [address] = config.addresses.as_slice() else {
        let expected =
            "expected one connection string, with all hosts in it: \"couchbases://a.example.com,b.example.com\"";
        return Err(config.wrong(None, format!("{} in `addresses`: {expected}", config.addresses.len())));
    };
    let parsed_address = CouchbaseConfig::new(address);
    let mut connection = parsed_address.map_err(|error| config.wrong(None, format!("in `addresses`: {error}")))?;
    if let (Some(user), Some(password)) = (&config.user, &config.password) {
        let password = std::str::from_utf8(password.expose());
        let password = password.map_err(|_| config.wrong(None, "the password is not UTF-8"))?;
        connection = connection.password(user, password);
    }
    if let Some(bucket) = config.option("bucket") {
        connection = connection.bucket(bucket);
    }
    if connection.bucket.is_empty() {
        return Err(config.wrong(None, "expected the option `bucket`, the bucket that holds the database"));
    }
    match config.option_path("ca_file") {
        Some(path) => {
            let unreadable =
                |error: &dyn std::fmt::Display| config.wrong(Some("ca_file"), format!("{}: {error}", path.display()));
            let roots = std::fs::read(&path).map_err(|error| unreadable(&error))?;
            connection.tls = Some(Tls::with_pem(&roots, None).map_err(|error| unreadable(&error))?);
        }
        None if connection.is_tls() => {
            let expected = "expected the option `ca_file`, the root certificates (PEM) that the cluster's are under";
            return Err(config.wrong(None, expected));
        }
        None => {}
    }
    connection.name = format!("tidelock-{}", config.node);
    let mut options = CouchbaseOptions::new(connection);
    if let Some(scope) = config.option("scope") {
        scope.clone_into(&mut options.scope);
    }
    if let Some(name) = config.option("durability") {
        let known = Durability::NAMES.into_iter().find(|(known, _)| *known == name);
        let names = Durability::NAMES.map(|(name, _)| format!("`{name}`")).join(", ");
        let wrong = || config.wrong(Some("durability"), format!("found {name:?}; expected one of {names}"));
        options.durability = known.ok_or_else(wrong)?.1;
    }
    if let Some(mib) = parsed(config, "bucket_memory_mib", "a number of MiB, 100 or more")? {
        options.bucket_memory_mib = mib;
    }
    options.collections.clone_from(&config.names);
    Ok(options)
}

fn geode_options(config: &ClusterConfig) -> Result<GeodeOptions, ConfigError> {
    config.check(KINDS, GEODE_OPTIONS)?;
    let mut locators: Vec<Address> = Vec::new();
    for address in &config.addresses {
        let expected = "expected the address of a locator, like \"locator.example.com[10334]\"";
        locators
            .push(address.parse().map_err(|_| config.wrong(None, format!("{address:?} in `addresses`: {expected}")))?);
    }
    let managers = match config.option("manager") {
        Some(address) => vec![address.to_owned()],
        None => locators.iter().map(|locator| format!("{}:{MANAGER_PORT}", locator.host)).collect(),
    };
    let mut connection = Connection { locators, ..Connection::default() };
    connection.name = format!("tidelock-{}", config.node);
    if let (Some(user), Some(password)) = (&config.user, &config.password) {
        let password = std::str::from_utf8(password.expose());
        connection = connection.user(user, password.map_err(|_| config.wrong(None, "the password is not UTF-8"))?);
    }
    connection.tls = geode_tls(config)?;
    if let Some(group) = config.option("server_group") {
        group.clone_into(&mut connection.server_group);
    }
    if parsed(config, "stable_types", "`true` or `false`")?.unwrap_or(false) {
        connection.type_mode = TypeMode::Stable;
    }
    let mut options = GeodeOptions::new(connection, &config.node);
    if let Some(seconds) = parsed(config, "queue_kept_s", "a number of seconds")? {
        options.queue_kept = Duration::from_secs(seconds);
    }
    if let Some(copies) = parsed(config, "queue_copies", "a number of servers")? {
        options.queue_copies = copies;
    }
    if let Some(transactions) = parsed(config, "transactions", "`true` or `false`")? {
        options.transactions = transactions;
    }
    options.regions.clone_from(&config.names);
    options.managers = managers;
    Ok(options)
}

/// Whom to trust, and who this server is to those that ask.
fn geode_tls(config: &ClusterConfig) -> Result<Option<GeodeTls>, ConfigError> {
    let roots = option_file(config, "ca_file")?;
    let identity = match (option_file(config, "certificate_file")?, option_file(config, "key_file")?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => return Err(config.wrong(Some("certificate_file"), "expected `key_file` with it")),
        (None, Some(_)) => return Err(config.wrong(Some("key_file"), "expected `certificate_file` with it")),
    };
    let Some(roots) = roots else {
        let expected = "expected `ca_file` with it, the root certificates (PEM) that the cluster's are under";
        return if identity.is_none() { Ok(None) } else { Err(config.wrong(Some("certificate_file"), expected)) };
    };
    let wrong = |option, error: &dyn std::fmt::Display| config.wrong(Some(option), error.to_string());
    let anonymous = GeodeTls::with_pem(&roots, None).map_err(|error| wrong("ca_file", &error))?;
    let Some((certificate, key)) = identity else { return Ok(Some(anonymous)) };
    let known = GeodeTls::with_pem(&roots, Some((&certificate, &key)));
    known.map(Some).map_err(|error| wrong("certificate_file", &error))
}

/// The content of the file that an option names.
fn option_file(config: &ClusterConfig, option: &str) -> Result<Option<Vec<u8>>, ConfigError> {
    let Some(path) = config.option_path(option) else { return Ok(None) };
    let unreadable = |error| config.wrong(Some(option), format!("{} cannot be read: {error}", path.display()));
    std::fs::read(&path).map(Some).map_err(unreadable)
}

fn parsed<T: std::str::FromStr>(config: &ClusterConfig, name: &str, expected: &str) -> Result<Option<T>, ConfigError> {
    let Some(text) = config.option(name) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| config.wrong(Some(name), format!("found {text:?}; expected {expected}")))
}

/// Everything that a database has on its platform.
pub(crate) fn collections(config: &DatabaseConfig) -> Vec<String> {
    config.collections.keys().cloned().chain(system::ALL.map(str::to_owned)).collect()
}

/// Findings as a person reads them.
pub(crate) fn report(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let kind = if finding.fatal { "wrong" } else { "advice" };
        format!("{kind}: {}\n  {}", finding.what, finding.remedy.replace('\n', "\n  "))
    };
    findings.iter().map(line).collect::<Vec<_>>().join("\n")
}
