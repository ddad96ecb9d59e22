//! What a document command works on: the vbucket, the key with its collection, and what the server refuses first.

use crate::Guardrail;
use crate::cluster::{Bucket, Faults, Node, State, id};
use crate::item::Xattrs;
use crate::session::Session;
use crate::vbucket::{Draft, VBucket, now_s};
use crate::wire::{Frames, Packet, Status, leb128, opcode, read_leb128};

/// A refusal: the status, and the value that explains it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    pub(crate) value: Vec<u8>,
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self { status, value: Vec::new() }
    }
}

/// The largest body with its user xattrs (docs/DocumentSizeLimits.md, `max_item_size`).
const VALUE_BYTES_MAX: usize = 20 << 20;
/// The most bytes of a document's system xattrs (include/memcached/limits.h, `PrivilegedBytes`).
const SYSTEM_BYTES_MAX: usize = 1 << 20;
/// Expiries up to this many seconds are relative to now (`daemon/mc_time.cc`, `memcached_maximum_relative_time`).
const RELATIVE_EXPIRY_S_MAX: u32 = 30 * 24 * 60 * 60;

pub(crate) struct Target<'a> {
    pub(crate) vbucket: &'a mut VBucket,
    pub(crate) faults: &'a mut Faults,
    /// Collection id as LEB128, then the document's key.
    pub(crate) key: Vec<u8>,
    /// The collection's limit on the time to live, in seconds.
    max_ttl: u32,
    /// Whether enough copies are there for a durable write.
    can_be_durable: bool,
}

/// Whether a guardrail stands against it (protocol/mcbp/opcode.cc, `ClientWritingData`).
fn brings_data(code: u8) -> bool {
    match code {
        opcode::SUBDOC_DELETE | opcode::SUBDOC_MULTI_LOOKUP | opcode::SUBDOC_GET_COUNT => false,
        opcode::SUBDOC_DICT_ADD..=opcode::SUBDOC_REPLACE_BODY_WITH_XATTR
        | opcode::SET
        | opcode::ADD
        | opcode::REPLACE
        | opcode::APPEND
        | opcode::PREPEND
        | opcode::INCREMENT
        | opcode::DECREMENT => true,
        _ => false,
    }
}

fn refusal(guardrail: Guardrail) -> Status {
    match guardrail {
        Guardrail::SizeLimit => Status::SIZE_LIMIT_EXCEEDED,
        Guardrail::ResidentRatio => Status::RESIDENT_RATIO_TOO_LOW,
        Guardrail::DataSize => Status::DATA_SIZE_TOO_BIG,
        Guardrail::DiskSpace => Status::DISK_SPACE_TOO_LOW,
    }
}

impl<'a> Target<'a> {
    /// Finds what the packet names, on the active node.
    pub(crate) fn active(session: &Session, state: &'a mut State, packet: &Packet) -> Result<Self, Failure> {
        Self::find(session, state, packet, super::cluster::Bucket::is_active)
    }

    /// Finds what the packet names, on a node with a replica.
    pub(crate) fn replica(session: &Session, state: &'a mut State, packet: &Packet) -> Result<Self, Failure> {
        let is_here =
            |bucket: &Bucket, vbucket, node| bucket.has_copy(vbucket, node) && !bucket.is_active(vbucket, node);
        Self::find(session, state, packet, is_here)
    }

    fn find(
        session: &Session,
        state: &'a mut State,
        packet: &Packet,
        is_here: fn(&Bucket, u16, usize) -> bool,
    ) -> Result<Self, Failure> {
        let name = session.bucket.as_deref().ok_or(Status::NO_BUCKET)?;
        let node = session.node;
        let (collection, key) = if session.has_collections() {
            read_leb128(&packet.key).ok_or(Status::INVALID)?
        } else {
            (0, packet.key.as_slice())
        };
        let bucket = state.buckets.get(name).ok_or(Status::NO_BUCKET)?;
        let is_known = bucket.manifest.collection(collection).is_some();
        // The form of the packet comes first, and of that the collection; with a copy of any kind the node knows it
        // (daemon/mcbp_validators.cc, `setCurrentCollectionInfo`).
        if !is_known && bucket.has_copy(packet.vbucket, node) {
            return Err(unknown(Status::UNKNOWN_COLLECTION, bucket.manifest.uid));
        }
        if !is_here(bucket, packet.vbucket, node) {
            return Err(session.not_my_vbucket(state));
        }
        if let Some(guardrail) = state.faults.guardrail.filter(|_| brings_data(packet.opcode)) {
            return Err(refusal(guardrail).into());
        }
        let State { buckets, faults, nodes, .. } = state;
        let bucket = buckets.get_mut(name).ok_or(Status::NO_BUCKET)?;
        let max_ttl = bucket.manifest.collection(collection).map_or(0, |found| found.max_ttl);
        let copies = bucket.map.get(usize::from(packet.vbucket)).map_or(&[][..], Vec::as_slice);
        let can_be_durable = has_majority(copies, nodes);
        let vbucket = bucket.vbuckets.get_mut(usize::from(packet.vbucket)).ok_or(Status::NOT_MY_VBUCKET)?;
        let key = [leb128(collection), key.to_vec()].concat();
        Ok(Self { vbucket, faults, key, max_ttl, can_be_durable })
    }

