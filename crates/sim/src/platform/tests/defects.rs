//! The defects that the models have on purpose.

use std::sync::Arc;

use tidelock_core::ids::DocumentId;
use tidelock_server::TimeSource;
use tidelock_store::platform::{Feed, FeedEvent, Platform, Position, PutContent, PutIf, PutOutcome, Token};

use super::{COLLECTIONS, block_on, bucket, members};
use crate::platform::couchbase::Durability;
use crate::platform::{Body, Cluster, Model, Path, PlatformClient, PlatformError, Weather};
use crate::time::VirtualTime;

/// A cluster and its clock.
struct Bench<M> {
    time: Arc<VirtualTime>,
    cluster: Arc<Cluster<M>>,
    client: PlatformClient<M>,
    path: Arc<Path>,
}

impl<M: Model> Bench<M> {
    fn new(model: M) -> Self {
        let time = Arc::new(VirtualTime::new(1_000_000));
        let cluster = Cluster::new(model, Arc::clone(&time), false);
        let path = Path::new(Arc::clone(&time), 7, Weather::default());
        let client = PlatformClient::new(Arc::clone(&cluster), Arc::clone(&path), "one");
        Self { time, cluster, client, path }
    }

    fn pass(&self, ms: u64) {
        let at_ms = self.time.now_ms() + ms;
        block_on(&self.time, std::future::poll_fn(|context| self.time.poll_until(at_ms, context)));
    }

    fn try_put(&self, key: &str, content: PutContent, meta: &str) -> Result<PutOutcome, PlatformError> {
        let id = id(key);
        block_on(&self.time, async {
            let token = self.client.get(std::slice::from_ref(&id)).await?.remove(0).token;
            let put = PutIf { id: id.clone(), token, content, meta: Some(Arc::from(meta.as_bytes())) };
            self.client.put_if(&[put]).await
        })
    }

    fn put(&self, key: &str, json: &str, meta: &str) {
        let outcome = self.try_put(key, text(json), meta).unwrap();
        assert!(matches!(outcome, PutOutcome::Done(_)), "{outcome:?}");
    }

    /// Content and meta.
    fn get(&self, key: &str) -> (Option<String>, Option<String>) {
        let entry = block_on(&self.time, self.client.get(&[id(key)])).unwrap().remove(0);
        let text = |bytes: Arc<[u8]>| String::from_utf8(bytes.to_vec()).unwrap();
        (entry.content.map(text), entry.meta.map(text))
    }

    fn set(&self, key: &str, json: &str) {
        self.cluster.change(|model, now_ms| model.foreign_set(&id(key), body(json), now_ms)).unwrap();
    }

    fn delete(&self, key: &str) {
        self.cluster.change(|model, now_ms| model.foreign_delete(&id(key), now_ms)).unwrap();
    }

    fn feed(&self, node: &str, from: Option<&Position>) -> Box<dyn Feed> {
        let client = PlatformClient::new(Arc::clone(&self.cluster), Arc::clone(&self.path), node);
        block_on(&self.time, client.feed(&COLLECTIONS.map(str::to_owned), from)).unwrap()
    }

    /// What a feed says until it has nothing more to say, and its last position.
    fn drain(&self, feed: &mut dyn Feed) -> (Vec<FeedEvent>, Option<Position>) {
        let (mut events, mut position) = (Vec::new(), None);
        let until_ms = self.time.now_ms() + 1_000;
        while let Some(event) = block_on(&self.time, or_nothing(&self.time, until_ms, feed)) {
            let event = event.unwrap();
            if let FeedEvent::Position(told) = event {
                position = Some(told);
            } else {
                events.push(event);
            }
        }
        (events, position)
    }
}

async fn or_nothing(
    time: &VirtualTime,
    until_ms: u64,
    feed: &mut dyn Feed,
) -> Option<Result<FeedEvent, PlatformError>> {
    let mut next = feed.next();
    std::future::poll_fn(|context| match next.as_mut().poll(context) {
        std::task::Poll::Ready(event) => std::task::Poll::Ready(Some(event)),
        std::task::Poll::Pending => time.poll_until(until_ms, context).map(|()| None),
    })
    .await
}

