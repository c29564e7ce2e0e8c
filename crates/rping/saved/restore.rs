//! From a job and its report to the values of lines, and back.

use std::time::Duration;

use rping_engine::time::nanos;
use rping_engine::{Counts, Reason, Residence, RunReport, Stamps, TargetReport, Timestamp};
use rping_stats::{Histogram, Moments, Recorder, Snapshot};

use super::line::{self, End, Figures, Header, Options, Running};
use super::tally::{origin, LossRunsText};
use crate::assertion::Assertion;
use crate::job::{Carrier, Job, Kind, Pace, Stop, Target, UdpProtocol, Window};
use crate::report::Instrument;
use crate::series::add_counts;

/// What a job asks for, but for its targets.
pub(super) fn options(job: &Job) -> Options {
    let protocol = match job.kind {
        Kind::Udp(UdpProtocol::Auto) => Some("auto"),
        Kind::Udp(UdpProtocol::Echo) => Some("echo"),
        Kind::Udp(UdpProtocol::Stamp) => Some("stamp"),
        Kind::Latency(carrier) => Some(carrier.as_str()),
        _ => None,
    };
    let (count, duration) = match job.stop {
        Stop::Count(n) => (Some(n), None),
        Stop::After(time) => (None, Some(nanos(time))),
        Stop::Never => (None, None),
    };
    Options {
        protocol: protocol.map(str::to_owned),
        count,
        duration_ns: duration,
        interval_ns: match job.pace {
            Pace::Every(period) => nanos(period),
            Pace::WhenSettled | Pace::Window(_) => 0,
        },
        window: match job.pace {
            Pace::Window(window) => Some((window.first, window.most)),
            _ => None,
        },
        retries: job.retries,
        enough: job.enough,
        max_rate: job.max_rate,
        timeout_ns: nanos(job.timeout),
        warmup: job.warmup,
        size: job.size as u64,
        source: job.source.map(|ip| ip.to_string()),
        source_port: job.source_port,
        interface: job.interface.clone(),
        ttl: job.ttl,
        dscp: job.dscp,
        df: job.df,
        mark: job.mark,
        broadcast: job.broadcast,
        reverse: job.reverse,
        syn: job.syn,
        assertions: job.assertions.iter().map(ToString::to_string).collect(),
        notes: job.notes.clone(),
    }
}

/// The job of a header, without targets; `None` for a kind that is not known.
pub(super) fn job(header: &Header) -> Option<Job> {
    let options = &header.options;
    let kind = match header.command.as_str() {
        "icmp" => Kind::Icmp,
        "tcp" => Kind::Tcp,
        "arp" => Kind::Arp,
        "udp" => Kind::Udp(match options.protocol.as_deref() {
            Some("echo") => UdpProtocol::Echo,
            Some("stamp") => UdpProtocol::Stamp,
            _ => UdpProtocol::Auto,
        }),
        "latency" => Kind::Latency(match options.protocol.as_deref() {
            Some("udp") => Carrier::Udp,
            _ => Carrier::Tcp,
        }),
        _ => return None,
    };
    let assertions = options.assertions.iter();
    Some(Job {
        stop: match (options.count, options.duration_ns) {
            (Some(n), _) => Stop::Count(n),
            (None, Some(ns)) => Stop::After(Duration::from_nanos(ns)),
            (None, None) => Stop::Never,
        },
        pace: match (options.interval_ns, options.window) {
            (0, Some((first, most))) => Pace::Window(Window { first, most }),
            (0, None) => Pace::WhenSettled,
            (ns, _) => Pace::Every(Duration::from_nanos(ns)),
        },
        retries: options.retries,
        enough: options.enough,
        max_rate: options.max_rate,
        timeout: Duration::from_nanos(options.timeout_ns),
        warmup: options.warmup,
        size: usize::try_from(options.size).unwrap_or(usize::MAX),
        source: options.source.as_deref().and_then(|ip| ip.parse().ok()),
        source_port: options.source_port,
        interface: options.interface.clone(),
        ttl: options.ttl,
        dscp: options.dscp,
        df: options.df,
        mark: options.mark,
        broadcast: options.broadcast,
        reverse: options.reverse,
        syn: options.syn,
        assertions: assertions
            .filter_map(|expr| Assertion::parse(expr).ok())
            .flatten()
            .collect(),
        notes: options.notes.clone(),
        ..Job::new(kind)
    })
}

pub(super) fn target(of: &line::Target) -> Target {
    Target {
        name: of.name.as_deref().map(Into::into),
        address: of.address,
        error: of.error.as_deref().map(Into::into),
        from_block: of.from_block,
    }
}

