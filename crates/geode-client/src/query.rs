//! Queries in OQL.

use bytes::Bytes;

use crate::client::Client;
use crate::error::Error;
use crate::net::pool::Call;
use crate::value::Value;
use crate::wire::codes::{ds, fixed, message};
use crate::wire::message::{Part, Reply, Request};
use crate::wire::{Malformed, Reader, skip};

/// The rows that a query found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// The names of the columns; empty when each row is one value.
    pub columns: Vec<String>,
    /// A row has as many values as there are columns, or one. `None` is null or `UNDEFINED`.
    pub rows: Vec<Vec<Option<Value>>>,
}

impl Client {
    /// Runs a query, such as `SELECT d.name FROM /docs d WHERE d.age > $1`. The parameters stand for `$1`, `$2`, …
    pub async fn query(&self, oql: &str, parameters: &[Value]) -> Result<Rows, Error> {
        let request = if parameters.is_empty() {
            Request::new(message::QUERY).text(oql)
        } else {
            let count = i32::try_from(parameters.len()).map_err(|_| Error::Value("too many parameters".to_owned()))?;
            let request = Request::new(message::QUERY_WITH_PARAMETERS).text(oql).int(count);
            parameters.iter().fold(request, |request, value| value.add_as_object(request))
        };
        let call = Call { request, is_chunked: true, is_change: false };
        let answered = self.pool().call(call, None).await?;
        Ok(read_rows(&answered.reply)?)
    }
}

/// Each chunk has the type of the result, and rows.
fn read_rows(reply: &Reply) -> Result<Rows, Malformed> {
    let mut out = Rows::default();
    for chunk in reply.parts.chunks(2) {
        let [kind, rows] = chunk else { return Err(Malformed("result of a query")) };
        out.columns = read_columns(kind)?;
        read_chunk(&rows.bytes, !out.columns.is_empty(), &mut out.rows)?;
    }
    Ok(out)
}

/// The names of the columns in a `CollectionTypeImpl`; none when its elements are no structs.
fn read_columns(part: &Part) -> Result<Vec<String>, Malformed> {
    if part.is_null() {
        return Ok(Vec::new());
    }
    let mut reader = Reader::new(&part.bytes);
    if reader.u8()? != ds::FIXED_ID_BYTE || reader.i8()? != fixed::COLLECTION_TYPE {
        return Err(Malformed("type of a query's result"));
    }
    skip::skip_class(&mut reader)?;
    if reader.u8()? != ds::FIXED_ID_BYTE {
        return Err(Malformed("type of a query's rows"));
    }
    match reader.i8()? {
        fixed::STRUCT_TYPE => {
            skip::skip_class(&mut reader)?;
            Ok(reader.string_array()?.into_iter().map(Option::unwrap_or_default).collect())
        }
        _ => Ok(Vec::new()),
    }
}

fn read_chunk(bytes: &Bytes, is_struct: bool, rows: &mut Vec<Vec<Option<Value>>>) -> Result<(), Malformed> {
    let mut reader = Reader::new(bytes);
    if reader.peek()? == ds::INTEGER {
        // A count, which is no collection.
        rows.push(vec![Some(Value::of_object(bytes.clone()))]);
        return Ok(());
    }
    read_sequence(&mut reader, bytes, &mut |reader| {
        let mut row = Vec::new();
        if is_struct {
            read_sequence(reader, bytes, &mut |reader| {
                row.push(read_value(reader, bytes)?);
                Ok(())
            })?;
        } else {
            row.push(read_value(reader, bytes)?);
        }
        rows.push(row);
        Ok(())
    })
}

/// Reads an object array or an `ObjectPartList`, and gives each item to `item`.
fn read_sequence(
    reader: &mut Reader<'_>,
    whole: &Bytes,
    item: &mut dyn FnMut(&mut Reader<'_>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    match reader.u8()? {
        ds::OBJECT_ARRAY => {
            let Some(count) = reader.array_len()? else { return Ok(()) };
            skip::skip_class(reader)?;
            (0..count).try_for_each(|_| item(reader))
        }
        ds::FIXED_ID_BYTE if reader.i8()? == fixed::OBJECT_PART_LIST => {
            let has_keys = reader.bool()?;
            for _ in 0..reader.count()? {
                if has_keys {
                    read_value(reader, whole)?;
                }
                if reader.bool()? {
                    return Err(Malformed("row of a query: an exception"));
                }
                item(reader)?;
            }
            Ok(())
        }
        _ => Err(Malformed("rows of a query")),
    }
}

