//! `rping bundle`: gathers, writes the archive, says where it is; `rping bundle diff`: what changed between two.
//!
//! Order of events: the file is opened before anything is done, so that what cannot be written is said at once; then
//! privileges go, but for the two that reading and probing take; then the wait for a failure, if asked for; counters, the
//! host's state, the diagnosis with a capture around it, counters again. A signal leaves out what is not there yet.

mod gather;
mod watch;

pub(crate) use gather::Gathered;

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rping_bundle::collect::KernelLog;
use rping_bundle::redact::Redactor;
use rping_bundle::{collect, diff, About, Archive, Bundle, ReadError};
use rping_engine::Wish;
use rping_net::caps::{drop_all_but, Cap};
use rping_net::{Clock, Waker};

use crate::args::{BundleRequest, Make};
use crate::complain::complain;
use crate::files::Fresh;
use crate::render::{self, bundle as show, escape};
use crate::signals::Signals;
use crate::targets::LocalNet;

/// How long redaction goes on after a signal.
const ENDING: Duration = Duration::from_secs(2);

/// Makes a bundle, or compares two.
pub(crate) fn run(request: &BundleRequest) -> u8 {
    match request {
        BundleRequest::Make(make) => self::make(make),
        BundleRequest::Diff { a, b, json, color } => {
            let (before, after) = match read(a).and_then(|before| Ok((before, read(b)?))) {
                Ok(both) => both,
                Err(why) => return complain(&why),
            };
            let document = show::Compared::new(a, &before, b, &after, diff::compare(&before, &after));
            let mut out: render::Out = BufWriter::new(Box::new(io::stdout()));
            let written = match json {
                true => show::compared_json(&mut out, &document),
                false => {
                    let style = render::style(*color, io::stdout().is_terminal());
                    show::compared_text(&mut out, style, &document)
                }
            };
            finish(written.and_then(|()| out.flush()), 0)
        }
    }
}

fn finish(written: io::Result<()>, code: u8) -> u8 {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("standard output: {error}"))
        }
        _ => code,
    }
}

fn read(path: &Path) -> Result<Archive, String> {
    let said = |why: String| escape::line(&format!("{}: {why}", path.display()));
    let file =
        File::open(path).map_err(|error| said(format!("cannot be read: {}", crate::args::plain(&error))))?;
    Archive::read(BufReader::with_capacity(1 << 18, file)).map_err(|error| match error {
        ReadError::Io(error) => said(format!("cannot be read: {}", crate::args::plain(&error))),
        other => said(other.to_string()),
    })
}

