//! Whether the bucket is ready, and what makes it so.
//!
//! Rights are tried, not asked for: a server that refuses the attempt says so, whatever roles the user has.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tidelock_core::ids::DocumentId;
use tidelock_couchbase_dcp::Error;
use tidelock_couchbase_dcp::kv::{Client, Request};
use tidelock_store::platform::{Finding, Platform as _, PlatformError, PutContent, PutIf, PutOutcome, Token, system};
use tokio::time::{Instant, sleep, timeout};

use crate::entry::{LACKS, Was, read, refused};
use crate::platform::CouchbasePlatform;
use crate::rest::{Management, escaped};
use crate::subdoc::{change, doc_flag, opcode, status};

/// The key of entries that a check writes, in Tidelock's own collections only. It is none of a document.
pub(crate) const PROBE: &str = "~probe";
/// How long the nodes may take to hear of new collections, and a bucket to come up.
const CREATED_WITHIN: Duration = Duration::from_secs(60);
const LOOKED_EVERY: Duration = Duration::from_millis(100);
/// Above this part of its memory a bucket is soon full, in percent.
const MEMORY_PERCENT_MAX: f64 = 85.0;
const DAY_S: f64 = 24.0 * 60.0 * 60.0;
/// The least and the most whole days of a purge interval that every server takes (`ns_server`
/// `menelaus_web_autocompaction.erl`, `parse_validate_purge_interval`).
const PURGE_DAYS: (f64, f64) = (1.0, 60.0);
/// How much of its files a bucket may have that is of no use, in percent: what the server has for the cluster unless it is told otherwise.
const FRAGMENTATION: &str = "30";

/// What the user of a node has to be.
const ROLES: &str = "give the user the roles `data_writer`, `data_dcp_reader` and `replication_target` on the bucket; Community Edition: \
                     `bucket_full_access` (docs/couchbase.md, \"The user\")";

/// The server confirms no write of a bucket that has more replicas (`kv_engine` engines/ep/configuration.json,
/// `sync_writes_max_allowed_replicas`).
const DURABLE_REPLICAS_MAX: u64 = 2;

fn fatal(what: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { fatal: true, what: what.into(), remedy: remedy.into() }
}

fn advice(what: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { fatal: false, what: what.into(), remedy: remedy.into() }
}

/// Tries what the collections need.
pub(crate) async fn check(platform: &CouchbasePlatform, collections: &[String]) -> Result<Vec<Finding>, PlatformError> {
    let paths = platform.paths(collections)?;
    let client = match platform.try_client().await {
        Ok(client) => Arc::clone(client),
        Err(Error::Access(why)) => {
            return Ok(vec![fatal(why, format!("tidelock init creates the bucket; or {ROLES}"))]);
        }
        Err(error) => return Err(refused(&error)),
    };
    let mut findings = Vec::new();
    let mut missing = Vec::new();
    for (_, path) in &paths {
        match client.id_of(path).await {
            Ok(_) => {}
            Err(Error::UnknownCollection(_)) => missing.push(path.as_str()),
            Err(error @ Error::Access(_)) => findings.push(fatal(format!("{path}: {error}"), ROLES)),
            Err(error) => return Err(refused(&error)),
        }
    }
    if !missing.is_empty() {
        findings.push(fatal(format!("missing collections: {}", missing.join(", ")), "tidelock init"));
        return Ok(findings);
    }
    for (collection, path) in &paths {
        findings.extend(reading(&client, path).await?);
        findings.extend(writing(&client, path).await?);
        if collection == system::STATE {
            findings.extend(durable(platform).await);
        }
    }
    findings.extend(following(platform, collections).await);
    findings.extend(settings(platform).await);
    Ok(findings)
}

