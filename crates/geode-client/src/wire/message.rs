//! Messages: a header and parts; replies come whole or in chunks.

use bytes::{Buf as _, Bytes, BytesMut};

use super::codes::ds;
use super::writer::Write;
use super::{Malformed, utf8};

/// No transaction.
pub(crate) const NO_TRANSACTION: i32 = -1;
/// The largest message, part or chunk that is accepted from a server.
pub(crate) const BYTES_MAX: usize = 512 * 1024 * 1024;
/// The most parts of one message that are accepted from a server.
pub(crate) const PARTS_MAX: usize = 4 * 1024 * 1024;

const HEADER_LEN: usize = 17;
const CHUNKED_HEADER_LEN: usize = 12;
const CHUNK_HEADER_LEN: usize = 5;
const FLAG_SECURE: u8 = 2;
const FLAG_RETRY: u8 = 4;
const CHUNK_LAST: u8 = 1;
const CHUNK_SECURE: u8 = 2;

/// One part of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The bytes are a serialised object, not raw.
    pub(crate) is_object: bool,
    pub(crate) bytes: Bytes,
}

impl Part {
    pub(crate) fn int(&self) -> Result<i32, Malformed> {
        super::Reader::new(&self.bytes).i32()
    }

    /// A raw string.
    pub(crate) fn text(&self) -> Result<String, Malformed> {
        utf8::decode(&self.bytes)
    }

    /// A serialised Boolean.
    pub(crate) fn boolean(&self) -> Result<bool, Malformed> {
        match *self.bytes {
            [ds::BOOLEAN, value] => Ok(value != 0),
            _ => Err(Malformed("Boolean")),
        }
    }

    /// A null object, or nothing at all.
    pub(crate) fn is_null(&self) -> bool {
        self.bytes.is_empty() || (self.is_object && *self.bytes == [ds::NULL])
    }
}

/// A request that is being built.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    kind: i32,
    transaction: i32,
    is_retry: bool,
    parts: i32,
    body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(kind: i32) -> Self {
        Self { kind, transaction: NO_TRANSACTION, is_retry: false, parts: 0, body: Vec::with_capacity(128) }
    }

    pub(crate) fn kind(&self) -> i32 {
        self.kind
    }

    pub(crate) fn in_transaction(mut self, id: i32) -> Self {
        self.transaction = id;
        self
    }

    /// The server may have seen this request: it looks its event id up before it applies it.
    pub(crate) fn mark_retry(&mut self) {
        self.is_retry = true;
    }

    fn part(&mut self, is_object: u8, bytes: &[u8]) {
        self.parts += 1;
        self.body.len32(bytes.len());
        self.body.u8(is_object);
        self.body.bytes(bytes);
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.part(0, bytes);
        self
    }

    pub(crate) fn object(mut self, bytes: &[u8]) -> Self {
        self.part(1, bytes);
        self
    }

    pub(crate) fn null(self) -> Self {
        self.object(&[ds::NULL])
    }

    pub(crate) fn int(self, value: i32) -> Self {
        self.raw(&value.to_be_bytes())
    }

    pub(crate) fn text(mut self, value: &str) -> Self {
        self.parts += 1;
        self.body.len32(utf8::encoded_len(value));
        self.body.u8(0);
        utf8::encode(value, &mut self.body);
        self
    }

    /// The bytes to send; `secure` is the trailing part of an authenticated connection.
    pub(crate) fn encode(&self, secure: Option<&[u8]>) -> Vec<u8> {
        let trailer = secure.map_or(0, |bytes| bytes.len() + 5);
        let mut out = Vec::with_capacity(HEADER_LEN + self.body.len() + trailer);
        out.i32(self.kind);
        out.len32(self.body.len() + trailer);
        out.i32(self.parts);
        out.i32(self.transaction);
        out.u8(if secure.is_some() { FLAG_SECURE } else { 0 } | if self.is_retry { FLAG_RETRY } else { 0 });
        out.bytes(&self.body);
        if let Some(bytes) = secure {
            out.len32(bytes.len());
            out.u8(0);
            out.bytes(bytes);
        }
        out
    }
}

