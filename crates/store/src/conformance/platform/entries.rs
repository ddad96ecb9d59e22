//! Cases of single entries, and of several at once.

use std::sync::Arc;

use futures_util::future::join_all;
use tidelock_core::ids::DocumentId;

use super::{Subject, assert_holds, bytes, json, meta, value};
use crate::conformance::yield_once;
use crate::platform::{Entry, Platform, PlatformError, PutContent, PutIf, PutOutcome, Token, system};

/// Largest content and meta that a case stores, in bytes, where the platform allows more.
const LARGE_CONTENT_BYTES: usize = 1 << 20;
const LARGE_META_BYTES: usize = 64 << 10;
/// Above this, in bytes, a limit is not tried.
const LIMIT_TRIED_BYTES_MAX: u32 = 32 << 20;

pub(super) async fn an_unknown_entry_is_absent<P: Platform>(subject: &Subject<P>) {
    let entry = subject.get(&subject.id("nobody")).await;
    assert_eq!(entry, Entry { token: entry.token.clone(), ..Entry::default() });
    assert_eq!(subject.platform.get(&[]).await.unwrap(), []);
}

pub(super) async fn a_put_is_read_back<P: Platform>(subject: &Subject<P>) {
    const CONTENT: &str =
        r#"{"text":"naïve \"x\" \\ \u0000","n":[1,-2,0.5,9007199254740993],"none":null,"o":{"":true}}"#;
    let id = subject.id("a");
    let entry = subject.put(&id, json(CONTENT), Some("m1")).await;
    assert_holds(&entry, Some(CONTENT), Some("m1"));
    let entry = subject.put(&id, json("[]"), None).await;
    assert_holds(&entry, Some("[]"), None);
}

pub(super) async fn entries_come_in_the_order_asked<P: Platform>(subject: &Subject<P>) {
    let ids: Vec<DocumentId> = ["c", "a", "missing", "b"].iter().map(|name| subject.id(name)).collect();
    for id in ids.iter().filter(|id| !id.key.ends_with("missing")) {
        subject.put(id, json(&format!("{:?}", id.key)), Some(&id.key)).await;
    }
    let entries = subject.platform.get(&ids).await.unwrap();
    assert_eq!(entries.len(), ids.len());
    for (id, entry) in ids.iter().zip(&entries) {
        let expected = (!id.key.ends_with("missing")).then_some(id.key.as_str());
        assert_eq!(meta(entry), expected);
        assert_eq!(value(entry).as_ref().and_then(|value| value.as_str()), expected);
    }
}

pub(super) async fn keep_changes_the_meta_alone<P: Platform>(subject: &Subject<P>) {
    let id = subject.id("a");
    let first = subject.put(&id, json("{\"n\":1}"), Some("m1")).await;
    let second = subject.put(&id, PutContent::Keep, Some("m2")).await;
    assert_holds(&second, Some("{\"n\":1}"), Some("m2"));
    subject.refuses(&id, &first.token).await;
    let third = subject.put(&id, PutContent::Keep, None).await;
    assert_holds(&third, Some("{\"n\":1}"), None);
}

pub(super) async fn a_meta_needs_no_content<P: Platform>(subject: &Subject<P>) {
    let id = subject.id("a");
    let absent = subject.get(&id).await;
    let entry = subject.put(&id, PutContent::Keep, Some("m1")).await;
    assert_holds(&entry, None, Some("m1"));
    subject.refuses(&id, &absent.token).await;
    let entry = subject.put(&id, PutContent::Keep, Some("m2")).await;
    assert_holds(&entry, None, Some("m2"));
    let entry = subject.put(&id, json("{\"n\":1}"), Some("m3")).await;
    assert_holds(&entry, Some("{\"n\":1}"), Some("m3"));
    // A delete of what is not there leaves a tombstone as well.
    let other = subject.id("b");
    let entry = subject.put(&other, PutContent::Delete, Some("m1")).await;
    assert_holds(&entry, None, Some("m1"));
}

pub(super) async fn a_delete_keeps_its_meta<P: Platform>(subject: &Subject<P>) {
    let id = subject.id("a");
    let live = subject.put(&id, json("{\"n\":1}"), Some("m1")).await;
    let deleted = subject.put(&id, PutContent::Delete, Some("m2")).await;
    assert_holds(&deleted, None, Some("m2"));
    subject.refuses(&id, &live.token).await;
    subject.refuses(&id, &Token::default()).await;
    let marked = subject.put(&id, PutContent::Keep, Some("m3")).await;
    assert_holds(&marked, None, Some("m3"));
    subject.refuses(&id, &deleted.token).await;
    let again = subject.put(&id, PutContent::Delete, Some("m4")).await;
    assert_holds(&again, None, Some("m4"));
    let back = subject.put(&id, json("{\"n\":2}"), Some("m5")).await;
    assert_holds(&back, Some("{\"n\":2}"), Some("m5"));
}

