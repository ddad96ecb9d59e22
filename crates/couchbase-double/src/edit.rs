//! What one sub-document command does to one JSON value (`kv_engine` docs/SubDocument.md; couchbase's `subjson`
//! subdoc/operations.cc).

use crate::json::{Json, Step, parse_path, place};
use crate::wire::{Status, opcode};

/// A lookup at a path: the value's text, a count, or nothing for `EXISTS`.
pub(crate) fn look(code: u8, root: &Json, path: &str) -> Result<Vec<u8>, Status> {
    let found = root.find(&parse_path(path)?)?;
    match code {
        opcode::SUBDOC_EXISTS => Ok(Vec::new()),
        opcode::SUBDOC_GET_COUNT => match found {
            Json::Object(members) => Ok(members.len().to_string().into_bytes()),
            Json::Array(items) => Ok(items.len().to_string().into_bytes()),
            Json::Leaf(_) => Err(Status::PATH_MISMATCH),
        },
        _ => Ok(found.text()),
    }
}

/// An edit at a path; what it answers, which only a counter does.
pub(crate) fn edit(code: u8, root: &mut Json, path: &str, value: &[u8], makes_way: bool) -> Result<Vec<u8>, Status> {
    let steps = parse_path(path)?;
    match code {
        opcode::SUBDOC_ARRAY_PUSH_LAST | opcode::SUBDOC_ARRAY_PUSH_FIRST | opcode::SUBDOC_ARRAY_ADD_UNIQUE => {
            let more = Json::values(value, steps.len())?;
            if code == opcode::SUBDOC_ARRAY_ADD_UNIQUE && !matches!(more[..], [Json::Leaf(_)]) {
                return Err(Status::VALUE_CANNOT_INSERT);
            }
            push(code, array(root, &steps, makes_way)?, more)?;
        }
        opcode::SUBDOC_ARRAY_INSERT => insert(root, &steps, value)?,
        opcode::SUBDOC_COUNTER => return count(root, &steps, value, makes_way),
        _ => member(code, root, &steps, value, makes_way)?,
    }
    Ok(Vec::new())
}

/// Adds, sets, replaces or removes a member or an element.
fn member(code: u8, root: &mut Json, steps: &[Step], value: &[u8], makes_way: bool) -> Result<(), Status> {
    // The root stays what it is.
    let (last, way) = steps.split_last().ok_or(Status::VALUE_CANNOT_INSERT)?;
    let adds = matches!(code, opcode::SUBDOC_DICT_ADD | opcode::SUBDOC_DICT_UPSERT);
    // The value is looked at before the path is.
    let value = if code == opcode::SUBDOC_DELETE { Json::Leaf(String::new()) } else { Json::value(value, way.len())? };
    if adds && matches!(last, Step::Index(_)) {
        return Err(Status::PATH_INVALID);
    }
    let parent = root.find_mut(way, makes_way && adds)?;
    match (parent, last) {
        (Json::Object(members), Step::Key(key)) => {
            let at = members.iter().position(|(name, _)| name == key);
            match (code, at) {
                (opcode::SUBDOC_DICT_ADD, Some(_)) => return Err(Status::PATH_EXISTS),
                (opcode::SUBDOC_DICT_ADD | opcode::SUBDOC_DICT_UPSERT, None) => {
                    members.push((key.clone(), value));
                }
                (_, None) => return Err(Status::PATH_NOT_FOUND),
                (opcode::SUBDOC_DELETE, Some(at)) => drop(members.remove(at)),
                (_, Some(at)) => {
                    if let Some((_, old)) = members.get_mut(at) {
                        *old = value;
                    }
                }
            }
        }
        (Json::Array(items), Step::Index(index)) => {
            let at = place(*index, items.len()).ok_or(Status::PATH_NOT_FOUND)?;
            if code == opcode::SUBDOC_DELETE {
                items.remove(at);
            } else if let Some(old) = items.get_mut(at) {
                *old = value;
            }
        }
        _ => return Err(Status::PATH_MISMATCH),
    }
    Ok(())
}

