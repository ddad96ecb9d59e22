//! The core for the browser: bindings and nothing else.
