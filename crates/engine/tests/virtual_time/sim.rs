//! A link made of numbers: what is sent comes back as the script says, and time passes only when somebody waits.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use rping_engine::drive::StoppedClock;
use rping_engine::{
    drive, Answer, Arrival, Clock, Departure, Drained, Drove, Engine, Event, Left, Origin, Outgoing, Plan,
    Probe, Refusal, RunReport, SeqRef, Sequence, Silence, Sink, Stamp, TargetId, Timestamp,
};

pub const FROM: Origin = Origin::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST));

pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub fn us(n: u64) -> Duration {
    Duration::from_micros(n)
}

/// What the link makes of one probe.
#[derive(Default)]
pub struct Fate {
    pub left: Option<Left>,
    /// What arrives, each so long after the send.
    pub then: Vec<(Duration, Event)>,
}

impl Fate {
    pub fn lost() -> Fate {
        Fate::default()
    }

    pub fn reply(after: Duration, seq: Sequence) -> Fate {
        Fate {
            left: None,
            then: vec![(after, reply(seq))],
        }
    }
}

pub fn reply(seq: Sequence) -> Event {
    Event::Reply(Answer::new(SeqRef::Full(seq), FROM))
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key(Timestamp, u64);

pub struct Sim<F> {
    pub clock: StoppedClock,
    script: F,
    coming: BinaryHeap<Reverse<(Key, usize)>>,
    arrivals: Vec<Arrival>,
    free: Vec<usize>,
    made: u64,
    /// The process is held up: when, for how long. In order.
    pub stalls: Vec<(Timestamp, Duration)>,
    pub sent: u64,
    pub longest_burst: usize,
    /// Whether it takes probes ahead of time and holds them.
    pub holds: bool,
    /// How long it takes to get a packet ready.
    pub preparing: Duration,
    pub silence: Silence,
    pub judged: Vec<(TargetId, Sequence)>,
}

impl<F: FnMut(&Outgoing, Timestamp) -> Fate> Sim<F> {
    pub fn new(script: F) -> Sim<F> {
        Sim {
            clock: StoppedClock::default(),
            script,
            coming: BinaryHeap::new(),
            arrivals: Vec::new(),
            free: Vec::new(),
            made: 0,
            stalls: Vec::new(),
            sent: 0,
            longest_burst: 0,
            holds: false,
            preparing: Duration::ZERO,
            silence: Silence::Lost,
            judged: Vec::new(),
        }
    }

    fn pass_to(&mut self, at: Timestamp) {
        let mut now = self.clock.now().max(at);
        while self.stalls.first().is_some_and(|(when, _)| *when <= now) {
            let (when, held_up) = self.stalls.remove(0);
            now = now.max(when.plus(held_up));
        }
        self.clock.0.set(now);
    }

    fn push(&mut self, at: Timestamp, arrival: Arrival) {
        let place = self.free.pop().unwrap_or(self.arrivals.len());
        if place == self.arrivals.len() {
            self.arrivals.push(arrival);
        } else {
            self.arrivals[place] = arrival;
        }
        self.made += 1;
        self.coming.push(Reverse((Key(at, self.made), place)));
    }
}

impl<F: FnMut(&Outgoing, Timestamp) -> Fate> Probe for Sim<F> {
    type Error = Infallible;

    fn send(&mut self, due: &[Outgoing], left: &mut Vec<Departure>) -> Result<(), Infallible> {
        let handed_over = self.clock.now();
        let last_due = due.iter().map(|out| out.due).max().unwrap_or(handed_over);
        if last_due > handed_over {
            assert!(self.holds, "handed over before it was due");
            assert!(
                due.iter().all(|out| out.due == last_due),
                "held together, due apart"
            );
        }
        let now = handed_over.plus(self.preparing).max(last_due);
        self.clock.0.set(now);
        self.longest_burst = self.longest_burst.max(due.len());
        for out in due {
            let fate = (self.script)(out, now);
            let how = fate.left.unwrap_or(Left::At(Stamp::user(now)));
            self.sent += u64::from(matches!(how, Left::At(_)));
            left.push(Departure {
                target: out.target,
                seq: out.seq,
                left: how,
            });
            for (after, event) in fate.then {
                let at = now.plus(after);
                self.push(
                    at,
                    Arrival {
                        target: out.target,
                        at: Stamp::kernel(at),
                        event,
                    },
                );
            }
        }
        Ok(())
    }

    fn recv(&mut self, until: Timestamp, arrived: &mut Vec<Arrival>) -> Result<Drained, Infallible> {
        let first = self.coming.peek().map(|Reverse((key, _))| key.0);
        assert!(
            first.is_some() || until != Timestamp::NEVER,
            "the engine waits for ever"
        );
        self.pass_to(first.map_or(until, |at| at.min(until)));
        let now = self.clock.now();
        while let Some(Reverse((key, place))) = self.coming.peek() {
            if key.0 > now {
                break;
            }
            arrived.push(self.arrivals[*place]);
            self.free.push(*place);
            self.coming.pop();
        }
        Ok(Drained::All)
    }

    fn holds(&self) -> bool {
        self.holds
    }

    fn silent(&mut self, target: TargetId, seq: Sequence, _: bool) -> Silence {
        if self.judged.len() < 1000 {
            self.judged.push((target, seq));
        }
        self.silence
    }
}

/// Runs a plan over a script to its end, checks the closed sum, and returns the figures.
pub fn run<F: FnMut(&Outgoing, Timestamp) -> Fate>(
    plan: Plan,
    targets: usize,
    sim: &mut Sim<F>,
    records: &mut impl Sink,
) -> RunReport {
    let mut engine = Engine::new(plan, targets, sim.clock.now()).expect("a plan that can be run");
    let mut clock = sim.clock.clone();
    let Ok(()) = drive(
        &mut engine,
        sim,
        &mut clock,
        &mut (),
        records,
        &mut Drove::default(),
    );
    let report = engine.into_report(clock.now());
    for target in &report.targets {
        let c = &target.counts;
        assert_eq!(c.attempted(), c.received + c.rejected + c.lost + c.not_sent);
        assert_eq!(
            u64::from(target.reasons.iter().sum::<u32>()),
            c.rejected + c.not_sent
        );
        assert_eq!(
            target.stats.rtt().count(),
            c.received - target.counts.syn_lost.min(c.received)
        );
    }
    assert_eq!(report.unsettled, 0);
    report
}

pub fn refusal() -> Refusal {
    Refusal::of(rping_engine::Reason::PortClosed)
}

/// A small seeded generator (splitmix64): the same run every time.
pub struct Seeded(pub u64);

impl Seeded {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}