    /// What stands before any write: faults, durability, locks.
    pub(crate) fn begin_write(&mut self, packet: &Packet) -> Result<Frames, Failure> {
        let frames = Frames::read(packet.opcode, &packet.frames)?;
        if self.faults.failing_writes > 0 {
            self.faults.failing_writes -= 1;
            return Err(Status::TEMPORARY_FAILURE.into());
        }
        if frames.durability.is_some() {
            if !self.can_be_durable {
                return Err(Status::DURABILITY_IMPOSSIBLE.into());
            }
            if self.vbucket.is_replication_held() {
                // The prepare is not acknowledged by the replicas in time, and is aborted.
                return Err(Status::SYNC_WRITE_AMBIGUOUS.into());
            }
            self.vbucket.prepare();
        }
        Ok(frames)
    }

    /// What stands after a write that was carried out: its answer may still be ambiguous by command.
    pub(crate) fn end_write(&mut self, frames: &Frames) -> Result<(), Failure> {
        if frames.durability.is_some() && self.faults.ambiguous_writes > 0 {
            self.faults.ambiguous_writes -= 1;
            return Err(Status::SYNC_WRITE_AMBIGUOUS.into());
        }
        Ok(())
    }

    /// Compares the CAS of a request with the document's, when the request has one. A locked document is written with
    /// the locker's CAS only.
    pub(crate) fn check_cas(&mut self, packet: &Packet, current: Option<u64>) -> Result<(), Status> {
        if let Some(lock) = self.vbucket.lock_cas(&self.key) {
            return if packet.cas == lock { Ok(()) } else { Err(Status::LOCKED) };
        }
        match current {
            _ if packet.cas == 0 => Ok(()),
            None => Err(Status::KEY_NOT_FOUND),
            Some(current) if current == packet.cas => Ok(()),
            Some(_) => Err(Status::KEY_EXISTS),
        }
    }

    /// An expiry as seconds since 1970, with the collection's limit applied; 0 for none.
    pub(crate) fn expiry(&self, asked: u32) -> u32 {
        let now = now_s();
        let absolute = match asked {
            0 => 0,
            relative if relative <= RELATIVE_EXPIRY_S_MAX => now.saturating_add(relative),
            absolute => absolute,
        };
        match (self.max_ttl, absolute) {
            (0, absolute) => absolute,
            (limit, 0) => now.saturating_add(limit),
            (limit, absolute) => absolute.min(now.saturating_add(limit)),
        }
    }

    pub(crate) fn draft(&self) -> Draft {
        Draft { key: self.key.clone(), ..Draft::default() }
    }
}

/// A durable write needs the active and enough replicas for a majority (docs/dcp/documentation/commands/prepare.md;
/// engines/ep/src/durability).
fn has_majority(copies: &[i32], nodes: &[Node]) -> bool {
    let is_alive = |copy: &&i32| nodes.iter().enumerate().any(|(at, node)| id(at) == **copy && node.is_up);
    copies.iter().filter(is_alive).count() > copies.len() / 2
}

/// Refuses a document that is too large (`engines/ep/src/ep_engine.cc`, `itemAllocate`).
pub(crate) fn check_size(xattrs: &Xattrs, body_bytes: usize) -> Result<(), Status> {
    let (section, system) = xattrs.section_bytes();
    let is_right = system <= SYSTEM_BYTES_MAX && section - system + body_bytes <= VALUE_BYTES_MAX;
    if is_right { Ok(()) } else { Err(Status::TOO_BIG) }
}

/// The refusal of a collection or scope that the manifest does not have (docs/Collections.md, "unknown collection";
/// daemon/cookie.cc, `setUnknownCollectionErrorContext`).
pub(crate) fn unknown(status: Status, manifest_uid: u64) -> Failure {
    let context = "Unknown scope or collection in operation";
    let value = serde_json::json!({"error": {"context": context}, "manifest_uid": format!("{manifest_uid:x}")});
    Failure { status, value: value.to_string().into_bytes() }
}

/// Whether a command names a document and so goes through [`Target`].
pub(crate) fn is_document_command(code: u8) -> bool {
    matches!(
        code,
        opcode::GET..=opcode::DECREMENT
            | opcode::APPEND
            | opcode::PREPEND
            | opcode::TOUCH
            | opcode::GET_AND_TOUCH
            | opcode::GET_REPLICA
            | opcode::GET_LOCKED
            | opcode::UNLOCK
            | opcode::GET_META
            | opcode::SUBDOC_GET..=opcode::SUBDOC_REPLACE_BODY_WITH_XATTR
    )
}
