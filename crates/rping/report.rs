//! What a run amounted to.

use std::sync::Arc;

use rping_engine::{RunReport, StampSource, TargetReport, Timestamp};

use rping_udp::Directions;

use crate::assertion::Verdict;
use crate::job::{Job, Kind};

/// The fixed point between the monotonic clock of the measurement and the wall clock of labels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Epoch {
    /// The instant the run began.
    pub started: Timestamp,
    /// The same instant in nanoseconds since 1970-01-01T00:00:00Z.
    pub started_unix_ns: i128,
}

impl Epoch {
    /// The wall-clock label of an instant, in nanoseconds since 1970.
    pub fn unix_ns(&self, at: Timestamp) -> i128 {
        self.started_unix_ns + i128::from(at.as_nanos()) - i128::from(self.started.as_nanos())
    }
}

/// What the instrument says of itself.
#[derive(Clone, PartialEq, Debug)]
pub struct Instrument {
    /// The pacing policy that ran: `precise`, `spin` or `eco`.
    pub pacing: &'static str,
    /// How responses of a latency test are waited for: here, and there where that is known (STAMP has no
    /// word for it): `busy`, `spin_then_block`, `block`. `None` for probes of other kinds.
    pub waiting: Option<(&'static str, Option<&'static str>)>,
    /// When not to trust the result, one sentence each, without a final line break. Machine-readable ones begin with
    /// their key and a colon, e.g. `duplicate_address: 10.0.0.7 is claimed by 02:…:01 and 02:…:02`.
    pub warnings: Vec<String>,
}

/// The result of a [`Job`].
#[derive(Clone, Debug)]
pub struct Report {
    /// What was asked for. `run.targets` has one entry for each of its targets, in the same order.
    pub job: Arc<Job>,
    /// The engine's counters and statistics.
    pub run: RunReport,
    /// When it began.
    pub epoch: Epoch,
    /// The instrument's own part.
    pub instrument: Instrument,
    /// What each target's reflector told of the two ways, in the order of the job's targets; empty where no probe kind tells.
    pub directions: Vec<Option<Directions>>,
    /// It was ended by a signal before its time.
    pub interrupted: bool,
    /// It was ended by a failure that made every further probe impossible, in words; what was measured before stands.
    pub failure: Option<String>,
}

impl Report {
    /// The report of a job none of whose targets could be probed.
    pub fn of_nothing(job: Arc<Job>) -> Report {
        let clock = rping_net::Clock::new();
        let started = clock.now();
        let run = RunReport {
            targets: job.targets.iter().map(|_| TargetReport::empty()).collect(),
            lateness_ns: (None, None, None),
            span: (started, started),
            unexpected_elsewhere: 0,
            unsettled: 0,
            local_drops: 0,
            clock_steps: 0,
            longest_stall_ns: 0,
        };
        let epoch = Epoch {
            started,
            started_unix_ns: clock.wall_nanos(started),
        };
        let instrument = Instrument {
            pacing: "precise",
            waiting: None,
            warnings: job.notes.clone(),
        };
        Report {
            job,
            run,
            epoch,
            instrument,
            directions: Vec::new(),
            interrupted: false,
            failure: None,
        }
    }

    /// The exit code: 0 all targets answered and every assertion holds, 1 some never replied or one does not hold, 2 some
    /// could not be probed at all.
    pub fn exit_code(&self) -> u8 {
        let of = |(target, report): (&crate::job::Target, &TargetReport)| match target.error {
            Some(_) => 2,
            None if report.counts.received == 0 => 1,
            None => 0,
        };
        let targets = self
            .job
            .targets
            .iter()
            .zip(&self.run.targets)
            .map(of)
            .max()
            .unwrap_or(0);
        if self.failure.is_some() {
            // What ends a latency test early is the far end's doing: it was done, and not answered.
            if matches!(self.job.kind, Kind::Latency(_)) {
                targets.max(1)
            } else {
                2
            }
        } else {
            let broken = self.verdicts().iter().any(|verdict| !verdict.holds);
            targets.max(u8::from(broken))
        }
    }

    /// What each of the job's assertions came to.
    pub fn verdicts(&self) -> Vec<Verdict> {
        let judged = self.job.assertions.iter().map(|assertion| assertion.judge(self));
        judged.collect()
    }

    /// The word for the transmit stamps of all samples: one source's name, or `mixed`; `None` without a reply.
    pub fn tx_stamps(&self) -> Option<&'static str> {
        stamp_word(self.run.targets.iter().map(|t| t.stamps.tx()))
    }

    /// The word for the receive stamps of all samples.
    pub fn rx_stamps(&self) -> Option<&'static str> {
        stamp_word(self.run.targets.iter().map(|t| t.stamps.rx()))
    }
}

const SOURCES: [StampSource; 4] = [
    StampSource::User,
    StampSource::Kernel,
    StampSource::Hardware,
    StampSource::TcpInfo,
];

fn stamp_word(counts: impl Iterator<Item = [u64; 4]>) -> Option<&'static str> {
    let mut used = [false; 4];
    for count in counts {
        for (seen, n) in used.iter_mut().zip(count) {
            *seen |= n > 0;
        }
    }
    let mut words = SOURCES
        .iter()
        .zip(used)
        .filter(|(_, seen)| *seen)
        .map(|(source, _)| source.as_str());
    match (words.next(), words.next()) {
        (None, _) => None,
        (Some(word), None) => Some(word),
        (Some(_), Some(_)) => Some("mixed"),
    }
}