/// A target's figures at the end of the run; `None` where they are impossible.
pub(super) fn target_report(figures: &Figures) -> Option<TargetReport> {
    let (counts, reasons) = figures.tally.read()?;
    let (moments, rtt) = figures.rtt.read(3)?;
    let from_due = match &figures.from_due_histogram {
        // More digits than a run keeps are megabytes for a few characters.
        Some(text) => Some(
            Histogram::from_v2_base64(text)
                .ok()
                .filter(|kept| kept.digits() <= 3)?,
        ),
        None => None,
    };
    let histograms = from_due
        .filter(|_| !rtt.is_empty())
        .map(|from_due| (rtt, from_due));
    let (held, holding) = figures.residence.read(3)?;
    let (gross_moments, gross) = figures.gross.read(3)?;
    let residence = (held.count() > 0 || gross_moments.count() > 0).then(|| {
        Box::new(Residence {
            histogram: holding,
            moments: held,
            gross,
            gross_moments,
        })
    });
    Some(TargetReport {
        residence,
        ..report(counts, reasons, moments, histograms, &figures.running)
    })
}

fn report(
    counts: Counts,
    reasons: [u32; Reason::ALL.len()],
    rtt: Moments,
    histograms: Option<(Histogram, Histogram)>,
    running: &Running,
) -> TargetReport {
    let (histogram, from_due) = histograms.unzip();
    let snapshot = Snapshot {
        rtt,
        histogram,
        from_due,
        from_due_max: running.from_due_max_ns,
        jitter: running.jitter_rfc3550_ns.filter(|ns| ns.is_finite()),
        ipdv_sum: running.ipdv_sum_ns,
        ipdv_pairs: running.ipdv_pairs,
        reordered: counts.reordered,
        loss: running
            .loss_runs
            .as_ref()
            .map_or_else(|| Recorder::brief().loss_runs().clone(), LossRunsText::read),
    };
    TargetReport {
        counts,
        reasons: reasons.into(),
        from: running.from.iter().filter_map(|from| origin(from)).collect(),
        stats: Recorder::from_snapshot(snapshot),
        last_refusal: running
            .last_refusal
            .as_ref()
            .map(|refusal| Box::new(refusal.read())),
        stamps: Stamps::of(running.tx_stamps, running.rx_stamps),
        ..TargetReport::empty()
    }
}

/// The run's own figures.
pub(super) fn end(end: &End, run: &mut RunReport, instrument: &mut Instrument) {
    run.lateness_ns = end.lateness_ns;
    run.span.0 = Timestamp::from_nanos(end.begun_ns);
    run.span.1 = run.span.0.plus_nanos(end.duration_ns);
    run.unexpected_elsewhere = end.unexpected_elsewhere.min(1 << 56);
    run.unsettled = end.unsettled.min(1 << 56);
    run.local_drops = end.local_drops;
    run.clock_steps = end.clock_steps;
    run.longest_stall_ns = end.longest_stall_ns;
    let known = |said: &str| {
        let words = ["precise", "spin", "eco", "busy", "spin_then_block", "block"];
        words.into_iter().find(|word| *word == said).unwrap_or("n/a")
    };
    instrument.pacing = known(&end.pacing);
    instrument.waiting = end
        .waiting
        .as_ref()
        .map(|(here, there)| (known(here), there.as_deref().map(known)));
    instrument.warnings.clone_from(&end.warnings);
}

/// One target's figures, added up from its seconds.
#[derive(Default)]
pub(super) struct Sum {
    counts: Counts,
    reasons: [u32; Reason::ALL.len()],
    rtt: Moments,
    /// Round-trip times, and times from when the probes were due.
    pub(super) histograms: Option<Box<(Histogram, Histogram)>>,
    pub(super) running: Option<Running>,
    pub(super) late_ns: u64,
}

impl Sum {
    pub(super) fn add(&mut self, counts: &Counts, reasons: &[u32; Reason::ALL.len()], rtt: &Moments) {
        // A forged file may hold any number of impossible seconds: what no run can reach is not added.
        if self.counts.attempted().saturating_add(counts.attempted()) < 1 << 60 {
            add_counts(&mut self.counts, counts);
        }
        for (to, more) in self.reasons.iter_mut().zip(reasons) {
            *to = to.saturating_add(*more);
        }
        self.rtt.merge(rtt);
    }

    pub(super) fn into_report(self) -> TargetReport {
        let running = self.running();
        let histograms = self
            .histograms
            .map(|both| *both)
            .filter(|(rtt, _)| !rtt.is_empty());
        report(self.counts, self.reasons, self.rtt, histograms, &running)
    }
}
