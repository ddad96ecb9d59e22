//! The rules in force, for the database and for a store that has to know them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tidelock_core::ids::DocumentId;
use tidelock_core::json;
use tidelock_core::merge::{self, Context, Current, Merged};
use tidelock_core::version;
use tidelock_core::wire::DocumentChange;
use tidelock_store::cluster::{Described, Met, Remerged, Rulebook};

use crate::rules::{CollectionRules, Rules};

/// Who may do what at this moment, and how changes are merged.
pub struct RulesInForce {
    rules: RwLock<Arc<Rules>>,
    revision: AtomicU64,
}

impl From<Rules> for Arc<RulesInForce> {
    fn from(rules: Rules) -> Self {
        Self::new(RulesInForce { rules: RwLock::new(Arc::new(rules)), revision: AtomicU64::new(1) })
    }
}

impl RulesInForce {
    /// The rules.
    pub fn get(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts others in force.
    pub(crate) fn replace(&self, rules: Arc<Rules>) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
        self.revision.fetch_add(1, Ordering::SeqCst);
    }
}

impl Rulebook for RulesInForce {
    fn revision(&self) -> u64 {
        self.revision.load(Ordering::SeqCst)
    }

    fn describe(&self, id: &DocumentId, content: &[u8]) -> Result<Described, String> {
        let value = json::parse(content).map_err(|error| error.to_string())?;
        let rules = self.get();
        let channels = rules.collection(&id.collection).map_or_else(Vec::new, |rules| rules.channels(&id.key, &value));
        Ok(Described { version: version::of(&value), channels })
    }

    fn depends_on_state(&self, id: &DocumentId) -> bool {
        // The merged content is checked only before the commit.
        self.get().collection(&id.collection).is_none_or(CollectionRules::judges_content)
    }

    fn merge(&self, current: Option<Met<'_>>, change: &DocumentChange, edited_ms: u64) -> Option<Remerged> {
        let rules = self.get();
        let rules = rules.collection(&change.id.collection)?;
        // What cannot be read is replaced whole by what was prepared.
        let value = current.map(|met| json::parse(met.body)).transpose().ok()?;
        let theirs = current.zip(value.as_ref()).map(|(met, value)| Current { version: met.version, value });
        let current_edited_ms = current.map_or(0, |met| met.edited_ms);
        let context = Context { policy: rules.policy(), edited_ms, current_edited_ms };
        let (value, conflicts) = match merge::merge(theirs, change, &context).ok()? {
            Merged::Unchanged => (value, Vec::new()),
            Merged::Fast { value } => (value, Vec::new()),
            Merged::Merged { value, conflicts } => (value, conflicts),
            Merged::Rejected { .. } | Merged::Resolve => return None,
        };
        Some(Remerged { body: value.map(|value| json::write(&value).into()), conflicts })
    }
}
