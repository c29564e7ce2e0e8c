//! Writing a saved run, line by line as it happens.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::path::Path;

use rping_stats::{sparse, Histogram};

use super::line::{End, Figures, Header, Line, Machine, Part, Running, Second, Target};
use super::lines::{put, Lines};
use super::sampled::Sampled;
use super::tally::{LossRunsText, RefusalText, Tally};
use super::ways::Ways;
use super::{restore, FORMAT};
use crate::files::Aside;
use crate::job::Job;
use crate::report::{Epoch, Report};
use crate::series::{self, Gatherer, Series};

/// Up to so many parts stand in one line: no line comes near the longest that is read.
const PARTS: usize = 128;

/// A file that a run is saved in.
#[derive(Debug)]
pub struct Writer {
    lines: Lines,
    scratch: Histogram,
    scratch_due: Histogram,
}

impl Writer {
    /// Begins a file with the run's header and its targets. What was at `path` is replaced once they are on disk.
    ///
    /// # Errors
    /// When it cannot be written; then what was there before is as it was.
    pub fn create(path: &Path, job: &Job, epoch: &Epoch, command_line: &[String]) -> io::Result<Writer> {
        let header = Header {
            format: FORMAT.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command_line: command_line.to_vec(),
            command: job.kind.as_str().to_owned(),
            started_at: crate::render::clock::nanos(epoch, epoch.started).to_string(),
            started_unix_ns: i64::try_from(epoch.started_unix_ns).unwrap_or(0),
            machine: Machine::this(),
            options: restore::options(job),
            targets: job.targets.len() as u64,
            run_id: Some(run_id()),
            merged: Vec::new(),
            merged_ids: Vec::new(),
        };
        Writer::begin(path, header, job)
    }

    pub(super) fn begin(path: &Path, header: Header, job: &Job) -> io::Result<Writer> {
        let mut aside = Aside::create(path)?;
        let mut text = Vec::new();
        put(&mut text, &Line::Header(Box::new(header)))?;
        for target in &job.targets {
            put(
                &mut text,
                &Line::Target(Target {
                    name: target.name.as_ref().map(ToString::to_string),
                    address: target.address,
                    error: target.error.as_ref().map(ToString::to_string),
                    from_block: target.from_block,
                }),
            )?;
            if text.len() > 1 << 20 {
                aside.file().write_all(&text)?;
                text.clear();
            }
        }
        aside.file().write_all(&text)?;
        Ok(Writer {
            lines: Lines::after(aside)?,
            scratch: Histogram::new(),
            // Cannot fail: two digits are between one and five.
            scratch_due: Histogram::with_digits(2).unwrap_or_default(),
        })
    }

    /// Adds what was settled in a second. After a failure nothing more is written; [`Writer::finish`] tells.
    pub fn second(&mut self, second: &series::Second, gatherer: &Gatherer) {
        if self.lines.failed() || second.parts.is_empty() {
            return;
        }
        let mut text = Vec::new();
        let chunks = second.parts.chunks(PARTS);
        let last = chunks.len() - 1;
        for (at, chunk) in chunks.enumerate() {
            let parts = chunk.iter().enumerate().map(|(i, part)| {
                let is_last_of_target = chunk.get(i + 1).is_none_or(|next| next.target != part.target);
                Part {
                    target: part.target.0,
                    start_ns: part.slot.start_ns,
                    width_ns: part.slot.width_ns,
                    tally: Tally::from(&part.delta),
                    rtt: Sampled::of(&part.delta.rtt, &mut self.scratch),
                    from_due: Sampled::of(&part.delta.from_due, &mut self.scratch_due),
                    late_ns: part.delta.late_ns,
                    so_far: gatherer
                        .so_far(part.target)
                        .filter(|_| is_last_of_target)
                        .map(Running::from),
                }
            });
            let line = Line::Second(Second {
                from_ns: second.from_ns,
                until_ns: second.until_ns,
                more: at < last,
                parts: parts.collect(),
            });
            if let Err(error) = put(&mut text, &line) {
                return self.lines.fail(error);
            }
        }
        self.lines.append(&text);
    }

