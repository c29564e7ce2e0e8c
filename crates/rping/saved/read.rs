//! Reading a saved run: everything that is whole in it, and what is not.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use rping_engine::{RunReport, TargetReport, Timestamp};
use rping_stats::{Histogram, Sparse};
use rping_udp::Directions;

use super::line::{Header, Line, Part, Running, Second};
use super::restore::{self, Sum};
use super::throughput::{self, Test};
use super::ways::Ways;
use super::{FORMAT, LONGEST_LINE};
use crate::job::Target;
use crate::report::{Epoch, Instrument, Report};
use crate::series::{Bin, Series, Slot};

/// Up to so many targets a series is kept for each, as are histograms.
const DETAILED: usize = 256;

/// As many targets as a run can have.
const MOST_TARGETS: usize = 1 << 20;

/// A run out of a file.
#[derive(Clone, Debug)]
pub struct Saved {
    /// What was run, where, and when.
    pub header: Header,
    /// What it amounted to; of a run without its end, what was saved of it.
    pub report: Report,
    /// The course of each target, in the run's order; none where there are too many targets.
    pub series: Vec<Series>,
    /// What is missing.
    pub damage: Damage,
}

/// What a file lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Damage {
    /// It ends before the run did: rping was killed, or the file was cut. So many nanoseconds of the run are in it.
    pub ends_after_ns: Option<u64>,
    /// Lines that are damaged or impossible and were left out.
    pub bad_lines: u64,
    /// Lines of a kind that this version does not know.
    pub unknown_lines: u64,
}

impl Damage {
    /// What is wrong, in words; `None` of a whole file.
    pub fn words(&self) -> Option<String> {
        let mut said = Vec::new();
        if self.bad_lines > 0 {
            let lines = if self.bad_lines == 1 {
                "line is"
            } else {
                "lines are"
            };
            said.push(format!("{} {lines} damaged and left out", self.bad_lines));
        }
        if self.unknown_lines > 0 {
            said.push(format!(
                "{} lines are of a later version of rping and left out",
                self.unknown_lines
            ));
        }
        if let Some(ns) = self.ends_after_ns {
            said.push(format!(
                "the run's end is not in it: shown is what was saved, up to {} after its start",
                crate::render::units::Time(ns)
            ));
        }
        (!said.is_empty()).then(|| said.join("; "))
    }
}

/// Why nothing can be had from a file.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error("cannot be read: {}", crate::args::plain(.0))]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("is no saved run of rping: it was not written by --save")]
    Foreign,
    /// It begins as one, and the header is damaged.
    #[error(
        "begins as a saved run, but its first line is damaged: without it nothing can be told of the rest"
    )]
    Headless,
    /// A later version wrote it.
    #[error("is in the format {0}, and this version of rping reads {FORMAT}: use the version that wrote it, or a later one")]
    Newer(String),
    /// It holds a throughput test, where probes are wanted.
    #[error(
        "holds a throughput test, which has no round trips of probes: rping show and rping report take it"
    )]
    Throughput,
    /// What was run is not known to this version.
    #[error("holds a run of '{0}', which this version of rping cannot show")]
    Kind(String),
}

/// Opens the file at `path`, to be [`read`].
///
/// # Errors
/// When it cannot be read.
pub fn open(path: &Path) -> Result<BufReader<File>, ReadError> {
    if path.is_dir() {
        return Err(ReadError::Io(io::Error::other("it is a directory")));
    }
    Ok(BufReader::with_capacity(1 << 16, File::open(path)?))
}

/// What a file holds.
#[derive(Clone, Debug)]
pub enum Kept {
    /// Probes.
    Run(Box<Saved>),
    /// Throughput.
    Test(Box<Test>),
}

/// Reads a saved run of probes.
///
/// # Errors
/// When nothing can be had from it, or it holds something else.
pub fn read(from: impl BufRead) -> Result<Saved, ReadError> {
    match read_any(from)? {
        Kept::Run(saved) => Ok(*saved),
        Kept::Test(_) => Err(ReadError::Throughput),
    }
}

