//! Whether the file was set back, and what is remembered then.

use std::fs;
use std::path::Path;

use tidelock_core::ids::{ChangelogId, DocumentId, Epoch, Offset, Version};

use super::{Scratch, delete, exists, put, write};
use crate::changelog::Changelog;
use crate::embedded::{EmbeddedOptions, EmbeddedStore};
use crate::store::{Store, Trace, Write};

#[tokio::test]
async fn a_file_that_is_copied_back_does_not_hold_what_came_after() {
    let scratch = Scratch::new();
    let path = scratch.database();
    let copy = scratch.0.join("copied.db");
    let told = |store: &EmbeddedStore| (store.history().unwrap(), store.head());
    let (before, copied) = {
        let store = scratch.open();
        let first = told(&store);
        write(&store, vec![put("a", Version::ABSENT, "1", &[])]).await;
        assert!(store.holds(first.0, store.head()) && !store.holds(first.0, Offset(2)));
        (first, told(&store))
    };
    fs::copy(&path, &copy).unwrap();
    let lost = {
        let store = scratch.open();
        assert!([before, copied].iter().all(|(history, offset)| store.holds(*history, *offset)));
        write(&store, vec![put("b", Version::ABSENT, "1", &[])]).await;
        told(&store)
    };
    for suffix in ["-wal", "-shm"] {
        // There is none after a clean end.
        let _ = fs::remove_file(format!("{}{suffix}", path.display()));
    }
    fs::copy(&copy, &path).unwrap();
    let store = scratch.open();
    assert!([before, copied].iter().all(|(history, offset)| store.holds(*history, *offset)));
    for key in ["c", "d", "e"] {
        write(&store, vec![put(key, Version::ABSENT, "1", &[])]).await;
    }
    // Though the offset exists again.
    assert!(store.head() > lost.1 && !store.holds(lost.0, lost.1));
    assert!(!store.holds(copied.0, lost.1), "the history of the copy ended before");
    assert!(store.holds(store.history().unwrap(), store.head()));
}

#[tokio::test]
async fn what_is_remembered_of_a_document_goes_with_its_tombstone() {
    let scratch = Scratch::new();
    let store = scratch.open();
    let ids = ["a", "b"].map(|key| DocumentId::new("notes", key));
    let body = put("a", Version::ABSENT, "1", &[]);
    write(&store, vec![Write { trace: Trace::Offered, ..body.clone() }]).await;
    write(&store, vec![delete("a", body.version, &[])]).await;
    write(&store, vec![Write { trace: Trace::Buried, ..delete("b", Version::ABSENT, &[]) }]).await;
    assert_eq!(store.purge(store.head()).await.unwrap(), 2);
    assert_eq!(store.traces(&ids).await.unwrap(), [Trace::None; 2]);
    write(&store, vec![body]).await;
    assert_eq!(store.traces(&ids).await.unwrap(), [Trace::None; 2]);
}

#[tokio::test]
async fn a_database_opens_on_a_full_disk() {
    let scratch = Scratch::new();
    let history = scratch.open().history();
    // Every page is full: another row of any table takes another page.
    let options = EmbeddedOptions { size_bytes_max: Some(0), ..EmbeddedOptions::default() };
    for _ in 0..400 {
        assert!(EmbeddedStore::open(&scratch.database(), options).unwrap().history().is_some());
    }
    let store = EmbeddedStore::open(&scratch.database(), options).unwrap();
    let stays = store.history();
    drop(store);
    assert_eq!(EmbeddedStore::open(&scratch.database(), options).unwrap().history(), stays);
    assert_ne!(stays, history);
    assert!(!exists(&scratch.open(), "a").await);
}

#[tokio::test]
async fn chosen_identities_are_those_of_a_new_file_or_a_backup() {
    let scratch = Scratch::new();
    let open = |path: &Path, identity| {
        let options = EmbeddedOptions { identity, ..EmbeddedOptions::default() };
        EmbeddedStore::open(path, options).unwrap()
    };
    let of = |store: &EmbeddedStore| (store.epoch(), store.id());
    let (chosen, other) = ((Epoch(3), ChangelogId(4)), (Epoch(5), ChangelogId(6)));
    assert_eq!(of(&open(&scratch.database(), Some(chosen))), chosen);
    assert_eq!(of(&open(&scratch.database(), Some(other))), chosen);
    let store = open(&scratch.database(), None);
    assert_eq!(of(&store), chosen);
    let backup = scratch.database().with_extension("backup");
    store.backup(&backup).await.unwrap();
    assert_eq!(of(&open(&backup, Some(other))), other);
    assert_eq!(of(&open(&backup, Some(chosen))), other);
}
