//! Which packet of one capture is which packet of the other.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use super::seen::{Flow, Seen};

/// The packets of one flow, as indices into a capture, in its order.
pub(super) type Flows = BTreeMap<Flow, Vec<usize>>;

pub(super) fn flows(seen: &[Seen]) -> Flows {
    let mut flows = Flows::new();
    for (place, packet) in seen.iter().enumerate() {
        flows.entry(packet.flow).or_default().push(place);
    }
    flows
}

/// Which flow of A is which flow of B: the same addresses and ports where there are such, else the one whose packets
/// are the same although their addresses are not.
pub(super) fn map_flows(a: &[Seen], in_a: &Flows, b: &[Seen], in_b: &Flows) -> BTreeMap<Flow, Flow> {
    let mut map: BTreeMap<Flow, Flow> = in_a
        .keys()
        .filter(|flow| in_b.contains_key(flow))
        .map(|flow| (*flow, *flow))
        .collect();
    let mut by_key: HashMap<u64, Vec<&Seen>> = HashMap::new();
    for packet in b.iter().filter(|packet| !map.contains_key(&packet.flow)) {
        let same = by_key.entry(packet.key).or_default();
        // Packets that are like many others say nothing about whose they are.
        if same.len() < ALIKE {
            same.push(packet);
        }
    }
    let mut votes: HashMap<(Flow, Flow), u64> = HashMap::new();
    for packet in a.iter().filter(|packet| !map.contains_key(&packet.flow)) {
        for other in by_key.get(&packet.key).into_iter().flatten() {
            let weight = if packet.id == other.id { 4 } else { 1 };
            let pair = (packet.flow, other.flow);
            // A capture that was made to be read badly has every flow resemble every other.
            if votes.len() < PAIRS || votes.contains_key(&pair) {
                *votes.entry(pair).or_default() += weight;
            }
        }
    }
    let mut ranked: Vec<_> = votes.into_iter().collect();
    ranked.sort_by(|(left, more), (right, less)| less.cmp(more).then(left.cmp(right)));
    let mut taken = HashSet::new();
    for ((one, other), _) in ranked {
        if !map.contains_key(&one) && taken.insert(other) {
            map.insert(one, other);
        }
    }
    map
}

/// How many packets that are alike take part in finding a flow's other name.
const ALIKE: usize = 16;

/// How many pairs of flows are weighed against each other.
const PAIRS: usize = 1 << 18;

/// What became of the packets of one flow.
#[derive(Debug, Default)]
pub(super) struct Paired {
    /// The same packet at both sides: indices into both captures.
    pub(super) pairs: Vec<(usize, usize)>,
    /// In A alone.
    pub(super) only_a: Vec<usize>,
    /// In B alone.
    pub(super) only_b: Vec<usize>,
}

/// Pairs packets by what is the same in both: with their identification first, then without, each in order.
pub(super) fn pair(a: &[Seen], one: &[usize], b: &[Seen], other: &[usize]) -> Paired {
    let mut paired = Paired {
        only_a: one.to_vec(),
        only_b: other.to_vec(),
        pairs: Vec::new(),
    };
    paired.round(
        |place| (a[place].key, a[place].id),
        |place| (b[place].key, b[place].id),
    );
    paired.round(|place| (a[place].key, 0), |place| (b[place].key, 0));
    paired.pairs.sort_unstable();
    paired
}

impl Paired {
    fn round(&mut self, of_a: impl Fn(usize) -> (u64, u32), of_b: impl Fn(usize) -> (u64, u32)) {
        let mut waiting: HashMap<(u64, u32), VecDeque<usize>> = HashMap::new();
        for &place in &self.only_b {
            waiting.entry(of_b(place)).or_default().push_back(place);
        }
        let mut found = HashSet::new();
        let pairs = &mut self.pairs;
        self.only_a.retain(
            |&place| match waiting.get_mut(&of_a(place)).and_then(VecDeque::pop_front) {
                Some(other) => {
                    pairs.push((place, other));
                    found.insert(other);
                    false
                }
                None => true,
            },
        );
        self.only_b.retain(|place| !found.contains(place));
    }
}

/// What of a TCP sender's packets arrived in pieces cut otherwise (segmentation and receive offload).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges {
    /// Packets of the sender of which something did not arrive, and how many sequence numbers of each.
    pub(super) lost: Vec<(usize, u64)>,
    /// Packets that arrived whole, in other pieces.
    pub(super) arrived: u64,
    /// Packets at the receiver that nobody was seen to send.
    pub(super) appeared: Vec<usize>,
}

/// Compares what left and what arrived by sequence numbers, not by packets; those without any are as they are.
pub(super) fn by_range(sender: &[Seen], left: &[usize], receiver: &[Seen], came: &[usize]) -> Ranges {
    let mut result = Ranges::default();
    let mut first = None;
    // Sequence numbers wrap: counted from the first, half of the space to either side.
    let mut unwrapped = |sequence: u32| {
        let base = *first.get_or_insert(sequence);
        (1i64 << 40) + i64::from(sequence.wrapping_sub(base) as i32)
    };
    // What arrived, as begin → (end, whose), in pieces that are taken away as they are accounted for.
    let mut pieces: BTreeMap<(i64, usize), i64> = BTreeMap::new();
    let mut longest = 0;
    for &place in came {
        match receiver[place].range {
            Some((sequence, span)) => {
                let begin = unwrapped(sequence);
                longest = longest.max(i64::from(span));
                pieces.insert((begin, place), begin + i64::from(span));
            }
            None => result.appeared.push(place),
        }
    }
    let mut touched = HashSet::new();
    for &place in left {
        let Some((sequence, span)) = sender[place].range else {
            result.lost.push((place, 0));
            continue;
        };
        let (mut begin, end) = (unwrapped(sequence), unwrapped(sequence) + i64::from(span));
        let mut missing = 0u64;
        while begin < end {
            let next = pieces
                .range((begin - longest, 0)..(end, 0))
                .find(|((_, _), &to)| to > begin)
                .map(|(&(from, whose), &to)| (from, whose, to));
            let Some((from, whose, to)) = next else {
                missing += (end - begin) as u64;
                break;
            };
            touched.insert(whose);
            missing += (from - begin).max(0) as u64;
            let (cut, until) = (from.max(begin), to.min(end));
            pieces.remove(&(from, whose));
            if from < cut {
                pieces.insert((from, whose), cut);
            }
            if until < to {
                pieces.insert((until, whose), to);
            }
            begin = until;
        }
        match missing {
            0 => result.arrived += 1,
            missing => result.lost.push((place, missing)),
        }
    }
    let left_over: HashSet<usize> = pieces.keys().map(|&(_, whose)| whose).collect();
    let nobody = came
        .iter()
        .filter(|place| left_over.contains(place) && !touched.contains(place));
    result.appeared.extend(nobody);
    result.appeared.sort_unstable();
    result
}
