//! Processes of other versions. What runs is always the code under test: what makes it another version is done to its messages.
//!
//! A *newer* minor version appends fields to whatever it sends, and offers a newer protocol version beside this one. An *older* one
//! neither sends nor knows the fields that were appended since the first. A client of another *major* version offers
//! nothing that the server speaks: it is refused, and keeps what it has until its application is of this version again. Older ones take
//! no part where a store is set back: it is the appended fields that tell of it.

mod rewrite;
mod shape;

use rewrite::{Edit, Refused, rewrite};
use tidelock_core::wire::{ErrorCode, ServerFrame, decode};
use tidelock_server::Bytes;

use crate::check::Violation;
use crate::faults::Setbacks;
use crate::node::LinkId;
use crate::random::Random;
use crate::world::{Event, Link, World};

/// Of a thousand worlds, how many have processes of several versions.
const MIXED_PER_MILLE: u64 = 500;
/// Of a thousand applications that are replaced in such a world, how many are of another major version.
const MAJOR_PER_MILLE: u64 = 200;
/// How long until an application that is refused is brought up to date, in milliseconds.
const OUTDATED_MS_MAX: u64 = 5_000;

/// The version of a process, as others see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Version {
    /// The minor version before.
    Older,
    /// This one.
    #[default]
    This,
    /// The next minor version.
    Newer,
    /// A client of the major version before.
    OlderMajor,
    /// A client of the next major version.
    NewerMajor,
}

impl Version {
    /// Whether this one's counterpart refuses it.
    fn is_unsupported(self) -> bool {
        matches!(self, Self::OlderMajor | Self::NewerMajor)
    }
}

impl World {
    /// Whether processes of this world are of several versions.
    pub(crate) fn draw_mixed(random: &mut Random) -> bool {
        random.chance(MIXED_PER_MILLE)
    }

    /// The minor version of a process that starts.
    pub(crate) fn draw_version(&mut self) -> Version {
        let older = if matches!(self.setbacks, Setbacks::Store) { Version::This } else { Version::Older };
        let versions = [Version::This, Version::Newer, older];
        if self.mixed { self.random.pick(&versions).copied().unwrap_or_default() } else { Version::This }
    }

    /// A process is replaced by one of another version: a client's application, with what it has not sent, or a node.
    pub(crate) fn change_version(&mut self, replica: usize) -> bool {
        if !self.mixed {
            return false;
        }
        if self.random.chance(400) {
            let index = self.any_node();
            let version = self.draw_version();
            self.restart_node_as(index, version);
            return true;
        }
        let version = if self.random.chance(MAJOR_PER_MILLE) {
            let delay = self.random.between(1, OUTDATED_MS_MAX);
            self.schedule(delay, Event::Updated(replica));
            if self.random.chance(500) { Version::OlderMajor } else { Version::NewerMajor }
        } else {
            self.draw_version()
        };
        self.load_application(replica, version);
        true
    }

    fn load_application(&mut self, replica: usize, version: Version) {
        self.tell_schedule(|| format!("client {replica} loads an application of another version: {version:?}"));
        if let Some(target) = self.replicas.get_mut(replica) {
            target.version = version;
        }
        self.restart_client(replica, false);
    }

    /// An application that no server takes is brought up to date.
    pub(crate) fn update(&mut self, replica: usize) {
        if self.replicas.get(replica).is_some_and(|replica| replica.takes_part && replica.version.is_unsupported()) {
            self.load_application(replica, Version::This);
        }
    }

    /// Who talks over a connection.
    pub(crate) fn meet(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let client = self.hosts.get(&link.host).and_then(|seat| self.replicas.get(seat.replica));
        link.client = client.map(|replica| replica.version).unwrap_or_default();
        link.server = self.nodes.get(link.node).map(|node| node.version).unwrap_or_default();
        let kinds = [
            (link.client == Version::Older, "older-client"),
            (link.client == Version::Newer, "newer-client"),
            (link.server == Version::Older, "older-server"),
            (link.server == Version::Newer, "newer-server"),
        ];
        for (_, name) in kinds.into_iter().filter(|(is, _)| *is) {
            *self.faults.entry(name).or_default() += 1;
        }
    }

    /// A client's message as it reaches the server.
    pub(crate) fn translate_up(&mut self, id: LinkId, bytes: Vec<u8>) -> Vec<u8> {
        let Some(link) = self.links.get(&id) else { return bytes };
        let (client, older) = (link.client, link.has_older());
        let random = &mut self.random;
        let mut edit = match client {
            Version::OlderMajor => Edit::Offers(0, 0),
            Version::NewerMajor => Edit::Offers(9, 8),
            Version::Older | Version::This | Version::Newer if older => Edit::Older,
            Version::Newer => Edit::Newer(random),
            Version::Older | Version::This => return bytes,
        };
        let rewritten = rewrite(&shape::OF_CLIENT, &bytes, &mut edit);
        self.sent(rewritten, &bytes).unwrap_or(bytes)
    }

    /// A server's message as it reaches the client.
    pub(crate) fn translate_down(&mut self, id: LinkId, bytes: Bytes) -> Bytes {
        let Some(link) = self.links.get(&id) else { return bytes };
        let random = &mut self.random;
        let mut edit = match link.server {
            _ if link.has_older() => Edit::Older,
            Version::Newer => Edit::Newer(random),
            Version::Older | Version::This | Version::OlderMajor | Version::NewerMajor => return bytes,
        };
        let rewritten = rewrite(&shape::OF_SERVER, &bytes, &mut edit);
        self.sent(rewritten, &bytes).map_or(bytes, Bytes::from)
    }

    /// What was made of a message: nothing where it was cut, or would be larger than a frame may be.
    fn sent(&mut self, rewritten: Result<Vec<u8>, Refused>, bytes: &[u8]) -> Option<Vec<u8>> {
        let frame_bytes_max = self.node_config.limits.frame_bytes_max as usize;
        match rewritten {
            Ok(rewritten) => (rewritten.len() <= frame_bytes_max.max(bytes.len())).then_some(rewritten),
            Err(Refused::Cut) => None,
            Err(Refused::Undescribed) => {
                let text = "a frame has fields that the simulator's shapes do not describe".to_owned();
                self.violation.get_or_insert(Violation::new("versions", text));
                None
            }
        }
    }

    /// A client of another major version is told so, and nothing else.
    pub(crate) fn check_refusal(&mut self, id: LinkId, bytes: &[u8]) -> Result<(), Violation> {
        let Some(client) = self.links.get(&id).map(|link| link.client).filter(|client| client.is_unsupported()) else {
            return Ok(());
        };
        let told = match decode::<ServerFrame>(bytes) {
            Ok(ServerFrame::Error(error)) if error.code == ErrorCode::UnsupportedVersion => {
                *self.faults.entry("unsupported-version").or_default() += 1;
                let older = if client == Version::OlderMajor { "application" } else { "server" };
                !error.retryable && error.message.contains(&format!("update the {older}"))
            }
            // The deadline for a hello that did not arrive, for one.
            Ok(ServerFrame::Error(_) | ServerFrame::Pong(_)) | Err(_) => true,
            Ok(_) => false,
        };
        let text =
            || format!("a client of another major version is answered {}", crate::describe::server_message(bytes));
        if told { Ok(()) } else { Err(Violation::new("versions", text())) }
    }
}

impl Link {
    /// Whether one side knows the fields of the first minor version only.
    fn has_older(&self) -> bool {
        self.client == Version::Older || self.server == Version::Older
    }
}