pub(super) async fn nothing_may_be_left<P: Platform>(subject: &Subject<P>) {
    let id = subject.id("a");
    let live = subject.put(&id, json("{\"n\":1}"), Some("m1")).await;
    let gone = subject.put(&id, PutContent::Delete, None).await;
    assert_holds(&gone, None, None);
    subject.refuses(&id, &live.token).await;
    let back = subject.put(&id, json("{\"n\":2}"), Some("m2")).await;
    assert_holds(&back, Some("{\"n\":2}"), Some("m2"));
    subject.put(&id, PutContent::Delete, Some("m3")).await;
    let gone = subject.put(&id, PutContent::Keep, None).await;
    assert_holds(&gone, None, None);
}

pub(super) async fn a_token_names_one_state<P: Platform>(subject: &Subject<P>) {
    let id = subject.id("a");
    let absent = subject.get(&id).await;
    let first = subject.put(&id, json("{\"n\":1}"), Some("m1")).await;
    subject.refuses(&id, &absent.token).await;
    let second = subject.put(&id, json("{\"n\":2}"), Some("m2")).await;
    for stale in [&absent, &first] {
        subject.refuses(&id, &stale.token).await;
    }
    assert_eq!(subject.get(&id).await.token, second.token, "two reads of one state name it alike");
    subject.put(&id, PutContent::Delete, Some("m3")).await;
    for stale in [&absent, &first, &second] {
        subject.refuses(&id, &stale.token).await;
    }
}

pub(super) async fn a_content_that_came_back_is_another_state<P: Platform>(subject: &Subject<P>) {
    let id = subject.id("a");
    let first = subject.put(&id, json("{\"n\":1}"), Some("m1")).await;
    subject.put(&id, json("{\"n\":2}"), Some("m2")).await;
    let back = subject.put(&id, json("{\"n\":1}"), Some("m3")).await;
    assert_eq!(value(&back), value(&first));
    subject.refuses(&id, &first.token).await;
    subject.put(&id, PutContent::Delete, Some("m4")).await;
    subject.put(&id, json("{\"n\":1}"), Some("m5")).await;
    subject.refuses(&id, &back.token).await;
}

pub(super) async fn one_of_many_puts_wins<P: Platform>(subject: &Subject<P>) {
    let id = subject.id("a");
    for round in 0..5 {
        let token = subject.get(&id).await.token;
        let texts: Vec<String> = (0..8).map(|n| format!("{{\"round\":{round},\"n\":{n}}}")).collect();
        let puts = texts.iter().map(|text| subject.try_put(&id, &token, json(text), Some(text)));
        let outcomes = join_all(puts).await;
        let winners: Vec<usize> = (0..8).filter(|n| outcomes[*n].is_some()).collect();
        assert_eq!(winners.len(), 1, "{winners:?} all had the token of one state");
        assert_holds(&subject.get(&id).await, Some(&texts[winners[0]]), Some(&texts[winners[0]]));
    }
}

pub(super) async fn increments_are_never_lost<P: Platform>(subject: &Subject<P>) {
    const TASKS: u64 = 4;
    const INCREMENTS: u64 = 8;
    let id = &subject.id("n");
    subject.put(id, json("0"), Some("0 of nobody")).await;
    let number_in = |entry: &Entry| meta(entry).and_then(|meta| meta.split(' ').next()?.parse::<u64>().ok());
    let task = |task: u64| async move {
        let mut done = 0;
        while done < INCREMENTS {
            let entry = subject.get(id).await;
            let number = value(&entry).and_then(|value| value.as_u64()).unwrap();
            yield_once().await;
            let next = number + 1;
            // No two metas are equal, as no two of the cluster store are.
            let next_meta = format!("{next} of {task}, {done}");
            if subject.try_put(id, &entry.token, json(&next.to_string()), Some(&next_meta)).await.is_some() {
                let was_whole = number_in(&entry) == Some(number);
                assert!(was_whole || subject.takes_parts, "a state that was written to was never whole: {entry:?}");
                done += 1;
            }
        }
    };
    join_all((0..TASKS).map(task)).await;
    let last = subject.get(id).await;
    assert_eq!(value(&last).and_then(|value| value.as_u64()), Some(TASKS * INCREMENTS));
    assert_eq!(number_in(&last), Some(TASKS * INCREMENTS));
}

/// Several entries go together where the platform says so; where it does not, they are written whole or not at all.
pub(super) async fn several_are_written_whole<P: Platform>(subject: &Subject<P>) {
    const PAIRS: usize = 32;
    let put = |id: &DocumentId, token: Token, text: &str| PutIf {
        id: id.clone(),
        token,
        content: json(text),
        meta: Some(bytes(text)),
    };
    for pair in 0..PAIRS {
        let (left, right) = (subject.id(&format!("{pair}-l")), subject.id_in(1, &format!("{pair}-r")));
        let absent = [subject.get(&left).await.token, subject.get(&right).await.token];
        let puts = [put(&left, absent[0].clone(), "1"), put(&right, absent[1].clone(), "1")];
        let outcome = subject.platform.put_if(&puts).await.unwrap();
        let (now_left, now_right) = (subject.get(&left).await, subject.get(&right).await);
        let PutOutcome::Done(written) = outcome else {
            assert_eq!(outcome, PutOutcome::NotTogether, "both were absent");
            assert_holds(&now_left, None, None);
            assert_holds(&now_right, None, None);
            continue;
        };
        assert_eq!(written.len(), 2);
        assert_holds(&now_left, Some("1"), Some("1"));
        assert_holds(&now_right, Some("1"), Some("1"));
        assert_eq!([&now_left.token, &now_right.token], [&written[0].token, &written[1].token]);
        let puts = [put(&left, now_left.token.clone(), "2"), put(&right, absent[1].clone(), "2")];
        let outcome = subject.platform.put_if(&puts).await.unwrap();
        assert!(matches!(outcome, PutOutcome::Mismatch | PutOutcome::NotTogether), "{outcome:?}");
        assert_eq!(subject.get(&left).await, now_left);
        assert_eq!(subject.get(&right).await, now_right);
    }
}