/// The array at a path; an empty one is made when `makes_way`.
fn array<'a>(root: &'a mut Json, steps: &[Step], makes_way: bool) -> Result<&'a mut Vec<Json>, Status> {
    if makes_way
        && let Some((Step::Key(key), way)) = steps.split_last()
        && root.find(steps) == Err(Status::PATH_NOT_FOUND)
    {
        match root.find_mut(way, true)? {
            Json::Object(members) => members.push((key.clone(), Json::Array(Vec::new()))),
            Json::Array(_) | Json::Leaf(_) => return Err(Status::PATH_MISMATCH),
        }
    }
    match root.find_mut(steps, false)? {
        Json::Array(items) => Ok(items),
        Json::Object(_) | Json::Leaf(_) => Err(Status::PATH_MISMATCH),
    }
}

fn push(code: u8, items: &mut Vec<Json>, more: Vec<Json>) -> Result<(), Status> {
    match code {
        opcode::SUBDOC_ARRAY_PUSH_LAST => items.extend(more),
        opcode::SUBDOC_ARRAY_PUSH_FIRST => drop(items.splice(..0, more)),
        _ => {
            if items.iter().any(|item| !matches!(item, Json::Leaf(_))) {
                return Err(Status::PATH_MISMATCH);
            }
            if items.iter().any(|item| more.contains(item)) {
                return Err(Status::PATH_EXISTS);
            }
            items.extend(more);
        }
    }
    Ok(())
}

fn insert(root: &mut Json, steps: &[Step], value: &[u8]) -> Result<(), Status> {
    let more = Json::values(value, steps.len().saturating_sub(1))?;
    let Some((Step::Index(index), way)) = steps.split_last() else { return Err(Status::PATH_INVALID) };
    let at = usize::try_from(*index).map_err(|_| Status::PATH_INVALID)?;
    let items = array(root, way, false)?;
    if at > items.len() {
        return Err(Status::PATH_NOT_FOUND);
    }
    items.splice(at..at, more);
    Ok(())
}