/// Whether the user may write documents with their xattr. The command changes nothing, as its last path counts by nothing; but it comes as far
/// as the xattr, which one that names a wrong version does not: the server looks at privileges for xattrs when it has found the document as
/// it was expected (`kv_engine` daemon/subdocument.cc, `do_xattr_phase`).
async fn writing(client: &Client, path: &str) -> Result<Option<Finding>, PlatformError> {
    let mut value = Vec::new();
    change(&mut value, opcode::SUBDOC_UPSERT, crate::subdoc::path_flag::XATTR, crate::config::XATTR, b"1");
    change(&mut value, opcode::SUBDOC_COUNTER, 0, "nothing", b"0");
    let request = Request {
        opcode: opcode::MULTI_MUTATION,
        collection: path.to_owned(),
        key: PROBE.as_bytes().to_vec(),
        extras: vec![doc_flag::ADD],
        value,
        is_repeatable: true,
        ..Request::default()
    };
    let answer = client.call(&request).await.map_err(|error| refused(&error))?;
    // Of several paths, the one that failed is named in the value: its number, its status.
    let of_path = answer.value.get(1..3) == Some(&status::NO_ACCESS.to_be_bytes()[..]);
    let is_denied = answer.status == status::NO_ACCESS || answer.status == status::MULTI_PATH_FAILURE && of_path;
    let what = format!("{path}: the user may not write documents and their system xattrs");
    Ok(is_denied.then(|| fatal(what, ROLES)))
}

/// Whether the user may read documents. Only one that is there would show whether also their xattr.
async fn reading(client: &Client, path: &str) -> Result<Option<Finding>, PlatformError> {
    match read(client, path, PROBE).await {
        Ok(_) => Ok(None),
        Err(PlatformError::Refused(why)) => Ok(Some(fatal(why, ROLES))),
        Err(error) => Err(error),
    }
}

/// Whether a write is durable as configured, and its xattr is read back: one of Tidelock's own records, which goes again.
async fn durable(platform: &CouchbasePlatform) -> Option<Finding> {
    let id = DocumentId::new(system::STATE, PROBE);
    let attempt = async {
        for content in [PutContent::Put(Arc::from(&b"{}"[..])), PutContent::Delete] {
            let found = platform.get(std::slice::from_ref(&id)).await?.pop();
            put(platform, &id, found.map(|entry| entry.token).unwrap_or_default(), content).await?;
        }
        Ok::<_, PlatformError>(())
    };
    let remedy = "give the bucket a replica and enough nodes, or set the option `durability` to what it offers";
    match attempt.await {
        Ok(()) => None,
        Err(PlatformError::Refused(why)) if why.contains(LACKS) => Some(fatal(why, ROLES)),
        // It may be so for a while only: a server serves what there is meanwhile.
        Err(PlatformError::Unavailable(why)) => Some(advice(format!("no write is confirmed now: {why}"), remedy)),
        Err(error) => Some(fatal(format!("a record cannot be written: {error}"), remedy)),
    }
}

/// Somebody else's check may be writing the same.
async fn put(
    platform: &CouchbasePlatform,
    id: &DocumentId,
    token: Token,
    content: PutContent,
) -> Result<(), PlatformError> {
    if content == PutContent::Delete && !Was::read(&token)?.is_some_and(|was| was.is_live) {
        return Ok(());
    }
    let meta = Some(Arc::from(PROBE.as_bytes()));
    match platform.put_if(&[PutIf { id: id.clone(), token, content, meta }]).await? {
        PutOutcome::Done(_) | PutOutcome::Mismatch | PutOutcome::NotTogether => Ok(()),
    }
}

/// Whether the changes of the collections can be followed.
async fn following(platform: &CouchbasePlatform, collections: &[String]) -> Option<Finding> {
    // A feed that is refused tries for that time, and then says why.
    let patience = platform.options().connection.timeout * 2;
    let attempt = async {
        let mut feed = platform.feed(collections, None).await?;
        while feed.next().await? != tidelock_store::platform::FeedEvent::CaughtUp {}
        Ok::<_, PlatformError>(())
    };
    match timeout(patience, attempt).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(fatal(format!("changes cannot be followed: {error}"), ROLES)),
        Err(_) => Some(fatal(
            format!("changes are not told within {patience:?}"),
            "look whether every vbucket has an active node: a node that failed has to be failed over",
        )),
    }
}

