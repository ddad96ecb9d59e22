//! Sub-document commands: single and multi, on the body and on xattrs (`kv_engine` docs/SubDocument.md,
//! docs/ExtendedAttributes.md; daemon/subdocument.cc, `daemon/subdocument_context.cc`).

use std::sync::Arc;

use crate::cluster::State;
use crate::edit;
use crate::item::{Item, Xattrs};
use crate::json::Json;
use crate::kv::{copy_of, is_json};
use crate::macros::{self, NewVersion};
use crate::privilege::Privilege;
use crate::session::Session;
use crate::subdoc_command::{Command, Spec, parse};
use crate::subdoc_flags::{doc_flag, grows_root};
use crate::subdoc_validate::validate;
use crate::target::{Failure, Target, check_size};
use crate::vbucket::Draft;
use crate::wire::{Frames, Packet, Status, datatype, opcode, word};

pub(crate) fn run(session: &Session, state: &mut State, packet: &Packet) -> Result<Packet, Failure> {
    let command = parse(packet)?;
    validate(session, packet, &command)?;
    let mut target = Target::active(session, state, packet)?;
    if command.is_lookup {
        lookup(session, &mut target, packet, &command)
    } else {
        mutate(session, &mut target, packet, &command)
    }
}

fn lookup(session: &Session, target: &mut Target<'_>, packet: &Packet, command: &Command) -> Result<Packet, Failure> {
    let item = target.vbucket.get(&target.key).filter(|item| item.is_live() || command.has(doc_flag::ACCESS_DELETED));
    let item = item.ok_or(Status::KEY_NOT_FOUND)?;
    // Lookups compare it, too (daemon/subdocument_context.cc, `get_document_for_searching`).
    if packet.cas != 0 && packet.cas != item.cas {
        return Err(Status::KEY_EXISTS.into());
    }
    if command.has(doc_flag::REVIVE) && item.is_live() {
        return Err(Status::ONLY_REVIVE_DELETED.into());
    }
    let hides_system = target.faults.denied.contains(&Privilege::SystemXattrRead);
    let view = View { item: &item, uuid: target.vbucket.uuid(), hides_system };
    // One path that the user may not see makes all xattr paths fail; those of the body do not (daemon/subdocument.cc, `do_xattr_phase`).
    let is_denied = command.is_denied(target.faults);
    let look = |spec: &Spec| if is_denied && spec.is_xattr() { Err(Status::NO_ACCESS) } else { view.look(spec) };
    let results: Vec<Result<Vec<u8>, Status>> = command.specs.iter().map(look).collect();
    let is_deleted = !item.is_live();
    let status = match (results.iter().all(Result::is_ok), is_deleted) {
        (true, false) => Status::SUCCESS,
        (true, true) => Status::SUCCESS_DELETED,
        (false, false) => Status::MULTI_PATH_FAILURE,
        (false, true) => Status::MULTI_PATH_FAILURE_DELETED,
    };
    let mut answer = packet.answer(status);
    answer.cas = item.cas;
    if command.is_multi {
        for result in results {
            let (status, value) = result.map_or_else(|status| (status, Vec::new()), |value| (Status::SUCCESS, value));
            answer.value.extend(status.0.to_be_bytes());
            answer.value.extend(word(value.len()).to_be_bytes());
            answer.value.extend(value);
        }
    } else {
        for result in results {
            answer.value = result?;
        }
        // Values and counts are JSON (daemon/subdocument_traits.h, `response_type`).
        if session.has_json() && packet.opcode != opcode::SUBDOC_EXISTS {
            answer.datatype = datatype::JSON;
        }
    }
    Ok(answer)
}

/// A document as lookups see it.
struct View<'a> {
    item: &'a Item,
    uuid: u64,
    /// Whether the table of contents leaves out system xattrs.
    hides_system: bool,
}

