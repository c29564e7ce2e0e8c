//! The thread that writes results. The sending loop hands records over through a bounded queue and never waits for
//! it: a slow terminal costs lines, which are counted, never probes.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use rping_engine::{Record, Sink};

use crate::job::Job;
use crate::progress::Progress;
use crate::render::Render;
use crate::report::Epoch;

/// How long the writing thread sleeps between looks at the queue. At low rates the sender wakes it for each record;
/// at high rates a wake-up would cost more than a probe.
const LOOK: Duration = Duration::from_millis(10);

/// Records that wait at most: 2 MB.
const MOST_WAITING: f64 = 16_384.0;

/// Up to this rate, in probes per second, the sender wakes the writer for each record.
const WAKE_UP_TO: f64 = 1000.0;

#[derive(Debug, Default)]
struct Shared {
    dropped: AtomicU64,
    /// Probes settled, where records themselves are not handed over.
    settled: AtomicU64,
    /// Writing failed: nobody reads any more, or the disk is full.
    failed: AtomicBool,
    finished: AtomicBool,
}

/// The sending loop's end of the queue.
#[derive(Debug)]
pub struct Feed {
    /// `None` where nobody wants records: they are only counted.
    queue: Option<rtrb::Producer<Record>>,
    shared: Arc<Shared>,
    /// Woken for each record where that is cheap against the rate.
    wake: Option<Thread>,
}

impl Sink for Feed {
    fn record(&mut self, record: &Record) {
        let Some(queue) = &mut self.queue else {
            let settled = u64::from(matches!(record, Record::Settled(_)));
            // One thread writes it: no other's addition can be lost between.
            let before = self.shared.settled.load(Ordering::Relaxed);
            self.shared.settled.store(before + settled, Ordering::Relaxed);
            return;
        };
        if queue.push(*record).is_err() {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(thread) = &self.wake {
            thread.unpark();
        }
    }
}

impl Feed {
    /// Whether writing has failed: then there is nobody to send probes for.
    pub fn is_broken(&self) -> bool {
        self.shared.failed.load(Ordering::Relaxed)
    }
}

/// The writing thread.
pub struct Printer {
    thread: JoinHandle<(Box<dyn Render + Send>, io::Result<()>)>,
    shared: Arc<Shared>,
}

impl Printer {
    /// Starts writing with `render`. `rate` is the number of probes per second to be expected.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        render: Box<dyn Render + Send>,
        job: Arc<Job>,
        epoch: Epoch,
        rate: f64,
        progress: Option<Progress>,
    ) -> io::Result<(Printer, Feed)> {
        // Half a second's worth: longer than a terminal stalls on redraw. The memory is touched only as it fills.
        let are_wanted = render.wants_records();
        let capacity = if are_wanted {
            (rate / 2.0).clamp(256.0, MOST_WAITING) as usize
        } else {
            1
        };
        let (producer, consumer) = rtrb::RingBuffer::new(capacity);
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let is_woken = rate <= WAKE_UP_TO && are_wanted;
        // Whoever is woken for each record need not look by himself; a progress bar moves ten times a second.
        let look = match (is_woken, &progress) {
            (false, _) if !are_wanted && progress.is_none() => Duration::from_secs(60),
            (false, _) if !are_wanted => Duration::from_millis(100),
            (false, _) => LOOK,
            (true, None) => Duration::from_secs(60),
            (true, Some(_)) => Duration::from_millis(100),
        };
        let thread = thread::Builder::new().name("rping-print".into()).spawn(move || {
            let mut render = render;
            let mut progress = progress;
            let result = render.begin(&job, &epoch).and_then(|()| render.flush());
            let result =
                result.and_then(|()| write_all(&mut *render, consumer, &theirs, look, &mut progress));
            if let Some(progress) = &mut progress {
                progress.clear();
            }
            theirs.failed.fetch_or(result.is_err(), Ordering::Relaxed);
            (render, result)
        })?;
        let wake = is_woken.then(|| thread.thread().clone());
        Ok((
            Printer {
                thread,
                shared: Arc::clone(&shared),
            },
            Feed {
                queue: are_wanted.then_some(producer),
                shared,
                wake,
            },
        ))
    }

    /// Waits until everything handed over is written; returns the renderer for the end of the report, how many
    /// records were left out because the writer could not keep up, and whether writing worked.
    pub fn finish(self) -> (Option<Box<dyn Render + Send>>, u64, io::Result<()>) {
        self.shared.finished.store(true, Ordering::Release);
        self.thread.thread().unpark();
        match self.thread.join() {
            Ok((render, result)) => (Some(render), self.shared.dropped.load(Ordering::Relaxed), result),
            Err(_) => (None, 0, Err(io::Error::other("the writing thread failed"))),
        }
    }
}

fn write_all(
    render: &mut dyn Render,
    mut queue: rtrb::Consumer<Record>,
    shared: &Shared,
    look: Duration,
    progress: &mut Option<Progress>,
) -> io::Result<()> {
    let mut seen = 0;
    loop {
        // Read before the queue is emptied: what was handed over before "finished" is then surely seen.
        let finished = shared.finished.load(Ordering::Acquire);
        let counted = shared.settled.load(Ordering::Relaxed);
        let mut settled = counted - seen;
        seen = counted;
        let mut wrote = false;
        while let Ok(record) = queue.pop() {
            wrote = true;
            settled += u64::from(matches!(record, Record::Settled(_)));
            render.record(&record)?;
        }
        if wrote {
            render.flush()?;
        }
        if finished {
            return Ok(());
        }
        if let Some(progress) = progress {
            progress.advance(settled);
        }
        thread::park_timeout(look);
    }
}
