//! What this client knows of the cluster's registry of types.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::decode::Types;
use super::encode::Shapes;
use super::types::PdxType;

/// How many types, shapes and enum constants are remembered each. Beyond it all are forgotten, and asked for again.
const REMEMBERED_MAX: usize = 100_000;

/// A cache: types never change, but a cluster that has lost its registry gives ids anew.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    shapes: HashMap<Box<[u8]>, i32>,
    types: HashMap<i32, Arc<PdxType>>,
    enums: HashMap<i32, Arc<str>>,
}

impl Registry {
    pub(crate) fn learn_shape(&self, shape: Box<[u8]>, id: i32) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        make_room(&mut known.shapes);
        known.shapes.insert(shape, id);
    }

    pub(crate) fn learn_type(&self, id: i32, pdx_type: PdxType) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        make_room(&mut known.types);
        known.types.insert(id, Arc::new(pdx_type));
    }

    pub(crate) fn learn_enum(&self, id: i32, name: &str) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        make_room(&mut known.enums);
        known.enums.insert(id, name.into());
    }

    /// Forgets everything: the cluster may have another registry.
    pub(crate) fn forget(&self) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Known::default();
    }
}

fn make_room<K, V>(map: &mut HashMap<K, V>) {
    if map.len() >= REMEMBERED_MAX {
        map.clear();
    }
}

impl Shapes for Registry {
    fn id_of(&self, shape: &[u8]) -> Option<i32> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).shapes.get(shape).copied()
    }
}

impl Types for Registry {
    fn type_of(&self, id: i32) -> Option<Arc<PdxType>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).types.get(&id).cloned()
    }

    fn enum_of(&self, id: i32) -> Option<Arc<str>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).enums.get(&id).cloned()
    }
}
