//! A histogram as people read it: N buckets of equal width as PsPing prints them, or buckets between given bounds.
//!
//! Counts come from a [`Histogram`], so a value within its precision (0.1 %) of an edge may stand on the other side.

use crate::{Histogram, Moments};

/// One line of a printed histogram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bucket {
    /// The smallest value that counts here, in nanoseconds. The next bucket's is the first that does not.
    pub lower_ns: u64,
    /// How many values.
    pub count: u64,
}

/// `n` buckets of equal width, labelled L_k = min + k·(max − min)/(n − 1): the label is a lower bound, and the last
/// bucket holds the maximum alone.
///
/// `moments` are those of the same values. Without values, or with `n` 0, there are no buckets; with one value, or
/// `n` 1, there is one that holds everything.
pub fn equal(histogram: &Histogram, moments: &Moments, n: usize) -> Vec<Bucket> {
    let (Some(min), Some(max)) = (moments.min(), moments.max()) else {
        return Vec::new();
    };
    if n == 0 {
        return Vec::new();
    }
    if n == 1 || min == max {
        return vec![Bucket {
            lower_ns: min,
            count: histogram.len(),
        }];
    }
    let width = u128::from(max - min);
    let steps = (n - 1) as u128;
    // No step exceeds max − min, so each sum fits.
    let label = |k: usize| min + (k as u128 * width / steps) as u64;
    let mut buckets: Vec<_> = (0..n)
        .map(|k| Bucket {
            lower_ns: label(k),
            count: 0,
        })
        .collect();
    for bin in histogram.recorded() {
        // The ends are known exactly, what lies between to the middle of its bin.
        let holds = |v: u64| bin.lowest <= v && v <= bin.highest;
        if holds(min) && holds(max) {
            count(&mut buckets, min, bin.count.saturating_sub(1));
            count(&mut buckets, max, bin.count.min(1));
        } else if holds(max) {
            count(&mut buckets, max, bin.count);
        } else if holds(min) {
            count(&mut buckets, min, bin.count);
        } else {
            count(
                &mut buckets,
                middle(bin.lowest, bin.highest).clamp(min, max),
                bin.count,
            );
        }
    }
    buckets
}

/// One bucket from each bound (in nanoseconds) to the next, the last without an end, and before them one from 0 to
/// the first bound. Bounds are put in order, and equal ones count once.
pub fn bounds(histogram: &Histogram, bounds_ns: &[u64]) -> Vec<Bucket> {
    let mut lower = vec![0];
    lower.extend_from_slice(bounds_ns);
    lower.sort_unstable();
    lower.dedup();
    let mut buckets: Vec<_> = lower
        .into_iter()
        .map(|lower_ns| Bucket { lower_ns, count: 0 })
        .collect();
    for bin in histogram.recorded() {
        count(&mut buckets, middle(bin.lowest, bin.highest), bin.count);
    }
    buckets
}

fn middle(low: u64, high: u64) -> u64 {
    // Rounded up, so that a bound in the middle of a bin that holds only that value counts it.
    high - (high - low) / 2
}

/// Adds to the last bucket that begins at or below `value`.
fn count(buckets: &mut [Bucket], value: u64, by: u64) {
    let above = buckets.partition_point(|b| b.lower_ns <= value);
    if let Some(bucket) = above.checked_sub(1).and_then(|i| buckets.get_mut(i)) {
        bucket.count = bucket.count.saturating_add(by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = u64>) -> (Histogram, Moments) {
        let (mut h, mut m) = (Histogram::new(), Moments::new());
        for v in values {
            h.record(v);
            m.record(v);
        }
        (h, m)
    }

    #[test]
    fn the_buckets_of_a_psping_run_come_out_as_it_printed_them() {
        // Ten ICMP replies of PsPing 2.10, in hundredths of a millisecond, chosen to its printed counts.
        let run = [4142, 4143, 4160, 4162, 4169, 4184, 4190, 4198, 4199, 4212];
        let (h, m) = of(run.map(|v| v * 10_000));
        let got: Vec<_> = equal(&h, &m, 10)
            .iter()
            .map(|b| (b.lower_ns / 10_000, b.count))
            .collect();
        let want = [
            (4142, 2),
            (4149, 0),
            (4157, 2),
            (4165, 1),
            (4173, 0),
            (4180, 1),
            (4188, 1),
            (4196, 2),
            (4204, 0),
            (4212, 1),
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn nothing_recorded_and_no_buckets_give_no_lines() {
        let (h, m) = of([]);
        assert!(equal(&h, &m, 20).is_empty());
        let (h, m) = of([5]);
        assert!(equal(&h, &m, 0).is_empty());
    }

    #[test]
    fn a_single_value_is_one_bucket() {
        let (h, m) = of([5, 5, 5]);
        assert_eq!(
            equal(&h, &m, 20),
            [Bucket {
                lower_ns: 5,
                count: 3
            }]
        );
    }

    #[test]
    fn ends_within_one_bin_still_fill_the_first_and_the_last_bucket() {
        let (h, m) = of([1_000_000_001, 1_000_000_002, 1_000_000_003]);
        let b = equal(&h, &m, 3);
        assert_eq!((b[0].count, b[1].count, b[2].count), (2, 0, 1));
    }

    #[test]
    fn a_bound_is_the_first_value_of_its_bucket() {
        let (h, _) = of([0, 9, 10, 19, 20, 1000]);
        let got: Vec<_> = bounds(&h, &[20, 10, 10])
            .iter()
            .map(|b| (b.lower_ns, b.count))
            .collect();
        assert_eq!(got, [(0, 2), (10, 2), (20, 2)]);
        assert_eq!(
            bounds(&h, &[]),
            [Bucket {
                lower_ns: 0,
                count: 6
            }]
        );
        assert_eq!(bounds(&h, &[0, u64::MAX]).len(), 2);
    }
}
