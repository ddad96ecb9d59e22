//! A client over the model database, and a server that is the test itself.

use serde_json::Value;
use tidelock_core::client::storage::{Row, StorageFailure};
use tidelock_core::client::{Client, Config, Event, Kept};
use tidelock_core::ids::{ChangelogId, Epoch, History, Offset, Sequence, SessionId, SubscriptionId};
use tidelock_core::limits::Limits;
use tidelock_core::version;
use tidelock_core::wire::{
    Change, ChangeKind, Changes, ClientFrame, CollectionInfo, Columns, Hello, Outcome, Policy, Purge, Push, PushResult,
    ServerFrame, Snapshot, Subscribe, Welcome, decode, encode, pack, unpack,
};
use tidelock_sim::application::{AppTransaction, write};
use tidelock_sim::{Host, ModelDatabase, Request};

pub(crate) const LOG: ChangelogId = ChangelogId(9);
pub(crate) const COLLECTIONS: [&str; 2] = ["cards", "lists"];

pub(crate) struct Script {
    pub(crate) database: ModelDatabase,
    pub(crate) host: Host,
    pub(crate) now_ms: u64,
    pub(crate) sent: Vec<ClientFrame>,
    pub(crate) events: Vec<Event>,
    pub(crate) connects: u32,
    pub(crate) disconnects: u32,
    pub(crate) policies: [Policy; 2],
    pub(crate) limits: Limits,
    /// Of the node that the client reaches.
    pub(crate) changelog: ChangelogId,
    pub(crate) floor: Offset,
    /// The collections that the server has.
    pub(crate) offered: Vec<&'static str>,
    /// The effective channels.
    pub(crate) labels: Vec<String>,
    pub(crate) epoch: Epoch,
    /// History of the store, and whether it does not hold what the client was told.
    pub(crate) history: Option<(History, bool)>,
    writes: u32,
    /// The last mutation of which a result was given.
    finished: u64,
}

fn config() -> Config {
    Config {
        database: "main".into(),
        collections: COLLECTIONS.map(String::from).to_vec(),
        channels: None,
        resolver: true,
        offline: false,
        kept: Kept::default(),
    }
}

impl Script {
    /// A client that has loaded its state and waits for its connection.
    pub(crate) fn new() -> Self {
        Self::over(ModelDatabase::new())
    }

    pub(crate) fn over(database: ModelDatabase) -> Self {
        Self::configured(database, config())
    }

    /// A live client that forgets what is acknowledged.
    pub(crate) fn keeping_nothing() -> Self {
        Self::caught_up(Self::configured(ModelDatabase::new(), Config { kept: Kept { ms: 0, bytes: 0 }, ..config() }))
    }

    fn configured(database: ModelDatabase, config: Config) -> Self {
        let mut script = Self {
            database,
            host: Host::new(config, 1, 1_000),
            now_ms: 1_000,
            sent: Vec::new(),
            events: Vec::new(),
            connects: 0,
            disconnects: 0,
            policies: [Policy::default(), Policy::default()],
            limits: Limits::default(),
            changelog: LOG,
            floor: Offset(0),
            offered: COLLECTIONS.to_vec(),
            labels: COLLECTIONS.map(String::from).to_vec(),
            epoch: Epoch(1),
            history: Some((History(1), false)),
            writes: 0,
            finished: 0,
        };
        script.run();
        script
    }

    /// A connected client without documents, caught up.
    pub(crate) fn live() -> Self {
        Self::caught_up(Self::new())
    }

    fn caught_up(mut script: Self) -> Self {
        script.connect(0);
        script.snapshot(0, None, None, &[]);
        script.changes(0, 0, &[]);
        script.sent.clear();
        script
    }

    /// The browser is started again over what is stored.
    pub(crate) fn restart(&mut self) {
        self.database.crash(|relaxed| relaxed);
        self.host = Host::new(config(), 2, self.now_ms);
        self.sent.clear();
        self.run();
    }

    /// Does what there is to do.
    pub(crate) fn run(&mut self) {
        self.host.run(&mut self.database, self.now_ms);
        for request in self.host.take_requests() {
            match request {
                Request::Connect => self.connects += 1,
                Request::Disconnect => self.disconnects += 1,
                Request::Send(bytes) => self.sent.push(decode(&bytes).expect("the client sends frames")),
                Request::Event(event) => self.events.push(event),
            }
        }
    }

