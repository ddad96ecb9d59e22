//! Transactions: reads and writes that happen as one, or not at all.

use crate::client::Client;
use crate::entry::{ChangeReply, Entry, read_found};
use crate::error::Error;
use crate::net::pool::{Lane, check};
use crate::net::server::Lease;
use crate::region::{Destroyed, Region, destroy_request, get_request, operation, put_request};
use crate::value::{Key, Value};
use crate::wire::codes::message;
use crate::wire::message::{Reply, Request};
use crate::wire::version_tag::VersionSource;
use std::sync::atomic::Ordering;

impl Client {
    /// Begins a transaction.
    ///
    /// On partitioned regions it covers only keys whose primary copies are on one server: the first operation picks
    /// the server, and an operation on another one's key is [`Error::NotColocated`]. Entries of colocated regions
    /// under the same key always fit. `near` is the entry that the transaction begins with; its server is used
    /// directly. Persistent regions need `-Dgemfire.ALLOW_PERSISTENT_TRANSACTIONS=true` on the servers.
    ///
    /// At the commit, an entry that was *written* here and changed since it was first touched here is a conflict. An
    /// entry that was only read is not looked at again.
    pub async fn begin(&self, near: Option<(&Region, &Key)>) -> Result<Transaction, Error> {
        let preferred = match near {
            Some((region, key)) => self.shared.routing.route(self, region.path(), key).await,
            None => None,
        };
        let lease = self.pool().lease(preferred.as_ref()).await?;
        // Servers take -1 for no transaction; negative and zero ids are left out.
        let id = self.shared.next_transaction.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        Ok(Transaction {
            open: Some(Open { lease, lane: self.pool().lane(), has_begun: false }),
            id: id.max(1),
            client: self.clone(),
        })
    }
}

/// A transaction. One that is dropped is rolled back.
pub struct Transaction {
    client: Client,
    id: i32,
    /// `None` once the connection has failed.
    open: Option<Open>,
}

struct Open {
    lease: Lease,
    lane: Lane,
    /// The server knows of it.
    has_begun: bool,
}

impl Transaction {
    /// Reads an entry, with what this transaction has written. There are no version tags in a transaction.
    pub async fn get(&mut self, region: &Region, key: &Key) -> Result<Entry, Error> {
        let (reply, member) = self.exchange(|_| get_request(region.path(), key)).await?;
        Ok(read_found(&reply, &member)?.0)
    }

    /// Writes an entry.
    pub async fn put(&mut self, region: &Region, key: &Key, value: &Value) -> Result<(), Error> {
        let build = |id: &[u8]| put_request(region.path(), operation::UPDATE, 0, None, key, value, id);
        self.exchange(build).await.map(drop)
    }

    /// Removes an entry. There is an answer on an entry that is not there, no error.
    pub async fn destroy(&mut self, region: &Region, key: &Key) -> Result<Destroyed, Error> {
        let build = |id: &[u8]| destroy_request(region.path(), operation::DESTROY, None, key, id);
        let (reply, member) = match self.exchange(build).await {
            Ok(answer) => answer,
            // Inside a transaction, servers throw instead.
            Err(Error::Server { exception, .. }) if exception.ends_with("EntryNotFoundException") => {
                return Ok(Destroyed { was_there: false, tag: None });
            }
            Err(error) => return Err(error),
        };
        let reply = ChangeReply::of_destroy(&reply, &member)?;
        Ok(Destroyed { was_there: !reply.entry_not_found, tag: reply.tag })
    }

    /// Makes all of it happen, or nothing. After [`Error::CommitConflict`] and [`Error::Unreachable`] nothing has; after
    /// [`Error::OutcomeUnknown`] one of the two.
    pub async fn commit(mut self) -> Result<(), Error> {
        let open = self.take().ok_or_else(lost)?;
        let outcome = self.finish(open, message::COMMIT).await;
        match outcome {
            Err(Error::Unreachable(reason)) => Err(Error::OutcomeUnknown(reason)),
            other => other,
        }
    }

    /// Undoes all of it.
    pub async fn rollback(mut self) -> Result<(), Error> {
        match self.take() {
            Some(open) => self.finish(open, message::ROLLBACK).await,
            // A server undoes what a lost connection leaves open.
            None => Ok(()),
        }
    }

    /// Its connection, unless that failed, or an operation's caller went away before the reply.
    fn take(&mut self) -> Option<Open> {
        self.open.take().filter(|open| open.lease.is_usable())
    }

    async fn finish(&self, open: Open, kind: i32) -> Result<(), Error> {
        finish(&self.client, self.id, open, kind).await
    }

    async fn exchange(&mut self, build: impl FnOnce(&[u8]) -> Request) -> Result<(Reply, VersionSource), Error> {
        let open = self.open.as_mut().ok_or_else(lost)?;
        open.has_begun = true;
        let request = build(&open.lane.take(1)).in_transaction(self.id);
        match open.lease.exchange(&request, false, &self.client.pool().config).await {
            Ok(reply) => match check(reply, false) {
                Ok(reply) => Ok((reply, open.lease.member())),
                // The server has forgotten whom it let in. Another connection authenticates again, which is told of if it cannot.
                Err(Error::Authentication(reason)) => {
                    open.lease.discard();
                    self.open = None;
                    Err(Error::Unreachable(reason))
                }
                Err(error) => Err(error),
            },
            Err(error) => {
                // The lane goes with the connection: what became of its last sequence is not known.
                self.open = None;
                Err(error)
            }
        }
    }
}

fn lost() -> Error {
    Error::Unreachable("the connection has failed".to_owned())
}

async fn finish(client: &Client, id: i32, mut open: Open, kind: i32) -> Result<(), Error> {
    if !open.has_begun {
        client.pool().give_back(open.lane);
        return Ok(());
    }
    // The part has no meaning; a message has one at least.
    let request = Request::new(kind).int(0).in_transaction(id);
    let reply = open.lease.exchange(&request, false, &client.pool().config).await?;
    client.pool().give_back(open.lane);
    check(reply, false).map(drop)
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let Some(open) = self.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (client, id) = (self.client.clone(), self.id);
            runtime.spawn(async move {
                // A server undoes by itself what a lost connection leaves open.
                let _ = finish(&client, id, open, message::ROLLBACK).await;
            });
        }
    }
}
