//! The commands on saved runs: `rping show`, `merge`, `compare`, `report`.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::args::output::{Buckets, OutputOptions};
use crate::args::{plain, SavedRequest, Show};
use crate::assertion::Assertion;
use crate::compare;
use crate::complain::complain;
use crate::files::Aside;
use crate::page;
use crate::render::{self, escape};
use crate::saved::{self, Kept, ReadError, Saved, Test};

/// Does what was asked for; returns the exit code.
pub(crate) fn run(request: SavedRequest) -> u8 {
    let done = match request {
        SavedRequest::Show {
            file,
            output,
            assertions,
        } => show(&file, &output, assertions),
        SavedRequest::Merge { files, save } => merge(&files, &save),
        SavedRequest::Compare {
            before,
            after,
            fail_if_worse,
            least,
            json,
            color,
        } => compare_two(&before, &after, least, json, color)
            .map(|is_worse| u8::from(is_worse && fail_if_worse)),
        SavedRequest::Report { files, html } => report(&files, html.as_deref()),
    };
    done.unwrap_or_else(|line| complain(&line))
}

/// A path as a message names it.
fn named(path: &Path) -> String {
    escape::line(&path.to_string_lossy())
}

/// Reads files, which were written elsewhere: they are opened with the user's rights, and what stands in them is looked at
/// without any. What is missing in one is said on standard error. `writes` where a file is to be written afterwards.
fn open_all(paths: &[&Path], writes: bool) -> Result<Vec<Kept>, String> {
    let failed = |path: &Path, error: ReadError| format!("{} {error}", named(path));
    let opened: Result<Vec<_>, String> = paths
        .iter()
        .map(|path| saved::open(path).map_err(|error| failed(path, error)))
        .collect();
    let opened = opened?;
    crate::files::give_up_privileges(writes)?;
    let mut all = Vec::with_capacity(paths.len());
    for (path, file) in paths.iter().zip(opened) {
        let saved = saved::read_any(file).map_err(|error| failed(path, error))?;
        let damage = match &saved {
            Kept::Run(run) => &run.damage,
            Kept::Test(test) => &test.damage,
        };
        if let Some(words) = damage.words() {
            complain(&format!("{}: {words}", named(path)));
        }
        all.push(saved);
    }
    Ok(all)
}

/// Those that hold probes.
///
/// # Errors
/// Where one does not.
fn runs_alone(paths: &[&Path], all: Vec<Kept>) -> Result<Vec<Saved>, String> {
    let each = paths.iter().zip(all).map(|(path, kept)| match kept {
        Kept::Run(run) => Ok(*run),
        Kept::Test(_) => Err(format!("{} {}", named(path), ReadError::Throughput)),
    });
    each.collect()
}

fn as_paths(paths: &[PathBuf]) -> Vec<&Path> {
    paths.iter().map(PathBuf::as_path).collect()
}

/// What writing to standard output came to: a reader that went away is no error.
fn written(result: io::Result<()>, code: u8) -> Result<u8, String> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("standard output: {error}")),
        _ => Ok(code),
    }
}

