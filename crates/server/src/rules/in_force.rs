//! The rules in force: who serves a database asks them, and a store that takes documents in from elsewhere.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tidelock_core::ids::DocumentId;
use tidelock_core::json;
use tidelock_core::merge::{self, Context, Current, Merged};
use tidelock_core::version;
use tidelock_core::wire::DocumentChange;
use tidelock_store::cluster::{Described, Met, Remerged, Rulebook};

use super::{CollectionRules, Rules};

/// Rules that may be replaced.
#[derive(Debug)]
pub struct RulesInForce {
    rules: RwLock<Arc<Rules>>,
    revision: AtomicU64,
    /// Largest body of a document, in bytes.
    document_bytes_max: AtomicUsize,
}

impl RulesInForce {
    /// These rules, for documents up to a size.
    pub fn new(rules: Rules, document_bytes_max: u32) -> Self {
        let document_bytes_max = AtomicUsize::new(document_bytes_max as usize);
        Self { rules: RwLock::new(Arc::new(rules)), revision: AtomicU64::new(0), document_bytes_max }
    }

    /// Those of this moment.
    pub fn get(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// No larger documents either.
    pub(crate) fn limit(&self, document_bytes_max: u32) {
        self.document_bytes_max.fetch_min(document_bytes_max as usize, Ordering::SeqCst);
    }

    pub(crate) fn replace(&self, rules: Arc<Rules>) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
        // After they are in force: who described a document by the former ones sees another number afterwards.
        self.revision.fetch_add(1, Ordering::SeqCst);
    }
}

impl Rulebook for RulesInForce {
    fn revision(&self) -> u64 {
        self.revision.load(Ordering::SeqCst)
    }

    /// A document of a collection that does not exist is in no channel.
    fn describe(&self, id: &DocumentId, content: &[u8]) -> Result<Described, String> {
        let value = json::parse(content).map_err(|error| error.to_string())?;
        let rules = self.get();
        let channels = rules.collection(&id.collection).map(|rules| rules.channels(&id.key, &value));
        Ok(Described { version: version::of(&value), channels: channels.unwrap_or_default() })
    }

    fn depends_on_state(&self, id: &DocumentId) -> bool {
        // What a merge comes to is judged before the commit, when a refusal still has an addressee.
        self.get().collection(&id.collection).is_none_or(CollectionRules::judges_content)
    }

    /// No outcome that the schema or the limits refuse: the prepared content satisfies them.
    fn merge(&self, current: Option<Met<'_>>, change: &DocumentChange, edited_ms: u64) -> Option<Remerged> {
        let rules = self.get();
        let rules = rules.collection(&change.id.collection)?;
        let value = current.map(|current| json::parse(current.body)).transpose().ok()?;
        let met = current.zip(value.as_ref()).map(|(current, value)| Current { version: current.version, value });
        let current_edited_ms = current.map_or(0, |current| current.edited_ms);
        let context = Context { policy: rules.policy(), edited_ms, current_edited_ms };
        let (value, conflicts) = match merge::merge(met, change, &context).ok()? {
            Merged::Unchanged => (value, Vec::new()),
            Merged::Fast { value } => (value, Vec::new()),
            Merged::Merged { value, conflicts } => (value, conflicts),
            Merged::Rejected { .. } | Merged::Resolve => return None,
        };
        let body = match &value {
            None => None,
            Some(value) => {
                rules.validate(value).ok()?;
                let bytes_max = self.document_bytes_max.load(Ordering::SeqCst);
                Some(json::write(value)).filter(|body| body.len() <= bytes_max)?.into()
            }
        };
        Some(Remerged { body: body.map(|body: Vec<u8>| body.into()), conflicts })
    }
}

#[cfg(test)]
mod tests {
    use tidelock_core::ids::Version;
    use tidelock_core::wire::{FieldPatch, Operation};

    use super::*;
    use crate::config::Config;

