//! Carrying out a committed intent. Any number of nodes may do it at once: `put_if` decides, and a document that has seen the intent
//! is left alone. What has seen it is pruned only after the intent is done, so each looks at the intent after it has read a document
//! and before it writes it. A content that is already what a part makes of it tells nothing: another mutation may have come to the same.

use std::sync::Arc;

use futures_util::future::join_all;
use tidelock_core::ids::Version;
use tidelock_core::planted::{self, Bug};
use tidelock_core::wire::ConflictNote;

use super::ClusterStore;
use super::commit::put;
use super::conflicts::conflict_id;
use super::host::{Met, Remerged};
use super::intent::record_put;
use super::limits::{FINISH_ATTEMPTS_MAX, FINISH_MS_MAX, REQUESTS_AT_ONCE_MAX};
use super::meta::{ConflictRow, Group, IntentBody, IntentName, Meta, Part, Sight, Stage, unseal};
use super::take::State;
use crate::channels::channels_of_conflict;
use crate::error::StoreError;
use crate::platform::{Platform, PlatformError, PutContent, PutIf, PutOutcome};

/// The name of what decides when the policy has no answer but to refuse: the mutation is committed.
const COMMITTED: &str = "committed";

/// What a part makes of its document.
struct Carried {
    /// `None`: the content stays.
    content: Option<(Option<Arc<[u8]>>, Version)>,
    notes: Vec<ConflictNote>,
    /// Whether it was worked out anew: an earlier attempt may have logged other values.
    anew: bool,
}

/// Who carries out an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    /// Its creator, at once: what the documents have of it, he knows.
    Creator,
    /// A document may have its part without anybody knowing.
    Other,
}

/// Whether a document has its part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Has {
    Part,
    /// It is to be read again.
    No,
    /// Likewise: nobody knows.
    Unknown,
}

impl<P: Platform> ClusterStore<P> {
    /// Carries out a committed intent and notes that it is done.
    pub(super) async fn finish(&self, name: &IntentName) -> Result<(), StoreError> {
        self.finish_as(Carrier::Other, name).await
    }

    /// As [`finish`](Self::finish), by its creator as soon as it is committed.
    pub(super) async fn finish_own(&self, name: &IntentName) -> Result<(), StoreError> {
        self.finish_as(Carrier::Creator, name).await
    }

    async fn finish_as(&self, mut carrier: Carrier, name: &IntentName) -> Result<(), StoreError> {
        let (row, _) = self.intent_row(&name.key).await?;
        let Some(row) = row.filter(|row| row.attempt == name.attempt && row.stage == Stage::Committed) else {
            return Ok(());
        };
        let body = self.intent_body(&name.key, &row).await?;
        let due_ms = self.host.now_ms().saturating_add(FINISH_MS_MAX);
        let mut todo: Vec<&Part> = body.parts.iter().collect();
        for attempt in 0..FINISH_ATTEMPTS_MAX {
            let ids: Vec<_> = todo.iter().map(|part| part.id.clone()).collect();
            let states = self.get(&ids).await?;
            let (row, token) = self.intent_row(&name.key).await?;
            let Some(row) = row.filter(|row| row.attempt == name.attempt && row.stage == Stage::Committed) else {
                return Ok(());
            };
            let work: Vec<(&Part, State)> = todo.into_iter().zip(states).collect();
            todo = Vec::new();
            for some in work.chunks(REQUESTS_AT_ONCE_MAX) {
                let done =
                    some.iter().map(|(part, state)| self.carry_out(carrier, name, &body, part, state, row.fingerprint));
                let done = join_all(done).await;
                for ((part, _), done) in some.iter().zip(done) {
                    match done? {
                        Has::Part => continue,
                        Has::No => {}
                        Has::Unknown => carrier = Carrier::Other,
                    }
                    todo.push(part);
                }
            }
            if todo.is_empty() && self.turn_to(Stage::Done, &name.key, &row, token).await?.is_some() {
                self.intents.settled(name);
                return Ok(());
            }
            if self.host.now_ms() >= due_ms {
                break;
            }
            self.backoff(attempt).await;
        }
        Err(StoreError::Unavailable("an intent cannot be carried out now".to_owned()))
    }

