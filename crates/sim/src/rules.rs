//! The configuration of the simulated server: who may read and write what, and how conflicts are resolved.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::{Map, Value, json};
use tidelock_core::wire::Policy;
use tidelock_server::auth::Authenticator;
use tidelock_server::config::Config;
use tidelock_server::rules::Rules;

use crate::workload::ROOMS;

/// `rooms` may be read by room; nobody may write a document that says that it is forbidden.
const CONFIG: &str = r#"
[auth]
algorithms = ["HS256"]
secret = "SECRET"

[identity]
channels = 'identity.claims.rooms'

[databases.main]
path = "unused.db"

[databases.main.collections.ledger]
read = 'identity.sub != ""'
write = 'new == null || !has(new.forbidden)'
[databases.main.collections.ledger.conflict.fields]
n = "sum"
tokens = "union"

[databases.main.collections.board]
read = 'identity.sub != ""'
write = 'new == null || !has(new.forbidden)'
conflict = { policy = "last-write", delete = "delete-wins" }

[databases.main.collections.choice]
read = 'identity.sub != ""'
write = 'new == null || !has(new.forbidden)'
conflict = { policy = "resolver" }

[databases.main.collections.mortal]
read = 'identity.sub != ""'
write = 'true'
conflict = { delete = "delete-wins" }

[databases.main.collections.newest]
read = 'identity.sub != ""'
write = 'new == null || !has(new.forbidden)'
conflict = { policy = "newest" }

[databases.main.collections.notes]
read = 'identity.sub != ""'
write = 'new == null || !has(new.forbidden)'
[databases.main.collections.notes.conflict.fields]
text = "text"

[databases.main.collections.registers]
read = 'identity.sub != ""'
write = 'true'
[databases.main.collections.registers.conflict.fields]
m = "max"

[databases.main.collections.rooms]
read = 'identity.sub != ""'
channels = 'CHANNELS'
write = 'new == null || !has(new.forbidden)'

[databases.main.collections.strict]
read = 'identity.sub != ""'
write = 'new == null || !has(new.forbidden)'
conflict = { policy = "reject" }

[databases.main.collections.tallies]
read = 'identity.sub != ""'
write = 'true'
[databases.main.collections.tallies.conflict.fields]
n = "sum"
"#;

/// How long a token is valid: longer than a simulation lasts.
const TOKEN_S: u64 = 1 << 32;
/// The keys that sign tokens, one after the other.
const SECRETS: [&str; 2] = [
    "0b4b7235229ae0cc777989ace3485896251610e28a316744ec85689202816931",
    "5d1f9a0c7b3e44d28c6e0f1b2a9d8e7f60514233a4b5c6d7e8f9010203040506",
];
/// How rooms are read, one after the other: by their own members, and the room x by those of y.
const CHANNELS: [&str; 2] = [r#"["room:" + doc.room]"#, r#"doc.room == "x" ? ["room:y"] : ["room:" + doc.room]"#];

/// What may change in the configuration of the servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Which key signs tokens, and alone is accepted.
    pub(crate) key: usize,
    /// Which rule says who reads a room.
    pub(crate) access: usize,
}

impl Settings {
    /// Another key.
    pub(crate) fn with_next_key(self) -> Self {
        Self { key: (self.key + 1) % SECRETS.len(), ..self }
    }

    /// Another rule.
    pub(crate) fn with_next_access(self) -> Self {
        Self { access: (self.access + 1) % CHANNELS.len(), ..self }
    }

    /// The server's configuration.
    pub(crate) fn config(self) -> &'static Config {
        static PARSED: OnceLock<Vec<Config>> = OnceLock::new();
        let all = PARSED.get_or_init(|| {
            let pairs = SECRETS.iter().flat_map(|secret| CHANNELS.iter().map(move |channels| (secret, channels)));
            let parsed = pairs.map(|(secret, channels)| {
                let text = CONFIG.replace("SECRET", secret).replace("CHANNELS", channels);
                Config::parse_dev(&text, "sim.toml").expect("the simulator's configuration is valid")
            });
            parsed.collect()
        });
        all.get(self.key * CHANNELS.len() + self.access).expect("there is one for each pair")
    }

    /// Every way in which rooms are read.
    pub(crate) fn all_access() -> impl Iterator<Item = Self> {
        (0..CHANNELS.len()).map(|access| Self { key: 0, access })
    }

    /// The rules of the database.
    pub(crate) fn rules(self) -> Rules {
        let config = self.config();
        let database = config.databases.get("main").expect("it is configured");
        Rules::compile(database, &config.identity).expect("the simulator's rules are valid")
    }

    /// Checks tokens, and signs them.
    pub(crate) fn authenticator(self) -> Authenticator {
        Authenticator::new(&self.config().auth).expect("the simulator's keys are valid")
    }

    /// A token of a subject that may read some rooms.
    pub(crate) fn token(self, subject: &str, rooms: &[String], now_ms: u64) -> String {
        self.authenticator().mint(subject, &claims(rooms), TOKEN_S, now_ms).expect("the secret signs tokens")
    }

    /// Whether somebody who was granted `rooms` may read a document: the rules once more, without the server's code.
    pub(crate) fn may_read(self, rooms: &[String], collection: &str, body: &[u8]) -> bool {
        collection != ROOMS || self.reader_of(body).is_some_and(|reader| rooms.contains(&reader))
    }

    /// The room whose members read a document of the collection of rooms.
    fn reader_of(self, body: &[u8]) -> Option<String> {
        let value: Value = serde_json::from_slice(body).ok()?;
        let room = value.get("room")?.as_str()?;
        Some(if self.access == 1 && room == "x" { "y" } else { room }.to_owned())
    }
}

/// The collections with their policies.
pub fn policies() -> &'static BTreeMap<String, Policy> {
    static POLICIES: OnceLock<BTreeMap<String, Policy>> = OnceLock::new();
    POLICIES.get_or_init(|| {
        let rules = Settings::default().rules();
        rules.collections().map(|(name, rules)| (name.to_owned(), rules.policy().clone())).collect()
    })
}

fn claims(rooms: &[String]) -> Map<String, Value> {
    let rooms: Vec<String> = rooms.iter().map(|room| format!("room:{room}")).collect();
    Map::from_iter([("rooms".to_owned(), json!(rooms))])
}
