//! Which web pages may connect (cross-site WebSocket hijacking).

use axum::http::{HeaderMap, Uri, header};

use crate::app::App;

/// Whether a request with these headers may open a session: its origin is the server's own or an allowed one. A missing origin is
/// not a browser's.
pub(super) fn allowed(headers: &HeaderMap, app: &App) -> bool {
    is_allowed(headers, &app.live().origins, app.options.allow_missing_origin)
}

fn is_allowed(headers: &HeaderMap, allowed: &[String], allow_missing: bool) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let (origin, more) = (origins.next(), origins.next());
    if more.is_some() {
        return false;
    }
    let Some(origin) = origin else { return allow_missing };
    let Ok(origin) = origin.to_str() else { return false };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)) || host.is_some_and(|host| is_own(origin, host))
}

/// Whether the origin is the host that the request was sent to, over either scheme: a proxy may speak TLS in front.
fn is_own(origin: &str, host: &str) -> bool {
    let Ok(uri) = origin.parse::<Uri>() else { return false };
    let plain = uri.path() == "/" && uri.query().is_none();
    let http = matches!(uri.scheme_str(), Some("http" | "https"));
    plain && http && uri.authority().is_some_and(|authority| authority.as_str().eq_ignore_ascii_case(host))
}

/// Whether a request was sent to this machine by a loopback name: what `tidelock dev` requires, against DNS rebinding.
pub(super) fn is_loopback_host(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let Ok(authority) = host.parse::<axum::http::uri::Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(origin: Option<&str>, host: &str, allow_missing: bool) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        is_allowed(&headers, &["https://app.example.com".to_owned()], allow_missing)
    }

    #[test]
    fn only_known_origins() {
        assert!(check(Some("https://app.example.com"), "sync.example.com", false));
        assert!(check(Some("http://127.0.0.1:4860"), "127.0.0.1:4860", false));
        for foreign in [
            "null",
            "https://app.example.com.evil",
            "https://app.example.com:444",
            "http://app.example.com",
            "https://evil.com",
            "ftp://sync.example.com",
            "https://sync.example.com/path",
            "",
        ] {
            assert!(!check(Some(foreign), "sync.example.com", false), "{foreign}");
        }
        assert!(!check(None, "sync.example.com", false));
        assert!(check(None, "sync.example.com", true));
    }

    #[test]
    fn loopback_names() {
        let check = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            is_loopback_host(&headers)
        };
        assert!(check("127.0.0.1:4860") && check("localhost:1") && check("[::1]:80"));
        assert!(!check("localhost.evil.com") && !check("10.0.0.1") && !check("evil.com:4860"));
    }
}
