//! TLS on the data listener. The certificates below `testdata` are self-signed, for `localhost`, and exist for these tests alone.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::process::{Scratch, Serve, http, request};

const FILES: [(&str, &str, &str); 2] = [
    ("a", include_str!("../testdata/a.pem"), include_str!("../testdata/a.key.pem")),
    ("b", include_str!("../testdata/b.pem"), include_str!("../testdata/b.key.pem")),
];
const TLS: &str = "[server.tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n";

fn install(scratch: &Scratch, cert: usize, key: usize) {
    fs::write(scratch.0.join("cert.pem"), FILES[cert].1).unwrap();
    fs::write(scratch.0.join("key.pem"), FILES[key].2).unwrap();
}

/// A request by a client that trusts this certificate only.
fn trusting(serve: &Serve, cert: usize) -> Result<(u16, String), String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(FILES[cert].1.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(("127.0.0.1", serve.port)).unwrap());
    stream.conn.complete_io(&mut stream.sock).map_err(|error| error.to_string())?;
    let authorization = format!("authorization: Bearer {}\r\n", serve.token());
    Ok(request(stream, "GET", "/v1/db/test/notes", &authorization, ""))
}

#[test]
fn the_data_listener_speaks_tls_with_the_certificate_in_force() {
    let scratch = Scratch::new();
    install(&scratch, 0, 0);
    let serve = Serve::start(&scratch.configure(TLS, ""));
    assert_eq!(serve.scheme, "https");
    let empty = (200, r#"{"documents":[],"after":null}"#.to_owned());
    assert_eq!(trusting(&serve, 0), Ok(empty.clone()));
    assert!(trusting(&serve, 1).unwrap_err().contains("certificate"), "another certificate is not trusted");
    // A client that never says anything holds up nobody.
    let _silent = TcpStream::connect(("127.0.0.1", serve.port)).unwrap();
    assert_eq!(trusting(&serve, 0), Ok(empty.clone()));
    let plain = std::panic::catch_unwind(|| http(serve.port, "GET", "/health", "", ""));
    assert!(plain.is_err(), "plain HTTP is not answered: {plain:?}");

    let reload = |logged: &str| {
        let before = serve.log().len();
        serve.signal("HUP");
        serve.until_logged(before, logged);
    };
    install(&scratch, 1, 0);
    reload("does not fit");
    assert_eq!(trusting(&serve, 0), Ok(empty.clone()), "a wrong pair changes nothing");
    install(&scratch, 1, 1);
    reload("the configuration is in force");
    assert_eq!(trusting(&serve, 1), Ok(empty));
    assert!(trusting(&serve, 0).is_err());
    serve.stop();
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let scratch = Scratch::new();
    let config = scratch.configure(TLS, "");
    let error = |config: &Path| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_tidelock")).args(["serve", "--config"]).arg(config).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(error(&config).contains("server.tls.cert: "), "a file that is missing");
    install(&scratch, 0, 1);
    assert!(error(&config).contains("does not fit"), "a key of another certificate");
    fs::write(scratch.0.join("key.pem"), "nothing").unwrap();
    assert!(error(&config).contains("server.tls.key: "), "no key");
}
