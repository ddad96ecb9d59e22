//! The management REST that clients and administration use, as far as the double has it, and its own commands below
//! `/_double`.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State as Extract};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use base64::Engine as _;
use futures_util::stream;
use serde_json::{Value, json};

use crate::cluster::{Bucket, Shared, State};
use crate::manifest::{Manifest, ManifestError, SystemEvent};
use crate::privilege::Privilege;
use crate::settings::{PURGE_DAYS, Settings, number, thresholds};

/// The fragmentation at which the cluster compacts, in percent.
const FRAGMENTATION: u64 = 30;

/// One node's service.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) shared: Arc<Shared>,
    pub(crate) node: usize,
}

pub(crate) fn router(service: Service) -> Router {
    let bucket = "/pools/default/buckets/{bucket}";
    Router::new()
        .route("/pools", get(pools))
        .route("/pools/default", get(pool))
        .route("/pools/default/nodeServices", get(node_services))
        .route("/pools/default/b/{bucket}", get(terse))
        .route("/pools/default/bs/{bucket}", get(streaming))
        .route("/pools/default/bucketsStreaming/{bucket}", get(streaming))
        .route("/pools/default/buckets", get(buckets).post(create_bucket))
        .route(bucket, get(one_bucket).delete(drop_bucket))
        .route(&format!("{bucket}/controller/doFlush"), post(flush))
        .route(&format!("{bucket}/scopes"), get(scopes).post(create_scope))
        .route(&format!("{bucket}/scopes/{{scope}}"), delete(drop_scope))
        .route(&format!("{bucket}/scopes/{{scope}}/collections"), post(create_collection))
        .route(&format!("{bucket}/scopes/{{scope}}/collections/{{collection}}"), delete(drop_collection))
        .route("/settings/autoCompaction", get(compaction))
        .route("/whoami", get(whoami))
        .merge(crate::faults::router())
        .layer(middleware::from_fn_with_state(service.clone(), authenticate))
        .with_state(service)
}

/// Basic authentication with the double's one user.
async fn authenticate(Extract(service): Extract<Service>, request: Request, next: Next) -> Response {
    let is_user = {
        let state = service.shared.state();
        let expected = format!("{}:{}", state.options.user, state.options.password);
        let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Basic "));
        let given = given.and_then(|value| base64::engine::general_purpose::STANDARD.decode(value).ok());
        given.as_deref() == Some(expected.as_bytes())
    };
    if is_user {
        return next.run(request).await;
    }
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic realm=\"Couchbase Server Admin / REST\"")])
        .into_response()
}

fn json_answer(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

fn not_found() -> Response {
    ([(header::CONTENT_TYPE, "text/plain")], (StatusCode::NOT_FOUND, "Requested resource not found.\r\n"))
        .into_response()
}

/// The answer to a user who lacks a privilege, where he does (`menelaus_web_rbac.erl`, `forbidden_response`).
fn denied(service: &Service, privilege: Privilege, permission: &str) -> Option<Response> {
    if !service.shared.state().faults.denied.contains(&privilege) {
        return None;
    }
    let needed = json!({"message": "Forbidden. User needs the following permissions", "permissions": [permission]});
    Some((StatusCode::FORBIDDEN, json_answer(&needed)).into_response())
}

fn denied_bucket(service: &Service, bucket: &str) -> Option<Response> {
    denied(service, Privilege::BucketSettings, &format!("cluster.bucket[{bucket}].settings!read"))
}

/// Errors by field.
fn bad_request(errors: impl Into<Value>) -> Response {
    let errors: Value = errors.into();
    (StatusCode::BAD_REQUEST, json_answer(&json!({"errors": errors}))).into_response()
}

fn or_not_found(value: Option<Value>) -> Response {
    value.map_or_else(not_found, |value| json_answer(&value))
}

async fn pools(Extract(service): Extract<Service>) -> Response {
    let state = service.shared.state();
    let uuid = &state.cluster_uuid;
    json_answer(&json!({
        "isAdminCreds": true,
        "isROAdminCreds": false,
        "pools": [{
            "name": "default",
            "uri": format!("/pools/default?uuid={uuid}"),
            "streamingUri": format!("/poolsStreaming/default?uuid={uuid}"),
        }],
        "implementationVersion": state.options.version,
        "uuid": state.cluster_uuid,
        "isEnterprise": true,
    }))
}

async fn pool(Extract(service): Extract<Service>) -> Response {
    let state = service.shared.state();
    let nodes: Vec<Value> = state
        .nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| node.is_known)
        .map(|(at, node)| {
            json!({
                "hostname": format!("127.0.0.1:{}", node.mgmt_port),
                "status": if node.is_up { "healthy" } else { "unhealthy" },
                "clusterMembership": if node.is_member { "active" } else { "inactiveFailed" },
                "services": [if node.has_data { "kv" } else { "n1ql" }],
                "ports": {"direct": node.kv_port},
                "thisNode": at == service.node,
                "version": state.options.version,
                "clusterCompatibility": 0x0007_0006,
            })
        })
        .collect();
    json_answer(&json!({
        "name": "default",
        "nodes": nodes,
        "rebalanceStatus": "none",
        "storageTotals": {},
        "autoCompactionSettings": thresholds(Some(FRAGMENTATION), Some(FRAGMENTATION)),
        "buckets": {"uri": "/pools/default/buckets"},
    }))
}

