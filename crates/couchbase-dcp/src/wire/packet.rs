//! Packets: a header of 24 bytes and a body of frame infos, extras, key and value (`kv_engine` docs/BinaryProtocol.md, "Packet
//! Structure").
//!
//! ```text
//! offset  0 magic   1 opcode   2 key length (or 2 frame infos' length, 3 key length)   4 extras' length   5 datatype
//!         6 vbucket or status  8 length of the body   12 opaque   16 CAS   24 body
//! ```

use bytes::{Bytes, BytesMut};

use super::codes::magic;
use super::reader::Reader;
use crate::limits::BODY_BYTES_MAX;

pub(crate) const HEADER_BYTES: usize = 24;

/// A packet as it came in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) magic: u8,
    pub(crate) opcode: u8,
    pub(crate) datatype: u8,
    /// The vbucket of a request, the status of a response.
    pub(crate) vbucket: u16,
    pub(crate) opaque: u32,
    pub(crate) cas: u64,
    pub(crate) extras: Bytes,
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
    /// Bytes on the wire, header included: what flow control counts.
    pub(crate) wire_bytes: u32,
}

/// Why bytes are no packet: the connection is of no use after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PacketError {
    #[error("the magic byte {0:#04x} is unknown")]
    Magic(u8),
    #[error("a body of {0} bytes is larger than allowed")]
    TooLarge(usize),
    #[error("the parts are longer than the body")]
    Lengths,
}

impl Packet {
    /// Takes one packet from the front of `bytes`; nothing when more bytes are needed.
    pub(crate) fn take(bytes: &mut BytesMut) -> Result<Option<Self>, PacketError> {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let header = Header::read(header)?;
        if bytes.len() < HEADER_BYTES + header.body {
            bytes.reserve(HEADER_BYTES + header.body - bytes.len());
            return Ok(None);
        }
        let mut whole = bytes.split_to(HEADER_BYTES + header.body).freeze();
        let wire_bytes = u32::try_from(whole.len()).map_err(|_| PacketError::TooLarge(whole.len()))?;
        let mut part = |length: usize| whole.split_to(length);
        let _header_and_frames = part(HEADER_BYTES + header.frames);
        let extras = part(header.extras);
        let key = part(header.key);
        Ok(Some(Self { wire_bytes, extras, key, value: whole, ..header.packet }))
    }

    pub(crate) fn is_response(&self) -> bool {
        matches!(self.magic, magic::RESPONSE | magic::ALT_RESPONSE)
    }
}

struct Header {
    packet: Packet,
    frames: usize,
    extras: usize,
    key: usize,
    body: usize,
}

impl Header {
    fn read(bytes: &[u8; HEADER_BYTES]) -> Result<Self, PacketError> {
        // The array is as long as what is read from it.
        let mut reader = Reader::new(bytes);
        let mut packet =
            Packet { magic: reader.u8().unwrap_or(0), opcode: reader.u8().unwrap_or(0), ..Packet::default() };
        let lengths = reader.u16().unwrap_or(0);
        let (frames, key) = match packet.magic {
            magic::ALT_REQUEST | magic::ALT_RESPONSE => (usize::from(lengths >> 8), usize::from(lengths & 0xff)),
            magic::REQUEST | magic::RESPONSE | magic::SERVER_REQUEST => (0, usize::from(lengths)),
            other => return Err(PacketError::Magic(other)),
        };
        let extras = usize::from(reader.u8().unwrap_or(0));
        packet.datatype = reader.u8().unwrap_or(0);
        packet.vbucket = reader.u16().unwrap_or(0);
        let body = reader.u32().unwrap_or(0) as usize;
        packet.opaque = reader.u32().unwrap_or(0);
        packet.cas = reader.u64().unwrap_or(0);
        if body > BODY_BYTES_MAX {
            return Err(PacketError::TooLarge(body));
        }
        if frames + extras + key > body {
            return Err(PacketError::Lengths);
        }
        Ok(Self { packet, frames, extras, key, body })
    }
}

