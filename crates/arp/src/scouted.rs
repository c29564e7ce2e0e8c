//! Asks for neighbours before a sweep does: rping's own ARP requests take no room in the kernel's neighbour table.
//!
//! A packet to an on-link host that nobody has waits in the kernel for three seconds, holds a piece of its socket's
//! buffer and one of the 1024 places of the host's neighbour table. A sweep over thousands of addresses of which half
//! are silent fills both, and then the live ones are refused. So in such runs the first probe to an on-link target is
//! held while its neighbour is asked for by a frame of our own; only who answers is handed to the kernel.

use std::time::Duration;

use rping_engine::{
    Arrival, Departure, Drained, Event, Left, Outgoing, Probe, Reason, Refusal, Sequence, Silence, TargetId, Timestamp,
};
use rping_net::{Clock, Pacing, Waiter};

use crate::{locate_each, ArpProbe, Options, Target};

/// How often a neighbour is asked, as the kernel does (`mcast_solicit`).
const TRIES: u8 = 3;

/// How long after one request the next is sent.
const BETWEEN: Duration = Duration::from_millis(300);

/// How long a wait for the probes' own answers lasts at most while neighbours are being asked for.
const LOOK: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Not on-link, or never to be asked: straight through.
    Through,
    /// On-link, not asked yet. Holds its number in the ARP probe.
    Unknown(u32),
    /// Asked so many times, the last time then.
    Asked { number: u32, tries: u8, last: Timestamp },
    /// Did not answer for this probe; the next probe asks again.
    Absent { number: u32, seq: Sequence },
}

/// A probe kind behind a scout that asks for its on-link neighbours first.
#[derive(Debug)]
pub struct Scouted<P> {
    inner: P,
    scout: Option<ArpProbe>,
    states: Vec<State>,
    /// Which target the ARP probe's targets are.
    places: Vec<u32>,
    asking: usize,
    clock: Clock,
    pass: Vec<Outgoing>,
    ask: Vec<Outgoing>,
    asked: Vec<Departure>,
    heard: Vec<Arrival>,
}

impl<P: Probe> Scouted<P> {
    /// Puts a scout before `inner`, whose targets are `targets` in order.
    ///
    /// # Errors
    /// Gives `inner` back as it was where no frames of our own can be sent, or fewer than `least` targets are on-link.
    pub fn new(inner: P, targets: &[Target], options: &Options, least: usize) -> Result<Scouted<P>, P> {
        let Ok(located) = locate_each(targets, options) else { return Err(inner) };
        let mut states = Vec::with_capacity(targets.len());
        let (mut near, mut places) = (Vec::new(), Vec::new());
        for ((target, located), place) in targets.iter().zip(located).zip(0u32..) {
            states.push(match located {
                Ok(_) => {
                    near.push(*target);
                    places.push(place);
                    State::Unknown(places.len() as u32 - 1)
                }
                Err(_) => State::Through,
            });
        }
        if near.len() < least {
            return Err(inner);
        }
        let options = Options { transmit_stamps: false, ..options.clone() };
        match ArpProbe::open(&near, &options, Waiter::new(Pacing::Eco)) {
            Ok(scout) => Ok(Scouted {
                inner,
                scout: Some(scout),
                states,
                places,
                asking: 0,
                clock: Clock::new(),
                pass: Vec::new(),
                ask: Vec::new(),
                asked: Vec::new(),
                heard: Vec::new(),
            }),
            Err(_) => Err(inner),
        }
    }

    /// The probe kind behind it.
    pub fn inner(&self) -> &P {
        &self.inner
    }

    /// What becomes of one probe: `None` hands it on.
    fn consider(&mut self, out: &Outgoing, now: Timestamp) -> Option<Left> {
        let state = self.states.get_mut(out.target.index())?;
        let number = match *state {
            State::Through => return None,
            State::Asked { tries: TRIES, last, number } if now.since(last) >= BETWEEN => {
                *state = State::Absent { number, seq: out.seq };
                self.asking -= 1;
                return Some(Left::NotSent(Refusal::of(Reason::NoNeighbour)));
            }
            State::Asked { last, .. } if now.since(last) < BETWEEN => return Some(Left::Held),
            State::Absent { seq, .. } if seq == out.seq => {
                return Some(Left::NotSent(Refusal::of(Reason::NoNeighbour)));
            }
            State::Asked { number, .. } | State::Absent { number, .. } | State::Unknown(number) => number,
        };
        let tries = match *state {
            State::Asked { tries, .. } => tries + 1,
            _ => {
                self.asking += 1;
                1
            }
        };
        *state = State::Asked { number, tries, last: now };
        self.ask.push(Outgoing { target: TargetId(number), seq: Sequence(u64::from(tries)), due: now });
        Some(Left::Held)
    }

    /// Without its socket a scout is no use: everybody goes straight through, as without one.
    fn give_up(&mut self) {
        self.scout = None;
        self.asking = 0;
        self.states.fill(State::Through);
    }

    fn listen(&mut self) {
        let Some(scout) = &mut self.scout else { return };
        loop {
            self.heard.clear();
            let Ok(drained) = scout.recv(Timestamp::ZERO, &mut self.heard) else { return self.give_up() };
            for arrival in &self.heard {
                let place = self.places.get(arrival.target.index());
                let state = place.and_then(|place| self.states.get_mut(*place as usize));
                if let (Event::Reply(_), Some(state)) = (arrival.event, state) {
                    self.asking -= usize::from(matches!(state, State::Asked { .. }));
                    *state = State::Through;
                }
            }
            if drained == Drained::All {
                return;
            }
        }
    }
}

impl<P: Probe> Probe for Scouted<P> {
    type Error = P::Error;

    fn send(&mut self, due: &[Outgoing], left: &mut Vec<Departure>) -> Result<(), P::Error> {
        if self.asking > 0 {
            self.listen();
        }
        let now = self.clock.now();
        self.pass.clear();
        for out in due {
            match self.consider(out, now) {
                None => self.pass.push(*out),
                Some(how) => left.push(Departure { target: out.target, seq: out.seq, left: how }),
            }
        }
        if !self.ask.is_empty() {
            self.asked.clear();
            let sent = self.scout.as_mut().map(|scout| scout.send(&self.ask, &mut self.asked));
            self.ask.clear();
            if !matches!(sent, Some(Ok(()))) {
                self.give_up();
            }
        }
        if self.pass.is_empty() {
            return Ok(());
        }
        self.inner.send(&self.pass, left)
    }

    fn recv(&mut self, until: Timestamp, arrived: &mut Vec<Arrival>) -> Result<Drained, P::Error> {
        if self.asking == 0 {
            return self.inner.recv(until, arrived);
        }
        let drained = self.inner.recv(until.min(self.clock.now().plus(LOOK)), arrived)?;
        self.listen();
        Ok(drained)
    }

    fn silent(&mut self, target: TargetId, seq: Sequence, stamped: bool) -> Silence {
        self.inner.silent(target, seq, stamped)
    }

    fn local_drops(&self) -> u64 {
        self.inner.local_drops()
    }

    fn clock_steps(&self) -> u64 {
        self.inner.clock_steps()
    }
}
