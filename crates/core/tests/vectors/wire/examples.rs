//! One example of every frame and variant.

use tidelock_core::ids::{
    ChangelogId, ClientId, DocumentId, Epoch, History, Incarnation, Offset, Sequence, SessionId, SubscriptionId,
    Version,
};
use tidelock_core::limits::Limits;
use tidelock_core::version;
use tidelock_core::wire::{
    Auth, Change, ChangeKind, Changes, ClientFrame, CollectionInfo, Columns, ConflictNote, Credit, Cursor,
    DeletePolicy, Difference, DocumentChange, DocumentPolicy, DocumentState, ErrorCode, ErrorFrame, FieldPatch,
    FieldStrategy, Hello, MoreSymbols, Operation, Outcome, Packed, Ping, Policy, Pong, Purge, Push, PushResult,
    Reconciled, Restart, ServerFrame, Snapshot, Subscribe, Symbols, Unsubscribe, Welcome, encode, pack,
};

/// Stops compiling when an enum gets a variant, and says how many it has.
macro_rules! count {
    ($type:ident: $($variant:pat),* $(,)?) => {{
        let _exhaustive = |value: &$type| match value { $($variant => (),)* };
        [$(stringify!($variant)),*].len()
    }};
}

fn id(key: &str) -> DocumentId {
    DocumentId::new("cards", key)
}

