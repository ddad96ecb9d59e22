//! tidy: long because every effect of a session and every answer to it meet in one loop
//!
//! One connection: carries frames, answers and time to its session, and carries out the session's effects.
//!
//! Nothing here depends on a socket or a runtime: the transport is a [`Transport`], the time the app's clock, and whatever is ready is
//! taken in a fixed order. A simulation hosts the same connections.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tidelock_core::ids::Epoch;
use tidelock_core::server::{
    ChangePage, ChangeRecord, DocumentPage, Effect, Filter, Grant, Opening, Processed, Refusal, Session, SnapshotPage,
    Submission, SymbolPage,
};
use tidelock_core::wire::{ErrorCode, Hello};
use tokio::sync::watch;

use super::coding::Coding;
use super::transport::{Transport, TransportEvent};
use crate::app::{App, Live, Peer};
use crate::auth::Identity;
use crate::database::{Database, store_refusal};
use crate::hub::{Mail, Membership};
use crate::metrics::{add, add_len, subtract};
use crate::pipeline::{self, Caller};
use crate::sought;

/// Mutations prepared and committed together.
const GROUP_MUTATIONS_MAX: usize = 128;
/// How long a closing connection waits for its last frames to be taken.
const CLOSE_MS_MAX: u64 = 2_000;
/// Longest that a task sleeps; the session names its own deadline.
const SLEEP_MS_MAX: u64 = 3_600_000;
/// Close codes of the protocol start here; the number of the error code is added.
const CLOSE_CODE_BASE: u16 = 4_000;

/// An answer that a session waits for.
enum Answer {
    Opened(Result<Box<Opened>, Refusal>),
    Granted(Result<(Grant, Arc<Identity>), Refusal>),
    /// What an identity may read, which may have changed.
    Access(Arc<Identity>, Result<Arc<Filter>, Refusal>),
    /// A page, and the floor after it was read.
    Changes(u64, Result<ChangePage, Refusal>),
    Snapshot(u64, Result<SnapshotPage, Refusal>),
    Symbols(u64, Result<SymbolPage, Refusal>),
    Documents(u64, Result<DocumentPage, Refusal>),
    Processed(Vec<Result<Processed, Refusal>>),
}

struct Opened {
    opening: Opening,
    database: Arc<Database>,
    identity: Arc<Identity>,
    peer: Peer,
    /// Followed from before the identity was looked at.
    live: watch::Receiver<Arc<Live>>,
    /// Of the database, when its collections were described.
    shape: u64,
}

/// Serves a connection until it ends.
pub(crate) async fn serve<T: Transport>(app: Arc<App>, transport: T, coding: Coding) {
    let mut connection = Connection {
        session: Session::new(app.clock.now_ms(), Arc::clone(&app.session_config)),
        coding,
        transport,
        asking: None,
        looking: None,
        look_again: false,
        loading: None,
        pushing: None,
        submissions: VecDeque::new(),
        stuck_since: None,
        closing: None,
        lag: 0,
        app,
    };
    // Authentication decides the database; what the session does there lives in a second, larger future.
    if let Some(opened) = Box::pin(connection.until_open()).await {
        let database = Arc::clone(&opened.database);
        Box::pin(connection.run(&database, *opened)).await;
    }
    connection.finish().await;
}

struct Connection<T> {
    app: Arc<App>,
    session: Session,
    coding: Coding,
    transport: T,
    /// The answer to a token.
    asking: Option<BoxFuture<'static, Answer>>,
    /// What the identity may read.
    looking: Option<BoxFuture<'static, Answer>>,
    /// What the identity may read may have changed since it was looked at.
    look_again: bool,
    /// The page that the session waits for.
    loading: Option<BoxFuture<'static, Answer>>,
    /// The group of mutations that is being committed.
    pushing: Option<BoxFuture<'static, Answer>>,
    /// Mutations that wait for the group before them.
    submissions: VecDeque<Submission>,
    /// Since when the client took nothing of what is queued, and what it had taken by then.
    stuck_since: Option<(u64, u64)>,
    /// Why the session ended.
    closing: Option<(ErrorCode, String)>,
    /// What this session adds to the lag of all.
    lag: u64,
}

