//! Cases of the scan and of the check.

use std::collections::BTreeMap;

use super::{Subject, json};
use crate::platform::{Entry, Platform, PutContent};

/// Those of the case, by key.
async fn scan<P: Platform>(subject: &Subject<P>, collection: usize) -> BTreeMap<String, Entry> {
    let mut scan = subject.platform.scan(&subject.collections[collection]).await.unwrap();
    let mut found = BTreeMap::new();
    loop {
        let page = scan.next().await.unwrap();
        if page.is_empty() {
            return found;
        }
        for (key, entry) in page.into_iter().filter(|(key, _)| key.starts_with(&subject.prefix)) {
            assert!(found.insert(key.clone(), entry).is_none(), "{key} comes twice, though nobody writes");
        }
    }
}

pub(super) async fn a_scan_sees_every_entry<P: Platform>(subject: &Subject<P>) {
    const DOCUMENTS: usize = 40;
    assert_eq!(scan(subject, 0).await, BTreeMap::new());
    let mut expected = BTreeMap::new();
    for n in 0..DOCUMENTS {
        let id = subject.id(&format!("live-{n}"));
        expected.insert(id.key.clone(), subject.put(&id, json(&n.to_string()), Some("m")).await);
    }
    for n in 0..5 {
        let id = subject.id(&format!("deleted-{n}"));
        subject.put(&id, json("1"), Some("m1")).await;
        expected.insert(id.key.clone(), subject.put(&id, PutContent::Delete, Some("m2")).await);
        let id = subject.id(&format!("mark-{n}"));
        expected.insert(id.key.clone(), subject.put(&id, PutContent::Keep, Some("m")).await);
        let id = subject.id(&format!("foreign-{n}"));
        subject.foreign.set(&id, "1").await;
        expected.insert(id.key.clone(), subject.get(&id).await);
        let id = subject.id(&format!("spoilt-{n}"));
        subject.foreign.spoil(&id).await;
        expected.insert(id.key.clone(), subject.get(&id).await);
    }
    subject.put(&subject.id_in(1, "other"), json("1"), Some("m")).await;
    let found = scan(subject, 0).await;
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (key, entry) in &expected {
        let Entry { content, meta, token, unreadable, .. } = &found[key];
        assert_eq!((content, meta, token), (&entry.content, &entry.meta, &entry.token), "{key}");
        assert_eq!(unreadable.is_some(), entry.unreadable.is_some(), "{key}");
    }
    assert_eq!(scan(subject, 1).await.len(), 1);
}

pub(super) async fn a_platform_that_is_ready_says_so<P: Platform>(subject: &Subject<P>) {
    let findings = subject.platform.check(&subject.collections).await.unwrap();
    assert!(findings.iter().all(|finding| !finding.fatal), "{findings:?}");
    let findings = subject.platform.configure(&subject.collections).await.unwrap();
    assert!(findings.iter().all(|finding| !finding.fatal), "{findings:?}");
}
