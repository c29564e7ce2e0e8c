//! The document of a run: `rping.run/1`, described by `docs/schema/rping.run-1.json`.
//!
//! Every key is always present. Targets are turned into their documents one by one while they are written: a sweep
//! over a million addresses needs no second copy in memory.

use serde::ser::{SerializeMap, Serializer};
use serde::Serialize;

use rping_engine::{Pace, Stop, TargetReport};
use rping_stats::{Histogram, Moments};

use super::directions::{ReflectorDoc, WayDoc};
use super::figures::{self, Rtt, Totals};
use super::frame::{AssertionDoc, Frame, Lateness, Timestamps, SCHEMA};
use super::{clock, payload_size};
use crate::job::{show_ip, Job, Kind, Target};
use crate::report::Report;
use rping_udp::Directions;

#[derive(Serialize)]
struct Options {
    count: Option<u64>,
    duration_ns: Option<u64>,
    interval_ns: u64,
    timeout_ns: u64,
    warmup: u64,
    size: Option<usize>,
    transport: Option<&'static str>,
    reverse: bool,
}

#[derive(Serialize)]
struct Instrument<'a> {
    timestamps: Timestamps,
    pacing: &'static str,
    lateness_ns: Lateness,
    waiting: Waiting,
    local_drops: u64,
    clock_steps: u64,
    longest_stall_ns: u64,
    warnings: Vec<&'a str>,
}

#[derive(Serialize)]
struct Waiting {
    client: Option<&'static str>,
    server: Option<&'static str>,
}

#[derive(Serialize)]
struct TargetDoc<'a> {
    target: String,
    address: Option<String>,
    port: Option<u16>,
    error: Option<&'a str>,
    attempted: u64,
    sent: u64,
    received: u64,
    rejected: u64,
    lost: u64,
    not_sent: u64,
    late: u64,
    duplicates: u64,
    reordered: u64,
    corrupt: u64,
    truncated: u64,
    unexpected: u64,
    syn_lost: u64,
    skipped: u64,
    loss_ratio: Option<f64>,
    loss_runs: LossRuns,
    reasons: Reasons<'a>,
    from: Vec<String>,
    rtt_ns: Rtt,
    rtt_gross_ns: Residence,
    rtt_from_due_ns: Lateness,
    residence_ns: Residence,
    jitter_ns: Jitter,
    forward: Option<WayDoc>,
    reverse: Option<WayDoc>,
    unattributed: Option<u64>,
    reflector: Option<ReflectorDoc>,
    histogram: Option<String>,
}

/// What the far end says that it held the probes, or the round trips with it.
#[derive(Serialize)]
struct Residence {
    mean: Option<u64>,
    p50: Option<u64>,
    p99: Option<u64>,
    max: Option<u64>,
}

impl Residence {
    fn of(report: &TargetReport) -> Residence {
        let all = report.residence.as_deref();
        Residence::from(all.map(|all| (&all.moments, &all.histogram)))
    }

    fn gross(report: &TargetReport) -> Residence {
        let all = report.residence.as_deref();
        Residence::from(all.map(|all| (&all.gross_moments, &all.gross)))
    }

    fn from(of: Option<(&Moments, &Histogram)>) -> Residence {
        let quantile = |q| of.and_then(|(_, histogram)| histogram.quantile(q));
        Residence {
            mean: of.and_then(|(moments, _)| moments.mean()).map(figures::whole),
            p50: quantile(0.5),
            p99: quantile(0.99),
            max: of.and_then(|(moments, _)| moments.max()),
        }
    }
}

#[derive(Serialize)]
struct LossRuns {
    count: u64,
    longest: Option<u64>,
    longest_outage_ns: Option<u64>,
}

#[derive(Serialize)]
struct Jitter {
    rfc3550: Option<u64>,
    ipdv_mean: Option<u64>,
}

/// Reasons as a map from name to count, only those that occurred.
struct Reasons<'a>(&'a TargetReport);

impl Serialize for Reasons<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        for (reason, count) in figures::reasons(self.0) {
            map.serialize_entry(reason.as_str(), &count)?;
        }
        map.end()
    }
}

struct Targets<'a>(&'a Report);

impl Serialize for Targets<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let told = self.0.directions.iter().map(Option::as_ref);
        let told = told.chain(std::iter::repeat(None));
        let both = self.0.job.targets.iter().zip(&self.0.run.targets);
        let all = both.zip(told);
        to.collect_seq(all.map(|((target, report), told)| TargetDoc::of(target, report, told)))
    }
}

