//! Several saved runs as one: counts and histograms add up exactly.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use rping_engine::{Stamps, TargetReport};

use super::line::Header;
use super::{restore, Saved, Writer, FORMAT};
use crate::job::{Job, Kind, Target};
use crate::report::{Epoch, Instrument, Report};
use crate::series::{add_counts, Series, Slot};

/// Why runs cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// They asked different layers.
    #[error("{first} was measured with {a} and {other} with {b}: round trips of different probes are no one distribution")]
    Kinds {
        /// The first file.
        first: String,
        /// Its command.
        a: &'static str,
        /// Another file.
        other: String,
        /// Its command.
        b: &'static str,
    },
    /// One run is in two of the files.
    #[error("{first} and {other} hold the same run, which would count twice: leave one of them out")]
    Twice {
        /// The first file.
        first: String,
        /// The other.
        other: String,
    },
    /// There is nothing to merge.
    #[error("nothing to merge: give two files or more")]
    Nothing,
}

/// One run out of several: targets of the same name and address are one target, and the time of day places each run. The
/// files' names are kept in the header.
///
/// # Errors
/// When they are of different kinds, or hold the same run.
pub fn merge(runs: Vec<(String, Saved)>) -> Result<Saved, MergeError> {
    let ids = all_different(&runs)?;
    let mut runs = runs;
    runs.sort_by_key(|(_, run)| run.report.epoch.started_unix_ns);
    let mut rest = runs.into_iter();
    let Some((first, mut sum)) = rest.next() else {
        return Err(MergeError::Nothing);
    };
    sum.header.merged = vec![first.clone()];
    sum.header.run_id = None;
    sum.header.merged_ids = ids;
    sum.series.resize(sum.report.job.targets.len(), Series::default());
    let mut places: HashMap<Target, usize> = HashMap::new();
    let mut job: Job = (*sum.report.job).clone();
    for (at, target) in job.targets.iter().enumerate() {
        places.insert(target.clone(), at);
    }
    let mut notes = Vec::new();
    for (name, run) in rest {
        let theirs = &run.report.job;
        if !same_kind(job.kind, theirs.kind) {
            return Err(MergeError::Kinds {
                first,
                a: job.kind.as_str(),
                other: name,
                b: theirs.kind.as_str(),
            });
        }
        if (job.pace, job.timeout, job.size) != (theirs.pace, theirs.timeout, theirs.size) {
            notes.push(format!(
                "merged: {name} was measured with another interval, timeout or size"
            ));
        }
        let apart = run.report.epoch.started_unix_ns - sum.report.epoch.started_unix_ns;
        // Sorted by start: never negative.
        let offset = u64::try_from(apart).unwrap_or(0);
        for ((at, target), theirs) in run
            .report
            .job
            .targets
            .iter()
            .enumerate()
            .zip(&run.report.run.targets)
        {
            let place = *places.entry(target.clone()).or_insert_with(|| {
                job.targets.push(target.clone());
                sum.report.run.targets.push(TargetReport::empty());
                sum.series.push(Series::default());
                job.targets.len() - 1
            });
            let (Some(mine), Some(series)) =
                (sum.report.run.targets.get_mut(place), sum.series.get_mut(place))
            else {
                continue;
            };
            add(mine, theirs);
            for (start, bin) in run.series.get(at).into_iter().flat_map(Series::bins) {
                let slot = Slot::at(start.saturating_add(offset));
                series.add(
                    Slot {
                        width_ns: slot.width_ns.max(bin.width_ns),
                        ..slot
                    },
                    bin,
                );
            }
        }
        join(&mut sum.report, &run.report, offset);
        sum.header.merged.push(name);
        notes.extend(
            run.damage
                .words()
                .map(|words| format!("incomplete_file: {words}")),
        );
    }
    sum.report.instrument.warnings.extend(notes);
    sum.header.targets = job.targets.len() as u64;
    sum.report.job = Arc::new(job);
    Ok(sum)
}

