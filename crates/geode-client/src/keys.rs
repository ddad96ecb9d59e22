//! Which keys a region has.

use crate::error::Error;
use crate::net::pool::Call;
use crate::region::Region;
use crate::value::{Key, Value};
use crate::wire::codes::{ds, message};
use crate::wire::message::{Part, Request};
use crate::wire::{Malformed, Reader, skip};

/// The keys of a region that are strings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StringKeys {
    /// They, in no order.
    pub strings: Vec<String>,
    /// How many other keys there are.
    pub others: usize,
}

impl Region {
    /// All keys of the region. A server's list of keys does not say where a key ends: where one is of a class that writes itself, this is
    /// [`Error::Protocol`].
    pub async fn key_set(&self) -> Result<Vec<Key>, Error> {
        Ok(all_keys(&self.key_lists().await?)?)
    }

    /// The keys that are strings, whatever the others are. Where [`key_set`](Self::key_set) cannot read the list, a query asks for them.
    pub async fn string_keys(&self) -> Result<StringKeys, Error> {
        let lists = self.key_lists().await?;
        let total = lists.iter().map(count_of).sum::<Result<usize, _>>()?;
        let strings = match all_keys(&lists) {
            Ok(keys) => keys.into_iter().filter_map(string_of).collect(),
            Err(Malformed(_)) => self.queried_strings().await?,
        };
        // The query is of a later moment than the list.
        Ok(StringKeys { others: total.saturating_sub(strings.len()), strings })
    }

    async fn key_lists(&self) -> Result<Vec<Part>, Error> {
        let request = Request::new(message::KEY_SET).text(self.path());
        let call = Call { request, is_chunked: true, is_change: false };
        Ok(self.client.pool().call(call, None).await?.reply.parts)
    }

    /// What is no string is like nothing.
    async fn queried_strings(&self) -> Result<Vec<String>, Error> {
        let path = self.path();
        if path.contains('.') {
            // To OQL the dot ends the path, and its quotes name no region.
            let why = "a key's class writes itself, and no query can name a region with a dot";
            return Err(Error::Value(format!("the keys of {path} cannot be listed: {why}")));
        }
        let oql = format!("SELECT k FROM {path}.keySet k WHERE k LIKE '%'");
        let rows = self.client.query(&oql, &[]).await?.rows;
        let key = |row: Vec<Option<Value>>| string_of(Key::of_object(row.into_iter().next()??.as_bytes()));
        Ok(rows.into_iter().filter_map(key).collect())
    }
}

fn string_of(key: Key) -> Option<String> {
    if let Key::String(text) = key { Some(text) } else { None }
}

fn all_keys(lists: &[Part]) -> Result<Vec<Key>, Malformed> {
    let mut keys = Vec::new();
    for list in lists {
        read_keys(list, &mut keys)?;
    }
    Ok(keys)
}

/// Reads a list of keys.
pub(crate) fn read_keys(list: &Part, keys: &mut Vec<Key>) -> Result<(), Malformed> {
    let (mut reader, count) = begin_list(list)?;
    for _ in 0..count {
        keys.push(Key::of_object(skip::take_object(&mut reader)?));
    }
    Ok(())
}

fn count_of(list: &Part) -> Result<usize, Malformed> {
    begin_list(list).map(|(_, count)| count)
}

/// Where the first key begins, and how many there are.
fn begin_list(list: &Part) -> Result<(Reader<'_>, usize), Malformed> {
    let mut reader = Reader::new(&list.bytes);
    if list.is_null() {
        return Ok((reader, 0));
    }
    if !matches!(reader.u8()?, ds::ARRAY_LIST | ds::LINKED_LIST | ds::VECTOR | ds::HASH_SET) {
        return Err(Malformed("list of keys"));
    }
    let count = reader.array_len()?.unwrap_or_default();
    // Each takes a byte at least.
    if count > reader.rest().len() { Err(Malformed("length of a list of keys")) } else { Ok((reader, count)) }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::wire::random_tests::wrong;

    fn list(object: &'static [u8]) -> Part {
        Part { is_object: true, bytes: Bytes::from_static(object) }
    }

    #[test]
    fn keys_are_counted_whatever_they_are() {
        let strings = list(&[ds::ARRAY_LIST, 2, ds::STRING_BYTES, 0, 1, b'a', ds::BYTE, 1]);
        let opaque = list(&[ds::ARRAY_LIST, 2, ds::DATA_SERIALIZABLE, ds::CLASS, ds::STRING_BYTES, 0, 1, b'C', 9, 9]);
        assert_eq!(count_of(&strings), Ok(2));
        assert_eq!(count_of(&opaque), Ok(2));
        let keys = all_keys(std::slice::from_ref(&strings)).unwrap();
        assert_eq!(keys, [Key::from("a"), Key::Object(Bytes::from_static(&[ds::BYTE, 1]))]);
        assert!(all_keys(&[strings, opaque]).is_err());
    }

    #[test]
    fn a_list_longer_than_its_bytes_is_refused() {
        assert!(count_of(&list(&[ds::ARRAY_LIST, 0xFD, 0x7F, 0xFF, 0xFF, 0xFF, ds::NULL])).is_err());
        assert!(count_of(&list(&[ds::HASH_MAP, 0])).is_err());
        assert_eq!(count_of(&list(&[ds::NULL])), Ok(0));
    }

    proptest::proptest! {
        #[test]
        fn random_lists_of_keys_are_no_panic_and_no_more_than_their_bytes(
            bytes in wrong(vec![vec![ds::ARRAY_LIST, 3, ds::STRING_BYTES, 0, 1, b'a', ds::INTEGER, 0, 0, 0, 7, ds::NULL]]),
            is_object in proptest::bool::ANY,
        ) {
            let mut keys = Vec::new();
            let len = bytes.len();
            let part = Part { is_object, bytes: bytes.into() };
            let _ = read_keys(&part, &mut keys);
            proptest::prop_assert!(keys.len() <= len);
            proptest::prop_assert!(count_of(&part).unwrap_or_default() <= len);
        }
    }
}
