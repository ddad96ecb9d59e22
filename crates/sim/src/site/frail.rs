//! What goes wrong with each kind of cluster.

use std::sync::Arc;

use tidelock_core::ids::DocumentId;

use super::cluster::Frail;
use crate::platform::couchbase::{self, Couchbase, Durability};
use crate::platform::geode::{self, Geode};
use crate::platform::{Body, Cluster};
use crate::random::Random;
use crate::workload::{KEYS, LEDGER};

impl couchbase::Setup {
    pub(super) fn draw(random: &mut Random) -> Self {
        Self {
            partitions: random.pick(&[1, 4, 8]).copied().unwrap_or(4),
            replicas: random.pick(&[1, 2]).copied().unwrap_or(1),
            nodes: 3,
            durability: Durability::Majority,
            lag_ms_max: random.pick(&[0, 5, 60]).copied().unwrap_or(5),
        }
    }
}

impl geode::Setup {
    pub(super) fn draw(random: &mut Random) -> Self {
        Self {
            members: random.pick(&[1, 2, 3]).copied().unwrap_or(2),
            buckets: random.pick(&[1, 5, 13]).copied().unwrap_or(5),
            torn_per_mille: random.pick(&[0, 100]).copied().unwrap_or(0),
        }
    }
}

/// A document whose loss no ledger has to account for.
fn any_document(collections: &[String], random: &mut Random) -> DocumentId {
    let others: Vec<&String> = collections.iter().filter(|name| *name != LEDGER).collect();
    let (name, key) = (random.pick(&others), random.pick(&KEYS));
    DocumentId::new(name.map_or("", |name| name.as_str()), key.copied().unwrap_or_default())
}

fn any_body(random: &mut Random) -> Body {
    Body::Json(Arc::from(format!("{{\"foreign\":{}}}", random.below(1_000)).as_bytes()))
}

impl Frail for Couchbase {
    fn strike(cluster: &Arc<Cluster<Self>>, collections: &[String], random: &mut Random) -> &'static str {
        let (id, body, drawn) = (any_document(collections, random), any_body(random), random.below(10));
        let ms = random.between(5, 3_000);
        cluster.change(|bucket, now_ms| match drawn {
            0..5 => {
                bucket.fail_over(now_ms, ms);
                "couchbase-fail-over"
            }
            5..7 => {
                bucket.hold_replicas(now_ms + ms);
                "couchbase-replica-lag"
            }
            7 => {
                bucket.recreate(&id.collection);
                "couchbase-recreate"
            }
            _ => {
                bucket.foreign_set_expiring(&id, body, now_ms, ms);
                "couchbase-expiry"
            }
        })
    }
}

impl Frail for Geode {
    fn strike(cluster: &Arc<Cluster<Self>>, collections: &[String], random: &mut Random) -> &'static str {
        let (id, body, drawn) = (any_document(collections, random), any_body(random), random.below(12));
        let (ms, metas) = (random.between(5, 3_000), random.chance(300));
        if drawn == 0 {
            cluster.crash_all(ms);
            return "geode-all-gone";
        }
        cluster.change(|members, now_ms| match drawn {
            1..4 => {
                members.move_bucket(now_ms);
                "geode-bucket-moved"
            }
            4..7 => {
                members.end_member(now_ms, ms);
                "geode-member-gone"
            }
            7..9 => {
                members.lose_queues();
                "geode-queues-lost"
            }
            9 => {
                members.clear(&id.collection, metas);
                "geode-clear"
            }
            _ => {
                members.import(&id, body, now_ms);
                "geode-import"
            }
        })
    }
}
