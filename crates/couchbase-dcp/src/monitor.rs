//! The beginning of a feed, and the connection that keeps its picture of the cluster fresh.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{interval, sleep, timeout};

use crate::address::Address;
use crate::config::{Config, Filter};
use crate::connection::{Connection, Purpose, success};
use crate::error::Error;
use crate::limits::{CONFIG_INTERVAL, RETRY_DELAY_MAX, RETRY_DELAY_MIN};
use crate::manifest::Ids;
use crate::output::send_all;
use crate::topology::Topology;
use crate::wire::codes::{opcode, status};
use crate::wire::packet::{Outgoing, Packet};
use crate::wire::reader::Reader;
use crate::wire::request;

/// The newest configuration that anybody has seen.
pub(crate) type Topologies = watch::Sender<Arc<Topology>>;

/// Takes a configuration that some node has sent, if it is newer.
pub(crate) fn publish(topologies: &Topologies, text: &[u8], from: &Address, config: &Config) {
    // A node that has no bucket yet, or has it no more, sends what is no configuration of it.
    let Ok(found) = topologies.borrow().next(text, from, config) else { return };
    topologies.send_if_modified(|known| {
        let is_newer = found.version > known.version;
        if is_newer {
            *known = Arc::new(found);
        }
        is_newer
    });
}

/// What a feed begins with.
pub(crate) struct Beginning {
    pub(crate) topology: Topology,
    pub(crate) ids: Ids,
    /// The manifest that the ids are of.
    pub(crate) manifest_uid: u64,
}

/// Finds a node that answers, reads the configuration from it and the ids of what the filter names.
pub(crate) async fn bootstrap(config: &Config) -> Result<Beginning, Error> {
    config.check()?;
    let Seeds { addresses, unknown } = seeds(config).await;
    let (mut last, mut denied) = (None, None);
    for address in addresses {
        match start_at(&address, config).await {
            Ok(started) => return Ok(started),
            // Nodes without the data service have no bucket, and say so as those where there is none.
            Err(error @ Error::Access(_)) => denied = Some(error),
            Err(error) if error.is_transient() => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(match (last, unknown) {
        (Some(Error::Connection(why)), Some(unknown)) => Error::Connection(format!("{why}; {unknown}")),
        // A node that could not be asked may have the bucket.
        (last, _) => last.or(denied).unwrap_or_else(|| Error::Connection("the connection string names no node".into())),
    })
}

/// Where to begin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seeds {
    pub(crate) addresses: Vec<Address>,
    /// Why nobody knows whether a DNS record names others.
    pub(crate) unknown: Option<Error>,
}

/// The nodes of a DNS record, when the connection string may name one; otherwise those that it names. Without an answer the name is taken
/// for that of a host: most are, and where no name server answers, only the host can be meant.
#[cfg_attr(
    not(feature = "srv"),
    allow(clippy::unused_async, reason = "DNS records are asked for with the feature srv")
)]
pub(crate) async fn seeds(config: &Config) -> Seeds {
    #[cfg(feature = "srv")]
    if let Some(name) = config.seeds.srv_name() {
        return recorded(&crate::srv::name_servers().await, &name, config).await;
    }
    Seeds { addresses: config.seeds.addresses(), unknown: None }
}

#[cfg(feature = "srv")]
async fn recorded(servers: &[std::net::SocketAddr], name: &str, config: &Config) -> Seeds {
    let patience = config.timeout.min(crate::limits::DNS_PATIENCE);
    match crate::srv::look_up(servers, name, patience).await {
        Ok(found) if !found.is_empty() => Seeds { addresses: found, unknown: None },
        Ok(_) => Seeds { addresses: config.seeds.addresses(), unknown: None },
        Err(error) => {
            let unknown = Some(Error::Connection(format!("the DNS record {name}: {error}")));
            Seeds { addresses: config.seeds.addresses(), unknown }
        }
    }
}

async fn start_at(address: &Address, config: &Config) -> Result<Beginning, Error> {
    let mut connection = Connection::open(address, config, Purpose::Streams).await?;
    let asking = async {
        let answer = connection.request(&Outgoing::new(opcode::GET_CLUSTER_CONFIG)).await?;
        success(&answer, "GET_CLUSTER_CONFIG")?;
        Topology::first(&answer.value, address, config)
    };
    let late = || Error::Timeout(format!("the configuration of {address}"));
    let topology = timeout(config.timeout, asking).await.map_err(|_| late())??;
    let found = timeout(config.timeout, find(&mut connection, &config.filter)).await.map_err(|_| late())?;
    let (manifest_uid, ids) = match found {
        // Nodes without the data service know no collections.
        Err(Error::Status { status: status::CONFIG_ONLY, .. }) => find_at_member(&topology, config).await?,
        found => found?,
    };
    Ok(Beginning { topology, ids, manifest_uid })
}

