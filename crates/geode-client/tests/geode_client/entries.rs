//! Operations on entries.

use tidelock_geode_client::{Error, Found, Key, PutIfAbsent, Value};

use crate::support::{client, json};

#[tokio::test]
async fn an_entry_is_written_read_and_removed() {
    let client = client().await;
    let docs = client.region("docs");
    let key = Key::from("entries-1");
    docs.destroy(&key).await.ok();
    let absent = docs.get(&key).await.unwrap();
    assert_eq!(absent.found, Found::Absent);
    let document = json(
        r#"{"name":"Ada","age":36,"tags":["a",{"b":[1,2.5,null]}],"ok":true,"big":123456789012345678901234567890}"#,
    );
    let first = docs.put_json(&key, &document).await.unwrap().unwrap();
    let read = docs.get(&key).await.unwrap();
    assert_eq!(read.tag, Some(first.clone()));
    assert_eq!(docs.get_json(&key).await.unwrap(), Some(document));
    let second = docs.put(&key, &Value::string("text")).await.unwrap().unwrap();
    assert_eq!(second.entry_version, first.entry_version + 1);
    assert_eq!(docs.get_json(&key).await.unwrap(), Some(json("\"text\"")));
    let gone = docs.destroy(&key).await.unwrap();
    assert!(gone.was_there);
    assert_eq!(gone.tag.unwrap().entry_version, first.entry_version + 2);
    assert!(!docs.destroy(&key).await.unwrap().was_there);
    assert_eq!(docs.get(&key).await.unwrap().found, Found::Absent);
}

#[tokio::test]
async fn conditional_writes_look_at_what_is_there() {
    let client = client().await;
    let docs = client.region("docs");
    let key = Key::from("entries-2");
    docs.destroy(&key).await.ok();
    let (one, two) = (Value::string("one"), Value::string("two"));
    assert!(!docs.replace(&key, &one).await.unwrap());
    assert!(matches!(docs.put_if_absent(&key, &one).await.unwrap(), PutIfAbsent::Written(Some(_))));
    assert_eq!(docs.put_if_absent(&key, &two).await.unwrap(), PutIfAbsent::Exists(one.clone()));
    assert!(!docs.replace_if(&key, &two, &two).await.unwrap());
    assert!(docs.replace_if(&key, &one, &two).await.unwrap());
    assert_eq!(docs.get(&key).await.unwrap().value(), Some(&two));
    assert!(docs.replace(&key, &one).await.unwrap());
    assert!(!docs.remove_if(&key, &two).await.unwrap());
    assert!(docs.remove_if(&key, &one).await.unwrap());
    assert_eq!(docs.get(&key).await.unwrap().found, Found::Absent);
}

#[tokio::test]
async fn many_entries_are_one_request() {
    let client = client().await;
    let docs = client.region("docs");
    let keys: Vec<Key> = (0..250).map(|at| Key::String(format!("entries-many-{at}"))).collect();
    let mut entries = Vec::new();
    for (at, key) in keys.iter().enumerate() {
        entries.push((key.clone(), client.encode(&json(&format!("{{\"at\":{at}}}"))).await.unwrap()));
    }
    let tags = docs.put_all(&entries).await.unwrap();
    assert!(tags.iter().all(Option::is_some));
    let mut asked = keys.clone();
    asked.push(Key::from("entries-many-absent"));
    let read = docs.get_all(&asked).await.unwrap();
    for (at, (key, value)) in entries.iter().enumerate() {
        assert_eq!(read[at].value(), Some(value), "{key:?}");
        assert_eq!(read[at].tag, tags[at]);
    }
    assert_eq!(read[250].found, Found::Absent);
    let all = docs.key_set().await.unwrap();
    assert!(keys.iter().all(|key| all.contains(key)));
    let gone = docs.remove_all(&keys).await.unwrap();
    for (before, after) in tags.iter().zip(&gone) {
        assert_eq!(after.as_ref().unwrap().entry_version, before.as_ref().unwrap().entry_version + 1);
    }
    assert!(docs.get_all(&keys).await.unwrap().iter().all(|entry| entry.found == Found::Absent));
}

