//! The program: what was typed → a job, its results → the screen, its end → an exit code.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use rping_engine::{Control, Record, RunReport, Sink, Wish};
use rping_net::Waker;

use crate::args::output::{Color, Format, OutputOptions};
use crate::args::{self, Invocation, Request};
use crate::complain::complain;
use crate::graph::{self, Graph};
use crate::job::Job;
use crate::keep::{Keep, Keeper};
use crate::pcap::Capture;
use crate::printer::{Feed, Printer};
use crate::progress::Progress;
use crate::render::{self, escape};
use crate::report::{Epoch, Instrument, Report};
use crate::run::{Hooks, Opened};
use crate::signals::Signals;
use crate::targets;

/// Targets that cannot be probed are named one by one on standard error up to this many.
const NAMED_ERRORS: usize = 20;

/// Runs the program with these arguments, the program's name first.
pub fn main(argv: impl IntoIterator<Item = OsString>) -> ExitCode {
    ExitCode::from(match args::parse(argv.into_iter()) {
        Ok(Invocation::Print(text)) => print_text(&text),
        Ok(Invocation::ManualPages(dir)) => match args::pages::write_manuals(&dir) {
            Ok(()) => 0,
            Err(usage) => complain(&usage.to_string()),
        },
        Ok(Invocation::Probe { request, output }) => probe(request, output),
        Ok(Invocation::Bandwidth(request)) => crate::bandwidth::run(request),
        Ok(Invocation::Saved(request)) => crate::show::run(request),
        Ok(Invocation::Diagnose(request)) => crate::diagnose::run(&request),
        Ok(Invocation::Trace(request)) => crate::trace::run(&request),
        Ok(Invocation::Bundle(request)) => crate::bundle::run(&request),
        Ok(Invocation::Sockets(request)) => crate::sockets::run(&request),
        Ok(Invocation::Server(server)) => crate::server::run(&server),
        Err(usage) => complain(&usage.to_string()),
    })
}

/// Runs `rping server` with these arguments, the program's name first.
pub fn daemon(argv: impl IntoIterator<Item = OsString>) -> ExitCode {
    let typed: Vec<OsString> = argv.into_iter().skip(1).collect();
    let asks_version = matches!(&typed[..], [one] if one == "--version" || one == "-V");
    let command = (!asks_version).then(|| "server".into());
    main(std::iter::once("rpingd".into()).chain(command).chain(typed))
}

fn print_text(text: &str) -> u8 {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("standard output: {error}"))
        }
        _ => 0,
    }
}

fn probe(request: Request, output: OutputOptions) -> u8 {
    // Thousands of connections at once want thousands of descriptors; where the limit cannot be raised, fewer are
    // open at once.
    let _ = rping_net::caps::raise_nofile();
    let job = match request.into_job(&targets::SystemResolver::default(), &targets::LocalNet::system()) {
        Ok(job) => job,
        Err(usage) => return complain(&usage.to_string()),
    };
    if output.graph {
        if let Some(why) = no_graph(&job) {
            return complain(why);
        }
    }
    name_errors(&job);
    if job.targets.iter().all(|target| target.error.is_some()) {
        return nothing_to_probe(job, &output);
    }
    // Armed before the first probe and before capabilities go; its thread gives its own up.
    let capture = match output.pcap.as_ref().map(|pcap| Capture::of_job(pcap, &job)) {
        None => None,
        Some(Ok(capture)) => Some(capture),
        Some(Err(why)) => return complain(&why),
    };
    let screen: Rc<RefCell<Option<Screen>>> = Rc::default();
    let waker = match Waker::new() {
        Ok(waker) => waker,
        Err(error) => return complain(&error.to_string()),
    };
    let signals = Signals::new(waker.clone());
    let mut setup = Setup {
        output: output.clone(),
        screen: Rc::clone(&screen),
        printer: None,
        keeper: None,
        signals: signals.clone(),
    };
    let mut control = Watching {
        screen: Rc::clone(&screen),
        signals,
    };
    let ran = job.run_with(Hooks {
        opened: &mut setup,
        sink: &mut Showing(Rc::clone(&screen)),
        control: &mut control,
        waker: Some(waker),
    });
    let finished = setup.printer.take().map(Printer::finish);
    let keeper = setup.keeper.take();
    let (notes, uncaptured) = capture.map(Capture::finish).unwrap_or_default();
    let code = match (ran, finished) {
        (Ok(mut report), Some((render, dropped, written))) => {
            report.instrument.warnings.extend(notes);
            let unkept = keeper.map_or_else(Vec::new, |keeper| keeper.finish(&mut report));
            let code = conclude(report, render, dropped, written, output.format);
            // Behind the summary, which is whole whatever became of the files.
            unkept.iter().fold(code, |_, line| complain(line))
        }
        (Ok(report), None) => report.exit_code(),
        (Err(error), _) => complain(&error.to_string()),
    };
    match uncaptured {
        Some(why) => complain(&why),
        None => code,
    }
}

