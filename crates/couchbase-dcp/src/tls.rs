//! TLS for connections to nodes.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::error::Error;

/// How to encrypt, whom to trust, and who this client is.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Tls")
    }
}

impl Tls {
    /// A configuration of rustls, as it is.
    pub fn new(config: Arc<ClientConfig>) -> Self {
        Self { connector: TlsConnector::from(config) }
    }

    /// Trusts the certificates in `roots`, in PEM form. Nodes must name, in their certificates, the host under which they are
    /// addressed. `identity` is a certificate chain and a private key that say who the client is
    /// ([`Credentials::Certificate`](crate::Credentials::Certificate)).
    pub fn with_pem(roots: &[u8], identity: Option<(&[u8], &[u8])>) -> Result<Self, Error> {
        let wrong = |what: &str, error: &dyn std::fmt::Display| Error::Configuration(format!("TLS: {what}: {error}"));
        let mut store = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(roots) {
            let root = root.map_err(|error| wrong("root certificates", &error))?;
            store.add(root).map_err(|error| wrong("root certificates", &error))?;
        }
        // Asked for none, rustls panics in a program that has several and has installed no default.
        let provider = CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(ring::default_provider()));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong("protocol versions", &error))?
            .with_root_certificates(store);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
                let chain = chain.map_err(|error| wrong("client certificate", &error))?;
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| wrong("client key", &error))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| wrong("client certificate", &error))?
            }
        };
        Ok(Self::new(Arc::new(config)))
    }

    /// Encrypts a connection to a host.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        self.connector.connect(name, stream).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_has_its_choice_of_cryptography() {
        Tls::with_pem(b"", None).unwrap();
        // rustls installs a default where it is left to find one, and panics where it finds several.
        assert!(CryptoProvider::get_default().is_none());
    }
}
