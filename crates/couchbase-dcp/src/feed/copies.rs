//! What the copies of the vbuckets have, and so which held messages may be told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::address::Address;
use crate::config::{Config, Deliver};
use crate::limits::BATCHES_MAX;
use crate::observer::{Observer, Sight, Wanted};
use crate::topology::Topology;
use crate::vbuckets::Vbuckets;
use crate::wire::message::Message;

/// For a feed that tells at once it does nothing.
pub(super) struct Copies {
    config: Arc<Config>,
    /// Time between two looks; nothing is held without it.
    interval: Option<Duration>,
    wanted: Wanted,
    observers: BTreeMap<Address, Observer>,
    /// What each node has of a vbucket: the branch, and the sequence number.
    seen: BTreeMap<Address, BTreeMap<u16, (u64, u64)>>,
    /// Vbuckets whose first held message may be told.
    ready: BTreeSet<u16>,
    sights: (mpsc::Sender<Sight>, mpsc::Receiver<Sight>),
}

impl Copies {
    pub(super) fn new(config: &Arc<Config>) -> Self {
        let interval = match config.deliver {
            Deliver::AtOnce => None,
            Deliver::Replicated(interval) | Deliver::Persisted(interval) => Some(interval),
        };
        Self {
            config: Arc::clone(config),
            interval,
            wanted: Wanted::default(),
            observers: BTreeMap::new(),
            seen: BTreeMap::new(),
            ready: BTreeSet::new(),
            sights: mpsc::channel(BATCHES_MAX),
        }
    }

    pub(super) fn is_holding(&self) -> bool {
        self.interval.is_some()
    }

    /// Looks at these nodes from now on, and at no others.
    pub(super) fn watch(&mut self, topology: &Topology) {
        let Some(interval) = self.interval else { return };
        self.observers.retain(|node, _| topology.nodes.contains(node));
        self.seen.retain(|node, _| topology.nodes.contains(node));
        for node in &topology.nodes {
            self.observers.entry(node.clone()).or_insert_with(|| {
                let (config, wanted) = (Arc::clone(&self.config), Arc::clone(&self.wanted));
                Observer::start(node.clone(), config, interval, wanted, self.sights.0.clone())
            });
        }
    }

    pub(super) async fn look(&mut self) -> Option<Sight> {
        self.sights.1.recv().await
    }

    pub(super) fn take(&mut self, sight: &Sight, topology: &Topology, vbuckets: &Vbuckets) {
        for (vbucket, uuid, observed) in &sight.seen {
            let seqno = match self.config.deliver {
                Deliver::Persisted(_) => observed.persisted,
                Deliver::AtOnce | Deliver::Replicated(_) => observed.received,
            };
            self.seen.entry(sight.node.clone()).or_default().insert(*vbucket, (*uuid, seqno));
            self.look_at(*vbucket, topology, vbuckets);
        }
    }

    /// Something of the vbucket is held.
    pub(super) fn waits(&mut self, vbucket: u16, uuid: u64) {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).insert(vbucket, uuid);
    }

    /// Nothing of the vbucket is held any more.
    pub(super) fn forget(&mut self, vbucket: u16) {
        self.ready.remove(&vbucket);
        if self.is_holding() {
            self.wanted.lock().unwrap_or_else(PoisonError::into_inner).remove(&vbucket);
        }
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn next_ready(&mut self) -> Option<u16> {
        self.ready.pop_first()
    }

    /// Looks whether the first held message of a vbucket may be told.
    pub(super) fn look_at(&mut self, vbucket: u16, topology: &Topology, vbuckets: &Vbuckets) {
        let Some(slot) = vbuckets.get(vbucket) else { return };
        let Some(first) = slot.held.front() else { return self.forget(vbucket) };
        let seqno = match &first.message {
            Message::Change(change) => change.seqno,
            Message::System(event) => event.seqno,
            Message::SeqnoAdvanced(seqno) => *seqno,
            Message::Snapshot(_) | Message::OutOfOrder { .. } | Message::End(_) => 0,
        };
        let has_it = |node: &Address| {
            let seen = self.seen.get(node).and_then(|seen| seen.get(&vbucket));
            seen.is_some_and(|(uuid, seen)| *uuid == slot.stream.uuid() && *seen >= seqno)
        };
        // Without any copy (a vbucket that is nowhere for a moment) nobody has it.
        let mut copies = topology.copies(vbucket).flatten().peekable();
        if seqno == 0 || copies.peek().is_some() && copies.all(has_it) {
            self.ready.insert(vbucket);
        }
    }
}
