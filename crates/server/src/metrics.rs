//! Counters and histograms in Prometheus' text format.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidelock_core::wire::Outcome;

/// Upper bounds of the latency histogram, in microseconds.
const LATENCY_BOUNDS_US: [u64; 12] =
    [250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000];

/// What one database shows.
#[derive(Clone, Copy, Debug)]
pub struct DatabaseFigures<'a> {
    /// Its name.
    pub name: &'a str,
    /// One for each of [`DATABASE_FIGURES`].
    pub values: [u64; DATABASE_FIGURES.len()],
}

/// Names and kinds of what each database shows.
const DATABASE_FIGURES: [(&str, &str); 5] = [
    ("changelog_head", "gauge"),
    ("changelog_floor", "gauge"),
    ("reindex_collections", "gauge"),
    ("reindex_looked_at_total", "counter"),
    ("reindex_changed_total", "counter"),
];

/// What the server counts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Open WebSocket connections.
    pub connections: AtomicU64,
    /// Connections refused: limits, origin.
    pub connections_refused: AtomicU64,
    /// Open sessions.
    pub sessions: AtomicU64,
    /// Frames received.
    pub frames_in: AtomicU64,
    /// Bytes received.
    pub bytes_in: AtomicU64,
    /// Frames sent.
    pub frames_out: AtomicU64,
    /// Bytes sent.
    pub bytes_out: AtomicU64,
    /// Documents sent to sessions: changes, snapshots, gained channels, differences. Once for each session.
    pub changes_delivered: AtomicU64,
    /// Offsets of changelogs that sessions are behind, added up.
    pub lag_offsets: AtomicU64,
    /// Sessions closed because they did not take their changes.
    pub slow_consumers: AtomicU64,
    /// REST requests.
    pub requests: AtomicU64,
    /// Deleted documents that were forgotten.
    pub tombstones_purged: AtomicU64,
    /// Commits tried again because a document had changed.
    pub commit_retries: AtomicU64,
    accepted: AtomicU64,
    merged: AtomicU64,
    rejected: AtomicU64,
    resolve: AtomicU64,
    commit_latency: Histogram,
}

#[derive(Debug, Default)]
struct Histogram {
    counts: [AtomicU64; LATENCY_BOUNDS_US.len()],
    count: AtomicU64,
    sum_us: AtomicU64,
}

impl Metrics {
    /// Counts the outcome of a mutation.
    pub fn count_outcome(&self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Accepted => &self.accepted,
            Outcome::Merged(..) => &self.merged,
            Outcome::Rejected(..) => &self.rejected,
            Outcome::Resolve(_) => &self.resolve,
        };
        add(counter, 1);
    }

    /// Adds the time that one commit took in the store.
    pub fn observe_commit(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        for (bound, count) in LATENCY_BOUNDS_US.iter().zip(&self.commit_latency.counts) {
            if us <= *bound {
                add(count, 1);
            }
        }
        add(&self.commit_latency.count, 1);
        add(&self.commit_latency.sum_us, us);
    }

    /// Everything as text, with what each database shows by itself.
    pub fn render(&self, databases: &[DatabaseFigures<'_>]) -> String {
        let mut text = String::new();
        let gauges = [
            ("connections", &self.connections),
            ("sessions", &self.sessions),
            ("session_lag_offsets", &self.lag_offsets),
        ];
        for (name, value) in gauges {
            let _ = writeln!(text, "# TYPE tidelock_{name} gauge\ntidelock_{name} {}", read(value));
        }
        let counters = [
            ("connections_refused", &self.connections_refused),
            ("frames_in", &self.frames_in),
            ("bytes_in", &self.bytes_in),
            ("frames_out", &self.frames_out),
            ("bytes_out", &self.bytes_out),
            ("changes_delivered", &self.changes_delivered),
            ("slow_consumers", &self.slow_consumers),
            ("requests", &self.requests),
            ("commit_retries", &self.commit_retries),
            ("tombstones_purged", &self.tombstones_purged),
        ];
        for (name, value) in counters {
            let _ = writeln!(text, "# TYPE tidelock_{name}_total counter\ntidelock_{name}_total {}", read(value));
        }
        text.push_str("# TYPE tidelock_mutations_total counter\n");
        let outcomes = [
            ("accepted", &self.accepted),
            ("merged", &self.merged),
            ("rejected", &self.rejected),
            ("resolve", &self.resolve),
        ];
        for (name, value) in outcomes {
            let _ = writeln!(text, "tidelock_mutations_total{{outcome=\"{name}\"}} {}", read(value));
        }
        for (index, (name, kind)) in DATABASE_FIGURES.iter().enumerate() {
            let _ = writeln!(text, "# TYPE tidelock_{name} {kind}");
            for database in databases {
                let value = database.values.get(index).copied().unwrap_or_default();
                let _ = writeln!(text, "tidelock_{name}{{database=\"{}\"}} {value}", database.name);
            }
        }
        self.render_latency(&mut text);
        text
    }

    fn render_latency(&self, text: &mut String) {
        text.push_str("# TYPE tidelock_commit_seconds histogram\n");
        let seconds = |us: u64| Duration::from_micros(us).as_secs_f64();
        for (bound, count) in LATENCY_BOUNDS_US.iter().zip(&self.commit_latency.counts) {
            let _ = writeln!(text, "tidelock_commit_seconds_bucket{{le=\"{}\"}} {}", seconds(*bound), read(count));
        }
        let (count, sum) = (read(&self.commit_latency.count), seconds(read(&self.commit_latency.sum_us)));
        let _ = writeln!(text, "tidelock_commit_seconds_bucket{{le=\"+Inf\"}} {count}");
        let _ = writeln!(text, "tidelock_commit_seconds_sum {sum}\ntidelock_commit_seconds_count {count}");
    }
}

/// Adds to a counter. Counters are independent of each other, so no order is needed.
pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

/// Takes from a gauge what was added to it.
pub(crate) fn subtract(gauge: &AtomicU64, amount: u64) {
    gauge.fetch_sub(amount, Ordering::Relaxed);
}

/// Adds a length.
pub(crate) fn add_len(counter: &AtomicU64, amount: usize) {
    add(counter, u64::try_from(amount).unwrap_or(u64::MAX));
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
