//! What a feed is to do.

use std::time::Duration;

use crate::address::ConnectionString;
use crate::error::Error;
use crate::limits::{BUFFER_BYTES_MIN, NAME_BYTES_MAX};

/// Who the client is.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// SCRAM (SHA-512, SHA-256 or SHA-1, the best that the server offers); over TLS, PLAIN.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// The certificate that `Config::tls` has says who it is.
    Certificate,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Password { user, .. } => write!(out, "Password {{ user: {user:?} }}"),
            Self::Certificate => out.write_str("Certificate"),
        }
    }
}

/// Which documents a feed shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Filter {
    /// All.
    #[default]
    All,
    /// Those of a scope, by its name.
    Scope(String),
    /// Those of some collections, each as `scope.collection`. A collection that is dropped and created again is another one: open the
    /// feed again for it.
    Collections(Vec<String>),
}

/// Where vbuckets begin that have no position in the checkpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Start {
    /// With the oldest that the server has.
    #[default]
    Beginning,
    /// With what happens after the feed was opened.
    Now,
}

/// When an event is told. A fail-over can take back what no other node had; with a later moment, less of that is told and then rolled
/// back. It costs latency and a request per vbucket and node in each interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Deliver {
    /// As soon as the active node sends it.
    #[default]
    AtOnce,
    /// When all copies of the vbucket have it in memory. The interval is between two looks.
    Replicated(Duration),
    /// When all copies of the vbucket have it on disk. The interval is between two looks.
    Persisted(Duration),
}

/// How to connect and what to follow. [`Config::new`] has defaults for everything else.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct Config {
    pub(crate) seeds: ConnectionString,
    /// The bucket.
    pub bucket: String,
    /// Who the client is.
    pub credentials: Credentials,
    /// How to encrypt; necessary for `couchbases://`.
    #[cfg(feature = "tls")]
    pub tls: Option<crate::tls::Tls>,
    /// The name of the connections, for the server's operators; two connections of one name to one node are not possible: the later one
    /// closes the earlier one. By default it ends with random digits.
    pub name: String,
    /// Which documents.
    pub filter: Filter,
    /// Where vbuckets without a position begin.
    pub start: Start,
    /// Ends when each vbucket has come to what it has at the moment; otherwise the feed goes on for ever.
    pub to_latest: bool,
    /// When events are told.
    pub deliver: Deliver,
    /// Documents come without their bodies.
    pub without_bodies: bool,
    /// Deletions come with all attributes that they have, not only with the system ones.
    pub deleted_user_xattrs: bool,
    /// Lets the server send the first documents of one collection in the order of its disk, which is faster.
    pub out_of_order: bool,
    /// The server compresses what it sends.
    pub compression: bool,
    /// How many bytes each node may send before some are acknowledged. What waits in memory is limited by it, times the number of nodes.
    pub buffer_bytes: u32,
    /// An idle connection carries a sign of life so often. Twice that time in silence is the end of it.
    pub noop_interval: Duration,
    /// How long a connection, or an answer, may take.
    pub timeout: Duration,
}

impl Config {
    /// A feed of the bucket that the connection string names, or that is set afterwards: `couchbase://user:password@host1,host2/bucket`.
    /// `couchbases://` is for TLS. A single name without a port may be a DNS SRV record (feature `srv`). `network=external` takes the
    /// nodes' alternate addresses, `network=default` their own names; without it, or with `network=auto`, they are those of the network in
    /// which the cluster knows the host that answers. User and password may be set afterwards, too.
    pub fn new(connection_string: &str) -> Result<Self, Error> {
        let mut seeds: ConnectionString = connection_string.parse()?;
        let random = getrandom::u64().map_err(|error| Error::Configuration(format!("no random numbers: {error}")))?;
        // Taken out, so that it is in one place only, which does not show it.
        let credentials = match seeds.user.take() {
            Some((user, password)) => Credentials::Password { user, password },
            None => Credentials::Certificate,
        };
        Ok(Self {
            bucket: seeds.bucket.clone().unwrap_or_default(),
            credentials,
            seeds,
            #[cfg(feature = "tls")]
            tls: None,
            name: format!("couchbase-dcp-{random:016x}"),
            filter: Filter::All,
            start: Start::Beginning,
            to_latest: false,
            deliver: Deliver::AtOnce,
            without_bodies: false,
            deleted_user_xattrs: false,
            out_of_order: false,
            compression: false,
            buffer_bytes: 10 << 20,
            noop_interval: Duration::from_secs(20),
            timeout: Duration::from_secs(10),
        })
    }

    /// Another bucket.
    #[must_use]
    pub fn bucket(self, bucket: &str) -> Self {
        Self { bucket: bucket.to_owned(), ..self }
    }

    /// A user with a password.
    #[must_use]
    pub fn password(self, user: &str, password: &str) -> Self {
        let credentials = Credentials::Password { user: user.to_owned(), password: password.to_owned() };
        Self { credentials, ..self }
    }

    /// Some collections only, each as `scope.collection`.
    #[must_use]
    pub fn collections<T: Into<String>>(self, paths: impl IntoIterator<Item = T>) -> Self {
        Self { filter: Filter::Collections(paths.into_iter().map(Into::into).collect()), ..self }
    }

    /// Whether the connection string asks for encryption.
    pub fn is_tls(&self) -> bool {
        self.seeds.is_tls
    }

    /// What can be found wrong before anything is tried.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong = |why: String| Err(Error::Configuration(why));
        if self.bucket.is_empty() {
            return wrong("no bucket is named".into());
        }
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX {
            return wrong(format!("the connections' name has 1 to {NAME_BYTES_MAX} bytes"));
        }
        if self.buffer_bytes < BUFFER_BYTES_MIN {
            return wrong(format!("the buffer has at least {BUFFER_BYTES_MIN} bytes"));
        }
        if matches!(&self.filter, Filter::Collections(paths) if paths.is_empty()) {
            return wrong("a filter by collections names at least one".into());
        }
        if self.noop_interval < Duration::from_millis(100) || self.noop_interval > Duration::from_secs(10_800) {
            return wrong("the NOOP interval is 0.1 to 10800 seconds (the server takes no other)".into());
        }
        if self.credentials == Credentials::Certificate && !self.is_tls() {
            return wrong("neither a user nor, over TLS, a certificate says who the client is".into());
        }
        #[cfg(feature = "tls")]
        if self.is_tls() && self.tls.is_none() {
            return wrong("couchbases:// needs Config::tls".into());
        }
        #[cfg(not(feature = "tls"))]
        if self.is_tls() {
            return wrong("couchbases:// needs the feature tls of this crate".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named_before_anything_is_tried() {
        let good = || Config::new("couchbase://u:p@localhost/b").unwrap();
        assert_eq!(good().check(), Ok(()));
        let check = |change: fn(&mut Config), part: &str| {
            let mut config = good();
            change(&mut config);
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        check(|config| config.bucket.clear(), "no bucket");
        check(|config| config.name = "x".repeat(201), "1 to 200 bytes");
        check(|config| config.buffer_bytes = 5, "at least 1024 bytes");
        check(|config| config.filter = Filter::Collections(Vec::new()), "at least one");
        check(|config| config.noop_interval = Duration::ZERO, "0.1 to 10800");
        check(|config| config.credentials = Credentials::Certificate, "who the client is");
        check(|config| config.seeds.is_tls = true, "couchbases://");
    }

    #[test]
    fn a_password_is_not_shown() {
        let shown = format!("{:?}", Config::new("couchbase://u:sesame@localhost/b").unwrap());
        assert!(shown.contains('u') && !shown.contains("sesame"), "{shown}");
    }
}
