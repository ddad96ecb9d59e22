//! The rules in force, for the database and for a store over a cluster: that one meets documents which no session of this server has
//! seen, and changes that others decided about.

use std::sync::{Arc, PoisonError, RwLock};

use tidelock_core::ids::DocumentId;
use tidelock_core::json::{self, Value};
use tidelock_core::merge::{self, Context, Current, Merged};
use tidelock_core::version;
use tidelock_core::wire::DocumentChange;
use tidelock_store::cluster::{Described, Met, Remerged, Rulebook};

use crate::rules::{CollectionRules, Rules};

/// The rules of a database at this moment.
pub struct LiveRules(RwLock<InForce>);

struct InForce {
    rules: Arc<Rules>,
    /// The same on every node that has these rules.
    revision: u64,
}

impl InForce {
    fn new(rules: Arc<Rules>) -> Self {
        let texts = rules.collections().flat_map(|(name, rules)| [name, rules.channel_rules()]);
        // FNV-1a; the separator keeps one text from running into the next.
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let revision = texts.fold(0xcbf2_9ce4_8422_2325, |hash, text| text.bytes().chain([0]).fold(hash, step));
        Self { rules, revision }
    }
}

impl LiveRules {
    /// Rules that are in force.
    pub fn new(rules: Arc<Rules>) -> Self {
        Self(RwLock::new(InForce::new(rules)))
    }

    /// Other rules come into force.
    pub fn replace(&self, rules: Arc<Rules>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = InForce::new(rules);
    }

    /// The rules.
    pub fn get(&self) -> Arc<Rules> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).rules)
    }
}

impl From<Rules> for Arc<LiveRules> {
    fn from(rules: Rules) -> Self {
        Self::new(LiveRules::new(Arc::new(rules)))
    }
}

impl Rulebook for LiveRules {
    fn revision(&self) -> u64 {
        self.0.read().unwrap_or_else(PoisonError::into_inner).revision
    }

    fn describe(&self, id: &DocumentId, content: &[u8]) -> Result<Described, String> {
        let rules = self.get();
        let collection = rules.collection(&id.collection).ok_or("no such collection")?;
        let value = json::parse(content).map_err(|error| error.to_string())?;
        Ok(Described { version: version::of(&value), channels: collection.channels(&id.key, &value) })
    }

    fn depends_on_state(&self, id: &DocumentId) -> bool {
        // What a merge comes to is judged before the commit, and not again.
        self.get().collection(&id.collection).is_none_or(CollectionRules::judges_content)
    }

    fn merge(&self, current: Option<Met<'_>>, change: &DocumentChange, edited_ms: u64) -> Option<Remerged> {
        let rules = self.get();
        let collection = rules.collection(&change.id.collection)?;
        // One that cannot be read can only be replaced whole.
        let value = current.and_then(|current| json::parse(current.body).ok());
        let met = current.zip(value.as_ref()).map(|(current, value)| Current { version: current.version, value });
        let current_edited_ms = current.map_or(0, |current| current.edited_ms);
        let context = Context { policy: collection.policy(), edited_ms, current_edited_ms };
        let (value, conflicts) = match merge::merge(met, change, &context).ok()? {
            Merged::Unchanged => (value, Vec::new()),
            Merged::Fast { value } => (value, Vec::new()),
            Merged::Merged { value, conflicts } => (value, conflicts),
            Merged::Rejected { .. } | Merged::Resolve => return None,
        };
        let body = value.as_ref().map(|value: &Value| json::write(value).into());
        Some(Remerged { body, conflicts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use tidelock_core::ids::Version;
    use tidelock_core::wire::Operation;

    fn rules(channels: &str) -> LiveRules {
        let text = format!(
            r#"
            [databases.main]
            path = "unused.db"
            [databases.main.collections.notes]
            read = 'true'
            write = 'true'
            channels = '[{channels}]'
            [databases.main.collections.notes.conflict.fields]
            n = "sum"
            [databases.main.collections.strict]
            conflict = {{ policy = "reject" }}
            [databases.main.collections.guarded]
            write = 'old == null'
            [databases.main.collections.judged]
            write = 'new.n > 1'
            [databases.main.collections.shaped]
            schema = {{ type = "object" }}
            "#
        );
        let config = Config::parse_dev(&text, "test.toml").unwrap();
        LiveRules::new(Arc::new(Rules::compile(&config.databases["main"], &config.identity).unwrap()))
    }

    fn id(collection: &str) -> DocumentId {
        DocumentId::new(collection, "k")
    }

    #[test]
    fn a_content_has_a_version_and_channels() {
        let rules = rules("doc.room");
        let described = rules.describe(&id("notes"), br#"{"room":"x"}"#).unwrap();
        assert_eq!(described.version, version::of_body(br#"{"room":"x"}"#).unwrap());
        assert_eq!(described.channels, ["x"]);
        for (collection, content) in [("notes", &b"\xff"[..]), ("notes", b"{\"a\":1,\"a\":2}"), ("nowhere", b"{}")] {
            assert!(rules.describe(&id(collection), content).is_err());
        }
    }

    #[test]
    fn the_revision_is_that_of_the_channel_rules() {
        let (first, second) = (rules("doc.room"), rules("doc.other"));
        assert_ne!(first.revision(), second.revision());
        assert_eq!(first.revision(), rules("doc.room").revision());
        second.replace(first.get());
        assert_eq!(first.revision(), second.revision());
        assert_eq!(second.describe(&id("notes"), br#"{"room":"x"}"#).unwrap().channels, ["x"]);
    }

    #[test]
    fn some_outcomes_depend_on_the_state() {
        let rules = rules("doc.room");
        let depends = ["notes", "strict", "guarded", "judged", "shaped", "nowhere"];
        let depends = depends.map(|name| rules.depends_on_state(&id(name)));
        assert_eq!(depends, [false, true, true, true, true, true]);
    }

    #[test]
    fn a_change_is_merged_by_the_policy_of_its_collection() {
        let rules = rules("doc.room");
        let change = |collection: &str, operation| DocumentChange { id: id(collection), base: Version(9), operation };
        let patch = Operation::Patch(vec![tidelock_core::wire::FieldPatch {
            path: vec!["n".into()],
            base: Some(b"1".to_vec()),
            value: Some(b"3".to_vec()),
        }]);
        let met = Met { version: Version(5), body: br#"{"n":10}"#, edited_ms: 1 };
        let merged = rules.merge(Some(met), &change("notes", patch.clone()), 2).unwrap();
        assert_eq!(merged.body.as_deref(), Some(&br#"{"n":12}"#[..]));
        assert_eq!(rules.merge(Some(met), &change("strict", patch.clone()), 2), None);
        assert_eq!(rules.merge(None, &change("notes", patch), 2), None, "fields alone make no document");
        let damaged = Met { version: Version(5), body: b"\xff", edited_ms: 1 };
        let put = change("notes", Operation::Put(b"{}".to_vec()));
        assert_eq!(rules.merge(Some(damaged), &put, 2).unwrap().body.as_deref(), Some(&b"{}"[..]));
    }
}
