//! Clients whose cursor is of no use find out what differs, and are told that alone.

use tidelock_core::ids::{ChangelogId, Offset, SubscriptionId};
use tidelock_core::reconcile::{Checker, Difference as Items, Sketch, decode, subtract, symbols_from_bytes};
use tidelock_core::version::{item_hash, of_body};
use tidelock_core::wire::{
    ClientFrame, Cursor, Difference, DocumentChange, MoreSymbols, Packed, ServerFrame, Subscribe, Symbols, Welcome,
    encode,
};

use super::harness::{Client, TestServer, items, put};

const ROUND: u64 = 7;

/// A document that the client has: collection, key, body.
pub(crate) type Held<'a> = (&'a str, &'a str, &'a str);

fn item(changelog: ChangelogId, (collection, key, body): Held<'_>) -> u64 {
    item_hash(changelog, collection, key, of_body(body.as_bytes()).unwrap())
}

/// The number of a collection in frames.
fn number(welcome: &Welcome, collection: &str) -> u32 {
    welcome.collections.iter().find(|info| info.name == collection).unwrap().number
}

impl Client {
    async fn symbols(&mut self) -> Symbols {
        match self.frame().await {
            ServerFrame::Symbols(symbols) => symbols,
            other => panic!("expected symbols, found {other:?}"),
        }
    }

