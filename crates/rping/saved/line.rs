//! The lines of a saved run, as JSON holds them. Unknown keys and unknown types of line are left for later versions.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::sampled::Sampled;
use super::tally::{is_default, LossRunsText, RefusalText, Tally};
use super::throughput;
use super::ways::Ways;
use crate::series::SoFar;

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
    /// Throughput: what was asked for, behind the header.
    Test(Box<throughput::Asked>),
    /// Throughput: what happened in an interval.
    Interval(throughput::IntervalText),
    /// Throughput: what the test came to at its end.
    Outcome(Box<throughput::Ending>),
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
