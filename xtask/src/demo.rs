//! `cargo xtask demo`: builds everything, starts the server with the demo application, and says what to try.

use std::env;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

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
    /// Do not open a browser window.
    #[arg(long)]
    no_open: bool,
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
    let mut server = Command::new(binary);
    server.current_dir(&project.root).args(["dev", "--app", APP, "--port", &port.to_string()]);
    let mut server = server.spawn().map_err(|error| format!("the server could not be started: {error}"))?;
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
    println!("Ctrl-C stops the server.\n");
    if !arguments.no_open {
        open_browser(&url);
    }
    let status = server.wait().map_err(|error| format!("the server was lost: {error}"))?;
    Ok(status.success())
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
