//! The rules of the protocol, sans-I/O: wire codec, content versions, merge, client and server state machines.
