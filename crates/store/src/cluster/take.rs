//! The one way in: reading documents at the platform and taking their states into the journal.
//!
//! Invariants:
//! - Between the read (or the write) of a state and its commit to the journal its document is locked: no older state is published
//!   after a later one.
//! - Documents of a group whose states were not published yet are published together: a read widens to them, and is made again, until
//!   no other group appears. A group of an intent counts once the intent is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidelock_core::ids::{DocumentId, MutationId, Offset, Version};
use tidelock_core::planted::{self, Bug};
use tidelock_core::version;

use super::ClusterStore;
use super::host::Described;
use super::known::Known;
use super::limits::{FEED_WAITS_MS_MAX, GET_DOCUMENTS_MAX, HALF_MS_MAX, TURN_WAITS_MS_MAX};
use super::locks::Guard;
use super::meta::{Group, IntentName, Meta, Sight};
use crate::error::StoreError;
use crate::platform::{Entry, Order, Platform, Token, Written, system};
use crate::store::{Document, Trace, Write};

/// The version of a content that no document can be made of: nobody has it, and only a whole replacement fits it.
pub(super) const UNREADABLE: Version = Version(u64::MAX);

/// A document as the platform has it.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) id: DocumentId,
    pub(super) token: Token,
    pub(super) order: Option<Order>,
    pub(super) meta: Option<Meta>,
    /// The meta as it was read.
    pub(super) meta_bytes: Option<Arc<[u8]>>,
    pub(super) content: Content,
}

/// The content of a [`State`].
#[derive(Clone, Debug)]
pub(super) enum Content {
    Absent,
    Document(Version, Arc<[u8]>),
    /// Something is there that no document can be made of.
    Unreadable,
}

/// Locked documents as the platform and the journal have them.
pub(super) struct Taken<'a> {
    pub(super) guard: Guard<'a>,
    pub(super) states: BTreeMap<DocumentId, State>,
    pub(super) journal: BTreeMap<DocumentId, Option<Document>>,
    /// Where the journal stood when it was asked.
    pub(super) offset: Offset,
    /// Groups that are published with these states.
    pub(super) groups: BTreeSet<IntentName>,
}

/// Documents of groups, with the groups and when they were written.
type Members = BTreeMap<DocumentId, BTreeMap<IntentName, u64>>;

/// A document that may be half of a put.
#[derive(Debug, PartialEq, Eq)]
struct Half {
    id: DocumentId,
    token: Token,
    /// Nothing else than a put under way, or a crash, leaves it so. What others write looks like a half, too, and stays so.
    is_ours: bool,
}

/// What to do about a committed intent that is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfinished {
    /// Carry it out.
    Finish,
    /// Leave it to its creator at this moment.
    Report,
}

/// Why documents were not read.
pub(super) enum NotTaken {
    /// Others of this node work on some of them.
    Busy,
    /// An intent is not done, and these documents have their parts of it.
    Unfinished(IntentName, BTreeSet<DocumentId>),
    Failed(StoreError),
}

impl From<StoreError> for NotTaken {
    fn from(error: StoreError) -> Self {
        NotTaken::Failed(error)
    }
}

impl State {
    pub(super) fn version(&self) -> Version {
        match &self.content {
            Content::Absent => Version::ABSENT,
            Content::Document(version, _) => *version,
            Content::Unreadable => UNREADABLE,
        }
    }

    pub(super) fn body(&self) -> Option<&Arc<[u8]>> {
        match &self.content {
            Content::Document(_, body) => Some(body),
            Content::Absent | Content::Unreadable => None,
        }
    }

    /// Whether the meta is of a write whose content a crash has lost.
    pub(super) fn is_early(&self) -> bool {
        self.meta.as_ref().is_some_and(|meta| meta.is_early(self.version()))
    }

    /// Whether a mutation has changed the document.
    pub(super) fn sight(&self, mutation: MutationId, fingerprint: Option<u64>) -> Sight {
        let meta = self.meta.as_ref().filter(|meta| meta.by != Some(mutation) || !meta.is_early(self.version()));
        meta.map_or(Sight::Unseen, |meta| meta.sight(mutation, fingerprint))
    }