/// The cluster's settings of compaction, which buckets have that have none of their own. Only here is the purge interval of those.
async fn compaction(Extract(service): Extract<Service>) -> Response {
    if let Some(refusal) = denied(&service, Privilege::CompactionSettings, "cluster.settings.autocompaction!read") {
        return refusal;
    }
    let settings = thresholds(Some(FRAGMENTATION), Some(FRAGMENTATION));
    json_answer(&json!({"autoCompactionSettings": settings, "purgeInterval": number(PURGE_DAYS)}))
}

async fn node_services(Extract(service): Extract<Service>) -> Response {
    let state = service.shared.state();
    json_answer(&state.cluster_config(service.node, state.rev()))
}

async fn terse(Extract(service): Extract<Service>, Path(bucket): Path<String>) -> Response {
    if let Some(refusal) = denied_bucket(&service, &bucket) {
        return refusal;
    }
    or_not_found(service.shared.state().config(&bucket, service.node))
}

/// One configuration after the other, four newlines behind each, for as long as the client listens.
async fn streaming(Extract(service): Extract<Service>, Path(bucket): Path<String>) -> Response {
    if let Some(refusal) = denied_bucket(&service, &bucket) {
        return refusal;
    }
    if service.shared.state().config(&bucket, service.node).is_none() {
        return not_found();
    }
    let changes = service.shared.cluster.subscribe();
    let parts =
        stream::unfold((service, changes, bucket, true), |(service, mut changes, bucket, is_first)| async move {
            if !is_first && changes.changed().await.is_err() {
                return None;
            }
            let config = service.shared.state().config(&bucket, service.node)?;
            let part = Bytes::from(format!("{config}\n\n\n\n"));
            Some((Ok::<_, Infallible>(part), (service, changes, bucket, false)))
        });
    ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(parts)).into_response()
}

fn describe(state: &State, name: &str, node: usize) -> Option<Value> {
    let bucket = state.buckets.get(name)?;
    let mut value = state.config(name, node)?;
    let settings = &bucket.settings;
    let (raw, nodes) = (settings.ram_mib << 20, bucket_nodes(state));
    let controllers = if settings.is_flushable {
        json!({"flush": format!("/pools/default/buckets/{name}/controller/doFlush")})
    } else {
        json!({})
    };
    let details = json!({
        "bucketType": "membase",
        "replicaNumber": settings.replicas,
        "quota": {"ram": raw * nodes, "rawRAM": raw},
        "storageBackend": "couchstore",
        "evictionPolicy": "valueOnly",
        "durabilityMinLevel": "none",
        "conflictResolutionType": "seqno",
        "compressionMode": "passive",
        "maxTTL": 0,
        "numVBuckets": bucket.vbuckets.len(),
        "controllers": controllers,
        "basicStats": {"itemCount": 0, "quotaPercentUsed": state.faults.memory_percent},
    });
    crate::cluster::merge(&mut value, details);
    crate::cluster::merge(&mut value, settings.compaction_json());
    Some(value)
}

fn bucket_nodes(state: &State) -> u64 {
    state.nodes.iter().filter(|node| node.is_member).map(|_| 1).sum()
}

async fn buckets(Extract(service): Extract<Service>) -> Response {
    if let Some(refusal) = denied_bucket(&service, ".") {
        return refusal;
    }
    let state = service.shared.state();
    let all: Vec<Value> = state.buckets.keys().filter_map(|name| describe(&state, name, service.node)).collect();
    json_answer(&Value::from(all))
}

async fn one_bucket(Extract(service): Extract<Service>, Path(bucket): Path<String>) -> Response {
    if let Some(refusal) = denied_bucket(&service, &bucket) {
        return refusal;
    }
    or_not_found(describe(&service.shared.state(), &bucket, service.node))
}

async fn create_bucket(Extract(service): Extract<Service>, body: String) -> Response {
    let name = field(&body, "name").unwrap_or_default();
    let is_named = name.chars().all(|one| one.is_ascii_alphanumeric() || "_-.%".contains(one));
    let wrong = if name.is_empty() {
        Some("Bucket name needs to be specified")
    } else if !is_named {
        Some(
            "Bucket name can only contain characters in range A-Z, a-z, 0-9 as well as underscore, period, dash & percent. \
             Consult the documentation.",
        )
    } else if name.starts_with('.') {
        Some("Bucket name cannot start with dot.")
    } else {
        None
    };
    let settings = match (wrong, Settings::read(&body)) {
        (None, Ok(settings)) => settings,
        (None, Err(errors)) => return bad_request(errors),
        (Some(wrong), read) => {
            let mut errors = read.err().unwrap_or_default();
            errors.insert("name".into(), wrong.into());
            return bad_request(errors);
        }
    };
    if !service.shared.state().create_bucket(&name, settings) {
        return bad_request(json!({"name": "Bucket with given name already exists"}));
    }
    service.shared.tell_cluster();
    (StatusCode::ACCEPTED, [(header::LOCATION, format!("/pools/default/buckets/{name}"))]).into_response()
}

