//! One connection's half that does no I/O: authentication, negotiated features, the selected bucket, and which command
//! goes where.

use std::collections::BTreeSet;

use crate::Withheld;
use crate::cluster::{Shared, State};
use crate::dcp::Producer;
use crate::error_map;
use crate::kv;
use crate::manifest::Missing;
use crate::privilege;
use crate::sasl::{self, Answer, Scram};
use crate::subdoc;
use crate::target::{Failure, is_document_command, unknown};
use crate::validate;
use crate::wire::{Packet, Reader, Status, datatype, magic, opcode};

/// Features of HELLO (`kv_engine` include/mcbp/protocol/feature.h).
mod feature {
    pub(super) const MUTATION_TOKENS: u16 = 0x04;
    pub(super) const XATTR: u16 = 0x06;
    pub(super) const EXTENDED_ERRORS: u16 = 0x07;
    pub(super) const SNAPPY: u16 = 0x0a;
    pub(super) const JSON: u16 = 0x0b;
    pub(super) const DUPLEX: u16 = 0x0c;
    pub(super) const CONFIG_NOTIFICATION: u16 = 0x0d;
    pub(super) const UNORDERED: u16 = 0x0e;
    pub(super) const COLLECTIONS: u16 = 0x12;
    pub(super) const SNAPPY_EVERYWHERE: u16 = 0x13;
    pub(super) const VIRTUAL_XATTRS: u16 = 0x15;
    pub(super) const DOCUMENT_MACROS: u16 = 0x18;
    pub(super) const DEDUPE_CONFIG: u16 = 0x1e;
    pub(super) const CONFIG_NOTIFICATION_BRIEF: u16 = 0x1f;
    /// All that the double has: those above, and TCP no-delay, extended errors, bucket selection, alternative requests, durability,
    /// snappy on every command, preserved expiry, virtual xattrs, create-as-deleted, document macros,
    /// replace-body-with-xattr, known configuration versions, several xattr keys in a command.
    pub(super) const SERVED: &[u16] = &[
        0x03, 0x04, 0x06, 0x07, 0x08, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x17, 0x18,
        0x19, 0x1d, 0x1e, 0x1f, 0x20,
    ];
}

pub(crate) struct Session {
    pub(crate) id: u64,
    pub(crate) node: usize,
    pub(crate) bucket: Option<String>,
    /// Of the bucket: one that is made again under its name is another one.
    bucket_uuid: String,
    /// It has a configuration and nothing else.
    is_config_only: bool,
    pub(crate) dcp: Option<Producer>,
    user: Option<String>,
    scram: Option<Scram>,
    features: BTreeSet<u16>,
    /// The revision of the configuration that the client has been given.
    told_rev: u64,
}

/// What the connection does after a command.
pub(crate) enum After {
    GoOn,
    Close,
}

impl Session {
    pub(crate) fn new(id: u64, node: usize) -> Self {
        Self {
            id,
            node,
            bucket: None,
            bucket_uuid: String::new(),
            is_config_only: false,
            dcp: None,
            user: None,
            scram: None,
            features: BTreeSet::new(),
            told_rev: 0,
        }
    }

    /// Whether the bucket was deleted: that ends the connections that have selected it (`daemon/bucket_manager.cc`, `disconnectBucket`).
    pub(crate) fn is_bucket_gone(&self, state: &State) -> bool {
        let Some(name) = &self.bucket else { return false };
        state.faults.withheld.contains_key(&self.node)
            || state.buckets.get(name).is_none_or(|bucket| bucket.uuid != self.bucket_uuid)
    }

    fn has(&self, feature: u16) -> bool {
        self.features.contains(&feature)
    }

    pub(crate) fn has_collections(&self) -> bool {
        self.has(feature::COLLECTIONS)
    }

    pub(crate) fn has_json(&self) -> bool {
        self.has(feature::JSON)
    }

    pub(crate) fn has_snappy(&self) -> bool {
        self.has(feature::SNAPPY) || self.has(feature::SNAPPY_EVERYWHERE)
    }

    /// The datatypes that the client has negotiated.
    pub(crate) fn datatypes(&self) -> u8 {
        let bit = |is_on, bit| if is_on { bit } else { 0 };
        bit(self.has_json(), datatype::JSON)
            | bit(self.has_snappy(), datatype::SNAPPY)
            | bit(self.has_xattr(), datatype::XATTR)
    }

    pub(crate) fn has_xattr(&self) -> bool {
        self.has(feature::XATTR)
    }

