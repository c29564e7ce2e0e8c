//! Silence: probes whose timeout has passed, in the order in which they left.

use crate::engine::{Engine, Waiting};
use crate::outcome::{Outcome, Sink};
use crate::probe::{SeqRef, Sequence, Silence, TargetId};
use crate::ring::{Flight, State};
use crate::time::{StampSource, Timestamp};

impl Engine {
    /// Settles what left so long before `limit` that its timeout has passed. `limit` is the instant at which a receive
    /// pass began that emptied the sockets, so that no answer that came in time is overtaken by its own timeout.
    pub fn expire(
        &mut self,
        limit: Timestamp,
        now: Timestamp,
        mut judge: impl FnMut(TargetId, Sequence, bool) -> Silence,
        sink: &mut impl Sink,
    ) {
        if self.deadline > limit {
            return;
        }
        while let Some(flight) = self.oldest_flight() {
            if flight.left.plus_nanos(self.timeout) > limit {
                break;
            }
            self.flights.pop_front();
            match judge(flight.target, flight.seq, flight.source != StampSource::User) {
                Silence::Lost => {
                    self.mark(flight.target, flight.seq, State::Silent);
                    self.lose(flight, now, sink);
                }
                Silence::NotSent(refusal) => self.never_left(flight.target, flight.seq, refusal, now, sink),
                Silence::Rejected(refusal) => {
                    self.mark(flight.target, flight.seq, State::Answered);
                    self.refuse(flight, refusal, self.plan.timeout, now, sink);
                }
            }
        }
        self.find_deadline();
    }

    /// When the timeout of the probe in flight that left first ends, as it stands now.
    pub(crate) fn find_deadline(&mut self) {
        self.deadline = self
            .oldest_flight()
            .map_or(Timestamp::NEVER, |flight| flight.left.plus_nanos(self.timeout));
    }

    /// The probe in flight that left first; drops settled ones on the way.
    fn oldest_flight(&mut self) -> Option<Flight> {
        while let Some(&(target, low)) = self.flights.front() {
            let seq = self.sessions[target.index()].widen(SeqRef::Low32(low));
            let slot = seq.and_then(|seq| Some((seq, *self.rings.get(target.index(), seq)?)));
            match slot {
                Some((seq, slot)) if slot.state == State::InFlight => return Some(slot.flight(target, seq)),
                _ => self.flights.pop_front(),
            };
        }
        None
    }

    pub(super) fn lose(&mut self, flight: Flight, now: Timestamp, sink: &mut impl Sink) {
        if flight.seq.0 >= self.plan.warmup {
            let report = &mut self.sessions[flight.target.index()].report;
            report.counts.lost += 1;
            report
                .stats
                .lost(flight.seq.0 - self.plan.warmup, flight.left.as_nanos());
        }
        self.settle(flight, Outcome::Lost, now, sink);
        if self.plan.retries > 0 && flight.seq.0 >= self.plan.warmup {
            self.make_up_for(flight.target, now);
        }
    }

    /// A probe was lost: another one takes its place, where the plan has it so.
    fn make_up_for(&mut self, target: TargetId, now: Timestamp) {
        if self.sessions[target.index()].retries(&self.plan) {
            self.running += 1;
            self.ready.push_back(Waiting {
                again: true,
                ..Waiting::new(target, now)
            });
        }
    }
}
