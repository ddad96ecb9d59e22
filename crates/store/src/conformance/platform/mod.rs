//! The suite that every [`Platform`] runs: [`run`]. Each case names itself on standard error before it runs.
//!
//! It depends on no runtime and takes a platform for what it is: contents are compared as JSON, a meta may or may not survive a foreign
//! write, an event may come with or without its state, more often than once, and states that were overtaken may be left out. Cases
//! share a platform and even collections; each has keys of its own.

mod entries;
mod feeds;
mod foreign;
mod scans;

use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{Either, select};
use serde_json::Value;
use tidelock_core::ids::DocumentId;

use crate::platform::{Entry, Feed, FeedEvent, Platform, Position, PutContent, PutIf, PutOutcome, Token, Written};
use crate::store::BoxFuture;

/// Other clients of the platform, which know nothing of Tidelock, and the clock.
pub trait Foreign: Send + Sync {
    /// Stores JSON text, as any client of the platform does.
    fn set<'a>(&'a self, id: &'a DocumentId, json: &'a str) -> BoxFuture<'a, ()>;

    /// Deletes a document that is there.
    fn delete<'a>(&'a self, id: &'a DocumentId) -> BoxFuture<'a, ()>;

    /// Stores something that no document can be.
    fn spoil<'a>(&'a self, id: &'a DocumentId) -> BoxFuture<'a, ()>;

    /// Resolves when a case has waited for an event for too long.
    fn deadline(&self) -> BoxFuture<'static, ()>;
}

/// A platform under test.
pub struct Subject<P> {
    /// The platform, as one node uses it. Nobody else follows a feed of this node.
    pub platform: P,
    /// Two collections of the application that are ready. They may hold entries of other cases.
    pub collections: [String; 2],
    /// Begins every key of this case, and no key of anybody else.
    pub prefix: String,
    /// Everybody else.
    pub foreign: Box<dyn Foreign>,
    /// A state that is there in part, because a put is under way, has a token that a put takes. Otherwise nobody writes to it.
    pub takes_parts: bool,
    /// The feed tells of a put that keeps the content. No node needs to hear of one: nothing is published with it.
    pub tells_of_metas: bool,
}

/// Runs every case, each against what `make` gives for its name.
pub async fn run<P: Platform>(make: impl AsyncFn(&'static str) -> Subject<P>) {
    macro_rules! cases {
        ($($module:ident :: $case:ident),* $(,)?) => {
            $(
                eprintln!("platform conformance: {}", stringify!($case));
                $module::$case(&make(stringify!($case)).await).await;
            )*
        };
    }
    cases![
        entries::an_unknown_entry_is_absent,
        entries::a_put_is_read_back,
        entries::entries_come_in_the_order_asked,
        entries::keep_changes_the_meta_alone,
        entries::a_meta_needs_no_content,
        entries::a_delete_keeps_its_meta,
        entries::nothing_may_be_left,
        entries::a_token_names_one_state,
        entries::a_content_that_came_back_is_another_state,
        entries::one_of_many_puts_wins,
        entries::increments_are_never_lost,
        entries::several_are_written_whole,
        entries::large_contents_and_metas_survive,
        entries::what_is_too_large_is_refused,
        entries::keys_of_all_kinds_are_apart,
        entries::collections_are_apart,
        foreign::a_foreign_document_has_no_meta,
        foreign::a_foreign_write_is_another_state,
        foreign::a_foreign_delete_is_another_state,
        foreign::a_foreign_write_over_a_tombstone_is_another_state,
        foreign::an_unreadable_content_is_no_delete,
        feeds::a_feed_without_position_has_lost_everything,
        feeds::every_kind_of_change_is_fed,
        feeds::states_of_a_document_come_in_order,
        feeds::a_feed_goes_on_from_its_position,
        feeds::what_was_not_acknowledged_comes_again,
        feeds::foreign_changes_are_fed,
        feeds::other_collections_are_not_fed,
        feeds::dropping_a_wait_loses_nothing,
        scans::a_scan_sees_every_entry,
        scans::a_platform_that_is_ready_says_so,
    ];
}

impl<P: Platform> Subject<P> {
    /// A document of the case in the first collection.
    fn id(&self, name: &str) -> DocumentId {
        self.id_in(0, name)
    }

    fn id_in(&self, collection: usize, name: &str) -> DocumentId {
        DocumentId::new(self.collections[collection].as_str(), format!("{}{name}", self.prefix))
    }

    async fn get(&self, id: &DocumentId) -> Entry {
        let mut entries = self.platform.get(std::slice::from_ref(id)).await.unwrap();
        assert_eq!(entries.len(), 1, "one entry was asked for");
        entries.pop().unwrap()
    }

    /// Puts one entry; `None` when it did not have the token.
    async fn try_put(
        &self,
        id: &DocumentId,
        token: &Token,
        content: PutContent,
        meta: Option<&str>,
    ) -> Option<Written> {
        let put = PutIf { id: id.clone(), token: token.clone(), content, meta: meta.map(bytes) };
        match self.platform.put_if(&[put]).await.unwrap() {
            PutOutcome::Done(mut written) => {
                assert_eq!(written.len(), 1, "one entry was put");
                written.pop()
            }
            PutOutcome::Mismatch => None,
            PutOutcome::NotTogether => panic!("one entry can always be written"),
        }
    }

    /// Puts one entry whatever is there; returns what is there then.
    async fn put(&self, id: &DocumentId, content: PutContent, meta: Option<&str>) -> Entry {
        let before = self.get(id).await;
        let written = self.try_put(id, &before.token, content, meta).await.expect("nobody else writes here");
        let entry = self.get(id).await;
        assert_eq!(entry.token, written.token, "a put and a read name the same state alike");
        entry
    }

    /// Asserts that a token is not that of the entry, and that trying it changes nothing.
    async fn refuses(&self, id: &DocumentId, token: &Token) {
        let before = self.get(id).await;
        for content in [PutContent::Keep, json("{\"wrong\":1}"), PutContent::Delete] {
            assert_eq!(
                self.try_put(id, token, content, Some("wrong")).await,
                None,
                "{id} took a token of another state"
            );
        }
        assert_eq!(self.get(id).await, before, "a mismatch changed {id}");
    }

    async fn feed(&self, from: Option<&Position>) -> Follower<'_, P> {
        let feed = self.platform.feed(&self.collections, from).await.unwrap();
        Follower { subject: self, feed, seen: Vec::new() }
    }
}

