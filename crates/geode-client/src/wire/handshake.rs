//! The first bytes of a connection: who the client is and what the connection is for.

use super::Reader;
use super::identity::ClientIdentity;
use super::writer::Write;

/// The newest version of the protocol that every server from 1.15 on speaks; 1.16 and 2.0 have no command set of
/// their own and take this one.
pub(crate) const ORDINAL_1_15: i16 = 150;
/// The version of 1.14, for older servers.
pub(crate) const ORDINAL_1_14: i16 = 125;

/// Conflation of the event queue is off: a queue with conflation merges updates of one entry.
const CONFLATION_OFF: u8 = 2;
const REPLY_OK: u8 = 59;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Requests and replies.
    Operations,
    /// The server sends events; this one is the primary.
    Primary,
    /// The server keeps a copy of the event queue.
    Secondary,
}

impl Mode {
    fn byte(self) -> u8 {
        match self {
            Self::Operations => 100,
            Self::Primary => 101,
            Self::Secondary => 102,
        }
    }
}

/// Credentials, as the security manager of the cluster knows them: usually `security-username` and
/// `security-password`.
pub(crate) fn write_properties(properties: &[(String, String)], out: &mut Vec<u8>) {
    out.array_len(properties.len());
    for (name, value) in properties {
        out.string(name);
        out.string(value);
    }
}

/// The bytes that open a connection. Connections for operations send their credentials in a message of their own.
pub(crate) fn request(
    mode: Mode,
    identity: &ClientIdentity,
    read_timeout_ms: i32,
    credentials: Option<&[(String, String)]>,
) -> Vec<u8> {
    let mut out = vec![mode.byte()];
    out.version(identity.ordinal);
    out.u8(REPLY_OK);
    // A subscription has a list of ports in this place, which is empty.
    out.i32(if mode == Mode::Operations { read_timeout_ms } else { 0 });
    identity.write_object(&mut out);
    out.u8(CONFLATION_OFF);
    match (mode, credentials) {
        (_, None) => out.u8(0),
        (Mode::Operations, Some(_)) => out.u8(1),
        (Mode::Primary | Mode::Secondary, Some(properties)) => {
            out.u8(1);
            write_properties(properties, &mut out);
        }
    }
    out
}

/// The first byte of a server's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accepted,
    AuthenticationRequired,
    AuthenticationFailed,
    /// Another live connection holds the durable id.
    DuplicateDurableClient,
    /// The address is a locator's.
    IsLocator,
    Refused,
}

impl Verdict {
    pub(crate) fn of(code: u8) -> Self {
        match code {
            // 66: the server asks for no credentials; 105 and 106: a subscription is accepted.
            REPLY_OK | 66 | 105 | 106 => Self::Accepted,
            62 => Self::AuthenticationRequired,
            63 => Self::AuthenticationFailed,
            64 => Self::DuplicateDurableClient,
            // `ServerSideHandshake` of a locator answers 0 to a client's first bytes.
            0 => Self::IsLocator,
            _ => Self::Refused,
        }
    }
}

/// What a server says of the event queue of this client when a connection opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueStatus {
    pub(crate) role: QueueRole,
    /// Events that wait; -1: the queue was dropped after its timeout; -2: there was no queue.
    pub(crate) waiting: i32,
}

/// Which part a server has in the delivery of events to this client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueueRole {
    None,
    Redundant,
    Primary,
}

impl QueueStatus {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, super::Malformed> {
        let role = match reader.u8()? {
            1 => QueueRole::Redundant,
            2 => QueueRole::Primary,
            _ => QueueRole::None,
        };
        Ok(Self { role, waiting: reader.i32()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> ClientIdentity {
        ClientIdentity {
            name: "n".into(),
            unique_tag: "tag".into(),
            durable_id: "d".into(),
            durable_timeout_s: 300,
            ordinal: ORDINAL_1_15,
            port: 1,
            process_id: 2,
        }
    }

    #[test]
    fn a_request_has_the_bytes_that_servers_expect() {
        let bytes = request(Mode::Operations, &identity(), 10_000, None);
        let head = [100, 0xFF, 0, 150, 59, 0, 0, 0x27, 0x10, 1, 38];
        assert_eq!(bytes.get(..head.len()).unwrap(), head);
        // The identity's unique number, conflation, no credentials.
        assert_eq!(bytes.get(bytes.len() - 6..).unwrap(), [0, 0, 0, 1, 2, 0]);
    }

    #[test]
    fn a_subscription_carries_its_credentials() {
        let credentials = [("security-username".to_owned(), "u".to_owned())];
        let bytes = request(Mode::Primary, &identity(), 10_000, Some(&credentials));
        assert_eq!(bytes.get(5..9).unwrap(), [0, 0, 0, 0]);
        assert!(bytes.ends_with(b"\x01\x01\x57\x00\x11security-username\x57\x00\x01u"), "{bytes:?}");
    }
}
