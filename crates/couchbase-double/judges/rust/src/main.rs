//! Couchbase's Rust client as a judge of the double: `judge CHECK HOSTS MANAGEMENT` runs one check and exits with 0 when everything was as
//! the client expects it of a real server.

use std::error::Error;
use std::fmt::Debug;
use std::process::ExitCode;
use std::time::Duration;

use couchbase::authenticator::PasswordAuthenticator;
use couchbase::cluster::Cluster;
use couchbase::collection::Collection;
use couchbase::durability_level::DurabilityLevel;
use couchbase::error::ErrorKind;
use couchbase::management::collections::collection_settings::CreateCollectionSettings;
use couchbase::options::cluster_options::ClusterOptions;
use couchbase::options::diagnostic_options::WaitUntilReadyOptions;
use couchbase::options::kv_options::{
    GetOptions, LookupInOptions, MutateInOptions, ReplaceOptions, StoreSemantics, UpsertOptions,
};
use couchbase::service_type::ServiceType;
use couchbase::subdoc::lookup_in_specs::{GetSpecOptions, LookupInSpec};
use couchbase::subdoc::macros::{LookupInMacros, MutateInMacros};
use couchbase::subdoc::mutate_in_specs::{MutateInSpec, UpsertSpecOptions};
use serde_json::{Value, json};
use tokio::time::timeout;

type Checked = Result<(), Box<dyn Error>>;

