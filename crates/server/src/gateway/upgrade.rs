//! The handshake of `/v1/sync`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use tidelock_core::server::Refusal;
use tidelock_core::wire::ErrorCode;

use super::coding::{Coding, SUBPROTOCOLS};
use super::writer::Wire;
use super::{origin, rest, socket};
use crate::app::App;
use crate::metrics::add;

/// A small buffer: idle connections are many. Larger frames are read in steps.
const READ_BUFFER_BYTES: usize = 2 << 10;
/// The transport's own write buffer is flushed at once; the queue is the session's.
const WRITE_BUFFER_BYTES: usize = 0;

/// The transport reads messages of up to so many times the limit, so that the session can say what is wrong; beyond, it is cut.
const OVERSIZE_FACTOR: usize = 2;

/// Accepts a WebSocket, or says why not.
pub(super) async fn upgrade(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    if !origin::allowed(&headers, &app) {
        add(&app.metrics.connections_refused, 1);
        return rest::refuse(&Refusal::new(ErrorCode::Forbidden, "this origin may not connect"));
    }
    let Some(slot) = Slot::take(&app) else {
        add(&app.metrics.connections_refused, 1);
        let message = if app.is_stopping() { "the server is stopping" } else { "too many connections" };
        let refusal = Refusal::new(ErrorCode::Unavailable, message);
        return rest::refuse(&Refusal { retry_after_ms: Some(5_000), ..refusal });
    };
    let frame_bytes_max = app.options.limits.protocol.frame_bytes_max as usize;
    upgrade
        .protocols(SUBPROTOCOLS)
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(frame_bytes_max.saturating_mul(32))
        .max_message_size(frame_bytes_max.saturating_mul(OVERSIZE_FACTOR))
        .max_frame_size(frame_bytes_max.saturating_mul(OVERSIZE_FACTOR))
        .on_upgrade(move |socket| async move {
            let coding = Coding::of(socket.protocol());
            socket::serve(Arc::clone(&slot.app), Wire::new(socket), coding).await;
            drop(slot);
        })
}

/// One of the connections that the server has room for.
pub(super) struct Slot {
    pub(super) app: Arc<App>,
}

impl Slot {
    fn take(app: &Arc<App>) -> Option<Self> {
        let limit = u64::from(app.options.limits.connections_max);
        let taken = app.metrics.connections.fetch_add(1, Ordering::SeqCst);
        let slot = Slot { app: Arc::clone(app) };
        (taken < limit && !app.is_stopping()).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.app.metrics.connections.fetch_sub(1, Ordering::SeqCst);
    }
}
