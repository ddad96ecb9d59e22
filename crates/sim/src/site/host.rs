//! What a cluster store needs from its node: time and chance.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};

use tidelock_server::TimeSource;
use tidelock_store::BoxFuture;
use tidelock_store::cluster::Host;

use crate::random::Random;
use crate::time::{SkewedTime, VirtualTime};

/// A node's clock and dice.
pub(super) struct NodeHost {
    /// The clock of its machine, which may be wrong.
    pub(super) clock: SkewedTime,
    pub(super) time: Arc<VirtualTime>,
    pub(super) random: Mutex<Random>,
}

impl Host for NodeHost {
    fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    fn sleep(&self, ms: u64) -> BoxFuture<'static, ()> {
        let time = Arc::clone(&self.time);
        let at_ms = time.now_ms().saturating_add(ms);
        Box::pin(async move { poll_fn(|context| time.poll_until(at_ms, context)).await })
    }

    fn random(&self) -> u64 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).any()
    }
}
