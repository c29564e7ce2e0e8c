//! What comes in: departures, answers, refusals and silence, and what each means for the probe it belongs to.

mod expire;

use std::time::Duration;

use crate::engine::{Engine, Waiting};
use crate::outcome::{Aside, Outcome, Record, Sample, Sink};
use crate::probe::{
    Answer, Arrival, Departure, Event, Left, Origin, Outgoing, Reason, Refusal, SeqRef, Sequence, TargetId,
};
use crate::ring::{Flight, State};
use crate::session::Turn;
use crate::time::{nanos, Stamp, StampSource, Timestamp};

/// How long a deferred probe waits before it is offered again.
const RETRY: Duration = Duration::from_millis(1);

/// How long one waits that was told to wait for its turn: thousands may, so they ask less often.
const TURN: Duration = Duration::from_millis(20);

/// How many settled probes the queue of flights may hold beyond as many as are in flight, before it is tidied: they cost
/// eight bytes each, and to look at each as it is settled costs more.
const SETTLED_KEPT: u64 = 256;

impl Engine {
    /// Takes note of what came of an [`Outgoing`].
    pub fn departed(&mut self, departure: &Departure, now: Timestamp, sink: &mut impl Sink) {
        let Departure { target, seq, left } = *departure;
        match left {
            Left::At(stamp) => {
                let Some(slot) = self.rings.get(target.index(), seq) else {
                    return;
                };
                if slot.state != State::Offered {
                    return;
                }
                slot.state = State::InFlight;
                slot.leave(stamp);
                if seq.0 >= self.plan.warmup {
                    let late = stamp.at.nanos_since(slot.due);
                    self.lateness.record(late);
                    self.latest = self.latest.max(Some(late));
                }
                self.flights.push_back((target, seq.low32()));
                self.deadline = self.deadline.min(stamp.at.plus_nanos(self.timeout));
                if self.flights.len() as u64 > 2 * self.in_flight + SETTLED_KEPT {
                    self.find_deadline();
                }
            }
            Left::NotSent(refusal) => self.never_left(target, seq, refusal, now, sink),
            Left::Deferred | Left::Held => {
                let Some(slot) = self.rings.get(target.index(), seq) else {
                    return;
                };
                let again = Outgoing {
                    target,
                    seq,
                    due: slot.due,
                };
                if left == Left::Held {
                    self.held.push_back((now.plus(TURN), again));
                } else if now.since(again.due) > self.plan.timeout {
                    self.never_left(target, seq, Refusal::of(Reason::NoBuffer), now, sink);
                } else {
                    self.deferred.push_back((now.plus(RETRY), again));
                }
            }
        }
    }

    fn never_left(
        &mut self,
        target: TargetId,
        seq: Sequence,
        refusal: Refusal,
        now: Timestamp,
        sink: &mut impl Sink,
    ) {
        let Some(slot) = self.rings.get(target.index(), seq) else {
            return;
        };
        if !matches!(slot.state, State::Offered | State::InFlight) {
            return;
        }
        slot.state = State::Silent;
        if slot.left == slot.due {
            slot.left = now;
        }
        let flight = slot.flight(target, seq);
        let session = &mut self.sessions[target.index()];
        if seq.0 >= self.plan.warmup {
            session.report.counts.not_sent += 1;
            session.refused(refusal);
        }
        self.settle(flight, Outcome::NotSent(refusal), now, sink);
    }

