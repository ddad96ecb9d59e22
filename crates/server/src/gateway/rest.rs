//! REST beside the sync protocol: documents with `ETag` and `If-Match`, scans, the conflict log, health and metrics.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest as _, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tidelock_core::ids::{ClientId, DocumentId, Incarnation, MutationId, Sequence, SessionId, Version};
use tidelock_core::server::{ChangeRecord, Refusal, SnapshotPage, Submission};
use tidelock_core::wire::{DocumentChange, ErrorCode, Mutation, Operation, Outcome};
use tidelock_store::{CommitOutcome, ConflictQuery, ConflictRecord};

use super::origin;
use crate::app::App;
use crate::auth::Identity;
use crate::database::{Database, store_refusal};
use crate::metrics::add;
use crate::pipeline::{self, Caller};

/// Documents of one scan page, unless the caller asks for fewer.
const SCAN_LIMIT_MAX: usize = 1_000;
/// Bytes of bodies of one scan page, about.
const SCAN_BYTES_MAX: usize = 8 << 20;
/// Entries of one page of the conflict log.
const CONFLICTS_LIMIT_MAX: usize = 1_000;
/// Attempts of a write whose document changes under it.
const ATTEMPTS_MAX: u32 = 32;
/// How long a token of `tidelock dev` is valid.
const DEV_TOKEN_S: u64 = 30 * 24 * 3_600;

type Answer = Result<Response, Refusal>;

/// An authenticated request to a database.
struct Call {
    app: Arc<App>,
    database: Arc<Database>,
    caller: Caller,
}

impl Call {
    async fn new(app: &Arc<App>, headers: &HeaderMap, database: &str) -> Result<Self, Refusal> {
        add(&app.metrics.requests, 1);
        let token = bearer(headers)?;
        let identity: Identity = app.authenticate(token)?;
        let per_second = app.options.limits.requests_per_second_max;
        app.quota.take(&identity.subject, app.clock.now_ms(), per_second).map_err(|wait_ms| Refusal {
            code: ErrorCode::RateLimited,
            message: format!("more than {per_second} requests per second of one identity"),
            retry_after_ms: Some(wait_ms),
        })?;
        let database = Arc::clone(app.database(database)?);
        let filter = database.access(&identity).await?;
        let caller = Caller { identity: Arc::new(identity), filter, session: SessionId(0), clock: app.clock.clone() };
        Ok(Self { app: Arc::clone(app), database, caller })
    }

    /// Whether the identity may read a document with this body.
    fn sees(&self, id: &DocumentId, body: &[u8]) -> bool {
        let rules = self.database.rules();
        let Some(rules) = rules.collection(&id.collection) else { return false };
        let Ok(value) = tidelock_core::json::parse(body) else { return false };
        self.caller.filter.matches(&id.collection, &rules.channels(&id.key, &value))
    }
}

impl Call {
    /// Documents of a collection that the identity may read, after one; and whether there are no more of them.
    async fn page(
        &self,
        collection: &str,
        mut after: Option<DocumentId>,
        limit: usize,
    ) -> Result<(Vec<ChangeRecord>, bool), Refusal> {
        let filter = self.caller.filter.narrowed(&[collection.to_owned()], None);
        loop {
            let page = self.database.changelog.snapshot(after.as_ref(), &filter, SCAN_BYTES_MAX).await;
            let SnapshotPage { mut records, through, .. } = page.map_err(|error| store_refusal(&error))?;
            records.retain(|record| record.body.as_deref().is_some_and(|body| self.sees(&record.id, body)));
            if !records.is_empty() || through.is_none() {
                let is_last = through.is_none() && records.len() <= limit;
                records.truncate(limit);
                return Ok((records, is_last));
            }
            after = through;
        }
    }
}

