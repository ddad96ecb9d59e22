//! TLS with own roots, and client certificates: somebody who speaks TLS stands in front of each node of a double.
//!
//! `keys` has a root, and a certificate of 127.0.0.1 and one of a client under it, all valid for a hundred years, made with openssl; the
//! root's key is gone.

#![expect(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a panic is how a test fails")]

use std::sync::Arc;

use tidelock_couchbase_dcp::tls::Tls;
use tidelock_couchbase_dcp::{Checkpoint, Config, Credentials, Error, Event, Feed};
use tidelock_couchbase_double::{Double, Options};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

const ROOT: &[u8] = include_bytes!("keys/ca.pem");
const SERVER: (&[u8], &[u8]) = (include_bytes!("keys/server.pem"), include_bytes!("keys/server.key"));
const CLIENT: (&[u8], &[u8]) = (include_bytes!("keys/client.pem"), include_bytes!("keys/client.key"));

/// A cluster with its fronts, which end with it.
struct Cluster {
    double: Double,
    ports: Vec<u16>,
    _fronts: JoinSet<()>,
}

async fn cluster() -> Cluster {
    let double = Double::start(Options { vbuckets: 8, ..Options::default() }).await.unwrap();
    let acceptor = acceptor();
    let mut fronts = JoinSet::new();
    let mut ports = Vec::new();
    for kv in double.kv_ports() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        ports.push(listener.local_addr().unwrap().port());
        fronts.spawn(front(listener, acceptor.clone(), kv));
    }
    double.announce_tls(&ports);
    Cluster { double, ports, _fronts: fronts }
}

/// It takes clients without a certificate, and those with one of the root's.
fn acceptor() -> TlsAcceptor {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ROOT).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated().build().unwrap();
    let chain = vec![CertificateDer::from_pem_slice(SERVER.0).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(SERVER.1).unwrap();
    let config = ServerConfig::builder().with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn front(listener: TcpListener, acceptor: TlsAcceptor, kv: u16) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = acceptor.clone();
        connections.spawn(async move {
            let Ok(mut client) = acceptor.accept(stream).await else { return };
            let mut server = TcpStream::connect(("127.0.0.1", kv)).await.unwrap();
            // Who comes with a certificate is logged in by it.
            if client.get_ref().1.peer_certificates().is_some() {
                log_in(&mut server).await;
            }
            // It ends when one of the two does.
            let _ = copy_bidirectional(&mut client, &mut server).await;
        });
    }
}

/// SASL PLAIN, in one packet there and one packet back.
async fn log_in(server: &mut TcpStream) {
    let (key, value) = (b"PLAIN", b"\0Administrator\0password");
    let mut packet = vec![0x80, 0x21, 0, 5, 0, 0, 0, 0];
    packet.extend(u32::try_from(key.len() + value.len()).unwrap().to_be_bytes());
    packet.extend([0; 12]);
    packet.extend(key);
    packet.extend(value);
    server.write_all(&packet).await.unwrap();
    let mut header = [0; 24];
    server.read_exact(&mut header).await.unwrap();
    let [.., status_high, status_low] = header.first_chunk::<8>().unwrap();
    assert_eq!((status_high, status_low), (&0, &0), "the login");
    let length = u32::from_be_bytes(*header.last_chunk::<16>().unwrap().first_chunk().unwrap());
    server.read_exact(&mut vec![0; length as usize]).await.unwrap();
}

fn config(cluster: &Cluster, user: &str, tls: Tls) -> Config {
    let hosts: Vec<String> = cluster.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let mut config = Config::new(&format!("couchbases://{user}{}/default", hosts.join(","))).unwrap();
    config.tls = Some(tls);
    config
}

/// Both nodes' streams open, over TLS.
async fn follow(config: Config) {
    let mut feed = Feed::open(config, &Checkpoint::default()).await.unwrap();
    loop {
        match feed.next().await.unwrap().unwrap() {
            Event::CaughtUp => return,
            Event::Disconnected { error, .. } => panic!("{error}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_password_goes_over_tls() {
    let cluster = cluster().await;
    follow(config(&cluster, "Administrator:password@", Tls::with_pem(ROOT, None).unwrap())).await;
    let wrong = config(&cluster, "Administrator:wrong@", Tls::with_pem(ROOT, None).unwrap());
    assert!(matches!(Feed::open(wrong, &Checkpoint::default()).await, Err(Error::Authentication(_))));
}

#[tokio::test]
async fn a_certificate_says_who_the_client_is() {
    let cluster = cluster().await;
    let with_certificate = config(&cluster, "", Tls::with_pem(ROOT, Some(CLIENT)).unwrap());
    assert_eq!(with_certificate.credentials, Credentials::Certificate);
    follow(with_certificate).await;
    let without = config(&cluster, "", Tls::with_pem(ROOT, None).unwrap());
    assert!(matches!(Feed::open(without, &Checkpoint::default()).await, Err(Error::Access(_))));
}

#[tokio::test]
async fn a_server_of_another_root_is_refused() {
    let cluster = cluster().await;
    // The client's certificate is no root of the server's.
    let other = config(&cluster, "Administrator:password@", Tls::with_pem(CLIENT.0, None).unwrap());
    let error = Feed::open(other, &Checkpoint::default()).await.err().unwrap();
    assert!(matches!(&error, Error::Connection(why) if why.contains("certificate")), "{error}");
    // A node that speaks no TLS.
    let string = cluster.double.connection_string().replace("couchbase://", "couchbases://");
    let mut plain = Config::new(&string).unwrap().bucket("default");
    plain.tls = Some(Tls::with_pem(ROOT, None).unwrap());
    assert!(matches!(Feed::open(plain, &Checkpoint::default()).await, Err(Error::Connection(_))));
}
