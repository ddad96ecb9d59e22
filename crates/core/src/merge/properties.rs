//! Properties of the merge for any documents and policies, and small cases without exception.

use proptest::prelude::*;

use super::tests::{change, document, server, value};
use super::*;
use crate::json::Number;
use crate::json::tests::any_value;
use crate::wire::{DeletePolicy, DocumentChange, DocumentPolicy, FieldStrategy as F, Operation, Policy};

/// The rebase shows what the server makes of the same edit.
#[track_caller]
pub(super) fn assert_rebase_agrees(
    base: Option<&Value>,
    mine: Option<&Value>,
    theirs: Option<&Value>,
    policy: &Policy,
) {
    let rebased = rebase(base, mine, theirs, policy);
    assert!(rebased.undecided || rebased.dirty == (rebased.value.as_ref() != theirs));
    let Some(operation) = diff(base, mine, policy) else {
        assert_eq!(rebased.value.as_ref(), theirs);
        return;
    };
    match server(theirs, &change(base, operation), policy) {
        Merged::Unchanged => assert_eq!(rebased.value.as_ref(), theirs),
        Merged::Fast { value } | Merged::Merged { value, .. } => assert_eq!(rebased.value, value),
        Merged::Rejected { .. } => assert!(rebased.undecided && rebased.value.as_ref() == mine),
        Merged::Resolve if policy.document == DocumentPolicy::Resolver => {
            assert!(rebased.undecided && rebased.value.as_ref() == mine);
        }
        // A patch of a document that is gone: the client pushes the whole, which is what the rebase yields.
        Merged::Resolve => assert_eq!((rebased.value.as_ref(), rebased.undecided), (mine, false)),
    }
}

/// The document after the server took the change; `None` when it refused.
#[expect(clippy::option_option, reason = "a refused change is not a deleted document")]
fn committed(current: Option<&Value>, change: &DocumentChange, policy: &Policy) -> Option<Option<Value>> {
    match server(current, change, policy) {
        Merged::Unchanged => Some(current.cloned()),
        Merged::Fast { value } | Merged::Merged { value, .. } => Some(value),
        Merged::Rejected { .. } | Merged::Resolve => None,
    }
}

/// Strategies that put one of the values there.
const CHOOSING: [F; 5] = [F::LastWrite, F::FirstWrite, F::Newest, F::Min, F::Max];
/// Strategies that add when a change is repeated.
const ADDING: [F; 2] = [F::Sum, F::Text];

fn all_strategies() -> Vec<F> {
    [&CHOOSING[..], &ADDING[..], &[F::Union, F::List("id".to_owned()), F::Reject][..]].concat()
}

fn any_document_policy() -> impl Strategy<Value = DocumentPolicy> {
    use DocumentPolicy as D;
    prop_oneof![
        5 => Just(D::Merge),
        1 => prop::sample::select(vec![D::LastWrite, D::FirstWrite, D::Newest, D::Reject, D::Resolver]),
    ]
}

/// A policy with these strategies.
fn policy(document: impl Strategy<Value = DocumentPolicy>, strategies: Vec<F>) -> impl Strategy<Value = Policy> {
    let path = prop::collection::vec(prop::sample::select(vec!["a", "b", "o", "*"]).prop_map(str::to_owned), 1..4);
    let strategy = prop::sample::select(strategies);
    let delete = prop::sample::select(vec![DeletePolicy::EditWins, DeletePolicy::DeleteWins]);
    (document, strategy.clone(), prop::collection::vec((path, strategy), 0..4), delete)
        .prop_map(|(document, field, fields, delete)| Policy { document, field, fields, delete })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    policy(any_document_policy(), all_strategies())
}

/// Values of a small world, so that sides often meet.
fn small_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        (0i128..4).prop_map(|n| Value::Number(Number::from_i128(n))),
        "[ab]( [ab]|\n[ab]){0,3}".prop_map(Value::String),
        Just(value(r#"{"~date":1}"#)),
        Just(Value::Null),
    ];
    let element = (0i128..4, leaf.clone()).prop_map(|(id, inner)| {
        Value::Object(vec![("id".to_owned(), Value::Number(Number::from_i128(id))), ("a".to_owned(), inner)])
    });
    let list = prop::collection::vec(element, 0..4).prop_map(Value::Array);
    prop_oneof![leaf, list].prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            4 => members(inner),
        ]
    })
}

