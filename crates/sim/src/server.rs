//! A server node: the real sessions over a store, one step of one session at a time, so that a scheduler can put anything in between.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tidelock_core::ids::{ChangelogId, ClientId, DocumentId, Offset, SessionId, Version};
use tidelock_core::server::{
    Batch, ChangePage, ChangeRecord, ChannelSet, DocumentPage, Effect, Filter, Grant, Opening, Refusal, Session,
    SessionConfig, SnapshotPage, Sought, Submission, SymbolPage,
};
use tidelock_core::wire::{CollectionInfo, ErrorCode, Hello, Policy};
use tidelock_store::{Changelog, MemoryStore, Segment, Store};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::TryRecvError;

use crate::pipeline::{self, Plan, ready};
use crate::random::Random;

/// Names a connection.
pub type LinkId = u64;

/// What a node does on the network.
#[derive(Clone, Debug)]
pub enum Output {
    /// Sends a message.
    Send(LinkId, Arc<[u8]>),
    /// Closes a connection after what was sent.
    Close(LinkId),
}

/// A node. Identities: a token is the subject; subject `NAME` may read every collection, or of a guarded one the rooms granted.
#[derive(Debug)]
pub struct Server {
    store: Arc<MemoryStore>,
    changelog: ChangelogId,
    policies: BTreeMap<String, Policy>,
    numbers: BTreeMap<String, u32>,
    grants: BTreeMap<String, Filter>,
    config: Arc<SessionConfig>,
    segments: broadcast::Receiver<Arc<Segment>>,
    seats: BTreeMap<LinkId, Seat>,
    sessions: u64,
    outputs: Vec<Output>,
}

#[derive(Debug)]
struct Seat {
    session: Session,
    id: SessionId,
    client: Option<ClientId>,
    subject: String,
    input: VecDeque<Vec<u8>>,
    jobs: VecDeque<Job>,
    submissions: VecDeque<Submission>,
    plan: Option<Plan>,
    watched: Arc<Filter>,
    since: Offset,
    mail: VecDeque<Arc<Batch>>,
}

#[derive(Debug)]
enum Job {
    Open(Box<Hello>),
    Grant,
    Head,
    LoadChanges { ticket: u64, from: Offset, filter: Arc<Filter>, bytes_max: usize },
    LoadSnapshot { ticket: u64, after: Option<DocumentId>, filter: Arc<Filter>, bytes_max: usize },
    Changes { ticket: u64, page: ChangePage },
    Snapshot { ticket: u64, page: SnapshotPage },
    LoadSymbols { ticket: u64, filter: Arc<Filter>, count: u32 },
    LoadDocuments { ticket: u64, sought: Sought },
    Symbols { ticket: u64, page: SymbolPage },
    Documents { ticket: u64, page: DocumentPage },
}

#[derive(Clone, Copy)]
enum Kind {
    Input,
    Job,
    Push,
    Mail,
}

impl Server {
    /// A node that serves `store` under a changelog identity of its own.
    pub fn new(
        store: Arc<MemoryStore>,
        changelog: ChangelogId,
        policies: BTreeMap<String, Policy>,
        config: SessionConfig,
        first_session: u64,
    ) -> Self {
        let numbers = policies.keys().cloned().zip(0..).collect();
        if store.id() != changelog {
            store.rename_changelog(changelog);
        }
        let segments = store.subscribe();
        Self {
            store,
            changelog,
            policies,
            numbers,
            grants: BTreeMap::new(),
            config: Arc::new(config),
            segments,
            seats: BTreeMap::new(),
            sessions: first_session,
            outputs: Vec::new(),
        }
    }

    /// The store.
    pub fn store(&self) -> &Arc<MemoryStore> {
        &self.store
    }

    /// Identity of the changelog.
    pub fn changelog(&self) -> ChangelogId {
        self.changelog
    }

    /// Number of the last session.
    pub fn last_session(&self) -> u64 {
        self.sessions
    }

    /// What the node does on the network, in order.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// What a subject may read; everything when nothing was granted.
    pub fn filter_of(&self, subject: &str) -> Filter {
        let everything =
            || Filter { collections: self.policies.keys().map(|c| (c.clone(), ChannelSet::All)).collect() };
        self.grants.get(subject).cloned().unwrap_or_else(everything)
    }

