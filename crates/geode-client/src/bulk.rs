//! Operations on many entries of one region.

use std::collections::BTreeMap;

use tokio::task::JoinSet;

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

/// The client wants version tags. To one that says that it keeps no entries itself, servers send none.
const CONCURRENCY_CHECKS: i32 = 2;
/// The most entries of one operation: a third of what one message can carry.
pub const ENTRIES_MAX: usize = PARTS_MAX / 4;

impl Region {
    /// Reads many entries; the answers are in the order of the keys. Each is read where its primary copy is, as far as that is known:
    /// another server would answer from a copy that may lag.
    pub async fn get_all(&self, keys: &[Key]) -> Result<Vec<Entry>, Error> {
        let shares = self.shares(keys, |key| key).await?;
        let found = self.of_shares(shares, |region, share| async move {
            let found = region.get_all_from(share.server.as_ref(), &share.items).await?;
            Ok((share.places, found))
        });
        let absent = || Entry { found: Found::Absent, tag: None };
        let (found, failure) = found.await;
        failure.map_or(Ok(()), Err)?;
        Ok(found.into_iter().map(|entry| entry.unwrap_or_else(absent)).collect())
    }

    async fn get_all_from(&self, server: Option<&Address>, keys: &[Key]) -> Result<Vec<Entry>, Error> {
        let mut object = Vec::with_capacity(keys.len() * 16);
        object.u8(ds::OBJECT_ARRAY);
        object.array_len(keys.len());
        object.u8(ds::CLASS);
        object.string("java.lang.Object");
        for key in keys {
            key.write_object(&mut object);
        }
        // The last part: values with their lengths, so that one that only Java can read does not hide those after it.
        let request = Request::new(message::GET_ALL).text(self.path()).object(&object).int(1);
        let call = Call { request, is_chunked: true, is_change: false };
        let answered = self.client.pool().call(call, server).await?;
        let list = list_of(&answered)?;
        entries_of(list, keys.len())
    }

    /// Writes many entries, each server's share by a request of its own. Each is written for itself: a failure may leave some written and
    /// others not, and [`Error::Partly`] tells which shares were. The tags are in the order of the entries; there are none in regions
    /// without concurrency checks.
    pub async fn put_all(&self, entries: &[(Key, Value)]) -> Result<Vec<Option<VersionTag>>, Error> {
        let shares = self.shares(entries, |(key, _)| key).await?;
        self.bulk_change(shares, |path, entries, id| {
            let request = Request::new(message::PUT_ALL).text(path).raw(id);
            // Callbacks are not skipped: the servers' listeners and other clients hear of the changes.
            let request = request.int(0).int(CONCURRENCY_CHECKS).len(entries.len());
            entries.iter().fold(request, |request, (key, value)| value.add_to(key.add_to(request)))
        })
        .await
    }

    /// Removes many entries, see [`put_all`](Self::put_all).
    pub async fn remove_all(&self, keys: &[Key]) -> Result<Vec<Option<VersionTag>>, Error> {
        let shares = self.shares(keys, |key| key).await?;
        self.bulk_change(shares, |path, keys, id| {
            let request = Request::new(message::REMOVE_ALL).text(path).raw(id);
            let request = request.int(CONCURRENCY_CHECKS).null().len(keys.len());
            keys.iter().fold(request, |request, key| key.add_to(request))
        })
        .await
    }

    /// The items by the server of their primary copies, as far as it is known.
    async fn shares<T: Clone>(&self, items: &[T], key_of: impl Fn(&T) -> &Key) -> Result<Vec<Share<T>>, Error> {
        check_count(items.len())?;
        let mut shares: BTreeMap<Option<Address>, Share<T>> = BTreeMap::new();
        for (place, item) in items.iter().enumerate() {
            let server = self.client.shared.routing.route(&self.client, self.path(), key_of(item)).await;
            let share = shares.entry(server.clone()).or_insert_with(|| Share { server, ..Share::default() });
            share.places.push(place);
            share.items.push(item.clone());
        }
        Ok(shares.into_values().collect())
    }

    async fn bulk_change<T: Send + Sync + 'static>(
        &self,
        shares: Vec<Share<T>>,
        build: fn(&str, &[T], &[u8]) -> Request,
    ) -> Result<Vec<Option<VersionTag>>, Error> {
        let tags = self.of_shares(shares, |region, share| async move {
            let tags = region.change_share(&share, build).await?;
            Ok((share.places, tags))
        });
        let (tags, failure) = tags.await;
        let Some(cause) = failure else { return Ok(tags.into_iter().map(Option::flatten).collect()) };
        let done: Vec<usize> = (0..).zip(&tags).filter(|(_, tag)| tag.is_some()).map(|(place, _)| place).collect();
        Err(if done.is_empty() { cause } else { Error::Partly { done, cause: Box::new(cause) } })
    }

    /// Runs something for all shares at once; what it answers for their places is in the order of all items. Also why a share failed.
    async fn of_shares<T, R: Send + 'static, F>(
        &self,
        shares: Vec<Share<T>>,
        run: impl Fn(Self, Share<T>) -> F,
    ) -> (Vec<Option<R>>, Option<Error>)
    where
        F: Future<Output = Result<(Vec<usize>, Vec<R>), Error>> + Send + 'static,
    {
        let count = shares.iter().map(|share| share.places.len()).sum();
        let mut running = JoinSet::new();
        for share in shares {
            running.spawn(run(self.clone(), share));
        }
        let mut all: Vec<Option<R>> = std::iter::repeat_with(|| None).take(count).collect();
        let mut failure = None;
        // All of them: after a failure nothing is under way any more.
        while let Some(joined) = running.join_next().await {
            match joined.map_err(|_| Error::Closed).and_then(|answer| answer) {
                Ok((places, answers)) => {
                    for (place, answer) in places.into_iter().zip(answers) {
                        if let Some(slot) = all.get_mut(place) {
                            *slot = Some(answer);
                        }
                    }
                }
                Err(error) => failure = Some(error),
            }
        }
        (all, failure)
    }

    async fn change_share<T>(
        &self,
        share: &Share<T>,
        build: fn(&str, &[T], &[u8]) -> Request,
    ) -> Result<Vec<Option<VersionTag>>, Error> {
        let pool = self.client.pool();
        let mut lane = pool.lane();
        let request = build(self.path(), &share.items, &lane.take(share.items.len()));
        let call = Call { request, is_chunked: true, is_change: true };
        let result = pool.call(call, share.server.as_ref()).await;
        if !matches!(result, Err(Error::OutcomeUnknown(_))) {
            pool.give_back(lane);
        }
        let mut tags = list_of(&result?)?.tags;
        // Without concurrency checks there are none; the changes were made all the same.
        tags.resize(share.items.len(), None);
        Ok(tags)
    }
}

/// What one request carries: items, and where they are among all.
struct Share<T> {
    server: Option<Address>,
    places: Vec<usize>,
    items: Vec<T>,
}

impl<T> Default for Share<T> {
    fn default() -> Self {
        Self { server: None, places: Vec::new(), items: Vec::new() }
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

impl Request {
    /// A number of entries, which has been checked.
    fn len(self, count: usize) -> Self {
        self.int(i32::try_from(count).unwrap_or(i32::MAX))
    }
}
