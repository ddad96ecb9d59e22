//! Conditional writes: one sub-document command for body and meta together.
//!
//! | there was | content | command |
//! |---|---|---|
//! | nothing | put | add, where not even a tombstone is |
//! | nothing | keep, delete | add as a tombstone |
//! | a tombstone | put | revive, by CAS |
//! | a tombstone | keep, delete | change, by CAS |
//! | a document | any | change, by CAS; the expiry stays |
//!
//! The server has no command that sets a whole body and looks at tombstones (`kv_engine` `daemon/subdocument_traits.h`). So a revived body
//! comes by way of the xattr, and a new one is put together from its members; where it cannot be, a tombstone that says nothing is made
//! first, and revived.

use std::time::{Duration, Instant};

use tidelock_couchbase_dcp::kv::{Client, Request, Response};
use tidelock_store::platform::{Order, PlatformError, PutContent, PutIf, PutOutcome, Written};

use crate::config::{Durability, XATTR};
use crate::entry::{BODY, CAS, CRC, PLACEHOLDER, Was, failed, is_busy, read, refused, staging, xattr_of};
use crate::members::{depth, members};
use crate::names::{CONTENT_BYTES_MAX, DEPTH_MAX, KEY_BYTES_MAX, META_BYTES_MAX};
use crate::subdoc::{MACRO_CAS, MACRO_CRC, PATHS_MAX, change, doc_flag, frames, opcode, path_flag, status};

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
    check_form(put)?;
    let mut was = Was::read(&put.token)?;
    if let (None, PutContent::Put(text)) = (was, &put.content)
        && new_members(put, text).is_none()
    {
        let answer = call(client, &placeholder(path, put)).await?;
        match placed(put, &answer)? {
            Some(placed) => was = Some(placed),
            None => return Ok((PutOutcome::Mismatch, answer.vbucket)),
        }
    }
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
    let answer = call(client, &request).await?;
    Ok((outcome(put, was, &answer)?, answer.vbucket))
}