    /// Changes what a subject may read; its live sessions are told.
    pub fn grant(&mut self, subject: &str, filter: Filter) {
        self.grants.insert(subject.to_owned(), filter);
        for seat in self.seats.values_mut().filter(|seat| seat.subject == subject) {
            seat.jobs.push_back(Job::Grant);
        }
    }

    /// A connection was accepted.
    pub fn connected(&mut self, link: LinkId, now_ms: u64) {
        self.sessions += 1;
        let seat = Seat {
            session: Session::new(now_ms, Arc::clone(&self.config)),
            id: SessionId(self.sessions),
            client: None,
            subject: String::new(),
            input: VecDeque::new(),
            jobs: VecDeque::new(),
            submissions: VecDeque::new(),
            plan: None,
            watched: Arc::default(),
            since: Offset(0),
            mail: VecDeque::new(),
        };
        self.seats.insert(link, seat);
    }

    /// A connection is gone.
    pub fn disconnected(&mut self, link: LinkId) {
        self.seats.remove(&link);
    }

    /// A message arrived.
    pub fn message(&mut self, link: LinkId, bytes: Vec<u8>) {
        if let Some(seat) = self.seats.get_mut(&link) {
            seat.input.push_back(bytes);
        }
    }

    /// When [`tick`](Self::tick) is due.
    pub fn next_timeout_ms(&self, link: LinkId) -> Option<u64> {
        self.seats.get(&link)?.session.poll_timeout()
    }

    /// Time has passed for a session.
    pub fn tick(&mut self, link: LinkId, now_ms: u64) {
        if let Some(seat) = self.seats.get_mut(&link) {
            seat.session.handle_tick(now_ms);
        }
        self.drain(link, now_ms);
    }

    /// Whether a session has something to do.
    pub fn has_work(&self, link: LinkId) -> bool {
        self.seats.get(&link).is_some_and(|seat| !seat.kinds().is_empty())
    }

    /// The connections that have something to do.
    pub fn busy(&self) -> Vec<LinkId> {
        self.seats.iter().filter(|(_, seat)| !seat.kinds().is_empty()).map(|(link, _)| *link).collect()
    }

    /// Does one thing of a session.
    pub fn work(&mut self, link: LinkId, now_ms: u64, random: &mut Random) {
        let Some(kind) = self.seats.get(&link).and_then(|seat| random.pick(&seat.kinds()).copied()) else { return };
        match kind {
            Kind::Input => self.read_input(link, now_ms),
            Kind::Job => self.do_job(link, now_ms),
            Kind::Push => self.do_push(link, now_ms),
            Kind::Mail => self.read_mail(link, now_ms),
        }
        self.drain(link, now_ms);
        self.fan_out();
    }

    fn read_input(&mut self, link: LinkId, now_ms: u64) {
        let head = self.store.head();
        let Some(seat) = self.seats.get_mut(&link) else { return };
        let Some(bytes) = seat.input.pop_front() else { return };
        if seat.mail.is_empty() && *seat.watched != Filter::default() {
            seat.session.handle_quiet(seat.since, head);
        }
        seat.session.handle_frame(now_ms, &bytes);
    }