fn body(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn named<T>(kind: &str, examples: Vec<T>, count: usize) -> Vec<(String, T)> {
    assert!(examples.len() >= count, "an example of every {kind}");
    examples.into_iter().enumerate().map(|(number, example)| (format!("{kind} {number}"), example)).collect()
}

fn operations() -> Vec<Operation> {
    let patch = |path: &[&str], base: Option<&str>, value: Option<&str>| FieldPatch {
        path: strings(path),
        base: base.map(body),
        value: value.map(body),
    };
    let operations = vec![
        Operation::Put(body(r#"{"title":"Milk"}"#)),
        Operation::Delete,
        Operation::Patch(vec![
            patch(&["title"], Some("\"Milk\""), Some("\"Oat milk\"")),
            patch(&["label", "due"], None, Some("1")),
            patch(&["done"], Some("false"), None),
            patch(&[], Some("{}"), Some("[]")),
        ]),
        Operation::Offer(body("[1]")),
    ];
    assert_eq!(
        operations.len(),
        count!(Operation: Operation::Put(_), Operation::Delete, Operation::Patch(_), Operation::Offer(_))
    );
    operations
}

fn push(sequence: u64) -> Push {
    let change = |(number, operation): (usize, Operation)| DocumentChange {
        id: id(&format!("card-{number}")),
        base: Version(number as u64 * 0x1122_3344_5566_7788),
        operation,
        whole: None,
    };
    Push {
        sequence: Sequence(sequence),
        acknowledged: Sequence(sequence / 2),
        edited_ms: 1_700_000_000_000,
        changes: operations().into_iter().enumerate().map(change).collect(),
        more: sequence.is_multiple_of(2),
        before: sequence.is_multiple_of(3).then_some(true),
    }
}

fn subscribe(cursor: Option<Cursor>) -> Subscribe {
    Subscribe {
        id: SubscriptionId(1),
        collections: strings(&["cards", "lists"]),
        channels: cursor.as_ref().map(|_| strings(&["user:ann"])),
        have: cursor.as_ref().map(|_| vec![1, 2, 3, 4, 5, 6, 7, 8]).unwrap_or_default(),
        cursor,
        held: strings(&["list:42"]),
        reconcile: None,
    }
}

pub(super) fn client() -> Vec<(String, ClientFrame)> {
    let hello = |epoch| Hello {
        protocol: 1,
        protocol_min: 1,
        database: "board".to_owned(),
        token: "header.payload.signature".to_owned(),
        client: ClientId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]),
        incarnation: Incarnation(u64::MAX),
        acknowledged: Sequence(7),
        epoch,
        credit_bytes: 4 << 20,
        collections: strings(&["cards", "lists"]),
        history: epoch.map(|epoch| (History(epoch.0 + 1), Offset(70_000))),
        restoring: epoch.map(|_| true),
    };
    let cursor = |snapshot| Cursor { changelog: ChangelogId(9), offset: Offset(70_000), snapshot };
    let frames = vec![
        ClientFrame::Hello(hello(None)),
        ClientFrame::Hello(hello(Some(Epoch(3)))),
        ClientFrame::Subscribe(subscribe(None)),
        ClientFrame::Subscribe(subscribe(Some(cursor(None)))),
        ClientFrame::Subscribe(subscribe(Some(cursor(Some(("cards".to_owned(), "~n1".to_owned())))))),
        ClientFrame::Unsubscribe(Unsubscribe { id: SubscriptionId(24) }),
        ClientFrame::Push(push(1)),
        ClientFrame::Push(push(2)),
        ClientFrame::Credit(Credit { bytes: 65_536 }),
        ClientFrame::Ping(Ping { nonce: 0 }),
        ClientFrame::Auth(Auth { token: "token".to_owned() }),
        ClientFrame::Pushes(Packed([encode(&push(3)), encode(&push(4))].concat())),
        ClientFrame::Subscribe(Subscribe { reconcile: Some((3, 320)), ..subscribe(None) }),
        ClientFrame::MoreSymbols(MoreSymbols { subscription: SubscriptionId(1), round: 3, first: 320, until: 9_000 }),
        ClientFrame::Difference(Difference {
            subscription: SubscriptionId(1),
            round: 3,
            lacks: vec![1, 2, 3, 4, 5, 6, 7, 8, 255, 254, 253, 252, 251, 250, 249, 248],
            only: Packed([encode(&(0_u32, "a".to_owned())), encode(&(2_u32, "~n1".to_owned()))].concat()),
            more: false,
        }),
    ];
    let variants = count!(ClientFrame: ClientFrame::Hello(_), ClientFrame::Subscribe(_), ClientFrame::Unsubscribe(_),
        ClientFrame::Push(_), ClientFrame::Credit(_), ClientFrame::Ping(_), ClientFrame::Auth(_), ClientFrame::Pushes(_),
        ClientFrame::MoreSymbols(_), ClientFrame::Difference(_));
    named("client frame", frames, variants)
}

fn put(key: &str, text: &str) -> Change {
    let kind = ChangeKind::Put(version::of_body(text.as_bytes()).unwrap(), body(text));
    Change { offset: Offset(300), collection: 0, key: key.to_owned(), kind }
}

/// One change of each kind.
fn kinds() -> Vec<Change> {
    let text = "{\"title\":\"Süß\"}";
    let kinds = vec![
        ChangeKind::Put(version::of_body(text.as_bytes()).unwrap(), body(text)),
        ChangeKind::Delete,
        ChangeKind::Leave,
        ChangeKind::Same(Version(0xfedc_ba98_7654_3210)),
    ];
    let variants = count!(ChangeKind: ChangeKind::Put(..), ChangeKind::Delete, ChangeKind::Leave, ChangeKind::Same(_));
    assert_eq!(kinds.len(), variants);
    let change = |(number, kind): (u64, ChangeKind)| Change {
        offset: Offset(256 + number * 1_000),
        collection: 2,
        key: format!("~a[\"x\",\"~n{number}\"]"),
        kind,
    };
    (0..).zip(kinds).map(change).collect()
}

/// Batches of changes, in the order of the file.
pub(super) fn batches() -> Vec<(&'static str, Vec<Change>)> {
    let mut falling = kinds();
    falling.reverse();
    vec![
        ("no change", Vec::new()),
        ("one document", vec![put("a1", r#"{"id":"a1","votes":3}"#)]),
        ("every kind", kinds()),
        ("falling offsets", falling),
        (
            "two of one shape, whose member `id` is the key, and one of another",
            vec![
                put("card-17", r#"{"id":"card-17","list":"todo","labels":["x",{"y":"}"}],"votes":0}"#),
                put("card-18", r#"{"id":"card-18","list":"to \"do\"","labels":[],"votes":-1.5e3}"#),
                put("card-2", r#"{"id":"card-2"}"#),
            ],
        ),
        (
            "two shapes, one of them with spaces, and keys that share a part of a character",
            vec![
                put("ä", r#"{"a":1,"b":null}"#),
                put("å", r#"{ "a" : true , "b" : "\\" }"#),
                put("åä", r#"{"a":{},"b":[{"a":2}]}"#),
                put("åå", r#"{ "a" : 2 , "b" : "" }"#),
            ],
        ),
        (
            "documents that are no objects, or empty",
            vec![put("a", "[1,2]"), put("b", "[1,2]"), put("c", "{}"), put("d", "\"d\"")],
        ),
    ]
}

fn state(number: u64) -> DocumentState {
    let exists = number > 0;
    DocumentState {
        id: id(&number.to_string()),
        version: Version(number),
        body: exists.then(|| body("{\"a\":9007199254740993}")),
    }
}

fn outcomes() -> Vec<Outcome> {
    let note = ConflictNote {
        id: id("card-7"),
        path: strings(&["items", "3", "title"]),
        strategy: "last-write".to_owned(),
        base: Some(body("1")),
        mine: Some(body("2")),
        theirs: None,
        outcome: Some(body("2")),
    };
    let mut outcomes = vec![
        Outcome::Accepted,
        Outcome::Merged(vec![state(0), state(1)], vec![note]),
        Outcome::Resolve(vec![state(2)]),
    ];
    let rejected = |code: &ErrorCode| Outcome::Rejected(*code, code.name().to_owned(), vec![state(3)]);
    outcomes.extend(ErrorCode::ALL.iter().map(rejected));
    let variants = count!(Outcome: Outcome::Accepted, Outcome::Merged(..), Outcome::Rejected(..), Outcome::Resolve(_));
    assert!(outcomes.len() >= variants);
    outcomes
}

/// Policies that name every variant.
fn policies() -> Vec<Policy> {
    use {DeletePolicy as L, DocumentPolicy as D, FieldStrategy as F};
    let documents = [D::Merge, D::LastWrite, D::FirstWrite, D::Newest, D::Reject, D::Resolver];
    let strategies = [
        F::LastWrite,
        F::FirstWrite,
        F::Newest,
        F::Sum,
        F::Min,
        F::Max,
        F::Union,
        F::Text,
        F::List("id".to_owned()),
        F::Reject,
    ];
    assert_eq!(documents.len(), count!(D: D::Merge, D::LastWrite, D::FirstWrite, D::Newest, D::Reject, D::Resolver));
    assert_eq!(
        strategies.len(),
        count!(F: F::LastWrite, F::FirstWrite, F::Newest, F::Sum, F::Min, F::Max, F::Union, F::Text, F::List(_), F::Reject)
    );
    assert_eq!(2, count!(L: L::EditWins, L::DeleteWins));
    let fields = strategies.iter().map(|strategy| (strings(&["votes", "*"]), strategy.clone())).collect::<Vec<_>>();
    let mut policies = vec![Policy::default()];
    policies.extend(documents.map(|document| Policy {
        document,
        field: F::Newest,
        fields: if document == D::Merge { fields.clone() } else { Vec::new() },
        delete: if document == D::Merge { L::DeleteWins } else { L::EditWins },
    }));
    policies
}

fn welcome() -> Welcome {
    let collection = |(number, policy)| CollectionInfo { number, name: format!("collection {number}"), policy };
    Welcome {
        protocol: 1,
        session: SessionId(5),
        epoch: Epoch(6),
        changelog: ChangelogId(7),
        finished: Sequence(8),
        limits: Limits::default(),
        collections: (0..).zip(policies()).map(collection).collect(),
        subject: "ann".to_owned(),
        now_ms: 1_700_000_000_000,
        floor: Offset(9),
        history: Some((History(10), true)),
    }
}

fn packed() -> Columns {
    pack(&kinds())
}

pub(super) fn server() -> Vec<(String, ServerFrame)> {
    let batched = packed();
    let batch = |changes, last| Changes {
        changelog: ChangelogId(7),
        subscriptions: vec![SubscriptionId(1), SubscriptionId(2)],
        from: Offset(10),
        to: Offset(12),
        last,
        changes,
        more: !last,
    };
    let snapshot = |after, through| Snapshot {
        changelog: ChangelogId(7),
        subscription: SubscriptionId(1),
        offset: Offset(12),
        after,
        through,
        changes: batched.clone(),
        channels: strings(&["list:42", "user:ann"]),
    };
    let reconciled = Reconciled {
        changelog: ChangelogId(7),
        subscription: SubscriptionId(1),
        round: 3,
        offset: Offset(12),
        changes: packed(),
        channels: strings(&["list:42"]),
        last: true,
    };
    let at = |key: &str| Some(("cards".to_owned(), key.to_owned()));
    let error = |code: &ErrorCode| {
        let retry_after_ms = code.retryable().then_some(1_000);
        ServerFrame::Error(ErrorFrame {
            code: *code,
            retryable: code.retryable(),
            message: code.name().to_owned(),
            retry_after_ms,
        })
    };
    let result = |outcome| ServerFrame::Result(PushResult { sequence: Sequence(3), offset: Offset(12), outcome });
    let mut frames = vec![
        ServerFrame::Welcome(welcome()),
        ServerFrame::Changes(batch(batched.clone(), true)),
        ServerFrame::Changes(batch(batched.clone(), false)),
        ServerFrame::Snapshot(snapshot(None, at("b"))),
        ServerFrame::Snapshot(snapshot(at("b"), None)),
        ServerFrame::Purge(Purge {
            subscription: SubscriptionId(1),
            documents: vec![(0, strings(&["a", "b"])), (2, strings(&["~n1"]))],
            channels: strings(&["user:ann"]),
            offset: Offset(12),
        }),
        ServerFrame::Pong(Pong { nonce: u64::MAX }),
        ServerFrame::Restart(Restart { subscription: SubscriptionId(1) }),
        ServerFrame::Symbols(Symbols {
            subscription: SubscriptionId(1),
            round: 3,
            offset: Offset(12),
            documents: 1_000_000,
            first: 320,
            symbols: (0..26).collect(),
            last: true,
        }),
        ServerFrame::Reconciled(reconciled),
    ];
    frames.extend(outcomes().into_iter().map(result));
    frames.extend(ErrorCode::ALL.iter().map(error));
    let variants = count!(ServerFrame: ServerFrame::Welcome(_), ServerFrame::Result(_), ServerFrame::Changes(_),
        ServerFrame::Snapshot(_), ServerFrame::Purge(_), ServerFrame::Pong(_), ServerFrame::Error(_),
        ServerFrame::Restart(_), ServerFrame::Symbols(_), ServerFrame::Reconciled(_));
    named("server frame", frames, variants)
}
