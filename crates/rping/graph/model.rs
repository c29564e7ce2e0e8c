//! What the live view shows: each target's probes gathered into cells of time, and its figures since the last reset.

use std::collections::VecDeque;
use std::sync::Arc;

use rping_engine::time::nanos;
use rping_engine::{Aside, Counts, Outcome, Record, Sample, Timestamp};
use rping_stats::Recorder;

use crate::job::Job;
use crate::report::Epoch;
use crate::series::from_due;

/// How long a stretch the picture shows, seconds.
pub(super) const WINDOWS: [u64; 6] = [10, 30, 60, 300, 900, 3600];
/// Cells of 100 ms serve windows up to a minute, cells of a second those up to an hour.
const FINE_NS: u64 = 100_000_000;
const COARSE_NS: u64 = 1_000_000_000;
const FINE_CELLS: usize = 600;
const COARSE_CELLS: usize = 3600;

/// What became of the probes that left within one stretch of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) replies: u32,
    sum_ns: u64,
    pub(super) max_ns: u64,
    pub(super) lost: u32,
    pub(super) rejected: u32,
    pub(super) not_sent: u32,
}

impl Cell {
    /// The mean round trip, nanoseconds.
    pub(super) fn mean_ns(&self) -> Option<u64> {
        self.sum_ns.checked_div(u64::from(self.replies))
    }

    fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Reply { rtt, .. } => {
                if let Some(rtt) = rtt {
                    let ns = u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX);
                    self.replies = self.replies.saturating_add(1);
                    self.sum_ns = self.sum_ns.saturating_add(ns);
                    self.max_ns = self.max_ns.max(ns);
                }
            }
            Outcome::Lost => self.lost = self.lost.saturating_add(1),
            Outcome::Rejected { .. } => self.rejected = self.rejected.saturating_add(1),
            Outcome::NotSent(_) => self.not_sent = self.not_sent.saturating_add(1),
        }
    }
}

/// The newest cells of one width; older ones fall off.
#[derive(Clone, Debug)]
struct Ring {
    width_ns: u64,
    most: usize,
    /// The number of the first cell that is kept.
    first: u64,
    cells: VecDeque<Cell>,
}

impl Ring {
    fn new(width_ns: u64, most: usize) -> Ring {
        Ring {
            width_ns,
            most,
            first: 0,
            cells: VecDeque::new(),
        }
    }

    fn cell(&mut self, since_start_ns: u64) -> Option<&mut Cell> {
        let number = since_start_ns / self.width_ns;
        // A gap longer than everything that is kept leaves nothing to keep.
        if number.saturating_sub(self.first) >= 2 * self.most as u64 {
            self.cells.clear();
            self.first = number;
        }
        while self.first + (self.cells.len() as u64) <= number {
            self.cells.push_back(Cell::default());
            if self.cells.len() > self.most {
                self.cells.pop_front();
                self.first += 1;
            }
        }
        let place = number.checked_sub(self.first)?;
        self.cells.get_mut(usize::try_from(place).ok()?)
    }

    /// Each cell with the middle of its time, nanoseconds since the start.
    fn iter(&self) -> impl Iterator<Item = (u64, &Cell)> {
        (self.first..)
            .zip(&self.cells)
            .map(|(number, cell)| (number * self.width_ns + self.width_ns / 2, cell))
    }
}

/// One target's figures since the last reset, warm-up probes left out: counted as the run's own are.
#[derive(Clone, Debug)]
pub(super) struct Series {
    fine: Ring,
    coarse: Ring,
    pub(super) stats: Recorder,
    pub(super) counts: Counts,
    /// The last round trip, nanoseconds.
    pub(super) last_ns: Option<u64>,
}

impl Series {
    fn new() -> Series {
        Series {
            fine: Ring::new(FINE_NS, FINE_CELLS),
            coarse: Ring::new(COARSE_NS, COARSE_CELLS),
            stats: Recorder::full(),
            counts: Counts::default(),
            last_ns: None,
        }
    }

