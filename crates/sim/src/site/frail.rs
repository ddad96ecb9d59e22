//! What goes wrong with each kind of cluster.

use std::sync::Arc;

use tidelock_core::ids::DocumentId;

use super::cluster::Frail;
use crate::platform::couchbase::{self, Couchbase, Durability};
use crate::platform::geode::{self, Geode};
use crate::platform::{Body, Cluster};
use crate::random::Random;
use crate::workload::{JUDGED, KEYS};

impl couchbase::Setup {
    pub(super) fn draw(random: &mut Random) -> Self {
        Self {
            partitions: random.pick(&[1, 4, 8]).copied().unwrap_or(4),
            replicas: random.pick(&[1, 2]).copied().unwrap_or(1),
            nodes: 3,
            durability: if random.chance(200) { Durability::None } else { Durability::Majority },
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

/// A document whose loss no judge has to account for.
fn any_document(collections: &[String], random: &mut Random) -> DocumentId {
    let others: Vec<&String> = collections.iter().filter(|name| !JUDGED.contains(&name.as_str())).collect();
    let (name, key) = (random.pick(&others), random.pick(&KEYS));
    DocumentId::new(name.map_or("", |name| name.as_str()), key.copied().unwrap_or_default())
}

fn any_body(random: &mut Random) -> Body {
    Body::Json(Arc::from(format!("{{\"foreign\":{}}}", random.below(1_000)).as_bytes()))
}

impl Frail for Couchbase {
    fn strike(cluster: &Arc<Cluster<Self>>, collections: &[String], _told: bool, random: &mut Random) -> &'static str {
        let (id, body, drawn) = (any_document(collections, random), any_body(random), random.below(11));
        let ms = random.between(5, 3_000);
        cluster.change(|bucket, now_ms| match drawn {
            // Without durable writes it is a roll-back: see `set_back`.
            0..5 if bucket.is_durable() => {
                bucket.fail_over(now_ms, ms);
                "couchbase-fail-over"
            }
            0..7 => {
                bucket.hold_replicas(now_ms + ms);
                "couchbase-replica-lag"
            }
            7 => {
                bucket.recreate(&id.collection);
                "couchbase-recreate"
            }
            8 => {
                bucket.purge(&id.collection, now_ms);
                "couchbase-purge"
            }
            _ => {
                bucket.foreign_set_expiring(&id, body, now_ms, ms);
                "couchbase-expiry"
            }
        })
    }

    fn prepare_set_back(&mut self, now_ms: u64) {
        if !self.is_durable() {
            self.hold_all_replicas(now_ms);
        }
    }

    fn set_back(&mut self, now_ms: u64) -> &'static str {
        if self.is_durable() {
            self.flush();
            return "couchbase-flush";
        }
        self.lose_actives(now_ms);
        "couchbase-writes-lost"
    }
}

impl Frail for Geode {
    fn strike(cluster: &Arc<Cluster<Self>>, collections: &[String], told: bool, random: &mut Random) -> &'static str {
        let (id, body, drawn) = (any_document(collections, random), any_body(random), random.below(13));
        let (ms, metas) = (random.between(5, 3_000), random.chance(300));
        if drawn == 0 {
            if random.chance(500) {
                cluster.crash_all(ms, &JUDGED);
            } else {
                cluster.change(|members, _| members.doom(ms, &JUDGED));
            }
            return "geode-all-gone";
        }
        cluster.change(|members, now_ms| match drawn {
            11.. if told => {
                members.move_bucket(now_ms);
                "geode-bucket-moved"
            }
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
            10 => {
                members.collect_tombstones(now_ms);
                "geode-tombstones-collected"
            }
            _ => {
                members.import(&id, body, now_ms);
                "geode-import"
            }
        })
    }

    fn set_back(&mut self, _now_ms: u64) -> &'static str {
        self.lose_disks();
        "geode-disks-lost"
    }
}
