//! Drives a probe by hand, one batch, without the engine: what it says is what is looked at.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::time::Duration;

use rping_engine::{
    Answer, Arrival, Departure, Drained, Event, Left, Outgoing, Probe, Reason, Refusal, SeqRef, Sequence,
    Silence, TargetId, Timestamp,
};
use rping_net::{Clock, Pacing, Waiter};
use rping_tcp::{Options, TcpProbe};

/// What became of one probe, and how long after it was due.
#[derive(Clone, Copy, Debug)]
pub struct Settled {
    pub outcome: Outcome,
    pub after: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Reply(Answer),
    Rejected(Refusal),
    NotSent(Refusal),
    Lost,
}

impl Outcome {
    pub fn reason(&self) -> Option<(&'static str, Reason)> {
        match self {
            Outcome::Rejected(refusal) => Some(("rejected", refusal.reason)),
            Outcome::NotSent(refusal) => Some(("not_sent", refusal.reason)),
            Outcome::Reply(_) | Outcome::Lost => None,
        }
    }
}

/// Sends one probe to each target, deferred ones again until they leave, and settles each by its own timeout.
pub fn run(probe: &mut TcpProbe, count: usize, timeout: Duration) -> Vec<Settled> {
    let clock = Clock;
    let mut settled: Vec<Option<Settled>> = vec![None; count];
    let mut sent: Vec<Option<Timestamp>> = vec![None; count];
    let mut waiting: Vec<u32> = (0..count as u32).collect();
    let (mut left, mut arrived) = (Vec::new(), Vec::new());
    let begun = clock.now();
    while settled.iter().any(Option::is_none) {
        let due: Vec<Outgoing> = waiting
            .iter()
            .take(32)
            .map(|target| Outgoing {
                target: TargetId(*target),
                seq: Sequence(0),
                due: begun,
            })
            .collect();
        waiting.drain(..due.len());
        probe.send(&due, &mut left).expect("send");
        for Departure { target, left, .. } in left.drain(..) {
            match left {
                Left::At(stamp) => sent[target.index()] = Some(stamp.at),
                Left::NotSent(refusal) => {
                    let outcome = Outcome::NotSent(refusal);
                    settled[target.index()] = Some(Settled {
                        outcome,
                        after: clock.now().since(begun),
                    });
                }
                Left::Deferred | Left::Held => waiting.push(target.0),
            }
        }
        let began = clock.now();
        let until = began.plus(if waiting.is_empty() {
            timeout / 8
        } else {
            Duration::from_millis(1)
        });
        let drained = probe.recv(until, &mut arrived).expect("recv");
        for Arrival { target, event, .. } in arrived.drain(..) {
            let outcome = match event {
                Event::Reply(answer) => Outcome::Reply(answer),
                Event::Rejected(SeqRef::Full(Sequence(0)), refusal) => Outcome::Rejected(refusal),
                Event::NotSent(SeqRef::Full(Sequence(0)), refusal) => Outcome::NotSent(refusal),
                other => panic!("{other:?}"),
            };
            let after = clock.now().since(sent[target.index()].expect("it had left"));
            let before = settled[target.index()].replace(Settled { outcome, after });
            assert!(before.is_none(), "settled twice");
        }
        if drained == Drained::More {
            continue;
        }
        for target in 0..count {
            let Some(at) = sent[target] else { continue };
            if settled[target].is_none() && began.since(at) > timeout {
                let outcome = match probe.silent(TargetId(target as u32), Sequence(0), false) {
                    Silence::Lost => Outcome::Lost,
                    Silence::NotSent(refusal) => Outcome::NotSent(refusal),
                    Silence::Rejected(refusal) => Outcome::Rejected(refusal),
                };
                settled[target] = Some(Settled {
                    outcome,
                    after: began.since(at),
                });
            }
        }
    }
    assert_eq!(probe.in_flight(), 0);
    settled.into_iter().flatten().collect()
}

/// One probe to `to`, from the calling thread's namespace.
pub fn one(to: SocketAddr, timeout: Duration) -> Settled {
    one_with(to, timeout, Options::default())
}

pub fn one_with(to: SocketAddr, timeout: Duration, options: Options) -> Settled {
    let mut probe = TcpProbe::open(&[to], options, Waiter::new(Pacing::Precise)).expect("open");
    run(&mut probe, 1, timeout)[0]
}
