//! `rping bandwidth`: from what was typed to the exit code.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rping_evidence::capture::Carries;
use rping_net::caps::{drop_all_but, is_reserved, Cap};
use rping_net::Clock;
use rping_peer::beside::{Beside, Phase};
use rping_peer::iperf::{Client, Error, Interval, Observer, Protocol, Side};
use tokio::sync::Notify;

mod keep;
mod warnings;

use crate::args::output::Format;
use crate::args::{BandwidthRequest, Plan, Show};
use crate::assertion::Verdict;
use crate::complain::complain;
use crate::pcap::Capture;
use crate::render::bandwidth::{self as render, Ended};
use crate::render::{escape, styled};
use crate::report::Epoch;
use crate::saved::throughput::MOST_INTERVALS;
use crate::saved::{Damage, Machine, Test};
use crate::signals;
use crate::targets::{LocalNet, SystemResolver};

use keep::Keeping;

/// The time between two latency probes beside a load, and how long the idle path is probed first.
const LATENCY_EACH: Duration = Duration::from_millis(10);
const IDLE_FOR: Duration = Duration::from_secs(2);

/// Runs the test and shows it.
pub(crate) fn run(request: BandwidthRequest) -> u8 {
    let (show, assertions) = (request.show.clone(), request.assertions.clone());
    let plan = match request.into_client(&SystemResolver::default(), &LocalNet::system()) {
        Ok(found) => found,
        Err(usage) => return complain(&usage.to_string()),
    };
    let Plan {
        name,
        client,
        reflector,
    } = plan;
    let capture = match show.pcap.as_ref().map(|pcap| {
        let comment = format!("rping bandwidth {name}: the test's own packets");
        Capture::start(
            pcap,
            Carries::Both,
            [client.server].into_iter().chain(reflector),
            comment,
        )
    }) {
        None => None,
        Some(Ok(capture)) => Some(capture),
        Some(Err(why)) => return complain(&why),
    };
    let prepared = client.prepare();
    // Its streams are opened later, and marking a socket or taking a port of the system's takes a capability each time.
    let mut kept = crate::files::root_rights(show.keep.is_anything()).to_vec();
    kept.extend(client.stream.mark.map(|_| Cap::NetAdmin));
    let source = client.stream.source.filter(|source| is_reserved(source.port()));
    kept.extend(source.map(|_| Cap::NetBindService));
    if let Err(error) = drop_all_but(&kept) {
        return complain(&format!("cannot give up privileges: {error}"));
    }
    let stop = Arc::new(Stopping::default());
    let stopping = Arc::clone(&stop);
    if let Err(error) = signals::end_by(move || stopping.stop()) {
        return complain(&format!("cannot listen for signals: {error}"));
    }
    let started = Clock.now();
    let epoch = Epoch {
        started,
        started_unix_ns: Clock.wall_nanos(started),
    };
    // Files first: where one cannot be written nothing is sent.
    let keeping = match Keeping::start(&show.keep, (&name, &client), &epoch, &assertions) {
        Ok(keeping) => keeping,
        Err(why) => return complain(&why),
    };
    let beside = match reflector.map(|at| probe_beside(at, &client)).transpose() {
        Ok(beside) => beside,
        Err(error) => return complain(&format!("latency beside the load: {error}")),
    };
    let mut showing = Showing::new(&name, &client, &show, epoch, &stop);
    showing.keeping = Some(&keeping);
    showing.begin();
    if let Some(beside) = &beside {
        stop.sleep(IDLE_FOR);
        beside.enter(Phase::Between);
    }
    showing.beside = beside.as_ref();
    let ran = client.run(prepared, &mut showing, &stop.notify);
    showing.clear();
    let Showing {
        intervals, written, ..
    } = showing;
    let latency = beside.and_then(Beside::finish);
    let is_local = matches!(&ran, Err(error) if error.is_local());
    let (outcome, failure) = match ran {
        Ok(outcome) => {
            let failure = outcome.failure.clone();
            (Some(outcome), failure)
        }
        Err(error) => (None, Some(in_words(&error, &client))),
    };
    let mut warnings = warnings::warnings(outcome.as_ref(), &client, latency.as_ref());
    let (notes, uncaptured) = capture.map(Capture::finish).unwrap_or_default();
    warnings.extend(notes);
    let test = Test {
        command_line: show.keep.command_line.clone(),
        machine: Machine::this(),
        name,
        client,
        epoch,
        duration: Clock.now().since(started),
        outcome,
        intervals,
        failure,
        warnings,
        latency,
        assertions,
        damage: Damage::default(),
    };
    let unkept = keeping.finish(&test);
    let verdicts = render::verdicts(&test);
    let ended = Ended::of(&test, &verdicts);
    let written = written.and_then(|()| conclude(&ended, &show));
    if let Some(failure) = &test.failure {
        complain(&format!(
            "{}: {}",
            escape::line(&test.name),
            escape::line(failure)
        ));
    }
    // Behind the summary, which is whole whatever became of the files.
    let incomplete = unkept.iter().chain(&uncaptured);
    let incomplete = incomplete.fold(None, |_, why| Some(complain(why)));
    if let Err(error) = written.as_ref() {
        if error.kind() != io::ErrorKind::BrokenPipe {
            complain(&format!("standard output: {error}; the summary follows here"));
            // The last resort: what fails here has nobody to be told to.
            let _ = render::text(&mut io::stderr().lock(), styled(false), &ended, None);
            return 2;
        }
    }
    match is_local {
        true => 2,
        false => incomplete.unwrap_or_else(|| exit_code(&test, &verdicts)),
    }
}

