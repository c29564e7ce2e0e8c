//! The monotonic clock, and the way from the kernel's wall-clock stamps onto it.
//!
//! The kernel stamps packets with `CLOCK_REALTIME`, which may be stepped at any time; everything in rping runs on
//! `CLOCK_MONOTONIC`. Linux slews both alike, so their difference is constant between steps: it need not be
//! tracked, only be shown not to have moved ([`Realtime::check`], once per batch).

use std::time::{Duration, SystemTime};

use rping_engine::time::{Stamp, Timestamp};

/// The machine's monotonic clock (`CLOCK_MONOTONIC`). Costs nothing to copy; a reading costs about 25 ns.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    /// The clock; there is only one.
    pub const fn new() -> Clock {
        Clock
    }

    /// The present instant.
    pub fn now(self) -> Timestamp {
        Timestamp::from_nanos(u64::try_from(read(libc::CLOCK_MONOTONIC)).unwrap_or(0))
    }

    /// Spins until `at` and returns the instant that came; the present one where `at` has passed.
    pub fn now_from(self, at: Timestamp) -> Timestamp {
        loop {
            let now = self.now();
            if now >= at {
                return now;
            }
            std::hint::spin_loop();
        }
    }

    /// What the wall clock, as it stands now, says about `at`: nanoseconds since 1970-01-01T00:00:00Z. For labels.
    pub fn wall_nanos(self, at: Timestamp) -> i128 {
        i128::from(sample().middle()) + i128::from(at.as_nanos())
    }

    /// The same as a [`SystemTime`].
    pub fn wall(self, at: Timestamp) -> SystemTime {
        let nanos = self.wall_nanos(at);
        let size = Duration::from_nanos(u64::try_from(nanos.unsigned_abs()).unwrap_or(u64::MAX));
        let epoch = SystemTime::UNIX_EPOCH;
        if nanos < 0 {
            epoch.checked_sub(size)
        } else {
            epoch.checked_add(size)
        }
        .unwrap_or(epoch)
    }
}

impl rping_engine::Clock for Clock {
    fn now(&mut self) -> Timestamp {
        Clock::now(*self)
    }
}

fn read(clock: libc::clockid_t) -> i64 {
    let mut at = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `at` is valid for writes; both clocks used here exist on every Linux, so the call cannot fail.
    unsafe { libc::clock_gettime(clock, &raw mut at) };
    at.tv_sec.saturating_mul(1_000_000_000).saturating_add(at.tv_nsec)
}

/// A step smaller than this is indistinguishable from the way the bounds are measured, in nanoseconds.
const TOLERANCE: i64 = 1_000;

/// Bounds of realtime − monotonic, in nanoseconds, from two readings of the one around a reading of the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Bounds {
    low: i64,
    high: i64,
}

impl Bounds {
    fn around(before: i64, real: i64, after: i64) -> Bounds {
        Bounds {
            low: real.saturating_sub(after),
            high: real.saturating_sub(before),
        }
    }

    fn width(self) -> i64 {
        self.high.saturating_sub(self.low)
    }

    fn middle(self) -> i64 {
        self.low.saturating_add(self.width() / 2)
    }

    /// Both hold at once: the tighter bounds, or `None` when the offset moved in between.
    fn narrowed(self, by: Bounds) -> Option<Bounds> {
        let both = Bounds {
            low: self.low.max(by.low),
            high: self.high.min(by.high),
        };
        if both.low <= both.high {
            Some(both)
        } else if both.low.saturating_sub(both.high) <= TOLERANCE {
            Some(self)
        } else {
            None
        }
    }
}

fn measure() -> Bounds {
    let before = read(libc::CLOCK_MONOTONIC);
    let real = read(libc::CLOCK_REALTIME);
    Bounds::around(before, real, read(libc::CLOCK_MONOTONIC))
}

