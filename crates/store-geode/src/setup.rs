//! Whether the cluster is ready, and what makes it so.
//!
//! Everything is tried, not asked for: a server that refuses the attempt says why, whatever version and configuration it has.

use std::fmt::Write as _;
use std::time::Duration;

use tidelock_geode_client::{Client, Error, Event, Interest, Json, Key, Partitioning, Region, Subscribe, Value, pdx};
use tidelock_store::platform::{Finding, system};
use tokio::time::{Instant, sleep, timeout};

use crate::config::GeodeOptions;
use crate::manager::{Manager, ManagerError};
use crate::regions::Place;

/// The key of entries that a check writes, in Tidelock's own regions only.
const PROBE: &str = "~probe";
/// A Java class that no server has.
const PROBE_CLASS: &str = "tidelock.NoSuchClass";
/// How many buckets a region has when nobody says how many.
const BUCKETS_DEFAULT: usize = 113;

/// Exceptions of servers that end, or whose data moves.
const PASSING: [&str; 5] = [
    "TransactionDataRebalancedException",
    "TransactionDataNodeHasDepartedException",
    "CacheClosedException",
    "ServerConnectivityException",
    "PartitionOfflineException",
];

/// How long the event of a write may take.
const EVENT_LIMIT: Duration = Duration::from_secs(10);

/// How much later than its servers a manager may hear of a new region, and how often it is asked until it has.
const MANAGER_LAG: Duration = Duration::from_secs(15);
const MANAGER_POLL: Duration = Duration::from_millis(500);

fn fatal(what: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { fatal: true, what: what.into(), remedy: remedy.into() }
}

/// Whether an attempt failed by what passes, servers that end or data that moves: it says nothing of the configuration.
fn passes(error: &Error) -> bool {
    let of_servers = |exception: &str| PASSING.iter().any(|name| exception.contains(name));
    matches!(
        error,
        Error::Unreachable(_)
            | Error::OutcomeUnknown(_)
            | Error::Closed
            | Error::CommitConflict(_)
            | Error::NotColocated(_)
    ) || matches!(error, Error::Server { exception, .. } if of_servers(exception))
}

/// What an attempt says of the configuration: nothing, or why it failed. What passes ends the check.
fn settled<T>(attempt: Result<T, Error>) -> Result<Option<Error>, Error> {
    match attempt {
        Ok(_) => Ok(None),
        Err(error) if passes(&error) => Err(error),
        Err(error) => Ok(Some(error)),
    }
}

/// Tries what the collections need. The error is one after which to try again.
pub(crate) async fn check(
    client: &Client,
    options: &GeodeOptions,
    places: &[(String, Place)],
) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    let missing = missing(client, places, &mut findings).await?;
    if !missing.is_empty() {
        findings.push(absence(&missing, &script(&missing)));
        return Ok(findings);
    }
    let mut together = Vec::new();
    for (collection, place) in places {
        let apart = match place {
            Place::Documents { content, meta } => colocation(client, collection, content, meta).await?,
            Place::System(_) => None,
        };
        match apart {
            Some(finding) => findings.push(finding),
            None => together.push(place),
        }
    }
    if options.transactions {
        findings.extend(transactions(client, &together).await?);
    }
    findings.extend(pdx(client).await?);
    findings.extend(read_serialized(client).await?);
    findings.extend(subscriptions(client, options).await?);
    Ok(findings)
}

/// The regions that are not there, in the order in which they have to be created.
async fn missing(
    client: &Client,
    places: &[(String, Place)],
    findings: &mut Vec<Finding>,
) -> Result<Vec<Missing>, Error> {
    let mut missing = Vec::new();
    for (_, place) in places {
        match place {
            Place::System(region) => {
                missing.extend(look(client, region, None, findings).await?);
            }
            Place::Documents { content, meta } => {
                missing.extend(look(client, content, None, findings).await?);
                missing.extend(look(client, meta, Some(content), findings).await?);
            }
        }
    }
    Ok(missing)
}

fn absence(missing: &[Missing], remedy: &str) -> Finding {
    let names: Vec<&str> = missing.iter().map(|missing| missing.path.as_str()).collect();
    fatal(format!("missing regions: {}", names.join(", ")), remedy)
}

/// A region that is not there, and how to make it.
struct Missing {
    path: String,
    kind: Kind,
}

