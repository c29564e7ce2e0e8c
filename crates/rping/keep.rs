//! The thread that keeps a run: it sorts records into seconds and writes each second to the files that were asked for. It has
//! a queue of its own, so that a terminal that stands still costs the files nothing; the sending loop waits for neither.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rping_engine::{Record, Sink, Timestamp};
use rping_net::Clock;

use crate::args::plain;
use crate::files::Aside;
use crate::hdr;
use crate::job::Job;
use crate::report::{Epoch, Report};
use crate::saved;
use crate::series::{Bin, Gatherer, Second, Series};

/// How often the queue is emptied: a wake-up ten times a second disturbs nobody.
const LOOK: Duration = Duration::from_millis(100);

/// How much is written together. What is on disk is whole up to the last of these.
const SECOND: Duration = Duration::from_secs(1);

/// Up to so many targets a course is kept for the report.
const DETAILED: usize = 256;

/// The files that a run is to leave behind.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// The run itself, for later commands.
    pub save: Option<PathBuf>,
    /// HdrHistogram's percentile distribution (`.hgrm`) or interval log (`.hlog`).
    pub hdr: Option<PathBuf>,
    /// A page for people.
    pub report: Option<PathBuf>,
    /// As it was typed, for the record.
    pub command_line: Vec<String>,
}

impl Wanted {
    /// Whether there is anything to keep.
    pub fn is_anything(&self) -> bool {
        self.save.is_some() || self.hdr.is_some() || self.report.is_some()
    }

    /// The file, if it is wanted in this one of HdrHistogram's forms.
    pub fn hdr(&self, form: hdr::Form) -> Option<&Path> {
        self.hdr
            .as_deref()
            .filter(|path| hdr::Form::of(path) == Some(form))
    }
}

/// The sending loop's end of the queue.
#[derive(Debug)]
pub struct Keep {
    queue: rtrb::Producer<Record>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    dropped: AtomicU64,
    finished: AtomicBool,
}

