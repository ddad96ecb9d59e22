//! A session as the server sees it: one client over one connection (`docs/protocol.md` sections 2 to 8).
//!
//! [`Session`] is a state machine without I/O. The host feeds it frames, answers and the time through `handle_*`, then drains
//! [`Session::poll_effect`], and calls [`Session::handle_tick`] when [`Session::poll_timeout`] is due.

mod batch;
mod deliver;
mod effect;
mod filter;
mod open;
mod pump;
mod push;
mod reconcile;
mod record;
mod session;
mod subscription;
mod transition;

#[cfg(test)]
mod reconcile_tests;
#[cfg(test)]
mod tests;

pub use batch::Batch;
pub use effect::{Effect, Grant, Opening, Outgoing, Processed, Refusal, Sought, Submission};
pub use filter::{ChannelSet, Filter};
pub use record::{ChangePage, ChangeRecord, DocumentPage, SnapshotPage, SymbolPage};
pub use session::{Session, SessionConfig};