    pub(crate) fn has_mutation_tokens(&self) -> bool {
        self.has(feature::MUTATION_TOKENS)
    }

    pub(crate) fn is_unordered(&self) -> bool {
        self.has(feature::UNORDERED)
    }

    /// Carries a packet out and appends the answers to `out`.
    pub(crate) fn handle(&mut self, shared: &Shared, packet: &Packet, out: &mut Vec<u8>) -> After {
        match packet.magic {
            magic::REQUEST | magic::ALT_REQUEST => {}
            // Answers to NOOPs and to pushed configurations.
            _ => {
                if let (magic::RESPONSE, Some(dcp)) = (packet.magic, &mut self.dcp) {
                    dcp.answered(packet);
                }
                return After::GoOn;
            }
        }
        let mut state = shared.state();
        let is_write = is_document_command(packet.opcode);
        let result = self.dispatch(&mut state, packet);
        if let Err(Failure { status: Status::NOT_MY_VBUCKET, value }) = &result
            && !value.is_empty()
        {
            self.told_rev = self.config_rev(&state);
        }
        drop(state);
        if is_write {
            shared.tell_documents();
        }
        match result {
            Ok(answer) => answer.iter().for_each(|answer| answer.write(out)),
            Err(failure) => {
                let Some(status) = self.told(packet.opcode, failure.status) else { return After::Close };
                let mut answer = packet.answer(status);
                if failure.value.starts_with(b"{") {
                    answer.datatype = if self.has_json() { datatype::JSON } else { 0 };
                }
                answer.value = failure.value;
                answer.write(out);
            }
        }
        if packet.opcode == opcode::QUIT && self.user.is_some() { After::Close } else { After::GoOn }
    }

    /// What a client hears that has not asked for extended errors: `None` when the connection ends instead (daemon/connection.cc,
    /// `remapErrorCode`).
    fn told(&self, code: u8, status: Status) -> Option<Status> {
        if self.has(feature::EXTENDED_ERRORS) || self.user.is_none() {
            return Some(status);
        }
        match status {
            // These look first whether the document is locked, which is told as a hindrance that passes.
            Status::LOCKED if code == opcode::GET_LOCKED || code >= opcode::SUBDOC_GET => {
                Some(Status::TEMPORARY_FAILURE)
            }
            Status::LOCKED => Some(Status::KEY_EXISTS),
            Status::NOT_LOCKED => Some(Status::TEMPORARY_FAILURE),
            Status::NO_ACCESS | Status::NO_BUCKET | Status::DURABILITY_IMPOSSIBLE | Status::SYNC_WRITE_AMBIGUOUS => {
                None
            }
            status => Some(status),
        }
    }

    /// The order of refusals is that of daemon/cookie.cc, `validateClientRequest`, then of `daemon/mcbp_executors.cc`,
    /// `execute_client_request_packet`.
    fn dispatch(&mut self, state: &mut State, packet: &Packet) -> Result<Option<Packet>, Failure> {
        let one = |result: Result<Packet, Failure>| result.map(Some);
        let is_open = matches!(
            packet.opcode,
            opcode::HELLO | opcode::SASL_LIST | opcode::SASL_AUTH | opcode::SASL_STEP | opcode::GET_ERROR_MAP
        );
        if self.user.is_none() && !is_open {
            return Err(Status::NO_ACCESS.into());
        }
        if !validate::is_command(packet.opcode) {
            return Err(Status::UNKNOWN_COMMAND.into());
        }
        self.check_config_only(packet)?;
        let is_dcp = (opcode::DCP_OPEN..=opcode::DCP_OSO_SNAPSHOT).contains(&packet.opcode);
        if !is_dcp {
            validate::check(self, packet)?;
        }
        match packet.opcode {
            opcode::HELLO => return one(self.hello(packet)),
            opcode::SASL_LIST => return Ok(Some(with_value(packet, sasl::MECHANISMS.into()))),
            opcode::SASL_AUTH | opcode::SASL_STEP => return one(self.authenticate(state, packet)),
            opcode::GET_ERROR_MAP => return one(self.error_map(packet)),
            opcode::NOOP | opcode::QUIT => return Ok(Some(packet.answer(Status::SUCCESS))),
            opcode::VERSION => return Ok(Some(with_value(packet, state.options.version.clone().into()))),
            opcode::SELECT_BUCKET => return one(self.select_bucket(state, packet)),
            opcode::GET_CLUSTER_CONFIG => return Ok(Some(self.config(state, packet))),
            _ if self.bucket.is_none() => return Err(Status::NO_BUCKET.into()),
            code if privilege::needed(code).iter().any(|one| state.faults.denied.contains(one)) => {
                return Err(Status::NO_ACCESS.into());
            }
            _ => {}
        }
        match packet.opcode {
            opcode::GET_MANIFEST => one(self.manifest(state, packet)),
            opcode::GET_COLLECTION_ID | opcode::GET_SCOPE_ID => one(self.collection_id(state, packet)),
            opcode::GET_ALL_VB_SEQNOS => one(self.seqnos(state, packet)),
            opcode::OBSERVE_SEQNO => one(self.observe_seqno(state, packet)),
            opcode::SUBDOC_GET..=opcode::SUBDOC_REPLACE_BODY_WITH_XATTR => one(subdoc::run(self, state, packet)),
            _ if is_dcp => crate::dcp::run(self, state, packet),
            _ => one(kv::run(self, state, packet)),
        }
    }