    pub(crate) fn tell(&mut self, call: impl FnOnce(&mut Client, u64)) {
        let now = self.now_ms;
        self.host.tell(|client| call(client, now));
        self.run();
    }

    /// Time passes up to the client's next timeout.
    pub(crate) fn wait(&mut self) -> u64 {
        let at = self.host.client().next_timeout_ms().expect("there is a timeout");
        let waited = at.saturating_sub(self.now_ms);
        self.now_ms = at.max(self.now_ms);
        self.tell(Client::handle_timeout);
        waited
    }

    /// A server that has finished so many mutations, and all that it gave results of.
    pub(crate) fn connect(&mut self, finished: u64) {
        self.connect_set_back(finished.max(self.finished));
    }

    /// A server that has finished so many mutations and no more, whatever it said before.
    pub(crate) fn connect_set_back(&mut self, finished: u64) {
        self.tell(|client, now| client.handle_connected(now, "token"));
        let welcome = self.welcome(finished);
        self.receive(&welcome);
    }

    /// The storage fails under the first task of the session.
    pub(crate) fn connect_failing(&mut self, finished: u64, failure: StorageFailure) {
        self.tell(|client, now| client.handle_connected(now, "token"));
        let (bytes, now) = (encode(&self.welcome(finished)), self.now_ms);
        self.host.tell(|client| client.handle_message(now, &bytes));
        self.fail_task(failure);
        self.run();
    }

    fn welcome(&self, finished: u64) -> ServerFrame {
        let collections = COLLECTIONS.iter().zip(&self.policies).zip(0..);
        let collections = collections
            .filter(|((name, _), _)| self.offered.contains(name))
            .map(|((name, policy), number)| CollectionInfo { number, name: (*name).into(), policy: policy.clone() })
            .collect();
        ServerFrame::Welcome(Welcome {
            protocol: 1,
            session: SessionId(1),
            epoch: self.epoch,
            changelog: self.changelog,
            finished: Sequence(finished),
            limits: self.limits,
            collections,
            subject: "ann".into(),
            now_ms: 0,
            floor: self.floor,
            history: self.history,
        })
    }

    pub(crate) fn disconnect(&mut self) {
        self.tell(|client, now| client.handle_disconnected(now, "gone"));
    }

    pub(crate) fn receive(&mut self, frame: &ServerFrame) {
        let bytes = encode(frame);
        self.tell(|client, now| client.handle_message(now, &bytes));
    }

    /// Items are (offset, "collection/key", JSON; "" deletes, "same:JSON" confirms).
    pub(crate) fn changes(&mut self, from: u64, to: u64, items: &[(u64, &str, &str)]) {
        self.receive(&ServerFrame::Changes(Changes {
            changelog: self.changelog,
            subscriptions: vec![SubscriptionId(1)],
            from: Offset(from),
            to: Offset(to),
            last: true,
            changes: columns(items),
            more: false,
        }));
    }

    pub(crate) fn snapshot(
        &mut self,
        offset: u64,
        after: Option<(&str, &str)>,
        through: Option<(&str, &str)>,
        items: &[(u64, &str, &str)],
    ) {
        let pair = |bound: Option<(&str, &str)>| bound.map(|(collection, key)| (collection.into(), key.into()));
        self.receive(&ServerFrame::Snapshot(Snapshot {
            changelog: self.changelog,
            subscription: SubscriptionId(1),
            offset: Offset(offset),
            after: pair(after),
            through: pair(through),
            changes: columns(items),
            channels: self.labels.clone(),
        }));
    }

    /// Cards that were found outside the channels at `offset`.
    pub(crate) fn purge(&mut self, offset: u64, keys: &[&str]) {
        let documents = vec![(0, keys.iter().map(|key| (*key).to_owned()).collect())];
        self.receive(&ServerFrame::Purge(Purge {
            subscription: SubscriptionId(1),
            documents,
            channels: vec![],
            offset: Offset(offset),
        }));
    }