    /// When the user made the content, where one of us wrote it.
    pub(super) fn edited_ms(&self) -> Option<u64> {
        self.meta.as_ref().filter(|_| self.is_ours()).map(|meta| meta.edited_ms)
    }

    /// What its meta tells besides.
    pub(super) fn trace(&self) -> Trace {
        match (&self.content, &self.meta) {
            (Content::Absent, Some(meta)) if meta.deleted_ms.is_some() => {
                if meta.offered == Some(true) {
                    Trace::Withdrawn
                } else {
                    Trace::Buried
                }
            }
            (Content::Document(..), Some(meta)) if meta.offered == Some(true) => Trace::Offered,
            (Content::Absent | Content::Document(..) | Content::Unreadable, _) => Trace::None,
        }
    }

    /// Whether one of us wrote the content.
    pub(super) fn is_ours(&self) -> bool {
        self.meta.as_ref().is_some_and(|meta| meta.version == self.version())
    }

    fn groups(&self) -> &[Group] {
        self.meta.as_ref().map_or(&[], |meta| &meta.groups)
    }

    /// Whether the document has not got its part of a group: the meta does not name it, and has not forgotten it for later ones.
    fn lacks(&self, group: &IntentName, at_ms: u64) -> bool {
        let groups = self.groups();
        let is_forgotten = groups.len() > 1 && groups.iter().all(|one| one.at_ms > at_ms);
        !is_forgotten && !self.names(group)
    }

    fn names(&self, group: &IntentName) -> bool {
        self.groups().iter().any(|one| one.name == *group)
    }
}

impl Taken<'_> {
    pub(super) fn state(&self, id: &DocumentId) -> Option<&State> {
        self.states.get(id)
    }

    /// Documents that may be half of a put: the content is not what the meta says, or the meta does not name a group that the document
    /// is a member of. A state that was taken in before is no half by itself; but it is what a member of a group shows until its part is
    /// written.
    fn unsettled(&self, known: &Known, members: &Members) -> Vec<Half> {
        let half = |state: &State| {
            let mut groups = members.get(&state.id).into_iter().flatten();
            let lacks = groups.clone().any(|(group, at_ms)| state.lacks(group, *at_ms));
            let is_half = lacks
                || known.version(&state.id, &state.token).is_none() && {
                    let matches = match &state.meta {
                        Some(meta) => meta.version == state.version(),
                        None => matches!(state.content, Content::Absent),
                    };
                    !matches || groups.any(|(group, _)| !state.names(group))
                };
            let is_ours = lacks || state.is_early();
            is_half.then(|| Half { id: state.id.clone(), token: state.token.clone(), is_ours })
        };
        let states = self.states.values().filter(|state| !state.id.collection.starts_with(system::PREFIX));
        states.filter_map(half).collect()
    }

    /// Notes what a write of this node made of a document.
    pub(super) fn wrote(&mut self, write: &Write, meta: Option<Arc<[u8]>>, written: Written) {
        let Some(state) = self.states.get_mut(&write.id) else { return };
        state.token = written.token;
        state.order = written.order;
        state.meta = meta.as_deref().and_then(Meta::read);
        state.meta_bytes = meta;
        if write.version != write.expected {
            let document = |body: &Arc<[u8]>| Content::Document(write.version, Arc::clone(body));
            state.content = write.body.as_ref().map_or(Content::Absent, document);
        }
    }

    /// Whether the journal has another state.
    pub(super) fn differs(&self, state: &State) -> bool {
        let held = self.journal.get(&state.id).and_then(Option::as_ref);
        state.version() != held.map_or(Version::ABSENT, |held| held.version)
    }
}

impl<P: Platform> ClusterStore<P> {
    /// What a content comes to; `None` when no document can be made of it.
    pub(super) fn describe(&self, id: &DocumentId, content: &[u8]) -> Option<Described> {
        if id.collection.starts_with(system::PREFIX) {
            return Some(Described { version: version::of_body(content).ok()?, channels: Vec::new() });
        }
        self.rulebook.describe(id, content).ok()
    }

    pub(super) fn channels(&self, id: &DocumentId, content: &[u8]) -> Vec<String> {
        self.describe(id, content).map(|described| described.channels).unwrap_or_default()
    }