/// The document of `report`; `kind` is the value of a leading key `type`, for streams.
pub(super) fn of<'a>(report: &'a Report, kind: Option<&'static str>) -> impl Serialize + 'a {
    let run = &report.run;
    let (p50, p99, max) = run.lateness_ns;
    Frame {
        kind,
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        command: report.job.kind.as_str(),
        started_at: clock::nanos(&report.epoch, run.span.0).to_string(),
        duration_ns: run.span.1.nanos_since(run.span.0),
        interrupted: report.interrupted,
        failure: report.failure.as_deref(),
        options: Options::of(&report.job),
        instrument: Instrument {
            timestamps: Timestamps {
                tx: report.tx_stamps(),
                rx: report.rx_stamps(),
            },
            pacing: report.instrument.pacing,
            lateness_ns: Lateness { p50, p99, max },
            waiting: Waiting {
                client: report.instrument.waiting.map(|(here, _)| here),
                server: report.instrument.waiting.and_then(|(_, there)| there),
            },
            local_drops: run.local_drops,
            clock_steps: run.clock_steps,
            longest_stall_ns: run.longest_stall_ns,
            warnings: figures::warnings(report),
        },
        totals: Totals::of(report),
        targets: Targets(report),
        assertions: report.verdicts().into_iter().map(AssertionDoc::of).collect(),
    }
}

impl Options {
    fn of(job: &Job) -> Options {
        let (count, duration) = match job.stop {
            Stop::Count(n) => (Some(n), None),
            Stop::After(d) => (None, Some(rping_engine::time::nanos(d))),
            Stop::Never => (None, None),
        };
        Options {
            count,
            duration_ns: duration,
            interval_ns: match job.pace {
                Pace::Every(d) => rping_engine::time::nanos(d),
                Pace::WhenSettled | Pace::Window(_) => 0,
            },
            timeout_ns: rping_engine::time::nanos(job.timeout),
            warmup: job.warmup,
            size: payload_size(job),
            transport: match job.kind {
                Kind::Latency(carrier) => Some(carrier.as_str()),
                _ => None,
            },
            reverse: job.reverse,
        }
    }
}

impl<'a> TargetDoc<'a> {
    fn of(target: &'a Target, report: &'a TargetReport, directions: Option<&Directions>) -> TargetDoc<'a> {
        let c = &report.counts;
        let stats = &report.stats;
        let runs = stats.loss_runs();
        TargetDoc {
            target: target.label(),
            address: target.address.map(show_ip),
            port: target.port(),
            error: target.error.as_deref(),
            attempted: c.attempted(),
            sent: c.sent(),
            received: c.received,
            rejected: c.rejected,
            lost: c.lost,
            not_sent: c.not_sent,
            late: c.late,
            duplicates: c.duplicates,
            reordered: c.reordered,
            corrupt: c.corrupt,
            truncated: c.truncated,
            unexpected: c.unexpected,
            syn_lost: c.syn_lost,
            skipped: c.skipped,
            loss_ratio: c.loss_ratio(),
            loss_runs: LossRuns {
                count: runs.count(),
                longest: runs.longest(),
                longest_outage_ns: runs.longest_outage_ns(),
            },
            reasons: Reasons(report),
            from: report.from.iter().map(ToString::to_string).collect(),
            rtt_ns: Rtt::of(report),
            rtt_from_due_ns: Lateness {
                p50: stats.from_due_quantile(0.5),
                p99: stats.from_due_quantile(0.99),
                max: stats.from_due_max(),
            },
            rtt_gross_ns: Residence::gross(report),
            residence_ns: Residence::of(report),
            jitter_ns: Jitter {
                rfc3550: stats.jitter_rfc3550().map(figures::whole),
                ipdv_mean: stats.ipdv_mean().map(figures::whole),
            },
            forward: directions.map(WayDoc::forward),
            reverse: directions.map(|d| WayDoc::of(&d.reverse)),
            unattributed: directions.map(|d| d.unattributed),
            reflector: directions.map(ReflectorDoc::of),
            histogram: stats
                .histogram()
                .filter(|h| !h.is_empty())
                .map(|h| h.to_v2_base64()),
        }
    }
}