/// `GET /v1/db/{database}/{collection}/{key}`
pub(super) async fn read(
    State(app): State<Arc<App>>,
    Path((database, collection, key)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    let read = async {
        let call = Call::new(&app, &headers, &database).await?;
        let ids = [DocumentId::new(collection, key)];
        let set = call.database.store.read(&ids).await.map_err(|error| store_refusal(&error))?;
        let found = ids.iter().zip(set.documents).find_map(|(id, document)| Some((id, document?)));
        let Some((_, document)) = found.filter(|(id, document)| call.sees(id, &document.body)) else {
            return Ok(not_found());
        };
        let tag = etag(document.version);
        if headers.get(header::IF_NONE_MATCH).is_some_and(|value| lists(value, document.version)) {
            return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
        }
        Ok(body_response(StatusCode::OK, tag, Bytes::from_owner(document.body)))
    };
    answer(read.await)
}

/// `PUT /v1/db/{database}/{collection}/{key}`
pub(super) async fn put(
    State(app): State<Arc<App>>,
    Path((database, collection, key)): Path<(String, String, String)>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    let put = async {
        let call = Call::new(&app, &headers, &database).await?;
        let body = body_of(request).await?;
        write_through(call, headers, DocumentId::new(collection, key), Operation::Put(body.to_vec())).await
    };
    answer(put.await)
}

/// The body of a request whose sender is known: nobody else's is kept in memory.
async fn body_of(request: Request) -> Result<Bytes, Refusal> {
    Bytes::from_request(request, &()).await.map_err(|rejection| {
        let is_large = rejection.status() == StatusCode::PAYLOAD_TOO_LARGE;
        Refusal::new(if is_large { ErrorCode::TooLarge } else { ErrorCode::Protocol }, rejection.body_text())
    })
}

/// `DELETE /v1/db/{database}/{collection}/{key}`
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Path((database, collection, key)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    let delete = async {
        let call = Call::new(&app, &headers, &database).await?;
        write_through(call, headers, DocumentId::new(collection, key), Operation::Delete).await
    };
    answer(delete.await)
}

/// Writes, even when the client goes away meanwhile: what was begun on a platform is told to all clients as soon as it is done.
async fn write_through(call: Call, headers: HeaderMap, id: DocumentId, operation: Operation) -> Answer {
    let writing = tokio::spawn(async move { write(&call, &headers, id, operation).await });
    writing.await.unwrap_or_else(|_| Err(Refusal::new(ErrorCode::Internal, "the write ended early")))
}

/// Commits one document on top of its current state, which the headers may restrict.
async fn write(call: &Call, headers: &HeaderMap, id: DocumentId, operation: Operation) -> Answer {
    let database = &call.database;
    let now_ms = call.app.clock.now_ms();
    for attempt in 0..ATTEMPTS_MAX {
        let _turn = if attempt > 2 { Some(database.turns.lock().await) } else { None };
        let _gate = database.rules_gate.read().await;
        let mut view = pipeline::read(database, std::iter::once(&id)).await?;
        let state = view.state(&id);
        let visible = state.body.as_deref().is_none_or(|body| call.sees(&id, body));
        let seen = if visible { state.version } else { Version::ABSENT };
        if !precondition(headers, seen, state.version) {
            let message = "the document is not at the version that the request names";
            return Ok(refuse_with(StatusCode::PRECONDITION_FAILED, &Refusal::new(ErrorCode::Conflict, message)));
        }
        if matches!(operation, Operation::Delete) && (!state.version.exists() || !visible) {
            return Ok(not_found());
        }
        let change = DocumentChange { id: id.clone(), base: state.version, operation: operation.clone(), whole: None };
        let mutation = Mutation { sequence: Sequence(0), edited_ms: now_ms, changes: vec![change], before: None };
        let mutation_id =
            MutationId { client: ClientId::default(), incarnation: Incarnation(0), sequence: Sequence(0) };
        let submission = Submission {
            id: mutation_id,
            acknowledged: Sequence(0),
            mutation,
            jumps: false,
            refused: None,
            again: false,
            brings_back: false,
        };
        let mut prepared = pipeline::prepare(database, &call.caller, &submission, &mut view);
        prepared.commit.mutation = None;
        if let Outcome::Rejected(code, message, _) = prepared.answer.outcome {
            return Err(Refusal::new(code, message));
        }
        let version = view.state(&id).version;
        let created = !state.version.exists();
        let outcome = database.store.commit(prepared.commit).await.map_err(|error| store_refusal(&error))?;
        match outcome {
            CommitOutcome::Committed(_) => return Ok(written_response(version, created)),
            CommitOutcome::Mismatch(_) | CommitOutcome::Repeated(_) | CommitOutcome::OutOfOrder(_) => {
                add(&call.app.metrics.commit_retries, 1);
            }
        }
    }
    Err(Refusal::new(ErrorCode::Unavailable, "the document changes too often"))
}

fn written_response(version: Version, created: bool) -> Response {
    if !version.exists() {
        return StatusCode::NO_CONTENT.into_response();
    }
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    (status, [(header::ETAG, etag(version))]).into_response()
}

/// Whether `If-Match` and `If-None-Match` (RFC 9110 section 13.1) hold: the one for the version that the caller may see, the other for the
/// one that there is, as what is to be created must not replace what the caller does not see.
fn precondition(headers: &HeaderMap, seen: Version, version: Version) -> bool {
    let matched = headers.get(header::IF_MATCH).is_none_or(|value| lists(value, seen));
    let unmatched = headers.get(header::IF_NONE_MATCH).is_none_or(|value| !lists(value, version));
    matched && unmatched
}

/// Whether a list of entity tags names a version; `*` names any that exists.
fn lists(value: &HeaderValue, version: Version) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let tag = format!("\"{:016x}\"", version.0);
    version.exists() && text.split(',').map(str::trim).any(|one| one == "*" || one == tag)
}

