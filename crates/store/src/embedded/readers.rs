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
    /// Every thread holds a sender: the channel ends when the last of them has closed its connection.
    ended: Mutex<Option<mpsc::Receiver<()>>>,
}

impl Readers {
    /// Starts one thread for each connection.
    pub(super) fn start(connections: Vec<Connection>) -> std::io::Result<(Self, Vec<JoinHandle<()>>)> {
        let (jobs, queue) = mpsc::channel(READS_QUEUED_MAX);
        let (running, ended) = mpsc::channel(1);
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
        Ok((Self { jobs, ended: Mutex::new(Some(ended)) }, threads?))
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
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut ended) = ended {
            ended.recv().await;
        }
    }
}

fn work(connection: &Connection, queue: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        match job {
            Some(Job::Run(run)) => run(connection),
            Some(Job::Close) => queue.lock().unwrap_or_else(PoisonError::into_inner).close(),
            None => return,
        }
    }
}
