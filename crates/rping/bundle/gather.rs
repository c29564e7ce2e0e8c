//! What goes into a bundle, in its order.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{channel, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rping_bundle::capture::Others;
use rping_bundle::collect::KernelLog;
use rping_bundle::{collect, counters, Bundle, Content};
use rping_diagnose::{Diagnosis, Host as Whom, Question, Stop, Walk};
use rping_engine::Wish;
use rping_evidence::capture::{Carries, Recorder, Selection, Settings};
use rping_evidence::sockets;
use rping_net::{Clock, Waker};

use super::watch::{self, Watched};
use crate::args::Make;
use crate::render::{self, diagnosis as render_diagnosis, sockets as render_sockets};
use crate::report::Epoch;
use crate::signals::Signals;
use crate::targets::{Resolver, SystemResolver, PATIENCE};

/// How often a signal is looked for while something else is waited for.
const LOOK: Duration = Duration::from_millis(50);
/// How long a diagnosis may take to say what it knows after a signal.
const ENDING: Duration = Duration::from_secs(2);
/// The most that one capture takes.
const CAPTURE: u64 = 32 << 20;

/// What was found out on the way.
pub(crate) struct Gathered {
    /// The diagnosis, where there is a target and nobody interrupted it.
    pub(crate) diagnosis: Option<Diagnosis>,
    /// The first probe that failed, in words.
    pub(crate) failure: Option<String>,
    /// A signal ended it early.
    pub(crate) interrupted: bool,
    /// There is a target, and a signal came before its diagnosis was finished.
    pub(crate) inconclusive: bool,
    /// The addresses of the target.
    pub(crate) addresses: Vec<IpAddr>,
}

impl Gathered {
    /// 0 no fault was found, 1 one was named, a probe failed, or it is not known.
    pub(crate) fn exit_code(&self) -> u8 {
        let found = self.diagnosis.as_ref().map_or(0, Diagnosis::exit_code);
        found.max(u8::from(self.failure.is_some() || self.inconclusive))
    }
}

/// Gathers everything.
///
/// # Errors
/// In one line, what keeps it from being begun at all: probes that this user may not send.
pub(super) fn gather(
    bundle: &mut Bundle,
    request: &Make,
    question: Option<&Question>,
    signals: &Signals,
    waker: &Waker,
    log: KernelLog,
) -> Result<Gathered, String> {
    let mut gathered = Gathered {
        diagnosis: None,
        failure: None,
        interrupted: false,
        inconclusive: false,
        addresses: Vec::new(),
    };
    let mut diagnoses = true;
    let mut progress = Progress::new(request);
    let addresses = match question {
        Some(question) => {
            progress.step("looking the target up");
            addresses(question, signals)
        }
        None => Vec::new(),
    };
    gathered.addresses = addresses.iter().map(SocketAddr::ip).collect();
    if let (Some(target), Some(watch)) = (&request.target, &request.watch) {
        progress.say(&format!(
            "probing {} until a probe fails; an interrupt ends it",
            target.target.text()
        ));
        match watch::watch(bundle, target, watch, &addresses, signals, waker)? {
            Watched::Failed(words) => gathered.failure = Some(words),
            // There is nothing to be diagnosed.
            Watched::Ended => diagnoses = false,
        }
    }
    progress.step("counters");
    let before = counters::read();
    add_counters(bundle, "counters-before.txt", &before);
    progress.step("the state of this host");
    collect::state(bundle);
    let others = look_at_sockets(bundle);
    if let Some(question) = question.filter(|_| diagnoses) {
        collect::moving(bundle, "-before");
        progress.step("diagnosing, up to 10 s");
        diagnose(bundle, question, &addresses, others, signals, &mut gathered);
    }
    collect::moving(bundle, "");
    log.read(bundle);
    let after = counters::read();
    add_counters(bundle, "counters-after.txt", &after);
    bundle.add(
        "counters-difference.txt",
        "the difference of counters-before.txt and counters-after.txt",
        Content::Table,
        counters::difference_text(&counters::difference(&before, &after)).into_bytes(),
    );
    gathered.interrupted = signals.wish() == Wish::Stop;
    if gathered.interrupted {
        bundle.note("a signal ended it: what was not there yet is left out");
    }
    let verdict = verdict(bundle, &gathered, question);
    bundle.add("verdict.txt", "rping diagnose", Content::Words, verdict);
    progress.clear();
    Ok(gathered)
}

