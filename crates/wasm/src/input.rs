//! Answers to reads, as the worker gives them.

use alloc::string::String;
use alloc::vec::Vec;

use js_sys::Uint8Array;
use tidelock_core::client::storage::{KeyRange, OutboxRecord, PageId, ReadResult, Row};
use tidelock_core::ids::Sequence;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::{Core, unsigned};

#[wasm_bindgen]
impl Core {
    /// Answers `state`.
    pub fn read_state(&mut self, bytes: Option<Vec<u8>>) {
        self.inputs.push(ReadResult::State(bytes));
    }

    /// Answers `pages`: collections and first keys in turn.
    #[expect(clippy::needless_pass_by_value, reason = "wasm-bindgen passes arrays of strings by value")]
    pub fn read_pages(&mut self, names: Vec<String>) {
        let page = |pair: &[String]| match pair {
            [collection, first] => Some(PageId { collection: collection.clone(), first: first.clone() }),
            _ => None,
        };
        self.inputs.push(ReadResult::ShadowPages(names.chunks(2).filter_map(page).collect()));
    }

    /// Answers `page`.
    pub fn read_page(&mut self, bytes: Option<Vec<u8>>) {
        self.inputs.push(ReadResult::ShadowPage(bytes));
    }

    /// Answers `pending`: the records' first sequences, and the records.
    pub fn read_pending(&mut self, sequences: Vec<f64>, records: Vec<Uint8Array>) {
        let records = sequences
            .into_iter()
            .zip(records)
            .map(|(sequence, record)| (Sequence(unsigned(sequence)), record.to_vec()));
        self.inputs.push(ReadResult::Pending(records.collect()));
    }

    /// Answers `rejectedCount`.
    pub fn read_rejected_count(&mut self, count: f64) {
        self.inputs.push(ReadResult::RejectedCount(unsigned(count)));
    }

    /// Answers `outbox` with no records; `add_outbox_record` and `add_outbox_range` fill it.
    pub fn read_outbox(&mut self) {
        self.inputs.push(ReadResult::Outbox(Vec::new()));
    }

    /// Adds a record to the outbox that is being answered.
    pub fn add_outbox_record(
        &mut self,
        number: f64,
        transaction: String,
        at_ms: f64,
        keys: Vec<String>,
        unsupported: Vec<String>,
        adopt: bool,
    ) {
        if let Some(ReadResult::Outbox(records)) = self.inputs.last_mut() {
            let (number, at_ms) = (unsigned(number), unsigned(at_ms));
            records.push(OutboxRecord { number, transaction, at_ms, keys, ranges: Vec::new(), adopt, unsupported });
        }
    }

    /// Adds a range to the record added last. Bounds are in platform form, undefined for none.
    pub fn add_outbox_range(
        &mut self,
        lower: Option<String>,
        upper: Option<String>,
        lower_open: bool,
        upper_open: bool,
    ) {
        if let Some(ReadResult::Outbox(records)) = self.inputs.last_mut()
            && let Some(record) = records.last_mut()
        {
            record.ranges.push(KeyRange { lower, upper, lower_open, upper_open });
        }
    }

    /// Answers `rows`: JSON text, the empty string for no row, `!` and the reason for a value that cannot be encoded.
    pub fn read_rows(&mut self, texts: Vec<String>) {
        self.inputs.push(ReadResult::Rows(texts.into_iter().map(row).collect()));
    }

    /// Answers `scan`.
    pub fn read_scan(&mut self, keys: Vec<String>, texts: Vec<String>) {
        self.inputs.push(ReadResult::Scan(keys.into_iter().zip(texts.into_iter().map(row)).collect()));
    }
}

fn row(text: String) -> Row {
    if text.is_empty() {
        return Row::Absent;
    }
    match text.strip_prefix('!') {
        Some(reason) => Row::Unsupported(reason.into()),
        None => Row::Json(text.into_bytes()),
    }
}
