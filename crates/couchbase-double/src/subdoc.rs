//! Sub-document commands: single and multi, on the body and on xattrs (`kv_engine` docs/SubDocument.md,
//! docs/ExtendedAttributes.md; `daemon/subdocument_validators.cc`, `daemon/subdocument_context.cc`).

use std::sync::Arc;

use crate::cluster::State;
use crate::edit;
use crate::item::{Item, Kind, Xattrs};
use crate::json::Json;
use crate::kv::{copy_of, is_json};
use crate::macros::{self, NewVersion};
use crate::session::Session;
use crate::subdoc_command::{Command, Spec, parse};
use crate::subdoc_flags::{doc_flag, path_flag};
use crate::target::{Failure, Target};
use crate::vbucket::Draft;
use crate::wire::{Frames, Packet, Status, opcode, word};

const XATTR_NAME_BYTES_MAX: usize = 15;

pub(crate) fn run(session: &Session, state: &mut State, packet: &Packet) -> Result<Packet, Failure> {
    let command = parse(packet)?;
    validate(session, packet, &command)?;
    let mut target = Target::active(session, state, packet)?;
    if command.is_lookup {
        lookup(&mut target, packet, &command)
    } else {
        mutate(session, &mut target, packet, &command)
    }
}

/// What `subdoc_multi_validator` and `subdoc_validator` refuse.
fn validate(session: &Session, packet: &Packet, command: &Command) -> Result<(), Status> {
    let has = |flag| command.has(flag);
    let is_new = has(doc_flag::ADD) || has(doc_flag::MAKES_DOCUMENT);
    if command.flags & !doc_flag::ALL != 0
        || has(doc_flag::ADD) && has(doc_flag::MAKES_DOCUMENT)
        || has(doc_flag::ADD) && packet.cas != 0
        || has(doc_flag::REVIVE) && (!has(doc_flag::ACCESS_DELETED) || has(doc_flag::CREATE_AS_DELETED))
        || has(doc_flag::CREATE_AS_DELETED) && !is_new
        || command.is_lookup && (command.flags & !doc_flag::ACCESS_DELETED != 0 || packet.cas != 0)
    {
        return Err(Status::INVALID);
    }
    let mut are_xattrs_over = false;
    let mut is_deleted_by = None;
    for (at, spec) in command.specs.iter().enumerate() {
        validate_spec(session, command, spec)?;
        // Xattrs come first, and a deletion of the body is the only command on it.
        if spec.is_xattr() && are_xattrs_over {
            return Err(Status::XATTR_ORDER);
        }
        if is_deleted_by.is_some() || spec.code == opcode::DELETE && are_xattrs_over {
            return Err(Status::INVALID_COMBINATION);
        }
        are_xattrs_over |= !spec.is_xattr();
        if spec.code == opcode::DELETE {
            is_deleted_by = Some(at);
        }
    }
    Ok(())
}

fn validate_spec(session: &Session, command: &Command, spec: &Spec) -> Result<(), Status> {
    let is_whole = matches!(spec.code, opcode::GET | opcode::SET | opcode::DELETE);
    let is_known = is_whole && command.is_multi
        || matches!(spec.code, opcode::SUBDOC_GET..=opcode::SUBDOC_COUNTER | opcode::SUBDOC_GET_COUNT)
        || spec.code == opcode::SUBDOC_REPLACE_BODY_WITH_XATTR;
    if !is_known || spec.is_lookup() != command.is_lookup {
        return Err(Status::INVALID_COMBINATION);
    }
    if spec.flags & !path_flag::ALL != 0 {
        return Err(Status::INVALID);
    }
    let allows_empty_path = is_whole
        || matches!(
            spec.code,
            opcode::SUBDOC_ARRAY_PUSH_LAST
                | opcode::SUBDOC_ARRAY_PUSH_FIRST
                | opcode::SUBDOC_ARRAY_ADD_UNIQUE
                | opcode::SUBDOC_GET_COUNT
        );
    if is_whole && (!spec.path.is_empty() || spec.is_xattr())
        || !spec.is_xattr() && spec.path.is_empty() && !allows_empty_path
    {
        return Err(Status::INVALID);
    }
    let takes_value = !spec.is_lookup()
        && !matches!(spec.code, opcode::DELETE | opcode::SUBDOC_DELETE | opcode::SUBDOC_REPLACE_BODY_WITH_XATTR);
    if takes_value == spec.value.is_empty() {
        return Err(Status::INVALID);
    }
    if spec.code == opcode::SUBDOC_REPLACE_BODY_WITH_XATTR && !spec.is_xattr() {
        return Err(Status::INVALID);
    }
    if command.has(doc_flag::CREATE_AS_DELETED) && !command.is_multi && !spec.is_xattr() {
        return Err(Status::INVALID);
    }
    validate_xattr(session, command, spec)
}

