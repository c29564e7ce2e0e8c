//! Carries out a [`Job`]: opens the sockets, drives the engine over them, and makes the report.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rping_engine::{
    drive, Control, Detail, Drove, Engine, LatePolicy, Plan, PlanError, Probe, Record, RunReport, Sink,
    TargetId, TargetReport, Timestamp, Wish,
};
use rping_net::usage::CpuTime;
use rping_net::{Clock, Pacing, Waker};

use crate::job::{Job, Kind, Pace};
use crate::report::{Epoch, Instrument, Report};
use crate::{open, warnings};

/// Why a job could not be carried out at all.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Its timing is impossible.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A socket could not be had.
    #[error(transparent)]
    Net(#[from] rping_net::Error),
    /// The probe kind cannot do it.
    #[error(transparent)]
    Probe(#[from] open::OpenError),
    /// There is nothing to probe.
    #[error("no target can be probed")]
    NoTargets,
}

/// Up to how many targets a full histogram is kept for each: at about 300 KB apiece.
pub(crate) const FULL_DETAIL: usize = 256;

/// Kernel transmit stamps cost a system call a batch; up to this rate they are taken.
const TX_STAMPS_UP_TO: f64 = 20_000.0;

/// How long a closed loop looks for the answer before it sleeps: nine times the round trips per second on a short
/// path, and nothing lost on a long one.
const LINGER: Duration = Duration::from_micros(50);

/// Called when the sockets are open and before the first probe: the place to give up privileges, and to start what
/// shows the results.
pub trait Opened {
    /// The job, its start, and the probes per second to be expected.
    ///
    /// # Errors
    /// In words; nothing is sent then.
    fn opened(&mut self, job: &Arc<Job>, epoch: &Epoch, rate: f64) -> Result<(), String>;
}

/// Nothing to do in between.
impl Opened for () {
    fn opened(&mut self, _: &Arc<Job>, _: &Epoch, _: f64) -> Result<(), String> {
        Ok(())
    }
}

/// What is shown while a run goes on, and what may end it.
pub struct Hooks<'a, O, S, C> {
    /// Called once, before the first probe.
    pub opened: &'a mut O,
    /// Takes every record as it happens.
    pub sink: &'a mut S,
    /// Asked in each turn of the loop.
    pub control: &'a mut C,
    /// Makes the loop look at `control` at once.
    pub waker: Option<Waker>,
}

impl Job {
    /// Runs it to its end and returns what it amounted to.
    ///
    /// # Errors
    /// When it cannot be done at all; what concerns one target or one probe is in the report.
    pub fn run(self) -> Result<Report, RunError> {
        self.run_with(Hooks {
            opened: &mut (),
            sink: &mut (),
            control: &mut (),
            waker: None,
        })
    }

    /// Runs it, handing every record to `hooks` as it happens.
    ///
    /// # Errors
    /// When it cannot be done at all.
    pub fn run_with<O: Opened, S: Sink, C: Control>(
        self,
        hooks: Hooks<'_, O, S, C>,
    ) -> Result<Report, RunError> {
        let settings = open::Settings {
            pacing: self.pacing(),
            linger: match self.pace {
                Pace::WhenSettled | Pace::Window(_) => LINGER,
                Pace::Every(_) => Duration::ZERO,
            },
            waker: hooks.waker.clone(),
            tx_stamps: match self.pace {
                // Many at once are sent as fast as it goes.
                Pace::Window(_) => false,
                // An error queue to be read in each round trip would be part of it.
                Pace::WhenSettled if matches!(self.kind, Kind::Latency(_)) => false,
                _ => self.rate().is_none_or(|rate| rate <= TX_STAMPS_UP_TO),
            },
        };
        open::open(self, &settings, Go { hooks })
    }

    /// Probes per second over all targets; `None` for a closed loop.
    pub fn rate(&self) -> Option<f64> {
        let Pace::Every(period) = self.pace else {
            return None;
        };
        let wanted = self.targets.len() as f64 / period.as_secs_f64();
        Some(self.max_rate.map_or(wanted, |most| wanted.min(most)))
    }

    fn pacing(&self) -> Pacing {
        if let Some(forced) = self.pacing {
            return forced;
        }
        // A closed loop sleeps on a long path and lingers on a short one: no whole core for waiting.
        self.rate().map_or(Pacing::Precise, Pacing::choose)
    }

    fn plan(&self) -> Plan {
        Plan {
            pace: self.pace,
            stop: self.stop,
            timeout: self.timeout,
            warmup: self.warmup,
            late: LatePolicy::CatchUp(Duration::from_millis(100)),
            gap: self
                .max_rate
                .map_or(Duration::ZERO, |hz| Duration::from_secs_f64(1.0 / hz)),
            detail: if self.targets.len() <= FULL_DETAIL {
                Detail::Full
            } else {
                Detail::Brief
            },
            retries: self.retries,
            enough: self.enough,
            order: self.order,
        }
    }
}

/// The second half of a run: the sockets are open.
pub(crate) struct Go<'a, O, S, C> {
    hooks: Hooks<'a, O, S, C>,
}

