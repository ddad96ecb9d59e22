//! Taking states that were read into the journal: one commit for states that belong together.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidelock_core::ids::{DocumentId, Offset, SessionId, Version};
use tidelock_core::planted::{self, Bug};

use super::ClusterStore;
use super::limits::JOURNAL_ATTEMPTS_MAX;
use super::take::{Content, State, Taken, UNREADABLE};
use crate::error::StoreError;
use crate::platform::Platform;
use crate::store::{Commit, CommitOutcome, Document, Write};

impl<P: Platform> ClusterStore<P> {
    /// Takes states into the journal, in one commit. `own` are the writes of this node that led to some of them.
    pub(super) async fn ingest(
        &self,
        taken: &mut Taken<'_>,
        session: SessionId,
        own: &[Write],
    ) -> Result<Offset, StoreError> {
        let own: BTreeMap<&DocumentId, &Write> = own.iter().map(|write| (&write.id, write)).collect();
        for _ in 0..JOURNAL_ATTEMPTS_MAX {
            let revision = self.rulebook.revision();
            let writes: Vec<Write> =
                taken.states.values().filter_map(|state| self.journal_write(taken, state, &own)).collect();
            if writes.is_empty() {
                self.remember(taken);
                return Ok(self.journal.head());
            }
            // What is not of this session, and comes at the same offset, has to reach it.
            let is_own = |write: &Write| own.get(&write.id).is_some_and(|own| own.version == write.version);
            let session = if writes.iter().all(is_own) { session } else { SessionId(0) };
            let committed =
                self.journal.commit(Commit { session, ..Commit::new(writes.clone(), self.host.now_ms()) }).await?;
            match committed {
                CommitOutcome::Committed(offset) if self.rulebook.revision() == revision => {
                    self.remember(taken);
                    return Ok(offset);
                }
                // Other rules came into force meanwhile: who rewrites channels may have been here already.
                CommitOutcome::Committed(_) => self.redescribe(taken, &writes).await?,
                CommitOutcome::Mismatch(_) | CommitOutcome::Repeated(_) | CommitOutcome::OutOfOrder(_) => {
                    self.look_again(taken).await?;
                }
            }
        }
        Err(StoreError::Corrupt("another hand writes to the journal".to_owned()))
    }

    /// What brings the journal to a state; `None` when it is there.
    fn journal_write(&self, taken: &Taken<'_>, state: &State, own: &BTreeMap<&DocumentId, &Write>) -> Option<Write> {
        let held = taken.journal.get(&state.id).and_then(Option::as_ref);
        let expected = held.map_or(Version::ABSENT, |held| held.version);
        let own = own.get(&state.id).copied().filter(|own| own.version == state.version());
        if let Some(own) = own {
            return Some(Write { expected, change: None, ..own.clone() });
        }
        if !taken.differs(state) {
            return None;
        }
        let (body, channels) = match &state.content {
            // What was there may be read on until somebody replaces it.
            Content::Unreadable => return None,
            Content::Absent => (None, held.map_or_else(Vec::new, |held| self.channels(&state.id, &held.body))),
            Content::Document(_, body) => (Some(Arc::clone(body)), self.channels(&state.id, body)),
        };
        Some(Write {
            id: state.id.clone(),
            expected,
            change: None,
            body,
            version: state.version(),
            channels,
            edited_ms: state.edited_ms().unwrap_or_else(|| self.host.now_ms()),
            trace: crate::store::Trace::None,
        })
    }

    /// Writes the channels of documents again that were taken in by rules that are not in force any more.
    async fn redescribe(&self, taken: &mut Taken<'_>, writes: &[Write]) -> Result<(), StoreError> {
        let documents = writes.iter().filter_map(|write| Some((write, write.body.as_ref()?)));
        let again = documents.map(|(write, body)| Write {
            expected: write.version,
            channels: self.channels(&write.id, body),
            ..write.clone()
        });
        let commit = Commit::new(again.collect(), self.host.now_ms());
        self.journal.commit(commit).await?;
        self.look_again(taken).await
    }

    async fn look_again(&self, taken: &mut Taken<'_>) -> Result<(), StoreError> {
        let ids: Vec<DocumentId> = taken.states.keys().cloned().collect();
        let held = self.journal.read(&ids).await?;
        taken.journal = ids.into_iter().zip(held.documents).collect();
        taken.offset = held.offset;
        Ok(())
    }

    fn remember(&self, taken: &Taken<'_>) {
        for state in taken.states.values() {
            self.known.remember(state.id.clone(), state.token.clone(), state.order, state.version());
        }
        for group in &taken.groups {
            self.known.publish(group.clone());
        }
    }

    /// Reads documents, takes them in, and gives them with the offset at which the journal has them.
    pub(super) async fn read_documents(
        &self,
        ids: &[DocumentId],
    ) -> Result<(Vec<Option<Document>>, Offset), StoreError> {
        if planted::has(Bug::LagServed) {
            let held = self.journal.read(ids).await?;
            return Ok((held.documents, held.offset));
        }
        let mut taken = self.take(ids.iter().cloned().collect()).await?;
        let moved = taken.states.values().any(|state| taken.differs(state));
        self.ingest(&mut taken, SessionId(0), &[]).await?;
        if moved {
            self.look_again(&mut taken).await?;
        }
        let document = |id: &DocumentId| match taken.state(id).map(|state| &state.content) {
            Some(Content::Unreadable) => Some(unreadable()),
            Some(Content::Absent | Content::Document(..)) | None => taken.journal.get(id).cloned().flatten(),
        };
        Ok((ids.iter().map(document).collect(), taken.offset))
    }
}

/// What stands for a content that cannot be read: a damaged document, which can be replaced and deleted.
fn unreadable() -> Document {
    Document { version: UNREADABLE, body: Arc::from(&b""[..]), edited_ms: 0 }
}