fn members(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec!["a", "b", "c", "o", "__proto__"]).prop_map(str::to_owned);
    prop::collection::btree_map(name, inner, 0..4).prop_map(|members| Value::Object(members.into_iter().collect()))
}

fn small_document() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![1 => Just(None), 8 => members(small_value()).prop_map(Some), 1 => small_value().prop_map(Some)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn rebase_agrees_with_the_server(base in small_document(), mine in small_document(), theirs in small_document(), policy in any_policy()) {
        assert_rebase_agrees(base.as_ref(), mine.as_ref(), theirs.as_ref(), &policy);
    }

    #[test]
    fn a_difference_applies_to_its_base(base in small_document(), mine in small_document(), policy in any_policy()) {
        match diff(base.as_ref(), mine.as_ref(), &policy) {
            None => prop_assert_eq!(base, mine),
            Some(operation) => prop_assert_eq!(apply(base.as_ref(), &operation).unwrap(), mine),
        }
    }

    #[test]
    fn large_differences_apply_too(base in any_value(), mine in any_value()) {
        let operation = diff(Some(&base), Some(&mine), &Policy::default());
        prop_assert_eq!(operation.is_none(), base == mine);
        if let Some(operation) = operation {
            prop_assert_eq!(apply(Some(&base), &operation).unwrap(), Some(mine));
        }
    }

    #[test]
    fn merging_is_deterministic(base in small_document(), mine in small_document(), theirs in small_document(), policy in any_policy()) {
        if let Some(operation) = diff(base.as_ref(), mine.as_ref(), &policy) {
            let change = change(base.as_ref(), operation);
            prop_assert_eq!(server(theirs.as_ref(), &change, &policy), server(theirs.as_ref(), &change, &policy));
        }
    }

    /// A repeated change does nothing more under every strategy but `sum` (which adds again) and `text` (which inserts again).
    #[test]
    fn merging_again_changes_nothing(
        base in small_document(),
        mine in small_document(),
        theirs in small_document(),
        policy in policy(any_document_policy(), all_strategies().into_iter().filter(|s| !ADDING.contains(s)).collect()),
    ) {
        let Some(operation) = diff(base.as_ref(), mine.as_ref(), &policy) else { return Ok(()) };
        let change = change(base.as_ref(), operation);
        let Some(once) = committed(theirs.as_ref(), &change, &policy) else { return Ok(()) };
        if let Some(twice) = committed(once.as_ref(), &change, &policy) {
            prop_assert_eq!(twice, once);
        }
    }

    /// What no conflict note names is in the outcome: without notes the sides may be exchanged.
    #[test]
    fn a_merge_without_notes_is_symmetric(base in members(small_value()), mine in members(small_value()), theirs in members(small_value())) {
        let policy = Policy::default();
        let merged = |from: &Value, onto: &Value| {
            let operation = diff(Some(&base), Some(from), &policy)?;
            Some(server(Some(onto), &change(Some(&base), operation), &policy))
        };
        let (Some(left), Some(right)) = (merged(&mine, &theirs), merged(&theirs, &mine)) else { return Ok(()) };
        let plain = |merged: Merged| match merged {
            Merged::Merged { value, conflicts } if conflicts.is_empty() => value,
            Merged::Unchanged => Some(mine.clone()),
            Merged::Merged { .. } | Merged::Fast { .. } | Merged::Rejected { .. } | Merged::Resolve => None,
        };
        if let (Some(left), Some(right)) = (plain(left), plain(right)) {
            prop_assert_eq!(left, right);
        }
    }

    /// A note names every value of either side that both changed and that the outcome does not hold.
    #[test]
    fn no_value_is_lost_silently(
        base in members(small_value()),
        mine in members(small_value()),
        theirs in members(small_value()),
        policy in policy(Just(DocumentPolicy::Merge), CHOOSING.to_vec()),
    ) {
        let Some(operation) = diff(Some(&base), Some(&mine), &policy) else { return Ok(()) };
        let Merged::Merged { value, conflicts } = server(Some(&theirs), &change(Some(&base), operation), &policy) else { return Ok(()) };
        let outcome = value.unwrap();
        for name in ["a", "b", "c", "o", "__proto__"] {
            let [base, mine, theirs, outcome] = [&base, &mine, &theirs, &outcome].map(|value| value.member(name));
            let noted = conflicts.iter().any(|note| note.path.first().is_some_and(|first| first == name));
            // Objects are merged by their members.
            let is_object = |value: Option<&Value>| value.is_some_and(|value| object::splittable(value).is_some());
            let by_members = is_object(mine) && (is_object(base) || is_object(theirs));
            if mine != base && theirs != base && !by_members {
                prop_assert!(noted || (outcome == mine && outcome == theirs), "{name}");
            }
        }
    }

    #[test]
    fn texts_lose_no_line_of_one_side(base in "([abc]\n){0,6}", mine in "([abcd]\n){0,6}", theirs in "([abce]\n){0,6}") {
        let text = |text: &str| Value::String(text.to_owned());
        let (merged, complete) = super::text::merge_text(Some(&text(&base)), &text(&mine), &text(&theirs)).unwrap();
        let merged = merged.as_str().unwrap();
        if complete {
            for (side, letter) in [(&mine, 'd'), (&theirs, 'e')] {
                prop_assert_eq!(merged.matches(letter).count(), side.matches(letter).count(), "{:?}", merged);
            }
        }
        if mine == base {
            prop_assert_eq!(merged, theirs);
        }
    }

    #[test]
    fn matches_form_a_common_subsequence(a in "[abc]{0,12}", b in "[abc]{0,12}") {
        let (a, b) = (a.as_bytes(), b.as_bytes());
        let matched = sequence::matches(a, b);
        let pairs: Vec<(usize, usize)> = matched.iter().enumerate().filter_map(|(at, to)| Some((at, (*to)?))).collect();
        prop_assert!(pairs.iter().all(|(at, to)| a[*at] == b[*to]));
        prop_assert!(pairs.is_sorted_by(|(_, left), (_, right)| left < right));
        prop_assert_eq!(pairs.len(), longest_common(a, b));
    }
}