    /// What a bucket has that is a configuration and nothing else (daemon/cookie.cc, `validateClientRequest`).
    fn check_config_only(&self, packet: &Packet) -> Result<(), Failure> {
        match packet.opcode {
            opcode::HELLO | opcode::GET_ERROR_MAP | opcode::GET_CLUSTER_CONFIG | opcode::SELECT_BUCKET => Ok(()),
            _ if !self.is_config_only => Ok(()),
            _ if self.has(feature::EXTENDED_ERRORS) => Err(Status::CONFIG_ONLY.into()),
            _ => Err(Status::NOT_SUPPORTED.into()),
        }
    }

    /// Grants what the double has of what is asked for, in the order of numbers (`daemon/protocol/mcbp/hello_packet_executor.cc`).
    fn hello(&mut self, packet: &Packet) -> Result<Packet, Failure> {
        let mut asked = BTreeSet::new();
        let mut reader = Reader::new(&packet.value);
        while let Some(feature) = reader.u16() {
            asked.insert(feature);
        }
        let pushes = [feature::CONFIG_NOTIFICATION, feature::CONFIG_NOTIFICATION_BRIEF];
        let needs_duplex = pushes.iter().any(|one| asked.contains(one));
        let needs_xattr = [feature::VIRTUAL_XATTRS, feature::DOCUMENT_MACROS].iter().any(|one| asked.contains(one));
        if needs_duplex && !asked.contains(&feature::DUPLEX) || needs_xattr && !asked.contains(&feature::XATTR) {
            return Err(Status::INVALID.into());
        }
        if asked.contains(&feature::CONFIG_NOTIFICATION_BRIEF) {
            asked.remove(&feature::CONFIG_NOTIFICATION);
        }
        asked.retain(|feature| feature::SERVED.contains(feature));
        self.features = asked;
        Ok(with_value(packet, self.features.iter().flat_map(|feature| feature.to_be_bytes()).collect()))
    }

    fn authenticate(&mut self, state: &State, packet: &Packet) -> Result<Packet, Failure> {
        // A start is followed by its step and by nothing else (daemon/protocol/mcbp/sasl_start_command_context.cc and
        // sasl_step_command_context.cc).
        if (packet.opcode == opcode::SASL_STEP) != self.scram.is_some() {
            return Err(Status::INVALID.into());
        }
        let answer = match self.scram.take() {
            Some(scram) => scram.last(&packet.value, |user| state.password_of(user)),
            None => sasl::start(&packet.key.to_ascii_uppercase(), &packet.value, |user| state.password_of(user)),
        };
        self.user = None;
        match answer {
            Answer::Refused => Err(Status::AUTH_ERROR.into()),
            Answer::Malformed => Err(Status::INVALID.into()),
            Answer::Continue(scram, value) => {
                self.scram = Some(scram);
                let mut answer = with_value(packet, value);
                answer.vbucket = Status::AUTH_CONTINUE.0;
                Ok(answer)
            }
            Answer::Done { user, data } => {
                self.user = Some(user);
                Ok(with_value(packet, data))
            }
        }
    }