impl View<'_> {
    fn look(&self, spec: &Spec) -> Result<Vec<u8>, Status> {
        if !spec.is_xattr() {
            // An empty body is none (daemon/subdocument_context.cc, `operate_wholedoc`).
            return match spec.code {
                opcode::GET if self.item.body.is_empty() => Err(Status::PATH_NOT_FOUND),
                opcode::GET => Ok(self.item.body.clone()),
                code => edit::look(code, &Json::document(&self.item.body)?, &spec.path),
            };
        }
        let (name, inner) = spec.xattr();
        let stored;
        let value = match name {
            "$document" => {
                stored = macros::document(self.item, self.uuid);
                stored.as_bytes()
            }
            "$XTOC" => {
                stored = macros::table_of_contents(&self.item.xattrs, self.hides_system);
                stored.as_bytes()
            }
            "$vbucket" => {
                stored = macros::vbucket();
                stored.as_bytes()
            }
            other if other.starts_with('$') => return Err(Status::XATTR_UNKNOWN_VATTR),
            other => self.item.xattrs.get(other).ok_or(Status::PATH_NOT_FOUND)?,
        };
        edit::look(spec.code, &Json::document(value)?, inner)
    }
}

/// The document that a mutation makes: nothing of it is stored before all of its paths have succeeded.
struct Edited {
    xattrs: Xattrs,
    /// Empty for a tombstone, and for a document that is being made or revived and has none yet.
    body: Vec<u8>,
    /// Whether it was a tombstone, or is being made as one, and is not revived.
    was_deleted: bool,
    is_deleted: bool,
}

fn mutate(session: &Session, target: &mut Target<'_>, packet: &Packet, command: &Command) -> Result<Packet, Failure> {
    let current = target.vbucket.get(&target.key);
    let base = base(command, current.as_ref())?;
    let was_deleted = base.was_deleted;
    // A tombstone that the command does not look at has no CAS for it (daemon/subdocument.cc, `fetch_input_document`).
    let seen = current.as_ref().filter(|item| item.is_live() || command.has(doc_flag::ACCESS_DELETED));
    if let Some(seen) = seen {
        target.check_cas(packet, Some(seen.cas))?;
    }
    if command.has(doc_flag::REVIVE) && seen.is_some_and(|item| item.is_live()) {
        return Err(Status::ONLY_REVIVE_DELETED.into());
    }
    // After the document was found as expected, and not before.
    if command.is_denied(target.faults) {
        let at = command.specs.iter().position(Spec::is_xattr).and_then(|at| u8::try_from(at).ok()).unwrap_or(0);
        return Err(path_failure(command, at, Status::NO_ACCESS));
    }
    let cas = target.vbucket.next_cas();
    // The prepare of a durable write takes a sequence number before the write's own.
    let is_durable = Frames::read(packet.opcode, &packet.frames)?.durability.is_some();
    let new = NewVersion { cas, seqno: target.vbucket.high_seqno() + 1 + u64::from(is_durable) };
    let before = seen.map(|item| (item.as_ref(), target.vbucket.uuid()));
    let (edited, results) = match carry_out(command, base, &new, before) {
        Ok(done) => done,
        Err((at, status)) => return Err(path_failure(command, at, status)),
    };
    if was_deleted && edited.is_deleted {
        check_tombstone(command, &edited, seen)?;
    }
    check_size(&edited.xattrs, edited.body.len())?;
    let frames = target.begin_write(packet)?;
    let item = keep(target, command, current.as_deref().filter(|_| seen.is_some()), edited, &frames, cas);
    target.end_write(&frames)?;
    let mut answer = session.written(packet, target, &item);
    // It tells of what the command found (daemon/subdocument.cc, `send_multi_mutation_response`).
    if was_deleted {
        answer.vbucket = Status::SUCCESS_DELETED.0;
    }
    for (at, value) in results {
        if command.is_multi {
            answer.value.push(at);
            answer.value.extend(Status::SUCCESS.0.to_be_bytes());
            answer.value.extend(word(value.len()).to_be_bytes());
        } else if session.has_json() {
            answer.datatype = datatype::JSON;
        }
        answer.value.extend(value);
    }
    Ok(answer)
}

