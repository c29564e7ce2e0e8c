//! One-way delays: differences between two clocks that nobody has set by each other.
//!
//! Each way's figures contain the offset between the clocks, with opposite signs. Were the fastest packet of either way
//! equally fast, half the difference of the two least figures would be the offset; at worst all of the shortest round
//! trip lies on one way, so the estimate is off by half of that at most. Variation needs no offset.

/// A running summary of one way, nanoseconds by two clocks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OneWay {
    count: u64,
    least: i64,
    most: i64,
    mean: f64,
    squares: f64,
    last: Option<i64>,
    steps: f64,
}

impl OneWay {
    pub(crate) fn record(&mut self, raw: i64) {
        if self.count == 0 {
            (self.least, self.most) = (raw, raw);
        }
        self.count += 1;
        self.least = self.least.min(raw);
        self.most = self.most.max(raw);
        // Welford's: no difference of large sums.
        let off = raw as f64 - self.mean;
        self.mean += off / self.count as f64;
        self.squares += off * (raw as f64 - self.mean);
        if let Some(last) = self.last.replace(raw) {
            self.steps += (raw as f64 - last as f64).abs();
        }
    }

    /// Its figures, with the other clock taken to be `offset` ahead of ours.
    fn delay(&self, offset: f64, clock_error: u64) -> Option<Delay> {
        let true_ns = |raw: f64| (raw - offset).max(0.0).round() as u64;
        (self.count > 0).then(|| Delay {
            count: self.count,
            min: true_ns(self.least as f64),
            mean: true_ns(self.mean),
            max: true_ns(self.most as f64),
            stddev: (self.count > 1).then(|| (self.squares / self.count as f64).sqrt().round() as u64),
            variation: (self.count > 1).then(|| (self.steps / (self.count - 1) as f64).round() as u64),
            clock_error,
        })
    }
}

/// The one-way delay, nanoseconds, by an estimated offset between the clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Delay {
    /// Packets.
    pub count: u64,
    /// The least.
    pub min: u64,
    /// The mean.
    pub mean: u64,
    /// The most.
    pub max: u64,
    /// Standard deviation; needs two.
    pub stddev: Option<u64>,
    /// The mean difference from one packet to the next (IPDV, RFC 3393), which knows no offset; needs two.
    pub variation: Option<u64>,
    /// `min`, `mean` and `max` are off by this at most, all by the same.
    pub clock_error: u64,
}

/// Both ways' delays, and the offset they are told by: how far the other clock is ahead of ours, nanoseconds.
pub(crate) fn both(forward: &OneWay, reverse: &OneWay) -> Option<(Delay, Delay, i64)> {
    if forward.count == 0 || reverse.count == 0 {
        return None;
    }
    let (there, back) = (forward.least as f64, reverse.least as f64);
    let offset = (there - back) / 2.0;
    let clock_error = ((there + back) / 2.0).max(0.0).ceil() as u64;
    Some((
        forward.delay(offset, clock_error)?,
        reverse.delay(-offset, clock_error)?,
        offset.round() as i64,
    ))
}

/// The least, mean and most of something, nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    /// How many.
    pub count: u64,
    /// The least.
    pub min: u64,
    /// The mean.
    pub mean: u64,
    /// The most.
    pub max: u64,
}

/// Gathers a [`Span`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gathered {
    count: u64,
    min: u64,
    max: u64,
    sum: u128,
}

impl Gathered {
    pub(crate) fn record(&mut self, value: u64) {
        self.min = if self.count == 0 {
            value
        } else {
            self.min.min(value)
        };
        self.max = self.max.max(value);
        self.count += 1;
        self.sum += u128::from(value);
    }

    pub(crate) fn span(&self) -> Option<Span> {
        let mean = self.sum.checked_div(u128::from(self.count))?;
        Some(Span {
            count: self.count,
            min: self.min,
            // No mean exceeds the most.
            mean: u64::try_from(mean).unwrap_or(self.max),
            max: self.max,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(raw: &[i64]) -> OneWay {
        let mut way = OneWay::default();
        raw.iter().for_each(|&raw| way.record(raw));
        way
    }

    #[test]
    fn an_offset_of_clocks_cancels_and_the_error_covers_an_uneven_path() {
        // The other clock is an hour ahead; 3 ms there, 1 ms back at the least.
        let hour = 3_600_000_000_000;
        let (there, back) = (
            way(&[hour + 3_000_000, hour + 3_500_000]),
            way(&[1_000_000 - hour, 1_200_000 - hour]),
        );
        let (forward, reverse, offset) = both(&there, &back).unwrap();
        assert_eq!(
            (forward.min, forward.max, reverse.min, reverse.max),
            (2_000_000, 2_500_000, 2_000_000, 2_200_000)
        );
        assert_eq!(
            (forward.variation, reverse.variation),
            (Some(500_000), Some(200_000))
        );
        assert_eq!(forward.clock_error, 2_000_000);
        assert_eq!(offset, hour + 1_000_000);
        assert!(forward.min.abs_diff(3_000_000) <= forward.clock_error);
    }

    #[test]
    fn extremes_make_no_panic_and_nothing_makes_no_figure() {
        let (there, back) = (way(&[i64::MIN, i64::MAX]), way(&[i64::MAX, i64::MIN]));
        assert!(both(&there, &back).is_some());
        assert!(both(&there, &OneWay::default()).is_none());
        assert_eq!(Gathered::default().span(), None);
    }
}
