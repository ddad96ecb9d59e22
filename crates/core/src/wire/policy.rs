//! Conflict policies, as the server announces them: the client's rebase decides as the server's merge does (`docs/protocol.md` section 9).

use crate::wire::{decode_enum, decode_number, decode_struct};
use minicbor::Encode;

/// A collection that the identity may use.
#[derive(Clone, Debug, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct CollectionInfo {
    /// Its number in change frames, fixed for the session.
    #[n(0)]
    pub number: u32,
    /// Its name.
    #[n(1)]
    pub name: String,
    /// How its conflicts are resolved.
    #[n(2)]
    pub policy: Policy,
}

decode_struct!(CollectionInfo { number, name, policy });

/// How conflicts of a collection are resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode)]
#[cbor(array)]
pub struct Policy {
    /// What to do when a document changed on both sides.
    #[n(0)]
    pub document: DocumentPolicy,
    /// For `merge`: what to do when one field changed on both sides.
    #[n(1)]
    pub field: FieldStrategy,
    /// For `merge`: exceptions by path (member names from the root; `*` stands for any one member).
    #[n(2)]
    pub fields: Vec<(Vec<String>, FieldStrategy)>,
    /// What to do when one side deleted what the other changed.
    #[n(3)]
    pub delete: DeletePolicy,
}

decode_struct!(Policy { document, field, fields, delete });

/// What to do when a document changed on both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode)]
#[cbor(index_only)]
pub enum DocumentPolicy {
    /// Three-way, field by field.
    #[default]
    #[n(0)]
    Merge,
    /// The later commit wins whole.
    #[n(1)]
    LastWrite,
    /// The earlier commit wins whole.
    #[n(2)]
    FirstWrite,
    /// The later edit time wins whole; on a tie the earlier commit.
    #[n(3)]
    Newest,
    /// Back to the user.
    #[n(4)]
    Reject,
    /// The application's function in the client decides.
    #[n(5)]
    Resolver,
}

decode_number!(DocumentPolicy { 0 => Merge, 1 => LastWrite, 2 => FirstWrite, 3 => Newest, 4 => Reject, 5 => Resolver });

/// What to do when one field changed on both sides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode)]
pub enum FieldStrategy {
    /// The later commit wins.
    #[default]
    #[n(0)]
    LastWrite,
    /// The earlier commit wins.
    #[n(1)]
    FirstWrite,
    /// The later edit time wins; on a tie the earlier commit.
    #[n(2)]
    Newest,
    /// A counter: both differences are added.
    #[n(3)]
    Sum,
    /// The smaller number.
    #[n(4)]
    Min,
    /// The larger number.
    #[n(5)]
    Max,
    /// A set (array of distinct values): what either side added or removed.
    #[n(6)]
    Union,
    /// A text: three-way by lines, then by words within a line that both changed.
    #[n(7)]
    Text,
    /// A list whose elements have an identity: the member that holds it (`id`).
    #[n(8)]
    List(#[n(0)] String),
    /// Back to the user.
    #[n(9)]
    Reject,
}

decode_enum!(FieldStrategy { 0 => LastWrite, 1 => FirstWrite, 2 => Newest, 3 => Sum, 4 => Min, 5 => Max, 6 => Union, 7 => Text, 8 => List(first), 9 => Reject });

/// What to do when one side deleted what the other changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode)]
#[cbor(index_only)]
pub enum DeletePolicy {
    /// The edit survives.
    #[default]
    #[n(0)]
    EditWins,
    /// The delete survives.
    #[n(1)]
    DeleteWins,
}

decode_number!(DeletePolicy { 0 => EditWins, 1 => DeleteWins });
