//! Rules and grants that change while clients are connected.

use std::sync::Arc;
use std::time::Duration;

use tidelock_core::ids::{Offset, SubscriptionId, Version};
use tidelock_core::version::of_body;
use tidelock_core::wire::{Cursor, DocumentChange, ErrorCode, Operation, Outcome, ServerFrame};
use tidelock_store::MemoryStore;
use tokio::time::{Instant, sleep};

use super::harness::{CONFIG, Client, TestServer, items, put};

/// `members` opens channels to the users that it names; only root writes it.
const GRANTS: &str = r#"
[databases.test.collections.members]
read = 'identity.sub != ""'
channels = '["user:" + doc.user]'
write = 'identity.sub == "root"'
grant = { subjects = '[doc.user]', channels = 'doc.opens' }
"#;
/// Longer than anything takes on a busy machine; reached only when something is wrong.
const PATIENCE: Duration = Duration::from_secs(20);

fn delete(key: &str, body: &str) -> DocumentChange {
    DocumentChange {
        base: of_body(body.as_bytes()).unwrap(),
        operation: Operation::Delete,
        ..put("members", key, body)
    }
}

/// What the next frames change, in words, until something is put or forgotten.
async fn told(client: &mut Client) -> Vec<String> {
    loop {
        let told = match client.frame().await {
            ServerFrame::Changes(changes) => items(&changes.changes),
            ServerFrame::Purge(purge) => {
                purge.documents.iter().flat_map(|(_, keys)| keys).map(|key| format!("forget:{key}")).collect()
            }
            other => panic!("expected changes or a purge, found {other:?}"),
        };
        if !told.is_empty() {
            return told;
        }
    }
}

/// The value of a metric of the database.
async fn figure(server: &TestServer, name: &str) -> u64 {
    let (_, _, text) = server.http("GET", "/metrics", &[], "").await;
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("tidelock_{name}{{database=\"test\"}} ")));
    line.unwrap_or_else(|| panic!("{name} in {text}")).parse().unwrap()
}

