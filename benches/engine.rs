//! What the engine costs per probe, in virtual time: the bound is 60 ns.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use criterion::{criterion_group, criterion_main, BenchmarkId, Criterion, Throughput};
use rping::engine::{
    Answer, Arrival, Departure, Engine, Event, Left, Origin, Pace, Plan, SeqRef, Silence, Stamp, Stop,
    Timestamp,
};

const PROBES: u64 = 100_000;

/// Sends `PROBES` probes in all over `targets` targets; every third is lost when `lossy`.
fn run(plan: Plan, targets: usize, lossy: bool) -> u64 {
    let mut engine = Engine::new(plan, targets, Timestamp::ZERO).expect("a plan that can be run");
    let from = Origin::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let mut due = Vec::new();
    let mut now = Timestamp::ZERO;
    while let rping::engine::Next::Until(until) = engine.upcoming() {
        now = now.max(until);
        engine.expire(now, now, |_, _, _| Silence::Lost, &mut ());
        engine.poll(now, &mut due);
        for out in due.drain(..) {
            let left = Left::At(Stamp::user(now));
            engine.departed(
                &Departure {
                    target: out.target,
                    seq: out.seq,
                    left,
                },
                now,
                &mut (),
            );
            if !(lossy && out.seq.0 % 3 == 0) {
                let at = Stamp::kernel(now.plus(Duration::from_nanos(900)));
                let event = Event::Reply(Answer::new(SeqRef::Full(out.seq), from));
                engine.arrived(
                    &Arrival {
                        target: out.target,
                        at,
                        event,
                    },
                    now,
                    &mut (),
                );
            }
        }
    }
    let report = engine.into_report(now);
    report.targets.iter().map(|t| t.counts.attempted()).sum()
}

fn engine(c: &mut Criterion) {
    let mut group = c.benchmark_group("engine");
    group.throughput(Throughput::Elements(PROBES));
    let every = Pace::Every(Duration::from_micros(10));
    let plan = Plan {
        pace: every,
        stop: Stop::Count(PROBES),
        timeout: Duration::from_millis(10),
        ..Plan::default()
    };
    for (name, lossy) in [
        ("one target, all answered", false),
        ("one target, a third lost", true),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| assert_eq!(run(black_box(plan), 1, lossy), PROBES))
        });
    }
    let plan = Plan {
        pace: Pace::WhenSettled,
        ..plan
    };
    group.bench_function("closed loop", |b| {
        b.iter(|| assert_eq!(run(black_box(plan), 1, false), PROBES))
    });
    let many = 1000;
    let plan = Plan {
        pace: every,
        stop: Stop::Count(PROBES / many as u64),
        ..plan
    };
    group.bench_with_input(BenchmarkId::new("many targets", many), &plan, |b, plan| {
        b.iter(|| assert_eq!(run(black_box(*plan), many, true), PROBES));
    });
    group.finish();
}

criterion_group!(benches, engine);
criterion_main!(benches);
