//! Operations on the entries of one region.

use crate::client::Client;
use crate::entry::{ChangeReply, Entry, Found, read_found};
use crate::error::Error;
use crate::json::Json;
use crate::net::pool::{Answered, Call};
use crate::value::{Key, Value};
use crate::wire::codes::{ds, message};
use crate::wire::message::{Reply, Request};
use crate::wire::version_tag::{VersionSource, VersionTag};

/// Numbers of operations (`Operation` in Geode's sources).
pub(crate) mod operation {
    pub(crate) const UPDATE: u8 = 12;
    pub(crate) const DESTROY: u8 = 19;
    pub(crate) const PUT_IF_ABSENT: u8 = 44;
    pub(crate) const REPLACE: u8 = 45;
    pub(crate) const REMOVE: u8 = 46;
}

const WANT_OLD_VALUE: i32 = 1;
const HAS_EXPECTED_VALUE: i32 = 2;

/// A region of the cluster.
#[derive(Clone, Debug)]
pub struct Region {
    pub(crate) client: Client,
    path: String,
}

impl Region {
    pub(crate) fn new(client: Client, path: &str) -> Self {
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Self { client, path }
    }

    /// The full path, with its leading `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Reads an entry.
    pub async fn get(&self, key: &Key) -> Result<Entry, Error> {
        let answered = self.send(get_request(&self.path, key), key, false).await?;
        let (entry, hop) = read_found(&answered.reply, &answered.member)?;
        self.client.shared.routing.note_hop(&self.path, hop);
        Ok(entry)
    }

    /// Reads an entry as JSON; `None` when it is absent or has no value.
    pub async fn get_json(&self, key: &Key) -> Result<Option<Json>, Error> {
        match self.get(key).await?.found {
            Found::Value(value) => self.client.decode(&value).await.map(Some),
            Found::Invalid | Found::Absent => Ok(None),
        }
    }

    /// Writes an entry. The tag is missing in regions without concurrency checks.
    pub async fn put(&self, key: &Key, value: &Value) -> Result<Option<VersionTag>, Error> {
        let build = |id: &[u8]| put_request(&self.path, operation::UPDATE, 0, None, key, value, id);
        let reply = self.change(key, build, None).await?;
        self.client.shared.routing.check_tag(&self.path, reply.tag.as_ref())?;
        Ok(reply.tag)
    }

    /// Writes an entry from JSON.
    pub async fn put_json(&self, key: &Key, json: &Json) -> Result<Option<VersionTag>, Error> {
        let value = self.client.encode(json).await?;
        self.put(key, &value).await
    }

    /// Writes an entry if there is none; otherwise answers with the value that is there.
    pub async fn put_if_absent(&self, key: &Key, value: &Value) -> Result<PutIfAbsent, Error> {
        let build = |id: &[u8]| put_request(&self.path, operation::PUT_IF_ABSENT, WANT_OLD_VALUE, None, key, value, id);
        let reply = self.change(key, build, Some(|reply| reply.old.is_none())).await?;
        Ok(match reply.old {
            Some(existing) => PutIfAbsent::Exists(existing),
            None => PutIfAbsent::Written(reply.tag),
        })
    }

    /// Writes an entry if there is one. Answers whether there was.
    pub async fn replace(&self, key: &Key, value: &Value) -> Result<bool, Error> {
        let build = |id: &[u8]| put_request(&self.path, operation::REPLACE, WANT_OLD_VALUE, None, key, value, id);
        Ok(self.change(key, build, None).await?.old.is_some())
    }

    /// Writes an entry if its value equals `expected`, as Java's `equals` sees it. Answers whether it did.
    ///
    /// Between PDX instances that is no comparison of bytes: fields that one of them lacks count as zero or null, and where a field
    /// has another type the server may answer with an exception. A [transaction](Client::begin) that reads, compares and writes is exact.
    ///
    /// [`Error::Server`] leaves open whether the value was stored: the servers do not know that it was. Read the entry.
    pub async fn replace_if(&self, key: &Key, expected: &Value, value: &Value) -> Result<bool, Error> {
        let build =
            |id: &[u8]| put_request(&self.path, operation::REPLACE, HAS_EXPECTED_VALUE, Some(expected), key, value, id);
        Ok(self.change(key, build, Some(ChangeReply::is_true)).await?.is_true())
    }

    /// Removes an entry.
    pub async fn destroy(&self, key: &Key) -> Result<Destroyed, Error> {
        let build = |id: &[u8]| destroy_request(&self.path, operation::DESTROY, None, key, id);
        let reply = self.destroy_change(key, build, None).await?;
        Ok(Destroyed { was_there: !reply.entry_not_found, tag: reply.tag })
    }

