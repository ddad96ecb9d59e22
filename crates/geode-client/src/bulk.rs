//! Operations on many entries of one region.

use std::collections::BTreeMap;

use crate::entry::{Entry, Found};
use crate::error::Error;
use crate::net::pool::{Answered, Call};
use crate::region::Region;
use crate::value::{Key, Value};
use crate::wire::codes::{ds, message};
use crate::wire::locator::Address;
use crate::wire::message::{PARTS_MAX, Part, Request};
use crate::wire::object_list::{Item, ObjectList};
use crate::wire::version_tag::{VersionSource, VersionTag};
use crate::wire::writer::Write as _;
use crate::wire::{Malformed, Reader, skip};

/// The client wants version tags. To one that says that it keeps no entries itself, servers send none.
const CONCURRENCY_CHECKS: i32 = 2;
/// The most entries of one operation: a third of what one message can carry.
pub const ENTRIES_MAX: usize = PARTS_MAX / 4;

impl Region {
    /// Reads many entries; the answers are in the order of the keys. Each is read where its primary copy is, as far as that is known:
    /// another server would answer from a copy that may lag.
    pub async fn get_all(&self, keys: &[Key]) -> Result<Vec<Entry>, Error> {
        check_count(keys.len())?;
        let mut by_server: BTreeMap<Option<Address>, Vec<usize>> = BTreeMap::new();
        for (at, key) in keys.iter().enumerate() {
            let server = self.client.shared.routing.route(&self.client, self.path(), key).await;
            by_server.entry(server).or_default().push(at);
        }
        let mut entries = vec![Entry { found: Found::Absent, tag: None }; keys.len()];
        for (server, places) in by_server {
            let some: Vec<&Key> = places.iter().filter_map(|at| keys.get(*at)).collect();
            for (at, entry) in places.into_iter().zip(self.get_all_from(server.as_ref(), &some).await?) {
                if let Some(slot) = entries.get_mut(at) {
                    *slot = entry;
                }
            }
        }
        Ok(entries)
    }

    async fn get_all_from(&self, server: Option<&Address>, keys: &[&Key]) -> Result<Vec<Entry>, Error> {
        let mut object = Vec::with_capacity(keys.len() * 16);
        object.u8(ds::OBJECT_ARRAY);
        object.array_len(keys.len());
        object.u8(ds::CLASS);
        object.string("java.lang.Object");
        for key in keys {
            key.write_object(&mut object);
        }
        // The last part: this is no registration of interest.
        let request = Request::new(message::GET_ALL).text(self.path()).object(&object).int(0);
        let call = Call { request, is_chunked: true, is_change: false };
        let answered = self.client.pool().call(call, server).await?;
        let list = list_of(&answered)?;
        entries_of(list, keys.len())
    }

    /// Writes many entries. Each is written for itself: a failure may leave some written and others not. The tags are
    /// in the order of the entries; there are none in regions without concurrency checks.
    pub async fn put_all(&self, entries: &[(Key, Value)]) -> Result<Vec<Option<VersionTag>>, Error> {
        let build = |id: &[u8]| {
            let request = Request::new(message::PUT_ALL).text(self.path()).raw(id);
            // Callbacks are not skipped: the servers' listeners and other clients hear of the changes.
            let request = request.int(0).int(CONCURRENCY_CHECKS).len(entries.len());
            entries.iter().fold(request, |request, (key, value)| value.add_to(key.add_to(request)))
        };
        self.bulk_change(entries.len(), build).await
    }

    /// Removes many entries, see [`put_all`](Self::put_all).
    pub async fn remove_all(&self, keys: &[Key]) -> Result<Vec<Option<VersionTag>>, Error> {
        let build = |id: &[u8]| {
            let request = Request::new(message::REMOVE_ALL).text(self.path()).raw(id);
            let request = request.int(CONCURRENCY_CHECKS).null().len(keys.len());
            keys.iter().fold(request, |request, key| key.add_to(request))
        };
        self.bulk_change(keys.len(), build).await
    }

    /// All keys of the region.
    pub async fn key_set(&self) -> Result<Vec<Key>, Error> {
        let answered = self.bulk(Request::new(message::KEY_SET).text(self.path()), false).await?;
        let mut keys = Vec::new();
        for part in &answered.reply.parts {
            read_keys(part, &mut keys)?;
        }
        Ok(keys)
    }

    async fn bulk(&self, request: Request, is_change: bool) -> Result<Answered, Error> {
        self.client.pool().call(Call { request, is_chunked: true, is_change }, None).await
    }

    async fn bulk_change(
        &self,
        count: usize,
        build: impl Fn(&[u8]) -> Request,
    ) -> Result<Vec<Option<VersionTag>>, Error> {
        if count == 0 {
            return Ok(Vec::new());
        }
        check_count(count)?;
        let pool = self.client.pool();
        let mut lane = pool.lane();
        let request = build(&lane.take(count));
        let result = self.bulk(request, true).await;
        if !matches!(result, Err(Error::OutcomeUnknown(_))) {
            pool.give_back(lane);
        }
        let mut tags = list_of(&result?)?.tags;
        tags.resize(count, None);
        Ok(tags)
    }
}

fn check_count(count: usize) -> Result<(), Error> {
    if count > ENTRIES_MAX { Err(Error::Value(format!("more than {ENTRIES_MAX} entries at once"))) } else { Ok(()) }
}

/// The lists in a reply, joined. Other parts are hints on metadata and empty answers.
fn list_of(answered: &Answered) -> Result<ObjectList, Error> {
    joined(&answered.reply.parts, &answered.member)
}

/// Joins the lists among some parts.
pub(crate) fn joined(parts: &[Part], sender: &VersionSource) -> Result<ObjectList, Error> {
    let mut list = ObjectList::default();
    for part in parts.iter().filter(|part| part.is_object && ObjectList::is_list(&part.bytes)) {
        list.append(&part.bytes, sender)?;
    }
    Ok(list)
}

fn entries_of(list: ObjectList, count: usize) -> Result<Vec<Entry>, Error> {
    if list.items.len() != count {
        return Err(Error::Protocol(format!("{} answers to {count} keys", list.items.len())));
    }
    let mut tags = list.tags.into_iter();
    list.items
        .into_iter()
        .map(|item| {
            let found = match item {
                Item::Value(Some(value)) => Found::Value(value),
                Item::Value(None) => Found::Invalid,
                Item::Absent => Found::Absent,
                Item::Failed(text) => return Err(Error::of_trace(&text)),
            };
            Ok(Entry { found, tag: tags.next().flatten() })
        })
        .collect()
}

/// Reads a list of keys.
pub(crate) fn read_keys(part: &Part, keys: &mut Vec<Key>) -> Result<(), Malformed> {
    let mut reader = Reader::new(&part.bytes);
    if part.is_null() {
        return Ok(());
    }
    if !matches!(reader.u8()?, ds::ARRAY_LIST | ds::LINKED_LIST | ds::VECTOR | ds::HASH_SET) {
        return Err(Malformed("list of keys"));
    }
    for _ in 0..reader.array_len()?.unwrap_or_default() {
        keys.push(Key::of_object(skip::take_object(&mut reader)?));
    }
    Ok(())
}

impl Request {
    /// A number of entries, which has been checked.
    fn len(self, count: usize) -> Self {
        self.int(i32::try_from(count).unwrap_or(i32::MAX))
    }
}
