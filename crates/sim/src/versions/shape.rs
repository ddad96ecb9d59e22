//! The frames of protocol version 1 as shapes: which arrays are structs, that may grow, and which are lists. The simulator's own
//! description, beside the product's types: a frame that it does not describe is told.

/// What an item is.
#[derive(Debug)]
pub(super) enum Shape {
    /// Whatever is as it is in every version: a number, a text, a pair, null.
    Leaf,
    /// The newest and the oldest protocol version that a hello offers.
    Newest,
    Oldest,
    List(&'static Shape),
    /// Fields in order, which a later minor version appends to: those of the first one, and those that were appended since.
    Fields(&'static [Shape], &'static [Shape]),
    /// `[number, fields]`.
    Variants(&'static [&'static [Shape]]),
    /// Items one after the other in a byte string.
    Packed(&'static Shape),
    /// A byte string that holds one array of columns.
    Columns,
}

use Shape::{Columns, Fields, Leaf, List, Newest, Oldest, Packed, Variants};

const LIST: Shape = List(&Leaf);
/// Pairs do not grow.
const PAIR: Shape = Leaf;
const DOCUMENT: Shape = Fields(&[Leaf, Leaf], &[]);
const CURSOR: Shape = Fields(&[Leaf, Leaf, PAIR], &[]);
const PATCH: Shape = Fields(&[LIST, Leaf, Leaf], &[]);
const OPERATION: Shape = Variants(&[&[Leaf], &[], &[List(&PATCH)], &[Leaf]]);
const CHANGE: Shape = Fields(&[DOCUMENT, Leaf, OPERATION], &[Leaf]);
const PUSH: Shape = Fields(&[Leaf, Leaf, Leaf, List(&CHANGE), Leaf], &[Leaf]);
const HELLO: Shape = Fields(&[Newest, Oldest, Leaf, Leaf, Leaf, Leaf, Leaf, Leaf, Leaf, LIST], &[PAIR, Leaf]);
const SUBSCRIBE: Shape = Fields(&[Leaf, LIST, LIST, CURSOR, LIST, Leaf, PAIR], &[]);

/// Frames of clients.
pub(super) const OF_CLIENT: Shape = Variants(&[
    &[HELLO],
    &[SUBSCRIBE],
    &[Fields(&[Leaf], &[])],
    &[PUSH],
    &[Fields(&[Leaf], &[])],
    &[Fields(&[Leaf], &[])],
    &[Fields(&[Leaf], &[])],
    &[Packed(&PUSH)],
    &[Fields(&[Leaf, Leaf, Leaf, Leaf], &[])],
    &[Fields(&[Leaf, Leaf, Leaf, Leaf, Leaf], &[])],
]);

const STATE: Shape = Fields(&[DOCUMENT, Leaf, Leaf], &[]);
const NOTE: Shape = Fields(&[DOCUMENT, LIST, Leaf, Leaf, Leaf, Leaf, Leaf], &[]);
const STATES: Shape = List(&STATE);
const OUTCOME: Shape = Variants(&[&[], &[STATES, List(&NOTE)], &[Leaf, Leaf, STATES], &[STATES]]);
const STRATEGY: Shape = Variants(&[&[], &[], &[], &[], &[], &[], &[], &[], &[Leaf], &[]]);
const POLICY: Shape = Fields(&[Leaf, STRATEGY, Leaf, Leaf], &[]);
const COLLECTION: Shape = Fields(&[Leaf, Leaf, POLICY], &[]);
const LIMITS: Shape = Fields(&[Leaf, Leaf, Leaf, Leaf, Leaf, Leaf, Leaf, Leaf], &[]);
const WELCOME: Shape = Fields(&[Leaf, Leaf, Leaf, Leaf, Leaf, LIMITS, List(&COLLECTION), Leaf, Leaf, Leaf], &[PAIR]);

/// Frames of servers.
pub(super) const OF_SERVER: Shape = Variants(&[
    &[WELCOME],
    &[Fields(&[Leaf, Leaf, OUTCOME], &[])],
    &[Fields(&[Leaf, LIST, Leaf, Leaf, Leaf, Columns, Leaf], &[])],
    &[Fields(&[Leaf, Leaf, Leaf, PAIR, PAIR, Columns, LIST], &[])],
    &[Fields(&[Leaf, LIST, LIST, Leaf], &[])],
    &[Fields(&[Leaf], &[])],
    &[Fields(&[Leaf, Leaf, Leaf, Leaf], &[])],
    &[Fields(&[Leaf], &[])],
    &[Fields(&[Leaf, Leaf, Leaf, Leaf, Leaf, Leaf, Leaf], &[])],
    &[Fields(&[Leaf, Leaf, Leaf, Leaf, Columns, LIST, Leaf], &[])],
]);
