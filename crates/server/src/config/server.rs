//! `[server]`: listeners and origins.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::reader::{Found, Section};

/// Where the server listens without `server.listen`.
const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4860);

/// Listeners and origins.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where applications connect.
    pub listen: SocketAddr,
    /// Where operators connect (metrics, admin); not served without it.
    pub admin_listen: Option<SocketAddr>,
    /// Origins (scheme, host, port) of the web applications that may connect, beside the server's own.
    pub public_origins: Vec<String>,
    /// Encrypts the data listener; without it a proxy in front does.
    pub tls: Option<TlsConfig>,
}

/// The server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// Certificate chain, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self { listen: LISTEN_DEFAULT, admin_listen: None, public_origins: Vec::new(), tls: None }
    }
}

pub(super) fn read(section: &Section<'_, '_>) -> ServerConfig {
    let listen = address(section, "listen");
    let admin_listen = address(section, "admin_listen");
    if let (Some(data), Some(admin)) = (&listen, &admin_listen)
        && data.value == admin.value
        && data.value.port() != 0
    {
        let message = format!("found {}, which `server.listen` uses; expected another address", admin.value);
        section.source().problem(admin.location.clone(), message);
    }
    let config = ServerConfig {
        listen: listen.map_or(LISTEN_DEFAULT, |found| found.value),
        admin_listen: admin_listen.map(|found| found.value),
        public_origins: origins(section),
        tls: tls(&section.section("tls")),
    };
    section.finish();
    config
}

fn address(section: &Section<'_, '_>, name: &'static str) -> Option<Found<SocketAddr>> {
    let expected = "an IP address and a port, like \"127.0.0.1:4860\" or \"[::]:4860\"";
    let found = section.string(name, expected)?;
    if let Ok(value) = found.value.parse() {
        return Some(Found { value, location: found.location });
    }
    section.source().problem(found.location, format!("found the string {:?}; expected {expected}", found.value));
    None
}

fn origins(section: &Section<'_, '_>) -> Vec<String> {
    let expected = "origins, like [\"https://app.example.com\"]";
    let mut origins = Vec::new();
    for found in section.strings("public_origins", expected).unwrap_or_default() {
        if is_origin(&found.value) {
            origins.push(found.value);
        } else {
            let message = format!(
                "found the string {:?}; expected an origin: a scheme, `://`, a host in lower case, and a port unless it is the scheme's \
                 own, without a path, like \"https://app.example.com\"",
                found.value
            );
            section.source().problem(found.location, message);
        }
    }
    origins
}

/// Whether a browser could send this text as `Origin`. `*` and `null` are not origins: they would match pages of anyone.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let scheme_ok = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c));
    let host_ok =
        !host.is_empty() && host.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._[]:".contains(c));
    // Browsers leave the scheme's own port out.
    let own_port = match scheme {
        "https" => host.ends_with(":443"),
        "http" => host.ends_with(":80"),
        _ => false,
    };
    scheme_ok && host_ok && !own_port
}

fn tls(section: &Section<'_, '_>) -> Option<TlsConfig> {
    let cert = section.string("cert", "the path of a PEM file");
    let key = section.string("key", "the path of a PEM file");
    section.finish();
    if section.present() && (cert.is_none() || key.is_none()) {
        section.source().problem(section.location(), "expected both `cert` and `key`");
    }
    let resolve = |found: Found<String>| section.source().resolve(&found.value);
    Some(TlsConfig { cert: resolve(cert?), key: resolve(key?) })
}
