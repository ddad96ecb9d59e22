//! Commands on whole documents (`kv_engine` docs/BinaryProtocol.md, daemon/protocol/mcbp).

use crate::cluster::State;
use crate::item::Item;
use crate::session::Session;
use crate::target::{Failure, Target, check_size};
use crate::vbucket::Draft;
use crate::wire::{Frames, Packet, Reader, Status, datatype, opcode};

/// An expiry in an arithmetic command that forbids creating the document (docs/BinaryProtocol.md, "Increment").
const DO_NOT_CREATE: u32 = u32::MAX;

pub(crate) fn run(session: &Session, state: &mut State, packet: &Packet) -> Result<Packet, Failure> {
    if packet.opcode == opcode::GET_REPLICA {
        let target = Target::replica(session, state, packet)?;
        let item = target.vbucket.on_replica(&target.key).filter(|item| item.is_live());
        return Ok(document(session, packet, &*item.ok_or(Status::KEY_NOT_FOUND)?));
    }
    let mut target = Target::active(session, state, packet)?;
    match packet.opcode {
        opcode::GET => {
            let item = target.vbucket.live(&target.key).ok_or(Status::KEY_NOT_FOUND)?;
            let mut answer = document(session, packet, &item);
            if target.vbucket.is_locked(&target.key) {
                answer.cas = u64::MAX;
            }
            Ok(answer)
        }
        opcode::GET_META => meta(&mut target, packet),
        opcode::GET_LOCKED => lock(session, &mut target, packet),
        opcode::UNLOCK => unlock(&mut target, packet),
        opcode::SET | opcode::ADD | opcode::REPLACE => store(session, &mut target, packet),
        opcode::APPEND | opcode::PREPEND => extend(session, &mut target, packet),
        opcode::DELETE => delete(session, &mut target, packet),
        opcode::INCREMENT | opcode::DECREMENT => count(session, &mut target, packet),
        opcode::TOUCH | opcode::GET_AND_TOUCH => touch(session, &mut target, packet),
        _ => Err(Status::UNKNOWN_COMMAND.into()),
    }
}

/// A document as `GET` answers it.
fn document(session: &Session, packet: &Packet, item: &Item) -> Packet {
    let mut answer = packet.answer(Status::SUCCESS);
    answer.cas = item.cas;
    answer.extras = item.flags.to_be_bytes().to_vec();
    answer.value.clone_from(&item.body);
    answer.datatype = if session.has_json() { item.datatype(false) } else { 0 };
    answer
}

fn store(session: &Session, target: &mut Target<'_>, packet: &Packet) -> Result<Packet, Failure> {
    let mut extras = Reader::new(&packet.extras);
    let (flags, asked) = (extras.u32().unwrap_or(0), extras.u32().unwrap_or(0));
    let body = Session::plain_value(packet)?;
    let current = target.vbucket.live(&target.key);
    match (packet.opcode, &current) {
        (opcode::ADD, Some(_)) => return Err(Status::KEY_EXISTS.into()),
        (opcode::REPLACE, None) => return Err(Status::KEY_NOT_FOUND.into()),
        _ => {}
    }
    target.check_cas(packet, current.as_ref().map(|item| item.cas))?;
    // A live document keeps its xattrs (daemon/protocol/mcbp/mutation_context.cc); a tombstone's are dropped.
    let xattrs = current.as_ref().map(|item| item.xattrs.clone()).unwrap_or_default();
    check_size(&xattrs, body.len())?;
    let frames = target.begin_write(packet)?;
    let kept = current.as_ref().filter(|_| frames.preserves_expiry).map(|item| item.expiry);
    let draft = Draft {
        flags,
        expiry: kept.unwrap_or_else(|| target.expiry(asked)),
        is_json: is_json(&body),
        body,
        xattrs,
        ..target.draft()
    };
    let item = target.vbucket.put(draft);
    target.end_write(&frames)?;
    Ok(session.written(packet, target, &item))
}

fn extend(session: &Session, target: &mut Target<'_>, packet: &Packet) -> Result<Packet, Failure> {
    let more = Session::plain_value(packet)?;
    let current = target.vbucket.live(&target.key).ok_or(Status::NOT_STORED)?;
    target.check_cas(packet, Some(current.cas))?;
    let body = match packet.opcode {
        opcode::APPEND => [current.body.as_slice(), &more].concat(),
        _ => [more.as_slice(), &current.body].concat(),
    };
    check_size(&current.xattrs, body.len())?;
    let frames = target.begin_write(packet)?;
    let draft = Draft { is_json: is_json(&body), body, ..copy_of(&current) };
    let item = target.vbucket.put(draft);
    target.end_write(&frames)?;
    Ok(session.written(packet, target, &item))
}

fn delete(session: &Session, target: &mut Target<'_>, packet: &Packet) -> Result<Packet, Failure> {
    let current = target.vbucket.live(&target.key).ok_or(Status::KEY_NOT_FOUND)?;
    target.check_cas(packet, Some(current.cas))?;
    let frames = target.begin_write(packet)?;
    let item = target.vbucket.remove(&current, false);
    target.end_write(&frames)?;
    Ok(session.written(packet, target, &item))
}