fn count(root: &mut Json, steps: &[Step], value: &[u8], makes_way: bool) -> Result<Vec<u8>, Status> {
    // No sign but the minus, no leading zero (`parse_int64`).
    let text = std::str::from_utf8(value).map_err(|_| Status::DELTA_INVALID)?;
    let is_plain = !text.starts_with('+') && !text.trim_start_matches('-').starts_with('0');
    let delta: i64 = text.parse().ok().filter(|_| is_plain).ok_or(Status::DELTA_INVALID)?;
    let (last, way) = steps.split_last().ok_or(Status::PATH_INVALID)?;
    let old = match root.find(steps) {
        Ok(Json::Leaf(text)) if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') => {
            text.parse().map_err(|_| Status::NUMBER_RANGE)?
        }
        Ok(_) => return Err(Status::PATH_MISMATCH),
        Err(Status::PATH_NOT_FOUND) => 0,
        Err(status) => return Err(status),
    };
    // The sum would not fit: the status is the one for values that cannot be inserted (docs/SubDocument.md).
    let sum = i64::checked_add(old, delta).ok_or(Status::VALUE_CANNOT_INSERT)?.to_string();
    match (root.find_mut(way, makes_way)?, last) {
        (Json::Object(members), Step::Key(key)) => match members.iter_mut().find(|(name, _)| name == key) {
            Some((_, value)) => *value = Json::Leaf(sum.clone()),
            None => members.push((key.clone(), Json::Leaf(sum.clone()))),
        },
        (Json::Array(items), Step::Index(index)) => {
            let at = place(*index, items.len()).ok_or(Status::PATH_NOT_FOUND)?;
            if let Some(value) = items.get_mut(at) {
                *value = Json::Leaf(sum.clone());
            }
        }
        _ => return Err(Status::PATH_MISMATCH),
    }
    Ok(sum.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: u8, text: &str, path: &str, value: &str, expected: Result<&str, Status>) {
        let mut root = Json::document(text.as_bytes()).unwrap();
        let result = edit(code, &mut root, path, value.as_bytes(), false);
        let result = result.map(|_| String::from_utf8(root.text()).unwrap());
        assert_eq!(result.as_deref(), expected.as_deref(), "{code:#x} {path} {value}");
    }

    #[test]
    fn members_are_added_set_replaced_and_removed() {
        let text = r#"{"a":1,"b":[1,2]}"#;
        check(opcode::SUBDOC_DICT_ADD, text, "c", "3", Ok(r#"{"a":1,"b":[1,2],"c":3}"#));
        check(opcode::SUBDOC_DICT_ADD, text, "a", "3", Err(Status::PATH_EXISTS));
        check(opcode::SUBDOC_DICT_UPSERT, text, "a", "{}", Ok(r#"{"a":{},"b":[1,2]}"#));
        check(opcode::SUBDOC_DICT_UPSERT, text, "a", "}", Err(Status::VALUE_CANNOT_INSERT));
        check(opcode::SUBDOC_DICT_UPSERT, text, "x.y", "}", Err(Status::VALUE_CANNOT_INSERT));
        check(opcode::SUBDOC_DICT_UPSERT, text, "", "1", Err(Status::VALUE_CANNOT_INSERT));
        check(opcode::SUBDOC_DICT_ADD, text, "b[0]", "1", Err(Status::PATH_INVALID));
        check(opcode::SUBDOC_DELETE, text, "", "", Err(Status::VALUE_CANNOT_INSERT));
        check(opcode::SUBDOC_DICT_UPSERT, text, "x.y", "1", Err(Status::PATH_NOT_FOUND));
        check(opcode::SUBDOC_REPLACE, text, "b[-1]", "3", Ok(r#"{"a":1,"b":[1,3]}"#));
        check(opcode::SUBDOC_REPLACE, text, "c", "3", Err(Status::PATH_NOT_FOUND));
        check(opcode::SUBDOC_DELETE, text, "b[0]", "", Ok(r#"{"a":1,"b":[2]}"#));
        check(opcode::SUBDOC_DELETE, text, "a", "", Ok(r#"{"b":[1,2]}"#));
    }

    #[test]
    fn arrays_grow_where_asked() {
        let text = r#"{"b":[1,2]}"#;
        check(opcode::SUBDOC_ARRAY_PUSH_LAST, text, "b", "3,4", Ok(r#"{"b":[1,2,3,4]}"#));
        check(opcode::SUBDOC_ARRAY_PUSH_FIRST, text, "b", "0", Ok(r#"{"b":[0,1,2]}"#));
        check(opcode::SUBDOC_ARRAY_INSERT, text, "b[1]", "9", Ok(r#"{"b":[1,9,2]}"#));
        check(opcode::SUBDOC_ARRAY_INSERT, text, "b[3]", "9", Err(Status::PATH_NOT_FOUND));
        check(opcode::SUBDOC_ARRAY_ADD_UNIQUE, text, "b", "2", Err(Status::PATH_EXISTS));
        check(opcode::SUBDOC_ARRAY_ADD_UNIQUE, text, "b", "[]", Err(Status::VALUE_CANNOT_INSERT));
        check(opcode::SUBDOC_ARRAY_PUSH_LAST, text, "c", "3", Err(Status::PATH_NOT_FOUND));
    }

    #[test]
    fn counters_count_within_64_bits() {
        let text = r#"{"n":41,"s":"x","m":9223372036854775807}"#;
        let mut root = Json::document(text.as_bytes()).unwrap();
        assert_eq!(edit(opcode::SUBDOC_COUNTER, &mut root, "n", b"1", false).unwrap(), b"42");
        check(opcode::SUBDOC_COUNTER, r"{}", "n", "-2", Ok(r#"{"n":-2}"#));
        for delta in ["0", "+1", "01", "-01", " 1", "1.0", "x", "9223372036854775808"] {
            check(opcode::SUBDOC_COUNTER, text, "n", delta, Err(Status::DELTA_INVALID));
        }
        check(opcode::SUBDOC_COUNTER, text, "s", "1", Err(Status::PATH_MISMATCH));
        check(opcode::SUBDOC_COUNTER, text, "m", "1", Err(Status::VALUE_CANNOT_INSERT));
    }
}
