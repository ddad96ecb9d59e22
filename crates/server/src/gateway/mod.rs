//! HTTP: the sync WebSocket, REST, metrics, and an application's static files.

mod assets;
mod coding;
mod origin;
mod rest;
mod socket;
mod transport;
mod upgrade;
mod writer;

use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get, post};

pub use axum::body::Bytes;
pub use transport::{Transport, TransportEvent};

use crate::app::App;

/// Most bytes of a REST request's body: a document, and what JSON escapes may add.
const BODY_BYTES_MAX: usize = 8 << 20;

/// Every route. Only these exact paths exist; everything else is the application's file or not found.
pub fn router(app: Arc<App>) -> Router {
    let mut router = Router::new()
        .route("/v1/sync", any(upgrade::upgrade))
        .route("/v1/db/{database}/conflicts", get(rest::conflicts))
        .route("/v1/db/{database}/{collection}", get(rest::scan))
        .route("/v1/db/{database}/{collection}/{key}", get(rest::read).put(rest::put).delete(rest::delete))
        .route("/health", get(rest::health));
    if app.options.dev {
        router = router.route("/v1/dev/token", post(rest::dev_token)).route("/metrics", get(rest::metrics));
    }
    router
        .fallback(assets::serve)
        .method_not_allowed_fallback(rest::method_not_allowed)
        .layer(axum::extract::DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(app)
}

/// Serves one connection over any transport until it ends, as the WebSocket is served. Needs no runtime.
pub async fn host(app: Arc<App>, transport: impl Transport) {
    socket::serve(app, transport, coding::Coding::Plain).await;
}

/// What operators see, on a listener of its own.
pub(crate) fn admin_router(app: Arc<App>) -> Router {
    Router::new()
        .route("/health", get(rest::health))
        .route("/metrics", get(rest::metrics))
        .fallback(|| async { rest::not_found() })
        .with_state(app)
}
