//! One-way delays as they went, in bounded memory.

use rping_engine::Timestamp;

/// What one answer told of both ways, by the estimated offset of the clocks, nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Point {
    /// When the probe left.
    pub left: Timestamp,
    /// How long it was on its way there.
    pub forward: u64,
    /// How long the answer was on its way back.
    pub reverse: u64,
}

/// Every so many-th answer's raw differences between the clocks: all of them, then every second, every fourth.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    points: Vec<(Timestamp, i64, i64)>,
    most: usize,
    stride: u64,
    seen: u64,
}

impl Kept {
    /// Of at most so many.
    pub(crate) const fn new(most: usize) -> Kept {
        Kept {
            points: Vec::new(),
            most,
            stride: 1,
            seen: 0,
        }
    }

    pub(crate) fn record(&mut self, left: Timestamp, there: i64, back: i64) {
        let is_one = self.seen.is_multiple_of(self.stride);
        self.seen += 1;
        if !is_one || self.most < 2 {
            return;
        }
        if self.points.len() >= self.most {
            let mut place = 0;
            self.points.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            self.stride *= 2;
            // Those that stay are the multiples of the new stride; this one may be none.
            if !(self.seen - 1).is_multiple_of(self.stride) {
                return;
            }
        }
        self.points.push((left, there, back));
    }

    /// With the other clock taken to be `offset` ahead of ours.
    pub(crate) fn by(&self, offset: i64) -> Vec<Point> {
        let own = |raw: i128| u64::try_from(raw.max(0)).unwrap_or(u64::MAX);
        let offset = i128::from(offset);
        let points = self.points.iter();
        points
            .map(|&(left, there, back)| Point {
                left,
                forward: own(i128::from(there) - offset),
                reverse: own(i128::from(back) + offset),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_evenly_spread_and_never_more_than_was_allowed() {
        let mut kept = Kept::new(64);
        for n in 0..10_000i64 {
            kept.record(Timestamp::from_nanos(n as u64), n + 500, n - 500);
            assert!(kept.points.len() <= 64);
        }
        let points = kept.by(500);
        assert!(points.len() >= 32, "{}", points.len());
        let apart: Vec<u64> = points
            .windows(2)
            .map(|pair| pair[1].left.nanos_since(pair[0].left))
            .collect();
        assert!(apart.iter().all(|ns| *ns == kept.stride), "{apart:?}");
        assert!(points.iter().all(|point| point.forward == point.left.as_nanos()));
        assert_eq!(points[0].reverse, 0, "no delay is below nothing");
        let mut none = Kept::new(0);
        none.record(Timestamp::ZERO, 1, 1);
        assert!(none.by(0).is_empty());
    }
}
