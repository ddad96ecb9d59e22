//! The server's clock.

use std::fmt::Debug;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tidelock_store::WallClock;

/// Milliseconds since 1970 that never go back.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System(Arc<WallClock>),
    Given(Arc<dyn TimeSource>),
}

/// A clock that somebody else moves: a simulation's.
pub trait TimeSource: Debug + Send + Sync {
    /// Milliseconds since 1970; never less than before.
    fn now_ms(&self) -> u64;

    /// Ready once it is `at_ms`; until then the task is to be woken at that time.
    fn poll_until(&self, at_ms: u64, context: &mut Context<'_>) -> Poll<()>;
}

impl Default for Clock {
    fn default() -> Self {
        Self(Source::System(Arc::default()))
    }
}

impl Clock {
    /// A clock that follows `source`.
    pub fn following(source: Arc<dyn TimeSource>) -> Self {
        Self(Source::Given(source))
    }

    /// The time.
    pub fn now_ms(&self) -> u64 {
        match &self.0 {
            Source::System(clock) => clock.now_ms(),
            Source::Given(source) => source.now_ms(),
        }
    }

    /// Waits until it is `at_ms`, or some milliseconds later. Safe to drop and call again.
    pub(crate) async fn sleep_until(&self, at_ms: u64) {
        match &self.0 {
            Source::System(_) => {
                tokio::time::sleep(Duration::from_millis(at_ms.saturating_sub(self.now_ms()))).await;
            }
            Source::Given(source) => poll_fn(|context| source.poll_until(at_ms, context)).await,
        }
    }
}
