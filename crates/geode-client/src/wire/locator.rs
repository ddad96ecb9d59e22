//! What a client asks a locator. One request per connection.

use super::codes::{ds, fixed};
use super::identity::ClientIdentity;
use super::writer::Write;
use super::{Malformed, Reader};

/// Marks a request to a locator, before the version and the object.
const GOSSIP_VERSION: i32 = 1002;

/// Where a server or a locator listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// A name or an IP address.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl Address {
    /// An address of its two parts.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let host = reader.string()?.unwrap_or_default();
        let port = u16::try_from(reader.i32()?).map_err(|_| Malformed("port"))?;
        Ok(Self { host, port })
    }

    /// Reads an address inside a bucket's metadata.
    pub(crate) fn read_in(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Self::read(reader)
    }
}

impl std::fmt::Display for Address {
    /// As Geode's tools write it: `host[port]`.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}[{}]", self.host, self.port)
    }
}

impl std::str::FromStr for Address {
    type Err = String;

    /// Reads `host[port]` or `host:port`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no address: write host[port] or host:port");
        let (host, port) = match text.strip_suffix(']') {
            Some(rest) => rest.rsplit_once('[').ok_or_else(wrong)?,
            None => text.rsplit_once(':').ok_or_else(wrong)?,
        };
        let port = port.parse().map_err(|_| wrong())?;
        if host.is_empty() { Err(wrong()) } else { Ok(Self::new(host, port)) }
    }
}

fn head(id: i8, ordinal: i16, group: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.i32(GOSSIP_VERSION);
    out.i16(ordinal);
    out.u8(ds::FIXED_ID_BYTE);
    out.i8(id);
    out.string(group);
    out
}

/// Asks for all servers of a group; the empty group means all.
pub(crate) fn all_servers(ordinal: i16, group: &str) -> Vec<u8> {
    head(fixed::ALL_SERVERS_REQUEST, ordinal, group)
}

/// Asks for all locators.
pub(crate) fn all_locators(ordinal: i16) -> Vec<u8> {
    head(fixed::LOCATOR_LIST_REQUEST, ordinal, "")
}

/// Asks for servers to hold this client's event queue. `copies` is -1 for all servers; `find_durable` asks for those
/// that hold the durable queue already.
pub(crate) fn queue_servers(
    identity: &ClientIdentity,
    group: &str,
    copies: i32,
    excluded: &[Address],
    find_durable: bool,
) -> Vec<u8> {
    let mut out = head(fixed::QUEUE_CONNECTION_REQUEST, identity.ordinal, group);
    identity.write_object(&mut out);
    out.i32(copies);
    out.len32(excluded.len());
    for address in excluded {
        out.string(&address.host);
        out.i32(i32::from(address.port));
    }
    out.u8(u8::from(find_durable));
    out
}

/// What a locator answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Servers(Vec<Address>),
    Locators(Vec<Address>),
    /// Servers for the event queue; `is_known` when they hold the durable queue already.
    Queues {
        is_known: bool,
        servers: Vec<Address>,
    },
}

/// Reads an answer; the locator closes the connection after it.
pub(crate) fn read_answer(bytes: &[u8]) -> Result<Answer, Malformed> {
    let mut reader = Reader::new(bytes);
    if reader.u8()? != ds::FIXED_ID_BYTE {
        return Err(Malformed("answer of a locator"));
    }
    match reader.i8()? {
        fixed::ALL_SERVERS_RESPONSE => addresses(&mut reader).map(Answer::Servers),
        fixed::LOCATOR_LIST_RESPONSE => addresses(&mut reader).map(Answer::Locators),
        fixed::QUEUE_CONNECTION_RESPONSE => {
            let is_known = reader.bool()?;
            Ok(Answer::Queues { is_known, servers: addresses(&mut reader)? })
        }
        _ => Err(Malformed("answer of a locator")),
    }
}

fn addresses(reader: &mut Reader<'_>) -> Result<Vec<Address>, Malformed> {
    // -1 is a null list.
    let count = usize::try_from(reader.i32()?).unwrap_or_default();
    let mut list = Vec::with_capacity(count.min(reader.rest().len()));
    for _ in 0..count {
        list.push(Address::read(reader)?);
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_two_spellings() {
        for text in ["localhost[10334]", "localhost:10334"] {
            assert_eq!(text.parse(), Ok(Address::new("localhost", 10_334)));
        }
        for text in ["localhost", "[1]", "a[b]", "a[1", ":1", "a:70000"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
        assert_eq!(Address::new("h", 1).to_string(), "h[1]");
    }

    #[test]
    fn lists_of_servers_are_read() {
        let mut bytes = vec![1, 0xD6, 0, 0, 0, 1];
        bytes.string("127.0.0.1");
        bytes.i32(40_404);
        assert_eq!(read_answer(&bytes), Ok(Answer::Servers(vec![Address::new("127.0.0.1", 40_404)])));
        assert_eq!(read_answer(&[1, 0xD6, 0xFF, 0xFF, 0xFF, 0xFF]), Ok(Answer::Servers(Vec::new())));
        assert!(read_answer(&[1, 0xD6, 0x7F, 0xFF, 0xFF, 0xFF]).is_err());
        assert!(read_answer(&[1, 5]).is_err());
    }
}
