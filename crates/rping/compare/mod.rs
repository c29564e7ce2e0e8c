//! Two saved runs held against each other: how far each quantile moved, how sure that is, and the smallest move that this much
//! data could have shown.
//!
//! Probes that follow each other are alike, so probes are not drawn at random: each run is cut into stretches of about as
//! many replies each, and whole stretches are drawn (a block bootstrap). What is still alike from one stretch to the next
//! widens the interval once more. `docs/comparing.md` has the method and what it was measured to do.

mod normal;
#[cfg(test)]
mod tests;
mod throughput;

pub use throughput::{tests as tests_of_throughput, Rate};

use rping_stats::blocks::{Blocks, LEAST_BLOCKS};

use crate::report::Report;
use crate::saved::Saved;
use crate::series::Series;

/// What became of a figure, or of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Shorter round trips, or less loss.
    Better,
    /// Longer round trips, or more loss.
    Worse,
    /// No difference that this data shows and that matters.
    Same,
}

impl Verdict {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::Same => "same",
        }
    }
}

/// Two runs held against each other.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What of the whole: worse where any target is, else better where any is.
    pub verdict: Verdict,
    /// The least shift of a quantile that matters, a part of 1.
    pub least: f64,
    /// Each target that both runs have.
    pub targets: Vec<Pair>,
    /// Throughput: each direction that both tests have.
    pub rates: Vec<Rate>,
    /// Targets that only the first has.
    pub only_before: Vec<String>,
    /// Targets that only the second has.
    pub only_after: Vec<String>,
    /// Why the two may not be like with like, one sentence each.
    pub notes: Vec<String>,
    /// When each began, RFC 3339.
    pub started_at: [String; 2],
    /// The kind of probe.
    pub command: &'static str,
}

/// One target in both runs.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Its name, in the first run.
    pub target: String,
    /// Worse where any figure is, else better where any is.
    pub verdict: Verdict,
    /// Round-trip times in each run.
    pub replies: [u64; 2],
    /// The quantiles that both runs carry.
    pub quantiles: Vec<Shift>,
    /// Loss.
    pub loss: Option<Loss>,
    /// Round-trip times by place on the grid of [`rping_stats::sparse`], for a picture.
    pub shapes: [rping_stats::Sparse; 2],
}

/// How far a quantile moved. Times are in nanoseconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Shift {
    /// `p50`, `p99`.
    pub name: &'static str,
    /// Which: 0.5, 0.99.
    pub q: f64,
    /// In the first run.
    pub before_ns: u64,
    /// In the second.
    pub after_ns: u64,
    /// The interval that holds the true shift with 95 % confidence; `None` where the runs are too short to tell.
    pub interval_ns: Option<(f64, f64)>,
    /// The smallest shift that would have been called one, four times out of five.
    pub smallest_ns: Option<f64>,
    /// What became of it.
    pub verdict: Verdict,
}

impl Shift {
    /// After less before, nanoseconds.
    pub fn shift_ns(&self) -> f64 {
        self.after_ns as f64 - self.before_ns as f64
    }

    /// The shift as a part of what was before; `None` where that was 0.
    pub fn ratio(&self) -> Option<f64> {
        (self.before_ns > 0).then(|| self.shift_ns() / self.before_ns as f64)
    }
}

/// How far the loss moved. All are parts of 1.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Loss {
    /// Lost, of those sent, in the first run.
    pub before: f64,
    /// In the second.
    pub after: f64,
    /// The interval that holds the true difference with 95 % confidence.
    pub interval: (f64, f64),
    /// The smallest difference that would have been called one, four times out of five.
    pub smallest: f64,
    /// What became of it.
    pub verdict: Verdict,
}

/// Why two runs cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// They asked different layers.
    #[error("one was measured with rping {0}, the other with rping {1}: round trips of different probes say nothing about each other")]
    Kinds(&'static str, &'static str),
    /// One was of TCP, the other of UDP.
    #[error("one is throughput over TCP, the other over UDP: the one takes what the path gives, the other what was asked for")]
    Carriers,
    /// They have no direction in common.
    #[error("the two tests have no direction with intervals in common")]
    NoIntervals,
    /// They have nothing in common.
    #[error("the two runs have no target in common")]
    Strangers,
    /// They kept no course.
    #[error("a run over more than 256 targets keeps no course, and without it nobody can tell how sure a difference is")]
    TooMany,
}