/// What `validate_xattr_section` refuses.
fn validate_xattr(session: &Session, command: &Command, spec: &Spec) -> Result<(), Status> {
    if !spec.is_xattr() {
        return if spec.expands_macros() { Err(Status::XATTR_FLAG_COMBINATION) } else { Ok(()) };
    }
    if !session.has_xattr() {
        return Err(Status::NOT_SUPPORTED);
    }
    let (name, _) = spec.xattr();
    let first = name.chars().next().ok_or(Status::XATTR_INVALID)?;
    let is_reserved = first.is_ascii_punctuation() && first != '_' && first != '$' || first.is_ascii_control();
    let is_prefix_only = name.len() == 1 && (first == '_' || first == '$');
    if name.len() > XATTR_NAME_BYTES_MAX || is_reserved || is_prefix_only {
        return Err(Status::XATTR_INVALID);
    }
    if first == '$' && !command.is_lookup {
        return Err(Status::XATTR_CANNOT_MODIFY_VATTR);
    }
    if spec.expands_macros() && !macros::is_macro(&spec.value) {
        return Err(Status::XATTR_UNKNOWN_MACRO);
    }
    Ok(())
}

fn lookup(target: &mut Target<'_>, packet: &Packet, command: &Command) -> Result<Packet, Failure> {
    let item = target.vbucket.get(&target.key).filter(|item| item.is_live() || command.has(doc_flag::ACCESS_DELETED));
    let item = item.ok_or(Status::KEY_NOT_FOUND)?;
    let view = View { item: &item, uuid: target.vbucket.uuid() };
    // One path that the user may not see makes all xattr paths fail; those of the body do not (subdocument.cc, `do_xattr_phase`).
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
    }
    Ok(answer)
}

/// A document as lookups see it.
struct View<'a> {
    item: &'a Item,
    uuid: u64,
}

impl View<'_> {
    fn look(&self, spec: &Spec) -> Result<Vec<u8>, Status> {
        if !spec.is_xattr() {
            if spec.code == opcode::GET {
                return if self.item.is_live() { Ok(self.item.body.clone()) } else { Err(Status::PATH_NOT_FOUND) };
            }
            if self.item.body.is_empty() && !self.item.is_live() {
                return Err(Status::PATH_NOT_FOUND);
            }
            let root = Json::parse(&self.item.body).ok_or(Status::DOC_NOT_JSON)?;
            return edit::look(spec.code, &root, &spec.path);
        }
        let (name, inner) = spec.xattr();
        let stored;
        let value = match name {
            "$document" => {
                stored = macros::document(self.item, self.uuid);
                stored.as_bytes()
            }
            "$XTOC" => {
                stored = macros::table_of_contents(&self.item.xattrs);
                stored.as_bytes()
            }
            "$vbucket" => {
                stored = macros::vbucket(self.uuid);
                stored.as_bytes()
            }
            other if other.starts_with('$') => return Err(Status::XATTR_UNKNOWN_VATTR),
            other => self.item.xattrs.get(other).ok_or(Status::PATH_NOT_FOUND)?,
        };
        let root = Json::parse(value).ok_or(Status::DOC_NOT_JSON)?;
        edit::look(spec.code, &root, inner)
    }
}

/// The document that a mutation makes: nothing of it is stored before all of its paths have succeeded.
struct Edited {
    xattrs: Xattrs,
    /// `None` when the document is, or becomes, a tombstone without a body.
    body: Option<Vec<u8>>,
    is_deleted: bool,
}

