//! Quantiles of a stream in bounded memory.

use std::fmt;

use hdrhistogram::Histogram as Hdr;

use crate::{v2, Error};

/// The largest value kept apart: one day, in nanoseconds. What is larger counts as one day.
pub const DAY_NS: u64 = 86_400_000_000_000;

/// The most values one histogram takes: what its V2 form can write down.
const MOST: u64 = i64::MAX as u64;

/// How many samples a quantile needs to stand on: 1/(1−q), rounded up (p50 2, p90 10, p99 100, p99.9 1000).
///
/// `None` for what no number of samples carries: 1 and above, negative, or not a number.
pub fn replies_needed(q: f64) -> Option<u64> {
    if !(0.0..1.0).contains(&q) {
        return None;
    }
    let exact = 1.0 / (1.0 - q);
    // 1/(1−0.9) is 10.000000000000002 in binary: a whole number that close is meant.
    let whole = exact.round();
    let needed = if (exact - whole).abs() <= whole * 1e-9 {
        whole
    } else {
        exact.ceil()
    };
    Some(needed as u64)
}

/// One recorded step of a histogram: `count` values between `lowest` and `highest`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bin {
    /// The smallest value that falls here, in nanoseconds.
    pub lowest: u64,
    /// The largest value that falls here, in nanoseconds.
    pub highest: u64,
    /// How many were recorded; never 0.
    pub count: u64,
}

/// A histogram of nanoseconds, from 1 ns to one day, to a fixed number of significant digits (three unless told).
///
/// Memory is bounded: it reaches as far as the largest value seen, in steps of a factor of two, at most 311 KB with
/// three digits (a stream below 1 ms uses 90 KB) and 42 KB with two.
#[derive(Clone)]
pub struct Histogram {
    inner: Hdr<u64>,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram::new()
    }
}

impl Histogram {
    /// An empty one with three significant digits: every quantile within 0.1 %.
    pub fn new() -> Histogram {
        Histogram::build(3)
    }

    /// An empty one with this many significant digits.
    ///
    /// # Errors
    /// [`Error::Digits`] outside 1 to 5.
    pub fn with_digits(digits: u8) -> Result<Histogram, Error> {
        if (1..=5).contains(&digits) {
            Ok(Histogram::build(digits))
        } else {
            Err(Error::Digits(digits))
        }
    }

    pub(crate) fn build(digits: u8) -> Histogram {
        // Cannot fail: the low bound is 1, the high one twice that, the digits at most 5.
        let mut inner = Hdr::new_with_bounds(1, 2, digits).expect("fixed bounds are valid");
        inner.auto(true);
        Histogram { inner }
    }

    pub(crate) fn from_hdr(mut inner: Hdr<u64>) -> Histogram {
        inner.auto(true);
        Histogram { inner }
    }

