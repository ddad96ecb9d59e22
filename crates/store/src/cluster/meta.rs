//! What is kept with a document, and the records of a cluster.
//!
//! A meta is CBOR. A record is a document of a system collection: a JSON object with one member, the record as CBOR in base64, so that
//! any platform keeps it as it is. Fields are numbered; a later version appends, and an older one drops what it does not know when it
//! writes.

use std::sync::Arc;

use serde_json::Value;
use tidelock_core::base64::{self, Variant};
use tidelock_core::ids::{ChangelogId, ClientId, DocumentId, Incarnation, MutationId, Offset, Sequence, Version};
use tidelock_core::wire::{Cbor, ConflictNote, DocumentChange, Outcome, decode, encode};
use tidelock_core::{cbor_number, cbor_struct};

use super::limits::{GROUPS_BYTES_MAX, GROUPS_KEPT_MAX};

/// The member of a record.
const MEMBER: &str = "tidelock";

/// Kept with a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    /// Of the content that it was written with: another one is there when somebody else wrote since.
    pub(super) version: Version,
    /// When the user made that content, milliseconds since 1970.
    pub(super) edited_ms: u64,
    /// Drawn for the write, so that its writer recognises it.
    pub(super) tag: u64,
    /// When the document was deleted, by the clock of the node that did it: the meta is its tombstone.
    pub(super) deleted_ms: Option<u64>,
    /// The last mutation of each client that changed the document, until the client's record has passed it.
    pub(super) seen: Vec<Seen>,
    /// The intent whose outcome depends on the document staying as it is.
    pub(super) mark: Option<IntentName>,
    /// The last groups that changed the document, the oldest first.
    pub(super) groups: Vec<Group>,
    /// Whether the content, or what it came from, was offered when the platform had been set back.
    pub(super) offered: Option<bool>,
    /// Where a crash may keep the meta and lose the content: the version that the content replaced.
    pub(super) over: Option<Version>,
    /// And what wrote it.
    pub(super) by: Option<MutationId>,
}

cbor_struct!(Meta { version, edited_ms, tag, deleted_ms, seen, mark, groups, offered, over, by });

/// A mutation that has changed a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) client: ClientId,
    pub(super) incarnation: Incarnation,
    pub(super) sequence: Sequence,
    /// As its commit said.
    pub(super) fingerprint: Option<u64>,
}

cbor_struct!(Seen { client, incarnation, sequence, fingerprint });

/// What a document tells of a mutation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// It has not changed the document.
    Unseen,
    /// It has.
    Seen,
    /// Another one has under its sequence, with this fingerprint.
    Another(u64),
}

/// The fingerprint of what was done, when it is not that of what is asked for.
pub(super) fn another(done: Option<u64>, asked: Option<u64>) -> Option<u64> {
    done.filter(|done| asked.is_some_and(|asked| asked != *done))
}

/// Documents that were changed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) name: IntentName,
    /// Those that were written; none where the intent's record names them.
    pub(super) members: Vec<DocumentId>,
    /// When, by the clock of the node that changed them.
    pub(super) at_ms: u64,
    /// Those that the mutation found as it would have made them. Whoever has not got so far must not see the others without them.
    pub(super) kept: Vec<DocumentId>,
}

cbor_struct!(Group { name, members, at_ms, kept });

impl Group {
    /// The documents of an intent.
    pub(super) fn of_intent(name: &IntentName, at_ms: u64) -> Self {
        Self { name: name.clone(), members: Vec::new(), at_ms, kept: Vec::new() }
    }
}

/// Names one attempt of an intent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct IntentName {
    /// Key of its record.
    pub(super) key: String,
    /// Which attempt.
    pub(super) attempt: u64,
}

cbor_struct!(IntentName { key, attempt });

