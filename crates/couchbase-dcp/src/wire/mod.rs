//! The memcached binary protocol as far as DCP needs it (`kv_engine` docs/BinaryProtocol.md). Decoders take any bytes and never
//! panic.

pub(crate) mod codes;
#[cfg(test)]
mod golden_tests;
pub(crate) mod message;
pub(crate) mod packet;
#[cfg(test)]
mod random_tests;
pub(crate) mod reader;
pub(crate) mod request;
pub(crate) mod system;
pub(crate) mod value;
