//! The picture: a title, round trips over time with what went wrong above them, a table of figures, the keys.

use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Cell, Chart, Dataset, GraphType, Paragraph, Row, Table};
use ratatui::Frame;
use rping_engine::Pace;

use super::model::{Model, Series};
use crate::render::escape;
use crate::render::loss_with_syns;
use crate::render::units::{self, Percent, Time};

/// The colours of targets, in turn; those of what went wrong are not among them.
const COLORS: [Color; 6] = [
    Color::Cyan,
    Color::Green,
    Color::Blue,
    Color::LightCyan,
    Color::LightGreen,
    Color::LightBlue,
];
const LOST: Color = Color::Red;
const REJECTED: Color = Color::Yellow;
const NOT_SENT: Color = Color::Magenta;

/// Less than this shows nothing that could be read.
const LEAST: (u16, u16) = (40, 10);

/// Draws `model` as it stands at `end_ns` since the start.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, end_ns: u64, paused: bool) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let more = format!("{}×{} is needed", LEAST.0, LEAST.1);
        frame.render_widget(
            Paragraph::new(vec![Line::from("rping --graph"), Line::from(more)]),
            area,
        );
        return;
    }
    // The picture keeps at least half of the height.
    let rows = (model.series.len() as u16).min(area.height / 2 - 2).max(1);
    let [title, picture, figures, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(4),
        Constraint::Length(rows + 1),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(heading(model, end_ns, paused), title);
    round_trips(frame, model, end_ns, picture);
    table(frame, model, figures, rows);
    let help = "q quit  p pause  +/- zoom  Tab target  a all  l log scale  r reset";
    frame.render_widget(
        Paragraph::new(Line::styled(help, Style::new().add_modifier(Modifier::DIM))),
        keys,
    );
}

fn heading(model: &Model, end_ns: u64, paused: bool) -> Paragraph<'static> {
    let job = &model.job;
    let pace = match job.pace {
        Pace::Every(period) => format!("every {}", units::setting(period)),
        Pace::WhenSettled => "as fast as answers come".to_owned(),
        Pace::Window(_) => "as fast as nothing is lost here".to_owned(),
    };
    let whom = match (model.selected, job.targets.as_slice()) {
        (Some(at), targets) => targets.get(at).map(label).unwrap_or_default(),
        (None, [only]) => label(only),
        (None, many) => format!("{} targets", many.len()),
    };
    let seconds = end_ns / 1_000_000_000;
    let clock = format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut spans = vec![
        Span::styled(
            format!("rping {} ", job.kind.as_str()),
            Style::new().add_modifier(Modifier::BOLD),
        ),
        Span::raw(format!("{whom}, {pace}, {clock}")),
    ];
    if paused {
        spans.push(Span::styled(
            "  paused",
            Style::new().fg(REJECTED).add_modifier(Modifier::BOLD),
        ));
    }
    for (color, what) in [(LOST, "lost"), (REJECTED, "rejected"), (NOT_SENT, "not sent")] {
        spans.push(Span::styled(format!("  × {what}"), Style::new().fg(color)));
    }
    Paragraph::new(Line::from(spans))
}

fn label(target: &crate::job::Target) -> String {
    escape::line(&target.label())
}

/// A point of the picture: seconds before its end, and a round trip in nanoseconds.
type Point = (f64, f64);

/// The points of one target.
#[derive(Default)]
struct Points {
    mean: Vec<Point>,
    max: Vec<Point>,
}

