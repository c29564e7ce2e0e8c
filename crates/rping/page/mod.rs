//! A page for people: one file with its style and pictures inside, without scripts, that asks no network for anything. It opens
//! out of a mail as it opens out of a directory, light or dark as its reader has it, on a wide screen or a telephone.
//!
//! Everything that came from outside goes through [`text`].

mod chart;
mod pictures;
mod tables;
#[cfg(test)]
mod tests;
pub(crate) mod throughput;
mod ways;

use std::fmt::Write as _;
use std::io::{self, Write as _};

use rping_engine::TargetReport;
use rping_stats::Sparse;

use crate::files::Aside;
use crate::job::Target;
use crate::render::escape::Escaped;
use crate::render::units::counted;
use crate::report::Report;
use crate::saved::{Machine, Saved};
use crate::series::Series;

/// One run on a page.
pub(crate) struct Run<'a> {
    /// What to call it where there are several.
    name: String,
    command_line: String,
    machine: Machine,
    started_at: String,
    report: &'a Report,
    series: &'a [Series],
    damage: Option<String>,
}

impl<'a> Run<'a> {
    /// One that has just been made.
    pub(crate) fn just_run(report: &'a Report, series: &'a [Series], command_line: &[String]) -> Run<'a> {
        Run {
            name: String::new(),
            command_line: command_line.join(" "),
            machine: Machine::this(),
            started_at: crate::render::clock::millis(&report.epoch, report.epoch.started).to_string(),
            report,
            series,
            damage: None,
        }
    }

    /// One out of a file.
    pub(crate) fn saved(saved: &'a Saved, name: String) -> Run<'a> {
        Run {
            name,
            command_line: saved.header.command_line.join(" "),
            machine: saved.header.machine.clone(),
            started_at: crate::render::clock::millis(&saved.report.epoch, saved.report.epoch.started)
                .to_string(),
            report: &saved.report,
            series: &saved.series,
            damage: saved.damage.words(),
        }
    }
}

/// As many targets of all runs have a colour of their own.
const COLOURS: usize = 8;

/// As many targets have a row.
const ROWS: usize = 1000;

/// One target of one run: a line in every picture.
pub(crate) struct Track<'a> {
    pub(crate) label: String,
    /// Its place among the colours; `None` for one too many.
    pub(crate) colour: Option<usize>,
    pub(crate) target: &'a Target,
    pub(crate) of: &'a TargetReport,
    pub(crate) series: Option<&'a Series>,
    /// Round-trip times, where a histogram was kept.
    pub(crate) rtt: Option<Sparse>,
}