enum Kind {
    /// Every server has all of it, as of the one that it is beside.
    Replicated,
    /// By itself.
    Partitioned,
    /// Colocated with another one.
    Beside {
        path: String,
        /// `None` when that one is missing as well, and gets Geode's defaults.
        partitioning: Option<Partitioning>,
    },
}

/// Whether a region is there and may be read.
async fn look(
    client: &Client,
    region: &Region,
    beside: Option<&Region>,
    findings: &mut Vec<Finding>,
) -> Result<Option<Missing>, Error> {
    Ok(match settled(region.get(&Key::from(PROBE)).await)? {
        None => return Ok(None),
        Some(Error::NoSuchRegion(_)) => {
            let kind = match beside {
                None => Kind::Partitioned,
                Some(beside) => kind_beside(client, beside).await,
            };
            Some(Missing { path: region.path().to_owned(), kind })
        }
        // A resolver may refuse a key that the application would not use.
        Some(Error::Server { .. }) if resolver_of(client, region).await?.is_some() => None,
        Some(error) => {
            let remedy = if matches!(error, Error::NotAuthorized(_) | Error::Authentication(_)) {
                "give the user DATA:READ and DATA:WRITE on the region, and CLUSTER:READ and CLUSTER:WRITE for PDX types"
            } else {
                "see the server's log"
            };
            findings.push(fatal(format!("{}: {error}", region.path()), remedy));
            None
        }
    })
}

/// What a region has to be beside another one.
async fn kind_beside(client: &Client, beside: &Region) -> Kind {
    let path = beside.path().to_owned();
    match client.partitioning_of(beside).await {
        Ok(partitioning @ Some(_)) => Kind::Beside { path, partitioning },
        Ok(None) if !matches!(beside.get(&Key::from(PROBE)).await, Err(Error::NoSuchRegion(_))) => Kind::Replicated,
        Ok(None) | Err(_) => Kind::Beside { path, partitioning: None },
    }
}

/// The class that chooses where entries of a region are.
async fn resolver_of(client: &Client, region: &Region) -> Result<Option<String>, Error> {
    Ok(client.partitioning_of(region).await?.and_then(|partitioning| partitioning.resolver))
}

impl Missing {
    /// The one that it is colocated with.
    fn beside(&self) -> Option<&str> {
        if let Kind::Beside { path, .. } = &self.kind { Some(path) } else { None }
    }

    /// The command of gfsh that creates it.
    fn command(&self) -> String {
        // A path is the name of a region within another one.
        let name = self.path.strip_prefix('/').filter(|name| !name.contains('/')).unwrap_or(&self.path);
        let partitioned = "--type=PARTITION_PERSISTENT --redundant-copies=1";
        match &self.kind {
            Kind::Replicated => format!("create region --name={name} --type=REPLICATE_PERSISTENT"),
            Kind::Partitioned => format!("create region --name={name} {partitioned}"),
            Kind::Beside { path, partitioning } => {
                let like = partitioning.as_ref().map(like).unwrap_or_default();
                format!("create region --name={name} {partitioned} --colocated-with={path}{like}")
            }
        }
    }
}

/// What a region that is colocated with one of this partitioning has to have from it.
fn like(partitioning: &Partitioning) -> String {
    let mut options = String::new();
    // Writing to a String cannot fail.
    if partitioning.buckets != BUCKETS_DEFAULT {
        let _ = write!(options, " --total-num-buckets={}", partitioning.buckets);
    }
    if let Some(class) = &partitioning.resolver {
        let _ = write!(options, " --partition-resolver={class}");
    }
    options
}

/// What creates these regions.
fn script(missing: &[Missing]) -> String {
    let commands = missing.iter().map(|missing| format!("\n  {}", missing.command()));
    std::iter::once("in gfsh:".to_owned()).chain(commands).collect()
}

