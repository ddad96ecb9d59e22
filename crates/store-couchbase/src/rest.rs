//! The management REST, as far as a check and a set-up need it.

use std::fmt::Write as _;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tidelock_core::base64::{self, Variant};
use tidelock_couchbase_dcp::{Config, Credentials, kv};
use tidelock_store::platform::PlatformError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::entry::refused;

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// The nodes' management service.
pub(crate) struct Management<'a> {
    config: &'a Config,
    nodes: Vec<(String, u16)>,
}

/// What the service answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

fn unavailable(what: &str, error: &dyn std::fmt::Display) -> PlatformError {
    PlatformError::Unavailable(format!("management at {what}: {error}"))
}

impl<'a> Management<'a> {
    pub(crate) async fn find(config: &'a Config) -> Result<Self, PlatformError> {
        let nodes = kv::management(config).await.map_err(|error| refused(&error))?;
        Ok(Self { config, nodes })
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Answer, PlatformError> {
        self.ask("GET", path, String::new()).await
    }

    pub(crate) async fn post(&self, path: &str, form: &[(&str, &str)]) -> Result<Answer, PlatformError> {
        let fields = form.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
        self.ask("POST", path, fields.collect::<Vec<_>>().join("&")).await
    }

    /// Asks the first node that answers.
    async fn ask(&self, method: &str, path: &str, body: String) -> Result<Answer, PlatformError> {
        let mut last = PlatformError::Unavailable("no node has a management service".to_owned());
        for (host, port) in &self.nodes {
            let asked = timeout(self.config.timeout, self.ask_node(host, *port, method, path, body.clone())).await;
            match asked.unwrap_or_else(|_| Err(unavailable(host, &"no answer in time"))) {
                Ok(answer) => return Ok(answer),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask_node(
        &self,
        host: &str,
        port: u16,
        method: &str,
        path: &str,
        body: String,
    ) -> Result<Answer, PlatformError> {
        let of = format!("{host}:{port}");
        let stream = self.connect(host, port).await.map_err(|error| unavailable(&of, &error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| unavailable(&of, &error))?;
        let asking = async {
            let mut request = Request::builder().method(method).uri(path).header("host", &of);
            if !body.is_empty() {
                request = request.header("content-type", "application/x-www-form-urlencoded");
            }
            if let Credentials::Password { user, password } = &self.config.credentials {
                let token = base64::encode(format!("{user}:{password}").as_bytes(), Variant::Standard);
                request = request.header("authorization", format!("Basic {token}"));
            }
            let request = request.body(Full::new(Bytes::from(body))).map_err(|error| unavailable(&of, &error))?;
            let response = sender.send_request(request).await.map_err(|error| unavailable(&of, &error))?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| unavailable(&of, &error))?.to_bytes();
            Ok(Answer { status, text: String::from_utf8_lossy(&body).into_owned() })
        };
        let mut asking = std::pin::pin!(asking);
        tokio::select! {
            answer = &mut asking => answer,
            ended = connection => {
                ended.map_err(|error| unavailable(&of, &error))?;
                asking.await
            }
        }
    }

    async fn connect(&self, host: &str, port: u16) -> std::io::Result<Box<dyn Io>> {
        let stream = TcpStream::connect((host, port)).await?;
        #[cfg(feature = "tls")]
        if let Some(tls) = self.config.tls.as_ref().filter(|_| self.config.is_tls()) {
            return Ok(Box::new(tls.connect(host, stream).await?));
        }
        Ok(Box::new(stream))
    }
}

/// What carries a connection.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A name or a value as a path or a form has it.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a text does not fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_in_a_form_is_escaped() {
        assert_eq!(escaped("a-b_c.d~e"), "a-b_c.d~e");
        assert_eq!(escaped("50% ä&b=c"), "50%25%20%C3%A4%26b%3Dc");
    }
}
