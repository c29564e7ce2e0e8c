//! A run over time: what became of the probes of each stretch of it.
//!
//! [`Gatherer`] takes records as they come and hands over, second by second, what was settled in it, sorted by the stretch
//! in which each probe was *sent*: a lost probe stands where it left, not where its timeout ran out. [`Series`] is the whole
//! put together again, in bounded memory.

use std::collections::{BTreeMap, HashMap};

use rping_engine::time::nanos;
use rping_engine::{
    Aside, Counts, Origin, Outcome, Reason, Record, Refusal, Sample, TargetId, Timestamp, ANSWERERS,
};
use rping_stats::{Moments, Recorder, Sparse};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// A stretch of a run, in nanoseconds since its start: 10 ms wide in the first second, 100 ms in the first ten, a second
/// from then on, so that a short run has a course too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot {
    /// Where it begins.
    pub start_ns: u64,
    /// How long it is.
    pub width_ns: u64,
}

impl Slot {
    /// The stretch that holds the instant so many nanoseconds after the run's start.
    pub const fn at(ns: u64) -> Slot {
        let width_ns = match ns {
            0..SECOND => 10 * MS,
            SECOND..10_000_000_000 => 100 * MS,
            _ => SECOND,
        };
        Slot {
            start_ns: ns - ns % width_ns,
            width_ns,
        }
    }
}

/// What was settled of the probes that one target was sent in one stretch.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Delta {
    /// Outcomes and what happened beside them; warm-up probes left out.
    pub counts: Counts,
    /// Refusals by reason, in the order of [`Reason::ALL`].
    pub reasons: [u32; Reason::ALL.len()],
    /// Round-trip times, nanoseconds, as they came.
    pub rtt: Vec<u64>,
    /// Times from when the probes were due to their answers, nanoseconds.
    pub from_due: Vec<u64>,
    /// The latest that a probe left against its schedule, nanoseconds.
    pub late_ns: u64,
}

impl Delta {
    fn settled(&mut self, sample: &Sample) {
        let counts = &mut self.counts;
        self.late_ns = self.late_ns.max(sample.left.nanos_since(sample.due));
        let refusal = match sample.outcome {
            Outcome::Reply {
                rtt,
                truncated,
                reordered,
                syn_retransmits,
                ..
            } => {
                counts.received += 1;
                counts.truncated += u64::from(truncated);
                counts.reordered += u64::from(reordered);
                counts.syn_lost += u64::from(syn_retransmits);
                if let Some(rtt) = rtt {
                    self.rtt.push(nanos(rtt));
                    self.from_due.push(from_due(sample, nanos(rtt)));
                }
                return;
            }
            Outcome::Lost => {
                counts.lost += 1;
                return;
            }
            Outcome::Rejected { refusal, .. } => {
                counts.rejected += 1;
                refusal
            }
            Outcome::NotSent(refusal) => {
                counts.not_sent += 1;
                refusal
            }
        };
        self.reasons[refusal.reason as usize] += 1;
    }

    fn aside(&mut self, aside: Aside) {
        let counts = &mut self.counts;
        *match aside {
            Aside::Late(_) => &mut counts.late,
            Aside::Duplicate => &mut counts.duplicates,
            Aside::Corrupt => &mut counts.corrupt,
            Aside::Unexpected => &mut counts.unexpected,
        } += 1;
    }
}

pub(crate) fn from_due(sample: &Sample, rtt: u64) -> u64 {
    sample.left.nanos_since(sample.due).saturating_add(rtt)
}

/// What does not add up from stretch to stretch: one target's figures so far.
#[derive(Clone, Debug)]
pub struct SoFar {
    /// Jitter, delay variation, loss runs; no histogram.
    pub stats: Recorder,
    /// The distinct answerers.
    pub from: Vec<Origin>,
    /// Transmit stamps of the replies by source.
    pub tx_stamps: [u64; 4],
    /// Receive stamps of the replies by source.
    pub rx_stamps: [u64; 4],
    /// The last refusal.
    pub last_refusal: Option<Refusal>,
}

impl SoFar {
    fn settled(&mut self, sample: &Sample) {
        match sample.outcome {
            Outcome::Reply {
                rtt, stamps, from, ..
            } => {
                let rtt = rtt.map(nanos);
                self.stats
                    .reply(sample.seq.0, rtt, from_due(sample, rtt.unwrap_or(0)));
                self.tx_stamps[stamps.0 as usize] += 1;
                self.rx_stamps[stamps.1 as usize] += 1;
                if self.from.len() < ANSWERERS && !self.from.contains(&from) {
                    self.from.push(from);
                }
            }
            Outcome::Lost => self.stats.lost(sample.seq.0, sample.left.as_nanos()),
            Outcome::Rejected { refusal, .. } | Outcome::NotSent(refusal) => {
                self.last_refusal = Some(refusal)
            }
        }
    }
}

