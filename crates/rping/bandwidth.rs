//! `rping bandwidth`: from what was typed to the exit code.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use rping_net::Clock;
use rping_peer::iperf::{Client, Error, Interval, Observer, Outcome, Protocol};
use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::sync::Notify;

use crate::args::{BandwidthRequest, Show};
use crate::cli::complain;
use crate::render::bandwidth::{self as render, Ended};
use crate::render::{escape, styled};
use crate::report::Epoch;
use crate::targets::{LocalNet, SystemResolver};

/// Runs the test and shows it.
pub(crate) fn run(request: BandwidthRequest) -> u8 {
    let (show, assertions) = (request.show.clone(), request.assertions.clone());
    let (name, client) = match request.into_client(&SystemResolver::default(), &LocalNet::system()) {
        Ok(found) => found,
        Err(usage) => return complain(&usage.to_string()),
    };
    // Marking a connection takes a capability each time.
    if client.stream.mark.is_none() {
        if let Err(error) = rping_net::caps::drop_all() {
            return complain(&format!("cannot give up privileges: {error}"));
        }
    }
    let stop = Arc::new(Notify::new());
    if let Err(error) = listen(&stop) {
        return complain(&format!("cannot listen for signals: {error}"));
    }
    let started = Clock.now();
    let epoch = Epoch {
        started,
        started_unix_ns: Clock.wall_nanos(started),
    };
    let mut showing = Showing::new(&name, &client, &show);
    let ran = client.run(&mut showing, &stop);
    if showing.progress {
        let _ = write!(io::stderr().lock(), "\r\x1b[K");
    }
    let (outcome, failure) = match &ran {
        Ok(outcome) => (Some(outcome), outcome.failure.clone()),
        Err(error) => (None, Some(in_words(error, &client))),
    };
    let directions: Vec<_> = outcome
        .iter()
        .flat_map(|outcome| &outcome.sides)
        .map(|side| {
            let word = if side.is_forward { "forward" } else { "reverse" };
            (word, render::throughput(side, client.parameters.protocol))
        })
        .collect();
    let verdicts: Vec<_> = assertions
        .iter()
        .map(|assertion| assertion.judge_throughput(&directions))
        .collect();
    let warnings = warnings(outcome, &client);
    let ended = Ended {
        name: &name,
        client: &client,
        epoch,
        duration: Clock.now().since(started),
        outcome,
        intervals: &showing.intervals,
        verdicts: &verdicts,
        failure: failure.as_deref(),
        warnings: &warnings,
    };
    let written = conclude(&ended, &show, showing.written);
    if let Some(failure) = &failure {
        complain(&format!("{}: {}", escape::line(&name), escape::line(failure)));
    }
    let answered = directions
        .iter()
        .any(|(_, of)| of.bits_per_second.is_some_and(|rate| rate > 0.0));
    let holds = verdicts.iter().all(|verdict| verdict.holds);
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("standard output: {error}; the summary follows here"));
            // The last resort: what fails here has nobody to be told to.
            let _ = render::text(&mut io::stderr().lock(), styled(false), &ended, None);
            2
        }
        _ => u8::from(!answered || !holds || failure.is_some()),
    }
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

fn conclude(ended: &Ended<'_>, show: &Show, before: io::Result<()>) -> io::Result<()> {
    before?;
    let mut out = io::BufWriter::new(Box::new(io::stdout()) as Box<dyn Write + Send>);
    if show.json {
        return render::document(&mut out, ended);
    }
    let style = crate::render::style(show.color, io::stdout().is_terminal());
    render::text(&mut out, style, ended, show.histogram)?;
    out.flush()
}

/// When not to trust the result.
fn warnings(outcome: Option<&Outcome>, client: &Client) -> Vec<String> {
    let mut all = Vec::new();
    let Some(outcome) = outcome else { return all };
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let busy = outcome.cpu_local[0] / 100.0;
    let streams = client.parameters.streams() as f64;
    if busy >= 0.95 * cores.min(streams) {
        all.push(format!(
            "cpu: this host's processors were busy ({:.0}% of {cores:.0}): the figure may be theirs, not the network's",
            outcome.cpu_local[0]
        ));
    }
    if outcome.interrupted {
        all.push("interrupted: ended before its time".to_owned());
    }
    all
}

/// Ctrl-C and SIGTERM end the test with its summary; a second one ends the program.
fn listen(stop: &Arc<Notify>) -> io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    let stop = Arc::clone(stop);
    std::thread::Builder::new()
        .name("rping-signals".into())
        .spawn(move || {
            for (times, signal) in signals.forever().enumerate() {
                if times > 0 {
                    let _ = signal_hook::low_level::emulate_default_handler(signal);
                }
                stop.notify_one();
            }
        })?;
    Ok(())
}

/// Prints interval lines as they come, and keeps the intervals for the end.
struct Showing<'a> {
    name: &'a str,
    client: &'a Client,
    lines: bool,
    header: bool,
    /// A line on the terminal that overwrites itself, where nothing else moves.
    progress: bool,
    intervals: Vec<Interval>,
    written: io::Result<()>,
}

impl<'a> Showing<'a> {
    fn new(name: &'a str, client: &'a Client, show: &Show) -> Showing<'a> {
        Showing {
            name,
            client,
            lines: !show.json && !show.quiet,
            header: !show.json,
            progress: (show.json || show.quiet) && io::stderr().is_terminal(),
            intervals: Vec::new(),
            written: Ok(()),
        }
    }

    fn line(&mut self, line: &str) {
        if self.written.is_ok() {
            let mut out = io::stdout().lock();
            self.written = writeln!(out, "{line}").and_then(|()| out.flush());
        }
    }
}

/// The most intervals that are kept: a day of seconds in both directions.
const KEPT: usize = 2 * 86_400;

impl Observer for Showing<'_> {
    fn started(&mut self) {
        if self.header {
            self.line(&escape::line(&render::header(self.name, self.client)));
        }
    }

    fn interval(&mut self, interval: &Interval) {
        if self.lines {
            let parameters = &self.client.parameters;
            let protocol: Protocol = parameters.protocol;
            self.line(&render::interval(interval, parameters.bidirectional, protocol));
        }
        if self.progress {
            let line = render::interval(interval, true, self.client.parameters.protocol);
            // For eyes alone: where it cannot be written nobody misses it.
            let _ = write!(io::stderr().lock(), "\r\x1b[K{line}");
        }
        if self.intervals.len() < KEPT {
            self.intervals.push(*interval);
        }
    }
}