    fn rules(tables: &str) -> RulesInForce {
        let config = Config::parse_dev(&format!("[databases.t]\npath = \"t\"\n{tables}"), "t.toml").unwrap();
        RulesInForce::new(Rules::compile(&config.databases["t"], &config.identity).unwrap(), 100)
    }

    fn id() -> DocumentId {
        DocumentId::new("c", "k")
    }

    fn add(before: u64, after: u64) -> DocumentChange {
        let text = |n: u64| Some(n.to_string().into_bytes());
        let patch = FieldPatch { path: vec!["n".into()], base: text(before), value: text(after) };
        DocumentChange { id: id(), base: Version(1), operation: Operation::Patch(vec![patch]), whole: None }
    }

    fn merged(rules: &RulesInForce, body: Option<&str>) -> Option<String> {
        let met = body.map(|body| Met { version: Version(2), body: body.as_bytes(), edited_ms: 1 });
        let outcome = rules.merge(met, &add(1, 3), 2)?;
        Some(String::from_utf8(outcome.body?.to_vec()).unwrap())
    }

    #[test]
    fn documents_are_described_by_the_rules_of_the_moment() {
        let by = |channels: &str| rules(&format!("[databases.t.collections.c]\nchannels = '''{channels}'''\n"));
        let in_force = by("[doc.list]");
        let described = in_force.describe(&id(), b"{ \"list\": \"x\" }").unwrap();
        assert_eq!(described.channels, ["x"]);
        assert_eq!(described.version, version::of_body(b"{\"list\":\"x\"}").unwrap());
        assert!(in_force.describe(&id(), b"{\"list\":").is_err());
        assert_eq!(in_force.describe(&DocumentId::new("none", "k"), b"{}").unwrap().channels, [""; 0]);
        let before = in_force.revision();
        in_force.replace(by("['y']").get());
        assert_ne!(in_force.revision(), before);
        assert_eq!(in_force.describe(&id(), b"{\"list\":\"x\"}").unwrap().channels, ["y"]);
    }

    #[test]
    fn an_outcome_depends_on_the_state_where_something_refuses() {
        for (tables, depends) in [
            ("", false),
            ("write = 'new.n > 0'", true),
            ("write = 'identity.sub == key'", false),
            ("schema = { maximum = 10 }", true),
            ("write = 'old == null'", true),
            ("conflict = { policy = \"reject\" }", true),
            ("conflict = { policy = \"resolver\" }", true),
            ("conflict = { policy = \"last-write\" }", false),
            ("[databases.t.collections.c.conflict]\nfields = { n = \"reject\" }", true),
            ("[databases.t.collections.c.conflict]\nfields = { n = \"sum\" }", false),
        ] {
            let rules = rules(&format!("[databases.t.collections.c]\n{tables}\n"));
            assert_eq!(rules.depends_on_state(&id()), depends, "{tables}");
            assert!(rules.depends_on_state(&DocumentId::new("none", "k")));
        }
    }

    #[test]
    fn a_committed_change_is_merged_within_the_rules() {
        let policy = "[databases.t.collections.c.conflict]\nfields = { n = \"sum\" }";
        let schema = "[databases.t.collections.c]\nschema = { properties = { n = { maximum = 10 } } }\n";
        let rules = rules(&format!("{schema}{policy}\n"));
        assert_eq!(merged(&rules, Some("{\"n\":5}")).as_deref(), Some("{\"n\":7}"));
        assert_eq!(merged(&rules, Some("{\"n\":9}")), None, "the schema refuses 11");
        assert_eq!(merged(&rules, None), None, "a patch of a document that is gone");
        let long = format!("{{\"n\":5,\"text\":\"{}\"}}", "x".repeat(100));
        assert_eq!(merged(&rules, Some(&long)), None);
        let other = DocumentChange { id: DocumentId::new("none", "k"), ..add(1, 2) };
        assert_eq!(rules.merge(None, &other, 2), None);
    }
}
