//! Error codes on the wire and the codec's own errors (`docs/protocol.md` section 10).

use super::cbor::cbor_number;

/// Declares the codes with their wire numbers, names and retryability, so that the three cannot drift apart.
macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal, $retryable:literal;)*) => {
        /// Why a session, a mutation or a request failed. A caller reacts differently to each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $name = $number,)*
        }

        cbor_number!(ErrorCode { $($name),* });

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name),*];

            /// The stable name, as REST answers and logs show it.
            pub fn name(self) -> &'static str {
                match self { $(ErrorCode::$name => $text,)* }
            }

            /// Whether the same request may succeed later without a change by the user.
            pub fn retryable(self) -> bool {
                match self { $(ErrorCode::$name => $retryable,)* }
            }
        }
    };
}

error_codes! {
    /// A frame that cannot be decoded, or that is not allowed in this state.
    Protocol = 0, "protocol", false;
    /// No common protocol version.
    UnsupportedVersion = 1, "unsupported-version", false;
    /// The token is missing, malformed, expired or not trusted.
    Unauthenticated = 2, "unauthenticated", false;
    /// The identity may not do this.
    Forbidden = 3, "forbidden", false;
    /// No such database.
    UnknownDatabase = 4, "unknown-database", false;
    /// No such collection, or none that the identity may use.
    UnknownCollection = 5, "unknown-collection", false;
    /// A frame, document, key, mutation or nesting beyond the announced limits.
    TooLarge = 6, "too-large", false;
    /// A document that is not valid: bad JSON, duplicate member, lone surrogate, number out of range.
    InvalidDocument = 7, "invalid-document", false;
    /// The document does not satisfy the collection's schema.
    SchemaViolation = 8, "schema-violation", false;
    /// The current state differs from the base and the policy is `reject`.
    Conflict = 9, "conflict", false;
    /// A sequence that is not the next one.
    OutOfOrder = 10, "out-of-order", true;
    /// The rate or quota of the identity is used up.
    RateLimited = 11, "rate-limited", true;
    /// The client did not take its changes in time; it may resume from its cursor.
    SlowConsumer = 12, "slow-consumer", true;
    /// The server is stopping or its store does not answer.
    Unavailable = 13, "unavailable", true;
    /// The store has no room.
    StorageFull = 14, "storage-full", true;
    /// The server failed; its log says why.
    Internal = 15, "internal", true;
    /// The session is not open any more: silence, or a later session of the same client.
    SessionEnded = 16, "session-ended", true;
}

/// Bytes that are not a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Not the expected CBOR.
    #[error("malformed frame: {what} (byte {at})")]
    Malformed {
        /// Where, in bytes from the start.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// More bytes follow the frame.
    #[error("{0} bytes follow the frame")]
    Trailing(usize),
}
