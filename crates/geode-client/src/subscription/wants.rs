//! What a subscription hears of, registered on every server of its queue.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::interest::{Interest, Snapshot, Want};
use super::keeper::{Keeper, State};
use crate::error::Error;
use crate::net::pool::check;
use crate::net::server::Server;
use crate::wire::codes::message;
use crate::wire::message::Request;

impl Keeper {
    /// Registers something on all servers of the queue, the primary last: it answers with the entries.
    pub(super) async fn want(&self, want: Want) -> Result<Snapshot, Error> {
        let mut state = self.state.lock().await;
        self.want_on_copies(&mut state, &want).await?;
        let primary = state.primary.as_ref().map(|feed| Arc::clone(&feed.server));
        let primary = primary.ok_or_else(|| Error::Unreachable("no server has the event queue".to_owned()))?;
        let snapshot = self.register_on(&primary, &want).await?;
        state.wants.retain(|one| !same(one, &want));
        state.wants.push(want);
        Ok(snapshot)
    }

    /// Registers something on the copies. One that does not hear of it is given up, and what its server keeps of it is doubtful, as is what
    /// any server may keep that has no feed at the moment: it lacks what only this tells of.
    async fn want_on_copies(&self, state: &mut State, want: &Want) -> Result<(), Error> {
        let mut have = BTreeSet::new();
        for feed in &state.secondaries {
            match self.register_on(&feed.server, want).await {
                Ok(_) => drop(have.insert(feed.server.address.clone())),
                Err(Error::Unreachable(_) | Error::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if state.wants.iter().any(|one| same(one, want)) {
            return Ok(());
        }
        have.extend(state.primary.as_ref().map(|feed| feed.server.address.clone()));
        for server in self.pool().servers().into_iter().filter(|server| !have.contains(&server.address)) {
            // No primary makes it whole: it could give the copy only what it had when the copy was begun.
            state.doubtful.insert(server.address.clone(), None);
        }
        state.secondaries.retain(|feed| have.contains(&feed.server.address));
        Ok(())
    }

    pub(super) async fn register_on(&self, server: &Arc<Server>, want: &Want) -> Result<Snapshot, Error> {
        let mut lease = server.lease(self.config(), &self.pool().identity).await?;
        want.register(&mut lease, self.is_durable(), self.config()).await
    }

    pub(super) async fn drop_interest(&self, interest: &Interest) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        state.wants.retain(|one| !matches!(one, Want::Interest(other) if other.is_same(interest)));
        self.tell_all(&state, &interest.end_requests(self.is_durable()), false).await
    }

    pub(super) async fn drop_query(&self, name: &str) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        state.wants.retain(|one| !matches!(one, Want::Query { name: other, .. } if other == name));
        self.tell_all(&state, &[Request::new(message::CLOSE_CQ).text(name)], true).await
    }

    async fn tell_all(&self, state: &State, requests: &[Request], is_chunked: bool) -> Result<(), Error> {
        for feed in state.secondaries.iter().chain(&state.primary) {
            let mut lease = feed.server.lease(self.config(), &self.pool().identity).await?;
            for request in requests {
                check(lease.exchange(request, is_chunked, self.config()).await?, is_chunked)?;
            }
        }
        Ok(())
    }
}

fn same(one: &Want, other: &Want) -> bool {
    match (one, other) {
        (Want::Interest(one), Want::Interest(other)) => one.is_same(other),
        (Want::Query { name: one, .. }, Want::Query { name: other, .. }) => one == other,
        (Want::Interest(_), Want::Query { .. }) | (Want::Query { .. }, Want::Interest(_)) => false,
    }
}
