//! One target's part of a run: where its schedule stands, and its counters.

use std::time::Duration;

use rping_stats::Recorder;

use crate::outcome::TargetReport;
use crate::plan::{Detail, Pace, Plan, Schedule, Stop};
use crate::probe::{Origin, Refusal, SeqRef, Sequence};
use crate::time::{StampSource, Timestamp};

/// What a target does next once a probe has been sent or settled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Turn {
    /// A probe is due now: warm-up and closed loop.
    Now,
    /// The schedule names the time.
    At(Timestamp),
    /// Nothing before the probe in flight is settled.
    AfterSettling,
    /// No more probes.
    Over,
}

/// A schedule under way.
#[derive(Clone, Copy, Debug)]
struct Course {
    /// When slot 0 is due. May move later, when the bound over all targets holds probes back.
    start: Timestamp,
    /// The next slot.
    slot: u64,
    /// When it began: what a run by time is counted from.
    began: Timestamp,
    /// How many probes more than the plan says: those that made up for lost ones.
    again: u32,
}

impl Course {
    fn schedule(&self, plan: &Plan) -> Schedule {
        let period = match plan.pace {
            Pace::Every(period) => crate::time::nanos(period).max(1),
            Pace::WhenSettled | Pace::Window(_) => 1,
        };
        Schedule {
            start: self.start,
            period,
        }
    }

