//! Conditional writes: one sub-document command for body and meta together.
//!
//! | there was | content | command |
//! |---|---|---|
//! | nothing | put | add, where not even a tombstone is |
//! | nothing | keep, delete | add as a tombstone |
//! | a tombstone | put | revive, by CAS |
//! | a tombstone | keep, delete | change, by CAS |
//! | a document | any | change, by CAS; the expiry stays |

use std::time::{Duration, Instant};

use tidelock_couchbase_dcp::kv::{Client, Request, Response};
use tidelock_store::platform::{Order, PlatformError, PutContent, PutIf, PutOutcome, Written};

use crate::config::{Durability, XATTR};
use crate::entry::{CAS, CRC, Was, failed, is_busy, read, refused, xattr_of};
use crate::names::{CONTENT_BYTES_MAX, KEY_BYTES_MAX, META_BYTES_MAX};
use crate::subdoc::{MACRO_CAS, MACRO_CRC, change, doc_flag, frames, opcode, path_flag, status};

/// A put that the server is too busy for is tried again after this time, then after twice as much, …
const BUSY_RETRY: Duration = Duration::from_millis(5);
/// … up to this time in all.
const BUSY_MAX: Duration = Duration::from_millis(2_500);
/// After this time, in milliseconds, the server gives a durable write up.
const DURABLE_MS_MAX: u16 = 8_000;

/// Writes one entry.
pub(crate) async fn put(
    client: &Client,
    path: &str,
    put: &PutIf,
    durability: Durability,
) -> Result<(PutOutcome, u16), PlatformError> {
    check_sizes(put)?;
    let was = Was::read(&put.token)?;
    let Some(request) = request(path, put, was, durability) else {
        // Nothing would change: whether the state is still the one that is named is all there is to say.
        let (entry, vbucket) = read(client, path, &put.id.key).await?;
        let outcome = if entry.token == put.token {
            PutOutcome::Done(vec![Written { token: entry.token, order: entry.order }])
        } else {
            PutOutcome::Mismatch
        };
        return Ok((outcome, vbucket));
    };
    let begun = Instant::now();
    let mut pause = BUSY_RETRY;
    loop {
        let answer = client.call(&request).await.map_err(|error| refused(&error))?;
        if is_busy(answer.status) && begun.elapsed() + pause < BUSY_MAX {
            tokio::time::sleep(pause).await;
            pause *= 2;
            continue;
        }
        return Ok((outcome(put, was, &answer)?, answer.vbucket));
    }
}

/// The command; `None` where it would change nothing.
fn request(path: &str, put: &PutIf, was: Option<Was>, durability: Durability) -> Option<Request> {
    let (is_live, has_xattr) = was.map_or((false, false), |was| (was.is_live, was.has_xattr));
    let mut value = Vec::new();
    match &put.meta {
        Some(meta) => {
            let expanding = path_flag::XATTR | path_flag::EXPANDS_MACROS;
            change(&mut value, opcode::SUBDOC_UPSERT, path_flag::XATTR, XATTR, &xattr_of(meta));
            change(&mut value, opcode::SUBDOC_UPSERT, expanding, &format!("{XATTR}.{CAS}"), MACRO_CAS);
            change(&mut value, opcode::SUBDOC_UPSERT, expanding, &format!("{XATTR}.{CRC}"), MACRO_CRC);
        }
        None if has_xattr => change(&mut value, opcode::SUBDOC_DELETE, path_flag::XATTR, XATTR, b""),
        None => {}
    }
    match &put.content {
        PutContent::Put(text) => change(&mut value, opcode::SET, 0, "", text),
        PutContent::Delete if is_live => change(&mut value, opcode::DELETE, 0, "", b""),
        PutContent::Delete | PutContent::Keep => {}
    }
    if value.is_empty() {
        return None;
    }
    let revives = matches!(put.content, PutContent::Put(_)) && was.is_some() && !is_live;
    let flags = match was {
        None if matches!(put.content, PutContent::Put(_)) => doc_flag::ADD | doc_flag::ACCESS_DELETED,
        None => doc_flag::ADD | doc_flag::ACCESS_DELETED | doc_flag::CREATE_AS_DELETED,
        Some(_) if revives => doc_flag::ACCESS_DELETED | doc_flag::REVIVE,
        // With it the command would also find a tombstone, which has another CAS.
        Some(_) if is_live => 0,
        Some(_) => doc_flag::ACCESS_DELETED,
    };
    Some(Request {
        opcode: opcode::MULTI_MUTATION,
        collection: path.to_owned(),
        key: put.id.key.as_bytes().to_vec(),
        cas: was.map_or(0, |was| was.cas),
        // A tombstone has the time of its deletion where a document has its expiry.
        frames: frames(durability.level(), DURABLE_MS_MAX, is_live),
        extras: if flags == 0 { Vec::new() } else { vec![flags] },
        value,
        is_repeatable: false,
    })
}

