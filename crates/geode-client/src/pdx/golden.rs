//! What a Java client of Geode makes of documents, of an object of its own and of their types, byte by byte.
//!
//! `golden.txt` comes from a real cluster: a test of the stage `geode` compares it, and writes it anew when it is told to. Its lines are
//! parted by tabs: `json` with a document and its bytes, `object` with a class and the bytes of one, `type` with an id and the bytes of
//! the type in the registry, `enum` with an id and the constant's name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::decode::{Types, decode};
use super::encode::{Encoder, Shapes, TypeMode};
use super::types::PdxType;
use crate::json::Json;
use crate::wire::Reader;

const GOLDEN: &str = include_str!("golden.txt");

#[derive(Default)]
struct Golden {
    documents: Vec<(&'static str, Vec<u8>)>,
    objects: Vec<(&'static str, Vec<u8>)>,
    types: BTreeMap<i32, (Arc<PdxType>, Vec<u8>)>,
    enums: BTreeMap<i32, &'static str>,
}

fn read() -> Golden {
    let mut golden = Golden::default();
    for line in GOLDEN.lines() {
        let [kind, name, rest] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("three words in a line: {line}")
        };
        match kind {
            "json" => golden.documents.push((name, bytes(rest))),
            "object" => golden.objects.push((name, bytes(rest))),
            "enum" => drop(golden.enums.insert(name.parse().unwrap(), rest)),
            _ => {
                let bytes = bytes(rest);
                let pdx_type = PdxType::read_object(&mut Reader::new(&bytes)).unwrap();
                golden.types.insert(name.parse().unwrap(), (Arc::new(pdx_type), bytes));
            }
        }
    }
    golden
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

impl Types for Golden {
    fn type_of(&self, id: i32) -> Option<Arc<PdxType>> {
        self.types.get(&id).map(|(pdx_type, _)| Arc::clone(pdx_type))
    }

    fn enum_of(&self, id: i32) -> Option<Arc<str>> {
        self.enums.get(&id).map(|name| (*name).into())
    }
}

impl Shapes for Golden {
    fn id_of(&self, shape: &[u8]) -> Option<i32> {
        let is_it = |pdx_type: &PdxType| {
            let fields = pdx_type.fields.iter();
            let own = fields.flat_map(|field| [field.name.as_bytes(), &[0xFF, field.kind.number()]].concat());
            pdx_type.class_name == super::JSON_CLASS && own.eq(shape.iter().copied())
        };
        self.types.iter().find(|(_, (pdx_type, _))| is_it(pdx_type)).map(|(id, _)| *id)
    }
}

#[test]
fn documents_are_encoded_as_java_encodes_them_and_come_back() {
    let golden = read();
    assert!(golden.documents.len() >= 5, "{}", golden.documents.len());
    for (text, bytes) in &golden.documents {
        let document = Json::parse(text).unwrap();
        let mut ours = Vec::new();
        Encoder { mode: TypeMode::Formatter, shapes: &golden }.write(&document, &mut ours).unwrap();
        assert_eq!(&ours, bytes, "{text}");
        assert_eq!(decode(bytes, &golden), Ok(document), "{text}");
    }
}

#[test]
fn types_are_registered_as_java_registers_them() {
    let golden = read();
    for (id, (pdx_type, bytes)) in &golden.types {
        assert_eq!(pdx_type.id, *id);
        let mut again = Vec::new();
        pdx_type.write_object(&mut again);
        assert_eq!(&again, bytes, "{pdx_type:?}");
        if pdx_type.class_name == super::JSON_CLASS {
            let fields = pdx_type.fields.iter().map(|field| (field.name.as_str(), field.kind));
            assert_eq!(PdxType { id: *id, ..PdxType::of_json(fields) }, **pdx_type);
        }
    }
}

#[test]
fn an_object_of_a_java_class_is_read_by_its_type() {
    let golden = read();
    let (_, bytes) = golden.objects.iter().find(|(name, _)| *name == "Person").expect("there is a Person");
    let person = decode(bytes, &golden).unwrap().to_string();
    for part in
        [r#""name":"Ada €""#, r#""colour":"GREEN""#, r#""born":"2000-02-29T00:00:00.123Z""#, r#""blobs":[[1],[2,3]]"#]
    {
        assert!(person.contains(part), "{part} is not in {person}");
    }
    // Cut short, it is refused.
    for cut in 0..bytes.len() {
        assert!(decode(&bytes[..cut], &golden).is_err(), "{cut}");
    }
}