/// Reads what was saved. Nothing is believed about lengths or counts: memory is bounded by what is there.
///
/// # Errors
/// When nothing can be had from it.
pub fn read_any(mut from: impl BufRead) -> Result<Kept, ReadError> {
    let mut buffer = Vec::new();
    if !next_line(&mut from, &mut buffer)? {
        return Err(ReadError::Foreign);
    }
    let header = match checked(&buffer) {
        Some(json) => match serde_json::from_slice(json) {
            Ok(Line::Header(header)) if header.format == FORMAT => *header,
            Ok(Line::Header(header)) => return Err(newer(&header.format)),
            _ => return Err(format_of(json).map_or(ReadError::Headless, |format| newer(&format))),
        },
        None => {
            return Err(
                if buffer
                    .get(8..)
                    .is_some_and(|json| json.starts_with(b" {\"type\":\"header\""))
                {
                    ReadError::Headless
                } else {
                    ReadError::Foreign
                },
            )
        }
    };
    if header.command == throughput::COMMAND {
        return throughput::read(header, &mut from).map(|test| Kept::Test(Box::new(test)));
    }
    let mut reading = Reading::default();
    loop {
        if !next_line(&mut from, &mut buffer)? {
            break;
        }
        // The last line, cut where the program was killed, is no damage: it was never whole.
        let is_cut = buffer.last() != Some(&b'\n');
        let line = checked(&buffer).and_then(|json| serde_json::from_slice(json).ok());
        match line.map(|line| reading.take(line)) {
            Some(true) => {}
            _ if is_cut => {}
            _ => reading.damage.bad_lines += 1,
        }
    }
    reading.finish(header).map(|saved| Kept::Run(Box::new(saved)))
}

fn newer(format: &str) -> ReadError {
    match format.strip_prefix("rping.saved/") {
        Some(_) => ReadError::Newer(crate::render::escape::line(
            &format.chars().take(40).collect::<String>(),
        )),
        None => ReadError::Foreign,
    }
}

/// The format that a header names whose other keys are of another version.
fn format_of(json: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Only {
        format: String,
    }
    let only: Only = serde_json::from_slice(json).ok()?;
    (only.format != FORMAT).then_some(only.format)
}