/// Length of a longest common subsequence, by the table.
fn longest_common(a: &[u8], b: &[u8]) -> usize {
    let mut row = vec![0; b.len() + 1];
    for x in a {
        let mut diagonal = 0;
        for (at, y) in b.iter().enumerate() {
            let above = row[at + 1];
            row[at + 1] = if x == y { diagonal + 1 } else { row[at].max(above) };
            diagonal = above;
        }
    }
    row[b.len()]
}

/// Every order in which the server may take the changes of three clients, each client's in its order.
fn arrivals(lengths: [usize; 3]) -> Vec<Vec<usize>> {
    if lengths == [0; 3] {
        return vec![vec![]];
    }
    let mut all = Vec::new();
    for client in 0..3 {
        if lengths[client] > 0 {
            let mut rest = lengths;
            rest[client] -= 1;
            all.extend(arrivals(rest).into_iter().map(|tail| [vec![client], tail].concat()));
        }
    }
    all
}

/// Three clients edit `f` from one base, each in steps without hearing of the others; every arrival order ends in one state.
fn assert_converges(strategy: F, base: &str, steps: &[[&[&str]; 3]], expected: impl Fn(&[&[&str]; 3]) -> String) {
    let policy = Policy { fields: vec![(vec!["f".to_owned()], strategy)], ..Policy::default() };
    let of = |field: &str| value(&format!(r#"{{"id":1,"f":{field}}}"#));
    for clients in steps {
        let changes = clients.map(|steps| {
            let states: Vec<Value> = [base].iter().chain(steps).map(|field| of(field)).collect();
            let steps = states
                .windows(2)
                .filter_map(|pair| Some(change(Some(&pair[0]), diff(Some(&pair[0]), Some(&pair[1]), &policy)?)));
            steps.collect::<Vec<_>>()
        });
        let wanted = of(&expected(clients));
        for arrival in arrivals([0, 1, 2].map(|client| changes[client].len())) {
            let mut current = of(base);
            let mut next = [0; 3];
            for client in &arrival {
                let change = &changes[*client][next[*client]];
                next[*client] += 1;
                current = committed(Some(&current), change, &policy).unwrap().unwrap();
            }
            assert_eq!(current, wanted, "{clients:?} arriving as {arrival:?}");
        }
    }
}

/// Every choice of one sequence for each of three clients.
fn each_for_three<'a>(sequences: &[&'a [&'a str]]) -> Vec<[&'a [&'a str]; 3]> {
    let mut all = Vec::new();
    for a in sequences {
        for b in sequences {
            all.extend(sequences.iter().map(|c| [*a, *b, *c]));
        }
    }
    all
}

#[test]
fn counters_converge_for_every_order() {
    let sequences: &[&[&str]] = &[&["11"], &["9", "12"], &["9007199254740993", "9007199254740992", "7"], &["10"]];
    assert_converges(F::Sum, "10", &each_for_three(sequences), |clients| {
        let delta = |steps: &&[&str]| steps.last().unwrap().parse::<i128>().unwrap() - 10;
        (10 + clients.iter().map(delta).sum::<i128>()).to_string()
    });
    assert_converges(F::Sum, "0.1", &each_for_three(&[&["0.2"], &["0.3", "0.4"], &["0"]]), |clients| {
        let tenths = |steps: &&[&str]| (steps.last().unwrap().parse::<f64>().unwrap() * 10.0).round() - 1.0;
        Number::from_f64((1.0 + clients.iter().map(tenths).sum::<f64>()) / 10.0).unwrap().canonical()
    });
}

/// `min` and `max` converge when every edit goes their way: a client that raises a minimum starts again from there.
#[test]
fn extremes_converge_for_every_order() {
    let last = |clients: &[&[&str]; 3]| clients.map(|steps| steps.last().unwrap().parse::<i64>().unwrap());
    let falling: &[&[&str]] = &[&["9"], &["8", "3"], &["5", "4", "-1"]];
    assert_converges(F::Min, "10", &each_for_three(falling), |clients| last(clients).iter().min().unwrap().to_string());
    let rising: &[&[&str]] = &[&["11"], &["12", "15"], &["13", "14", "99"]];
    assert_converges(F::Max, "10", &each_for_three(rising), |clients| last(clients).iter().max().unwrap().to_string());
}

#[test]
fn sets_converge_for_every_order() {
    let sequences: &[&[&str]] =
        &[&[r#"["a","b","x"]"#], &[r#"["a"]"#, r#"["a","y"]"#], &[r#"["b"]"#], &[r#"["a","b","y"]"#, r#"["a","b"]"#]];
    let held = |text: &str, element: char| text.contains(element);
    // One client removes what another adds only in the last sequence, where its own element comes and goes.
    let choices: Vec<_> = each_for_three(sequences)
        .into_iter()
        .filter(|clients| !clients.contains(&sequences[3]) || !clients.contains(&sequences[1]))
        .collect();
    assert_converges(F::Union, r#"["a","b"]"#, &choices, |clients| {
        let survives = |element| clients.iter().all(|steps| held(steps.last().unwrap(), element));
        let added = |element| clients.iter().any(|steps| held(steps.last().unwrap(), element));
        let elements = [('a', survives('a')), ('b', survives('b')), ('x', added('x')), ('y', added('y'))];
        let kept: Vec<String> =
            elements.iter().filter(|(_, kept)| *kept).map(|(name, _)| format!("\"{name}\"")).collect();
        format!("[{}]", kept.join(","))
    });
}

/// What a scalar field becomes, written down a second time.
fn model(strategy: &F, delete: DeletePolicy, [base, mine, theirs]: [Option<i64>; 3]) -> Result<Option<i64>, ()> {
    if theirs == base {
        return Ok(mine);
    }
    match (mine, theirs) {
        (Some(mine), Some(theirs)) if *strategy == F::Sum => Ok(Some(mine + theirs - base.unwrap_or(0))),
        (mine, theirs) if mine == theirs => Ok(mine),
        _ if *strategy == F::Reject => Err(()),
        (Some(mine), Some(theirs)) => Ok(Some(match strategy {
            F::FirstWrite => theirs,
            F::Min => mine.min(theirs),
            F::Max => mine.max(theirs),
            F::LastWrite | F::Newest | F::Sum | F::Union | F::Text | F::List(_) | F::Reject => mine,
        })),
        (mine, theirs) => Ok(if delete == DeletePolicy::EditWins { mine.or(theirs) } else { None }),
    }
}

#[test]
fn every_small_case_of_every_strategy() {
    let values = &[None, Some(1), Some(2), Some(3)];
    let strategies = [
        F::LastWrite,
        F::FirstWrite,
        F::Newest,
        F::Sum,
        F::Min,
        F::Max,
        F::Union,
        F::Text,
        F::List("id".into()),
        F::Reject,
    ];
    let of = |field: Option<i64>| document(&field.map_or(r#"{"k":0}"#.to_owned(), |n| format!(r#"{{"k":0,"f":{n}}}"#)));
    let mut cases = 0;
    for strategy in strategies {
        for delete in [DeletePolicy::EditWins, DeletePolicy::DeleteWins] {
            let policy = Policy { fields: vec![(vec!["f".to_owned()], strategy.clone())], delete, ..Policy::default() };
            for triple in
                values.iter().flat_map(|a| values.iter().flat_map(move |b| values.iter().map(move |c| [*a, *b, *c])))
            {
                let [base, mine, theirs] = triple.map(of);
                assert_rebase_agrees(base.as_ref(), mine.as_ref(), theirs.as_ref(), &policy);
                let Some(operation) = diff(base.as_ref(), mine.as_ref(), &policy) else { continue };
                let outcome = committed(theirs.as_ref(), &change(base.as_ref(), operation), &policy);
                let expected = model(&strategy, delete, triple).ok().map(of);
                assert_eq!(outcome, expected, "{strategy:?} {delete:?} {triple:?}");
                cases += 1;
            }
        }
    }
    assert_eq!(cases, 10 * 2 * 4 * 4 * 3);
}

#[test]
fn a_large_document_merges_in_reasonable_time() {
    let of = |step: usize, n: &str| {
        let members = (0..20_000).map(|at| format!("\"m{at}\":{}", if at % step == 0 { n } else { "0" }));
        value(&format!("{{{}}}", members.collect::<Vec<_>>().join(",")))
    };
    let (base, mine, theirs) = (of(1, "0"), of(2, "1"), of(3, "2"));
    let policy = Policy::default();
    let operation = diff(Some(&base), Some(&mine), &policy).unwrap();
    let Operation::Patch(patches) = &operation else { panic!() };
    assert_eq!(patches.len(), 10_000);
    let Merged::Merged { value: Some(merged), conflicts } =
        server(Some(&theirs), &change(Some(&base), operation), &policy)
    else {
        panic!()
    };
    assert_eq!(conflicts.len(), 20_000_usize.div_ceil(6));
    assert_eq!(merged.member("m3"), Some(&value("2")));
    assert_eq!(merged.member("m6"), Some(&value("1")));
}

#[test]
fn hostile_texts_and_lists_stay_bounded() {
    let lines = |seed: usize| {
        Value::String((0..20_000).map(|at| format!("{}\n", at * seed % 9973)).collect::<Vec<_>>().concat())
    };
    assert!(super::text::merge_text(Some(&lines(1)), &lines(7), &lines(11)).is_some());
    let list = |step: usize| {
        let elements = (0..5_000).map(|at| format!("{{\"id\":{}}}", at * step % 5_003));
        value(&format!("{{\"f\":[{}]}}", elements.collect::<Vec<_>>().join(",")))
    };
    let policy = Policy { fields: vec![(vec!["f".to_owned()], F::List("id".into()))], ..Policy::default() };
    assert_rebase_agrees(Some(&list(1)), Some(&list(7)), Some(&list(11)), &policy);
}