fn mutate(session: &Session, target: &mut Target<'_>, packet: &Packet, command: &Command) -> Result<Packet, Failure> {
    let current = target.vbucket.get(&target.key);
    let base = base(command, current.as_ref())?;
    let was_deleted = base.is_deleted;
    // A tombstone that the command does not look at has no CAS for it (subdocument.cc, `subdoc_fetch`).
    let seen = current.as_ref().filter(|item| item.is_live() || command.has(doc_flag::ACCESS_DELETED));
    target.check_cas(packet, seen.map(|item| item.cas))?;
    // After the document was found as expected, and not before.
    if command.is_denied(target.faults) {
        let at = command.specs.iter().position(Spec::is_xattr).and_then(|at| u8::try_from(at).ok()).unwrap_or(0);
        return Err(multi_failure(command, at, Status::NO_ACCESS, seen));
    }
    let cas = target.vbucket.next_cas();
    // The prepare of a durable write takes a sequence number before the write's own.
    let is_durable = Frames::read(&packet.frames)?.durability.is_some();
    let new = NewVersion { cas, seqno: target.vbucket.high_seqno() + 1 + u64::from(is_durable) };
    let view = seen.map(|item| View { item, uuid: target.vbucket.uuid() });
    let (edited, results) = match carry_out(command, base, &new, view.as_ref()) {
        Ok(done) => done,
        Err((at, status)) => return Err(multi_failure(command, at, status, seen)),
    };
    let frames = target.begin_write(packet)?;
    let item = keep(target, command, current.as_deref().filter(|_| seen.is_some()), edited, &frames, cas);
    target.end_write(&frames)?;
    let mut answer = session.written(packet, target, &item);
    // It tells of what the command found (subdocument.cc, `send_multi_mutation_response`).
    if was_deleted {
        answer.vbucket = Status::SUCCESS_DELETED.0;
    }
    for (at, value) in results {
        if command.is_multi {
            answer.value.push(at);
            answer.value.extend(Status::SUCCESS.0.to_be_bytes());
            answer.value.extend(word(value.len()).to_be_bytes());
        }
        answer.value.extend(value);
    }
    Ok(answer)
}

/// What the command starts from, by its flags (docs/SubDocument.md, "Mutation semantics").
fn base(command: &Command, current: Option<&Arc<Item>>) -> Result<Edited, Status> {
    let has = |flag| command.has(flag);
    let empty = |is_deleted| Edited { xattrs: Xattrs::default(), body: None, is_deleted };
    let live = current.filter(|item| item.is_live());
    if has(doc_flag::REVIVE) && live.is_some() {
        return Err(Status::ONLY_REVIVE_DELETED);
    }
    match (live, current) {
        (Some(_), _) if has(doc_flag::ADD) => Err(Status::KEY_EXISTS),
        // A command that sees tombstones adds nothing over one (subdocument.cc, `fetch_input_document`).
        (None, Some(_)) if has(doc_flag::ADD) && has(doc_flag::ACCESS_DELETED) => Err(Status::KEY_EXISTS),
        (Some(item), _) => Ok(Edited { xattrs: item.xattrs.clone(), body: Some(item.body.clone()), is_deleted: false }),
        (None, Some(tombstone)) if has(doc_flag::ACCESS_DELETED) => {
            Ok(Edited { xattrs: tombstone.xattrs.clone(), body: None, is_deleted: !has(doc_flag::REVIVE) })
        }
        _ if has(doc_flag::ADD) || has(doc_flag::MAKES_DOCUMENT) => Ok(empty(has(doc_flag::CREATE_AS_DELETED))),
        _ => Err(Status::KEY_NOT_FOUND),
    }
}

/// The answer of each path that has one, by the path's number.
type Results = Vec<(u8, Vec<u8>)>;

fn carry_out(
    command: &Command,
    mut edited: Edited,
    new: &NewVersion,
    view: Option<&View<'_>>,
) -> Result<(Edited, Results), (u8, Status)> {
    let mut results = Vec::new();
    // `${Mutation.value_crc32c}` is of the body that results: xattr paths with macros wait for it.
    let (with_macros, others): (Vec<_>, Vec<_>) =
        (0_u8..).zip(&command.specs).partition(|(_, spec)| spec.expands_macros());
    for (at, spec) in others.into_iter().chain(with_macros) {
        let value = if spec.is_xattr() && spec.expands_macros() {
            macros::expand(&spec.value, new, edited.body.as_deref(), view.map(|view| (view.item, view.uuid)))
                .map_err(|status| (at, status))?
        } else {
            spec.value.clone()
        };
        let result = apply(command, &mut edited, spec, &value).map_err(|status| (at, status))?;
        if !result.is_empty() {
            results.push((at, result));
        }
    }
    results.sort_by_key(|(at, _)| *at);
    Ok((edited, results))
}

