//! Session guarantees in what a client shows its user, unsent writes included: registers in which the larger value wins.
//!
//! Values rise over the whole run, so each names its transaction. A session never shows less in a register than it showed or wrote
//! before; one that is caught up and shows a value shows all that its transaction wrote and, where all commits have one order, all that
//! its writer saw, or more.

use std::collections::BTreeMap;

use super::Violation;
use crate::workload::Registered;

/// What a session shows, by register.
pub(crate) type View = BTreeMap<String, u64>;

/// What the sessions showed so far.
#[derive(Debug, Default)]
pub(crate) struct Registers {
    /// The most by session and register.
    floors: BTreeMap<i64, View>,
    /// Nodes hear of transactions in orders of their own: what a transaction follows may come after it.
    apart: bool,
}

impl Registers {
    pub(crate) fn new(in_one_order: bool) -> Self {
        Self { floors: BTreeMap::new(), apart: !in_one_order }
    }

    /// A session shows this. `cut` says that it is caught up.
    pub(crate) fn observe(
        &mut self,
        session: i64,
        view: View,
        cut: bool,
        transactions: &BTreeMap<u64, Registered>,
    ) -> Result<(), Violation> {
        let floor = self.floors.entry(session).or_default();
        if *floor == view && !cut {
            return Ok(());
        }
        if let Some((key, before)) = floor.iter().find(|(key, before)| view.get(*key).is_none_or(|now| now < before)) {
            let now = view.get(key).copied().unwrap_or_default();
            let text = format!("session {session} shows {key} = {now} after it showed or wrote {before}");
            return Err(Violation::new("registers", text));
        }
        if cut {
            whole(session, &view, transactions, self.apart)?;
        }
        *floor = view;
        Ok(())
    }
}

/// Everything that a value depends on is shown, or something later.
fn whole(session: i64, view: &View, transactions: &BTreeMap<u64, Registered>, apart: bool) -> Result<(), Violation> {
    for value in view.values() {
        let Some(transaction) = transactions.get(value) else {
            return Err(Violation::new("registers", format!("session {session} shows {value}, which nobody wrote")));
        };
        let written = transaction.keys.iter().map(|key| (key, value));
        let saw = transaction.saw.iter().filter(|_| !apart);
        for (key, needed) in written.chain(saw) {
            if view.get(key).is_none_or(|shown| shown < needed) {
                let text = format!("session {session} shows {value} without {key} = {needed}: {view:?}");
                return Err(Violation::new("registers", text));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(text: &str) -> View {
        let parts = text.split(' ').filter(|part| !part.is_empty()).map(|part| part.split_once('=').unwrap());
        parts.map(|(key, value)| (key.to_owned(), value.parse().unwrap())).collect()
    }

    /// Transactions as (value, registers, what was seen before), and what sessions show, caught up.
    fn check(transactions: &[(u64, &str, &str)], shown: &[(i64, &str)], sound: bool) {
        check_in(Registers::new(true), transactions, shown, sound);
    }

    fn check_in(mut registers: Registers, transactions: &[(u64, &str, &str)], shown: &[(i64, &str)], sound: bool) {
        let transactions = transactions.iter().map(|(value, keys, saw)| {
            let keys = keys.split(' ').map(str::to_owned).collect();
            (*value, Registered { keys, saw: view(saw) })
        });
        let transactions = transactions.collect();
        let mut observe =
            |(session, text): &(i64, &str)| registers.observe(*session, view(text), true, &transactions).is_ok();
        assert_eq!(shown.iter().all(&mut observe), sound, "{shown:?}");
    }

    #[test]
    fn a_sound_history_passes() {
        check(&[(1, "p q", ""), (2, "p", "p=1 q=1")], &[(1, "p=1 q=1"), (2, ""), (2, "p=2 q=1")], true);
    }

    #[test]
    fn read_your_writes_and_monotonic_reads() {
        check(&[(1, "p", ""), (2, "p", "p=1")], &[(1, "p=2"), (1, "p=1")], false);
        check(&[(1, "p", "")], &[(1, "p=1"), (1, "")], false);
    }

    #[test]
    fn monotonic_writes() {
        // One session wrote q after p: it saw its own p.
        check(&[(1, "p", ""), (2, "q", "p=1")], &[(2, "q=2")], false);
    }

    #[test]
    fn writes_follow_reads() {
        check(&[(1, "p", ""), (3, "q", "p=1")], &[(2, "p=1"), (3, "q=3")], false);
        check(&[(1, "p", ""), (2, "p", "p=1"), (3, "q", "p=2")], &[(3, "p=1 q=3")], false);
    }

    #[test]
    fn a_transaction_in_part() {
        check(&[(1, "p q", "")], &[(2, "p=1")], false);
    }

    /// Nodes that hear of documents in orders of their own owe all but that writes follow what their writers saw.
    #[test]
    fn without_one_order() {
        let check =
            |transactions: &[_], shown: &[_], sound| check_in(Registers::new(false), transactions, shown, sound);
        check(&[(1, "p", ""), (3, "q", "p=1")], &[(2, "q=3"), (2, "p=1 q=3")], true);
        check(&[(1, "p", ""), (2, "p", "p=1")], &[(1, "p=2"), (1, "p=1")], false);
        check(&[(1, "p q", "")], &[(2, "p=1")], false);
    }

    #[test]
    fn a_value_that_nobody_wrote() {
        check(&[(1, "p", "")], &[(2, "p=4")], false);
    }
}