    fn do_job(&mut self, link: LinkId, now_ms: u64) {
        let Some(job) = self.seats.get_mut(&link).and_then(|seat| seat.jobs.pop_front()) else { return };
        match job {
            Job::Open(hello) => self.open(link, &hello, now_ms),
            Job::Grant => {
                let grant = self.seats.get(&link).map(|seat| self.grant_of(&seat.subject));
                if let (Some(grant), Some(seat)) = (grant, self.seats.get_mut(&link)) {
                    seat.session.handle_grant(now_ms, Ok(grant));
                }
            }
            Job::Head => {
                let (head, floor) = (self.store.head(), self.store.floor());
                self.with(link, |seat| seat.session.handle_head(now_ms, head, floor));
            }
            Job::LoadChanges { ticket, from, filter, bytes_max } => {
                let page = ready(self.store.changes(from, &filter, bytes_max)).expect("the memory store answers");
                self.with(link, |seat| seat.jobs.push_front(Job::Changes { ticket, page }));
            }
            Job::LoadSnapshot { ticket, after, filter, bytes_max } => {
                let page = ready(self.store.snapshot(after.as_ref(), &filter, bytes_max));
                let page = page.expect("the memory store answers");
                self.with(link, |seat| seat.jobs.push_front(Job::Snapshot { ticket, page }));
            }
            Job::Changes { ticket, page } => {
                self.with(link, |seat| seat.session.handle_changes(now_ms, ticket, Ok(page)));
            }
            Job::Snapshot { ticket, page } => {
                self.with(link, |seat| seat.session.handle_snapshot(now_ms, ticket, Ok(page)));
            }
            Job::LoadSymbols { ticket, filter, count } => {
                let page = ready(self.store.symbols(&filter, count)).expect("the memory store answers");
                self.with(link, |seat| seat.jobs.push_front(Job::Symbols { ticket, page }));
            }
            Job::LoadDocuments { ticket, sought } => {
                let page = self.sought(sought);
                self.with(link, |seat| seat.jobs.push_front(Job::Documents { ticket, page }));
            }
            Job::Symbols { ticket, page } => {
                self.with(link, |seat| seat.session.handle_symbols(now_ms, ticket, Ok(page)));
            }
            Job::Documents { ticket, page } => {
                self.with(link, |seat| seat.session.handle_documents(now_ms, ticket, Ok(page)));
            }
        }
    }

    fn sought(&self, sought: Sought) -> DocumentPage {
        let ids = match sought {
            Sought::Items(items) => ready(self.store.items(&items)).expect("the memory store answers"),
            Sought::Named(ids) => ids,
        };
        let set = ready(self.store.read(&ids)).expect("the memory store answers");
        let records = ids.into_iter().zip(set.documents).map(|(id, document)| ChangeRecord {
            offset: set.offset,
            id,
            version: document.as_ref().map_or(Version::ABSENT, |found| found.version),
            channels: document.as_ref().map_or_else(Vec::new, |found| pipeline::channels_of(&found.body)),
            body: document.map(|found| found.body),
            left: Vec::new(),
            session: SessionId(0),
        });
        DocumentPage { records: records.collect() }
    }

    fn open(&mut self, link: LinkId, hello: &Hello, now_ms: u64) {
        let others = self.seats.iter().filter(|(other, seat)| **other != link && seat.client == Some(hello.client));
        for other in others.map(|(other, _)| *other).collect::<Vec<_>>() {
            let refusal = Refusal::new(ErrorCode::SessionEnded, "a later session of this client");
            self.with(other, |seat| seat.session.handle_end(&refusal));
            self.drain(other, now_ms);
        }
        let finished = ready(self.store.client(hello.client, hello.incarnation)).expect("the memory store answers");
        let offered = self.policies.iter().filter(|(name, _)| hello.collections.contains(name));
        let collections = offered.filter_map(|(name, policy)| {
            let number = *self.numbers.get(name)?;
            Some(CollectionInfo { number, name: name.clone(), policy: policy.clone() })
        });
        let mut opening = Opening {
            session: SessionId(0),
            epoch: self.store.epoch(),
            changelog: self.changelog,
            head: self.store.head(),
            floor: self.store.floor(),
            finished: finished.finished,
            grant: self.grant_of(&hello.token),
            collections: collections.collect(),
        };
        self.with(link, |seat| {
            seat.client = Some(hello.client);
            seat.subject.clone_from(&hello.token);
            opening.session = seat.id;
            seat.session.handle_opening(now_ms, Ok(opening));
        });
    }

    fn do_push(&mut self, link: LinkId, now_ms: u64) {
        let Some(reader) = self.seats.get(&link).map(|seat| self.filter_of(&seat.subject)) else { return };
        let Some(seat) = self.seats.get_mut(&link) else { return };
        let Some(submission) = seat.submissions.front() else { return };
        let Some(plan) = seat.plan.take() else {
            seat.plan = Some(pipeline::plan(&*self.store, &self.policies, submission, &reader, seat.id, now_ms));
            return;
        };
        let Some(processed) = pipeline::commit(&*self.store, plan, submission, &reader) else { return };
        seat.submissions.pop_front();
        let answer = processed.map_err(|message| Refusal::new(ErrorCode::OutOfOrder, message));
        seat.session.handle_processed(now_ms, answer);
    }

