//! All figures of one stream of probes.

use crate::{Histogram, LossRuns, Moments};

/// A round-trip time that is not known, or not there. No real one is 584 years.
const ABSENT: u64 = u64::MAX;

/// How many of the newest sequence numbers a full recorder keeps the round-trip time of, to pair neighbours that
/// arrive out of order: 1024 are 51 ms of reordering at 20 000 probes per second, and 8 KB.
const WINDOW: usize = 1024;

/// What one stream of probes (one target) amounts to.
///
/// [`Recorder::full`] keeps quantiles; [`Recorder::brief`] is for sweeps over many targets and holds counters alone: its
/// first reply where it stands, and memory elsewhere only once there is a second one, or a loss.
/// Warm-up probes are simply not recorded.
#[derive(Clone, Debug)]
pub struct Recorder {
    /// The first reply, while it is the only one: its number, its round-trip time (`ABSENT` before it came), and the time
    /// from when it was due.
    first_seq: u64,
    first_rtt: u64,
    first_from_due: u64,
    /// Everything, from the second reply on.
    many: Option<Box<Many>>,
    loss: Option<Box<LossRuns>>,
}

static NO_LOSS: LossRuns = LossRuns::new();

#[derive(Clone, Debug)]
struct Many {
    rtt: Moments,
    full: Option<Box<Full>>,
    from_due_max: u64,
    /// RFC 3550's running estimate; not a number before there are two replies.
    jitter: f64,
    /// The round-trip time of the reply that came last.
    previous: u64,
    ipdv_sum: u64,
    ipdv_pairs: u64,
    /// Round-trip times of the newest sequence numbers, by their low bits; unused where there is a wider one.
    window: [u64; 2],
    /// One above the highest sequence number that was answered.
    next_expected: u64,
    reordered: u64,
}

#[derive(Clone, Debug)]
struct Full {
    rtt: Histogram,
    from_due: Histogram,
    window: Box<[u64]>,
}

/// What a [`Recorder`] amounts to, laid open.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Of the round-trip times.
    pub rtt: Moments,
    /// The histogram of the round-trip times, where one is kept.
    pub histogram: Option<Histogram>,
    /// The histogram of the times from when the probes were due, where one is kept.
    pub from_due: Option<Histogram>,
    /// The longest time from when a probe was due to its answer, nanoseconds.
    pub from_due_max: u64,
    /// RFC 3550's jitter, nanoseconds; `None` with fewer than two replies.
    pub jitter: Option<f64>,
    /// The sum of the delay variations of all pairs, nanoseconds.
    pub ipdv_sum: u64,
    /// How many pairs that were.
    pub ipdv_pairs: u64,
    /// Replies that came after a reply to a later probe.
    pub reordered: u64,
    /// Runs of lost probes.
    pub loss: LossRuns,
}

impl Recorder {
    /// Keeps everything: moments, and histograms of the round-trip time (three digits) and of the time from when the
    /// probe was due (two digits). At most 362 KB.
    pub fn full() -> Recorder {
        let full = Full {
            rtt: Histogram::new(),
            from_due: Histogram::build(2),
            window: vec![ABSENT; WINDOW].into_boxed_slice(),
        };
        Recorder::of(Many {
            full: Some(Box::new(full)),
            ..Many::new()
        })
    }

    /// Keeps moments and counters alone: 40 bytes, nothing else for a stream of one reply, no quantiles.
    pub const fn brief() -> Recorder {
        Recorder {
            first_seq: 0,
            first_rtt: ABSENT,
            first_from_due: 0,
            many: None,
            loss: None,
        }
    }

    fn of(many: Many) -> Recorder {
        Recorder {
            many: Some(Box::new(many)),
            ..Recorder::brief()
        }
    }

