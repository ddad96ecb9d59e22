//! What a consumer asks of a producer, and what it is refused (`kv_engine` `daemon/mcbp_validators.cc`,
//! engines/ep/src/dcp/producer.cc; docs/dcp/documentation).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::encode::{EncodeOptions, open_flag};
use super::filter::{Filter, RequestValue};
use super::stream::{Phase, Stream};
use super::{Producer, end};
use crate::cluster::{Bucket, State};
use crate::privilege::Privilege;
use crate::session::{Session, with_value};
use crate::target::Failure;
use crate::vbucket::Resume;
use crate::wire::{Packet, Reader, Status, datatype, opcode};

/// Flags of a stream request (commands/add-stream.md).
mod stream_flag {
    pub(super) const DISK_ONLY: u32 = 0x02;
    pub(super) const TO_LATEST: u32 = 0x04;
    pub(super) const ACTIVE_ONLY: u32 = 0x10;
    pub(super) const STRICT_UUID: u32 = 0x20;
    pub(super) const FROM_LATEST: u32 = 0x40;
    pub(super) const IGNORE_PURGED: u32 = 0x80;
    /// Take-over (0x01) is for the cluster's own replication, and is refused here.
    pub(super) const ALL: u32 = DISK_ONLY | TO_LATEST | ACTIVE_ONLY | STRICT_UUID | FROM_LATEST | IGNORE_PURGED;
}

/// commands/open-connection.md: "the name take up no more space than 200 bytes".
const NAME_BYTES_MAX: usize = 200;
/// The shortest NOOP interval in seconds (engines/ep/configuration.json, `connection_manager_interval`). The code has no longest one, other than
/// commands/control.md.
const NOOP_INTERVAL_S_MIN: f32 = 0.1;

pub(crate) fn run(session: &mut Session, state: &mut State, packet: &Packet) -> Result<Option<Packet>, Failure> {
    check_header(session, packet)?;
    // `verify_common_dcp_restrictions`
    if session.is_unordered() {
        return Err(Status::NOT_SUPPORTED.into());
    }
    match (packet.opcode, &mut session.dcp) {
        (opcode::DCP_OPEN, Some(_)) => return Err(Status::INVALID.into()),
        (opcode::DCP_OPEN, None) => return open(session, state, packet).map(Some),
        (_, Some(dcp)) => dcp.noop.heard = Instant::now(),
        (opcode::DCP_FAILOVER_LOG, None) => {}
        (_, None) => return Err(Status::INVALID.into()),
    }
    match packet.opcode {
        opcode::DCP_FAILOVER_LOG => failover_log(session, state, packet).map(Some),
        opcode::DCP_CONTROL => control(session, packet).map(Some),
        opcode::DCP_STREAM_REQUEST => stream_request(session, state, packet).map(Some),
        opcode::DCP_CLOSE_STREAM => close_stream(session, packet).map(Some),
        opcode::DCP_BUFFER_ACK => acknowledge(session, packet).map(|()| None),
        // For replication, which is not on (`DcpProducer::seqno_acknowledged`).
        opcode::DCP_SEQNO_ACKNOWLEDGED => Err(Status::INVALID.into()),
        // What a producer sends, or a consumer is told, ends the connection (engines/ep/src/connhandler.cc).
        opcode::DCP_ADD_STREAM..=opcode::DCP_ABORT => {
            if let Some(dcp) = &mut session.dcp {
                dcp.is_over = true;
            }
            Ok(None)
        }
        _ => Err(Status::UNKNOWN_COMMAND.into()),
    }
}

/// What `McbpValidator::verify_header` refuses of a message to a producer: a datatype, except with the value of `DCP_OPEN`, and frame infos
/// other than a stream id.
fn check_header(session: &Session, packet: &Packet) -> Result<(), Status> {
    let is_open = packet.opcode == opcode::DCP_OPEN;
    let expected = if is_open && !packet.value.is_empty() { datatype::JSON } else { 0 };
    if packet.datatype != expected || expected != 0 && !session.has_json() {
        return Err(Status::INVALID);
    }
    match packet.frames.as_slice() {
        [] | [0x22, _, _] => Ok(()),
        [head, ..] if head >> 4 == 2 => Err(Status::INVALID),
        _ => Err(Status::UNKNOWN_FRAME_INFO),
    }
}

