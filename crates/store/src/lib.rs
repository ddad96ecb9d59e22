//! The Store and Changelog traits, their conformance suite, the in-memory store and the embedded store (SQLite).
