//! The first symbols of a set, kept while the set changes.

use super::symbol::{Checker, Indexes, Symbol};
use crate::prelude::*;

/// The first symbols of a set of items. Adding or removing an item touches about `2 ln(length)` of them.
#[derive(Clone, Debug)]
pub struct Sketch {
    checker: Checker,
    symbols: Vec<Symbol>,
}

impl Sketch {
    /// Of the empty set, so many symbols.
    pub fn new(checker: Checker, length: u32) -> Self {
        Self { checker, symbols: vec![Symbol::default(); length as usize] }
    }

    /// Puts an item in. Items are distinct.
    pub fn add(&mut self, item: u64) {
        self.apply(item, 1);
    }

    /// Takes an item out that was put in.
    pub fn remove(&mut self, item: u64) {
        self.apply(item, -1);
    }

    /// The symbols.
    pub fn symbols(&self) -> &[Symbol] {
        &self.symbols
    }

    /// Unites the set with a disjoint one: `others` are its symbols from the first on; what they do not cover is left as it is.
    pub fn unite(&mut self, others: &[Symbol]) {
        for (symbol, other) in self.symbols.iter_mut().zip(others) {
            symbol.add(other);
        }
    }

    fn apply(&mut self, item: u64, sign: i8) {
        let check = self.checker.check(item);
        let mut at = Indexes::new(check);
        while let Some(symbol) = self.symbols.get_mut(at.index as usize) {
            symbol.apply(item, check, sign);
            at.advance();
        }
    }
}
