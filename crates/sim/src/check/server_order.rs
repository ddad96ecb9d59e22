//! Session guarantees and atomic visibility in the order of the server: list-append histories for `adya`.
//!
//! Every state of a ledger document is an element that its mutation appended to it; a client that shows a version has read every element
//! up to it. What a client reads is what is confirmed to it, at moments at which it is caught up and has no mutation under way: then it
//! shows a consistent cut. Its own mutations come into its order when their results are applied.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use adya::history::{Interner, Mop, Op, OpType, ReadValue, Scalar};
use adya::{History as Recorded, Opts, Valid, Workload};
use tidelock_core::ids::{ClientId, DocumentId, Incarnation, MutationId, Offset, Sequence, Version};

use super::Violation;
use super::history::{Finished, History};
use crate::workload::LEDGER;

/// What is demanded. `causal` is not enough: `adya` calls a violation of read-your-writes valid under it.
const MODEL: &str = "consistent-view";
const ANOMALIES: [&str; 4] = ["G0-process", "G1c-process", "G-single-item-process", "internal"];
/// Reads that are recorded of one session.
const READS_MAX: usize = 60;
/// How long the search for the cycle that shows a violation may take; that there is one is known before.
const SEARCH: Duration = Duration::from_secs(2);

/// Names a session: a replica, as long as its storage is not set back.
pub(crate) type SessionNumber = i64;

/// The histories of the sessions, as they happened.
#[derive(Debug, Default)]
pub(crate) struct ServerOrder {
    ops: Vec<Op>,
    interner: Interner,
    /// The versions that a session read last, and how often it read.
    last: BTreeMap<SessionNumber, (BTreeMap<String, Version>, usize)>,
    /// How far the results of an incarnation are recorded.
    settled: BTreeMap<(ClientId, Incarnation), Sequence>,
    recorded: BTreeSet<MutationId>,
}

impl ServerOrder {
    /// The results of an incarnation up to `until` are applied.
    pub(crate) fn settle(
        &mut self,
        session: SessionNumber,
        (client, incarnation): (ClientId, Incarnation),
        until: Sequence,
        history: &History,
    ) {
        let after = self.settled.insert((client, incarnation), until).unwrap_or_default();
        for (mutation, finished) in history.of_client(client, incarnation, after, until) {
            if self.recorded.insert(*mutation) {
                self.wrote(session, OpType::Ok, finished);
            }
        }
    }

    /// A session shows these versions of the ledger documents.
    pub(crate) fn read(
        &mut self,
        session: SessionNumber,
        versions: &BTreeMap<String, Version>,
        history: &History,
    ) -> Result<(), Violation> {
        let (last, count) = self.last.entry(session).or_default();
        if last == versions || *count >= READS_MAX {
            return Ok(());
        }
        last.clone_from(versions);
        *count += 1;
        let mut lists = Vec::new();
        for (key, version) in versions {
            let Some(elements) = history.until(&DocumentId::new(LEDGER, key.as_str()), *version) else {
                let text = format!("session {session} shows {key} in a version that the server never had");
                return Err(Violation::new("server-order", text));
            };
            lists.push((key.clone(), elements));
        }
        self.enter(session, OpType::Ok, &[], &lists);
        Ok(())
    }

    /// Everything together.
    pub(crate) fn check(mut self, history: &History) -> Result<(), Violation> {
        // Mutations whose sessions never learned of them come from sessions of their own.
        let mut session = 1_000;
        for (mutation, finished) in history.mutations() {
            if self.recorded.insert(*mutation) && !finished.ledger.is_empty() {
                session += 1;
                self.wrote(session, OpType::Info, finished);
            }
        }
        judge(self.ops, self.interner)
    }

    fn wrote(&mut self, session: SessionNumber, kind: OpType, finished: &Finished) {
        if !finished.ledger.is_empty() {
            let appends: Vec<(String, Offset)> =
                finished.ledger.iter().map(|key| (key.clone(), finished.offset)).collect();
            self.enter(session, kind, &appends, &[]);
        }
    }

