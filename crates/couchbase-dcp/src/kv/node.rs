//! The connection to one node, as a task: it sends what it is given and hands answers to those who wait for them.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncWriteExt as _, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::address::Address;
use crate::config::Config;
use crate::connection::{Connection, Io, Purpose};
use crate::error::Error;
use crate::limits::{OUTPUT_BYTES_MAX, REQUESTS_WAITING_MAX};
use crate::wire::packet::{Outgoing, Packet};

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// The request did not reach the node.
    NotSent(Error),
    /// It may have been carried out.
    Unknown(Error),
}

/// A request, and who waits for its answer.
pub(super) struct Order {
    pub(super) request: Outgoing,
    pub(super) answer: oneshot::Sender<Result<Packet, Unanswered>>,
}

/// A node. Its task ends when this is dropped.
#[derive(Debug)]
pub(super) struct Node {
    /// Closed when the connection has ended.
    pub(super) orders: mpsc::Sender<Order>,
    task: JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Node {
    pub(super) fn start(address: Address, config: Arc<Config>) -> Self {
        let (orders, mut given) = mpsc::channel(REQUESTS_WAITING_MAX);
        let task = tokio::spawn(async move {
            let mut sent = HashMap::new();
            let error = match Connection::open(&address, &config, Purpose::Documents).await {
                Ok(connection) => match run(connection, &mut given, &mut sent).await {
                    Ok(never) => match never {},
                    Err(error) => error,
                },
                Err(error) => error,
            };
            given.close();
            for (_, answer) in sent.drain() {
                // Whoever waits no more needs no answer.
                let _ = answer.send(Err(Unanswered::Unknown(error.clone())));
            }
            while let Ok(order) = given.try_recv() {
                let _ = order.answer.send(Err(Unanswered::NotSent(error.clone())));
            }
        });
        Self { orders, task }
    }
}

/// Writes some bytes; without any, flushes. Cancel-safe.
async fn write(writer: &mut WriteHalf<Box<dyn Io>>, bytes: &[u8]) -> std::io::Result<usize> {
    if bytes.is_empty() { writer.flush().await.map(|()| 0) } else { writer.write(bytes).await }
}

type Waiting = HashMap<u32, oneshot::Sender<Result<Packet, Unanswered>>>;

async fn run(
    connection: Connection,
    orders: &mut mpsc::Receiver<Order>,
    sent: &mut Waiting,
) -> Result<std::convert::Infallible, Error> {
    let Connection { mut reader, mut writer } = connection;
    let mut output = BytesMut::new();
    let mut opaque = 0_u32;
    // What was written may wait in the encryption until it is flushed.
    let mut is_flushed = true;
    loop {
        tokio::select! {
            filled = reader.fill() => {
                filled?;
                while let Some(packet) = reader.take()? {
                    if packet.is_response() && let Some(answer) = sent.remove(&packet.opaque) {
                        let _ = answer.send(Ok(packet));
                    }
                }
            }
            order = orders.recv(), if output.len() < OUTPUT_BYTES_MAX => {
                let Order { request, answer } = order.ok_or_else(|| Error::Connection("the client is gone".into()))?;
                opaque = opaque.wrapping_add(1);
                let mut bytes = Vec::new();
                Outgoing { opaque, ..request }.write(&mut bytes);
                output.extend_from_slice(&bytes);
                sent.insert(opaque, answer);
            }
            written = write(&mut writer, &output), if !output.is_empty() || !is_flushed => {
                is_flushed = output.is_empty();
                output.advance(written?);
            }
        }
    }
}
