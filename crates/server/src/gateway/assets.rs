//! The static files of an application.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use tidelock_core::server::Refusal;
use tidelock_core::wire::ErrorCode;

use super::rest;
use crate::app::App;

/// What pages served from here may load: themselves only; the core is WebAssembly, the engine a worker.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; \
    connect-src 'self' ws: wss:; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; object-src 'none'; \
    base-uri 'none'; frame-ancestors 'none'; form-action 'self'";

/// Serves a file below the application's directory, or its `index.html` for a path without an extension.
pub(super) async fn serve(State(app): State<Arc<App>>, method: Method, uri: Uri) -> Response {
    let missing = || rest::not_found();
    let Some(root) = &app.options.app_dir else { return missing() };
    let path = uri.path();
    if path == "/v1" || path.starts_with("/v1/") {
        return missing();
    }
    if method != Method::GET && method != Method::HEAD {
        return rest::refuse_with(
            axum::http::StatusCode::METHOD_NOT_ALLOWED,
            &Refusal::new(ErrorCode::Protocol, "GET only"),
        );
    }
    // `/v1` may be spelled with escapes.
    let Some(relative) = relative(path).filter(|relative| !relative.starts_with("v1")) else { return missing() };
    let mut file = root.join(&relative);
    if relative.as_os_str().is_empty() || relative.extension().is_none() {
        let below = file.join("index.html");
        file = if tokio::fs::try_exists(&below).await.unwrap_or(false) { below } else { root.join("index.html") };
    }
    match read_below(root, &file).await {
        Some(bytes) => respond(&file, bytes, method == Method::HEAD),
        None => missing(),
    }
}

/// The file's bytes, unless a link leads out of the directory.
async fn read_below(root: &Path, file: &Path) -> Option<Vec<u8>> {
    let root = tokio::fs::canonicalize(root).await.ok()?;
    let file = tokio::fs::canonicalize(file).await.ok()?;
    if !file.starts_with(&root) {
        return None;
    }
    tokio::fs::read(&file).await.ok()
}

/// The path below the root; `None` for one that tries anything but plain names.
fn relative(path: &str) -> Option<PathBuf> {
    let decoded = percent_decode(path.trim_start_matches('/'))?;
    let path = PathBuf::from(decoded);
    let plain = path.components().all(|part| match part {
        Component::Normal(name) => !name.to_string_lossy().starts_with('.'),
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => false,
    });
    plain.then_some(path)
}

/// Decodes `%41`; `None` for what is not UTF-8, holds a NUL or a backslash, or is cut off.
pub(super) fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            let digits = core::str::from_utf8(&digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains(['\0', '\\']))
}

fn respond(file: &Path, bytes: Vec<u8>, head: bool) -> Response {
    let html = media_type(file) == "text/html; charset=utf-8";
    let length = bytes.len();
    let body = if head { Body::empty() } else { Body::from(bytes) };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(file)));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    if html {
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    }
    response
}

fn media_type(file: &Path) -> &'static str {
    match file.extension().and_then(|extension| extension.to_str()).unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths() {
        assert_eq!(relative("/assets/app.js"), Some(PathBuf::from("assets/app.js")));
        assert_eq!(relative("/"), Some(PathBuf::new()));
        assert_eq!(relative("/a%20b.txt"), Some(PathBuf::from("a b.txt")));
        for trick in ["/../etc/passwd", "/a/%2e%2e/b", "/.git/config", "/a%00", "/a%5c..%5cb", "/%ff", "/a%2", "/./a"] {
            assert_eq!(relative(trick), None, "{trick}");
        }
    }
}