/// The tightest of a few readings: one that was interrupted in the middle bounds nothing.
fn sample() -> Bounds {
    let mut best = measure();
    for _ in 0..8 {
        if best.width() <= 200 {
            break;
        }
        let next = measure();
        if next.width() < best.width() {
            best = next;
        }
    }
    best
}

/// Brings kernel stamps (`CLOCK_REALTIME`) onto the monotonic scale, and does not trust those that a step of the
/// wall clock may have touched. One per receiving thread.
#[derive(Clone, Debug)]
pub struct Realtime {
    offset: Bounds,
    steps: u64,
    /// Stamps up to here may be on the scale before the last step.
    distrusted_until: Timestamp,
    opened: Timestamp,
}

impl Default for Realtime {
    fn default() -> Realtime {
        Realtime::new()
    }
}

impl Realtime {
    /// Measures the offset between the two clocks.
    pub fn new() -> Realtime {
        Realtime {
            offset: sample(),
            steps: 0,
            distrusted_until: Timestamp::ZERO,
            opened: Clock.now(),
        }
    }

    /// To be called once per batch, *after* it was received and before its stamps are used: returns the present
    /// instant, having made sure that the offset has not moved since the last call.
    pub fn check(&mut self) -> Timestamp {
        let before = read(libc::CLOCK_MONOTONIC);
        let real = read(libc::CLOCK_REALTIME);
        let after = read(libc::CLOCK_MONOTONIC);
        let now = Timestamp::from_nanos(u64::try_from(after).unwrap_or(0));
        self.observe(Bounds::around(before, real, after), now, sample);
        now
    }

    fn observe(&mut self, seen: Bounds, now: Timestamp, again: impl Fn() -> Bounds) {
        // Bounds wider than the tolerance (we were interrupted) could hide a step: look again, tighter.
        let seen = if seen.width() > TOLERANCE { again() } else { seen };
        if let Some(held) = self.offset.narrowed(seen) {
            self.offset = held;
            return;
        }
        let seen = again();
        if let Some(held) = self.offset.narrowed(seen) {
            self.offset = held;
            return;
        }
        let moved = seen.middle().saturating_sub(self.offset.middle()).unsigned_abs();
        self.offset = seen;
        self.steps = self.steps.saturating_add(1);
        // A stamp from before a forward step lands up to its size after `now`. Beyond a second, the bound of
        // "not later than the present" sorts it out.
        self.distrusted_until = now.plus(Duration::from_nanos(moved.min(1_000_000_000)));
    }

    /// What the monotonic clock showed when the wall clock showed `real`, nanoseconds.
    pub(crate) fn monotonic(&self, real: i64) -> i64 {
        real.saturating_sub(self.offset.middle())
    }

    /// How often the wall clock was seen to step so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The instant of a kernel stamp (nanoseconds since 1970), or `None` where it cannot be trusted: from before a
    /// step, later than `now` (what [`Realtime::check`] returned), or earlier than `not_before`.
    pub fn instant(&self, real: i64, not_before: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let at = Timestamp::from_nanos(u64::try_from(self.monotonic(real)).ok()?);
        // The offset is known to within its bounds: a stamp may seem that much outside.
        let slack = Duration::from_nanos(u64::try_from(self.offset.width().min(TOLERANCE)).unwrap_or(0));
        if at <= self.distrusted_until || at.plus(slack) < not_before || at > now.plus(slack) {
            return None;
        }
        Some(at.max(not_before).min(now))
    }

