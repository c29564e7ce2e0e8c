//! When probes leave, whatever holds them up.

use std::time::Duration;

use rping_engine::{drive, Drove, Engine, LatePolicy, Left, Pace, Plan, Reason, Stop, Timestamp};

use crate::sim::{ms, run, us, Fate, Sim};
use crate::{every, settled};

#[test]
fn a_day_of_probes_is_counted_exactly() {
    let plan = Plan {
        stop: Stop::Count(8_640_000),
        ..every(ms(10))
    };
    let mut sim = Sim::new(|out, _| match out.seq.0 % 3 {
        0 => Fate::lost(),
        _ => Fate::reply(ms(25), out.seq),
    });
    let report = run(plan, 1, &mut sim, &mut ());
    let counts = &report.targets[0].counts;
    assert_eq!(
        (counts.received, counts.lost, counts.not_sent),
        (5_760_000, 2_880_000, 0)
    );
    assert_eq!(report.targets[0].stats.rtt().mean(), Some(25e6));
    assert_eq!(report.lateness_ns.2, Some(0));
    let last_due = 8_639_999 * 10_000_000;
    assert!(report.span.1.as_nanos() >= last_due && report.span.1.as_nanos() <= last_due + 1_000_000_001);
}

#[test]
fn a_short_stall_is_caught_up_and_a_long_one_is_skipped_and_counted() {
    let plan = Plan {
        stop: Stop::Count(2000),
        ..every(ms(1))
    };
    let mut sim = Sim::new(|out, _| Fate::reply(us(50), out.seq));
    sim.stalls = vec![(Timestamp::from_nanos(100_500_000), ms(50))];
    let report = run(plan, 1, &mut sim, &mut Vec::new());
    assert_eq!(
        (
            report.targets[0].counts.received,
            report.targets[0].counts.skipped
        ),
        (2000, 0)
    );
    assert_eq!(report.lateness_ns.2, Some(49_500_000));

    let mut sim = Sim::new(|out, _| Fate::reply(us(50), out.seq));
    sim.stalls = vec![(Timestamp::from_nanos(100_500_000), Duration::from_secs(2))];
    let report = run(plan, 1, &mut sim, &mut Vec::new());
    let counts = &report.targets[0].counts;
    assert_eq!(counts.received, 2000);
    assert!((1890..=1901).contains(&counts.skipped), "{}", counts.skipped);
    assert!(report.lateness_ns.2.is_some_and(|late| late <= 101_000_000));
    assert!(sim.longest_burst <= 32);
}

#[test]
fn what_is_handed_over_ahead_of_time_leaves_exactly_when_it_is_due() {
    for targets in [1, 3] {
        let plan = Plan {
            stop: Stop::Count(1000),
            gap: us(300),
            ..every(ms(1))
        };
        let lateness = |holds| {
            let mut sim = Sim::new(|out, now| {
                assert!(now >= out.due);
                Fate::reply(us(50), out.seq)
            });
            sim.holds = holds;
            sim.preparing = Duration::from_nanos(1_400);
            let report = run(plan, targets, &mut sim, &mut ());
            assert!(report.targets.iter().all(|t| t.counts.received == 1000));
            report.lateness_ns
        };
        assert_eq!(lateness(false).0.map(|ns| ns / 100), Some(14));
        // The first of all is due at once.
        assert_eq!(lateness(true), (Some(0), Some(0), Some(1_400)));
    }
}

#[test]
fn a_sender_told_to_skip_sends_one_probe_after_a_stall() {
    let plan = Plan {
        stop: Stop::Count(100),
        late: LatePolicy::Skip,
        ..every(ms(10))
    };
    let mut sim = Sim::new(|out, _| Fate::reply(us(50), out.seq));
    sim.stalls = vec![(Timestamp::from_nanos(205_000_000), ms(500))];
    let report = run(plan, 1, &mut sim, &mut Vec::new());
    let counts = &report.targets[0].counts;
    assert_eq!((counts.received, counts.skipped, sim.longest_burst), (100, 49, 1));
}

