//! Network namespaces: each server process is on links of its own, which can be cut.
//!
//! A namespace lives as long as its anchor, a process that ends with this one: whatever happens, nothing is left behind. The
//! addresses are of the range that is kept for tests of network devices (RFC 2544), which nobody routes.

use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a new namespace may take to exist.
const ANCHOR_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);
/// Addresses of a node: two links, each of a network of four addresses.
const ADDRESSES_PER_NODE: u8 = 8;
/// Where the addresses of the first node begin.
const FIRST: u8 = 16;

/// A link of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// To its clients.
    Clients,
    /// To the cluster that it works on.
    Cluster,
}

/// Namespaces of some nodes, with links to this one.
#[derive(Debug)]
pub struct Network {
    /// The third byte of all addresses, with the lowest bit of the second.
    number: u16,
    /// What cut links lead to: a namespace without anybody.
    hub: Anchor,
    nodes: Vec<Anchor>,
}

/// How many networks there were: the devices of an earlier one go a moment after its namespaces.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A process that holds a namespace.
#[derive(Debug)]
struct Anchor(Child);

impl Anchor {
    fn new() -> Result<Self, String> {
        // It ends when its standard input does.
        let child = Command::new("unshare").args(["--net", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        let mut anchor = Self(child.map_err(|error| format!("`unshare` could not be started: {error}"))?);
        let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
        let (ours, id) = (namespace("self"), anchor.id());
        let deadline = Instant::now() + ANCHOR_LIMIT;
        while namespace(&id).is_none_or(|theirs| Some(theirs) == ours) {
            if anchor.0.try_wait().is_ok_and(|ended| ended.is_some()) || Instant::now() > deadline {
                return Err("`unshare --net` makes no network namespace: it takes root".to_owned());
            }
            thread::sleep(POLL);
        }
        Ok(anchor)
    }

    fn id(&self) -> String {
        self.0.id().to_string()
    }

    /// Runs `ip` in the namespace.
    fn ip(&self, words: &str) -> Result<(), String> {
        run(Command::new("nsenter").args(["-t", &self.id(), "-n", "ip"]).args(words.split(' ')))
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Network {
    /// Makes namespaces for so many nodes. An error is one sentence: why they cannot be had.
    pub fn new(nodes: u8) -> Result<Self, String> {
        let number = std::process::id().wrapping_add(MADE.fetch_add(1, Ordering::Relaxed));
        let number = u16::try_from(number % 512).unwrap_or_default();
        let mut network = Self { number, hub: Anchor::new()?, nodes: Vec::new() };
        let (hub, device) = (&network.hub, network.device("h"));
        ip(&format!("link add {device} type veth peer name hub netns {}", hub.id()))?;
        ip(&format!("addr add {}/32 dev {device}", network.hub()))?;
        hub.ip("link set hub up")?;
        ip(&format!("link set {device} up"))?;
        // What is sent to a node whose link is cut goes nowhere, instead of to whoever else has a route.
        ip(&format!("route add {}/24 dev {device}", network.address(0)))?;
        for node in 0..nodes {
            network.add_node(node)?;
        }
        Ok(network)
    }

    fn add_node(&mut self, node: u8) -> Result<(), String> {
        let anchor = Anchor::new()?;
        anchor.ip("link set lo up")?;
        for link in [Link::Clients, Link::Cluster] {
            let (device, name) =
                (self.device_of(node, link), if link == Link::Clients { "clients" } else { "cluster" });
            let (near, far) = (self.near(node, link), self.far(node, link));
            ip(&format!("link add {device} type veth peer name {name} netns {}", anchor.id()))?;
            anchor.ip(&format!("addr add {far}/30 dev {name}"))?;
            anchor.ip(&format!("link set {name} up"))?;
            ip(&format!("addr add {near}/30 dev {device}"))?;
            ip(&format!("link set {device} up"))?;
        }
        anchor.ip(&format!("route add {} via {}", self.hub(), self.near(node, Link::Cluster)))?;
        self.nodes.push(anchor);
        Ok(())
    }

    fn address(&self, last: u8) -> Ipv4Addr {
        let [high, low] = self.number.to_be_bytes();
        Ipv4Addr::new(198, 18 + high, low, last)
    }

    /// This end of a link.
    fn near(&self, node: u8, link: Link) -> Ipv4Addr {
        let link = if link == Link::Clients { 0 } else { 4 };
        self.address(FIRST + node * ADDRESSES_PER_NODE + link + 1)
    }

    /// The node's end of a link.
    fn far(&self, node: u8, link: Link) -> Ipv4Addr {
        let link = if link == Link::Clients { 0 } else { 4 };
        self.address(FIRST + node * ADDRESSES_PER_NODE + link + 2)
    }

    fn device(&self, name: &str) -> String {
        format!("tl{}{name}", self.number)
    }

    fn device_of(&self, node: u8, link: Link) -> String {
        self.device(&format!("{}{node}", if link == Link::Clients { "c" } else { "g" }))
    }

    /// Where the cluster listens.
    pub fn hub(&self) -> Ipv4Addr {
        self.address(1)
    }

    /// Where a node listens for its clients.
    pub fn node(&self, node: u8) -> Ipv4Addr {
        self.far(node, Link::Clients)
    }

    /// The words of a command line that runs a command where a node is.
    pub fn prefix(&self, node: u8) -> Vec<String> {
        let id = self.nodes.get(usize::from(node)).map(Anchor::id).unwrap_or_default();
        ["nsenter", "-t", &id, "-n", "--"].map(str::to_owned).to_vec()
    }

    /// From now on what is sent over the link is lost, in both directions, without a word to either side.
    pub fn cut(&self, node: u8, link: Link) -> Result<(), String> {
        ip(&format!("link set {} down", self.device_of(node, link)))
    }

    /// The link works again.
    pub fn heal(&self, node: u8, link: Link) -> Result<(), String> {
        ip(&format!("link set {} up", self.device_of(node, link)))
    }
}

fn ip(words: &str) -> Result<(), String> {
    run(Command::new("ip").args(words.split(' ')))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?} could not be started: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}", text.lines().next().unwrap_or_default()))
}