    /// A probe was answered; called in the order in which the answers came, once for each probe.
    ///
    /// `rtt_ns` is `None` when the round trip is not known (a handshake whose SYN was sent again): such an answer
    /// counts for reordering and for nothing else, and `from_due_ns` is not used.
    #[inline]
    pub fn reply(&mut self, seq: u64, rtt_ns: Option<u64>, from_due_ns: u64) {
        if let Some(many) = &mut self.many {
            return many.reply(seq, rtt_ns, from_due_ns);
        }
        match rtt_ns {
            Some(rtt) if self.first_rtt == ABSENT => {
                self.first_seq = seq;
                self.first_rtt = rtt.min(ABSENT - 1);
                self.first_from_due = from_due_ns;
            }
            _ => self.many_mut().reply(seq, rtt_ns, from_due_ns),
        }
    }

    /// Room for more than one reply, the first one in it.
    fn many_mut(&mut self) -> &mut Many {
        let (seq, rtt, from_due) = (self.first_seq, self.first_rtt, self.first_from_due);
        self.many.get_or_insert_with(|| {
            let mut many = Many::new();
            if rtt != ABSENT {
                many.reply(seq, Some(rtt), from_due);
            }
            Box::new(many)
        })
    }

    /// Probe `seq`, sent at `sent_at_ns` on any one clock, was not answered in time. Called in ascending order of
    /// `seq`.
    pub fn lost(&mut self, seq: u64, sent_at_ns: u64) {
        self.loss_mut().lost(seq, sent_at_ns);
    }

    fn loss_mut(&mut self) -> &mut LossRuns {
        self.loss.get_or_insert_with(|| Box::new(LossRuns::new()))
    }

    /// Adds another stream, whole, as for a total over targets: samples, pairs, reordered replies and loss runs add
    /// up, and nothing is paired across the two. The jitter is the mean of the two, weighted by replies.
    ///
    /// Quantiles need the histograms of all: when only one side kept them, the sum has none.
    pub fn merge(&mut self, other: &Recorder) {
        match &other.many {
            Some(theirs) => self.many_mut().merge(theirs),
            None if other.first_rtt != ABSENT => self.many_mut().merge(other.clone().many_mut()),
            None => {}
        }
        if let Some(theirs) = &other.loss {
            self.loss_mut().merge(theirs);
        }
    }

    /// Everything it amounts to, for keeping it in a file.
    pub fn snapshot(&self) -> Snapshot {
        let (ipdv_sum, ipdv_pairs) = self
            .many
            .as_ref()
            .map_or((0, 0), |many| (many.ipdv_sum, many.ipdv_pairs));
        Snapshot {
            rtt: self.rtt(),
            histogram: self.histogram().cloned(),
            from_due: self.from_due_histogram().cloned(),
            from_due_max: match &self.many {
                Some(many) => many.from_due_max,
                None => self.first_from_due,
            },
            jitter: self.jitter_rfc3550(),
            ipdv_sum,
            ipdv_pairs,
            reordered: self.reordered(),
            loss: self.loss_runs().clone(),
        }
    }

    /// Puts it together again. What is recorded later pairs with nothing that came before; quantiles need both
    /// histograms.
    pub fn from_snapshot(of: Snapshot) -> Recorder {
        let full = match (of.histogram, of.from_due) {
            (Some(rtt), Some(from_due)) => Some(Box::new(Full {
                rtt,
                from_due,
                window: vec![ABSENT; WINDOW].into_boxed_slice(),
            })),
            _ => None,
        };
        Recorder {
            loss: Some(Box::new(of.loss)),
            ..Recorder::of(Many {
                rtt: of.rtt,
                full,
                from_due_max: of.from_due_max,
                jitter: of.jitter.unwrap_or(f64::NAN),
                ipdv_sum: of.ipdv_sum,
                ipdv_pairs: of.ipdv_pairs,
                reordered: of.reordered,
                ..Many::new()
            })
        }
    }