/// Reads a line, its break included; a longer one than is ever written is skipped and left empty. `false` at the end.
pub(super) fn next_line(from: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut seen = false;
    loop {
        let some = match from.fill_buf() {
            Ok(some) => some,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if some.is_empty() {
            return Ok(seen);
        }
        seen = true;
        let end = some.iter().position(|&b| b == b'\n').map(|at| at + 1);
        let taken = end.unwrap_or(some.len());
        if line.len() + taken <= LONGEST_LINE {
            line.extend_from_slice(&some[..taken]);
        } else {
            // What no longer fits cannot be whole: a lone break is a damaged line.
            line.truncate(1);
            line.fill(b'\n');
        }
        from.consume(taken);
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// The JSON of a line whose checksum holds.
pub(super) fn checked(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\n")?;
    let (sum, json) = line.split_at_checked(9)?;
    let (digits, space) = sum.split_at(8);
    let plain = digits
        .iter()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b));
    let sum = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    (plain && space == b" " && crc32fast::hash(json) == sum).then_some(json)
}

/// What was read so far.
#[derive(Default)]
struct Reading {
    targets: Vec<Target>,
    sums: Vec<Sum>,
    series: Vec<Series>,
    /// Parts of a second whose last line has not come yet.
    pending: Vec<Part>,
    until_ns: u64,
    figures: Vec<(usize, TargetReport, Option<Directions>)>,
    end: Option<Box<super::line::End>>,
    damage: Damage,
}

impl Reading {
    /// Takes a line; `false` where it is impossible.
    fn take(&mut self, line: Line) -> bool {
        match line {
            Line::Header(_) | Line::Test(_) | Line::Interval(_) | Line::Outcome(_) => false,
            Line::Target(target) => self.target(&target),
            Line::Second(second) => self.second(second),
            Line::Figures(figures) => {
                let at = figures.target as usize;
                match restore::target_report(&figures) {
                    // Written in the order of the targets, each once.
                    Some(report)
                        if at < self.targets.len() && self.figures.last().is_none_or(|(of, ..)| *of < at) =>
                    {
                        let told = figures.directions.as_ref().map(Ways::read);
                        self.figures.push((at, report, told));
                        true
                    }
                    _ => false,
                }
            }
            Line::End(end) => {
                self.end = Some(end);
                true
            }
            Line::Unknown => {
                self.damage.unknown_lines += 1;
                true
            }
        }
    }

    fn target(&mut self, target: &super::line::Target) -> bool {
        if self.targets.len() >= MOST_TARGETS || self.until_ns > 0 {
            return false;
        }
        self.targets.push(restore::target(target));
        self.sums.push(Sum::default());
        true
    }

    fn second(&mut self, second: Second) -> bool {
        let (Second { parts, more, .. }, until_ns) = (&second, second.until_ns);
        if parts
            .iter()
            .any(|part| part.target as usize >= self.targets.len())
        {
            return false;
        }
        let more = *more;
        self.pending.extend(second.parts);
        if more {
            return true;
        }
        self.until_ns = self.until_ns.max(until_ns);
        let is_detailed = self.targets.len() <= DETAILED;
        if is_detailed && self.series.is_empty() {
            self.series = vec![Series::default(); self.targets.len()];
        }
        let mut possible = true;
        for part in std::mem::take(&mut self.pending) {
            possible &= self.part(&part, is_detailed).is_some();
        }
        possible
    }

    fn part(&mut self, part: &Part, is_detailed: bool) -> Option<()> {
        let (counts, reasons) = part.tally.read()?;
        let (moments, rtt) = part.rtt.read(3)?;
        let (_, from_due) = part.from_due.read(2)?;
        let at = part.target as usize;
        if let Some(series) = self.series.get_mut(at) {
            let slot = Slot {
                start_ns: part.start_ns,
                width_ns: part.width_ns,
            };
            let bin = Bin {
                width_ns: part.width_ns,
                counts: counts.clone(),
                rtt: Sparse::from(&rtt),
                moments,
                late_ns: part.late_ns,
            };
            series.add(slot, &bin);
        }
        let sum = self.sums.get_mut(at)?;
        sum.late_ns = sum.late_ns.max(part.late_ns);
        sum.add(&counts, &reasons, &moments);
        if is_detailed {
            sum.histograms(&rtt, &from_due);
        }
        if let Some(running) = &part.so_far {
            sum.running = Some(running.clone());
        }
        Some(())
    }

    fn finish(mut self, header: Header) -> Result<Saved, ReadError> {
        let mut job = restore::job(&header)
            .ok_or_else(|| ReadError::Kind(crate::render::escape::line(&header.command)))?;
        // Figures of every target, or the sums of what there is: never some of this and some of that.
        let is_whole = self.end.is_some() && self.figures.len() == self.targets.len();
        let mut targets: Vec<TargetReport> = Vec::with_capacity(self.targets.len());
        let late_ns = self.sums.iter().map(|sum| sum.late_ns).max();
        targets.extend(self.sums.into_iter().map(Sum::into_report));
        let mut directions = Vec::new();
        if is_whole {
            if self.figures.iter().any(|(.., told)| told.is_some()) {
                directions = vec![None; targets.len()];
            }
            for (at, report, told) in self.figures {
                if let Some(target) = targets.get_mut(at) {
                    *target = report;
                }
                if let Some(place) = directions.get_mut(at) {
                    *place = told;
                }
            }
        }
        job.targets = self.targets;
        let epoch = Epoch {
            started: Timestamp::ZERO,
            started_unix_ns: header.started_unix_ns.into(),
        };
        let mut instrument = Instrument {
            pacing: "n/a",
            waiting: None,
            warnings: Vec::new(),
        };
        let mut run = RunReport {
            targets,
            lateness_ns: (None, None, late_ns.filter(|_| self.until_ns > 0)),
            span: (Timestamp::ZERO, Timestamp::from_nanos(self.until_ns)),
            unexpected_elsewhere: 0,
            unsettled: 0,
            local_drops: 0,
            clock_steps: 0,
            longest_stall_ns: 0,
        };
        let (mut interrupted, mut failure) = (true, None);
        match &self.end {
            Some(end) if is_whole => {
                restore::end(end, &mut run, &mut instrument);
                interrupted = end.interrupted;
                failure = end.failure.clone();
            }
            _ => self.damage.ends_after_ns = Some(self.until_ns),
        }
        if let Some(words) = self.damage.words() {
            instrument.warnings.push(format!("incomplete_file: {words}"));
        }
        let report = Report {
            job: std::sync::Arc::new(job),
            run,
            epoch,
            instrument,
            directions,
            interrupted,
            failure,
        };
        Ok(Saved {
            header,
            report,
            series: self.series,
            damage: self.damage,
        })
    }
}

impl Sum {
    fn histograms(&mut self, rtt: &Histogram, from_due: &Histogram) {
        let mine = self.histograms.get_or_insert_with(|| {
            Box::new((Histogram::new(), Histogram::with_digits(2).unwrap_or_default()))
        });
        mine.0.merge(rtt);
        mine.1.merge(from_due);
    }

    /// What does not add up from second to second.
    pub(super) fn running(&self) -> Running {
        self.running.clone().unwrap_or_default()
    }
}
