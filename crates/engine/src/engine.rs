//! The state machine: many targets, one loop, time as an argument.

use std::collections::VecDeque;
use std::time::Duration;

use rping_stats::Histogram;

use crate::outcome::RunReport;
use crate::plan::{Order, Pace, Plan, PlanError, Stop};
use crate::probe::{Outgoing, TargetId};
use crate::ring::Rings;
use crate::session::{Session, Turn};
use crate::time::{nanos, Timestamp};
use crate::window::Gauge;
use crate::BATCH;

/// What the engine waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// An arrival, or this instant: a probe is due or a timeout ends. An instant in the past means: poll again.
    Until(Timestamp),
    /// Every probe is settled.
    Done,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) due: Timestamp,
    pub(crate) target: TargetId,
    /// It makes up for a probe that was lost, and is no part of the schedule.
    pub(crate) again: bool,
}

impl Waiting {
    pub(crate) const fn new(target: TargetId, due: Timestamp) -> Waiting {
        Waiting {
            due,
            target,
            again: false,
        }
    }
}

/// A run of probes to many targets. Never reads a clock, never touches a socket.
///
/// Ask [`Engine::poll`] what is due, tell it what left and what arrived, and let [`Engine::expire`] settle what stays
/// silent; [`crate::drive()`] is that loop over a [`crate::Probe`].
#[derive(Debug)]
pub struct Engine {
    pub(crate) plan: Plan,
    /// The plan's times in nanoseconds: a `Duration` costs a division each time.
    pub(crate) timeout: u64,
    gap: u64,
    reach: u64,
    pub(crate) sessions: Vec<Session>,
    pub(crate) rings: Rings,
    /// Due as soon as possible: first probes, warm-up, closed loop.
    pub(crate) ready: VecDeque<Waiting>,
    /// Due by schedule. In order without sorting: every entry was made one and the same period before its due time.
    pub(crate) paced: VecDeque<Waiting>,
    /// Offered once, could not leave yet: with the time to offer them again.
    pub(crate) deferred: VecDeque<(Timestamp, Outgoing)>,
    /// Waiting for their turn at the probe kind: with the time to offer them again.
    pub(crate) held: VecDeque<(Timestamp, Outgoing)>,
    /// In the order they left: what to expire next. The timeout is one for all, so this is in order of deadline.
    pub(crate) flights: VecDeque<(TargetId, u32)>,
    /// No probe in flight times out before this: looked up again only when something else would wait past it.
    pub(crate) deadline: Timestamp,
    /// The earliest instant the bound over all targets allows the next send.
    pub(crate) gate: Timestamp,
    pub(crate) started: Timestamp,
    pub(crate) running: usize,
    pub(crate) in_flight: u64,
    pub(crate) lateness: Histogram,
    pub(crate) latest: Option<u64>,
    pub(crate) unexpected_elsewhere: u64,
    /// How many may be in flight, where that is what sets the pace.
    pub(crate) window: Option<Gauge>,
    /// Measured probes that may still be answered before there are enough.
    pub(crate) wanted: u64,
}

impl Engine {
    /// A run of `plan` over `targets` targets that begins at `start`.
    ///
    /// # Errors
    /// When the plan is impossible or would need unbounded memory.
    pub fn new(plan: Plan, targets: usize, start: Timestamp) -> Result<Engine, PlanError> {
        let slots = plan.slots(targets)?;
        let mut engine = Engine {
            plan,
            timeout: nanos(plan.timeout),
            gap: nanos(plan.gap),
            reach: nanos(plan.late.reach()),
            sessions: (0..targets).map(|_| Session::new(plan.detail)).collect(),
            rings: Rings::new(targets, slots),
            ready: VecDeque::with_capacity(targets),
            paced: VecDeque::new(),
            deferred: VecDeque::new(),
            held: VecDeque::new(),
            flights: VecDeque::new(),
            deadline: Timestamp::NEVER,
            gate: start,
            started: start,
            running: targets,
            in_flight: 0,
            lateness: Histogram::new(),
            latest: None,
            unexpected_elsewhere: 0,
            window: match plan.pace {
                Pace::Window(window) => Some(Gauge::new(window, plan.timeout, start)),
                _ => None,
            },
            wanted: plan.enough.unwrap_or(u64::MAX),
        };
        for target in 0..targets {
            engine.turn_after_settling(TargetId(target as u32), start);
        }
        if let Order::Shuffled(seed) = plan.order {
            shuffle(engine.ready.make_contiguous(), seed);
        }
        Ok(engine)
    }

