//! Where one vbucket's stream stands. No I/O: messages in, a position out.

use crate::checkpoint::{Branch, Position, branch_of};
use crate::wire::message::Message;

/// The history of one vbucket as far as it was delivered.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// Nothing is known before the first opening of a stream that begins now.
    position: Option<Position>,
    log: Vec<Branch>,
    snapshot: Option<Open>,
    /// Between the start and the end of an out-of-order snapshot: the highest sequence number in it.
    out_of_order: Option<u64>,
    /// The last purge that a marker told of.
    purge_seqno: u64,
}

/// The snapshot that is being received.
#[derive(Debug, Clone, Copy)]
struct Open {
    start: u64,
    end: u64,
}

impl Stream {
    pub(crate) fn new(position: Option<Position>) -> Self {
        let purge_seqno = position.map_or(0, |position| position.purge_seqno());
        Self { position, purge_seqno, ..Self::default() }
    }

    /// Where a stream can go on.
    pub(crate) fn position(&self) -> Option<Position> {
        self.position
    }

    /// The last sequence number up to which everything was delivered.
    pub(crate) fn seqno(&self) -> u64 {
        self.position.map_or(0, |position| position.seqno())
    }

    /// The branch that the server is in.
    pub(crate) fn uuid(&self) -> u64 {
        self.log.first().map_or(0, |branch| branch.uuid)
    }

    pub(crate) fn opened(&mut self, position: Position, log: Vec<Branch>) {
        self.closed();
        self.log = log;
        self.position = Some(position);
    }

    /// What was not complete will come again.
    pub(crate) fn closed(&mut self) {
        self.snapshot = None;
        self.out_of_order = None;
    }

    /// Goes back to a sequence number that both sides have in common.
    pub(crate) fn roll_back(&mut self, seqno: u64) {
        self.closed();
        let uuid = self.position.map_or(0, |position| position.uuid());
        self.purge_seqno = 0;
        self.position = Some(if seqno == 0 { Position::default() } else { Position::at(uuid, seqno, 0) });
    }

    /// Takes a message, or says how it breaks the rules.
    pub(crate) fn apply(&mut self, message: &Message) -> Result<(), &'static str> {
        match message {
            Message::Snapshot(snapshot) => {
                self.purge_seqno = snapshot.purge_seqno.unwrap_or(self.purge_seqno);
                self.snapshot = Some(Open { start: snapshot.start, end: snapshot.end });
                Ok(())
            }
            Message::Change(change) => self.advance(change.seqno),
            Message::System(event) => self.advance(event.seqno),
            Message::SeqnoAdvanced(seqno) => self.advance(*seqno),
            Message::OutOfOrder { is_start: true } => {
                self.out_of_order = Some(0);
                Ok(())
            }
            Message::OutOfOrder { is_start: false } => {
                let highest = self.out_of_order.take().ok_or("an out-of-order snapshot ends without a start")?;
                if highest > self.seqno() {
                    self.position = Some(Position::at(branch_of(&self.log, highest), highest, self.purge_seqno));
                }
                Ok(())
            }
            Message::End(_) => {
                self.closed();
                Ok(())
            }
        }
    }

    fn advance(&mut self, seqno: u64) -> Result<(), &'static str> {
        if let Some(highest) = &mut self.out_of_order {
            *highest = seqno.max(*highest);
            return Ok(());
        }
        let Open { start, end } = self.snapshot.ok_or("a change outside of a snapshot")?;
        if seqno <= self.seqno() {
            return Err("a sequence number that does not grow");
        }
        let position = Position::within(branch_of(&self.log, end), seqno, start, end, self.purge_seqno);
        self.position = Some(position.ok_or("a sequence number outside of its snapshot")?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Snapshot;

    fn opened(seqno: u64) -> Stream {
        let position = if seqno == 0 { Position::default() } else { Position::at(7, seqno, 0) };
        let mut stream = Stream::new(Some(position));
        stream.opened(position, vec![Branch { uuid: 8, seqno: 20 }, Branch { uuid: 7, seqno: 0 }]);
        stream
    }

    fn marker(start: u64, end: u64) -> Message {
        Message::Snapshot(Snapshot { start, end, purge_seqno: Some(2), ..Snapshot::default() })
    }

    fn check(stream: &Stream, uuid: u64, seqno: u64, start: u64, end: u64) {
        let position = stream.position().unwrap();
        let found = (position.uuid(), position.seqno(), position.snapshot_start(), position.snapshot_end());
        assert_eq!(found, (uuid, seqno, start, end));
    }

    #[test]
    fn a_position_is_within_its_snapshot() {
        let mut stream = opened(3);
        stream.apply(&marker(5, 9)).unwrap();
        // Nothing of the snapshot is there yet.
        check(&stream, 7, 3, 3, 3);
        stream.apply(&Message::SeqnoAdvanced(6)).unwrap();
        check(&stream, 7, 6, 5, 9);
        stream.apply(&Message::SeqnoAdvanced(9)).unwrap();
        check(&stream, 7, 9, 9, 9);
        stream.apply(&marker(10, 30)).unwrap();
        stream.apply(&Message::SeqnoAdvanced(12)).unwrap();
        check(&stream, 8, 12, 10, 30);
        assert_eq!(stream.position().unwrap().purge_seqno(), 2);
    }

    #[test]
    fn an_out_of_order_snapshot_counts_when_it_is_whole() {
        let mut stream = opened(0);
        stream.apply(&Message::OutOfOrder { is_start: true }).unwrap();
        for seqno in [9, 4, 21] {
            stream.apply(&Message::SeqnoAdvanced(seqno)).unwrap();
            check(&stream, 0, 0, 0, 0);
        }
        stream.apply(&Message::OutOfOrder { is_start: false }).unwrap();
        check(&stream, 8, 21, 21, 21);
        // Broken in the middle it has not been.
        let mut stream = opened(0);
        stream.apply(&Message::OutOfOrder { is_start: true }).unwrap();
        stream.apply(&Message::SeqnoAdvanced(9)).unwrap();
        stream.closed();
        assert!(stream.apply(&Message::OutOfOrder { is_start: false }).is_err());
        check(&stream, 0, 0, 0, 0);
    }

    #[test]
    fn what_breaks_the_rules_is_noticed() {
        let mut stream = opened(3);
        assert!(stream.apply(&Message::SeqnoAdvanced(4)).is_err(), "no marker");
        stream.apply(&marker(4, 6)).unwrap();
        stream.apply(&Message::SeqnoAdvanced(5)).unwrap();
        assert!(stream.apply(&Message::SeqnoAdvanced(5)).is_err(), "twice");
        assert!(stream.apply(&Message::SeqnoAdvanced(7)).is_err(), "beyond the end");
        check(&stream, 7, 5, 4, 6);
    }

    #[test]
    fn a_rollback_keeps_the_branch_or_begins_anew() {
        let mut stream = opened(9);
        stream.roll_back(4);
        check(&stream, 7, 4, 4, 4);
        stream.roll_back(0);
        check(&stream, 0, 0, 0, 0);
    }
}
