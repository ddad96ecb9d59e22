//! The commands.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tidelock_server::auth::Authenticator;
use tidelock_server::config::{Config, ConfigError, DatabaseConfig};
use tidelock_server::rules::{Rules, RulesInForce};
use tidelock_server::{App, Database, GatewayOptions, Metrics, Server, Tls};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use crate::{platforms, stores};

/// Databases that `tidelock dev` serves with open collections when no configuration is given.
const OPEN_DATABASES: [&str; 2] = ["app", "default"];

/// Keeps the IndexedDB databases of web applications in two-way sync with a data platform.
#[derive(Parser)]
#[command(version, about)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve on this machine, without configuration.
    Dev(Dev),
    /// Serve by a configuration.
    Serve(Serve),
    /// Create on the data platforms what the databases need, or print how.
    Init(Platforms),
    /// Say what is wrong with the data platforms, and what to do about it.
    Doctor(Platforms),
}

#[derive(Args)]
struct Dev {
    /// Port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 4860)]
    port: u16,
    /// Static files to serve at `/`.
    #[arg(long)]
    app: Option<PathBuf>,
    /// Where databases are kept.
    #[arg(long, default_value = "tidelock-data")]
    data: PathBuf,
    /// Keep databases in memory only.
    #[arg(long, conflicts_with = "data")]
    memory: bool,
    /// Configuration; without it the demo application's and open databases are served.
    #[arg(long)]
    config: Option<PathBuf>,
    /// A further database that serves any collection to any authenticated identity.
    #[arg(long = "database")]
    databases: Vec<String>,
}

#[derive(Args)]
struct Serve {
    /// Configuration.
    #[arg(long)]
    config: PathBuf,
    /// Static files to serve at `/`.
    #[arg(long)]
    app: Option<PathBuf>,
}

#[derive(Args)]
struct Platforms {
    /// Configuration.
    #[arg(long)]
    config: PathBuf,
    /// Only this database.
    #[arg(long)]
    database: Option<String>,
    /// Only databases on this kind of platform: `couchbase` or `geode`.
    #[arg(long)]
    store: Option<String>,
}

/// Runs a command to its end.
pub(crate) async fn run(arguments: Arguments) -> Result<(), String> {
    start_log();
    match arguments.command {
        Command::Dev(dev) => run_dev(dev).await,
        Command::Serve(serve) => run_serve(serve).await,
        Command::Init(platforms) => look_at_platforms(platforms, true).await,
        Command::Doctor(platforms) => look_at_platforms(platforms, false).await,
    }
}

async fn run_dev(dev: Dev) -> Result<(), String> {
    let config = if let Some(path) = &dev.config {
        Config::load_dev(path)
    } else {
        let names: Vec<&str> = OPEN_DATABASES.into_iter().chain(dev.databases.iter().map(String::as_str)).collect();
        Config::dev(&dev.data, &names)
    };
    let config = config.map_err(|error| error.to_string())?;
    let options = GatewayOptions {
        dev: true,
        origins: config.server.public_origins.clone(),
        allow_missing_origin: true,
        app_dir: existing_directory(dev.app)?,
        limits: config.limits.clone(),
        tls: None,
    };
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), dev.port);
    let source = dev.config.map(|path| Source { path, load: Config::load_dev });
    serve(config, source, options, address, dev.memory).await
}

async fn run_serve(arguments: Serve) -> Result<(), String> {
    let config = Config::load(&arguments.config).map_err(|error| error.to_string())?;
    let tls = config.server.tls.as_ref().map(Tls::load).transpose().map_err(|error| error.to_string())?;
    let options = GatewayOptions {
        dev: false,
        origins: config.server.public_origins.clone(),
        allow_missing_origin: false,
        app_dir: existing_directory(arguments.app)?,
        limits: config.limits.clone(),
        tls: tls.map(Arc::new),
    };
    let address = config.server.listen;
    let source = Source { path: arguments.config, load: Config::load };
    serve(config, Some(source), options, address, false).await
}