fn round_trips(frame: &mut Frame<'_>, model: &Model, end_ns: u64, area: Rect) {
    let scale = |ns: u64| match model.logarithmic {
        true => (ns.max(1) as f64).log10(),
        false => ns as f64,
    };
    let mut lines: Vec<(Color, Points)> = Vec::new();
    let [mut lost, mut rejected, mut not_sent]: [Vec<Point>; 3] = Default::default();
    let (mut top, mut least) = (0, u64::MAX);
    for target in model.shown() {
        let mut points = Points::default();
        for (x, cell) in model.cells(target, end_ns) {
            if let Some(mean) = cell.mean_ns() {
                points.mean.push((x, scale(mean)));
                points.max.push((x, scale(cell.max_ns)));
                top = top.max(cell.max_ns);
                least = least.min(mean);
            }
            for (count, marks) in [
                (cell.lost, &mut lost),
                (cell.rejected, &mut rejected),
                (cell.not_sent, &mut not_sent),
            ] {
                if count > 0 {
                    marks.push((x, 0.0));
                }
            }
        }
        lines.push((COLORS[target % COLORS.len()], points));
    }
    let (low, high) = bounds(model.logarithmic, least.min(top), top);
    // What went wrong has no round trip: it stands at the upper edge.
    for marks in [&mut lost, &mut rejected, &mut not_sent] {
        marks.iter_mut().for_each(|point| point.1 = high);
    }
    let mut sets = Vec::new();
    for (color, points) in &lines {
        let style = Style::new().fg(*color);
        let set = Dataset::default().style(style);
        sets.push(
            set.clone()
                .marker(Marker::Dot)
                .graph_type(GraphType::Scatter)
                .data(&points.max),
        );
        sets.push(
            set.marker(Marker::Braille)
                .graph_type(GraphType::Line)
                .data(&points.mean),
        );
    }
    for (color, marks) in [(NOT_SENT, &not_sent), (REJECTED, &rejected), (LOST, &lost)] {
        let set = Dataset::default().style(Style::new().fg(color));
        sets.push(
            set.marker(Marker::Custom('×'))
                .graph_type(GraphType::Scatter)
                .data(marks),
        );
    }
    let window = model.window_s();
    let back = |seconds: u64| match seconds {
        0 => "now".to_owned(),
        s if s % 60 == 0 => format!("-{}m", s / 60),
        s => format!("-{s}s"),
    };
    let value = |at: f64| {
        let ns = if model.logarithmic { 10f64.powf(at) } else { at };
        Time(ns.round() as u64).to_string()
    };
    let dim = Style::new().add_modifier(Modifier::DIM);
    let chart = Chart::new(sets)
        .block(Block::new())
        .x_axis(
            Axis::default()
                .style(dim)
                .bounds([-(window as f64), 0.0])
                .labels([back(window), back(window / 2), back(0)]),
        )
        .y_axis(Axis::default().style(dim).bounds([low, high]).labels([
            value(low),
            value((low + high) / 2.0),
            value(high),
        ]));
    frame.render_widget(chart, area);
}

/// The scale's ends: from zero, or from the decade below the least, to a round figure above the most.
fn bounds(logarithmic: bool, least_ns: u64, most_ns: u64) -> (f64, f64) {
    let most = most_ns.max(1_000) as f64;
    if logarithmic {
        let low = (least_ns.max(1) as f64).log10().floor();
        return (low, (most * 1.05).log10().ceil().max(low + 1.0));
    }
    let decade = 10f64.powf(most.log10().floor());
    let steps = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0];
    let high = steps
        .iter()
        .map(|step| step * decade)
        .find(|high| *high >= most * 1.05);
    (0.0, high.unwrap_or(most * 1.05))
}

/// The columns behind the target's name: heading, width, and which goes first (the highest) where there is no room.
const COLUMNS: [(&str, u16, u8); 10] = [
    ("sent", 7, 0),
    ("lost", 6, 0),
    ("rej", 5, 3),
    ("last", 8, 2),
    ("min", 8, 6),
    ("avg", 8, 4),
    ("p50", 8, 0),
    ("p99", 8, 1),
    ("max", 8, 5),
    ("jitter", 8, 7),
];
/// A target's name gets this much at least, and no more than this.
const NAME: (u16, u16) = (12, 40);