fn make(request: &Make) -> u8 {
    let local = LocalNet::system();
    let question = match request
        .target
        .as_ref()
        .map(|target| target.question(&local))
        .transpose()
    {
        Ok(question) => question,
        Err(usage) => return complain(&usage.to_string()),
    };
    let redactor = match request.redact.then(|| redactor(request)).transpose() {
        Ok(redactor) => redactor,
        Err(error) => return complain(&format!("--redact: no random key: {error}")),
    };
    let path = request
        .save
        .clone()
        .unwrap_or_else(|| default_name(redactor.as_ref()));
    let unwritable = |error: &io::Error| {
        let why = crate::args::plain(error);
        escape::line(&format!("{}: cannot be written: {why}", path.display()))
    };
    let fresh = match Fresh::create(&path) {
        Ok(fresh) => fresh,
        Err(error) => return complain(&unwritable(&error)),
    };
    // Its right goes with the others.
    let log = KernelLog::open();
    // Sockets are opened all along: packet and raw ones need the first, the filter's rules the second.
    if let Err(error) = drop_all_but(&[Cap::NetRaw, Cap::NetAdmin]) {
        return complain(&format!("cannot give up privileges: {error}"));
    }
    let waker = match Waker::new() {
        Ok(waker) => waker,
        Err(error) => return complain(&error.to_string()),
    };
    let signals = Signals::new(waker.clone());
    if let Err(error) = signals.listen() {
        return complain(&format!("cannot listen for signals: {error}"));
    }
    let mut bundle = Bundle::new(About {
        target: request
            .target
            .as_ref()
            .map(|target| target.target.text().to_owned()),
        host: collect::host_name(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        limit: request.limit,
    });
    bundle.note("begun; every capability but CAP_NET_RAW and CAP_NET_ADMIN was given up");
    let gathered = match gather::gather(&mut bundle, request, question.as_ref(), &signals, &waker, log) {
        Ok(gathered) => gathered,
        Err(why) => return complain(&escape::line(&why)),
    };
    write(request, bundle, redactor, fresh, &path, &gathered, &signals)
}

/// Writes the archive and says where it is.
fn write(
    request: &Make,
    bundle: Bundle,
    redactor: Option<Redactor>,
    mut fresh: Fresh,
    path: &Path,
    gathered: &Gathered,
    signals: &Signals,
) -> u8 {
    let redactor = redactor.map(|mut redactor| {
        redactor.learn_host();
        gathered
            .addresses
            .iter()
            .for_each(|address| redactor.learn_address(*address));
        redactor
    });
    let noticed = OnceCell::new();
    let stop = || {
        let ending = || Clock.now().since(*noticed.get_or_init(|| Clock.now())) > ENDING;
        signals.wish() == Wish::Stop && ending()
    };
    let out = fresh.file().try_clone();
    let packed = out.and_then(|out| {
        let out = BufWriter::with_capacity(1 << 18, out);
        let (packed, _) = bundle.pack_until(out, redactor.as_ref(), &stop)?;
        let length = fresh.file().metadata()?.len();
        fresh.settle()?;
        Ok((packed, length))
    });
    let (packed, length) = match packed {
        Ok(packed) => packed,
        Err(error) => {
            let why = crate::args::plain(&error);
            let code = complain(&escape::line(&format!(
                "{}: cannot be written: {why}",
                path.display()
            )));
            // What was found out is not lost with the file. A closed standard error leaves nobody to tell.
            let said = gather::rendered(|out| show::verdict(out, render::styled(false), gathered));
            let _ = io::stderr().lock().write_all(&said);
            return code;
        }
    };
    let made = show::Made {
        path,
        length,
        packed: &packed,
        redacted: redactor.is_some(),
        gathered,
    };
    let mut out: render::Out = BufWriter::new(Box::new(io::stdout()));
    let written = match (request.json, request.quiet) {
        (true, _) => show::made_json(&mut out, &made),
        (false, true) => writeln!(out, "{}", escape::Escaped(&path.to_string_lossy())),
        (false, false) => {
            let style = render::style(request.color, io::stdout().is_terminal());
            show::made_text(&mut out, style, &made)
        }
    };
    finish(written.and_then(|()| out.flush()), gathered.exit_code())
}

fn redactor(request: &Make) -> io::Result<Redactor> {
    let mut redactor = Redactor::random()?;
    redactor.learn(&collect::host_name());
    if let Some(target) = &request.target {
        redactor.learn(target.target.host_text());
        if let Some(peer) = &target.peer {
            redactor.learn(peer.server.host_text());
        }
    }
    Ok(redactor)
}

/// `rping-bundle-HOST-TIME.tar.gz`, here.
fn default_name(redactor: Option<&Redactor>) -> PathBuf {
    let host = collect::host_name();
    let host = redactor.map_or_else(|| host.clone(), |redactor| redactor.name(&host));
    let plain: String = host
        .chars()
        .filter(|letter| letter.is_ascii_alphanumeric() || "-._".contains(*letter))
        .take(64)
        .collect();
    let now = Clock.wall(Clock.now());
    let time: String = humantime::format_rfc3339_seconds(now)
        .to_string()
        .chars()
        .filter(|letter| !"-:".contains(*letter))
        .collect();
    PathBuf::from(format!(
        "rping-bundle-{}-{time}.tar.gz",
        plain.trim_start_matches(['-', '.'])
    ))
}
