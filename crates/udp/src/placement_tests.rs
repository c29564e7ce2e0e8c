//! A link of two ways that loses, doubles and holds back what it is told to, and what is found out about it.

use super::*;
use proptest::prelude::*;

/// What becomes of a packet on one way: how many copies arrive, and how many places later.
#[derive(Clone, Copy)]
struct Fate {
    copies: u8,
    held: u64,
}

impl std::fmt::Debug for Fate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}+{}", self.copies, self.held)
    }
}

const PASSES: Fate = Fate { copies: 1, held: 0 };
const LOST: Fate = Fate { copies: 0, held: 0 };
const DOUBLED: Fate = Fate { copies: 2, held: 0 };

fn held(by: u64) -> Fate {
    Fate { copies: 1, held: by }
}

/// The order in which packets with these fates arrive; held ones behind as many later ones.
fn arrivals(fates: &[Fate]) -> Vec<usize> {
    let mut all: Vec<(u64, usize)> = Vec::new();
    for (at, fate) in fates.iter().enumerate() {
        for _ in 0..fate.copies {
            all.push((2 * (at as u64 + fate.held) + u64::from(fate.held > 0), at));
        }
    }
    all.sort_by_key(|&(when, _)| when);
    all.into_iter().map(|(_, at)| at).collect()
}

fn reordered(order: &[usize]) -> u64 {
    let (mut next, mut seen, mut count) = (0, HashSet::new(), 0);
    for &at in order {
        if !seen.insert(at) {
            continue;
        }
        if at < next {
            count += 1;
        }
        next = next.max(at + 1);
    }
    count
}

struct Link {
    verdict: Verdict,
    truth: Verdict,
}

/// Sends as many probes as there are fates on the way there; `back` is the fate of each answer, in the order of their
/// numbers. `closings` packets follow.
fn run(there: &[Fate], back: impl Fn(usize) -> Fate, closings: &[(Fate, Fate)]) -> Link {
    let mut placement = Placement::new(1, 0);
    let probes = there.len();
    let order = arrivals(there);
    let fates: Vec<Fate> = (0..order.len()).map(&back).collect();
    let answers = arrivals(&fates);
    let mut answered = vec![false; probes];
    for &number in &answers {
        answered[order[number]] = true;
        placement.answered(order[number] as u64, number as u32);
    }
    (0..probes)
        .filter(|&probe| !answered[probe])
        .for_each(|probe| placement.lost(probe as u64));
    let mut number = order.len();
    for (n, (go, come)) in closings.iter().enumerate() {
        let probe = (probes + 4096 + n) as u64;
        placement.closing(probe);
        if go.copies > 0 {
            if come.copies > 0 {
                placement.answered(probe, number as u32);
            }
            number += 1;
        }
    }
    let arrived: HashSet<usize> = order.iter().copied().collect();
    let lost = answered.iter().filter(|&&answered| !answered).count();
    let forward = Placed {
        lost: (probes - arrived.len()) as u64,
        duplicates: (order.len() - arrived.len()) as u64,
        reordered: reordered(&order),
    };
    let distinct: HashSet<usize> = answers.iter().copied().collect();
    let reverse = Placed {
        lost: lost as u64 - forward.lost,
        duplicates: (answers.len() - distinct.len()) as u64,
        reordered: reordered(&answers),
    };
    Link {
        verdict: placement.conclude(),
        truth: Verdict {
            memory: Memory::Stateful,
            forward,
            reverse,
            unplaced: 0,
        },
    }
}

const CLOSED: &[(Fate, Fate)] = &[(PASSES, PASSES)];

fn some(length: usize, which: &[(usize, Fate)]) -> Vec<Fate> {
    let mut fates = vec![PASSES; length];
    which.iter().for_each(|&(at, fate)| fates[at] = fate);
    fates
}

#[test]
fn losses_are_placed_on_the_way_they_happened() {
    let there = some(20, &[(0, LOST), (3, LOST), (19, LOST)]);
    let link = run(&there, |n| if n == 0 || n == 9 { LOST } else { PASSES }, CLOSED);
    assert_eq!(link.verdict, link.truth);
    assert_eq!((link.truth.forward.lost, link.truth.reverse.lost), (3, 2));
}