    /// Adds one value; what is above one day counts as one day.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        // Cannot fail: it grows as far as a day, which every usize of 32 bits or more can index.
        let grown = self.inner.record(ns.min(DAY_NS));
        debug_assert!(grown.is_ok());
    }

    /// Adds another histogram's values, of whatever precision.
    ///
    /// One that would take the count past 2^63 − 1 is left out: such a count comes from a forged file, not from probes.
    pub fn merge(&mut self, other: &Histogram) {
        if self.len().checked_add(other.len()).is_some_and(|n| n <= MOST) {
            let added = self.inner.add(&other.inner);
            debug_assert!(added.is_ok());
        }
    }

    /// How many values were recorded.
    pub fn len(&self) -> u64 {
        self.inner.len()
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    /// The number of significant digits.
    pub fn digits(&self) -> u8 {
        self.inner.sigfig()
    }

    /// The value that the fraction `q` of all values do not exceed, in nanoseconds (nearest rank, upper end of the
    /// bin); `None` unless there are as many values as [`replies_needed`] says.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let n = self.len();
        if n < replies_needed(q)?.max(1) {
            return None;
        }
        // The rank is found here, with room for what binary fractions add (0.07 × 100 is not 7); half a rank below
        // it, the library rounds up to the same one.
        let rank = (q * n as f64 * (1.0 - 1e-12)).ceil().max(1.0);
        Some(self.inner.value_at_quantile((rank - 0.5) / n as f64))
    }

    /// Every bin that holds something, in ascending order.
    pub fn recorded(&self) -> impl Iterator<Item = Bin> + '_ {
        self.inner.iter_recorded().map(|step| {
            let highest = step.value_iterated_to();
            Bin {
                lowest: self.inner.lowest_equivalent(highest),
                highest,
                count: step.count_at_value(),
            }
        })
    }

    /// HdrHistogram's V2 format, compressed, in base64 (`HISTF…`): what every HdrHistogram library reads.
    pub fn to_v2_base64(&self) -> String {
        v2::encode(&self.inner)
    }

    /// Reads what [`Histogram::to_v2_base64`], or another HdrHistogram library, wrote.
    ///
    /// # Errors
    /// When the text is not base64, or not a whole histogram in that format. Nothing is believed about its lengths:
    /// memory is bounded whatever it announces.
    pub fn from_v2_base64(text: &str) -> Result<Histogram, Error> {
        v2::decode(text).map(Histogram::from_hdr)
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram")
            .field("digits", &self.digits())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// Equal when they hold the same counts at the same precision.
impl PartialEq for Histogram {
    fn eq(&self, other: &Histogram) -> bool {
        self.digits() == other.digits() && self.recorded().eq(other.recorded())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_needs_the_replies_that_the_formula_says() {
        let needs = [
            (0.0, 1),
            (0.5, 2),
            (0.9, 10),
            (0.95, 20),
            (0.99, 100),
            (0.999, 1000),
            (0.9999, 10_000),
        ];
        for (q, n) in needs {
            assert_eq!(replies_needed(q), Some(n), "{q}");
        }
        assert_eq!(replies_needed(0.99999), Some(100_000));
        assert_eq!(replies_needed(0.75), Some(4));
        assert_eq!(replies_needed(0.7), Some(4));
        for q in [1.0, 1.5, -0.1, f64::NAN, f64::INFINITY] {
            assert_eq!(replies_needed(q), None, "{q}");
        }
    }

    #[test]
    fn a_quantile_is_none_one_reply_short_and_some_with_it() {
        for (q, n) in [(0.5, 2), (0.9, 10), (0.99, 100), (0.999, 1000)] {
            let mut h = Histogram::new();
            for _ in 0..n - 1 {
                h.record(1000);
            }
            assert_eq!(h.quantile(q), None);
            h.record(1000);
            assert_eq!(h.quantile(q), Some(1000));
        }
    }

    #[test]
    fn a_quantile_is_the_value_at_the_nearest_rank() {
        let mut h = Histogram::new();
        (1..=100).for_each(|v| h.record(v));
        for (q, v) in [
            (0.0, 1),
            (0.01, 1),
            (0.07, 7),
            (0.29, 29),
            (0.5, 50),
            (0.9, 90),
            (0.99, 99),
        ] {
            assert_eq!(h.quantile(q), Some(v), "{q}");
        }
    }

    #[test]
    fn more_than_a_day_counts_as_a_day() {
        let mut h = Histogram::new();
        h.record(u64::MAX);
        h.record(DAY_NS);
        let bins: Vec<_> = h.recorded().collect();
        assert_eq!(bins.len(), 1);
        assert!(bins[0].lowest <= DAY_NS && DAY_NS <= bins[0].highest && bins[0].count == 2);
    }

    #[test]
    fn histograms_of_different_precision_and_reach_merge() {
        let (mut coarse, mut fine) = (Histogram::with_digits(2).unwrap(), Histogram::new());
        [0, 1, 5, 1_000_000, DAY_NS].iter().for_each(|&v| fine.record(v));
        coarse.record(17);
        coarse.merge(&fine);
        assert_eq!(coarse.len(), 6);
        let last = coarse.recorded().last().unwrap();
        assert!(last.lowest <= DAY_NS && DAY_NS <= last.highest);
    }

    #[test]
    fn what_another_implementation_wrote_is_read() {
        // By Python's hdrhistogram 0.10.8: 1 ns once, 1 µs twice, 41.9 µs three times, 1.203 ms 94 times, 1 s once.
        let text = "HISTFAAAADJ4nJNpmSzMwMAgwAABzFCakYHBb8pEfwYG+w9QAabT/CzPQ9je++5h3D6bkQkAwzkJvA==";
        let h = Histogram::from_v2_base64(text).unwrap();
        let counts: Vec<_> = h.recorded().map(|b| b.count).collect();
        assert_eq!((h.len(), h.digits(), counts), (101, 3, vec![1, 2, 3, 94, 1]));
        assert_eq!(
            (h.quantile(0.5), h.quantile(0.99)),
            (Some(1_203_199), Some(1_203_199))
        );
    }

    #[test]
    fn digits_outside_one_to_five_are_refused() {
        for digits in [0, 6, 255] {
            assert!(matches!(Histogram::with_digits(digits), Err(Error::Digits(d)) if d == digits));
        }
    }
}