/// An entry and its meta have to be on one member, whatever the key. The regions' definitions are asked for, not where buckets are: while
/// servers start, the primaries of colocated buckets are elected one after the other.
async fn colocation(
    client: &Client,
    collection: &str,
    content: &Region,
    meta: &Region,
) -> Result<Option<Finding>, Error> {
    let (of_content, of_meta) = (client.partitioning_of(content).await?, client.partitioning_of(meta).await?);
    // A meta region that every server has whole is on all members.
    let Some(of_meta) = of_meta else { return Ok(None) };
    let (content, meta) = (content.path(), meta.path());
    let (what, again) = match &of_content {
        Some(of_content) if of_content.leader == of_meta.leader && of_content.resolver == of_meta.resolver => {
            return Ok(None);
        }
        Some(of_content) => {
            let again = format!("with --colocated-with={content}{}", like(of_content));
            let class = |partitioning: &Partitioning| {
                partitioning.resolver.as_ref().map_or_else(|| "none".to_owned(), |class| format!("the class {class}"))
            };
            let what = if of_content.leader == of_meta.leader {
                format!(
                    "{content} and {meta} have different partition resolvers, {} and {}",
                    class(of_content),
                    class(&of_meta)
                )
            } else {
                format!("{meta} is not colocated with {content}")
            };
            (what, again)
        }
        None => {
            (format!("{meta} is not colocated with {content}"), format!("as {content} is, which is not partitioned"))
        }
    };
    Ok(Some(fatal(
        format!("collection {collection}: {what}"),
        format!("destroy region --name={meta}, and create it again {again}"),
    )))
}

/// Whether the servers allow transactions on these regions. Nothing is written to the application's.
async fn transactions(client: &Client, places: &[&Place]) -> Result<Option<Finding>, Error> {
    for place in places {
        let (region, meta) = match place {
            Place::System(region) => (region, None),
            // A resolver may refuse the key; the other regions tell whether there are transactions.
            Place::Documents { content, .. } if resolver_of(client, content).await?.is_some() => continue,
            Place::Documents { content, meta } => (content, Some(meta)),
        };
        let attempt = async {
            let key = Key::from(PROBE);
            let mut transaction = client.begin(Some((region, &key))).await?;
            transaction.get(region, &key).await?;
            let written = meta.unwrap_or(region);
            transaction.put(written, &key, &Value::Bytes(vec![0].into())).await?;
            transaction.rollback().await
        };
        if let Some(error) = settled(attempt.await)? {
            let what = format!("transactions on {} do not work: {error}", region.path());
            let remedy = "start every server with --J=-Dgemfire.ALLOW_PERSISTENT_TRANSACTIONS=true, or set the option `transactions` to false";
            return Ok(Some(fatal(what, remedy)));
        }
    }
    Ok(None)
}

/// Whether JSON documents can be stored in persistent regions.
async fn pdx(client: &Client) -> Result<Option<Finding>, Error> {
    let region = client.region(system::STATE);
    let key = Key::from(PROBE);
    let attempt = async {
        let probe = client.encode(&probe()).await?;
        region.put(&key, &probe).await?;
        region.destroy(&key).await
    };
    let remedy = "in gfsh: configure pdx --read-serialized=true --disk-store=DEFAULT, then restart the servers";
    let finding = |error| fatal(format!("JSON documents cannot be stored: {error}"), remedy);
    Ok(settled(attempt.await)?.map(finding))
}

/// Whether the servers leave PDX instances as they are. Otherwise they make objects of them, as soon as they compare, of classes that
/// they may not have.
async fn read_serialized(client: &Client) -> Result<Option<Finding>, Error> {
    let attempt = async {
        let Value::Object(bytes) = client.encode(&probe()).await? else { return Ok(false) };
        let Some(type_id) = pdx::type_id_of(&bytes) else { return Ok(false) };
        // The same object, but of a class of Java's that nobody has.
        let mut of_class = (*client.pdx_type(type_id).await?).clone();
        PROBE_CLASS.clone_into(&mut of_class.class_name);
        (of_class.id, of_class.has_no_class) = (0, false);
        let class_id = client.register_type(&of_class).await?;
        let mut object = bytes.to_vec();
        if let Some(id) = object.get_mut(5..9) {
            id.copy_from_slice(&class_id.to_be_bytes());
        }
        // There is no such entry, so nothing is replaced.
        client
            .region(system::STATE)
            .replace_if(&Key::from(PROBE), &Value::Object(object.into()), &Value::string(""))
            .await
    };
    // What else may go wrong, other attempts tell.
    let error = settled(attempt.await)?.filter(|error| error.to_string().contains(PROBE_CLASS));
    Ok(error.map(|error| Finding {
        fatal: false,
        what: format!("the servers make Java objects of PDX instances (read-serialized is off): {error}"),
        remedy: "documents that Java classes own need it. In gfsh: configure pdx --read-serialized=true --disk-store=DEFAULT, then restart the servers".to_owned(),
    }))
}