/// What an open session works with.
struct Place<'a> {
    database: &'a Arc<Database>,
    membership: Membership<'a>,
    caller: Caller,
    /// What the session watches.
    watched: Arc<Filter>,
    /// The documents that grant something to the identity; `None` when no rule asks for any.
    grants: Option<Arc<Filter>>,
    /// Of the store, when the session opened.
    epoch: Epoch,
}

impl<T: Transport> Connection<T> {
    /// Carries frames until the hello is answered.
    async fn until_open(&mut self) -> Option<Box<Opened>> {
        let (app, clock) = (Arc::clone(&self.app), self.app.clock.clone());
        loop {
            while let Some(effect) = self.session.poll_effect() {
                match effect {
                    Effect::Open(hello) => self.asking = Some(Box::pin(open(Arc::clone(&self.app), *hello))),
                    Effect::Send(_)
                    | Effect::Authenticate(_)
                    | Effect::Process(_)
                    | Effect::LoadChanges { .. }
                    | Effect::LoadSnapshot { .. }
                    | Effect::LoadSymbols { .. }
                    | Effect::LoadDocuments { .. }
                    | Effect::Watch(_)
                    | Effect::Close { .. } => self.carry_out(effect),
                }
            }
            if self.closing.is_some() {
                return None;
            }
            let deadline = self.deadline();
            let reads = self.reads();
            tokio::select! {
                biased;
                () = app.stopped() => self.end_stopping(),
                answer = answered(&mut self.asking) => match answer {
                    Answer::Opened(Ok(opened)) => return Some(opened),
                    Answer::Opened(Err(refusal)) => {
                        self.session.handle_opening(self.app.clock.now_ms(), Err(refusal));
                    }
                    Answer::Granted(_)
                    | Answer::Access(..)
                    | Answer::Changes(..)
                    | Answer::Snapshot(..)
                    | Answer::Symbols(..)
                    | Answer::Documents(..)
                    | Answer::Processed(_) => {}
                },
                event = next(&mut self.transport, reads) => if !self.transport_event(event) { return None },
                () = clock.sleep_until(deadline) => self.session.handle_tick(self.app.clock.now_ms()),
            }
        }
    }

    /// Carries everything of an open session until it ends.
    ///
    /// What is waited for is registered once, not with every turn of the loop: a session takes several turns for each frame. The stop
    /// and the end of the session are waited for once; the loop ends after them.
    async fn run(&mut self, database: &Arc<Database>, opened: Opened) {
        add(&self.app.metrics.sessions, 1);
        let Opened { opening, identity, peer, live, shape, .. } = opened;
        let (app, clock) = (Arc::clone(&self.app), self.app.clock.clone());
        let caller = Caller {
            identity,
            filter: Arc::clone(&opening.grant.filter),
            session: opening.session,
            clock: clock.clone(),
        };
        let membership = database.hub.enter();
        let mailbox = membership.mailbox();
        let mut place =
            Place { database, membership, caller, watched: Arc::default(), grants: None, epoch: opening.epoch };
        self.follow_grants(&mut place);
        tracing::debug!(session = opening.session.0, database = %database.name, "session opened");
        self.session.handle_opening(clock.now_ms(), Ok(opening));
        let (mut stopped, mut ended) = (pin!(app.stopped()), pin!(peer.ended()));
        let (mut reload, mut mail) = (pin!(next_live(live)), pin!(mailbox.wait()));
        let (mut tick, mut tick_ms) = (pin!(clock.sleep_until(0)), u64::MAX);
        loop {
            self.drain(&mut place);
            if self.closing.is_some() {
                break;
            }
            let deadline = self.deadline();
            // A tick that comes too early does nothing but ask for the next one.
            if deadline < tick_ms {
                tick_ms = deadline;
                tick.set(clock.sleep_until(deadline));
            }
            let reads = self.reads();
            // What the client sends comes last: it cannot hold up what was asked for in its name.
            tokio::select! {
                biased;
                () = &mut stopped => break,
                () = &mut ended => {
                    let message = "a later session of this replica took over";
                    self.session.handle_end(&Refusal::new(ErrorCode::SessionEnded, message));
                }
                answer = answered(&mut self.asking) => self.answer(&mut place, answer),
                answer = answered(&mut self.looking) => self.answer(&mut place, answer),
                (live, receiver) = &mut reload => {
                    reload.set(next_live(receiver));
                    self.reloaded(&place, &live, shape);
                }
                answer = answered(&mut self.loading) => self.answer(&mut place, answer),
                answer = answered(&mut self.pushing) => self.answer(&mut place, answer),
                () = &mut mail => {
                    mail.set(mailbox.wait());
                    self.mail(&place);
                }
                event = next(&mut self.transport, reads) => {
                    if let Some((since, head)) = place.membership.quiet() {
                        self.session.handle_quiet(since, head);
                    }
                    if !self.transport_event(event) { break }
                }
                () = &mut tick => {
                    tick_ms = u64::MAX;
                    self.session.handle_tick(clock.now_ms());
                }
            }
        }
        self.finish_pushing(&mut place).await;
        if app.is_stopping() {
            self.end_stopping();
        }
        self.drain(&mut place);
        subtract(&self.app.metrics.sessions, 1);
        subtract(&self.app.metrics.lag_offsets, self.lag);
    }

