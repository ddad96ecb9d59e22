//! The rules of the Tidelock protocol, sans-I/O.
//!
//! Everything that decides about ordering, retry, merging or versions lives here, once: the browser (as WASM), the native client,
//! the server and the simulator link this crate. It reads no clock, draws no randomness of its own, does no I/O, and uses ordered
//! maps only, so that one input gives one output everywhere. It is without `std` for that, and because the standard library's panics
//! would bring the browser 5 kB that say nothing there; only the server's side, which no browser has, uses it.
//!
//! | module | rule |
//! |---|---|
//! | [`base64`] | bytes in texts |
//! | [`json`] | strict JSON with exact numbers |
//! | [`key`] | IndexedDB keys as platform strings |
//! | [`escape`] | structured-clone values as JSON |
//! | [`version`] | content versions |
//! | [`merge`] | patches and three-way merge by policy |
//! | [`planted`] | bugs for the simulator's proof; none in the product |
//! | [`reconcile`] | the difference of two sets from coded symbols |
//! | [`server`] | a session as the server sees it |
//! | [`wire`] | frames and their codec (`docs/protocol.md`) |

#![cfg_attr(not(test), no_std)]

extern crate alloc;
#[cfg(all(not(test), not(target_arch = "wasm32")))]
extern crate std;

pub mod base64;
#[cfg(any(test, target_arch = "wasm32"))]
mod blake3;
pub mod client;
pub mod escape;
pub mod ids;
pub mod json;
pub mod key;
pub mod limits;
pub mod merge;
mod order;
mod ordered;
pub mod planted;
mod prelude;
pub mod reconcile;
#[cfg(not(target_arch = "wasm32"))]
pub mod server;
pub mod version;
pub mod wire;
