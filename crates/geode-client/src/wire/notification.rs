//! What a server sends on a subscription connection.

use super::codes::message;
use super::event_id::EventId;
use super::message::Reply;
use super::version_tag::{VersionSource, VersionTag};
use super::{Malformed, Reader};
use crate::value::{Key, Value, text_of};

/// What happened to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// There was no such entry before.
    Create,
    /// The entry had another value.
    Update,
    /// The entry is gone.
    Destroy,
    /// The entry is there, and its value is gone.
    Invalidate,
}

/// What happened to a whole region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionChange {
    /// All entries are gone; there is no event for each.
    Cleared,
    /// The region is gone.
    Destroyed,
    /// All values are gone.
    Invalidated,
}

/// A change of an entry, as a server reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The full path of the region, with its leading `/`.
    pub region: String,
    /// The entry.
    pub key: Key,
    /// What happened.
    pub kind: ChangeKind,
    /// The value after the change.
    pub value: Option<Value>,
    /// The version of the entry; missing in regions without concurrency checks.
    pub tag: Option<VersionTag>,
    /// The identity of the change, with which it is acknowledged.
    pub id: EventId,
    /// The change came by an interest; otherwise by continuous queries only.
    pub by_interest: bool,
    /// The continuous queries that the change concerns, each with what happened to *its* result.
    pub queries: Vec<(String, ChangeKind)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notification {
    Entry(Box<Change>),
    Region {
        region: String,
        change: RegionChange,
        id: EventId,
    },
    /// Everything that waited has been sent.
    Marker,
    /// The server takes the client's authentication for expired, and sends nothing until it has authenticated again.
    Reauthenticate,
    /// Nothing that a client without local copies acts on: pings, notices for other languages.
    Nothing,
}

/// Reads a message of a subscription connection.
pub(crate) fn read(reply: &Reply, sender: &VersionSource) -> Result<Notification, Malformed> {
    match reply.kind {
        message::LOCAL_CREATE => entry(reply, ChangeKind::Create, sender),
        message::LOCAL_UPDATE => entry(reply, ChangeKind::Update, sender),
        message::LOCAL_DESTROY => entry(reply, ChangeKind::Destroy, sender),
        message::LOCAL_INVALIDATE => entry(reply, ChangeKind::Invalidate, sender),
        message::CLEAR_REGION => region(reply, RegionChange::Cleared),
        message::LOCAL_DESTROY_REGION => region(reply, RegionChange::Destroyed),
        message::INVALIDATE_REGION => region(reply, RegionChange::Invalidated),
        message::CLIENT_MARKER => Ok(Notification::Marker),
        message::CLIENT_RE_AUTHENTICATE => Ok(Notification::Reauthenticate),
        _ => Ok(Notification::Nothing),
    }
}

fn entry(reply: &Reply, kind: ChangeKind, sender: &VersionSource) -> Result<Notification, Malformed> {
    let has_value = matches!(kind, ChangeKind::Create | ChangeKind::Update);
    let mut at = 2;
    let mut next = || {
        at += 1;
        reply.part(at - 1)
    };
    let mut value = None;
    if has_value {
        // Interest is registered with an empty data policy, for which servers send no deltas.
        if next()?.boolean()? {
            return Err(Malformed("event: a delta"));
        }
        value = Value::of_part(next()?);
    }
    let _callback_argument = next()?;
    let tag_part = next()?;
    let tag =
        if tag_part.is_null() { None } else { VersionTag::read_object(&mut Reader::new(&tag_part.bytes), sender)? };
    let by_interest = next()?.boolean()?;
    let mut queries = Vec::new();
    if next()?.boolean()? {
        if kind == ChangeKind::Invalidate {
            // The operation on the region, which the message's own type says as well.
            next()?;
        }
        let count = next()?.int()? / 2;
        for _ in 0..count {
            let name = text_of(next()?);
            queries.push((name, query_kind(next()?.int()?)?));
        }
    }
    Ok(Notification::Entry(Box::new(Change {
        region: text_of(reply.part(0)?),
        key: Key::of_part(reply.part(1)?),
        kind,
        value,
        tag,
        id: event_id(reply)?,
        by_interest,
        queries,
    })))
}

fn query_kind(kind: i32) -> Result<ChangeKind, Malformed> {
    match kind {
        message::LOCAL_CREATE => Ok(ChangeKind::Create),
        message::LOCAL_UPDATE => Ok(ChangeKind::Update),
        message::LOCAL_DESTROY => Ok(ChangeKind::Destroy),
        message::LOCAL_INVALIDATE => Ok(ChangeKind::Invalidate),
        _ => Err(Malformed("event of a continuous query")),
    }
}

fn region(reply: &Reply, change: RegionChange) -> Result<Notification, Malformed> {
    Ok(Notification::Region { region: text_of(reply.part(0)?), change, id: event_id(reply)? })
}

fn event_id(reply: &Reply) -> Result<EventId, Malformed> {
    let part = reply.parts.last().ok_or(Malformed("event: no parts"))?;
    EventId::read_object(&mut Reader::new(&part.bytes))
}
