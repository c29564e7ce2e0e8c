//! What became of a probe, and the counters that a target's probes add up to.

use std::num::NonZeroU16;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use crate::probe::{Origin, Reason, Refusal, Sequence, TargetId};
use crate::rare::{Answerers, Rare, Stamps};
use crate::time::{StampSource, Timestamp};

/// What became of one probe: the four outcomes, and nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Answered as asked.
    Reply {
        /// The round-trip time; `None` when it is not known (a handshake whose SYN was sent again).
        rtt: Option<Duration>,
        /// Who took the transmit and the receive stamp behind `rtt`.
        stamps: (StampSource, StampSource),
        /// Who answered.
        from: Origin,
        /// The answer was cut short, but is a true prefix.
        truncated: bool,
        /// The answer came after one to a later probe (RFC 4737, type-P-reordered).
        reordered: bool,
        /// TCP: SYNs sent again before the handshake was done.
        syn_retransmits: u8,
        /// TTL or hop limit of the answer, where it can be seen.
        ttl: Option<u8>,
        /// TCP: the local port of the connection, where it was asked for.
        local_port: Option<NonZeroU16>,
    },
    /// Somebody said no.
    Rejected {
        /// Why, and who.
        refusal: Refusal,
        /// How long after the send.
        after: Duration,
    },
    /// Silence until the timeout.
    Lost,
    /// It never left this host.
    NotSent(Refusal),
}

/// A probe that is settled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// To which target.
    pub target: TargetId,
    /// Which of its probes; warm-up probes come first.
    pub seq: Sequence,
    /// A warm-up probe: counts in no figure.
    pub warmup: bool,
    /// When the schedule wanted it sent.
    pub due: Timestamp,
    /// When it left, as far as known; for a probe that was not sent, when that was found out.
    pub left: Timestamp,
    /// What became of it.
    pub outcome: Outcome,
}

/// What happens beside the outcomes: counted, shown, and changing none of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Aside {
    /// An answer after the timeout; the probe stays lost. Holds how long after the send.
    Late(Duration),
    /// A second answer to the same probe.
    Duplicate,
    /// A damaged answer.
    Corrupt,
    /// An answer to nothing that was asked.
    Unexpected,
}

/// What the engine tells as it happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record {
    /// A probe was settled.
    Settled(Sample),
    /// Something beside the outcomes.
    Aside {
        /// About which target.
        target: TargetId,
        /// About which probe, where that is known.
        seq: Option<Sequence>,
        /// From whom, where that is known.
        from: Option<Origin>,
        /// When it came.
        at: Timestamp,
        /// What it was.
        aside: Aside,
    },
}

/// Takes what the engine tells. Called in the sending loop: must not block.
pub trait Sink {
    /// One record.
    fn record(&mut self, record: &Record);
}

/// Throws every record away.
impl Sink for () {
    fn record(&mut self, _: &Record) {}
}

impl Sink for Vec<Record> {
    fn record(&mut self, record: &Record) {
        self.push(*record);
    }
}

/// Distinct answerers kept per target; more are counted, not listed.
pub const ANSWERERS: usize = 8;

/// A target's counters. `attempted = received + rejected + lost + not_sent`, once every probe is settled.
///
/// What seldom happens reads as if it stood here, too (`counts.late`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answered as asked.
    pub received: u64,
    /// Refused by somebody.
    pub rejected: u64,
    /// Silent until the timeout.
    pub lost: u64,
    /// Never left this host.
    pub not_sent: u64,
    /// What seldom happens.
    pub odd: Rare<Oddities>,
}

/// Counters of what seldom happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oddities {
    /// Answers after the timeout.
    pub late: u64,
    /// Second answers.
    pub duplicates: u64,
    /// Replies that came after a reply to a later probe.
    pub reordered: u64,
    /// Damaged answers.
    pub corrupt: u64,
    /// Replies that were cut short.
    pub truncated: u64,
    /// Answers to nothing that was asked.
    pub unexpected: u64,
    /// SYNs that were sent again before a handshake was done.
    pub syn_lost: u64,
    /// Schedule slots that were left out after a stall longer than the late policy catches up with.
    pub skipped: u64,
}

