//! JSON documents: written, read, found by a query, and changed in a transaction.
//!
//! `cargo run --example documents -- 'localhost[10334]'` needs a cluster with a region `people`, whose type is, for example,
//! `PARTITION_REDUNDANT` (`create region --name=people --type=PARTITION_REDUNDANT` in gfsh). Persistent regions need
//! `-Dgemfire.ALLOW_PERSISTENT_TRANSACTIONS=true` on the servers.
#![allow(clippy::print_stdout, reason = "it shows what happens")]

use tidelock_geode_client::{Client, Config, Error, Json, Key, Region};

/// How often a transaction that met with another change is begun again.
const ATTEMPTS_MAX: usize = 10;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let locator = std::env::args().nth(1).unwrap_or_else(|| "localhost[10334]".to_owned());
    let client = Client::connect(Config::with_locator(locator.parse()?)).await?;
    let people = client.region("people");

    let ada = Key::from("ada");
    people.put_json(&ada, &Json::parse(r#"{"name":"Ada","born":1815,"visits":0}"#)?).await?;
    people.put_json(&Key::from("alan"), &Json::parse(r#"{"name":"Alan","born":1912,"visits":0}"#)?).await?;
    if let Some(document) = people.get_json(&ada).await? {
        println!("read: {document}");
    }

    let oql = "SELECT p.name, p.born FROM /people p WHERE p.born < 1900";
    for row in client.query(oql, &[]).await?.rows {
        for value in row.iter().flatten() {
            println!("found: {}", client.decode(value).await?);
        }
    }

    let visits = count_visit(&client, &people, &ada).await?;
    println!("visits: {visits}");

    for (key, entry) in
        [ada.clone(), Key::from("nobody")].iter().zip(people.get_all(&[ada, Key::from("nobody")]).await?)
    {
        println!("{key:?} is {}", if entry.value().is_some() { "there" } else { "not there" });
    }
    client.close(false).await;
    Ok(())
}

/// Reads a document and writes it with one visit more. Between the two nobody else writes it: otherwise the commit is refused, and all of
/// it is done again.
async fn count_visit(client: &Client, people: &Region, key: &Key) -> Result<i64, Error> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let mut transaction = client.begin(Some((people, key))).await?;
        let before = transaction.get(people, key).await?;
        let Some(value) = before.value() else { return Err(Error::Value("there is no such document".to_owned())) };
        let document = client.decode(value).await?;
        let Json::Object(mut fields) = document else { return Err(Error::Value("it is no document".to_owned())) };
        let mut visits = 0;
        for (name, field) in &mut fields {
            if let (true, Json::Integer(count)) = (name == "visits", &mut *field) {
                visits = *count + 1;
                *count = visits;
            }
        }
        transaction.put(people, key, &client.encode(&Json::Object(fields)).await?).await?;
        match transaction.commit().await {
            Err(Error::CommitConflict(_)) if attempts < ATTEMPTS_MAX => {}
            other => return other.map(|()| visits),
        }
    }
}