impl Meta {
    /// Reads a meta; one that cannot be read counts as none, as a foreign write's.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        decode(bytes).ok()
    }

    pub(super) fn write(&self) -> Arc<[u8]> {
        encode(self).into()
    }

    /// Whether a mutation has changed the document.
    pub(super) fn sight(&self, mutation: MutationId, fingerprint: Option<u64>) -> Sight {
        let mut sight = Sight::Unseen;
        for seen in self.seen.iter().filter(|seen| seen.is_of(mutation) && seen.tells_of(mutation.sequence)) {
            match another(seen.fingerprint, fingerprint).filter(|_| seen.sequence == mutation.sequence) {
                Some(another) => sight = Sight::Another(another),
                None => return Sight::Seen,
            }
        }
        sight
    }

    /// Notes that a mutation has changed the document. Two under one sequence are both noted; so are, where they can be told apart, those
    /// under sequences of one client that his record has not passed.
    pub(super) fn see(&mut self, mutation: MutationId, fingerprint: Option<u64>) {
        let MutationId { client, incarnation, sequence } = mutation;
        let is_another = |seen: &Seen| {
            let are_told_apart = seen.fingerprint.is_some() && fingerprint.is_some();
            are_told_apart && (seen.sequence != sequence || another(seen.fingerprint, fingerprint).is_some())
        };
        let now = Seen { client, incarnation, sequence, fingerprint };
        match self.seen.iter_mut().find(|seen| seen.is_of(mutation) && !is_another(seen)) {
            Some(seen) if seen.sequence <= sequence => *seen = now,
            Some(_) => {}
            None => self.seen.push(now),
        }
    }

    /// Whether the content that it was written with is not there, but the one before.
    pub(super) fn is_early(&self, version: Version) -> bool {
        self.over == Some(version) && self.version != version
    }

    /// The meta of a content that stays as it is: one whose own content was lost does not tell any more that it was there, nor to its
    /// writer, which may look for its tag at this moment. A foreign write that comes next would hide that.
    pub(super) fn settled(mut self, version: Version) -> Self {
        if self.is_early(version) {
            self.unsee();
            (self.version, self.over, self.tag) = (version, None, 0);
        }
        self
    }

    /// Takes back that the mutation which wrote the meta has changed the document; the client's earlier ones have been carried out.
    pub(super) fn unsee(&mut self) {
        let Some(by) = self.by.take() else { return };
        for seen in self.seen.iter_mut().filter(|seen| seen.is_of(by) && seen.sequence >= by.sequence) {
            (seen.sequence, seen.fingerprint) = (Sequence(by.sequence.0.saturating_sub(1)), None);
        }
    }

    /// Notes that the content is offered, when it is.
    pub(super) fn offer(&mut self, offered: bool) {
        if offered {
            self.offered = Some(true);
        }
    }

    /// Adds a group and forgets the oldest ones beyond what is kept.
    pub(super) fn join(&mut self, group: Group) {
        self.groups.retain(|one| one.name != group.name);
        self.groups.push(group);
        let weight = |group: &Group| {
            let documents = group.members.iter().chain(&group.kept);
            group.name.key.len() + documents.map(|id| id.collection.len() + id.key.len() + 4).sum::<usize>()
        };
        while self.groups.len() > 1
            && (self.groups.len() > GROUPS_KEPT_MAX || self.groups.iter().map(weight).sum::<usize>() > GROUPS_BYTES_MAX)
        {
            self.groups.remove(0);
        }
    }
}

impl Seen {
    fn is_of(&self, mutation: MutationId) -> bool {
        self.client == mutation.client && self.incarnation == mutation.incarnation
    }

    /// Whether it tells that a mutation under this sequence was carried out, or another one. One that is told from others stands for itself
    /// alone: a client that was set back uses the sequences before it again.
    fn tells_of(&self, sequence: Sequence) -> bool {
        self.sequence == sequence || (self.sequence > sequence && self.fingerprint.is_none())
    }
}

/// A client's incarnation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ClientRow {
    /// Its last finished mutation.
    pub(super) finished: Sequence,
    /// Outcomes that it may still ask for, by rising sequence; the last finished one is always among them.
    pub(super) kept: Vec<Kept>,
    /// What tombstones that are gone had seen: (document, sequence).
    pub(super) moved: Vec<Moved>,
}

cbor_struct!(ClientRow { finished, kept, moved });

/// The outcome of a finished mutation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) sequence: Sequence,
    pub(super) outcome: Outcome,
    /// The node's changelog that the offset is of.
    pub(super) changelog: ChangelogId,
    pub(super) offset: Offset,
    /// Of the mutation that was finished, as its commit said.
    pub(super) fingerprint: Option<u64>,
}

