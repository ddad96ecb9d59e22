//! One locator and two servers.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use crate::artifacts::{Artifacts, Regions};
use crate::java;

/// The servers, by their names.
pub const SERVERS: [&str; 2] = ["s1", "s2"];

const LOCATOR: &str = "l";
/// How long a process may take to listen on its port.
const START_LIMIT: Duration = Duration::from_secs(180);
/// How long a process may take to end when it is asked.
const STOP_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

/// A cluster on this machine. The one that started it ends it; others attach to it.
#[derive(Debug)]
pub struct Cluster {
    artifacts: Artifacts,
    folder: PathBuf,
    ports: Ports,
    /// The process that all processes of the cluster end with.
    owner: u32,
    is_owned: bool,
    children: Vec<Child>,
}

#[derive(Clone, Debug)]
struct Ports {
    address: Ipv4Addr,
    locator: u16,
    manager: u16,
    servers: [u16; 2],
    /// Of the locator: gfsh over HTTP.
    gfsh: u16,
    /// Of the first server: REST.
    rest: u16,
}

impl Cluster {
    /// Starts a cluster without data in `folder`, on this machine's loopback address, and waits until its servers serve.
    /// Properties are set in all processes, such as `security-manager=…`.
    pub fn start(artifacts: &Artifacts, folder: &Path, regions: Regions, properties: &[&str]) -> Result<Self, String> {
        Self::start_on(Ipv4Addr::LOCALHOST, artifacts, folder, regions, properties)
    }

    /// As [`start`](Self::start), on another address of this machine.
    pub fn start_on(
        address: Ipv4Addr,
        artifacts: &Artifacts,
        folder: &Path,
        regions: Regions,
        properties: &[&str],
    ) -> Result<Self, String> {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
        let [locator, manager, first, second, gfsh, rest] = free_ports(address)?;
        let ports = Ports { address, locator, manager, servers: [first, second], gfsh, rest };
        let mut cluster = Self {
            artifacts: artifacts.clone(),
            folder: folder.to_owned(),
            ports,
            owner: std::process::id(),
            is_owned: true,
            children: Vec::new(),
        };
        // Later ones count: a server that is started again finds the regions that it had.
        let cache_xml = format!("cache-xml-file={}", Artifacts::cache_xml(regions).display());
        let properties: Vec<&str> = properties.iter().copied().chain([cache_xml.as_str()]).collect();
        cluster.write_state(&properties)?;
        cluster.start_locator()?;
        // Together: each waits for the other's copies of the persistent regions.
        for name in SERVERS {
            cluster.launch_server(name)?;
        }
        for name in SERVERS {
            cluster.wait_for(name, cluster.server_port(name))?;
        }
        Ok(cluster)
    }

    /// Attaches to a cluster that another process has started in this folder.
    pub fn attach(folder: &Path) -> Result<Self, String> {
        let state = fs::read_to_string(folder.join("state"));
        let state = state.map_err(|error| format!("there is no cluster in {}: {error}", folder.display()))?;
        let field = |name: &str| {
            let line = state.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.ok_or_else(|| format!("the state of the cluster in {} lacks {name}", folder.display()))
        };
        let port = |name: &str| field(name)?.parse().map_err(|_| format!("{name} is no port"));
        let ports = Ports {
            address: field("address")?.parse().map_err(|_| "the address is none".to_owned())?,
            locator: port("locator")?,
            manager: port("manager")?,
            servers: [port("s1")?, port("s2")?],
            gfsh: port("gfsh")?,
            rest: port("rest")?,
        };
        Ok(Self {
            artifacts: Artifacts::in_folder(Path::new(field("artifacts")?)),
            folder: folder.to_owned(),
            ports,
            owner: field("owner")?.parse().map_err(|_| "the owner is no process id".to_owned())?,
            is_owned: false,
            children: Vec::new(),
        })
    }

