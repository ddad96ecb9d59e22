//! `[limits]`: what clients may use.

use tidelock_core::limits::Limits;

use super::reader::Section;

/// What clients may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// What the welcome frame announces.
    pub protocol: Limits,
    /// Open WebSocket connections of the whole server.
    pub connections_max: u32,
    /// Open WebSocket connections of one identity.
    pub connections_per_identity_max: u32,
    /// Messages that one connection may send per second, averaged over ten seconds.
    pub messages_per_second_max: u32,
    /// REST requests that one identity may make per second, averaged over ten seconds.
    pub requests_per_second_max: u32,
    /// Bytes that wait for a slow client before the server closes the connection.
    pub slow_consumer_bytes_max: u32,
    /// How long bytes may wait for a slow client, in milliseconds.
    pub slow_consumer_ms_max: u32,
    /// How long a connection may take to authenticate, in milliseconds.
    pub hello_ms_max: u32,
    /// How long a stopping server waits for its connections, in milliseconds.
    pub shutdown_ms_max: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            protocol: Limits::default(),
            connections_max: 15_000,
            connections_per_identity_max: 100,
            messages_per_second_max: 200,
            requests_per_second_max: 100,
            slow_consumer_bytes_max: 1 << 20,
            slow_consumer_ms_max: 10_000,
            hello_ms_max: 5_000,
            shutdown_ms_max: 10_000,
        }
    }
}

pub(super) fn read(section: &Section<'_, '_>) -> LimitsConfig {
    let base = LimitsConfig::default();
    let wire = base.protocol;
    let count = |name, unit, max, default| section.integer(name, unit, 1..=max, default);
    let milliseconds = |name, default| section.integer(name, "milliseconds", 100..=3_600_000, default);
    let bytes = |name, min, max, default| section.integer(name, "bytes", min..=max, default);
    let limits = LimitsConfig {
        protocol: Limits {
            frame_bytes_max: bytes("frame_bytes_max", 64 << 10, 64 << 20, wire.frame_bytes_max),
            key_bytes_max: bytes("key_bytes_max", 64, 8 << 10, wire.key_bytes_max),
            document_bytes_max: bytes("document_bytes_max", 1 << 10, 20 << 20, wire.document_bytes_max),
            mutation_bytes_max: bytes("mutation_bytes_max", 64 << 10, 1 << 30, wire.mutation_bytes_max),
            mutation_documents_max: count(
                "mutation_documents_max",
                "documents",
                1_000_000,
                wire.mutation_documents_max,
            ),
            push_window_mutations_max: count(
                "push_window_mutations_max",
                "mutations",
                65_536,
                wire.push_window_mutations_max,
            ),
            channels_max: count("channels_max", "channels", 1_000_000, wire.channels_max),
            silence_ms_max: milliseconds("silence_ms_max", wire.silence_ms_max),
        },
        connections_max: count("connections_max", "connections", 1_000_000, base.connections_max),
        connections_per_identity_max: count(
            "connections_per_identity_max",
            "connections",
            1_000_000,
            base.connections_per_identity_max,
        ),
        messages_per_second_max: count("messages_per_second_max", "messages", 1_000_000, base.messages_per_second_max),
        requests_per_second_max: count("requests_per_second_max", "requests", 1_000_000, base.requests_per_second_max),
        slow_consumer_bytes_max: bytes("slow_consumer_bytes_max", 64 << 10, 1 << 30, base.slow_consumer_bytes_max),
        slow_consumer_ms_max: milliseconds("slow_consumer_ms_max", base.slow_consumer_ms_max),
        hello_ms_max: milliseconds("hello_ms_max", base.hello_ms_max),
        shutdown_ms_max: milliseconds("shutdown_ms_max", base.shutdown_ms_max),
    };
    section.finish();
    check_order(section, &limits.protocol);
    limits
}

/// Limits that contradict each other would refuse what they announce.
fn check_order(section: &Section<'_, '_>, limits: &Limits) {
    let check = |larger: (&'static str, u32), factor: u32, expected: &str| {
        let ((name, value), document) = (larger, limits.document_bytes_max);
        if value < document.saturating_mul(factor) {
            let location = section.raw(name).or_else(|| section.raw("document_bytes_max"));
            let message = format!("`{name}` is {value} and `document_bytes_max` is {document}; expected {expected}");
            section.source().problem(location.map_or_else(|| section.location(), |found| found.location), message);
        }
    };
    check(("mutation_bytes_max", limits.mutation_bytes_max), 1, "a mutation to hold a document");
    // A change of a field holds the value that it replaces, too.
    check(
        ("frame_bytes_max", limits.frame_bytes_max),
        3,
        "a frame of three times as many bytes, which holds any change of a document",
    );
}
