//! Rateless set reconciliation: the difference of two sets of item hashes ([`crate::version::item_hash`]) from coded symbols, after
//! Yang, Gilad, Alizadeh: "Practical Rateless Set Reconciliation", arXiv 2402.02668.
//!
//! Symbols are linear: those of a union of disjoint sets are the sums of the sets' symbols. So a server keeps them per class of
//! documents, adds up the classes that a reader sees, and computes nothing per document for a reader. The reader subtracts the
//! symbols of its own set and [`decode`]s what is left: about 1.4 symbols for each item that only one side has.
//!
//! The numbers are part of the protocol (`docs/protocol.md` section 8, `testdata/reconcile.json`).

mod decode;
mod sketch;
mod symbol;

pub use decode::{Difference, decode, estimate, subtract};
pub use sketch::Sketch;
pub use symbol::{Checker, SYMBOL_BYTES, Symbol, symbols_from_bytes, symbols_to_bytes};

/// Most symbols that are kept and sent: enough for 24,000 items, or 12,000 changed documents. A larger difference is listed.
pub const SYMBOLS_MAX: u32 = 32_768;
