//! Identifiers. Each is a newtype so that a sequence number is never taken for an offset.

use core::fmt;

use crate::prelude::*;
use crate::wire::{Cbor, Reader, Writer, cbor_struct};
/// Declares a transparent 64-bit identifier.
macro_rules! id64 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl Cbor for $name {
            fn write(&self, writer: &mut Writer) {
                writer.unsigned(self.0);
            }

            fn read(reader: &mut Reader<'_>) -> Self {
                Self(reader.unsigned())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

id64! {
    /// Hash of a document's canonical content; [`Version::ABSENT`] when there is no document. Only equality has meaning.
    Version
}
id64! {
    /// Drawn at random by a client whenever its local state may have been rolled back; sequences restart at 1 within it.
    Incarnation
}
id64! {
    /// Position of a mutation in one incarnation of one client: 1, 2, 3, … without gaps.
    Sequence
}
id64! {
    /// Position in one changelog; every mutation committed there gets one, all its documents share it. 0 is before everything.
    Offset
}
id64! {
    /// Identity of one changelog, drawn at random when it is created.
    ChangelogId
}
id64! {
    /// Identity of the platform's data: a restored backup is another epoch.
    Epoch
}
id64! {
    /// One stretch of the history of a store that can be set back without its knowledge (a file that is copied back): drawn at random
    /// whenever the store is opened.
    History
}
id64! {
    /// One WebSocket session of one client, drawn at random by the server; never reused.
    SessionId
}
id64! {
    /// A subscription within a session, chosen by the client.
    SubscriptionId
}

impl Version {
    /// The version of a document that does not exist.
    pub const ABSENT: Version = Version(0);

    /// Whether the document exists.
    pub fn exists(self) -> bool {
        self != Version::ABSENT
    }
}

impl Sequence {
    /// The sequence after this one.
    #[must_use]
    pub fn next(self) -> Sequence {
        Sequence(self.0.saturating_add(1))
    }
}

/// A client replica (one IndexedDB database of one browser profile), drawn at random once.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub [u8; 16]);

impl Cbor for ClientId {
    fn write(&self, writer: &mut Writer) {
        writer.bytes(&self.0);
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        Self(reader.bytes().try_into().unwrap_or_else(|_| {
            reader.fail("expected 16 bytes");
            [0; 16]
        }))
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientId({self})")
    }
}

impl ClientId {
    /// Parses the 32 hexadecimal digits that `Display` writes.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        if text.len() != 32 || !text.is_ascii() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(core::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

/// Names one document: its collection and its key in platform form (see `key`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentId {
    /// Collection name: one IndexedDB object store.
    pub collection: String,
    /// Key in platform form.
    pub key: String,
}

cbor_struct!(DocumentId { collection, key });

impl DocumentId {
    /// Joins a collection and a key in platform form.
    pub fn new(collection: impl Into<String>, key: impl Into<String>) -> Self {
        Self { collection: collection.into(), key: key.into() }
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.collection, self.key)
    }
}

/// One pushed mutation: the identity under which the server recognises a repetition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MutationId {
    /// The replica that made it.
    pub client: ClientId,
    /// The replica's incarnation.
    pub incarnation: Incarnation,
    /// Its position there.
    pub sequence: Sequence,
}

cbor_struct!(MutationId { client, incarnation, sequence });

impl fmt::Display for MutationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.client, self.incarnation, self.sequence)
    }
}
