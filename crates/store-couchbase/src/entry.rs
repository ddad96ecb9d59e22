//! Reading entries: body, meta and place of one moment, in one command.

use std::sync::Arc;

use serde_json::Value;
use tidelock_core::base64::{self, Variant};
use tidelock_couchbase_dcp::Error;
use tidelock_couchbase_dcp::kv::{Client, Request, Response};
use tidelock_store::platform::{Entry, Order, PlatformError, Token};

use crate::config::XATTR;
use crate::subdoc::{doc_flag, look, next_result, opcode, path_flag, status};

/// The members of the xattr: the meta, the CAS (of the server's macro) and the checksum of the body that it was written with.
pub(crate) const META: &str = "m";
pub(crate) const CAS: &str = "cas";
pub(crate) const CRC: &str = "crc";
/// The body, within one command alone.
pub(crate) const BODY: &str = "b";

/// The xattr of a tombstone that is there only to be revived, where there was nothing: it says nothing.
pub(crate) const PLACEHOLDER: &[u8] = b"{}";

/// What the platform says of an error. After [`PlatformError::Unavailable`] a put may have happened.
pub(crate) fn refused(error: &Error) -> PlatformError {
    let text = error.to_string();
    if error.is_transient() { PlatformError::Unavailable(text) } else { PlatformError::Refused(text) }
}

/// What a refusal says when the user may not do it.
pub(crate) const LACKS: &str = "the user lacks a privilege";

/// What the platform says of a status that stands for no outcome.
pub(crate) fn failed(what: &str, status: u16) -> PlatformError {
    match status {
        status::NO_ACCESS => PlatformError::Refused(format!("{what}: {LACKS}; run `tidelock doctor`")),
        status::TOO_BIG => PlatformError::Refused(format!("{what}: the server takes no document of that size")),
        status::NO_MEMORY => PlatformError::Full(format!("{what}: the bucket has no memory left")),
        status::SIZE_LIMIT_EXCEEDED | status::DATA_SIZE_TOO_BIG => {
            PlatformError::Full(format!("{what}: the bucket has more data than the cluster allows"))
        }
        status::RESIDENT_RATIO_TOO_LOW => {
            PlatformError::Full(format!("{what}: too little of the bucket fits into its memory"))
        }
        status::DISK_SPACE_TOO_LOW => PlatformError::Full(format!("{what}: a disk of the cluster is almost full")),
        status::DURABILITY_INVALID_LEVEL => {
            PlatformError::Refused(format!("{what}: the bucket does not offer the configured durability"))
        }
        status::DURABILITY_IMPOSSIBLE => {
            PlatformError::Unavailable(format!("{what}: too few copies are up for the configured durability"))
        }
        status::SYNC_WRITE_AMBIGUOUS => {
            PlatformError::Unavailable(format!("{what}: nobody knows whether it is durable"))
        }
        status if is_busy(status) => PlatformError::Unavailable(format!("{what}: the server is busy ({status:#04x})")),
        status => PlatformError::Refused(format!("{what}: status {status:#04x}")),
    }
}

/// Whether the server asks to try again later.
pub(crate) fn is_busy(status: u16) -> bool {
    matches!(
        status,
        status::LOCKED
            | status::BUSY
            | status::TEMPORARY_FAILURE
            | status::NOT_INITIALIZED
            | status::SYNC_WRITE_IN_PROGRESS
            | status::SYNC_WRITE_RECOMMIT_IN_PROGRESS
    )
}

/// What a document's state is made of, wherever it was told.
#[derive(Clone, Debug, Default)]
pub(crate) struct State<'a> {
    pub(crate) cas: u64,
    /// `None` for a tombstone.
    pub(crate) body: Option<&'a [u8]>,
    /// The value of the xattr.
    pub(crate) xattr: Option<&'a [u8]>,
    pub(crate) order: Option<Order>,
}

