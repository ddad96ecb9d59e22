//! `[databases.NAME.cluster]`: the data platform that holds a database. Which kinds there are, the binary knows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::auth::text_or_file;
use super::error::{ConfigError, Location};
use super::reader::{Section, one_of, suggestion};
use super::secret::Secret;

/// Longest name of a node, in bytes: platforms name queues and connections after it.
const NODE_BYTES_MAX: usize = 64;

/// About how often all collections are gone through without `scan_every_s`: an hour.
const SCAN_EVERY_S_DEFAULT: u32 = 3_600;

/// The data platform that holds a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterConfig {
    /// Which platform.
    pub kind: String,
    /// Where it is; at least one.
    pub addresses: Vec<String>,
    /// The user that the server is there.
    pub user: Option<String>,
    /// The password of the user.
    pub password: Option<Secret>,
    /// Names this server among those of the database: unique, and the same after a restart.
    pub node: String,
    /// Names of collections on the platform, where they are others.
    pub names: BTreeMap<String, String>,
    /// About how often all collections are gone through for what the platform did not tell, in seconds.
    pub scan_every_s: u32,
    /// What only this kind of platform has.
    options: BTreeMap<String, (String, Location)>,
    location: Location,
}

impl ClusterConfig {
    /// Of the options that the platform does not know, the first; and of the kinds, when this one is not among them.
    pub fn check(&self, kinds: &[&str], options: &[&str]) -> Result<(), ConfigError> {
        if !kinds.contains(&self.kind.as_str()) {
            let hint = suggestion(&self.kind, kinds);
            let message = format!("`kind` is {:?}; expected {}{hint}", self.kind, one_of(kinds));
            return Err(ConfigError::new(self.location.clone(), message));
        }
        match self.options.iter().find(|(name, _)| !options.contains(&name.as_str())) {
            None => Ok(()),
            Some((name, (_, location))) => {
                let hint = suggestion(name, options);
                let message =
                    format!("unknown option for the kind {:?}; expected {}{hint}", self.kind, one_of(options));
                Err(ConfigError::new(location.clone(), message))
            }
        }
    }

    /// An option of the platform.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(|(value, _)| value.as_str())
    }

    /// An option that is a path. A relative one starts at the directory of the configuration.
    pub fn option_path(&self, name: &str) -> Option<PathBuf> {
        let (value, location) = self.options.get(name)?;
        Some(Path::new(&location.file).parent().unwrap_or(Path::new("")).join(value))
    }

    /// The error that an option, or the section, is not as it has to be.
    pub fn wrong(&self, option: Option<&str>, message: impl Into<String>) -> ConfigError {
        let place = option.and_then(|name| self.options.get(name)).map(|(_, location)| location);
        ConfigError::new(place.unwrap_or(&self.location).clone(), message)
    }
}

pub(super) fn read(section: &Section<'_, '_>) -> Option<ClusterConfig> {
    let location = section.location();
    let text = |name, expected| section.string(name, expected).map(|found| found.value);
    let kind = text("kind", "the name of a platform");
    let addresses = section.strings("addresses", "a list of addresses of the platform").unwrap_or_default();
    let addresses: Vec<String> = addresses.into_iter().map(|found| found.value).collect();
    let (user, node) = (text("user", "a user's name"), section.string("node", "a name of this server"));
    let password = text_or_file(section, "password", "password_file").map(|found| Secret::new(found.value));
    let names = strings(&section.section("names"), "the collection's name on the platform");
    let options = strings(&section.section("options"), "a string");
    let scan_every_s = section.integer("scan_every_s", "seconds", 1..=u32::MAX, SCAN_EVERY_S_DEFAULT);
    section.finish();
    if !section.present() {
        return None;
    }
    let problem = |message: &str| section.source().problem(section.location(), message);
    if kind.is_none() && section.raw("kind").is_none() {
        problem("expected `kind`, the name of a platform");
    }
    if addresses.is_empty() {
        problem("expected `addresses`, a list of at least one address of the platform");
    }
    if user.is_some() != password.is_some() {
        problem("expected both `user` and `password` (or `password_file`), or none of them");
    }
    match &node {
        Some(found) if !is_node(&found.value) => {
            let message = format!("expected a name of 1 to {NODE_BYTES_MAX} letters, digits, `-` and `_`");
            section.source().problem(found.location.clone(), message);
        }
        None if section.raw("node").is_none() => {
            problem("expected `node`, a name that no other server of the database has, like `node = \"sync-1\"`");
        }
        Some(_) | None => {}
    }
    let names = names.into_iter().map(|(collection, (name, _))| (collection, name)).collect();
    let node = node?.value;
    Some(ClusterConfig { kind: kind?, addresses, user, password, node, names, scan_every_s, options, location })
}

fn is_node(name: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    !name.is_empty() && name.len() <= NODE_BYTES_MAX && name.chars().all(fits)
}

/// A table of strings under names that the user chose.
fn strings(section: &Section<'_, '_>, expected: &str) -> BTreeMap<String, (String, Location)> {
    let mut strings = BTreeMap::new();
    for (name, found) in section.entries() {
        match found.value.as_str() {
            Some(text) => drop(strings.insert(name, (text.to_owned(), found.location))),
            None => section.refuse(&found, expected),
        }
    }
    strings
}