/// The numbers of all the runs in these files.
///
/// # Errors
/// Where one of them is in two files. Files of before runs had numbers are told by when they began, to a nanosecond.
fn all_different(runs: &[(String, Saved)]) -> Result<Vec<String>, MergeError> {
    let mut seen: HashMap<String, &str> = HashMap::new();
    let mut ids = Vec::new();
    for (name, run) in runs {
        let header = &run.header;
        let own = header.run_id.iter().chain(&header.merged_ids).cloned();
        let mut of_file: Vec<String> = own.collect();
        ids.extend(of_file.iter().cloned());
        if of_file.is_empty() {
            of_file.push(format!("{} {}", header.started_unix_ns, header.machine.hostname));
        }
        for id in of_file {
            if let Some(first) = seen.insert(id, name) {
                return Err(MergeError::Twice {
                    first: first.to_owned(),
                    other: name.clone(),
                });
            }
        }
    }
    Ok(ids)
}

fn same_kind(a: Kind, b: Kind) -> bool {
    a.as_str() == b.as_str()
}

/// Adds a target's figures.
fn add(to: &mut TargetReport, more: &TargetReport) {
    // One that kept nothing yet takes the other's histograms over.
    if to.counts.attempted() == 0 && to.stats.rtt().count() == 0 {
        to.stats = more.stats.clone();
    } else {
        to.stats.merge(&more.stats);
    }
    add_counts(&mut to.counts, &more.counts);
    let mut reasons = *to.reasons;
    for (to, more) in reasons.iter_mut().zip(*more.reasons) {
        *to = to.saturating_add(more);
    }
    to.reasons = reasons.into();
    for from in more.from.iter() {
        to.from.add(*from);
    }
    if more.last_refusal.is_some() {
        to.last_refusal.clone_from(&more.last_refusal);
    }
    match (&mut to.residence, &more.residence) {
        (Some(mine), Some(theirs)) => {
            mine.histogram.merge(&theirs.histogram);
            mine.moments.merge(&theirs.moments);
            mine.gross.merge(&theirs.gross);
            mine.gross_moments.merge(&theirs.gross_moments);
        }
        (mine @ None, Some(theirs)) => *mine = Some(theirs.clone()),
        (_, None) => {}
    }
    let sum = |mine: [u64; 4], theirs: [u64; 4]| {
        std::array::from_fn(|source| mine[source].saturating_add(theirs[source]))
    };
    to.stamps = Stamps::of(
        sum(to.stamps.tx(), more.stamps.tx()),
        sum(to.stamps.rx(), more.stamps.rx()),
    );
}

/// Adds what concerns the run as a whole. Of lateness only the most is known of both together.
fn join(to: &mut Report, more: &Report, offset: u64) {
    // What one reflector's numbers told of one run is nobody's of both.
    to.directions.clear();
    let (run, other) = (&mut to.run, &more.run);
    run.lateness_ns = (None, None, run.lateness_ns.2.max(other.lateness_ns.2));
    run.span.1 = run.span.1.max(other.span.1.plus_nanos(offset));
    run.unexpected_elsewhere = run
        .unexpected_elsewhere
        .saturating_add(other.unexpected_elsewhere);
    run.unsettled = run.unsettled.saturating_add(other.unsettled);
    run.local_drops = run.local_drops.saturating_add(other.local_drops);
    run.clock_steps = run.clock_steps.saturating_add(other.clock_steps);
    run.longest_stall_ns = run.longest_stall_ns.max(other.longest_stall_ns);
    to.interrupted |= more.interrupted;
    if to.failure.is_none() {
        to.failure.clone_from(&more.failure);
    }
    let Instrument { pacing, warnings, .. } = &mut to.instrument;
    if *pacing != more.instrument.pacing {
        *pacing = "n/a";
    }
    for warning in &more.instrument.warnings {
        if !warnings.contains(warning) {
            warnings.push(warning.clone());
        }
    }
}

impl Saved {
    /// Writes it as a file of its own, as `rping merge` does.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path, command_line: &[String]) -> std::io::Result<()> {
        let header = Header {
            format: FORMAT.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command_line: command_line.to_vec(),
            options: restore::options(&self.report.job),
            ..self.header.clone()
        };
        let mut writer = Writer::begin(path, header, &self.report.job)?;
        writer.series(&self.series);
        writer.finish(&self.report)
    }

    /// When it began, on the wall clock.
    pub fn epoch(&self) -> &Epoch {
        &self.report.epoch
    }
}
