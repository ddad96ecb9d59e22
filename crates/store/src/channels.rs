//! How the channels of a document turn into the channels that it left.

use std::collections::BTreeSet;

use tidelock_core::server::Filter;

/// Channels that a document left after its channels became `channels`: what it had left before and what it loses by this write,
/// without those that it is in again. Sorted.
pub(crate) fn left_after(channels_before: &[String], left_before: &[String], channels: &[String]) -> Vec<String> {
    let left: BTreeSet<&String> =
        channels_before.iter().chain(left_before).filter(|channel| !channels.contains(channel)).collect();
    left.into_iter().cloned().collect()
}

/// Whether a reader has to hear of a document: the filter matches it, or matched it before it left a channel.
pub(crate) fn concerns(filter: &Filter, collection: &str, channels: &[String], left: &[String]) -> bool {
    filter.matches(collection, channels) || filter.matches(collection, left)
}

/// Who may see an entry of the conflict log: it may hold values of the document's former state (`None`: it was not there) and of the one
/// after it, so readers of both.
pub(crate) fn channels_of_conflict(former: Option<&[String]>, mut after: Vec<String>) -> Vec<String> {
    if let Some(former) = former {
        after.retain(|channel| former.contains(channel));
    }
    after
}

#[cfg(test)]
mod tests {
    use super::left_after;

    #[test]
    fn a_channel_is_left_until_the_document_returns() {
        let list = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let check = |before: &[&str], left: &[&str], after: &[&str], expected: &[&str]| {
            assert_eq!(left_after(&list(before), &list(left), &list(after)), list(expected));
        };
        check(&[], &[], &["a"], &[]);
        check(&["b", "a"], &[], &["c"], &["a", "b"]);
        check(&["c"], &["a", "b"], &["b"], &["a", "c"]);
        check(&["a"], &["b"], &["a", "b"], &[]);
    }
}
