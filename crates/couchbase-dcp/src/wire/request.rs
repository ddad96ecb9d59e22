//! What this client asks, as bytes.

use super::codes::{opcode, stream_flag};
use super::packet::Outgoing;
use super::reader::Reader;
use crate::checkpoint::{Branch, Position};
use crate::limits::{BRANCHES_MAX, VBUCKETS_MAX};

pub(crate) fn hello(agent: &str, features: &[u16]) -> Outgoing {
    Outgoing {
        key: agent.as_bytes().to_vec(),
        value: features.iter().flat_map(|feature| feature.to_be_bytes()).collect(),
        ..Outgoing::new(opcode::HELLO)
    }
}

pub(crate) fn sasl(code: u8, mechanism: &str, data: Vec<u8>) -> Outgoing {
    Outgoing { key: mechanism.as_bytes().to_vec(), value: data, ..Outgoing::new(code) }
}

pub(crate) fn select_bucket(bucket: &str) -> Outgoing {
    Outgoing { key: bucket.as_bytes().to_vec(), ..Outgoing::new(opcode::SELECT_BUCKET) }
}

/// A path of names: `scope.collection`, or a scope.
pub(crate) fn id_of(code: u8, path: &str) -> Outgoing {
    Outgoing { value: path.as_bytes().to_vec(), ..Outgoing::new(code) }
}

pub(crate) fn dcp_open(name: &str, flags: u32) -> Outgoing {
    let extras = [0_u32.to_be_bytes(), flags.to_be_bytes()].concat();
    Outgoing { extras, key: name.as_bytes().to_vec(), ..Outgoing::new(opcode::DCP_OPEN) }
}

pub(crate) fn control(key: &str, value: &str) -> Outgoing {
    Outgoing { key: key.as_bytes().to_vec(), value: value.as_bytes().to_vec(), ..Outgoing::new(opcode::DCP_CONTROL) }
}

/// The last sequence numbers of the vbuckets that are active on the node; or those of a collection in them.
pub(crate) fn all_seqnos(collection: Option<u32>) -> Outgoing {
    let extras = [Some(1), collection].into_iter().flatten().flat_map(u32::to_be_bytes).collect();
    Outgoing { extras, ..Outgoing::new(opcode::GET_ALL_VB_SEQNOS) }
}

pub(crate) fn failover_log(vbucket: u16) -> Outgoing {
    Outgoing { vbucket, ..Outgoing::new(opcode::DCP_FAILOVER_LOG) }
}

/// Asks for what follows a position, to the end of time or of what is there. `value` is the JSON that says which collections.
pub(crate) fn stream(vbucket: u16, position: &Position, to_latest: bool, value: String) -> Outgoing {
    let flags = stream_flag::ACTIVE_ONLY | if to_latest { stream_flag::TO_LATEST } else { 0 };
    let mut extras = [flags.to_be_bytes(), 0_u32.to_be_bytes()].concat();
    for number in [position.seqno(), u64::MAX, position.uuid(), position.snapshot_start(), position.snapshot_end()] {
        extras.extend(number.to_be_bytes());
    }
    Outgoing { vbucket, extras, value: value.into_bytes(), ..Outgoing::new(opcode::DCP_STREAM_REQUEST) }
}

pub(crate) fn close_stream(vbucket: u16) -> Outgoing {
    Outgoing { vbucket, ..Outgoing::new(opcode::DCP_CLOSE_STREAM) }
}

/// There is no answer to it.
pub(crate) fn buffer_ack(bytes: u32) -> Outgoing {
    Outgoing { extras: bytes.to_be_bytes().to_vec(), ..Outgoing::new(opcode::DCP_BUFFER_ACK) }
}

pub(crate) fn observe_seqno(vbucket: u16, uuid: u64) -> Outgoing {
    Outgoing { vbucket, value: uuid.to_be_bytes().to_vec(), ..Outgoing::new(opcode::OBSERVE_SEQNO) }
}

/// Reads a failover log: 16 bytes for each branch, newest first, at least one.
pub(crate) fn read_failover_log(value: &[u8]) -> Option<Vec<Branch>> {
    let (entries, rest) = value.as_chunks::<16>();
    if entries.is_empty() || !rest.is_empty() || entries.len() > BRANCHES_MAX {
        return None;
    }
    let branch = |entry: &[u8; 16]| {
        let mut reader = Reader::new(entry);
        Some(Branch { uuid: reader.u64()?, seqno: reader.u64()? })
    };
    entries.iter().map(branch).collect()
}

/// Reads the answer to [`all_seqnos`]: vbucket u16 and seqno u64, again and again.
pub(crate) fn read_seqnos(value: &[u8]) -> Option<Vec<(u16, u64)>> {
    let (entries, rest) = value.as_chunks::<10>();
    if !rest.is_empty() || entries.len() > VBUCKETS_MAX {
        return None;
    }
    let entry = |entry: &[u8; 10]| {
        let mut reader = Reader::new(entry);
        Some((reader.u16()?, reader.u64()?))
    };
    entries.iter().map(entry).collect()
}

/// What a node has of a vbucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Observed {
    /// The last sequence number on its disk.
    pub(crate) persisted: u64,
    /// The last one in its memory.
    pub(crate) received: u64,
}

/// Reads the answer to [`observe_seqno`] (`ep_engine.cc`, `observe_seqno`): format u8, vbucket u16, newest uuid u64, persisted u64,
/// received u64; in format 1 the branch asked for has ended, and its uuid u64 and last seqno u64 follow.
pub(crate) fn read_observed(value: &[u8]) -> Option<Observed> {
    let mut reader = Reader::new(value);
    let format = reader.u8()?;
    let _vbucket = reader.u16()?;
    let _uuid = reader.u64()?;
    let mut observed = Observed { persisted: reader.u64()?, received: reader.u64()? };
    match format {
        0 => {}
        1 => {
            let _asked = reader.u64()?;
            let last = reader.u64()?;
            observed = Observed { persisted: observed.persisted.min(last), received: observed.received.min(last) };
        }
        _ => return None,
    }
    Some(observed)
}
