//! What a client shows after a committed task.

use std::collections::BTreeMap;

use tidelock_core::client::Phase;
use tidelock_core::client::storage::Row;
use tidelock_core::ids::{Offset, Version};

use super::Violation;
use super::ledger::{Tokens, tokens_of};
use crate::workload::{LEDGER, MORTAL, registers};
use crate::world::{HostId, World};

/// Ledger documents by key: version and JSON text.
type Confirmed = BTreeMap<String, (Version, Vec<u8>)>;

impl World {
    /// Looks at a client whose task was committed.
    pub(crate) fn observe(&mut self, host: HostId) {
        if let Err(violation) = self.look(host) {
            self.violation.get_or_insert(violation);
        }
    }

    /// Looks at what a replica shows after its application wrote.
    pub(crate) fn observe_rows(&mut self, replica: usize) {
        let Some(one) = self.replicas.get(replica).filter(|_| !self.checkers.set_back) else { return };
        let view = registers(&one.database);
        let seen = self.checkers.registers.observe(one.session, view, false, &self.ledger.registered);
        if let Err(violation) = seen {
            self.violation.get_or_insert(violation);
        }
    }

    fn look(&mut self, host: HostId) -> Result<(), Violation> {
        let Some(seat) = self.hosts.get(&host) else { return Ok(()) };
        let (index, client) = (seat.replica, seat.host.client());
        let Some(replica) = self.replicas.get(index).filter(|replica| replica.leader == host) else { return Ok(()) };
        let standing = client.standing();
        let (session, database) = (replica.session, &replica.database);
        let checkers = &mut self.checkers;
        let identity = (standing.client, standing.incarnation);
        checkers.server_order.settle(session, identity, standing.settled, &checkers.history);
        let told = seat.link.and_then(|link| checkers.wires.get(&link)).map(|wire| wire.result_offset);
        let offset = standing.offset.filter(|offset| told.is_none_or(|told| told <= *offset));
        // While a mutation is under way, the changes of others may be there that follow it.
        let cut = offset.filter(|_| client.status().phase == Phase::Live && database.unsent().1 == 0);
        if !checkers.set_back {
            let view = registers(database);
            checkers.registers.observe(session, view, cut.is_some(), &self.ledger.registered)?;
        }
        self.check_rejected(index)?;
        let count = self.replicas.get(index).map_or(0, |replica| replica.database.rejected().count());
        if let Some(replica) = self.replicas.get_mut(index) {
            replica.rejected_checked = count;
        }
        let Some(offset) = cut else { return Ok(()) };
        if !self.checkers.set_back {
            self.look_at_cut(index, offset)?;
        }
        let synced = self.hosts.get(&host).is_some_and(|seat| seat.host.client().is_synced());
        if synced { self.look_at_synced(host, index, offset) } else { Ok(()) }
    }

    /// A caught-up client shows whole transactions, in the server's order.
    fn look_at_cut(&mut self, index: usize, offset: Offset) -> Result<(), Violation> {
        let confirmed = self.confirmed_ledger(index);
        let Some(session) = self.replicas.get(index).map(|replica| replica.session) else { return Ok(()) };
        let versions = confirmed.iter().map(|(key, (version, _))| (key.clone(), *version)).collect();
        if self.checkers.in_one_order {
            self.checkers.server_order.read(session, &versions, &self.checkers.history)?;
        }
        let shadow = self.tokens_of_confirmed(&confirmed);
        let torn = |torn| Violation::new("fracture", format!("client {index} at {offset} shows {torn} in part"));
        self.check_whole(&shadow).map_err(torn)?;
        let rows = self.tokens_of_rows(index, &confirmed);
        self.check_whole(&rows).map_err(torn)
    }

    /// A synced client holds nothing that is not there any more, and nothing that it may not read.
    fn look_at_synced(&self, host: HostId, index: usize, offset: Offset) -> Result<(), Violation> {
        let Some(replica) = self.replicas.get(index) else { return Ok(()) };
        for key in replica.database.keys_between(MORTAL, None, None) {
            if self.checkers.in_one_order && self.checkers.graves.holds(&key, offset) {
                let text = format!("client {index} at {offset} shows {key}, which was deleted before");
                return Err(Violation::new("resurrection", text));
            }
        }
        let link = self.hosts.get(&host).and_then(|seat| seat.link);
        let steady = link.and_then(|link| self.links.get(&link)).is_some_and(|link| !link.is_disturbed());
        let wire = link.and_then(|link| self.checkers.wires.get(&link)).filter(|_| steady);
        let Some((told_ms, rooms)) = wire.and_then(|wire| wire.tokens.last()) else { return Ok(()) };
        if self.rooms.get(index) == Some(rooms) { self.check_held(index, *told_ms) } else { Ok(()) }
    }

    /// At the end nothing is there that was deleted for good.
    pub(crate) fn check_absence(&self) -> Result<(), Violation> {
        let found = self.server_documents();
        let risen =
            found.keys().find(|id| id.collection == MORTAL && self.checkers.graves.holds(&id.key, Offset(u64::MAX)));
        let text = |id| format!("{id} is on the server, and was deleted");
        risen.map_or(Ok(()), |id| Err(Violation::new("resurrection", text(id))))
    }

    fn confirmed_ledger(&self, index: usize) -> Confirmed {
        let mut confirmed = Confirmed::new();
        let Some(replica) = self.replicas.get(index) else { return confirmed };
        for (_, bytes) in replica.database.shadow().filter(|(page, _)| page.collection == LEDGER) {
            for (key, version, body) in tidelock_core::client::shadow_documents(bytes).unwrap_or_default() {
                confirmed.insert(key, (version, body));
            }
        }
        confirmed
    }

    fn tokens_of_confirmed(&mut self, confirmed: &Confirmed) -> Tokens {
        let mut found = Tokens::new();
        for (key, (version, body)) in confirmed {
            let tokens = self.checkers.tokens.entry(*version).or_insert_with(|| tokens_of(body));
            for token in tokens {
                found.entry(token.clone()).or_default().insert(key.clone());
            }
        }
        found
    }

    fn tokens_of_rows(&mut self, index: usize, confirmed: &Confirmed) -> Tokens {
        let mut found = Tokens::new();
        let Some(replica) = self.replicas.get(index) else { return found };
        for (key, row) in replica.database.scan(LEDGER, None, usize::MAX) {
            let Row::Json(body) = row else { continue };
            let same = confirmed.get(&key).filter(|(_, known)| *known == body).map(|(version, _)| *version);
            let known = same.and_then(|version| self.checkers.tokens.get(&version));
            for token in known.map_or_else(|| tokens_of(&body), Clone::clone) {
                found.entry(token).or_default().insert(key.clone());
            }
        }
        found
    }
}