/// The columns that fit beside a name of so many characters, as indices.
fn fitting(width: u16, name: u16) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..COLUMNS.len()).collect();
    let needed = |kept: &[usize]| kept.iter().map(|&at| COLUMNS[at].1 + 1).sum::<u16>();
    while name + needed(&kept) > width {
        let Some(first) = (0..kept.len()).max_by_key(|&at| COLUMNS[kept[at]].2) else {
            break;
        };
        if COLUMNS[kept[first]].2 == 0 {
            break;
        }
        kept.remove(first);
    }
    kept
}

fn table(frame: &mut Frame<'_>, model: &Model, area: Rect, rows: u16) {
    let first = match model.selected {
        // The one that is looked at is among those that fit.
        Some(at) => (at + 1).saturating_sub(rows as usize),
        None => 0,
    };
    let names: Vec<String> = model.job.targets.iter().map(label).collect();
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let name = u16::try_from(longest).unwrap_or(u16::MAX).clamp(NAME.0, NAME.1);
    let kept = fitting(area.width, name);
    let shown = model.series.iter().zip(names).enumerate();
    let body = shown.skip(first).take(rows as usize).map(|(at, (series, name))| {
        let color = Style::new().fg(COLORS[at % COLORS.len()]);
        let mut figures = figures(series);
        let mut cells = vec![Cell::from(name).style(color)];
        cells.extend(
            kept.iter()
                .filter_map(|&at| figures.get_mut(at).map(std::mem::take)),
        );
        let row = Row::new(cells);
        match model.selected == Some(at) {
            true => row.style(Style::new().add_modifier(Modifier::REVERSED)),
            false => row,
        }
    });
    let widths = kept.iter().map(|&at| Constraint::Length(COLUMNS[at].1));
    let widths: Vec<_> = std::iter::once(Constraint::Min(name)).chain(widths).collect();
    let headings = kept.iter().map(|&at| COLUMNS[at].0);
    let headings = Row::new(std::iter::once("target").chain(headings));
    let heading = headings.style(Style::new().add_modifier(Modifier::BOLD));
    frame.render_widget(Table::new(body, widths).header(heading), area);
}

/// One for each of [`COLUMNS`].
fn figures(series: &Series) -> [Cell<'static>; 10] {
    let time = |ns: Option<u64>| Cell::from(units::time(ns).to_string());
    let (counts, stats) = (&series.counts, &series.stats);
    let quantile = |q| time(stats.rtt_quantile(q));
    let whole = |ns: f64| ns.round() as u64;
    let loss = loss_with_syns(counts);
    let mut lost = Cell::from(loss.map_or("n/a".to_owned(), |ratio| Percent(ratio).to_string()));
    if loss.is_some_and(|ratio| ratio > 0.0) {
        lost = lost.style(Style::new().fg(LOST));
    }
    let refused = counts.rejected + counts.not_sent;
    let rtt = stats.rtt();
    [
        Cell::from(counts.sent().to_string()),
        lost,
        Cell::from(refused.to_string()),
        time(series.last_ns),
        time(rtt.min()),
        time(rtt.mean().map(whole)),
        quantile(0.5),
        quantile(0.99),
        time(rtt.max()),
        time(stats.jitter_rfc3550().map(whole)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_ends_at_a_round_figure_above_everything() {
        assert_eq!(bounds(false, 10, 0), (0.0, 1_500.0));
        assert_eq!(bounds(false, 10_000, 41_000), (0.0, 50_000.0));
        assert_eq!(bounds(false, 10_000, 99_000), (0.0, 150_000.0));
        assert_eq!(bounds(true, 12_000, 990_000), (4.0, 7.0));
        let (low, high) = bounds(true, 1_000, 1_000);
        assert!(low < high);
    }

    #[test]
    fn columns_give_way_to_names_the_least_wanted_first() {
        assert_eq!(fitting(120, 21).len(), COLUMNS.len());
        let narrow: Vec<_> = fitting(60, 21).iter().map(|&at| COLUMNS[at].0).collect();
        assert_eq!(narrow, ["sent", "lost", "p50", "p99"]);
        let least: Vec<_> = fitting(10, 40).iter().map(|&at| COLUMNS[at].0).collect();
        assert_eq!(least, ["sent", "lost", "p50"]);
    }
}