    pub(crate) fn result(&mut self, sequence: u64, offset: u64, outcome: Outcome) {
        self.finished = sequence.max(self.finished);
        let result = PushResult { sequence: Sequence(sequence), offset: Offset(offset), outcome };
        self.receive(&ServerFrame::Result(result));
    }

    /// One transaction of the application; the client is told.
    pub(crate) fn write(&mut self, body: impl FnOnce(&mut AppTransaction<'_>)) {
        self.write_unseen(body);
        self.tell(Client::handle_captured);
    }

    /// One transaction of the application that the client is not told of.
    pub(crate) fn write_unseen(&mut self, body: impl FnOnce(&mut AppTransaction<'_>)) {
        self.writes += 1;
        let name = format!("t{}", 1_000 - self.writes);
        write(&mut self.database, &name, self.now_ms, true, body).expect("no task runs");
    }

    pub(crate) fn fail_task(&mut self, failure: StorageFailure) {
        self.host.fail(&mut self.database, self.now_ms, failure);
    }

    /// The row "collection/key"; `None` when there is none.
    pub(crate) fn row(&self, id: &str) -> Option<Value> {
        let (collection, key) = id.split_once('/').expect("collection/key");
        match self.database.row(collection, key) {
            Row::Absent => None,
            Row::Json(json) => Some(serde_json::from_slice(&json).expect("rows are JSON")),
            Row::Unsupported(reason) => panic!("{reason}"),
        }
    }

    /// Confirmed documents as "collection/key".
    pub(crate) fn confirmed(&self) -> Vec<String> {
        let pages = self.database.shadow().flat_map(|(page, bytes)| {
            let documents = tidelock_core::client::shadow_documents(bytes).expect("pages are readable");
            documents.into_iter().map(|(key, ..)| format!("{}/{key}", page.collection)).collect::<Vec<_>>()
        });
        pages.collect()
    }

    /// The pushes sent since the last call.
    pub(crate) fn pushes(&mut self) -> Vec<Push> {
        let mut pushes = Vec::new();
        for frame in std::mem::take(&mut self.sent) {
            match frame {
                ClientFrame::Push(push) => pushes.push(push),
                ClientFrame::Pushes(packed) => pushes.extend(unpack::<Push>(&packed).expect("pushes")),
                ClientFrame::Hello(_)
                | ClientFrame::Subscribe(_)
                | ClientFrame::Unsubscribe(_)
                | ClientFrame::Credit(_)
                | ClientFrame::Ping(_)
                | ClientFrame::Auth(_)
                | ClientFrame::MoreSymbols(_)
                | ClientFrame::Difference(_) => {}
            }
        }
        pushes
    }

    /// Sequences of the pushes sent since the last call.
    pub(crate) fn sequences(&mut self) -> Vec<u64> {
        self.pushes().iter().map(|push| push.sequence.0).collect()
    }

    pub(crate) fn hello(&self) -> &Hello {
        let hello =
            self.sent.iter().rev().find_map(|frame| if let ClientFrame::Hello(h) = frame { Some(h) } else { None });
        hello.expect("a hello was sent")
    }

    pub(crate) fn subscribe(&self) -> &Subscribe {
        let found =
            self.sent.iter().rev().find_map(|frame| if let ClientFrame::Subscribe(s) = frame { Some(s) } else { None });
        found.expect("a subscription was sent")
    }
}

pub(crate) fn columns(items: &[(u64, &str, &str)]) -> Columns {
    let version = |json: &str| version::of_body(json.as_bytes()).expect("valid JSON");
    let change = |(offset, id, json): &(u64, &str, &str)| {
        let (collection, key) = id.split_once('/').expect("collection/key");
        let (number, _) = (0..).zip(COLLECTIONS).find(|(_, name)| *name == collection).expect("a known collection");
        let kind = match (*json, json.strip_prefix("same:")) {
            ("", _) => ChangeKind::Delete,
            (_, Some(json)) => ChangeKind::Same(version(json)),
            (json, None) => ChangeKind::Put(version(json), json.as_bytes().to_vec()),
        };
        Change { offset: Offset(*offset), collection: number, key: key.into(), kind }
    };
    pack(&items.iter().map(change).collect::<Vec<_>>())
}
