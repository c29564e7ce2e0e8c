//! What becomes of probes, whatever happens to them.

use std::cell::Cell;
use std::time::Duration;

use rping_engine::{
    Answer, Counts, Event, Left, Outcome, Plan, Reason, Refusal, SeqRef, Sequence, Silence, Stop, TargetId,
    Timestamp,
};

use crate::sim::{ms, refusal, reply, run, us, Fate, Seeded, Sim, FROM};
use crate::{every, settled};

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
    let odd = |late, counts: &Counts| {
        let mut counts = counts.clone();
        (counts.late, counts.duplicates) = (late, 1);
        counts
    };
    type Case = (&'static str, [(u64, bool); 2], Counts);
    let table: [Case; 8] = [
        ("reply, reply", [(1, true), (2, true)], odd(0, &got)),
        (
            "reply, reply after the timeout",
            [(1, true), (150, true)],
            odd(0, &got),
        ),
        ("reply, error", [(1, true), (2, false)], odd(0, &got)),
        ("error, reply", [(1, false), (2, true)], odd(0, &no)),
        ("error, error", [(1, false), (2, false)], odd(0, &no)),
        ("late, late", [(150, true), (160, true)], odd(1, &lost)),
        ("late, late error", [(150, true), (160, false)], odd(1, &lost)),
        ("late error, late", [(150, false), (160, true)], odd(1, &lost)),
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
        let mut wanted = truth.borrow().clone();
        wanted.reordered = counts.reordered;
        assert_eq!(counts, wanted, "seed {seed}");
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
    assert_eq!(*report.targets[0].from, [FROM]);
    let outcome = records.iter().find_map(settled).map(|s| s.outcome);
    assert!(matches!(outcome, Some(Outcome::Rejected { after, .. }) if after == ms(3)));
}

#[test]
fn what_the_far_end_held_is_taken_out_unless_it_claims_more_than_there_was() {
    let plan = Plan {
        stop: Stop::Count(2),
        ..every(ms(10))
    };
    let claims = [us(300), ms(2)];
    let mut sim = Sim::new(|out, _| Fate {
        left: None,
        then: vec![(
            ms(1),
            Event::Reply(Answer {
                residence: Some(claims[out.seq.0 as usize]),
                ..Answer::new(SeqRef::Full(out.seq), FROM)
            }),
        )],
    });
    let report = run(plan, 1, &mut sim, &mut Vec::new());
    let of = &report.targets[0];
    assert_eq!(of.stats.rtt().min(), Some(700_000));
    assert_eq!(of.stats.rtt().max(), Some(1_000_000));
    let residence = of.residence.as_ref().expect("one was believed");
    assert_eq!(
        (residence.moments.count(), residence.moments.max()),
        (1, Some(300_000))
    );
    // What was measured stands beside it, whatever was said.
    let gross = &residence.gross_moments;
    assert_eq!(
        (gross.count(), gross.min(), gross.max()),
        (2, Some(1_000_000), Some(1_000_000))
    );
}

#[test]
fn a_target_that_nothing_reaches_any_more_is_over_and_the_others_go_on() {
    let plan = Plan {
        stop: Stop::Count(50),
        timeout: ms(500),
        ..every(ms(10))
    };
    // Nobody answers at the first target, whose end comes with the sixth probe: those before are still on their way.
    let mut sim = Sim::new(|out, _| match (out.target.0, out.seq.0) {
        (0, 5) => Fate {
            left: None,
            then: vec![(ms(1), Event::Over(refusal()))],
        },
        (0, _) => Fate::lost(),
        _ => Fate::reply(ms(1), out.seq),
    });
    let report = run(plan, 2, &mut sim, &mut Vec::new());
    let counts = |target: usize| report.targets[target].counts.clone();
    assert_eq!((counts(0).attempted(), counts(0).rejected), (6, 6));
    assert_eq!((counts(1).attempted(), counts(1).received), (50, 50));
    assert_eq!(report.unsettled, 0);
}