async fn drop_bucket(Extract(service): Extract<Service>, Path(bucket): Path<String>) -> Response {
    if service.shared.state().buckets.remove(&bucket).is_none() {
        return not_found();
    }
    service.shared.tell_cluster();
    StatusCode::OK.into_response()
}

async fn flush(Extract(service): Extract<Service>, Path(bucket): Path<String>) -> Response {
    match service.shared.state().buckets.get_mut(&bucket) {
        Some(bucket) if bucket.settings.is_flushable => bucket.flush(),
        Some(_) => {
            let refusal = json!({"_": "Flush is disabled for the bucket"});
            return (StatusCode::BAD_REQUEST, json_answer(&refusal)).into_response();
        }
        None => return not_found(),
    }
    service.shared.tell_cluster();
    StatusCode::OK.into_response()
}

async fn scopes(Extract(service): Extract<Service>, Path(bucket): Path<String>) -> Response {
    or_not_found(service.shared.state().buckets.get(&bucket).map(|bucket| bucket.manifest.json()))
}

async fn create_scope(Extract(service): Extract<Service>, Path(bucket): Path<String>, body: String) -> Response {
    let name = field(&body, "name").unwrap_or_default();
    change(&service, &bucket, |manifest| manifest.create_scope(&name))
}

async fn drop_scope(Extract(service): Extract<Service>, Path((bucket, scope)): Path<(String, String)>) -> Response {
    change(&service, &bucket, |manifest| manifest.drop_scope(&scope))
}

async fn create_collection(
    Extract(service): Extract<Service>,
    Path((bucket, scope)): Path<(String, String)>,
    body: String,
) -> Response {
    let name = field(&body, "name").unwrap_or_default();
    let max_ttl = field(&body, "maxTTL").and_then(|text| text.parse().ok()).unwrap_or(0);
    change(&service, &bucket, |manifest| manifest.create_collection(&scope, &name, max_ttl))
}

async fn drop_collection(
    Extract(service): Extract<Service>,
    Path((bucket, scope, collection)): Path<(String, String, String)>,
) -> Response {
    change(&service, &bucket, |manifest| manifest.drop_collection(&scope, &collection))
}

fn change<T: Into<Vec<SystemEvent>>>(
    service: &Service,
    bucket: &str,
    change: impl FnOnce(&mut Manifest) -> Result<T, ManifestError>,
) -> Response {
    let changed = service.shared.state().buckets.get_mut(bucket).map(|bucket: &mut Bucket| bucket.change(change));
    match changed {
        None => not_found(),
        Some(Ok(uid)) => {
            service.shared.tell_cluster();
            json_answer(&json!({"uid": format!("{uid:x}")}))
        }
        Some(Err(error)) => {
            // What a field of the form has is said by its name.
            let (status, of) = match error {
                ManifestError::ScopeNotFound(_) | ManifestError::CollectionNotFound(..) => (StatusCode::NOT_FOUND, "_"),
                ManifestError::ScopeExists(_) | ManifestError::CollectionExists(..) | ManifestError::DefaultScope => {
                    (StatusCode::BAD_REQUEST, "_")
                }
                ManifestError::Name(_) => (StatusCode::BAD_REQUEST, "name"),
            };
            (status, json_answer(&json!({"errors": {of: error.to_string()}}))).into_response()
        }
    }
}

async fn whoami(Extract(service): Extract<Service>) -> Response {
    let user = service.shared.state().options.user.clone();
    json_answer(&json!({"id": user, "domain": "admin", "roles": [{"role": "admin"}]}))
}

/// A field of a form.
pub(crate) fn field(form: &str, name: &str) -> Option<String> {
    let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| unescape(key) == name).map(|(_, value)| unescape(value)).next()
}

/// `%41` and `+` of a form's value.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => u8::from_str_radix(&String::from_utf8_lossy(&[*high, *low]), 16).ok(),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(if *first == b'+' { b' ' } else { *first }));
        rest = if escaped.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_forms_are_unescaped() {
        assert_eq!(field("a=1&name=x%2By+z", "name").as_deref(), Some("x+y z"));
        assert_eq!(field("a%5Bb%5D=1", "a[b]").as_deref(), Some("1"));
        assert_eq!(field("a=1", "name"), None);
        assert_eq!(field("name=%zz%4", "name").as_deref(), Some("%zz%4"));
    }
}