/// A feed, and what it said.
struct Follower<'a, P> {
    subject: &'a Subject<P>,
    feed: Box<dyn Feed>,
    /// All events, the latest last.
    seen: Vec<FeedEvent>,
}

impl<P: Platform> Follower<'_, P> {
    async fn next(&mut self, what: &str) -> FeedEvent {
        let deadline = pin!(self.subject.foreign.deadline());
        let event = match select(self.feed.next(), deadline).await {
            Either::Left((event, _)) => event.unwrap(),
            Either::Right(_) => panic!("waited too long for {what}; seen: {:?}", self.seen),
        };
        self.seen.push(event.clone());
        event
    }

    /// Reads on until the feed has reached the present; returns what it said until then.
    async fn catch_up(&mut self) -> Vec<FeedEvent> {
        let begun = self.seen.len();
        while self.next("the present").await != FeedEvent::CaughtUp {}
        self.seen[begun..].to_vec()
    }

    /// Reads on until a document has changed and its state is `wanted`, by the event or, where that does not tell, by a read.
    async fn until(&mut self, id: &DocumentId, what: &str, wanted: impl Fn(&Entry) -> bool) {
        loop {
            let FeedEvent::Changed(changed, entry) = self.next(what).await else { continue };
            if changed != *id {
                continue;
            }
            let entry = match entry {
                Some(entry) => entry,
                None => self.subject.get(id).await,
            };
            if wanted(&entry) {
                return;
            }
        }
    }

    /// Reads on to the next position.
    async fn position(&mut self) -> Position {
        loop {
            if let FeedEvent::Position(position) = self.next("a position").await {
                return position;
            }
        }
    }

    /// Whether an event said that something may be missing.
    fn lost(&self) -> bool {
        self.seen.iter().any(|event| matches!(event, FeedEvent::Lost(_) | FeedEvent::RolledBack(_)))
    }
}

fn json(text: &str) -> PutContent {
    PutContent::Put(bytes(text))
}

fn bytes(text: &str) -> Arc<[u8]> {
    Arc::from(text.as_bytes())
}

/// The content as a value.
fn value(entry: &Entry) -> Option<Value> {
    entry.content.as_ref().map(|content| serde_json::from_slice(content).expect("a content is JSON text"))
}

/// The meta as text.
fn meta(entry: &Entry) -> Option<&str> {
    entry.meta.as_ref().map(|meta| std::str::from_utf8(meta).unwrap())
}

/// Asserts content and meta.
fn assert_holds(entry: &Entry, content: Option<&str>, wanted_meta: Option<&str>) {
    let content: Option<Value> = content.map(|text| serde_json::from_str(text).unwrap());
    assert_eq!(value(entry), content);
    assert_eq!(meta(entry), wanted_meta);
    assert_eq!(entry.unreadable, None);
}