#[test]
fn round_trips_from_the_due_time_show_what_a_stall_hid() {
    let plan = Plan {
        stop: Stop::Count(200),
        ..every(ms(1))
    };
    let mut sim = Sim::new(|out, _| Fate::reply(us(50), out.seq));
    sim.stalls = vec![(Timestamp::from_nanos(100_500_000), ms(60))];
    let report = run(plan, 1, &mut sim, &mut Vec::new());
    let stats = &report.targets[0].stats;
    assert_eq!(stats.rtt().max(), Some(50_000));
    assert_eq!(stats.from_due_max(), Some(59_550_000));
}

#[test]
fn a_closed_loop_sends_the_next_when_the_last_is_settled() {
    let plan = Plan {
        pace: Pace::WhenSettled,
        stop: Stop::Count(1000),
        timeout: ms(100),
        ..Plan::default()
    };
    let mut sim = Sim::new(|out, _| {
        if out.seq.0 % 10 == 0 {
            Fate::lost()
        } else {
            Fate::reply(us(200), out.seq)
        }
    });
    let report = run(plan, 1, &mut sim, &mut Vec::new());
    assert_eq!(
        (report.targets[0].counts.received, report.targets[0].counts.lost),
        (900, 100)
    );
    assert_eq!(report.span.1.as_nanos(), 900 * 200_000 + 100 * 100_000_000);
    assert_eq!(sim.longest_burst, 1);
}

#[test]
fn warm_up_probes_go_one_by_one_and_count_in_no_figure() {
    let plan = Plan {
        stop: Stop::Count(5),
        warmup: 3,
        ..every(ms(10))
    };
    let mut sim = Sim::new(|out, _| Fate::reply(if out.seq.0 < 3 { ms(70) } else { ms(1) }, out.seq));
    let mut records = Vec::new();
    let report = run(plan, 1, &mut sim, &mut records);
    assert_eq!(report.targets[0].counts.attempted(), 5);
    assert_eq!(report.targets[0].stats.rtt().max(), Some(1_000_000));
    let due: Vec<u64> = records
        .iter()
        .filter_map(settled)
        .map(|s| s.due.as_nanos() / 1_000_000)
        .collect();
    assert_eq!(due, [0, 70, 140, 210, 220, 230, 240, 250]);
}

#[test]
fn a_run_by_time_ends_by_time_and_waits_for_what_is_in_flight() {
    let plan = Plan {
        stop: Stop::After(ms(100)),
        ..every(ms(10))
    };
    let mut sim = Sim::new(|out, _| Fate::reply(ms(500), out.seq));
    let report = run(plan, 1, &mut sim, &mut Vec::new());
    assert_eq!(report.targets[0].counts.received, 10);
    assert_eq!(report.span.1.as_nanos(), 590_000_000);
    let plan = Plan {
        pace: Pace::WhenSettled,
        ..plan
    };
    let mut sim = Sim::new(|out, _| Fate::reply(ms(7), out.seq));
    assert_eq!(
        run(plan, 1, &mut sim, &mut Vec::new()).targets[0].counts.received,
        15
    );
}

#[test]
fn silent_targets_delay_nobody() {
    let plan = Plan {
        stop: Stop::Count(3),
        ..every(ms(100))
    };
    let mut records = Vec::new();
    let mut sim = Sim::new(|out, _| {
        if out.target.0 % 2 == 0 {
            Fate::lost()
        } else {
            Fate::reply(us(90), out.seq)
        }
    });
    let report = run(plan, 4096, &mut sim, &mut records);
    for (index, target) in report.targets.iter().enumerate() {
        assert_eq!(
            (target.counts.received, target.counts.lost),
            if index % 2 == 0 { (0, 3) } else { (3, 0) }
        );
    }
    assert_eq!(report.lateness_ns.2, Some(0));
}