/// Checks the platforms of a configuration, or brings them into order as far as it may.
async fn look_at_platforms(arguments: Platforms, configure: bool) -> Result<(), String> {
    // How clients are let in does not matter to a platform.
    let config = Config::load_dev(&arguments.config).map_err(|error| error.to_string())?;
    let wanted = |name: &String, database: &DatabaseConfig| {
        let kind = database.cluster.as_ref().map(|cluster| &cluster.kind);
        arguments.database.as_ref().is_none_or(|only| only == name)
            && arguments.store.as_ref().is_none_or(|only| kind == Some(only))
    };
    let mut healthy = true;
    let mut seen = 0;
    for (name, database) in config.databases.iter().filter(|(name, database)| wanted(name, database)) {
        seen += 1;
        let Some(cluster) = &database.cluster else {
            say(&format!("{name}: the embedded store, {}", database.path.display()));
            continue;
        };
        let connected = platforms::connect(database, cluster).await.map_err(|error| format!("{name}: {error}"))?;
        let (platform, collections) = (connected.platform(), platforms::collections(database));
        let findings =
            if configure { platform.configure(&collections).await } else { platform.check(&collections).await };
        let findings = findings.map_err(|error| format!("{name}: {error}"))?;
        connected.close().await;
        healthy &= !findings.iter().any(|finding| finding.fatal);
        let kind = &cluster.kind;
        if findings.is_empty() {
            say(&format!("{name}: ready on {kind}"));
        } else {
            say(&format!("{name}, on {kind}:\n{}", platforms::report(&findings)));
        }
    }
    match (arguments.database, arguments.store) {
        (Some(name), None) if seen == 0 => Err(format!("the configuration has no database {name}")),
        (None, Some(kind)) if seen == 0 => Err(format!("the configuration has no database of the kind {kind}")),
        (Some(name), Some(kind)) if seen == 0 => {
            Err(format!("the configuration has no database {name} of the kind {kind}"))
        }
        _ if healthy => Ok(()),
        _ => Err("not every database could be served".to_owned()),
    }
}

/// Where the configuration comes from.
struct Source {
    path: PathBuf,
    load: fn(&Path) -> Result<Config, ConfigError>,
}

async fn serve(
    config: Config,
    source: Option<Source>,
    options: GatewayOptions,
    address: SocketAddr,
    memory: bool,
) -> Result<(), String> {
    let authenticator = Authenticator::new(&config.auth).map_err(|error| error.to_string())?;
    let metrics = Arc::new(Metrics::default());
    let mut databases = Vec::new();
    let mut closing = Vec::new();
    for (name, database) in &config.databases {
        let rules = Rules::compile(database, &config.identity).map_err(|error| error.to_string())?;
        let rules = Arc::new(RulesInForce::new(rules, config.limits.protocol.document_bytes_max));
        let mut opened = stores::open(database, &rules, memory).await?;
        closing.push(opened.closing());
        let limits = config.limits.protocol;
        let metrics = Arc::clone(&metrics);
        let kept = Duration::from_secs(u64::from(database.tombstones_kept_s));
        let database = Database::over(name, opened.store, opened.changelog, rules, limits, kept, metrics);
        databases.push(Arc::new(database));
    }
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    let app = Arc::new(App::new(options, authenticator, databases, metrics));
    let mut server = Server::bind(app, address).await.map_err(|error| error.to_string())?;
    if let Some(admin) = config.server.admin_listen {
        let admin = server.bind_admin(admin).await.map_err(|error| error.to_string())?;
        tracing::info!(address = %admin, "health and metrics");
    }
    // Before the line that says that it listens: a script may send the signal at once.
    let reloads = follow(server.app(), config, source)?;
    let stop = stop_signal()?;
    announce(scheme, server.address());
    let result = server.run(stop).await.map_err(|error| error.to_string());
    reloads.abort();
    for store in closing {
        store.close().await;
    }
    tracing::info!("stopped");
    result
}

/// Reads the configuration again at each SIGHUP. One that is wrong changes nothing.
fn follow(app: Arc<App>, config: Config, source: Option<Source>) -> Result<JoinHandle<()>, String> {
    let mut hangup = signal(SignalKind::hangup()).map_err(|error| error.to_string())?;
    Ok(tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            let Some(source) = &source else {
                tracing::warn!("there is no configuration file to read again");
                continue;
            };
            let path = source.path.display();
            match (source.load)(&source.path) {
                Ok(loaded) => match app.reload(&loaded, &config).await {
                    Ok(needs_restart) => {
                        tracing::info!(file = %path, "the configuration is in force");
                        if !needs_restart.is_empty() {
                            tracing::warn!(keys = needs_restart.join(", "), "changed, but need a restart");
                        }
                    }
                    Err(error) => tracing::error!("the configuration stays as it is: {error}"),
                },
                Err(error) => tracing::error!("the configuration stays as it is: {error}"),
            }
        }
    }))
}

fn existing_directory(path: Option<PathBuf>) -> Result<Option<PathBuf>, String> {
    match path {
        Some(path) if !Path::is_dir(&path) => Err(format!("{}: not a directory", path.display())),
        path => Ok(path),
    }
}

/// One line on stdout when the server is ready: what scripts and tests wait for.
fn announce(scheme: &str, address: SocketAddr) {
    say(&format!("listening on {scheme}://{address}"));
}

fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    // A closed stdout is no reason to stop.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Resolves at SIGTERM or SIGINT.
fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static, String> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| error.to_string())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Structured lines on stderr; the level comes from `TIDELOCK_LOG` (`info` without it).
fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("TIDELOCK_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}
