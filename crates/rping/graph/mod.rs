//! `--graph`: the run as a live picture on the terminal, and the usual summary when it is over.
//!
//! The picture has a thread of its own: it takes what the printing thread hands over, draws ten times a second and
//! listens to keys. The sending loop knows nothing of it. The terminal is put back on every way out: the end of the run,
//! signals, a panic.

mod draw;
mod keys;
mod model;

use std::collections::VecDeque;
use std::io::{self, Stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::{Arc, Once};
use std::thread::JoinHandle;
use std::time::Duration;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::{cursor, execute, terminal};
use ratatui::Terminal;
use rping_engine::Record;
use rping_net::Clock;

use crate::job::Job;
use crate::render::Render;
use crate::report::{Epoch, Report};
use crate::signals::Signals;
use keys::Key;
use model::Model;

/// Up to so many targets are told apart in one picture.
pub(crate) const MOST_TARGETS: usize = 64;

/// How long the picture stands before it is drawn again.
const REDRAW: Duration = Duration::from_millis(100);

/// The terminal is the picture's at present.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Gives the terminal back as it was, if the picture has it. Called on every way out, from any thread.
pub(crate) fn restore() {
    if TAKEN.swap(false, Ordering::AcqRel) {
        // Whatever fails here, nothing better is left to do than to try the rest.
        let _ = terminal::disable_raw_mode();
        let _ = execute!(io::stdout(), terminal::LeaveAlternateScreen, cursor::Show);
    }
}

/// The same for a way out that must not wait: a terminal that takes no more is left as far as it lets itself be left.
pub(crate) fn restore_at_once() {
    let (done, wait) = mpsc::channel();
    let thread = std::thread::Builder::new().name("rping-restore".into());
    let started = thread.spawn(move || {
        restore();
        let _ = done.send(());
    });
    if started.is_ok() {
        let _ = wait.recv_timeout(Duration::from_millis(100));
    }
}

/// Whether the picture has colours; `NO_COLOR` is heeded by itself.
pub(crate) fn colored(wanted: bool) {
    if !wanted {
        ratatui::crossterm::style::force_color_output(false);
    }
}

fn take() -> io::Result<Terminal<CrosstermBackend<Stdout>>> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            before(panic);
        }));
    });
    terminal::enable_raw_mode()?;
    TAKEN.store(true, Ordering::Release);
    execute!(io::stdout(), terminal::EnterAlternateScreen, cursor::Hide)?;
    Terminal::new(CrosstermBackend::new(io::stdout()))
}

/// Batches that wait for the drawing thread, and records that wait to be one: what a terminal that stands still may cost.
const WAITING: usize = 4;
const BATCH: usize = 1 << 16;

/// What the drawing thread is told.
enum Told {
    /// What happened.
    Records(VecDeque<Record>),
    /// What was typed.
    Key(Key),
    /// The run is over.
    End,
}

/// The drawing thread, and what became of it.
type Drawing = JoinHandle<io::Result<()>>;

/// The live picture as one way to show a run.
pub(crate) struct Graph {
    /// Shows the summary when the picture is gone.
    after: Box<dyn Render + Send>,
    signals: Signals,
    /// What the picture has not taken yet, the oldest first.
    batch: VecDeque<Record>,
    picture: Option<(SyncSender<Told>, Drawing)>,
    job: Arc<Job>,
}

impl Graph {
    /// A picture that ends in what `after` says of the run.
    pub(crate) fn new(after: Box<dyn Render + Send>, job: Arc<Job>, signals: Signals) -> Graph {
        Graph {
            after,
            signals,
            batch: VecDeque::new(),
            picture: None,
            job,
        }
    }

    fn close(&mut self) -> io::Result<()> {
        let Some((tell, picture)) = self.picture.take() else {
            return Ok(());
        };
        // A picture that failed hears nothing any more, and says so when it is joined.
        let _ = tell.send(Told::End);
        let drawn = picture.join();
        restore();
        drawn.unwrap_or_else(|_| Err(io::Error::other("the drawing thread failed")))
    }
}

