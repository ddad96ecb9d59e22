//! What can go wrong. There is a kind of its own where a caller reacts in its own way.

use crate::json::ParseError;
use crate::wire::Malformed;
use crate::wire::locator::Address;

/// Why an operation did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot work; it says what to change.
    #[error("configuration: {0}")]
    Configuration(String),
    /// No server could be reached. Nothing was done. Try again later.
    #[error("no server can be reached: {0}")]
    Unreachable(String),
    /// The request was sent, and no answer came from any server that was tried: it may have been done or not.
    #[error("the outcome is unknown: {0}")]
    OutcomeUnknown(String),
    /// The server does not take this client: wrong version, too many connections, or no such queue.
    #[error("{server} refused the connection: {reason}")]
    Refused {
        /// Who refused.
        server: Address,
        /// The server's sentence.
        reason: String,
    },
    /// Another process is connected under the durable id.
    #[error("{server}: another client is connected under this durable id")]
    DurableIdInUse {
        /// Who knows the other client.
        server: Address,
    },
    /// Credentials are missing or wrong.
    #[error("authentication: {0}")]
    Authentication(String),
    /// The user may not do this.
    #[error("not authorized: {0}")]
    NotAuthorized(String),
    /// There is no such region on the servers.
    #[error("no such region: {0}")]
    NoSuchRegion(String),
    /// Another change came between this transaction's reads and its commit. Nothing of it was done: start it again.
    #[error("commit conflict: {0}")]
    CommitConflict(String),
    /// The keys of a transaction have their primary copies on several servers. The transaction is over: roll it back.
    #[error("the transaction's data is on several members: {0}")]
    NotColocated(String),
    /// The server took the request for a repetition of an older one, and did nothing. It is a fault of event ids.
    #[error("the server dropped the change as a duplicate")]
    Dropped,
    /// Only the Java class can read this object.
    #[error("an object of {class} cannot be decoded")]
    Opaque {
        /// The class, as far as it is known.
        class: String,
    },
    /// The value has no place in Geode, or is too large.
    #[error("value: {0}")]
    Value(String),
    /// A text that is no JSON.
    #[error(transparent)]
    Json(#[from] ParseError),
    /// A server or a stored object does not keep to the protocol.
    #[error("protocol: {0}")]
    Protocol(String),
    /// The server failed at the request.
    #[error("the server answered with {exception}: {message}")]
    Server {
        /// The Java class of the exception.
        exception: String,
        /// Its message, without the stack.
        message: String,
    },
    /// A part of a change of many entries was made.
    #[error("{} entries were changed, others perhaps not: {cause}", done.len())]
    Partly {
        /// The places, among all that were given, of the entries that were certainly changed.
        done: Vec<usize>,
        /// Why the others may not be.
        cause: Box<Error>,
    },
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}

impl From<Malformed> for Error {
    fn from(error: Malformed) -> Self {
        Self::Protocol(error.to_string())
    }
}

impl Error {
    /// Of the stack trace that a server sends: the class and the message of the exception that says most.
    pub(crate) fn of_trace(trace: &str) -> Self {
        let first = trace.lines().next().unwrap_or_default();
        let (exception, message) = first.split_once(": ").unwrap_or((first, ""));
        let (exception, message) = (exception.trim().to_owned(), message.trim().to_owned());
        let names = |name: &str| trace.contains(name);
        if names("TransactionInDoubtException") {
            Self::OutcomeUnknown(message)
        } else if names("CommitConflictException") {
            Self::CommitConflict(message)
        } else if names("TransactionDataNotColocatedException") {
            Self::NotColocated(message)
        } else if names("NotAuthorizedException") {
            Self::NotAuthorized(message)
        } else if names("AuthenticationRequiredException")
            || names("AuthenticationFailedException")
            || names("AuthenticationExpiredException")
        {
            Self::Authentication(message)
        } else if names("RegionDestroyedException") {
            Self::NoSuchRegion(message)
        } else {
            Self::Server { exception, message }
        }
    }

    /// Of the sentence that a server sends with an error that is no exception.
    pub(crate) fn of_sentence(sentence: String) -> Self {
        if sentence.contains("was not found") {
            Self::NoSuchRegion(sentence)
        } else if sentence.contains("Not authorized") {
            Self::NotAuthorized(sentence)
        } else {
            Self::Server { exception: String::new(), message: sentence }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exception_that_says_most_is_found() {
        let conflict = "org.apache.geode.cache.CommitConflictException: Conflict detected in entry k\n\tat x.Y(Z)";
        assert!(
            matches!(Error::of_trace(conflict), Error::CommitConflict(message) if message == "Conflict detected in entry k")
        );
        let wrapped = "a.ServerOperationException: remote\nCaused by: org.apache.geode.cache.TransactionDataNotColocatedException: Key";
        assert!(matches!(Error::of_trace(wrapped), Error::NotColocated(_)));
        let in_doubt = "org.apache.geode.cache.TransactionInDoubtException: Commit failed on cache server";
        assert!(matches!(Error::of_trace(in_doubt), Error::OutcomeUnknown(_)));
        let other = "java.lang.IllegalStateException: no\n\tat x";
        assert!(
            matches!(Error::of_trace(other), Error::Server { exception, message } if exception == "java.lang.IllegalStateException" && message == "no")
        );
        assert!(matches!(Error::of_sentence("Region was not found during x".into()), Error::NoSuchRegion(_)));
    }
}