/// What a tombstone may not become (daemon/subdocument.cc, `update_document`).
fn check_tombstone(command: &Command, edited: &Edited, seen: Option<&Arc<Item>>) -> Result<(), Status> {
    if !edited.body.is_empty() {
        return Err(Status::DELETED_CANNOT_HAVE_VALUE);
    }
    // A deletion that leaves no xattr is a removal, which finds no document.
    let deletes = command.specs.iter().any(|spec| spec.code == opcode::DELETE);
    let loses_all = edited.xattrs.is_empty() && seen.is_some_and(|item| !item.xattrs.is_empty());
    if deletes && loses_all { Err(Status::KEY_NOT_FOUND) } else { Ok(()) }
}

/// What the command starts from, by its flags (daemon/subdocument.cc, `fetch_input_document`).
fn base(command: &Command, current: Option<&Arc<Item>>) -> Result<Edited, Status> {
    let has = |flag| command.has(flag);
    match current.filter(|item| item.is_live() || has(doc_flag::ACCESS_DELETED)) {
        // A command that sees tombstones adds nothing over one.
        Some(_) if has(doc_flag::ADD) => Err(Status::KEY_EXISTS),
        Some(item) => {
            let was_deleted = !item.is_live() && !has(doc_flag::REVIVE);
            let (xattrs, body) = (item.xattrs.clone(), item.body.clone());
            Ok(Edited { xattrs, body, was_deleted, is_deleted: was_deleted })
        }
        None if has(doc_flag::ADD) || has(doc_flag::MAKES_DOCUMENT) => {
            let was_deleted = has(doc_flag::CREATE_AS_DELETED);
            let body = if was_deleted { Vec::new() } else { template(command) };
            Ok(Edited { xattrs: Xattrs::default(), body, was_deleted, is_deleted: was_deleted })
        }
        None => Err(Status::KEY_NOT_FOUND),
    }
}

/// The body of a document that is made: an array or an object, by the first path that is inside of something, be it an xattr
/// (`daemon/subdocument_context.cc`, `create_multi_path_context`); else none.
fn template(command: &Command) -> Vec<u8> {
    let is_inside = |spec: &&Spec| !matches!(spec.code, opcode::SET | opcode::SUBDOC_REPLACE_BODY_WITH_XATTR);
    let Some(spec) = command.specs.iter().find(is_inside) else { return Vec::new() };
    let body: &[u8] = match spec.path.trim_start().chars().next() {
        Some('[') => b"[]",
        None if grows_root(spec.code) => b"[]",
        None => b"",
        Some(_) => b"{}",
    };
    body.to_vec()
}

/// The answer of each path that has one, by the path's number.
type Results = Vec<(u8, Vec<u8>)>;

fn carry_out(
    command: &Command,
    mut edited: Edited,
    new: &NewVersion,
    before: Option<(&Item, u64)>,
) -> Result<(Edited, Results), (u8, Status)> {
    let mut results = Vec::new();
    // The checksum is of the body that results, and stands in for itself until that is known (daemon/subdocument_context.cc,
    // `generate_macro_padding`).
    let values = command.specs.iter().map(|spec| spec.value.as_slice());
    let pad = macros::pad(values.chain(edited.xattrs.values()));
    for (at, spec) in (0_u8..).zip(&command.specs) {
        let value = if spec.expands_macros() {
            macros::expand(&spec.value, new, &pad, before).map_err(|status| (at, status))?
        } else {
            spec.value.clone()
        };
        let result = apply(command, &mut edited, spec, &value).map_err(|status| (at, status))?;
        if !result.is_empty() {
            results.push((at, result));
        }
    }
    edited.xattrs.normalize();
    let expanded = command.specs.iter().filter(|spec| spec.expands_macros());
    edited.xattrs.replace(expanded.map(|spec| spec.xattr().0), &pad, &macros::checksum(&edited.body));
    Ok((edited, results))
}

