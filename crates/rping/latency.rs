//! `rping latency` over TCP: opens the exchanges, and says at the end how they went.

use std::time::Duration;

use rping_engine::{Control, Counts, Pace, Refusal, Sink, TargetId, TargetReport};
use rping_net::stream::StreamOptions;
use rping_net::Wait;
use rping_peer::latency::{Fault, LatencyProbe, Options};
use rping_wire::latency::HEADER_LEN;

use crate::job::Job;
use crate::open::{source, Settings};
use crate::report::Report;
use crate::run::{Go, Opened, RunError};

/// Opens what the job needs and runs it.
pub(crate) fn open<O: Opened, S: Sink, C: Control>(
    job: Job,
    settings: &Settings,
    go: Go<'_, O, S, C>,
) -> Result<Report, RunError> {
    let addresses: Vec<_> = job.live().map(|(_, address)| address).collect();
    let size = u32::try_from(job.size.max(HEADER_LEN)).unwrap_or(u32::MAX);
    let options = Options {
        request: if job.reverse { HEADER_LEN as u32 } else { size },
        response: size,
        wait: job.wait,
        stream: StreamOptions {
            source: source(&job),
            interface: job.interface.clone(),
            dscp: job.dscp,
            ttl: job.ttl,
            mark: job.mark,
            mss: None,
            congestion: None,
        },
        patience: job.timeout,
        idle: idle(&job),
        key: job.key.clone(),
        pacing: settings.pacing,
        waker: settings.waker.clone(),
    };
    let probe = LatencyProbe::open(&addresses, &options);
    let pacing = probe.pacing();
    go.go_and(job, probe, pacing, |probe, report| {
        conclude(probe, report);
        Ok(())
    })
}

/// The longest that lies between two requests to one target.
fn idle(job: &Job) -> Duration {
    let between = match job.pace {
        Pace::Every(interval) => interval,
        Pace::WhenSettled | Pace::Window(_) => Duration::ZERO,
    };
    let turn = job.max_rate.map_or(Duration::ZERO, |hz| {
        Duration::from_secs_f64(job.targets.len() as f64 / hz)
    });
    between.max(turn).saturating_add(job.timeout)
}

fn conclude(probe: &LatencyProbe, report: &mut Report) {
    let live: Vec<usize> = report.job.live().map(|(place, _)| place as usize).collect();
    let mut failures = Vec::new();
    let mut there = Vec::new();
    for (number, &place) in (0..).zip(&live) {
        let target = TargetId(number);
        there.extend(probe.server_wait(target));
        let (Some(asked), Some(figures)) = (report.job.targets.get(place), report.run.targets.get_mut(place))
        else {
            continue;
        };
        if let Some((fault, stood)) = probe.fault(target) {
            if !stood {
                *figures = never_stood(fault);
            }
            failures.push(format!("{}: {fault}", asked.label()));
        } else if figures.residence.as_ref().map_or(0, |all| all.moments.count()) < figures.counts.received {
            report.instrument.warnings.push(format!(
                "residence: {} claims to have held requests for longer than their round trips took; of those nothing is taken out",
                asked.label()
            ));
        }
    }
    there.dedup();
    let there = match there.as_slice() {
        [] => None,
        [one] => Some(one.as_str()),
        _ => Some("mixed"),
    };
    name_waiting(probe.wait(), there, report);
    report.failure = match failures.len() {
        0 => None,
        1 => failures.pop(),
        n => Some(format!("{n} targets failed; {}", failures.join("; "))),
    };
}

/// Names how responses were waited for here, and there where that is known.
pub(crate) fn name_waiting(here: Wait, there: Option<&'static str>, report: &mut Report) {
    report.instrument.waiting = Some((here.as_str(), there));
    if report.job.wait != here {
        report.instrument.warnings.push(
            "waiting: this host lets nobody spin (one processor, or a quota below one): responses are slept for".to_owned(),
        );
    }
}

/// The figures of a target with which no exchange stood: the attempt to begin one is all that was sent.
fn never_stood(fault: &Fault) -> TargetReport {
    let mut figures = TargetReport::empty();
    let refusal: Refusal = fault.refusal();
    let one = |of: fn(&mut Counts) -> &mut u64| {
        let mut counts = Counts::default();
        *of(&mut counts) = 1;
        counts
    };
    if fault.is_silence() {
        figures.counts = one(|counts| &mut counts.lost);
        return figures;
    }
    figures.counts = match fault.is_local() {
        true => one(|counts| &mut counts.not_sent),
        false => one(|counts| &mut counts.rejected),
    };
    if let Some(count) = figures.reasons.get_mut(refusal.reason as usize) {
        *count = 1;
    }
    figures.last_refusal = Some(Box::new(refusal));
    figures
}
