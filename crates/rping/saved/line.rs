//! The lines of a saved run, as JSON holds them. Unknown keys and unknown types of line are left for later versions.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use rping_engine::{Counts, Oddities, Origin, Reason, Refusal};
use rping_stats::{Histogram, LossRuns, Moments, MomentsParts};

use super::ways::Ways;
use crate::series::{Delta, SoFar};

/// One line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Line {
    /// First of all.
    Header(Box<Header>),
    /// One for each target, in the run's order.
    Target(Target),
    /// What was settled in about a second.
    Second(Second),
    /// A target's figures at the end.
    Figures(Box<Figures>),
    /// The run's own figures: it came to its end.
    End(Box<End>),
    /// Of a later version.
    #[serde(other)]
    Unknown,
}

/// What was run, where, and when.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Header {
    pub format: String,
    pub version: String,
    pub command_line: Vec<String>,
    pub command: String,
    pub started_at: String,
    pub started_unix_ns: i64,
    pub machine: Machine,
    pub options: Options,
    pub targets: u64,
    /// What tells this run from every other; a file of several runs has none of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// A file made of several runs names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<String>,
    /// And their numbers, so that none is merged in a second time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged_ids: Vec<String>,
}

/// Where a run was made.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    /// The host's name.
    pub hostname: String,
    /// The operating system, with its version.
    pub system: String,
    /// The kernel's version.
    pub kernel: String,
    /// The processor's architecture.
    pub architecture: String,
    /// The processor's name.
    pub processor: String,
    /// How many of them the program may use.
    pub cpus: u64,
}

impl Machine {
    /// This one.
    pub fn this() -> Machine {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let value = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key));
            let value = line.and_then(|line| line.split_once(['=', ':']));
            value.map_or_else(String::new, |(_, value)| {
                value.trim().trim_matches('"').to_owned()
            })
        };
        Machine {
            hostname: read("/proc/sys/kernel/hostname").trim().to_owned(),
            system: value(&read("/etc/os-release"), "PRETTY_NAME="),
            kernel: format!(
                "{} {}",
                read("/proc/sys/kernel/ostype").trim(),
                read("/proc/sys/kernel/osrelease").trim()
            ),
            architecture: std::env::consts::ARCH.to_owned(),
            processor: value(&read("/proc/cpuinfo"), "model name"),
            cpus: std::thread::available_parallelism().map_or(0, |n| n.get() as u64),
        }
    }
}

/// What was asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    pub protocol: Option<String>,
    pub count: Option<u64>,
    pub duration_ns: Option<u64>,
    pub interval_ns: u64,
    /// Where the next is sent as soon as there is room among those in flight: how many at first, and at most.
    pub window: Option<(u32, u32)>,
    pub max_rate: Option<f64>,
    pub retries: u32,
    pub enough: Option<u64>,
    pub timeout_ns: u64,
    pub warmup: u64,
    pub size: u64,
    pub source: Option<String>,
    pub source_port: Option<u16>,
    pub interface: Option<String>,
    pub ttl: Option<u8>,
    pub dscp: Option<u8>,
    pub df: bool,
    pub mark: Option<u32>,
    pub broadcast: bool,
    /// Latency: what is large is the response.
    pub reverse: bool,
    /// TCP: half-open probes.
    pub syn: bool,
    pub assertions: Vec<String>,
    pub notes: Vec<String>,
}

/// A target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Target {
    pub name: Option<String>,
    pub address: Option<SocketAddr>,
    #[serde(default)]
    pub error: Option<String>,
    #[serde(default)]
    pub from_block: bool,
}

/// What was settled since the second before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Second {
    pub from_ns: u64,
    pub until_ns: u64,
    /// More lines of the same second follow.
    #[serde(default, skip_serializing_if = "is_default")]
    pub more: bool,
    pub parts: Vec<Part>,
}

/// One target's part of a second, of the probes that were sent in one stretch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    pub target: u32,
    pub start_ns: u64,
    pub width_ns: u64,
    #[serde(flatten)]
    pub tally: Tally,
    #[serde(default, skip_serializing_if = "Sampled::is_empty")]
    pub rtt: Sampled,
    #[serde(default, skip_serializing_if = "Sampled::is_empty")]
    pub from_due: Sampled,
    #[serde(default, skip_serializing_if = "is_default")]
    pub late_ns: u64,
    /// What does not add up, as it stood at the end of this second; with a target's last part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub so_far: Option<Running>,
}

/// Counters: those that are 0 are left out.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    #[serde(skip_serializing_if = "is_default")]
    pub received: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub rejected: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub lost: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub not_sent: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub late: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub duplicates: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub reordered: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub corrupt: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub truncated: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub unexpected: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub syn_lost: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub skipped: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reasons: BTreeMap<String, u32>,
}

/// Times: few of them one by one, many as a histogram with their exact moments.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sampled {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values_ns: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moments: Option<MomentsText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub histogram: Option<String>,
}