    /// What was handed to the store is answered before the connection closes, unless the client is gone anyway.
    async fn finish_pushing(&mut self, place: &mut Place<'_>) {
        self.submissions.clear();
        // Nobody needs these answers any more, and one that stood still with the lock of a document would hold up the mutation.
        (self.asking, self.looking, self.loading) = (None, None, None);
        if let Some(pushing) = self.pushing.take() {
            let answer = pushing.await;
            self.answer(place, answer);
        }
    }

    /// Another configuration is in force.
    fn reloaded(&mut self, place: &Place<'_>, live: &Live, shape: u64) {
        if !live.authenticator.still_accepts(&place.caller.identity) {
            let message = "the key that signed the token is not accepted any more";
            self.session.handle_end(&Refusal::new(ErrorCode::Unauthenticated, message));
        } else if place.database.shape() != shape {
            let message = "the collections of the database changed; connect again";
            self.session.handle_end(&Refusal::new(ErrorCode::SessionEnded, message));
        }
        self.look_again = true;
    }

    /// Watches the documents that grant something to the identity. A change between the last look at them and this moment is not told,
    /// so they are looked at once more.
    fn follow_grants(&mut self, place: &mut Place<'_>) {
        let grants = place.database.rules().grants(&place.caller.identity.subject);
        let grants = (!grants.is_empty()).then(|| Arc::new(grants));
        if grants == place.grants {
            return;
        }
        place.grants = grants;
        self.watch(place);
    }

    /// Watches what the session and its grants need.
    fn watch(&mut self, place: &Place<'_>) {
        let Some(grants) = &place.grants else { return place.membership.watch(&place.watched) };
        let mut all = Filter::clone(&place.watched);
        all.extend(grants);
        place.membership.watch(&Arc::new(all));
        // What waited is gone with the former watch.
        self.look_again = true;
    }

    fn end_stopping(&mut self) {
        let refusal = Refusal::new(ErrorCode::Unavailable, "the server is stopping; connect again");
        self.session.handle_end(&Refusal { retry_after_ms: Some(1_000), ..refusal });
    }

    /// Carries out everything that the session asks for.
    fn drain(&mut self, place: &mut Place<'_>) {
        while let Some(effect) = self.session.poll_effect() {
            self.carry_out_open(place, effect);
        }
        self.count();
        if self.look_again && self.looking.is_none() && self.asking.is_none() {
            self.look_again = false;
            let (database, identity) = (Arc::clone(place.database), Arc::clone(&place.caller.identity));
            self.looking = Some(Box::pin(async move {
                let access = database.access(&identity).await;
                Answer::Access(identity, access)
            }));
        }
        if self.pushing.is_none() && !self.submissions.is_empty() {
            let count = self.submissions.len().min(GROUP_MUTATIONS_MAX);
            let group: Vec<Submission> = self.submissions.drain(..count).collect();
            let (database, caller) = (Arc::clone(place.database), place.caller.clone());
            self.pushing =
                Some(Box::pin(async move { Answer::Processed(pipeline::process(&database, &caller, group).await) }));
        }
    }

    /// Tells the metrics what changed. They are shared by all sessions, so nothing is written when nothing did.
    fn count(&mut self) {
        let metrics = &self.app.metrics;
        let lag = self.session.lag();
        if lag != self.lag {
            add(&metrics.lag_offsets, lag);
            subtract(&metrics.lag_offsets, std::mem::replace(&mut self.lag, lag));
        }
        let delivered = self.session.take_delivered();
        if delivered > 0 {
            add(&metrics.changes_delivered, delivered);
        }
    }