fn read_value(reader: &mut Reader<'_>, whole: &Bytes) -> Result<Option<Value>, Malformed> {
    let object = skip::take_object(reader)?;
    let is_nothing = matches!(object, [ds::NULL | ds::NULL_STRING] | [ds::FIXED_ID_BYTE, _]);
    Ok((!is_nothing).then(|| Value::of_object(whole.slice_ref(object))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::random_tests::wrong_reply;
    use crate::wire::writer::Write as _;

    fn part(bytes: Vec<u8>) -> Part {
        Part { is_object: true, bytes: bytes.into() }
    }

    fn collection_of(element: i8, columns: &[&str]) -> Part {
        let mut out = vec![ds::FIXED_ID_BYTE, fixed::COLLECTION_TYPE.cast_unsigned(), ds::CLASS];
        out.string("java.util.List");
        out.u8(ds::FIXED_ID_BYTE);
        out.i8(element);
        out.u8(ds::CLASS);
        out.string("java.lang.Object");
        out.array_len(columns.len());
        for column in columns {
            out.string(column);
        }
        part(out)
    }

    #[test]
    fn rows_of_structs_have_columns() {
        let mut rows = vec![ds::OBJECT_ARRAY, 1, ds::CLASS];
        rows.string("java.lang.Object");
        rows.bytes(&[ds::OBJECT_ARRAY, 2, ds::CLASS]);
        rows.string("java.lang.Object");
        rows.bytes(&[ds::BYTE, 7, ds::FIXED_ID_BYTE, 31]);
        let parts = vec![collection_of(fixed::STRUCT_TYPE, &["a", "b"]), part(rows)];
        let rows = read_rows(&Reply { kind: 1, transaction: -1, parts, secure: None }).unwrap();
        assert_eq!(rows.columns, ["a", "b"]);
        assert_eq!(rows.rows, [vec![Some(Value::Object(Bytes::from_static(&[ds::BYTE, 7]))), None]]);
    }

    #[test]
    fn a_list_of_parts_is_a_list_of_rows() {
        let list = vec![ds::FIXED_ID_BYTE, 25, 0, 0, 0, 0, 2, 0, ds::BYTE, 1, 0, ds::NULL];
        let parts = vec![collection_of(-61, &[]), part(list)];
        let rows = read_rows(&Reply { kind: 1, transaction: -1, parts, secure: None }).unwrap();
        assert_eq!(rows.rows, [vec![Some(Value::Object(Bytes::from_static(&[ds::BYTE, 1])))], vec![None]]);
    }

    proptest::proptest! {
        #[test]
        fn random_rows_are_no_panic_and_no_more_than_their_bytes(reply in wrong_reply(&[1], golden())) {
            let len: usize = reply.parts.iter().map(|part| part.bytes.len()).sum();
            if let Ok(rows) = read_rows(&reply) {
                proptest::prop_assert!(rows.rows.len() + rows.rows.iter().map(Vec::len).sum::<usize>() <= 2 * len);
                proptest::prop_assert!(rows.columns.len() <= len);
            }
        }
    }

    fn golden() -> Vec<Vec<u8>> {
        let mut structs = vec![ds::OBJECT_ARRAY, 1, ds::CLASS];
        structs.string("java.lang.Object");
        structs.bytes(&[ds::OBJECT_ARRAY, 2, ds::CLASS]);
        structs.string("java.lang.Object");
        structs.bytes(&[ds::BYTE, 7, ds::FIXED_ID_BYTE, 31]);
        let list = vec![ds::FIXED_ID_BYTE, 25, 0, 0, 0, 0, 2, 0, ds::BYTE, 1, 0, ds::NULL];
        let kinds = [collection_of(fixed::STRUCT_TYPE, &["a", "b"]), collection_of(-61, &[])];
        kinds.map(|kind| kind.bytes.to_vec()).into_iter().chain([structs, list]).collect()
    }
}
