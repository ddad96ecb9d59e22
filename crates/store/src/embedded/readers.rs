//! A few threads with a read-only connection each.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, Result};
use tokio::sync::{mpsc, oneshot};

use super::error::{stopped, translate};
use crate::error::StoreError;
use crate::limits::READS_QUEUED_MAX;

/// What a reader is asked to do.
enum Job {
    /// Read in one transaction, and answer.
    Run(Box<dyn FnOnce(&Connection) + Send>),
    /// Finish what is queued and take nothing more.
    Close,
}

/// Hands reads to the threads.
pub(super) struct Readers {
    jobs: mpsc::Sender<Job>,
    ended: Ended,
}

impl Readers {
    /// Starts one thread for each connection.
    pub(super) fn start(connections: Vec<Connection>) -> std::io::Result<(Self, Vec<JoinHandle<()>>)> {
        let (jobs, queue) = mpsc::channel(READS_QUEUED_MAX);
        let (running, ended) = Ended::channel();
        let queue = Arc::new(Mutex::new(queue));
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
        let job = Job::Run(Box::new(move |connection| {
            // Whoever asked has gone: the read would serve nobody.
            if reply.is_closed() {
                return;
            }
            let result = connection.unchecked_transaction().and_then(|transaction| read(&transaction));
            let _ = reply.send(result.map_err(translate));
        }));
        self.jobs.send(job).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Resolves when every thread has finished what was queued and closed its connection.
    pub(super) async fn close(&self) {
        // Fails when the threads have ended already.
        let _ = self.jobs.send(Job::Close).await;
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

fn work(connection: &Connection, queue: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        let mut receiver = queue.lock().unwrap_or_else(PoisonError::into_inner);
        match receiver.blocking_recv() {
            Some(Job::Run(run)) => {
                drop(receiver);
                run(connection);
            }
            // Under the same lock: the next thread would hold it while it waits for a job that does not come.
            Some(Job::Close) => receiver.close(),
            None => return,
        }
    }
}