#[test]
fn what_no_later_packet_places_is_unplaced_and_a_closing_packet_places_it() {
    let there = some(10, &[(2, LOST), (9, LOST)]);
    let open = run(&there, |n| if n == 7 { LOST } else { PASSES }, &[]);
    assert_eq!(
        (
            open.verdict.forward.lost,
            open.verdict.reverse.lost,
            open.verdict.unplaced
        ),
        (1, 0, 2)
    );
    let closed = run(&there, |n| if n == 7 { LOST } else { PASSES }, CLOSED);
    assert_eq!(closed.verdict, closed.truth);
}

#[test]
fn closing_packets_that_are_lost_themselves_count_nowhere() {
    let there = some(10, &[(2, LOST)]);
    let closings = [(LOST, PASSES), (PASSES, LOST), (PASSES, PASSES)];
    let link = run(&there, |n| if n == 3 { LOST } else { PASSES }, &closings);
    assert_eq!(link.verdict, link.truth);
    // With a loss at the very end too it cannot be told whose the missing number is.
    let there = some(10, &[(9, LOST)]);
    let link = run(&there, |_| PASSES, &[(PASSES, LOST), (PASSES, PASSES)]);
    assert_eq!(
        (
            link.verdict.forward.lost,
            link.verdict.reverse.lost,
            link.verdict.unplaced
        ),
        (0, 0, 1)
    );
}

#[test]
fn a_reflector_that_copies_places_nothing_and_is_known_by_the_closing_packet() {
    let mut placement = Placement::new(1, 0);
    for probe in [0, 1, 3, 4] {
        placement.answered(probe, probe as u32);
    }
    placement.lost(2);
    let open = placement.clone().conclude();
    assert_eq!((open.memory, open.unplaced), (Memory::Unknown, 1));
    placement.closing(5000);
    placement.answered(5000, 5000);
    let closed = placement.conclude();
    assert_eq!((closed.memory, closed.unplaced), (Memory::Stateless, 1));
    assert_eq!(
        (closed.forward, closed.reverse),
        (Placed::default(), Placed::default())
    );
}

#[test]
fn losses_of_answers_alone_are_told_from_a_reflector_that_copies() {
    let link = run(&[PASSES; 10], |n| if n == 4 { LOST } else { PASSES }, CLOSED);
    assert_eq!(link.verdict, link.truth);
    assert_eq!(link.verdict.reverse.lost, 1);
}

#[test]
fn duplicates_and_overtaking_are_told_by_direction() {
    let there = some(40, &[(3, DOUBLED), (10, held(3)), (20, LOST)]);
    let back = |n| match n {
        6 => DOUBLED,
        25 => Fate { copies: 1, held: 2 },
        30 => LOST,
        _ => PASSES,
    };
    let link = run(&there, back, CLOSED);
    let forward = Placed {
        lost: 1,
        duplicates: 1,
        reordered: 1,
    };
    assert_eq!((link.truth.forward, link.truth.reverse), (forward, forward));
    // The number beside the second lost probe may be a copy's.
    let doubted = Placed { lost: 0, ..forward };
    assert_eq!((link.verdict.forward, link.verdict.reverse), (forward, doubted));
    assert_eq!(link.verdict.unplaced, 1);
}

#[test]
fn a_missing_number_beside_a_lost_probe_is_nobodys_where_copies_are_made() {
    // Seen from here both are the same: the answer to a copy and the next probe lost, or that probe's answer.
    let [copy, answer] = [
        (vec![(2, DOUBLED), (5, DOUBLED), (6, LOST)], 7),
        (vec![(2, DOUBLED)], 7),
    ]
    .map(|(there, lost)| {
        run(
            &some(20, &there),
            |n| if n == lost { LOST } else { PASSES },
            CLOSED,
        )
    });
    assert_eq!((copy.truth.forward.lost, copy.truth.reverse.lost), (1, 0));
    assert_eq!((answer.truth.forward.lost, answer.truth.reverse.lost), (0, 1));
    assert_eq!(copy.verdict, answer.verdict);
    assert_eq!((copy.verdict.forward.lost, copy.verdict.reverse.lost), (0, 0));
    assert_eq!(copy.verdict.unplaced, 1);
    // What lies beside no missing number was lost on the way there all the same.
    let there = some(30, &[(2, DOUBLED), (5, DOUBLED), (6, LOST), (20, LOST)]);
    let link = run(&there, |n| if n == 7 { LOST } else { PASSES }, CLOSED);
    assert_eq!((link.verdict.forward.lost, link.verdict.unplaced), (1, 1));
}

