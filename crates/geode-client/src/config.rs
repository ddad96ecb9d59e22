//! How a client finds its cluster and behaves.

use std::time::Duration;

use crate::error::Error;
use crate::pdx::TypeMode;
use crate::wire::handshake::{ORDINAL_1_14, ORDINAL_1_15};
use crate::wire::locator::Address;

/// Which version of the client protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Servers of 1.14, and all later ones.
    V1_14,
    /// Servers of 1.15, 1.16 and 2.0.
    V1_15,
}

impl Protocol {
    pub(crate) fn ordinal(self) -> i16 {
        match self {
            Self::V1_14 => ORDINAL_1_14,
            Self::V1_15 => ORDINAL_1_15,
        }
    }
}

/// The name under which servers keep this client's event queue while it is away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durable {
    /// Unique in the cluster: one live process per id.
    pub id: String,
    /// How long the queue is kept for a client that is away. Geode's default is 300 s.
    pub timeout: Duration,
}

/// How a client finds its cluster and behaves. The defaults suit a cluster in one data centre.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to ask for servers. One that answers is enough.
    pub locators: Vec<Address>,
    /// Servers to use without asking a locator. One of the two lists is empty.
    pub servers: Vec<Address>,
    /// Only servers of this group; empty for all.
    pub server_group: String,
    /// The name that servers show in their logs.
    pub name: String,
    /// What the cluster's security manager asks for, usually `security-username` and `security-password`.
    pub credentials: Option<Vec<(String, String)>>,
    /// TLS for connections to servers and locators.
    #[cfg(feature = "tls")]
    pub tls: Option<crate::tls::Tls>,
    /// The version of the protocol; without one, the newest that the cluster answers to when the client connects.
    pub protocol: Option<Protocol>,
    /// The durable queue, for a client that subscribes.
    pub durable: Option<Durable>,
    /// Which types JSON documents get.
    pub type_mode: TypeMode,
    /// Requests on one entry go to the server that holds its primary copy.
    pub single_hop: bool,
    /// How long a connection may take to open, handshake included.
    pub connect_timeout: Duration,
    /// How long a server may keep silent while it is asked. The whole of a long answer may take longer.
    pub request_timeout: Duration,
    /// How often a server hears of a client that says nothing else. Servers drop a client after 60 s of silence.
    pub ping_interval: Duration,
    /// The most connections to one server, subscriptions not counted. Further requests wait.
    pub connections_per_server_max: usize,
    /// On how many servers a request is tried before it fails.
    pub attempts_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            locators: Vec::new(),
            servers: Vec::new(),
            server_group: String::new(),
            name: "rust".to_owned(),
            credentials: None,
            #[cfg(feature = "tls")]
            tls: None,
            protocol: None,
            durable: None,
            type_mode: TypeMode::default(),
            single_hop: true,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            ping_interval: Duration::from_secs(10),
            connections_per_server_max: 16,
            attempts_max: 3,
        }
    }
}

impl Config {
    /// The defaults with one locator.
    pub fn with_locator(locator: Address) -> Self {
        Self { locators: vec![locator], ..Self::default() }
    }

    /// User name and password, under the names that Geode's own security managers use.
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.credentials = Some(vec![
            ("security-username".to_owned(), name.to_owned()),
            ("security-password".to_owned(), password.to_owned()),
        ]);
        self
    }

    /// Subscriptions survive an absence of this process for as long as `timeout`.
    #[must_use]
    pub fn durable(mut self, id: &str, timeout: Duration) -> Self {
        self.durable = Some(Durable { id: id.to_owned(), timeout });
        self
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong = |sentence: &str| Err(Error::Configuration(sentence.to_owned()));
        if self.locators.is_empty() == self.servers.is_empty() {
            return wrong("name locators or servers, one of the two");
        }
        if self.connections_per_server_max == 0 || self.attempts_max == 0 {
            return wrong("connections_per_server_max and attempts_max must be at least 1");
        }
        if self.ping_interval.is_zero() || self.ping_interval > Duration::from_secs(50) {
            return wrong("ping_interval must be between 1 ms and 50 s: servers drop a client after 60 s of silence");
        }
        if self.durable.as_ref().is_some_and(|durable| durable.id.is_empty()) {
            return wrong("the durable id is empty");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_cannot_work_is_refused() {
        let good = Config::with_locator(Address::new("l", 10_334));
        assert!(good.check().is_ok());
        assert!(Config::default().check().is_err());
        assert!(Config { servers: good.locators.clone(), ..good.clone() }.check().is_err());
        assert!(Config { attempts_max: 0, ..good.clone() }.check().is_err());
        assert!(Config { ping_interval: Duration::from_secs(60), ..good.clone() }.check().is_err());
        assert!(good.durable("", Duration::from_secs(1)).check().is_err());
    }
}