impl State<'_> {
    pub(crate) fn entry(&self) -> Entry {
        let stamp = self.xattr.map(Stamp::read);
        let mut entry = Entry {
            token: Was { cas: self.cas, is_live: self.body.is_some(), has_xattr: self.xattr.is_some() }.token(),
            meta: stamp.and_then(|stamp| stamp.meta).map(Arc::from),
            order: self.order,
            ..Entry::default()
        };
        match self.body {
            None => {}
            // The server's word is not taken: it calls JSON what its parser takes for it.
            Some(body) if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok() => {
                entry.content = Some(body.into());
            }
            Some(body) => entry.unreadable = Some(format!("{} bytes that are not JSON", body.len())),
        }
        entry
    }

    /// Whether another client has written the document since Tidelock did, or alone.
    pub(crate) fn is_foreign(&self) -> bool {
        let Some(stamp) = self.xattr.map(Stamp::read) else { return self.body.is_some() };
        stamp.cas != Some(self.cas) && stamp.crc != self.body.map(crc32c)
    }
}

/// The xattr, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
struct Stamp {
    meta: Option<Vec<u8>>,
    cas: Option<u64>,
    crc: Option<u32>,
}

impl Stamp {
    /// What somebody else has written under the name has none of the parts.
    fn read(xattr: &[u8]) -> Self {
        let Ok(value) = serde_json::from_slice::<Value>(xattr) else { return Self::default() };
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let hex = |name: &str| u64::from_str_radix(text(name)?.strip_prefix("0x")?, 16).ok();
        Self {
            meta: text(META).and_then(|text| base64::decode(text, Variant::Standard)),
            // The macro writes the bytes of the number in the order of the machine.
            cas: hex(CAS).map(u64::swap_bytes),
            crc: hex(CRC).and_then(|crc| u32::try_from(crc).ok()),
        }
    }
}

/// The value of the xattr, but for what macros add.
pub(crate) fn xattr_of(meta: &[u8]) -> Vec<u8> {
    format!("{{\"{META}\":\"{}\"}}", base64::encode(meta, Variant::Standard)).into_bytes()
}

/// As [`xattr_of`], with a body that the same command moves to where it belongs.
pub(crate) fn staging(meta: Option<&[u8]>, body: &[u8]) -> Vec<u8> {
    let mut value = meta.map_or_else(|| b"{}".to_vec(), xattr_of);
    value.pop();
    let comma = if meta.is_some() { "," } else { "" };
    value.extend(format!("{comma}\"{BODY}\":").bytes());
    value.extend(body);
    value.push(b'}');
    value
}

/// CRC-32C (Castagnoli), as the server's macro has it.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

/// What a token says of the state that it names. An absent document has the empty token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Was {
    pub(crate) cas: u64,
    pub(crate) is_live: bool,
    pub(crate) has_xattr: bool,
}

impl Was {
    pub(crate) fn token(self) -> Token {
        let mut bytes = self.cas.to_be_bytes().to_vec();
        bytes.push(u8::from(self.is_live) | u8::from(self.has_xattr) << 1);
        Token(bytes)
    }

    /// `None` for an absent document.
    pub(crate) fn read(token: &Token) -> Result<Option<Self>, PlatformError> {
        match token.0.split_first_chunk() {
            None if token.0.is_empty() => Ok(None),
            Some((cas, &[state @ 0..=3])) => {
                let (is_live, has_xattr) = (state & 1 != 0, state & 2 != 0);
                Ok(Some(Self { cas: u64::from_be_bytes(*cas), is_live, has_xattr }))
            }
            Some(_) | None => Err(PlatformError::Refused("the token is not of this platform".to_owned())),
        }
    }
}

/// Reads one entry, from the node where it is active.
pub(crate) async fn read(client: &Client, path: &str, key: &str) -> Result<(Entry, u16), PlatformError> {
    let mut value = Vec::new();
    for xattr in [XATTR, "$document.vbucket_uuid", "$document.seqno"] {
        look(&mut value, opcode::SUBDOC_GET, path_flag::XATTR, xattr);
    }
    look(&mut value, opcode::GET, 0, "");
    let request = Request {
        opcode: opcode::MULTI_LOOKUP,
        collection: path.to_owned(),
        key: key.as_bytes().to_vec(),
        extras: vec![doc_flag::ACCESS_DELETED],
        value,
        is_repeatable: true,
        ..Request::default()
    };
    let answer = client.call(&request).await.map_err(|error| refused(&error))?;
    Ok((entry_of(&answer, path)?, answer.vbucket))
}

