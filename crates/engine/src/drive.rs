//! The loop: asks the engine what is due, hands it to the probe kind, hands what arrived back.

use std::time::Duration;

use crate::engine::{Engine, Next};
use crate::outcome::{RunReport, Sink};
use crate::probe::{Drained, Probe};
use crate::time::Timestamp;
use crate::BATCH;

/// Where the loop gets the time from; `rping-net` reads the machine's, a test makes it up.
pub trait Clock {
    /// The present instant on the monotonic clock.
    fn now(&mut self) -> Timestamp;
}

/// What somebody outside the loop wants of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// Go on.
    Nothing,
    /// Show the figures so far and go on.
    Snapshot,
    /// End now.
    Stop,
}

/// Asked once a turn of the loop: must not block.
pub trait Control {
    /// What is wanted.
    fn wish(&mut self) -> Wish {
        Wish::Nothing
    }
    /// Takes the snapshot that was asked for.
    fn snapshot(&mut self, report: RunReport) {
        drop(report);
    }
}

/// Nobody outside wants anything: the run goes on to its end.
impl Control for () {}

/// What the loop noticed about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Drove {
    /// The longest the loop was held up beyond what it asked for, nanoseconds.
    pub longest_stall_ns: u64,
    /// Whether a [`Wish::Stop`] ended it.
    pub stopped: bool,
}

/// How often a flood looks whether this host drops what comes in.
const LOOK_AT_DROPS: Duration = Duration::from_millis(20);

/// Drives `engine` over `probe` until every probe is settled or `control` wants an end.
///
/// # Errors
/// The probe kind's own, which end the run. What was measured until then is in the engine.
pub fn drive<P: Probe>(
    engine: &mut Engine,
    probe: &mut P,
    clock: &mut impl Clock,
    control: &mut impl Control,
    sink: &mut impl Sink,
    drove: &mut Drove,
) -> Result<(), P::Error> {
    let mut due = Vec::with_capacity(BATCH);
    let mut left = Vec::with_capacity(BATCH);
    let mut arrived = Vec::with_capacity(4 * BATCH);
    let (mut drops, mut look_at_drops) = (0, Timestamp::ZERO);
    let lead = if probe.holds() {
        engine.lead()
    } else {
        Duration::ZERO
    };
    loop {
        match control.wish() {
            Wish::Nothing => {}
            Wish::Snapshot => control.snapshot(engine.snapshot(clock.now())),
            Wish::Stop => {
                drove.stopped = true;
                engine.stop();
                return Ok(());
            }
        }
        engine.poll_ahead(clock.now(), lead, &mut due);
        if !due.is_empty() {
            probe.send(&due, &mut left)?;
            due.clear();
            let now = clock.now();
            for departure in left.drain(..) {
                engine.departed(&departure, now, sink);
            }
        }
        let until = match engine.upcoming_ahead(lead) {
            Next::Done => return Ok(()),
            Next::Until(until) => until,
        };
        let began = clock.now();
        let drained = probe.recv(until, &mut arrived)?;
        let now = clock.now();
        if engine.floods() && now >= look_at_drops {
            // Asking costs a system call or two.
            look_at_drops = now.plus(LOOK_AT_DROPS);
            let dropped = probe.local_drops();
            if dropped > drops {
                drops = dropped;
                engine.dropped();
            }
        }
        drove.longest_stall_ns = drove.longest_stall_ns.max(now.nanos_since(until.max(began)));
        for arrival in arrived.drain(..) {
            engine.arrived(&arrival, now, sink);
        }
        if drained == Drained::All {
            let judge = |target, seq, stamped| probe.silent(target, seq, stamped);
            engine.expire(began, now, judge, sink);
        }
    }
}

/// A clock that stands where it is put: for tests and simulations.
#[derive(Clone, Debug, Default)]
pub struct StoppedClock(pub std::rc::Rc<std::cell::Cell<Timestamp>>);

impl Clock for StoppedClock {
    fn now(&mut self) -> Timestamp {
        self.0.get()
    }
}