impl Sink for Keep {
    fn record(&mut self, record: &Record) {
        if self.queue.push(*record).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The files, all opened before the first probe.
struct Files {
    save: Option<saved::Writer>,
    hlog: Option<hdr::Log>,
    hgrm: Option<Aside>,
    report: Option<Aside>,
    series: Vec<Series>,
}

/// The keeping thread.
pub struct Keeper {
    thread: JoinHandle<Files>,
    shared: Arc<Shared>,
    wanted: Wanted,
}

/// In one line: which file, and why not.
pub(crate) fn cannot(flag: &str, path: &Path, error: &io::Error) -> String {
    let path = path.to_string_lossy();
    format!(
        "{flag} {}: cannot be written: {}",
        crate::render::escape::line(&path),
        plain(error)
    )
}

impl Keeper {
    /// Opens the files and starts the thread. `rate` is the number of probes per second to be expected.
    ///
    /// # Errors
    /// In one line: which file cannot be written. Nothing has been sent then.
    pub fn start(wanted: &Wanted, job: &Arc<Job>, epoch: Epoch, rate: f64) -> Result<(Keeper, Keep), String> {
        let save = wanted.save.as_deref().map(|path| {
            saved::Writer::create(path, job, &epoch, &wanted.command_line)
                .map_err(|error| cannot("--save", path, &error))
        });
        let hgrm = wanted.hdr(hdr::Form::Distribution);
        if hgrm.is_some() && job.live().count() > crate::run::FULL_DETAIL {
            return Err(format!(
                "--hdr: a run over more than {} targets keeps no histograms: take FILE.hlog, or fewer targets",
                crate::run::FULL_DETAIL
            ));
        }
        let failed = |path| move |error: io::Error| cannot("--hdr", path, &error);
        let hgrm = hgrm.map(|path| Aside::create(path).map_err(failed(path)));
        let hlog = wanted
            .hdr(hdr::Form::Log)
            .map(|path| hdr::Log::create(path, job, &epoch).map_err(failed(path)));
        let report = wanted
            .report
            .as_deref()
            .map(|path| Aside::create(path).map_err(|error| cannot("--report", path, &error)));
        let (hlog, hgrm) = (hlog.transpose()?, hgrm.transpose()?);
        let report = report.transpose()?;
        let save = save.transpose()?;
        let course = report.is_some() && job.targets.len() <= DETAILED;
        let files = Files {
            save,
            hlog,
            hgrm,
            series: vec![Series::default(); if course { job.targets.len() } else { 0 }],
            report,
        };
        // A second's worth: ten times what comes between two looks. The memory is touched only as it fills.
        let capacity = rate.clamp(1024.0, 262_144.0) as usize;
        let (producer, consumer) = rtrb::RingBuffer::new(capacity);
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let targets = job.targets.len();
        let thread = thread::Builder::new()
            .name("rping-keep".into())
            .spawn(move || {
                keep(
                    consumer,
                    files,
                    Gatherer::new(epoch.started, targets),
                    epoch,
                    &theirs,
                )
            })
            .map_err(|error| format!("cannot start the keeping thread: {error}"))?;
        Ok((
            Keeper {
                thread,
                shared: Arc::clone(&shared),
                wanted: wanted.clone(),
            },
            Keep {
                queue: producer,
                shared,
            },
        ))
    }

    /// Waits until every second is written, then writes the end. Returns what could not be written, a line for each file.
    ///
    /// Warnings of its own are added to the report first.
    pub fn finish(self, report: &mut Report) -> Vec<String> {
        self.shared.finished.store(true, Ordering::Release);
        self.thread.thread().unpark();
        let Ok(files) = self.thread.join() else {
            return vec!["the keeping thread failed: the files hold what came before".to_owned()];
        };
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        if dropped > 0 {
            report.instrument.warnings.push(format!(
                "series_incomplete: {dropped} probes are missing in the course of the run, because they came faster than \
                 they could be kept; the totals and histograms hold every one"
            ));
        }
        let wanted = &self.wanted;
        let mut failures = Vec::new();
        let mut note = |flag: &str, path: Option<&Path>, result: io::Result<()>| {
            if let (Err(error), Some(path)) = (result, path) {
                failures.push(cannot(flag, path, &error));
            }
        };
        if let Some(save) = files.save {
            note("--save", wanted.save.as_deref(), save.finish(report));
        }
        if let Some(log) = files.hlog {
            note("--hdr", wanted.hdr(hdr::Form::Log), log.finish());
        }
        if let Some(file) = files.hgrm {
            let path = wanted.hdr(hdr::Form::Distribution);
            note("--hdr", path, hdr::distribution(file, report));
        }
        if let Some(file) = files.report {
            let run = crate::page::Run::just_run(report, &files.series, &wanted.command_line);
            note(
                "--report",
                wanted.report.as_deref(),
                crate::page::write(file, &[run]),
            );
        }
        failures
    }
}

fn keep(
    mut queue: rtrb::Consumer<Record>,
    mut files: Files,
    mut gatherer: Gatherer,
    epoch: Epoch,
    shared: &Shared,
) -> Files {
    let mut next = epoch.started.plus(SECOND);
    loop {
        // Read before the queue is emptied: what was handed over before "finished" is then surely seen.
        let finished = shared.finished.load(Ordering::Acquire);
        while let Ok(record) = queue.pop() {
            gatherer.record(&record);
        }
        let now = Clock::new().now();
        if finished || now >= next {
            let second = gatherer.take(now);
            files.second(&second, &gatherer);
            next = following(next, now);
        }
        if finished {
            return files;
        }
        thread::park_timeout(LOOK.min(next.since(now)));
    }
}

/// The next whole second after `now`.
fn following(mut next: Timestamp, now: Timestamp) -> Timestamp {
    if next <= now {
        let behind = now.since(next).as_secs();
        next = next.plus(Duration::from_secs(behind + 1));
    }
    next
}

impl Files {
    fn second(&mut self, second: &Second, gatherer: &Gatherer) {
        if let Some(save) = &mut self.save {
            save.second(second, gatherer);
        }
        if let Some(log) = &mut self.hlog {
            log.second(second);
        }
        for part in &second.parts {
            if let Some(series) = self.series.get_mut(part.target.index()) {
                series.add(part.slot, &Bin::from(&part.delta));
            }
        }
    }
}
