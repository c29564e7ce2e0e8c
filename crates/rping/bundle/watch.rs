//! `--until-failure`: probes go out, the last packets, counters and probes are kept, and the first probe that fails
//! freezes them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use rping_bundle::capture::Others;
use rping_bundle::{counters, Bundle, Content};
use rping_engine::{Control, Origin, Outcome, Record, Refusal, Sample, Sink, Timestamp, Wish};
use rping_evidence::capture::{Carries, Selection};
use rping_net::{Clock, Waker};
use serde_json::{json, Map, Value};

use super::gather;
use crate::args::{DiagnoseRequest, Request, Watch};
use crate::job::{Job, Kind, Pace};
use crate::run::Hooks;
use crate::signals::Signals;
use crate::targets::{LocalNet, SystemResolver};

/// Probes that are kept.
const PROBES: usize = 10_000;
/// Readings of the counters that are kept, and the time between them.
const READINGS: usize = 120;
const BETWEEN: Duration = Duration::from_secs(1);
/// How soon the reading thread ends.
const LOOK: Duration = Duration::from_millis(20);
/// What is on its way when a probe fails (a late answer, an ICMP error) is still captured.
const AFTERWARDS: Duration = Duration::from_millis(200);

/// How it ended.
pub(super) enum Watched {
    /// A probe failed; in words.
    Failed(String),
    /// None did, until a signal came or the count was reached.
    Ended,
}

/// Probes until something fails, and puts what was kept into the bundle.
///
/// # Errors
/// In one line: probes that cannot be sent at all.
pub(super) fn watch(
    bundle: &mut Bundle,
    target: &DiagnoseRequest,
    watch: &Watch,
    addresses: &[SocketAddr],
    signals: &Signals,
    waker: &Waker,
) -> Result<Watched, String> {
    let job = job(target, watch)?;
    if let Some(error) = job.targets.iter().find_map(|target| target.error.as_deref()) {
        bundle.note(format!("the target cannot be probed: {error}"));
        return Ok(Watched::Failed(error.to_owned()));
    }
    let what = job.kind.as_str();
    let timeout = job.timeout;
    let comment = format!(
        "rping bundle {}: the last packets before a probe failed",
        target.target.text()
    );
    // The probes' own, as for --pcap: in hours other programs' would take their room.
    let selection = match job.kind {
        Kind::Icmp => Selection::new(Carries::Icmp, addresses.iter().copied()),
        _ => Selection::new(
            Carries::Tcp,
            job.targets.iter().filter_map(|target| target.address),
        ),
    };
    let recording = gather::record(bundle, "ring.pcapng", selection, comment, Others::default(), true);
    let readings = Readings::start();
    bundle.note(format!("{what} probes to {} begin", target.target.text()));
    let mut kept = Kept {
        probes: VecDeque::new(),
        failure: None,
        timeout,
    };
    let mut control = Until {
        signals: signals.clone(),
        failed: Arc::default(),
    };
    let failed = Arc::clone(&control.failed);
    let ran = job.run_with(Hooks {
        opened: &mut (),
        sink: &mut Both {
            kept: &mut kept,
            failed,
        },
        control: &mut control,
        waker: Some(waker.clone()),
    });
    let frozen = Clock.now();
    if let Err(error) = ran {
        return Err(error.to_string());
    }
    if kept.failure.is_some() {
        rping_net::wait::sleep(AFTERWARDS);
    }
    if let Some(recording) = recording {
        recording.finish(bundle);
    }
    let readings = readings.map(Readings::finish).unwrap_or_default();
    bundle.add(
        "ring-counters.ndjson",
        counters::SOURCE,
        Content::Lines,
        counter_lines(bundle, &readings),
    );
    let lines = probe_lines(bundle, &kept.probes);
    bundle.add(
        "ring-probes.ndjson",
        &format!("rping {what}"),
        Content::Lines,
        lines,
    );
    Ok(match kept.failure {
        Some((at, words)) => {
            bundle.note_at(at, format!("a probe failed: {words}"));
            bundle.note_at(frozen, "what was kept was frozen");
            Watched::Failed(words)
        }
        None => {
            bundle.note_at(frozen, "the probes ended, and none had failed");
            Watched::Ended
        }
    })
}

fn job(target: &DiagnoseRequest, watch: &Watch) -> Result<Job, String> {
    let kind = match target.target.ports() {
        [] => Kind::Icmp,
        _ => Kind::Tcp,
    };
    let request = Request {
        stop: watch.stop,
        pace: Pace::Every(watch.interval),
        timeout: watch.timeout,
        family: target.family,
        ..Request::new(kind)
    };
    let request = request.target(target.target.text());
    request.check().map_err(|usage| usage.to_string())?;
    request
        .into_job(&SystemResolver::default(), &LocalNet::system())
        .map_err(|usage| usage.to_string())
}