    /// Count, minimum, maximum, mean and standard deviation of the round-trip times, exact.
    pub fn rtt(&self) -> Moments {
        if let Some(many) = &self.many {
            return many.rtt;
        }
        let mut one = Moments::new();
        if self.first_rtt != ABSENT {
            one.record(self.first_rtt);
        }
        one
    }

    fn histograms(&self) -> Option<&Full> {
        self.many.as_ref()?.full.as_deref()
    }

    /// The round-trip time that the fraction `q` of the replies did not exceed, in nanoseconds, within 0.1 %; `None`
    /// with fewer replies than [`crate::replies_needed`] says, or when no histogram is kept.
    pub fn rtt_quantile(&self, q: f64) -> Option<u64> {
        let rtt = self.rtt();
        let (min, max) = (rtt.min()?, rtt.max()?);
        Some(self.histograms()?.rtt.quantile(q)?.clamp(min, max))
    }

    /// The same of the time from when the schedule wanted the probe sent to its answer, within 1 %.
    pub fn from_due_quantile(&self, q: f64) -> Option<u64> {
        let most = self.many.as_ref()?.from_due_max;
        Some(self.histograms()?.from_due.quantile(q)?.min(most))
    }

    /// The longest time from when the schedule wanted a probe sent to its answer, in nanoseconds.
    pub fn from_due_max(&self) -> Option<u64> {
        match &self.many {
            Some(many) => (many.rtt.count() > 0).then_some(many.from_due_max),
            None => (self.first_rtt != ABSENT).then_some(self.first_from_due),
        }
    }

    /// RFC 3550's jitter (section 6.4.1) of the round-trip times, in nanoseconds: a running estimate with a gain of
    /// 1/16 that begins at 0, over replies in the order in which they came. Needs two.
    pub fn jitter_rfc3550(&self) -> Option<f64> {
        Some(self.many.as_ref()?.jitter).filter(|jitter| !jitter.is_nan())
    }

    /// The mean absolute delay variation, in nanoseconds, between replies to consecutive sequence numbers (IPDV of
    /// RFC 3393, in the selection that RFC 5481, section 4.1, describes). Both must have been answered; what comes
    /// more than 1024 numbers late (2 in a brief recorder) pairs with nothing.
    pub fn ipdv_mean(&self) -> Option<f64> {
        let many = self.many.as_ref()?;
        (many.ipdv_pairs > 0).then(|| many.ipdv_sum as f64 / many.ipdv_pairs as f64)
    }

    /// How many replies came after a reply to a later probe (RFC 4737, section 3, Type-P-Reordered).
    #[inline]
    pub fn reordered(&self) -> u64 {
        self.many.as_ref().map_or(0, |many| many.reordered)
    }

    /// How long the bursts of lost probes were.
    pub fn loss_runs(&self) -> &LossRuns {
        self.loss.as_deref().unwrap_or(&NO_LOSS)
    }

    /// The histogram of the round-trip times, where one is kept.
    pub fn histogram(&self) -> Option<&Histogram> {
        self.histograms().map(|full| &full.rtt)
    }

    /// The histogram of the times from when the probes were due, where one is kept.
    pub fn from_due_histogram(&self) -> Option<&Histogram> {
        self.histograms().map(|full| &full.from_due)
    }
}

impl Many {
    const fn new() -> Many {
        Many {
            rtt: Moments::new(),
            full: None,
            from_due_max: 0,
            jitter: f64::NAN,
            previous: ABSENT,
            ipdv_sum: 0,
            ipdv_pairs: 0,
            window: [ABSENT; 2],
            next_expected: 0,
            reordered: 0,
        }
    }

