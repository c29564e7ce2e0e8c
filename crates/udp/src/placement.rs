//! On which way a packet was lost: told by the numbers that a stateful reflector gives its answers (RFC 8762 section 4.3.1).
//!
//! Every packet that reaches the reflector takes a number there, in the order of arrival. So an answer whose number never
//! came was lost on the way back, and a probe that took no number was lost on the way there. Which probe a missing number
//! belongs to is told by its neighbours: it lies between theirs. Two answers of different numbers to one probe are a duplicate
//! made on the way there, the same number twice is one made on the way back.
//!
//! Only what lies before some later packet can be told so; and a reflector that copies the sender's numbers tells nothing.
//! Where the way there makes copies, a missing number beside a lost probe may be a copy's: that probe is placed on neither way.

use std::collections::HashSet;

use crate::owners::{owners, Gap};

/// Pairs that are kept before they are gone through, for one target alone; many targets share.
const PAIRS: usize = 16_384;
/// The fewest for each.
const PAIRS_LEAST: usize = 64;
/// Lost probes and gaps that are kept before the older ones are settled, for one target alone; the fewest for each of many.
const KEPT: usize = 32_768;
const KEPT_LEAST: usize = 256;
/// Lost probes that are kept while nothing is answered, in so many times the above.
const SILENT: usize = 32;
/// Spans in which nothing can be placed that are told apart.
const BREAKS: usize = 256;
/// How far a lost probe may lie from a missing number at least, where packets overtake each other.
const NEAR: u64 = 16;

/// What one answer says: the probe's number and the reflector's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Pair {
    number: u64,
    probe: u64,
    /// It came after an answer with a higher number …
    is_behind: bool,
    /// … although its probe was the newest of all.
    is_odd: bool,
}

/// What can be said of one way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Placed {
    pub(crate) lost: u64,
    pub(crate) duplicates: u64,
    pub(crate) reordered: u64,
}

/// How the reflector numbers its answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Memory {
    /// Its numbers were the sender's, which proves nothing, or nobody's.
    #[default]
    Unknown,
    /// It counts its own answers.
    Stateful,
    /// It copies the sender's numbers: what is lost cannot be placed.
    Stateless,
}

impl Memory {
    /// The word in machine-readable output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Memory::Unknown => "unknown",
            Memory::Stateful => "stateful",
            Memory::Stateless => "stateless",
        }
    }
}

/// What is said at the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) memory: Memory,
    pub(crate) forward: Placed,
    pub(crate) reverse: Placed,
    /// Lost probes that no later packet places.
    pub(crate) unplaced: u64,
}

/// The answers of one target.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    warmup: u64,
    room: usize,
    kept: usize,
    settle_above: usize,
    pairs: Vec<Pair>,
    /// Lost probes that are not placed yet, ascending.
    lost: Vec<u64>,
    gaps: Vec<Gap>,
    /// The highest number so far of this life of the reflector, and the newest probe that was answered.
    highest: Option<u64>,
    newest: Option<u64>,
    /// How far the pairs were gone through: the number that comes next, and the newest probe below it.
    next: u64,
    reached: Option<u64>,
    /// Probes above the first and below the second cannot be placed: the reflector began anew in between.
    breaks: Vec<(Option<u64>, u64)>,
    restarts: u64,
    /// The first of the packets that were sent to place the others, and those of them that no answer came to.
    closing: u64,
    unheard: Vec<u64>,
    memory: Memory,
    answers: u64,
    forward: Placed,
    reverse: Placed,
    unplaced: u64,
    /// Missing numbers that are no lost probe's, and those of them that are surely copies'.
    leftover: u64,
    copies: u64,
    /// How many probes later than its place one arrived there at most.
    displaced: u64,
}

fn widen(low: u32, near: Option<u64>) -> u64 {
    let Some(near) = near else { return u64::from(low) };
    let span = 1u64 << 32;
    let same = (near & !(span - 1)) | u64::from(low);
    if same + span / 2 < near {
        same + span
    } else if same > near + span / 2 {
        same.checked_sub(span).unwrap_or(same)
    } else {
        same
    }
}