/// `dcp_open_validator`
fn open(session: &mut Session, state: &mut State, packet: &Packet) -> Result<Packet, Failure> {
    let bucket = session.bucket.clone().ok_or(Status::NO_BUCKET)?;
    let mut extras = Reader::new(&packet.extras);
    let flags = extras.u32().and_then(|_| extras.u32()).filter(|_| packet.extras.len() == 8).ok_or(Status::INVALID)?;
    let has = |flag: u32| flags & flag != 0;
    let is_wrong = packet.key.is_empty()
        || packet.key.len() > NAME_BYTES_MAX
        || flags & !open_flag::ALL != 0
        || has(open_flag::NO_VALUE) && has(open_flag::NO_VALUE_KEEPING_DATATYPE)
        || has(open_flag::DELETED_USER_XATTRS) && !has(open_flag::XATTRS)
        // The only field that a value may have is for consumers.
        || !packet.value.is_empty() && serde_json::from_slice::<serde_json::Value>(&packet.value).ok() != Some(serde_json::json!({}));
    if is_wrong {
        return Err(Status::INVALID.into());
    }
    // Without the producer's bit the server would become a consumer of this client, which the double is not.
    if !has(open_flag::PRODUCER) {
        return Err(Status::NOT_SUPPORTED.into());
    }
    let name = String::from_utf8_lossy(&packet.key).into_owned();
    let encode = EncodeOptions { flags, has_expiry_opcode: false, compresses: false, has_marker_2_2: false };
    state.dcp_names.insert((session.node, bucket, name.clone()), session.id);
    session.dcp = Some(Producer::new(name, encode, state));
    Ok(packet.answer(Status::SUCCESS))
}

/// `DcpProducer::control`
fn control(session: &mut Session, packet: &Packet) -> Result<Packet, Failure> {
    if !packet.extras.is_empty() || packet.key.is_empty() || packet.value.is_empty() {
        return Err(Status::INVALID.into());
    }
    let (has_snappy, has_collections) = (session.has_snappy(), session.has_collections());
    let dcp = session.dcp.as_mut().ok_or(Status::INVALID)?;
    let value = std::str::from_utf8(&packet.value).map_err(|_| Status::INVALID)?;
    let is_true = value == "true";
    let (settings, encode) = (&mut dcp.settings, &mut dcp.encode);
    match packet.key.as_slice() {
        b"enable_noop" => settings.is_noop_enabled = is_true,
        b"set_noop_interval" => {
            let seconds: f32 = value.parse().map_err(|_| Status::INVALID)?;
            let interval = Duration::try_from_secs_f32(seconds).map_err(|_| Status::INVALID)?;
            if seconds < NOOP_INTERVAL_S_MIN {
                return Err(Status::INVALID.into());
            }
            settings.noop_interval = Some(interval);
        }
        b"connection_buffer_size" => {
            let bytes: u32 = value.parse().map_err(|_| Status::INVALID)?;
            settings.buffer_bytes = bytes.into();
            if bytes == 0 {
                dcp.unacknowledged = 0;
            }
        }
        b"stream_buffer_size" => return Err(Status::NOT_SUPPORTED.into()),
        b"set_priority" if ["high", "medium", "low"].contains(&value) => {}
        b"backfill_order" if ["round-robin", "sequential"].contains(&value) => {}
        // Cursors are not dropped here, and the last two are for the cluster's own replication.
        b"supports_cursor_dropping" | b"supports_cursor_dropping_vulcan" | b"supports_hifi_MFU" | b"consumer_name" => {}
        b"force_value_compression" if has_snappy => encode.compresses = is_true,
        b"send_stream_end_on_client_close_stream" => settings.ends_closed_streams |= is_true,
        b"enable_expiry_opcode" => {
            encode.has_expiry_opcode = is_true && encode.flags & open_flag::DELETE_TIMES != 0;
        }
        b"enable_stream_id" if is_true => {
            if settings.has_sync_writes {
                return Err(Status::NOT_SUPPORTED.into());
            }
            settings.has_stream_ids = true;
        }
        b"enable_sync_writes" if is_true => {
            if settings.has_stream_ids {
                return Err(Status::NOT_SUPPORTED.into());
            }
            settings.has_sync_writes = true;
        }
        b"enable_out_of_order_snapshots" if is_true || value == "true_with_seqno_advanced" => {
            settings.has_oso = true;
            settings.has_oso_with_seqno_advanced = !is_true;
        }
        b"include_deleted_user_xattrs" if is_true && encode.flags & open_flag::DELETED_USER_XATTRS != 0 => {}
        b"v7_dcp_status_codes" if is_true => settings.has_v7_status = true,
        // History needs a storage that keeps it, which the double has not.
        b"change_streams" if is_true => return Err(Status::NOT_SUPPORTED.into()),
        b"max_marker_version" if value == "2.2" => {
            if !has_collections {
                return Err(Status::NOT_SUPPORTED.into());
            }
            encode.has_marker_2_2 = true;
        }
        _ => return Err(Status::INVALID.into()),
    }
    Ok(packet.answer(Status::SUCCESS))
}