    /// Ends one target before anything is sent to it: it cannot be probed at all.
    pub fn exclude(&mut self, target: TargetId) {
        let session = &mut self.sessions[target.index()];
        if !session.over {
            session.over = true;
            self.running -= 1;
        }
    }

    /// Sends nothing more. What is in flight stays so, and is neither received nor lost.
    pub fn stop(&mut self) {
        for session in &mut self.sessions {
            session.over = true;
        }
        self.running = 0;
        self.ready.clear();
        self.paced.clear();
        self.deferred.clear();
        self.held.clear();
    }

    /// How far ahead of its due time a probe may be handed to a kind that holds it until then
    /// ([`crate::Probe::holds`]): a hundredth of what lies between two sends, at least 1.5 µs and at most 100 µs. After a
    /// long sleep the way from waking to sending is cold and takes the longest.
    pub fn lead(&self) -> Duration {
        let Pace::Every(period) = self.plan.pace else {
            return Duration::ZERO;
        };
        let between = (nanos(period) / self.sessions.len().max(1) as u64).max(self.gap);
        Duration::from_nanos((between / 100).max((between / 5).min(1_500)).min(100_000))
    }

    /// As [`Engine::poll`]; where nothing is due, the probes that fall due next, all at one instant, if that is within
    /// `lead`.
    pub fn poll_ahead(&mut self, now: Timestamp, lead: Duration, due: &mut Vec<Outgoing>) {
        self.poll(now, due);
        if !due.is_empty() || lead.is_zero() {
            return;
        }
        if let Some((_, at)) = self.earliest().filter(|(_, at)| *at <= now.plus(lead)) {
            self.poll(at, due);
        }
    }

    /// This host has dropped what came in: where a window sets the pace, it gives way.
    pub fn dropped(&mut self) {
        if let Some(window) = &mut self.window {
            window.dropped();
        }
    }

    /// Whether a window sets the pace, and gives way to what [`Engine::dropped`] tells it.
    pub fn floods(&self) -> bool {
        matches!(self.plan.pace, Pace::Window(window) if window.adapts())
    }

    /// Whether the run was ended because enough probes were answered.
    pub fn has_enough(&self) -> bool {
        self.wanted == 0
    }

    /// Appends the probes that are due at `now`, at most [`BATCH`] in all.
    pub fn poll(&mut self, now: Timestamp, due: &mut Vec<Outgoing>) {
        if let Some(window) = &mut self.window {
            window.look(now);
        }
        while due.len() < BATCH && self.deferred.front().is_some_and(|(again, _)| *again <= now) {
            due.extend(self.deferred.pop_front().map(|(_, outgoing)| outgoing));
        }
        while due.len() < BATCH && self.held.front().is_some_and(|(again, _)| *again <= now) {
            let Some((_, mut outgoing)) = self.held.pop_front() else {
                break;
            };
            // Waiting for its turn is part of the schedule, as under a bound over all targets: it is no lateness.
            outgoing.due = now;
            if let Some(slot) = self.rings.get(outgoing.target.index(), outgoing.seq) {
                slot.due = now;
                slot.left = now;
            }
            due.push(outgoing);
        }
        while due.len() < BATCH {
            let Some((is_ready, at)) = self.earliest() else {
                return;
            };
            if at > now {
                return;
            }
            let popped = if is_ready {
                self.ready.pop_front()
            } else {
                self.paced.pop_front()
            };
            let Some(waiting) = popped else { return };
            due.extend(self.launch(waiting, at, now));
        }
    }

