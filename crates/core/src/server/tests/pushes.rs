//! What clients push, and what they are told of it.

use super::*;

#[test]
fn sequences_are_strict() {
    let mut host = Host::open(&["cards"]);
    host.log();
    host.push(3, false, "repeats the last finished one");
    host.push(4, false, "a");
    assert_eq!(host.submissions.len(), 2);
    host.push(4, false, "again");
    assert_eq!(host.log(), ["error out-of-order"]);

    for wrong in [0, 5] {
        let mut host = Host::open(&["cards"]);
        host.log();
        host.push(wrong, false, "a");
        assert_eq!(host.log(), ["error out-of-order"]);
    }
}

#[test]
fn the_window_is_enforced() {
    let limits = Limits { push_window_mutations_max: 2, ..Limits::default() };
    let mut host = Host::new(SessionConfig { limits, ..SessionConfig::default() });
    host.hello(0);
    host.welcome(grant(&["cards"]));
    host.log();
    host.push(4, false, "a");
    host.push(5, false, "b");
    host.push(6, false, "c");
    assert_eq!(host.log(), ["error protocol"]);
}

#[test]
fn parts_make_one_mutation() {
    let mut host = Host::open(&["cards"]);
    host.push(4, true, "a");
    host.push(4, true, "b");
    host.push(4, false, "c");
    let keys: Vec<&str> =
        host.submissions.iter().flat_map(|one| &one.mutation.changes).map(|one| &*one.id.key).collect();
    assert_eq!((host.submissions.len(), keys), (1, vec!["a", "b", "c"]));
    host.log();
    host.push(5, true, "a");
    host.push(6, false, "b");
    assert_eq!(host.log(), ["error out-of-order"]);
}

#[test]
fn a_mutation_beyond_the_limits_is_refused_alone() {
    let limits = Limits { mutation_documents_max: 2, ..Limits::default() };
    let mut host = Host::new(SessionConfig { limits, ..SessionConfig::default() });
    host.hello(0);
    host.welcome(grant(&["cards"]));
    for _ in 0..4 {
        host.push(4, true, "a");
    }
    host.push(4, false, "a");
    host.push(5, false, "b");
    let refused: Vec<Option<ErrorCode>> =
        host.submissions.iter().map(|one| one.refused.as_ref().map(|(code, _)| *code)).collect();
    assert_eq!(refused, [Some(ErrorCode::TooLarge), None]);
    assert!(host.submissions[0].mutation.changes.is_empty());
}

fn state(key: &str) -> DocumentState {
    DocumentState { id: DocumentId::new("cards", key), version: Version(5), body: Some(b"5".to_vec()) }
}

/// Lets the host answer the earliest mutation; `placed` are its documents with their channels.
fn answer(host: &mut Host, sequence: u64, outcome: Outcome, placed: &[(&str, &str)]) -> Outcome {
    let result = PushResult { sequence: Sequence(sequence), offset: Offset(1), outcome };
    processed(host, result, placed, &[])
}

/// `noted` are the documents of conflict notes with their former channels.
fn processed(host: &mut Host, result: PushResult, placed: &[(&str, &str)], noted: &[(&str, &str)]) -> Outcome {
    let place = |(key, channel): &(&str, &str)| (DocumentId::new("cards", *key), labels(&[channel]));
    let (placed, noted) = (placed.iter().map(place).collect(), noted.iter().map(place).collect());
    host.session.handle_processed(host.now_ms, Ok(Processed { result, placed, noted }));
    host.drain();
    let Some(ServerFrame::Result(result)) = host.sent.pop() else { panic!("a result") };
    assert!(host.sent.is_empty(), "{:?}", host.log());
    result.outcome
}

fn note(key: &str) -> ConflictNote {
    let (id, path, strategy) = (DocumentId::new("cards", key), Vec::new(), "last-write".to_owned());
    ConflictNote { id, path, strategy, base: None, mine: None, theirs: Some(b"1".to_vec()), outcome: None }
}