    /// Takes note of an arrival that was handed over at `now`.
    pub fn arrived(&mut self, arrival: &Arrival, now: Timestamp, sink: &mut impl Sink) {
        let Arrival { target, at, event } = *arrival;
        match event {
            Event::Left(seq) => {
                let Some(seq) = self.find(target, seq, at.at) else {
                    return;
                };
                if let Some(slot) = self.rings.get(target.index(), seq) {
                    // A packet cannot leave before it was handed to the kernel: a stamp that says so is not this probe's.
                    if slot.state == State::InFlight && at.at >= slot.left {
                        match at.source {
                            // Kept beside the kernel's: which of them counts is seen by the answer's.
                            StampSource::Hardware => slot.leave_hardware(at.at),
                            _ => slot.leave(at),
                        }
                    }
                }
            }
            Event::Reply(answer) => self.replied(target, answer, at, now, sink),
            Event::Rejected(seq, refusal) => self.rejected(target, seq, refusal, at, now, sink),
            Event::NotSent(seq, refusal) => match self.find(target, seq, at.at) {
                Some(seq) => self.never_left(target, seq, refusal, now, sink),
                None => self.aside(target, None, None, Aside::Unexpected, at.at, sink),
            },
            Event::Over(refusal) => self.cut_off(target, refusal, at, now, sink),
            Event::Corrupt => self.aside(target, None, None, Aside::Corrupt, at.at, sink),
            Event::Unexpected => self.aside(target, None, None, Aside::Unexpected, at.at, sink),
        }
    }

    /// Counts answers that belong to none of the run's targets.
    pub fn arrived_from_nowhere(&mut self, count: u64) {
        self.unexpected_elsewhere += count;
    }

    fn replied(&mut self, target: TargetId, answer: Answer, at: Stamp, now: Timestamp, sink: &mut impl Sink) {
        let from = Some(answer.from);
        let Some(seq) = self.find(target, answer.seq, at.at) else {
            return self.aside(target, None, from, Aside::Unexpected, at.at, sink);
        };
        let Some(flight) = self.open(target, seq, from, at.at, sink) else {
            return;
        };
        let index = target.index();
        // Both stamps of a round trip are of one clock: the interface's where it took both, else neither.
        let by_hardware = answer
            .hardware
            .zip(flight.left_hardware)
            .filter(|(came, left)| came >= left);
        let (left, came) = match by_hardware {
            Some((came, left)) => (Stamp::hardware(left), Stamp::hardware(came)),
            None => (
                Stamp {
                    at: flight.left,
                    source: flight.source,
                },
                at,
            ),
        };
        let elapsed = answer.rtt.map_or_else(|| came.at.nanos_since(left.at), nanos);
        let session = &mut self.sessions[index];
        let measured = seq.0 >= self.plan.warmup;
        if elapsed > self.timeout {
            // It came after the timeout, only nobody had looked yet: lost, and late.
            self.lose(flight, now, sink);
            return self.aside(
                target,
                Some(seq),
                from,
                Aside::Late(Duration::from_nanos(elapsed)),
                at.at,
                sink,
            );
        }
        let held = answer.residence.map(nanos).filter(|held| *held <= elapsed);
        let gross = elapsed;
        let elapsed = elapsed - held.unwrap_or(0);
        let rtt = (answer.syn_retransmits == 0 && !answer.untimed).then_some(elapsed);
        let stamps = match answer.rtt {
            Some(_) => (at.source, at.source),
            None => (left.source, came.source),
        };
        let mut reordered = false;
        if measured {
            let counts = &mut session.report.counts;
            counts.received += 1;
            if answer.truncated {
                counts.truncated += 1;
            }
            if answer.syn_retransmits > 0 {
                counts.syn_lost += u64::from(answer.syn_retransmits);
            }
            let before = session.report.stats.reordered();
            session.report.stats.reply(
                seq.0 - self.plan.warmup,
                rtt,
                elapsed.saturating_add(left.at.nanos_since(flight.due)),
            );
            reordered = session.report.stats.reordered() > before;
            if reordered {
                session.report.counts.reordered += 1;
            }
            session.saw(answer.from);
            if answer.residence.is_some() && rtt.is_some() {
                let residence = session.report.residence.get_or_insert_default();
                residence.record(gross, held);
            }
            if rtt.is_some() {
                session.stamped(stamps.0, stamps.1);
            }
            self.wanted = self.wanted.saturating_sub(1);
        }
        let outcome = Outcome::Reply {
            rtt: rtt.map(Duration::from_nanos),
            stamps,
            from: answer.from,
            truncated: answer.truncated,
            reordered,
            syn_retransmits: answer.syn_retransmits,
            ttl: answer.ttl,
            local_port: answer.local_port,
        };
        self.settle(flight, outcome, now, sink);
    }