/// Exact moments; what may pass 64 bits is written as decimal text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MomentsText {
    pub count: u64,
    pub min_ns: u64,
    pub max_ns: u64,
    pub sum_ns: String,
    pub squares: String,
}

/// What does not add up from second to second.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Running {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_rfc3550_ns: Option<f64>,
    #[serde(skip_serializing_if = "is_default")]
    pub ipdv_sum_ns: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub ipdv_pairs: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub from_due_max_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_runs: Option<LossRunsText>,
    pub from: Vec<String>,
    /// By source: user, kernel, hardware, tcp_info.
    pub tx_stamps: [u64; 4],
    pub rx_stamps: [u64; 4],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_refusal: Option<RefusalText>,
}

/// Runs of lost probes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LossRunsText {
    pub count: u64,
    pub longest: u64,
    pub longest_outage_ns: u64,
    /// Runs of 1, 2, 3–4, 5–8, 9–16, and 17 or more probes.
    pub lengths: [u32; rping_stats::LOSS_RUN_CLASSES],
}

/// Why a probe was refused, and by whom.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RefusalText {
    pub reason: String,
    #[serde(default)]
    pub from: Option<String>,
    #[serde(default)]
    pub icmp: Option<(u8, u8)>,
    #[serde(default)]
    pub mtu: Option<u32>,
    #[serde(default)]
    pub errno: Option<i32>,
}

/// A target's figures at the end of the run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figures {
    pub target: u32,
    #[serde(flatten)]
    pub tally: Tally,
    #[serde(default)]
    pub rtt: Sampled,
    #[serde(default)]
    pub from_due_histogram: Option<String>,
    /// How long the far end says that it held the probes.
    #[serde(default, skip_serializing_if = "Sampled::is_empty")]
    pub residence: Sampled,
    /// The round trips with it.
    #[serde(default, skip_serializing_if = "Sampled::is_empty")]
    pub gross: Sampled,
    /// What the reflector's answers told of each way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directions: Option<Ways>,
    pub running: Running,
}

/// The run's own figures at its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct End {
    /// From the start that the header names to the first probe's being made ready.
    #[serde(default)]
    pub begun_ns: u64,
    pub duration_ns: u64,
    pub interrupted: bool,
    #[serde(default)]
    pub failure: Option<String>,
    #[serde(default)]
    pub pacing: String,
    /// Latency: how responses were waited for, here and there.
    #[serde(default)]
    pub waiting: Option<(String, Option<String>)>,
    #[serde(default)]
    pub warnings: Vec<String>,
    /// p50, p99 and the most.
    #[serde(default)]
    pub lateness_ns: (Option<u64>, Option<u64>, Option<u64>),
    #[serde(default)]
    pub unexpected_elsewhere: u64,
    #[serde(default)]
    pub unsettled: u64,
    #[serde(default)]
    pub local_drops: u64,
    #[serde(default)]
    pub clock_steps: u64,
    #[serde(default)]
    pub longest_stall_ns: u64,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Up to so many times are written one by one.
const ONE_BY_ONE: usize = 32;

impl Sampled {
    fn is_empty(&self) -> bool {
        *self == Sampled::default()
    }

    /// Of these values. `scratch` is an empty histogram, and is left empty.
    pub fn of(values: &[u64], scratch: &mut Histogram) -> Sampled {
        if values.len() <= ONE_BY_ONE {
            return Sampled {
                values_ns: values.to_vec(),
                ..Sampled::default()
            };
        }
        let mut moments = Moments::new();
        for &ns in values {
            moments.record(ns);
            scratch.record(ns);
        }
        let sampled = Sampled {
            values_ns: Vec::new(),
            moments: MomentsText::of(&moments),
            histogram: Some(scratch.to_v2_base64()),
        };
        scratch.clear();
        sampled
    }

    /// Of figures that are kept so.
    pub fn whole(moments: &Moments, histogram: Option<&Histogram>) -> Sampled {
        Sampled {
            values_ns: Vec::new(),
            moments: MomentsText::of(moments),
            histogram: histogram
                .filter(|histogram| !histogram.is_empty())
                .map(Histogram::to_v2_base64),
        }
    }

    /// The values again: exact moments, and a histogram of `digits` where there are values; `None` where it contradicts
    /// itself.
    pub fn read(&self, digits: u8) -> Option<(Moments, Histogram)> {
        let mut moments = match &self.moments {
            Some(text) => text.read()?,
            None => Moments::new(),
        };
        let mut histogram = match &self.histogram {
            Some(text) => Histogram::from_v2_base64(text).ok()?,
            None => Histogram::with_digits(digits).ok()?,
        };
        if histogram.digits() != digits {
            let other = std::mem::replace(&mut histogram, Histogram::with_digits(digits).ok()?);
            histogram.merge(&other);
        }
        for &ns in &self.values_ns {
            moments.record(ns);
            histogram.record(ns);
        }
        (histogram.is_empty() || histogram.len() == moments.count()).then_some((moments, histogram))
    }
}

