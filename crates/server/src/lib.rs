//! The sync server: gateway, authentication, rules, push pipeline, fan-out.