    /// `daemon/protocol/mcbp/select_bucket_executor.cc`
    fn select_bucket(&mut self, state: &State, packet: &Packet) -> Result<Packet, Failure> {
        if self.dcp.is_some() {
            return Err(Status::NOT_SUPPORTED.into());
        }
        if packet.key == b"@no bucket@" {
            (self.bucket, self.is_config_only) = (None, false);
            return Ok(packet.answer(Status::SUCCESS));
        }
        let name = String::from_utf8_lossy(&packet.key).into_owned();
        let has_data = state.nodes.get(self.node).is_some_and(|node| node.has_data);
        // The user may see all buckets: who may not would hear `NO_ACCESS` of one that is not there, too.
        let bucket = match (state.faults.withheld.get(&self.node), state.buckets.get(&name)) {
            (None, Some(bucket)) if has_data || state.has_config_only_buckets() => bucket,
            (withheld, _) => {
                state.refused_selections.send_modify(|count| *count += 1);
                let is_denied = withheld == Some(&Withheld::NoAccess);
                return Err(if is_denied { Status::NO_ACCESS } else { Status::KEY_NOT_FOUND }.into());
            }
        };
        self.is_config_only = !has_data;
        self.bucket_uuid.clone_from(&bucket.uuid);
        self.bucket = Some(name);
        self.told_rev = 0;
        Ok(packet.answer(Status::SUCCESS))
    }

    fn config(&mut self, state: &State, packet: &Packet) -> Packet {
        let rev = self.config_rev(state);
        // The version that the client has: epoch and revision (docs/BinaryProtocol.md, "0xb5 Get Cluster Config").
        let mut extras = Reader::new(&packet.extras);
        let known = extras.u64().zip(extras.u64());
        self.told_rev = rev;
        if known.is_some_and(|known| known >= (1, rev)) {
            return packet.answer(Status::SUCCESS);
        }
        let mut answer = with_value(packet, self.config_text(state));
        answer.datatype = if self.has_json() { datatype::JSON } else { 0 };
        answer
    }

    fn config_rev(&self, state: &State) -> u64 {
        let bucket = self.bucket.as_ref().and_then(|name| state.buckets.get(name));
        bucket.map_or_else(|| state.rev(), |bucket| bucket.rev)
    }

    fn config_text(&self, state: &State) -> Vec<u8> {
        let bucket = self.bucket.as_deref().and_then(|name| state.config(name, self.node));
        bucket.unwrap_or_else(|| state.cluster_config(self.node, state.rev())).to_string().into_bytes()
    }

    /// The refusal of a vbucket that is elsewhere, with the map that says where (daemon/cookie.cc, `sendNotMyVBucket`).
    pub(crate) fn not_my_vbucket(&self, state: &State) -> Failure {
        let is_known = self.has(feature::DEDUPE_CONFIG) && self.told_rev == self.config_rev(state);
        let value = if is_known { Vec::new() } else { self.config_text(state) };
        Failure { status: Status::NOT_MY_VBUCKET, value }
    }

    /// The push of a changed configuration, when the client asked for such pushes (docs/Duplex.md).
    pub(crate) fn notification(&mut self, state: &State) -> Option<Packet> {
        let name = self.bucket.clone()?;
        let rev = state.buckets.get(&name)?.rev;
        let is_wanted = self.has(feature::CONFIG_NOTIFICATION) || self.has(feature::CONFIG_NOTIFICATION_BRIEF);
        if !is_wanted || rev <= self.told_rev {
            return None;
        }
        self.told_rev = rev;
        let is_brief = self.has(feature::CONFIG_NOTIFICATION_BRIEF);
        Some(Packet {
            magic: magic::SERVER_REQUEST,
            opcode: opcode::CONFIG_CHANGED,
            datatype: if is_brief { 0 } else { datatype::JSON },
            extras: [1_u64.to_be_bytes(), rev.to_be_bytes()].concat(),
            key: name.into_bytes(),
            value: if is_brief { Vec::new() } else { self.config_text(state) },
            ..Packet::default()
        })
    }

    fn manifest(&self, state: &State, packet: &Packet) -> Result<Packet, Failure> {
        let bucket = self.bucket.as_ref().and_then(|name| state.buckets.get(name)).ok_or(Status::NO_BUCKET)?;
        let mut answer = with_value(packet, bucket.manifest.json().to_string().into_bytes());
        answer.datatype = if self.has_json() { datatype::JSON } else { 0 };
        Ok(answer)
    }

    /// Manifest uid and id (docs/Collections.md; `daemon/protocol/mcbp/collections_get_collection_id_executor.cc`); the path is in the value, or in the key.
    fn collection_id(&self, state: &State, packet: &Packet) -> Result<Packet, Failure> {
        let bucket = self.bucket.as_ref().and_then(|name| state.buckets.get(name)).ok_or(Status::NO_BUCKET)?;
        let path = if packet.value.is_empty() { &packet.key } else { &packet.value };
        let path = String::from_utf8_lossy(path);
        let manifest = &bucket.manifest;
        let id = if packet.opcode == opcode::GET_COLLECTION_ID {
            manifest.find(&path).map(|(_, collection)| collection)
        } else {
            manifest.find_scope(&path)
        };
        let id = id.map_err(|missing| match missing {
            Missing::Malformed => Status::INVALID.into(),
            Missing::Scope => unknown(Status::UNKNOWN_SCOPE, manifest.uid),
            Missing::Collection => unknown(Status::UNKNOWN_COLLECTION, manifest.uid),
        })?;
        let mut answer = packet.answer(Status::SUCCESS);
        answer.extras = [manifest.uid.to_be_bytes().to_vec(), id.to_be_bytes().to_vec()].concat();
        Ok(answer)
    }

