//! Two throughput tests held against each other: how far the rate of each direction moved.
//!
//! The rates of the intervals that count are what a test knows of its own spread. Intervals that follow each other are
//! alike, so their number is taken for less by how alike they are.

use rping_peer::iperf::Interval;

use super::{normal, overall, CompareError, Comparison, Verdict, CONFIDENCE};
use crate::saved::Test;

/// With fewer intervals nobody can tell how much a test varies.
const LEAST: usize = 8;

/// One direction in both tests. Rates are in bits per second: the mean of the intervals that count.
#[derive(Clone, PartialEq, Debug)]
pub struct Rate {
    /// `forward` or `reverse`.
    pub direction: &'static str,
    /// In the first test; `None` where it has no such intervals.
    pub before: f64,
    /// In the second.
    pub after: f64,
    /// Intervals that count in each.
    pub intervals: [usize; 2],
    /// The interval that holds the true difference with 95 % confidence; `None` where the tests are too short to tell.
    pub interval: Option<(f64, f64)>,
    /// The smallest difference that would have been called one, four times out of five.
    pub smallest: Option<f64>,
    /// What became of it.
    pub verdict: Verdict,
}

/// Holds `after` against `before`. A shift of less than `least`, a part of 1, is called the same however sure it is.
///
/// # Errors
/// When one is of TCP and the other of UDP, or they have no direction in common.
pub fn tests(before: &Test, after: &Test, least: f64) -> Result<Comparison, CompareError> {
    let (p, q) = (&before.client.parameters, &after.client.parameters);
    if p.protocol != q.protocol {
        return Err(CompareError::Carriers);
    }
    let ways: Vec<bool> = [true, false]
        .into_iter()
        .filter(|&way| !rates(before, way).is_empty() && !rates(after, way).is_empty())
        .collect();
    if ways.is_empty() {
        return Err(CompareError::NoIntervals);
    }
    let judged: Vec<Rate> = ways
        .iter()
        .map(|&way| judge(way, [&rates(before, way), &rates(after, way)], least, ways.len()))
        .collect();
    let mut notes = Vec::new();
    if (p.parallel, p.length, p.bandwidth) != (q.parallel, q.length, q.bandwidth) {
        notes.push("the streams, the message size or the rate that was asked for differ".to_owned());
    }
    if (p.reverse, p.bidirectional) != (q.reverse, q.bidirectional) {
        notes.push("the directions differ: two at once share what one has alone".to_owned());
    }
    if before.machine.hostname != after.machine.hostname {
        notes.push("the two were measured from different machines".to_owned());
    }
    for (which, test) in [("BEFORE", before), ("AFTER", after)] {
        notes.extend(test.damage.words().map(|words| format!("{which}: {words}")));
    }
    Ok(Comparison {
        verdict: overall(judged.iter().map(|rate| rate.verdict)),
        least,
        targets: Vec::new(),
        rates: judged,
        only_before: Vec::new(),
        only_after: Vec::new(),
        notes,
        started_at: [before, after]
            .map(|test| crate::render::clock::nanos(&test.epoch, test.epoch.started).to_string()),
        command: "bandwidth",
    })
}

/// The rates of the intervals of one direction that count.
fn rates(test: &Test, is_forward: bool) -> Vec<f64> {
    let counts = |i: &&Interval| !i.omitted && i.is_forward == is_forward;
    let took = |i: &Interval| i.span.1.saturating_sub(i.span.0);
    // The last one is cut short by the end, and says little.
    let whole = |i: &&Interval| took(i) * 2 >= test.client.interval;
    let all = test.intervals.iter().filter(counts).filter(whole);
    all.map(|i| i.figures.bytes as f64 * 8.0 / took(i).as_secs_f64().max(1e-9))
        .collect()
}

