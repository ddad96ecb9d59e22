//! `cargo xtask demo`: builds everything, starts the server with the demo application, and says what to try.

mod couchbase;

use std::env;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tidelock_geode_cluster::{Artifacts, Cluster, Regions, Version};

use couchbase::Couchbase;

use crate::build::{self, Profile};
use crate::project::Project;
use crate::{TaskResult, setup};

/// The demo application, built.
const APP: &str = "packages/board/dist";
/// How long the server may take until it answers.
const START_LIMIT: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The port on 127.0.0.1.
    #[arg(long, default_value_t = 4860)]
    port: u16,
    /// Where the data is kept.
    #[arg(long, value_enum, default_value_t = StoreKind::Embedded)]
    store: StoreKind,
    /// The Couchbase cluster, as `couchbase://user:password@host/bucket` or `couchbases://…`; a double of one without it.
    #[arg(long)]
    cluster: Option<String>,
    /// The root certificates (PEM) of a cluster that is named as `couchbases://…`.
    #[arg(long, requires = "cluster")]
    ca: Option<PathBuf>,
    /// Do not open a browser window.
    #[arg(long)]
    no_open: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum StoreKind {
    /// In a file of the server's.
    Embedded,
    /// In a cluster of Apache Geode, which is started for the demo and ended with it.
    Geode,
    /// In a Couchbase bucket: of `--cluster`, or of a double of the server, which is started for the demo and ended with it.
    Couchbase,
}

pub(crate) fn run(project: &Project, arguments: &Arguments) -> TaskResult {
    let port = arguments.port;
    if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
        return Err(format!("port {port} is in use: stop the program that listens there, or pass --port"));
    }
    println!("Building Tidelock and its demo application; the first time takes some minutes.");
    setup::for_build(project)?;
    build::all(project)?;
    if !project.root.join(APP).join("index.html").is_file() {
        return Err(format!(
            "{APP}/index.html was not built: run `npm run build` in packages/board and read its output"
        ));
    }
    let binary = build::binary(project, Profile::Release)?;
    let mut server = Command::new(&binary);
    server.current_dir(&project.root).args(["dev", "--port", &port.to_string()]);
    let mut app = PathBuf::from(APP);
    // Whatever runs for the demo ends with it.
    let (mut geode_cluster, mut couchbase_cluster) = (None, None);
    match arguments.store {
        StoreKind::Embedded => {}
        StoreKind::Geode => {
            let (cluster, config) = geode(project)?;
            server.arg("--config").arg(config);
            geode_cluster = Some(cluster);
        }
        StoreKind::Couchbase => {
            let couchbase = Couchbase::start(project, arguments.cluster.as_deref(), arguments.ca.as_deref(), &binary)?;
            server.arg("--config").arg(couchbase.config());
            couchbase.app().clone_into(&mut app);
            couchbase_cluster = Some(couchbase);
        }
    }
    let mut server =
        server.arg("--app").arg(app).spawn().map_err(|error| format!("the server could not be started: {error}"))?;
    let url = format!("http://127.0.0.1:{port}/");
    if let Err(sentence) = wait_until_ready(&mut server, port) {
        // It may have ended by itself; then there is nothing to end.
        let _ = server.kill();
        return Err(sentence);
    }
    println!("\nThe demo runs at {url}");
    println!("  1. Open {url} in two windows, side by side.");
    println!("  2. Add a card in one: it appears in the other.");
    println!("  3. Switch one window offline, edit in both, switch it online: both edits are kept.");
    if let Some(couchbase) = &couchbase_cluster {
        println!("{}\n", couchbase.about());
    }
    if let Some(cluster) = &geode_cluster {
        println!("The cards are entries of the region /cards of a Geode cluster, locator {}.", cluster.locator());
        println!("Look at them, and change them, with gfsh:\n");
        println!("  {} -e \"query --query='SELECT c.title, c.votes FROM /cards c'\"\n", cluster.gfsh());
        println!("The cluster and its data end with the demo.");
    }
    println!("Ctrl-C stops the server.\n");
    if !arguments.no_open {
        open_browser(&url);
    }
    let status = server.wait().map_err(|error| format!("the server was lost: {error}"))?;
    Ok(status.success())
}

/// Starts a cluster with the regions of the demo application; also the configuration of a server of it.
fn geode(project: &Project) -> Result<(Cluster, PathBuf), String> {
    setup::java(project)?;
    println!("Geode's jars from Maven Central");
    let folder = project.target_dir.join("geode");
    let artifacts = Artifacts::prepare(&folder, Version::V1_15_1)?;
    println!("A Geode cluster: one locator, two servers; half a minute");
    let cluster = Cluster::start(&artifacts, &folder.join("demo"), Regions::Board, &[])?;
    let board = board(project)?;
    let locator = cluster.locator();
    let of_cluster =
        format!("\n[databases.board.cluster]\nkind = \"geode\"\naddresses = [\"{locator}\"]\nnode = \"demo\"\n");
    let config = cluster.folder().join("tidelock.toml");
    let written = fs::write(&config, board + &of_cluster);
    written.map_err(|error| format!("{} cannot be written: {error}", config.display()))?;
    Ok((cluster, config))
}

/// The configuration of the demo application's database.
fn board(project: &Project) -> Result<String, String> {
    let board = project.root.join("crates/server/src/config/board.toml");
    fs::read_to_string(&board).map_err(|error| format!("{} is unreadable: {error}", board.display()))
}

fn wait_until_ready(server: &mut Child, port: u16) -> Result<(), String> {
    let started = Instant::now();
    while started.elapsed() < START_LIMIT {
        if let Ok(Some(status)) = server.try_wait() {
            return Err(format!("the server ended before it answered ({status}); its message is above"));
        }
        if is_healthy(port) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(100));
    }
    Err(format!("the server did not answer on port {port} within {} s", START_LIMIT.as_secs()))
}

fn is_healthy(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        write!(stream, "GET /health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}

/// Best effort: without a desktop, or without an opener, the printed address is enough.
fn open_browser(url: &str) {
    let opener = if cfg!(target_os = "macos") {
        "open"
    } else if env::var_os("DISPLAY").is_some() || env::var_os("WAYLAND_DISPLAY").is_some() {
        "xdg-open"
    } else {
        return;
    };
    let _ = Command::new(opener).arg(url).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
}
