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
/// Its bins are HdrHistogram's, and that library writes and reads their V2 form; they are counted here, because one value
/// costs a third of what it costs there and every probe records three. Memory is bounded: it reaches as far as the largest
/// value seen, in steps of a factor of two, at most 311 KB with three digits (a stream below 1 ms uses 90 KB) and 42 KB with
/// two.
#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    len: u64,
    layout: Layout,
}

/// Which values share a bin: rows of bins of equal width, each row's twice as wide as those of the row before, and
/// 2^`half` bins in each row but the first, which has twice as many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Layout {
    digits: u8,
    half: u8,
}

impl Layout {
    const fn of(digits: u8) -> Layout {
        // The first row, with a bin for each value, holds 2 × 10^digits of them at least.
        let single = 2 * 10u64.pow(digits as u32);
        Layout {
            digits,
            half: single.next_power_of_two().trailing_zeros() as u8 - 1,
        }
    }

    /// The bin of a value.
    #[inline]
    const fn bin(self, value: u64) -> usize {
        let first_row = (2 << self.half) - 1;
        let row = 63 - self.half as u32 - (value | first_row).leading_zeros();
        ((row as usize) << self.half) + (value >> row) as usize
    }

    /// The smallest and the largest value of a bin.
    const fn values(self, bin: usize) -> (u64, u64) {
        let per_row = 1usize << self.half;
        let row = (bin >> self.half).saturating_sub(1);
        let lowest = ((bin - row * per_row) as u64) << row;
        (lowest, lowest + ((1 << row) - 1))
    }

    /// How many bins there are up to the end of the row that `bin` is in.
    const fn reach(self, bin: usize) -> usize {
        let row = (bin >> self.half).saturating_sub(1);
        (row + 2) << self.half
    }
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
        let layout = Layout::of(digits);
        Histogram {
            counts: vec![0; layout.reach(0)],
            len: 0,
            layout,
        }
    }

    pub(crate) fn from_hdr(other: &Hdr<u64>) -> Histogram {
        let mut all = Histogram::build(other.sigfig());
        for step in other.iter_recorded() {
            all.add(step.value_iterated_to(), step.count_at_value());
        }
        all
    }

    pub(crate) fn to_hdr(&self) -> Hdr<u64> {
        // Cannot fail: the low bound is 1, the high one twice that, the digits at most 5.
        let mut all = Hdr::new_with_bounds(1, 2, self.layout.digits).expect("fixed bounds are valid");
        all.auto(true);
        for bin in self.recorded() {
            // Cannot fail: it grows as far as it must.
            let grown = all.record_n(bin.lowest, bin.count);
            debug_assert!(grown.is_ok());
        }
        all
    }

    /// Adds one value; what is above one day counts as one day.
    #[inline]
    pub fn record(&mut self, ns: u64) {
        let ns = ns.min(DAY_NS);
        match self.counts.get_mut(self.layout.bin(ns)) {
            Some(count) => {
                *count += 1;
                self.len += 1;
            }
            None => self.record_beyond(ns),
        }
    }

    #[cold]
    fn record_beyond(&mut self, ns: u64) {
        self.add(ns, 1);
    }

    /// Adds `count` values at once; what would take the count past 2^63 − 1 is left out, and what is above one day counts
    /// as one day.
    pub fn record_many(&mut self, ns: u64, count: u64) {
        self.add(ns.min(DAY_NS), count);
    }

    fn add(&mut self, ns: u64, count: u64) {
        let Some(len) = self.len.checked_add(count).filter(|&len| len <= MOST) else {
            return;
        };
        let bin = self.layout.bin(ns);
        if bin >= self.counts.len() {
            self.counts.resize(self.layout.reach(bin), 0);
        }
        self.counts[bin] += count;
        self.len = len;
    }

    /// Forgets every value and keeps the memory.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.len = 0;
    }

    /// Adds another histogram's values, of whatever precision.
    ///
    /// One that would take the count past 2^63 − 1 is left out: such a count comes from a forged file, not from probes.
    pub fn merge(&mut self, other: &Histogram) {
        if self.len.checked_add(other.len).is_some_and(|n| n <= MOST) {
            other.recorded().for_each(|bin| self.add(bin.lowest, bin.count));
        }
    }

    /// How many values were recorded.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of significant digits.
    pub fn digits(&self) -> u8 {
        self.layout.digits
    }

    /// The value that the fraction `q` of all values do not exceed, in nanoseconds (nearest rank, upper end of the
    /// bin); `None` unless there are as many values as [`replies_needed`] says.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        if self.len < replies_needed(q)?.max(1) {
            return None;
        }
        // Less what binary fractions add: 0.07 × 100 is not 7.
        let rank = (q * self.len as f64 * (1.0 - 1e-12)).ceil().max(1.0) as u64;
        let mut below = 0;
        self.recorded()
            .find(|bin| {
                below += bin.count;
                below >= rank
            })
            .map(|bin| bin.highest)
    }

    /// Every bin that holds something, in ascending order.
    pub fn recorded(&self) -> impl Iterator<Item = Bin> + '_ {
        let filled = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.map(|(bin, &count)| {
            let (lowest, highest) = self.layout.values(bin);
            Bin {
                lowest,
                highest,
                count,
            }
        })
    }

    /// HdrHistogram's V2 format, compressed, in base64 (`HISTF…`): what every HdrHistogram library reads.
    pub fn to_v2_base64(&self) -> String {
        v2::encode(&self.to_hdr())
    }

    /// Reads what [`Histogram::to_v2_base64`], or another HdrHistogram library, wrote.
    ///
    /// # Errors
    /// When the text is not base64, or not a whole histogram in that format. Nothing is believed about its lengths:
    /// memory is bounded whatever it announces.
    pub fn from_v2_base64(text: &str) -> Result<Histogram, Error> {
        v2::decode(text).map(|read| Histogram::from_hdr(&read))
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
    fn a_bin_holds_the_values_that_fall_into_it_and_the_next_begins_above() {
        for digits in 1..=5 {
            let layout = Layout::of(digits);
            let mut next = 0;
            for bin in 0..layout.reach(0) * 4 {
                let (lowest, highest) = layout.values(bin);
                assert_eq!(lowest, next, "{digits} digits, bin {bin}");
                assert_eq!((layout.bin(lowest), layout.bin(highest)), (bin, bin));
                next = highest + 1;
            }
            let (lowest, highest) = layout.values(layout.bin(u64::MAX));
            assert!(lowest < highest && highest == u64::MAX);
        }
    }

    #[test]
    fn cleared_it_is_as_new() {
        let mut h = Histogram::new();
        h.record_many(1_000_000, 7);
        h.clear();
        assert_eq!((h.len(), h.recorded().count(), h.quantile(0.0)), (0, 0, None));
        h.record_many(5, u64::MAX);
        assert!(h.is_empty(), "more than a histogram takes");
    }

    #[test]
    fn digits_outside_one_to_five_are_refused() {
        for digits in [0, 6, 255] {
            assert!(matches!(Histogram::with_digits(digits), Err(Error::Digits(d)) if d == digits));
        }
    }
}
