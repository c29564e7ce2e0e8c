//! What a socket does with the stamps of the interface's own clock: when to trust them, and how long to wait for them.

use std::time::Duration;

use rping_engine::Timestamp;

use crate::clock::{Clock, Realtime};
use crate::phc::Phc;

/// How long an answer is kept for the transmit stamp of its probe: an interface hands that over when its transmission is
/// done, by an interrupt or a worker, so an answer from close by may be here before.
const PATIENCE: Duration = Duration::from_micros(200);
/// After so many waits in vain, one after another, there are no more: answers are taken by the kernel's stamps.
const MOST_IN_VAIN: u32 = 8;
/// A stamp that has not come by then will not: interfaces stamp few packets at a time and leave the others out.
const STALE: Duration = Duration::from_millis(10);

/// The clock of the interface that a socket's packets leave by, or none.
#[derive(Debug, Default)]
pub struct InterfaceClock {
    phc: Option<Phc>,
    steps: u64,
    in_vain: u32,
}

impl InterfaceClock {
    /// Clock number `index` (`/dev/ptpN`). Without a number, or where it cannot be opened, none.
    pub fn open(index: Option<u32>) -> InterfaceClock {
        InterfaceClock {
            phc: index.and_then(|index| Phc::open(index).ok()),
            ..InterfaceClock::default()
        }
    }

    /// Whether there is one that can be trusted.
    pub const fn is_on(&self) -> bool {
        self.phc.is_some()
    }

    /// To be called once per batch, after [`Realtime::check`] and before its stamps are used. `false` once, when the clock
    /// was stepped or cannot be read any more: from then on there is none, and stamps are the kernel's.
    pub fn check(&mut self, realtime: &Realtime, now: Timestamp) -> bool {
        let Some(phc) = &mut self.phc else { return true };
        if phc.check(realtime, now) {
            return true;
        }
        self.phc = None;
        self.steps += 1;
        false
    }

    /// The instant of a stamp of this clock; `None` where there is none, or it is not between `not_before` and `now`.
    pub fn instant(&self, device: Option<i64>, not_before: Timestamp, now: Timestamp) -> Option<Timestamp> {
        self.phc.as_ref()?.instant(device?, not_before, now)
    }

    /// Waits, for 200 µs at most, while `is_owed` reads what came and says that the stamp of a packet which was handed over
    /// since the instant it is given is still missing.
    pub fn wait_while(&mut self, mut is_owed: impl FnMut(Timestamp) -> bool) {
        if self.phc.is_none() || self.in_vain >= MOST_IN_VAIN {
            return;
        }
        let begin = Clock.now();
        while is_owed(begin.minus(STALE)) {
            if Clock.now() >= begin.plus(PATIENCE) {
                self.in_vain += 1;
                return;
            }
            std::hint::spin_loop();
        }
        self.in_vain = 0;
    }

    /// How often it was found stepped, or gone.
    pub const fn steps(&self) -> u64 {
        self.steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_clock_nothing_is_waited_for_and_no_stamp_is_its() {
        for mut none in [InterfaceClock::open(None), InterfaceClock::open(Some(u32::MAX))] {
            none.wait_while(|_| unreachable!("there is nothing to wait for"));
            let now = Clock.now();
            assert!(!none.is_on() && none.check(&Realtime::new(), now));
            assert_eq!(none.instant(Some(1), Timestamp::ZERO, now), None);
            assert_eq!(none.steps(), 0);
        }
    }

    #[test]
    fn a_clock_that_cannot_be_read_is_given_up_once_and_said_to_have_stepped() {
        let mut broken = InterfaceClock {
            phc: Some(Phc::unreadable()),
            ..InterfaceClock::default()
        };
        let (realtime, now) = (Realtime::new(), Clock.now());
        assert!(broken.is_on());
        assert!(!broken.check(&realtime, now));
        assert!(!broken.is_on() && broken.check(&realtime, now));
        assert_eq!(broken.steps(), 1);
    }

    #[test]
    fn stamps_that_do_not_come_are_waited_for_eight_times_and_one_that_does_begins_anew() {
        let mut clock = InterfaceClock {
            phc: Some(Phc::unreadable()),
            ..InterfaceClock::default()
        };
        let mut waits = |owed: bool| {
            let mut asked = 0;
            clock.wait_while(|_| {
                asked += 1;
                owed
            });
            asked > 0
        };
        assert!((1..MOST_IN_VAIN).all(|_| waits(true)));
        assert!(waits(false), "one came in time");
        assert!((0..MOST_IN_VAIN).all(|_| waits(true)));
        assert!(!waits(true) && !waits(false));
    }
}
