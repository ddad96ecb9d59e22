//! The rules of one collection.

use std::sync::atomic::{AtomicU64, Ordering};

use tidelock_core::wire::{DocumentPolicy, FieldStrategy, Policy};

use super::document::{CelValue, Document, Weight, map, object_to_cel, object_weight};
use super::expression::{Compiled, Failure};
use super::schema::{Schema, SchemaViolation};
use crate::auth::Identity;
use crate::config::{CollectionConfig, ConfigError, Expression, GrantConfig};

/// Most channels of one document.
pub const DOCUMENT_CHANNELS_MAX: usize = 256;
/// Most subjects that one document grants something to.
const GRANT_SUBJECTS_MAX: usize = 256;
/// Begins the channels of documents by which the server itself finds them; those of rules must not.
const GRANT_MARK: char = '\u{1}';
/// Longest channel name, in bytes.
pub const CHANNEL_BYTES_MAX: usize = 256;

/// Why a write is refused. The texts name no content of documents, and a rule that failed reads like one that said no: the difference
/// would tell a writer about the current document, which they may not be allowed to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The collection has no write rule.
    #[error("the collection cannot be written")]
    NoRule,
    /// The rule says no.
    #[error("the rules do not allow this write")]
    Refused,
    /// The rule could not be evaluated, which counts as no. The reason is for the server's log.
    #[error("the rules do not allow this write")]
    Failed(&'static str),
}

/// The rules of one collection.
#[derive(Debug)]
pub struct CollectionRules {
    name: String,
    policy: Policy,
    read: Access,
    channels: Option<Compiled>,
    grant: Option<Grant>,
    channel_rules: String,
    write: Access,
    schema: Option<Schema>,
    failures: AtomicU64,
}

/// How a document opens channels to identities.
#[derive(Debug)]
struct Grant {
    subjects: Compiled,
    channels: Compiled,
}

/// Who may do something.
#[derive(Debug)]
enum Access {
    Nobody,
    /// Every identity with a subject.
    Authenticated,
    Rule(Compiled),
}

impl CollectionRules {
    pub(super) fn compile(name: &str, config: &CollectionConfig) -> Result<Self, ConfigError> {
        let access = |expression: &Option<_>, inputs: &[&str]| match expression {
            None => Ok(Access::Nobody),
            Some(expression) => Compiled::new(expression, inputs).map(Access::Rule),
        };
        Ok(Self {
            name: name.to_owned(),
            policy: config.policy.clone(),
            read: access(&config.read, &["identity"])?,
            channels: config.channels.as_ref().map(|text| Compiled::new(text, &["doc", "key"])).transpose()?,
            grant: config.grant.as_ref().map(Grant::compile).transpose()?,
            channel_rules: channel_rules(config),
            write: access(&config.write, &["old", "new", "key", "identity"])?,
            schema: config.schema.as_ref().map(Schema::new).transpose()?,
            failures: AtomicU64::new(0),
        })
    }

    /// Rules of a collection that nobody configured, in a database with `open_collections`.
    pub(super) fn open() -> Self {
        Self {
            name: "(open)".to_owned(),
            policy: Policy::default(),
            read: Access::Authenticated,
            channels: None,
            grant: None,
            channel_rules: String::new(),
            write: Access::Authenticated,
            schema: None,
            failures: AtomicU64::new(0),
        }
    }

    /// How conflicts are resolved.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether readers are told apart by channels; if not, each of them sees every document.
    pub fn has_channels(&self) -> bool {
        self.channels.is_some()
    }

    /// Evaluations that failed since the start, each of which denied something.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Whether an identity may read the collection at all.
    pub fn may_read(&self, identity: &Identity) -> bool {
        match &self.read {
            Access::Nobody => false,
            Access::Authenticated => !identity.subject.is_empty(),
            Access::Rule(rule) => {
                let (value, weight) = identity_input(identity);
                rule.test([("identity", value)], weight).unwrap_or_else(|failure| {
                    self.failed("read", failure);
                    false
                })
            }
        }
    }

    /// Whether documents of this collection open channels to identities.
    pub fn grants(&self) -> bool {
        self.grant.is_some()
    }

    /// The channels that the store keeps with a document, sorted, each once: those that its readers share, and one of its own for each
    /// subject that it grants something to. A failed evaluation gives none: no reader sees the document, nothing is granted.
    pub fn channels<D: Document>(&self, key: &str, body: &D) -> Vec<String> {
        let mut channels = self.strings("channels", self.channels.as_ref(), key, body, DOCUMENT_CHANNELS_MAX);
        if let Some(grant) = &self.grant {
            let subjects = self.strings("grant.subjects", Some(&grant.subjects), key, body, GRANT_SUBJECTS_MAX);
            // The mark sorts before everything that a rule may give.
            let marks = subjects.iter().map(|subject| grant_channel(subject));
            channels = marks.chain(channels).collect();
        }
        channels
    }

    /// The channels that a document opens to the subjects that it names.
    pub fn granted<D: Document>(&self, key: &str, body: &D) -> Vec<String> {
        let rule = self.grant.as_ref().map(|grant| &grant.channels);
        self.strings("grant.channels", rule, key, body, DOCUMENT_CHANNELS_MAX)
    }

    /// What a rule over `doc` and `key` gives; nothing when it fails.
    fn strings<D: Document>(
        &self,
        name: &'static str,
        rule: Option<&Compiled>,
        key: &str,
        body: &D,
        count_max: usize,
    ) -> Vec<String> {
        let Some(rule) = rule else { return Vec::new() };
        let mut inputs: Vec<(&'static str, CelValue<'_>)> = vec![("key", text(key))];
        let mut weight = Weight::text(key.len());
        if rule.uses("doc") {
            inputs.push(("doc", body.to_cel()));
            weight = weight.plus(body.weight());
        }
        match rule.strings(inputs, weight).and_then(|strings| checked_channels(strings, count_max)) {
            Ok(strings) => strings,
            Err(failure) => {
                self.failed(name, failure);
                Vec::new()
            }
        }
    }

