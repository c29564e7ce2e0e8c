//! A stream cut into stretches of about as many replies each, and drawn from by whole stretches.

use crate::{sparse, Sparse};

/// As many stretches as a stream is cut into: each is long against what makes neighbours alike, and there are enough of them to
/// know how much they differ.
const MOST: usize = 32;

/// With fewer nobody can tell how much they differ.
pub const LEAST_BLOCKS: usize = 8;

/// One stretch.
#[derive(Clone, Debug, Default)]
struct Block {
    rtt: Sparse,
    sent: u64,
    lost: u64,
}

/// A stream in stretches.
#[derive(Clone, Debug, Default)]
pub struct Blocks {
    blocks: Vec<Block>,
    all: Sparse,
}

impl Blocks {
    /// Of a stream's short stretches in order: the times that were answered, how many probes were sent, how many lost.
    /// Neighbours are joined until there are at most 32 of about as many probes each.
    pub fn new(stretches: &[(&Sparse, u64, u64)]) -> Blocks {
        let whole = stretches
            .iter()
            .fold(0u64, |sum, (_, sent, _)| sum.saturating_add(*sent));
        let mut blocks: Vec<Block> = Vec::new();
        let mut before = 0u64;
        let mut all = Sparse::default();
        for &(rtt, sent, lost) in stretches {
            // By the middle of what was sent, so that a long stretch does not pull its neighbour's in.
            let middle = u128::from(before) + u128::from(sent / 2);
            let place = (middle * MOST as u128 / u128::from(whole.max(1))) as usize;
            before = before.saturating_add(sent);
            while blocks.len() <= place.min(MOST - 1) {
                blocks.push(Block::default());
            }
            if let Some(block) = blocks.last_mut() {
                block.rtt.merge(rtt);
                block.sent = block.sent.saturating_add(sent);
                block.lost = block.lost.saturating_add(lost);
            }
            all.merge(rtt);
        }
        blocks.retain(|block| block.sent > 0);
        Blocks { blocks, all }
    }

    /// How many stretches.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether nothing was sent.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// How many times.
    pub fn replies(&self) -> u64 {
        self.all.len()
    }

    /// All times together.
    pub fn all(&self) -> &Sparse {
        &self.all
    }

    /// All times together.
    pub fn into_all(self) -> Sparse {
        self.all
    }

    /// Draws as many stretches as there are, with repetition, `times` over: for each of the quantiles what they were,
    /// nanoseconds. The same `seed` draws the same.
    pub fn draw(&self, qs: &[f64], times: usize, seed: u64) -> Vec<Vec<u64>> {
        let grid: Vec<u32> = self.all.bins().iter().map(|(place, _)| *place).collect();
        let index = |place: u32| grid.partition_point(|&p| p < place);
        let blocks: Vec<Vec<(usize, u64)>> = self
            .blocks
            .iter()
            .map(|block| {
                block
                    .rtt
                    .bins()
                    .iter()
                    .map(|&(place, n)| (index(place), n))
                    .collect()
            })
            .collect();
        let mut random = Random(seed);
        let mut drawn = vec![Vec::with_capacity(times); qs.len()];
        let mut counts = vec![0u64; grid.len()];
        for _ in 0..times {
            counts.fill(0);
            let mut total = 0u64;
            for _ in 0..blocks.len() {
                for &(at, n) in &blocks[random.below(blocks.len())] {
                    counts[at] = counts[at].saturating_add(n);
                    total = total.saturating_add(n);
                }
            }
            let (mut at, mut below) = (0, 0u64);
            for (q, drawn) in qs.iter().zip(&mut drawn) {
                let rank = (q * total as f64 * (1.0 - 1e-12)).ceil().max(1.0) as u64;
                while at < counts.len() && below.saturating_add(counts[at]) < rank {
                    below = below.saturating_add(counts[at]);
                    at += 1;
                }
                drawn.push(grid.get(at).map_or(0, |&place| sparse::highest(place)));
            }
        }
        drawn
    }

