//! The files that a throughput test leaves behind: a thread of its own writes them, so that a slow disk holds nothing up.

use std::io;
use std::path::Path;
use std::sync::mpsc::{sync_channel, SyncSender};
use std::thread::{self, JoinHandle};

use rping_peer::iperf::{Client, Interval};

use crate::assertion::Assertion;
use crate::files::Aside;
use crate::keep::{cannot, Wanted};
use crate::page;
use crate::report::Epoch;
use crate::saved::{Test, TestWriter};

/// Intervals that wait to be written; there are ten in a second at most, in each direction.
const ROOM: usize = 4096;

/// The files, all opened before the test begins.
pub(super) struct Keeping {
    wanted: Wanted,
    save: Option<(SyncSender<Interval>, JoinHandle<TestWriter>)>,
    report: Option<Aside>,
}

impl Keeping {
    /// Opens the files.
    ///
    /// # Errors
    /// In one line: which file cannot be written. Nothing has been sent then.
    pub(super) fn start(
        wanted: &Wanted,
        test: (&str, &Client),
        epoch: &Epoch,
        assertions: &[Assertion],
    ) -> Result<Keeping, String> {
        let save = match wanted.save.as_deref() {
            None => None,
            Some(path) => {
                let writer = TestWriter::create(path, test, epoch, assertions, &wanted.command_line);
                Some(writer.map_err(|error| cannot("--save", path, &error))?)
            }
        };
        let report = match wanted.report.as_deref() {
            None => None,
            Some(path) => Some(Aside::create(path).map_err(|error| cannot("--report", path, &error))?),
        };
        let save = save.map(spawn).transpose();
        Ok(Keeping {
            wanted: wanted.clone(),
            save: save.map_err(|error| format!("cannot start the keeping thread: {error}"))?,
            report,
        })
    }

    /// Hands an interval over; it waits for nothing.
    pub(super) fn interval(&self, interval: &Interval) {
        if let Some((to, _)) = &self.save {
            // Full only where the disk has stood still for minutes: the end is written, and the course has a hole.
            let _ = to.try_send(*interval);
        }
    }

    /// Writes the end. Returns what could not be written, a line for each file.
    pub(super) fn finish(self, test: &Test) -> Vec<String> {
        let mut failures = Vec::new();
        let mut note = |flag: &str, path: Option<&Path>, written: io::Result<()>| {
            if let (Err(error), Some(path)) = (written, path) {
                failures.push(cannot(flag, path, &error));
            }
        };
        if let Some((to, thread)) = self.save {
            drop(to);
            let written = match thread.join() {
                Ok(writer) => writer.finish(test),
                Err(_) => Err(io::Error::other("the keeping thread failed")),
            };
            note("--save", self.wanted.save.as_deref(), written);
        }
        if let Some(aside) = self.report {
            let written = page::throughput::write(aside, &[(String::new(), test)]);
            note("--report", self.wanted.report.as_deref(), written);
        }
        failures
    }
}

fn spawn(mut writer: TestWriter) -> io::Result<(SyncSender<Interval>, JoinHandle<TestWriter>)> {
    let (to, intervals) = sync_channel::<Interval>(ROOM);
    let thread = thread::Builder::new().name("rping-keep".into()).spawn(move || {
        for interval in intervals {
            writer.interval(&interval);
        }
        writer
    })?;
    Ok((to, thread))
}