fn entry_of(answer: &Response, path: &str) -> Result<Entry, PlatformError> {
    let is_deleted = match answer.status {
        status::KEY_NOT_FOUND => return Ok(Entry::default()),
        status::SUCCESS | status::MULTI_PATH_FAILURE => false,
        status::SUCCESS_DELETED | status::MULTI_PATH_FAILURE_DELETED => true,
        status => return Err(failed(&format!("reading from {path}"), status)),
    };
    let mut rest = &answer.value[..];
    let mut next = || {
        let result = next_result(&mut rest);
        result.ok_or_else(|| PlatformError::Unavailable("the answer to a lookup is malformed".to_owned()))
    };
    let (xattr, uuid, seqno, body) = (next()?, next()?, next()?, next()?);
    // Whoever may not read the xattr would take every document for one without.
    if xattr == Err(status::NO_ACCESS) {
        return Err(failed(&format!("reading the xattr {XATTR} from {path}"), status::NO_ACCESS));
    }
    let number = |text: Result<&[u8], u16>| {
        let text = std::str::from_utf8(text.ok()?).ok()?.trim_matches('"').strip_prefix("0x")?;
        u64::from_str_radix(text, 16).ok()
    };
    let order = number(uuid).zip(number(seqno)).map(|(history, number)| Order { history, number });
    let body = if is_deleted { None } else { Some(body.map_err(|status| failed("reading a body", status))?) };
    Ok(State { cas: answer.cas, body, xattr: xattr.ok(), order }.entry())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_what_was_there() {
        for state in 0..4 {
            let was = Was { cas: 0x0102_0304_0506_0708, is_live: state & 1 != 0, has_xattr: state & 2 != 0 };
            assert_eq!(Was::read(&was.token()).unwrap(), Some(was));
        }
        assert_eq!(Was::read(&Token::default()).unwrap(), None);
        for wrong in [&[1][..], &[0; 8], &[4; 9], &[0; 10]] {
            assert!(Was::read(&Token(wrong.to_vec())).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_meta_is_any_bytes_and_only_ours_is_read() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(Stamp::read(&xattr_of(&all)).meta, Some(all));
        for other in [&b"1"[..], b"{}", br#"{"m":5}"#, br#"{"m":"\u0000"}"#, b"{", b""] {
            assert_eq!(Stamp::read(other).meta, None, "{other:?}");
        }
    }

    #[test]
    fn a_foreign_write_is_told_from_an_echo() {
        let xattr = br#"{"m":"","cas":"0x0807060504030201","crc":"0xe3069283"}"#;
        let body = &b"123456789"[..];
        assert_eq!(crc32c(body), 0xe306_9283);
        let check = |cas, body, xattr: Option<&[u8]>, is_foreign| {
            assert_eq!(State { cas, body, xattr, order: None }.is_foreign(), is_foreign, "{cas:#x} {body:?}");
        };
        check(0x0102_0304_0506_0708, Some(body), Some(xattr), false);
        // Something else than the body changed it: another xattr, an expiry.
        check(7, Some(body), Some(xattr), false);
        check(7, Some(b"12345678"), Some(xattr), true);
        check(7, None, Some(xattr), true);
        check(7, Some(body), None, true);
        check(7, None, None, false);
    }

    #[test]
    fn a_body_that_is_not_json_is_unreadable() {
        let entry = State { cas: 1, body: Some(b"\x01"), ..State::default() }.entry();
        assert_eq!((entry.content, entry.unreadable.as_deref()), (None, Some("1 bytes that are not JSON")));
        let entry = State { cas: 1, body: Some(b" {\"a\":1} "), ..State::default() }.entry();
        assert_eq!((entry.content.as_deref(), entry.unreadable), (Some(&b" {\"a\":1} "[..]), None));
    }
}