/// The entity tag of a version: 16 hexadecimal digits in quotes.
fn etag(version: Version) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{:016x}\"", version.0)).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// Query of a scan.
#[derive(Deserialize)]
pub(super) struct ScanQuery {
    after: Option<String>,
    limit: Option<usize>,
}

/// `GET /v1/db/{database}/{collection}`: `{"documents": [{"key", "version", "value"}], "after": key or null}`, by rising key. There is more
/// while `after` is a key, which is that of the last document in the page: others are not named.
pub(super) async fn scan(
    State(app): State<Arc<App>>,
    Path((database, collection)): Path<(String, String)>,
    Query(query): Query<ScanQuery>,
    headers: HeaderMap,
) -> Response {
    let scan = async {
        let call = Call::new(&app, &headers, &database).await?;
        if !call.caller.filter.collections.contains_key(&collection) {
            return Err(Refusal::new(ErrorCode::UnknownCollection, "no such collection"));
        }
        let limit = query.limit.unwrap_or(SCAN_LIMIT_MAX).clamp(1, SCAN_LIMIT_MAX);
        let after = query.after.map(|key| DocumentId::new(&*collection, key));
        let (records, is_last) = call.page(&collection, after, limit).await?;
        let mut text = String::from("{\"documents\":[");
        for record in &records {
            if !text.ends_with('[') {
                text.push(',');
            }
            let key = Value::from(&*record.id.key);
            // The body goes as it is: no number is rounded on the way.
            let body = String::from_utf8_lossy(record.body.as_deref().unwrap_or_default());
            let _ = write!(text, "{{\"key\":{key},\"version\":\"{:016x}\",\"value\":{body}}}", record.version.0);
        }
        let after = records.last().filter(|_| !is_last).map_or(Value::Null, |record| Value::from(&*record.id.key));
        let _ = write!(text, "],\"after\":{after}}}");
        Ok(json_response(StatusCode::OK, text))
    };
    answer(scan.await)
}

/// Query of the conflict log.
#[derive(Deserialize)]
pub(super) struct ConflictsQuery {
    collection: Option<String>,
    key: Option<String>,
    before: Option<u64>,
    limit: Option<usize>,
}

/// `GET /v1/db/{database}/conflicts`: `{"conflicts": […], "before": number or null}`, the latest first.
pub(super) async fn conflicts(
    State(app): State<Arc<App>>,
    Path(database): Path<String>,
    Query(query): Query<ConflictsQuery>,
    headers: HeaderMap,
) -> Response {
    let conflicts = async {
        let call = Call::new(&app, &headers, &database).await?;
        let limit = query.limit.unwrap_or(CONFLICTS_LIMIT_MAX).clamp(1, CONFLICTS_LIMIT_MAX);
        let query = ConflictQuery { collection: query.collection, key: query.key, before: query.before, limit };
        let page = call.database.store.conflicts(&query).await.map_err(|error| store_refusal(&error))?;
        let before = if page.len() < limit { None } else { page.last().map(|record| record.number) };
        let visible = page
            .iter()
            .filter(|record| call.caller.filter.matches(&record.note.id.collection, &record.channels))
            .map(conflict_text)
            .collect::<Vec<_>>()
            .join(",");
        let before = before.map_or(Value::Null, Value::from);
        Ok(json_response(StatusCode::OK, format!("{{\"conflicts\":[{visible}],\"before\":{before}}}")))
    };
    answer(conflicts.await)
}

