//! A disk without room.

use std::collections::BTreeMap;

use serde_json::Value;

use super::process::{Scratch, Serve, documents};

#[test]
fn a_full_disk_is_told_and_nothing_acknowledged_is_lost() {
    let scratch = Scratch::new();
    let serve = Serve::start(&scratch.configure("", "size_mib_max = 1"));
    let text = "x".repeat(8 << 10);
    let mut acknowledged: BTreeMap<String, Value> = BTreeMap::new();
    let mut put = |serve: &Serve, number: u32| {
        let (key, value) = (format!("k{number:04}"), format!(r#"{{"n":{number},"text":"{text}"}}"#));
        let (status, body) = serve.rest("PUT", &format!("notes/{key}"), &value);
        if status == 201 {
            acknowledged.insert(key, serde_json::from_str(&value).unwrap());
        }
        (status, body)
    };
    let full = (0..1_000).find_map(|number| Some(put(&serve, number)).filter(|(status, _)| *status != 201));
    let (status, body) = full.expect("a MiB is full before eight");
    assert_eq!(status, 507, "{body}");
    let refusal: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((refusal["code"].as_str(), refusal["retryable"].as_bool()), (Some("storage-full"), Some(true)));
    assert_eq!(put(&serve, 2_000).0, 507, "it stays full");
    assert_eq!(documents(&serve).len(), acknowledged.len(), "reads go on");
    serve.stop();

    let larger = Serve::start(&scratch.configure("", "size_mib_max = 4"));
    let held: BTreeMap<String, Value> = documents(&larger).into_iter().collect();
    assert!(held == acknowledged, "exactly what was acknowledged is there: {} of {}", held.len(), acknowledged.len());
    assert_eq!(larger.rest("PUT", "notes/k9999", "1").0, 201, "there is room again");
    larger.stop();
}
