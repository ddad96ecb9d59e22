//! Bytes of the Java client, and random input.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::decode::{Types, decode};
use super::encode::{Encoder, Shapes, TypeMode};
use super::types::{FieldType, PdxType};
use crate::json::Json;
use crate::wire::Reader;
use crate::wire::random_tests::wrong;

/// Types that are known to the tests alone, by their number.
#[derive(Default)]
struct Known {
    types: BTreeMap<i32, Arc<PdxType>>,
}

impl Types for Known {
    fn type_of(&self, id: i32) -> Option<Arc<PdxType>> {
        self.types.get(&id).cloned()
    }

    fn enum_of(&self, id: i32) -> Option<Arc<str>> {
        (id == 1).then(|| "ONE".into())
    }
}

/// Gives every shape the hash of its bytes as its id.
struct Hashes;

impl Shapes for Hashes {
    fn id_of(&self, shape: &[u8]) -> Option<i32> {
        Some(id_of(shape))
    }
}

fn id_of(shape: &[u8]) -> i32 {
    shape.iter().fold(7i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(i32::from(*byte)))
}

/// Learns the types of a document, as the registry would.
fn learn(json: &Json, mode: TypeMode, depth: usize, known: &mut Known) {
    match json {
        Json::Array(items) => items.iter().for_each(|item| learn(item, mode, depth + 1, known)),
        Json::Object(fields) => {
            for (_, item) in fields {
                learn(item, mode, depth + 1, known);
            }
            if mode == TypeMode::StableWithMaps && depth > 0 {
                return;
            }
            let kinds: Vec<(&str, FieldType)> = fields
                .iter()
                .map(|(name, value)| (name.as_str(), Encoder { mode, shapes: &Hashes }.kind_of(value)))
                .collect();
            let mut shape = Vec::new();
            for (name, kind) in &kinds {
                shape.extend_from_slice(name.as_bytes());
                shape.extend_from_slice(&[0xFF, kind.number()]);
            }
            known.types.insert(id_of(&shape), Arc::new(PdxType::of_json(kinds.into_iter())));
        }
        Json::Null
        | Json::Bool(_)
        | Json::Integer(_)
        | Json::BigInteger(_)
        | Json::Double(_)
        | Json::Decimal(_)
        | Json::String(_) => {}
    }
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        any::<i64>().prop_map(Json::Integer),
        any::<i8>().prop_map(|number| Json::Integer(number.into())),
        "-?[1-9][0-9]{19,60}".prop_map(Json::BigInteger),
        any::<f64>().prop_filter("NaN is not equal to itself", |number| !number.is_nan()).prop_map(Json::Double),
        any::<String>().prop_map(Json::String),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Json::Array),
            prop::collection::btree_map(any::<String>(), inner, 0..8)
                .prop_map(|fields| Json::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn documents_come_back(json in any_json()) {
        for mode in [TypeMode::Formatter, TypeMode::Stable, TypeMode::StableWithMaps] {
            let mut known = Known::default();
            learn(&json, mode, 0, &mut known);
            let mut bytes = Vec::new();
            Encoder { mode, shapes: &Hashes }.write(&json, &mut bytes).unwrap();
            prop_assert_eq!(decode(&bytes, &known), Ok(json.clone()));
            // A document that is cut short is refused.
            for cut in 0..bytes.len().min(64) {
                prop_assert!(decode(&bytes[..cut], &known).is_err());
            }
        }
    }

    #[test]
    fn random_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut known = Known::default();
        let fields = [("a", FieldType::Int), ("b", FieldType::Object), ("c", FieldType::Long), ("d", FieldType::StringArray)];
        known.types.insert(0, Arc::new(PdxType::of_json(fields.into_iter())));
        let _ = decode(&bytes, &known);
        let mut instance = vec![93];
        instance.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_be_bytes());
        instance.extend_from_slice(&[0; 4]);
        instance.extend_from_slice(&bytes);
        let _ = decode(&instance, &known);
        let _ = PdxType::read_object(&mut Reader::new(&bytes));
        let _ = crate::wire::skip::take_object(&mut Reader::new(&bytes));
    }

    #[test]
    fn random_enums_are_no_panic(bytes in wrong(vec![vec![1, 0x8F, 87, 0, 1, b'C', 87, 0, 1, b'N', 0], vec![45, 43, 87, 0, 1, b'E', 87, 0, 1, b'C', 41]])) {
        if let Ok(name) = super::read_enum_info(&mut Reader::new(&bytes)) {
            // A byte may become a character of two.
            prop_assert!(name.len() <= 2 * bytes.len());
        }
    }

    #[test]
    fn types_come_back(names in prop::collection::vec((any::<String>(), any::<bool>()), 0..20)) {
        let kinds = names.iter().map(|(name, wide)| (name.as_str(), if *wide { FieldType::Object } else { FieldType::Int }));
        let pdx_type = PdxType::of_json(kinds);
        let mut bytes = Vec::new();
        pdx_type.write_object(&mut bytes);
        prop_assert_eq!(PdxType::read_object(&mut Reader::new(&bytes)), Ok(pdx_type));
    }
}

#[test]
fn fields_that_share_their_bytes_do_not_multiply() {
    // A type whose two fields are at one place, and instances of it that nest.
    let mut twice = PdxType::of_json([("a", FieldType::Object), ("b", FieldType::Object)].into_iter());
    twice.fields[1].offset_index = -1;
    twice.offsets = 0;
    let mut known = Known::default();
    known.types.insert(0, Arc::new(twice));
    let mut bytes = vec![41];
    for _ in 0..60 {
        let mut outer = vec![93];
        outer.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_be_bytes());
        outer.extend_from_slice(&[0; 4]);
        outer.append(&mut bytes);
        bytes = outer;
    }
    assert!(decode(&bytes, &known).is_err());
}
