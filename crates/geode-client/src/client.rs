//! The client: what every region, transaction and subscription shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::config::{Config, Protocol};
use crate::error::Error;
use crate::json::Json;
use crate::net::pool::{Answered, Call, Pool, maintain};
use crate::pdx::{DecodeError, EncodeError, Encoder, PdxType, Registry, Types as _, decode};
use crate::region::Region;
use crate::routing::Partitioning;
use crate::routing::Routing;
use crate::value::Value;
use crate::wire::Reader;
use crate::wire::codes::message;
use crate::wire::identity::ClientIdentity;
use crate::wire::locator::Address;
use crate::wire::message::{BYTES_MAX, Request};

/// How long after a refusal a client tries to connect again.
pub(crate) const REFUSED_RETRY: Duration = Duration::from_millis(250);
/// The servers notice within this time that the client before, of the same durable id, is gone.
pub(crate) const FREE_WITHIN: Duration = Duration::from_secs(5);
/// How many types one document may need from the registry before the answers are taken for a fault.
const LOOKUPS_MAX: usize = 10_000;

/// A connection to a cluster. Clones share it.
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) pool: Arc<Pool>,
    pub(crate) registry: Registry,
    pub(crate) routing: Routing,
    pub(crate) next_transaction: AtomicI32,
    /// The losses of the pool that the registry has followed.
    seen_losses: AtomicUsize,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Client").field("servers", &self.servers()).finish_non_exhaustive()
    }
}

impl Client {
    /// Finds the cluster, and opens and authenticates a first connection. Who is refused tries again for
    /// [`connect_timeout`](Config::connect_timeout). Needs a tokio runtime.
    pub async fn connect(config: Config) -> Result<Self, Error> {
        config.check()?;
        let begun = Instant::now();
        loop {
            match Self::connect_as_known(&config).await {
                // A locator that has just started closes connections without an answer, too.
                Err(Error::Refused { .. }) if begun.elapsed() < config.connect_timeout => sleep(REFUSED_RETRY).await,
                Err(Error::DurableIdInUse { .. }) if begun.elapsed() < FREE_WITHIN => sleep(REFUSED_RETRY).await,
                other => return other,
            }
        }
    }

    async fn connect_as_known(config: &Config) -> Result<Self, Error> {
        if let Some(protocol) = config.protocol {
            return Self::connect_as(config.clone(), protocol).await;
        }
        match Self::connect_as(config.clone(), Protocol::V1_15).await {
            // What an older cluster does with a version that it has not heard of.
            Err(refused @ Error::Refused { .. }) => {
                Self::connect_as(config.clone(), Protocol::V1_14).await.map_err(|_| refused)
            }
            other => other,
        }
    }

