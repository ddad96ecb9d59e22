//! Beginnings and ends of sessions: hello, tokens, silence, limits.

use super::*;

#[test]
fn nothing_before_the_hello() {
    let mut host = Host::new(SessionConfig::default());
    host.push(1, false, "a");
    assert_eq!(host.log(), ["error protocol"]);
    assert_eq!(host.closed, Some(ErrorCode::Protocol));
    assert_eq!(host.session.poll_timeout(), None);
}

#[test]
fn a_hello_must_come_in_time() {
    let mut host = Host::new(SessionConfig::default());
    host.tick(4_999);
    assert_eq!(host.closed, None);
    host.tick(1);
    assert_eq!(host.closed, Some(ErrorCode::Unauthenticated));
}

#[test]
fn a_version_from_the_future_is_refused() {
    let mut host = Host::new(SessionConfig::default());
    host.frame(&ClientFrame::Hello(Hello { protocol: 9, protocol_min: 8, ..opening_hello() }));
    assert_eq!(host.log(), ["error unsupported-version"]);
    let mut host = Host::new(SessionConfig::default());
    host.frame(&ClientFrame::Hello(Hello { protocol: 9, protocol_min: 1, ..opening_hello() }));
    assert!(host.opened.is_some(), "a newer client that speaks version 1 too");
}

fn opening_hello() -> Hello {
    let mut host = Host::new(SessionConfig::default());
    host.hello(0);
    host.opened.unwrap()
}

#[test]
fn garbage_is_an_error() {
    for bytes in [&b""[..], b"\xff\xff", b"{}", &encode(&ClientFrame::Ping(Ping { nonce: 1 }))[..2]] {
        let mut host = Host::open(&["cards"]);
        host.log();
        host.session.handle_frame(host.now_ms, bytes);
        host.drain();
        assert_eq!(host.log(), ["error protocol"], "{bytes:?}");
    }
}

#[test]
fn a_slow_consumer_is_closed() {
    let mut host = Host::new(SessionConfig::default());
    host.hello(0);
    host.welcome(grant(&["cards"]));
    host.subscribe(None, &[], None);
    host.log();
    host.tick(9_999);
    assert_eq!(host.closed, None);
    assert_eq!(host.session.poll_timeout(), Some(host.now_ms + 1));
    host.tick(1);
    assert_eq!(host.log(), ["error slow-consumer"]);
}

#[test]
fn no_data_after_the_token_expires() {
    let mut host = Host::new(SessionConfig::default());
    host.hello(1 << 20);
    let expires_ms = Some(host.now_ms + 100);
    host.welcome(Grant { expires_ms, ..grant(&["cards"]) });
    host.subscribe(None, &[], None);
    host.log();
    assert_eq!(host.session.poll_timeout(), expires_ms);
    host.now_ms += 100;
    host.commit("a", Some("1"), &[], SessionId(0));
    assert_eq!(host.log(), ["error unauthenticated"]);
}

#[test]
fn a_fresh_token_extends_the_session() {
    let mut host = Host::new(SessionConfig::default());
    host.hello(1 << 20);
    host.welcome(Grant { expires_ms: Some(host.now_ms + 100), ..grant(&["cards"]) });
    host.subscribe(None, &[], None);
    host.session.handle_grant(host.now_ms, Ok(grant(&["cards"])));
    host.log();
    host.now_ms += 100;
    host.commit("a", Some("1"), &[], SessionId(0));
    assert_eq!(host.log(), ["changes 0..1 last [a=1]"]);
    let stranger = Grant { subject: "bob".into(), ..grant(&["cards"]) };
    host.session.handle_grant(host.now_ms, Ok(stranger));
    host.drain();
    assert_eq!(host.closed, Some(ErrorCode::Forbidden));
}

#[test]
fn silence_ends_the_session() {
    let mut host = Host::open(&["cards"]);
    host.tick(44_000);
    host.frame(&ClientFrame::Ping(Ping { nonce: 5 }));
    assert!(host.log().contains(&"pong 5".to_owned()));
    host.tick(44_999);
    assert_eq!(host.closed, None);
    host.tick(1);
    assert_eq!(host.closed, Some(ErrorCode::SessionEnded));
}

#[test]
fn frames_beyond_the_rate_are_not_read() {
    let mut host = Host::new(SessionConfig { frames_per_second_max: 2, ..SessionConfig::default() });
    host.hello(0);
    host.welcome(grant(&["cards"]));
    let mut read = 0;
    while host.session.wants_input() {
        host.frame(&ClientFrame::Ping(Ping { nonce: 1 }));
        read += 1;
        assert!(read < 100, "the budget never ends");
    }
    let due = host.session.poll_timeout().unwrap();
    host.tick(due - host.now_ms);
    assert!(host.session.wants_input());
}
