//! The sync server: gateway, authentication, rules, push pipeline, fan-out.

pub mod auth;
pub mod config;
pub mod rules;
