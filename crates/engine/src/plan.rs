//! When probes are to be sent, and for how long.

use std::time::Duration;

use crate::time::{nanos, Timestamp};

/// When a target's probes end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// After so many measured probes per target.
    Count(u64),
    /// When this time has passed since the target's schedule began.
    After(Duration),
    /// When interrupted.
    Never,
}

/// The time between the scheduled sends to one target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// An absolute schedule: probe n is due at start + n × this.
    Every(Duration),
    /// The next as soon as the last is answered or lost.
    WhenSettled,
    /// The next as soon as there is room among those in flight, over all targets.
    Window(Window),
}

/// How many probes, of all targets together, wait for their answers at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// How many at first.
    pub first: u32,
    /// How many at most. As many as at first: the window never changes. More: it grows while answers keep up and gives
    /// way when they do not.
    pub most: u32,
}

impl Window {
    /// As fast as it goes without loss of our own making.
    pub const FLOOD: Window = Window {
        first: 32,
        most: 1024,
    };

    /// Always as many.
    pub const fn fixed(size: u32) -> Window {
        Window {
            first: size,
            most: size,
        }
    }

    /// Whether it gives way.
    pub const fn adapts(self) -> bool {
        self.first != self.most
    }
}

/// In which order targets have their turns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Order {
    /// As they are listed.
    #[default]
    Listed,
    /// Shuffled, the same for the same number: neighbours in the list, often one box, are not asked in a row.
    Shuffled(u64),
}

/// What a sender does that comes late, because the process was held up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LatePolicy {
    /// Sends at once what is late by no more than this; what is older is skipped and counted, never sent unseen in one burst.
    CatchUp(Duration),
    /// Skips every slot but the newest that is due.
    Skip,
}

impl LatePolicy {
    /// How far back a late sender reaches.
    pub(crate) const fn reach(self) -> Duration {
        match self {
            LatePolicy::CatchUp(most) => most,
            LatePolicy::Skip => Duration::ZERO,
        }
    }
}

/// How much is kept of each target's round-trip times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Detail {
    /// A histogram: percentiles, for one or some targets.
    Full,
    /// Count, minimum, mean, maximum, standard deviation: for sweeps over many thousands.
    Brief,
}

/// The plan of a run, the same for each of its targets.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Plan {
    /// The time between sends to one target.
    pub pace: Pace,
    /// When a target's probes end.
    pub stop: Stop,
    /// A probe that is not answered by then is lost.
    pub timeout: Duration,
    /// Probes per target that come first, one after another as each is settled, and count in no figure.
    pub warmup: u64,
    /// What to do about slots that were missed.
    pub late: LatePolicy,
    /// The least time between any two scheduled sends of the run; zero for no bound.
    pub gap: Duration,
    /// What is kept.
    pub detail: Detail,
    /// How many probes that were lost are made up for by another one, per target. Each counts like any other probe.
    pub retries: u32,
    /// The run is over when so many measured probes were answered, over all targets.
    pub enough: Option<u64>,
    /// Who is first.
    pub order: Order,
}

impl Default for Plan {
    /// Four probes a second apart, lost after a second.
    fn default() -> Plan {
        Plan {
            pace: Pace::Every(Duration::from_secs(1)),
            stop: Stop::Count(4),
            timeout: Duration::from_secs(1),
            warmup: 0,
            // Long enough for a scheduler's hiccup at any rate, short enough that a resumed process does not flood.
            late: LatePolicy::CatchUp(Duration::from_millis(100)),
            gap: Duration::ZERO,
            detail: Detail::Full,
            retries: 0,
            enough: None,
            order: Order::Listed,
        }
    }
}

/// In-flight slots a run may hold in all; 24 bytes each.
pub const MOST_IN_FLIGHT: u64 = 1 << 23;

/// A second's worth of silence at the highest rate that one thread reaches.
const FLOOD_SLOTS: u64 = 1 << 18;