fn tracks<'a>(runs: &'a [Run<'a>]) -> Vec<Track<'a>> {
    let mut all = Vec::new();
    for run in runs {
        let both = run.report.job.targets.iter().zip(&run.report.run.targets);
        for (at, (target, of)) in both.enumerate() {
            let is_one = run.report.job.targets.len() == 1;
            let label = match (runs.len(), is_one) {
                (1, _) => target.label(),
                (_, true) => run.name.clone(),
                (_, false) => format!("{}: {}", run.name, target.label()),
            };
            all.push(Track {
                label,
                colour: (all.len() < COLOURS).then_some(all.len()),
                target,
                of,
                series: run.series.get(at),
                rtt: (all.len() < COLOURS)
                    .then(|| of.stats.histogram().map(Sparse::from))
                    .flatten()
                    .filter(|rtt| !rtt.is_empty()),
            });
        }
    }
    all
}

/// Text from outside, for the inside of an element or a quoted attribute.
pub(crate) fn text(foreign: &str) -> String {
    let shown = Escaped(foreign).to_string();
    let mut safe = String::with_capacity(shown.len());
    for c in shown.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// Writes the page of these runs.
///
/// # Errors
/// What writing says; then there is no such file.
pub(crate) fn write(to: Aside, runs: &[Run<'_>]) -> io::Result<()> {
    settle(to, &html(runs))
}

/// Writes a page and puts it in its place.
///
/// # Errors
/// What writing says; then there is no such file.
pub(crate) fn settle(mut to: Aside, page: &str) -> io::Result<()> {
    to.file().write_all(page.as_bytes())?;
    to.settle().map(drop)
}

/// The page of these runs.
pub(crate) fn html(runs: &[Run<'_>]) -> String {
    let tracks = tracks(runs);
    let mut page = head(&title(runs), &subtitle(runs));
    for run in runs {
        if let Some(damage) = &run.damage {
            let _ = writeln!(
                page,
                "<p class=\"note\">{}: {}</p>",
                text(&run.name),
                text(damage)
            );
        }
    }
    page.push_str(&tables::summary(&tracks, runs.len() > 1));
    let drawn: Vec<&Track<'_>> = tracks.iter().filter(|track| track.colour.is_some()).collect();
    if drawn.len() < tracks.len() {
        let _ = writeln!(
            page,
            "<p class=\"note\">The pictures show the first {} of {}.</p>",
            drawn.len(),
            counted(tracks.len() as u64, "target", "targets")
        );
    }
    page.push_str(&legend(&drawn));
    section(
        &mut page,
        "Round trips over time",
        "The line is the median of each stretch, the shade reaches from the shortest to the longest. Below it, where probes were \
         sent in vain: red is lost, amber was rejected or never left.",
        &pictures::over_time(&drawn),
    );
    page.push_str("<div class=\"two\">\n");
    section(
        &mut page,
        "Percentiles",
        "How many in a hundred, a thousand, ten thousand were no slower.",
        &pictures::percentiles(&drawn),
    );
    section(
        &mut page,
        "Distribution",
        "What part of the round trips took how long.",
        &pictures::distribution(&drawn),
    );
    page.push_str("</div>\n");
    section(
        &mut page,
        "Each way",
        "What a STAMP reflector's own time stamps and numbers tell of the way there and the way back; a line is the median of \
         each stretch.",
        &ways::all(runs),
    );
    section(
        &mut page,
        "Loss",
        "Probes lost one after another are one run: many short runs are noise or a full queue, one long run is an outage.",
        &tables::loss(&drawn),
    );
    section(
        &mut page,
        "The instrument",
        "What rping says of its own error: who took the time stamps, and how late its probes left against their schedule.",
        &tables::instrument(runs, &drawn),
    );
    section(&mut page, "Command and machine", "", &tables::origin(runs));
    page + &foot("Times are round trips; n/a is a figure that too few replies carry.")
}

/// Everything before the first picture. Both are safe to show.
fn head(title: &str, subtitle: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"generator\" content=\"rping {}\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n\
         <header>\n<h1>{title}</h1>\n<p class=\"sub\">{subtitle}</p>\n</header>\n",
        env!("CARGO_PKG_VERSION"),
        include_str!("style.css"),
    )
}

fn foot(says: &str) -> String {
    format!(
        "</main>\n<footer>rping {}. {says}</footer>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    )
}

fn section(page: &mut String, title: &str, says: &str, inside: &str) {
    if inside.is_empty() {
        return;
    }
    let _ = writeln!(page, "<section>\n<h2>{title}</h2>");
    if !says.is_empty() {
        let _ = writeln!(page, "<p class=\"says\">{says}</p>");
    }
    let _ = writeln!(page, "{inside}</section>");
}

fn title(runs: &[Run<'_>]) -> String {
    let Some(first) = runs.first() else {
        return "rping".to_owned();
    };
    let what = match first.report.job.kind.as_str() {
        "icmp" => "ICMP echo",
        "tcp" => "TCP connect",
        "udp" => "UDP",
        "arp" => "Neighbours",
        other => other,
    };
    match (runs, first.report.job.targets.as_slice()) {
        ([_], [only]) => format!("{what}: {}", text(&only.label())),
        ([_], many) => format!("{what}: {}", counted(many.len() as u64, "target", "targets")),
        (several, _) => format!("{what}: {} runs", several.len()),
    }
}

fn subtitle(runs: &[Run<'_>]) -> String {
    let Some(first) = runs.first() else {
        return String::new();
    };
    let span = first.report.run.span;
    let took = crate::render::units::Time(span.1.nanos_since(span.0));
    match runs {
        [_] => format!("{} · {took}", text(&first.started_at)),
        several => {
            let last = several
                .iter()
                .map(|run| run.started_at.as_str())
                .max()
                .unwrap_or("");
            let first = several
                .iter()
                .map(|run| run.started_at.as_str())
                .min()
                .unwrap_or("");
            format!("{} to {}", text(first), text(last))
        }
    }
}

fn legend(drawn: &[&Track<'_>]) -> String {
    let all: Vec<(usize, &str)> = drawn
        .iter()
        .map(|track| (track.colour.unwrap_or(0), track.label.as_str()))
        .collect();
    legend_of(&all)
}

/// Which colour is whose, where there is more than one.
fn legend_of(all: &[(usize, &str)]) -> String {
    if all.len() < 2 {
        return String::new();
    }
    let mut list = String::from("<ul class=\"legend\">\n");
    for (colour, label) in all {
        let _ = writeln!(list, "<li><i class=\"k{colour}\"></i>{}</li>", text(label));
    }
    list.push_str("</ul>\n");
    list
}
