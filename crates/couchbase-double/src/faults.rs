//! Faults on command: `POST /_double/…` on any node's management port, for tests in any language. Each command answers
//! when it is in force.

use std::time::Duration;

use axum::Router;
use axum::extract::State as Extract;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::json;

use crate::cluster::State;
use crate::rest::{Service, field};

pub(crate) fn router() -> Router<Service> {
    Router::new()
        .route("/_double/fail-over", post(fail_over))
        .route("/_double/rebalance", post(rebalance))
        .route("/_double/purge", post(purge))
        .route("/_double/expire", post(expire))
        .route("/_double/hold-replication", post(hold_replication))
        .route("/_double/release-replication", post(release_replication))
        .route("/_double/end-streams", post(end_streams))
        .route("/_double/pause-dcp", post(pause_dcp))
        .route("/_double/cut-dcp", post(cut_dcp))
        .route("/_double/delay-kv", post(delay_kv))
        .route("/_double/fail-writes", post(fail_writes))
        .route("/_double/ambiguous-writes", post(ambiguous_writes))
}

/// Puts a change of the state in force.
fn apply(service: &Service, change: impl FnOnce(&mut State)) -> Response {
    change(&mut service.shared.state());
    service.shared.tell_cluster();
    StatusCode::OK.into_response()
}

/// A field that is missing or malformed.
struct WrongField(&'static str);

impl IntoResponse for WrongField {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, format!("the field {} is missing or malformed\n", self.0)).into_response()
    }
}

fn parsed<T: std::str::FromStr>(form: &str, name: &'static str) -> Result<T, WrongField> {
    field(form, name).and_then(|text| text.parse().ok()).ok_or(WrongField(name))
}

/// `node=N`: its replicas become active with what they have.
async fn fail_over(Extract(service): Extract<Service>, form: String) -> Result<Response, WrongField> {
    let node: usize = parsed(&form, "node")?;
    Ok(apply(&service, |state| state.fail_over(node)))
}

/// Every node that is up becomes a member, and vbuckets move.
async fn rebalance(Extract(service): Extract<Service>) -> Response {
    apply(&service, State::rebalance)
}

/// Tombstones are forgotten now.
async fn purge(Extract(service): Extract<Service>) -> Response {
    apply(&service, |state| {
        state.buckets.values_mut().flat_map(|bucket| &mut bucket.vbuckets).for_each(|vbucket| {
            vbucket.purge();
        });
    })
}

/// The expiry pager runs now; answers how many documents it removed.
async fn expire(Extract(service): Extract<Service>) -> Response {
    let expired = service.shared.state().expire();
    service.shared.tell_documents();
    axum::Json(json!({"expired": expired})).into_response()
}

async fn hold_replication(Extract(service): Extract<Service>) -> Response {
    apply(&service, |state| {
        let vbuckets = state.buckets.values_mut().flat_map(|bucket| &mut bucket.vbuckets);
        vbuckets.for_each(crate::vbucket::VBucket::hold_replication);
    })
}

async fn release_replication(Extract(service): Extract<Service>) -> Response {
    apply(&service, |state| {
        let vbuckets = state.buckets.values_mut().flat_map(|bucket| &mut bucket.vbuckets);
        vbuckets.for_each(crate::vbucket::VBucket::release_replication);
    })
}

/// `vbucket=N&reason=R`: streams of the vbucket end for the reason (stream-end.md).
async fn end_streams(Extract(service): Extract<Service>, form: String) -> Result<Response, WrongField> {
    let ended = (parsed(&form, "vbucket")?, parsed(&form, "reason")?);
    Ok(apply(&service, |state| state.faults.end_streams.push(ended)))
}

/// `on=true|false`: DCP connections send nothing, so that versions are de-duplicated meanwhile.
async fn pause_dcp(Extract(service): Extract<Service>, form: String) -> Result<Response, WrongField> {
    let on: bool = parsed(&form, "on")?;
    Ok(apply(&service, |state| state.faults.is_dcp_paused = on))
}

/// Every DCP connection is closed.
async fn cut_dcp(Extract(service): Extract<Service>) -> Response {
    apply(&service, |state| state.faults.cut_dcp_round += 1)
}

/// `ms=N`: each key-value answer waits.
async fn delay_kv(Extract(service): Extract<Service>, form: String) -> Result<Response, WrongField> {
    let ms: u64 = parsed(&form, "ms")?;
    Ok(apply(&service, |state| state.faults.kv_delay = Duration::from_millis(ms)))
}

/// `count=N`: so many writes fail with a temporary failure.
async fn fail_writes(Extract(service): Extract<Service>, form: String) -> Result<Response, WrongField> {
    let count: u32 = parsed(&form, "count")?;
    Ok(apply(&service, |state| state.faults.failing_writes = count))
}

/// `count=N`: so many durable writes are carried out but answered as ambiguous.
async fn ambiguous_writes(Extract(service): Extract<Service>, form: String) -> Result<Response, WrongField> {
    let count: u32 = parsed(&form, "count")?;
    Ok(apply(&service, |state| state.faults.ambiguous_writes = count))
}