impl Placement {
    /// For one of so many targets; probes below `warmup` count in no figure.
    pub(crate) fn new(targets: usize, warmup: u64) -> Placement {
        let kept = (KEPT / targets.max(1)).max(KEPT_LEAST);
        Placement {
            warmup,
            room: (PAIRS / targets.max(1)).max(PAIRS_LEAST),
            kept,
            settle_above: kept,
            pairs: Vec::new(),
            lost: Vec::new(),
            gaps: Vec::new(),
            highest: None,
            newest: None,
            next: 0,
            reached: None,
            breaks: Vec::new(),
            restarts: 0,
            closing: u64::MAX,
            unheard: Vec::new(),
            memory: Memory::Unknown,
            answers: 0,
            forward: Placed::default(),
            reverse: Placed::default(),
            unplaced: 0,
            leftover: 0,
            copies: 0,
            displaced: 0,
        }
    }

    /// Whether any reflector answered.
    pub(crate) fn is_heard(&self) -> bool {
        self.newest.is_some()
    }

    /// How often the reflector began anew.
    pub(crate) fn restarts(&self) -> u64 {
        self.restarts
    }

    /// A probe met with silence.
    pub(crate) fn lost(&mut self, probe: u64) {
        let at = self.lost.partition_point(|&other| other < probe);
        self.lost.insert(at, probe);
        if self.lost.len() + self.gaps.len() > self.settle_above {
            self.go_through(self.room / 2);
            self.settle(false);
            // What nothing places yet is not looked at again for each that joins it.
            self.settle_above = (self.lost.len() + self.kept / 2).max(self.kept);
        }
        // Nothing has come for long: the older ones are given up, and nobody says where they went.
        if self.lost.len() > SILENT * self.kept {
            let given_up: Vec<u64> = self.lost.drain(..self.kept).collect();
            let counted = given_up.iter().filter(|&&probe| self.counts(probe)).count();
            self.unplaced += counted as u64;
        }
    }

    /// Nothing can be placed above the one and below the other. The oldest such spans become one where there are many, and
    /// what lies between them is as little placed.
    fn break_off(&mut self, after: Option<u64>, before: u64) {
        self.breaks.push((after, before));
        if self.breaks.len() > BREAKS {
            let next = self.breaks.remove(1);
            if let Some(first) = self.breaks.first_mut() {
                *first = (first.0.min(next.0), first.1.max(next.1));
            }
        }
    }

    /// Keeps no more gaps than there is room for: a reflector can make one with every answer. The older half is given up.
    fn forget_gaps(&mut self) {
        if self.gaps.len() <= self.kept {
            return;
        }
        self.gaps.retain(|gap| gap.missing > 0);
        if self.gaps.len() <= self.kept / 2 {
            return;
        }
        let older: Vec<Gap> = self.gaps.drain(..self.gaps.len() - self.kept / 2).collect();
        let after = older.first().and_then(|gap| gap.after);
        let before = older.iter().map(|gap| gap.before).max().unwrap_or(0);
        self.break_off(after, before);
        let missing = older.iter().map(|gap| gap.missing);
        self.leftover = missing.fold(self.leftover, u64::saturating_add);
    }

    /// What is answered from `probe` on is counted by another session of the reflector's: we speak from another port.
    pub(crate) fn moved(&mut self, probe: u64, low: u32) {
        let restarts = self.restarts;
        self.begin_anew(probe, low);
        self.restarts = restarts;
    }