fn apply(command: &Command, edited: &mut Edited, spec: &Spec, value: &[u8]) -> Result<Vec<u8>, Status> {
    let makes_way = spec.makes_way() || command.has(doc_flag::MAKES_DOCUMENT) || command.has(doc_flag::ADD);
    match spec.code {
        opcode::SET => {
            edited.body = value.to_vec();
            Ok(Vec::new())
        }
        opcode::DELETE => {
            edited.is_deleted = true;
            edited.body = Vec::new();
            edited.xattrs = edited.xattrs.system_only();
            Ok(Vec::new())
        }
        opcode::SUBDOC_REPLACE_BODY_WITH_XATTR => {
            let (name, inner) = spec.xattr();
            let root = Json::document(edited.xattrs.get(name).ok_or(Status::PATH_NOT_FOUND)?)?;
            edited.body = edit::look(opcode::SUBDOC_GET, &root, inner)?;
            Ok(Vec::new())
        }
        code if spec.is_xattr() => xattr(code, &mut edited.xattrs, spec, value, makes_way),
        code => {
            // What has no body is not JSON, be it a tombstone or a document that is being revived.
            let mut root = Json::document(&edited.body)?;
            let result = edit::edit(code, &mut root, &spec.path, value, makes_way)?;
            edited.body = root.text();
            Ok(result)
        }
    }
}

/// The xattrs are edited as one object whose members they are.
fn xattr(code: u8, xattrs: &mut Xattrs, spec: &Spec, value: &[u8], makes_way: bool) -> Result<Vec<u8>, Status> {
    let (name, _) = spec.xattr();
    let members = match xattrs.get(name) {
        Some(value) => vec![(name.to_owned(), Json::document(value)?)],
        None => Vec::new(),
    };
    let mut root = Json::Object(members);
    let result = edit::edit(code, &mut root, &spec.path, value, makes_way)?;
    match root {
        Json::Object(members) => match members.into_iter().next() {
            Some((_, value)) => xattrs.set(name, value.text()),
            None => xattrs.remove(name),
        },
        Json::Array(_) | Json::Leaf(_) => return Err(Status::PATH_MISMATCH),
    }
    Ok(result)
}

/// Stores what a mutation made.
fn keep(
    target: &mut Target<'_>,
    command: &Command,
    current: Option<&Item>,
    edited: Edited,
    frames: &Frames,
    cas: u64,
) -> Arc<Item> {
    let before = current.map_or_else(|| target.draft(), copy_of);
    // Without an expiry in the extras it is 0, which takes the document's own away (daemon/subdocument.cc, `allocate_document`).
    // One that is to be kept is that of a tombstone, too, which is over.
    let kept = current.filter(|_| frames.preserves_expiry).map(Item::time);
    let expiry = kept.unwrap_or_else(|| target.expiry(command.expiry));
    let flags = command.user_flags.unwrap_or(before.flags);
    let Edited { xattrs, body, is_deleted, .. } = edited;
    let draft = Draft { xattrs, is_json: is_json(&body), body, expiry, flags, cas: Some(cas), ..before };
    if is_deleted {
        return target.vbucket.put_deleted(Draft { expiry: 0, flags: 0, ..draft });
    }
    target.vbucket.put(draft)
}

/// Which path failed, and why: in the value of a multi command, as the status itself of a single one. That the document is a tombstone is
/// told by lookups alone (daemon/subdocument.cc, `send_multi_lookup_response`).
fn path_failure(command: &Command, at: u8, status: Status) -> Failure {
    if !command.is_multi {
        return status.into();
    }
    let mut value = vec![at];
    value.extend(status.0.to_be_bytes());
    Failure { status: Status::MULTI_PATH_FAILURE, value }
}