/// What the bucket's settings say, as far as the user may see them.
async fn settings(platform: &CouchbasePlatform) -> Vec<Finding> {
    let options = platform.options();
    let unseen = |why: String| {
        let remedy = "look at memory and purge interval yourself, or give the user one of the roles that see them, such as `data_writer`";
        vec![advice(format!("the bucket's settings could not be read: {why}"), remedy)]
    };
    let bucket = escaped(&options.connection.bucket);
    let management = match Management::find(&options.connection).await {
        Ok(management) => management,
        Err(error) => return unseen(error.to_string()),
    };
    let answer = match management.get(&format!("/pools/default/buckets/{bucket}")).await {
        Ok(answer) if answer.is_success() => answer.json(),
        Ok(answer) => return unseen(format!("status {}", answer.status)),
        Err(error) => return unseen(error.to_string()),
    };
    // A bucket without settings of compaction of its own has the cluster's, and does not show them (ns_server
    // `menelaus_web_buckets.erl`, `build_purge_interval_info`).
    let interval = match at(&answer, "/purgeInterval").as_f64() {
        Some(days) => Some(days),
        None => match management.get("/settings/autoCompaction").await {
            Ok(answer) if answer.is_success() => at(&answer.json(), "/purgeInterval").as_f64(),
            Ok(_) | Err(_) => None,
        },
    };
    let nodes = count_data_nodes(&management).await;
    let level = options.durability.level();
    let mut findings = judge(&answer);
    findings.extend(level.and_then(|level| never_durable(&answer, &options.connection.bucket, level, nodes)));
    let kept_days = options.tombstones_kept.as_secs_f64() / DAY_S;
    let edit = format!(
        "couchbase-cli bucket-edit --bucket {} --purge-interval {}",
        options.connection.bucket,
        purge_days(options.tombstones_kept)
    );
    match interval {
        Some(days) if days < kept_days => findings.push(advice(
            format!("tombstones are purged after {days} days, and the database counts on them for {kept_days}"),
            format!("{edit} (1 hour to 60 days), or a lower `tombstones_kept_s`"),
        )),
        Some(_) => {}
        None => findings.push(advice(
            "the purge interval of tombstones could not be read: the bucket has the cluster's, which the user may not see",
            format!(
                "let an administrator look (`GET /settings/autoCompaction`; 3 days unless it was changed): it should be at least {kept_days} \
                 days. Or give the bucket its own, which the user sees: {edit}. Of the roles for a bucket, `mobile_sync_gateway` and \
                 `bucket_admin` see the cluster's"
            ),
        )),
    }
    findings
}

/// The purge interval of a bucket that keeps tombstones for so long, in days: as near as the server allows.
fn purge_days(kept: Duration) -> f64 {
    (kept.as_secs_f64() / DAY_S).ceil().clamp(PURGE_DAYS.0, PURGE_DAYS.1)
}

/// How many nodes of the cluster have the data service, those that were failed over included: they may come back.
fn data_nodes(pool: &Value) -> Option<u64> {
    let nodes = at(pool, "/nodes").as_array()?;
    let has_data = |node: &&Value| {
        at(node, "/services").as_array().is_some_and(|services| services.iter().any(|service| *service == "kv"))
    };
    u64::try_from(nodes.iter().filter(has_data).count()).ok()
}

async fn count_data_nodes(management: &Management<'_>) -> Option<u64> {
    match management.get("/pools/default").await {
        Ok(answer) if answer.is_success() => data_nodes(&answer.json()),
        Ok(_) | Err(_) => None,
    }
}

/// Whether a bucket can never confirm a write at the configured level, as it is and with the nodes that there are. What a moment lacks is
/// seen by [`durable`].
fn never_durable(bucket: &Value, name: &str, level: u8, nodes: Option<u64>) -> Option<Finding> {
    let otherwise = "or the option `durability = \"none\"`";
    if *at(bucket, "/bucketType") == "ephemeral" && level > 1 {
        // engines/ep/src/ephemeral_vb.cc, `isValidDurabilityLevel`.
        let what = "the configured durability asks for the disk, and the bucket is an ephemeral one";
        return Some(fatal(what, "use a bucket of the type couchbase, or the option `durability = \"majority\"`"));
    }
    let replicas = at(bucket, "/replicaNumber").as_u64()?;
    let fewer = |replicas: u64| {
        format!("couchbase-cli bucket-edit --bucket {name} --bucket-replica {replicas} and a rebalance")
    };
    if replicas > DURABLE_REPLICAS_MAX {
        let what = format!(
            "the bucket has {replicas} replicas: no durable write is possible with more than {DURABLE_REPLICAS_MAX}"
        );
        return Some(fatal(what, format!("{}, {otherwise}", fewer(DURABLE_REPLICAS_MAX))));
    }
    let needed = replicas.div_ceil(2) + 1;
    let nodes = nodes.filter(|nodes| *nodes < needed)?;
    let what = format!(
        "no write can be confirmed: {needed} of the bucket's {} copies have to have it, and the cluster's data nodes are {nodes}",
        replicas + 1
    );
    let remedy = format!("{} more data node(s), or {}, {otherwise}", needed - nodes, fewer(nodes.saturating_sub(1)));
    Some(fatal(what, remedy))
}