    /// The receive stamp of a packet that arrived since this was made: the kernel's if there is one that can be
    /// trusted, else the user-space stamp `now`.
    pub fn received(&self, real: Option<i64>, now: Timestamp) -> Stamp {
        match real.and_then(|real| self.instant(real, self.opened, now)) {
            Some(at) => Stamp::kernel(at),
            None => Stamp::user(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    fn realtime(low: i64, high: i64) -> Realtime {
        Realtime {
            offset: Bounds { low, high },
            steps: 0,
            distrusted_until: Timestamp::ZERO,
            opened: Timestamp::ZERO,
        }
    }

    #[test]
    fn a_reading_within_the_bounds_narrows_them_and_is_no_step() {
        let mut r = realtime(1_000_000, 1_000_100);
        r.observe(
            Bounds {
                low: 1_000_040,
                high: 1_000_140,
            },
            at(5),
            || unreachable!(),
        );
        assert_eq!(
            r.offset,
            Bounds {
                low: 1_000_040,
                high: 1_000_100
            }
        );
        assert_eq!(r.steps(), 0);
    }

    #[test]
    fn a_difference_below_a_microsecond_is_not_called_a_step() {
        let mut r = realtime(1_000_000, 1_000_100);
        r.observe(
            Bounds {
                low: 1_001_000,
                high: 1_001_100,
            },
            at(5),
            || unreachable!(),
        );
        assert_eq!(r.steps(), 0);
    }

    #[test]
    fn a_step_is_counted_once_and_stamps_from_before_it_are_not_trusted() {
        let mut r = realtime(1_000_000, 1_000_100);
        let stepped = Bounds {
            low: 1_050_000,
            high: 1_050_100,
        };
        r.observe(stepped, at(10_000_000), || stepped);
        r.observe(stepped, at(10_000_100), || unreachable!());
        assert_eq!(r.steps(), 1);
        // Taken 1 µs before the step was seen, on the old scale.
        assert_eq!(
            r.received(Some(9_999_000 + 1_000_050), at(10_060_000)),
            Stamp::user(at(10_060_000))
        );
        // Taken 1 µs before it was seen, on the new scale: on the safe side, not trusted either.
        assert_eq!(
            r.received(Some(9_999_000 + 1_050_050), at(10_060_000)),
            Stamp::user(at(10_060_000))
        );
        // Taken well after it.
        assert_eq!(
            r.received(Some(10_055_000 + 1_050_050), at(10_060_000)),
            Stamp::kernel(at(10_055_000))
        );
    }

    #[test]
    fn an_interrupted_reading_is_taken_again_before_it_is_believed() {
        let mut r = realtime(1_000_000, 1_000_100);
        r.observe(
            Bounds {
                low: 0,
                high: 2_000_000,
            },
            at(5),
            || Bounds {
                low: 1_090_000,
                high: 1_090_050,
            },
        );
        assert_eq!(r.steps(), 1);
    }

    #[test]
    fn a_stamp_outside_what_is_possible_falls_back_to_user_time() {
        let r = realtime(1_000, 1_000);
        assert_eq!(r.instant(51_000, at(40_000), at(60_000)), Some(at(50_000)));
        assert_eq!(r.instant(31_000, at(40_000), at(60_000)), None);
        assert_eq!(r.instant(71_000, at(40_000), at(60_000)), None);
        assert_eq!(r.instant(i64::MIN, at(0), at(60_000)), None);
        assert_eq!(r.instant(i64::MAX, at(0), at(60_000)), None);
        assert_eq!(r.received(None, at(60_000)), Stamp::user(at(60_000)));
    }

    #[test]
    fn the_wall_clock_label_of_now_is_the_wall_clock() {
        let said = Clock.wall_nanos(Clock.now());
        let read = i128::from(read(libc::CLOCK_REALTIME));
        assert!((said - read).abs() < 1_000_000_000, "{said} {read}");
        assert!(Clock.wall(Clock.now()) > SystemTime::UNIX_EPOCH);
    }

    #[test]
    fn an_untouched_clock_shows_no_steps() {
        let mut r = Realtime::new();
        let mut last = Timestamp::ZERO;
        for _ in 0..10_000 {
            let now = r.check();
            assert!(now >= last);
            last = now;
        }
        assert_eq!(r.steps(), 0);
        assert!(r.offset.width() < 10_000, "{:?}", r.offset);
    }
}
