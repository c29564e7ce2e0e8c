//! Loss runs: how long the bursts were.

/// How many classes of run lengths are kept.
pub const CLASSES: usize = 6;

/// How many runs of lost probes of each length there were.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RunLengths {
    /// The shortest run counted here, in probes.
    pub shortest: u64,
    /// The longest run counted here, in probes; `None` where there is no limit.
    pub longest: Option<u64>,
    /// How many runs; stays at 2^32 − 1 when there were more.
    pub runs: u64,
}

/// The runs of probes lost one after another in one stream: a run ends where the next sequence number was not lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LossRuns {
    runs: u64,
    longest: u64,
    outage_ns: u64,
    // The run that is still open: its length (0 before the first), its first send, the number that would lengthen it.
    length: u64,
    first_sent: u64,
    next: u64,
    lengths: [u32; CLASSES],
}

impl LossRuns {
    pub(crate) const fn new() -> LossRuns {
        LossRuns {
            runs: 0,
            longest: 0,
            outage_ns: 0,
            length: 0,
            first_sent: 0,
            next: 0,
            lengths: [0; CLASSES],
        }
    }

    /// What it consists of, for keeping it in a file: runs, the longest in probes, the longest outage in nanoseconds, runs by
    /// the classes of [`LossRuns::lengths`].
    pub const fn parts(&self) -> (u64, u64, u64, [u32; CLASSES]) {
        (self.runs, self.longest, self.outage_ns, self.lengths)
    }

    /// Puts it together again, all runs over: none is lengthened by what is lost later.
    pub const fn from_parts(
        (runs, longest, outage_ns, lengths): (u64, u64, u64, [u32; CLASSES]),
    ) -> LossRuns {
        LossRuns {
            runs,
            longest,
            outage_ns,
            lengths,
            ..LossRuns::new()
        }
    }

    /// Probe `seq`, sent at `sent_at_ns` on any one clock, is lost. Called in ascending order of `seq`.
    pub(crate) fn lost(&mut self, seq: u64, sent_at_ns: u64) {
        if self.length > 0 && seq == self.next {
            self.leave_class();
            self.length = self.length.saturating_add(1);
        } else {
            self.runs = self.runs.saturating_add(1);
            self.length = 1;
            self.first_sent = sent_at_ns;
        }
        self.next = seq.saturating_add(1);
        let class = &mut self.lengths[class(self.length)];
        *class = class.saturating_add(1);
        self.longest = self.longest.max(self.length);
        self.outage_ns = self.outage_ns.max(sent_at_ns.saturating_sub(self.first_sent));
    }

    /// The open run is counted where it stands; before it grows it leaves that class.
    fn leave_class(&mut self) {
        let class = &mut self.lengths[class(self.length)];
        // A class that is full no longer knows how many it holds.
        if *class != u32::MAX {
            *class = class.saturating_sub(1);
        }
    }

    /// Adds another stream's runs; none of them joins one of this stream.
    pub(crate) fn merge(&mut self, other: &LossRuns) {
        self.runs = self.runs.saturating_add(other.runs);
        self.longest = self.longest.max(other.longest);
        self.outage_ns = self.outage_ns.max(other.outage_ns);
        for (mine, theirs) in self.lengths.iter_mut().zip(other.lengths) {
            *mine = mine.saturating_add(theirs);
        }
    }

    /// How many runs there were, the one at the end included.
    pub const fn count(&self) -> u64 {
        self.runs
    }

    /// The longest run, in probes; `None` when nothing was lost.
    pub const fn longest(&self) -> Option<u64> {
        if self.runs == 0 {
            None
        } else {
            Some(self.longest)
        }
    }

    /// The longest time from the first to the last lost send of one run, in nanoseconds: 0 when no two probes were
    /// lost in a row, `None` when nothing was lost.
    pub const fn longest_outage_ns(&self) -> Option<u64> {
        if self.runs == 0 {
            None
        } else {
            Some(self.outage_ns)
        }
    }

    /// How many runs of 1, 2, 3–4, 5–8, 9–16, and 17 or more probes there were, in this order.
    pub fn lengths(&self) -> impl Iterator<Item = RunLengths> + '_ {
        self.lengths.iter().enumerate().map(|(i, &runs)| RunLengths {
            shortest: if i == 0 { 1 } else { (1 << (i - 1)) + 1 },
            longest: (i + 1 < CLASSES).then_some(1 << i),
            runs: u64::from(runs),
        })
    }
}

/// The class of a run of `length` ≥ 1 probes: 1, 2, 3–4, 5–8, 9–16, more.
fn class(length: u64) -> usize {
    let doublings = 64 - length.saturating_sub(1).leading_zeros() as usize;
    doublings.min(CLASSES - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_fall_into_the_classes_that_are_told() {
        let mut r = LossRuns::new();
        r.lost(0, 0);
        for l in r.lengths() {
            for n in [l.shortest, l.longest.unwrap_or(u64::MAX)] {
                assert_eq!(
                    class(n),
                    (0..CLASSES).find(|&c| r.lengths().nth(c) == Some(l)).unwrap(),
                    "{n}"
                );
            }
        }
        let ends: Vec<_> = r.lengths().map(|l| (l.shortest, l.longest)).collect();
        assert_eq!(
            ends,
            [
                (1, Some(1)),
                (2, Some(2)),
                (3, Some(4)),
                (5, Some(8)),
                (9, Some(16)),
                (17, None)
            ]
        );
    }

    #[test]
    fn an_open_run_is_counted_as_long_as_it_is() {
        let mut r = LossRuns::new();
        assert_eq!((r.count(), r.longest(), r.longest_outage_ns()), (0, None, None));
        for (seq, length_class) in [(10, 0), (11, 1), (12, 2), (13, 2), (14, 3)] {
            r.lost(seq, seq * 100);
            let counts: Vec<_> = r.lengths().map(|l| l.runs).collect();
            let mut want = vec![0; CLASSES];
            want[length_class] = 1;
            assert_eq!((r.count(), counts), (1, want));
        }
        assert_eq!((r.longest(), r.longest_outage_ns()), (Some(5), Some(400)));
        r.lost(20, 3000);
        assert_eq!(
            (r.count(), r.longest(), r.longest_outage_ns()),
            (2, Some(5), Some(400))
        );
    }

    #[test]
    fn a_clock_that_stands_still_or_steps_back_makes_no_outage() {
        let mut r = LossRuns::new();
        r.lost(0, 1000);
        r.lost(1, 0);
        assert_eq!(r.longest_outage_ns(), Some(0));
    }

    #[test]
    fn the_last_sequence_number_does_not_overflow() {
        let mut r = LossRuns::new();
        r.lost(u64::MAX, 0);
        r.lost(u64::MAX, 0);
        assert_eq!(r.longest(), Some(2));
    }
}
