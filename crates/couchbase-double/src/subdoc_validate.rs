//! What of a sub-document command is refused before any document is looked at (`kv_engine` `daemon/subdocument_validators.cc`).

use crate::macros;
use crate::session::Session;
use crate::subdoc_command::{Command, Spec};
use crate::subdoc_flags::{doc_flag, is_lookup, traits_of};
use crate::wire::{Packet, Status, opcode};

/// The longest name of an xattr in bytes (`SUBDOC_MAX_XATTR_LENGTH`, `daemon/subdocument_validators.h`).
const XATTR_NAME_BYTES_MAX: usize = 15;

pub(crate) fn validate(session: &Session, packet: &Packet, command: &Command) -> Result<(), Status> {
    let has = |flag| command.has(flag);
    if has(doc_flag::ADD) && (has(doc_flag::MAKES_DOCUMENT) || packet.cas != 0) {
        return Err(Status::INVALID);
    }
    if command.is_multi {
        // `subdoc_multi_validator`.
        if has(doc_flag::REVIVE) && (!has(doc_flag::ACCESS_DELETED) || has(doc_flag::CREATE_AS_DELETED)) {
            return Err(Status::INVALID);
        }
    } else {
        // `subdoc_validator`; in a command on several paths a tombstone that is made fails at the path.
        let makes = has(doc_flag::ADD) || has(doc_flag::MAKES_DOCUMENT);
        let is_xattr = command.specs.iter().all(Spec::is_xattr);
        if has(doc_flag::CREATE_AS_DELETED) && !(makes && is_xattr) {
            return Err(Status::INVALID);
        }
    }
    let mut are_xattrs_over = false;
    let mut is_body_over = false;
    for spec in &command.specs {
        if is_body_over {
            return Err(Status::INVALID_COMBINATION);
        }
        validate_spec(session, command, spec)?;
        // Xattrs come first, and a deletion of the body is the only command on it.
        if spec.is_xattr() && are_xattrs_over {
            return Err(Status::XATTR_ORDER);
        }
        if spec.code == opcode::DELETE && are_xattrs_over {
            return Err(Status::INVALID_COMBINATION);
        }
        are_xattrs_over |= !spec.is_xattr();
        is_body_over = spec.code == opcode::DELETE;
    }
    Ok(())
}

/// `is_valid_multipath_spec`.
fn validate_spec(session: &Session, command: &Command, spec: &Spec) -> Result<(), Status> {
    let traits = traits_of(spec.code).ok_or(Status::INVALID_COMBINATION)?;
    if is_lookup(spec.code) != command.is_lookup {
        return Err(Status::INVALID_COMBINATION);
    }
    if spec.flags & !traits.path_flags != 0
        || spec.flags & traits.needed_path_flags != traits.needed_path_flags
        || command.flags & !traits.doc_flags != 0
        || traits.is_whole && !spec.path.is_empty()
    {
        return Err(Status::INVALID);
    }
    validate_xattr(session, command, spec)?;
    if spec.path.is_empty() && !traits.may_have_no_path || traits.has_value == spec.value.is_empty() {
        return Err(Status::INVALID);
    }
    Ok(())
}

/// `validate_xattr_section`; names by `is_valid_xattr_key` (`xattr/key_validator.cc`).
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
    if name.len() > XATTR_NAME_BYTES_MAX || is_reserved || is_prefix_only || spec.path.contains('\0') {
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
