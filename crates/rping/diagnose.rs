//! `rping diagnose`: from what was typed to the exit code.

use std::io::{self, IsTerminal, Write};

use rping_net::caps::{drop_all_but, Cap};
use rping_net::Clock;

use crate::args::DiagnoseRequest;
use crate::complain::complain;
use crate::render::{diagnosis as render, style};
use crate::report::Epoch;
use crate::signals::end_by;
use crate::targets::LocalNet;

/// Diagnoses, shows it, and returns the exit code.
pub(crate) fn run(request: &DiagnoseRequest) -> u8 {
    let question = match request.question(&LocalNet::system()) {
        Ok(question) => question,
        Err(usage) => return complain(&usage.to_string()),
    };
    // Sockets are opened all along: packet and raw ones need the first, the filter's rules the second.
    if let Err(error) = drop_all_but(&[Cap::NetRaw, Cap::NetAdmin]) {
        return complain(&format!("cannot give up privileges: {error}"));
    }
    let started = Clock.now();
    let epoch = Epoch {
        started,
        started_unix_ns: Clock.wall_nanos(started),
    };
    let walk = rping_diagnose::Walk::begin(&question);
    let stop = walk.stop();
    if let Err(error) = end_by(move || stop.now()) {
        return complain(&format!("cannot listen for signals: {error}"));
    }
    let diagnosis = walk.end();
    let took = Clock.now().since(started);
    let mut out = io::BufWriter::new(Box::new(io::stdout()) as Box<dyn Write + Send>);
    let written = if request.json {
        render::document(&mut out, &diagnosis, &epoch, took)
    } else {
        let style = style(request.color, io::stdout().is_terminal());
        render::text(&mut out, style, &diagnosis, request.quiet, took)
    };
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("standard output: {error}"))
        }
        _ => diagnosis.exit_code(),
    }
}