/// A reply, or an event. The parts of a chunked reply are those of its chunks, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) kind: i32,
    pub(crate) transaction: i32,
    pub(crate) parts: Vec<Part>,
    /// The part that carries the next connection id, on an authenticated connection.
    pub(crate) secure: Option<Bytes>,
}

impl Reply {
    pub(crate) fn part(&self, index: usize) -> Result<&Part, Malformed> {
        self.parts.get(index).ok_or(Malformed("reply: a part is missing"))
    }
}

/// Takes one message from the front of `buffer`; `None` while it is incomplete.
pub(crate) fn take_message(buffer: &mut BytesMut) -> Result<Option<Reply>, Malformed> {
    let Some(mut header) = buffer.get(..HEADER_LEN) else { return Ok(None) };
    let (kind, len, count, transaction) = (header.get_i32(), header.get_i32(), header.get_i32(), header.get_i32());
    let flags = header.get_u8();
    let len = bounded(len, BYTES_MAX)?;
    let count = bounded(count, PARTS_MAX)?;
    if buffer.len() < HEADER_LEN + len {
        buffer.reserve(HEADER_LEN + len - buffer.len());
        return Ok(None);
    }
    buffer.advance(HEADER_LEN);
    let mut body = buffer.split_to(len).freeze();
    let parts = take_parts(&mut body, count)?;
    let secure = if flags & FLAG_SECURE == 0 { None } else { Some(take_part(&mut body)?.bytes) };
    Ok(Some(Reply { kind, transaction, parts, secure }))
}

/// A chunked reply that is being received.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    header: Option<(i32, usize, i32)>,
    parts: Vec<Part>,
}

impl Chunks {
    /// Takes what `buffer` has of the reply; the whole reply once its last chunk is there.
    pub(crate) fn take(&mut self, buffer: &mut BytesMut) -> Result<Option<Reply>, Malformed> {
        let (kind, count, transaction) = if let Some(header) = self.header {
            header
        } else {
            let Some(mut bytes) = buffer.get(..CHUNKED_HEADER_LEN) else { return Ok(None) };
            let (kind, count, transaction) = (bytes.get_i32(), bytes.get_i32(), bytes.get_i32());
            buffer.advance(CHUNKED_HEADER_LEN);
            *self.header.insert((kind, bounded(count, PARTS_MAX)?, transaction))
        };
        loop {
            let Some(mut bytes) = buffer.get(..CHUNK_HEADER_LEN) else { return Ok(None) };
            let (len, flags) = (bounded(bytes.get_i32(), BYTES_MAX)?, bytes.get_u8());
            if buffer.len() < CHUNK_HEADER_LEN + len {
                buffer.reserve(CHUNK_HEADER_LEN + len - buffer.len());
                return Ok(None);
            }
            buffer.advance(CHUNK_HEADER_LEN);
            let mut body = buffer.split_to(len).freeze();
            let is_last = flags & CHUNK_LAST != 0;
            // The last chunk may have another number of parts than the header says: an exception has two.
            let own = usize::from(flags >> 5);
            let parts = take_parts(&mut body, if is_last && own > 0 { own } else { count })?;
            if self.parts.len() + parts.len() > PARTS_MAX {
                return Err(Malformed("reply: too many parts"));
            }
            self.parts.extend(parts);
            if is_last {
                let secure = if flags & CHUNK_SECURE == 0 { None } else { Some(take_part(&mut body)?.bytes) };
                return Ok(Some(Reply { kind, transaction, parts: std::mem::take(&mut self.parts), secure }));
            }
        }
    }
}

fn bounded(value: i32, max: usize) -> Result<usize, Malformed> {
    usize::try_from(value).ok().filter(|value| *value <= max).ok_or(Malformed("message: length"))
}