    fn rejected(
        &mut self,
        target: TargetId,
        seq: SeqRef,
        refusal: Refusal,
        at: Stamp,
        now: Timestamp,
        sink: &mut impl Sink,
    ) {
        let Some(seq) = self.find(target, seq, at.at) else {
            return self.aside(target, None, refusal.from, Aside::Unexpected, at.at, sink);
        };
        let Some(flight) = self.open(target, seq, refusal.from, at.at, sink) else {
            return;
        };
        let after = at.at.since(flight.left);
        if after > self.plan.timeout {
            self.lose(flight, now, sink);
            return self.aside(target, Some(seq), refusal.from, Aside::Late(after), at.at, sink);
        }
        self.refuse(flight, refusal, after, now, sink);
    }

    fn refuse(
        &mut self,
        flight: Flight,
        refusal: Refusal,
        after: Duration,
        now: Timestamp,
        sink: &mut impl Sink,
    ) {
        let Flight { target, seq, .. } = flight;
        let session = &mut self.sessions[target.index()];
        if seq.0 >= self.plan.warmup {
            session.report.counts.rejected += 1;
            session.refused(refusal);
            if let Some(from) = refusal.from {
                session.saw(from);
            }
        }
        self.settle(flight, Outcome::Rejected { refusal, after }, now, sink);
    }

    /// Ends a target that nothing can reach any more.
    fn cut_off(
        &mut self,
        target: TargetId,
        refusal: Refusal,
        at: Stamp,
        now: Timestamp,
        sink: &mut impl Sink,
    ) {
        let index = target.index();
        let Some(session) = self.sessions.get_mut(index) else {
            return;
        };
        if !session.over {
            session.over = true;
            self.running -= 1;
        }
        let next = session.next.0;
        for seq in next.saturating_sub(self.rings.per_target())..next {
            let seq = Sequence(seq);
            let in_flight = self
                .rings
                .get(index, seq)
                .filter(|slot| slot.state == State::InFlight);
            let Some(slot) = in_flight else { continue };
            let flight = slot.flight(target, seq);
            self.mark(target, seq, State::Answered);
            self.refuse(flight, refusal, at.at.since(flight.left), now, sink);
        }
    }

    /// The probe if it is still in flight, marked as answered; otherwise says what this answer is instead.
    fn open(
        &mut self,
        target: TargetId,
        seq: Sequence,
        from: Option<Origin>,
        at: Timestamp,
        sink: &mut impl Sink,
    ) -> Option<Flight> {
        let index = target.index();
        let next = self.sessions[index].next;
        let within = next.0 - seq.0 <= self.rings.per_target();
        let slot = if within { self.rings.get(index, seq) } else { None };
        let found = slot.map(|slot| {
            let was = *slot;
            if matches!(was.state, State::InFlight | State::Silent) {
                slot.state = State::Answered;
            }
            was
        });
        let aside = match found {
            Some(was) => match was.state {
                State::InFlight => {
                    self.rings.mark_answered(index, seq);
                    return Some(was.flight(target, seq));
                }
                State::Answered => Aside::Duplicate,
                State::Silent => Aside::Late(at.since(was.left)),
                State::Free | State::Offered => Aside::Unexpected,
            },
            None if self.rings.was_answered(index, seq, next) => Aside::Duplicate,
            // Its slot is gone, so it was settled long ago. All that is known of its departure is that it is more
            // than a timeout past.
            None => Aside::Late(self.plan.timeout),
        };
        if matches!(aside, Aside::Late(_)) {
            self.rings.mark_answered(index, seq);
        }
        self.aside(target, Some(seq), from, aside, at, sink);
        None
    }