/// The last probes, and the first that failed.
struct Kept {
    probes: VecDeque<Sample>,
    failure: Option<(Timestamp, String)>,
    timeout: Duration,
}

struct Both<'a> {
    kept: &'a mut Kept,
    failed: Arc<AtomicBool>,
}

impl Sink for Both<'_> {
    fn record(&mut self, record: &Record) {
        let Record::Settled(sample) = record else { return };
        if self.kept.probes.len() >= PROBES {
            self.kept.probes.pop_front();
        }
        self.kept.probes.push_back(*sample);
        let words = match sample.outcome {
            Outcome::Reply { .. } => return,
            Outcome::Lost => {
                format!(
                    "probe {}: lost, no answer within {}",
                    number(sample),
                    humantime::format_duration(self.kept.timeout)
                )
            }
            Outcome::Rejected { refusal, .. } => {
                format!("probe {}: rejected, {}", number(sample), reason(&refusal))
            }
            Outcome::NotSent(refusal) => format!("probe {}: not sent, {}", number(sample), reason(&refusal)),
        };
        if self.kept.failure.is_none() {
            self.kept.failure = Some((Clock.now(), words));
            self.failed.store(true, Ordering::Release);
        }
    }
}

fn number(sample: &Sample) -> u64 {
    sample.seq.0
}

fn origin(origin: &Origin) -> String {
    origin.to_string()
}

fn reason(refusal: &Refusal) -> String {
    let reason = refusal.reason.as_str();
    match &refusal.from {
        Some(from) => format!("{reason} (from {})", origin(from)),
        None => reason.to_owned(),
    }
}

/// Ends the run when a probe has failed, or a signal came.
struct Until {
    signals: Signals,
    failed: Arc<AtomicBool>,
}

impl Control for Until {
    fn wish(&mut self) -> Wish {
        match self.failed.load(Ordering::Acquire) {
            true => Wish::Stop,
            false => self.signals.wish(),
        }
    }
}

/// The last readings of the counters, taken on a thread of their own, so that no probe waits for them.
struct Readings {
    thread: std::thread::JoinHandle<VecDeque<Reading>>,
    stop: Arc<AtomicBool>,
}

type Reading = (Timestamp, counters::Counters);

impl Readings {
    fn start() -> Option<Readings> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("rping-counters".into())
            .spawn(move || {
                // Reading takes no capability.
                let _ = rping_net::caps::drop_all();
                let mut readings = VecDeque::new();
                let mut due = Clock.now();
                loop {
                    let ends = told.load(Ordering::Acquire);
                    let now = Clock.now();
                    if ends || now >= due {
                        due = now.plus(BETWEEN);
                        if readings.len() >= READINGS {
                            readings.pop_front();
                        }
                        readings.push_back((now, counters::read()));
                    }
                    if ends {
                        return readings;
                    }
                    rping_net::wait::sleep(LOOK);
                }
            })
            .ok()?;
        Some(Readings { thread, stop })
    }

    fn finish(self) -> VecDeque<Reading> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().unwrap_or_default()
    }
}

/// A line for each reading: what had moved since the one before.
fn counter_lines(bundle: &Bundle, readings: &VecDeque<Reading>) -> Vec<u8> {
    let mut lines = Vec::new();
    for (before, after) in readings.iter().zip(readings.iter().skip(1)) {
        let moved: Map<String, Value> = counters::difference(&before.1, &after.1)
            .into_iter()
            .filter_map(|(name, before, after)| {
                let by = i64::try_from(after? - before?).ok()?;
                Some((name, Value::from(by)))
            })
            .collect();
        line(
            &mut lines,
            &json!({
                "at": bundle.label(after.0),
                "offset_ns": after.0.nanos_since(bundle.started()),
                "moved": moved,
            }),
        );
    }
    lines
}

fn probe_lines(bundle: &Bundle, probes: &VecDeque<Sample>) -> Vec<u8> {
    let mut lines = Vec::new();
    for sample in probes {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let (outcome, rtt, refusal) = match sample.outcome {
            Outcome::Reply { rtt, .. } => ("reply", rtt.map(nanos), None),
            Outcome::Rejected { refusal, .. } => ("rejected", None, Some(refusal)),
            Outcome::Lost => ("lost", None, None),
            Outcome::NotSent(refusal) => ("not_sent", None, Some(refusal)),
        };
        line(
            &mut lines,
            &json!({
                "at": bundle.label(sample.left),
                "offset_ns": sample.left.nanos_since(bundle.started()),
                "seq": number(sample),
                "outcome": outcome,
                "rtt_ns": rtt,
                "reason": refusal.map(|refusal| refusal.reason.as_str()),
                "from": refusal.and_then(|refusal| refusal.from.map(|from| origin(&from))),
            }),
        );
    }
    lines
}

fn line(lines: &mut Vec<u8>, value: &Value) {
    // A value writes itself to memory without fail.
    if serde_json::to_writer(&mut *lines, value).is_ok() {
        lines.push(b'\n');
    }
}
