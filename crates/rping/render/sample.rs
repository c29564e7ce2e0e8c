//! Runs made by hand, for the tests of all formats.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rping_engine::{
    Aside, Origin, Outcome, Reason, Record, Refusal, RunReport, Sample, Sequence, StampSource, TargetId,
    TargetReport, Timestamp,
};
use rping_stats::Recorder;

use super::renderer;
use crate::args::output::OutputOptions;
use crate::job::{Job, Kind, Target};
use crate::report::{Epoch, Instrument, Report};

/// When the monotonic clock's runs begin.
const START: u64 = 5_000_000_000;

pub(crate) fn at(ns: u64) -> Timestamp {
    Timestamp::from_nanos(START + ns)
}

pub(crate) fn target(name: Option<&str>, address: &str) -> Target {
    let address: SocketAddr = address.parse().unwrap();
    Target {
        name: name.map(Into::into),
        address: Some(address),
        error: None,
        from_block: false,
    }
}

pub(crate) fn unresolved(name: &str, error: &str) -> Target {
    Target {
        name: Some(name.into()),
        address: None,
        error: Some(error.into()),
        from_block: false,
    }
}

pub(crate) fn member(address: &str) -> Target {
    Target {
        from_block: true,
        ..target(None, address)
    }
}

/// A run that is being made up: every record is told to the renderer and counted as the engine would.
pub(crate) struct Run {
    pub(crate) report: Report,
    pub(crate) records: Vec<Record>,
}

impl Run {
    pub(crate) fn new(kind: Kind, targets: Vec<Target>) -> Run {
        let mut job = Job::new(kind);
        let each = || TargetReport {
            stats: Recorder::full(),
            ..TargetReport::empty()
        };
        let run = RunReport {
            targets: targets.iter().map(|_| each()).collect(),
            lateness_ns: (Some(2_100), None, Some(15_000)),
            span: (at(0), at(4_003_112_233)),
            unexpected_elsewhere: 0,
            unsettled: 0,
            local_drops: 0,
            clock_steps: 0,
            longest_stall_ns: 0,
        };
        job.targets = targets;
        let report = Report {
            job: Arc::new(job),
            run,
            epoch: Epoch {
                started: at(0),
                started_unix_ns: 1_795_383_000_123_456_789,
            },
            instrument: Instrument {
                pacing: "precise",
                waiting: None,
                warnings: Vec::new(),
            },
            directions: Vec::new(),
            interrupted: false,
            failure: None,
        };
        Run {
            report,
            records: Vec::new(),
        }
    }

    pub(crate) fn job(mut self, change: impl FnOnce(&mut Job)) -> Run {
        change(Arc::make_mut(&mut self.report.job));
        self
    }

    fn origin(&self, target: usize) -> Origin {
        Origin::Ip(
            self.report.job.targets[target]
                .ip()
                .unwrap_or(IpAddr::from([0; 4])),
        )
    }

    fn settle(&mut self, target: usize, outcome: Outcome) -> &mut Run {
        let of = &self.report.run.targets[target];
        let n = of.counts.attempted();
        let (due, left) = (n * 1_000_000_000, n * 1_000_000_000 + 2_100);
        self.report.run.targets[target].count(n, left, &outcome);
        let id = TargetId(target as u32);
        let sample = Sample {
            target: id,
            seq: Sequence(n),
            warmup: false,
            due: at(due),
            left: at(left),
            outcome,
        };
        self.records.push(Record::Settled(sample));
        self
    }

    pub(crate) fn reply(&mut self, target: usize, rtt_ns: u64) -> &mut Run {
        let from = self.origin(target);
        self.reply_from(target, Some(rtt_ns), from, 0)
    }

    pub(crate) fn reply_from(
        &mut self,
        target: usize,
        rtt_ns: Option<u64>,
        from: Origin,
        syns: u8,
    ) -> &mut Run {
        let tcp = self.report.job.kind == Kind::Tcp;
        let source = if tcp {
            StampSource::TcpInfo
        } else {
            StampSource::Kernel
        };
        let outcome = Outcome::Reply {
            rtt: rtt_ns.map(Duration::from_nanos),
            stamps: (source, source),
            from,
            truncated: false,
            reordered: false,
            syn_retransmits: syns,
            ttl: (self.report.job.kind == Kind::Icmp).then_some(64),
            local_port: None,
        };
        self.settle(target, outcome)
    }

