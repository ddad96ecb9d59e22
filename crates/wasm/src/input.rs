//! Answers to reads, as the worker gives them.

use alloc::string::String;
use alloc::vec::Vec;

use tidelock_core::client::storage::{KeyRange, OutboxRecord, PageId, ReadResult, Row};
use tidelock_core::ids::Sequence;

use crate::boundary::{text, with};
use crate::unsigned;

/// Answers `state`: nothing for no record.
#[unsafe(no_mangle)]
extern "C" fn read_state() {
    with(|core| {
        let record = core.arguments().pop();
        core.inputs.push(ReadResult::State(record));
    });
}

/// Answers `pages`: collections and first keys in turn.
#[unsafe(no_mangle)]
extern "C" fn read_pages() {
    with(|core| {
        let pages = pairs(core.arguments());
        let page = |(collection, first)| PageId { collection: text(collection), first: text(first) };
        core.inputs.push(ReadResult::ShadowPages(pages.map(page).collect()));
    });
}

/// Answers `page`: nothing for no page.
#[unsafe(no_mangle)]
extern "C" fn read_page() {
    with(|core| {
        let page = core.arguments().pop();
        core.inputs.push(ReadResult::ShadowPage(page));
    });
}

/// Answers `pending` with no records; `add_pending` fills it.
#[unsafe(no_mangle)]
extern "C" fn read_pending() {
    with(|core| core.inputs.push(ReadResult::Pending(Vec::new())));
}

/// Adds a record to those that are being answered, by its first sequence.
#[unsafe(no_mangle)]
extern "C" fn add_pending(sequence: f64) {
    with(|core| {
        let record = core.arguments().pop().unwrap_or_default();
        if let Some(ReadResult::Pending(records)) = core.inputs.last_mut() {
            records.push((Sequence(unsigned(sequence)), record));
        }
    });
}

/// Answers `rejectedCount`.
#[unsafe(no_mangle)]
extern "C" fn read_rejected_count(count: f64) {
    with(|core| core.inputs.push(ReadResult::RejectedCount(unsigned(count))));
}

/// Answers `outbox` with no records; `add_outbox_record` and what follows it fill it.
#[unsafe(no_mangle)]
extern "C" fn read_outbox() {
    with(|core| core.inputs.push(ReadResult::Outbox(Vec::new())));
}

/// Adds a record to the outbox that is being answered: its transaction, then its keys.
#[unsafe(no_mangle)]
extern "C" fn add_outbox_record(number: f64, at_ms: f64, adopt: bool) {
    with(|core| {
        let mut texts = core.texts().into_iter();
        let (number, at_ms) = (unsigned(number), unsigned(at_ms));
        let transaction = texts.next().unwrap_or_default();
        let record =
            OutboxRecord { number, transaction, at_ms, keys: texts.collect(), adopt, ..OutboxRecord::default() };
        if let Some(ReadResult::Outbox(records)) = core.inputs.last_mut() {
            records.push(record);
        }
    });
}

/// Adds keys without a platform form to the record added last: why they have none.
#[unsafe(no_mangle)]
extern "C" fn add_outbox_unsupported() {
    with(|core| {
        let reasons = core.texts();
        if let Some(record) = last_record(&mut core.inputs) {
            record.unsupported = reasons;
        }
    });
}

/// Adds a range to the record added last. The bounds that it has are handed over in platform form.
#[unsafe(no_mangle)]
extern "C" fn add_outbox_range(has_lower: bool, has_upper: bool, lower_open: bool, upper_open: bool) {
    with(|core| {
        let mut bounds = core.texts().into_iter();
        let mut bound = |has: bool| if has { bounds.next() } else { None };
        let range = KeyRange { lower: bound(has_lower), upper: bound(has_upper), lower_open, upper_open };
        if let Some(record) = last_record(&mut core.inputs) {
            record.ranges.push(range);
        }
    });
}

