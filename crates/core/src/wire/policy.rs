//! Conflict policies, as the server announces them: the client's rebase decides as the server's merge does (`docs/protocol.md` section 9).

use crate::prelude::*;
use crate::wire::{cbor_enum, cbor_number, cbor_struct};
/// A collection that the identity may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionInfo {
    /// Its number in change frames, fixed for the session.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// How its conflicts are resolved.
    pub policy: Policy,
}

cbor_struct!(CollectionInfo { number, name, policy });

/// How conflicts of a collection are resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What to do when a document changed on both sides.
    pub document: DocumentPolicy,
    /// For `merge`: what to do when one field changed on both sides.
    pub field: FieldStrategy,
    /// For `merge`: exceptions by path (member names from the root; `*` stands for any one member).
    pub fields: Vec<(Vec<String>, FieldStrategy)>,
    /// What to do when one side deleted what the other changed.
    pub delete: DeletePolicy,
}

cbor_struct!(Policy { document, field, fields, delete });

/// What to do when a document changed on both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DocumentPolicy {
    /// Three-way, field by field.
    #[default]
    Merge,
    /// The later commit wins whole.
    LastWrite,
    /// The earlier commit wins whole.
    FirstWrite,
    /// The later edit time wins whole; on a tie the earlier commit.
    Newest,
    /// Back to the user.
    Reject,
    /// The application's function in the client decides.
    Resolver,
}

cbor_number!(DocumentPolicy { Merge, LastWrite, FirstWrite, Newest, Reject, Resolver });

/// What to do when one field changed on both sides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FieldStrategy {
    /// The later commit wins.
    #[default]
    LastWrite,
    /// The earlier commit wins.
    FirstWrite,
    /// The later edit time wins; on a tie the earlier commit.
    Newest,
    /// A counter: both differences are added.
    Sum,
    /// The smaller number.
    Min,
    /// The larger number.
    Max,
    /// A set (array of distinct values): what either side added or removed.
    Union,
    /// A text: three-way by lines, then by words within a line that both changed.
    Text,
    /// A list whose elements have an identity: the member that holds it (`id`).
    List(String),
    /// Back to the user.
    Reject,
}

cbor_enum!(FieldStrategy { LastWrite, FirstWrite, Newest, Sum, Min, Max, Union, Text, List(first), Reject });

/// What to do when one side deleted what the other changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeletePolicy {
    /// The edit survives.
    #[default]
    EditWins,
    /// The delete survives.
    DeleteWins,
}

cbor_number!(DeletePolicy { EditWins, DeleteWins });