    /// The next send: whether it is from the ready queue, and when the bound over all targets lets it go.
    #[inline]
    fn earliest(&self) -> Option<(bool, Timestamp)> {
        let (is_ready, due) = match (self.ready.front(), self.paced.front()) {
            (Some(ready), Some(paced)) => (ready.due <= paced.due, ready.due.min(paced.due)),
            (Some(ready), None) => (true, ready.due),
            (None, Some(paced)) => (false, paced.due),
            (None, None) => return None,
        };
        if self.window.as_ref().is_some_and(Gauge::is_full) {
            return None;
        }
        Some((is_ready, if self.gap == 0 { due } else { due.max(self.gate) }))
    }

    #[inline]
    fn launch(&mut self, waiting: Waiting, at: Timestamp, now: Timestamp) -> Option<Outgoing> {
        if waiting.again {
            return self.launch_again(waiting.target, at, now);
        }
        let session = &mut self.sessions[waiting.target.index()];
        if session.over {
            return None;
        }
        if self.window.is_some() {
            return self.launch_in_window(waiting.target, at, now);
        }
        let oldest = Timestamp::from_nanos(now.as_nanos().saturating_sub(self.reach));
        let due = if at > waiting.due {
            // The bound over all targets held it back: that is the schedule now, not lateness.
            session.shift(at.since(waiting.due));
            at
        } else if at < oldest && self.plan.pace != Pace::WhenSettled && self.plan.stop != Stop::Count(1) {
            session.skip_to(&self.plan, oldest).unwrap_or(at).max(at)
        } else {
            at
        };
        if session.is_past_end(&self.plan, due) {
            session.over = true;
            self.running -= 1;
            return None;
        }
        if self.gap != 0 {
            // After a stall the bound is not made up for beyond what the late policy allows.
            self.gate = self.gate.max(due).max(oldest).plus_nanos(self.gap);
        }
        let seq = session.next;
        let sent = self.rings.offer(waiting.target.index(), seq, due);
        if sent {
            session.next = seq.next();
            session.in_flight += 1;
            self.in_flight += 1;
        } else {
            // More in flight than the plan can have: only when deferred probes pile up. The slot is left out, and counted.
            session.report.counts.skipped += 1;
        }
        match session.offered(&self.plan) {
            Turn::At(due) => self.paced.push_back(Waiting::new(waiting.target, due)),
            Turn::Now => self.ready.push_back(Waiting::new(waiting.target, now)),
            Turn::Over => self.running -= 1,
            Turn::AfterSettling => {}
        }
        sent.then_some(Outgoing {
            target: waiting.target,
            seq,
            due,
        })
    }

    /// A probe in place of one that was lost.
    fn launch_again(&mut self, target: TargetId, at: Timestamp, now: Timestamp) -> Option<Outgoing> {
        self.running -= 1;
        let due = if self.window.is_some() { now } else { at };
        if self.gap != 0 {
            self.gate = self.gate.max(due).plus_nanos(self.gap);
        }
        let outgoing = self.launch_at(target, due);
        if outgoing.is_none() {
            self.sessions[target.index()].report.counts.skipped += 1;
        }
        outgoing
    }

    /// The next probe of a target where there is room in the window: due now, whenever its turn came.
    fn launch_in_window(&mut self, target: TargetId, at: Timestamp, now: Timestamp) -> Option<Outgoing> {
        let session = &mut self.sessions[target.index()];
        if session.is_past_end(&self.plan, now) {
            session.over = true;
            self.running -= 1;
            return None;
        }
        let Some(outgoing) = self.launch_at(target, now) else {
            // The slot's last probe is silent and its timeout runs: the next comes after it.
            if let Some(window) = &mut self.window {
                window.block();
            }
            self.ready.push_front(Waiting::new(target, at));
            return None;
        };
        if self.gap != 0 {
            self.gate = self.gate.max(now).plus_nanos(self.gap);
        }
        match self.sessions[target.index()].offered(&self.plan) {
            Turn::Now | Turn::At(_) => self.ready.push_back(Waiting::new(target, now)),
            Turn::Over => self.running -= 1,
            Turn::AfterSettling => {}
        }
        Some(outgoing)
    }

