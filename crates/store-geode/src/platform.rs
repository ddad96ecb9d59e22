//! The platform: connections, and which of the modules does what.

use std::collections::BTreeMap;

use tidelock_core::ids::DocumentId;
use tidelock_geode_client::{Client, Error, Key};
use tidelock_store::BoxFuture;
use tidelock_store::platform::{
    Entry, Feed, Finding, Platform, PlatformCapabilities, PlatformError, Position, PutIf, PutOutcome, Scan,
};

use crate::alone::put_alone;
use crate::config::GeodeOptions;
use crate::entry::{read_many, refused};
use crate::feed::GeodeFeed;
use crate::put::{Planned, put_all};
use crate::regions::{KEY_BYTES_MAX, Place, VALUE_BYTES_MAX, check_path, key_of};
use crate::scan::GeodeScan;
use crate::setup;

/// A commit applies its entries one after the other, in far less than this on a member that has time, in milliseconds.
const TORN_MS_MAX: u32 = 20;

/// A cluster of Apache Geode that holds one database.
#[derive(Debug)]
pub struct GeodePlatform {
    /// Reads and writes. Feeds have clients of their own: servers tell a client nothing of its own writes, and a write whose
    /// answer was lost would not be heard of.
    client: Client,
    options: GeodeOptions,
}

impl GeodePlatform {
    /// Finds the cluster. Needs a tokio runtime.
    pub async fn connect(options: GeodeOptions) -> Result<Self, PlatformError> {
        for path in options.regions.values() {
            check_path(path)?;
        }
        if options.node.is_empty() {
            return Err(PlatformError::Refused("the node has no name".to_owned()));
        }
        let mut connection = options.connection.clone();
        connection.durable = None;
        let client = Client::connect(connection).await.map_err(|error| not_connected(&error))?;
        Ok(Self { client, options })
    }

    /// Ends the connections. The event queue of the node stays for as long as the servers keep it.
    pub async fn close(&self) {
        self.client.close(true).await;
    }

    fn place(&self, collection: &str) -> Result<Place, PlatformError> {
        if !self.options.regions.contains_key(collection) {
            check_path(collection)?;
        }
        Ok(Place::of(&self.client, &self.options.regions, collection))
    }

    fn places(&self, collections: &[String]) -> Result<Vec<(String, Place)>, PlatformError> {
        collections.iter().map(|collection| Ok((collection.clone(), self.place(collection)?))).collect()
    }

    async fn get_all(&self, ids: &[DocumentId]) -> Result<Vec<Entry>, PlatformError> {
        let mut by_collection: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, id) in ids.iter().enumerate() {
            by_collection.entry(&id.collection).or_default().push(at);
        }
        let mut entries = vec![Entry::default(); ids.len()];
        for (collection, places) in by_collection {
            let place = self.place(collection)?;
            let keys: Vec<Key> = places.iter().filter_map(|at| ids.get(*at)).map(key_of).collect();
            for (at, values) in places.iter().zip(read_many(&place, &keys).await?) {
                let entry = values.entry(&self.client, &place).await?;
                if let Some(slot) = entries.get_mut(*at) {
                    *slot = entry;
                }
            }
        }
        Ok(entries)
    }

    async fn put(&self, puts: &[PutIf]) -> Result<PutOutcome, PlatformError> {
        let mut planned = Vec::with_capacity(puts.len());
        for put in puts {
            planned.push(Planned::new(&self.client, self.place(&put.id.collection)?, key_of(&put.id), put).await?);
        }
        match &planned[..] {
            _ if self.options.transactions => put_all(&self.client, &planned).await,
            [] => Ok(PutOutcome::Done(Vec::new())),
            [one] => put_alone(one).await,
            _ => Ok(PutOutcome::NotTogether),
        }
    }

    async fn open_feed(&self, collections: &[String], from: Option<&Position>) -> Result<GeodeFeed, PlatformError> {
        let mut connection = self.options.connection.clone();
        connection.durable =
            Some(tidelock_geode_client::Durable { id: self.options.node.clone(), timeout: self.options.queue_kept });
        let client = Client::connect(connection).await.map_err(|error| refused(&error))?;
        GeodeFeed::open(client, &self.options, self.places(collections)?, from).await
    }
}

/// Why there is no connection, with what in the configuration decides on it.
fn not_connected(error: &Error) -> PlatformError {
    let advice = if matches!(error, Error::Unreachable(_) | Error::Refused { .. }) {
        "`addresses` has to name locators, not servers, that this machine reaches; the option `ca_file` has to be set where they speak TLS, \
         and only there, and `certificate_file` and `key_file` where they ask who connects"
    } else if matches!(error, Error::Authentication(_)) {
        "`user` and `password_file` have to name a user of the cluster"
    } else {
        return refused(error);
    };
    match refused(error) {
        PlatformError::Refused(why) => PlatformError::Refused(format!("{why} ({advice})")),
        PlatformError::Unavailable(why) => PlatformError::Unavailable(format!("{why} ({advice})")),
        other @ PlatformError::Full(_) => other,
    }
}

impl Platform for GeodePlatform {
    fn capabilities(&self) -> PlatformCapabilities {
        PlatformCapabilities {
            name: "geode",
            key_bytes_max: KEY_BYTES_MAX,
            content_bytes_max: VALUE_BYTES_MAX,
            depth_max: tidelock_core::limits::DEPTH_MAX,
            meta_bytes_max: VALUE_BYTES_MAX,
            torn_ms_max: TORN_MS_MAX,
        }
    }

    fn get<'a>(&'a self, ids: &'a [DocumentId]) -> BoxFuture<'a, Result<Vec<Entry>, PlatformError>> {
        Box::pin(self.get_all(ids))
    }

    fn together(&self, ids: &[&DocumentId]) -> bool {
        if !self.options.transactions {
            return false;
        }
        let mut primaries = ids.iter().map(|id| {
            let place = self.place(&id.collection).ok()?;
            self.client.known_primary_of(place.content(), &key_of(id))
        });
        let Some(first) = primaries.next() else { return true };
        first.is_some() && primaries.all(|other| other == first)
    }

    fn put_if<'a>(&'a self, puts: &'a [PutIf]) -> BoxFuture<'a, Result<PutOutcome, PlatformError>> {
        Box::pin(self.put(puts))
    }

    fn feed<'a>(
        &'a self,
        collections: &'a [String],
        from: Option<&'a Position>,
    ) -> BoxFuture<'a, Result<Box<dyn Feed>, PlatformError>> {
        Box::pin(async move { Ok(Box::new(self.open_feed(collections, from).await?) as Box<dyn Feed>) })
    }

    fn scan<'a>(&'a self, collection: &'a str) -> BoxFuture<'a, Result<Box<dyn Scan>, PlatformError>> {
        Box::pin(async move {
            let scan = GeodeScan::begin(self.client.clone(), self.place(collection)?).await?;
            Ok(Box::new(scan) as Box<dyn Scan>)
        })
    }

    fn check<'a>(&'a self, collections: &'a [String]) -> BoxFuture<'a, Result<Vec<Finding>, PlatformError>> {
        Box::pin(async move {
            let places = self.places(collections)?;
            setup::check(&self.client, &self.options, &places).await.map_err(|error| refused(&error))
        })
    }

    fn configure<'a>(&'a self, collections: &'a [String]) -> BoxFuture<'a, Result<Vec<Finding>, PlatformError>> {
        Box::pin(async move {
            let places = self.places(collections)?;
            setup::configure(&self.client, &self.options, &places).await.map_err(|error| refused(&error))
        })
    }
}