    async fn connect_as(config: Config, protocol: Protocol) -> Result<Self, Error> {
        let identity = identity(&config, protocol)?;
        let pool = Arc::new(Pool::new(config, identity));
        pool.refresh().await?;
        drop(pool.lease(None).await?);
        tokio::spawn(maintain(Arc::downgrade(&pool)));
        let shared = Shared {
            pool,
            registry: Registry::default(),
            routing: Routing::default(),
            next_transaction: AtomicI32::new(1),
            seen_losses: AtomicUsize::new(0),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// A region by its full path; the leading `/` may be left out. Whether it exists, its first operation tells.
    pub fn region(&self, path: &str) -> Region {
        Region::new(self.clone(), path)
    }

    /// The servers that are known.
    pub fn servers(&self) -> Vec<Address> {
        self.shared.pool.servers().into_iter().map(|server| server.address.clone()).collect()
    }

    /// Ends the connections. A durable event queue is dropped unless `keep_queue`.
    pub async fn close(&self, keep_queue: bool) {
        self.shared.pool.close(keep_queue).await;
    }

    /// The Java object for a JSON value: a PDX instance for an object. May ask the cluster for ids of types.
    pub async fn encode(&self, json: &Json) -> Result<Value, Error> {
        self.follow_losses();
        let mode = self.shared.pool.config.type_mode;
        for _ in 0..LOOKUPS_MAX {
            let mut out = Vec::with_capacity(256);
            match (Encoder { mode, shapes: &self.shared.registry }).write(json, &mut out) {
                Ok(()) if out.len() > BYTES_MAX => return Err(Error::Value("larger than 512 MiB".to_owned())),
                Ok(()) => return Ok(Value::of_object(out.into())),
                Err(EncodeError::UnknownShape { shape, pdx_type }) => {
                    let id = self.register_type(&pdx_type).await?;
                    self.shared.registry.learn_shape(shape, id);
                }
                Err(EncodeError::DuplicateField(name)) => {
                    return Err(Error::Value(format!("the field `{name}` is there twice")));
                }
                Err(EncodeError::TooDeep) => return Err(Error::Value("nested too deep".to_owned())),
                Err(EncodeError::Integer) => return Err(Error::Value("an integer with too many digits".to_owned())),
            }
        }
        Err(Error::Value("too many types".to_owned()))
    }

    /// The JSON of a Java object of any class that PDX or Geode itself serialises. May ask the cluster for types.
    ///
    /// Dates become ISO 8601 text, sets and arrays become arrays, enum constants their names. An object of Java's own
    /// serialisation is [`Error::Opaque`].
    pub async fn decode(&self, value: &Value) -> Result<Json, Error> {
        self.follow_losses();
        let bytes = match value {
            Value::Bytes(bytes) => {
                return Ok(Json::Array(bytes.iter().map(|byte| Json::Integer(byte.cast_signed().into())).collect()));
            }
            Value::Object(bytes) => bytes,
        };
        for _ in 0..LOOKUPS_MAX {
            match decode(bytes, &self.shared.registry) {
                Ok(json) => return Ok(json),
                Err(DecodeError::UnknownType(id)) => {
                    self.pdx_type(id).await?;
                }
                Err(DecodeError::UnknownEnum(id)) => self.fetch_enum(id).await?,
                Err(DecodeError::Opaque(class)) => return Err(Error::Opaque { class }),
                Err(DecodeError::Malformed(error)) => return Err(error.into()),
            }
        }
        Err(Error::Value("too many types".to_owned()))
    }

    /// The type of PDX instances with this id.
    pub async fn pdx_type(&self, id: i32) -> Result<Arc<PdxType>, Error> {
        if let Some(known) = self.shared.registry.type_of(id) {
            return Ok(known);
        }
        let answered = self.ask(Request::new(message::PDX_TYPE_BY_ID).int(id)).await?;
        let part = answered.reply.part(0)?;
        if part.is_null() {
            return Err(Error::Protocol(format!("the cluster knows no PDX type {id}")));
        }
        let pdx_type = PdxType::read_object(&mut Reader::new(&part.bytes))?;
        self.shared.registry.learn_type(id, pdx_type);
        self.shared.registry.type_of(id).ok_or(Error::Closed)
    }

    /// Forgets ids of types. Needed only when the cluster's registry was deleted behind the client's back: after it
    /// has lost sight of all servers, a client does it by itself.
    pub fn forget_types(&self) {
        self.shared.registry.forget();
    }

    /// The server that holds the primary copy of an entry, in a partitioned region whose keys choose their bucket by
    /// their own hash; `None` otherwise. A transaction covers only keys with the same primary server.
    pub async fn primary_of(&self, region: &Region, key: &crate::Key) -> Result<Option<Address>, Error> {
        self.shared.routing.fetch(self, region.path()).await?;
        Ok(self.shared.routing.primary_of(region.path(), key))
    }

    /// [`primary_of`](Self::primary_of) as far as it is known from earlier requests.
    pub fn known_primary_of(&self, region: &Region, key: &crate::Key) -> Option<Address> {
        self.shared.routing.primary_of(region.path(), key)
    }

    /// How a region is partitioned; `None` when it is not: then every server has all of it.
    pub async fn partitioning_of(&self, region: &Region) -> Result<Option<Partitioning>, Error> {
        self.shared.routing.fetch(self, region.path()).await?;
        Ok(self.shared.routing.partitioning_of(region.path()))
    }

    /// The id under which the cluster knows a type, which it gets if it has none: for PDX instances that the caller writes. It has it for
    /// ever.
    pub async fn register_type(&self, pdx_type: &PdxType) -> Result<i32, Error> {
        let mut object = Vec::with_capacity(64 + 24 * pdx_type.fields.len());
        pdx_type.write_object(&mut object);
        let answered = self.ask(Request::new(message::PDX_ID_FOR_TYPE).object(&object)).await?;
        Ok(answered.reply.part(0)?.int()?)
    }

    async fn fetch_enum(&self, id: i32) -> Result<(), Error> {
        let answered = self.ask(Request::new(message::PDX_ENUM_BY_ID).int(id)).await?;
        let part = answered.reply.part(0)?;
        if part.is_null() {
            return Err(Error::Protocol(format!("the cluster knows no PDX enum {id}")));
        }
        let name = crate::pdx::read_enum_info(&mut Reader::new(&part.bytes))?;
        self.shared.registry.learn_enum(id, &name);
        Ok(())
    }

    /// A cluster whose servers were all gone may have come back with an empty registry.
    fn follow_losses(&self) {
        let losses = self.shared.pool.signs.losses.load(Ordering::Relaxed);
        if self.shared.seen_losses.swap(losses, Ordering::Relaxed) != losses {
            self.shared.registry.forget();
        }
    }

    /// A request that any server answers and that changes no entry.
    pub(crate) async fn ask(&self, request: Request) -> Result<Answered, Error> {
        self.shared.pool.call(Call { request, is_chunked: false, is_change: false }, None).await
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.shared.pool
    }
}

fn identity(config: &Config, protocol: Protocol) -> Result<ClientIdentity, Error> {
    let mut random = [0u8; 16];
    getrandom::fill(&mut random).map_err(|error| Error::Configuration(format!("no random numbers: {error}")))?;
    let unique_tag = format!("{:024x}", u128::from_be_bytes(random));
    let durable = config.durable.as_ref();
    Ok(ClientIdentity {
        name: config.name.clone(),
        unique_tag,
        durable_id: durable.map(|one| one.id.clone()).unwrap_or_default(),
        durable_timeout_s: durable.map_or(300, |one| i32::try_from(one.timeout.as_secs().max(1)).unwrap_or(i32::MAX)),
        ordinal: protocol.ordinal(),
        // Only the tag tells processes apart; a port is expected in this place.
        port: 40_000 + i32::from(random.first().copied().unwrap_or_default()),
        process_id: i32::try_from(std::process::id()).unwrap_or_default(),
    })
}
