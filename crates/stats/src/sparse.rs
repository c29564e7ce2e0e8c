//! A histogram in as much memory as it has bins: for the many short stretches of a run.

use crate::Histogram;

/// Values up to here have a bin each; above, a bin is at most 0.1 % wide, on the same grid as a three-digit [`Histogram`].
const EXACT: u64 = 2048;
const HALF: u32 = 1024;

/// Counts by bin, only of bins that hold something, in ascending order. Quantiles are those of a [`Histogram`] of three
/// digits with the same values.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sparse {
    bins: Vec<(u32, u64)>,
    len: u64,
}

impl Sparse {
    /// Of these values, in nanoseconds.
    pub fn of(values: &[u64]) -> Sparse {
        let mut places: Vec<u32> = values.iter().map(|&ns| place(ns)).collect();
        places.sort_unstable();
        let mut sparse = Sparse::default();
        for place in places {
            match sparse.bins.last_mut() {
                Some((last, count)) if *last == place => *count += 1,
                _ => sparse.bins.push((place, 1)),
            }
        }
        sparse.len = values.len() as u64;
        sparse
    }

    /// Adds another's values. Counts stop at the largest number there is.
    pub fn merge(&mut self, other: &Sparse) {
        if other.bins.is_empty() {
            return;
        }
        let mut merged = Vec::with_capacity(self.bins.len() + other.bins.len());
        let (mut a, mut b) = (self.bins.iter().peekable(), other.bins.iter().peekable());
        while let (Some(&&(x, n)), Some(&&(y, m))) = (a.peek(), b.peek()) {
            if x <= y {
                a.next();
            }
            if y <= x {
                b.next();
            }
            merged.push(match x.cmp(&y) {
                std::cmp::Ordering::Less => (x, n),
                std::cmp::Ordering::Greater => (y, m),
                std::cmp::Ordering::Equal => (x, n.saturating_add(m)),
            });
        }
        merged.extend(a);
        merged.extend(b);
        self.bins = merged;
        self.len = self.len.saturating_add(other.len);
    }

    /// How many values.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Every bin's place on the grid and its count, in ascending order.
    pub fn bins(&self) -> &[(u32, u64)] {
        &self.bins
    }

    /// The value at the nearest rank of the fraction `q`, upper end of its bin, in nanoseconds; `None` of nothing. How many
    /// values carry a quantile is for the caller to ask ([`crate::replies_needed`]).
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let rank = (q * self.len as f64 * (1.0 - 1e-12)).ceil().max(1.0) as u64;
        let mut below = 0u64;
        self.bins.iter().find_map(|&(place, count)| {
            below = below.saturating_add(count);
            (below >= rank).then(|| highest(place))
        })
    }
}

impl From<&Histogram> for Sparse {
    fn from(histogram: &Histogram) -> Sparse {
        let mut sparse = Sparse::default();
        for bin in histogram.recorded() {
            let place = place(bin.lowest);
            sparse.len = sparse.len.saturating_add(bin.count);
            match sparse.bins.last_mut() {
                Some((last, count)) if *last == place => *count = count.saturating_add(bin.count),
                _ => sparse.bins.push((place, bin.count)),
            }
        }
        sparse
    }
}

/// The bin of a value: never smaller for a larger value.
pub fn place(ns: u64) -> u32 {
    if ns < EXACT {
        return ns as u32;
    }
    let shift = ns.ilog2() - 10;
    shift * HALF + (ns >> shift) as u32
}

/// The smallest value of a bin; the largest there is for places that no value has.
pub fn lowest(place: u32) -> u64 {
    if u64::from(place) < EXACT {
        return place.into();
    }
    let shift = place / HALF - 1;
    let within = u64::from(place % HALF + HALF);
    if shift > 53 {
        return u64::MAX;
    }
    within << shift
}

/// The largest value of a bin.
pub fn highest(place: u32) -> u64 {
    match lowest(place.saturating_add(1)) {
        u64::MAX => u64::MAX,
        next => next - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_grid_is_that_of_a_histogram_of_three_digits(
            values in proptest::collection::vec(0u64..80_000_000_000_000, 1..200), q in 0.0f64..1.0
        ) {
            let mut histogram = Histogram::new();
            values.iter().for_each(|&ns| histogram.record(ns));
            let sparse = Sparse::of(&values);
            prop_assert_eq!(&Sparse::from(&histogram), &sparse);
            for (bin, &(place, count)) in histogram.recorded().zip(sparse.bins()) {
                prop_assert_eq!((bin.lowest, bin.highest, bin.count), (lowest(place), highest(place), count));
            }
            if let Some(ns) = histogram.quantile(q) {
                prop_assert_eq!(sparse.quantile(q), Some(ns));
            }
        }

        #[test]
        fn two_merged_are_as_all_values_at_once(
            a in proptest::collection::vec(any::<u64>(), 0..50), b in proptest::collection::vec(0u64..5000, 0..50)
        ) {
            let mut merged = Sparse::of(&a);
            merged.merge(&Sparse::of(&b));
            prop_assert_eq!(merged, Sparse::of(&[a, b].concat()));
        }

        #[test]
        fn every_value_lies_in_its_bin(ns in any::<u64>()) {
            prop_assert!(lowest(place(ns)) <= ns && ns <= highest(place(ns)));
        }
    }
}