fn id(key: &str) -> DocumentId {
    DocumentId::new(COLLECTIONS[0], key)
}

fn text(json: &str) -> PutContent {
    PutContent::Put(Arc::from(json.as_bytes()))
}

fn body(json: &str) -> Body {
    Body::Json(Arc::from(json.as_bytes()))
}

fn holds(content: Option<&str>, meta: Option<&str>) -> (Option<String>, Option<String>) {
    (content.map(str::to_owned), meta.map(str::to_owned))
}

fn changes(events: &[FeedEvent]) -> usize {
    events.iter().filter(|event| matches!(event, FeedEvent::Changed(..))).count()
}

fn names(events: &[FeedEvent]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|event| if let FeedEvent::RolledBack(name) = event { Some(name.as_str()) } else { None })
        .collect()
}

fn is_lost(events: &[FeedEvent], what: Option<&str>) -> bool {
    events.contains(&FeedEvent::Lost(what.map(str::to_owned)))
}

mod couchbase {
    use super::*;

    #[test]
    fn a_fail_over_loses_what_no_replica_has_and_every_feed_that_saw_it_says_so_alike() {
        let bench = Bench::new(bucket(Durability::None, 1, 1));
        let mut feeds = [bench.feed("one", None), bench.feed("two", None)];
        for key in 0..20 {
            bench.put(&format!("k{key}"), "1", "m");
        }
        bench.pass(100);
        for key in 0..20 {
            bench.put(&format!("k{key}"), "2", "m");
        }
        let seen = feeds.each_mut().map(|feed| changes(&bench.drain(feed.as_mut()).0));
        assert!(seen.iter().all(|seen| *seen >= 20), "{seen:?}");
        // The drain took its time: another round, which the feeds see and the replicas do not.
        bench.cluster.change(|model, now_ms| (0..64).for_each(|_| model.hold_replicas(now_ms + 60_000)));
        for key in 0..20 {
            bench.put(&format!("k{key}"), "3", "m");
        }
        bench.cluster.change(|model, now_ms| (0..64).for_each(|_| model.hold_replicas(now_ms + 60_000)));
        for feed in &mut feeds {
            bench.drain(feed.as_mut());
        }
        bench.cluster.change(|model, now_ms| (0..64).for_each(|_| model.fail_over(now_ms, 10)));
        let error = bench.try_put("k1", text("4"), "m");
        assert!(matches!(error, Err(PlatformError::Unavailable(_))), "{error:?}");
        bench.pass(20);
        let lost = (0..20).filter(|key| bench.get(&format!("k{key}")).0.as_deref() == Some("2")).count();
        assert_eq!(lost, 20);
        let told = feeds.each_mut().map(|feed| bench.drain(feed.as_mut()).0);
        assert!(!names(&told[0]).is_empty(), "{told:?}");
        let sorted = |events| {
            let mut names = names(events);
            names.sort_unstable();
            names.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(sorted(&told[0]), sorted(&told[1]));
        assert!(is_lost(&told[0], Some(COLLECTIONS[0])));
    }

    #[test]
    fn no_fail_over_loses_a_durable_write() {
        for seed in 0..30 {
            let bench = Bench::new(bucket(Durability::Majority, 1 + usize::from(seed % 2 == 0), seed));
            let mut known = 0;
            for n in 1..30 {
                if n % 4 == 0 {
                    bench.cluster.change(|model, now_ms| model.fail_over(now_ms, 5));
                }
                if matches!(bench.try_put("k", text(&n.to_string()), "m"), Ok(PutOutcome::Done(_))) {
                    known = n;
                }
                bench.pass(n % 7);
                let held = block_on(&bench.time, bench.client.get(&[id("k")]));
                let Ok(mut held) = held else { continue };
                let content = held.remove(0).content;
                let held: u64 = content.map_or(0, |text| std::str::from_utf8(&text).unwrap().parse().unwrap());
                assert!(held >= known, "seed {seed}: {known} was acknowledged, {held} is there");
            }
            assert!(known > 10, "puts succeed: {known}");
        }
    }

    #[test]
    fn a_foreign_write_may_be_lost_and_only_a_scan_finds_out() {
        let bench = Bench::new(bucket(Durability::Majority, 1, 1));
        let mut feed = bench.feed("one", None);
        for key in 0..20 {
            bench.set(&format!("k{key}"), "1");
        }
        bench.cluster.change(|model, now_ms| (0..64).for_each(|_| model.hold_replicas(now_ms + 60_000)));
        bench.drain(feed.as_mut());
        bench.cluster.change(|model, now_ms| (0..64).for_each(|_| model.fail_over(now_ms, 10)));
        bench.pass(20);
        assert_eq!((0..20).filter(|key| bench.get(&format!("k{key}")).0.is_some()).count(), 0);
        let (events, _) = bench.drain(feed.as_mut());
        assert!(is_lost(&events, Some(COLLECTIONS[0])) && names(&events).is_empty(), "{events:?}");
    }

    #[test]
    fn without_durable_writes_a_crash_loses_what_was_acknowledged_since_the_replicas_stalled() {
        let bench = Bench::new(bucket(Durability::None, 1, 1));
        let mut feed = bench.feed("one", None);
        bench.put("k", "1", "m");
        bench.cluster.change(crate::platform::couchbase::Couchbase::hold_all_replicas);
        bench.put("k", "2", "m");
        bench.drain(feed.as_mut());
        bench.cluster.change(crate::platform::couchbase::Couchbase::lose_actives);
        bench.pass(1);
        assert_eq!(bench.get("k").0.as_deref(), Some("1"));
        assert!(!names(&bench.drain(feed.as_mut()).0).is_empty());
        bench.put("k", "3", "m");
        bench.pass(100);
        bench.cluster.change(crate::platform::couchbase::Couchbase::lose_actives);
        bench.pass(1);
        assert_eq!(bench.get("k").0.as_deref(), Some("3"), "the replicas go on");
    }

    #[test]
    fn overtaken_states_are_left_out() {
        let bench = Bench::new(bucket(Durability::None, 1, 1));
        let (_, position) = bench.drain(bench.feed("one", None).as_mut());
        (0..10).for_each(|n| bench.put("k", &n.to_string(), "m"));
        let (events, _) = bench.drain(bench.feed("one", position.as_ref()).as_mut());
        assert_eq!(changes(&events), 1, "{events:?}");
    }

    #[test]
    fn a_purge_forgets_tombstones_and_makes_old_positions_useless() {
        let bench = Bench::new(bucket(Durability::None, 1, 1));
        bench.put("k", "1", "m1");
        let (_, position) = bench.drain(bench.feed("one", None).as_mut());
        bench.put("k", "2", "m2");
        bench.try_put("k", PutContent::Delete, "m3").unwrap();
        assert_eq!(bench.get("k"), holds(None, Some("m3")));
        bench.cluster.change(|model, now_ms| model.purge(COLLECTIONS[0], now_ms + 1));
        let entry = block_on(&bench.time, bench.client.get(&[id("k")])).unwrap().remove(0);
        assert_eq!((entry.meta, entry.token), (None, Token::default()));
        let (events, _) = bench.drain(bench.feed("one", position.as_ref()).as_mut());
        assert!(is_lost(&events, Some(COLLECTIONS[0])) && names(&events).is_empty(), "{events:?}");
    }

    #[test]
    fn a_flush_is_a_roll_back_of_everything() {
        let bench = Bench::new(bucket(Durability::Majority, 1, 1));
        bench.put("k", "1", "m");
        let (mut one, mut two) = (bench.feed("one", None), bench.feed("two", None));
        bench.drain(one.as_mut());
        bench.drain(two.as_mut());
        bench.cluster.change(|model, _| model.flush());
        assert_eq!(bench.get("k"), holds(None, None));
        let (first, second) = (bench.drain(one.as_mut()).0, bench.drain(two.as_mut()).0);
        let sorted = |events: &[FeedEvent]| {
            names(events).into_iter().map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
        };
        assert!(!sorted(&first).is_empty());
        assert_eq!(sorted(&first), sorted(&second));
    }

    #[test]
    fn a_collection_that_was_created_again_is_another_one() {
        let bench = Bench::new(bucket(Durability::None, 1, 1));
        bench.put("k", "1", "m");
        let mut feed = bench.feed("one", None);
        let (_, position) = bench.drain(feed.as_mut());
        bench.cluster.change(|model, _| model.recreate(COLLECTIONS[0]));
        assert_eq!(bench.get("k"), holds(None, None));
        for events in [bench.drain(feed.as_mut()).0, bench.drain(bench.feed("two", position.as_ref()).as_mut()).0] {
            assert!(is_lost(&events, Some(COLLECTIONS[0])), "{events:?}");
            assert!(!is_lost(&events, Some(COLLECTIONS[1])), "{events:?}");
        }
    }

    #[test]
    fn a_document_expires_and_leaves_its_meta() {
        let bench = Bench::new(bucket(Durability::None, 1, 1));
        bench.put("k", "1", "m");
        let mut feed = bench.feed("one", None);
        bench.drain(feed.as_mut());
        bench.cluster.change(|model, now_ms| model.foreign_set_expiring(&id("k"), body("2"), now_ms, 5_000));
        assert_eq!(bench.get("k"), holds(Some("2"), Some("m")));
        bench.drain(feed.as_mut());
        bench.pass(5_000);
        assert_eq!(bench.get("k"), holds(None, Some("m")));
        assert_eq!(changes(&bench.drain(feed.as_mut()).0), 1);
    }

    #[test]
    fn plain_writes_keep_the_meta_but_over_a_tombstone() {
        let bench = Bench::new(bucket(Durability::None, 1, 1));
        bench.put("k", "1", "m");
        bench.set("k", "2");
        assert_eq!(bench.get("k"), holds(Some("2"), Some("m")));
        bench.delete("k");
        assert_eq!(bench.get("k"), holds(None, Some("m")));
        bench.set("k", "3");
        assert_eq!(bench.get("k"), holds(Some("3"), None));
    }
}

mod geode {
    use super::*;