/// Asks the bucket's own nodes, one after the other, until one has an answer.
async fn find_at_member(topology: &Topology, config: &Config) -> Result<(u64, Ids), Error> {
    let mut last = Error::Connection("the bucket has no nodes".into());
    for address in &topology.nodes {
        let asking = async {
            let mut connection = Connection::open_member(address, config, Purpose::Streams).await?;
            find(&mut connection, &config.filter).await
        };
        let asked = timeout(config.timeout, asking).await;
        match asked.unwrap_or_else(|_| Err(Error::Timeout(format!("the ids of collections at {address}")))) {
            Ok(found) => return Ok(found),
            Err(error) if error.is_transient() => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// The ids of what a filter names, and the newest manifest that they were found in.
async fn find(connection: &mut Connection, filter: &Filter) -> Result<(u64, Ids), Error> {
    match filter {
        Filter::All => Ok((0, Ids::All)),
        Filter::Scope(name) => {
            let (uid, id) = id_of(connection, opcode::GET_SCOPE_ID, name).await?;
            Ok((uid, Ids::Scope(id)))
        }
        Filter::Collections(paths) => {
            let (mut newest, mut ids) = (0, Vec::with_capacity(paths.len()));
            for path in paths {
                let (uid, id) = id_of(connection, opcode::GET_COLLECTION_ID, path).await?;
                newest = uid.max(newest);
                ids.push(id);
            }
            Ok((newest, Ids::Collections(ids)))
        }
    }
}

async fn id_of(connection: &mut Connection, code: u8, path: &str) -> Result<(u64, u32), Error> {
    read_id(&connection.request(&request::id_of(code, path)).await?, path)
}

/// The answer has the manifest's uid u64 and the id u32 (`kv_engine` docs/Collections.md, "`get_collection_id`").
pub(crate) fn read_id(answer: &Packet, path: &str) -> Result<(u64, u32), Error> {
    match answer.vbucket {
        status::UNKNOWN_COLLECTION | status::UNKNOWN_SCOPE | status::INVALID => {
            return Err(Error::UnknownCollection(path.to_owned()));
        }
        _ => success(answer, "the id of a collection")?,
    }
    let mut extras = Reader::new(&answer.extras);
    let id = extras.u64().zip(extras.u32());
    id.ok_or_else(|| Error::Protocol("the answer with the id of a collection is malformed".into()))
}

/// Asks again and again, and listens to what is pushed, until the task is ended.
pub(crate) async fn watch_cluster(config: Arc<Config>, topologies: Topologies) {
    let mut delay = RETRY_DELAY_MIN;
    let mut turn = 0;
    loop {
        let address = {
            let topology = topologies.borrow();
            topology.nodes.get(turn % topology.nodes.len().max(1)).cloned()
        };
        if let Some(address) = address
            && let Ok(connection) = Connection::open_member(&address, &config, Purpose::Monitor).await
        {
            delay = RETRY_DELAY_MIN;
            // It ends with an error in any case; the next node is asked then.
            let _ = listen(connection, &address, &config, &topologies).await;
        }
        turn += 1;
        sleep(delay).await;
        delay = (delay * 2).min(RETRY_DELAY_MAX);
    }
}

async fn listen(
    mut connection: Connection,
    from: &Address,
    config: &Config,
    topologies: &Topologies,
) -> Result<(), Error> {
    let mut ask = Vec::new();
    Outgoing::new(opcode::GET_CLUSTER_CONFIG).write(&mut ask);
    let mut due = interval(CONFIG_INTERVAL);
    let mut is_asked = false;
    loop {
        tokio::select! {
            packet = connection.reader.next() => {
                let packet = packet?;
                if packet.opcode == opcode::GET_CLUSTER_CONFIG {
                    is_asked = false;
                }
                if has_config(&packet) {
                    publish(topologies, &packet.value, from, config);
                }
            }
            _ = due.tick() => {
                if is_asked {
                    return Err(Error::Timeout("the configuration".into()));
                }
                is_asked = true;
                timeout(config.timeout, send_all(&mut connection.writer, &ask)).await.map_err(|_| Error::Timeout("a write".into()))??;
            }
        }
    }
}

fn has_config(packet: &Packet) -> bool {
    if packet.is_response() {
        packet.opcode == opcode::GET_CLUSTER_CONFIG && packet.vbucket == status::SUCCESS && !packet.value.is_empty()
    } else {
        packet.opcode == opcode::CONFIG_CHANGED && !packet.value.is_empty()
    }
}

#[cfg(all(test, feature = "srv"))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::srv::tests::{NameServer, Says};

    #[tokio::test]
    async fn a_host_is_asked_itself_where_no_record_names_others() {
        for (says, addresses, part) in [
            (Says::Targets, "a.example:11210 b.example:11211", None),
            (Says::NotThere, "cb.example:11210", None),
            (Says::Failure, "cb.example:11210", Some("ServerFailure")),
            (Says::Truncated, "cb.example:11210", Some("no answer in time")),
            (Says::Nothing, "cb.example:11210", Some("no answer in time")),
        ] {
            let server = NameServer::start(says, Says::Nothing).await;
            let mut config = Config::new("couchbase://cb.example").unwrap();
            if !matches!(says, Says::Targets | Says::NotThere | Says::Failure) {
                config.timeout = Duration::from_millis(50);
            }
            let name = config.seeds.srv_name().unwrap();
            let found = recorded(&[server.at], &name, &config).await;
            let hosts: Vec<String> = found.addresses.iter().map(ToString::to_string).collect();
            assert_eq!(hosts.join(" "), addresses, "{says:?}");
            let why = found.unknown.map(|error| error.to_string());
            assert_eq!(why.is_some(), part.is_some(), "{says:?}: {why:?}");
            assert!(
                part.is_none_or(|part| why.is_some_and(|why| why.contains(part) && why.contains(&name))),
                "{says:?}"
            );
        }
        // A system that names no name server.
        let config = Config::new("couchbase://cb.example").unwrap();
        let found = recorded(&[], "_couchbase._tcp.cb.example", &config).await;
        assert_eq!((found.addresses, found.unknown.is_some()), (config.seeds.addresses(), true));
    }
}
