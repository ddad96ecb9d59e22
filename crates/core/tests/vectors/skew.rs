//! `skew.json`: clients and servers of other versions.

use std::sync::Arc;

use tidelock_core::client::storage::{Read, ReadResult, Verdict};
use tidelock_core::client::{Client, Config, Effect as ClientEffect, Kept, Phase};
use tidelock_core::server::{Effect, Session, SessionConfig};
use tidelock_core::wire::{ErrorCode, ServerFrame, decode, encode};

use crate::{list, read, text, unhex};

#[test]
fn a_client_of_another_version_is_served_or_told_who_must_be_updated() {
    for hello in list(&read("skew.json")["hellos"]) {
        let name = text(&hello["name"]);
        let mut session = Session::new(0, Arc::new(SessionConfig::default()));
        session.handle_frame(0, &unhex(text(&hello["bytes"])));
        let effects: Vec<Effect> = std::iter::from_fn(|| session.poll_effect()).collect();
        match (effects.as_slice(), hello["refused"].as_str()) {
            ([Effect::Open(hello)], None) => {
                assert_eq!((hello.database.as_str(), hello.acknowledged.0), ("board", 7), "{name}");
            }
            ([Effect::Send(frame), Effect::Close { code, .. }], Some(advice)) => {
                let Ok(ServerFrame::Error(error)) = decode::<ServerFrame>(&frame.frame) else { panic!("{name}") };
                assert_eq!((error.code, *code), (ErrorCode::UnsupportedVersion, ErrorCode::UnsupportedVersion));
                assert!(error.message.ends_with(advice) && !error.retryable, "{name}: {}", error.message);
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

/// A client whose hello is on its way, and what it has asked for since.
fn greeting() -> Client {
    let config = Config {
        database: "board".into(),
        collections: vec!["cards".into()],
        channels: None,
        resolver: false,
        offline: false,
        kept: Kept::default(),
    };
    let mut client = Client::new(config, 1, 1);
    run_tasks(&mut client);
    client.handle_connected(1, "token");
    client
}

/// Runs tasks over an empty storage.
fn run_tasks(client: &mut Client) -> Vec<ClientEffect> {
    let mut effects = Vec::new();
    while let Some(effect) = client.poll_effect() {
        if effect == ClientEffect::RunTask {
            let mut results = Vec::new();
            loop {
                let step = client.task_step(results);
                if step.verdict != Verdict::Continue {
                    break;
                }
                // The load comes first; after it this client is the first leader.
                let loads = step.reads.contains(&Read::Pending);
                results = step.reads.iter().map(|read| answer(read, loads)).collect();
            }
            client.handle_task_committed(1, Vec::new());
        }
        effects.push(effect);
    }
    effects
}

fn answer(read: &Read, loads: bool) -> ReadResult {
    match read {
        Read::State("fence") if !loads => ReadResult::State(Some(1_u64.to_be_bytes().to_vec())),
        Read::State(_) => ReadResult::State(None),
        Read::ShadowPages => ReadResult::ShadowPages(Vec::new()),
        Read::ShadowPage(_) => ReadResult::ShadowPage(None),
        Read::Pending => ReadResult::Pending(Vec::new()),
        Read::RejectedCount => ReadResult::RejectedCount(0),
        Read::Outbox { .. } => ReadResult::Outbox(Vec::new()),
        Read::Rows { .. } => ReadResult::Rows(Vec::new()),
        Read::Scan { .. } => ReadResult::Scan(Vec::new()),
    }
}

#[test]
fn a_server_of_another_version_is_taken_or_refused() {
    for welcome in list(&read("skew.json")["welcomes"]) {
        let name = text(&welcome["name"]);
        let mut client = greeting();
        client.handle_message(2, &unhex(text(&welcome["bytes"])));
        run_tasks(&mut client);
        let status = client.status();
        if welcome["accepted"] == true {
            assert_eq!((status.phase, status.error), (Phase::CatchingUp, None), "{name}");
        } else {
            let (code, message, _) = status.error.expect("it says why");
            assert!(code == "protocol" && message.ends_with("update the server"), "{name}: {message}");
        }
    }
}

#[test]
fn a_refused_client_waits_and_keeps_what_it_has() {
    let mut client = greeting();
    let refusal = ServerFrame::Error(tidelock_core::wire::ErrorFrame {
        code: ErrorCode::UnsupportedVersion,
        retryable: false,
        message: "update the application".into(),
        retry_after_ms: None,
    });
    client.handle_message(5, &encode(&refusal));
    let effects = run_tasks(&mut client);
    assert!(effects.contains(&ClientEffect::Disconnect));
    let (code, message, retryable) = client.status().error.expect("it says why");
    assert_eq!((code.as_str(), message.as_str(), retryable), ("unsupported-version", "update the application", false));
    assert_eq!((client.status().phase, client.next_timeout_ms()), (Phase::Offline, Some(30_005)));
}