    fn write_state(&self, properties: &[&str]) -> Result<(), String> {
        let [first, second] = self.ports.servers;
        let state = format!(
            "artifacts={}\nowner={}\naddress={}\nlocator={}\nmanager={}\ns1={first}\ns2={second}\ngfsh={}\nrest={}\n",
            self.artifacts.folder().display(),
            self.owner,
            self.ports.address,
            self.ports.locator,
            self.ports.manager,
            self.ports.gfsh,
            self.ports.rest,
        );
        let write = |name: &str, text: &str| {
            let path = self.folder.join(name);
            fs::write(&path, text).map_err(|error| format!("{} cannot be written: {error}", path.display()))
        };
        write("properties", &properties.join("\n"))?;
        write("state", &state)
    }

    /// The folder with the logs and the data.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The locator's address, as Geode writes it.
    pub fn locator(&self) -> String {
        format!("{}[{}]", self.ports.address, self.ports.locator)
    }

    /// A command line that runs gfsh, Geode's shell, and connects it; further `-e "…"` are its commands.
    pub fn gfsh(&self) -> String {
        let connect = format!("connect --locator={}", self.locator());
        format!("{} -e \"{connect}\"", java::gfsh_command(&self.artifacts))
    }

    /// Where gfsh over HTTP is, with a version that has it: `host:port`.
    pub fn manager_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.gfsh)
    }

    /// Where REST is, with a version that has it: `host:port`.
    pub fn rest_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.rest)
    }

    /// The port of the locator.
    pub fn locator_port(&self) -> u16 {
        self.ports.locator
    }

    /// The port of a server.
    pub fn server_port(&self, name: &str) -> u16 {
        let [first, second] = self.ports.servers;
        if name == "s1" { first } else { second }
    }

    /// The name of the server with this port.
    pub fn server_name(&self, port: u16) -> &'static str {
        let [first, second] = SERVERS;
        if self.ports.servers.first() == Some(&port) { first } else { second }
    }

    /// What was prepared for the cluster.
    pub fn artifacts(&self) -> &Artifacts {
        &self.artifacts
    }

    /// Ends a process at once, as `kill -9` does, and waits until it is gone.
    pub fn kill(&mut self, name: &str) -> Result<(), String> {
        self.end(name, "-9")
    }

    /// Asks a process to end, and waits until it has.
    pub fn stop(&mut self, name: &str) -> Result<(), String> {
        self.end(name, "-15")
    }

    /// Ends the locator at once.
    pub fn kill_locator(&mut self) -> Result<(), String> {
        self.end(LOCATOR, "-9")
    }

    /// Starts the locator, and waits until it answers.
    pub fn start_locator(&mut self) -> Result<(), String> {
        let has_http = self.artifacts.home().is_some();
        let http_port = if has_http { self.ports.gfsh } else { 0 };
        let properties = vec![
            "-Dgemfire.jmx-manager=true".to_owned(),
            "-Dgemfire.jmx-manager-start=true".to_owned(),
            format!("-Dgemfire.jmx-manager-port={}", self.ports.manager),
            "-Dgemfire.jmx-manager-bind-address=127.0.0.1".to_owned(),
            "-Dgemfire.jmx-manager-hostname-for-clients=127.0.0.1".to_owned(),
            format!("-Dgemfire.http-service-port={http_port}"),
            "-Dgemfire.http-service-bind-address=127.0.0.1".to_owned(),
            // The servers have their own configuration.
            "-Dgemfire.enable-cluster-configuration=false".to_owned(),
        ];
        self.launch("locator", LOCATOR, self.ports.locator, if has_http { 256 } else { 128 }, properties)?;
        self.wait_for(LOCATOR, self.ports.locator)
    }

    /// Starts a server that was ended, and waits until it serves.
    pub fn start_server(&mut self, name: &str) -> Result<(), String> {
        self.launch_server(name)?;
        self.wait_for(name, self.server_port(name))
    }

    /// Starts a server that was ended, without waiting.
    pub fn launch_server(&mut self, name: &str) -> Result<(), String> {
        let mut properties = vec![
            "-Dgemfire.use-cluster-configuration=false".to_owned(),
            "-Dgemfire.ALLOW_PERSISTENT_TRANSACTIONS=true".to_owned(),
        ];
        if self.artifacts.home().is_some() && Some(&name) == SERVERS.first() {
            properties.push("-Dgemfire.start-dev-rest-api=true".to_owned());
            properties.push(format!("-Dgemfire.http-service-port={}", self.ports.rest));
            properties.push("-Dgemfire.http-service-bind-address=127.0.0.1".to_owned());
        }
        self.launch("server", name, self.server_port(name), 256, properties)
    }

    /// Waits until a server serves.
    pub fn wait_for_server(&mut self, name: &str) -> Result<(), String> {
        self.wait_for(name, self.server_port(name))
    }

    fn launch(&mut self, kind: &str, name: &str, port: u16, heap_mb: u32, own: Vec<String>) -> Result<(), String> {
        let mut properties = own;
        properties.push(format!("-Dgemfire.bind-address={}", self.ports.address));
        properties.push(format!("-Dgemfire.locators={}", self.locator()));
        properties.push("-Dgemfire.log-level=config".to_owned());
        // The first of two servers has more than half of the votes: without it, the rest would shut itself down.
        properties.push("-Dgemfire.enable-network-partition-detection=false".to_owned());
        let more = fs::read_to_string(self.folder.join("properties")).unwrap_or_default();
        properties.extend(more.lines().map(|one| format!("-Dgemfire.{one}")));
        let mut command = java::command(&self.artifacts, "Node", heap_mb, &properties);
        command.args([kind, name, &port.to_string(), &self.owner.to_string(), &self.ports.address.to_string()]);
        let child = java::start(&mut command, &self.folder.join(name))?;
        self.children.push(child);
        Ok(())
    }

    fn wait_for(&mut self, name: &str, port: u16) -> Result<(), String> {
        let log = self.folder.join(name).join("output.log");
        let deadline = Instant::now() + START_LIMIT;
        while TcpStream::connect((self.ports.address, port)).is_err() {
            self.reap();
            let id = fs::read_to_string(self.folder.join(name).join("process-id")).unwrap_or_default();
            if Instant::now() > deadline || !is_alive(&id) {
                return Err(format!("{name} did not come up; its log is {}", log.display()));
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn end(&mut self, name: &str, signal: &str) -> Result<(), String> {
        let file = self.folder.join(name).join("process-id");
        let id = fs::read_to_string(&file).map_err(|error| format!("{name} has no process id: {error}"))?;
        java::signal(&id, signal)?;
        let deadline = Instant::now() + STOP_LIMIT;
        while is_alive(&id) {
            self.reap();
            if Instant::now() > deadline {
                java::signal(&id, "-9")?;
            }
            thread::sleep(POLL);
        }
        let _ = fs::remove_file(file);
        // Geode's own mark: a process that nobody has reaped yet would look alive to the next one.
        for mark in ["vf.gf.server.pid", "vf.gf.locator.pid"] {
            let _ = fs::remove_file(self.folder.join(name).join(mark));
        }
        Ok(())
    }

    fn reap(&mut self) {
        self.children.retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_))));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.is_owned {
            return;
        }
        // Whoever started a process last, its id is in its folder.
        for name in [LOCATOR, "s1", "s2"] {
            if let Ok(id) = fs::read_to_string(self.folder.join(name).join("process-id")) {
                let _ = java::signal(&id, "-9");
            }
        }
        for child in &mut self.children {
            let _ = child.wait();
        }
    }
}

/// A process that has ended and that its parent has not asked about yet is not alive.
fn is_alive(process_id: &str) -> bool {
    fs::read_to_string(format!("/proc/{process_id}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

/// Ports that are free now. They are held until all are chosen.
fn free_ports(address: Ipv4Addr) -> Result<[u16; 6], String> {
    let wrong = |error: std::io::Error| format!("no free port: {error}");
    let mut listeners = Vec::new();
    let mut ports = [0; 6];
    for port in &mut ports {
        let listener = TcpListener::bind((address, 0)).map_err(wrong)?;
        *port = listener.local_addr().map_err(wrong)?.port();
        listeners.push(listener);
    }
    Ok(ports)
}
