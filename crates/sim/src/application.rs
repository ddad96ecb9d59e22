//! What the application does: transactions over several stores, captured as the browser's capture layer captures them.

use std::collections::BTreeMap;

use tidelock_core::client::storage::{KeyRange, OutboxRecord, Row};
use tidelock_core::ids::DocumentId;
use tidelock_core::key;

use crate::database::{ModelDatabase, Transaction};

/// A readwrite transaction of the application. Every store that it changes gets one outbox record, in the same transaction.
#[derive(Debug)]
pub struct AppTransaction<'a> {
    database: &'a mut ModelDatabase,
    transaction: Transaction,
    marks: BTreeMap<String, OutboxRecord>,
    name: String,
    at_ms: u64,
}

/// Runs `body` in one transaction named `name`; `None` while another transaction runs, and nothing happened.
pub fn write<R>(
    database: &mut ModelDatabase,
    name: &str,
    at_ms: u64,
    strict: bool,
    body: impl FnOnce(&mut AppTransaction<'_>) -> R,
) -> Option<R> {
    let transaction = database.begin()?;
    let mut app = AppTransaction { database, transaction, marks: BTreeMap::new(), name: name.to_owned(), at_ms };
    let result = body(&mut app);
    app.commit(strict);
    Some(result)
}

/// Stores rows without capture, and the adoption record that the capture layer writes when it meets a populated store.
pub fn populate(database: &mut ModelDatabase, store: &str, rows: &[(&str, &str)]) {
    let Some(mut transaction) = database.begin() else { return };
    for (key, json) in rows {
        database.put_row(&mut transaction, DocumentId::new(store, *key), Row::Json(json.as_bytes().to_vec()));
    }
    let record = OutboxRecord { transaction: format!("adopt-{store}"), adopt: true, ..OutboxRecord::default() };
    database.add_outbox(&mut transaction, store, record);
    database.commit(transaction, true, None);
}

impl AppTransaction<'_> {
    /// JSON text of a row.
    pub fn get(&self, store: &str, key: &str) -> Option<Vec<u8>> {
        if let Row::Json(json) = self.database.row(store, key) { Some(json) } else { None }
    }

    /// Keys of a store's rows.
    pub fn keys(&self, store: &str) -> Vec<String> {
        self.database.keys_between(store, None, None)
    }

    /// Stores a row.
    pub fn put(&mut self, store: &str, key: &str, json: &str) {
        self.put_value(store, key, Row::Json(json.as_bytes().to_vec()));
    }

    /// Stores a row of any value.
    pub fn put_value(&mut self, store: &str, key: &str, row: Row) {
        if self.database.put_row(&mut self.transaction, DocumentId::new(store, key), row).is_none() {
            self.mark(store, key);
        }
    }

    /// Deletes a row.
    pub fn delete(&mut self, store: &str, key: &str) {
        let write = tidelock_core::client::storage::WriteOp::RowDelete(DocumentId::new(store, key));
        self.database.write(&mut self.transaction, write);
        self.mark(store, key);
    }

    /// Deletes the rows of a range.
    pub fn delete_range(&mut self, store: &str, range: KeyRange) {
        let bound = |form: &Option<String>| form.as_deref().and_then(|form| key::decode(form).ok());
        let (lower, upper) = (bound(&range.lower), bound(&range.upper));
        let lower = lower.as_ref().map(|key| (key, range.lower_open));
        let upper = upper.as_ref().map(|key| (key, range.upper_open));
        for key in self.database.keys_between(store, lower, upper) {
            let write = tidelock_core::client::storage::WriteOp::RowDelete(DocumentId::new(store, key));
            self.database.write(&mut self.transaction, write);
        }
        self.record(store).ranges.push(range);
    }

    /// Deletes every row.
    pub fn clear(&mut self, store: &str) {
        self.delete_range(store, KeyRange::default());
    }

    fn mark(&mut self, store: &str, key: &str) {
        let record = self.record(store);
        if !record.keys.iter().any(|marked| marked == key) {
            record.keys.push(key.to_owned());
        }
    }

    fn record(&mut self, store: &str) -> &mut OutboxRecord {
        self.marks.entry(store.to_owned()).or_insert_with(|| OutboxRecord {
            transaction: self.name.clone(),
            at_ms: self.at_ms,
            ..OutboxRecord::default()
        })
    }

    fn commit(mut self, strict: bool) {
        for (store, record) in std::mem::take(&mut self.marks) {
            self.database.add_outbox(&mut self.transaction, &store, record);
        }
        self.database.commit(self.transaction, strict, Some(self.name));
    }
}