/// The confidence of what is shown.
pub const CONFIDENCE: f64 = 0.95;

/// The quantiles that are compared, each with its name.
const QUANTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p95", 0.95),
    ("p99", 0.99),
    ("p99.9", 0.999),
];

/// A verdict on a quantile stands on ten times the replies that showing it needs.
const FOLD: u64 = 10;

/// The grain of `tcpi_rtt`, nanoseconds.
const TCP_GRAIN: f64 = 1000.0;

/// Holds `after` against `before`. A shift of less than `least`, a part of 1, is called the same however sure it is.
///
/// # Errors
/// When they are not of one kind or have no target in common.
pub fn runs(before: &Saved, after: &Saved, least: f64) -> Result<Comparison, CompareError> {
    let (a, b) = (&before.report, &after.report);
    let kinds = (a.job.kind.as_str(), b.job.kind.as_str());
    if kinds.0 != kinds.1 {
        return Err(CompareError::Kinds(kinds.0, kinds.1));
    }
    let pairs = pairs(a, b);
    if pairs.is_empty() {
        return Err(CompareError::Strangers);
    }
    let is_followed = |run: &Saved| !run.series.is_empty() || run.report.run.targets.len() <= 256;
    if !is_followed(before) || !is_followed(after) {
        return Err(CompareError::TooMany);
    }
    let is_coarse = [a, b].iter().any(|report| report.rx_stamps() == Some("tcp_info"));
    let grain = if is_coarse { TCP_GRAIN } else { 0.0 };
    let empty = Series::default();
    let targets: Vec<Pair> = pairs
        .iter()
        .map(|&(i, j)| {
            let series = [before.series.get(i), after.series.get(j)].map(|series| series.unwrap_or(&empty));
            let name = a.job.targets[i].label();
            pair(
                name,
                series,
                Judge {
                    least,
                    grain,
                    tests: pairs.len(),
                },
            )
        })
        .collect();
    let others = |report: &Report, paired: &dyn Fn(usize) -> bool| -> Vec<String> {
        let all = report.job.targets.iter().enumerate();
        all.filter(|(at, _)| !paired(*at))
            .map(|(_, target)| target.label())
            .collect()
    };
    Ok(Comparison {
        verdict: overall(targets.iter().map(|pair| pair.verdict)),
        least,
        only_before: others(a, &|at| pairs.iter().any(|pair| pair.0 == at)),
        only_after: others(b, &|at| pairs.iter().any(|pair| pair.1 == at)),
        targets,
        rates: Vec::new(),
        notes: notes(before, after),
        started_at: [before, after].map(|run| run.header.started_at.clone()),
        command: kinds.0,
    })
}

/// Places of the same target in both runs. Where each has but one, they are the pair, whatever their names.
fn pairs(a: &Report, b: &Report) -> Vec<(usize, usize)> {
    if (a.job.targets.len(), b.job.targets.len()) == (1, 1) {
        return vec![(0, 0)];
    }
    let places: std::collections::HashMap<String, usize> = b
        .job
        .targets
        .iter()
        .enumerate()
        .rev()
        .map(|(at, target)| (target.label(), at))
        .collect();
    let theirs = a.job.targets.iter().enumerate();
    theirs
        .filter_map(|(at, target)| Some((at, *places.get(&target.label())?)))
        .collect()
}

fn overall(verdicts: impl Iterator<Item = Verdict> + Clone) -> Verdict {
    let any = |wanted| verdicts.clone().any(|verdict| verdict == wanted);
    if any(Verdict::Worse) {
        Verdict::Worse
    } else if any(Verdict::Better) {
        Verdict::Better
    } else {
        Verdict::Same
    }
}

