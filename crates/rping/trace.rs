//! `rping trace A B`: from two captures to what was lost between them, and the exit code.

use std::fs::File;
use std::io::{self, BufReader, IsTerminal, Write};
use std::path::Path;

use rping_evidence::capture::ReadError;
use rping_evidence::trace;

use crate::args::output::Format;
use crate::args::TraceRequest;
use crate::complain::complain;
use crate::render::{self, escape, trace as show};

/// Compares and shows. Exit code 0 where nothing was lost, 1 where something was or nothing can be compared.
pub(crate) fn run(request: &TraceRequest) -> u8 {
    let open = |path: &Path| {
        File::open(path)
            .map(|file| BufReader::with_capacity(1 << 18, file))
            .map_err(|error| {
                let why = crate::args::plain(&error);
                escape::line(&format!("{}: cannot be read: {why}", path.display()))
            })
    };
    let (a, b) = match open(&request.a).and_then(|a| Ok((a, open(&request.b)?))) {
        Ok(both) => both,
        Err(why) => return complain(&why),
    };
    // What others wrote is read without any privilege.
    if let Err(why) = crate::files::give_up_privileges(false) {
        return complain(&why);
    }
    let report = match trace::compare(a, b) {
        Ok(report) => report,
        Err((which, error)) => {
            let path = if which == 'A' { &request.a } else { &request.b };
            let why = match error {
                ReadError::Io(error) => crate::args::plain(&error),
                other => other.to_string(),
            };
            return complain(&escape::line(&format!("{}: {why}", path.display())));
        }
    };
    let document = show::Document::new(&report, &request.a, &request.b);
    let mut out: render::Out = io::BufWriter::new(Box::new(io::stdout()));
    let written = match request.format {
        Format::Json => show::json(&mut out, &document),
        Format::Ndjson => show::ndjson(&mut out, &document),
        Format::Csv => show::csv(&mut out, &document),
        Format::Text | Format::PsPing { .. } => {
            let style = render::style(request.color, io::stdout().is_terminal());
            show::text(&mut out, &document, style)
        }
    }
    .and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("standard output: {error}"))
        }
        _ => u8::from(report.a_to_b.lost + report.b_to_a.lost > 0 || !report.compares()),
    }
}