#[test]
fn an_answer_that_was_lost_while_warming_up_is_no_copy() {
    let mut placement = Placement::new(1, 5);
    for probe in (0..30u64).filter(|probe| ![3, 9].contains(probe)) {
        placement.answered(probe, probe as u32);
    }
    placement.lost(3);
    placement.lost(9);
    placement.closing(5000);
    placement.answered(5000, 30);
    let verdict = placement.conclude();
    assert_eq!((verdict.reverse.lost, verdict.unplaced), (1, 0));
    assert_eq!(verdict.forward, Placed::default());
}

#[test]
fn the_lost_answer_to_a_copy_is_no_lost_probe() {
    let there = some(20, &[(2, DOUBLED), (5, DOUBLED), (12, LOST)]);
    let link = run(&there, |n| if n == 7 { LOST } else { PASSES }, CLOSED);
    assert_eq!(link.verdict, link.truth);
    assert_eq!((link.truth.forward.lost, link.truth.reverse.lost), (1, 0));
}

#[test]
fn a_reflector_that_begins_anew_makes_no_loss() {
    for first_lost in [false, true] {
        let mut placement = Placement::new(1, 0);
        for probe in 0..50u64 {
            if !(first_lost && probe == 0) {
                placement.answered(probe, probe as u32);
            }
        }
        if first_lost {
            placement.lost(0);
        }
        (50..55).for_each(|probe| placement.lost(probe));
        for probe in 55..80 {
            placement.answered(probe, probe as u32 - 55);
        }
        placement.closing(5000);
        placement.answered(5000, 25);
        assert_eq!(placement.restarts(), 1);
        let verdict = placement.conclude();
        assert_eq!(verdict.unplaced, 5, "{verdict:?}");
        assert_eq!(
            (
                verdict.forward.lost,
                verdict.forward.duplicates,
                verdict.forward.reordered
            ),
            (0, 0, 0),
            "{verdict:?}"
        );
        assert_eq!(
            (verdict.reverse.lost, verdict.reverse.duplicates),
            (u64::from(first_lost), 0)
        );
    }
}

#[test]
fn a_reflector_whose_numbers_are_not_ours_alone_places_nothing() {
    let mut placement = Placement::new(1, 0);
    for probe in 0..50u64 {
        if probe == 20 {
            placement.lost(probe);
        } else {
            placement.answered(probe, 1000 + 3 * probe as u32);
        }
    }
    let verdict = placement.conclude();
    assert_eq!((verdict.memory, verdict.unplaced), (Memory::Unknown, 1));
}

#[test]
fn a_long_lossy_run_is_exact_in_bounded_memory() {
    let mut placement = Placement::new(1, 0);
    let (mut number, mut forward, mut reverse) = (0u32, 0, 0);
    for probe in 0..200_000u64 {
        match probe * 7919 % 10 {
            0 => {
                forward += 1;
                placement.lost(probe);
            }
            1 => {
                reverse += 1;
                number += 1;
                placement.lost(probe);
            }
            _ => {
                placement.answered(probe, number);
                number += 1;
            }
        }
        assert!(placement.pairs.len() <= PAIRS && placement.lost.len() <= KEPT + 1);
    }
    placement.closing(2_000_000);
    placement.answered(2_000_000, number);
    let verdict = placement.conclude();
    assert_eq!(
        (verdict.forward.lost, verdict.reverse.lost, verdict.unplaced),
        (forward, reverse, 0)
    );
}

#[test]
fn a_reflector_that_jumps_or_begins_anew_with_every_answer_costs_no_more_than_there_is_room_for() {
    let mut jumping = Placement::new(1, 0);
    let mut restarting = Placement::new(1, 0);
    for probe in 0..400_000u64 {
        jumping.answered(probe, (probe as u32).wrapping_mul(3));
        // Each a life of its own: higher, then the same number again for a newer probe.
        restarting.answered(probe, 7);
    }
    for hostile in [&jumping, &restarting] {
        assert!(hostile.gaps.len() <= KEPT && hostile.pairs.len() <= PAIRS);
        assert!(hostile.breaks.len() <= BREAKS, "{}", hostile.breaks.len());
    }
    assert!(restarting.restarts() > 300_000);
    let mut silent = Placement::new(1, 0);
    silent.answered(0, 0);
    let many = (SILENT as u64 + 4) * KEPT as u64;
    (1..=many).for_each(|probe| silent.lost(probe));
    assert!(silent.lost.len() <= SILENT * KEPT);
    let verdict = silent.conclude();
    assert_eq!(verdict.unplaced, many);
    assert_eq!(jumping.conclude().memory, Memory::Unknown, "nobody's numbers");
}

