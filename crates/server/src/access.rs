//! What an identity may read: the rules, and the documents that grant something to it.
//!
//! A document of a collection with a `grant` rule is kept in a channel of its own for each subject that it names. So the documents that
//! concern a subject are found like the documents of any channel, and a session hears of their changes by watching that channel.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidelock_core::json;
use tidelock_core::server::{Filter, Refusal};

use crate::auth::Identity;
use crate::database::{Database, store_refusal};
use crate::rules::Rules;

/// Most documents that grant something to one subject; further ones are not looked at.
const GRANT_DOCUMENTS_MAX: usize = 10_000;
/// About how many bytes of granting documents are read at a time.
const PAGE_BYTES_MAX: usize = 256 << 10;

impl Database {
    /// What an identity may read at this moment.
    pub(crate) async fn access(&self, identity: &Identity) -> Result<Arc<Filter>, Refusal> {
        let rules = self.rules();
        let granted = self.granted(&rules, &identity.subject).await?;
        Ok(Arc::new(rules.filter(identity, &granted)))
    }

    /// The channels that documents open to a subject.
    async fn granted(&self, rules: &Rules, subject: &str) -> Result<BTreeSet<String>, Refusal> {
        let mut granted = BTreeSet::new();
        let wanted = rules.grants(subject);
        if wanted.is_empty() {
            return Ok(granted);
        }
        let mut after = None;
        let mut count = 0;
        loop {
            let page = self.changelog.snapshot(after.as_ref(), &wanted, PAGE_BYTES_MAX).await;
            let page = page.map_err(|error| store_refusal(&error))?;
            for record in &page.records {
                let body = record.body.as_deref().and_then(|body| json::parse(body).ok());
                if let (Some(body), Some(rules)) = (body, rules.collection(&record.id.collection)) {
                    granted.extend(rules.granted(&record.id.key, &body));
                }
            }
            count += page.records.len();
            after = page.through;
            if after.is_none() {
                return Ok(granted);
            }
            if count >= GRANT_DOCUMENTS_MAX {
                let database = &self.name;
                tracing::warn!(%database, count, "more documents than the server looks at grant something to one subject");
                return Ok(granted);
            }
        }
    }
}