impl MomentsText {
    pub fn of(moments: &Moments) -> Option<MomentsText> {
        let parts = moments.parts()?;
        Some(MomentsText {
            count: parts.count,
            min_ns: parts.min,
            max_ns: parts.max,
            sum_ns: parts.sum.to_string(),
            squares: parts.squares.to_string(),
        })
    }

    pub fn read(&self) -> Option<Moments> {
        Moments::from_parts(MomentsParts {
            count: bounded(self.count)?,
            min: self.min_ns,
            max: self.max_ns,
            sum: self.sum_ns.parse().ok()?,
            squares: self.squares.parse().ok()?,
        })
    }
}

/// More of anything than this was never counted: a forged file is told by it, and sums stay within 64 bits.
const MOST: u64 = 1 << 56;

fn bounded(count: u64) -> Option<u64> {
    (count <= MOST).then_some(count)
}

impl Tally {
    pub fn of(counts: &Counts, reasons: &[u32; Reason::ALL.len()]) -> Tally {
        let named = Reason::ALL.iter().zip(reasons).filter(|(_, n)| **n > 0);
        Tally {
            received: counts.received,
            rejected: counts.rejected,
            lost: counts.lost,
            not_sent: counts.not_sent,
            late: counts.late,
            duplicates: counts.duplicates,
            reordered: counts.reordered,
            corrupt: counts.corrupt,
            truncated: counts.truncated,
            unexpected: counts.unexpected,
            syn_lost: counts.syn_lost,
            skipped: counts.skipped,
            reasons: named
                .map(|(reason, n)| (reason.as_str().to_owned(), *n))
                .collect(),
        }
    }

    /// The counters again; `None` where they are impossible. A reason of a later version counts as `other`.
    pub fn read(&self) -> Option<(Counts, [u32; Reason::ALL.len()])> {
        let odd = Oddities {
            late: bounded(self.late)?,
            duplicates: bounded(self.duplicates)?,
            reordered: bounded(self.reordered)?,
            corrupt: bounded(self.corrupt)?,
            truncated: bounded(self.truncated)?,
            unexpected: bounded(self.unexpected)?,
            syn_lost: bounded(self.syn_lost)?,
            skipped: bounded(self.skipped)?,
        };
        let counts = Counts {
            received: bounded(self.received)?,
            rejected: bounded(self.rejected)?,
            lost: bounded(self.lost)?,
            not_sent: bounded(self.not_sent)?,
            odd: odd.into(),
        };
        let mut reasons = [0u32; Reason::ALL.len()];
        for (name, n) in &self.reasons {
            let slot = &mut reasons[reason(name) as usize];
            *slot = slot.saturating_add(*n);
        }
        Some((counts, reasons))
    }
}

impl From<&Delta> for Tally {
    fn from(delta: &Delta) -> Tally {
        Tally::of(&delta.counts, &delta.reasons)
    }
}

fn reason(name: &str) -> Reason {
    let known = Reason::ALL.iter().find(|reason| reason.as_str() == name);
    known.copied().unwrap_or(Reason::Other)
}

impl LossRunsText {
    pub fn of(runs: &LossRuns) -> Option<LossRunsText> {
        let (count, longest, longest_outage_ns, lengths) = runs.parts();
        (count > 0).then_some(LossRunsText {
            count,
            longest,
            longest_outage_ns,
            lengths,
        })
    }

    pub fn read(&self) -> LossRuns {
        LossRuns::from_parts((self.count, self.longest, self.longest_outage_ns, self.lengths))
    }
}

impl RefusalText {
    pub fn of(refusal: &Refusal) -> RefusalText {
        RefusalText {
            reason: refusal.reason.as_str().to_owned(),
            from: refusal.from.as_ref().map(ToString::to_string),
            icmp: refusal.icmp,
            mtu: refusal.mtu,
            errno: refusal.errno,
        }
    }

    pub fn read(&self) -> Refusal {
        Refusal {
            reason: reason(&self.reason),
            from: self.from.as_deref().and_then(origin),
            icmp: self.icmp,
            mtu: self.mtu,
            errno: self.errno,
        }
    }
}

impl From<&SoFar> for Running {
    fn from(so_far: &SoFar) -> Running {
        let of = so_far.stats.snapshot();
        Running {
            jitter_rfc3550_ns: of.jitter,
            ipdv_sum_ns: of.ipdv_sum,
            ipdv_pairs: of.ipdv_pairs,
            from_due_max_ns: of.from_due_max,
            loss_runs: LossRunsText::of(&of.loss),
            from: so_far.from.iter().map(ToString::to_string).collect(),
            tx_stamps: so_far.tx_stamps,
            rx_stamps: so_far.rx_stamps,
            last_refusal: so_far.last_refusal.as_ref().map(RefusalText::of),
        }
    }
}

/// An answerer by its address: IP or MAC.
pub(super) fn origin(text: &str) -> Option<Origin> {
    if let Ok(ip) = text.parse() {
        return Some(Origin::Ip(ip));
    }
    let mut mac = [0u8; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next().filter(|part| part.len() == 2)?, 16).ok()?;
    }
    parts.next().is_none().then_some(Origin::Mac(mac))
}
