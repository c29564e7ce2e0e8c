//! One-way delays on the page, where a reflector told them.

use std::fmt::Write as _;

use rping_stats::Sparse;
use rping_udp::{Directions, Point, Way};

use super::chart::{courses, short, Course};
use super::{legend_of, pictures, text, Run};
use crate::render::units::{time, Time};

/// Colours of the two ways.
const FORWARD: usize = 0;
const REVERSE: usize = 1;

/// So many targets are drawn.
const DRAWN: usize = 8;

/// One way of a point.
type Of = fn(&Point) -> u64;

/// Columns of the picture.
const COLUMNS: usize = 230;

/// Each target's two ways over time and by percentile, with what the clocks may be off by.
pub(super) fn all(runs: &[Run<'_>]) -> String {
    let mut html = String::new();
    let told = runs.iter().flat_map(|run| {
        let targets = run.report.job.targets.iter();
        targets
            .zip(&run.report.directions)
            .filter_map(move |(target, told)| Some((run, target, told.as_ref()?)))
    });
    let told: Vec<_> = told.filter(|(.., told)| told.forward.delay.is_some()).collect();
    for (run, target, of) in told.iter().take(DRAWN) {
        if told.len() > 1 {
            let name = match runs.len() {
                1 => target.label(),
                _ => format!("{}: {}", run.name, target.label()),
            };
            let _ = writeln!(html, "<h3>{}</h3>", text(&name));
        }
        html.push_str(&one(run, of));
    }
    if told.len() > DRAWN {
        let _ = writeln!(
            html,
            "<p class=\"note\">The first {DRAWN} of {} are drawn.</p>",
            told.len()
        );
    }
    html
}

fn one(run: &Run<'_>, of: &Directions) -> String {
    let mut html = String::new();
    if let Some(delay) = of.forward.delay {
        let _ = writeln!(
            html,
            "<p>The offset between the two clocks is estimated, from the fastest packet of either way: both ways are off by {} at \
             most, by the same in opposite senses. What varies needs no offset and is true as it is.</p>",
            Time(delay.clock_error)
        );
    }
    html.push_str(&legend_of(&[
        (FORWARD, "forward (to the target)"),
        (REVERSE, "reverse (back)"),
    ]));
    let started = run.report.epoch.started;
    let span = of
        .course
        .iter()
        .map(|point| point.left.nanos_since(started))
        .max()
        .unwrap_or(0) as f64
        / 1e9;
    let ways: [(usize, Of); 2] = [(FORWARD, |point| point.forward), (REVERSE, |point| point.reverse)];
    let lines: Vec<Course> = ways
        .iter()
        .map(|(colour, way)| Course {
            colour: *colour,
            points: columns(of, run, span, way),
        })
        .collect();
    html.push_str(&courses(
        "One-way delays over time",
        &lines,
        span,
        short,
        |k| match k {
            FORWARD => "forward: ".to_owned(),
            _ => "reverse: ".to_owned(),
        },
    ));
    let shapes = ways.map(|(_, way)| Sparse::of(&of.course.iter().map(way).collect::<Vec<_>>()));
    let curves: Vec<(usize, &Sparse)> = ways.iter().map(|(colour, _)| *colour).zip(&shapes).collect();
    html.push_str(&pictures::curves_of(
        "Percentiles of the one-way delays",
        &curves,
        1000.0,
    ));
    html.push_str(
        "<div class=\"scrolls\"><table class=\"plain\">\n<thead><tr><th></th><th>sent</th><th>lost</th><th>doubled</th>\
         <th>out of order</th><th>least</th><th>mean</th><th>most</th><th>varying by</th></tr></thead>\n<tbody>\n",
    );
    for (word, way) in [("forward", &of.forward), ("reverse", &of.reverse)] {
        html.push_str(&row(word, way));
    }
    html.push_str("</tbody></table></div>\n");
    if of.unattributed > 0 {
        let _ = writeln!(
            html,
            "<p>{} lost that nothing places on either way.</p>",
            of.unattributed
        );
    }
    html
}

/// The median of each stretch of the run, so many at most.
fn columns(of: &Directions, run: &Run<'_>, span: f64, way: &Of) -> Vec<(f64, f64, f64)> {
    let started = run.report.epoch.started;
    let mut all: Vec<Vec<u64>> = vec![Vec::new(); COLUMNS];
    for point in &of.course {
        let at = point.left.nanos_since(started) as f64 / 1e9 / span.max(1e-9) * COLUMNS as f64;
        if let Some(column) = all.get_mut((at as usize).min(COLUMNS - 1)) {
            column.push(way(point));
        }
    }
    let width = span / COLUMNS as f64;
    let each = all
        .into_iter()
        .enumerate()
        .filter(|(_, column)| !column.is_empty());
    each.map(|(at, mut column)| {
        column.sort_unstable();
        let from = at as f64 * width;
        (from, from + width, column[column.len() / 2] as f64)
    })
    .collect()
}

fn row(word: &str, way: &Way) -> String {
    let number = |n: Option<u64>| n.map_or_else(|| "n/a".to_owned(), |n| n.to_string());
    let bad = if way.lost > 0 { " class=\"bad\"" } else { "" };
    let delay = way.delay;
    format!(
        "<tr><th>{word}</th><td>{}</td><td{bad}>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
        way.sent,
        way.lost,
        number(way.duplicates),
        number(way.reordered),
        time(delay.map(|of| of.min)),
        time(delay.map(|of| of.mean)),
        time(delay.map(|of| of.max)),
        time(delay.and_then(|of| of.variation)),
    )
}
