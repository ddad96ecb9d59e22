//! The sync server: gateway, authentication, rules, push pipeline, fan-out.

mod access;
mod app;
pub mod auth;
mod clock;
pub mod config;
mod database;
mod gateway;
mod hub;
mod metrics;
mod pipeline;
mod purge;
mod quota;
mod reindex;
mod reload;
pub mod rules;
mod serve;
mod tls;

pub use app::{App, GatewayOptions};
pub use clock::Clock;
pub use database::Database;
pub use gateway::router;
pub use hub::Hub;
pub use metrics::Metrics;
pub use reload::ReloadError;
pub use serve::{ServeError, Server};
pub use tls::Tls;
