//! What the servers of a trial work on.

use std::collections::BTreeSet;

use serde_json::Value;
use tidelock_core::base64::{self, Variant};

use crate::ledger::Documents;

/// A cluster of the test's own, as far as the trial needs to know it.
pub trait Ground {
    /// The lines of a server's configuration that name the cluster. Further lines are options of `[databases.trials.cluster]`.
    fn configuration(&self, node: &str, more: &str) -> String;

    /// What the collections hold, read by somebody who is no server of the trial. An error is why it cannot be read now.
    fn documents(&self) -> Result<Documents, String>;

    /// The keys of the mutations of several documents that are begun and not settled at this moment.
    fn open_intents(&self) -> BTreeSet<String>;

    /// Writes a document as any other client of the cluster does; `None` removes it.
    fn write(&self, collection: &str, key: &str, value: Option<&Value>);
}

/// The first fields of the record of an intent: which attempt it is, and how far: prepared, committed, done or aborted.
struct IntentHead {
    attempt: u64,
    stage: u64,
}

/// The last stage in which something is left to do.
const COMMITTED: u64 = 1;

tidelock_core::cbor_struct!(IntentHead { attempt, stage });

/// Whether the content of a record is that of an intent in which something is left to do; a piece of one is not.
pub(crate) fn is_open_intent(content: &[u8]) -> bool {
    let sealed = || {
        let value: Value = serde_json::from_slice(content).ok()?;
        base64::decode(value.get("tidelock")?.as_str()?, Variant::Standard)
    };
    let head: Option<IntentHead> = sealed().and_then(|sealed| tidelock_core::wire::decode(&sealed).ok());
    head.is_some_and(|intent| intent.stage <= COMMITTED)
}
