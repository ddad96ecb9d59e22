//! Transactions.

use tidelock_geode_client::{Error, Found, Key, Value};

use crate::support::client;

#[tokio::test]
async fn both_regions_change_together_or_not_at_all() {
    let client = client().await;
    let (docs, meta) = (client.region("docs"), client.region("docs_tl"));
    let key = Key::from("transactions-1");
    docs.destroy(&key).await.unwrap();
    meta.destroy(&key).await.unwrap();
    let (content, bytes) = (Value::string("one"), Value::Bytes(vec![1, 2, 3].into()));
    let mut transaction = client.begin(Some((&docs, &key))).await.unwrap();
    assert_eq!(transaction.get(&docs, &key).await.unwrap().found, Found::Absent);
    transaction.put(&docs, &key, &content).await.unwrap();
    transaction.put(&meta, &key, &bytes).await.unwrap();
    assert_eq!(transaction.get(&docs, &key).await.unwrap().value(), Some(&content));
    assert_eq!(docs.get(&key).await.unwrap().found, Found::Absent, "nothing is seen before the commit");
    transaction.commit().await.unwrap();
    assert_eq!(docs.get(&key).await.unwrap().value(), Some(&content));
    assert_eq!(meta.get(&key).await.unwrap().value(), Some(&bytes));

    let mut undone = client.begin(None).await.unwrap();
    assert!(undone.destroy(&docs, &key).await.unwrap().was_there);
    undone.rollback().await.unwrap();
    assert_eq!(docs.get(&key).await.unwrap().value(), Some(&content));
}

#[tokio::test]
async fn a_change_in_between_is_a_conflict() {
    let client = client().await;
    let docs = client.region("docs");
    let key = Key::from("transactions-2");
    docs.put(&key, &Value::string("base")).await.unwrap();
    let mut transaction = client.begin(Some((&docs, &key))).await.unwrap();
    transaction.get(&docs, &key).await.unwrap();
    docs.put(&key, &Value::string("other")).await.unwrap();
    docs.put(&key, &Value::string("base")).await.unwrap();
    transaction.put(&docs, &key, &Value::string("mine")).await.unwrap();
    let conflict = transaction.commit().await.unwrap_err();
    assert!(matches!(conflict, Error::CommitConflict(_)), "{conflict}");
    assert_eq!(docs.get(&key).await.unwrap().value(), Some(&Value::string("base")));
}

#[tokio::test]
async fn keys_of_two_servers_are_told() {
    let client = client().await;
    let docs = client.region("docs");
    let mut first = None;
    for at in 0..300 {
        let key = Key::String(format!("transactions-many-{at}"));
        docs.put(&key, &Value::string("x")).await.unwrap();
        let primary = client.primary_of(&docs, &key).await.unwrap().expect("a partitioned region has primaries");
        let Some((known, other)) = &first else {
            first = Some((key, primary));
            continue;
        };
        if *other == primary {
            continue;
        }
        let mut transaction = client.begin(Some((&docs, known))).await.unwrap();
        transaction.put(&docs, known, &Value::string("y")).await.unwrap();
        let error = transaction.put(&docs, &key, &Value::string("y")).await.unwrap_err();
        assert!(matches!(error, Error::NotColocated(_)), "{error}");
        transaction.rollback().await.unwrap();
        assert_eq!(docs.get(known).await.unwrap().value(), Some(&Value::string("x")));
        return;
    }
    panic!("all of 300 keys have their primary on one server");
}