/// The exit code of a test that could be made.
pub(crate) fn exit_code(test: &Test, verdicts: &[Verdict]) -> u8 {
    // A person who had enough did not wait for the far end's figures: over TCP, what left was taken.
    let was_taken = test.outcome.as_ref().is_some_and(|outcome| {
        let is_tcp = test.client.parameters.protocol == Protocol::Tcp;
        let sent = |side: &Side| side.sent.is_some_and(|sent| sent.bytes > 0);
        is_tcp && outcome.interrupted && outcome.sides.iter().any(sent)
    });
    let answered = was_taken
        || render::directions(test)
            .iter()
            .any(|(_, of)| of.bits_per_second.is_some_and(|rate| rate > 0.0));
    let holds = verdicts.iter().all(|verdict| verdict.holds);
    u8::from(!answered || !holds || test.failure.is_some())
}

/// Starts the STAMP session that runs beside the load, from where its streams leave too.
fn probe_beside(reflector: SocketAddr, client: &Client) -> Result<Beside, rping_peer::Error> {
    let stream = &client.stream;
    let options = rping_net::Options {
        source: stream.source.map(|source| SocketAddr::new(source.ip(), 0)),
        interface: stream.interface.clone(),
        ttl: stream.ttl,
        dscp: stream.dscp,
        mark: stream.mark,
        ..rping_net::Options::default()
    };
    // The server wants its key; another reflector is somebody else's.
    let key = client.key.clone().filter(|_| reflector == client.server);
    Beside::start(reflector, &options, LATENCY_EACH, key)
}

/// What kept the data from flowing, and what to do about it.
fn in_words(error: &Error, client: &Client) -> String {
    let port = client.server.port();
    match error {
        Error::Net(net) if net.is_refused() => format!(
            "nothing listens on TCP port {port} there: start rping server, or iperf3 -s, on that host"
        ),
        Error::Net(net) if net.is_timeout() => format!(
            "no answer to the connect within {:?}: filtered or down; rping tcp {} tells more",
            client.patience, client.server
        ),
        other => other.to_string(),
    }
}

/// Standard output, written in large pieces.
fn out() -> io::BufWriter<Box<dyn Write + Send>> {
    io::BufWriter::new(Box::new(io::stdout()))
}

fn conclude(ended: &Ended<'_>, show: &Show) -> io::Result<()> {
    let mut out = out();
    match show.format {
        Format::Json => render::document(&mut out, ended),
        Format::Ndjson => render::summary(&mut out, ended),
        Format::Csv => out.flush(),
        Format::PsPing { .. } => render::psping::statistics(&mut out, ended, show),
        Format::Text => {
            let style = crate::render::style(show.color, io::stdout().is_terminal());
            render::text(&mut out, style, ended, show.histogram)?;
            out.flush()
        }
    }
}