#[test]
fn what_was_given_up_is_placed_on_neither_way() {
    // Every second answer is missing, and nobody has been told of a loss yet.
    let mut hostile = Placement::new(1, 0);
    let count = 4 * KEPT as u64;
    for probe in (0..count).step_by(2) {
        hostile.answered(probe, probe as u32 / 2 * 3);
    }
    (1..count).step_by(2).for_each(|probe| hostile.lost(probe));
    let verdict = hostile.conclude();
    let all = verdict.unplaced + verdict.forward.lost + verdict.reverse.lost;
    assert_eq!(all, count / 2, "{verdict:?}");
}

fn fate(loss: u32, double: u32, hold: u32) -> impl Strategy<Value = Fate> {
    prop_oneof![
        loss => Just(LOST),
        double => Just(DOUBLED),
        hold => (1u64..5).prop_map(held),
        100 - loss - double - hold => Just(PASSES),
    ]
}

proptest! {
    #[test]
    fn losses_and_overtaking_in_both_ways_are_placed_exactly(
        there in proptest::collection::vec(fate(8, 0, 8), 1..300),
        back in proptest::collection::vec(fate(8, 0, 8), 300),
    ) {
        let link = run(&there, |n| back[n], CLOSED);
        // What was overtaken and then lost nobody saw.
        prop_assert_eq!(link.verdict.forward.lost, link.truth.forward.lost);
        prop_assert_eq!(link.verdict.reverse, link.truth.reverse);
        prop_assert_eq!(link.verdict.unplaced, 0);
    }

    #[test]
    fn duplicates_beside_losses_on_the_other_way_are_placed_exactly(
        there in proptest::collection::vec(fate(10, 8, 0), 1..300),
        back in proptest::collection::vec(fate(0, 8, 6), 600),
    ) {
        let link = run(&there, |n| back[n], CLOSED);
        if link.verdict.memory == Memory::Stateful {
            prop_assert_eq!(link.verdict, link.truth);
        }
    }

    #[test]
    fn with_everything_on_both_ways_no_loss_is_placed_on_the_wrong_one(
        there in proptest::collection::vec(fate(8, 8, 8), 1..300),
        back in proptest::collection::vec(fate(8, 8, 8), 600),
    ) {
        let link = run(&there, |n| back[n], CLOSED);
        let (told, truth) = (link.verdict, link.truth);
        prop_assert_eq!(
            told.forward.lost + told.reverse.lost + told.unplaced,
            truth.forward.lost + truth.reverse.lost
        );
        if told.memory == Memory::Stateful {
            prop_assert_eq!(told.reverse.duplicates, truth.reverse.duplicates);
            prop_assert_eq!(told.reverse.reordered, truth.reverse.reordered);
            // What nobody saw happen at all, doubled or overtaken, is taken for not happening.
            if told.forward.duplicates > 0 && told.forward.reordered > 0 {
                prop_assert!(told.forward.lost <= truth.forward.lost, "{:?} {:?}", told, truth);
                prop_assert!(told.reverse.lost <= truth.reverse.lost, "{:?} {:?}", told, truth);
                prop_assert!(told.forward.duplicates <= truth.forward.duplicates, "{:?} {:?}", told, truth);
            }
        }
    }

    #[test]
    fn whatever_comes_nothing_panics_and_no_lost_probe_is_counted_twice(
        steps in proptest::collection::vec((0u8..4, 0u64..200, any::<u32>()), 0..400),
    ) {
        let mut placement = Placement::new(1, 0);
        let mut lost = HashSet::new();
        for (step, probe, number) in steps {
            match step {
                0 if lost.insert(probe) => placement.lost(probe),
                1 => placement.answered(probe, number % 300),
                2 => placement.answered(probe, number),
                _ => placement.closing(probe + 5000),
            }
        }
        let verdict = placement.conclude();
        prop_assert!(verdict.forward.lost + verdict.reverse.lost + verdict.unplaced <= lost.len() as u64);
    }
}