    fn enter(
        &mut self,
        session: SessionNumber,
        kind: OpType,
        appends: &[(String, Offset)],
        reads: &[(String, Vec<Offset>)],
    ) {
        let element = |interner: &mut Interner, offset: &Offset| {
            interner.intern(Scalar::Int(i64::try_from(offset.0).unwrap_or(i64::MAX)))
        };
        let interner = &mut self.interner;
        let mut asked = Vec::new();
        let mut answered = Vec::new();
        for (key, offset) in appends {
            let append =
                Mop::Append { key: interner.intern(Scalar::Str(key.clone())), value: element(interner, offset) };
            asked.push(append.clone());
            answered.push(append);
        }
        for (key, offsets) in reads {
            let key = interner.intern(Scalar::Str(key.clone()));
            let list = offsets.iter().map(|offset| element(interner, offset)).collect();
            asked.push(Mop::Read { key, value: ReadValue::Nil });
            answered.push(Mop::Read { key, value: ReadValue::List(list) });
        }
        for (kind, value) in [(OpType::Invoke, asked), (kind, answered)] {
            let index = self.ops.len() as u64;
            self.ops.push(Op { index, kind, process: Some(session), value, time: None });
        }
    }
}

fn judge(ops: Vec<Op>, interner: Interner) -> Result<(), Violation> {
    let options = Opts {
        models: vec![MODEL.to_owned()],
        anomalies: ANOMALIES.map(str::to_owned).to_vec(),
        timeout: SEARCH,
        ..Opts::default()
    };
    let report = adya::check(&Recorded::from_ops(ops, interner), Workload::ListAppend, &options);
    let nothing_to_say = report.anomaly_types.iter().all(|kind| kind == "empty-transaction-graph");
    if report.valid == Valid::True || nothing_to_say {
        return Ok(());
    }
    let why = report.anomalies.values().flatten().map(|anomaly| anomaly.explanation.as_str()).next();
    let text = format!("{:?}: {}", report.anomaly_types, why.unwrap_or_default());
    Err(Violation::new("server-order", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `w x@1 y@1` or `r x:1,2 y:` by a session.
    fn check(history: &[(SessionNumber, &str)], sound: bool) {
        let mut order = ServerOrder::default();
        let offset = |text: &str| Offset(text.parse().unwrap());
        for (session, text) in history {
            let (kind, rest) = text.split_once(' ').unwrap();
            if kind == "w" {
                let appends = rest.split(' ').map(|part| part.split_once('@').unwrap());
                let appends: Vec<(String, Offset)> = appends.map(|(key, at)| (key.to_owned(), offset(at))).collect();
                order.enter(*session, OpType::Ok, &appends, &[]);
            } else {
                let reads = rest.split(' ').map(|part| part.split_once(':').unwrap());
                let list = |text: &str| text.split(',').filter(|text| !text.is_empty()).map(offset).collect();
                let reads: Vec<(String, Vec<Offset>)> =
                    reads.map(|(key, elements)| (key.to_owned(), list(elements))).collect();
                order.enter(*session, OpType::Ok, &[], &reads);
            }
        }
        assert_eq!(judge(order.ops, order.interner).is_ok(), sound, "{history:?}");
    }

    #[test]
    fn a_sound_history_passes() {
        check(&[(1, "w x@1 y@1"), (1, "r x:1 y:1"), (2, "r x: y:"), (2, "r x:1 y:1"), (2, "w x@2")], true);
        check(&[(1, "w x@1"), (2, "r x:1"), (2, "w y@2"), (3, "r x:1 y:2")], true);
    }

    #[test]
    fn read_your_writes() {
        check(&[(1, "w x@1"), (1, "r x:"), (2, "r x:1")], false);
    }

    #[test]
    fn monotonic_reads() {
        check(&[(1, "w x@1"), (2, "r x:1"), (2, "r x:")], false);
    }

    #[test]
    fn monotonic_writes() {
        check(&[(1, "w x@2"), (1, "w x@1"), (2, "r x:1,2")], false);
        check(&[(1, "w x@1"), (1, "w y@2"), (2, "r x: y:2")], false);
    }

    #[test]
    fn writes_follow_reads() {
        check(&[(1, "w x@1"), (2, "r x:1"), (2, "w y@2"), (3, "r x: y:2")], false);
    }

    #[test]
    fn a_transaction_in_part() {
        check(&[(1, "w x@1 y@1"), (2, "r x:1 y:"), (3, "r x:1 y:1")], false);
    }
}