/// One target's part of a [`Second`].
#[derive(Clone, PartialEq, Debug)]
pub struct Part {
    /// Which target.
    pub target: TargetId,
    /// When the probes were sent.
    pub slot: Slot,
    /// What became of them.
    pub delta: Delta,
}

/// What was settled since the one before.
#[derive(Clone, PartialEq, Debug)]
pub struct Second {
    /// Where it begins, nanoseconds since the run's start.
    pub from_ns: u64,
    /// Where it ends.
    pub until_ns: u64,
    /// By target, then by stretch.
    pub parts: Vec<Part>,
}

/// Up to so many targets, [`SoFar`] is kept for each: 300 bytes apiece.
const FOLLOWED: usize = 256;

/// Sorts records into seconds.
#[derive(Debug)]
pub struct Gatherer {
    started: Timestamp,
    from_ns: u64,
    parts: HashMap<(TargetId, Slot), Delta>,
    so_far: Vec<SoFar>,
}

impl Gatherer {
    /// For a run over so many targets that began at `started`.
    pub fn new(started: Timestamp, targets: usize) -> Gatherer {
        let followed = if targets <= FOLLOWED { targets } else { 0 };
        let none = SoFar {
            stats: Recorder::brief(),
            from: Vec::new(),
            tx_stamps: [0; 4],
            rx_stamps: [0; 4],
            last_refusal: None,
        };
        Gatherer {
            started,
            from_ns: 0,
            parts: HashMap::new(),
            so_far: vec![none; followed],
        }
    }

    /// Takes a record. Warm-up probes count in no figure.
    pub fn record(&mut self, record: &Record) {
        match record {
            Record::Settled(sample) if sample.warmup => {}
            Record::Settled(sample) => {
                self.part(sample.target, sample.left).settled(sample);
                if let Some(so_far) = self.so_far.get_mut(sample.target.index()) {
                    so_far.settled(sample);
                }
            }
            Record::Aside {
                target, at, aside, ..
            } => self.part(*target, *at).aside(*aside),
        }
    }

    fn part(&mut self, target: TargetId, at: Timestamp) -> &mut Delta {
        let slot = Slot::at(at.nanos_since(self.started));
        self.parts.entry((target, slot)).or_default()
    }

    /// Hands over what was settled since the last time, and begins anew.
    pub fn take(&mut self, until: Timestamp) -> Second {
        let until_ns = until.nanos_since(self.started);
        let mut parts: Vec<Part> = self
            .parts
            .drain()
            .map(|((target, slot), delta)| Part { target, slot, delta })
            .collect();
        parts.sort_unstable_by_key(|part| (part.target, part.slot));
        let second = Second {
            from_ns: self.from_ns,
            until_ns,
            parts,
        };
        self.from_ns = until_ns;
        second
    }

    /// A target's figures so far; `None` where there are too many targets to follow each.
    pub fn so_far(&self, target: TargetId) -> Option<&SoFar> {
        self.so_far.get(target.index())
    }
}

/// One stretch of a [`Series`].
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Bin {
    /// How long it is, nanoseconds.
    pub width_ns: u64,
    /// What became of the probes sent in it.
    pub counts: Counts,
    /// Round-trip times.
    pub rtt: Sparse,
    /// Their exact count, ends and mean.
    pub moments: Moments,
    /// The latest that a probe left against its schedule, nanoseconds.
    pub late_ns: u64,
}

impl Bin {
    /// Adds what is known of more probes of the same stretch.
    pub fn merge(&mut self, other: &Bin) {
        // More than this comes out of a forged file: sums of the four outcomes must not overflow.
        if self.counts.attempted().saturating_add(other.counts.attempted()) < 1 << 60 {
            add_counts(&mut self.counts, &other.counts);
        }
        self.rtt.merge(&other.rtt);
        self.moments.merge(&other.moments);
        self.late_ns = self.late_ns.max(other.late_ns);
    }
}

impl From<&Delta> for Bin {
    fn from(delta: &Delta) -> Bin {
        let mut moments = Moments::new();
        delta.rtt.iter().for_each(|&ns| moments.record(ns));
        Bin {
            width_ns: 0,
            counts: delta.counts.clone(),
            rtt: Sparse::of(&delta.rtt),
            moments,
            late_ns: delta.late_ns,
        }
    }
}

/// Adds counters up. They stop at the largest number there is.
pub(crate) fn add_counts(to: &mut Counts, more: &Counts) {
    let odd = &mut *to.odd;
    for (to, more) in [
        (&mut to.received, more.received),
        (&mut to.rejected, more.rejected),
        (&mut to.lost, more.lost),
        (&mut to.not_sent, more.not_sent),
        (&mut odd.late, more.late),
        (&mut odd.duplicates, more.duplicates),
        (&mut odd.reordered, more.reordered),
        (&mut odd.corrupt, more.corrupt),
        (&mut odd.truncated, more.truncated),
        (&mut odd.unexpected, more.unexpected),
        (&mut odd.syn_lost, more.syn_lost),
        (&mut odd.skipped, more.skipped),
    ] {
        *to = to.saturating_add(more);
    }
}