/// Waits until every stored channel is that of the rules.
async fn reindexed(server: &TestServer, documents: u64) {
    let deadline = Instant::now() + PATIENCE;
    while figure(server, "reindex_collections").await > 0 || figure(server, "reindex_looked_at_total").await < documents
    {
        assert!(Instant::now() < deadline, "channels are not brought up to the rules");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_document_opens_a_channel_and_closes_it() {
    let config = format!("{CONFIG}{GRANTS}");
    let server = TestServer::start_over(&config, Arc::new(MemoryStore::default()), |_| {}).await;
    let mut root = server.session("root", &["red", "blue"]).await;
    root.commit(vec![put("cards", "r", r#"{"channel":"red"}"#), put("cards", "b", r#"{"channel":"blue"}"#)]).await;

    let mut ann = server.session("ann", &[]).await;
    assert!(ann.catch_up(&["cards"]).await.is_empty());
    let token = server.token("ann", &[]);
    assert_eq!(server.rest("GET", "cards/r", &token, &[], "").await.0, 404);

    let membership = r#"{"user":"ann","opens":["red"]}"#;
    root.commit(vec![put("members", "m", membership)]).await;
    assert_eq!(told(&mut ann).await, [r#"r={"channel":"red"}"#], "a live session hears of what it gained");
    assert_eq!(server.rest("GET", "cards/r", &token, &[], "").await.0, 200);
    assert_eq!(server.rest("GET", "cards/b", &token, &[], "").await.0, 404);
    let mut bob = server.session("bob", &[]).await;
    assert!(bob.catch_up(&["cards"]).await.is_empty(), "nobody else gains anything");
    let mut again = server.session("ann", &[]).await;
    assert_eq!(again.catch_up(&["cards"]).await, [r#"r={"channel":"red"}"#], "a later session has it from the start");

    let wider = r#"{"user":"ann","opens":["blue","red"]}"#;
    let base = of_body(membership.as_bytes()).unwrap();
    root.commit(vec![DocumentChange { base, ..put("members", "m", wider) }]).await;
    assert_eq!(told(&mut ann).await, [r#"b={"channel":"blue"}"#]);

    let started = Instant::now();
    root.commit(vec![delete("m", wider)]).await;
    let mut forgotten = told(&mut ann).await;
    if forgotten.len() < 2 {
        forgotten.extend(told(&mut ann).await);
    }
    forgotten.sort();
    assert_eq!(forgotten, ["forget:b", "forget:r"]);
    println!("revoked and purged after {} ms", started.elapsed().as_millis());
    assert_eq!(server.rest("GET", "cards/r", &token, &[], "").await.0, 404);
    root.commit(vec![put("cards", "r2", r#"{"channel":"red"}"#)]).await;
    let mut late = server.session("ann", &[]).await;
    assert!(late.catch_up(&["cards"]).await.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_grant_is_heard_by_a_session_that_only_pushes() {
    let config = format!("{CONFIG}{GRANTS}");
    let server = TestServer::start_over(&config, Arc::new(MemoryStore::default()), |_| {}).await;
    let mut root = server.session("root", &["red"]).await;
    root.commit(vec![put("cards", "r", r#"{"channel":"red","n":1}"#)]).await;
    let mut ann = server.session("ann", &[]).await;
    root.commit(vec![put("members", "m", r#"{"user":"ann","opens":["red"]}"#)]).await;
    // Without the right to read, the state of another's document is not told: it reads as absent until the grant is heard.
    let deadline = Instant::now() + PATIENCE;
    for n in 2.. {
        let stale =
            DocumentChange { base: Version(7), ..put("cards", "r", &format!(r#"{{"channel":"red","n":{n}}}"#)) };
        let Outcome::Merged(states, _) = ann.commit(vec![stale]).await.outcome else { continue };
        if states.iter().all(|state| state.version.exists()) {
            break;
        }
        assert!(Instant::now() < deadline, "the grant is not heard");
    }
    server.stop().await;
}

#[tokio::test]
async fn changed_rules_reach_live_sessions_and_stored_documents() {
    let server = TestServer::start().await;
    let mut root = server.session("root", &["red", "blue"]).await;
    let cards: Vec<_> = (0..250)
        .map(|n| {
            let (channel, other) = if n < 200 { ("red", "blue") } else { ("blue", "red") };
            put("cards", &format!("k{n:03}"), &format!(r#"{{"channel":"{channel}","other":"{other}"}}"#))
        })
        .collect();
    root.commit(cards).await;
    let mut ann = server.session("ann", &["red"]).await;
    assert_eq!(ann.catch_up(&["cards"]).await.len(), 200);
    let cursor = Cursor { changelog: tidelock_core::ids::ChangelogId(1), offset: Offset(1), snapshot: None };

    // The documents of one channel and the other change places.
    let changed = CONFIG.replace("channels = '[doc.channel]'", "channels = '[doc.other]'");
    assert_eq!(server.reload(&changed).await, Ok(Vec::new()));
    let (mut put_count, mut left) = (0, 0);
    while (put_count, left) != (50, 200) {
        for item in told(&mut ann).await {
            if item.starts_with("leave:") {
                left += 1;
            } else {
                assert!(item.contains(r#""other":"red""#), "{item}");
                put_count += 1;
            }
        }
    }
    reindexed(&server, 250).await;
    assert_eq!(figure(&server, "reindex_changed_total").await, 250);
    let mut late = server.session("ann", &["red"]).await;
    assert_eq!(late.catch_up(&["cards"]).await.len(), 50);
    // A client that was away hears the same from its cursor.
    let mut away = server.session("ann", &["red"]).await;
    away.subscribe(&["cards"], Some(cursor), vec!["cards\0red".into()]).await;
    let mut heard = Vec::new();
    while heard.len() < 250 {
        heard.extend(told(&mut away).await);
    }
    assert_eq!(heard.iter().filter(|item| item.starts_with("leave:")).count(), 200);
    // Versions are those of the content: nothing is in conflict.
    let edit = DocumentChange {
        base: of_body(br#"{"channel":"red","other":"blue"}"#).unwrap(),
        ..put("cards", "k000", r#"{"channel":"red","other":"blue","n":1}"#)
    };
    assert_eq!(root.commit(vec![edit]).await.outcome, Outcome::Accepted);
    server.stop().await;
}

#[tokio::test]
async fn a_read_rule_that_says_no_purges_at_once() {
    let server = TestServer::start().await;
    let mut root = server.session("root", &[]).await;
    root.commit(vec![put("notes", "a", "1"), put("strict", "s", r#"{"owner":"root"}"#)]).await;
    let mut ann = server.session("ann", &[]).await;
    assert_eq!(ann.catch_up(&["notes", "strict"]).await.len(), 2);
    let denied = CONFIG.replacen(r#"read = 'identity.sub != ""'"#, r#"read = 'identity.sub == "root"'"#, 1);
    server.reload(&denied).await.unwrap();
    assert_eq!(told(&mut ann).await, ["forget:a"]);
    root.commit(vec![put("notes", "b", "2"), put("strict", "t", r#"{"owner":"root"}"#)]).await;
    assert_eq!(told(&mut ann).await, [r#"t={"owner":"root"}"#], "what may still be read goes on");
    server.reload(CONFIG).await.unwrap();
    let mut back = told(&mut ann).await;
    if back.len() < 2 {
        back.extend(told(&mut ann).await);
    }
    assert_eq!(back, ["a=1", "b=2"]);
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_configuration_changes_nothing() {
    let server = TestServer::start().await;
    let mut ann = server.session("ann", &[]).await;
    ann.commit(vec![put("notes", "a", "1")]).await;
    ann.catch_up(&["notes"]).await;
    let wrong = [
        ("not TOML", "test.toml:1:", "read = = 1".to_owned()),
        ("a rule", "CEL, at 1:", CONFIG.replacen(r#"read = 'identity.sub != ""'"#, "read = 'identity.sub !='", 1)),
        ("a key", "unknown key", format!("{CONFIG}\n[limit]\n")),
        (
            "half a grant",
            "expected both",
            format!("{CONFIG}\n[databases.test.collections.locked.grant]\nsubjects = '[doc.u]'\n"),
        ),
        (
            "a weak secret",
            "auth.secret",
            CONFIG.replace("0b4b7235229ae0cc777989ace3485896251610e28a316744ec85689202816931", "secret"),
        ),
    ];
    for (name, expected, config) in wrong {
        let error = server.reload(&config).await.unwrap_err();
        assert!(error.contains(expected), "{name}: {error}");
    }
    ann.commit(vec![put("notes", "b", "1")]).await;
    let mut late = server.session("ann", &[]).await;
    assert_eq!(late.catch_up(&["notes"]).await, ["a=1", "b=1"]);
    server.stop().await;
}

#[tokio::test]
async fn other_collections_and_keys_end_sessions() {
    let server = TestServer::start().await;
    let mut ann = server.session("ann", &[]).await;
    let named = server.reload(&CONFIG.replace("unused.db", "other.db")).await.unwrap();
    assert_eq!(named, ["databases"], "what needs a restart is named");
    ann.commit(vec![put("notes", "a", "1")]).await;
    let more = format!("{CONFIG}[databases.test.collections.nonsense]\nread = 'true'\nwrite = 'true'\n");
    server.reload(&more).await.unwrap();
    assert_eq!(ann.error().await, ("session-ended".into(), 4_016));
    let mut again = server.session("ann", &[]).await;
    assert_eq!(again.commit(vec![put("nonsense", "x", "1")]).await.outcome, Outcome::Accepted);

    // A token of a key that is gone ends its session, and opens none.
    let other = "1b4b7235229ae0cc777989ace3485896251610e28a316744ec85689202816931";
    server
        .reload(&more.replace("0b4b7235229ae0cc777989ace3485896251610e28a316744ec85689202816931", other))
        .await
        .unwrap();
    assert_eq!(again.error().await, ("unauthenticated".into(), 4_002));
    let mut late = server.connect().await;
    late.hello(&server.token("ann", &[])).await;
    assert_eq!(late.error().await.0, "unauthenticated");
    server.stop().await;
}

#[tokio::test]
async fn a_collection_that_vanished_while_a_client_was_away_starts_it_over() {
    let server = TestServer::start().await;
    let mut ann = server.session("ann", &[]).await;
    ann.commit(vec![put("notes", "n", "1"), put("strict", "s", r#"{"owner":"ann"}"#)]).await;
    let cursor = Cursor { changelog: tidelock_core::ids::ChangelogId(1), offset: Offset(1), snapshot: None };
    let held = vec!["notes".to_owned(), "strict".to_owned()];
    let begin = CONFIG.find("[databases.test.collections.strict]").unwrap();
    let end = CONFIG[begin + 1..].find("\n[").map_or(CONFIG.len(), |end| begin + 1 + end);
    let vanished = format!("{}{}", &CONFIG[..begin], &CONFIG[end..]);
    let denied = CONFIG.replace(
        "[databases.test.collections.strict]\nread = '",
        "[databases.test.collections.strict]\nread = 'false && ",
    );
    assert_ne!(denied, CONFIG);
    for (config, named) in [(denied, true), (vanished, false)] {
        server.reload(&config).await.unwrap();
        let mut away = server.connect().await;
        away.hello(&server.token("ann", &[])).await;
        let welcome = away.welcome().await;
        assert_eq!(welcome.collections.iter().any(|info| info.name == "strict"), named);
        away.subscribe(&["notes", "strict"], Some(cursor.clone()), held.clone()).await;
        let frame = away.frame().await;
        assert!(matches!(frame, ServerFrame::Restart(_)), "{frame:?}");
        // Without a label of it the client knows that its documents are not to be kept.
        away.subscribe(&["notes", "strict"], None, Vec::new()).await;
        let ServerFrame::Snapshot(snapshot) = away.frame().await else { panic!("expected a snapshot") };
        assert_eq!((items(&snapshot.changes), snapshot.channels), (vec!["n=1".to_owned()], vec!["notes".to_owned()]));
        assert_eq!(snapshot.through, None);
    }
    // A write to it is refused, and recorded as such.
    let refused = ann_writes(&server).await;
    assert!(matches!(refused, Outcome::Rejected(ErrorCode::UnknownCollection, ..)), "{refused:?}");
    server.stop().await;
}

async fn ann_writes(server: &TestServer) -> Outcome {
    let mut ann = server.session("ann", &[]).await;
    ann.commit(vec![put("strict", "s", r#"{"owner":"ann","n":2}"#)]).await.outcome
}

#[tokio::test]
async fn rules_that_changed_while_the_server_was_down_count_too() {
    let store = Arc::new(MemoryStore::default());
    let server = TestServer::start_over(CONFIG, Arc::clone(&store), |_| {}).await;
    server.session("root", &["red"]).await.commit(vec![put("cards", "k", r#"{"channel":"red","other":"blue"}"#)]).await;
    reindexed(&server, 0).await;
    server.stop().await;
    let changed = CONFIG.replace("channels = '[doc.channel]'", "channels = '[doc.other]'");
    let server = TestServer::start_over(&changed, Arc::clone(&store), |_| {}).await;
    reindexed(&server, 1).await;
    assert!(server.session("ann", &["red"]).await.catch_up(&["cards"]).await.is_empty());
    assert_eq!(server.session("ann", &["blue"]).await.catch_up(&["cards"]).await.len(), 1);
    server.stop().await;
    // And a server whose rules are the same looks at nothing.
    let server = TestServer::start_over(&changed, store, |_| {}).await;
    reindexed(&server, 0).await;
    assert_eq!(figure(&server, "reindex_looked_at_total").await, 0);
    server.stop().await;
}

#[tokio::test]
async fn deleted_documents_are_forgotten_after_a_while() {
    let config = CONFIG.replace("path = \"unused.db\"", "path = \"unused.db\"\ntombstones_kept_s = 1");
    let server = TestServer::start_over(&config, Arc::new(MemoryStore::default()), |_| {}).await;
    let mut ann = server.session("ann", &[]).await;
    ann.commit(vec![put("notes", "a", "1"), put("notes", "b", "1")]).await;
    let mut away = server.connect().await;
    away.hello(&server.token("bob", &[])).await;
    let welcome = away.welcome().await;
    let deleted =
        DocumentChange { base: of_body(b"1").unwrap(), operation: Operation::Delete, ..put("notes", "a", "1") };
    let offset = ann.commit(vec![deleted]).await.offset;
    let deadline = Instant::now() + PATIENCE;
    while figure(&server, "changelog_floor").await < offset.0 {
        assert!(Instant::now() < deadline, "the floor does not rise");
        sleep(Duration::from_millis(20)).await;
    }
    let (_, _, metrics) = server.http("GET", "/metrics", &[], "").await;
    assert!(metrics.contains("tidelock_tombstones_purged_total 1\n"), "{metrics}");
    // Changes since the delete would not name the document, so nothing follows a cursor from before it: the client begins anew.
    let cursor = Cursor { changelog: welcome.changelog, offset: Offset(offset.0 - 1), snapshot: None };
    away.subscribe(&["notes"], Some(cursor), vec!["notes".into()]).await;
    match away.frame().await {
        ServerFrame::Restart(restart) => assert_eq!(restart.subscription, SubscriptionId(1)),
        other => panic!("expected a restart, found {other:?}"),
    }
    let held = ["a", "b"].map(|key| ("notes", key, "1"));
    let told = away.reconcile(&welcome, &["notes"], &held).await;
    assert_eq!(told, ["-a"], "the document that is forgotten is deleted at the client, too");
    server.stop().await;
}