    fn state_of(&self, id: DocumentId, entry: Entry) -> State {
        let content = match entry.content {
            _ if entry.unreadable.is_some() => Content::Unreadable,
            None => Content::Absent,
            Some(body) => {
                let known = self.known.version(&id, &entry.token);
                let version = known.or_else(|| self.describe(&id, &body).map(|described| described.version));
                let version = version.filter(|version| *version != UNREADABLE);
                version.map_or(Content::Unreadable, |version| Content::Document(version, body))
            }
        };
        if matches!(content, Content::Unreadable)
            && let Some(others) = self.passed_over.due()
        {
            let why = entry.unreadable.as_deref().unwrap_or("JSON that is no document");
            tracing::warn!(document = %id, why, others, "an entry that is no document is passed over");
        }
        let meta = entry.meta.as_deref().and_then(Meta::read);
        State { id, token: entry.token, order: entry.order, meta, meta_bytes: entry.meta, content }
    }

    /// Documents as the platform has them.
    pub(super) async fn get(&self, ids: &[DocumentId]) -> Result<Vec<State>, StoreError> {
        let key_bytes_max = self.platform.capabilities().key_bytes_max as usize;
        let fits = |id: &DocumentId| id.key.len() <= key_bytes_max;
        if !ids.iter().all(fits) {
            // There are no documents under keys that the platform refuses.
            let asked: Vec<DocumentId> = ids.iter().filter(|id| fits(id)).cloned().collect();
            let mut found = Box::pin(self.get(&asked)).await?.into_iter();
            let mut state = |id: &DocumentId| {
                if fits(id) { found.next() } else { Some(self.state_of(id.clone(), Entry::default())) }
            };
            return Ok(ids.iter().filter_map(&mut state).collect());
        }
        let mut states = Vec::with_capacity(ids.len());
        for ids in ids.chunks(GET_DOCUMENTS_MAX) {
            let entries = self.platform.get(ids).await?;
            if entries.len() != ids.len() {
                return Err(StoreError::Unavailable("the platform left entries out of its answer".to_owned()));
            }
            states.extend(ids.iter().cloned().zip(entries).map(|(id, entry)| self.state_of(id, entry)));
        }
        Ok(states)
    }

