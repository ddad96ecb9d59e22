//! A few threads with a read-only connection each.

use std::thread::{self, JoinHandle};

use rusqlite::{Connection, Result};
use tokio::sync::{mpsc, oneshot};

use super::error::{stopped, translate};
use crate::error::StoreError;
use crate::limits::READS_QUEUED_MAX;

/// Reads in one transaction, and answers.
type Job = Box<dyn FnOnce(&Connection) + Send>;

/// Hands reads to the threads.
pub(super) struct Readers {
    jobs: async_channel::Sender<Job>,
    ended: Ended,
}

impl Readers {
    /// Starts one thread for each connection.
    pub(super) fn start(connections: Vec<Connection>) -> std::io::Result<(Self, Vec<JoinHandle<()>>)> {
        let (jobs, queue) = async_channel::bounded(READS_QUEUED_MAX);
        let (running, ended) = Ended::channel();
        let threads: std::io::Result<Vec<_>> = connections
            .into_iter()
            .map(|connection| {
                let (queue, running) = (queue.clone(), running.clone());
                thread::Builder::new().name("tidelock-read".into()).spawn(move || {
                    work(&connection, &queue);
                    drop(connection);
                    drop(running);
                })
            })
            .collect();
        Ok((Self { jobs, ended }, threads?))
    }

    /// Runs `read` in one read transaction: it sees everything that was committed before the call, and one state throughout.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> std::result::Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // Whoever asked has gone: the read would serve nobody.
            if reply.is_closed() {
                return;
            }
            let result = connection.unchecked_transaction().and_then(|transaction| read(&transaction));
            let _ = reply.send(result.map_err(translate));
        });
        self.jobs.send(job).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Resolves when every thread has finished what was queued and closed its connection.
    pub(super) async fn close(&self) {
        self.jobs.close();
        self.ended.wait().await;
    }
}

/// Tells when threads have ended: each holds a sender to the last, and the channel ends with the last of them.
pub(super) struct Ended(tokio::sync::Mutex<mpsc::Receiver<()>>);

impl Ended {
    pub(super) fn channel() -> (mpsc::Sender<()>, Self) {
        let (running, ended) = mpsc::channel(1);
        (running, Self(tokio::sync::Mutex::new(ended)))
    }

    /// Resolves when the threads have ended, however often it is asked.
    pub(super) async fn wait(&self) {
        while self.0.lock().await.recv().await.is_some() {}
    }
}

/// Works until the queue is closed and empty. Each job wakes one thread: with a queue behind a lock, the next thread would have to be woken
/// to wait in its turn.
fn work(connection: &Connection, queue: &async_channel::Receiver<Job>) {
    while let Ok(run) = queue.recv_blocking() {
        run(connection);
    }
}
