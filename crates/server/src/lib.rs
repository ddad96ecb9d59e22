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
mod sought;
mod tls;

pub use app::{App, GatewayOptions, Surroundings};
pub use clock::{Clock, TimeSource};
pub use database::Database;
pub use gateway::{Bytes, Transport, TransportEvent, host, router};
pub use hub::Hub;
pub use metrics::Metrics;
pub use reload::ReloadError;
pub use serve::{ServeError, Server};
pub use tls::Tls;