    /// Locks and reads documents, and those that have to be published with them.
    pub(super) async fn take(&self, ids: BTreeSet<DocumentId>) -> Result<Taken<'_>, StoreError> {
        self.take_with(ids, |_| BTreeMap::new()).await
    }

    /// As [`take`](Self::take); what `given` says of the locked documents need not be read.
    pub(super) async fn take_with(
        &self,
        ids: BTreeSet<DocumentId>,
        given: impl FnOnce(&mut Guard<'_>) -> BTreeMap<DocumentId, Entry>,
    ) -> Result<Taken<'_>, StoreError> {
        let busy = || StoreError::Unavailable("others have been at work on these documents for long".to_owned());
        let patience = self.host.sleep(TURN_WAITS_MS_MAX);
        let mut guard = self.locks.lock_within(ids, patience).await.ok_or_else(busy)?;
        let given = given(&mut guard);
        match self.take_locked(guard, Unfinished::Finish, given, BTreeSet::new()).await {
            Ok(taken) => Ok(taken),
            Err(NotTaken::Failed(error)) => Err(error),
            Err(NotTaken::Busy) => Err(busy()),
            Err(NotTaken::Unfinished(..)) => Err(StoreError::Unavailable("an intent is not done".to_owned())),
        }
    }

    /// As [`take`](Self::take), of documents that are locked. Those with an entry in `given` need not be read at this moment; `groups` need
    /// not be looked for.
    pub(super) async fn take_locked<'a>(
        &'a self,
        mut guard: Guard<'a>,
        unfinished: Unfinished,
        mut given: BTreeMap<DocumentId, Entry>,
        mut groups: BTreeSet<IntentName>,
    ) -> Result<Taken<'a>, NotTaken> {
        let torn_ms_max = u64::from(self.platform.capabilities().torn_ms_max);
        let mut members = Members::new();
        let (mut looked_at, mut waited_ms) = (Vec::new(), 0);
        loop {
            let taken = self.read_locked(guard, std::mem::take(&mut given)).await?;
            let found: Vec<Group> = self.unpublished(&taken, &groups);
            if found.is_empty() {
                let unsettled = if torn_ms_max > 0 { taken.unsettled(&self.known, &members) } else { Vec::new() };
                if unsettled != looked_at {
                    waited_ms = 0;
                }
                let is_ours = unsettled.iter().any(|half| half.is_ours);
                let wait_ms_max = if is_ours { HALF_MS_MAX.max(torn_ms_max) } else { torn_ms_max };
                if unsettled.is_empty() || waited_ms >= wait_ms_max {
                    return Ok(Taken { groups, ..taken });
                }
                looked_at = unsettled;
                let pause_ms = waited_ms.max(torn_ms_max).min(wait_ms_max);
                waited_ms += pause_ms;
                self.host.sleep(pause_ms).await;
                guard = taken.guard;
                continue;
            }
            let mut wanted = taken.guard.ids().clone();
            for group in found {
                let Some((written, kept)) = self.members(&group, unfinished).await? else {
                    let holders = taken.states.values().filter(|state| state.names(&group.name));
                    let holders = holders.map(|state| state.id.clone()).collect();
                    return Err(NotTaken::Unfinished(group.name, holders));
                };
                for member in &written {
                    members.entry(member.clone()).or_default().insert(group.name.clone(), group.at_ms);
                }
                wanted.extend(written.into_iter().chain(kept));
                groups.insert(group.name);
            }
            guard = if wanted == *taken.guard.ids() {
                taken.guard
            } else {
                drop(taken);
                let wait_ms = match unfinished {
                    Unfinished::Finish => TURN_WAITS_MS_MAX,
                    Unfinished::Report => FEED_WAITS_MS_MAX,
                };
                self.locks.lock_within(wanted, self.host.sleep(wait_ms)).await.ok_or(NotTaken::Busy)?
            };
        }
    }

    async fn read_locked<'a>(
        &self,
        guard: Guard<'a>,
        mut given: BTreeMap<DocumentId, Entry>,
    ) -> Result<Taken<'a>, StoreError> {
        let ids: Vec<DocumentId> = guard.ids().iter().cloned().collect();
        let asked: Vec<DocumentId> = ids.iter().filter(|id| !given.contains_key(id)).cloned().collect();
        let mut states: BTreeMap<DocumentId, State> =
            self.get(&asked).await?.into_iter().map(|state| (state.id.clone(), state)).collect();
        while let Some((id, entry)) = given.pop_first() {
            states.insert(id.clone(), self.state_of(id, entry));
        }
        let held = self.journal.read(&ids).await?;
        let journal = ids.into_iter().zip(held.documents).collect();
        Ok(Taken { guard, states, journal, offset: held.offset, groups: BTreeSet::new() })
    }

    /// Groups that have to be published with the states that the journal does not have, but for those in `met`. They are those of these
    /// states, and of states that came back to the content that the journal has: what led there and back is not published either.
    fn unpublished(&self, taken: &Taken<'_>, met: &BTreeSet<IntentName>) -> Vec<Group> {
        if !taken.states.values().any(|state| taken.differs(state)) {
            return Vec::new();
        }
        let is_new = |state: &&State| taken.differs(state) || self.known.version(&state.id, &state.token).is_none();
        let groups = taken.states.values().filter(is_new).flat_map(State::groups);
        let mut found: Vec<Group> = groups
            .filter(|group| !met.contains(&group.name) && !self.known.is_published(&group.name))
            .filter(|_| !planted::has(Bug::GroupApart))
            .cloned()
            .collect();
        found.sort_by(|one, other| one.name.cmp(&other.name));
        found.dedup_by(|one, other| one.name == other.name);
        found
    }

    /// The documents of a group, those that were written and those that stayed as they were; `None` for an intent that is not done.
    async fn members(
        &self,
        group: &Group,
        unfinished: Unfinished,
    ) -> Result<Option<(Vec<DocumentId>, Vec<DocumentId>)>, StoreError> {
        if group.members.is_empty() {
            return self.members_of_intent(&group.name, unfinished).await;
        }
        Ok(Some((group.members.clone(), group.kept.clone())))
    }
}