fn take_parts(body: &mut Bytes, count: usize) -> Result<Vec<Part>, Malformed> {
    let mut parts = Vec::with_capacity(count.min(body.len() / 5));
    for _ in 0..count {
        parts.push(take_part(body)?);
    }
    Ok(parts)
}

fn take_part(body: &mut Bytes) -> Result<Part, Malformed> {
    if body.len() < 5 {
        return Err(Malformed("message: a part is missing"));
    }
    let len = bounded(body.get_i32(), BYTES_MAX)?;
    // 0: raw bytes; 1: a serialised object; 2: an empty byte array.
    let code = body.get_u8();
    if body.len() < len {
        return Err(Malformed("message: a part is cut short"));
    }
    Ok(Part { is_object: code == 1, bytes: body.split_to(len) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_back_as_a_message() {
        let mut request = Request::new(7).text("/docs").int(5).object(&[ds::BOOLEAN, 1]).null().in_transaction(3);
        request.mark_retry();
        let bytes = request.encode(Some(b"secure"));
        assert_eq!(bytes.get(16), Some(&(FLAG_SECURE | FLAG_RETRY)));
        for cut in 0..bytes.len() {
            assert_eq!(take_message(&mut BytesMut::from(bytes.get(..cut).unwrap())), Ok(None));
        }
        let mut buffer = BytesMut::from(&bytes[..]);
        let reply = take_message(&mut buffer).unwrap().unwrap();
        assert!(buffer.is_empty());
        assert_eq!((reply.kind, reply.transaction, reply.secure.as_deref()), (7, 3, Some(&b"secure"[..])));
        assert_eq!(reply.part(0).unwrap().text().unwrap(), "/docs");
        assert_eq!(reply.part(1).unwrap().int(), Ok(5));
        assert_eq!(reply.part(2).unwrap().boolean(), Ok(true));
        assert!(reply.part(3).unwrap().is_null());
        assert!(reply.part(4).is_err());
    }

    fn chunk(out: &mut Vec<u8>, flags: u8, parts: &[&[u8]]) {
        out.len32(parts.iter().map(|part| part.len() + 5).sum());
        out.u8(flags);
        for part in parts {
            out.len32(part.len());
            out.u8(1);
            out.bytes(part);
        }
    }

    #[test]
    fn chunks_are_joined_however_they_are_cut() {
        let mut bytes = vec![0, 0, 0, 1, 0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF];
        chunk(&mut bytes, 0, &[b"a"]);
        chunk(&mut bytes, 0, &[b"b"]);
        chunk(&mut bytes, CHUNK_LAST | (2 << 5), &[b"c", b"d"]);
        let mut chunks = Chunks::default();
        let mut buffer = BytesMut::new();
        let mut reply = None;
        for byte in &bytes {
            assert!(reply.is_none());
            buffer.extend_from_slice(&[*byte]);
            reply = chunks.take(&mut buffer).unwrap();
        }
        let texts: Vec<Bytes> = reply.unwrap().parts.into_iter().map(|part| part.bytes).collect();
        assert_eq!(texts, ["a", "b", "c", "d"].map(Bytes::from_static_str));
    }

    trait FromStaticStr {
        fn from_static_str(text: &'static str) -> Self;
    }

    impl FromStaticStr for Bytes {
        fn from_static_str(text: &'static str) -> Self {
            Bytes::from_static(text.as_bytes())
        }
    }

    #[test]
    fn lengths_that_no_server_sends_are_refused() {
        let header = |len: i32, parts: i32| {
            let mut out = Vec::new();
            out.i32(1);
            out.i32(len);
            out.i32(parts);
            out.i32(-1);
            out.u8(0);
            BytesMut::from(&out[..])
        };
        assert!(take_message(&mut header(-1, 0)).is_err());
        assert!(take_message(&mut header(i32::MAX, 0)).is_err());
        assert!(take_message(&mut header(0, i32::MAX)).is_err());
        assert!(take_message(&mut header(0, 1)).is_err());
    }
}