fn count(session: &Session, target: &mut Target<'_>, packet: &Packet) -> Result<Packet, Failure> {
    let mut extras = Reader::new(&packet.extras);
    let (delta, initial) = (extras.u64().unwrap_or(0), extras.u64().unwrap_or(0));
    let asked = extras.u32().unwrap_or(0);
    let current = target.vbucket.live(&target.key);
    if target.vbucket.is_locked(&target.key) {
        return Err(Status::LOCKED.into());
    }
    let (draft, number) = match current {
        None if asked == DO_NOT_CREATE => return Err(Status::KEY_NOT_FOUND.into()),
        None => (Draft { expiry: target.expiry(asked), ..target.draft() }, initial),
        Some(current) => {
            let text = std::str::from_utf8(&current.body).ok();
            let old: u64 = text.and_then(|text| text.parse().ok()).ok_or(Status::DELTA_BAD_VALUE)?;
            // An increment wraps around, a decrement stops at 0 (daemon/protocol/mcbp/arithmetic_context.cc).
            let number =
                if packet.opcode == opcode::INCREMENT { old.wrapping_add(delta) } else { old.saturating_sub(delta) };
            (copy_of(&current), number)
        }
    };
    let frames = target.begin_write(packet)?;
    let item = target.vbucket.put(Draft { body: number.to_string().into_bytes(), is_json: true, ..draft });
    target.end_write(&frames)?;
    let mut answer = session.written(packet, target, &item);
    answer.value = number.to_be_bytes().to_vec();
    Ok(answer)
}

fn touch(session: &Session, target: &mut Target<'_>, packet: &Packet) -> Result<Packet, Failure> {
    // The form of the packet allows it, the engine does not have it (engines/ep/src/ep_engine.cc, `get_and_touch`).
    if Frames::read(packet.opcode, &packet.frames)?.durability.is_some() {
        return Err(Status::NOT_SUPPORTED.into());
    }
    let asked = Reader::new(&packet.extras).u32().unwrap_or(0);
    let current = target.vbucket.live(&target.key).ok_or(Status::KEY_NOT_FOUND)?;
    if target.vbucket.is_locked(&target.key) {
        return Err(Status::LOCKED.into());
    }
    let expiry = target.expiry(asked);
    // An expiry that the document has already is no change (engines/ep/src/vbucket.cc, `processGetAndUpdateTtl`).
    let is_changed = expiry != current.expiry;
    let item = if is_changed { target.vbucket.put(Draft { expiry, ..copy_of(&current) }) } else { current };
    let mut answer = document(session, packet, &item);
    if packet.opcode == opcode::TOUCH {
        answer.value.clear();
        answer.extras.clear();
        answer.datatype = 0;
    }
    Ok(answer)
}

fn lock(session: &Session, target: &mut Target<'_>, packet: &Packet) -> Result<Packet, Failure> {
    let seconds = Reader::new(&packet.extras).u32().unwrap_or(0);
    let current = target.vbucket.live(&target.key).ok_or(Status::KEY_NOT_FOUND)?;
    let cas = target.vbucket.lock(&current, seconds).ok_or(Status::LOCKED)?;
    let mut answer = document(session, packet, &current);
    answer.cas = cas;
    Ok(answer)
}

fn unlock(target: &mut Target<'_>, packet: &Packet) -> Result<Packet, Failure> {
    target.vbucket.live(&target.key).ok_or(Status::KEY_NOT_FOUND)?;
    match target.vbucket.lock_cas(&target.key) {
        None => Err(Status::NOT_LOCKED.into()),
        Some(cas) if cas != packet.cas => Err(Status::LOCKED.into()),
        Some(_) => {
            target.vbucket.unlock(&target.key);
            Ok(packet.answer(Status::SUCCESS))
        }
    }
}

/// Deleted, flags, expiry, revision, and on request the datatype; tombstones included (`daemon/protocol/mcbp/get_meta_context.cc`).
fn meta(target: &mut Target<'_>, packet: &Packet) -> Result<Packet, Failure> {
    let item = target.vbucket.get(&target.key).ok_or(Status::KEY_NOT_FOUND)?;
    let mut answer = packet.answer(Status::SUCCESS);
    answer.cas = item.cas;
    answer.extras.extend(u32::from(!item.is_live()).to_be_bytes());
    answer.extras.extend(item.flags.to_be_bytes());
    answer.extras.extend(item.time().to_be_bytes());
    answer.extras.extend(item.revision.to_be_bytes());
    if packet.extras == [2] {
        answer.extras.push(item.datatype(true));
    }
    Ok(answer)
}

/// A draft of what is there.
pub(crate) fn copy_of(item: &Item) -> Draft {
    Draft {
        key: item.key.clone(),
        flags: item.flags,
        expiry: item.expiry,
        xattrs: item.xattrs.clone(),
        body: item.body.clone(),
        is_json: item.is_json,
        cas: None,
    }
}

/// The server looks at the value itself, whatever the client says of it (`daemon/protocol/mcbp/mutation_context.cc`).
pub(crate) fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok()
}

impl Session {
    /// The value as it was before the client compressed it.
    pub(crate) fn plain_value(packet: &Packet) -> Result<Vec<u8>, Status> {
        if packet.datatype & datatype::SNAPPY == 0 {
            return Ok(packet.value.clone());
        }
        snap::raw::Decoder::new().decompress_vec(&packet.value).map_err(|_| Status::INVALID)
    }

    /// The answer to a write: its CAS, and the mutation token when it was negotiated.
    pub(crate) fn written(&self, packet: &Packet, target: &Target<'_>, item: &Item) -> Packet {
        let mut answer = packet.answer(Status::SUCCESS);
        answer.cas = item.cas;
        if self.has_mutation_tokens() {
            answer.extras.extend(target.vbucket.uuid().to_be_bytes());
            answer.extras.extend(item.seqno.to_be_bytes());
        }
        answer
    }
}