/// What a difference has to pass.
#[derive(Clone, Copy)]
struct Judge {
    /// The least shift that matters, a part of 1.
    least: f64,
    /// The instrument's grain, nanoseconds.
    grain: f64,
    /// How many targets are judged: with each there is one more chance to be wrong.
    tests: usize,
}

/// Drawn as often for each run. The middle half of what is drawn is known to two percent of its width.
const DRAWS: usize = 2000;

/// A course in stretches that can be drawn.
fn blocks(series: &Series) -> Blocks {
    let stretches: Vec<_> = series
        .bins()
        .map(|(_, bin)| {
            let c = &bin.counts;
            // A SYN that had to be sent again is a packet lost, as on the loss line.
            let lost = c.sent() - c.received.min(c.sent());
            (
                &bin.rtt,
                c.sent().saturating_add(c.syn_lost),
                lost.saturating_add(c.syn_lost),
            )
        })
        .collect();
    Blocks::new(&stretches)
}

/// Compares one target.
fn pair(target: String, series: [&Series; 2], judge: Judge) -> Pair {
    let [a, b] = series.map(blocks);
    let carried: Vec<(&'static str, f64)> = QUANTILES
        .into_iter()
        .filter(|(_, q)| {
            let needs = rping_stats::replies_needed(*q).unwrap_or(u64::MAX);
            a.replies() >= needs && b.replies() >= needs
        })
        .collect();
    let qs: Vec<f64> = carried.iter().map(|(_, q)| *q).collect();
    // Every figure is one more chance to be wrong: five in a hundred for all of them together.
    let tests = ((carried.len() + 1) * judge.tests) as f64;
    let level = 1.0 - (1.0 - CONFIDENCE) / tests;
    let enough = a.len().min(b.len()) >= LEAST_BLOCKS;
    let drawn = enough.then(|| [a.draw(&qs, DRAWS, 1), b.draw(&qs, DRAWS, 2)]);
    let mut quantiles = Vec::new();
    for (at, &(name, q)) in carried.iter().enumerate() {
        let (Some(before_ns), Some(after_ns)) = (a.all().quantile(q), b.all().quantile(q)) else {
            continue;
        };
        let mut shift = Shift {
            name,
            q,
            before_ns,
            after_ns,
            interval_ns: None,
            smallest_ns: None,
            verdict: Verdict::Same,
        };
        if let Some([x, y]) = &drawn {
            let likeness = a.likeness(q).max(b.likeness(q));
            let freedom = (a.len().min(b.len()) - 1) as f64;
            let fold = rping_stats::replies_needed(q).unwrap_or(1) * FOLD;
            let is_firm = a.replies() >= fold && b.replies() >= fold;
            judge_shift(
                &mut shift,
                (x[at].as_slice(), y[at].as_slice()),
                likeness,
                freedom,
                level,
                is_firm,
                judge,
            );
        }
        quantiles.push(shift);
    }
    let loss = loss(&a, &b, level);
    let verdicts = quantiles.iter().map(|shift| shift.verdict);
    Pair {
        target,
        verdict: overall(verdicts.chain(loss.iter().map(|loss| loss.verdict))),
        replies: [a.replies(), b.replies()],
        quantiles,
        loss,
        shapes: [a.into_all(), b.into_all()],
    }
}

/// Fills in interval, smallest shift and verdict from what was drawn of each run.
fn judge_shift(
    shift: &mut Shift,
    (before, after): (&[u64], &[u64]),
    likeness: f64,
    freedom: f64,
    level: f64,
    is_firm: bool,
    judge: Judge,
) {
    let mut drawn: Vec<f64> = before
        .iter()
        .zip(after)
        .map(|(&before, &after)| after as f64 - before as f64)
        .collect();
    drawn.sort_unstable_by(f64::total_cmp);
    let n = drawn.len() as f64;
    let mean = drawn.iter().sum::<f64>() / n;
    let spread = drawn.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
    // What a value stands for: a bin of a thousandth, or a grain of the stamps, of either run.
    let bin = shift.before_ns.max(shift.after_ns) as f64 / 1000.0;
    let grain = judge.grain.max(bin);
    // Few stretches know their own spread badly (the factor of the sum), and they are alike.
    let inflation = (freedom + 1.0) / freedom * (1.0 + likeness) / (1.0 - likeness);
    let error = (spread * inflation + grain * grain / 6.0).sqrt();
    let d = shift.shift_ns();
    let tails = |level: f64| {
        let tail = 0.5 + level / 2.0;
        (normal::quantile(tail), normal::student(tail, freedom))
    };
    let (z, t) = tails(CONFIDENCE);
    let stretch = t / z * inflation.sqrt();
    let at = |p: f64| drawn[((p * n) as usize).min(drawn.len() - 1)];
    let low = d + (at((1.0 - CONFIDENCE) / 2.0) - mean) * stretch;
    let high = d + (at((1.0 + CONFIDENCE) / 2.0) - mean) * stretch;
    shift.interval_ns = Some((low.min(d - grain / 2.0), high.max(d + grain / 2.0)));
    let (_, strict) = tails(level);
    let needed = strict * error;
    let matters = (judge.least * shift.before_ns as f64).max(judge.grain * 1.001);
    shift.smallest_ns = Some((needed + normal::quantile(0.8) * error).max(matters));
    if is_firm && d.abs() > needed && d.abs() >= matters {
        shift.verdict = if d > 0.0 { Verdict::Worse } else { Verdict::Better };
    }
}

/// Loss: Newcombe's interval for the difference of two proportions (from Wilson's for each), on as many probes as the
/// stretches say are independent of each other: loss comes in bursts.
fn loss(a: &Blocks, b: &Blocks, level: f64) -> Option<Loss> {
    let (before, n) = a.loss()?;
    let (after, m) = b.loss()?;
    let d = after - before;
    let interval = |level: f64| {
        let z = normal::quantile(0.5 + level / 2.0);
        let ((l1, u1), (l2, u2)) = (wilson(before, n, z), wilson(after, m, z));
        let low = d - ((after - l2).powi(2) + (u1 - before).powi(2)).sqrt();
        let high = d + ((u2 - after).powi(2) + (before - l1).powi(2)).sqrt();
        (low.max(-1.0), high.min(1.0))
    };
    let strict = interval(level);
    // Nothing lost is not a loss of nothing: as much as one probe's worth may be hidden.
    let p = ((before * n + after * m + 1.0) / (n + m + 2.0)).clamp(0.0, 1.0);
    let error = (p * (1.0 - p) * (1.0 / n + 1.0 / m)).sqrt();
    let smallest = (normal::quantile(0.5 + level / 2.0) + normal::quantile(0.8)) * error;
    let verdict = if strict.0 > 0.0 {
        Verdict::Worse
    } else if strict.1 < 0.0 {
        Verdict::Better
    } else {
        Verdict::Same
    };
    Some(Loss {
        before,
        after,
        interval: interval(CONFIDENCE),
        smallest: smallest.min(1.0),
        verdict,
    })
}

/// Wilson's interval of a proportion `p` of `n`.
fn wilson(p: f64, n: f64, z: f64) -> (f64, f64) {
    let z2 = z * z;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

/// Why the two may not be like with like.
fn notes(before: &Saved, after: &Saved) -> Vec<String> {
    let mut notes = Vec::new();
    let (a, b) = (&before.report, &after.report);
    let (x, y) = (&a.job, &b.job);
    if x.pace != y.pace {
        notes.push(
            "the intervals differ: a busier path, and a processor that sleeps less, answer differently"
                .to_owned(),
        );
    }
    if x.size != y.size {
        notes.push(format!("the payloads differ: {} and {} bytes", x.size, y.size));
    }
    if (a.rx_stamps(), a.tx_stamps()) != (b.rx_stamps(), b.tx_stamps()) {
        notes.push(
            "the time stamps were taken differently: round trips by different clocks do not compare"
                .to_owned(),
        );
    }
    if before.header.machine.hostname != after.header.machine.hostname {
        notes.push("the two were measured from different machines".to_owned());
    }
    for (which, run) in [("BEFORE", before), ("AFTER", after)] {
        if let Some(words) = run.damage.words() {
            notes.push(format!("{which}: {words}"));
        }
    }
    notes
}