/// Mean, variance of the mean, and degrees of freedom.
fn spread(of: &[f64]) -> (f64, f64, f64) {
    let n = of.len() as f64;
    let mean = of.iter().sum::<f64>() / n;
    let squares: f64 = of.iter().map(|x| (x - mean) * (x - mean)).sum();
    let pairs: f64 = of.windows(2).map(|w| (w[0] - mean) * (w[1] - mean)).sum();
    let likeness = match squares > 0.0 {
        true => (pairs / squares).clamp(0.0, 0.9),
        false => 0.0,
    };
    let inflation = (1.0 + likeness) / (1.0 - likeness);
    (
        mean,
        squares / (n - 1.0).max(1.0) / n * inflation,
        (n / inflation - 1.0).max(1.0),
    )
}

fn judge(is_forward: bool, [a, b]: [&[f64]; 2], least: f64, tests: usize) -> Rate {
    let ((before, va, fa), (after, vb, fb)) = (spread(a), spread(b));
    let mut rate = Rate {
        direction: if is_forward { "forward" } else { "reverse" },
        before,
        after,
        intervals: [a.len(), b.len()],
        interval: None,
        smallest: None,
        verdict: Verdict::Same,
    };
    if a.len().min(b.len()) < LEAST {
        return rate;
    }
    let error = (va + vb).sqrt();
    // Welch and Satterthwaite's degrees of freedom.
    let freedom = match va + vb > 0.0 {
        true => (va + vb).powi(2) / (va * va / fa + vb * vb / fb),
        false => fa.min(fb),
    };
    let t = |level: f64| normal::student(0.5 + level / 2.0, freedom.max(3.0));
    let d = after - before;
    let half = t(CONFIDENCE) * error;
    let needed = t(1.0 - (1.0 - CONFIDENCE) / tests as f64) * error;
    let matters = least * before;
    rate.interval = Some((d - half, d + half));
    rate.smallest = Some((needed + normal::quantile(0.8) * error).max(matters));
    if d.abs() > needed && d.abs() >= matters && d != 0.0 {
        rate.verdict = if d > 0.0 { Verdict::Better } else { Verdict::Worse };
    }
    rate
}

#[cfg(test)]
mod checks {
    use super::*;

    /// A rate that wavers about its mean, never twice the same way.
    fn wavering(mean: f64, seed: u64, n: usize) -> Vec<f64> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let mut draws = std::iter::repeat_with(|| normal::quantile(next().clamp(1e-9, 1.0 - 1e-9)));
        draws.by_ref().take(n).map(|z| mean * (1.0 + 0.03 * z)).collect()
    }

    #[test]
    fn like_is_called_worse_than_like_in_at_most_5_of_100_comparisons() {
        let worse = (0..200).filter(|seed| {
            let (a, b) = (wavering(1e9, 2 * seed + 1, 10), wavering(1e9, 2 * seed + 2, 10));
            judge(true, [&a, &b], 0.01, 1).verdict == Verdict::Worse
        });
        let worse = worse.count();
        assert!(worse <= 10, "{worse} of 200");
    }

    #[test]
    fn a_tenth_less_is_worse_and_a_tenth_more_is_better() {
        let (a, less, more) = (
            wavering(1e9, 1, 10),
            wavering(0.9e9, 2, 10),
            wavering(1.1e9, 3, 10),
        );
        assert_eq!(judge(true, [&a, &less], 0.01, 1).verdict, Verdict::Worse);
        assert_eq!(judge(true, [&a, &more], 0.01, 1).verdict, Verdict::Better);
        let judged = judge(true, [&a, &less], 0.01, 1);
        let (low, high) = judged.interval.unwrap();
        assert!(low < -1e8 * 0.9 && high < 0.0, "{judged:?}");
    }

    #[test]
    fn of_few_intervals_nothing_is_said() {
        let (a, b) = (wavering(1e9, 1, 7), wavering(0.5e9, 2, 20));
        let judged = judge(false, [&a, &b], 0.01, 1);
        assert_eq!((judged.interval, judged.verdict), (None, Verdict::Same));
        // Nor is a rate that never moves taken for a miracle.
        let flat = vec![1e9; 10];
        assert_eq!(judge(true, [&flat, &flat], 0.01, 1).verdict, Verdict::Same);
    }
}