    #[test]
    fn a_foreign_write_leaves_the_meta_alone() {
        let bench = Bench::new(members(1, 0));
        bench.put("k", "1", "m");
        bench.set("k", "2");
        assert_eq!(bench.get("k"), holds(Some("2"), Some("m")));
        bench.delete("k");
        bench.set("k", "3");
        assert_eq!(bench.get("k"), holds(Some("3"), Some("m")));
    }

    #[test]
    fn a_queue_is_kept_for_five_minutes_and_through_no_restart() {
        let bench = Bench::new(members(1, 0));
        let (_, position) = bench.drain(bench.feed("one", None).as_mut());
        bench.put("k", "1", "m");
        bench.pass(290_000);
        let (events, position) = {
            let mut feed = bench.feed("one", position.as_ref());
            bench.drain(feed.as_mut())
        };
        assert!(changes(&events) > 0 && !is_lost(&events, None), "{events:?}");
        bench.pass(301_000);
        let (events, position) = bench.drain(bench.feed("one", position.as_ref()).as_mut());
        assert!(is_lost(&events, None), "{events:?}");
        let mut feed = bench.feed("one", position.as_ref());
        bench.cluster.change(|model, _| model.lose_queues());
        assert!(block_on(&bench.time, feed.next()).is_err());
        let (events, _) = bench.drain(bench.feed("one", position.as_ref()).as_mut());
        assert!(is_lost(&events, None), "{events:?}");
    }