    /// Takes a slot for the next probe of a target; `None` while the slot is in use.
    fn launch_at(&mut self, target: TargetId, due: Timestamp) -> Option<Outgoing> {
        let session = &mut self.sessions[target.index()];
        let seq = session.next;
        if !self.rings.offer(target.index(), seq, due) {
            return None;
        }
        session.next = seq.next();
        session.in_flight += 1;
        self.in_flight += 1;
        if let Some(window) = &mut self.window {
            window.launched(due);
        }
        Some(Outgoing { target, seq, due })
    }

    /// What to wait for.
    pub fn upcoming(&mut self) -> Next {
        self.upcoming_ahead(Duration::ZERO)
    }

    /// What to wait for, where probes are taken over up to `lead` before they are due.
    pub fn upcoming_ahead(&mut self, lead: Duration) -> Next {
        if self.has_enough() || (self.running == 0 && self.in_flight == 0) {
            return Next::Done;
        }
        let mut until = self.earliest().map_or(Timestamp::NEVER, |(_, at)| at.minus(lead));
        for queue in [&self.deferred, &self.held] {
            if let Some((again, _)) = queue.front() {
                until = until.min(*again);
            }
        }
        if let Some(window) = &mut self.window {
            if window.is_full() {
                window.kept_back();
                until = until.min(window.patience_ends());
            }
        }
        if self.deadline < until {
            self.find_deadline();
            until = until.min(self.deadline);
        }
        Next::Until(until)
    }

    /// How many probes are in flight.
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// The plan this run follows.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Probes a second over all targets that the plan asks for; `None` for a closed loop.
    pub fn rate(&self) -> Option<f64> {
        let Pace::Every(period) = self.plan.pace else {
            return None;
        };
        let wanted = self.sessions.len() as f64 / period.as_secs_f64();
        Some(if self.plan.gap.is_zero() {
            wanted
        } else {
            wanted.min(1.0 / self.plan.gap.as_secs_f64())
        })
    }

    /// The figures as they stand at `now`, the run going on.
    pub fn snapshot(&self, now: Timestamp) -> RunReport {
        self.report_with(self.sessions.iter().map(|s| s.report.clone()).collect(), now)
    }

    /// The figures of a run that has ended at `now`.
    pub fn into_report(mut self, now: Timestamp) -> RunReport {
        let sessions = std::mem::take(&mut self.sessions);
        self.report_with(sessions.into_iter().map(|s| s.report).collect(), now)
    }

    fn report_with(&self, targets: Vec<crate::outcome::TargetReport>, now: Timestamp) -> RunReport {
        RunReport {
            targets,
            lateness_ns: (
                self.lateness.quantile(0.5),
                self.lateness.quantile(0.99),
                self.latest,
            ),
            span: (self.started, now),
            unexpected_elsewhere: self.unexpected_elsewhere,
            unsettled: self.in_flight,
            local_drops: 0,
            clock_steps: 0,
            longest_stall_ns: 0,
        }
    }
}

/// Puts the entries into an order that looks like chance and is the same for the same `seed` (Fisher and Yates, with
/// splitmix64).
fn shuffle(entries: &mut [Waiting], seed: u64) {
    let mut state = seed;
    for last in (1..entries.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // Scaled, not cut: as even as 64 bits make it.
        let pick = (u128::from(mixed) * (last as u128 + 1)) >> 64;
        entries.swap(last, pick as usize);
    }
}
