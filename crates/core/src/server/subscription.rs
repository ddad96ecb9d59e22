//! One subscription: what it covers, where it stands, what it still owes to the client.

use std::sync::Arc;

use super::filter::Filter;
use super::reconcile::ReconcilePhase;
use crate::ids::{DocumentId, Offset, SubscriptionId};
use crate::prelude::*;

/// A subscription of a session.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) id: SubscriptionId,
    /// Collections wanted.
    pub(super) collections: Vec<String>,
    /// Channels wanted; `None` for all.
    pub(super) channels: Option<Vec<String>>,
    /// What is wanted and may be read.
    pub(super) filter: Arc<Filter>,
    /// The cursor that the client was told.
    pub(super) told: Offset,
    /// Nothing that the client lacks is between `told` and here.
    pub(super) covered: Offset,
    /// Whether the client was told that it is caught up since it subscribed.
    pub(super) confirmed: bool,
    /// The snapshot under way; `None` when changes are served.
    pub(super) snapshot: Option<SnapshotPhase>,
    /// The reconciliation under way.
    pub(super) reconcile: Option<ReconcilePhase>,
    /// The client was told to subscribe again; nothing is sent before.
    pub(super) restarting: bool,
    /// Documents that the client has to forget.
    pub(super) purge: Option<PurgePhase>,
    /// Channels gained, whose documents are still to be sent.
    pub(super) gain: Option<GainPhase>,
    /// Unsubscribed: it goes once the purge is done.
    pub(super) ending: bool,
}

/// A snapshot under way.
#[derive(Debug)]
pub(super) struct SnapshotPhase {
    /// The head when it began; `None` before the first page.
    pub(super) offset: Option<Offset>,
    /// Exclusive.
    pub(super) after: Option<DocumentId>,
    /// Item hashes that the client has, sorted.
    pub(super) have: Vec<u64>,
    /// Whether the changelog has everything that the client may have.
    pub(super) caught_up: bool,
}

/// A purge under way.
#[derive(Debug)]
pub(super) struct PurgePhase {
    /// What was lost.
    pub(super) lost: Arc<Filter>,
    pub(super) step: PurgeStep,
}

/// Where a purge stands: live documents of the lost channels, then those that left them after the client's cursor.
#[derive(Clone, Debug)]
pub(super) enum PurgeStep {
    Live { after: Option<DocumentId> },
    Recent { from: Offset },
}

/// Gained channels under way.
#[derive(Debug)]
pub(super) struct GainPhase {
    pub(super) filter: Arc<Filter>,
    pub(super) after: Option<DocumentId>,
    /// Whether the client was told that it holds them in part.
    pub(super) told: bool,
}

impl Subscription {
    /// Whether changes may be served to it.
    pub(super) fn is_live(&self) -> bool {
        self.snapshot.is_none() && self.reconcile.is_none() && self.gain.is_none() && !self.ending && !self.restarting
    }

    /// Nothing follows from where the client stands: it is to be told to subscribe again.
    pub(super) fn restart(&mut self) {
        self.restarting = true;
        self.snapshot = None;
        self.reconcile = None;
        self.purge = None;
        self.gain = None;
    }

    /// What the client holds, or may hold, once everything sent so far is applied, as labels: interrupted work is done again by the
    /// next session, because they tell what is not sent whole, and what is not purged whole, from the rest.
    pub(super) fn labels_held(&self) -> Vec<String> {
        let mut held = match &self.gain {
            Some(gain) => self.filter.without(&gain.filter),
            None => (*self.filter).clone(),
        };
        if self.ending {
            held = Filter::default();
        }
        // What is being purged is not whole any more: should it be gained again before the rest is named, all of it has to come.
        let mut in_part = self.purge.as_ref().map(|purge| (*purge.lost).clone()).unwrap_or_default();
        if let Some(gain) = &self.gain {
            in_part.extend(&gain.filter);
        }
        held.labels().into_iter().chain(in_part.labels_of_part()).collect()
    }

    /// Changes what may be read. Documents of lost channels are to be purged, those of gained channels to be sent. Whether the
    /// client has to subscribe again instead: symbols of other documents do not help it.
    pub(super) fn refilter(&mut self, filter: Filter) -> bool {
        if self.reconcile.is_some() || self.restarting {
            self.filter = Arc::new(filter);
            return !self.restarting;
        }
        let lost = self.filter.without(&filter);
        let gained = filter.without(&self.filter);
        self.filter = Arc::new(filter);
        self.owe_purge(lost);
        self.owe_gain(gained);
        false
    }

    /// Adds to what is to be purged.
    pub(super) fn owe_purge(&mut self, mut lost: Filter) {
        if let Some(purge) = &self.purge {
            lost.extend(&purge.lost);
        }
        if !lost.is_empty() {
            self.purge = Some(PurgePhase { lost: Arc::new(lost), step: PurgeStep::Live { after: None } });
        }
    }

    /// Adds to what is to be sent whole.
    pub(super) fn owe_gain(&mut self, mut gained: Filter) {
        if let Some(snapshot) = &mut self.snapshot {
            if !gained.is_empty() {
                snapshot.after = None;
                snapshot.offset = None;
            }
            return;
        }
        if let Some(gain) = &self.gain {
            gained.extend(&gain.filter);
            gained = gained.common(&self.filter);
        }
        self.gain = (!gained.is_empty()).then(|| GainPhase { filter: Arc::new(gained), after: None, told: false });
        // What is gained comes document by document and may be newer than the cursor: no consistent cut until both have met.
        self.confirmed &= self.gain.is_none();
    }
}
