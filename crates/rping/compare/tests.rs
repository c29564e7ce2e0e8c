//! What the verdicts are worth, measured on made-up runs whose truth is known: how often like is called worse than like, and
//! whether a shift of 5 % of the median is found.

use rping_engine::Counts;
use rping_stats::Sparse;

use super::*;
use crate::series::{Bin, Slot};

/// SplitMix64 again, for the runs: what is drawn here must not be what is drawn there.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        normal::quantile(self.unit().clamp(1e-12, 1.0 - 1e-12))
    }
}

/// What a run is made of.
#[derive(Clone, Copy)]
struct Make {
    /// The median, nanoseconds.
    median: f64,
    /// How alike a probe is to the next, 0 to 1.
    alike: f64,
    /// One in so many is a stall, up to a thousand times as long (Pareto).
    stalls: f64,
    /// Lost, in runs of ten.
    loss: f64,
    /// The grain of the stamps, nanoseconds.
    grain: f64,
}

const PLAIN: Make = Make {
    median: 200_000.0,
    alike: 0.0,
    stalls: 0.0,
    loss: 0.0,
    grain: 1.0,
};

/// Ten thousand probes a millisecond apart.
fn series(make: Make, seed: u64) -> Series {
    let mut random = Random(seed.wrapping_mul(0x0123_4567_89ab_cdef));
    let mut series = Series::default();
    let mut state = random.normal();
    let mut losing = 0u32;
    // As a recorded run has them: in the first second stretches of 10 ms, of 100 ms after it.
    let mut stretch = (Slot::at(0), Counts::default(), Vec::new());
    for n in 0..=10_000u64 {
        let slot = Slot::at(n * 1_000_000);
        if slot != stretch.0 || n == 10_000 {
            let (slot, counts, values) =
                std::mem::replace(&mut stretch, (slot, Counts::default(), Vec::new()));
            let bin = Bin {
                counts,
                rtt: Sparse::of(&values),
                ..Bin::default()
            };
            series.add(slot, &bin);
        }
        state = make.alike * state + (1.0 - make.alike * make.alike).sqrt() * random.normal();
        if losing == 0 && random.unit() < make.loss / 10.0 {
            losing = 10;
        }
        if losing > 0 {
            losing -= 1;
            stretch.1.lost += 1;
            continue;
        }
        // A log-normal body, as round trips have, and a heavy tail.
        let mut ns = make.median * (0.15 * state).exp();
        if random.unit() < make.stalls {
            ns *= random.unit().max(1e-3).recip();
        }
        stretch.1.received += 1;
        stretch.2.push(((ns / make.grain).round() * make.grain) as u64);
    }
    series
}

fn verdict(a: &Series, b: &Series, grain: f64) -> Pair {
    let judge = Judge {
        least: 0.01,
        grain,
        tests: 1,
    };
    pair("x".into(), [a, b], judge)
}

/// How many of `times` comparisons ended so.
fn count(times: u64, before: Make, after: Make, wanted: Verdict) -> u64 {
    let hits = (0..times).filter(|seed| {
        let (a, b) = (series(before, 2 * seed + 1), series(after, 2 * seed + 2));
        verdict(&a, &b, if before.grain > 1.0 { before.grain } else { 0.0 }).verdict == wanted
    });
    hits.count() as u64
}

/// Like with like: independent probes, probes alike over a twentieth of a second, a heavy tail, loss in bursts, a coarse stamp.
const LIKE: [(&str, Make); 5] = [
    ("plain", PLAIN),
    ("alike", Make { alike: 0.98, ..PLAIN }),
    (
        "heavy tail",
        Make {
            stalls: 0.02,
            alike: 0.9,
            ..PLAIN
        },
    ),
    ("bursts of loss", Make { loss: 0.02, ..PLAIN }),
    (
        "coarse",
        Make {
            median: 36_480.0,
            grain: 1000.0,
            alike: 0.9,
            ..PLAIN
        },
    ),
];

