//! Looks at what the nodes have of vbuckets (`OBSERVE_SEQNO`), for feeds that tell only what all copies have.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::address::Address;
use crate::config::Config;
use crate::connection::{Connection, Purpose};
use crate::error::Error;
use crate::output::send_all;
use crate::wire::codes::{opcode, status};
use crate::wire::packet::Outgoing;
use crate::wire::request::{self, Observed};

/// The vbuckets that somebody waits for, and the branch of each.
pub(crate) type Wanted = Arc<Mutex<BTreeMap<u16, u64>>>;

/// What a node has.
#[derive(Debug)]
pub(crate) struct Sight {
    pub(crate) node: Address,
    /// Vbucket, the branch that was asked for, and what is there of it.
    pub(crate) seen: Vec<(u16, u64, Observed)>,
}

/// A task that looks at one node; it ends when this is dropped.
pub(crate) struct Observer {
    task: JoinHandle<()>,
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Observer {
    pub(crate) fn start(
        node: Address,
        config: Arc<Config>,
        interval: Duration,
        wanted: Wanted,
        sights: mpsc::Sender<Sight>,
    ) -> Self {
        let task = tokio::spawn(async move {
            loop {
                // A node that is away shows nothing; what waits for it waits until it is back, or no member any more.
                let Ok(mut connection) = Connection::open_member(&node, &config, Purpose::Streams).await else {
                    sleep(interval).await;
                    continue;
                };
                loop {
                    sleep(interval).await;
                    let asked: Vec<(u16, u64)> = {
                        let wanted = wanted.lock().unwrap_or_else(PoisonError::into_inner);
                        wanted.iter().map(|(vbucket, uuid)| (*vbucket, *uuid)).collect()
                    };
                    if asked.is_empty() {
                        continue;
                    }
                    let looked = timeout(config.timeout, look(&mut connection, &asked)).await;
                    let Ok(Ok(seen)) = looked else { break };
                    if sights.send(Sight { node: node.clone(), seen }).await.is_err() {
                        return;
                    }
                }
            }
        });
        Self { task }
    }
}

/// Asks for all of them at once. Those that the node has not are left out.
async fn look(connection: &mut Connection, asked: &[(u16, u64)]) -> Result<Vec<(u16, u64, Observed)>, Error> {
    let mut bytes = Vec::new();
    for (opaque, (vbucket, uuid)) in (0..).zip(asked) {
        Outgoing { opaque, ..request::observe_seqno(*vbucket, *uuid) }.write(&mut bytes);
    }
    let Connection { reader, writer } = connection;
    // Written and read at once: so many answers may not fit into the buffers between the two.
    let (written, seen) = tokio::join!(send_all(writer, &bytes), async {
        let mut seen = Vec::with_capacity(asked.len());
        let mut waiting = asked.len();
        while waiting > 0 {
            let packet = reader.next().await?;
            if !packet.is_response() || packet.opcode != opcode::OBSERVE_SEQNO {
                continue;
            }
            waiting -= 1;
            if packet.vbucket != status::SUCCESS {
                continue;
            }
            let observed = request::read_observed(&packet.value);
            let observed = observed.ok_or_else(|| Error::Protocol("an observation is malformed".into()))?;
            if let Some((vbucket, uuid)) = asked.get(packet.opaque as usize) {
                seen.push((*vbucket, *uuid, observed));
            }
        }
        Ok::<_, Error>(seen)
    });
    written?;
    seen
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::output::tests::{Buffering, PATIENCE};

    #[tokio::test]
    async fn questions_do_not_stay_in_the_encryption() {
        let (io, mut node) = Buffering::new();
        let mut connection = Connection::over(Box::new(io));
        let asked: Vec<(u16, u64)> = (0..20).map(|vbucket| (vbucket, 7)).collect();
        let mut all = Vec::new();
        request::observe_seqno(0, 7).write(&mut all);
        let mut found = vec![0; all.len() * asked.len()];
        tokio::select! {
            looked = look(&mut connection, &asked) => panic!("nobody has answered: {looked:?}"),
            read = timeout(PATIENCE, node.read_exact(&mut found)) => assert!(read.expect("all of it comes").is_ok()),
        }
    }
}