    /// The newest probe that was answered.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.newest
    }

    /// A packet was sent only to place others; it counts nowhere. Its number is far beyond theirs.
    pub(crate) fn closing(&mut self, probe: u64) {
        self.closing = self.closing.min(probe);
        self.unheard.push(probe);
    }

    /// Whether this is such a packet.
    pub(crate) fn is_closing(&self, probe: u64) -> bool {
        probe >= self.closing
    }

    /// An answer to `probe` with the reflector's number `low`.
    pub(crate) fn answered(&mut self, probe: u64, low: u32) {
        if probe >= self.closing {
            self.unheard.retain(|&other| other != probe);
            self.memory = if low == probe as u32 {
                Memory::Stateless
            } else {
                Memory::Stateful
            };
        }
        self.answers += 1;
        let mut number = widen(low, self.highest);
        let is_newest = self.newest.is_none_or(|newest| probe > newest);
        let is_lower = self.highest.is_some_and(|highest| number <= highest);
        // Many more numbers than packets: they are not ours alone from the beginning.
        let is_foreign = self.highest.is_none() && number > probe + NEAR;
        let is_taken = || self.pairs.iter().any(|pair| pair.number == number);
        if is_foreign || (is_newest && is_lower && (number < self.next || is_taken())) {
            number = self.begin_anew(probe, low);
        }
        if number != probe && self.memory == Memory::Unknown {
            self.memory = Memory::Stateful;
        }
        // It came late after all: lost on neither way.
        if let Ok(at) = self.lost.binary_search(&probe) {
            self.lost.remove(at);
        }
        let is_behind = self.highest.is_some_and(|highest| number < highest);
        self.highest = self.highest.max(Some(number));
        self.newest = self.newest.max(Some(probe));
        self.pairs.push(Pair {
            number,
            probe,
            is_behind,
            is_odd: is_behind && is_newest,
        });
        if self.pairs.len() >= self.room {
            self.go_through(self.room / 2);
        }
    }

    /// The reflector has forgotten what it counted; `low` is the first number of its new life that is known for it.
    /// Returns it as a number of its own.
    fn begin_anew(&mut self, probe: u64, low: u32) -> u64 {
        // Odd ones just before were of the new life already.
        let mut early = Vec::new();
        while let Some(pair) = self.pairs.pop_if(|pair| pair.is_odd) {
            early.push(pair);
        }
        self.go_through(0);
        let first = early.last().map_or(probe, |pair| pair.probe);
        self.break_off(self.reached, first);
        self.restarts += u64::from(self.highest.is_some());
        let number = u64::from(low);
        self.next = early.last().map_or(number, |pair| pair.number.min(number));
        self.reached = first.checked_sub(1);
        self.highest = None;
        for pair in early.into_iter().rev() {
            self.highest = self.highest.max(Some(pair.number));
            self.pairs.push(Pair {
                is_behind: false,
                is_odd: false,
                ..pair
            });
        }
        number
    }

    fn counts(&self, probe: u64) -> bool {
        (self.warmup..self.closing).contains(&probe)
    }

    /// Turns pairs into counts and gaps: all but the `keep` with the highest numbers.
    fn go_through(&mut self, keep: usize) {
        // Stable: of one number the first that came stays first.
        self.pairs.sort_by_key(|pair| pair.number);
        let end = self.pairs.len().saturating_sub(keep);
        // For each pair the oldest probe among it and those with higher numbers.
        let mut oldest = vec![u64::MAX; self.pairs.len()];
        let mut least = u64::MAX;
        for (pair, oldest) in self.pairs.iter().zip(&mut oldest).rev() {
            least = least.min(pair.probe);
            *oldest = least;
        }
        let done: Vec<Pair> = self.pairs.drain(..end).collect();
        let mut seen: HashSet<u64> = HashSet::with_capacity(done.len());
        let mut last = None;
        for (pair, oldest) in done.into_iter().zip(oldest) {
            let one = u64::from(self.counts(pair.probe));
            if last == Some(pair.number) || (pair.number < self.next && !self.fill(pair.number)) {
                self.reverse.duplicates += one;
                continue;
            }
            last = Some(pair.number);
            if pair.number > self.next {
                let (after, before) = match self.reached {
                    // Where they were overtaken the neighbours lie the other way round.
                    Some(reached) if reached >= oldest => (oldest.checked_sub(1), reached + 1),
                    reached => (reached, oldest),
                };
                self.gaps.push(Gap {
                    first: self.next,
                    end: pair.number,
                    missing: pair.number - self.next,
                    after,
                    before,
                });
            }
            self.next = self.next.max(pair.number + 1);
            self.reverse.reordered += if pair.is_behind { one } else { 0 };
            let is_again = !seen.insert(pair.probe) || self.reached == Some(pair.probe);
            match self.reached {
                _ if is_again => self.forward.duplicates += one,
                Some(reached) if pair.probe < reached => {
                    self.forward.reordered += one;
                    self.displaced = self.displaced.max(reached - pair.probe);
                }
                _ => self.reached = Some(pair.probe),
            }
        }
        self.forget_gaps();
    }

    /// A number that was missing came after all; whether it was.
    fn fill(&mut self, number: u64) -> bool {
        let gap = self
            .gaps
            .iter_mut()
            .rev()
            .find(|gap| (gap.first..gap.end).contains(&number));
        match gap {
            Some(gap) if gap.missing > 0 => {
                gap.missing -= 1;
                true
            }
            _ => false,
        }
    }

    /// Places the lost probes that lie before what was gone through; at the end, `is_over`, all of them were told.
    fn settle(&mut self, is_over: bool) {
        let reached = self.reached;
        let end = self.lost.partition_point(|&probe| Some(probe) < reached);
        let lost: Vec<u64> = self.lost.drain(..end).collect();
        let mut open = vec![true; lost.len()];
        let mut gaps = std::mem::take(&mut self.gaps);
        for &(after, before) in &self.breaks {
            for (&probe, open) in lost.iter().zip(&mut open) {
                if *open && Some(probe) > after && probe < before {
                    *open = false;
                    self.unplaced += u64::from(probe >= self.warmup);
                }
            }
        }
        self.settle_closing(&lost, &mut open, &mut gaps);
        // A probe that was overtaken has its number beyond its neighbours'. Where nothing was seen to be doubled every
        // missing number is some lost probe's, however far it was held back.
        let is_doubled = self.forward.duplicates > 0;
        let reach = match (is_doubled, self.displaced) {
            (true, 0) => 0,
            (_, displaced) => (2 * displaced).max(NEAR),
        };
        let open: Vec<u64> = lost
            .into_iter()
            .zip(open)
            .filter_map(|(probe, open)| open.then_some(probe))
            .collect();
        let missing: u64 = gaps.iter().map(|gap| gap.missing).sum();
        let owners = owners(&open, gaps, reach);
        let counted = |which: bool| {
            let all = open.iter().zip(&owners);
            all.filter(|&(&probe, &owns)| owns == which && probe >= self.warmup)
                .count() as u64
        };
        let (may_be_back, rest) = (counted(true), counted(false));
        let left = missing - owners.iter().filter(|&&owns| owns).count() as u64;
        // Numbers that belong to no lost probe are those of copies, or of probes that were overtaken by more than anything
        // was seen to be.
        let doubtful = match is_over && !is_doubled {
            true => left.min(rest),
            false => 0,
        };
        // Where copies are made a missing number may as well be that of a copy, and the probe beside it lost on the way
        // there: nothing in the numbers tells.
        match is_doubled || (is_over && left > 0) {
            true => self.unplaced += may_be_back,
            false => self.reverse.lost += may_be_back,
        }
        self.forward.lost += rest - doubtful;
        self.unplaced += doubtful;
        self.leftover += left;
        self.copies += left - doubtful;
    }

    /// The last gap: a number missing there may be that of a packet that was sent only to place others.
    fn settle_closing(&mut self, lost: &[u64], open: &mut [bool], gaps: &mut [Gap]) {
        let closing = self.closing;
        for gap in gaps.iter_mut().filter(|gap| gap.before > closing) {
            let unheard = self.unheard.iter().filter(|&&probe| probe < gap.before).count() as u64;
            let within = |probe: u64| Some(probe) > gap.after && probe >= self.warmup;
            let mut places: Vec<usize> = (0..lost.len())
                .filter(|&at| open[at] && within(lost[at]))
                .collect();
            let all = places.len() as u64;
            // At least so many are surely lost on the way back, and so many on the way there.
            let back = match self.forward.duplicates {
                0 => gap.missing.saturating_sub(unheard).min(all),
                _ => 0,
            };
            let there = all.saturating_sub(gap.missing);
            self.reverse.lost += back;
            self.forward.lost += there;
            self.unplaced += all - (back + there).min(all);
            places.drain(..).for_each(|at| open[at] = false);
            gap.missing = gap.missing.saturating_sub(all + unheard);
        }
    }

    /// What can be said at the end.
    pub(crate) fn conclude(mut self) -> Verdict {
        self.go_through(0);
        self.settle(true);
        let beyond = self.lost.iter().filter(|&&probe| probe >= self.warmup).count();
        let mut verdict = Verdict {
            memory: self.memory,
            forward: self.forward,
            reverse: self.reverse,
            unplaced: self.unplaced + beyond as u64,
        };
        // Now and then a copy's answer is lost; that many are somebody else's numbers.
        if self.leftover > verdict.forward.duplicates + self.answers / 8 && self.memory == Memory::Stateful {
            verdict.memory = Memory::Unknown;
        }
        verdict.forward.duplicates += self.copies;
        if verdict.memory != Memory::Stateful {
            verdict.unplaced += verdict.forward.lost + verdict.reverse.lost;
            (verdict.forward, verdict.reverse) = (Placed::default(), Placed::default());
        }
        verdict
    }
}

#[cfg(test)]
#[path = "placement_tests.rs"]
mod tests;