    #[test]
    fn what_was_acknowledged_is_gone_for_an_older_journal() {
        let bench = Bench::new(members(1, 0));
        let mut feed = bench.feed("one", None);
        let (_, old) = bench.drain(feed.as_mut());
        bench.put("k", "1", "m");
        let (_, position) = bench.drain(feed.as_mut());
        block_on(&bench.time, feed.acknowledge(&position.unwrap())).unwrap();
        drop(feed);
        let (events, _) = bench.drain(bench.feed("one", old.as_ref()).as_mut());
        assert!(is_lost(&events, None), "{events:?}");
    }

    #[test]
    fn an_import_is_silent_and_a_clear_names_no_document() {
        let bench = Bench::new(members(1, 0));
        bench.put("k", "1", "m");
        let mut feed = bench.feed("one", None);
        bench.drain(feed.as_mut());
        bench.cluster.change(|model, now_ms| model.import(&id("k"), body("2"), now_ms));
        assert_eq!(bench.get("k"), holds(Some("2"), Some("m")));
        assert_eq!(bench.drain(feed.as_mut()).0, []);
        bench.cluster.change(|model, _| model.clear(COLLECTIONS[0], false));
        assert_eq!(bench.get("k"), holds(None, Some("m")));
        assert_eq!(bench.drain(feed.as_mut()).0, [FeedEvent::Lost(Some(COLLECTIONS[0].to_owned()))]);
        bench.cluster.change(|model, _| model.clear(COLLECTIONS[0], true));
        assert_eq!(bench.get("k"), holds(None, None));
    }

