//! The configuration of a bucket: its nodes, and which of them have which vbucket (`kv_engine` docs/BinaryProtocol.md, "Get Cluster
//! Config"; the format is that of the REST interface).

use serde::Deserialize;

use crate::address::Address;
use crate::config::Config;
use crate::error::Error;
use crate::limits::VBUCKETS_MAX;

/// One configuration. A later one has a higher `(epoch, revision)`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Topology {
    pub(crate) version: (i64, i64),
    pub(crate) nodes: Vec<Address>,
    /// For each vbucket the nodes that have it, by their place in `nodes`, the active one first; `None` where there is none.
    pub(crate) vbuckets: Vec<Vec<Option<usize>>>,
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeText {
    hostname: Option<String>,
    #[serde(default)]
    services: ServicesText,
    #[serde(default)]
    alternate_addresses: std::collections::BTreeMap<String, AlternateText>,
}

#[derive(Deserialize, Default)]
struct ServicesText {
    kv: Option<u16>,
    #[serde(rename = "kvSSL")]
    kv_ssl: Option<u16>,
}

#[derive(Deserialize)]
struct AlternateText {
    hostname: String,
    ports: Option<ServicesText>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MapText {
    server_list: Vec<String>,
    v_bucket_map: Vec<Vec<i32>>,
}

impl ServicesText {
    fn port(&self, is_tls: bool) -> Option<u16> {
        if is_tls { self.kv_ssl } else { self.kv }
    }
}

impl Topology {
    /// Reads a configuration that a node has sent. `from` is the host under which it is known: nodes may leave out their own.
    pub(crate) fn parse(text: &[u8], from: &str, config: &Config) -> Result<Self, Error> {
        let text: Text = serde_json::from_slice(text)
            .map_err(|error| Error::Protocol(format!("a configuration is malformed: {error}")))?;
        let map = text.map.ok_or_else(|| {
            Error::Unsupported("the bucket has no vbuckets (memcached buckets have no changes to tell)".into())
        })?;
        if map.v_bucket_map.is_empty() || map.v_bucket_map.len() > VBUCKETS_MAX {
            return Err(Error::Protocol(format!("a configuration has {} vbuckets", map.v_bucket_map.len())));
        }
        let network = config.seeds.network.as_deref();
        // Nodes with the service come first in `nodesExt`, in the order of the server list.
        let mut nodes = Vec::new();
        for (at, server) in map.server_list.iter().enumerate() {
            let node = text.nodes_ext.get(at).and_then(|node| node.address(from, network, config.is_tls()));
            nodes.push(node.or_else(|| listed(server, from, config.is_tls())).ok_or_else(|| {
                Error::Protocol(format!("a configuration has no address for the node {server} in this network"))
            })?);
        }
        let place = |at: &i32| usize::try_from(*at).ok().filter(|at| *at < nodes.len());
        let vbuckets = map.v_bucket_map.iter().map(|copies| copies.iter().map(place).collect()).collect();
        Ok(Self { version: (text.rev_epoch, text.rev), nodes, vbuckets })
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

impl NodeText {
    fn address(&self, from: &str, network: Option<&str>, is_tls: bool) -> Option<Address> {
        if let Some(network) = network.filter(|network| *network != "default") {
            let other = self.alternate_addresses.get(network)?;
            // Without ports of its own the network has the usual ones.
            let port = other.ports.as_ref().map_or(self.services.port(is_tls), |ports| ports.port(is_tls))?;
            return Some(Address { host: other.hostname.clone(), port });
        }
        let host = self.hostname.clone().unwrap_or_else(|| from.to_owned());
        Some(Address { host, port: self.services.port(is_tls)? })
    }
}

/// An entry of the server list, `host:port`, which has no port for TLS.
fn listed(server: &str, from: &str, is_tls: bool) -> Option<Address> {
    let (host, port) = server.rsplit_once(':').filter(|_| !is_tls)?;
    Some(Address { host: host.replace("$HOST", from), port: port.parse().ok()? })
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
        Topology::parse(text.as_bytes(), "a", &Config::new(string).unwrap())
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

    #[test]
    fn other_networks_and_tls_have_other_addresses() {
        let text = TEXT.replace(
            r#"{"kv":12000}"#,
            r#"{"kv":12000,"kvSSL":12001},"alternateAddresses":{"external":{"hostname":"out2"}}"#,
        );
        let nodes = |string| parse(&text, string).unwrap().nodes.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(nodes("couchbase://h?network=external"), ["out:31210", "out2:12000"]);
        assert_eq!(nodes("couchbases://h"), ["a:11207", "b:12001"]);
        // A node without a port for TLS is no node to connect to.
        assert!(parse(TEXT, "couchbases://h").is_err());
    }

    #[test]
    fn what_is_no_configuration_is_an_error() {
        for text in ["", "{}", r#"{"vBucketServerMap":{"serverList":[],"vBucketMap":[]}}"#, r#"{"rev":"x"}"#] {
            assert!(parse(text, "couchbase://h").is_err(), "{text}");
        }
    }
}