    #[inline]
    fn reply(&mut self, seq: u64, rtt_ns: Option<u64>, from_due_ns: u64) {
        // 584 years is "not there": a round trip is one nanosecond less at most.
        let rtt = rtt_ns.map_or(ABSENT, |ns| ns.min(ABSENT - 1));
        self.place(seq, rtt);
        if rtt == ABSENT {
            return;
        }
        // RFC 3550, section 6.4.1 and appendix A.8: J += (|D(i−1, i)| − J) / 16, beginning at 0, over replies as they
        // arrive. The difference of two round trips stands for that of two transit times.
        if self.previous != ABSENT {
            let difference = rtt.abs_diff(self.previous) as f64;
            let jitter = if self.jitter.is_nan() { 0.0 } else { self.jitter };
            self.jitter = jitter + (difference - jitter) * (1.0 / 16.0);
        }
        self.previous = rtt;
        self.rtt.record(rtt);
        self.from_due_max = self.from_due_max.max(from_due_ns);
        if let Some(full) = &mut self.full {
            full.rtt.record(rtt);
            full.from_due.record(from_due_ns);
        }
    }

    /// Reordering, and the delay variation against the neighbours in sequence.
    #[inline]
    fn place(&mut self, seq: u64, rtt: u64) {
        let window: &mut [u64] = match &mut self.full {
            Some(full) => &mut full.window,
            None => &mut self.window,
        };
        let size = window.len() as u64;
        // The size is a power of two, and the slot below it: the cast loses nothing.
        let slot = |seq: u64| (seq & (size - 1)) as usize;
        let mut pair = |a: u64, b: u64| {
            if a != ABSENT && b != ABSENT {
                self.ipdv_sum = self.ipdv_sum.saturating_add(a.abs_diff(b));
                self.ipdv_pairs = self.ipdv_pairs.saturating_add(1);
            }
        };
        if seq >= self.next_expected {
            // What lies between was not answered so far; it may still come, out of order.
            let missing = (seq - self.next_expected).min(size);
            for back in 1..=missing {
                window[slot(seq - back)] = ABSENT;
            }
            if seq > 0 {
                pair(window[slot(seq - 1)], rtt);
            }
            window[slot(seq)] = rtt;
            self.next_expected = seq.saturating_add(1);
            return;
        }
        // RFC 4737, section 3: an answer below NextExp is reordered, and NextExp stays.
        self.reordered = self.reordered.saturating_add(1);
        let behind = self.next_expected - seq;
        if behind > size || window[slot(seq)] != ABSENT {
            return;
        }
        if seq > 0 && behind < size {
            pair(window[slot(seq - 1)], rtt);
        }
        if behind > 1 {
            pair(rtt, window[slot(seq + 1)]);
        }
        window[slot(seq)] = rtt;
    }