/// Tells whoever waits that the person has had enough.
#[derive(Debug, Default)]
struct Stopping {
    notify: Notify,
    is_stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stopping {
    fn stop(&self) {
        *self.is_stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
        self.notify.notify_one();
    }

    /// Sleeps that long, unless it is stopped meanwhile.
    fn sleep(&self, time: Duration) {
        let is_stopped = self.is_stopped.lock().unwrap_or_else(PoisonError::into_inner);
        // Woken early or poisoned: the test then begins, and ends, a little sooner.
        drop(
            self.changed
                .wait_timeout_while(is_stopped, time, |stopped| !*stopped),
        );
    }
}

/// Prints interval lines as they come, and keeps the intervals for the end.
struct Showing<'a> {
    name: &'a str,
    client: &'a Client,
    show: &'a Show,
    epoch: Epoch,
    /// A line on the terminal that overwrites itself, where nothing else moves there.
    progress: bool,
    intervals: Vec<Interval>,
    written: io::Result<()>,
    beside: Option<&'a Beside>,
    keeping: Option<&'a Keeping>,
    stop: &'a Stopping,
}

impl<'a> Showing<'a> {
    fn new(
        name: &'a str,
        client: &'a Client,
        show: &'a Show,
        epoch: Epoch,
        stop: &'a Stopping,
    ) -> Showing<'a> {
        let is_shown = show.format != Format::Json && !show.quiet && io::stdout().is_terminal();
        Showing {
            name,
            client,
            show,
            epoch,
            progress: !is_shown && io::stderr().is_terminal(),
            intervals: Vec::new(),
            written: Ok(()),
            beside: None,
            keeping: None,
            stop,
        }
    }

    /// Written at once or, once that has failed, not at all. Where nobody reads any more there is nobody to measure
    /// for; what a full disk does not take is shown on standard error in the end.
    fn write(&mut self, work: impl FnOnce(&mut io::BufWriter<Box<dyn Write + Send>>) -> io::Result<()>) {
        if self.written.is_ok() {
            let mut out = out();
            self.written = work(&mut out).and_then(|()| out.flush());
            let error = self.written.as_ref().err().map(io::Error::kind);
            if error == Some(io::ErrorKind::BrokenPipe) {
                self.stop.stop();
            }
        }
    }

    fn line(&mut self, line: &str) {
        let stamp = self.show.timestamps.then(|| {
            let label = crate::render::wall_clock(&self.epoch, Clock.now());
            format!("{label} ")
        });
        self.write(|out| writeln!(out, "{}{line}", stamp.unwrap_or_default()));
    }

    fn begin(&mut self) {
        match self.show.format {
            Format::PsPing { banner } => {
                let text = render::psping::connecting(self.client, self.show, banner);
                self.write(|out| out.write_all(text.as_bytes()));
            }
            Format::Text => {
                let header = escape::line(&render::header(self.name, self.client));
                self.line(&header);
            }
            Format::Csv => self.write(render::csv_header),
            Format::Json | Format::Ndjson => {}
        }
        if self.progress {
            let _ = write!(io::stderr().lock(), "\r\x1b[Kconnecting …");
        }
    }

    fn clear(&self) {
        if self.progress {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }

    fn enter(&self, phase: Phase) {
        if let Some(beside) = self.beside {
            beside.enter(phase);
        }
    }
}

impl Observer for Showing<'_> {
    fn counting(&mut self) {
        self.enter(Phase::Loaded);
        if matches!(self.show.format, Format::PsPing { .. }) {
            let text = render::psping::connected(self.client, self.show);
            self.write(|out| out.write_all(text.as_bytes()));
        }
    }

    fn ended(&mut self) {
        self.enter(Phase::Between);
    }

    fn interval(&mut self, interval: &Interval) {
        let (name, parameters) = (self.name, &self.client.parameters);
        let protocol: Protocol = parameters.protocol;
        match self.show.format {
            Format::Text if !self.show.quiet => {
                self.line(&render::interval(interval, parameters.bidirectional, protocol));
            }
            Format::Ndjson if !self.show.quiet => {
                self.write(|out| render::ndjson_line(out, name, interval, protocol));
            }
            Format::Csv if !self.show.quiet => {
                self.write(|out| render::csv_row(out, name, interval, protocol));
            }
            _ => {}
        }
        if self.progress {
            let line = render::interval(interval, true, protocol);
            // For eyes alone: where it cannot be written nobody misses it.
            let _ = write!(io::stderr().lock(), "\r\x1b[K{line}");
        }
        if let Some(keeping) = self.keeping {
            keeping.interval(interval);
        }
        if self.intervals.len() < MOST_INTERVALS {
            self.intervals.push(*interval);
        }
    }
}
