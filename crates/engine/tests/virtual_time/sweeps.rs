//! Many targets once, and many probes as fast as they are answered.

use std::collections::HashSet;
use std::time::Duration;

use rping_engine::{drive, Drove, Engine, Order, Pace, Plan, RunReport, Stop, Window};

use crate::every;
use crate::sim::{ms, run, us, Fate, Sim};

fn received(report: &RunReport) -> u64 {
    report.targets.iter().map(|target| target.counts.received).sum()
}

#[test]
fn a_lost_probe_is_made_up_for_as_often_as_the_plan_says_and_each_counts() {
    let plan = Plan {
        stop: Stop::Count(1),
        retries: 2,
        ..every(Duration::from_secs(1))
    };
    // The first target answers at once, the second its second probe, the third never.
    let mut sim = Sim::new(|out, _| match (out.target.0, out.seq.0) {
        (0, _) | (1, 1) => Fate::reply(ms(1), out.seq),
        _ => Fate::lost(),
    });
    let report = run(plan, 3, &mut sim, &mut ());
    let counts: Vec<(u64, u64)> = report
        .targets
        .iter()
        .map(|target| (target.counts.received, target.counts.lost))
        .collect();
    assert_eq!(counts, [(1, 0), (1, 1), (0, 3)]);
    assert_eq!(sim.sent, 6);
}

#[test]
fn retries_keep_to_the_bound_over_all_targets_and_to_the_schedule_of_a_longer_run() {
    let plan = Plan {
        stop: Stop::Count(10),
        retries: 3,
        gap: ms(10),
        timeout: ms(50),
        ..every(ms(100))
    };
    let mut last = None;
    let mut sim = Sim::new(move |out, now| {
        if let Some(last) = last.replace(now) {
            assert!(now.since(last) >= ms(10), "{:?}", now.since(last));
        }
        match out.seq.0 {
            2..5 => Fate::lost(),
            _ => Fate::reply(ms(1), out.seq),
        }
    });
    let report = run(plan, 4, &mut sim, &mut ());
    for target in &report.targets {
        assert_eq!((target.counts.received, target.counts.lost), (10, 3));
    }
}

#[test]
fn a_run_ends_when_there_are_answers_enough_and_what_is_in_flight_counts_nowhere() {
    let plan = Plan {
        stop: Stop::Count(1),
        enough: Some(3),
        gap: ms(1),
        ..every(Duration::from_secs(1))
    };
    let mut sim = Sim::new(|out, _| match out.target.0 % 2 {
        0 => Fate::reply(us(100), out.seq),
        _ => Fate::lost(),
    });
    let mut engine = Engine::new(plan, 1000, sim.clock.0.get()).expect("a plan");
    let mut clock = sim.clock.clone();
    let Ok(()) = drive(
        &mut engine,
        &mut sim,
        &mut clock,
        &mut (),
        &mut (),
        &mut Drove::default(),
    );
    assert!(engine.has_enough());
    let report = engine.into_report(clock.0.get());
    assert_eq!((received(&report), report.unsettled, sim.sent), (3, 2, 5));
}

#[test]
fn a_shuffled_order_asks_each_target_once_and_is_the_same_for_the_same_number() {
    let order = |order| {
        let plan = Plan {
            stop: Stop::Count(1),
            order,
            ..every(Duration::from_secs(1))
        };
        let mut asked = Vec::new();
        let mut sim = Sim::new(|out, _| {
            asked.push(out.target.0);
            Fate::reply(ms(1), out.seq)
        });
        run(plan, 1000, &mut sim, &mut ());
        drop(sim);
        asked
    };
    let (listed, shuffled) = (order(Order::Listed), order(Order::Shuffled(7)));
    assert_eq!(listed, (0..1000).collect::<Vec<_>>());
    assert_eq!(shuffled.iter().collect::<HashSet<_>>().len(), 1000);
    assert_eq!(shuffled, order(Order::Shuffled(7)));
    assert_ne!(shuffled, order(Order::Shuffled(8)));
    let neighbours = shuffled
        .windows(2)
        .filter(|pair| pair[0].abs_diff(pair[1]) == 1)
        .count();
    assert!(neighbours < 20, "{neighbours} of 1000 follow their neighbour");
}

#[test]
fn a_fixed_window_keeps_as_many_in_flight_as_it_is_wide_and_sends_them_all() {
    for targets in [1, 3] {
        let plan = Plan {
            pace: Pace::Window(Window::fixed(10)),
            stop: Stop::Count(1000),
            ..Plan::default()
        };
        let mut sim = Sim::new(|out, _| match out.seq.0 % 50 {
            7 => Fate::lost(),
            _ => Fate::reply(ms(1), out.seq),
        });
        let report = run(plan, targets, &mut sim, &mut ());
        assert_eq!(received(&report), 980 * targets as u64);
        assert_eq!(sim.sent, 1000 * targets as u64);
        let took = report.span.1.since(report.span.0).as_secs_f64();
        // 980 answers of 1 ms and 20 silences of 1 s a target, ten at a time.
        let least = targets as f64 * (0.98 + 20.0) / 10.0;
        assert!(took >= least && took < 2.0 * least, "{took} s");
    }
}

#[test]
fn a_flood_does_not_wait_for_what_is_lost_on_the_way() {
    let plan = Plan {
        pace: Pace::Window(Window::FLOOD),
        stop: Stop::Count(200_000),
        ..Plan::default()
    };
    let mut sim = Sim::new(|out, _| match out.seq.0 % 100 {
        7 => Fate::lost(),
        _ => Fate::reply(ms(1), out.seq),
    });
    let report = run(plan, 1, &mut sim, &mut ());
    assert_eq!(
        (received(&report), report.targets[0].counts.lost),
        (198_000, 2_000)
    );
    // 1024 in flight at 1 ms would take 0.2 s, one at a time 200 s.
    assert!(report.span.1.since(report.span.0) < Duration::from_secs(5));
}

#[test]
fn a_flood_by_time_ends_by_time() {
    let plan = Plan {
        pace: Pace::Window(Window::FLOOD),
        stop: Stop::After(ms(500)),
        ..Plan::default()
    };
    let mut sim = Sim::new(|out, _| Fate::reply(ms(1), out.seq));
    let report = run(plan, 2, &mut sim, &mut ());
    assert!(received(&report) > 100_000);
    assert!(report.span.1.since(report.span.0) < ms(510));
}