/// The branches of a vbucket's history, newest first: uuid and the seqno at which each began
/// (commands/failover-log.md).
fn failover_log(session: &Session, state: &State, packet: &Packet) -> Result<Packet, Failure> {
    if !packet.extras.is_empty() || !packet.key.is_empty() || !packet.value.is_empty() {
        return Err(Status::INVALID.into());
    }
    let bucket = session.bucket.as_ref().and_then(|name| state.buckets.get(name)).ok_or(Status::NO_BUCKET)?;
    let vbucket = bucket.vbuckets.get(usize::from(packet.vbucket));
    let vbucket = vbucket.filter(|_| bucket.has_copy(packet.vbucket, session.node));
    let vbucket = vbucket.ok_or_else(|| session.not_my_vbucket(state))?;
    Ok(with_value(packet, log_bytes(vbucket.branches())))
}

fn log_bytes(branches: &[crate::vbucket::Branch]) -> Vec<u8> {
    branches.iter().flat_map(|branch| [branch.uuid.to_be_bytes(), branch.seqno.to_be_bytes()].concat()).collect()
}

/// The numbers of a stream request (commands/stream-request.md).
struct Asked {
    flags: u32,
    start: u64,
    end: u64,
    uuid: u64,
    snapshot_start: u64,
    snapshot_end: u64,
}

impl Asked {
    fn read(packet: &Packet) -> Option<Self> {
        let mut extras = Reader::new(&packet.extras);
        let flags = extras.u32()?;
        let _reserved = extras.u32()?;
        let asked = Self {
            flags,
            start: extras.u64()?,
            end: extras.u64()?,
            uuid: extras.u64()?,
            snapshot_start: extras.u64()?,
            snapshot_end: extras.u64()?,
        };
        extras.rest().is_empty().then_some(asked)
    }

    fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// `DcpProducer::adjustSeqnosForStreamRequest`
    fn adjust(&mut self, high: u64, collections_high: Option<u64>) -> Result<(), Status> {
        if self.has(stream_flag::TO_LATEST) {
            self.end = collections_high.unwrap_or(high);
        }
        if self.has(stream_flag::DISK_ONLY) {
            self.end = high;
        }
        if self.start > self.end || self.start > high {
            return Err(Status::RANGE);
        }
        if self.start == self.snapshot_start && self.snapshot_end > high {
            self.snapshot_end = self.snapshot_start;
        }
        Ok(())
    }

    fn resume(&self, seen_purge_seqno: u64, collections_high: Option<u64>) -> Resume {
        Resume {
            start: self.start,
            uuid: self.uuid,
            snapshot_start: self.snapshot_start,
            snapshot_end: self.snapshot_end,
            strict: self.has(stream_flag::STRICT_UUID),
            ignores_purged: self.has(stream_flag::IGNORE_PURGED),
            seen_purge_seqno,
            collections_high,
        }
    }
}

/// `DcpProducer::checkConditionsForStreamRequest`
fn check_conditions(dcp: &Producer, asked: &Asked, has_collections: bool) -> Result<(), Status> {
    // `dcp_noop_mandatory_for_v5_features`: xattrs, and every request of a connection with collections.
    if !dcp.settings.is_noop_enabled && (has_collections || dcp.encode.flags & open_flag::XATTRS != 0) {
        return Err(Status::NOT_SUPPORTED);
    }
    if asked.start > asked.end || asked.snapshot_start > asked.start || asked.start > asked.snapshot_end {
        return Err(Status::RANGE);
    }
    Ok(())
}

