//! The platform: the client, and which of the modules does what.

use std::sync::Arc;

use futures_util::future::try_join_all;
use tidelock_core::ids::DocumentId;
use tidelock_couchbase_dcp::Error;
use tidelock_couchbase_dcp::kv::Client;
use tidelock_store::BoxFuture;
use tidelock_store::platform::{
    Entry, Feed, Finding, Platform, PlatformCapabilities, PlatformError, Position, PutIf, PutOutcome, Scan,
};
use tokio::sync::OnceCell;

use crate::config::CouchbaseOptions;
use crate::entry::{read, refused};
use crate::feed::CouchbaseFeed;
use crate::history::Told;
use crate::names::{CONTENT_BYTES_MAX, DEPTH_MAX, KEY_BYTES_MAX, META_BYTES_MAX, path_of};
use crate::put::put;
use crate::scan::CouchbaseScan;
use crate::setup;

/// Reads that are under way at once, for one call.
const READS_MAX: usize = 256;

/// A scope of a Couchbase bucket that holds one database.
#[derive(Debug)]
pub struct CouchbasePlatform {
    /// Nothing before the bucket is there.
    client: OnceCell<Arc<Client>>,
    options: CouchbaseOptions,
    told: Arc<Told>,
}

/// What the platform says when the cluster could not be reached, with what an operator can do about it.
fn advised(error: &Error) -> PlatformError {
    let remedy = match error {
        Error::Connection(_) | Error::Timeout(_) => {
            "look whether a node of the cluster is there, and whether a firewall lets through its ports 11210 and 8091, with \
             couchbases:// 11207 and 18091. A connection string with couchbases:// needs a cluster with TLS, and the `ca_file` \
             of its certificates"
        }
        Error::Protocol(_) => {
            "look whether the port in the connection string is that of the key-value service (11210, with couchbases:// 11207; \
             none has to be given), and not one of the other services, nor one with TLS for couchbase://"
        }
        Error::Authentication(_) => {
            "look whether `user` is a user of the cluster (Security in its console), and `password`, or the text of \
             `password_file`, that user's password"
        }
        Error::Unsupported(_) => "Tidelock needs Couchbase Server 7.0 or later",
        Error::Configuration(_)
        | Error::Access(_)
        | Error::UnknownCollection(_)
        | Error::Status { .. }
        | Error::Checkpoint(_)
        | _ => return refused(error),
    };
    match refused(error) {
        PlatformError::Unavailable(text) => PlatformError::Unavailable(format!("{text}\n  {remedy}")),
        PlatformError::Full(text) => PlatformError::Full(format!("{text}\n  {remedy}")),
        PlatformError::Refused(text) => PlatformError::Refused(format!("{text}\n  {remedy}")),
    }
}

impl CouchbasePlatform {
    /// Finds the cluster. Needs a tokio runtime. That the bucket is missing, or not for this user, is told by
    /// [`check`](Platform::check), and by every other call.
    pub async fn connect(options: CouchbaseOptions) -> Result<Self, PlatformError> {
        for collection in options.collections.keys() {
            path_of(&options, collection)?;
        }
        let platform = Self { client: OnceCell::new(), options, told: Arc::default() };
        match platform.try_client().await {
            Ok(_) | Err(Error::Access(_)) => Ok(platform),
            Err(error) => Err(advised(&error)),
        }
    }

    pub(crate) async fn try_client(&self) -> Result<&Arc<Client>, Error> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        // Apart: every call would otherwise carry the whole beginning of a connection.
        let connect = async || Client::connect(self.options.connection.clone()).await.map(Arc::new);
        Box::pin(self.client.get_or_try_init(connect)).await
    }

    async fn client(&self) -> Result<&Arc<Client>, PlatformError> {
        self.try_client().await.map_err(|error| refused(&error))
    }

    async fn get_one(&self, client: &Client, id: &DocumentId) -> Result<Entry, PlatformError> {
        let (entry, vbucket) = read(client, &path_of(&self.options, &id.collection)?, &id.key).await?;
        self.told.note(vbucket, entry.order);
        Ok(entry)
    }

    async fn get_all(&self, ids: &[DocumentId]) -> Result<Vec<Entry>, PlatformError> {
        let client = self.client().await?;
        let mut entries = Vec::with_capacity(ids.len());
        for ids in ids.chunks(READS_MAX) {
            entries.extend(try_join_all(ids.iter().map(|id| self.get_one(client, id))).await?);
        }
        Ok(entries)
    }

    async fn put(&self, puts: &[PutIf]) -> Result<PutOutcome, PlatformError> {
        let one = match puts {
            [] => return Ok(PutOutcome::Done(Vec::new())),
            [one] => one,
            _ => return Ok(PutOutcome::NotTogether),
        };
        let path = path_of(&self.options, &one.id.collection)?;
        let (outcome, vbucket) = put(self.client().await?, &path, one, self.options.durability).await?;
        if let PutOutcome::Done(written) = &outcome {
            self.told.note(vbucket, written.first().and_then(|written| written.order));
        }
        Ok(outcome)
    }

    pub(crate) fn paths(&self, collections: &[String]) -> Result<Vec<(String, String)>, PlatformError> {
        collections.iter().map(|collection| Ok((collection.clone(), path_of(&self.options, collection)?))).collect()
    }

    pub(crate) fn options(&self) -> &CouchbaseOptions {
        &self.options
    }

    async fn open_feed(&self, collections: &[String], from: Option<&Position>) -> Result<CouchbaseFeed, PlatformError> {
        let (paths, vbuckets) = (self.paths(collections)?, self.client().await?.vbuckets());
        CouchbaseFeed::open(&self.options, &paths, vbuckets, Arc::clone(&self.told), from).await
    }

    async fn open_scan(&self, collection: &str) -> Result<CouchbaseScan, PlatformError> {
        let path = path_of(&self.options, collection)?;
        CouchbaseScan::begin(&self.options, Arc::clone(self.client().await?), path).await
    }
}

impl Platform for CouchbasePlatform {
    fn capabilities(&self) -> PlatformCapabilities {
        PlatformCapabilities {
            name: "couchbase",
            key_bytes_max: KEY_BYTES_MAX,
            content_bytes_max: CONTENT_BYTES_MAX,
            depth_max: DEPTH_MAX,
            meta_bytes_max: META_BYTES_MAX,
            torn_ms_max: 0,
        }
    }

    fn get<'a>(&'a self, ids: &'a [DocumentId]) -> BoxFuture<'a, Result<Vec<Entry>, PlatformError>> {
        Box::pin(self.get_all(ids))
    }

    fn together(&self, ids: &[&DocumentId]) -> bool {
        ids.len() < 2
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
        Box::pin(async move { Ok(Box::new(self.open_scan(collection).await?) as Box<dyn Scan>) })
    }

    fn check<'a>(&'a self, collections: &'a [String]) -> BoxFuture<'a, Result<Vec<Finding>, PlatformError>> {
        Box::pin(setup::check(self, collections))
    }

    fn configure<'a>(&'a self, collections: &'a [String]) -> BoxFuture<'a, Result<Vec<Finding>, PlatformError>> {
        Box::pin(setup::configure(self, collections))
    }
}
