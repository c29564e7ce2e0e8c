//! A throughput test in a file: what was asked for, a line for each interval, what both ends said at the end.

use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rping_engine::time::nanos;
use rping_engine::Timestamp;
use rping_net::stream::StreamOptions;
use rping_peer::beside::{Delays, Findings, Latency};
use rping_peer::iperf::{Client, End, Figures, Interval, Lateness, Outcome, Parameters, Protocol, Side};
use serde::{Deserialize, Serialize};

use super::line::{Header, Line, Machine, Options};
use super::lines::{put, Lines};
use super::read::{checked, next_line, Damage, ReadError};
use super::sampled::Sampled;
use super::tally::{bounded, is_default};
use super::write::run_id;
use super::FORMAT;
use crate::assertion::Assertion;
use crate::files::Aside;
use crate::report::Epoch;

mod convert;

/// The command in the header of such a file.
pub(super) const COMMAND: &str = "bandwidth";

/// As many intervals are kept: a day of seconds in both directions.
pub const MOST_INTERVALS: usize = 2 * 86_400;

/// What was asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Asked {
    pub target: String,
    pub address: SocketAddr,
    pub protocol: String,
    #[serde(default)]
    pub reverse: bool,
    #[serde(default)]
    pub bidirectional: bool,
    pub parallel: u16,
    pub size: u64,
    /// Of each stream; 0 is as fast as it goes.
    #[serde(default)]
    pub bits_per_second: u64,
    #[serde(default)]
    pub omit_s: u32,
    /// What ends it: bytes, or a time, or neither.
    #[serde(default)]
    pub bytes: Option<u64>,
    #[serde(default)]
    pub duration_ns: Option<u64>,
    pub interval_ns: u64,
    pub timeout_ns: u64,
    #[serde(default)]
    pub congestion: Option<String>,
    #[serde(default)]
    pub mss: Option<u32>,
    #[serde(default)]
    pub skip_rx_copy: bool,
    #[serde(default)]
    pub gso: bool,
    #[serde(default)]
    pub assertions: Vec<String>,
}

/// What was counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FiguresText {
    pub bytes: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub packets: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub received: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub lost: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub reordered: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub dropped: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub jitter_ns: u64,
}

/// One interval.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IntervalText {
    pub direction: Direction,
    pub start_ns: u64,
    pub end_ns: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    pub omitted: bool,
    #[serde(flatten)]
    pub figures: FiguresText,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retransmits: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ns: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub congestion_window_bytes: Option<u64>,
}

/// Which way the data goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From here.
    Forward,
    /// To here.
    Reverse,
}

/// What one direction came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SideText {
    pub direction: Direction,
    pub sent: Option<FiguresText>,
    pub received: Option<FiguresText>,
    #[serde(default)]
    pub retransmits: Option<u64>,
    pub took_ns: u64,
    pub sent_for_ns: u64,
    #[serde(default)]
    pub knows_order: bool,
    #[serde(default)]
    pub unseen: Option<u64>,
    #[serde(default)]
    pub discarded: Option<bool>,
}

/// What the test came to at its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ending {
    pub duration_ns: u64,
    /// Whether data ever flowed.
    pub flowed: bool,
    #[serde(default)]
    pub sides: Vec<SideText>,
    #[serde(default)]
    pub cpu_local: [f64; 3],
    #[serde(default)]
    pub cpu_remote: Option<[f64; 3]>,
    #[serde(default)]
    pub congestion: Option<String>,
    #[serde(default)]
    pub mss: Option<u32>,
    /// p50, p99, most, and how much was left out of the schedule.
    #[serde(default)]
    pub lateness_ns: Option<(Option<u64>, Option<u64>, u64, u64)>,
    #[serde(default)]
    pub interrupted: bool,
    #[serde(default)]
    pub failure: Option<String>,
    #[serde(default)]
    pub warnings: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyText>,
}

/// Latency beside the load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LatencyText {
    pub reflector: SocketAddr,
    pub interval_ns: u64,
    pub idle: PhaseText,
    pub loaded: PhaseText,
}

/// One phase of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PhaseText {
    pub sent: u64,
    pub received: u64,
    #[serde(default)]
    pub rtt: Sampled,
    #[serde(default)]
    pub forward: Sampled,
    #[serde(default)]
    pub reverse: Sampled,
    /// By how much the two ways may be off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_error_ns: Option<u64>,
}