/// `DcpProducer::streamRequest`, its checks in its order.
fn stream_request(session: &mut Session, state: &State, packet: &Packet) -> Result<Packet, Failure> {
    let has_collections = session.has_collections();
    let mut asked = Asked::read(packet).filter(|_| packet.key.is_empty()).ok_or(Status::INVALID)?;
    if asked.flags & !stream_flag::ALL != 0 || !packet.value.is_empty() && !has_collections {
        return Err(Status::INVALID.into());
    }
    let bucket = session.bucket.as_ref().and_then(|name| state.buckets.get(name)).ok_or(Status::NO_BUCKET)?;
    let number = packet.vbucket;
    let is_active = bucket.is_active(number, session.node);
    let is_here = is_active || !asked.has(stream_flag::ACTIVE_ONLY) && bucket.has_copy(number, session.node);
    let vbucket = bucket.vbuckets.get(usize::from(number)).filter(|_| is_here);
    let vbucket = vbucket.ok_or_else(|| session.not_my_vbucket(state))?;
    let high = if is_active { vbucket.high_seqno() } else { vbucket.replicated_seqno() };
    if asked.has(stream_flag::FROM_LATEST) {
        (asked.start, asked.snapshot_start, asked.snapshot_end) = (high, high, high);
        if asked.uuid == 0 {
            asked.uuid = vbucket.uuid();
        }
    }
    let dcp = session.dcp.as_mut().ok_or(Status::INVALID)?;
    check_conditions(dcp, &asked, has_collections)?;
    let value = read_value(dcp, packet, has_collections, bucket)?;
    if state.faults.denied.contains(&Privilege::DcpStream) {
        // `Filter::checkPrivileges`
        return Err(Status::NO_ACCESS.into());
    }
    let key = (number, value.stream_id);
    // One that has ended and not said so yet is replaced (`shouldAddVBToProducerConnection`).
    if dcp.streams.get(&key).is_some_and(Stream::is_active) {
        return Err(Status::KEY_EXISTS.into());
    }
    let collections_high = value.filter.collections(&bucket.manifest).map(|ids| vbucket.high_seqno_of(&ids));
    if let Some(seqno) = vbucket.rollback(&asked.resume(value.purge_seqno, collections_high), high) {
        return Err(Failure { status: Status::ROLLBACK, value: seqno.to_be_bytes().to_vec() });
    }
    asked.adjust(high, collections_high)?;
    let is_backfilled = asked.start < high && !state.faults.is_all_in_memory || asked.has(stream_flag::DISK_ONLY);
    let stream = Stream {
        opaque: packet.opaque,
        vbucket: number,
        filter: value.filter,
        uuid: vbucket.uuid(),
        cursor: asked.start,
        snapshot_start: asked.snapshot_start,
        snapshot_end: asked.snapshot_end,
        end_seqno: asked.end,
        is_active,
        // With nothing behind the consumer, what comes is from memory.
        phase: if is_backfilled { Phase::Backfill } else { Phase::InMemory },
        queue: VecDeque::new(),
        has_sent_marker: false,
    };
    dcp.streams.insert(key, stream);
    dcp.seen_vbuckets.insert(number);
    Ok(with_value(packet, log_bytes(vbucket.branches())))
}

/// `DcpProducer::constructFilterForStreamRequest`
fn read_value(
    dcp: &Producer,
    packet: &Packet,
    has_collections: bool,
    bucket: &Bucket,
) -> Result<RequestValue, Failure> {
    let value = RequestValue::parse(&packet.value, has_collections, &bucket.manifest)?;
    if value.stream_id.is_some() != dcp.settings.has_stream_ids {
        return Err(Status::STREAM_ID_INVALID.into());
    }
    if matches!(value.filter, Filter::Collections(_)) && dcp.settings.has_sync_writes {
        return Err(Status::NOT_SUPPORTED.into());
    }
    Ok(value)
}

/// `DcpProducer::closeStream`: the end is announced when the consumer asked for that.
fn close_stream(session: &mut Session, packet: &Packet) -> Result<Packet, Failure> {
    if !packet.extras.is_empty() || !packet.key.is_empty() || !packet.value.is_empty() {
        return Err(Status::INVALID.into());
    }
    let dcp = session.dcp.as_mut().ok_or(Status::INVALID)?;
    let stream_id = stream_id(&packet.frames);
    if stream_id.is_some() != dcp.settings.has_stream_ids {
        return Err(Status::STREAM_ID_INVALID.into());
    }
    let key = (packet.vbucket, stream_id);
    let Some(stream) = dcp.streams.get_mut(&key) else {
        let is_other = stream_id.is_some() && dcp.seen_vbuckets.contains(&packet.vbucket);
        return Err(if is_other { Status::STREAM_ID_INVALID } else { Status::KEY_NOT_FOUND }.into());
    };
    let was_active = stream.is_active();
    stream.end(end::CLOSED);
    if !dcp.settings.ends_closed_streams {
        dcp.streams.remove(&key);
    }
    if was_active { Ok(packet.answer(Status::SUCCESS)) } else { Err(Status::KEY_NOT_FOUND.into()) }
}

/// Frame info 2: two bytes.
fn stream_id(frames: &[u8]) -> Option<u16> {
    match frames {
        [0x22, high, low] => Some(u16::from_be_bytes([*high, *low])),
        _ => None,
    }
}

/// The bytes that the consumer has taken; there is no answer (commands/buffer-ack.md).
fn acknowledge(session: &mut Session, packet: &Packet) -> Result<(), Failure> {
    let bytes = Reader::new(&packet.extras).u32().filter(|_| packet.extras.len() == 4).ok_or(Status::INVALID)?;
    if !packet.key.is_empty() || !packet.value.is_empty() {
        return Err(Status::INVALID.into());
    }
    let dcp = session.dcp.as_mut().ok_or(Status::INVALID)?;
    // More than is outstanding counts as all of it (`BufferLog::release`).
    dcp.unacknowledged = dcp.unacknowledged.saturating_sub(bytes.into());
    Ok(())
}