/// Answers `rows`: JSON text, the empty text for no row, `!` and the reason for a value that cannot be encoded.
#[unsafe(no_mangle)]
extern "C" fn read_rows() {
    with(|core| {
        let rows = core.arguments().into_iter().map(row).collect();
        core.inputs.push(ReadResult::Rows(rows));
    });
}

/// Answers `scan`: keys and rows in turn.
#[unsafe(no_mangle)]
extern "C" fn read_scan() {
    with(|core| {
        let rows = pairs(core.arguments()).map(|(key, value)| (text(key), row(value)));
        core.inputs.push(ReadResult::Scan(rows.collect()));
    });
}

fn last_record(inputs: &mut [ReadResult]) -> Option<&mut OutboxRecord> {
    match inputs.last_mut() {
        Some(ReadResult::Outbox(records)) => records.last_mut(),
        _ => None,
    }
}

fn pairs(arguments: Vec<Vec<u8>>) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let mut arguments = arguments.into_iter();
    core::iter::from_fn(move || Some((arguments.next()?, arguments.next()?)))
}

fn row(value: Vec<u8>) -> Row {
    match value.first() {
        None => Row::Absent,
        Some(b'!') => Row::Unsupported(value.get(1..).map_or_else(String::new, |reason| text(reason.to_vec()))),
        Some(_) => Row::Json(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boundary::tests::hand_over;

    fn inputs() -> Vec<ReadResult> {
        with(|core| core::mem::take(&mut core.inputs))
    }

    #[test]
    fn an_outbox_is_answered_record_by_record() {
        read_outbox();
        hand_over(["t1", "k1", "k2"]);
        add_outbox_record(7.0, 9.0, false);
        hand_over(["a key of type object"]);
        add_outbox_unsupported();
        hand_over(["upper"]);
        add_outbox_range(false, true, false, true);
        hand_over(["lower"]);
        add_outbox_range(true, false, true, false);
        add_outbox_range(false, false, false, false);
        hand_over(["t2"]);
        add_outbox_record(8.0, 10.0, true);
        let first = OutboxRecord {
            number: 7,
            transaction: "t1".into(),
            at_ms: 9,
            keys: vec!["k1".into(), "k2".into()],
            ranges: vec![
                KeyRange { lower: None, upper: Some("upper".into()), lower_open: false, upper_open: true },
                KeyRange { lower: Some("lower".into()), upper: None, lower_open: true, upper_open: false },
                KeyRange::default(),
            ],
            adopt: false,
            unsupported: vec!["a key of type object".into()],
        };
        let second =
            OutboxRecord { number: 8, transaction: "t2".into(), at_ms: 10, adopt: true, ..OutboxRecord::default() };
        assert_eq!(inputs(), [ReadResult::Outbox(vec![first, second])]);
    }

    #[test]
    fn rows_are_absent_json_or_unsupported() {
        hand_over(["", "{}", "!no JSON"]);
        read_rows();
        hand_over(["k", "1", "l", "!"]);
        read_scan();
        let json = |text: &str| Row::Json(text.as_bytes().to_vec());
        let rows = ReadResult::Rows(vec![Row::Absent, json("{}"), Row::Unsupported("no JSON".into())]);
        let scan = vec![("k".to_owned(), json("1")), ("l".to_owned(), Row::Unsupported(String::new()))];
        assert_eq!(inputs(), [rows, ReadResult::Scan(scan)]);
    }

    #[test]
    fn records_and_pages_are_there_or_not() {
        read_state();
        hand_over(["state"]);
        read_state();
        hand_over(["page"]);
        read_page();
        hand_over(["c", "", "c", "m"]);
        read_pages();
        read_pending();
        hand_over(["record"]);
        add_pending(3.0);
        let page = |first: &str| PageId { collection: "c".into(), first: first.into() };
        let expected = [
            ReadResult::State(None),
            ReadResult::State(Some(b"state".to_vec())),
            ReadResult::ShadowPage(Some(b"page".to_vec())),
            ReadResult::ShadowPages(vec![page(""), page("m")]),
            ReadResult::Pending(vec![(Sequence(3), b"record".to_vec())]),
        ];
        assert_eq!(inputs(), expected);
    }
}