/// A part of a value; null where there is none.
fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// What the description of a bucket says against it.
fn judge(bucket: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    let kind = at(bucket, "/bucketType").as_str().unwrap_or_default();
    if kind == "ephemeral" {
        let what = "the bucket is an ephemeral one: a restart of its nodes forgets every document";
        findings.push(advice(what, "use a bucket of the type couchbase"));
        if *at(bucket, "/evictionPolicy") == "nruEviction" {
            let remedy = "set its eviction policy to noEviction";
            findings.push(fatal("the bucket throws documents away when its memory is full", remedy));
        }
    }
    if at(bucket, "/replicaNumber").as_u64() == Some(0) {
        findings
            .push(advice("the bucket has no replica: a node that fails takes its documents with it", "give it one"));
    }
    if let Some(used) = at(bucket, "/basicStats/quotaPercentUsed").as_f64().filter(|used| *used > MEMORY_PERCENT_MAX) {
        findings.push(advice(format!("the bucket uses {used:.0} % of its memory"), "give it more, before writes fail"));
    }
    if let Some(seconds) = at(bucket, "/maxTTL").as_u64().filter(|seconds| *seconds > 0) {
        let what = format!("every document of the bucket expires after {seconds} s, those of browsers too");
        findings.push(advice(what, "set the bucket's maximum time to live to 0, unless that is meant"));
    }
    findings
}

/// Creates the bucket, the scope and the collections that are missing, as far as the user may, and checks.
pub(crate) async fn configure(
    platform: &CouchbasePlatform,
    collections: &[String],
) -> Result<Vec<Finding>, PlatformError> {
    let paths = platform.paths(collections)?;
    let connection = &platform.options().connection;
    let management = Management::find(connection).await?;
    let bucket = format!("/pools/default/buckets/{}", escaped(&connection.bucket));
    if management.get(&bucket).await?.status == 404 {
        let memory = platform.options().bucket_memory_mib.to_string();
        let purge_days = purge_days(platform.options().tombstones_kept).to_string();
        // With one data node there would be no place for a copy, and nothing would ever be durable.
        let replicas = if count_data_nodes(&management).await == Some(1) { "0" } else { "1" };
        let form = [
            ("name", connection.bucket.as_str()),
            ("ramQuota", &memory),
            ("bucketType", "couchbase"),
            ("replicaNumber", replicas),
            // A purge interval comes with all of the bucket's own settings of compaction. A threshold that is left out is none on 7.0: the
            // bucket's files would grow for ever.
            ("autoCompactionDefined", "true"),
            ("parallelDBAndViewCompaction", "false"),
            ("databaseFragmentationThreshold[percentage]", FRAGMENTATION),
            ("viewFragmentationThreshold[percentage]", FRAGMENTATION),
            ("purgeInterval", &purge_days),
        ];
        if let Some(finding) = create(&management, "/pools/default/buckets", &form).await? {
            return Ok(vec![finding]);
        }
    }
    let client = Arc::clone(wait_for_bucket(platform).await?);
    for (_, path) in &paths {
        if !matches!(client.id_of(path).await, Err(Error::UnknownCollection(_))) {
            continue;
        }
        let Some((scope, name)) = path.split_once('.') else { continue };
        let scopes = format!("{bucket}/scopes");
        let known = management.get(&scopes).await?.json();
        let has = |one: &Value| *at(one, "/name") == *scope;
        if !at(&known, "/scopes").as_array().is_some_and(|scopes| scopes.iter().any(has))
            && let Some(finding) = create(&management, &scopes, &[("name", scope)]).await?
        {
            return Ok(vec![finding]);
        }
        let of_scope = format!("{scopes}/{}/collections", escaped(scope));
        if let Some(finding) = create(&management, &of_scope, &[("name", name)]).await? {
            return Ok(vec![finding]);
        }
        wait_for_collection(&client, path).await?;
    }
    check(platform, collections).await
}

