//! Asks locators.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::connection::open_stream;
use crate::config::Config;
use crate::error::Error;
use crate::wire::locator::{Address, Answer, read_answer};

/// The longest answer of a locator.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// Sends a request to one locator after the other, until one answers. When one is there and has no answer, it is a refusal.
pub(crate) async fn ask(locators: &[Address], request: &[u8], config: &Config) -> Result<Answer, Error> {
    let mut reasons = Vec::new();
    let mut refusal = None;
    for locator in locators {
        match ask_one(locator, request, config).await {
            Ok(answer) => return Ok(answer),
            Err(error @ Error::Refused { .. }) => refusal = Some(error),
            Err(Error::Unreachable(reason)) => reasons.push(reason),
            Err(error) => reasons.push(format!("{locator}: {error}")),
        }
    }
    if let Some(refusal) = refusal {
        return Err(refusal);
    }
    Err(Error::Unreachable(format!("no locator answers: {}", reasons.join("; "))))
}

async fn ask_one(locator: &Address, request: &[u8], config: &Config) -> Result<Answer, Error> {
    let mut stream = open_stream(locator, config).await?;
    let exchange = async {
        stream.write_all(request).await?;
        let mut answer = Vec::new();
        // The locator closes the connection after its answer.
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    match timeout(config.connect_timeout, exchange).await {
        // It has closed the connection.
        Ok(Ok(answer)) if answer.is_empty() => {
            let reason = "no answer to this version of the protocol".to_owned();
            Err(Error::Refused { server: locator.clone(), reason })
        }
        Ok(Ok(answer)) => Ok(read_answer(&answer)?),
        Ok(Err(error)) => Err(Error::Unreachable(format!("{locator}: {error}"))),
        Err(_) => Err(Error::Unreachable(format!("{locator}: no answer within {:?}", config.connect_timeout))),
    }
}