    /// The rules that decide about the channels that the store keeps, as text: while it stays the same, so do they.
    pub fn channel_rules(&self) -> &str {
        &self.channel_rules
    }

    /// Whether an identity may turn `old` (`None` when there is no document) into `new` (`None` for a delete).
    pub fn may_write<D: Document>(
        &self,
        identity: &Identity,
        key: &str,
        old: Option<&D>,
        new: Option<&D>,
    ) -> Result<(), Denied> {
        let rule = match &self.write {
            Access::Nobody => return Err(Denied::NoRule),
            Access::Authenticated if identity.subject.is_empty() => return Err(Denied::Refused),
            Access::Authenticated => return Ok(()),
            Access::Rule(rule) => rule,
        };
        let lasts = rule.uses_only("identity");
        if lasts && identity.allowed.has(rule.number()) {
            return Ok(());
        }
        let mut weight = Weight::text(key.len());
        let mut inputs = vec![("key", text(key))];
        if rule.uses("identity") {
            let (identity, identity_weight) = identity_input(identity);
            inputs.push(("identity", identity));
            weight = weight.plus(identity_weight);
        }
        for (name, document) in [("old", old), ("new", new)] {
            if rule.uses(name) {
                inputs.push((name, document.map_or_else(null, Document::to_cel)));
                weight = weight.plus(document.map_or_else(Weight::default, Document::weight));
            }
        }
        match rule.test(inputs, weight) {
            Ok(true) => {
                if lasts {
                    identity.allowed.add(rule.number());
                }
                Ok(())
            }
            Ok(false) => Err(Denied::Refused),
            Err(failure) => {
                self.failed("write", failure);
                Err(Denied::Failed(failure.text()))
            }
        }
    }

    /// Whether the write rule reads the current document, so that it must be evaluated against the state it is committed on.
    pub fn reads_current_state(&self) -> bool {
        matches!(&self.write, Access::Rule(rule) if rule.uses("old"))
    }

    /// Whether a mutation may be refused for a document's content, the one it has or the one it gets by a merge.
    pub fn judges_content(&self) -> bool {
        let reads = matches!(&self.write, Access::Rule(rule) if rule.uses("old") || rule.uses("new"));
        let field = |strategy: &FieldStrategy| *strategy == FieldStrategy::Reject;
        let policy = self.policy();
        let refuses = match policy.document {
            DocumentPolicy::Reject | DocumentPolicy::Resolver => true,
            DocumentPolicy::Merge => field(&policy.field) || policy.fields.iter().any(|(_, strategy)| field(strategy)),
            DocumentPolicy::LastWrite | DocumentPolicy::FirstWrite | DocumentPolicy::Newest => false,
        };
        reads || refuses || self.schema.is_some()
    }

    /// Whether a document satisfies the collection's schema. Deletes need no check.
    pub fn validate<D: Document>(&self, new: &D) -> Result<(), SchemaViolation> {
        self.schema.as_ref().map_or(Ok(()), |schema| schema.validate(new))
    }

    /// Counts and logs a failed evaluation, without the key or any value.
    fn failed(&self, rule: &'static str, failure: Failure) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(collection = %self.name, rule, reason = failure.text(), "a rule could not be evaluated; access denied");
    }
}

impl Grant {
    fn compile(config: &GrantConfig) -> Result<Self, ConfigError> {
        let inputs = &["doc", "key"];
        Ok(Self {
            subjects: Compiled::new(&config.subjects, inputs)?,
            channels: Compiled::new(&config.channels, inputs)?,
        })
    }
}

/// The texts of the rules that [`CollectionRules::channels`] evaluates.
fn channel_rules(config: &CollectionConfig) -> String {
    let text = |expression: Option<&Expression>| expression.map(|expression| expression.text.clone());
    let subjects = config.grant.as_ref().map(|grant| &grant.subjects);
    serde_json::json!([text(config.channels.as_ref()), text(subjects)]).to_string()
}

/// The channel of the documents that grant something to a subject. No rule can give it: nobody is sent documents by it.
pub(super) fn grant_channel(subject: &str) -> String {
    format!("{GRANT_MARK}{subject}")
}

/// Sorts, removes repetitions, and refuses what cannot be a channel.
pub(super) fn checked_channels(mut channels: Vec<String>, count_max: usize) -> Result<Vec<String>, Failure> {
    let fits = |channel: &String| {
        !channel.is_empty() && channel.len() <= CHANNEL_BYTES_MAX && !channel.starts_with(GRANT_MARK)
    };
    if !channels.iter().all(fits) {
        return Err(Failure::Channel);
    }
    channels.sort_unstable();
    channels.dedup();
    if channels.len() > count_max { Err(Failure::TooMany) } else { Ok(channels) }
}

/// `identity.sub` and `identity.claims`.
pub(super) fn identity_input(identity: &Identity) -> (CelValue<'_>, Weight) {
    let members = [("sub", text(&identity.subject)), ("claims", object_to_cel(&identity.claims))];
    let weight = Weight::text(identity.subject.len()).plus(object_weight(&identity.claims));
    (map(members.into_iter()), weight)
}

fn text(text: &str) -> CelValue<'_> {
    Box::new(cel::common::types::CelString::from(text))
}

fn null<'v>() -> CelValue<'v> {
    Box::new(cel::common::types::CelNull)
}