const BUCKET: &str = "default";
const PATIENCE: Duration = Duration::from_secs(15);

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, check, hosts, _management] = &arguments[..] else {
        eprintln!("usage: judge CHECK HOSTS MANAGEMENT");
        return ExitCode::from(2);
    };
    let result = match timeout(PATIENCE, run(check, hosts)).await {
        Ok(result) => result,
        Err(_) => Err("it takes too long".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{check}: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(check: &str, hosts: &str) -> Checked {
    let authenticator = PasswordAuthenticator::new("Administrator", "password").into();
    let cluster = Cluster::connect(format!("couchbase://{hosts}"), ClusterOptions::new(authenticator)).await?;
    let bucket = cluster.bucket(BUCKET);
    bucket.wait_until_ready(WaitUntilReadyOptions::new().service_types(vec![ServiceType::KV])).await?;
    match check {
        "sdk-values" => values(&bucket.default_collection()).await,
        "sdk-xattrs" => xattrs(&bucket.default_collection()).await,
        "sdk-management" => management(&cluster).await,
        other => Err(format!("there is no check {other}").into()),
    }
}

fn expect<T: PartialEq + Debug>(what: &str, found: T, expected: T) -> Checked {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?} instead of {expected:?}").into()) }
}

/// Something has to fail in one way.
fn expect_error<T: Debug>(what: &str, found: couchbase::error::Result<T>, is_it: fn(&ErrorKind) -> bool) -> Checked {
    match found {
        Err(error) if is_it(error.kind()) => Ok(()),
        other => Err(format!("{what} gives {other:?}").into()),
    }
}

/// Writes, reads, conditions, counters, expiry, durability.
async fn values(collection: &Collection) -> Checked {
    let durable = UpsertOptions::new().durability_level(DurabilityLevel::MAJORITY);
    let written = collection.upsert("k", json!({"a": 1}), durable).await?;
    let token = written.mutation_token().ok_or("a write without a mutation token")?;
    let read = collection.get("k", None).await?;
    expect("the value", read.content_as::<Value>()?, json!({"a": 1}))?;
    expect("the CAS", read.cas(), written.cas())?;
    let wrong = ReplaceOptions::new().cas(written.cas() + 1);
    expect_error("a wrong CAS", collection.replace("k", 2, wrong).await, |kind| {
        matches!(kind, ErrorKind::CasMismatch)
    })?;
    expect_error("an insert over a document", collection.insert("k", 3, None).await, |kind| {
        matches!(kind, ErrorKind::DocumentExists)
    })?;
    expect_error("a missing document", collection.get("missing", None).await, |kind| {
        matches!(kind, ErrorKind::DocumentNotFound)
    })?;
    let brief = UpsertOptions::new().expiry(Duration::from_secs(60));
    collection.upsert("brief", 1, brief).await?;
    let brief = collection.get("brief", GetOptions::new().expiry(true)).await?;
    let expiry = brief.expiry_time().ok_or("a document that expires, without the time of it")?.timestamp();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let left = expiry - i64::try_from(now)?;
    expect("whether the expiry is within a minute", (50..=61).contains(&left), true)?;
    let removed = collection.remove("k", None).await?;
    let after = removed.mutation_token().ok_or("a removal without a mutation token")?;
    expect("the branch", after.partition_uuid(), token.partition_uuid())?;
    expect("the removed document", collection.exists("k", None).await?.exists(), false)
}

/// Attributes with macros, in documents and in tombstones.
async fn xattrs(collection: &Collection) -> Checked {
    let xattr = || UpsertSpecOptions::new().xattr(true).create_path(true);
    let specs = [
        MutateInSpec::upsert("_tl.v", 7, xattr())?,
        MutateInSpec::upsert("_tl.cas", MutateInMacros::CAS, xattr())?,
        MutateInSpec::replace("", json!({"a": 1}), None)?,
    ];
    let upsert = MutateInOptions::new().store_semantics(StoreSemantics::Upsert);
    let written = collection.mutate_in("k", &specs, upsert).await?;
    let get = || GetSpecOptions::new().xattr(true);
    let lookup = [
        LookupInSpec::get("_tl", get()),
        LookupInSpec::get(LookupInMacros::CAS, get()),
        LookupInSpec::get(LookupInMacros::IsDeleted, get()),
        LookupInSpec::get("", None),
    ];
    let read = collection.lookup_in("k", &lookup, None).await?;
    // The macro has the bytes in the reverse order.
    let reversed = format!("0x{:016x}", written.cas().swap_bytes());
    expect("the attribute", read.content_as::<Value>(0)?, json!({"v": 7, "cas": reversed}))?;
    expect("$document.CAS", read.content_as::<String>(1)?, format!("0x{:016x}", written.cas()))?;
    expect("$document.deleted", read.content_as::<bool>(2)?, false)?;
    expect("the body", read.content_as::<Value>(3)?, json!({"a": 1}))?;
    collection.remove("k", None).await?;
    let deleted = LookupInOptions::new().access_deleted(true);
    let lookup = [LookupInSpec::get("_tl.v", get()), LookupInSpec::get(LookupInMacros::IsDeleted, get())];
    let tombstone = collection.lookup_in("k", &lookup, deleted).await?;
    expect("the tombstone's attribute", tombstone.content_as::<u32>(0)?, 7)?;
    expect("$document.deleted of a tombstone", tombstone.content_as::<bool>(1)?, true)?;
    let hidden = collection.lookup_in("k", &lookup, None).await;
    expect_error("a lookup that does not ask for tombstones", hidden, |kind| {
        matches!(kind, ErrorKind::DocumentNotFound)
    })?;
    // An attribute of a tombstone can be changed, and it stays a tombstone.
    let specs = [MutateInSpec::upsert("_tl.v", 8, UpsertSpecOptions::new().xattr(true))?];
    collection.mutate_in("k", &specs, MutateInOptions::new().access_deleted(true)).await?;
    let tombstone = collection.lookup_in("k", &lookup, LookupInOptions::new().access_deleted(true)).await?;
    expect("the tombstone's new attribute", tombstone.content_as::<u32>(0)?, 8)?;
    expect("whether it is a document", collection.exists("k", None).await?.exists(), false)
}

/// Buckets, scopes and collections; documents of a collection that was just made, and of one that was dropped.
async fn management(cluster: &Cluster) -> Checked {
    let described = cluster.buckets().get_bucket(BUCKET, None).await?;
    expect("the bucket's name", described.name.as_str(), BUCKET)?;
    let bucket = cluster.bucket(BUCKET);
    let manager = bucket.collections();
    manager.create_scope("app", None).await?;
    expect_error("a scope that is there", manager.create_scope("app", None).await, |kind| {
        matches!(kind, ErrorKind::ScopeExists)
    })?;
    manager.create_collection("app", "notes", CreateCollectionSettings::new(), None).await?;
    let again = manager.create_collection("app", "notes", CreateCollectionSettings::new(), None).await;
    expect_error("a collection that is there", again, |kind| matches!(kind, ErrorKind::CollectionExists))?;
    let scopes = manager.get_all_scopes(None).await?;
    let app = scopes.iter().find(|scope| scope.name() == "app").ok_or("the scope is not listed")?;
    expect("its collections", app.collections().iter().map(|one| one.name()).collect(), vec!["notes"])?;
    let notes = bucket.scope("app").collection("notes");
    notes.upsert("n", json!({"text": "x"}), None).await?;
    expect("a document of it", notes.get("n", None).await?.content_as::<Value>()?, json!({"text": "x"}))?;
    manager.drop_collection("app", "notes", None).await?;
    let dropped = timeout(Duration::from_secs(1), notes.get("n", None)).await;
    // The client asks again until its time is up, as the collection may be about to be made.
    match dropped {
        Err(_) => {}
        Ok(found) => {
            expect_error("a dropped collection", found, |kind| matches!(kind, ErrorKind::CollectionNotFound))?;
        }
    }
    manager.drop_scope("app", None).await?;
    let gone = manager.drop_scope("app", None).await;
    expect_error("a scope that is gone", gone, |kind| matches!(kind, ErrorKind::ScopeNotFound))
}
