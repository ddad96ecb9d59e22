//! TLS in front of the data listener.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

use crate::config::{ConfigError, Location, TlsConfig};

/// How long a handshake may take.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// Handshakes under way; further connections wait in the operating system's queue.
const HANDSHAKES_MAX: usize = 256;
/// Connections whose handshake is done and which nobody has taken yet.
const READY_MAX: usize = 64;
/// Pause after the operating system gave no connection (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The certificate in use, which may be replaced while the server runs.
pub struct Tls(RwLock<Arc<ServerConfig>>);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads certificate and key.
    pub fn load(config: &TlsConfig) -> Result<Self, ConfigError> {
        Ok(Self(RwLock::new(Arc::new(load(config)?))))
    }

    /// Connections from here on use another certificate.
    pub(crate) fn replace(&self, config: ServerConfig) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

/// TLS 1.2 and 1.3 with the certificate and key that the configuration names.
pub(crate) fn load(config: &TlsConfig) -> Result<ServerConfig, ConfigError> {
    let refuse = |key: &str, message: String| {
        ConfigError::new(Location { key: format!("server.tls.{key}"), ..Location::default() }, message)
    };
    let (cert, key) = (config.cert.display(), config.key.display());
    let chain: Vec<CertificateDer<'_>> = CertificateDer::pem_file_iter(&config.cert)
        .and_then(Iterator::collect)
        .map_err(|error| refuse("cert", format!("{cert} cannot be read: {error}")))?;
    if chain.is_empty() {
        return Err(refuse("cert", format!("{cert} holds no certificate (`BEGIN CERTIFICATE`)")));
    }
    let private = PrivateKeyDer::from_pem_file(&config.key)
        .map_err(|error| refuse("key", format!("{key} holds no private key that can be read: {error}")))?;
    let mut server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map_err(|error| refuse("key", format!("{key} does not fit {cert}: {error}")))?;
    // A WebSocket begins as HTTP/1.1.
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(server)
}

/// A listener whose connections have finished their handshake.
pub(crate) struct TlsListener {
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl TlsListener {
    /// Handshakes run beside each other: a slow client delays nobody.
    pub(crate) fn new(listener: TcpListener, address: SocketAddr, tls: Arc<Tls>) -> Self {
        let (done, ready) = mpsc::channel(READY_MAX);
        let accepting = tokio::spawn(accept(listener, tls, done));
        Self { ready, address, accepting }
    }
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            // The accepting task ends only with the listener.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}

async fn accept(listener: TcpListener, tls: Arc<Tls>, done: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>) {
    let room = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(handshake(tls.acceptor(), stream, peer, done.clone(), permit));
            }
            Err(error) => {
                tracing::warn!(%error, "no connection could be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn handshake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
    done: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
    _permit: OwnedSemaphorePermit,
) {
    // Without it a small frame may wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    match tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream)).await {
        // Fails when the server has stopped.
        Ok(Ok(stream)) => drop(done.send((stream, peer)).await),
        Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
        Err(_) => tracing::debug!("a handshake took too long"),
    }
}