    pub(crate) fn lost(&mut self, target: usize) -> &mut Run {
        self.settle(target, Outcome::Lost)
    }

    pub(crate) fn rejected(&mut self, target: usize, refusal: Refusal) -> &mut Run {
        self.settle(
            target,
            Outcome::Rejected {
                refusal,
                after: Duration::from_nanos(312_400),
            },
        )
    }

    pub(crate) fn not_sent(&mut self, target: usize, refusal: Refusal) -> &mut Run {
        self.settle(target, Outcome::NotSent(refusal))
    }

    pub(crate) fn aside(&mut self, target: usize, seq: Option<u64>, aside: Aside) -> &mut Run {
        let counts = &mut self.report.run.targets[target].counts;
        match aside {
            Aside::Late(_) => counts.late += 1,
            Aside::Duplicate => counts.duplicates += 1,
            Aside::Corrupt => counts.corrupt += 1,
            Aside::Unexpected => counts.unexpected += 1,
        }
        let from = Some(self.origin(target));
        let target = TargetId(target as u32);
        self.records.push(Record::Aside {
            target,
            seq: seq.map(Sequence),
            from,
            at: self.latest(),
            aside,
        });
        self
    }

    /// When the last record was settled: for a reply when it came, else when its timeout had passed.
    fn latest(&self) -> Timestamp {
        let settled = self.records.iter().rev().find_map(|record| match record {
            Record::Settled(sample) => Some(sample),
            Record::Aside { .. } => None,
        });
        settled.map_or(Timestamp::ZERO, |sample| match sample.outcome {
            Outcome::Lost => sample.left.plus(self.report.job.timeout),
            _ => sample.left,
        })
    }

    /// All of what a renderer writes.
    pub(crate) fn shown(&self, options: &OutputOptions) -> String {
        let written = Shared::default();
        let job = Arc::clone(&self.report.job);
        let mut render = renderer(options, Arc::clone(&job), Box::new(written.clone()), false);
        render.begin(&job, &self.report.epoch).unwrap();
        for record in &self.records {
            render.record(record).unwrap();
        }
        render.end(&self.report).unwrap();
        written.text()
    }
}

trait Count {
    fn count(&mut self, seq: u64, left: u64, outcome: &Outcome);
}

impl Count for TargetReport {
    fn count(&mut self, seq: u64, left: u64, outcome: &Outcome) {
        let c = &mut self.counts;
        let refused = match *outcome {
            Outcome::Reply {
                rtt,
                stamps,
                from,
                truncated,
                reordered,
                syn_retransmits,
                ..
            } => {
                c.received += 1;
                c.truncated += u64::from(truncated);
                c.reordered += u64::from(reordered);
                c.syn_lost += u64::from(syn_retransmits);
                let rtt = rtt.map(|d| d.as_nanos() as u64);
                self.stats.reply(seq, rtt, rtt.unwrap_or(0) + 2_100);
                self.stamps.count(stamps);
                self.from.add(from);
                return;
            }
            Outcome::Lost => {
                c.lost += 1;
                self.stats.lost(seq, left);
                return;
            }
            Outcome::Rejected { refusal, .. } => {
                c.rejected += 1;
                refusal
            }
            Outcome::NotSent(refusal) => {
                c.not_sent += 1;
                refusal
            }
        };
        self.reasons[refused.reason as usize] += 1;
        self.last_refusal = Some(Box::new(refused));
    }
}

pub(crate) fn icmp_refusal(reason: Reason, from: &str, icmp: (u8, u8)) -> Refusal {
    Refusal {
        from: Some(Origin::Ip(from.parse().unwrap())),
        icmp: Some(icmp),
        ..Refusal::of(reason)
    }
}

/// A writer whose text can be read while a renderer owns it.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
