//! The commands on saved runs: `rping show`, `rping merge`.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::args::output::OutputOptions;
use crate::args::{plain, SavedRequest};
use crate::assertion::Assertion;
use crate::cli::complain;
use crate::files::Aside;
use crate::render::{self, escape};
use crate::saved::{self, Saved};

/// Does what was asked for; returns the exit code.
pub(crate) fn run(request: SavedRequest) -> u8 {
    let done = match request {
        SavedRequest::Show {
            file,
            output,
            assertions,
        } => show(&file, &output, assertions),
        SavedRequest::Merge { files, save } => merge(&files, &save),
    };
    done.unwrap_or_else(|line| complain(&line))
}

/// A path as a message names it.
fn named(path: &Path) -> String {
    escape::line(&path.to_string_lossy())
}

/// Reads a file; what is missing in it is said on standard error.
fn open(path: &Path) -> Result<Saved, String> {
    let saved = saved::open(path).map_err(|error| format!("{} {error}", named(path)))?;
    if let Some(words) = saved.damage.words() {
        complain(&format!("{}: {words}", named(path)));
    }
    Ok(saved)
}

fn open_all(paths: &[PathBuf]) -> Result<Vec<Saved>, String> {
    paths.iter().map(|path| open(path)).collect()
}

/// What writing to standard output came to: a reader that went away is no error.
fn written(result: io::Result<()>, code: u8) -> Result<u8, String> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("standard output: {error}")),
        _ => Ok(code),
    }
}

fn show(path: &Path, output: &OutputOptions, assertions: Vec<Assertion>) -> Result<u8, String> {
    let mut saved = open(path)?;
    if !assertions.is_empty() {
        Arc::make_mut(&mut saved.report.job).assertions = assertions;
    }
    let report = &saved.report;
    let result = render::show(&saved, output, Box::new(io::stdout()), io::stdout().is_terminal());
    if let Some(to) = &output.keep.hdr {
        Aside::create(to)
            .and_then(|aside| crate::hdr::distribution(aside, report))
            .map_err(|error| format!("--hdr {}: cannot be written: {}", named(to), plain(&error)))?;
    }
    // A line that is damaged makes every figure doubtful; a run that was killed is only shorter.
    let code = if saved.damage.bad_lines > 0 {
        2
    } else {
        report.exit_code()
    };
    written(result, code)
}

fn merge(paths: &[PathBuf], to: &Path) -> Result<u8, String> {
    let runs = open_all(paths)?;
    let names = paths.iter().map(|path| path.to_string_lossy().into_owned());
    let merged = saved::merge(names.zip(runs).collect()).map_err(|error| escape::line(&error.to_string()))?;
    let mut line: Vec<String> = vec!["rping".into(), "merge".into()];
    line.extend(paths.iter().map(|path| path.to_string_lossy().into_owned()));
    merged
        .write(to, &line)
        .map_err(|error| format!("--save {}: cannot be written: {}", named(to), plain(&error)))?;
    let received: u64 = merged
        .report
        .run
        .targets
        .iter()
        .map(|target| target.counts.received)
        .fold(0, u64::saturating_add);
    let mut out = io::stdout().lock();
    let said = writeln!(
        out,
        "{}: {} runs, {} targets, {received} replies",
        named(to),
        paths.len(),
        merged.report.job.targets.len()
    );
    written(said.and_then(|()| out.flush()), 0)
}
