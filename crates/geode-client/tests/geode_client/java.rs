//! What a Java application sees of our documents, and we of its.

use std::fmt::Write as _;

use tidelock_geode_client::{Error, Event, Json, Key, RegionChange, Value};

use crate::subscriptions::{all, next, next_change};
use crate::support::{client, java, json};

const DOCUMENTS: &[&str] = &[
    r#"{"name":"Ada","age":36,"tags":["a","b"],"ok":true}"#,
    r"{}",
    r#"{"a":127,"b":128,"c":32767,"d":32768,"e":2147483647,"f":2147483648,"g":-9223372036854775808,"h":123456789012345678901234567890,"i":-1.5e-7,"j":0.1}"#,
    r#"{"text":"é€😀","empty":"","none":null,"no":false,"deep":{"x":{"y":[1,[2,[3]],{"z":null}]},"last":9}}"#,
    r#"{"n1":1,"s":"x","n2":2,"n3":3.5,"s2":"y","n4":true,"n5":70000}"#,
];

#[tokio::test]
async fn our_bytes_are_those_of_the_formatter() {
    let client = client().await;
    let long = format!(r#"{{"a":"{}","b":"{}","c":1}}"#, "x".repeat(300), "é".repeat(40_000));
    let mut many = "{".to_owned();
    for at in 0..300 {
        write!(many, "\"f{at}\":\"v\",").unwrap();
    }
    many.push_str("\"end\":0}");
    for text in DOCUMENTS.iter().copied().chain([long.as_str(), many.as_str()]) {
        // We first: the type gets its id through us.
        let ours = client.encode(&json(text)).await.unwrap();
        let mut hex = String::new();
        for byte in ours.as_bytes() {
            write!(hex, "{byte:02x}").unwrap();
        }
        assert_eq!(hex, java(&["bytes", text]), "{text:.80}");
    }
}

#[tokio::test]
async fn both_read_what_the_other_wrote() {
    let client = client().await;
    let docs = client.region("docs");
    for (at, text) in DOCUMENTS.iter().enumerate() {
        let name = format!("java-{at}");
        docs.put_json(&Key::from(name.as_str()), &json(text)).await.unwrap();
        assert_eq!(java(&["equals", "docs", &name, text]), "true", "{text}");
        java(&["put-json", "docs", &name, text]);
        assert_eq!(docs.get_json(&Key::from(name.as_str())).await.unwrap(), Some(json(text)));
    }
    docs.put(&Key::from(5), &Value::string("five")).await.unwrap();
    assert_eq!(java(&["get-integer-key", "docs", "5"]), "java.lang.String five");
    docs.destroy(&Key::from(5)).await.unwrap();
    let found = java(&["query", "SELECT d.age FROM /docs d WHERE d.name = 'Ada'"]);
    assert_eq!(found, "java.lang.Byte 36");
}

#[tokio::test]
async fn a_domain_object_becomes_json() {
    let client = client().await;
    let people = client.region("people");
    java(&["put-person", "people", "ada"]);
    let value = people.get(&Key::from("ada")).await.unwrap();
    let value = value.value().unwrap().clone();
    let id = tidelock_geode_client::pdx::type_id_of(value.as_bytes()).unwrap();
    assert_eq!(client.pdx_type(id).await.unwrap().class_name, "tidelock.testing.Person");
    let expected = json(
        r#"{"bool":true,"tiny":-1,"letter":"x","small":300,"age":36,"name":"Ada €","big":9223372036854775807,
        "ratio":0.1,"exact":0.1,"born":"2000-02-29T00:00:00.123Z","colour":"GREEN","bools":[true,false],"chars":"ab",
        "bytes":[1,-1],"shorts":[1,-300],"ints":[1,-70000],"longs":[1,-9223372036854775808],"floats":[0.5],
        "doubles":[0.25],"strings":["s",null],"objects":[1,"two",null],"blobs":[[1],[2,3]],"list":[1,2,"x"],
        "map":{"k":123456789012345678901234567890},"decimal":1.50,"none":null,"last":7}"#,
    );
    let decoded = client.decode(&value).await.unwrap();
    assert_eq!(decoded.get("decimal"), Some(&Json::Decimal("1.50".to_owned())));
    assert_eq!(decoded.to_string(), expected.to_string().replace("\"decimal\":1.5,", "\"decimal\":1.50,"));
}

#[tokio::test]
async fn an_object_that_only_java_reads_is_named() {
    let client = client().await;
    java(&["put-opaque", "people", "opaque"]);
    let people = client.region("people");
    let keys = ["opaque", "opaque-after", "opaque-bytes", "opaque-none"].map(Key::from);
    let (after, bytes) = (Value::string("after"), Value::Bytes(vec![1, 2].into()));
    people.put(&keys[1], &after).await.unwrap();
    people.put(&keys[2], &bytes).await.unwrap();
    let value = people.get(&keys[0]).await.unwrap();
    let error = client.decode(value.value().unwrap()).await.unwrap_err();
    assert!(matches!(&error, Error::Opaque { class } if class == "java.lang.StringBuilder"), "{error}");
    // It is in its place among others.
    let all = people.get_all(&keys).await.unwrap();
    assert_eq!(all[0], value);
    assert_eq!([all[1].value(), all[2].value(), all[3].value()], [Some(&after), Some(&bytes), None]);
}

