//! The identity of the platform's data.
//!
//! A record on the platform holds the epoch and a beat that rises with time; the journal remembers both. A record that is older than
//! what the journal remembers is of a restored copy: whichever node finds it makes it another epoch. A roll-back that the platform
//! tells of has a name, by which many nodes make another epoch of it once.

use std::sync::atomic::Ordering;

use tidelock_core::ids::DocumentId;
use tidelock_core::wire::{decode, encode};

use super::ClusterStore;
use super::intent::record_put;
use super::limits::{ATTEMPTS_MAX, EPOCHS_KEPT_MAX};
use super::meta::{EpochRow, unseal};
use crate::error::StoreError;
use crate::platform::{Platform, PlatformError, PutOutcome, system};

/// The key of the record.
const KEY: &str = "epoch";
/// The journal's note of it.
const NOTE: &str = "cluster:epoch";

/// What is to be done to the record.
#[derive(Clone, Copy, Debug)]
pub(super) enum Look<'a> {
    /// Nothing, when it is there and not of an older copy.
    Read,
    /// It beats.
    Beat,
    /// The platform told of this roll-back.
    RolledBack(&'a str),
}

impl<P: Platform> ClusterStore<P> {
    /// Looks at the record, and makes another epoch of it where it has to be one.
    pub(super) async fn look_at_epoch(&self, look: Look<'_>) -> Result<(), StoreError> {
        let _turn = self.epoch_look.lock().await;
        for attempt in 0..ATTEMPTS_MAX {
            let remembered = self.remembered_epoch().await?;
            let state = self.get_one(DocumentId::new(system::STATE, KEY)).await?;
            let found: Option<EpochRow> = state.body().and_then(|body| unseal(body));
            let Some(next) = self.next_epoch(found.as_ref(), remembered.as_ref(), look) else {
                return self.adopt(found.unwrap_or_default(), remembered).await;
            };
            match self.platform.put_if(&[record_put(state.id.clone(), state.token, &next)]).await {
                Ok(PutOutcome::Done(_)) => return self.adopt(next, remembered).await,
                // Another node did it, or this one.
                Ok(PutOutcome::Mismatch | PutOutcome::NotTogether) => {}
                Err(PlatformError::Unavailable(_)) => self.backoff(attempt).await,
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Unavailable("the record of the epoch changes too often".to_owned()))
    }

    async fn remembered_epoch(&self) -> Result<Option<EpochRow>, StoreError> {
        Ok(self.journal.recall(NOTE).await?.and_then(|note| decode(&note).ok()))
    }

    /// Whether the journal is of so long ago that intents may have been forgotten which it does not have. Beats tell: clocks of nodes are
    /// days apart, and whoever forgets an intent has run for as long as it is kept, and has beaten meanwhile.
    pub(super) async fn is_outdated(&self) -> Result<bool, StoreError> {
        let state = self.get_one(DocumentId::new(system::STATE, KEY)).await?;
        let found: Option<EpochRow> = state.body().and_then(|body| unseal(body));
        let (Some(found), Some(remembered)) = (found, self.remembered_epoch().await?) else { return Ok(false) };
        // A node beats after half as long again at most.
        let beats = self.options.intents_kept_ms / self.options.beat_every_ms.saturating_mul(2).max(1);
        Ok(found.beat.saturating_sub(remembered.beat) > beats)
    }

    /// The record as it has to be; `None` when it is so.
    fn next_epoch(&self, found: Option<&EpochRow>, remembered: Option<&EpochRow>, look: Look<'_>) -> Option<EpochRow> {
        let Some(found) = found else {
            let former = remembered.map(|row| row.epoch).into_iter().collect();
            let rollbacks = if let Look::RolledBack(name) = look { vec![name.to_owned()] } else { Vec::new() };
            return Some(EpochRow { epoch: self.new_epoch(), beat: 1, rollbacks, former });
        };
        let is_older = |row: &EpochRow| {
            let successor = found.former.contains(&row.epoch);
            if found.epoch == row.epoch { found.beat < row.beat } else { !successor }
        };
        if let Some(row) = remembered.filter(|row| is_older(row)) {
            return Some(self.another_epoch(found, row.beat, &[found.epoch, row.epoch]));
        }
        match look {
            Look::Read => None,
            Look::Beat => Some(EpochRow { beat: found.beat + 1, ..found.clone() }),
            Look::RolledBack(name) if found.rollbacks.iter().any(|known| known == name) => None,
            Look::RolledBack(name) => {
                let mut next = self.another_epoch(found, found.beat, &[found.epoch]);
                next.rollbacks.push(name.to_owned());
                next.rollbacks.drain(..next.rollbacks.len().saturating_sub(EPOCHS_KEPT_MAX));
                Some(next)
            }
        }
    }

    fn another_epoch(&self, found: &EpochRow, beat: u64, former: &[u64]) -> EpochRow {
        let mut next = EpochRow { epoch: self.new_epoch(), beat: found.beat.max(beat) + 1, ..found.clone() };
        next.former.retain(|epoch| !former.contains(epoch));
        next.former.extend(former);
        next.former.dedup();
        next.former.drain(..next.former.len().saturating_sub(EPOCHS_KEPT_MAX));
        next
    }

    /// 0 stands for none.
    fn new_epoch(&self) -> u64 {
        self.host.random().max(1)
    }

    /// The record is this.
    async fn adopt(&self, row: EpochRow, remembered: Option<EpochRow>) -> Result<(), StoreError> {
        // Before anything is taken in that tells what is lost.
        self.epoch.store(row.epoch, Ordering::SeqCst);
        if remembered.as_ref().is_some_and(|remembered| remembered.epoch != row.epoch) {
            // Whatever the platform said before may not be so any more.
            self.known.forget();
            self.clients.forget();
            self.scans.request_all();
        }
        if remembered.as_ref() != Some(&row) {
            self.journal.remember(NOTE, encode(&row)).await?;
        }
        Ok(())
    }
}