cbor_struct!(Kept { sequence, outcome, changelog, offset, fingerprint });

/// What a forgotten tombstone had seen of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) id: DocumentId,
    pub(super) sequence: Sequence,
}

cbor_struct!(Moved { id, sequence });

impl ClientRow {
    /// Whether a tombstone that is gone had seen a mutation of this client.
    pub(super) fn has_moved(&self, id: &DocumentId, sequence: Sequence) -> bool {
        self.moved.iter().any(|moved| moved.id == *id && moved.sequence >= sequence)
    }
}

/// How far an intent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its documents may still change under it; it may be aborted.
    Prepared,
    /// It will be carried out, whatever happens.
    Committed,
    /// Every document has its part.
    Done,
    /// It will never be carried out.
    Aborted,
}

cbor_number!(Stage { Prepared, Committed, Done, Aborted });

/// An intent's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IntentRow {
    pub(super) attempt: u64,
    pub(super) stage: Stage,
    /// Drawn by the commit that made it.
    pub(super) owner: u64,
    /// The encoded [`IntentBody`], where it is small.
    pub(super) inline: Vec<u8>,
    /// Where it is not: how many records of their own hold its pieces.
    pub(super) pieces: u64,
    /// Of the mutation, as its commit said.
    pub(super) fingerprint: Option<u64>,
}

cbor_struct!(IntentRow { attempt, stage, owner, inline, pieces, fingerprint });

/// What an intent is to do. It never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IntentBody {
    /// The client's mutation; `None` for a request that nobody repeats.
    pub(super) mutation: Option<MutationId>,
    /// What the documents see: the mutation, or an identity drawn for this intent.
    pub(super) writer: MutationId,
    pub(super) actor: String,
    /// When it was committed, by the server's clock.
    pub(super) at_ms: u64,
    pub(super) parts: Vec<Part>,
}

cbor_struct!(IntentBody { mutation, writer, actor, at_ms, parts });

/// What an intent does to one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) id: DocumentId,
    /// The version that it was prepared on.
    pub(super) expected: Version,
    pub(super) change: Option<DocumentChange>,
    pub(super) body: Option<Vec<u8>>,
    pub(super) version: Version,
    pub(super) edited_ms: u64,
    /// Whether the document has to stay as it was prepared on until the commit point.
    pub(super) marked: bool,
    /// Values that are discarded where it is carried out as prepared.
    pub(super) notes: Vec<ConflictNote>,
    /// Whether the content is offered.
    pub(super) offered: Option<bool>,
}

cbor_struct!(Part { id, expected, change, body, version, edited_ms, marked, notes, offered });

/// Values of one document that one mutation discarded: a record of the conflict log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConflictRow {
    pub(super) at_ms: u64,
    pub(super) actor: String,
    pub(super) mutation: Option<MutationId>,
    pub(super) channels: Vec<String>,
    pub(super) notes: Vec<ConflictNote>,
}

cbor_struct!(ConflictRow { at_ms, actor, mutation, channels, notes });

/// Identity and age of the platform's data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct EpochRow {
    pub(super) epoch: u64,
    /// Rises with time: one that is lower than before is of an older copy of the data.
    pub(super) beat: u64,
    /// Names of the roll-backs that made it another epoch, the latest last.
    pub(super) rollbacks: Vec<String>,
    /// The epochs before, the latest last.
    pub(super) former: Vec<u64>,
}

cbor_struct!(EpochRow { epoch, beat, rollbacks, former });

/// The content of a record.
pub(super) fn seal<T: Cbor>(record: &T) -> Arc<[u8]> {
    let text = base64::encode(&encode(record), Variant::Standard);
    format!("{{\"{MEMBER}\":\"{text}\"}}").into_bytes().into()
}

/// Reads the content of a record; `None` for one that is damaged.
pub(super) fn unseal<T: Cbor>(content: &[u8]) -> Option<T> {
    let value: Value = serde_json::from_slice(content).ok()?;
    decode(&base64::decode(value.get(MEMBER)?.as_str()?, Variant::Standard)?).ok()
}

/// Key of a client's record.
pub(super) fn client_key(client: ClientId, incarnation: Incarnation) -> String {
    format!("{client}-{incarnation}")
}