    /// Adds a whole course at once, as a merged file has it.
    pub(super) fn series(&mut self, series: &[Series]) {
        for (target, series) in (0..).zip(series) {
            for (start_ns, bin) in series.bins() {
                let mut histogram = Histogram::new();
                for &(place, count) in bin.rtt.bins() {
                    histogram.record_many(sparse::lowest(place), count);
                }
                let until_ns = start_ns.saturating_add(bin.width_ns);
                let line = Line::Second(Second {
                    from_ns: start_ns,
                    until_ns,
                    more: false,
                    parts: vec![Part {
                        target,
                        start_ns,
                        width_ns: bin.width_ns,
                        tally: Tally::of(&bin.counts, &Default::default()),
                        rtt: Sampled::whole(&bin.moments, Some(&histogram)),
                        from_due: Sampled::default(),
                        late_ns: bin.late_ns,
                        so_far: None,
                    }],
                });
                let mut text = Vec::new();
                match put(&mut text, &line) {
                    Ok(()) => self.lines.append(&text),
                    Err(error) => self.lines.fail(error),
                }
            }
        }
    }

    /// Adds the figures of a run that came to its end.
    ///
    /// # Errors
    /// What kept the file from being whole: this, or anything before.
    pub fn finish(mut self, report: &Report) -> io::Result<()> {
        let mut text = Vec::new();
        for (target, of) in (0u32..).zip(&report.run.targets) {
            let snapshot = of.stats.snapshot();
            let running = Running {
                from: of.from.iter().map(ToString::to_string).collect(),
                tx_stamps: of.stamps.tx(),
                rx_stamps: of.stamps.rx(),
                last_refusal: of.last_refusal.as_deref().map(RefusalText::of),
                jitter_rfc3550_ns: snapshot.jitter,
                ipdv_sum_ns: snapshot.ipdv_sum,
                ipdv_pairs: snapshot.ipdv_pairs,
                from_due_max_ns: snapshot.from_due_max,
                loss_runs: LossRunsText::of(&snapshot.loss),
            };
            let figures = Figures {
                target,
                tally: Tally::of(&of.counts, &of.reasons),
                rtt: Sampled::whole(&snapshot.rtt, snapshot.histogram.as_ref()),
                from_due_histogram: snapshot
                    .from_due
                    .as_ref()
                    .filter(|histogram| !histogram.is_empty())
                    .map(Histogram::to_v2_base64),
                residence: of
                    .residence
                    .as_deref()
                    .map_or_else(Sampled::default, |residence| {
                        Sampled::whole(&residence.moments, Some(&residence.histogram))
                    }),
                gross: of
                    .residence
                    .as_deref()
                    .map_or_else(Sampled::default, |residence| {
                        Sampled::whole(&residence.gross_moments, Some(&residence.gross))
                    }),
                directions: report
                    .directions
                    .get(target as usize)
                    .and_then(Option::as_ref)
                    .map(|told| Ways::of(told, report.epoch.started)),
                running,
            };
            put(&mut text, &Line::Figures(Box::new(figures)))?;
            if text.len() > 1 << 20 {
                self.lines.append(&text);
                text.clear();
            }
        }
        let run = &report.run;
        let end = End {
            begun_ns: run.span.0.nanos_since(report.epoch.started),
            duration_ns: run.span.1.nanos_since(run.span.0),
            interrupted: report.interrupted,
            failure: report.failure.clone(),
            pacing: report.instrument.pacing.to_owned(),
            waiting: report
                .instrument
                .waiting
                .map(|(here, there)| (here.to_owned(), there.map(str::to_owned))),
            warnings: report.instrument.warnings.clone(),
            lateness_ns: run.lateness_ns,
            unexpected_elsewhere: run.unexpected_elsewhere,
            unsettled: run.unsettled,
            local_drops: run.local_drops,
            clock_steps: run.clock_steps,
            longest_stall_ns: run.longest_stall_ns,
        };
        put(&mut text, &Line::End(Box::new(end)))?;
        self.lines.append(&text);
        self.lines.finish()
    }
}

/// A number that no other run has: 128 bits of the keys that the standard library draws at random for its maps.
pub(super) fn run_id() -> String {
    let draw = || RandomState::new().hash_one(std::process::id());
    format!("{:016x}{:016x}", draw(), draw())
}