/// Creates something; what is there already is as good.
async fn create(
    management: &Management<'_>,
    path: &str,
    form: &[(&str, &str)],
) -> Result<Option<Finding>, PlatformError> {
    let answer = management.post(path, form).await?;
    if answer.is_success() || answer.text.contains("already exists") {
        return Ok(None);
    }
    let name = form.first().map(|(_, name)| *name).unwrap_or_default();
    let remedy = "create it by hand, or run `tidelock init` as a user that may (role `bucket_admin`; for the bucket itself `admin`)";
    let what = format!("{name} could not be created: status {}: {}", answer.status, answer.text.trim());
    Ok(Some(fatal(what, remedy)))
}

async fn wait_for_bucket(platform: &CouchbasePlatform) -> Result<&Arc<Client>, PlatformError> {
    let deadline = Instant::now() + CREATED_WITHIN;
    loop {
        match platform.try_client().await {
            Err(Error::Access(_)) if Instant::now() < deadline => sleep(LOOKED_EVERY).await,
            Err(error) if error.is_transient() && Instant::now() < deadline => sleep(LOOKED_EVERY).await,
            Ok(client) => return Ok(client),
            Err(error) => return Err(refused(&error)),
        }
    }
}

async fn wait_for_collection(client: &Client, path: &str) -> Result<(), PlatformError> {
    let deadline = Instant::now() + CREATED_WITHIN;
    loop {
        match client.id_of(path).await {
            Err(Error::UnknownCollection(_)) if Instant::now() < deadline => sleep(LOOKED_EVERY).await,
            Ok(_) => return Ok(()),
            Err(error) => return Err(refused(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(bucket: &Value, expected: &[(bool, &str)]) {
        let findings = judge(bucket);
        assert_eq!(findings.len(), expected.len(), "{findings:?}");
        for (finding, (fatal, part)) in findings.iter().zip(expected) {
            assert!(finding.fatal == *fatal && finding.what.contains(part), "{finding:?}");
        }
    }

    #[test]
    fn what_can_never_be_durable_is_told_from_what_may_be() {
        let bucket = |replicas: u64| json!({"bucketType": "membase", "replicaNumber": replicas});
        let ephemeral = json!({"bucketType": "ephemeral", "replicaNumber": 1});
        for (bucket, level, nodes, expected) in [
            (bucket(0), 1, Some(1), None),
            (bucket(1), 1, Some(2), None),
            (bucket(2), 3, Some(2), None),
            (bucket(1), 1, None, None),
            (ephemeral.clone(), 1, Some(2), None),
            (
                bucket(1),
                1,
                Some(1),
                Some([
                    "2 of the bucket's 2 copies",
                    "1 more data node(s), or couchbase-cli bucket-edit --bucket app --bucket-replica 0",
                ]),
            ),
            (bucket(2), 1, Some(1), Some(["2 of the bucket's 3 copies", "--bucket-replica 0"])),
            (bucket(3), 1, Some(4), Some(["has 3 replicas", "--bucket-replica 2"])),
            (ephemeral.clone(), 2, Some(2), Some(["an ephemeral one", "`durability = \"majority\"`"])),
            (ephemeral, 3, None, Some(["an ephemeral one", "a bucket of the type couchbase"])),
        ] {
            let finding = never_durable(&bucket, "app", level, nodes);
            let is_as_expected = match (&finding, expected) {
                (None, None) => true,
                (Some(finding), Some([what, remedy])) => {
                    finding.fatal && finding.what.contains(what) && finding.remedy.contains(remedy)
                }
                (Some(_), None) | (None, Some(_)) => false,
            };
            assert!(is_as_expected, "{bucket} {level} {nodes:?}: {finding:?}");
        }
        let nodes = json!({"nodes": [{"services": ["kv", "n1ql"]}, {"services": ["index"]}, {"services": ["kv"]}]});
        assert_eq!(data_nodes(&nodes), Some(2));
        assert_eq!(data_nodes(&Value::Null), None);
    }

    #[test]
    fn what_is_wrong_with_a_bucket_is_said() {
        check(
            &json!({"bucketType": "membase", "replicaNumber": 1, "maxTTL": 0, "basicStats": {"quotaPercentUsed": 40}}),
            &[],
        );
        check(&json!({"basicStats": {"quotaPercentUsed": 91.4}}), &[(false, "91 % of its memory")]);
        check(&json!({"replicaNumber": 0, "maxTTL": 60}), &[(false, "no replica"), (false, "after 60 s")]);
        let ephemeral = json!({"bucketType": "ephemeral", "evictionPolicy": "nruEviction"});
        check(&ephemeral, &[(false, "ephemeral"), (true, "throws documents away")]);
    }
}