    fn carry_out_open(&mut self, place: &mut Place<'_>, effect: Effect) {
        let database = Arc::clone(place.database);
        match effect {
            Effect::Authenticate(token) => {
                let app = Arc::clone(&self.app);
                self.asking = Some(Box::pin(async move { Answer::Granted(grant(&app, &database, &token).await) }));
            }
            Effect::Process(submission) => self.submissions.push_back(*submission),
            Effect::LoadChanges { ticket, from, filter, bytes_max } => {
                self.loading = Some(Box::pin(async move {
                    let page = database.changelog.changes(from, &filter, bytes_max).await;
                    Answer::Changes(ticket, page.map_err(|error| store_refusal(&error)))
                }));
            }
            Effect::LoadSnapshot { ticket, after, filter, bytes_max, catches_up } => {
                self.loading = Some(Box::pin(async move {
                    if catches_up && let Err(error) = database.changelog.catch_up(&filter).await {
                        return Answer::Snapshot(ticket, Err(store_refusal(&error)));
                    }
                    let page = database.changelog.snapshot(after.as_ref(), &filter, bytes_max).await;
                    Answer::Snapshot(ticket, page.map_err(|error| store_refusal(&error)))
                }));
            }
            Effect::LoadSymbols { ticket, filter, count, catches_up } => {
                self.loading = Some(Box::pin(async move {
                    if catches_up && let Err(error) = database.changelog.catch_up(&filter).await {
                        return Answer::Symbols(ticket, Err(store_refusal(&error)));
                    }
                    let page = database.changelog.symbols(&filter, count).await;
                    Answer::Symbols(ticket, page.map_err(|error| store_refusal(&error)))
                }));
            }
            Effect::LoadDocuments { ticket, sought } => {
                self.loading =
                    Some(Box::pin(async move { Answer::Documents(ticket, sought::load(&database, sought).await) }));
            }
            Effect::Watch(filter) => {
                place.watched = filter;
                self.watch(place);
                let (head, floor) = (database.changelog.head(), database.changelog.floor());
                self.session.handle_head(self.app.clock.now_ms(), head, floor);
            }
            other @ (Effect::Send(_) | Effect::Open(_) | Effect::Close { .. }) => self.carry_out(other),
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Send(frame) => {
                let message = self.coding.message(frame);
                add(&self.app.metrics.frames_out, 1);
                add_len(&self.app.metrics.bytes_out, message.len());
                self.transport.push(message);
            }
            Effect::Close { code, reason } => {
                if code == ErrorCode::SlowConsumer {
                    add(&self.app.metrics.slow_consumers, 1);
                }
                tracing::debug!(code = code.name(), %reason, "session closed");
                self.closing = Some((code, reason));
            }
            Effect::Open(_)
            | Effect::Authenticate(_)
            | Effect::Process(_)
            | Effect::LoadChanges { .. }
            | Effect::LoadSnapshot { .. }
            | Effect::LoadSymbols { .. }
            | Effect::LoadDocuments { .. }
            | Effect::Watch(_) => {}
        }
    }

    /// Ends the session when the store is in another epoch than the client was told: what the store lacks now was not deleted, and the
    /// client has to know that before it hears of it. Whether it is so.
    fn is_set_back(&mut self, place: &Place<'_>) -> bool {
        let is_set_back = place.database.store.epoch() != place.epoch;
        if is_set_back {
            let message = "the store was set back; connect again";
            self.session.handle_end(&Refusal::new(ErrorCode::SessionEnded, message));
        }
        is_set_back
    }

    fn answer(&mut self, place: &mut Place<'_>, answer: Answer) {
        if self.is_set_back(place) {
            return;
        }
        let now_ms = self.app.clock.now_ms();
        match answer {
            Answer::Opened(_) => {}
            Answer::Granted(answer) => {
                let grant = answer.map(|(grant, identity)| {
                    // A token of another subject ends the session before anything is done in its name.
                    if identity.subject == place.caller.identity.subject {
                        place.caller.identity = identity;
                        place.caller.filter = Arc::clone(&grant.filter);
                    }
                    grant
                });
                self.session.handle_grant(now_ms, grant);
            }
            Answer::Access(identity, access) => self.access(place, &identity, access),
            Answer::Changes(ticket, page) => self.session.handle_changes(now_ms, ticket, page),
            Answer::Snapshot(ticket, page) => self.session.handle_snapshot(now_ms, ticket, page),
            Answer::Symbols(ticket, page) => self.session.handle_symbols(now_ms, ticket, page),
            Answer::Documents(ticket, page) => self.session.handle_documents(now_ms, ticket, page),
            Answer::Processed(results) => {
                for result in results {
                    self.session.handle_processed(now_ms, result);
                }
            }
        }
    }