    fn merge(&mut self, other: &Many) {
        self.jitter = match (self.jitter.is_nan(), other.jitter.is_nan()) {
            (_, true) => self.jitter,
            (true, false) => other.jitter,
            (false, false) => {
                let (n, m) = (self.rtt.count() as f64, other.rtt.count() as f64);
                (self.jitter * n + other.jitter * m) / (n + m)
            }
        };
        match (&mut self.full, &other.full) {
            (Some(mine), Some(theirs)) => {
                mine.rtt.merge(&theirs.rtt);
                mine.from_due.merge(&theirs.from_due);
            }
            (Some(_), None) if other.rtt.count() > 0 => self.full = None,
            _ => {}
        }
        self.rtt.merge(&other.rtt);
        self.from_due_max = self.from_due_max.max(other.from_due_max);
        self.ipdv_sum = self.ipdv_sum.saturating_add(other.ipdv_sum);
        self.ipdv_pairs = self.ipdv_pairs.saturating_add(other.ipdv_pairs);
        self.reordered = self.reordered.saturating_add(other.reordered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brief_recorder_is_40_bytes() {
        assert_eq!(size_of::<Recorder>(), 40);
    }

    #[test]
    fn without_replies_every_figure_is_none() {
        for r in [Recorder::full(), Recorder::brief()] {
            assert_eq!(
                (r.rtt_quantile(0.5), r.from_due_quantile(0.5), r.from_due_max()),
                (None, None, None)
            );
            assert_eq!(
                (r.jitter_rfc3550(), r.ipdv_mean(), r.reordered()),
                (None, None, 0)
            );
        }
    }

    #[test]
    fn an_answer_of_unknown_round_trip_counts_for_reordering_alone() {
        let mut r = Recorder::full();
        r.reply(0, Some(100), 100);
        r.reply(2, None, 1_000_000);
        r.reply(1, Some(300), 300);
        assert_eq!(
            (r.rtt().count(), r.reordered(), r.from_due_max()),
            (2, 1, Some(300))
        );
        assert_eq!((r.ipdv_mean(), r.jitter_rfc3550()), (Some(200.0), Some(12.5)));
    }

    #[test]
    fn the_delay_variation_pairs_neighbours_in_sequence_not_in_arrival() {
        let mut r = Recorder::full();
        for (seq, rtt) in [(0, 10), (2, 50), (1, 20), (5, 1000), (4, 1300)] {
            r.reply(seq, Some(rtt), rtt);
        }
        // 0-1: 10, 1-2: 30, 4-5: 300
        assert_eq!(r.ipdv_mean(), Some(340.0 / 3.0));
        assert_eq!(r.reordered(), 2);
    }

    #[test]
    fn a_jump_in_sequence_pairs_with_nothing_that_is_left_over() {
        let mut r = Recorder::full();
        for i in 0..10_000u64 {
            // every number is 2 to 5000 above the last: never neighbours, often in a used slot's place
            r.reply(i * (2 + i % 4999), Some(i), i);
        }
        let mut seen = std::collections::HashMap::new();
        let mut next = 0u64;
        let mut late = 0;
        for i in 0..10_000u64 {
            let seq = i * (2 + i % 4999);
            late += u64::from(seq < next);
            next = next.max(seq + 1);
            seen.insert(seq, i);
        }
        assert_eq!(r.reordered(), late);
    }

    #[test]
    fn the_highest_sequence_numbers_do_not_overflow() {
        for mut r in [Recorder::full(), Recorder::brief()] {
            for seq in [u64::MAX - 1, u64::MAX, 0, u64::MAX] {
                r.reply(seq, Some(u64::MAX), u64::MAX);
            }
            assert_eq!(r.rtt().max(), Some(u64::MAX - 1));
        }
    }

    #[test]
    fn a_snapshot_makes_a_recorder_with_the_same_figures() {
        let mut r = Recorder::full();
        for (seq, rtt) in [(0, 10), (2, 50), (1, 20), (5, 1000)] {
            r.reply(seq, Some(rtt), rtt + 7);
        }
        r.lost(3, 100);
        r.lost(4, 300);
        let again = Recorder::from_snapshot(r.snapshot());
        let figures = |r: &Recorder| {
            (
                (r.rtt(), r.rtt_quantile(0.5), r.from_due_quantile(0.5)),
                (r.from_due_max(), r.jitter_rfc3550(), r.ipdv_mean()),
                (r.reordered(), r.loss_runs().longest_outage_ns()),
            )
        };
        assert_eq!(figures(&again), figures(&r));
        let none = Recorder::from_snapshot(Recorder::brief().snapshot());
        assert_eq!((none.rtt().count(), none.jitter_rfc3550()), (0, None));
    }

    #[test]
    fn a_total_has_no_quantiles_when_a_part_kept_none() {
        let (mut full, mut brief) = (Recorder::full(), Recorder::brief());
        (0..10).for_each(|i| full.reply(i, Some(i), i));
        full.merge(&brief);
        assert_eq!(full.rtt_quantile(0.5), Some(4));
        brief.reply(0, Some(100), 100);
        full.merge(&brief);
        assert_eq!(
            (full.rtt_quantile(0.5), full.rtt().count(), full.rtt().max()),
            (None, 11, Some(100))
        );
    }
}
