//! The engine in virtual time: days pass in a second, and every count is known beforehand.

mod sim;

use std::cell::Cell;
use std::time::Duration;

use rping_engine::{
    drive, Answer, Aside, Counts, Drove, Engine, Event, LatePolicy, Left, Outcome, Pace, Plan, Reason,
    Record, Refusal, SeqRef, Sequence, Silence, Stop, TargetId, Timestamp,
};
use sim::{ms, refusal, reply, run, us, Fate, Seeded, Sim, FROM};

fn every(period: Duration) -> Plan {
    Plan {
        pace: Pace::Every(period),
        ..Plan::default()
    }
}

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
fn a_sixteen_bit_sequence_wraps_and_mixes_nothing_up() {
    // 10 000 probes in flight, and the wire carries 16 bits alone.
    let plan = Plan {
        stop: Stop::Count(300_000),
        ..every(us(100))
    };
    let mut random = Seeded(7);
    let lost = Cell::new(0);
    let mut sim = Sim::new(|out, _| {
        if random.chance(10) {
            lost.set(lost.get() + 1);
            return Fate::lost();
        }
        let delay = us(random.next() % 1_000_000);
        Fate {
            left: None,
            then: vec![(
                delay,
                Event::Reply(Answer::new(SeqRef::Low16(out.seq.low16()), FROM)),
            )],
        }
    });
    let report = run(plan, 1, &mut sim, &mut Vec::new());
    let counts = &report.targets[0].counts;
    assert_eq!((counts.received, counts.lost), (300_000 - lost.get(), lost.get()));
    assert_eq!((counts.duplicates, counts.late, counts.unexpected), (0, 0, 0));
    assert!(counts.reordered > 0);
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
fn a_stamp_before_the_send_makes_no_negative_round_trip() {
    let plan = Plan {
        stop: Stop::Count(1),
        ..every(ms(1))
    };
    let mut sim = Sim::new(|out, now| Fate {
        left: Some(Left::At(rping_engine::Stamp::user(now.plus(ms(5))))),
        then: vec![(ms(1), reply(out.seq))],
    });
    let report = run(plan, 1, &mut sim, &mut Vec::new());
    assert_eq!(report.targets[0].stats.rtt().max(), Some(0));
}

/// One probe, two things that happen to it, in every order; what is counted in the end.
#[test]
fn every_order_of_reply_late_duplicate_and_error_has_one_meaning() {
    let lost = Counts {
        lost: 1,
        ..Counts::default()
    };
    let got = Counts {
        received: 1,
        ..Counts::default()
    };
    let no = Counts {
        rejected: 1,
        ..Counts::default()
    };
    type Case = (&'static str, [(u64, bool); 2], Counts);
    let table: [Case; 8] = [
        (
            "reply, reply",
            [(1, true), (2, true)],
            Counts {
                duplicates: 1,
                ..got.clone()
            },
        ),
        (
            "reply, reply after the timeout",
            [(1, true), (150, true)],
            Counts {
                duplicates: 1,
                ..got.clone()
            },
        ),
        (
            "reply, error",
            [(1, true), (2, false)],
            Counts {
                duplicates: 1,
                ..got.clone()
            },
        ),
        (
            "error, reply",
            [(1, false), (2, true)],
            Counts {
                duplicates: 1,
                ..no.clone()
            },
        ),
        (
            "error, error",
            [(1, false), (2, false)],
            Counts { duplicates: 1, ..no },
        ),
        (
            "late, late",
            [(150, true), (160, true)],
            Counts {
                late: 1,
                duplicates: 1,
                ..lost.clone()
            },
        ),
        (
            "late, late error",
            [(150, true), (160, false)],
            Counts {
                late: 1,
                duplicates: 1,
                ..lost.clone()
            },
        ),
        (
            "late error, late",
            [(150, false), (160, true)],
            Counts {
                late: 1,
                duplicates: 1,
                ..lost
            },
        ),
    ];
    for (name, events, wanted) in table {
        let plan = Plan {
            stop: Stop::Count(2),
            timeout: ms(100),
            ..every(Duration::from_secs(1))
        };
        let mut sim = Sim::new(|out, _| {
            if out.seq.0 == 1 {
                return Fate {
                    left: Some(Left::NotSent(refusal())),
                    then: Vec::new(),
                };
            }
            let event = |(after, is_reply): (u64, bool)| {
                let event = if is_reply {
                    reply(out.seq)
                } else {
                    Event::Rejected(SeqRef::Full(out.seq), refusal())
                };
                (ms(after), event)
            };
            Fate {
                left: None,
                then: events.map(event).to_vec(),
            }
        });
        let report = run(plan, 1, &mut sim, &mut Vec::new());
        assert_eq!(
            report.targets[0].counts,
            Counts {
                not_sent: 1,
                ..wanted
            },
            "{name}"
        );
    }
}

#[test]
fn what_was_not_asked_is_unexpected_and_damage_settles_nothing() {
    let plan = Plan {
        stop: Stop::Count(3),
        ..every(ms(10))
    };
    let mut sim = Sim::new(|out, _| Fate {
        left: None,
        then: vec![
            (us(1), reply(Sequence(out.seq.0 + 1000))),
            (us(2), Event::Corrupt),
            (us(3), Event::Unexpected),
        ],
    });
    let report = run(plan, 1, &mut sim, &mut Vec::new());
    let counts = &report.targets[0].counts;
    assert_eq!(
        (counts.received, counts.lost, counts.unexpected, counts.corrupt),
        (0, 3, 6, 3)
    );
}

#[test]
fn an_answer_that_waited_unread_counts_by_its_own_stamp() {
    // The process is held up over the timeout of both probes; one answer had come in time, the other had not.
    let plan = Plan {
        stop: Stop::Count(2),
        timeout: ms(100),
        ..every(ms(1))
    };
    let mut sim = Sim::new(|out, _| Fate::reply(if out.seq.0 == 0 { ms(50) } else { ms(120) }, out.seq));
    sim.stalls = vec![(Timestamp::from_nanos(20_000_000), ms(300))];
    let mut records = Vec::new();
    let report = run(plan, 1, &mut sim, &mut records);
    let counts = &report.targets[0].counts;
    assert_eq!((counts.received, counts.lost, counts.late), (1, 1, 1));
    assert_eq!(report.targets[0].stats.rtt().max(), Some(50_000_000));
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
fn silence_is_judged_by_the_probe_kind() {
    let plan = Plan {
        stop: Stop::Count(2),
        timeout: ms(100),
        ..every(ms(50))
    };
    let mut sim = Sim::new(|_, _| Fate::lost());
    sim.silence = Silence::NotSent(Refusal::of(Reason::NoNeighbour));
    let report = run(plan, 1, &mut sim, &mut Vec::new());
    assert_eq!(
        (report.targets[0].counts.not_sent, report.targets[0].counts.sent()),
        (2, 0)
    );
    assert_eq!(
        sim.judged,
        [(TargetId(0), Sequence(0)), (TargetId(0), Sequence(1))]
    );
}

#[test]
fn an_answer_without_a_sequence_settles_the_oldest_open_probe() {
    let plan = Plan {
        stop: Stop::Count(3),
        timeout: ms(100),
        ..every(ms(10))
    };
    let mut sim = Sim::new(|out, _| match out.seq.0 {
        0 => Fate::lost(),
        // The second of these finds nothing open: a duplicate of the newest.
        1 => Fate {
            left: None,
            then: vec![(ms(1), Event::Reply(Answer::new(SeqRef::Oldest, FROM)))],
        },
        _ => Fate {
            left: None,
            then: vec![(ms(1), Event::Reply(Answer::new(SeqRef::Oldest, FROM))); 3],
        },
    });
    let mut records = Vec::new();
    let report = run(plan, 1, &mut sim, &mut records);
    let counts = &report.targets[0].counts;
    assert_eq!((counts.received, counts.lost, counts.duplicates), (3, 0, 1));
}

#[test]
fn a_lost_syn_is_a_reply_without_a_round_trip() {
    let plan = Plan {
        stop: Stop::Count(2),
        timeout: Duration::from_secs(3),
        ..every(ms(10))
    };
    let mut sim = Sim::new(|out, _| {
        let syn_retransmits = u8::from(out.seq.0 == 1);
        let answer = Answer {
            rtt: Some(us(40)),
            syn_retransmits,
            ..Answer::new(SeqRef::Full(out.seq), FROM)
        };
        Fate {
            left: None,
            then: vec![(
                if syn_retransmits == 1 { ms(1003) } else { us(44) },
                Event::Reply(answer),
            )],
        }
    });
    let report = run(plan, 1, &mut sim, &mut Vec::new());
    let target = &report.targets[0];
    assert_eq!(
        (target.counts.received, target.counts.syn_lost, target.counts.lost),
        (2, 1, 0)
    );
    assert_eq!(
        (target.stats.rtt().count(), target.stats.rtt().max()),
        (1, Some(40_000))
    );
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

#[test]
fn counts_equal_the_links_own_log_under_every_impairment_at_once() {
    for seed in 0..40 {
        let mut random = Seeded(seed);
        let truth = std::cell::RefCell::new(Counts::default());
        let plan = Plan {
            stop: Stop::Count(5000),
            timeout: ms(200),
            ..every(us(500))
        };
        let mut sim = Sim::new(|out, _| {
            let mut truth = truth.borrow_mut();
            // What comes after the run's end is not waited for: nothing late is made in its last second.
            let has_time = out.seq.0 < 2500;
            if random.chance(3) {
                truth.not_sent += 1;
                return Fate {
                    left: Some(Left::NotSent(refusal())),
                    then: Vec::new(),
                };
            }
            if random.chance(10) {
                truth.lost += 1;
                return Fate::lost();
            }
            if random.chance(5) {
                truth.rejected += 1;
                return Fate {
                    left: None,
                    then: vec![(ms(1), Event::Rejected(SeqRef::Full(out.seq), refusal()))],
                };
            }
            let delay = us(100 + random.next() % 150_000);
            let mut then = Vec::new();
            if has_time && random.chance(5) {
                truth.lost += 1;
                truth.late += 1;
                then.push((delay + ms(200), reply(out.seq)));
            } else if random.chance(4) {
                truth.corrupt += 1;
                truth.lost += 1;
                then.push((delay, Event::Corrupt));
            } else {
                truth.received += 1;
                then.push((delay, reply(out.seq)));
                if has_time && random.chance(6) {
                    truth.duplicates += 1;
                    then.push((delay + us(random.next() % 900_000), reply(out.seq)));
                }
            }
            Fate { left: None, then }
        });
        let report = run(plan, 1, &mut sim, &mut Vec::new());
        let counts = report.targets[0].counts.clone();
        let wanted = Counts {
            reordered: counts.reordered,
            ..truth.borrow().clone()
        };
        assert_eq!(counts, wanted, "seed {seed}");
    }
}

fn settled(record: &Record) -> Option<&rping_engine::Sample> {
    match record {
        Record::Settled(sample) => Some(sample),
        Record::Aside {
            aside: Aside::Late(_) | Aside::Duplicate | Aside::Corrupt | Aside::Unexpected,
            ..
        } => None,
    }
}

#[test]
fn rejections_hold_who_and_how_soon() {
    let plan = Plan {
        stop: Stop::Count(1),
        ..every(ms(10))
    };
    let mut records = Vec::new();
    let mut sim = Sim::new(|out, _| Fate {
        left: None,
        then: vec![(
            ms(3),
            Event::Rejected(
                SeqRef::Low16(out.seq.low16()),
                Refusal {
                    from: Some(FROM),
                    ..refusal()
                },
            ),
        )],
    });
    let report = run(plan, 1, &mut sim, &mut records);
    assert_eq!(report.targets[0].from, [FROM]);
    let outcome = records.iter().find_map(settled).map(|s| s.outcome);
    assert!(matches!(outcome, Some(Outcome::Rejected { after, .. }) if after == ms(3)));
}
