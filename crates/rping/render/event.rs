//! A record taken apart once, for the formats that write it as fields: NDJSON and CSV.

use std::io::{self, Write};
use std::sync::Arc;

use rping_engine::time::nanos;
use rping_engine::{
    Aside, Origin, Outcome, Reason, Record, Refusal, Sequence, StampSource, TargetId, Timestamp,
};

use super::Out;
use crate::job::{Job, Target};

/// The fields of one line of the stream.
pub(super) struct Event {
    /// `probe`, `late`, `duplicate`, `corrupt` or `unexpected`.
    pub(super) kind: &'static str,
    pub(super) target: TargetId,
    pub(super) seq: Option<Sequence>,
    /// Only of a probe.
    pub(super) probe: Option<ProbeFields>,
    /// How long after the send somebody refused, or answered too late.
    pub(super) after_ns: Option<u64>,
    pub(super) from: Option<Origin>,
}

/// What only a settled probe has.
pub(super) struct ProbeFields {
    pub(super) warmup: bool,
    pub(super) due: Timestamp,
    /// `None` for a probe that was not sent.
    pub(super) sent: Option<Timestamp>,
    pub(super) outcome: &'static str,
    pub(super) rtt_ns: Option<u64>,
    pub(super) refusal: Option<Refusal>,
    pub(super) stamps: Option<(StampSource, StampSource)>,
    pub(super) ttl: Option<u8>,
    pub(super) truncated: bool,
    pub(super) reordered: bool,
    pub(super) syn_retransmits: u8,
}

impl ProbeFields {
    pub(super) fn reason(&self) -> Option<Reason> {
        self.refusal.map(|r| r.reason)
    }
}

impl Event {
    pub(super) fn of(record: &Record) -> Event {
        let sample = match record {
            Record::Settled(sample) => sample,
            Record::Aside {
                target,
                seq,
                from,
                aside,
                ..
            } => {
                let (kind, after_ns) = match aside {
                    Aside::Late(after) => ("late", Some(nanos(*after))),
                    Aside::Duplicate => ("duplicate", None),
                    Aside::Corrupt => ("corrupt", None),
                    Aside::Unexpected => ("unexpected", None),
                };
                return Event {
                    kind,
                    target: *target,
                    seq: *seq,
                    probe: None,
                    after_ns,
                    from: *from,
                };
            }
        };
        let mut probe = ProbeFields {
            warmup: sample.warmup,
            due: sample.due,
            sent: Some(sample.left),
            outcome: "lost",
            rtt_ns: None,
            refusal: None,
            stamps: None,
            ttl: None,
            truncated: false,
            reordered: false,
            syn_retransmits: 0,
        };
        let (mut after_ns, mut answerer) = (None, None);
        match sample.outcome {
            Outcome::Reply {
                rtt,
                stamps,
                from,
                truncated,
                reordered,
                syn_retransmits,
                ttl,
                ..
            } => {
                probe.outcome = "reply";
                probe.rtt_ns = rtt.map(nanos);
                probe.stamps = Some(stamps);
                probe.ttl = ttl;
                probe.truncated = truncated;
                probe.reordered = reordered;
                probe.syn_retransmits = syn_retransmits;
                answerer = Some(from);
            }
            Outcome::Rejected { refusal, after } => {
                probe.outcome = "rejected";
                probe.refusal = Some(refusal);
                after_ns = Some(nanos(after));
                answerer = refusal.from;
            }
            Outcome::Lost => {}
            Outcome::NotSent(refusal) => {
                probe.outcome = "not_sent";
                probe.sent = None;
                probe.refusal = Some(refusal);
                answerer = refusal.from;
            }
        }
        Event {
            kind: "probe",
            target: sample.target,
            seq: Some(sample.seq),
            probe: Some(probe),
            after_ns,
            from: answerer,
        }
    }
}

/// Up to so many targets, the part of a line that names the target is kept ready: 100 bytes each.
const KEPT: usize = 4096;

/// Writes the part of a line that names a target: name, address, port. The target is `None` for one that is not of the
/// job.
pub(super) type WriteName = fn(&mut dyn Write, Option<&Target>) -> io::Result<()>;

/// The part of a line that names its target, kept ready where there are not too many of them.
pub(super) struct Names {
    job: Arc<Job>,
    write: WriteName,
    ready: Vec<Box<[u8]>>,
}

impl Names {
    pub(super) fn new(job: Arc<Job>, write: WriteName) -> Names {
        let mut ready = Vec::new();
        if job.targets.len() <= KEPT {
            ready.extend(job.targets.iter().map(|target| {
                let mut name = Vec::with_capacity(96);
                // Writing to memory cannot fail.
                let _ = write(&mut name, Some(target));
                name.into_boxed_slice()
            }));
        }
        Names { job, write, ready }
    }

    pub(super) fn put(&self, out: &mut Out, target: TargetId) -> io::Result<()> {
        match self.ready.get(target.index()) {
            Some(name) => out.write_all(name),
            None => (self.write)(out, self.job.targets.get(target.index())),
        }
    }
}

/// Writes a number without the machinery of `write!`.
pub(super) fn number(out: &mut (impl Write + ?Sized), mut n: u64) -> io::Result<()> {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            return out.write_all(&digits[at..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_full() {
        for n in [0, 9, 10, 1_234_567_890, u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, n).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), n.to_string());
        }
    }
}