    fn settled(&mut self, sample: &Sample, since_start_ns: u64) {
        for ring in [&mut self.fine, &mut self.coarse] {
            if let Some(cell) = ring.cell(since_start_ns) {
                cell.count(&sample.outcome);
            }
        }
        match &sample.outcome {
            Outcome::Reply {
                rtt, syn_retransmits, ..
            } => {
                self.counts.received += 1;
                if *syn_retransmits > 0 {
                    self.counts.syn_lost += u64::from(*syn_retransmits);
                }
                let rtt = rtt.map(nanos);
                self.stats
                    .reply(sample.seq.0, rtt, from_due(sample, rtt.unwrap_or(0)));
                self.last_ns = rtt.or(self.last_ns);
            }
            Outcome::Rejected { .. } => self.counts.rejected += 1,
            Outcome::Lost => {
                self.counts.lost += 1;
                self.stats.lost(sample.seq.0, sample.left.as_nanos());
            }
            Outcome::NotSent(_) => self.counts.not_sent += 1,
        }
    }
}

/// Everything that is shown, and how.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) job: Arc<Job>,
    epoch: Epoch,
    pub(super) series: Vec<Series>,
    /// The one target that is looked at; `None` for all.
    pub(super) selected: Option<usize>,
    /// Which of [`WINDOWS`].
    window: usize,
    /// The scale of round trips is logarithmic.
    pub(super) logarithmic: bool,
    /// When the figures begin, nanoseconds since the start.
    reset_at_ns: u64,
}

impl Model {
    pub(super) fn new(job: Arc<Job>, epoch: Epoch) -> Model {
        let series = job.targets.iter().map(|_| Series::new()).collect();
        Model {
            job,
            epoch,
            series,
            selected: None,
            window: 2,
            logarithmic: false,
            reset_at_ns: 0,
        }
    }

    /// Nanoseconds since the run began.
    pub(super) fn since_start(&self, at: Timestamp) -> u64 {
        at.nanos_since(self.epoch.started)
    }

    /// Takes one record in.
    pub(super) fn record(&mut self, record: &Record) {
        match record {
            Record::Settled(sample) if !sample.warmup => {
                let at = self.since_start(sample.left);
                // What left before the reset belongs to the figures before it.
                if at < self.reset_at_ns {
                    return;
                }
                if let Some(series) = self.series.get_mut(sample.target.index()) {
                    series.settled(sample, at);
                }
            }
            Record::Aside {
                target,
                aside: Aside::Late(_),
                ..
            } => {
                if let Some(series) = self.series.get_mut(target.index()) {
                    series.counts.late += 1;
                }
            }
            _ => {}
        }
    }

    /// Forgets every figure; the view stays as it is set.
    pub(super) fn reset(&mut self, now: Timestamp) {
        self.reset_at_ns = self.since_start(now);
        self.series.fill_with(Series::new);
    }

    /// The stretch that is shown, seconds.
    pub(super) fn window_s(&self) -> u64 {
        WINDOWS[self.window.min(WINDOWS.len() - 1)]
    }

    pub(super) fn zoom_in(&mut self) {
        self.window = self.window.saturating_sub(1);
    }

    pub(super) fn zoom_out(&mut self) {
        self.window = (self.window + 1).min(WINDOWS.len() - 1);
    }

    /// From all targets to the first, to the next, and back to all; or the other way round.
    pub(super) fn select_next(&mut self, forward: bool) {
        let last = self.series.len().saturating_sub(1);
        self.selected = match (self.selected, forward) {
            (None, true) => Some(0),
            (None, false) => Some(last),
            (Some(at), true) => (at < last).then_some(at + 1),
            (Some(at), false) => at.checked_sub(1),
        };
    }

    /// Takes over how `other` is looked at.
    pub(super) fn look_like(&mut self, other: &Model) {
        self.selected = other.selected;
        self.window = other.window;
        self.logarithmic = other.logarithmic;
    }

