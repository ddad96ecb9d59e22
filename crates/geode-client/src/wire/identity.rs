//! Identities: that of this client, which it announces, and those of servers, which make versions.

use bytes::Bytes;

use super::codes::{ds, fixed};
use super::version_tag::VersionSource;
use super::writer::Write;
use super::{Malformed, Reader};

/// A process that is no member of the cluster's own distributed system.
const LONER: u8 = 13;
/// The identity carries the version of its sender.
const HAS_VERSION: u8 = 0x08;

/// What this client says of itself. The durable id alone names its event queue; the rest is new for each process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientIdentity {
    /// The name that servers show in their logs.
    pub(crate) name: String,
    /// Distinguishes two processes on one host.
    pub(crate) unique_tag: String,
    /// Empty when there is no durable queue.
    pub(crate) durable_id: String,
    /// How long a server keeps the durable queue of a client that is gone.
    pub(crate) durable_timeout_s: i32,
    /// The version of the protocol, see [`super::handshake`].
    pub(crate) ordinal: i16,
    pub(crate) port: i32,
    pub(crate) process_id: i32,
}

impl ClientIdentity {
    /// The object (`01 26`) that a handshake carries.
    pub(crate) fn write_object(&self, out: &mut Vec<u8>) {
        let mut member = vec![ds::FIXED_ID_BYTE];
        member.i8(fixed::DISTRIBUTED_MEMBER);
        // The server takes the address from the connection's other end when it matters.
        member.byte_array(&[127, 0, 0, 1]);
        member.i32(self.port);
        member.string(&self.name);
        member.u8(HAS_VERSION);
        // No channel between members.
        member.i32(0);
        member.i32(self.process_id);
        member.u8(LONER);
        // No groups.
        member.array_len(0);
        member.string(&self.name);
        member.string(&self.unique_tag);
        member.string(&self.durable_id);
        member.i32(self.durable_timeout_s);
        member.version(self.ordinal);
        // A UUID and a weight, which only members use.
        member.bytes(&[0; 17]);
        out.u8(ds::FIXED_ID_BYTE);
        out.i8(fixed::CLIENT_PROXY_MEMBERSHIP_ID);
        out.byte_array(&member);
        out.i32(1);
    }
}

/// Reads the member that a server sends in its handshake as the source of versions.
pub(crate) fn read_server_member(bytes: &[u8]) -> Result<VersionSource, Malformed> {
    let mut reader = Reader::new(bytes);
    if reader.u8()? != ds::FIXED_ID_BYTE || reader.i8()? != fixed::DISTRIBUTED_MEMBER {
        return Err(Malformed("server member"));
    }
    let address = reader.byte_array()?.unwrap_or_default();
    let port = reader.i32()?;
    // Host name, flags, port of the channel between members, process id.
    reader.string()?;
    reader.take(1 + 4 + 4)?;
    let kind = reader.u8()?;
    reader.string_array()?;
    reader.string()?;
    let view_or_tag = reader.string()?;
    Ok(VersionSource::Member(normal(address, port, kind, view_or_tag.as_deref())))
}

/// Reads the shorter form that version tags carry.
pub(crate) fn read_essential(reader: &mut Reader<'_>) -> Result<Bytes, Malformed> {
    let address = reader.byte_array()?.unwrap_or_default();
    let port = reader.i32()?;
    reader.u8()?;
    let kind = reader.u8()?;
    let view_or_tag = reader.string()?;
    reader.string()?;
    Ok(normal(address, port, kind, view_or_tag.as_deref()))
}

/// What Geode compares when it asks whether two identities are the same member: not the names, which may be missing.
fn normal(address: &[u8], port: i32, kind: u8, view_or_tag: Option<&str>) -> Bytes {
    let mut out = Vec::with_capacity(address.len() + 16);
    out.byte_array(address);
    out.i32(port);
    out.u8(kind);
    out.bytes(view_or_tag.unwrap_or_default().as_bytes());
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_server_are_the_same_source() {
        let mut long = vec![ds::FIXED_ID_BYTE, 92, 4, 127, 0, 0, 1, 0, 0, 0x9C, 0x40];
        long.string("host");
        long.bytes(&[0x0A, 0, 0, 0, 1, 0, 0, 0, 2, 10]);
        long.array_len(0);
        long.string("s1");
        long.string("3");
        long.string("");
        long.i32(300);
        let mut short = vec![4, 127, 0, 0, 1, 0, 0, 0x9C, 0x40, 0x06, 10];
        short.string("3");
        short.string("s1");
        let source = VersionSource::Member(read_essential(&mut Reader::new(&short)).unwrap());
        assert_eq!(read_server_member(&long).unwrap(), source);
        short[9] = 0;
        assert_ne!(VersionSource::Member(read_essential(&mut Reader::new(&short)).unwrap()), {
            let mut other = long.clone();
            other[9] = 0;
            other[10] = 1;
            read_server_member(&other).unwrap()
        });
    }
}