/// Why there can be no live picture.
fn no_graph(job: &Job) -> Option<&'static str> {
    if !io::stdout().is_terminal() {
        return Some(
            "--graph draws on a terminal, and standard output is none: leave it out, or use -o ndjson",
        );
    }
    (job.targets.len() > graph::MOST_TARGETS)
        .then_some("--graph shows at most 64 targets: name fewer, or leave it out")
}

fn name_errors(job: &Job) {
    let errors = || {
        job.targets
            .iter()
            .filter_map(|target| Some((target.label(), target.error.as_deref()?)))
    };
    for (label, error) in errors().take(NAMED_ERRORS) {
        complain(&format!("{}: {}", escape::line(&label), escape::line(error)));
    }
    let more = errors().count().saturating_sub(NAMED_ERRORS);
    if more > 0 {
        complain(&format!("and {more} more targets that cannot be probed"));
    }
}

/// Machine-readable output is a whole document even when no target could be probed; for people the error says it all.
fn nothing_to_probe(job: Job, output: &OutputOptions) -> u8 {
    if matches!(output.format, Format::Text | Format::PsPing { .. }) {
        return 2;
    }
    let report = Report::of_nothing(Arc::new(job));
    let is_terminal = io::stdout().is_terminal();
    let mut render = render::renderer(
        output,
        Arc::clone(&report.job),
        Box::new(io::stdout()),
        is_terminal,
    );
    let written = render
        .begin(&report.job, &report.epoch)
        .and_then(|()| render.end(&report))
        .and_then(|()| render.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("standard output: {error}"))
        }
        _ => 2,
    }
}

fn conclude(
    mut report: Report,
    render: Option<Box<dyn render::Render + Send>>,
    dropped: u64,
    written: io::Result<()>,
    format: Format,
) -> u8 {
    if dropped > 0 {
        report.instrument.warnings.push(format!(
            "lines_dropped: {dropped} lines were left out because the output could not keep up; every probe is counted"
        ));
    }
    let written = written.and_then(|()| match render {
        Some(mut render) => render.end(&report).and_then(|()| render.flush()),
        None => Ok(()),
    });
    let code = report.exit_code();
    // Rows have no place for it.
    if format == Format::Csv {
        for verdict in report.verdicts().iter().filter(|verdict| !verdict.holds) {
            complain(&escape::line(&verdict.to_string()));
        }
    }
    if let Some(failure) = &report.failure {
        complain(&escape::line(failure));
    }
    match written {
        Ok(()) => code,
        // Nobody reads any more: a quiet end.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => code,
        Err(error) => {
            complain(&format!("standard output: {error}; the summary follows here"));
            let _ = io::stderr()
                .lock()
                .write_all(render::interim(format, &report).as_bytes());
            2
        }
    }
}

/// Between open sockets and the first probe: privileges go, the printing thread comes.
struct Setup {
    output: OutputOptions,
    screen: Rc<RefCell<Option<Screen>>>,
    printer: Option<Printer>,
    keeper: Option<Keeper>,
    signals: Signals,
}

/// What the sending loop needs to show results.
struct Screen {
    feed: Feed,
    keep: Option<Keep>,
    job: Arc<Job>,
    epoch: Epoch,
    /// Whether anybody looks at single records: in a ping-pong of which none is shown they would only take time.
    shows: bool,
    format: Format,
    /// The terminal shows a picture, which already says how it stands.
    drawn: bool,
}