pub(super) async fn large_contents_and_metas_survive<P: Platform>(subject: &Subject<P>) {
    let limits = subject.platform.capabilities();
    let content_bytes = LARGE_CONTENT_BYTES.min(limits.content_bytes_max as usize);
    let meta_bytes = LARGE_META_BYTES.min(limits.meta_bytes_max as usize);
    let id = subject.id("large");
    let large = format!("\"{}\"", "x".repeat(content_bytes - 2));
    let large_meta = "m".repeat(meta_bytes);
    let entry = subject.put(&id, json(&large), Some(&large_meta)).await;
    assert_holds(&entry, Some(&large), Some(&large_meta));
    let entry = subject.put(&id, PutContent::Delete, Some(&large_meta)).await;
    assert_holds(&entry, None, Some(&large_meta));
    let raw: Arc<[u8]> = (0..=255).collect();
    let put = PutIf { id: id.clone(), token: entry.token, content: PutContent::Keep, meta: Some(raw.clone()) };
    assert!(matches!(subject.platform.put_if(&[put]).await.unwrap(), PutOutcome::Done(_)));
    assert_eq!(subject.get(&id).await.meta, Some(raw), "a meta is any bytes");
}

pub(super) async fn what_is_too_large_is_refused<P: Platform>(subject: &Subject<P>) {
    let limits = subject.platform.capabilities();
    let id = subject.id("large");
    let before = subject.put(&id, json("1"), Some("m")).await;
    let too_long = |limit: u32| (limit <= LIMIT_TRIED_BYTES_MAX).then(|| "x".repeat(limit as usize + 1));
    let mut tried = Vec::new();
    if let Some(text) = too_long(limits.content_bytes_max) {
        tried.push((json(&format!("\"{text}\"")), "m".to_owned()));
    }
    if let Some(text) = too_long(limits.meta_bytes_max) {
        tried.push((json("2"), text));
    }
    for (content, meta) in tried {
        let put = PutIf { id: id.clone(), token: before.token.clone(), content, meta: Some(bytes(&meta)) };
        let outcome = subject.platform.put_if(&[put]).await;
        assert!(matches!(outcome, Err(PlatformError::Refused(_))), "{outcome:?}");
        assert_eq!(subject.get(&id).await, before);
    }
}

pub(super) async fn keys_of_all_kinds_are_apart<P: Platform>(subject: &Subject<P>) {
    let longest = (subject.platform.capabilities().key_bytes_max as usize).min(1_024) - subject.prefix.len();
    let long = "k".repeat(longest);
    let keys = [
        "",
        "a",
        "A",
        "a ",
        " a",
        "a/b",
        "a.b",
        "a:b",
        "~n1",
        "~n1.5",
        "~a[\"x\",\"~n1\"]",
        "'",
        "\"",
        "\\",
        "`",
        "%00",
        "null",
        "é",
        "e\u{301}",
        "\u{10ffff}",
        "鍵",
        "a\tb",
        "*",
        "?",
        "$",
        "#",
        &long,
    ];
    let ids: Vec<DocumentId> = keys.iter().map(|key| subject.id(key)).collect();
    for (n, id) in ids.iter().enumerate() {
        subject.put(id, json(&n.to_string()), Some(&n.to_string())).await;
    }
    let entries = subject.platform.get(&ids).await.unwrap();
    for (n, entry) in entries.iter().enumerate() {
        assert_holds(entry, Some(&n.to_string()), Some(&n.to_string()));
    }
}

pub(super) async fn collections_are_apart<P: Platform>(subject: &Subject<P>) {
    let system = system::ALL.map(|collection| DocumentId::new(collection, format!("{}k", subject.prefix)));
    let ids: Vec<DocumentId> = [subject.id("k"), subject.id_in(1, "k")].into_iter().chain(system).collect();
    // Records have no meta.
    let numbered = || ids.iter().zip((0..).map(|n| (n.to_string(), (n < 2).then(|| n.to_string()))));
    for (id, (text, meta)) in numbered() {
        assert_holds(&subject.get(id).await, None, None);
        subject.put(id, json(&text), meta.as_deref()).await;
    }
    subject.put(&ids[0], PutContent::Delete, None).await;
    for (id, (text, meta)) in numbered().skip(1) {
        assert_holds(&subject.get(id).await, Some(&text), meta.as_deref());
    }
}
