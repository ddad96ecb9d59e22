//! What a client wants to hear of.

use crate::bulk::joined;
use crate::config::Config;
use crate::entry::{Entry, Found};
use crate::error::Error;
use crate::keys::read_keys;
use crate::net::pool::check;
use crate::net::server::Lease;
use crate::value::Key;
use crate::wire::codes::{ds, fixed, message};
use crate::wire::message::{Reply, Request};
use crate::wire::object_list::Item;
use crate::wire::writer::Write as _;

/// Regular expressions, in `InterestType` of Geode's sources.
const REGULAR_EXPRESSION: i32 = 1;
/// All keys, those that are no strings included.
const ALL_KEYS: &str = ".*";

/// An interest in the entries of a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interest {
    /// The region's full path.
    pub region: String,
    /// The entries.
    pub entries: InterestIn,
    /// What the registration answers with.
    pub snapshot: SnapshotKind,
}

/// Which entries of a region an interest is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterestIn {
    /// All.
    All,
    /// Those under these keys.
    Keys(Vec<Key>),
    /// Those whose keys are strings and match this regular expression of Java's as a whole.
    Matching(String),
}

/// What a registration answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SnapshotKind {
    /// Nothing.
    #[default]
    None,
    /// The keys.
    Keys,
    /// Keys, values, version tags, and tombstones.
    Entries,
}

impl Interest {
    /// All entries of a region, without a snapshot.
    pub fn all(region: &str) -> Self {
        let region = if region.starts_with('/') { region.to_owned() } else { format!("/{region}") };
        Self { region, entries: InterestIn::All, snapshot: SnapshotKind::None }
    }

    /// Some entries of a region, without a snapshot.
    pub fn keys(region: &str, keys: Vec<Key>) -> Self {
        Self { entries: InterestIn::Keys(keys), ..Self::all(region) }
    }

    /// The entries of a region whose keys are strings and match a regular expression of Java's as a whole, without a snapshot.
    pub fn matching(region: &str, pattern: &str) -> Self {
        Self { entries: InterestIn::Matching(pattern.to_owned()), ..Self::all(region) }
    }

    /// With an answer.
    #[must_use]
    pub fn with_snapshot(mut self, snapshot: SnapshotKind) -> Self {
        self.snapshot = snapshot;
        self
    }

    /// Whether the two name the same entries.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.region == other.region && self.entries == other.entries
    }

    fn request(&self, is_durable: bool) -> Request {
        let policy = [ds::FIXED_ID_BYTE, fixed::INTEREST_RESULT_POLICY.cast_unsigned(), self.snapshot as u8];
        let durable = [u8::from(is_durable)];
        // Values, not mere invalidations; no local entries, therefore no deltas; values with their lengths.
        let (updates, policy_of_data) = ([0], [0, 1]);
        if let InterestIn::Keys(keys) = &self.entries {
            return Request::new(message::REGISTER_INTEREST_LIST)
                .text(&self.region)
                .object(&policy)
                .raw(&durable)
                .object(&list_of(keys))
                .raw(&updates)
                .raw(&policy_of_data);
        }
        Request::new(message::REGISTER_INTEREST)
            .text(&self.region)
            .int(REGULAR_EXPRESSION)
            .object(&policy)
            .raw(&durable)
            .text(self.entries.pattern())
            .raw(&updates)
            .raw(&policy_of_data)
    }

    /// One request per key, or one for all.
    pub(super) fn end_requests(&self, keeps_durable: bool) -> Vec<Request> {
        let one = |kind: i32, add: &dyn Fn(Request) -> Request| {
            let request = add(Request::new(message::UNREGISTER_INTEREST).text(&self.region).int(kind));
            // The client is not closing.
            request.raw(&[0]).raw(&[u8::from(keeps_durable)])
        };
        match &self.entries {
            InterestIn::Keys(keys) => keys.iter().map(|key| one(0, &|request| key.add_to(request))).collect(),
            other @ (InterestIn::All | InterestIn::Matching(_)) => {
                vec![one(REGULAR_EXPRESSION, &|request| request.text(other.pattern()))]
            }
        }
    }
}

impl InterestIn {
    /// What keys have to match, unless they are listed.
    fn pattern(&self) -> &str {
        if let Self::Matching(pattern) = self { pattern } else { ALL_KEYS }
    }
}

fn list_of(keys: &[Key]) -> Vec<u8> {
    let mut object = Vec::with_capacity(keys.len() * 16);
    object.u8(ds::ARRAY_LIST);
    object.array_len(keys.len());
    for key in keys {
        key.write_object(&mut object);
    }
    object
}

/// What was there when an interest was registered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Empty unless the interest asked. Entries that are absent are tombstones.
    pub entries: Vec<InitialEntry>,
}

/// An entry of a [`Snapshot`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialEntry {
    /// The key.
    pub key: Key,
    /// What is there; [`Found::Invalid`] when only keys were asked for.
    pub entry: Entry,
}

/// Something to register on every server that keeps the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Interest(Interest),
    Query { name: String, oql: String },
}

impl Want {
    /// The region of an interest.
    pub(super) fn region(&self) -> Option<&str> {
        if let Self::Interest(interest) = self { Some(&interest.region) } else { None }
    }

    /// A request that changes nothing where an interest is registered already; `None` for a query.
    pub(super) fn request_again(&self, is_durable: bool) -> Option<Request> {
        let Self::Interest(interest) = self else { return None };
        Some(interest.clone().with_snapshot(SnapshotKind::None).request(is_durable))
    }

    pub(super) async fn register(
        &self,
        lease: &mut Lease,
        is_durable: bool,
        config: &Config,
    ) -> Result<Snapshot, Error> {
        let request = match self {
            Self::Interest(interest) => interest.request(is_durable),
            Self::Query { name, oql } => Request::new(message::EXECUTE_CQ)
                .text(name)
                .text(oql)
                // The state RUNNING of `CqStateImpl`.
                .int(1)
                .raw(&[u8::from(is_durable)])
                // No local entries.
                .raw(&[0]),
        };
        let reply = check(lease.exchange(&request, true, config).await?, true)?;
        match self {
            Self::Interest(_) if reply.kind == message::RESPONSE_FROM_PRIMARY => read_snapshot(&reply, lease),
            Self::Interest(_) | Self::Query { .. } => Ok(Snapshot::default()),
        }
    }
}

fn read_snapshot(reply: &Reply, lease: &Lease) -> Result<Snapshot, Error> {
    let list = joined(&reply.parts, &lease.member())?;
    let mut entries = Vec::with_capacity(list.keys.len());
    if list.keys.is_empty() {
        let mut keys = Vec::new();
        for part in reply.parts.iter().filter(|part| !crate::wire::object_list::ObjectList::is_list(&part.bytes)) {
            read_keys(part, &mut keys)?;
        }
        let unread = || Entry { found: Found::Invalid, tag: None };
        entries.extend(keys.into_iter().map(|key| InitialEntry { key, entry: unread() }));
        return Ok(Snapshot { entries });
    }
    let mut items = list.items.into_iter();
    let mut tags = list.tags.into_iter();
    for key in list.keys {
        let found = match items.next() {
            Some(Item::Value(Some(value))) => Found::Value(value),
            Some(Item::Value(None)) => Found::Invalid,
            Some(Item::Absent) => Found::Absent,
            Some(Item::Failed(text)) => return Err(Error::of_trace(&text)),
            None => return Err(Error::Protocol("a snapshot has fewer values than keys".to_owned())),
        };
        entries.push(InitialEntry { key, entry: Entry { found, tag: tags.next().flatten() } });
    }
    Ok(Snapshot { entries })
}
