//! How far a reflector's clock is ahead of ours, estimated afresh all the time from what probes tell: two clocks that nobody has set by
//! each other drift apart by tens of microseconds a second, which would soon pass for a queue.
//!
//! A raw one-way time is a difference between two clocks; the sum of both ways' knows no offset. Half of the least sum is taken for the
//! least that either way can take: that makes the idle path symmetric by definition. Then no packet is quicker than that, and each
//! stretch of time bounds the offset from both sides. What was known of it before bounds it too, the less the older it is.

/// One stretch.
pub(super) const WINDOW_NS: u64 = 250_000_000;

/// Clocks of computers run no further apart than this: what one second makes of it, nanoseconds.
const APART: f64 = 100_000.0;

/// Raw one-way times, nanoseconds by two clocks: what the other clock said less ours, and ours less the other's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Raw {
    pub(super) forward: i128,
    pub(super) reverse: i128,
}

/// What is known of two clocks.
#[derive(Clone, Debug, Default)]
pub(super) struct Clocks {
    /// Twice the least that one way takes.
    least: Option<i128>,
    /// Where the offset lies, and when that was: nanoseconds, seconds.
    within: Option<(f64, f64)>,
    at: f64,
    /// The estimate, and by how many nanoseconds a second it moves.
    offset: f64,
    drift: f64,
    /// Of the idle path, one for each stretch: when, and the offset.
    idle: Vec<(f64, f64)>,
}

/// An estimate of the offset.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Estimate {
    /// The other clock is so far ahead of ours, nanoseconds.
    pub(super) offset: i128,
    /// By how much it may be off, nanoseconds.
    pub(super) error: u64,
}

/// Stretches of the idle path that are kept: minutes of it.
const IDLE_MOST: usize = 1000;

impl Clocks {
    /// From all that came within one stretch that ended at `at` seconds, while the path was idle or not; `None` where nothing came
    /// ever.
    pub(super) fn estimate(&mut self, raw: &[Raw], at: f64, is_idle: bool) -> Option<Estimate> {
        let there = raw.iter().map(|raw| raw.forward).min();
        let back = raw.iter().map(|raw| raw.reverse).min();
        let sum = raw
            .iter()
            .map(|raw| raw.forward.saturating_add(raw.reverse))
            .min();
        self.least = match (self.least, sum) {
            (Some(known), Some(sum)) => Some(known.min(sum)),
            (known, sum) => known.or(sum),
        };
        let least = self.least? as f64 / 2.0;
        let (mut low, mut high) = match (there, back) {
            (Some(there), Some(back)) => (least - back as f64, there as f64 - least),
            _ => (f64::NEG_INFINITY, f64::INFINITY),
        };
        let (passed, expected) = ((at - self.at).max(0.0), self.expected(at));
        if let Some((was_low, was_high)) = self.within {
            let (older_low, older_high) = (was_low - APART * passed, was_high + APART * passed);
            let (narrow_low, narrow_high) = (low.max(older_low), high.min(older_high));
            // Where they exclude each other the path, or a clock, has changed: the newer holds.
            if narrow_low <= narrow_high {
                (low, high) = (narrow_low, narrow_high);
            }
        }
        if !(low.is_finite() && high.is_finite()) {
            return None;
        }
        if low > high {
            (low, high) = (high, low);
        }
        let middle = low + (high - low) / 2.0;
        self.offset = match self.within {
            Some(_) if !is_idle => expected.clamp(low, high),
            _ => middle,
        };
        self.within = Some((low, high));
        self.at = at;
        if is_idle && !raw.is_empty() && self.idle.len() < IDLE_MOST {
            self.idle.push((at, middle));
            self.drift = slope(&self.idle).clamp(-APART, APART);
        }
        let spread = (high - self.offset).max(self.offset - low);
        Some(Estimate {
            offset: self.offset.round() as i128,
            error: (least.max(0.0) + spread).ceil() as u64,
        })
    }