/// Where ten thousand probes tell as much as a thousand independent ones or more: of those alike over a twentieth of a second
/// they tell no more than a hundred do, which cannot show 5 %; and a stamp of 1 µs cannot show less than two of it.
const FOUND: [(&str, Make); 3] = [
    ("plain", PLAIN),
    (
        "heavy tail",
        Make {
            stalls: 0.02,
            alike: 0.8,
            ..PLAIN
        },
    ),
    ("bursts of loss", Make { loss: 0.02, ..PLAIN }),
];

#[test]
fn like_is_called_worse_than_like_in_at_most_5_of_100_comparisons() {
    for (name, make) in LIKE {
        let worse = count(200, make, make, Verdict::Worse);
        eprintln!("{name}: {worse} of 200 false");
        assert!(worse <= 10, "{name}: {worse} of 200");
    }
}

#[test]
fn a_shift_of_5_percent_of_the_median_is_found_in_10_000_probes() {
    for (name, make) in FOUND {
        let after = Make {
            median: make.median * 1.05,
            ..make
        };
        let worse = count(20, make, after, Verdict::Worse);
        let better = count(20, after, make, Verdict::Better);
        eprintln!("{name}: {worse} of 20 worse, {better} of 20 better");
        assert!(worse >= 19 && better >= 19, "{name}: {worse}, {better}");
    }
}

#[test]
fn more_loss_is_worse_and_a_single_burst_is_not() {
    let lossy = Make { loss: 0.05, ..PLAIN };
    let pair = verdict(&series(PLAIN, 1), &series(lossy, 2), 0.0);
    let loss = pair.loss.unwrap();
    assert_eq!((pair.verdict, loss.verdict), (Verdict::Worse, Verdict::Worse));
    assert!(
        loss.interval.0 > 0.0 && loss.interval.0 < 0.05 && loss.interval.1 > 0.05,
        "{loss:?}"
    );
    let burst = series(
        Make {
            loss: 0.0005,
            ..PLAIN
        },
        7,
    );
    assert_eq!(verdict(&series(PLAIN, 1), &burst, 0.0).verdict, Verdict::Same);
}

#[test]
fn the_interval_holds_the_true_shift_and_the_smallest_is_half_found() {
    let after = Make {
        median: 210_000.0,
        ..PLAIN
    };
    let mut held = 0;
    for seed in 0..100 {
        let pair = verdict(&series(PLAIN, 2 * seed + 1), &series(after, 2 * seed + 2), 0.0);
        let (low, high) = pair.quantiles[0].interval_ns.unwrap();
        held += u32::from((low..=high).contains(&10_000.0));
    }
    assert!(held >= 93, "{held} of 100");
    let smallest = verdict(&series(PLAIN, 1), &series(PLAIN, 2), 0.0).quantiles[0]
        .smallest_ns
        .unwrap();
    let shifted = Make {
        median: PLAIN.median + smallest,
        ..PLAIN
    };
    let found = count(50, PLAIN, shifted, Verdict::Worse);
    assert!(found >= 25, "{found} of 50 at {smallest} ns");
}

#[test]
fn runs_that_are_too_short_are_the_same_and_say_so() {
    let mut short = Series::default();
    let bin = Bin {
        counts: Counts {
            received: 3,
            ..Counts::default()
        },
        rtt: Sparse::of(&[1_000, 2_000, 3_000]),
        ..Bin::default()
    };
    short.add(Slot::at(0), &bin);
    let pair = verdict(&short, &series(PLAIN, 1), 0.0);
    assert_eq!(pair.verdict, Verdict::Same);
    assert!(pair.quantiles.iter().all(|shift| shift.interval_ns.is_none()));
    let none = verdict(&Series::default(), &Series::default(), 0.0);
    assert!(none.quantiles.is_empty() && none.loss.is_none());
}
