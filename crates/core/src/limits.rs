//! Every named limit of the protocol. The server announces its own in the welcome frame; both sides refuse what exceeds them.

use crate::wire::cbor_struct;
/// Deepest nesting of arrays and objects in a document.
pub const DEPTH_MAX: usize = 100;

/// Limits that the server announces and both sides apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest frame in either direction, in bytes, whatever the coding of its message.
    pub frame_bytes_max: u32,
    /// Largest key in platform form, in bytes of UTF-8.
    pub key_bytes_max: u32,
    /// Largest document body, in bytes of JSON text.
    pub document_bytes_max: u32,
    /// Largest mutation, all its frames together, in bytes.
    pub mutation_bytes_max: u32,
    /// Most documents in one mutation.
    pub mutation_documents_max: u32,
    /// Most mutations that a client may have pushed without a result.
    pub push_window_mutations_max: u32,
    /// Most channels named by all subscriptions of one session.
    pub channels_max: u32,
    /// Silence after which the server closes the session, in milliseconds; a client pings at a third of it.
    pub silence_ms_max: u32,
}

cbor_struct!(Limits {
    frame_bytes_max,
    key_bytes_max,
    document_bytes_max,
    mutation_bytes_max,
    mutation_documents_max,
    push_window_mutations_max,
    channels_max,
    silence_ms_max
});

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes_max: 4 << 20,
            key_bytes_max: 1 << 10,
            document_bytes_max: 1 << 20,
            mutation_bytes_max: 64 << 20,
            mutation_documents_max: 100_000,
            push_window_mutations_max: 256,
            channels_max: 10_000,
            silence_ms_max: 45_000,
        }
    }
}

/// Most bytes of change frames that a client lets the server have in flight.
pub const CREDIT_BYTES_INITIAL: u32 = 4 << 20;
