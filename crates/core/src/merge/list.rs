//! Lists whose elements have an identity: an object member that holds a string or a number, distinct within the list.

use super::engine::{Engine, Rejection};
use crate::json::{Value, canonical};
use crate::ordered::OrderedMap;
use crate::prelude::*;

/// Merges adds, removes, moves and edits of elements. `None` when a side is no such list.
///
/// The order is that of `theirs`; elements that the change added or moved follow the element that precedes them in `mine`. What
/// both moved stands where the change put it.
pub(super) fn merge_list(
    engine: &mut Engine<'_>,
    member: &str,
    base: Option<&Value>,
    mine: &Value,
    theirs: &Value,
) -> Result<Option<Value>, Rejection> {
    let mut numbers = OrderedMap::new();
    let mut elements = Vec::new();
    let mut orders = [Vec::new(), Vec::new(), Vec::new()];
    for ((side, list), order) in [base, Some(mine), Some(theirs)].into_iter().enumerate().zip(&mut orders) {
        if list.is_some_and(|list| read_list(list, member, side, &mut numbers, &mut elements, order).is_none()) {
            return Ok(None);
        }
    }
    let [base, mine, theirs] = orders;
    let mut outcomes = Vec::with_capacity(elements.len());
    for element in &elements {
        outcomes.push(merge_element(engine, element)?);
    }
    let exists: Vec<bool> = outcomes.iter().map(Option::is_some).collect();
    let order = order(&base, &mine, &theirs, &exists);
    Ok(Some(Value::Array(order.into_iter().filter_map(|number| outcomes.get_mut(number)?.take()).collect())))
}

/// One identity on all sides.
struct Element<'a> {
    /// In conflict notes: the string, or the number's canonical text.
    name: String,
    /// In base, mine and theirs.
    values: [Option<&'a Value>; 3],
}

/// Numbers the elements of a list. Identities are compared as canonical text: the string `"1"` and the number `1` are two.
/// `None` when an element has no identity or shares it.
fn read_list<'a>(
    list: &'a Value,
    member: &str,
    side: usize,
    numbers: &mut OrderedMap<Vec<u8>, usize>,
    elements: &mut Vec<Element<'a>>,
    order: &mut Vec<usize>,
) -> Option<()> {
    for value in list.as_array()? {
        let identity = value.member(member).filter(|id| matches!(id, Value::String(_) | Value::Number(_)))?;
        let text = canonical(identity);
        let name = || identity.as_str().map_or_else(|| String::from_utf8_lossy(&text).into_owned(), str::to_owned);
        let number = numbers.get(&text).copied().unwrap_or(elements.len());
        if number == elements.len() {
            elements.push(Element { name: name(), values: [None; 3] });
            numbers.insert(text, number);
        }
        let slot = elements.get_mut(number)?.values.get_mut(side)?;
        if slot.replace(value).is_some() {
            return None;
        }
        order.push(number);
    }
    Some(())
}

fn merge_element(engine: &mut Engine<'_>, element: &Element<'_>) -> Result<Option<Value>, Rejection> {
    let [base, mine, theirs] = element.values;
    engine.within(&element.name, |engine| match (base, mine, theirs) {
        // The change brings the whole element, so an edited one comes back whole.
        (Some(_), Some(_), None) if base != mine => engine.removal(base, mine, None),
        _ => engine.field(base, mine, theirs.cloned()),
    })
}

/// The elements that remain, in order.
fn order(base: &[usize], mine: &[usize], theirs: &[usize], exists: &[bool]) -> Vec<usize> {
    let is_set = |flags: &[bool], number: usize| flags.get(number).copied().unwrap_or(false);
    let moved = moved(base, mine, exists.len());
    let mut standing = vec![false; exists.len()];
    let stays = |number: &usize| is_set(exists, *number) && !is_set(&moved, *number);
    let skeleton: Vec<usize> = theirs.iter().copied().filter(stays).collect();
    for number in &skeleton {
        set(&mut standing, *number, true);
    }
    // Elements without an anchor come first; the others follow theirs.
    let mut first = Vec::new();
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); exists.len()];
    let mut anchor = None;
    for number in mine.iter().copied().filter(|number| is_set(exists, *number)) {
        if is_set(&standing, number) {
            anchor = Some(number);
        } else {
            anchor.and_then(|anchor: usize| followers.get_mut(anchor)).unwrap_or(&mut first).push(number);
        }
    }
    for number in skeleton {
        first.push(number);
        first.append(followers.get_mut(number).unwrap_or(&mut Vec::new()));
    }
    first
}

/// The elements whose place among the others the change altered: those outside a longest rising run of base positions.
fn moved(base: &[usize], mine: &[usize], count: usize) -> Vec<bool> {
    let mut places = vec![None; count];
    base.iter().enumerate().for_each(|(place, number)| set(&mut places, *number, Some(place)));
    let place = |number: &usize| places.get(*number).copied().flatten();
    let kept: Vec<usize> = mine.iter().filter_map(place).collect();
    let mut moved = vec![false; count];
    mine.iter().filter(|number| place(number).is_some()).for_each(|number| set(&mut moved, *number, true));
    for place in longest_rising(&kept, base.len()) {
        base.get(place).into_iter().for_each(|number| set(&mut moved, *number, false));
    }
    moved
}

/// A longest strictly rising subsequence of distinct numbers below `limit` (patience sorting), from its end.
fn longest_rising(numbers: &[usize], limit: usize) -> Vec<usize> {
    let mut tails: Vec<usize> = Vec::new();
    let mut previous = vec![None; limit];
    for number in numbers {
        let at = tails.partition_point(|tail| tail < number);
        let before = at.checked_sub(1).and_then(|before| tails.get(before)).copied();
        set(&mut previous, *number, before);
        match tails.get_mut(at) {
            Some(tail) => *tail = *number,
            None => tails.push(*number),
        }
    }
    let before = |number: &usize| previous.get(*number).copied().flatten();
    core::iter::successors(tails.last().copied(), before).collect()
}

fn set<T>(slots: &mut [T], at: usize, value: T) {
    if let Some(slot) = slots.get_mut(at) {
        *slot = value;
    }
}