/// A packet to send.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) opcode: u8,
    pub(crate) vbucket: u16,
    pub(crate) opaque: u32,
    pub(crate) cas: u64,
    /// Frame infos; with them the packet has another magic and a key of at most 255 bytes.
    pub(crate) frames: Vec<u8>,
    pub(crate) extras: Vec<u8>,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

impl Outgoing {
    pub(crate) fn new(opcode: u8) -> Self {
        Self { opcode, ..Self::default() }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        self.write_as(if self.frames.is_empty() { magic::REQUEST } else { magic::ALT_REQUEST }, out);
    }

    /// Appends a response of success to a request of the server; it has no body.
    pub(crate) fn write_answer(to: &Packet, out: &mut Vec<u8>) {
        let answer = Self { opcode: to.opcode, opaque: to.opaque, ..Self::default() };
        answer.write_as(magic::RESPONSE, out);
    }

    fn write_as(&self, magic: u8, out: &mut Vec<u8>) {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("what this crate sends is short");
        let (frames, extras, key) = (length(&self.frames), length(&self.extras), length(&self.key));
        let body = frames + extras + key + length(&self.value);
        out.extend([magic, self.opcode]);
        let lengths = u16::try_from(frames << 8 | key).expect("keys and frame infos that this crate sends are short");
        out.extend(lengths.to_be_bytes());
        out.push(u8::try_from(extras).expect("extras are at most 48 bytes"));
        out.push(0);
        out.extend(self.vbucket.to_be_bytes());
        out.extend(body.to_be_bytes());
        out.extend(self.opaque.to_be_bytes());
        out.extend(self.cas.to_be_bytes());
        out.extend(&self.frames);
        out.extend(&self.extras);
        out.extend(&self.key);
        out.extend(&self.value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_taken_when_it_is_whole() {
        let sent = Outgoing {
            opcode: 0x53,
            vbucket: 7,
            opaque: 9,
            extras: vec![1, 2],
            key: b"key".to_vec(),
            value: b"value".to_vec(),
            ..Outgoing::default()
        };
        let mut whole = Vec::new();
        sent.write(&mut whole);
        for end in 0..whole.len() {
            let mut bytes = BytesMut::from(&whole[..end]);
            assert_eq!(Packet::take(&mut bytes), Ok(None));
            assert_eq!(bytes.len(), end, "nothing is taken of a part");
        }
        let mut bytes = BytesMut::from(&whole[..]);
        bytes.extend_from_slice(&[0x80]);
        let packet = Packet::take(&mut bytes).unwrap().unwrap();
        assert_eq!((packet.opcode, packet.vbucket, packet.opaque), (0x53, 7, 9));
        assert_eq!((&packet.extras[..], &packet.key[..], &packet.value[..]), (&[1, 2][..], &b"key"[..], &b"value"[..]));
        assert_eq!((packet.wire_bytes as usize, bytes.len()), (whole.len(), 1));
    }

    #[test]
    fn frame_infos_are_stepped_over() {
        // A DCP message with a stream id: frame info 2 of two bytes.
        let mut bytes = vec![magic::ALT_REQUEST, 0x64, 3, 0, 8, 0, 0, 1, 0, 0, 0, 11];
        bytes.extend([0; 12]);
        bytes.extend([0x22, 0, 5]);
        bytes.extend(4_u64.to_be_bytes());
        let packet = Packet::take(&mut BytesMut::from(&bytes[..])).unwrap().unwrap();
        assert_eq!(packet.extras, &4_u64.to_be_bytes()[..]);
        assert_eq!(packet.wire_bytes, 35);
    }

    #[test]
    fn what_is_no_packet_is_an_error() {
        let check = |change: fn(&mut [u8]), expected| {
            let mut bytes = vec![0; HEADER_BYTES];
            bytes[0] = magic::REQUEST;
            change(&mut bytes);
            assert_eq!(Packet::take(&mut BytesMut::from(&bytes[..])), Err(expected));
        };
        check(|bytes| bytes[0] = 0x42, PacketError::Magic(0x42));
        check(|bytes| bytes[3] = 1, PacketError::Lengths);
        check(|bytes| bytes[8] = 0xff, PacketError::TooLarge(0xff00_0000));
    }
}
