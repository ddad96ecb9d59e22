//! The running server: listener, fan-out tasks, graceful stop.

use std::future::{Future, IntoFuture as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tidelock_store::StoreError;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::app::App;
use crate::clock::Clock;
use crate::database::Database;
use crate::gateway::{admin_router, router};
use crate::hub::Hub;
use crate::tls::TlsListener;
use crate::{purge, reindex};

/// How often a stopping server looks whether its connections are gone.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// A store cannot be read.
    #[error("database {0}: {1}")]
    Store(String, StoreError),
    /// The listener failed.
    #[error("the listener failed: {0}")]
    Accept(std::io::Error),
}

/// A server that listens.
pub struct Server {
    app: Arc<App>,
    listener: TcpListener,
    address: SocketAddr,
    admin: Option<TcpListener>,
}

impl Server {
    /// Listens on an address; port 0 takes a free one.
    pub async fn bind(app: Arc<App>, address: SocketAddr) -> Result<Self, ServeError> {
        let (listener, address) = listen(address).await?;
        Ok(Self { app, listener, address, admin: None })
    }

    /// Serves health and metrics on another address, too.
    pub async fn bind_admin(&mut self, address: SocketAddr) -> Result<SocketAddr, ServeError> {
        let (listener, address) = listen(address).await?;
        self.admin = Some(listener);
        Ok(address)
    }

    /// The state, for [`App::reload`].
    pub fn app(&self) -> Arc<App> {
        Arc::clone(&self.app)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` resolves; then stops accepting, lets sessions finish what is in flight, closes them, and returns.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), ServeError> {
        for database in self.app.databases.values() {
            // Before the first mutation by these rules.
            let checked = database.forget_outdated(&database.rules()).await;
            checked.map_err(|error| ServeError::Store(database.name.clone(), error))?;
        }
        let tasks: Vec<_> = self
            .app
            .databases
            .values()
            .flat_map(|database| database.tasks(&self.app.clock))
            .map(tokio::spawn)
            .collect();
        let app = Arc::clone(&self.app);
        let admin = self.admin.map(|listener| {
            let router = admin_router(Arc::clone(&app));
            // It ends with the server; an operator's request is not waited for.
            tokio::spawn(async move { axum::serve(listener, router).await })
        });
        let stopped = {
            let app = Arc::clone(&app);
            async move {
                stop.await;
                app.stop();
            }
        };
        let routes = router(Arc::clone(&app));
        let serving: BoxFuture<'_, std::io::Result<()>> = match &app.options.tls {
            Some(tls) => {
                let listener = TlsListener::new(self.listener, self.address, Arc::clone(tls));
                Box::pin(axum::serve(listener, routes).with_graceful_shutdown(stopped).into_future())
            }
            None => Box::pin(axum::serve(self.listener, routes).with_graceful_shutdown(stopped).into_future()),
        };
        let limit = Duration::from_millis(u64::from(app.options.limits.shutdown_ms_max));
        let mut stopping = app.stopping.subscribe();
        let overdue = async move {
            // The sender lives as long as the app: the wait ends only when the server stops.
            let _ = stopping.wait_for(|stopping| *stopping).await;
            sleep(limit).await;
        };
        let result = tokio::select! {
            result = serving => result.map_err(ServeError::Accept),
            () = overdue => Ok(()),
        };
        let deadline = Instant::now() + limit;
        while app.metrics.connections.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
            sleep(DRAIN_POLL).await;
        }
        tasks.iter().for_each(JoinHandle::abort);
        if let Some(admin) = admin {
            admin.abort();
        }
        result
    }
}

impl Database {
    /// What the database needs while it is served: fan-out, channels that follow the rules, forgetting deleted documents. They end when
    /// they are dropped.
    pub fn tasks(self: &Arc<Self>, clock: &Clock) -> [BoxFuture<'static, ()>; 3] {
        [
            Box::pin(Hub::run(Arc::clone(self))),
            Box::pin(reindex::run(Arc::clone(self), clock.clone())),
            Box::pin(purge::run(Arc::clone(self), clock.clone())),
        ]
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let refuse = |error| ServeError::Listen(address, error);
    let listener = TcpListener::bind(address).await.map_err(refuse)?;
    let address = listener.local_addr().map_err(refuse)?;
    Ok((listener, address))
}
