//! The figures that more than one format shows, taken out of a report once and in one way.

use serde::Serialize;

use rping_engine::{Counts, Oddities, Reason, TargetReport};

use crate::report::Report;

/// A target's round-trip figures in whole nanoseconds; `None` where nothing carries them. The order of the fields is
/// that of the document's keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub(super) struct Rtt {
    pub(super) count: u64,
    pub(super) min: Option<u64>,
    pub(super) mean: Option<u64>,
    pub(super) max: Option<u64>,
    pub(super) stddev: Option<u64>,
    pub(super) p50: Option<u64>,
    pub(super) p90: Option<u64>,
    pub(super) p95: Option<u64>,
    pub(super) p99: Option<u64>,
    pub(super) p999: Option<u64>,
    pub(super) p9999: Option<u64>,
}

impl Rtt {
    pub(super) fn of(target: &TargetReport) -> Rtt {
        let moments = target.stats.rtt();
        let q = |q| target.stats.rtt_quantile(q);
        Rtt {
            count: moments.count(),
            min: moments.min(),
            mean: moments.mean().map(whole),
            max: moments.max(),
            stddev: moments.stddev().map(whole),
            p50: q(0.5),
            p90: q(0.9),
            p95: q(0.95),
            p99: q(0.99),
            p999: q(0.999),
            p9999: q(0.9999),
        }
    }

    /// The percentiles that the count can carry, with their names.
    pub(super) fn percentiles(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("p50", self.p50),
            ("p90", self.p90),
            ("p95", self.p95),
            ("p99", self.p99),
            ("p99.9", self.p999),
            ("p99.99", self.p9999),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }
}

/// Nanoseconds to the nearest whole one. The cast saturates, and makes 0 of what is not a number.
pub(super) fn whole(ns: f64) -> u64 {
    ns.round() as u64
}

/// All targets' counters added up. The order of the fields is that of the document's keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub(super) struct Totals {
    pub(super) targets: u64,
    pub(super) answered: u64,
    pub(super) attempted: u64,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) rejected: u64,
    pub(super) lost: u64,
    pub(super) not_sent: u64,
    pub(super) syn_lost: u64,
    /// Probes that were still in flight when the run was ended early.
    pub(super) unsettled: u64,
    /// Answers to nothing that was asked, those that belong to no target included.
    pub(super) unexpected: u64,
}

impl Totals {
    pub(super) fn of(report: &Report) -> Totals {
        let run = &report.run;
        let mut t = Totals {
            targets: report.job.targets.len() as u64,
            unsettled: run.unsettled,
            unexpected: run.unexpected_elsewhere,
            ..Totals::default()
        };
        for TargetReport { counts: c, .. } in &run.targets {
            t.answered += u64::from(c.received > 0);
            t.attempted = t.attempted.saturating_add(c.attempted());
            t.sent = t.sent.saturating_add(c.sent());
            t.received = t.received.saturating_add(c.received);
            t.rejected = t.rejected.saturating_add(c.rejected);
            t.lost = t.lost.saturating_add(c.lost);
            t.not_sent = t.not_sent.saturating_add(c.not_sent);
            t.syn_lost = t.syn_lost.saturating_add(c.syn_lost);
            t.unexpected = t.unexpected.saturating_add(c.unexpected);
        }
        t
    }

    /// The counters that a loss line needs.
    pub(super) fn counts(&self) -> Counts {
        let odd = Oddities {
            syn_lost: self.syn_lost,
            ..Oddities::NONE
        };
        Counts {
            received: self.received,
            rejected: self.rejected,
            lost: self.lost,
            not_sent: self.not_sent,
            odd: odd.into(),
        }
    }
}

/// The loss that the text shows: as [`Counts::loss_ratio`], and a SYN that had to be sent again is one more packet
/// sent and lost.
pub(crate) fn loss_with_syns(counts: &Counts) -> Option<f64> {
    let sent = counts.sent().saturating_add(counts.syn_lost);
    let lost = counts
        .sent()
        .saturating_sub(counts.received)
        .saturating_add(counts.syn_lost);
    (sent > 0).then(|| lost as f64 / sent as f64)
}

/// The reasons that occurred, with their counts, in the order of [`Reason::ALL`].
pub(super) fn reasons(target: &TargetReport) -> impl Iterator<Item = (Reason, u32)> + '_ {
    Reason::ALL
        .into_iter()
        .zip(*target.reasons)
        .filter(|(_, n)| *n > 0)
}

/// What the run has to warn of: the request's notes, then the instrument's warnings, each once.
pub(crate) fn warnings(report: &Report) -> Vec<&str> {
    let mut all: Vec<&str> = Vec::new();
    for warning in report.job.notes.iter().chain(&report.instrument.warnings) {
        if !all.contains(&warning.as_str()) {
            all.push(warning);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_syn_that_was_sent_again_counts_as_loss() {
        let mut counts = Counts {
            received: 3,
            lost: 1,
            ..Counts::default()
        };
        counts.syn_lost = 1;
        assert_eq!(loss_with_syns(&counts), Some(0.4));
        assert_eq!(counts.loss_ratio(), Some(0.25));
    }

    #[test]
    fn nothing_sent_is_no_loss_ratio() {
        assert_eq!(
            loss_with_syns(&Counts {
                not_sent: 4,
                ..Counts::default()
            }),
            None
        );
    }

    #[test]
    fn a_figure_beyond_the_scale_saturates() {
        assert_eq!((whole(1e30), whole(f64::NAN), whole(1.5)), (u64::MAX, 0, 2));
    }
}
