//! The configuration of the simulated server: who may read and write what, and how conflicts are resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value, json};
use tidelock_core::wire::Policy;
use tidelock_server::LiveRules;
use tidelock_server::auth::Authenticator;
use tidelock_server::config::Config;
use tidelock_server::rules::Rules;
use tidelock_store::Filter;

/// `rooms` may be read by room; nobody may write a document that says that it is forbidden.
const CONFIG: &str = r#"
[auth]
algorithms = ["HS256"]
secret = "0b4b7235229ae0cc777989ace3485896251610e28a316744ec85689202816931"

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

[databases.main.collections.newest]
read = 'identity.sub != ""'
write = 'new == null || !has(new.forbidden)'
conflict = { policy = "newest" }

[databases.main.collections.notes]
read = 'identity.sub != ""'
write = 'new == null || !has(new.forbidden)'
[databases.main.collections.notes.conflict.fields]
text = "text"

[databases.main.collections.rooms]
read = 'identity.sub != ""'
channels = '["room:" + doc.room]'
write = 'new == null || !has(new.forbidden)'

[databases.main.collections.strict]
read = 'identity.sub != ""'
write = 'new == null || !has(new.forbidden)'
conflict = { policy = "reject" }
"#;

/// How long a token is valid: longer than a simulation lasts.
const TOKEN_S: u64 = 1 << 32;

fn config() -> &'static Config {
    static PARSED: OnceLock<Config> = OnceLock::new();
    PARSED.get_or_init(|| Config::parse_dev(CONFIG, "sim.toml").expect("the simulator's configuration is valid"))
}

/// The rules of the database.
pub(crate) fn rules() -> Rules {
    let database = config().databases.get("main").expect("it is configured");
    Rules::compile(database, &config().identity).expect("the simulator's rules are valid")
}

/// The rules as a cluster store asks them.
pub(crate) fn rulebook() -> Arc<LiveRules> {
    Arc::new(LiveRules::new(Arc::new(rules())))
}

/// Checks tokens, and signs them.
pub(crate) fn authenticator() -> Authenticator {
    Authenticator::new(&config().auth).expect("the simulator's keys are valid")
}

/// The collections with their policies.
pub fn policies() -> &'static BTreeMap<String, Policy> {
    static POLICIES: OnceLock<BTreeMap<String, Policy>> = OnceLock::new();
    POLICIES
        .get_or_init(|| rules().collections().map(|(name, rules)| (name.to_owned(), rules.policy().clone())).collect())
}

fn claims(rooms: &[String]) -> Map<String, Value> {
    let rooms: Vec<String> = rooms.iter().map(|room| format!("room:{room}")).collect();
    Map::from_iter([("rooms".to_owned(), json!(rooms))])
}

/// A token of a subject that may read some rooms.
pub(crate) fn token(subject: &str, rooms: &[String], now_ms: u64) -> String {
    authenticator().mint(subject, &claims(rooms), TOKEN_S, now_ms).expect("the secret signs tokens")
}

/// What a subject that may read some rooms sees.
pub(crate) fn filter(subject: &str, rooms: &[String]) -> Filter {
    static RULES: OnceLock<Rules> = OnceLock::new();
    let identity = authenticator().authenticate(&token(subject, rooms, 0), 0).expect("the token is fresh");
    RULES.get_or_init(rules).filter(&identity, &BTreeSet::new())
}

/// The channels of a document, computed without the rules.
pub(crate) fn channels_of(body: &[u8]) -> Vec<String> {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    value.get("room").and_then(Value::as_str).map(|room| format!("room:{room}")).into_iter().collect()
}
