//! Why something did not work. A kind of its own where the caller would do something else.

use std::io;

/// Why a feed could not be opened, or goes no further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting, or the connection string, is wrong: the program or its configuration has to change.
    #[error("the configuration is wrong: {0}")]
    Configuration(String),
    /// User and password, or the client certificate, are refused.
    #[error("authentication failed: {0}")]
    Authentication(String),
    /// The user may not do it, or there is no such bucket (the server does not tell which).
    #[error("access is denied: {0}")]
    Access(String),
    /// A scope or a collection is missing: create it, or open the feed with another filter.
    #[error("unknown collection: {0}")]
    UnknownCollection(String),
    /// The server is too old, or refuses a feature that was asked for.
    #[error("the server does not support it: {0}")]
    Unsupported(String),
    /// No connection, or none any more. Inside a feed it is told by [`Event::Disconnected`](crate::Event::Disconnected), and tried again.
    #[error("not connected: {0}")]
    Connection(String),
    /// The server did not answer in time. Tried again like [`Connection`](Self::Connection).
    #[error("no answer in time: {0}")]
    Timeout(String),
    /// The server sent what the protocol does not allow. The connection is closed, and tried again.
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
    /// The server refused a request with a status that this crate has no better name for.
    #[error("the server answered with status {status:#06x} to {request}")]
    Status {
        /// What was asked.
        request: &'static str,
        /// The status (`kv_engine` include/mcbp/protocol/status.h).
        status: u16,
    },
    /// The checkpoint does not belong to this bucket.
    #[error("the checkpoint is of another bucket: {0}")]
    Checkpoint(String),
}

impl Error {
    /// Whether trying again can help: it is a matter of the network or of the cluster's state, not of the configuration.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connection(_) | Self::Timeout(_) | Self::Protocol(_) | Self::Status { .. } => true,
            Self::Configuration(_)
            | Self::Authentication(_)
            | Self::Access(_)
            | Self::UnknownCollection(_)
            | Self::Unsupported(_)
            | Self::Checkpoint(_) => false,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Connection(error.to_string())
    }
}

impl From<crate::wire::packet::PacketError> for Error {
    fn from(error: crate::wire::packet::PacketError) -> Self {
        Self::Protocol(error.to_string())
    }
}