    /// How alike a stretch is to the next in this quantile: the correlation of neighbours, 0 to 0.8.
    pub fn likeness(&self, q: f64) -> f64 {
        // The quantile itself where a stretch carries it, else the highest that it does.
        let least = self.blocks.iter().map(|block| block.rtt.len()).min().unwrap_or(0);
        let q = q.min(1.0 - 1.0 / (least.max(2) as f64));
        let values: Vec<f64> = self
            .blocks
            .iter()
            .filter_map(|block| Some((block.rtt.quantile(q)? as f64).max(1.0).ln()))
            .collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
        let together: f64 = values.windows(2).map(|w| (w[0] - mean) * (w[1] - mean)).sum();
        if variance > 0.0 {
            (together / variance).clamp(0.0, 0.8)
        } else {
            0.0
        }
    }

    /// The part that was lost, and on how many independent probes that stands; `None` where nothing was sent.
    pub fn loss(&self) -> Option<(f64, f64)> {
        let sum = |of: fn(&Block) -> u64| self.blocks.iter().map(of).fold(0, u64::saturating_add) as f64;
        let (sent, lost) = (sum(|block| block.sent), sum(|block| block.lost));
        if sent == 0.0 {
            return None;
        }
        let p = (lost / sent).min(1.0);
        let binomial = p * (1.0 - p) * sent;
        let m = self.blocks.len() as f64;
        let apart: f64 = self
            .blocks
            .iter()
            .map(|block| (block.lost as f64 - p * block.sent as f64).powi(2))
            .sum();
        let fold = if binomial > 0.0 && m > 1.0 {
            (apart * m / (m - 1.0) / binomial).max(1.0)
        } else {
            1.0
        };
        Some((p, (sent / fold).max(1.0)))
    }
}

/// SplitMix64: enough to draw stretches, and the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        // The high word of the product: no modulo, and no bias that matters below 2^32.
        ((u128::from(x) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_joined_to_blocks_of_about_as_many_probes() {
        let one = Sparse::of(&[5, 7]);
        let stretches: Vec<_> = (0..1000).map(|n| (&one, 2, u64::from(n == 500))).collect();
        let blocks = Blocks::new(&stretches);
        assert_eq!((blocks.len(), blocks.replies()), (32, 2000));
        assert!(blocks.blocks.iter().all(|block| (60..=66).contains(&block.sent)));
        assert_eq!(blocks.loss().unwrap().0, 1.0 / 2000.0);
        assert_eq!(Blocks::new(&[]).loss(), None);
    }

    #[test]
    fn what_is_drawn_is_the_same_every_time_and_lies_among_the_values() {
        let parts: Vec<Sparse> = (1..20).map(|n| Sparse::of(&[n * 100, n * 101, n * 7])).collect();
        let stretches: Vec<_> = parts.iter().map(|part| (part, 3, 0)).collect();
        let blocks = Blocks::new(&stretches);
        let drawn = blocks.draw(&[0.5, 0.9], 100, 1);
        assert_eq!(drawn, blocks.draw(&[0.5, 0.9], 100, 1));
        assert_ne!(drawn, blocks.draw(&[0.5, 0.9], 100, 2));
        assert!(drawn.iter().flatten().all(|ns| (7..=1919).contains(ns)));
        assert!(drawn[0].iter().zip(&drawn[1]).all(|(half, most)| half <= most));
    }

    #[test]
    fn loss_in_bursts_stands_on_fewer_probes_than_loss_spread_out() {
        let one = Sparse::of(&[5]);
        let spread: Vec<_> = (0..320).map(|n| (&one, 10, u64::from(n % 4 == 0))).collect();
        let bursts: Vec<_> = (0..320)
            .map(|n| (&one, 10, if n / 10 == 3 { 8 } else { 0 }))
            .collect();
        let of = |stretches: &[(&Sparse, u64, u64)]| Blocks::new(stretches).loss().unwrap();
        assert_eq!(of(&spread).0, of(&bursts).0);
        assert_eq!(of(&spread).1, 3200.0);
        assert!(of(&bursts).1 < 100.0, "{}", of(&bursts).1);
    }

    #[test]
    fn a_slow_swing_makes_neighbours_alike() {
        let at = |n: u64| (1000.0 + 300.0 * (n as f64 / 5.0).sin()) as u64;
        let swing: Vec<Sparse> = (0..32).map(|n| Sparse::of(&[at(n); 10])).collect();
        let stretches: Vec<_> = swing.iter().map(|part| (part, 10, 0)).collect();
        assert!(Blocks::new(&stretches).likeness(0.5) > 0.7);
    }
}
