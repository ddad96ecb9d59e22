//! Lists whose elements have an identity: an object member that holds a string or a number, distinct within the list.

use std::collections::{BTreeMap, BTreeSet};

use super::engine::{Engine, Rejection};
use crate::json::{Value, canonical};

/// An identified element.
#[derive(Clone, Copy)]
struct Element<'a> {
    identity: &'a Value,
    value: &'a Value,
}

/// Identities as canonical text: the string `"1"` and the number `1` are two.
type Identity = Vec<u8>;

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
    let base = match base {
        Some(base) => elements(base, member),
        None => Some(Vec::new()),
    };
    let (Some(base), Some(mine), Some(theirs)) = (base, elements(mine, member), elements(theirs, member)) else {
        return Ok(None);
    };
    let mut outcomes = merge_elements(engine, &base, &mine, &theirs)?;
    let order = order(&base, &mine, &theirs, &outcomes);
    Ok(Some(Value::Array(order.iter().filter_map(|identity| outcomes.remove(identity)).collect())))
}

fn elements<'a>(list: &'a Value, member: &str) -> Option<Vec<(Identity, Element<'a>)>> {
    let mut seen = BTreeSet::new();
    let identified = |value: &'a Value| {
        let identity = value.member(member).filter(|id| matches!(id, Value::String(_) | Value::Number(_)))?;
        let key = canonical(identity);
        seen.insert(key.clone()).then_some((key, Element { identity, value }))
    };
    list.as_array()?.iter().map(identified).collect()
}

/// The elements that remain, merged.
fn merge_elements(
    engine: &mut Engine<'_>,
    base: &[(Identity, Element<'_>)],
    mine: &[(Identity, Element<'_>)],
    theirs: &[(Identity, Element<'_>)],
) -> Result<BTreeMap<Identity, Value>, Rejection> {
    let by_identity = |list| -> BTreeMap<&Identity, Element<'_>> { collect(list) };
    let (before, wanted, present) = (by_identity(base), by_identity(mine), by_identity(theirs));
    let mut outcomes = BTreeMap::new();
    let mut done = BTreeSet::new();
    for (key, element) in theirs.iter().chain(mine) {
        if !done.insert(key) {
            continue;
        }
        let value = |list: &BTreeMap<_, Element<'_>>| list.get(key).map(|element| element.value.clone());
        let (base, mine, theirs) = (value(&before), value(&wanted), value(&present));
        let name = element.identity.as_str().map_or_else(|| String::from_utf8_lossy(key).into_owned(), str::to_owned);
        let outcome = engine.within(&name, |engine| match (&base, &mine, theirs) {
            // The change brings the whole element, so an edited one comes back whole.
            (Some(base), Some(mine), None) if base != mine => engine.removal(Some(base), Some(mine), None),
            (base, mine, theirs) => engine.field(base.as_ref(), mine.as_ref(), theirs),
        })?;
        if let Some(outcome) = outcome {
            outcomes.insert(key.clone(), outcome);
        }
    }
    Ok(outcomes)
}

fn collect<'a>(list: &'a [(Identity, Element<'a>)]) -> BTreeMap<&'a Identity, Element<'a>> {
    list.iter().map(|(key, element)| (key, *element)).collect()
}

fn order(
    base: &[(Identity, Element<'_>)],
    mine: &[(Identity, Element<'_>)],
    theirs: &[(Identity, Element<'_>)],
    outcomes: &BTreeMap<Identity, Value>,
) -> Vec<Identity> {
    let moved = moved(base, mine);
    let stays = |key: &&Identity| outcomes.contains_key(*key) && !moved.contains(*key);
    let skeleton: Vec<&Identity> = theirs.iter().map(|(key, _)| key).filter(stays).collect();
    let standing: BTreeSet<&Identity> = skeleton.iter().copied().collect();
    let mut followers: BTreeMap<Option<&Identity>, Vec<&Identity>> = BTreeMap::new();
    let mut anchor = None;
    for (key, _) in mine {
        if standing.contains(key) {
            anchor = Some(key);
        } else if outcomes.contains_key(key) {
            followers.entry(anchor).or_default().push(key);
        }
    }
    let mut ordered = followers.remove(&None).unwrap_or_default();
    for key in skeleton {
        ordered.push(key);
        ordered.extend(followers.remove(&Some(key)).unwrap_or_default());
    }
    ordered.into_iter().cloned().collect()
}

/// The elements whose place among the others the change altered: those outside a longest rising run of base positions.
fn moved<'a>(base: &'a [(Identity, Element<'_>)], mine: &'a [(Identity, Element<'_>)]) -> BTreeSet<&'a Identity> {
    let places: BTreeMap<&Identity, usize> = base.iter().enumerate().map(|(at, (key, _))| (key, at)).collect();
    let kept: Vec<(&Identity, usize)> =
        mine.iter().filter_map(|(key, _)| places.get(key).map(|place| (key, *place))).collect();
    let positions: Vec<usize> = kept.iter().map(|(_, place)| *place).collect();
    let rising = longest_rising(&positions);
    kept.into_iter().filter(|(_, place)| !rising.contains(place)).map(|(key, _)| key).collect()
}

/// A longest strictly rising subsequence of distinct numbers (patience sorting).
fn longest_rising(numbers: &[usize]) -> BTreeSet<usize> {
    let mut tails: Vec<usize> = Vec::new();
    let mut previous: BTreeMap<usize, usize> = BTreeMap::new();
    for number in numbers {
        let at = tails.partition_point(|tail| tail < number);
        if let Some(before) = at.checked_sub(1).and_then(|before| tails.get(before)) {
            previous.insert(*number, *before);
        }
        match tails.get_mut(at) {
            Some(tail) => *tail = *number,
            None => tails.push(*number),
        }
    }
    core::iter::successors(tails.last().copied(), |number| previous.get(number).copied()).collect()
}
