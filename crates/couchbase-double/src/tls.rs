//! TLS in front of the double: whoever speaks it is passed on. The certificate is one of 127.0.0.1.
//!
//! `keys` has a root, and a certificate of 127.0.0.1 and one of a client under it, all valid for a hundred years, made with openssl; the
//! root's key is gone.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// The root certificate, in PEM form.
pub const ROOT: &str = include_str!("../keys/ca.pem");
/// A client's certificate and its private key, in PEM form.
pub const CLIENT: (&str, &str) = (include_str!("../keys/client.pem"), include_str!("../keys/client.key"));
const SERVER: (&str, &str) = (include_str!("../keys/server.pem"), include_str!("../keys/server.key"));

/// Who a client with a certificate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// The user of the double, who is logged in to the key-value service.
    LoggedIn,
    /// Whoever the requests say.
    AsTheySay,
}

/// It takes clients without a certificate, and those with one of the root's.
pub(crate) fn acceptor() -> io::Result<TlsAcceptor> {
    let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).map_err(io::Error::other);
    let mut roots = RootCertStore::empty();
    roots.add(certificate(ROOT)?).map_err(io::Error::other)?;
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated().build();
    let key = PrivateKeyDer::from_pem_slice(SERVER.1.as_bytes()).map_err(io::Error::other)?;
    let config = ServerConfig::builder()
        .with_client_cert_verifier(verifier.map_err(io::Error::other)?)
        .with_single_cert(vec![certificate(SERVER.0)?], key)
        .map_err(io::Error::other)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Stands in front of a port; the port to come to instead.
pub(crate) async fn stand(fronts: &mut JoinSet<()>, acceptor: &TlsAcceptor, behind: u16, who: Who) -> io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let acceptor = acceptor.clone();
    fronts.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            // It ends when one of the two does; nobody is there to tell why.
            connections.spawn(async move {
                let _ = pass(&acceptor, stream, behind, who).await;
            });
        }
    });
    Ok(port)
}

async fn pass(acceptor: &TlsAcceptor, stream: TcpStream, behind: u16, who: Who) -> io::Result<()> {
    let mut client = acceptor.accept(stream).await?;
    let mut server = TcpStream::connect(("127.0.0.1", behind)).await?;
    if who == Who::LoggedIn && client.get_ref().1.peer_certificates().is_some() {
        log_in(&mut server).await?;
    }
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

/// SASL PLAIN as the user of [`Options::default`](crate::Options), in one packet there and one packet back.
async fn log_in(server: &mut TcpStream) -> io::Result<()> {
    let (key, value) = (b"PLAIN", b"\0Administrator\0password");
    let mut packet = vec![0x80, 0x21, 0, 5, 0, 0, 0, 0];
    packet.extend(u32::try_from(key.len() + value.len()).map_err(io::Error::other)?.to_be_bytes());
    packet.extend([0; 12]);
    packet.extend(key);
    packet.extend(value);
    server.write_all(&packet).await?;
    let mut header = [0; 24];
    server.read_exact(&mut header).await?;
    let [_, _, _, _, _, _, status_high, status_low, b0, b1, b2, b3, ..] = header;
    if (status_high, status_low) != (0, 0) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    server.read_exact(&mut vec![0; u32::from_be_bytes([b0, b1, b2, b3]) as usize]).await?;
    Ok(())
}