    #[test]
    fn buckets_move_and_clients_learn_of_it_later() {
        let mut outcomes = Vec::new();
        for seed in 0..8 {
            let bench = Bench::new(members(seed, 0));
            let ids: Vec<DocumentId> = (0..40).map(|n| id(&n.to_string())).collect();
            let put = |at: usize| PutIf {
                id: ids[at].clone(),
                token: block_on(&bench.time, bench.client.get(&ids[at..=at])).unwrap().remove(0).token,
                content: text("1"),
                meta: None,
            };
            let together = |at: usize| bench.client.together(&[&ids[0], &ids[at]]);
            let pairs: Vec<usize> = (1..40).filter(|at| together(*at)).collect();
            assert!(!pairs.is_empty() && pairs.len() < 39, "{pairs:?}");
            bench.cluster.change(crate::platform::geode::Geode::move_bucket);
            assert!(pairs.iter().all(|at| together(*at)), "clients do not know it yet");
            let outcome = |at| block_on(&bench.time, bench.client.put_if(&[put(0), put(at)])).unwrap();
            outcomes.extend(pairs.iter().map(|at| outcome(*at)));
            bench.pass(1_000);
            for at in pairs.into_iter().filter(|at| together(*at)) {
                assert!(matches!(outcome(at), PutOutcome::Done(_)));
            }
        }
        assert!(outcomes.contains(&PutOutcome::NotTogether), "{outcomes:?}");
    }

    #[test]
    fn a_member_that_goes_takes_its_buckets_away_for_a_time() {
        let bench = Bench::new(members(1, 0));
        bench.cluster.change(|model, now_ms| model.end_member(now_ms, 50));
        let all: Vec<_> = (0..20).map(|n| bench.try_put(&n.to_string(), text("1"), "m")).collect();
        assert!(all.iter().any(Result::is_err) && all.iter().any(Result::is_ok), "{all:?}");
        bench.pass(50);
        (0..20).for_each(|n| drop(bench.try_put(&n.to_string(), text("1"), "m").unwrap()));
    }

