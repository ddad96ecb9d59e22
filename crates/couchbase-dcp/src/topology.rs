//! The configuration of a bucket: its nodes, and which of them have which vbucket (`kv_engine` docs/BinaryProtocol.md, "Get Cluster
//! Config"; the format is that of the REST interface).

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::address::Address;
use crate::config::Config;
use crate::error::Error;
use crate::limits::VBUCKETS_MAX;

/// The network of the nodes' own names.
const DEFAULT: &str = "default";
/// Stands for the network that has the node which was asked.
const AUTO: &str = "auto";

/// One configuration. A later one has a higher `(epoch, revision)`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Topology {
    pub(crate) version: (i64, i64),
    pub(crate) nodes: Vec<Address>,
    /// For each vbucket the nodes that have it, by their place in `nodes`, the active one first; `None` where there is none.
    pub(crate) vbuckets: Vec<Vec<Option<usize>>>,
    /// The network that the nodes' addresses are of.
    network: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Text {
    #[serde(default)]
    rev: i64,
    #[serde(default)]
    rev_epoch: i64,
    #[serde(default)]
    nodes_ext: Vec<NodeText>,
    #[serde(rename = "vBucketServerMap")]
    map: Option<MapText>,
}

/// The ports of a node's services, by the names that a configuration has for them: `kv`, `kvSSL`, `mgmt`, `mgmtSSL`.
pub(crate) type Ports = BTreeMap<String, u16>;

/// An entry of `nodesExt`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeText {
    hostname: Option<String>,
    #[serde(default)]
    services: Ports,
    #[serde(default)]
    alternate_addresses: BTreeMap<String, AlternateText>,
}

#[derive(Deserialize)]
struct AlternateText {
    hostname: String,
    ports: Option<Ports>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MapText {
    server_list: Vec<String>,
    v_bucket_map: Vec<Vec<i32>>,
}

impl Topology {
    /// Reads the first configuration, which `from` has sent: every node needs an address.
    pub(crate) fn first(text: &[u8], from: &Address, config: &Config) -> Result<Self, Error> {
        let text = read(text)?;
        let network = network(&text.nodes_ext, from, config)?;
        let (topology, unknown) = Self::of(text, from, network, config.is_tls())?;
        match unknown.first() {
            None => Ok(topology),
            Some(server) => {
                let (service, network) = (service(config.is_tls()), &topology.network);
                Err(Error::Configuration(format!("the node {server} has no port {service} in the network {network}")))
            }
        }
    }

    /// Reads another configuration, in the same network: which one it is stays as it was first found, whatever becomes of the node that was
    /// asked. A node that has no address there is none to connect to, and takes nothing away from the others.
    pub(crate) fn next(&self, text: &[u8], from: &Address, config: &Config) -> Result<Self, Error> {
        let (topology, _) = Self::of(read(text)?, from, self.network.clone(), config.is_tls())?;
        Ok(topology)
    }

