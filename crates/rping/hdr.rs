//! What HdrHistogram's own tools read: the percentile distribution (`.hgrm`) and the interval log (`.hlog`, version 1.3).

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use rping_stats::{Histogram, Moments};

use crate::files::Aside;
use crate::job::Job;
use crate::report::{Epoch, Report};
use crate::series::Second;

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// The whole run as percentiles.
    Distribution,
    /// A histogram for each second and target.
    Log,
}

impl Form {
    /// By the extension; `None` for any other.
    pub fn of(path: &Path) -> Option<Form> {
        match path.extension()?.to_str()? {
            "hgrm" => Some(Form::Distribution),
            "hlog" => Some(Form::Log),
            _ => None,
        }
    }
}

const MS: f64 = 1e6;

/// Steps of the distribution in each half of what is left of the percentiles, as HdrHistogram prints by default.
const TICKS: u32 = 5;

/// Writes the distribution of all targets' round trips together, in milliseconds.
///
/// # Errors
/// What writing says; then there is no such file.
pub fn distribution(mut to: Aside, report: &Report) -> io::Result<()> {
    let mut all = Histogram::new();
    let mut moments = Moments::new();
    let mut kept_none = false;
    for target in &report.run.targets {
        match target.stats.histogram() {
            Some(histogram) => all.merge(histogram),
            None => kept_none |= target.stats.rtt().count() > 0,
        }
        moments.merge(&target.stats.rtt());
    }
    if kept_none {
        return Err(io::Error::other(
            "a run over so many targets keeps no histograms: take .hlog, or fewer targets",
        ));
    }
    let mut out = BufWriter::new(to.file());
    write_distribution(&mut out, &all, &moments)?;
    out.flush()?;
    drop(out);
    to.settle().map(drop)
}

fn write_distribution(out: &mut impl Write, all: &Histogram, moments: &Moments) -> io::Result<()> {
    let total = all.len();
    writeln!(
        out,
        "{:>12} {:>14} {:>10} {:>14}\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    )?;
    let mut bins = all.recorded();
    let (mut below, mut value) = (0u64, 0u64);
    let mut percent = 0.0f64;
    // As HdrHistogram steps: TICKS steps to the middle, as many to the middle of the rest, and so on, until a step reaches
    // the last value.
    while below < total {
        while below == 0 || 100.0 * below as f64 / (total as f64) < percent {
            let Some(bin) = bins.next() else { break };
            below += bin.count;
            value = bin.highest;
        }
        writeln!(
            out,
            "{:>12.6} {:>14.12} {below:>10} {:>14.2}",
            value as f64 / MS,
            percent / 100.0,
            100.0 / (100.0 - percent)
        )?;
        let halvings = (100.0 / (100.0 - percent)).log2().floor() + 1.0;
        percent += 100.0 / (f64::from(TICKS) * halvings.exp2());
    }
    if total > 0 {
        let last = value as f64 / MS;
        writeln!(out, "{last:>12.6} {:>14.12} {total:>10}", 1.0)?;
    }
    let mean = moments.mean().unwrap_or(0.0) / MS;
    let stddev = moments.stddev().unwrap_or(0.0) / MS;
    let max = moments.max().unwrap_or(0);
    writeln!(out, "#[Mean    = {mean:>12.6}, StdDeviation   = {stddev:>12.6}]")?;
    writeln!(
        out,
        "#[Max     = {:>12.6}, Total count    = {total:>12}]",
        max as f64 / MS
    )?;
    // With three digits: 2048 steps, and one more bucket for each doubling beyond.
    let buckets = max.max(2047).ilog2() - 9;
    writeln!(out, "#[Buckets = {buckets:>12}, SubBuckets     = {:>12}]", 2048)
}

/// An interval log under way.
#[derive(Debug)]
pub struct Log {
    file: File,
    tags: Vec<Option<String>>,
    scratch: Histogram,
    failure: Option<io::Error>,
}

impl Log {
    /// Begins it. What was at `path` is replaced once the head is on disk.
    ///
    /// # Errors
    /// When it cannot be written; then what was there is as it was.
    pub fn create(path: &Path, job: &Job, epoch: &Epoch) -> io::Result<Log> {
        let mut aside = Aside::create(path)?;
        let started = epoch.started_unix_ns as f64 / 1e9;
        let head = format!(
            "#[Logged with rping {}; values in nanoseconds]\n#[Histogram log format version 1.3]\n\
             #[StartTime: {started:.3} (seconds since epoch), {}]\n\
             \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
            env!("CARGO_PKG_VERSION"),
            crate::render::clock::millis(epoch, epoch.started),
        );
        aside.file().write_all(head.as_bytes())?;
        let is_one = job.targets.len() == 1;
        Ok(Log {
            file: aside.settle()?,
            tags: job
                .targets
                .iter()
                .map(|target| (!is_one).then(|| tag(&target.label())))
                .collect(),
            scratch: Histogram::new(),
            failure: None,
        })
    }

    /// Adds what was answered in a second: a line for each target that answered.
    pub fn second(&mut self, second: &Second) {
        let mut text = String::new();
        let start = second.from_ns as f64 / 1e9;
        let length = second.until_ns.saturating_sub(second.from_ns) as f64 / 1e9;
        for parts in second.parts.chunk_by(|a, b| a.target == b.target) {
            let values = parts.iter().flat_map(|part| &part.delta.rtt);
            values.for_each(|&ns| self.scratch.record(ns));
            if self.scratch.is_empty() {
                continue;
            }
            let max = parts.iter().flat_map(|part| &part.delta.rtt).max();
            let tag = parts
                .first()
                .and_then(|part| self.tags.get(part.target.index())?.as_deref());
            if let Some(tag) = tag {
                text.push_str(&format!("Tag={tag},"));
            }
            text.push_str(&format!(
                "{start:.3},{length:.3},{:.3},{}\n",
                max.map_or(0.0, |&ns| ns as f64 / MS),
                self.scratch.to_v2_base64()
            ));
            self.scratch.clear();
        }
        if self.failure.is_none() {
            self.failure = self.file.write_all(text.as_bytes()).err();
        }
    }

    /// The end.
    ///
    /// # Errors
    /// What kept it from being whole.
    pub fn finish(self) -> io::Result<()> {
        self.failure.map_or(Ok(()), Err)
    }
}

/// A tag has no comma, no white space and no line break.
fn tag(label: &str) -> String {
    let plain = |c: char| match c {
        ',' | '"' | '#' => '_',
        c if c.is_whitespace() || crate::render::escape::acts(c) => '_',
        c => c,
    };
    label.chars().map(plain).collect()
}