/// A share of the entries is refused, for it holds no value that Geode takes; the other server's share is written.
#[tokio::test]
async fn what_was_done_of_many_changes_is_told() {
    let client = client().await;
    let docs = client.region("docs");
    let keys: Vec<Key> = (0..50).map(|at| Key::String(format!("entries-partly-{at}"))).collect();
    let mut entries: Vec<(Key, Value)> = keys.iter().map(|key| (key.clone(), Value::string("x"))).collect();
    // Buckets come into being with their first entries.
    docs.put_all(&entries).await.unwrap();
    docs.remove_all(&keys).await.unwrap();
    let null = Value::Object(vec![41].into());
    entries[0].1 = null.clone();
    // Which share each is in is not for the test to say: a primary copy may move to the other server at any time.
    let error = docs.put_all(&entries).await.unwrap_err();
    let Error::Partly { done, .. } = &error else { panic!("{error:?}") };
    assert!((1..keys.len()).contains(&done.len()) && !done.contains(&0), "{error:?}");
    for &at in done {
        assert_eq!(docs.get(&keys[at]).await.unwrap().value(), Some(&Value::string("x")), "{at}");
    }
    let error = docs.put_all(&[(keys[0].clone(), null)]).await.unwrap_err();
    assert!(matches!(error, Error::Server { .. }), "nothing of it was done: {error:?}");
    docs.remove_all(&keys).await.unwrap();
}

#[tokio::test]
async fn keys_and_values_of_other_kinds_are_kept() {
    let client = client().await;
    let docs = client.region("/docs");
    let bytes = Value::Bytes(vec![0, 1, 2, 255].into());
    for key in [Key::from(7), Key::from(7i64), Key::from("ключ 😀 \0")] {
        docs.put(&key, &bytes).await.unwrap();
        assert_eq!(docs.get(&key).await.unwrap().value(), Some(&bytes));
        assert!(docs.key_set().await.unwrap().contains(&key));
        assert!(docs.destroy(&key).await.unwrap().was_there);
    }
}

#[tokio::test]
async fn queries_find_documents() {
    let client = client().await;
    let docs = client.region("docs");
    for (at, name) in ["query-a", "query-b", "query-c"].iter().enumerate() {
        docs.put_json(&Key::from(*name), &json(&format!("{{\"query_name\":\"{name}\",\"n\":{at}}}"))).await.unwrap();
    }
    let whole = client.query("SELECT * FROM /docs d WHERE d.query_name = 'query-b'", &[]).await.unwrap();
    assert_eq!(whole.rows.len(), 1);
    let found = client.decode(whole.rows[0][0].as_ref().unwrap()).await.unwrap();
    assert_eq!(found, json(r#"{"query_name":"query-b","n":1}"#));
    let oql = "SELECT d.query_name AS name, d.n AS n FROM /docs d WHERE d.n > $1 AND d.query_name LIKE 'query-%'";
    let least = client.encode(&json("0")).await.unwrap();
    let rows = client.query(oql, &[least]).await.unwrap();
    assert_eq!(rows.columns, ["name", "n"]);
    assert_eq!(rows.rows.len(), 2);
    let count = client.query("SELECT COUNT(*) FROM /docs d WHERE d.query_name LIKE 'query-%'", &[]).await.unwrap();
    assert_eq!(client.decode(count.rows[0][0].as_ref().unwrap()).await.unwrap(), json("3"));
    let nothing = client.query("SELECT * FROM /docs d WHERE d.query_name = 'none'", &[]).await.unwrap();
    assert!(nothing.rows.is_empty());
    let wrong = client.query("SELECT FROM WHERE", &[]).await.unwrap_err();
    assert!(matches!(wrong, Error::Server { .. }), "{wrong}");
}

#[tokio::test]
async fn a_missing_region_is_named() {
    let client = client().await;
    let none = client.region("none");
    assert!(matches!(none.get(&Key::from("a")).await, Err(Error::NoSuchRegion(_))));
    assert!(matches!(none.put(&Key::from("a"), &Value::string("b")).await, Err(Error::NoSuchRegion(_))));
    assert!(matches!(none.key_set().await, Err(Error::NoSuchRegion(_))));
}