impl Opened for Setup {
    fn opened(&mut self, job: &Arc<Job>, epoch: &Epoch, rate: f64) -> Result<(), String> {
        give_up_privileges(job, &self.output)
            .map_err(|error| format!("cannot give up privileges: {error}"))?;
        self.signals
            .listen()
            .map_err(|error| format!("cannot listen for signals: {error}"))?;
        let is_terminal = io::stdout().is_terminal();
        let mut render = render::renderer(&self.output, Arc::clone(job), Box::new(io::stdout()), is_terminal);
        if self.output.graph {
            graph::colored(self.output.color != Color::Never);
            render = Box::new(Graph::new(render, Arc::clone(job), self.signals.clone()));
        }
        let silent = io::stderr().is_terminal() && render::is_silent(&self.output, job);
        let progress = silent.then(|| Progress::new(job));
        // Files first: where one cannot be written nothing is sent and nothing is shown.
        let keep = match self.output.keep.is_anything() {
            true => {
                let (keeper, keep) = Keeper::start(&self.output.keep, job, *epoch, rate)?;
                self.keeper = Some(keeper);
                Some(keep)
            }
            false => None,
        };
        let is_latency = matches!(job.kind, crate::job::Kind::Latency(_));
        let shows =
            progress.is_some() || keep.is_some() || !is_latency || !render::is_silent(&self.output, job);
        let (printer, feed) = Printer::start(render, Arc::clone(job), *epoch, rate, progress)
            .map_err(|error| format!("cannot start the printing thread: {error}"))?;
        self.printer = Some(printer);
        *self.screen.borrow_mut() = Some(Screen {
            feed,
            keep,
            job: Arc::clone(job),
            epoch: *epoch,
            shows,
            format: self.output.format,
            drawn: self.output.graph,
        });
        Ok(())
    }
}

/// Every capability goes, with four exceptions: root's right to every file, where files are to be written; TCP opens a socket
/// for each probe, and marking those takes a capability each time, as does having them leave from a port of the system's;
/// and a sweep over many on-link hosts takes its own entries out of the kernel's neighbour table again.
fn give_up_privileges(job: &Job, output: &OutputOptions) -> io::Result<()> {
    use rping_net::caps::{drop_all_but, is_reserved, Cap};
    let is_sweep = job.kind != crate::job::Kind::Arp && job.targets.len() > crate::open::SCOUT_ABOVE;
    let connects = job.kind == crate::job::Kind::Tcp && !job.syn;
    let mut kept = crate::files::root_rights(output.keep.is_anything()).to_vec();
    if is_sweep || (connects && job.mark.is_some()) {
        kept.push(Cap::NetAdmin);
    }
    if connects && job.source_port.is_some_and(is_reserved) {
        kept.push(Cap::NetBindService);
    }
    drop_all_but(&kept)
}

struct Showing(Rc<RefCell<Option<Screen>>>);

impl Sink for Showing {
    fn record(&mut self, record: &Record) {
        if let Some(screen) = self.0.borrow_mut().as_mut().filter(|screen| screen.shows) {
            screen.feed.record(record);
            if let Some(keep) = &mut screen.keep {
                keep.record(record);
            }
        }
    }
}

struct Watching {
    screen: Rc<RefCell<Option<Screen>>>,
    signals: Signals,
}

impl Control for Watching {
    fn wish(&mut self) -> Wish {
        if self
            .screen
            .borrow()
            .as_ref()
            .is_some_and(|screen| screen.feed.is_broken())
        {
            return Wish::Stop;
        }
        self.signals.wish()
    }

    fn snapshot(&mut self, run: RunReport) {
        let screen = self.screen.borrow();
        let Some(Screen {
            job,
            epoch,
            format,
            drawn: false,
            ..
        }) = screen.as_ref()
        else {
            return;
        };
        let format = *format;
        let instrument = Instrument {
            pacing: "",
            waiting: None,
            warnings: Vec::new(),
        };
        let report = Report {
            job: Arc::clone(job),
            run,
            epoch: *epoch,
            instrument,
            directions: Vec::new(),
            interrupted: false,
            failure: None,
        };
        // A terminal that does not take it must not hold up the sending.
        let _ = std::thread::Builder::new()
            .name("rping-interim".into())
            .spawn(move || {
                let _ = io::stderr()
                    .lock()
                    .write_all(render::interim(format, &report).as_bytes());
            });
    }
}