    /// The numbers of the targets that are drawn.
    pub(super) fn shown(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.series.len()).filter(|&at| self.selected.is_none_or(|only| only == at))
    }

    /// A target's cells within the window that ends at `end_ns` (since the start), each with its place in seconds
    /// before the end, which is 0 or less.
    pub(super) fn cells(&self, target: usize, end_ns: u64) -> Vec<(f64, Cell)> {
        let window_ns = self.window_s() * 1_000_000_000;
        let Some(series) = self.series.get(target) else {
            return Vec::new();
        };
        let ring = match self.window_s() <= 60 {
            true => &series.fine,
            false => &series.coarse,
        };
        let before = |at: u64| -((end_ns.saturating_sub(at)) as f64 / 1e9);
        ring.iter()
            .filter(|(at, cell)| {
                **cell != Cell::default() && *at <= end_ns + ring.width_ns && at + window_ns >= end_ns
            })
            .map(|(at, cell)| (before(at), *cell))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Kind, Target};
    use rping_engine::{Origin, Sequence, StampSource, TargetId};
    use std::time::Duration;

    fn model(targets: usize) -> Model {
        let mut job = Job::new(Kind::Icmp);
        job.targets = vec![
            Target {
                name: None,
                address: Some(([127, 0, 0, 1], 0).into()),
                error: None,
                from_block: false,
            };
            targets
        ];
        let epoch = Epoch {
            started: Timestamp::ZERO,
            started_unix_ns: 0,
        };
        Model::new(Arc::new(job), epoch)
    }

    fn at(ms: u64) -> Timestamp {
        Timestamp::ZERO.plus(Duration::from_millis(ms))
    }

    fn settled(target: u32, left_ms: u64, outcome: Outcome) -> Record {
        Record::Settled(Sample {
            target: TargetId(target),
            seq: Sequence(0),
            warmup: false,
            due: at(left_ms),
            left: at(left_ms),
            outcome,
        })
    }

    fn reply(micros: u64) -> Outcome {
        Outcome::Reply {
            rtt: Some(Duration::from_micros(micros)),
            stamps: (StampSource::Kernel, StampSource::Kernel),
            from: Origin::Ip([127, 0, 0, 1].into()),
            truncated: false,
            reordered: false,
            syn_retransmits: 0,
            ttl: None,
            local_port: None,
        }
    }

    #[test]
    fn probes_stand_in_the_cell_of_the_instant_they_left() {
        let mut model = model(1);
        model.record(&settled(0, 1_010, reply(100)));
        model.record(&settled(0, 1_090, reply(300)));
        model.record(&settled(0, 1_550, Outcome::Lost));
        let cells = model.cells(0, 2_000_000_000);
        assert_eq!(cells.len(), 2);
        let (place, cell) = cells[0];
        assert!((place - -0.95).abs() < 1e-9, "{place}");
        assert_eq!(
            (cell.replies, cell.mean_ns(), cell.max_ns),
            (2, Some(200_000), 300_000)
        );
        assert_eq!((cells[1].1.lost, cells[1].1.mean_ns()), (1, None));
        let series = &model.series[0];
        let counts = &series.counts;
        assert_eq!((counts.sent(), counts.received, counts.lost), (3, 2, 1));
        assert_eq!(counts.loss_ratio(), Some(1.0 / 3.0));
    }

    #[test]
    fn an_hour_and_more_is_kept_in_flat_memory_and_the_newest_is_seen() {
        let mut model = model(1);
        for second in 0..10_000 {
            model.record(&settled(0, second * 1000, reply(second + 1)));
        }
        let series = &model.series[0];
        assert_eq!(series.fine.cells.len(), FINE_CELLS);
        assert_eq!(series.coarse.cells.len(), COARSE_CELLS);
        for _ in 0..WINDOWS.len() {
            model.zoom_out();
        }
        assert_eq!(model.window_s(), 3600);
        let cells = model.cells(0, 10_000_000_000_000);
        assert_eq!(cells.len(), COARSE_CELLS);
        assert_eq!(cells.last().map(|(_, cell)| cell.max_ns), Some(10_000_000));
        // A suspended machine leaves a gap of any length.
        model.record(&settled(0, 1_000_000_000, reply(1)));
        assert!(model.series[0].coarse.cells.len() <= COARSE_CELLS);
        assert_eq!(model.cells(0, 1_000_000_000_000).len(), 0);
        assert_eq!(model.cells(0, 1_000_000_500_000_000).len(), 1);
    }

    #[test]
    fn a_reset_forgets_figures_and_what_left_before_it() {
        let mut model = model(2);
        model.record(&settled(1, 100, reply(1)));
        model.reset(at(500));
        model.record(&settled(1, 400, Outcome::Lost));
        model.record(&settled(1, 600, reply(2)));
        assert_eq!(
            (model.series[1].counts.received, model.series[1].counts.lost),
            (1, 0)
        );
    }

    #[test]
    fn targets_are_looked_at_one_after_another_and_together() {
        let mut model = model(2);
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(model.selected);
            model.select_next(true);
        }
        assert_eq!(seen, [None, Some(0), Some(1), None]);
        model.selected = None;
        model.select_next(false);
        assert_eq!(model.selected, Some(1));
        assert_eq!(model.shown().collect::<Vec<_>>(), [1]);
    }
}
