//! Convergence with liveness: when faults stop, every outbox drains and every replica equals the server.

use std::collections::{BTreeMap, BTreeSet};

use tidelock_core::client::storage::Row;
use tidelock_core::ids::{DocumentId, Version};
use tidelock_core::version;

use crate::rules::policies;
use crate::world::World;

/// Version and JSON text of documents.
pub(crate) type Documents = BTreeMap<DocumentId, (Version, Vec<u8>)>;

impl World {
    /// Whether every client is synced and equals the server.
    pub(crate) fn is_drained(&self) -> bool {
        self.is_synced() && self.describe_difference().is_empty()
    }

    /// What differs from the server, for people; empty when nothing does.
    pub(crate) fn describe_difference(&self) -> String {
        let server = self.server_documents();
        let mut text = String::new();
        for (index, replica) in self.replicas.iter().enumerate() {
            let Some(seat) = self.hosts.get(&replica.leader) else { continue };
            let client = seat.host.client();
            if !client.is_synced() {
                let (host, status) = (replica.leader, client.status());
                push(&mut text, &format!("client {index} (host {host}) is not synced: {status:?}"));
            }
            if replica.database.unsent() != (0, 0) {
                push(&mut text, &format!("client {index}: unsent {:?}", replica.database.unsent()));
            }
            let mut server = server.clone();
            server.retain(|id, (_, body)| self.may_read(index, id, body));
            text += &compare(&format!("client {index} rows"), &server, &self.rows_of(index));
            text += &compare(&format!("client {index} shadow"), &server, &self.shadow_of(index));
        }
        text
    }

    /// Whether the identity of a replica may read a document.
    pub(crate) fn may_read(&self, replica: usize, id: &DocumentId, body: &[u8]) -> bool {
        let rooms = self.rooms.get(replica).map_or(&[][..], Vec::as_slice);
        self.settings.may_read(rooms, &id.collection, body)
    }

    pub(crate) fn server_documents(&self) -> Documents {
        let mut documents = Documents::new();
        for collection in policies().keys() {
            for (key, body) in self.site.documents(collection) {
                let id = DocumentId::new(collection.as_str(), key);
                documents.insert(id, (version::of_body(&body).unwrap_or_default(), body));
            }
        }
        documents
    }

    pub(crate) fn rows_of(&self, replica: usize) -> Documents {
        let mut documents = Documents::new();
        let Some(replica) = self.replicas.get(replica) else { return documents };
        for collection in policies().keys() {
            for (key, row) in replica.database.scan(collection, None, usize::MAX) {
                let id = DocumentId::new(collection.as_str(), key);
                if let Row::Json(json) = row {
                    let version = version::of_body(&json).unwrap_or_default();
                    documents.insert(id, (version, json));
                } else {
                    documents.insert(id, (Version(1), format!("{row:?}").into_bytes()));
                }
            }
        }
        documents
    }

    pub(crate) fn shadow_of(&self, replica: usize) -> Documents {
        let mut documents = Documents::new();
        let Some(replica) = self.replicas.get(replica) else { return documents };
        for (page, bytes) in replica.database.shadow() {
            for (key, version, body) in tidelock_core::client::shadow_documents(bytes).unwrap_or_default() {
                documents.insert(DocumentId::new(page.collection.as_str(), key), (version, body));
            }
        }
        documents
    }
}

/// Adds a line.
fn push(text: &mut String, line: &str) {
    text.push_str("\n ");
    text.push_str(line);
}

fn compare(name: &str, server: &Documents, found: &Documents) -> String {
    let text = |entry: Option<&(Version, Vec<u8>)>| {
        entry.map_or("absent".to_owned(), |(_, body)| String::from_utf8_lossy(body).into_owned())
    };
    let ids: BTreeSet<&DocumentId> = server.keys().chain(found.keys()).collect();
    let mut out = String::new();
    for id in ids {
        let (left, right) = (server.get(id), found.get(id));
        if left.map(|(version, _)| version) != right.map(|(version, _)| version) {
            push(&mut out, &format!("{name} {id}: server {} | {}", text(left), text(right)));
        }
    }
    out
}