    #[test]
    fn members_that_go_with_a_put_leave_half_of_it_and_foreign_writers_spare_that() {
        let mut found = std::collections::BTreeSet::new();
        for (seed, spared) in (0..20).map(|seed| (seed, seed % 2 == 0)) {
            let bench = Bench::new(members(seed, 0));
            bench.put("k", "1", "m1");
            let spares: &'static [&'static str] = if spared { &COLLECTIONS } else { &[] };
            bench.cluster.change(|model, _| model.doom(50, spares));
            assert!(bench.try_put("k", text("2"), "m2").is_err());
            bench.pass(51);
            let (content, meta) = bench.get("k");
            let half = format!("{}{}", content.unwrap(), meta.unwrap());
            let torn = half == "1m2";
            let foreign = bench.cluster.change(|model, now_ms| model.foreign_set(&id("k"), body("3"), now_ms));
            assert_eq!(foreign.is_err(), torn);
            let foreign = bench.cluster.change(|model, now_ms| model.foreign_delete(&id("k"), now_ms));
            assert_eq!(foreign.is_err(), torn);
            assert!(!spared || half == "1m2", "{half}");
            found.insert(half);
            bench.put("k", "4", "m4");
            bench.set("k", "5");
        }
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["1m2", "2m1"]);
    }

    #[test]
    fn losing_all_members_tears_what_is_under_way() {
        let mut found = std::collections::BTreeSet::new();
        for seed in 0..60 {
            let bench = Bench::new(members(seed, 0));
            bench.put("k", "1", "m1");
            let token = block_on(&bench.time, bench.client.get(&[id("k")])).unwrap().remove(0).token;
            let put = PutIf { id: id("k"), token, content: text("2"), meta: Some(Arc::from(&b"m2"[..])) };
            // On its way: it arrives in a second.
            let reply = bench.cluster.send(bench.time.now_ms() + 1_000, vec![put]);
            bench.cluster.crash_all(3_000, &[]);
            bench.pass(3_001);
            assert!(!matches!(*reply.lock().unwrap(), Some(Ok(_))));
            let (content, meta) = bench.get("k");
            found.insert(format!("{}{}", content.unwrap(), meta.unwrap()));
        }
        let expected = ["1m1", "1m2", "2m1"].map(str::to_owned);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_commit_can_be_seen_in_part_and_is_never_answered_before_it_is_whole() {
        let mut torn = 0;
        for seed in 0..40 {
            let bench = Bench::new(members(seed, 1_000));
            bench.put("k", "1", "1");
            let token = block_on(&bench.time, bench.client.get(&[id("k")])).unwrap().remove(0).token;
            let put = PutIf { id: id("k"), token, content: text("2"), meta: Some(Arc::from(&b"2"[..])) };
            let reply = bench.cluster.send(bench.time.now_ms(), vec![put]);
            while reply.lock().unwrap().is_none() {
                let (content, meta) = bench.get("k");
                torn += u32::from(content != meta && reply.lock().unwrap().is_none());
                bench.pass(1);
                bench.cluster.look(|_, _| ());
            }
            assert_eq!(bench.get("k"), holds(Some("2"), Some("2")));
        }
        assert!(torn > 0);
    }

    #[test]
    fn orders_rise_through_the_collection_of_tombstones() {
        let bench = Bench::new(members(1, 0));
        let order = || block_on(&bench.time, bench.client.get(&[id("k")])).unwrap().remove(0).order;
        bench.put("k", "1", "m");
        let first = order();
        bench.delete("k");
        bench.pass(700_000);
        bench.cluster.change(super::super::Geode::collect_tombstones);
        assert_eq!(order(), None, "a meta alone is left");
        bench.set("k", "1");
        assert!(order() > first && order().is_some());
    }
}

mod path {
    use super::*;

    #[test]
    fn a_call_that_fails_was_done_or_not_or_is_done_later() {
        let (mut done, mut not, mut later) = (0, 0, 0);
        for n in 0..60 {
            let bench = Bench::new(bucket(Durability::None, 0, n));
            let path = Path::new(Arc::clone(&bench.time), n, Weather::default());
            let client = PlatformClient::new(Arc::clone(&bench.cluster), Arc::clone(&path), "two");
            path.fail(1);
            let put = PutIf { id: id("k"), token: Token::default(), content: text("1"), meta: None };
            let outcome = block_on(&bench.time, client.put_if(&[put]));
            assert!(matches!(outcome, Err(PlatformError::Unavailable(_))), "{outcome:?}");
            let at_once = bench.get("k").0.is_some();
            bench.pass(5_000);
            match (at_once, bench.get("k").0.is_some()) {
                (true, _) => done += 1,
                (false, true) => later += 1,
                (false, false) => not += 1,
            }
        }
        assert!(done > 5 && not > 5 && later > 5, "{done} {not} {later}");
    }

    #[test]
    fn nothing_gets_through_a_path_that_is_cut() {
        let bench = Bench::new(members(1, 0));
        let mut feed = bench.feed("one", None);
        bench.drain(feed.as_mut());
        bench.path.cut(bench.time.now_ms() + 1_000);
        assert!(bench.try_put("k", text("1"), "m").is_err());
        assert!(block_on(&bench.time, feed.next()).is_err());
        bench.pass(1_000);
        bench.put("k", "1", "m");
    }
}