/// A document that nobody else has.
fn probe() -> Json {
    Json::Object(vec![("tidelock".to_owned(), Json::Bool(true))])
}

/// Whether the servers send the events of what is written.
async fn subscriptions(client: &Client, options: &GeodeOptions) -> Result<Option<Finding>, Error> {
    let mut connection = options.connection.clone();
    connection.durable = None;
    let heard = async {
        // Another client than the one that writes: nobody hears of what he did himself.
        let listener = Client::connect(connection).await?;
        let heard = hears(&listener, client).await;
        listener.close(false).await;
        heard
    };
    let what = match heard.await {
        Ok(true) => return Ok(None),
        Ok(false) => {
            format!("subscriptions are off: what was written to /{} made no event in {EVENT_LIMIT:?}", system::STATE)
        }
        Err(error @ Error::NotAuthorized(_)) => {
            let remedy = "give the user DATA:READ on the regions as wholes, not on some of their keys";
            return Ok(Some(fatal(format!("the user may not subscribe to /{}: {error}", system::STATE), remedy)));
        }
        Err(error) => format!("subscriptions are off: no server keeps an event queue: {error}"),
    };
    Ok(Some(fatal(
        what,
        "the servers have to keep queues for their clients, and nothing between them and this node may hold back the connections on which events come: see the servers' logs",
    )))
}

/// Whether one client hears of what another one writes.
async fn hears(listener: &Client, writer: &Client) -> Result<bool, Error> {
    let interests = vec![Interest::all(system::STATE)];
    let mut subscription = listener.subscribe(Subscribe { interests, ..Subscribe::default() }).await?;
    let (region, key) = (writer.region(system::STATE), Key::from(PROBE));
    region.put(&key, &Value::Bytes(vec![0].into())).await?;
    let event = async {
        while let Some(event) = subscription.next().await {
            if matches!(&event, Event::Change(change) if change.key == key) {
                return true;
            }
        }
        false
    };
    let is_heard = timeout(EVENT_LIMIT, event).await.unwrap_or(false);
    region.destroy(&key).await?;
    Ok(is_heard)
}

/// Creates what is missing, through a manager; what cannot be created is in the findings, with the commands for an administrator.
pub(crate) async fn configure(
    client: &Client,
    options: &GeodeOptions,
    places: &[(String, Place)],
) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    let missing = missing(client, places, &mut findings).await?;
    if missing.is_empty() {
        return check(client, options, places).await;
    }
    if let Err(reason) = create(options, &missing).await {
        findings.push(absence(&missing, &format!("{reason}\n{}", script(&missing))));
        return Ok(findings);
    }
    check(client, options, places).await
}

/// The error is a sentence about the managers.
async fn create(options: &GeodeOptions, missing: &[Missing]) -> Result<(), String> {
    let credentials = options.connection.credentials.as_deref().unwrap_or_default();
    let mut reasons = Vec::new();
    for address in &options.managers {
        let manager = Manager { address, credentials };
        match create_by(&manager, missing).await {
            Ok(()) => return Ok(()),
            Err(ManagerError::Unreachable(reason)) => reasons.push(reason),
            Err(ManagerError::Failed(reason)) => return Err(format!("the manager could not create them: {reason}")),
        }
    }
    let reasons = reasons.join("; ");
    Err(format!("no manager answers ({reasons}): set the option `manager` to the host and HTTP port of one, or"))
}

async fn create_by(manager: &Manager<'_>, missing: &[Missing]) -> Result<(), ManagerError> {
    for region in missing {
        let is_beside_new = missing.iter().any(|other| region.beside() == Some(other.path.as_str()));
        let late = Instant::now() + if is_beside_new { MANAGER_LAG } else { Duration::ZERO };
        loop {
            match manager.run(&region.command()).await {
                Ok(()) => break,
                Err(ManagerError::Failed(_)) if Instant::now() < late => sleep(MANAGER_POLL).await,
                Err(error) => return Err(error),
            }
        }
        tracing::info!(region = region.path, "created");
    }
    Ok(())
}
