//! Count, minimum, maximum, mean and standard deviation of a stream.

/// Exact count, minimum, maximum, sum and sum of squares of `u64` samples, in 56 bytes.
///
/// The standard deviation is the *population's* (divided by n), as `ping` computes its `mdev`. The sum of squares is
/// kept in whole numbers modulo 2^128; the sum of squared deviations is formed from it in whole numbers too, so
/// nothing cancels out when the spread is small against the mean, and a sample costs no division.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moments {
    count: u64,
    min: u64,
    max: u64,
    // The sum in two words rather than a u128, whose alignment would cost each recorder eight bytes.
    sum_low: u64,
    sum_high: u64,
    /// The sum of the squared samples modulo 2^128, in two words for the same reason.
    squares_low: u64,
    squares_high: u64,
}

/// What [`Moments`] consist of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MomentsParts {
    /// How many samples; at least 1.
    pub count: u64,
    /// The smallest.
    pub min: u64,
    /// The largest.
    pub max: u64,
    /// Their sum.
    pub sum: u128,
    /// The sum of their squares, modulo 2^128.
    pub squares: u128,
}

impl Default for Moments {
    fn default() -> Moments {
        Moments::new()
    }
}

impl Moments {
    /// Of no samples yet.
    pub const fn new() -> Moments {
        Moments {
            count: 0,
            min: u64::MAX,
            max: 0,
            sum_low: 0,
            sum_high: 0,
            squares_low: 0,
            squares_high: 0,
        }
    }

    /// Adds one sample.
    #[inline]
    pub fn record(&mut self, value: u64) {
        self.count = self.count.saturating_add(1);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.add_to_sum(0, value);
        self.add_to_squares(u128::from(value) * u128::from(value));
    }

    /// Adds another stream's samples. Count, minimum, maximum and mean are exactly those of both together.
    pub fn merge(&mut self, other: &Moments) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        self.count = self.count.saturating_add(other.count);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.add_to_sum(other.sum_high, other.sum_low);
        self.add_to_squares(other.squares());
    }

    /// How many samples.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The smallest sample; `None` without any.
    pub const fn min(&self) -> Option<u64> {
        if self.count == 0 {
            None
        } else {
            Some(self.min)
        }
    }

    /// The largest sample; `None` without any.
    pub const fn max(&self) -> Option<u64> {
        if self.count == 0 {
            None
        } else {
            Some(self.max)
        }
    }

    /// The sum of all samples.
    pub const fn sum(&self) -> u128 {
        (self.sum_high as u128) << 64 | self.sum_low as u128
    }

    /// The arithmetic mean; `None` without samples.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum() as f64 / self.count as f64)
    }

    /// The population standard deviation; 0 of a single sample, `None` without any.
    pub fn stddev(&self) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        // Deviations from the mean rounded down: Σ(v − q)² = Σv² − 2qΣv + nq². Every term may wrap; what is left does not,
        // unless the spread itself passes 2^128.
        let n = u128::from(self.count);
        let (whole, rest) = (self.sum() / n, self.sum() % n);
        let apart = self
            .squares()
            .wrapping_sub(whole.wrapping_mul(self.sum()).wrapping_mul(2))
            .wrapping_add(n.wrapping_mul(whole).wrapping_mul(whole));
        // Those deviations average to the part of the mean that was rounded off.
        let off = rest as f64 / n as f64;
        Some((apart as f64 / n as f64 - off * off).max(0.0).sqrt())
    }

    /// What it consists of, for keeping it in a file; `None` without samples.
    pub fn parts(&self) -> Option<MomentsParts> {
        (self.count > 0).then(|| MomentsParts {
            count: self.count,
            min: self.min,
            max: self.max,
            sum: self.sum(),
            squares: self.squares(),
        })
    }

    /// Puts it together again; `None` where the parts contradict each other: no samples, ends the wrong way round, or a
    /// sum that samples between the ends cannot have.
    pub fn from_parts(parts: MomentsParts) -> Option<Moments> {
        let count = u128::from(parts.count);
        let least = count.checked_mul(parts.min.into())?;
        let most = count.checked_mul(parts.max.into())?;
        let is_possible = parts.count > 0 && parts.min <= parts.max && (least..=most).contains(&parts.sum);
        is_possible.then_some(Moments {
            count: parts.count,
            min: parts.min,
            max: parts.max,
            sum_low: parts.sum as u64,
            sum_high: (parts.sum >> 64) as u64,
            squares_low: parts.squares as u64,
            squares_high: (parts.squares >> 64) as u64,
        })
    }

    const fn squares(&self) -> u128 {
        (self.squares_high as u128) << 64 | self.squares_low as u128
    }

    fn add_to_squares(&mut self, more: u128) {
        let squares = self.squares().wrapping_add(more);
        self.squares_low = squares as u64;
        self.squares_high = (squares >> 64) as u64;
    }

    fn add_to_sum(&mut self, high: u64, low: u64) {
        let (sum, carry) = self.sum_low.overflowing_add(low);
        self.sum_low = sum;
        // 2^64 samples of 2^64 fill the 128 bits exactly; only merging counts that saturated could pass them.
        self.sum_high = self
            .sum_high
            .saturating_add(high)
            .saturating_add(u64::from(carry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_samples_every_figure_is_none() {
        let m = Moments::new();
        assert_eq!(
            (m.count(), m.min(), m.max(), m.mean(), m.stddev()),
            (0, None, None, None, None)
        );
    }

    #[test]
    fn a_single_sample_has_no_spread() {
        let mut m = Moments::new();
        m.record(7);
        assert_eq!(
            (m.min(), m.max(), m.mean(), m.stddev()),
            (Some(7), Some(7), Some(7.0), Some(0.0))
        );
    }

    #[test]
    fn the_standard_deviation_is_the_populations() {
        let mut m = Moments::new();
        for v in [2, 4, 4, 4, 5, 5, 7, 9] {
            m.record(v);
        }
        assert_eq!((m.mean(), m.stddev()), (Some(5.0), Some(2.0)));
    }

    #[test]
    fn a_small_spread_survives_a_large_mean() {
        let mut m = Moments::new();
        for i in 0..1_000_000u64 {
            m.record(86_400_000_000_000 - (i & 1) * 2);
        }
        let stddev = m.stddev().unwrap();
        assert!((stddev - 1.0).abs() < 1e-12, "{stddev}");
    }

    #[test]
    fn the_largest_samples_do_not_overflow() {
        let mut m = Moments::new();
        for _ in 0..5 {
            m.record(u64::MAX);
        }
        assert_eq!(m.sum(), 5 * u128::from(u64::MAX));
        assert_eq!((m.max(), m.stddev()), (Some(u64::MAX), Some(0.0)));
    }

    #[test]
    fn parts_make_the_same_moments_and_contradictions_make_none() {
        let mut m = Moments::new();
        assert_eq!(m.parts(), None);
        for v in [2, 9, 4] {
            m.record(v);
        }
        let parts = m.parts().unwrap();
        assert_eq!(Moments::from_parts(parts), Some(m));
        for wrong in [
            MomentsParts { count: 0, ..parts },
            MomentsParts { min: 10, ..parts },
            MomentsParts { sum: 5, ..parts },
            MomentsParts { sum: 28, ..parts },
        ] {
            assert_eq!(Moments::from_parts(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn moments_are_56_bytes() {
        assert_eq!(size_of::<Moments>(), 56);
    }
}