    /// Gives a document its part.
    async fn carry_out(
        &self,
        carrier: Carrier,
        name: &IntentName,
        body: &IntentBody,
        part: &Part,
        state: &State,
        fingerprint: Option<u64>,
    ) -> Result<Has, StoreError> {
        if part.is_written() && state.sight(body.writer, fingerprint) == Sight::Seen {
            return Ok(Has::Part);
        }
        let result = self.result(carrier, part, state);
        if (result.anew || !result.notes.is_empty()) && !self.log(name, body, part, state, &result).await? {
            return Ok(Has::No);
        }
        if !part.is_written() {
            return Ok(Has::Part);
        }
        let put = if let Some((content, version)) = result.content {
            let mut meta = self.next_meta(state, self.host.random(), version, part.edited_ms).await?;
            meta.offer(part.offered == Some(true));
            meta.see(body.writer, fingerprint);
            meta.by = meta.over.map(|_| body.writer);
            meta.join(Group::of_intent(name, self.host.now_ms()));
            put(state, content, &meta)
        } else {
            let fresh = Meta {
                version: state.version(),
                deleted_ms: (!state.version().exists()).then(|| self.host.now_ms()),
                ..Meta::default()
            };
            let mut meta = Meta { mark: None, ..state.meta.clone().unwrap_or(fresh) };
            meta.see(body.writer, fingerprint);
            if part.version != part.expected {
                // The content is there, and what tells whose it is was lost.
                meta.join(Group::of_intent(name, self.host.now_ms()));
            }
            let (id, token) = (state.id.clone(), state.token.clone());
            PutIf { id, token, content: PutContent::Keep, meta: Some(meta.write()) }
        };
        self.is_put(&put).await
    }

    /// Whether a write was done.
    async fn is_put(&self, put: &PutIf) -> Result<Has, StoreError> {
        match self.platform.put_if(std::slice::from_ref(put)).await {
            Ok(PutOutcome::Done(_)) => Ok(Has::Part),
            Ok(PutOutcome::Mismatch | PutOutcome::NotTogether) => Ok(Has::No),
            Err(PlatformError::Unavailable(_)) => Ok(Has::Unknown),
            Err(error) => Err(error.into()),
        }
    }

    fn result(&self, carrier: Carrier, part: &Part, state: &State) -> Carried {
        let kept = part.version == part.expected;
        let prepared = || part.body.as_deref().map(Arc::from);
        let current = state.version();
        if kept || current == part.expected {
            let content = (!kept).then(|| (prepared(), part.version));
            return Carried { content, notes: part.notes.clone(), anew: false };
        }
        let stays = || Carried { content: None, notes: part.notes.clone(), anew: true };
        // Where a crash may keep a content and lose its meta, and somebody has begun, this is taken for that.
        let may_be_lost = self.platform.capabilities().torn_ms_max > 0 && carrier == Carrier::Other;
        let is_lost = may_be_lost && !state.is_ours() || planted::has(Bug::SameTaken);
        if current == part.version && is_lost {
            return stays();
        }
        // Somebody else changed the document between the preparation and now.
        let met = state.body().map(|body| Met { version: current, body, edited_ms: state.edited_ms().unwrap_or(0) });
        let merged = part.change.as_ref().and_then(|change| self.rulebook.merge(met, change, part.edited_ms));
        let merged = merged.and_then(|merged| {
            let version = match &merged.body {
                None => Version::ABSENT,
                Some(body) => self.describe(&part.id, body)?.version,
            };
            Some((merged, version))
        });
        if let Some((Remerged { body, conflicts }, version)) = merged {
            let content = (version != current).then_some((body, version));
            return Carried { content, notes: conflicts, anew: true };
        }
        if current == part.version {
            return stays();
        }
        let mut notes = part.notes.clone();
        notes.push(ConflictNote {
            id: part.id.clone(),
            path: Vec::new(),
            strategy: COMMITTED.to_owned(),
            base: None,
            mine: part.body.clone(),
            theirs: state.body().map(|body| body.to_vec()),
            outcome: part.body.clone(),
        });
        Carried { content: Some((prepared(), part.version)), notes, anew: true }
    }

    /// Logs what a part discards of a state. Whether it is logged and the document is still in that state: the log is read before
    /// the document is, so that no other result than that of the document's next state stays in it.
    async fn log(
        &self,
        name: &IntentName,
        body: &IntentBody,
        part: &Part,
        state: &State,
        result: &Carried,
    ) -> Result<bool, StoreError> {
        let entry = self.get_one(conflict_id(body.at_ms, &name.key, &part.id)).await?;
        if self.get_one(part.id.clone()).await?.token != state.token {
            return Ok(false);
        }
        let content = match &result.content {
            Some((content, _)) => content.as_ref().or_else(|| state.body()),
            None => state.body(),
        };
        let channels = |content: &[u8]| self.describe(&part.id, content).map(|described| described.channels);
        let former = state.body().and_then(|content| channels(content));
        let after = content.and_then(|content| channels(content)).unwrap_or_default();
        let row = ConflictRow {
            at_ms: body.at_ms,
            actor: body.actor.clone(),
            mutation: body.mutation,
            channels: channels_of_conflict(former.as_deref(), after),
            notes: result.notes.clone(),
        };
        let logged: Option<ConflictRow> = entry.body().and_then(|body| unseal(body));
        if logged.as_ref().map_or(row.notes.is_empty(), |logged| *logged == row) {
            return Ok(true);
        }
        Ok(self.is_put(&record_put(entry.id.clone(), entry.token, &row)).await? == Has::Part)
    }
}
