//! Changes into columns: the server's half.

use core::ops::Range;
use std::collections::BTreeMap;

use super::{Columns, DELETE, KEY, LEAVE, MARK, PIECES_MAX, PUT, SAME};
use crate::prelude::*;
use crate::wire::cbor::Writer;
use crate::wire::{Change, ChangeKind};

/// Packs changes in their order.
pub fn pack(changes: &[Change]) -> Columns {
    let shapes = Shapes::of(changes);
    let mut columns: [Writer; 9] = Default::default();
    let [kinds, offsets, collections, shared, keys, versions, places, whole, templates] = &mut columns;
    let mut before = (0, "");
    for (at, change) in changes.iter().enumerate() {
        offsets.unsigned(change.offset.0.wrapping_sub(before.0));
        collections.unsigned(change.collection.into());
        let common = common_prefix(before.1, &change.key);
        shared.unsigned(common as u64);
        keys.text(change.key.get(common..).unwrap_or_default());
        before = (change.offset.0, &change.key);
        kinds.unsigned(match &change.kind {
            ChangeKind::Put(_, body) => {
                let place = shapes.place(at);
                places.unsigned(place);
                if place == 0 {
                    whole.bytes(body);
                }
                PUT
            }
            ChangeKind::Delete => DELETE,
            ChangeKind::Leave => LEAVE,
            ChangeKind::Same(version) => {
                versions.unsigned(version.0);
                SAME
            }
        });
    }
    for shape in shapes.shared() {
        templates.bytes(&shape.template);
    }
    let mut packed = Writer::default();
    packed.array(columns.len() + 1);
    for column in &columns {
        packed.bytes(&column.0);
    }
    let values = shapes.values(changes);
    packed.array(values.len());
    for column in &values {
        packed.bytes(column);
    }
    Columns(packed.0)
}

/// Bytes that both begin with, whole characters.
fn common_prefix(a: &str, b: &str) -> usize {
    let same = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    (0..=same).rev().find(|length| b.is_char_boundary(*length)).unwrap_or(0)
}

/// The shapes of the bodies of some changes.
#[derive(Default)]
struct Shapes {
    /// By template: its number in the order of `seen`.
    numbers: BTreeMap<Vec<u8>, usize>,
    seen: Vec<Seen>,
    /// For each change, the number of its shape and where its values are; none when it has no shape.
    bodies: Vec<Option<(usize, Vec<Range<usize>>)>>,
}

/// A shape.
struct Seen {
    template: Vec<u8>,
    /// How many values each body has.
    marks: usize,
    /// How many bodies have it.
    bodies: usize,
    /// Its place among the templates that travel, from 1; 0 when it does not: a body that is alone with its shape travels whole, and
    /// one for whose template there is no room.
    place: u64,
}

impl Shapes {
    fn of(changes: &[Change]) -> Self {
        let mut shapes = Self::default();
        let mut template = Vec::new();
        for change in changes {
            let shape = match &change.kind {
                // The scan is not worth it for one body.
                ChangeKind::Put(_, body) if changes.len() > 1 => split(body, &mut template),
                ChangeKind::Put(..) | ChangeKind::Delete | ChangeKind::Leave | ChangeKind::Same(_) => None,
            };
            let body = shape.map(|values| (shapes.number(&template, values.len()), values));
            shapes.bodies.push(body);
        }
        let (mut place, mut room) = (0, PIECES_MAX);
        for shape in shapes.seen.iter_mut().filter(|shape| shape.bodies > 1) {
            let Some(left) = room.checked_sub(shape.marks + 1) else { continue };
            room = left;
            place += 1;
            shape.place = place;
        }
        shapes
    }

    fn number(&mut self, template: &[u8], marks: usize) -> usize {
        let next = self.seen.len();
        let number = self.numbers.get(template).copied().unwrap_or(next);
        if number == next {
            self.numbers.insert(template.to_vec(), number);
            self.seen.push(Seen { template: template.to_vec(), marks, bodies: 0, place: 0 });
        }
        if let Some(shape) = self.seen.get_mut(number) {
            shape.bodies += 1;
        }
        number
    }

    /// Number of the template of a change's body, from 1; 0 for a body that travels whole.
    fn place(&self, change: usize) -> u64 {
        self.of_body(change).map_or(0, |(shape, _)| shape.place)
    }

    fn of_body(&self, change: usize) -> Option<(&Seen, &[Range<usize>])> {
        let (number, values) = self.bodies.get(change)?.as_ref()?;
        Some((self.seen.get(*number)?, values))
    }

    /// The shapes whose templates travel, by their places.
    fn shared(&self) -> impl Iterator<Item = &Seen> {
        self.seen.iter().filter(|shape| shape.place > 0)
    }

    /// The columns of all templates, in their order.
    fn values(&self, changes: &[Change]) -> Vec<Vec<u8>> {
        let mut columns: Vec<Vec<u8>> = Vec::new();
        let mut firsts = vec![0];
        for shape in self.shared() {
            columns.resize_with(columns.len() + shape.marks, Vec::new);
            firsts.push(columns.len());
        }
        for (at, change) in changes.iter().enumerate() {
            let Some((shape, values)) = self.of_body(at) else { continue };
            let (ChangeKind::Put(_, body), Some(index)) = (&change.kind, shape.place.checked_sub(1)) else { continue };
            let first = usize::try_from(index).ok().and_then(|index| firsts.get(index)).copied().unwrap_or_default();
            for (column, value) in columns.iter_mut().skip(first).zip(values) {
                let value = body.get(value.clone()).unwrap_or_default();
                if is_key(value, &change.key) {
                    column.push(KEY);
                } else {
                    column.extend_from_slice(value);
                }
                column.push(MARK);
            }
        }
        columns
    }
}

/// Whether a value is the key in quotation marks.
fn is_key(value: &[u8], key: &str) -> bool {
    value.len() == key.len() + 2
        && value.strip_prefix(b"\"").is_some_and(|rest| rest.starts_with(key.as_bytes()))
        && value.ends_with(b"\"")
}

/// Where the values of the outermost members of an object are, and the template. `None` for a text that has none, or that would not
/// come back exactly: it is not valid JSON.
fn split(body: &[u8], template: &mut Vec<u8>) -> Option<Vec<Range<usize>>> {
    template.clear();
    let mut values = Vec::new();
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let mut value_from = None;
    let mut copied = 0;
    for (at, byte) in body.iter().enumerate() {
        if quoted {
            quoted = escaped || *byte != b'"';
            escaped = !escaped && *byte == b'\\';
            continue;
        }
        if matches!(byte, b',' | b'}')
            && depth == 1
            && let Some(from) = value_from.take()
        {
            template.extend_from_slice(body.get(copied..from)?);
            template.push(MARK);
            values.push(from..at);
            copied = at;
        }
        match byte {
            b'"' => quoted = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            b':' if depth == 1 && value_from.is_none() => value_from = Some(at + 1),
            _ => {}
        }
    }
    template.extend_from_slice(body.get(copied..)?);
    let exact = !values.is_empty() && !body.iter().any(|byte| matches!(*byte, MARK | KEY));
    exact.then_some(values)
}