#[test]
fn the_bound_over_all_targets_spaces_every_send_and_is_no_lateness() {
    let plan = Plan {
        stop: Stop::Count(2),
        gap: ms(1),
        ..every(ms(10))
    };
    let mut records = Vec::new();
    let mut sim = Sim::new(|out, _| Fate::reply(us(90), out.seq));
    let report = run(plan, 50, &mut sim, &mut records);
    let mut due: Vec<u64> = records
        .iter()
        .filter_map(settled)
        .map(|s| s.due.as_nanos())
        .collect();
    due.sort_unstable();
    assert!(due.windows(2).all(|pair| pair[1] - pair[0] >= 1_000_000));
    assert_eq!(due.len(), 100);
    assert_eq!(due[99], 99_000_000);
    assert_eq!(report.lateness_ns.2, Some(0));
}

#[test]
fn a_deferred_probe_is_offered_again_and_its_lateness_is_known() {
    let plan = Plan {
        stop: Stop::Count(2),
        timeout: ms(100),
        ..every(ms(50))
    };
    let mut sim = Sim::new(|out, now| match (out.seq.0, now.as_nanos()) {
        (0, at) if at < 3_000_000 => Fate {
            left: Some(Left::Deferred),
            then: Vec::new(),
        },
        (1, _) => Fate {
            left: Some(Left::Deferred),
            then: Vec::new(),
        },
        _ => Fate::reply(us(90), out.seq),
    });
    let report = run(plan, 1, &mut sim, &mut Vec::new());
    let counts = &report.targets[0].counts;
    assert_eq!((counts.received, counts.not_sent), (1, 1));
    assert_eq!(report.targets[0].reasons[Reason::NoBuffer as usize], 1);
    assert_eq!(report.lateness_ns.2, Some(3_000_000));
}

#[test]
fn a_held_probe_waits_for_its_turn_however_long() {
    let plan = Plan {
        stop: Stop::Count(1),
        timeout: ms(100),
        ..every(ms(50))
    };
    let mut sim = Sim::new(|out, now| match now.as_nanos() {
        at if at < 5_000_000_000 => Fate {
            left: Some(Left::Held),
            then: Vec::new(),
        },
        _ => Fate::reply(us(90), out.seq),
    });
    let report = run(plan, 3, &mut sim, &mut Vec::new());
    assert!(report.targets.iter().all(|t| t.counts.received == 1));
    assert_eq!(report.lateness_ns.2, Some(0), "its turn is its due time");
}

#[test]
fn what_is_in_flight_when_a_run_is_stopped_is_neither_received_nor_lost() {
    struct StopAt(u32);
    impl rping_engine::Control for StopAt {
        fn wish(&mut self) -> rping_engine::Wish {
            self.0 -= 1;
            if self.0 == 0 {
                rping_engine::Wish::Stop
            } else {
                rping_engine::Wish::Nothing
            }
        }
    }
    let plan = Plan {
        stop: Stop::Never,
        ..every(ms(10))
    };
    let mut sim = Sim::new(|out, _| {
        if out.seq.0 < 4 {
            Fate::reply(us(90), out.seq)
        } else {
            Fate::lost()
        }
    });
    let mut engine = Engine::new(plan, 1, Timestamp::ZERO).unwrap();
    let (mut clock, mut drove) = (sim.clock.clone(), Drove::default());
    let Ok(()) = drive(
        &mut engine,
        &mut sim,
        &mut clock,
        &mut StopAt(20),
        &mut (),
        &mut drove,
    );
    let report = engine.into_report(sim.clock.0.get());
    assert!(drove.stopped);
    assert_eq!(report.targets[0].counts.received, 4);
    assert_eq!(
        (report.targets[0].counts.lost, report.unsettled),
        (0, sim.sent - 4)
    );
}
