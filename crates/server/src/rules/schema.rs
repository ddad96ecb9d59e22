//! JSON Schema (draft 2020-12) for documents.

use std::collections::BTreeSet;

use jsonschema::{Draft, PatternOptions, Retrieve, Uri, ValidationError, Validator};
use serde_json::Value;

use super::document::Document;
use crate::config::{ConfigError, SchemaConfig};

/// Longest value of a schema keyword that a message repeats, in bytes.
const KEYWORD_TEXT_BYTES_MAX: usize = 120;

/// A document that does not satisfy its collection's schema.
///
/// Both texts consist of words of the schema and of positions: after a merge, a document holds what others wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", if path.is_empty() { "the document" } else { path.as_str() })]
pub struct SchemaViolation {
    /// JSON Pointer to the place in the document; `*` stands for a member name that the schema does not mention.
    pub path: String,
    /// What the schema demands there.
    pub message: String,
}

/// A compiled schema.
#[derive(Debug)]
pub(super) struct Schema {
    validator: Validator,
    source: Value,
    /// Every member name that occurs in the schema.
    words: BTreeSet<String>,
}

/// What relative references start from; without it they fail before [`NoRetrieval`] can say why.
const BASE_URI: &str = "schema:///";

/// Refuses every reference out of the schema: a server must not fetch what a file names.
struct NoRetrieval;

impl Retrieve for NoRetrieval {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        let message = format!("`$ref` to {uri} leaves the schema; expected definitions within it (`#/$defs/...`)");
        Err(message.into())
    }
}

impl Schema {
    pub(super) fn new(config: &SchemaConfig) -> Result<Self, ConfigError> {
        let validator = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .with_base_uri(BASE_URI)
            .with_retriever(NoRetrieval)
            .with_pattern_options(PatternOptions::regex())
            .build(&config.value)
            .map_err(|error| ConfigError::new(config.location.clone(), format!("JSON Schema: {error}")))?;
        let mut words = BTreeSet::new();
        collect_words(&config.value, &mut words);
        Ok(Self { validator, source: config.value.clone(), words })
    }

    pub(super) fn validate<D: Document>(&self, document: &D) -> Result<(), SchemaViolation> {
        let instance = document.to_json();
        self.validator.validate(&instance).map_err(|error| self.violation(&error))
    }

    fn violation(&self, error: &ValidationError<'_>) -> SchemaViolation {
        let pointer = error.instance_path().to_string();
        let path: Vec<String> = pointer.split('/').map(|segment| self.segment(segment)).collect();
        let keyword = error.kind().keyword();
        let demanded = self.source.pointer(&error.schema_path().to_string()).map(Value::to_string);
        let message = match demanded.filter(|text| text.len() <= KEYWORD_TEXT_BYTES_MAX) {
            Some(text) => format!("must satisfy `{keyword}`: {text}"),
            None => format!("must satisfy `{keyword}`"),
        };
        SchemaViolation { path: path.join("/"), message }
    }

    /// A pointer segment (RFC 6901) that tells nothing but the schema's words and positions in arrays.
    fn segment(&self, segment: &str) -> String {
        let name = segment.replace("~1", "/").replace("~0", "~");
        let known = segment.is_empty() || segment.bytes().all(|b| b.is_ascii_digit()) || self.words.contains(&name);
        if known { segment.to_owned() } else { "*".to_owned() }
    }
}

fn collect_words(schema: &Value, words: &mut BTreeSet<String>) {
    match schema {
        Value::Object(members) => {
            for (name, value) in members {
                words.insert(name.clone());
                collect_words(value, words);
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| collect_words(element, words)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
