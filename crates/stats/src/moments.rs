//! Count, minimum, maximum, mean and standard deviation of a stream.

/// Exact count, minimum, maximum and sum of `u64` samples, and their squared deviation, in 48 bytes.
///
/// The standard deviation is the *population's* (divided by n), as `ping` computes its `mdev`. It is carried as a sum
/// of squared deviations that is updated one sample at a time (Youngs and Cramer 1971), so nothing cancels out when
/// the spread is small against the mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    count: u64,
    min: u64,
    max: u64,
    // The sum in two words rather than a u128, whose alignment would cost each recorder eight bytes.
    sum_low: u64,
    sum_high: u64,
    /// Sum of squared deviations from the mean.
    squares: f64,
}

impl Default for Moments {
    fn default() -> Moments {
        Moments::new()
    }
}

const TWO_64: f64 = 18_446_744_073_709_551_616.0;

impl Moments {
    /// Of no samples yet.
    pub const fn new() -> Moments {
        Moments {
            count: 0,
            min: u64::MAX,
            max: 0,
            sum_low: 0,
            sum_high: 0,
            squares: 0.0,
        }
    }

    /// Adds one sample.
    #[inline]
    pub fn record(&mut self, value: u64) {
        let before = self.count as f64;
        if self.count > 0 {
            let deviation = value as f64 - self.sum_f64() / before;
            self.squares += deviation * deviation * (before / (before + 1.0));
        }
        self.count = self.count.saturating_add(1);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.add_to_sum(0, value);
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
        let (n, m) = (self.count as f64, other.count as f64);
        let apart = self.sum_f64() / n - other.sum_f64() / m;
        self.squares += other.squares + apart * apart * (n * m / (n + m));
        self.count = self.count.saturating_add(other.count);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.add_to_sum(other.sum_high, other.sum_low);
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
        (self.count > 0).then(|| (self.squares / self.count as f64).sqrt())
    }

    fn sum_f64(&self) -> f64 {
        self.sum_high as f64 * TWO_64 + self.sum_low as f64
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
        assert!((stddev - 1.0).abs() < 1e-2, "{stddev}");
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
    fn moments_are_48_bytes() {
        assert_eq!(size_of::<Moments>(), 48);
    }
}