impl Oddities {
    /// Nothing odd.
    pub const NONE: Oddities = Oddities {
        late: 0,
        duplicates: 0,
        reordered: 0,
        corrupt: 0,
        truncated: 0,
        unexpected: 0,
        syn_lost: 0,
        skipped: 0,
    };
}

impl Default for Oddities {
    fn default() -> Oddities {
        Oddities::NONE
    }
}

impl Deref for Counts {
    type Target = Oddities;
    #[inline]
    fn deref(&self) -> &Oddities {
        &self.odd
    }
}

impl DerefMut for Counts {
    fn deref_mut(&mut self) -> &mut Oddities {
        &mut self.odd
    }
}

impl Counts {
    /// Probes that left this host: received, rejected and lost.
    pub const fn sent(&self) -> u64 {
        self.received + self.rejected + self.lost
    }

    /// All probes: sent and not sent.
    pub const fn attempted(&self) -> u64 {
        self.sent() + self.not_sent
    }

    /// `(sent − received) / sent` as `ping` counts loss; `None` when nothing was sent.
    pub fn loss_ratio(&self) -> Option<f64> {
        let sent = self.sent();
        (sent > 0).then(|| (sent - self.received) as f64 / sent as f64)
    }
}

/// Everything known about one target's probes.
#[derive(Clone, Debug)]
pub struct TargetReport {
    /// Its counters, warm-up probes left out.
    pub counts: Counts,
    /// Rejected and not-sent probes by reason, in the order of [`Reason::ALL`].
    pub reasons: Rare<[u32; Reason::ALL.len()]>,
    /// The distinct answerers, at most [`ANSWERERS`], in order of appearance.
    pub from: Answerers,
    /// Round-trip times, loss runs, jitter, reordering.
    pub stats: rping_stats::Recorder,
    /// How long the far end says that it held the probes, nanoseconds; `None` where it says nothing, and without a reply.
    /// The round-trip times are without it.
    pub residence: Option<Box<Residence>>,
    /// The last refusal seen (rejected or not sent), for words about it.
    pub last_refusal: Option<Box<Refusal>>,
    /// How many replies had which stamps.
    pub stamps: Stamps,
}

impl TargetReport {
    /// The figures of a target to which nothing was sent.
    pub fn empty() -> TargetReport {
        TargetReport::new(rping_stats::Recorder::brief())
    }

    pub(crate) fn new(stats: rping_stats::Recorder) -> TargetReport {
        TargetReport {
            counts: Counts::default(),
            reasons: Rare::default(),
            from: Answerers::default(),
            stats,
            residence: None,
            last_refusal: None,
            stamps: Stamps::default(),
        }
    }
}

/// How long a far end held the probes, as it says.
#[derive(Clone, Debug, Default)]
pub struct Residence {
    /// For quantiles, nanoseconds.
    pub histogram: rping_stats::Histogram,
    /// For all else, nanoseconds.
    pub moments: rping_stats::Moments,
    /// The round trips as they were measured, with what the far end says that it held them: of every reply that says so,
    /// believed or not. Nothing that the far end says changes these. Nanoseconds.
    pub gross: rping_stats::Histogram,
    /// Theirs.
    pub gross_moments: rping_stats::Moments,
}

impl Residence {
    /// A reply after `elapsed` claims a residence, of which `held` is believed.
    pub(crate) fn record(&mut self, elapsed: u64, held: Option<u64>) {
        self.gross.record(elapsed);
        self.gross_moments.record(elapsed);
        if let Some(held) = held {
            self.histogram.record(held);
            self.moments.record(held);
        }
    }
}

/// Everything known about a run: the engine's part of it.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// One for each target, in the run's order.
    pub targets: Vec<TargetReport>,
    /// How late probes left against the schedule, nanoseconds: p50, p99, max; `None` where the count does not carry it.
    pub lateness_ns: (Option<u64>, Option<u64>, Option<u64>),
    /// When the run began and ended.
    pub span: (Timestamp, Timestamp),
    /// Answers that belong to none of the run's targets.
    pub unexpected_elsewhere: u64,
    /// Probes still in flight when the run was ended early; they count nowhere else.
    pub unsettled: u64,
    /// Packets that this host dropped on the way in.
    pub local_drops: u64,
    /// How often the wall clock stepped during the run.
    pub clock_steps: u64,
    /// The longest time the sending loop was held up beyond what it asked for, nanoseconds.
    pub longest_stall_ns: u64,
}