#[tokio::test]
async fn a_cleared_region_is_one_event() {
    let (listener, writer) = (client().await, client().await);
    let copies = writer.region("copies");
    let mut subscription = listener.subscribe(all("copies", 1)).await.unwrap();
    assert!(matches!(next(&mut subscription).await, Event::Lost(_)));
    copies.put(&Key::from("clear"), &Value::string("x")).await.unwrap();
    assert_eq!(next_change(&mut subscription).await.key, Key::from("clear"));
    java(&["clear", "copies"]);
    let event = next(&mut subscription).await;
    assert!(
        matches!(&event, Event::Region { region, change: RegionChange::Cleared, .. } if region == "/copies"),
        "{event:?}"
    );
    assert!(copies.key_set().await.unwrap().is_empty());
}

/// What Java makes of documents and of an object of its own, for the unit tests of the library, which have no cluster.
const GOLDEN: &str = "src/pdx/golden.txt";

/// Puts other numbers in the places of the ids of types, which each cluster gives by itself.
fn renumbered(hex: &str, ids: &[(i32, i32)]) -> String {
    let digits = |id: i32| format!("{id:08x}");
    let split = |hex: &str| -> Vec<String> { (0..hex.len()).step_by(2).map(|at| hex[at..at + 2].to_owned()).collect() };
    let mut bytes = split(hex);
    for (from, to) in ids.iter().filter(|(from, to)| from != to).map(|(from, to)| (digits(*from), digits(*to))) {
        while let Some(at) = bytes.windows(4).position(|four| four.concat() == from) {
            bytes.splice(at..at + 4, split(&to));
        }
    }
    bytes.concat()
}

#[tokio::test]
async fn the_golden_vectors_are_those_of_java() {
    let mut lines = std::collections::BTreeSet::new();
    let mut numbers: Vec<(i32, i32)> = Vec::new();
    let mut add = |head: String, answer: &str| {
        let mut words = answer.split(' ');
        let object = words.next().unwrap();
        let types = words.map(|word| word.split_once(':').unwrap());
        let mut types: Vec<(i32, &str)> = types.map(|(id, bytes)| (id.parse().unwrap(), bytes)).collect();
        // Their order does not depend on the ids.
        types.sort_by_key(|(id, bytes)| renumbered(bytes, &[(*id, 0)]));
        for (id, _) in &types {
            if !numbers.iter().any(|(known, _)| known == id) {
                numbers.push((*id, i32::try_from(numbers.len()).unwrap() + 1));
            }
        }
        lines.insert(format!("{head}\t{}", renumbered(object, &numbers)));
        for (id, bytes) in types {
            let number = numbers.iter().find(|(known, _)| *known == id).unwrap().1;
            lines.insert(format!("type\t{number}\t{}", renumbered(bytes, &numbers)));
        }
    };
    for text in DOCUMENTS {
        add(format!("json\t{text}"), &java(&["golden-json", text]));
    }
    add("object\tPerson".to_owned(), &java(&["golden-person"]));
    let constant = java(&["golden-enum"]);
    let (id, name) = constant.split_once(':').unwrap();
    lines.insert(format!("enum\t{id}\t{name}"));
    let found = lines.into_iter().fold(String::new(), |text, line| text + &line + "\n");
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN);
    if std::env::var_os("TIDELOCK_BLESS").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), found, "set TIDELOCK_BLESS to write the file anew");
}

#[tokio::test]
async fn keys_of_javas_classes_are_counted_and_sent_back_as_they_came() {
    let (client, listener) = (client().await, client().await);
    let suite = client.region("suite4");
    let mut subscription = listener.subscribe(all("suite4", 1)).await.unwrap();
    assert!(matches!(next(&mut subscription).await, Event::Lost(_)));
    java(&["put-json", "suite4", "text", "{}"]);
    assert_eq!(next_change(&mut subscription).await.key, Key::from("text"));
    let mut keys = Vec::new();
    for (kind, text) in [("enum", "GREEN"), ("serializable", "s"), ("data-serializable", "d")] {
        java(&["put-key", "suite4", kind, text, r#"{"a":1}"#]);
        keys.push(next_change(&mut subscription).await.key);
        let found = suite.string_keys().await.unwrap();
        assert_eq!((found.strings, found.others), (vec!["text".to_owned()], keys.len()), "{kind}");
    }
    for entry in suite.get_all(&keys).await.unwrap() {
        assert_eq!(client.decode(entry.value().unwrap()).await.unwrap(), json(r#"{"a":1}"#));
    }
    for key in &keys {
        assert!(suite.destroy(key).await.unwrap().was_there, "{key:?}");
        assert_eq!(&next_change(&mut subscription).await.key, key);
    }
    suite.destroy(&Key::from("text")).await.unwrap();
}

#[tokio::test]
async fn there_are_no_keys_of_classes_that_the_servers_lack() {
    let client = client().await;
    let suite = client.region("suite4");
    // A `DataSerializable`, of which nothing follows its class.
    let class = "com.example.NoSuchKey";
    let mut key = vec![45, 43, 87, 0, u8::try_from(class.len()).unwrap()];
    key.extend_from_slice(class.as_bytes());
    let key = Key::Object(key.into());
    let error = suite.put(&key, &Value::string("x")).await.unwrap_err();
    assert!(error.to_string().contains(class), "{error}");
    assert_eq!(suite.string_keys().await.unwrap().others, 0);
}