fn show(path: &Path, output: &OutputOptions, assertions: Vec<Assertion>) -> Result<u8, String> {
    let mut saved = match open_all(&[path], output.keep.hdr.is_some())?.pop() {
        Some(Kept::Run(saved)) => *saved,
        Some(Kept::Test(test)) => return show_test(path, *test, output, assertions),
        None => return Err(format!("{} cannot be read", named(path))),
    };
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

fn show_test(
    path: &Path,
    mut test: Test,
    output: &OutputOptions,
    assertions: Vec<Assertion>,
) -> Result<u8, String> {
    if output.keep.hdr.is_some() {
        return Err(format!("--hdr: {} {}", named(path), ReadError::Throughput));
    }
    if !assertions.is_empty() {
        test.assertions = assertions;
    }
    let histogram = match &output.histogram {
        None => None,
        Some(Buckets::Equal(n)) => Some(*n),
        Some(Buckets::Bounds(_)) => {
            return Err("--histogram: rates have no bounds in ms: give a number of buckets".into())
        }
    };
    let show = Show {
        format: output.format,
        quiet: output.quiet,
        histogram,
        ..Show::default()
    };
    let verdicts = render::bandwidth::verdicts(&test);
    let mut out = BufWriter::new(Box::new(io::stdout()) as Box<dyn Write + Send>);
    let style = render::style(output.color, io::stdout().is_terminal());
    let result = render::bandwidth::show(&mut out, &test, &verdicts, &show, style);
    if let Some(failure) = &test.failure {
        complain(&format!(
            "{}: {}",
            escape::line(&test.name),
            escape::line(failure)
        ));
    }
    let code = match test.damage.bad_lines {
        0 => crate::bandwidth::exit_code(&test, &verdicts),
        _ => 2,
    };
    written(result, code)
}

fn merge(paths: &[PathBuf], to: &Path) -> Result<u8, String> {
    let all = open_all(&as_paths(paths), true)?;
    let runs = runs_alone(&as_paths(paths), all)?;
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

fn compare_two(
    before: &Path,
    after: &Path,
    least: f64,
    json: bool,
    color: crate::args::output::Color,
) -> Result<bool, String> {
    let both = open_all(&[before, after], false)?;
    let compared = match both.as_slice() {
        [Kept::Run(a), Kept::Run(b)] => compare::runs(a, b, least),
        [Kept::Test(a), Kept::Test(b)] => compare::tests_of_throughput(a, b, least),
        _ => Err(compare::CompareError::Kinds("probes", "bandwidth")),
    };
    let comparison = compared.map_err(|error| escape::line(&error.to_string()))?;
    let names = [before, after].map(|path| path.to_string_lossy().into_owned());
    let mut out = BufWriter::new(Box::new(io::stdout()) as Box<dyn Write + Send>);
    let result = if json {
        render::comparison::document(&mut out, &comparison, &names)
    } else {
        let style = render::style(color, io::stdout().is_terminal());
        render::comparison::text(&mut out, style, &comparison, &names)
    };
    written(result.and_then(|()| out.flush()), 0)?;
    Ok(comparison.verdict == compare::Verdict::Worse)
}

fn report(paths: &[PathBuf], html: Option<&Path>) -> Result<u8, String> {
    if html.is_none() && io::stdout().is_terminal() {
        return Err(
            "a page is no text for a terminal: give --html FILE.html, or send standard output to a file"
                .into(),
        );
    }
    let all = open_all(&as_paths(paths), html.is_some())?;
    let names: Vec<String> = paths
        .iter()
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    let tests: Vec<(String, &Test)> = all
        .iter()
        .zip(&names)
        .filter_map(|(kept, name)| match kept {
            Kept::Test(test) => Some((name.clone(), &**test)),
            Kept::Run(_) => None,
        })
        .collect();
    let runs: Vec<_> = all
        .iter()
        .zip(&names)
        .filter_map(|(kept, name)| match kept {
            Kept::Run(saved) => Some(page::Run::saved(saved, name.clone())),
            Kept::Test(_) => None,
        })
        .collect();
    let page = match (tests.is_empty(), runs.is_empty()) {
        (true, _) => page::html(&runs),
        (false, true) => page::throughput::html(&tests),
        _ => {
            return Err("throughput and round trips have no axis in common: make a page of each".into());
        }
    };
    match html {
        Some(path) => {
            let aside = Aside::create(path);
            aside
                .and_then(|aside| page::settle(aside, &page))
                .map_err(|error| format!("--html {}: cannot be written: {}", named(path), plain(&error)))?;
            Ok(0)
        }
        None => {
            let mut out = io::stdout().lock();
            written(out.write_all(page.as_bytes()).and_then(|()| out.flush()), 0)
        }
    }
}
