//! Geode's shell, gfsh, over HTTP: a locator that is a JMX manager carries out its commands.

use std::fmt::Write as _;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use tidelock_geode_client::Json;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Where a locator's manager listens unless it is configured otherwise.
pub const MANAGER_PORT: u16 = 7070;
/// Of the interface that gfsh itself uses.
const PATH: &str = "/geode-mgmt/v1/management/commands?cmd=";
/// Creating a region waits for all members.
const PATIENCE: Duration = Duration::from_secs(120);
/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Why a command was not carried out.
#[derive(Debug)]
pub(crate) enum ManagerError {
    /// Nobody answers there.
    Unreachable(String),
    /// It was tried, and Geode says why it failed.
    Failed(String),
}

/// A manager, and who asks it.
pub(crate) struct Manager<'a> {
    /// `host:port`.
    pub(crate) address: &'a str,
    /// As headers.
    pub(crate) credentials: &'a [(String, String)],
}

impl Manager<'_> {
    /// Carries out a command of gfsh.
    pub(crate) async fn run(&self, command: &str) -> Result<(), ManagerError> {
        let late = || ManagerError::Failed(format!("{}: no answer within {PATIENCE:?}", self.address));
        timeout(PATIENCE, self.exchange(command)).await.map_err(|_| late())?
    }

    async fn exchange(&self, command: &str) -> Result<(), ManagerError> {
        let address = self.address;
        let unreachable = |error: &dyn std::fmt::Display| ManagerError::Unreachable(format!("{address}: {error}"));
        let failed = |error: &dyn std::fmt::Display| ManagerError::Failed(format!("{address}: {error}"));
        let stream = TcpStream::connect(address).await.map_err(|error| unreachable(&error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
        // It ends with the sender; what went wrong, the request tells.
        tokio::spawn(connection);
        let mut request = Request::post(format!("{PATH}{}", percent_encoded(command))).header(HOST, address);
        for (name, value) in self.credentials {
            request = request.header(name, value);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| failed(&error))?;
        let response = sender.send_request(request).await.map_err(|error| failed(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| failed(&error))?.to_bytes();
        let text = String::from_utf8_lossy(&body);
        if !status.is_success() {
            return Err(failed(&format!("the manager answers {status}")));
        }
        verdict(&text).map_err(|sentence| failed(&sentence))
    }
}

/// What the manager says of a command: an object with `status`, and the sentences of gfsh within `content`.
fn verdict(answer: &str) -> Result<(), String> {
    let answer = Json::parse(answer).map_err(|error| format!("the answer is no JSON of gfsh: {error}"))?;
    if answer.get("status") == Some(&Json::String("OK".to_owned())) {
        return Ok(());
    }
    let mut sentences = Vec::new();
    if let Some(content) = answer.get("content") {
        texts(content, &mut sentences);
    }
    Err(if sentences.is_empty() { answer.to_string() } else { sentences.join("; ") })
}

/// The sentences below `content` and `Message`, in their order; the rest are names of columns and of sections.
fn texts(content: &Json, sentences: &mut Vec<String>) {
    let Json::Object(sections) = content else { return };
    for (name, section) in sections {
        let Json::Array(lines) = section else {
            texts(section, sentences);
            continue;
        };
        if matches!(name.as_str(), "content" | "Message") {
            for line in lines {
                // Each member says the same.
                if let Json::String(text) = line
                    && !text.is_empty()
                    && !sentences.contains(text)
                {
                    sentences.push(text.clone());
                }
            }
        }
    }
}

fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_one_parameter() {
        assert_eq!(percent_encoded("create region --name=a_b&c"), "create%20region%20--name%3Da_b%26c");
    }

    #[test]
    fn what_gfsh_says_is_found() {
        assert_eq!(verdict(r#"{"status":"OK","content":{}}"#), Ok(()));
        let failed = r#"{"status":"ERROR","content":{"info-0":{"type":"info","header":"","footer":"","content":["Region /docs already exists."]}}}"#;
        assert_eq!(verdict(failed), Err("Region /docs already exists.".to_owned()));
        let table = r#"{"status":"ERROR","content":{"createRegion":{"type":"table","content":{"Member":["s1","s2"],"Status":["ERROR","ERROR"],"Message":["wrong","wrong"]}}}}"#;
        assert_eq!(verdict(table), Err("wrong".to_owned()));
        assert!(verdict("<html>").is_err());
    }
}