    fn expected(&self, at: f64) -> f64 {
        self.offset + self.drift * (at - self.at)
    }
}

/// By how much a second the values of these points rise (least squares); 0 for less than four points.
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    if points.len() < 4 {
        return 0.0;
    }
    // Of small numbers: an offset of hours has no room for microseconds beside its square.
    let (first_at, first) = points.first().copied().unwrap_or_default();
    let near = || points.iter().map(|(at, value)| (at - first_at, value - first));
    let (mean_at, mean) = (
        near().map(|(at, _)| at).sum::<f64>() / count,
        near().map(|(_, value)| value).sum::<f64>() / count,
    );
    let (mut over, mut under) = (0.0, 0.0);
    for (at, value) in near() {
        over += (at - mean_at) * (value - mean);
        under += (at - mean_at) * (at - mean_at);
    }
    if under > 0.0 {
        over / under
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i128 = 3_600_000_000_000;

    /// A path of 100 µs each way to a clock an hour ahead that runs so many millionths fast: eight stretches idle, then so many
    /// loaded with these queues. The error of each estimate against the truth, and what it was said to be.
    fn run(millionths: f64, loaded: usize, queue: impl Fn(usize) -> (i128, i128)) -> Vec<(f64, u64)> {
        let mut clocks = Clocks::default();
        let mut all = Vec::new();
        for stretch in 0..8 + loaded {
            let is_idle = stretch < 8;
            let mut raw = Vec::new();
            let offset = |probe: usize| {
                let seconds = (stretch * 25 + probe) as f64 / 100.0;
                HOUR + (seconds * millionths * 1000.0) as i128
            };
            for probe in 0..25 {
                let (there, back) = if is_idle {
                    (0, 0)
                } else {
                    queue(stretch * 25 + probe)
                };
                let noise = (probe as i128 * 37) % 11 * 300;
                raw.push(Raw {
                    forward: 100_000 + noise + there + offset(probe),
                    reverse: 100_000 + (3000 - noise) + back - offset(probe),
                });
            }
            let at = (stretch + 1) as f64 / 4.0;
            let found = clocks.estimate(&raw, at, is_idle).unwrap();
            all.push(((found.offset - offset(12)) as f64, found.error));
        }
        all
    }

    #[test]
    fn a_clock_that_drifts_makes_no_delay_out_of_nothing() {
        for millionths in [-80.0, -5.0, 0.0, 5.0, 80.0] {
            // A minute of a queue there alone, back alone, and both.
            for ways in [(1, 0), (0, 1), (1, 1)] {
                let queue = |n: usize| {
                    let long = 2_000_000 + (n as i128 % 7) * 100_000;
                    (long * ways.0, long * ways.1)
                };
                for (place, (off, said)) in run(millionths, 240, queue).into_iter().enumerate() {
                    assert!(
                        off.abs() <= said as f64,
                        "{millionths} {ways:?} {place}: {off}, said {said}"
                    );
                    // Without following the clock it would be 5 ms at the end.
                    assert!(off.abs() < 500_000.0, "{millionths} {ways:?} {place}: {off}");
                }
            }
        }
    }

    #[test]
    fn an_offset_of_an_hour_is_no_delay_and_the_error_covers_half_the_path() {
        let all = run(0.0, 4, |_| (0, 0));
        assert!(all
            .iter()
            .all(|(off, said)| off.abs() < 5_000.0 && (100_000..120_000).contains(said)));
    }

    #[test]
    fn whatever_is_told_nothing_panics() {
        let mut clocks = Clocks::default();
        assert_eq!(clocks.estimate(&[], 0.0, true), None);
        let wild = [i128::MIN / 4, -1, 0, 1, i128::MAX / 4];
        for (n, forward) in wild.into_iter().enumerate() {
            for reverse in wild {
                let _ = clocks.estimate(&[Raw { forward, reverse }], n as f64, n % 2 == 0);
                let _ = clocks.estimate(&[], n as f64, false);
            }
        }
    }
}