fn outcome(put: &PutIf, was: Option<Was>, answer: &Response) -> Result<PutOutcome, PlatformError> {
    match answer.status {
        status::SUCCESS | status::SUCCESS_DELETED => {}
        status::KEY_EXISTS | status::KEY_NOT_FOUND | status::NOT_STORED | status::CAN_ONLY_REVIVE_DELETED => {
            return Ok(PutOutcome::Mismatch);
        }
        status::MULTI_PATH_FAILURE | status::MULTI_PATH_FAILURE_DELETED => {
            let path = answer.value.get(1..3).and_then(|status| status.try_into().ok()).map_or(0, u16::from_be_bytes);
            return Err(failed(&format!("a path of {}", put.id), path));
        }
        status => return Err(failed(&format!("writing {}", put.id), status)),
    }
    let is_live = match put.content {
        PutContent::Put(_) => true,
        PutContent::Delete => false,
        PutContent::Keep => was.is_some_and(|was| was.is_live),
    };
    let token = Was { cas: answer.cas, is_live, has_xattr: put.meta.is_some() }.token();
    // Uuid and sequence number, when they were negotiated.
    let order = answer.extras.first_chunk().zip(answer.extras.last_chunk()).filter(|_| answer.extras.len() == 16);
    let order = order
        .map(|(history, number)| Order { history: u64::from_be_bytes(*history), number: u64::from_be_bytes(*number) });
    Ok(PutOutcome::Done(vec![Written { token, order }]))
}

fn check_sizes(put: &PutIf) -> Result<(), PlatformError> {
    let content = if let PutContent::Put(text) = &put.content { text.len() } else { 0 };
    let meta = put.meta.as_ref().map_or(0, |meta| meta.len());
    let parts = [
        ("key", put.id.key.len(), KEY_BYTES_MAX),
        ("content", content, CONTENT_BYTES_MAX),
        ("meta", meta, META_BYTES_MAX),
    ];
    match parts.into_iter().find(|(_, length, limit)| *length > *limit as usize) {
        None => Ok(()),
        Some((part, length, limit)) => {
            Err(PlatformError::Refused(format!("{}: a {part} of {length} bytes; at most {limit}", put.id)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidelock_core::ids::DocumentId;

    use super::*;

    fn flags(was: Option<Was>, content: PutContent, meta: Option<&[u8]>) -> Option<(u8, u64, Vec<u8>)> {
        let token = was.map_or_else(Default::default, Was::token);
        let put = PutIf { id: DocumentId::new("c", "k"), token, content, meta: meta.map(Arc::from) };
        let request = request("s.c", &put, was, Durability::Majority)?;
        assert_eq!(request.extras.len(), usize::from(request.extras != [] as [u8; 0]));
        Some((request.extras.first().copied().unwrap_or(0), request.cas, request.frames))
    }

    #[test]
    fn the_flags_follow_from_what_was_there() {
        let durable = vec![0x13, 1, 0x1f, 0x40];
        let keeping = [&durable[..], &[0x50]].concat();
        let content = || PutContent::Put(Arc::from(&b"{}"[..]));
        let was = |is_live, has_xattr| Some(Was { cas: 7, is_live, has_xattr });
        assert_eq!(flags(None, content(), Some(b"m")), Some((0x06, 0, durable.clone())));
        assert_eq!(flags(None, PutContent::Delete, Some(b"m")), Some((0x0e, 0, durable.clone())));
        assert_eq!(flags(None, PutContent::Keep, None), None);
        assert_eq!(flags(was(false, true), content(), Some(b"m")), Some((0x14, 7, durable.clone())));
        assert_eq!(flags(was(false, false), PutContent::Keep, Some(b"m")), Some((0x04, 7, durable)));
        assert_eq!(flags(was(false, false), PutContent::Delete, None), None);
        assert_eq!(flags(was(true, false), PutContent::Delete, None), Some((0, 7, keeping.clone())));
        assert_eq!(flags(was(true, true), PutContent::Keep, None), Some((0, 7, keeping)));
    }

    #[test]
    fn what_the_server_says_is_understood() {
        let put = PutIf {
            id: DocumentId::new("c", "k"),
            token: tidelock_store::platform::Token::default(),
            content: PutContent::Delete,
            meta: None,
        };
        let answer = |status| {
            let response =
                Response { vbucket: 0, status, cas: 9, extras: vec![0; 16].into(), value: vec![0, 0, 0xc0].into() };
            outcome(&put, None, &response)
        };
        assert!(matches!(answer(0xcd), Ok(PutOutcome::Done(_))));
        for status in [0x01, 0x02, 0x05, 0xd6] {
            assert_eq!(answer(status), Ok(PutOutcome::Mismatch), "{status:#x}");
        }
        for status in [0xa1, 0xa2, 0xa3, 0x86, 0x09] {
            assert!(matches!(answer(status), Err(PlatformError::Unavailable(_))), "{status:#x}");
        }
        assert!(matches!(answer(0x82), Err(PlatformError::Full(_))));
        for status in [0x24, 0xa0, 0x03, 0xcc] {
            assert!(matches!(answer(status), Err(PlatformError::Refused(_))), "{status:#x}");
        }
    }
}