    /// The topology, and the servers that have no address. `from` is whom nodes leave unnamed that leave out their own name.
    fn of(text: Text, from: &Address, network: String, is_tls: bool) -> Result<(Self, Vec<String>), Error> {
        let map = text.map.ok_or_else(|| {
            Error::Unsupported("the bucket has no vbuckets (memcached buckets have no changes to tell)".into())
        })?;
        if map.v_bucket_map.is_empty() || map.v_bucket_map.len() > VBUCKETS_MAX {
            return Err(Error::Protocol(format!("a configuration has {} vbuckets", map.v_bucket_map.len())));
        }
        let (mut nodes, mut places, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
        // Nodes with the service come first in `nodesExt`, in the order of the server list.
        for (at, server) in map.server_list.into_iter().enumerate() {
            let node = text.nodes_ext.get(at).and_then(|node| node.address(from, &network, is_tls));
            // It has the default network's ports without TLS.
            let listed = || listed(&server, from).filter(|_| network == DEFAULT && !is_tls);
            if let Some(address) = node.or_else(listed) {
                places.push(Some(nodes.len()));
                nodes.push(address);
            } else {
                places.push(None);
                unknown.push(server);
            }
        }
        let place = |at: &i32| usize::try_from(*at).ok().and_then(|at| places.get(at).copied().flatten());
        let vbuckets = map.v_bucket_map.iter().map(|copies| copies.iter().map(place).collect()).collect();
        Ok((Self { version: (text.rev_epoch, text.rev), nodes, vbuckets, network }, unknown))
    }

    /// The node where the vbucket is active.
    pub(crate) fn active(&self, vbucket: u16) -> Option<&Address> {
        self.copies(vbucket).next()?
    }

    /// The nodes that have the vbucket, the active one first; `None` where a copy is missing.
    pub(crate) fn copies(&self, vbucket: u16) -> impl Iterator<Item = Option<&Address>> {
        let copies = self.vbuckets.get(usize::from(vbucket)).map_or(&[][..], Vec::as_slice);
        copies.iter().map(|at| at.and_then(|at| self.nodes.get(at)))
    }
}

/// The name of the network whose addresses are taken. Without a choice, or with `auto`, it is the one in which `from`, which has sent the
/// configuration, has the address under which it was asked (as Couchbase's clients choose: gocbcore's `buildFirstRouteConfig`).
pub(crate) fn network(nodes: &[NodeText], from: &Address, config: &Config) -> Result<String, Error> {
    let others: BTreeSet<&str> =
        nodes.iter().flat_map(|node| node.alternate_addresses.keys()).map(String::as_str).collect();
    let all = || std::iter::once(DEFAULT).chain(others.iter().copied().filter(|name| *name != DEFAULT));
    match config.seeds.network.as_deref().filter(|name| *name != AUTO) {
        Some(name) if all().any(|known| known == name) => Ok(name.to_owned()),
        Some(name) => {
            let all: Vec<&str> = all().collect();
            Err(Error::Configuration(format!("the cluster has no network {name}; it has {}", all.join(", "))))
        }
        None => {
            let has_host = |name: &&str, service: Option<&str>| {
                nodes.iter().filter_map(|node| node.in_network(from, name)).any(|(host, ports)| {
                    host == from.host && service.is_none_or(|service| ports.get(service) == Some(&from.port))
                })
            };
            // Networks may share a host, of which each has other ports.
            let exact = all().find(|name| has_host(name, Some(service(config.is_tls()))));
            Ok(exact.or_else(|| all().find(|name| has_host(name, None))).unwrap_or(DEFAULT).to_owned())
        }
    }
}

impl NodeText {
    /// The node's host and its services' ports in a network, when it has an address there.
    pub(crate) fn in_network<'a>(&'a self, from: &'a Address, network: &str) -> Option<(&'a str, &'a Ports)> {
        if network == DEFAULT {
            return Some((self.hostname.as_deref().unwrap_or(&from.host), &self.services));
        }
        let other = self.alternate_addresses.get(network)?;
        // Without ports of its own the network has the usual ones.
        Some((&other.hostname, other.ports.as_ref().unwrap_or(&self.services)))
    }

    fn address(&self, from: &Address, network: &str, is_tls: bool) -> Option<Address> {
        let (host, ports) = self.in_network(from, network)?;
        Some(Address { host: host.to_owned(), port: *ports.get(service(is_tls))? })
    }
}

fn read(text: &[u8]) -> Result<Text, Error> {
    serde_json::from_slice(text).map_err(|error| Error::Protocol(format!("a configuration is malformed: {error}")))
}

/// The key-value service.
fn service(is_tls: bool) -> &'static str {
    if is_tls { "kvSSL" } else { "kv" }
}