fn apply(command: &Command, edited: &mut Edited, spec: &Spec, value: &[u8]) -> Result<Vec<u8>, Status> {
    let makes_way = spec.makes_way() || command.has(doc_flag::MAKES_DOCUMENT) || command.has(doc_flag::ADD);
    match spec.code {
        opcode::SET => {
            if edited.is_deleted {
                return Err(Status::DELETED_CANNOT_HAVE_VALUE);
            }
            edited.body = Some(value.to_vec());
            Ok(Vec::new())
        }
        opcode::DELETE => {
            if edited.is_deleted {
                return Err(Status::KEY_NOT_FOUND);
            }
            edited.is_deleted = true;
            edited.body = None;
            edited.xattrs = edited.xattrs.system_only();
            Ok(Vec::new())
        }
        opcode::SUBDOC_REPLACE_BODY_WITH_XATTR => {
            let (name, inner) = spec.xattr();
            let root = edited.xattrs.get(name).and_then(Json::parse).ok_or(Status::PATH_NOT_FOUND)?;
            edited.body = Some(edit::look(opcode::SUBDOC_GET, &root, inner)?);
            Ok(Vec::new())
        }
        code if spec.is_xattr() => xattr(code, &mut edited.xattrs, spec, value, makes_way),
        code => {
            if edited.is_deleted {
                return Err(Status::DELETED_CANNOT_HAVE_VALUE);
            }
            let mut root = match &edited.body {
                Some(body) => Json::parse(body).ok_or(Status::DOC_NOT_JSON)?,
                None => empty_root(code, &spec.path),
            };
            let result = edit::edit(code, &mut root, &spec.path, value, makes_way)?;
            edited.body = Some(root.text());
            Ok(result)
        }
    }
}

/// An array when the command needs one at the root, else an object (docs/SubDocument.md, "Creating missing documents").
fn empty_root(code: u8, path: &str) -> Json {
    let pushes = matches!(
        code,
        opcode::SUBDOC_ARRAY_PUSH_LAST | opcode::SUBDOC_ARRAY_PUSH_FIRST | opcode::SUBDOC_ARRAY_ADD_UNIQUE
    );
    if pushes && path.is_empty() { Json::Array(Vec::new()) } else { Json::Object(Vec::new()) }
}

/// The xattrs are edited as one object whose members they are.
fn xattr(code: u8, xattrs: &mut Xattrs, spec: &Spec, value: &[u8], makes_way: bool) -> Result<Vec<u8>, Status> {
    let (name, _) = spec.xattr();
    let members = match xattrs.get(name) {
        Some(value) => vec![(name.to_owned(), Json::parse(value).ok_or(Status::DOC_NOT_JSON)?)],
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
    let live = current.filter(|item| item.kind == Kind::Live);
    let before = live.map_or_else(|| target.draft(), copy_of);
    // Without an expiry in the extras it is 0, which takes the document's own away (subdocument.cc, `allocate_document`).
    let is_kept = frames.preserves_expiry && live.is_some();
    let expiry = if is_kept { before.expiry } else { target.expiry(command.expiry.unwrap_or(0)) };
    let body = edited.body.unwrap_or_else(|| if edited.is_deleted { Vec::new() } else { b"{}".to_vec() });
    let draft = Draft { xattrs: edited.xattrs, is_json: is_json(&body), body, expiry, cas: Some(cas), ..before };
    if edited.is_deleted {
        return target.vbucket.put_deleted(Draft { expiry: 0, flags: 0, ..draft });
    }
    target.vbucket.put(draft)
}

/// Which path failed, and why: in the value of a multi command, as the status itself of a single one.
fn multi_failure(command: &Command, at: u8, status: Status, seen: Option<&Arc<Item>>) -> Failure {
    if !command.is_multi {
        return status.into();
    }
    let is_deleted = seen.is_some_and(|item| !item.is_live());
    let overall = if is_deleted { Status::MULTI_PATH_FAILURE_DELETED } else { Status::MULTI_PATH_FAILURE };
    let mut value = vec![at];
    value.extend(status.0.to_be_bytes());
    Failure { status: overall, value }
}
