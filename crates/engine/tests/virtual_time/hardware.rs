//! Round trips by the interface's clock: both stamps of a pair are of one clock, or neither is the interface's.

use rping_engine::{
    Answer, Arrival, Departure, Engine, Event, Left, Outcome, Plan, SeqRef, Stamp, StampSource, Stop,
    TargetId, Timestamp,
};
use StampSource::{Hardware, Kernel, User};

use crate::settled;
use crate::sim::{ms, us, FROM};

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(1_000_000 + nanos)
}

/// One probe, handed over at 0, that leaves at these stamps and is answered at 20 µs by the kernel: the round trip, and
/// whose stamps it is of.
fn measured(left: &[Stamp], hardware: Option<Timestamp>) -> (u64, (StampSource, StampSource)) {
    let plan = Plan {
        stop: Stop::Count(1),
        timeout: ms(10),
        ..crate::every(ms(1))
    };
    let mut engine = Engine::new(plan, 1, at(0)).expect("a plan that can be run");
    let (mut due, mut records) = (Vec::new(), Vec::new());
    engine.poll(at(0), &mut due);
    let departure = Departure {
        target: TargetId(0),
        seq: due[0].seq,
        left: Left::At(Stamp::user(at(0))),
    };
    engine.departed(&departure, at(0), &mut records);
    let mut arrive = |stamp: Stamp, event| {
        let arrival = Arrival {
            target: TargetId(0),
            at: stamp,
            event,
        };
        engine.arrived(&arrival, at(30_000), &mut records);
    };
    for &stamp in left {
        arrive(stamp, Event::Left(SeqRef::Full(due[0].seq)));
    }
    let answer = Answer {
        hardware,
        ..Answer::new(SeqRef::Full(due[0].seq), FROM)
    };
    arrive(Stamp::kernel(at(20_000)), Event::Reply(answer));
    let sample = records.iter().find_map(settled).expect("it is settled");
    match sample.outcome {
        Outcome::Reply { rtt, stamps, .. } => (rtt.expect("a round trip").as_nanos() as u64, stamps),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pair_of_the_interfaces_stamps_counts_and_half_a_pair_does_not() {
    let (kernel, wire) = (Stamp::kernel(at(2_000)), Stamp::hardware(at(4_000)));
    let came = Some(at(18_000));
    let table = [
        (
            "both",
            measured(&[kernel, wire], came),
            (14_000, (Hardware, Hardware)),
        ),
        (
            "the departure's alone",
            measured(&[kernel, wire], None),
            (18_000, (Kernel, Kernel)),
        ),
        (
            "the answer's alone",
            measured(&[kernel], came),
            (18_000, (Kernel, Kernel)),
        ),
        (
            "without the kernel's",
            measured(&[wire], came),
            (14_000, (Hardware, Hardware)),
        ),
        (
            "without the kernel's, half",
            measured(&[wire], None),
            (20_000, (User, Kernel)),
        ),
        ("none", measured(&[], None), (20_000, (User, Kernel))),
    ];
    for (name, got, want) in table {
        assert_eq!(got, want, "{name}");
    }
}

#[test]
fn an_impossible_pair_falls_back_to_the_kernels() {
    let kernel = Stamp::kernel(at(2_000));
    let cases = [
        ("it came before it left", Stamp::hardware(at(4_000)), at(3_000)),
        (
            "the interface let it go before the kernel did",
            Stamp::hardware(at(1_000)),
            at(18_000),
        ),
        (
            "half a millisecond after the kernel",
            Stamp::hardware(at(2_000).plus(us(525))),
            at(600_000),
        ),
    ];
    for (name, wire, came) in cases {
        assert_eq!(
            measured(&[kernel, wire], Some(came)),
            (18_000, (Kernel, Kernel)),
            "{name}"
        );
    }
}

#[test]
fn a_departure_by_the_interface_is_kept_to_within_its_grain() {
    for after in [5, 1_003, 99_999, 524_000] {
        let wire = Stamp::hardware(at(2_000 + after));
        let (rtt, stamps) = measured(&[Stamp::kernel(at(2_000)), wire], Some(at(700_000)));
        assert_eq!(stamps, (Hardware, Hardware));
        assert!(rtt.abs_diff(698_000 - after) <= 4, "{rtt}");
    }
}