    fn read_mail(&mut self, link: LinkId, now_ms: u64) {
        self.with(link, |seat| {
            let Some(batch) = seat.mail.pop_front() else { return };
            let since = std::mem::replace(&mut seat.since, batch.to);
            seat.session.handle_batch(now_ms, since, &batch);
        });
    }

    fn with(&mut self, link: LinkId, act: impl FnOnce(&mut Seat)) {
        if let Some(seat) = self.seats.get_mut(&link) {
            act(seat);
        }
    }

    fn grant_of(&self, subject: &str) -> Grant {
        Grant { subject: subject.to_owned(), expires_ms: None, filter: Arc::new(self.filter_of(subject)) }
    }

    /// Carries out what the session asks for.
    fn drain(&mut self, link: LinkId, _now_ms: u64) {
        let head = self.store.head();
        let Some(seat) = self.seats.get_mut(&link) else { return };
        let mut closed = false;
        while let Some(effect) = seat.session.poll_effect() {
            match effect {
                Effect::Send(frame) => self.outputs.push(Output::Send(link, frame.frame.as_slice().into())),
                Effect::Open(hello) => seat.jobs.push_back(Job::Open(hello)),
                Effect::Authenticate(_) => seat.jobs.push_back(Job::Grant),
                Effect::Process(submission) => seat.submissions.push_back(*submission),
                Effect::LoadChanges { ticket, from, filter, bytes_max } => {
                    seat.jobs.push_back(Job::LoadChanges { ticket, from, filter, bytes_max });
                }
                Effect::LoadSnapshot { ticket, after, filter, bytes_max } => {
                    seat.jobs.push_back(Job::LoadSnapshot { ticket, after, filter, bytes_max });
                }
                Effect::LoadSymbols { ticket, filter, count } => {
                    seat.jobs.push_back(Job::LoadSymbols { ticket, filter, count });
                }
                Effect::LoadDocuments { ticket, sought } => seat.jobs.push_back(Job::LoadDocuments { ticket, sought }),
                Effect::Watch(filter) => {
                    seat.watched = filter;
                    seat.since = head;
                    seat.mail.clear();
                    seat.jobs.push_back(Job::Head);
                }
                Effect::Close { .. } => closed = true,
            }
        }
        if closed {
            self.seats.remove(&link);
            self.outputs.push(Output::Close(link));
        }
    }

    /// Hands commits to the sessions that watch them.
    fn fan_out(&mut self) {
        loop {
            match self.segments.try_recv() {
                Ok(segment) => {
                    let batch = Arc::new(Batch::new(segment.from, segment.to, segment.records.clone(), &self.numbers));
                    for seat in self.seats.values_mut().filter(|seat| seat.watches(&segment)) {
                        seat.mail.push_back(Arc::clone(&batch));
                    }
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
                Err(TryRecvError::Lagged(_)) => {
                    let head = self.store.head();
                    for seat in self.seats.values_mut() {
                        seat.mail.clear();
                        seat.since = head;
                        seat.jobs.push_back(Job::Head);
                    }
                }
            }
        }
    }
}

impl Seat {
    fn kinds(&self) -> Vec<Kind> {
        let mut kinds = Vec::new();
        if !self.input.is_empty() && self.session.wants_input() {
            kinds.push(Kind::Input);
        }
        if !self.jobs.is_empty() {
            kinds.push(Kind::Job);
        }
        if !self.submissions.is_empty() {
            kinds.push(Kind::Push);
        }
        if !self.mail.is_empty() {
            kinds.push(Kind::Mail);
        }
        kinds
    }

    fn watches(&self, segment: &Segment) -> bool {
        segment.records.iter().any(|record| {
            let channels: BTreeSet<&String> = record.channels.iter().chain(&record.left).collect();
            let channels: Vec<String> = channels.into_iter().cloned().collect();
            self.watched.matches(&record.id.collection, &channels)
        })
    }
}