/// A test, as it was kept or as it has just been made: everything that is shown of it.
#[derive(Clone, Debug)]
pub struct Test {
    /// As it was typed.
    pub command_line: Vec<String>,
    /// Where it was made.
    pub machine: Machine,
    /// The server's name as output shows it.
    pub name: String,
    /// What was asked for.
    pub client: Client,
    /// When it began.
    pub epoch: Epoch,
    /// How long all of it took.
    pub duration: Duration,
    /// What it came to; `None` where no data flowed, or the end is missing.
    pub outcome: Option<Outcome>,
    /// Its course.
    pub intervals: Vec<Interval>,
    /// Why no data ever flowed, or why the test ended early.
    pub failure: Option<String>,
    /// When not to trust it.
    pub warnings: Vec<String>,
    /// Latency beside the load.
    pub latency: Option<Findings>,
    /// What it was to amount to.
    pub assertions: Vec<Assertion>,
    /// What the file lacks.
    pub damage: Damage,
}

/// A file that a test is saved in.
#[derive(Debug)]
pub struct TestWriter(Lines);

impl TestWriter {
    /// Begins the file. What was at `path` is replaced once that is on disk.
    ///
    /// # Errors
    /// When it cannot be written; then what was there before is as it was.
    pub fn create(
        path: &Path,
        (name, client): (&str, &Client),
        epoch: &Epoch,
        assertions: &[Assertion],
        command_line: &[String],
    ) -> io::Result<TestWriter> {
        let header = Header {
            format: FORMAT.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command_line: command_line.to_vec(),
            command: COMMAND.to_owned(),
            started_at: crate::render::clock::nanos(epoch, epoch.started).to_string(),
            started_unix_ns: i64::try_from(epoch.started_unix_ns).unwrap_or(0),
            machine: Machine::this(),
            options: Options::default(),
            targets: 1,
            run_id: Some(run_id()),
            merged: Vec::new(),
            merged_ids: Vec::new(),
        };
        let mut aside = Aside::create(path)?;
        let mut text = Vec::new();
        put(&mut text, &Line::Header(Box::new(header)))?;
        put(
            &mut text,
            &Line::Test(Box::new(Asked::of(name, client, assertions))),
        )?;
        aside.file().write_all(&text)?;
        Ok(TestWriter(Lines::after(aside)?))
    }

    /// Adds an interval. After a failure nothing more is written; [`TestWriter::finish`] tells.
    pub fn interval(&mut self, interval: &Interval) {
        self.0.line(&Line::Interval(IntervalText::of(interval)));
    }

    /// Adds what the test came to.
    ///
    /// # Errors
    /// What kept the file from being whole: this, or anything before.
    pub fn finish(mut self, test: &Test) -> io::Result<()> {
        self.0.line(&Line::Outcome(Box::new(Ending::of(test))));
        self.0.finish()
    }
}

/// Reads what follows the header.
pub(super) fn read(header: Header, from: &mut impl BufRead) -> Result<Test, ReadError> {
    let mut buffer = Vec::new();
    let mut damage = Damage::default();
    let (mut asked, mut ending) = (None, None);
    let mut intervals: Vec<Interval> = Vec::new();
    while next_line(from, &mut buffer)? {
        let is_cut = buffer.last() != Some(&b'\n');
        let line = checked(&buffer).and_then(|json| serde_json::from_slice(json).ok());
        let taken = match line {
            Some(Line::Test(test)) if asked.is_none() => {
                asked = Some(*test);
                true
            }
            Some(Line::Interval(text)) => match text.read() {
                Some(interval) => {
                    if intervals.len() < MOST_INTERVALS {
                        intervals.push(interval);
                    }
                    true
                }
                None => false,
            },
            Some(Line::Outcome(text)) => {
                ending = Some(*text);
                true
            }
            Some(Line::Unknown) => {
                damage.unknown_lines += 1;
                true
            }
            _ => false,
        };
        // The last line, cut where the program was killed, is no damage: it was never whole.
        if !taken && !is_cut {
            damage.bad_lines += 1;
        }
    }
    let asked: Asked = asked.ok_or(ReadError::Headless)?;
    let client = asked.client();
    let mut test = Test {
        command_line: header.command_line,
        machine: header.machine,
        name: asked.target,
        client,
        epoch: Epoch {
            started: Timestamp::ZERO,
            started_unix_ns: header.started_unix_ns.into(),
        },
        duration: intervals.iter().map(|i| i.span.1).max().unwrap_or_default(),
        outcome: None,
        intervals,
        failure: None,
        warnings: Vec::new(),
        latency: None,
        assertions: asked
            .assertions
            .iter()
            .filter_map(|expr| Assertion::parse(expr).ok())
            .flatten()
            .collect(),
        damage,
    };
    let is_whole = ending.is_some_and(|ending| ending.read(&mut test).is_some());
    if !is_whole {
        test.damage.ends_after_ns = Some(nanos(test.duration));
    }
    if let Some(words) = test.damage.words() {
        test.warnings.push(format!("incomplete_file: {words}"));
    }
    Ok(test)
}