/// Sends a command until the server is not too busy for it.
async fn call(client: &Client, request: &Request) -> Result<Response, PlatformError> {
    let begun = Instant::now();
    let mut pause = BUSY_RETRY;
    loop {
        let answer = client.call(request).await.map_err(|error| refused(&error))?;
        if !is_busy(answer.status) || begun.elapsed() + pause >= BUSY_MAX {
            return Ok(answer);
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

/// The members of a body that one command can put together, beside what it writes of the meta.
fn new_members(put: &PutIf, text: &[u8]) -> Option<Vec<(String, String)>> {
    let paths_of_meta = if put.meta.is_some() { 3 } else { 0 };
    members(text, PATHS_MAX - paths_of_meta).filter(|members| paths_of_meta + members.len() > 0)
}

/// A tombstone without a meta, where there is nothing. It need not be durable: without it the document is not revived.
fn placeholder(path: &str, put: &PutIf) -> Request {
    let mut value = Vec::new();
    change(&mut value, opcode::SUBDOC_UPSERT, path_flag::XATTR, XATTR, PLACEHOLDER);
    Request {
        opcode: opcode::MULTI_MUTATION,
        collection: path.to_owned(),
        key: put.id.key.as_bytes().to_vec(),
        extras: vec![doc_flag::ADD | doc_flag::ACCESS_DELETED | doc_flag::CREATE_AS_DELETED],
        value,
        ..Request::default()
    }
}

/// What the document is after the placeholder; `None` where there was something.
fn placed(put: &PutIf, answer: &Response) -> Result<Option<Was>, PlatformError> {
    match answer.status {
        status::SUCCESS_DELETED => Ok(Some(Was { cas: answer.cas, is_live: false, has_xattr: true })),
        status::KEY_EXISTS | status::NOT_STORED => Ok(None),
        status => Err(failed(&format!("writing {}", put.id), status)),
    }
}

/// The command; `None` where it would change nothing.
fn request(path: &str, put: &PutIf, was: Option<Was>, durability: Durability) -> Option<Request> {
    let (is_live, has_xattr) = was.map_or((false, false), |was| (was.is_live, was.has_xattr));
    let mut value = Vec::new();
    let staged = match &put.content {
        PutContent::Put(text) if was.is_some() && !is_live => Some(text),
        PutContent::Put(_) | PutContent::Keep | PutContent::Delete => None,
    };
    if let Some(text) = staged {
        let place = format!("{XATTR}.{BODY}");
        let left = if put.meta.is_some() { place.as_str() } else { XATTR };
        change(&mut value, opcode::SUBDOC_UPSERT, path_flag::XATTR, XATTR, &staging(put.meta.as_deref(), text));
        change(&mut value, opcode::REPLACE_BODY_WITH_XATTR, path_flag::XATTR, &place, b"");
        change(&mut value, opcode::SUBDOC_DELETE, path_flag::XATTR, left, b"");
    } else if let Some(meta) = &put.meta {
        change(&mut value, opcode::SUBDOC_UPSERT, path_flag::XATTR, XATTR, &xattr_of(meta));
    } else if has_xattr {
        change(&mut value, opcode::SUBDOC_DELETE, path_flag::XATTR, XATTR, b"");
    }
    if put.meta.is_some() {
        let expanding = path_flag::XATTR | path_flag::EXPANDS_MACROS;
        change(&mut value, opcode::SUBDOC_UPSERT, expanding, &format!("{XATTR}.{CAS}"), MACRO_CAS);
        change(&mut value, opcode::SUBDOC_UPSERT, expanding, &format!("{XATTR}.{CRC}"), MACRO_CRC);
    }
    match &put.content {
        PutContent::Put(text) if is_live => change(&mut value, opcode::SET, 0, "", text),
        PutContent::Put(text) if was.is_none() => {
            for (path, text) in new_members(put, text)? {
                change(&mut value, opcode::SUBDOC_UPSERT, 0, &path, text.as_bytes());
            }
        }
        PutContent::Delete if is_live => change(&mut value, opcode::DELETE, 0, "", b""),
        PutContent::Put(_) | PutContent::Delete | PutContent::Keep => {}
    }
    if value.is_empty() {
        return None;
    }
    let flags = match was {
        None if matches!(put.content, PutContent::Put(_)) => doc_flag::ADD | doc_flag::ACCESS_DELETED,
        None => doc_flag::ADD | doc_flag::ACCESS_DELETED | doc_flag::CREATE_AS_DELETED,
        Some(_) if staged.is_some() => doc_flag::ACCESS_DELETED | doc_flag::REVIVE,
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

fn check_form(put: &PutIf) -> Result<(), PlatformError> {
    let content = if let PutContent::Put(text) = &put.content { text.len() } else { 0 };
    let meta = put.meta.as_ref().map_or(0, |meta| meta.len());
    let parts = [
        ("key", put.id.key.len(), KEY_BYTES_MAX),
        ("content", content, CONTENT_BYTES_MAX),
        ("meta", meta, META_BYTES_MAX),
    ];
    if let Some((part, length, limit)) = parts.into_iter().find(|(_, length, limit)| *length > *limit as usize) {
        return Err(PlatformError::Refused(format!("{}: a {part} of {length} bytes; at most {limit}", put.id)));
    }
    match &put.content {
        PutContent::Put(text) if !Was::read(&put.token)?.is_some_and(|was| was.is_live) && depth(text) > DEPTH_MAX => {
            let why = format!("{}: a new document is nested at most {DEPTH_MAX} levels deep", put.id);
            Err(PlatformError::Refused(why))
        }
        PutContent::Put(_) | PutContent::Keep | PutContent::Delete => Ok(()),
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
        assert_eq!(flags(was(true, false), content(), None), Some((0, 7, keeping.clone())));
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