    /// Removes an entry if its value equals `expected`, see [`replace_if`](Self::replace_if). Answers whether it did.
    pub async fn remove_if(&self, key: &Key, expected: &Value) -> Result<bool, Error> {
        let build = |id: &[u8]| destroy_request(&self.path, operation::REMOVE, Some(expected), key, id);
        Ok(!self.destroy_change(key, build, Some(|reply| !reply.entry_not_found)).await?.entry_not_found)
    }

    async fn send(&self, request: Request, key: &Key, is_change: bool) -> Result<Answered, Error> {
        let preferred = self.client.shared.routing.route(&self.client, &self.path, key).await;
        let call = Call { request, is_chunked: false, is_change };
        self.client.pool().call(call, preferred.as_ref()).await
    }

    async fn change(
        &self,
        key: &Key,
        build: impl Fn(&[u8]) -> Request,
        was_done: Option<WasDone>,
    ) -> Result<ChangeReply, Error> {
        let reply = self.with_lane(key, build, ChangeReply::of_put, was_done).await?;
        self.client.shared.routing.note_hop(&self.path, reply.hop);
        Ok(reply)
    }

    async fn destroy_change(
        &self,
        key: &Key,
        build: impl Fn(&[u8]) -> Request,
        was_done: Option<WasDone>,
    ) -> Result<ChangeReply, Error> {
        let reply = self.with_lane(key, build, ChangeReply::of_destroy, was_done).await?;
        self.client.shared.routing.note_hop(&self.path, reply.hop);
        Ok(reply)
    }

    /// A thread whose last change has an unknown outcome is not used again: a later sequence of it could overtake.
    ///
    /// With `was_done`, a change that a server answers with an exception is sent once more under its event id. The server may have
    /// stored it before it failed, at the copy of another one for instance; then the servers know the event, and say that it was done.
    async fn with_lane(
        &self,
        key: &Key,
        build: impl Fn(&[u8]) -> Request,
        read: impl Fn(&Reply, &VersionSource) -> Result<ChangeReply, Error>,
        was_done: Option<WasDone>,
    ) -> Result<ChangeReply, Error> {
        let pool = self.client.pool();
        let mut lane = pool.lane();
        let mut request = build(&lane.take(1));
        let read = |answered: Answered| read(&answered.reply, &answered.member);
        let mut result = self.send(request.clone(), key, true).await.and_then(read);
        if let (Err(Error::Server { .. }), Some(was_done)) = (&result, was_done) {
            request.mark_retry();
            match self.send(request, key, true).await.and_then(read) {
                Ok(reply) if was_done(&reply) => result = Ok(reply),
                Err(unknown @ Error::OutcomeUnknown(_)) => result = Err(unknown),
                // That the event is not known to have been done is less than the exception says.
                Ok(_) | Err(_) => {}
            }
        }
        if !matches!(result, Err(Error::OutcomeUnknown(_))) {
            pool.give_back(lane);
        }
        result
    }
}

/// Whether a reply says that a conditional change was made.
type WasDone = fn(&ChangeReply) -> bool;

/// What [`Region::put_if_absent`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutIfAbsent {
    /// There was no entry.
    Written(Option<VersionTag>),
    /// There is an entry with this value.
    Exists(Value),
}

/// What [`Region::destroy`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destroyed {
    /// There was an entry.
    pub was_there: bool,
    /// The version of the tombstone.
    pub tag: Option<VersionTag>,
}

pub(crate) fn get_request(path: &str, key: &Key) -> Request {
    key.add_to(Request::new(message::GET).text(path))
}

pub(crate) fn put_request(
    path: &str,
    operation: u8,
    flags: i32,
    expected: Option<&Value>,
    key: &Key,
    value: &Value,
    event_id: &[u8],
) -> Request {
    let mut request = Request::new(message::PUT).text(path).raw(&[operation]).int(flags);
    if let Some(expected) = expected {
        request = expected.add_to(request);
    }
    // No delta.
    let request = key.add_to(request).object(&[ds::BOOLEAN, 0]);
    value.add_to(request).raw(event_id)
}

pub(crate) fn destroy_request(
    path: &str,
    operation: u8,
    expected: Option<&Value>,
    key: &Key,
    event_id: &[u8],
) -> Request {
    let request = key.add_to(Request::new(message::DESTROY).text(path));
    let request = match expected {
        Some(expected) => expected.add_to(request),
        None => request.null(),
    };
    request.raw(&[operation]).raw(event_id)
}