/// Why a plan cannot be run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PlanError {
    /// Too many probes would wait for answers at once.
    #[error("up to {wanted} probes would be in flight at once, and rping keeps at most {MOST_IN_FLIGHT}: shorten the timeout or lengthen the interval")]
    TooManyInFlight {
        /// How many there would be.
        wanted: u64,
    },
    /// An interval of zero in an absolute schedule.
    #[error("an interval of zero is no schedule: use the closed loop, where the next probe follows the last one's answer")]
    NoInterval,
    /// A timeout of zero.
    #[error("a timeout of zero loses every probe")]
    NoTimeout,
}

impl Plan {
    /// In-flight slots one target needs: a power of two.
    ///
    /// # Errors
    /// When the plan is impossible or would need unbounded memory.
    pub fn slots(&self, targets: usize) -> Result<u32, PlanError> {
        if self.timeout.is_zero() {
            return Err(PlanError::NoTimeout);
        }
        let need = match self.pace {
            Pace::WhenSettled => 1,
            // A probe that stays silent keeps its slot until its timeout, while many others come and go.
            Pace::Window(window) => {
                let most = if window.adapts() {
                    FLOOD_SLOTS
                } else {
                    FLOOD_SLOTS.min(1024 * u64::from(window.most))
                };
                most.min(MOST_IN_FLIGHT / targets.max(1) as u64).max(1)
            }
            Pace::Every(period) if period.is_zero() => return Err(PlanError::NoInterval),
            Pace::Every(period) => (nanos(self.timeout).saturating_add(nanos(self.late.reach()))
                / nanos(period))
            .saturating_add(2),
        };
        let all = match self.stop {
            Stop::Count(n) => {
                n.saturating_add(self.warmup)
                    .saturating_add(if n > 1 { self.retries.into() } else { 0 })
            }
            _ => u64::MAX,
        };
        // With few targets a longer memory is cheap, and tells a late answer from a duplicate for longer.
        let least = if targets <= 1024 { 64 } else { 1 };
        let slots = need.max(least).min(all.max(1));
        let wanted = slots.saturating_mul(targets as u64);
        let slots = slots.checked_next_power_of_two().unwrap_or(u64::MAX);
        if slots.saturating_mul(targets as u64) > MOST_IN_FLIGHT {
            return Err(PlanError::TooManyInFlight { wanted });
        }
        Ok(slots as u32)
    }
}

/// An absolute schedule: slot n is due at start + n × period, a pure function, so that lateness never adds up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Schedule {
    /// When slot 0 is due.
    pub(crate) start: Timestamp,
    /// Nanoseconds between slots, at least 1.
    pub(crate) period: u64,
}

impl Schedule {
    pub(crate) fn due(&self, slot: u64) -> Timestamp {
        Timestamp::from_nanos(
            self.start
                .as_nanos()
                .saturating_add(self.period.saturating_mul(slot)),
        )
    }

    /// The last slot that is due at `at`; 0 before the start.
    pub(crate) fn slot_at(&self, at: Timestamp) -> u64 {
        at.nanos_since(self.start) / self.period
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_exact_after_a_year_at_ten_microseconds() {
        let schedule = Schedule {
            start: Timestamp::from_nanos(7),
            period: 10_000,
        };
        let year = 365 * 86_400 * 100_000;
        assert_eq!(schedule.due(year).as_nanos(), 7 + year * 10_000);
        assert_eq!(schedule.slot_at(schedule.due(year)), year);
    }

    #[test]
    fn a_hundred_thousand_a_second_needs_three_megabytes() {
        let plan = Plan {
            pace: Pace::Every(Duration::from_micros(10)),
            stop: Stop::Never,
            ..Plan::default()
        };
        assert_eq!(plan.slots(1), Ok(131_072));
    }

    #[test]
    fn an_unbounded_number_in_flight_is_refused() {
        let plan = Plan {
            pace: Pace::Every(Duration::from_micros(10)),
            timeout: Duration::from_secs(86_400),
            stop: Stop::Never,
            ..Plan::default()
        };
        assert!(matches!(plan.slots(1), Err(PlanError::TooManyInFlight { .. })));
        assert_eq!(
            Plan {
                stop: Stop::Count(100),
                ..plan
            }
            .slots(1),
            Ok(128)
        );
    }
}