    #[inline]
    fn find(&mut self, target: TargetId, seq: SeqRef, at: Timestamp) -> Option<Sequence> {
        if seq == SeqRef::Oldest {
            return self.find_oldest(target, at);
        }
        self.sessions.get(target.index())?.widen(seq)
    }

    fn find_oldest(&mut self, target: TargetId, at: Timestamp) -> Option<Sequence> {
        let session = self.sessions.get_mut(target.index())?;
        let rings = std::cell::RefCell::new(&mut self.rings);
        let reach = rings.borrow().per_target();
        session.oldest(
            reach,
            |seq| {
                rings
                    .borrow_mut()
                    .get(target.index(), seq)
                    .is_none_or(|slot| matches!(slot.state, State::Answered | State::Silent))
            },
            |seq| {
                rings
                    .borrow_mut()
                    .get(target.index(), seq)
                    .is_some_and(|slot| slot.state == State::InFlight && slot.left <= at)
            },
        )
    }

    fn mark(&mut self, target: TargetId, seq: Sequence, state: State) {
        if let Some(slot) = self.rings.get(target.index(), seq) {
            slot.state = state;
        }
        if state == State::Answered {
            self.rings.mark_answered(target.index(), seq);
        }
    }

    fn settle(&mut self, flight: Flight, outcome: Outcome, now: Timestamp, sink: &mut impl Sink) {
        let Flight {
            target,
            seq,
            due,
            left,
            ..
        } = flight;
        let session = &mut self.sessions[target.index()];
        session.in_flight -= 1;
        let follows_schedule = session.follows_schedule(&self.plan);
        self.in_flight -= 1;
        if let Some(window) = &mut self.window {
            match outcome {
                Outcome::Reply { rtt, .. } => window.answered(rtt.map(nanos), now),
                Outcome::Rejected { .. } => window.answered(None, now),
                Outcome::Lost | Outcome::NotSent(_) => window.gave_up(),
            }
        }
        let warmup = seq.0 < self.plan.warmup;
        sink.record(&Record::Settled(Sample {
            target,
            seq,
            warmup,
            due,
            left,
            outcome,
        }));
        if !follows_schedule {
            self.turn_after_settling(target, now);
        }
    }

    /// Makes a target's next probe due if it waited for this one to be settled.
    pub(crate) fn turn_after_settling(&mut self, target: TargetId, now: Timestamp) {
        let session = &mut self.sessions[target.index()];
        let was_over = session.over;
        match session.settled(&self.plan, now) {
            Turn::Now | Turn::At(_) => self.ready.push_back(Waiting::new(target, now)),
            Turn::Over if !was_over => self.running -= 1,
            Turn::Over | Turn::AfterSettling => {}
        }
    }

    fn aside(
        &mut self,
        target: TargetId,
        seq: Option<Sequence>,
        from: Option<Origin>,
        aside: Aside,
        at: Timestamp,
        sink: &mut impl Sink,
    ) {
        let Some(session) = self.sessions.get_mut(target.index()) else {
            self.unexpected_elsewhere += 1;
            return;
        };
        // What answers a warm-up probe counts in no figure either.
        if seq.is_none_or(|seq| seq.0 >= self.plan.warmup) {
            let counts = &mut session.report.counts;
            match aside {
                Aside::Late(_) => counts.late += 1,
                Aside::Duplicate => counts.duplicates += 1,
                Aside::Corrupt => counts.corrupt += 1,
                Aside::Unexpected => counts.unexpected += 1,
            }
            if let (Aside::Duplicate, Some(from)) = (aside, from) {
                // A second answerer to one question is worth naming: two owners of one address.
                session.saw(from);
            }
        }
        sink.record(&Record::Aside {
            target,
            seq,
            from,
            at,
            aside,
        });
    }
}
