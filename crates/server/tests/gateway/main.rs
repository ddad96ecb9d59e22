//! The server over real sockets: sessions, wrong inputs, REST.

mod harness;
mod rest;
mod session;
mod wrong_input;