    fn access(&mut self, place: &mut Place<'_>, identity: &Arc<Identity>, access: Result<Arc<Filter>, Refusal>) {
        if !Arc::ptr_eq(identity, &place.caller.identity) {
            // A fresh token came meanwhile.
            self.look_again = true;
            return;
        }
        match access {
            Ok(filter) => {
                place.caller.filter = Arc::clone(&filter);
                self.follow_grants(place);
                self.session.handle_access(self.app.clock.now_ms(), filter);
            }
            Err(refusal) => self.session.handle_end(&refusal),
        }
    }

    /// Hands over what the hub put into the mailbox.
    fn mail(&mut self, place: &Place<'_>) {
        while let Some(mail) = place.membership.take() {
            if self.is_set_back(place) {
                return;
            }
            let now_ms = self.app.clock.now_ms();
            match mail {
                Mail::Batch(since, batch) => {
                    self.look_again |= place.grants.as_ref().is_some_and(|grants| {
                        let concerns = |record: &Arc<ChangeRecord>| {
                            let collection = &record.id.collection;
                            grants.matches(collection, &record.channels) || grants.matches(collection, &record.left)
                        };
                        batch.records.iter().any(concerns)
                    });
                    self.session.handle_batch(now_ms, since, &batch);
                }
                Mail::Head => {
                    self.look_again |= place.grants.is_some();
                    let changelog = &place.database.changelog;
                    self.session.handle_head(now_ms, changelog.head(), changelog.floor());
                }
            }
        }
    }

    /// Returns whether the connection goes on.
    fn transport_event(&mut self, event: TransportEvent) -> bool {
        let now_ms = self.app.clock.now_ms();
        match event {
            TransportEvent::Message(bytes) => {
                add(&self.app.metrics.frames_in, 1);
                add_len(&self.app.metrics.bytes_in, bytes.len());
                let frame_bytes_max = self.app.options.limits.protocol.frame_bytes_max as usize;
                match self.coding.frame(&bytes, frame_bytes_max) {
                    Ok(frame) => self.session.handle_frame(now_ms, &frame),
                    Err(refusal) => self.session.handle_end(&refusal),
                }
            }
            TransportEvent::Text => {
                let refusal = Refusal::new(ErrorCode::Protocol, "frames are binary messages, not text");
                self.session.handle_end(&refusal);
            }
            TransportEvent::TooLarge => {
                let limit = self.app.options.limits.protocol.frame_bytes_max;
                let message = format!("a frame of more than {limit} bytes");
                self.session.handle_end(&Refusal::new(ErrorCode::TooLarge, message));
            }
            TransportEvent::Flushed => {}
            TransportEvent::Closed => return false,
        }
        true
    }

    fn reads(&self) -> bool {
        let queued_max = self.app.options.limits.slow_consumer_bytes_max as usize;
        self.session.wants_input() && self.transport.queued_bytes() <= queued_max
    }

    /// When the session has to be told the time, in milliseconds since 1970. A client that takes nothing at all is closed by force.
    fn deadline(&mut self) -> u64 {
        let now_ms = self.app.clock.now_ms();
        let stuck_ms_max = self.app.session_config.slow_consumer_ms_max;
        let mut stuck_at = None;
        if self.transport.is_writing() {
            let taken = self.transport.taken();
            match self.stuck_since {
                Some((since, before)) if before == taken => stuck_at = Some(since + stuck_ms_max),
                _ => {
                    self.stuck_since = Some((now_ms, taken));
                    self.session.handle_taken(now_ms);
                    stuck_at = Some(now_ms + stuck_ms_max);
                }
            }
        }
        if stuck_at.is_none() {
            self.stuck_since = None;
        }
        if stuck_at.is_some_and(|stuck_at| now_ms >= stuck_at) {
            let message = "the client takes nothing; resume from the cursor";
            self.session.handle_end(&Refusal::new(ErrorCode::SlowConsumer, message));
        }
        let due = [self.session.poll_timeout(), stuck_at].into_iter().flatten().min();
        let wait_ms = due.map_or(SLEEP_MS_MAX, |due| due.saturating_sub(now_ms));
        // A session that has just ended is looked at once more, at once.
        let wait_ms = if self.session.is_closed() { 0 } else { wait_ms.min(SLEEP_MS_MAX) };
        now_ms + wait_ms
    }

