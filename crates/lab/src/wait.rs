//! Waiting for something to become true, with a limit, instead of sleeping and hoping.
#![allow(
    clippy::disallowed_methods,
    reason = "the lab runs beside the instrument and has a clock of its own: nothing here is measured by rping"
)]

use std::time::{Duration, Instant};

/// Asks `done` again every 200 µs or so until it says yes.
///
/// # Panics
/// When `limit` has passed; the message names `what`.
pub fn wait_until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < limit, "waited {limit:?} in vain until {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Lets `duration` pass: for tests in which elapsed time itself is the condition (an outage of so long).
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Time since some fixed instant of this process; the one clock of the emulator and its log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}