    /// Vbucket and high seqno, for those of the asked state (`docs/dcp/documentation/commands/get_seqno.md`).
    fn seqnos(&self, state: &State, packet: &Packet) -> Result<Packet, Failure> {
        let mut extras = Reader::new(&packet.extras);
        let wanted = extras.u32().unwrap_or(0);
        let asked = extras.u32();
        if asked.is_some() && !self.has_collections() {
            return Err(Status::INVALID.into());
        }
        let bucket = self.bucket.as_ref().and_then(|name| state.buckets.get(name)).ok_or(Status::NO_BUCKET)?;
        // A connection without collections sees the default one only.
        let collection = asked.or_else(|| (!self.has_collections()).then_some(0));
        if collection.is_some_and(|id| bucket.manifest.collection(id).is_none()) {
            return Err(unknown(Status::UNKNOWN_COLLECTION, bucket.manifest.uid));
        }
        let mut value = Vec::new();
        for (number, vbucket) in (0_u16..).zip(&bucket.vbuckets) {
            let is_active = bucket.is_active(number, self.node);
            let is_replica = bucket.has_copy(number, self.node) && !is_active;
            if !(is_active && wanted <= 1 || is_replica && (wanted == 0 || wanted == 2)) {
                continue;
            }
            let high = if is_active { vbucket.high_seqno() } else { vbucket.replicated_seqno() };
            let high = collection.map_or(high, |id| vbucket.high_seqno_of(&[id]));
            value.extend(number.to_be_bytes());
            value.extend(high.to_be_bytes());
        }
        Ok(with_value(packet, value))
    }

    /// The map of the version that was asked for, or the newest one before it; there is none of version 0
    /// (`daemon/error_map_manager.cc`).
    fn error_map(&self, packet: &Packet) -> Result<Packet, Failure> {
        let version = Reader::new(&packet.value).u16().ok_or(Status::INVALID)?;
        if version == 0 {
            return Err(Status::KEY_NOT_FOUND.into());
        }
        let mut answer = with_value(packet, error_map::json(version.min(2)).to_string().into_bytes());
        answer.datatype = if self.has_json() { datatype::JSON } else { 0 };
        Ok(answer)
    }

    /// What a node has in memory and on disk of a vbucket (`engines/ep/src/ep_engine.cc`, `observe_seqno`).
    fn observe_seqno(&self, state: &State, packet: &Packet) -> Result<Packet, Failure> {
        let uuid = Reader::new(&packet.value).u64().ok_or(Status::INVALID)?;
        let bucket = self.bucket.as_ref().and_then(|name| state.buckets.get(name)).ok_or(Status::NO_BUCKET)?;
        if !bucket.has_copy(packet.vbucket, self.node) {
            return Err(self.not_my_vbucket(state));
        }
        let vbucket = bucket.vbuckets.get(usize::from(packet.vbucket)).ok_or(Status::NOT_MY_VBUCKET)?;
        let is_active = bucket.is_active(packet.vbucket, self.node);
        let seqno = if is_active { vbucket.high_seqno() } else { vbucket.replicated_seqno() };
        let branches = vbucket.branches();
        let at = branches.iter().position(|branch| branch.uuid == uuid).ok_or(Status::KEY_NOT_FOUND)?;
        let newer = at.checked_sub(1).and_then(|at| branches.get(at));
        let mut value = vec![u8::from(newer.is_some())];
        value.extend(packet.vbucket.to_be_bytes());
        value.extend(vbucket.uuid().to_be_bytes());
        value.extend(seqno.to_be_bytes());
        value.extend(seqno.to_be_bytes());
        if let Some(newer) = newer {
            value.extend(uuid.to_be_bytes());
            value.extend(newer.seqno.to_be_bytes());
        }
        Ok(with_value(packet, value))
    }
}

pub(crate) fn with_value(packet: &Packet, value: Vec<u8>) -> Packet {
    Packet { value, ..packet.answer(Status::SUCCESS) }
}
