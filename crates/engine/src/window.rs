//! How many probes may be in flight at once, where no schedule says when they leave.

use std::time::Duration;

use crate::plan::Window;
use crate::time::{nanos, Timestamp};

/// The window of a run: a bound that never changes, or one that follows what comes back.
///
/// The latter grows by half while answers keep up with it, and gives way when they do not: when this host drops what
/// comes in, when even the quickest of a window's answers takes far longer than the quickest before (a queue stands on
/// the way), and when nothing comes any more at all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gauge {
    size: u32,
    most: u32,
    adapts: bool,
    /// Probes that have been handed over and are not settled, but for those that were written off.
    outstanding: u32,
    /// Probes written off: nothing came for so long that they are taken to be lost, though their timeout runs on.
    written_off: u64,
    /// Something left or came last then.
    moved: Timestamp,
    /// The window kept a probe back since it last grew.
    was_full: bool,
    /// No slot is free: the next probe waits until one is settled.
    blocked: bool,
    answers: u32,
    quickest: u64,
    quickest_of_window: u64,
    /// When [`Gauge::quickest`] was found.
    found: Timestamp,
    timeout: u64,
}

/// What is in flight is written off when nothing has come for so many times the quickest round trip …
const PATIENCE: u64 = 8;
/// … and at least for so long: longer than a scheduler's hiccup on the other side.
const LEAST_PATIENCE: Duration = Duration::from_millis(10);
/// The quickest round trip is found anew this often: paths change.
const FORGET: Duration = Duration::from_secs(10);
/// Round trips that differ by less say nothing of queues: hosts take so long to wake.
const NOISE: u64 = 200_000;

impl Gauge {
    pub(crate) fn new(window: Window, timeout: Duration, now: Timestamp) -> Gauge {
        Gauge {
            size: window.first.max(1),
            most: window.most.max(1),
            adapts: window.adapts(),
            outstanding: 0,
            written_off: 0,
            moved: now,
            was_full: false,
            blocked: false,
            answers: 0,
            quickest: u64::MAX,
            quickest_of_window: u64::MAX,
            found: now,
            timeout: nanos(timeout),
        }
    }

    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.blocked || self.outstanding >= self.size
    }

    /// A probe was kept back.
    pub(crate) fn kept_back(&mut self) {
        self.was_full = true;
    }

    /// There was no slot for a probe.
    pub(crate) fn block(&mut self) {
        self.blocked = true;
    }

    #[inline]
    pub(crate) fn launched(&mut self, now: Timestamp) {
        self.outstanding += 1;
        self.moved = now;
    }

    /// A probe was settled by an answer that took `rtt` nanoseconds, where that is known.
    #[inline]
    pub(crate) fn answered(&mut self, rtt: Option<u64>, now: Timestamp) {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.blocked = false;
        self.moved = now;
        if !self.adapts {
            return;
        }
        self.quickest_of_window = self.quickest_of_window.min(rtt.unwrap_or(u64::MAX));
        self.answers += 1;
        if self.answers >= self.size {
            self.judge(now);
        }
    }

    /// A window's worth of answers has come.
    fn judge(&mut self, now: Timestamp) {
        let found = std::mem::replace(&mut self.quickest_of_window, u64::MAX);
        self.answers = 0;
        if found < self.quickest || now.since(self.found) >= FORGET {
            self.quickest = found;
            self.found = now;
        }
        if found > self.quickest.saturating_mul(2).saturating_add(NOISE) {
            self.shrink(self.size - self.size / 4);
        } else if self.was_full {
            self.size = (self.size + self.size / 2 + 1).min(self.most);
        }
        self.was_full = false;
    }

    /// A probe was settled without an answer.
    pub(crate) fn gave_up(&mut self) {
        self.blocked = false;
        if self.written_off > 0 {
            self.written_off -= 1;
        } else {
            self.outstanding = self.outstanding.saturating_sub(1);
        }
    }

    /// This host dropped what came in.
    pub(crate) fn dropped(&mut self) {
        if self.adapts {
            self.shrink(self.size / 2);
        }
    }

    fn shrink(&mut self, size: u32) {
        self.size = size.max(1);
        self.answers = 0;
        self.was_full = false;
    }

    /// When what is in flight is written off if nothing comes before; never where the window does not change.
    pub(crate) fn patience_ends(&self) -> Timestamp {
        if !self.adapts || self.outstanding == 0 {
            return Timestamp::NEVER;
        }
        let patience = match self.quickest {
            u64::MAX => self.timeout,
            quickest => quickest.saturating_mul(PATIENCE).max(nanos(LEAST_PATIENCE)),
        };
        self.moved.plus_nanos(patience.min(self.timeout))
    }

    /// Looks whether it has come to that.
    pub(crate) fn look(&mut self, now: Timestamp) {
        if now < self.patience_ends() {
            return;
        }
        self.written_off += u64::from(self.outstanding);
        self.outstanding = 0;
        self.moved = now;
        self.shrink(self.size / 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn at(ns: u64) -> Timestamp {
        Timestamp::from_nanos(ns)
    }

    fn gauge(window: Window) -> Gauge {
        Gauge::new(window, Duration::from_secs(1), Timestamp::ZERO)
    }

    /// Fills the window and answers all of it, each after `rtt`.
    fn round(gauge: &mut Gauge, rtt: u64) {
        let size = gauge.size;
        while !gauge.is_full() {
            gauge.launched(at(0));
        }
        gauge.kept_back();
        (0..size).for_each(|_| gauge.answered(Some(rtt), at(rtt)));
    }

    #[test]
    fn a_window_that_answers_keep_up_with_grows_to_its_bound_and_a_fixed_one_stays() {
        let mut adaptive = gauge(Window::FLOOD);
        (0..30).for_each(|_| round(&mut adaptive, MS));
        assert_eq!(adaptive.size, Window::FLOOD.most);
        let mut fixed = gauge(Window::fixed(7));
        (0..30).for_each(|_| round(&mut fixed, MS));
        fixed.dropped();
        assert_eq!((fixed.size, fixed.patience_ends()), (7, Timestamp::NEVER));
    }

    #[test]
    fn a_standing_queue_and_local_drops_make_it_give_way() {
        let mut gauge = gauge(Window::FLOOD);
        (0..30).for_each(|_| round(&mut gauge, MS));
        round(&mut gauge, 3 * MS);
        assert_eq!(gauge.size, 768);
        gauge.dropped();
        assert_eq!(gauge.size, 384);
        (0..40).for_each(|_| gauge.dropped());
        assert_eq!(gauge.size, 1, "never shut");
    }

    #[test]
    fn what_nothing_came_of_is_written_off_once_and_its_timeout_frees_nothing_twice() {
        let mut gauge = gauge(Window::FLOOD);
        round(&mut gauge, MS);
        while !gauge.is_full() {
            gauge.launched(at(2 * MS));
        }
        let lost = u64::from(gauge.outstanding);
        gauge.look(at(3 * MS));
        assert!(gauge.is_full());
        gauge.look(at(12 * MS));
        assert_eq!((gauge.outstanding, gauge.written_off), (0, lost));
        gauge.launched(at(13 * MS));
        (0..lost).for_each(|_| gauge.gave_up());
        assert_eq!((gauge.outstanding, gauge.written_off), (1, 0));
    }
}