/// An entry of the server list, `host:port`, which has no port for TLS.
fn listed(server: &str, from: &Address) -> Option<Address> {
    let (host, port) = server.rsplit_once(':')?;
    Some(Address { host: host.replace("$HOST", &from.host), port: port.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"rev":7,"revEpoch":2,"nodesExt":[
        {"services":{"kv":11210,"kvSSL":11207,"mgmt":8091},"thisNode":true,
         "alternateAddresses":{"external":{"hostname":"out","ports":{"kv":31210}}}},
        {"hostname":"b","services":{"kv":12000}}],
        "vBucketServerMap":{"serverList":["$HOST:11210","b:12000"],"vBucketMap":[[0,1],[1,-1],[-1,-1],[5,0]]}}"#;

    fn parse(text: &str, string: &str) -> Result<Topology, Error> {
        let from = Address { host: "a".into(), port: 11210 };
        Topology::first(text.as_bytes(), &from, &Config::new(string).unwrap())
    }

    #[test]
    fn a_configuration_says_where_vbuckets_are() {
        let topology = parse(TEXT, "couchbase://h").unwrap();
        assert_eq!(topology.version, (2, 7));
        let active: Vec<Option<String>> =
            (0..5).map(|vbucket| topology.active(vbucket).map(ToString::to_string)).collect();
        assert_eq!(active, [Some("a:11210".into()), Some("b:12000".into()), None, None, None]);
        assert_eq!(topology.copies(1).map(|node| node.is_some()).collect::<Vec<_>>(), [true, false]);
    }

    /// Both nodes in the network, the second with the usual ports there.
    fn external() -> String {
        TEXT.replace(
            r#"{"kv":12000}"#,
            r#"{"kv":12000,"kvSSL":12001},"alternateAddresses":{"external":{"hostname":"out2"}}"#,
        )
    }

    fn names(topology: &Topology) -> Vec<String> {
        topology.nodes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn other_networks_and_tls_have_other_addresses() {
        let nodes = |string| names(&parse(&external(), string).unwrap());
        assert_eq!(nodes("couchbase://h?network=external"), ["out:31210", "out2:12000"]);
        assert_eq!(nodes("couchbase://h?network=default"), ["a:11210", "b:12000"]);
        assert_eq!(nodes("couchbases://h"), ["a:11207", "b:12001"]);
    }

    #[test]
    fn a_network_that_is_not_there_is_an_error_with_those_that_are() {
        let error = |text: &str, string| parse(text, string).unwrap_err().to_string();
        let missing = error(TEXT, "couchbase://h?network=inside");
        assert!(missing.contains("no network inside; it has default, external"), "{missing}");
        // The second node is not in it; the first has no port for TLS there.
        let partly = error(TEXT, "couchbase://h?network=external");
        assert!(partly.contains("the node b:12000 has no port kv in the network external"), "{partly}");
        let without = error(&external(), "couchbases://h?network=external");
        assert!(without.contains("the node $HOST:11210 has no port kvSSL in the network external"), "{without}");
        let plain = error(TEXT, "couchbases://h");
        assert!(plain.contains("the node b:12000 has no port kvSSL in the network default"), "{plain}");
    }

    #[test]
    fn the_network_is_that_of_the_node_that_was_asked() {
        let nodes = |text: &str, host: &str, port, option: &str| {
            let config = Config::new(&format!("couchbase://h{option}")).unwrap();
            names(&Topology::first(text.as_bytes(), &Address { host: host.into(), port }, &config).unwrap())
        };
        let named = external().replace(r#","thisNode""#, r#","hostname":"a","thisNode""#);
        for option in ["", "?network=auto"] {
            assert_eq!(nodes(&named, "b", 12000, option), ["a:11210", "b:12000"]);
            assert_eq!(nodes(&named, "out2", 12000, option), ["out:31210", "out2:12000"]);
            // Behind another port, and by a name that the cluster does not know.
            assert_eq!(nodes(&named, "out", 4, option), ["out:31210", "out2:12000"]);
            assert_eq!(nodes(&named, "balancer", 11210, option), ["a:11210", "b:12000"]);
        }
        assert_eq!(nodes(&named, "out", 31210, "?network=default"), ["a:11210", "b:12000"]);
        // One host of both networks: ports tell which.
        let shared = named.replace(r#""out""#, r#""a""#);
        assert_eq!(nodes(&shared, "a", 31210, ""), ["a:31210", "out2:12000"]);
        assert_eq!(nodes(&shared, "a", 11210, ""), ["a:11210", "b:12000"]);
    }

    #[test]
    fn later_configurations_are_read_in_the_same_network() {
        let from = |host: &str| Address { host: host.into(), port: 31210 };
        let config = Config::new("couchbase://h").unwrap();
        let first = Topology::first(external().as_bytes(), &from("out"), &config).unwrap();
        // The node that was asked first has gone; another one has no address in the network.
        let next = first.next(TEXT.replace("\"out\"", "\"elsewhere\"").as_bytes(), &from("out2"), &config).unwrap();
        assert_eq!(names(&next), ["elsewhere:31210"]);
        assert_eq!((next.active(0), next.active(1)), (next.nodes.first(), None));
    }

    #[test]
    fn what_is_no_configuration_is_an_error() {
        for text in ["", "{}", r#"{"vBucketServerMap":{"serverList":[],"vBucketMap":[]}}"#, r#"{"rev":"x"}"#] {
            assert!(parse(text, "couchbase://h").is_err(), "{text}");
        }
    }
}
