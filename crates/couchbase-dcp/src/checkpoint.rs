//! Where a feed stands, to be stored by its consumer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How far a feed was delivered: one [`Position`] for each vbucket. It is to be stored together with what the consumer made of the
/// events before it; a feed that is opened with it goes on from there.
///
/// It can be written and read with serde. Vbuckets without a position begin where [`Start`](crate::Start) says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// By vbucket.
    pub positions: BTreeMap<u16, Position>,
}

/// A place in the history of a vbucket from which a stream can go on. Only such places can be made: a feed hands out none between the
/// start and the end of an out-of-order snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct Position {
    fields: Fields,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Fields {
    uuid: u64,
    seqno: u64,
    snapshot_start: u64,
    snapshot_end: u64,
    #[serde(default)]
    purge_seqno: u64,
}

/// Why numbers are no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sequence number {seqno} is not within its snapshot, {start} to {end}")]
pub struct PositionError {
    seqno: u64,
    start: u64,
    end: u64,
}

impl Position {
    /// A place in the branch `uuid`, within the snapshot from `start` to `end`. Outside of a snapshot all three numbers are the same.
    pub fn new(uuid: u64, seqno: u64, start: u64, end: u64) -> Result<Self, PositionError> {
        Fields { uuid, seqno, snapshot_start: start, snapshot_end: end, purge_seqno: 0 }.try_into()
    }

    /// The end of a snapshot: everything up to it is known.
    pub(crate) fn at(uuid: u64, seqno: u64, purge_seqno: u64) -> Self {
        Self { fields: Fields { uuid, seqno, snapshot_start: seqno, snapshot_end: seqno, purge_seqno } }
    }

    /// Some place of a snapshot. `None` when it is not within.
    pub(crate) fn within(uuid: u64, seqno: u64, start: u64, end: u64, purge_seqno: u64) -> Option<Self> {
        if seqno == end {
            return Some(Self::at(uuid, seqno, purge_seqno));
        }
        Fields { uuid, seqno, snapshot_start: start, snapshot_end: end, purge_seqno }.try_into().ok()
    }

    /// The same place, with the last purge that the server told of: without it a place may count as too old.
    #[must_use]
    pub fn with_purge_seqno(self, purge_seqno: u64) -> Self {
        Self { fields: Fields { purge_seqno, ..self.fields } }
    }

    /// The branch of history.
    pub fn uuid(&self) -> u64 {
        self.fields.uuid
    }

    /// The last sequence number that the consumer has.
    pub fn seqno(&self) -> u64 {
        self.fields.seqno
    }

    /// The beginning of the snapshot that it is in.
    pub fn snapshot_start(&self) -> u64 {
        self.fields.snapshot_start
    }

    /// The end of the snapshot that it is in.
    pub fn snapshot_end(&self) -> u64 {
        self.fields.snapshot_end
    }

    /// The last purge of tombstones that the server told of; 0 when it told of none.
    pub fn purge_seqno(&self) -> u64 {
        self.fields.purge_seqno
    }

    /// Whether the consumer has all of a snapshot, so that what it has was once the state of the vbucket.
    pub fn is_consistent(&self) -> bool {
        self.fields.seqno == self.fields.snapshot_end
    }
}

impl TryFrom<Fields> for Position {
    type Error = PositionError;

    fn try_from(fields: Fields) -> Result<Self, PositionError> {
        let Fields { seqno, snapshot_start: start, snapshot_end: end, .. } = fields;
        if (start..=end).contains(&seqno) { Ok(Self { fields }) } else { Err(PositionError { seqno, start, end }) }
    }
}

impl From<Position> for Fields {
    fn from(position: Position) -> Self {
        position.fields
    }
}

/// A branch of a vbucket's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Branch {
    /// Its name.
    pub uuid: u64,
    /// Its changes lie above this sequence number.
    pub seqno: u64,
}

/// The branch to name for a place with this sequence number (of its snapshot's end): the oldest one that has all of it, because that is
/// the one that most copies of the vbucket know.
pub(crate) fn branch_of(log: &[Branch], seqno: u64) -> u64 {
    let branch = log.iter().find(|branch| branch.seqno < seqno).or(log.last());
    branch.map_or(0, |branch| branch.uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_survives_being_stored() {
        let mut checkpoint = Checkpoint::default();
        checkpoint.positions.insert(7, Position::within(u64::MAX, 5, 3, 9, 2).unwrap());
        checkpoint.positions.insert(1023, Position::at(1, 4, 0));
        let text = serde_json::to_string(&checkpoint).unwrap();
        assert_eq!(serde_json::from_str::<Checkpoint>(&text).unwrap(), checkpoint);
        assert!(
            text.contains(r#""7":{"uuid":18446744073709551615,"seqno":5,"snapshot_start":3,"snapshot_end":9"#),
            "{text}"
        );
    }

    #[test]
    fn numbers_that_no_server_would_take_are_no_position() {
        let text = r#"{"positions":{"1":{"uuid":1,"seqno":2,"snapshot_start":3,"snapshot_end":9}}}"#;
        let error = serde_json::from_str::<Checkpoint>(text).unwrap_err().to_string();
        assert!(error.contains("the sequence number 2 is not within its snapshot, 3 to 9"), "{error}");
        assert!(Position::new(1, 10, 3, 9).is_err());
        assert!(Position::new(1, 9, 3, 9).unwrap().is_consistent());
    }

    #[test]
    fn a_place_is_named_by_the_oldest_branch_that_has_all_of_it() {
        let log = [Branch { uuid: 3, seqno: 20 }, Branch { uuid: 2, seqno: 10 }, Branch { uuid: 1, seqno: 0 }];
        for (seqno, uuid) in [(0, 1), (1, 1), (10, 1), (11, 2), (20, 2), (21, 3)] {
            assert_eq!(branch_of(&log, seqno), uuid, "{seqno}");
        }
        assert_eq!(branch_of(&[Branch { uuid: 9, seqno: 5 }], 3), 9, "the log was cut");
    }
}