fn add_counters(bundle: &mut Bundle, name: &str, read: &counters::Counters) {
    bundle.note(format!("{name} was read"));
    bundle.add(
        name,
        counters::SOURCE,
        Content::Table,
        counters::text(read).into_bytes(),
    );
}

/// Does `work` on a thread of its own; `None` where a signal came first, or where it died. With a `stop` a signal ends the
/// work, which then still says what it knows.
fn unless_interrupted<T: Send + 'static>(
    signals: &Signals,
    stop: Option<&Stop>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, outcome) = channel();
    std::thread::Builder::new()
        .name("rping-gather".into())
        .spawn(move || {
            // Nobody waits any more after a signal.
            let _ = done.send(work());
        })
        .ok()?;
    loop {
        match outcome.recv_timeout(LOOK) {
            Ok(outcome) => return Some(outcome),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) if signals.wish() == Wish::Stop => {
                stop?.now();
                return outcome.recv_timeout(ENDING).ok();
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// All addresses of the target, for the capture.
fn addresses(question: &Question, signals: &Signals) -> Vec<SocketAddr> {
    match &question.host {
        Whom::Address(address) => vec![*address],
        Whom::Name(name) => {
            let name = name.clone();
            let answer = unless_interrupted(signals, None, move || {
                SystemResolver::default()
                    .resolve(std::slice::from_ref(&name), PATIENCE)
                    .pop()
            });
            let found = answer.flatten().and_then(Result::ok).unwrap_or_default();
            let is_wanted = |address: &SocketAddr| question.v6.is_none_or(|v6| v6 == address.is_ipv6());
            found.into_iter().filter(is_wanted).collect()
        }
    }
}

/// Shows every socket; the conversations that go on already.
fn look_at_sockets(bundle: &mut Bundle) -> Others {
    const SOURCE: &str = "netlink sock_diag, /proc/PID/fd (as `ss -tuanp` shows it)";
    let began = Clock.now();
    let epoch = Epoch {
        started: began,
        started_unix_ns: Clock.wall_nanos(began),
    };
    let listing = match sockets::list(&sockets::Filter::default()) {
        Ok(listing) => listing,
        Err(error) => {
            bundle.unread("sockets.txt", SOURCE, &crate::args::plain(&error), "");
            return Others::default();
        }
    };
    if listing.unseen_processes > 0 {
        bundle.unread(
            &format!(
                "the sockets of {} processes of other users",
                listing.unseen_processes
            ),
            "/proc/PID/fd",
            "Permission denied",
            "root",
        );
    }
    let found: Vec<_> = listing.entries.iter().map(|entry| entry.socket.clone()).collect();
    bundle.add(
        "ports.txt",
        "/proc/sys/net/ipv4/ip_local_port_range, netlink sock_diag",
        Content::Table,
        collect::ports(&found).into_bytes(),
    );
    let document = render_sockets::Document::new(&listing, None, &epoch, listing.entries.len());
    let text = rendered(|out| render_sockets::text(out, &document, render::styled(false)));
    bundle.add("sockets.txt", SOURCE, Content::Table, text);
    let json = rendered(|out| render_sockets::json(out, &document));
    bundle.add("sockets.json", SOURCE, Content::Json, json);
    Others::of(&found)
}

/// What a renderer writes, in memory.
pub(super) fn rendered(write: impl FnOnce(&mut render::Out) -> io::Result<()>) -> Vec<u8> {
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);
    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Ok(mut all) = self.0.lock() {
                all.extend_from_slice(bytes);
            }
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let shared = Shared::default();
    let mut out: render::Out = BufWriter::new(Box::new(shared.clone()));
    // Memory takes everything.
    let _ = write(&mut out).and_then(|()| out.flush());
    drop(out);
    let all = shared.0.lock().map(|mut all| std::mem::take(&mut *all));
    all.unwrap_or_default()
}

fn diagnose(
    bundle: &mut Bundle,
    question: &Question,
    addresses: &[SocketAddr],
    others: Others,
    signals: &Signals,
    gathered: &mut Gathered,
) {
    let comment = format!("rping bundle {}: the diagnosis", question.text);
    let capture = {
        // Whatever the diagnosis asks of the target, on any port.
        let any_port = addresses.iter().map(|address| SocketAddr::new(address.ip(), 0));
        let selection = Selection::new(Carries::Anything, any_port);
        record(bundle, "capture.pcapng", selection, comment, others, false)
    };
    bundle.note(format!("the diagnosis of {} begins", question.text));
    let started = Clock.now();
    let epoch = Epoch {
        started,
        started_unix_ns: Clock.wall_nanos(started),
    };
    let walk = Walk::begin(question);
    let stop = walk.stop();
    let diagnosis = unless_interrupted(signals, Some(&stop), move || walk.end());
    let took = Clock.now().since(started);
    if let Some(capture) = capture {
        capture.finish(bundle);
    }
    match diagnosis {
        Some(diagnosis) => {
            bundle.note(format!(
                "the diagnosis ended: {}",
                diagnosis
                    .verdict
                    .layer
                    .map_or("no fault found", |layer| layer.as_str())
            ));
            let document = rendered(|out| render_diagnosis::document(out, &diagnosis, &epoch, took));
            bundle.add(
                "diagnosis.json",
                "rping diagnose -o json",
                Content::Json,
                document,
            );
            let ladder =
                rendered(|out| render_diagnosis::text(out, render::styled(false), &diagnosis, false, took));
            bundle.add("diagnosis.txt", "rping diagnose", Content::Words, ladder);
            gathered.diagnosis = Some(diagnosis);
        }
        None => {
            let why = match signals.wish() {
                Wish::Stop => "a signal came before the diagnosis was finished",
                _ => "the diagnosis ended unexpectedly",
            };
            gathered.inconclusive = true;
            bundle.note(why);
            bundle.unread("diagnosis.json", "rping diagnose", why, "");
        }
    }
}

/// A capture that goes into the bundle.
pub(super) struct Recording {
    recorder: Recorder<Vec<u8>>,
    name: &'static str,
    comment: String,
    others: Others,
}

const CAPTURE_SOURCE: &str = "packet socket (as `rping --pcap` writes it)";

/// Starts to record; conversations of before are taken out at the end; the reason goes into the bundle where it cannot.
pub(super) fn record(
    bundle: &mut Bundle,
    name: &'static str,
    selection: Selection,
    comment: String,
    others: Others,
    ring: bool,
) -> Option<Recording> {
    if selection == Selection::new(Carries::Anything, []) {
        bundle.unread(name, CAPTURE_SOURCE, "the target has no address", "");
        return None;
    }
    // As for --pcap: the filter cannot tell whose packets they are.
    if rping_net::caps::real_user() != 0 {
        bundle.unread(
            name,
            CAPTURE_SOURCE,
            "other users' packets to the same place would be seen",
            "root",
        );
        return None;
    }
    let comment = render::escape::line(&comment);
    let settings = Settings {
        selection,
        out: Vec::new(),
        program: format!("rping {}", env!("CARGO_PKG_VERSION")),
        comment: comment.clone(),
        limit: CAPTURE.min(bundle.room() / 4).max(4 << 10),
        ring,
    };
    match Recorder::start(settings) {
        Ok(recorder) => {
            bundle.note(format!("{name} is armed"));
            Some(Recording {
                recorder,
                name,
                comment,
                others,
            })
        }
        Err(error) => {
            bundle.unread(name, CAPTURE_SOURCE, &error.to_string(), "CAP_NET_RAW or root");
            None
        }
    }
}

impl Recording {
    /// Ends it and puts it into the bundle.
    pub(super) fn finish(self, bundle: &mut Bundle) {
        let (recorded, bytes) = self.recorder.finish();
        bundle.note(format!(
            "{} ended: {} packets, {} left out for want of room, {} dropped by the kernel",
            self.name, recorded.packets, recorded.left_out, recorded.dropped
        ));
        if let Some(error) = recorded.failure {
            bundle.unread(self.name, CAPTURE_SOURCE, &crate::args::plain(&error), "");
        }
        if let Some(bytes) = bytes {
            let (bytes, out) = self.others.taken_out(bytes, &self.comment);
            if out > 0 {
                bundle.note(format!(
                    "{out} packets of other programs' connections were taken out of {}",
                    self.name
                ));
            }
            bundle.add(self.name, CAPTURE_SOURCE, Content::Capture, bytes);
        }
    }
}

/// The first file: what a person has to know, in the order of what matters.
fn verdict(bundle: &Bundle, gathered: &Gathered, question: Option<&Question>) -> Vec<u8> {
    let mut text = String::new();
    match (&gathered.diagnosis, question) {
        (Some(diagnosis), _) => {
            let line = rendered(|out| {
                render_diagnosis::text(out, render::styled(false), diagnosis, true, Duration::ZERO)
            });
            text.push_str(&String::from_utf8_lossy(&line));
            if !diagnosis.verdict.next.is_empty() {
                text.push_str(&format!(
                    "Next: {}\n",
                    render::escape::line(&diagnosis.verdict.next)
                ));
            }
        }
        (None, Some(_)) if gathered.inconclusive => {
            text.push_str("VERDICT none: a signal came before there was one.\n");
        }
        (None, Some(_)) => text.push_str("VERDICT none: no probe failed, and nothing was diagnosed.\n"),
        (None, None) => {
            text.push_str("VERDICT none: no target was named; this is the state of the host.\n");
        }
    }
    if let Some(failure) = &gathered.failure {
        text.push_str(&format!("Failed probe: {}\n", render::escape::line(failure)));
        text.push_str("The verdict is of after that: what came and went again is in ring.pcapng and the files beside it.\n");
    }
    text.push('\n');
    if let Some(question) = question {
        text.push_str(&format!("target   {}\n", render::escape::line(&question.text)));
    }
    text.push_str(&format!(
        "host     {}\n",
        render::escape::line(&collect::host_name())
    ));
    text.push_str(&format!("begun    {}\n", bundle.label(bundle.started())));
    text.push_str(&format!("ended    {}\n", bundle.label(Clock.now())));
    text.push_str(&format!("program  rping {}\n", env!("CARGO_PKG_VERSION")));
    if !bundle.missing().is_empty() {
        text.push_str("\nNot read:\n");
        for unread in bundle.missing() {
            let right = match unread.right.as_str() {
                "" => String::new(),
                right => format!(" (it takes {right})"),
            };
            text.push_str(&format!("  {}: {}{right}\n", unread.what, unread.why));
        }
    }
    if let Some(ladder) = bundle.file("diagnosis.txt") {
        text.push('\n');
        text.push_str(&String::from_utf8_lossy(&ladder.bytes));
    }
    text.into_bytes()
}

/// What is done now, on a terminal.
struct Progress {
    shows: bool,
    says: bool,
}

impl Progress {
    fn new(request: &Make) -> Progress {
        let shows = io::stderr().is_terminal() && !request.quiet;
        Progress {
            shows,
            says: !request.quiet,
        }
    }

    fn step(&mut self, what: &str) {
        if self.shows {
            // Nobody looking at standard error is no reason to stop.
            let _ = write!(io::stderr().lock(), "\rbundle: {what}\x1b[K");
        }
    }

    /// A line that stays.
    fn say(&mut self, what: &str) {
        if self.says {
            self.clear();
            let _ = writeln!(io::stderr().lock(), "bundle: {}", render::escape::line(what));
        }
    }

    fn clear(&mut self) {
        if self.shows {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}