    fn is_finished(&self, plan: &Plan, next: Sequence, due: Timestamp) -> bool {
        match plan.stop {
            Stop::Count(n) => next.0.saturating_sub(plan.warmup) >= n.saturating_add(self.again.into()),
            Stop::After(time) => due >= self.began.plus(time),
            Stop::Never => false,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Session {
    /// The number of the next probe.
    pub(crate) next: Sequence,
    /// The lowest probe that may still be unanswered: where [`SeqRef::Oldest`] looks first.
    floor: u64,
    /// Where the schedule stands, once the warm-up is done.
    course: Option<Course>,
    pub(crate) in_flight: u32,
    pub(crate) over: bool,
    pub(crate) report: TargetReport,
}

impl Session {
    pub(crate) fn new(detail: Detail) -> Session {
        let stats = match detail {
            Detail::Full => Recorder::full(),
            Detail::Brief => Recorder::brief(),
        };
        Session {
            next: Sequence(0),
            floor: 0,
            course: None,
            in_flight: 0,
            over: false,
            report: TargetReport::new(stats),
        }
    }

    /// Whether the schedule alone makes probes due from here on: no answer does.
    #[inline]
    pub(crate) fn follows_schedule(&self, plan: &Plan) -> bool {
        self.course.is_some() && plan.pace != Pace::WhenSettled
    }

    /// Called when a probe has been settled, or at the start: does that make another one due?
    pub(crate) fn settled(&mut self, plan: &Plan, now: Timestamp) -> Turn {
        if self.over {
            return Turn::Over;
        }
        if self.next.0 < plan.warmup {
            return if self.in_flight == 0 {
                Turn::Now
            } else {
                Turn::AfterSettling
            };
        }
        match self.course {
            None if self.in_flight > 0 => Turn::AfterSettling,
            None => {
                self.course = Some(Course {
                    start: now,
                    slot: 0,
                    began: now,
                    again: 0,
                });
                Turn::Now
            }
            Some(course) if plan.pace == Pace::WhenSettled && self.in_flight == 0 => {
                if course.is_finished(plan, self.next, now) {
                    self.over = true;
                    Turn::Over
                } else {
                    Turn::Now
                }
            }
            Some(_) => Turn::AfterSettling,
        }
    }

    /// Called when a probe has been handed over: when is the next one due?
    #[inline]
    pub(crate) fn offered(&mut self, plan: &Plan) -> Turn {
        let Some(course) = &mut self.course else {
            return Turn::AfterSettling;
        };
        course.slot += 1;
        let due = course.schedule(plan).due(course.slot);
        // Without a schedule, the end of a run by time is known only when the next probe's turn comes.
        let is_finished = match (plan.pace, plan.stop) {
            (Pace::Window(_), Stop::After(_)) => false,
            _ => course.is_finished(plan, self.next, due),
        };
        match (plan.pace, plan.stop) {
            // By time, a closed loop's end is known only when its next probe's turn comes.
            (Pace::WhenSettled, Stop::After(_) | Stop::Never) => Turn::AfterSettling,
            _ if is_finished => {
                self.over = true;
                Turn::Over
            }
            (Pace::WhenSettled, Stop::Count(_)) => Turn::AfterSettling,
            (Pace::Every(_), _) => Turn::At(due),
            (Pace::Window(_), _) => Turn::Now,
        }
    }

    /// A measured probe was lost: whether another one makes up for it.
    pub(crate) fn retries(&mut self, plan: &Plan) -> bool {
        let Some(course) = &mut self.course else {
            return false;
        };
        let again = course.again < plan.retries;
        course.again += u32::from(again);
        again
    }

    /// Leaves out the slots that are older than `oldest`, but for the last one due; returns the new due time.
    pub(crate) fn skip_to(&mut self, plan: &Plan, oldest: Timestamp) -> Option<Timestamp> {
        let course = self.course.as_mut()?;
        let schedule = course.schedule(plan);
        let reach = schedule.slot_at(oldest);
        if reach > course.slot {
            self.report.counts.skipped += reach - course.slot;
            course.slot = reach;
        }
        Some(schedule.due(course.slot))
    }

    /// Moves the whole schedule later: the bound over all targets did not let this probe go when it was due.
    pub(crate) fn shift(&mut self, by: Duration) {
        if let Some(course) = &mut self.course {
            course.start = course.start.plus(by);
        }
    }

    /// Whether the next probe's due time, now known to be `due`, is past the end of a run by time.
    pub(crate) fn is_past_end(&self, plan: &Plan, due: Timestamp) -> bool {
        match (plan.stop, &self.course) {
            (Stop::After(_), Some(course)) => course.is_finished(plan, self.next, due),
            _ => false,
        }
    }

    /// Widens what a reply carried to a whole sequence number; `None` when no such probe was sent.
    pub(crate) fn widen(&self, seq: SeqRef) -> Option<Sequence> {
        let last = self.next.0.checked_sub(1)?;
        let low = |low: u64, bits: u32| {
            let span = 1u64 << bits;
            let candidate = (last & !(span - 1)) | low;
            if candidate <= last {
                Some(candidate)
            } else {
                candidate.checked_sub(span)
            }
        };
        match seq {
            SeqRef::Full(seq) => (seq.0 <= last).then_some(seq),
            SeqRef::Low16(n) => low(u64::from(n), 16).map(Sequence),
            SeqRef::Low32(n) => low(u64::from(n), 32).map(Sequence),
            SeqRef::Oldest => None,
        }
    }

    /// The oldest probe for which `is_open` holds, else the newest that was sent. Amortised O(1): what is settled
    /// is passed over once.
    pub(crate) fn oldest(
        &mut self,
        reach: u64,
        mut is_settled: impl FnMut(Sequence) -> bool,
        mut is_open: impl FnMut(Sequence) -> bool,
    ) -> Option<Sequence> {
        let last = self.next.0.checked_sub(1)?;
        self.floor = self.floor.max(self.next.0.saturating_sub(reach));
        while self.floor < self.next.0 && is_settled(Sequence(self.floor)) {
            self.floor += 1;
        }
        (self.floor..self.next.0)
            .map(Sequence)
            .find(|seq| is_open(*seq))
            .or(Some(Sequence(last)))
    }

    #[inline]
    pub(crate) fn saw(&mut self, from: Origin) {
        if self.report.from.first() != Some(&from) {
            self.report.from.add(from);
        }
    }

    pub(crate) fn refused(&mut self, refusal: Refusal) {
        self.report.reasons[refusal.reason as usize] += 1;
        match &mut self.report.last_refusal {
            Some(last) => **last = refusal,
            last => *last = Some(Box::new(refusal)),
        }
    }

    pub(crate) fn stamped(&mut self, tx: StampSource, rx: StampSource) {
        self.report.stamps.count((tx, rx));
    }
}
