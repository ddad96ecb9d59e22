//! Rows that are made in one way by several programs.

use std::time::Duration;

use serde_json::{Value, json};

/// A figure without a budget.
pub(crate) fn figure(name: &str, value: f64, unit: &str) -> Value {
    json!({ "name": name, "value": value.round(), "unit": unit, "budget": null, "ok": true })
}

/// How one figure stands to another, and what it has to be at least.
pub(crate) fn ratio(name: &str, value: f64, least: Option<f64>) -> Value {
    json!({
        "name": name,
        "value": (value * 100.0).round() / 100.0,
        "unit": "ratio",
        "budget": least.map(|least| format!("≥ {least}")),
        "ok": least.is_none_or(|least| value >= least),
    })
}

/// Median and 99th percentile of durations, in milliseconds.
pub(crate) fn latencies(name: &str, mut all: Vec<Duration>) -> Vec<Value> {
    all.sort();
    let row = |(what, at): (&str, usize)| {
        let ms = (all[at].as_secs_f64() * 10_000.0).round() / 10.0;
        json!({ "name": format!("{name}, {what}"), "value": ms, "unit": "ms", "budget": null, "ok": true })
    };
    [("median", all.len() / 2), ("p99", all.len() * 99 / 100)].into_iter().map(row).collect()
}