/// The most stretches that are kept apart: more than a picture has columns.
const MOST_BINS: usize = 4096;

/// One target's run over time. When there are more than 4096 stretches, they are joined to wider ones.
#[derive(Clone, Debug, Default)]
pub struct Series {
    bins: BTreeMap<u64, Bin>,
    /// The least width, once stretches were joined.
    least_ns: u64,
}

impl Series {
    /// Adds probes of a stretch.
    pub fn add(&mut self, slot: Slot, bin: &Bin) {
        let width = slot.width_ns.max(self.least_ns).max(1);
        let mine = self
            .bins
            .entry(slot.start_ns - slot.start_ns % width)
            .or_default();
        mine.width_ns = mine.width_ns.max(width);
        mine.merge(bin);
        while self.bins.len() > MOST_BINS {
            self.widen();
        }
    }

    fn widen(&mut self) {
        self.least_ns = self.least_ns.max(SECOND / 2).saturating_mul(2);
        for (start, bin) in std::mem::take(&mut self.bins) {
            let mine = self.bins.entry(start - start % self.least_ns).or_default();
            mine.width_ns = self.least_ns.max(bin.width_ns);
            mine.merge(&bin);
        }
    }

    /// Every stretch in which something was sent, in order, by where it begins, nanoseconds since the run's start.
    pub fn bins(&self) -> impl DoubleEndedIterator<Item = (u64, &Bin)> + ExactSizeIterator {
        self.bins.iter().map(|(&start, bin)| (start, bin))
    }

    /// Whether nothing was sent.
    pub fn is_empty(&self) -> bool {
        self.bins.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Kind;
    use crate::render::sample::{target, Run};

    fn gathered(run: &Run) -> Gatherer {
        let mut gatherer = Gatherer::new(run.report.epoch.started, run.report.job.targets.len());
        run.records.iter().for_each(|record| gatherer.record(record));
        gatherer
    }

    #[test]
    fn a_short_run_has_a_course_and_a_long_one_a_bounded_one() {
        let at = |ns| (Slot::at(ns).start_ns, Slot::at(ns).width_ns);
        assert_eq!(at(0), (0, 10 * MS));
        assert_eq!(at(SECOND - 1), (990 * MS, 10 * MS));
        assert_eq!(at(SECOND), (SECOND, 100 * MS));
        assert_eq!(at(9_999 * MS), (9_900 * MS, 100 * MS));
        assert_eq!(at(86_400_500 * MS), (86_400 * SECOND, SECOND));
    }

    #[test]
    fn a_probe_counts_where_it_was_sent() {
        let mut run = Run::new(Kind::Icmp, vec![target(None, "10.0.0.1:0")]);
        run.reply(0, 1_000)
            .lost(0)
            .reply(0, 3_000)
            .aside(0, Some(1), Aside::Duplicate);
        let mut gatherer = gathered(&run);
        let second = gatherer.take(run.report.run.span.1);
        let told: Vec<_> = second
            .parts
            .iter()
            .map(|part| {
                let c = &part.delta.counts;
                (part.slot.start_ns / SECOND, c.received, c.lost, c.duplicates)
            })
            .collect();
        assert_eq!(told, [(0, 1, 0, 0), (1, 0, 1, 0), (2, 1, 0, 1)]);
        assert_eq!(
            second.parts[0].delta.from_due,
            [3_100],
            "2.1 µs late, 1 µs under way"
        );
        assert!(gatherer.take(run.report.run.span.1).parts.is_empty());
        let so_far = gatherer.so_far(TargetId(0)).unwrap();
        assert_eq!(so_far.stats.loss_runs().count(), 1);
        assert_eq!((so_far.from.len(), so_far.rx_stamps[1]), (1, 2));
    }

    #[test]
    fn a_series_keeps_every_probe_in_a_bounded_number_of_stretches() {
        let mut series = Series::default();
        let delta = Delta {
            rtt: vec![5, 6],
            counts: Counts {
                received: 2,
                ..Counts::default()
            },
            ..Delta::default()
        };
        let bin = Bin::from(&delta);
        for second in 0..20_000u64 {
            series.add(Slot::at(second * SECOND), &bin);
        }
        series.add(
            Slot {
                start_ns: u64::MAX,
                width_ns: 0,
            },
            &bin,
        );
        assert!(series.bins().len() <= MOST_BINS);
        let received: u64 = series.bins().map(|(_, bin)| bin.counts.received).sum();
        let values: u64 = series.bins().map(|(_, bin)| bin.rtt.len()).sum();
        assert_eq!((received, values), (40_002, 40_002));
    }
}