impl<O: Opened, S: Sink, C: Control> Go<'_, O, S, C> {
    /// Drives `probe`, whose targets are those of the job that have an address, in order.
    pub(crate) fn go<P>(self, job: Job, probe: P, pacing: Pacing) -> Result<Report, RunError>
    where
        P: Probe,
        P::Error: Display,
    {
        self.go_and(job, probe, pacing, |_, _| Ok(()))
    }

    /// The same, and lets the probe kind say something at the end.
    pub(crate) fn go_and<P>(
        self,
        job: Job,
        mut probe: P,
        pacing: Pacing,
        conclude: impl FnOnce(&mut P, &mut Report) -> Result<(), P::Error>,
    ) -> Result<Report, RunError>
    where
        P: Probe,
        P::Error: Display,
    {
        let live: Vec<u32> = job.live().map(|(index, _)| index).collect();
        if live.is_empty() {
            return Err(RunError::NoTargets);
        }
        let plan = job.plan();
        // Refused before anything is shown.
        plan.slots(live.len())?;
        let Hooks {
            opened,
            sink,
            control,
            ..
        } = self.hooks;
        let clock = Clock::new();
        let job = Arc::new(job);
        let started = clock.now();
        let epoch = Epoch {
            started,
            started_unix_ns: clock.wall_nanos(started),
        };
        opened
            .opened(&job, &epoch, job.rate().unwrap_or(f64::INFINITY))
            .map_err(open::OpenError::Refused)?;

        let mut engine = Engine::new(plan, live.len(), clock.now())?;
        let mut drove = Drove::default();
        let all = job.targets.len();
        let (began, used) = (clock.now(), CpuTime::of_thread());
        let result = {
            let mut sink = Renumbered {
                live: (live.len() != all).then_some(&live[..]),
                sink,
            };
            let mut control = Expanding {
                live: &live,
                all,
                control,
            };
            let mut ticking = Ticking(clock);
            drive(
                &mut engine,
                &mut probe,
                &mut ticking,
                &mut control,
                &mut sink,
                &mut drove,
            )
        };
        let times = (CpuTime::of_thread().since(used).total(), clock.now().since(began));
        let mut run = expand(engine.into_report(clock.now()), &live, all);
        run.local_drops = probe.local_drops();
        run.clock_steps = probe.clock_steps();
        run.longest_stall_ns = drove.longest_stall_ns;
        let failure = result.err().map(|error| error.to_string());
        let mut instrument = Instrument {
            pacing: pacing.as_str(),
            waiting: None,
            warnings: Vec::new(),
        };
        warnings::collect(&job, &run, &mut instrument.warnings);
        warnings::pacing(
            job.pacing,
            pacing,
            times,
            rping_net::current_cpu(),
            &mut instrument.warnings,
        );
        let mut report = Report {
            job,
            run,
            epoch,
            instrument,
            directions: Vec::new(),
            interrupted: drove.stopped,
            failure,
        };
        if let Err(error) = conclude(&mut probe, &mut report) {
            report.failure.get_or_insert(error.to_string());
        }
        Ok(report)
    }
}

impl Job {
    /// The targets that can be probed, each with its place in the list.
    pub(crate) fn live(&self) -> impl Iterator<Item = (u32, SocketAddr)> + '_ {
        (0..).zip(&self.targets).filter_map(|(index, target)| {
            let address = target.address.filter(|_| target.error.is_none())?;
            Some((index, address))
        })
    }
}

/// Gives records the numbers of the job's list, in which targets that cannot be probed have a place too.
struct Renumbered<'a, S> {
    live: Option<&'a [u32]>,
    sink: &'a mut S,
}

impl<S: Sink> Sink for Renumbered<'_, S> {
    fn record(&mut self, record: &Record) {
        let Some(live) = self.live else {
            return self.sink.record(record);
        };
        let place = |target: TargetId| TargetId(live.get(target.index()).copied().unwrap_or(target.0));
        let mut record = *record;
        match &mut record {
            Record::Settled(sample) => sample.target = place(sample.target),
            Record::Aside { target, .. } => *target = place(*target),
        }
        self.sink.record(&record);
    }
}

/// The machine's clock, as the engine's loop asks for it.
struct Ticking(Clock);

impl rping_engine::Clock for Ticking {
    fn now(&mut self) -> Timestamp {
        self.0.now()
    }
}

struct Expanding<'a, C> {
    live: &'a [u32],
    all: usize,
    control: &'a mut C,
}

impl<C: Control> Control for Expanding<'_, C> {
    fn wish(&mut self) -> Wish {
        self.control.wish()
    }

    fn snapshot(&mut self, report: RunReport) {
        self.control.snapshot(expand(report, self.live, self.all));
    }
}

/// Puts empty figures in the places of targets that cannot be probed.
fn expand(mut run: RunReport, live: &[u32], all: usize) -> RunReport {
    if live.len() == all {
        return run;
    }
    let mut targets: Vec<TargetReport> = (0..all).map(|_| TargetReport::empty()).collect();
    for (report, place) in run.targets.drain(..).zip(live) {
        if let Some(slot) = targets.get_mut(*place as usize) {
            *slot = report;
        }
    }
    run.targets = targets;
    run
}