impl Render for Graph {
    fn begin(&mut self, _: &Job, epoch: &Epoch) -> io::Result<()> {
        let terminal = take().inspect_err(|_| restore())?;
        let (sender, receiver) = mpsc::sync_channel(WAITING);
        keys::listen(sender.clone()).inspect_err(|_| restore())?;
        let view = View {
            model: Model::new(Arc::clone(&self.job), *epoch),
            frozen: None,
            signals: self.signals.clone(),
        };
        let thread = std::thread::Builder::new().name("rping-graph".into());
        let picture = thread
            .spawn(move || {
                let drawn = view.show(terminal, &receiver);
                restore();
                drawn
            })
            .inspect_err(|_| restore())?;
        self.picture = Some((sender, picture));
        Ok(())
    }

    fn record(&mut self, record: &Record) -> io::Result<()> {
        // A terminal that stands still must cost neither memory nor time: the oldest of what it does not take goes, from the
        // picture alone.
        if self.batch.len() >= BATCH {
            self.batch.pop_front();
        }
        self.batch.push_back(*record);
        Ok(())
    }

    fn end(&mut self, report: &Report) -> io::Result<()> {
        self.flush()?;
        self.close()?;
        self.after.begin(&report.job, &report.epoch)?;
        self.after.end(report)
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some((tell, picture)) = &self.picture else {
            return self.after.flush();
        };
        if !self.batch.is_empty() {
            // Busy: what comes next goes with them. Gone: the picture failed, and says why when it is joined.
            let batch = Told::Records(std::mem::take(&mut self.batch));
            if let Err(TrySendError::Full(Told::Records(batch))) = tell.try_send(batch) {
                self.batch = batch;
            }
        }
        match picture.is_finished() {
            true => self.close(),
            false => Ok(()),
        }
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

/// The drawing thread.
struct View {
    model: Model,
    /// What is looked at while it stands still, and the end of its time in nanoseconds since the start.
    frozen: Option<(Model, u64)>,
    signals: Signals,
}

impl View {
    fn show(
        mut self,
        mut terminal: Terminal<CrosstermBackend<Stdout>>,
        told: &Receiver<Told>,
    ) -> io::Result<()> {
        loop {
            let now = Clock.now();
            let (model, end_ns, paused) = match &self.frozen {
                Some((model, end_ns)) => (model, *end_ns, true),
                None => (&self.model, self.model.since_start(now), false),
            };
            terminal.draw(|frame| draw::draw(frame, model, end_ns, paused))?;
            let next = now.plus(REDRAW);
            loop {
                match told.recv_timeout(next.since(Clock.now())) {
                    Ok(Told::Records(batch)) => batch.iter().for_each(|record| self.model.record(record)),
                    Ok(Told::Key(key)) => {
                        self.pressed(key);
                        break;
                    }
                    Ok(Told::End) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                    Err(RecvTimeoutError::Timeout) => break,
                }
                if Clock.now() >= next {
                    break;
                }
            }
        }
    }

    fn pressed(&mut self, key: Key) {
        let now = Clock.now();
        let seen = match &mut self.frozen {
            Some((model, _)) => model,
            None => &mut self.model,
        };
        match key {
            Key::Quit => self.signals.interrupt(),
            Key::Pause => {
                self.frozen = match self.frozen.take() {
                    Some((model, _)) => {
                        // How it was looked at stays; what happened meanwhile was taken in.
                        self.model.look_like(&model);
                        None
                    }
                    None => Some((self.model.clone(), self.model.since_start(now))),
                };
            }
            Key::ZoomIn => seen.zoom_in(),
            Key::ZoomOut => seen.zoom_out(),
            Key::Next => seen.select_next(true),
            Key::Previous => seen.select_next(false),
            Key::All => seen.selected = None,
            Key::Scale => seen.logarithmic = !seen.logarithmic,
            Key::Reset => {
                self.frozen = None;
                self.model.reset(now);
            }
        }
    }
}

#[cfg(test)]
mod tests;