    /// Asks for symbols until they tell the difference to what the client has.
    async fn learn(&mut self, changelog: ChangelogId, collections: &[&str], held: &[Held<'_>]) -> Items {
        // Too few for the difference of any test, so that the client has to ask for more.
        let subscribe = Subscribe {
            id: SubscriptionId(1),
            collections: collections.iter().map(|name| (*name).to_owned()).collect(),
            channels: None,
            cursor: None,
            held: Vec::new(),
            have: Vec::new(),
            reconcile: Some((ROUND, 1)),
        };
        self.send(&ClientFrame::Subscribe(subscribe)).await;
        let mut theirs = symbols_from_bytes(&self.symbols().await.symbols).unwrap();
        let first = 1;
        self.send(&ClientFrame::MoreSymbols(MoreSymbols {
            subscription: SubscriptionId(1),
            round: ROUND,
            first,
            until: 64,
        }))
        .await;
        let more = self.symbols().await;
        assert_eq!((more.first, more.last, more.round), (first, true, ROUND));
        theirs.extend(symbols_from_bytes(&more.symbols).unwrap());
        let mut ours = Sketch::new(Checker::new(changelog), 64);
        for document in held {
            ours.add(item(changelog, *document));
        }
        decode(Checker::new(changelog), subtract(&theirs, ours.symbols())).expect("enough symbols")
    }

    /// Tells what differs; gives what the server answers about it, sorted.
    async fn ask(&mut self, lacks: &[u64], only: &[(u32, &str)]) -> Vec<String> {
        let difference = Difference {
            subscription: SubscriptionId(1),
            round: ROUND,
            lacks: lacks.iter().flat_map(|item| item.to_be_bytes()).collect(),
            only: Packed(only.iter().flat_map(|(number, key)| encode(&(*number, (*key).to_owned()))).collect()),
            more: false,
        };
        self.send(&ClientFrame::Difference(difference)).await;
        let mut told = Vec::new();
        loop {
            match self.frame().await {
                ServerFrame::Reconciled(reconciled) => {
                    assert_eq!(reconciled.round, ROUND);
                    told.extend(items(&reconciled.changes));
                    if reconciled.last {
                        told.sort();
                        return told;
                    }
                }
                other => panic!("expected documents, found {other:?}"),
            }
        }
    }

    /// The whole of it, as a client does it; gives what the server tells, sorted.
    pub(crate) async fn reconcile(
        &mut self,
        welcome: &Welcome,
        collections: &[&str],
        held: &[Held<'_>],
    ) -> Vec<String> {
        let differs = self.learn(welcome.changelog, collections, held).await;
        let ours = held.iter().filter(|document| differs.ours.contains(&item(welcome.changelog, **document)));
        let only: Vec<_> = ours.map(|(collection, key, _)| (number(welcome, collection), *key)).collect();
        self.ask(&differs.theirs, &only).await
    }
}

#[tokio::test]
async fn a_cursor_of_no_use_costs_what_differs() {
    let server = TestServer::start().await;
    let mut ann = server.session("ann", &[]).await;
    let keys: Vec<String> = (0..200).map(|n| format!("k{n:03}")).collect();
    ann.commit(keys.iter().map(|key| put("notes", key, "1")).collect()).await;
    let mut bob = server.connect().await;
    bob.hello(&server.token("bob", &[])).await;
    let welcome = bob.welcome().await;
    for (changelog, offset) in [(ChangelogId(welcome.changelog.0 + 1), 1), (welcome.changelog, 99)] {
        let cursor = Cursor { changelog, offset: Offset(offset), snapshot: None };
        bob.subscribe(&["notes"], Some(cursor), vec!["notes".into()]).await;
        let frame = bob.frame().await;
        assert!(matches!(frame, ServerFrame::Restart(_)), "{frame:?}");
    }

    // Bob lacks one document, has another one in another state, and one that nobody else knows.
    let mut held: Vec<Held<'_>> = keys.iter().skip(1).map(|key| ("notes", key.as_str(), "1")).collect();
    held[0].2 = "0";
    held.push(("notes", "mine", "1"));
    assert_eq!(bob.reconcile(&welcome, &["notes"], &held).await, ["-mine", "k000=1", "k001=1"]);
    let confirmed = bob.changes().await;
    assert_eq!((items(&confirmed.changes), confirmed.last), (Vec::new(), true), "caught up, with nothing else told");
    ann.commit(vec![DocumentChange { base: of_body(b"1").unwrap(), ..put("notes", "k100", "2") }]).await;
    assert_eq!(items(&bob.changes().await.changes), ["k100=2"], "changes follow");
    server.stop().await;
}

#[tokio::test]
async fn documents_that_differ_are_told_as_the_store_has_them_when_asked() {
    let server = TestServer::start().await;
    let mut ann = server.session("ann", &[]).await;
    ann.commit(vec![put("notes", "a", "1"), put("notes", "b", "1")]).await;
    let mut bob = server.connect().await;
    bob.hello(&server.token("bob", &[])).await;
    let welcome = bob.welcome().await;
    let differs = bob.learn(welcome.changelog, &["notes"], &[("notes", "b", "0")]).await;
    assert_eq!((differs.theirs.len(), differs.ours.len()), (2, 1));
    // Both are changed after the symbols were made; the item of `a` is of a state that is gone.
    let base = of_body(b"1").unwrap();
    ann.commit(["a", "b"].map(|key| DocumentChange { base, ..put("notes", key, "2") }).to_vec()).await;
    let told = bob.ask(&differs.theirs, &[(number(&welcome, "notes"), "b")]).await;
    assert_eq!(told, ["b=2"], "as it is by now; an item that nobody has any more is passed over");
    let follows = bob.changes().await;
    assert_eq!((items(&follows.changes), follows.last), (vec!["a=2".into(), "b=2".into()], true));
    server.stop().await;
}

#[tokio::test]
async fn what_may_not_be_read_is_as_if_it_did_not_exist() {
    let server = TestServer::start().await;
    let mut root = server.session("root", &["red", "blue"]).await;
    let (secret, mine) = (r#"{"channel":"red"}"#, r#"{"channel":"blue"}"#);
    root.commit(vec![put("cards", "secret", secret), put("cards", "mine", mine)]).await;
    let mut ann = server.connect().await;
    ann.hello(&server.token("ann", &["blue"])).await;
    let welcome = ann.welcome().await;
    let log = welcome.changelog;
    let differs = ann.learn(log, &["cards"], &[]).await;
    assert_eq!(differs.theirs, [item(log, ("cards", "mine", mine))], "the symbols hold what ann may read");
    // By its hash, which a curious client may compute, or by its name.
    let cards = number(&welcome, "cards");
    let told = ann.ask(&[item(log, ("cards", "secret", secret))], &[(cards, "secret"), (cards, "nothing")]).await;
    assert_eq!(told, ["-nothing", "-secret"]);
    assert!(ann.changes().await.last);
    // The rules decide by the document as it is at that moment, not by what the changelog said of it when the symbols were made.
    let differs = ann.learn(log, &["cards"], &[]).await;
    root.commit(vec![DocumentChange { base: of_body(mine.as_bytes()).unwrap(), ..put("cards", "mine", secret) }]).await;
    let told = ann.ask(&differs.theirs, &[(cards, "mine")]).await;
    assert_eq!(told, ["-mine"]);
    server.stop().await;
}
