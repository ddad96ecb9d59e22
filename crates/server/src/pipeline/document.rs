//! Documents as the rules see them.

use std::sync::OnceLock;

use tidelock_core::json::{Value, write};

use crate::rules::{Document, Weight};

/// A document for rules and schemas, converted once and only when a rule looks at it.
pub(crate) struct RuleView<'a> {
    value: &'a Value,
    converted: OnceLock<serde_json::Value>,
}

impl<'a> RuleView<'a> {
    pub(crate) fn new(value: &'a Value) -> Self {
        Self { value, converted: OnceLock::new() }
    }

    fn converted(&self) -> &serde_json::Value {
        // What the core wrote is JSON; a number beyond serde_json's range is the one thing that it may refuse.
        self.converted.get_or_init(|| serde_json::from_slice(&write(self.value)).unwrap_or_default())
    }
}

impl Document for RuleView<'_> {
    fn to_cel(&self) -> Box<dyn cel::common::value::Val + '_> {
        self.converted().to_cel()
    }

    fn to_json(&self) -> serde_json::Value {
        self.converted().clone()
    }

    fn weight(&self) -> Weight {
        self.converted().weight()
    }
}