/// An entry of the conflict log. Values go as they are: no number is rounded on the way.
fn conflict_text(record: &ConflictRecord) -> String {
    let note = &record.note;
    let value = |bytes: &Option<Vec<u8>>| {
        bytes.as_ref().map_or_else(|| "null".to_owned(), |bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    let head = json!({
        "number": record.number,
        "at": record.at_ms,
        "by": record.actor,
        "mutation": record.mutation.map(|id| id.to_string()),
        "collection": note.id.collection,
        "key": note.id.key,
        "path": note.path,
        "strategy": note.strategy,
        "had": {
            "base": note.base.is_some(), "mine": note.mine.is_some(),
            "theirs": note.theirs.is_some(), "outcome": note.outcome.is_some(),
        },
    })
    .to_string();
    let head = head.strip_suffix('}').unwrap_or(&head);
    let (base, mine) = (value(&note.base), value(&note.mine));
    let (theirs, outcome) = (value(&note.theirs), value(&note.outcome));
    format!("{head},\"base\":{base},\"mine\":{mine},\"theirs\":{theirs},\"outcome\":{outcome}}}")
}

/// `GET /health`
pub(super) async fn health(State(app): State<Arc<App>>) -> Response {
    let (status, text) =
        if app.is_stopping() { (StatusCode::SERVICE_UNAVAILABLE, "stopping") } else { (StatusCode::OK, "ok") };
    (status, Json(json!({ "status": text }))).into_response()
}

/// `GET /metrics`
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let figures: Vec<_> = app.databases.values().map(|database| database.figures()).collect();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], app.metrics.render(&figures)).into_response()
}

/// Body of `POST /v1/dev/token`.
#[derive(Deserialize)]
pub(super) struct TokenRequest {
    sub: String,
    #[serde(default)]
    claims: serde_json::Map<String, Value>,
}

/// `POST /v1/dev/token`: `{"sub": "ann"}` gives `{"token": "…"}`.
pub(super) async fn dev_token(State(app): State<Arc<App>>, headers: HeaderMap, body: Bytes) -> Response {
    let mint = || {
        if !origin::is_loopback_host(&headers) || !origin::allowed(&headers, &app) {
            return Err(Refusal::new(ErrorCode::Forbidden, "tokens are minted for this machine only"));
        }
        let request: TokenRequest = serde_json::from_slice(&body)
            .map_err(|_| Refusal::new(ErrorCode::InvalidDocument, "expected {\"sub\": \"name\"}"))?;
        let token = app
            .live()
            .authenticator
            .mint(&request.sub, &request.claims, DEV_TOKEN_S, app.clock.now_ms())
            .map_err(|error| Refusal::new(ErrorCode::Forbidden, error.to_string()))?;
        Ok(Json(json!({ "token": token })).into_response())
    };
    answer(mint())
}

/// For a method that a path does not have.
pub(super) async fn method_not_allowed() -> Response {
    let refusal = Refusal::new(ErrorCode::Protocol, "the path does not have this method");
    refuse_with(StatusCode::METHOD_NOT_ALLOWED, &refusal)
}

fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok("") };
    value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| Refusal::new(ErrorCode::Unauthenticated, "expected `Authorization: Bearer TOKEN`"))
}

fn answer(result: Answer) -> Response {
    result.unwrap_or_else(|refusal| refuse(&refusal))
}

/// An error as JSON, with the status that belongs to its code.
pub(super) fn refuse(refusal: &Refusal) -> Response {
    let status = match refusal.code {
        ErrorCode::Protocol | ErrorCode::UnsupportedVersion | ErrorCode::InvalidDocument | ErrorCode::OutOfOrder => {
            StatusCode::BAD_REQUEST
        }
        ErrorCode::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::UnknownDatabase | ErrorCode::UnknownCollection => StatusCode::NOT_FOUND,
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::SchemaViolation => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::Conflict => StatusCode::CONFLICT,
        ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        ErrorCode::SlowConsumer | ErrorCode::Unavailable | ErrorCode::SessionEnded => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    };
    refuse_with(status, refusal)
}

pub(super) fn refuse_with(status: StatusCode, refusal: &Refusal) -> Response {
    let body = json!({
        "code": refusal.code.name(),
        "message": refusal.message,
        "retryable": refusal.code.retryable(),
    });
    let mut response = json_response(status, body.to_string());
    if let Some(ms) = refusal.retry_after_ms {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000)));
    }
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// A document or path that does not exist, or that the caller may not see.
pub(super) fn not_found() -> Response {
    let body = json!({ "code": "not-found", "message": "nothing is here", "retryable": false });
    json_response(StatusCode::NOT_FOUND, body.to_string())
}

fn json_response(status: StatusCode, text: String) -> Response {
    body_response_with(status, Bytes::from(text))
}

fn body_response(status: StatusCode, tag: HeaderValue, body: Bytes) -> Response {
    let mut response = body_response_with(status, body);
    response.headers_mut().insert(header::ETAG, tag);
    response
}

/// JSON that no browser takes for a page.
fn body_response_with(status: StatusCode, body: Bytes) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, body).into_response()
}
