//! The way from a node to a cluster and back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidelock_server::TimeSource;
use tidelock_store::platform::PlatformError;

use super::Faults;
use crate::random::Random;
use crate::time::VirtualTime;

/// Most milliseconds from an error to the moment at which the put happens all the same.
const LATE_MS_MAX: u64 = 4_000;
/// A slow call takes this many times as long.
const SLOW_FACTOR: u64 = 12;

/// How calls fare.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    /// Most milliseconds of one way.
    pub(crate) delay_ms_max: u64,
    /// How many of a thousand calls take much longer.
    pub(crate) slow_per_mille: u64,
    /// How many of a thousand calls fail, one way or another.
    pub(crate) failing_per_mille: u64,
}

/// What a call meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Fine,
    /// It does not arrive.
    Refused,
    /// It does what was asked; the answer is lost.
    Unanswered,
    /// It is answered with an error, and arrives this many milliseconds later all the same.
    Late(u64),
}

/// A call's way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trip {
    pub(super) to_ms: u64,
    pub(super) back_ms: u64,
    pub(super) fate: Fate,
}

/// The way of one node.
#[derive(Debug)]
pub(crate) struct Path {
    pub(super) time: Arc<VirtualTime>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: Random,
    weather: Weather,
    /// Calls that fail from here on.
    failing: u64,
    /// Nothing gets through before this time.
    cut_until_ms: u64,
    /// For how long nothing gets through once documents were put.
    cut_after_put_ms: Option<u64>,
    faults: Faults,
}

impl Path {
    pub(crate) fn new(time: Arc<VirtualTime>, seed: u64, weather: Weather) -> Arc<Self> {
        let state = State {
            random: Random::new(seed),
            weather,
            failing: 0,
            cut_until_ms: 0,
            cut_after_put_ms: None,
            faults: Faults::default(),
        };
        Arc::new(Self { time, state: Mutex::new(state) })
    }

    /// The next calls fail.
    pub(crate) fn fail(&self, calls: u64) {
        self.state().failing = calls;
    }

    /// Nothing gets through before `until_ms`, feeds included.
    pub(crate) fn cut(&self, until_ms: u64) {
        self.state().cut_until_ms = until_ms;
    }

    /// The next put of documents is done; its answer does not get through, nor anything else for so long.
    pub(crate) fn cut_after_put(&self, for_ms: u64) {
        self.state().cut_after_put_ms = Some(for_ms);
    }

    /// Documents were put. Whether that cuts the way.
    pub(super) fn has_put(&self) -> bool {
        let now_ms = self.time.now_ms();
        let mut state = self.state();
        let Some(for_ms) = state.cut_after_put_ms.take() else { return false };
        state.cut_until_ms = state.cut_until_ms.max(now_ms + for_ms);
        true
    }

    /// Calls take their time, and no more.
    pub(crate) fn heal(&self) {
        let mut state = self.state();
        state.weather.failing_per_mille = 0;
        state.weather.slow_per_mille = 0;
        state.failing = 0;
        state.cut_until_ms = 0;
        state.cut_after_put_ms = None;
    }

    /// What went wrong on the way since the last call.
    pub(crate) fn take_faults(&self) -> Faults {
        std::mem::take(&mut self.state().faults)
    }

    pub(super) fn is_cut(&self) -> bool {
        self.time.now_ms() < self.state().cut_until_ms
    }

    /// How long one way takes.
    pub(super) fn delay_ms(&self) -> u64 {
        let mut state = self.state();
        let State { random, weather, .. } = &mut *state;
        let slow = random.chance(weather.slow_per_mille);
        random.below(weather.delay_ms_max * if slow { SLOW_FACTOR } else { 1 } + 1)
    }

    pub(super) fn draw(&self) -> Trip {
        let cut = self.is_cut();
        let mut state = self.state();
        let State { random, weather, .. } = &mut *state;
        let slow = random.chance(weather.slow_per_mille);
        let most = weather.delay_ms_max * if slow { SLOW_FACTOR } else { 1 };
        let (to_ms, back_ms) = (random.below(most + 1), random.below(most + 1));
        let fails = random.chance(weather.failing_per_mille);
        let (kind, late_ms) = (random.below(3), random.below(LATE_MS_MAX));
        let fate = match (fails || state.failing > 0, kind) {
            _ if cut => Fate::Refused,
            (false, _) => Fate::Fine,
            (true, 0) => Fate::Refused,
            (true, 1) => Fate::Unanswered,
            (true, _) => Fate::Late(late_ms),
        };
        state.failing = state.failing.saturating_sub(1);
        let name = match fate {
            Fate::Fine => slow.then_some("platform-slow"),
            Fate::Refused => Some("platform-refused"),
            Fate::Unanswered => Some("platform-unanswered"),
            Fate::Late(_) => Some("platform-late"),
        };
        if let Some(name) = name {
            *state.faults.entry(name).or_default() += 1;
        }
        Trip { to_ms, back_ms, fate }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nobody answers.
pub(super) fn unavailable(reason: &str) -> PlatformError {
    PlatformError::Unavailable(reason.to_owned())
}