#[test]
fn a_result_withholds_what_no_subscription_covers() {
    let mut host = Host::open(&["cards/x"]);
    host.subscribe(None, &[], None);
    for sequence in 4..9 {
        host.push(sequence, false, "a");
    }
    host.log();
    let withheld = || DocumentState::withheld(DocumentId::new("cards", "a"));
    let placed = [("a", "other"), ("b", "x")];
    let accepted = answer(&mut host, 4, Outcome::Accepted, &placed);
    assert_eq!(accepted, Outcome::Merged(vec![withheld()], Vec::new()));
    let merged = answer(&mut host, 5, Outcome::Merged(vec![state("a"), state("b")], Vec::new()), &placed);
    assert_eq!(merged, Outcome::Merged(vec![state("b"), withheld()], Vec::new()));
    let no = |states| Outcome::Rejected(ErrorCode::Conflict, "no".into(), states);
    assert_eq!(answer(&mut host, 6, no(vec![state("a"), state("b")]), &placed), no(vec![withheld(), state("b")]));
    let Outcome::Rejected(ErrorCode::Conflict, _, states) =
        answer(&mut host, 7, Outcome::Resolve(vec![state("a")]), &placed)
    else {
        panic!("nobody resolves what they do not see")
    };
    assert_eq!(states, [withheld()]);
    let resolve = Outcome::Resolve(vec![state("b")]);
    assert_eq!(answer(&mut host, 8, resolve.clone(), &placed), resolve);
    assert!(host.session.is_idle());
}

#[test]
fn a_result_tells_what_may_be_read_when_it_is_sent() {
    // A mutation of three documents is prepared while channel x may be read, and answered while y may be.
    let outcome = || Outcome::Merged(["a", "b", "c"].map(state).to_vec(), ["a", "b", "c"].map(note).to_vec());
    let placed = [("a", "y"), ("b", "x"), ("c", "y")];
    let noted = [("a", "y"), ("b", "x"), ("c", "x")];
    let result = |sequence| PushResult { sequence: Sequence(sequence), offset: Offset(1), outcome: outcome() };
    let mut host = Host::open(&["cards/x"]);
    host.subscribe(None, &[], None);
    host.push(4, false, "a");
    host.session.handle_access(host.now_ms, grant(&["cards/y"]).filter);
    host.drain();
    host.log();
    let told = processed(&mut host, result(4), &placed, &noted);
    let withheld = DocumentState::withheld(DocumentId::new("cards", "b"));
    // What `c` was before may not be read: a note holds it.
    assert_eq!(told, Outcome::Merged(vec![state("a"), state("c"), withheld], vec![note("a")]));
    // A session that subscribed to nothing keeps its documents and is told nothing of what it may not read.
    let mut host = Host::open(&["cards/y"]);
    host.push(4, false, "a");
    host.log();
    let told = processed(&mut host, result(4), &placed, &noted);
    let absent = DocumentState { version: Version::ABSENT, body: None, ..state("b") };
    assert_eq!(told, Outcome::Merged(vec![state("a"), absent, state("c")], vec![note("a")]));
}

#[test]
fn a_gain_whose_page_is_older_than_a_mutation_leaves_it_to_the_result() {
    let mut host = Host::open(&["cards/x"]);
    host.commit("b", Some("1"), &["y"], SessionId(0));
    host.subscribe(None, &[], None);
    host.push(4, false, "a");
    host.log();
    host.session.handle_access(host.now_ms, grant(&["cards/x", "cards/y"]).filter);
    host.drain();
    let gained = [
        "purge [] holds cards/x /cards/y",
        "changes 1..1 [b=1]",
        "purge [] holds cards/x cards/y",
        "changes 1..1 last []",
    ];
    assert_eq!(host.log(), gained, "the document of the mutation is not among them");
    // It was merged into channel y, and is among the changes of nobody's but this session.
    host.commit("a", Some("5"), &["y"], MINE);
    let merged = Outcome::Merged(vec![state("a")], Vec::new());
    assert_eq!(answer(&mut host, 4, merged.clone(), &[("a", "y")]), merged);
}

#[test]
fn a_session_that_only_writes_keeps_its_documents() {
    let mut host = Host::open(&["cards/x"]);
    host.push(4, false, "a");
    host.log();
    assert_eq!(answer(&mut host, 4, Outcome::Accepted, &[("a", "other")]), Outcome::Accepted);
}

#[test]
fn what_was_made_before_the_client_noticed_may_have_been_committed() {
    let mut host = Host::open(&["cards"]);
    for (sequence, before) in [(4, None), (5, Some(true)), (6, Some(false))] {
        host.frame(&ClientFrame::Push(Push {
            sequence: Sequence(sequence),
            acknowledged: Sequence(3),
            edited_ms: 5,
            changes: Vec::new(),
            more: false,
            before,
        }));
    }
    let again: Vec<bool> = host.submissions.iter().map(|submission| submission.again).collect();
    assert_eq!(again, [false, true, false]);
}