    /// Sends what is queued and the close frame, and waits for the peer to close, but not for long.
    async fn finish(mut self) {
        let (code, reason) = match &self.closing {
            Some((code, reason)) => (CLOSE_CODE_BASE + close_number(*code), reason.as_str()),
            None => (1_000, ""),
        };
        self.transport.push_close(code, reason);
        let limit = self.app.clock.now_ms() + CLOSE_MS_MAX;
        loop {
            tokio::select! {
                biased;
                event = next(&mut self.transport, true) => if matches!(event, TransportEvent::Closed) { return },
                () = self.app.clock.sleep_until(limit) => return,
            }
        }
    }
}

/// The number of an error code on the wire.
fn close_number(code: ErrorCode) -> u16 {
    let position = ErrorCode::ALL.iter().position(|known| *known == code);
    position.and_then(|position| u16::try_from(position).ok()).unwrap_or_default()
}

async fn next<T: Transport>(transport: &mut T, reads: bool) -> TransportEvent {
    poll_fn(|context| transport.poll_next(context, reads)).await
}

/// What is in force, once it is replaced.
async fn next_live(mut receiver: watch::Receiver<Arc<Live>>) -> (Arc<Live>, watch::Receiver<Arc<Live>>) {
    if receiver.changed().await.is_err() {
        // The app is gone, and with it who could replace anything.
        return pending().await;
    }
    let live = Arc::clone(&receiver.borrow_and_update());
    (live, receiver)
}

async fn answered(waiting: &mut Option<BoxFuture<'static, Answer>>) -> Answer {
    let Some(future) = waiting else { return pending().await };
    let answer = future.await;
    *waiting = None;
    answer
}

/// Verifies a hello.
async fn open(app: Arc<App>, hello: Hello) -> Answer {
    Answer::Opened(try_open(&app, hello).await.map(Box::new))
}

async fn try_open(app: &Arc<App>, hello: Hello) -> Result<Opened, Refusal> {
    let live = app.live.subscribe();
    let identity = app.authenticate(&hello.token)?;
    let database = Arc::clone(app.database(&hello.database)?);
    if hello.collections.len() > app.session_config.limits.channels_max as usize {
        return Err(Refusal::new(ErrorCode::TooLarge, "too many collections"));
    }
    let shape = database.shape();
    let collections = database.describe(&hello.collections);
    let record = database.store.client(hello.client, hello.incarnation).await.map_err(|error| store_refusal(&error))?;
    let session = app.session_id();
    let peer = app.enter(&identity.subject, hello.client, session)?;
    let grant = grant_of(&database, &identity).await?;
    let changelog = &database.changelog;
    let lost = hello.history.is_some_and(|(history, offset)| !changelog.holds(history, offset));
    let other = hello.restoring == Some(true) || hello.epoch.is_some_and(|epoch| epoch != database.store.epoch());
    let opening = Opening {
        brings_back: lost || other || hello.acknowledged > record.finished,
        session,
        epoch: database.store.epoch(),
        changelog: database.changelog.id(),
        head: database.changelog.head(),
        floor: database.changelog.floor(),
        finished: record.finished,
        history: changelog.history().map(|history| (history, lost)),
        grant,
        collections,
    };
    Ok(Opened { opening, database, identity: Arc::new(identity), peer, live, shape })
}

async fn grant(app: &App, database: &Database, token: &str) -> Result<(Grant, Arc<Identity>), Refusal> {
    let identity = app.authenticate(token)?;
    Ok((grant_of(database, &identity).await?, Arc::new(identity)))
}

async fn grant_of(database: &Database, identity: &Identity) -> Result<Grant, Refusal> {
    Ok(Grant {
        subject: identity.subject.clone(),
        expires_ms: identity.expires_ms,
        filter: database.access(identity).await?,
    })
}
