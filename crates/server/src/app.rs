//! What every connection and request shares.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tidelock_core::ids::{ClientId, SessionId};
use tidelock_core::server::{Refusal, SessionConfig};
use tidelock_core::wire::ErrorCode;
use tokio::sync::{Notify, watch};

use crate::auth::{Authenticator, Identity};
use crate::clock::Clock;
use crate::config::LimitsConfig;
use crate::database::Database;
use crate::metrics::Metrics;
use crate::quota::Quota;
use crate::tls::Tls;

/// How the gateway behaves.
#[derive(Clone, Debug, Default)]
pub struct GatewayOptions {
    /// Whether `tidelock dev` runs: tokens are minted for whoever asks from this machine.
    pub dev: bool,
    /// Origins that may connect at first, beside the server's own; a reload may change them.
    pub origins: Vec<String>,
    /// Whether a client without an Origin header (not a browser) may connect.
    pub allow_missing_origin: bool,
    /// Static files of an application, served at `/`.
    pub app_dir: Option<PathBuf>,
    /// What clients may use.
    pub limits: LimitsConfig,
    /// Encrypts the data listener.
    pub tls: Option<Arc<Tls>>,
}

/// What may change while the server runs, besides the rules of its databases.
pub(crate) struct Live {
    pub(crate) authenticator: Authenticator,
    /// Origins that may connect, beside the server's own.
    pub(crate) origins: Vec<String>,
}

/// What a server depends on besides its configuration; a simulation decides it.
#[derive(Debug)]
pub struct Surroundings {
    /// The time.
    pub clock: Clock,
    /// Session ids follow from it: another one for each server and each start.
    pub session_seed: u64,
    /// About how many bytes of bodies a page of changes or of a snapshot holds.
    pub page_bytes_max: usize,
}

/// The state of a server.
pub struct App {
    pub(crate) options: GatewayOptions,
    pub(crate) session_config: Arc<SessionConfig>,
    /// What a reload replaces. Sessions look at it again whenever it is sent.
    pub(crate) live: watch::Sender<Arc<Live>>,
    pub(crate) databases: BTreeMap<String, Arc<Database>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Clock,
    /// Becomes true when the server stops.
    pub(crate) stopping: watch::Sender<bool>,
    /// REST requests by identity.
    pub(crate) quota: Quota,
    peers: Mutex<Peers>,
    session_seed: AtomicU64,
    draining: AtomicBool,
}

/// Who is connected.
#[derive(Default)]
struct Peers {
    /// Open sessions by subject.
    by_subject: BTreeMap<String, u32>,
    /// The session of a replica, and how to end it.
    by_client: BTreeMap<(String, ClientId), (SessionId, Arc<Notify>)>,
}

impl App {
    /// A server over these databases.
    pub fn new(
        options: GatewayOptions,
        authenticator: Authenticator,
        databases: Vec<Arc<Database>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let page_bytes_max = SessionConfig::default().page_bytes_max;
        let surroundings = Surroundings { clock: Clock::default(), session_seed: random_u64(), page_bytes_max };
        Self::within(surroundings, options, authenticator, databases, metrics)
    }

    /// A server that takes nothing from the machine but what it is given.
    pub fn within(
        surroundings: Surroundings,
        options: GatewayOptions,
        authenticator: Authenticator,
        databases: Vec<Arc<Database>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let limits = &options.limits;
        let session_config = SessionConfig {
            limits: limits.protocol,
            hello_ms_max: u64::from(limits.hello_ms_max),
            slow_consumer_ms_max: u64::from(limits.slow_consumer_ms_max),
            frames_per_second_max: limits.messages_per_second_max,
            page_bytes_max: surroundings.page_bytes_max,
            ..SessionConfig::default()
        };
        Self {
            session_config: Arc::new(session_config),
            live: watch::Sender::new(Arc::new(Live { authenticator, origins: options.origins.clone() })),
            options,
            databases: databases.into_iter().map(|database| (database.name.clone(), database)).collect(),
            metrics,
            clock: surroundings.clock,
            stopping: watch::Sender::new(false),
            quota: Quota::default(),
            peers: Mutex::default(),
            session_seed: AtomicU64::new(surroundings.session_seed),
            draining: AtomicBool::new(false),
        }
    }

    /// Begins the graceful stop: no connection is accepted any more, sessions finish what is in flight and close.
    pub fn stop(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.stopping.send_replace(true);
    }

    /// Waits until sessions are told to stop. Safe to drop and call again.
    pub(crate) async fn stopped(&self) {
        // The sender lives as long as the app.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    /// Whether nothing is accepted any more.
    pub(crate) fn is_stopping(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    pub(crate) fn authenticate(&self, token: &str) -> Result<Identity, Refusal> {
        self.live()
            .authenticator
            .authenticate(token, self.clock.now_ms())
            .map_err(|error| Refusal::new(ErrorCode::Unauthenticated, error.to_string()))
    }

    /// What is in force at this moment.
    pub(crate) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.borrow())
    }

    pub(crate) fn database(&self, name: &str) -> Result<&Arc<Database>, Refusal> {
        self.databases.get(name).ok_or_else(|| Refusal::new(ErrorCode::UnknownDatabase, "no such database"))
    }

    /// A session id that was not used before: random start, odd stride, never 0.
    pub(crate) fn session_id(&self) -> SessionId {
        let id = self.session_seed.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        SessionId(id.max(1))
    }

    /// Enters a session. A former one of the same replica and subject is ended.
    pub(crate) fn enter(
        self: &Arc<Self>,
        subject: &str,
        client: ClientId,
        session: SessionId,
    ) -> Result<Peer, Refusal> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let count = peers.by_subject.entry(subject.to_owned()).or_default();
        if *count >= self.options.limits.connections_per_identity_max {
            let message = format!("more than {count} connections of one identity");
            return Err(Refusal { code: ErrorCode::RateLimited, message, retry_after_ms: Some(10_000) });
        }
        *count += 1;
        let ended = Arc::new(Notify::new());
        let former = peers.by_client.insert((subject.to_owned(), client), (session, Arc::clone(&ended)));
        if let Some((_, former)) = former {
            former.notify_one();
        }
        Ok(Peer { app: Arc::clone(self), subject: subject.to_owned(), client, session, ended })
    }
}

/// A session's entry among the peers; leaving is dropping it.
pub(crate) struct Peer {
    app: Arc<App>,
    subject: String,
    client: ClientId,
    session: SessionId,
    ended: Arc<Notify>,
}

impl Peer {
    /// Resolves when a later session of the same replica began. Safe to drop and call again.
    pub(crate) async fn ended(&self) {
        self.ended.notified().await;
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let mut peers = self.app.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = peers.by_subject.get_mut(&self.subject) {
            *count -= 1;
            if *count == 0 {
                peers.by_subject.remove(&self.subject);
            }
        }
        let key = (self.subject.clone(), self.client);
        if peers.by_client.get(&key).is_some_and(|(session, _)| *session == self.session) {
            peers.by_client.remove(&key);
        }
    }
}

/// A random number of the operating system.
fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes),
        // Without randomness the clock keeps session ids apart; nothing secret depends on them.
        Err(_) => Clock::default().now_ms(),
    }
}
