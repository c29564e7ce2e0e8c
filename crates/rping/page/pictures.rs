//! The three pictures: over time, percentiles, distribution.

use std::fmt::Write as _;

use rping_stats::{sparse, Sparse};

use super::chart::{both, exact, foot, plain, short, side, since_start, time_ticks, Frame, Scale};
use super::{text, Track};
use crate::series::Bin;

/// Up to so many points are marked one by one.
const MARKED: usize = 80;

/// Shortest, median and longest of all tracks, nanoseconds.
fn range<'a>(all: impl Iterator<Item = &'a Sparse>) -> Option<(f64, f64, f64)> {
    let (mut min, mut typical, mut max) = (f64::INFINITY, 0f64, 0f64);
    for rtt in all {
        let (Some(&(first, _)), Some(&(last, _))) = (rtt.bins().first(), rtt.bins().last()) else {
            continue;
        };
        min = min.min(sparse::lowest(first) as f64);
        max = max.max(sparse::highest(last) as f64);
        typical = typical.max(rtt.quantile(0.5).unwrap_or(0) as f64);
    }
    (max > 0.0).then_some((min, typical, max))
}

/// One track's bins put into columns.
struct Columns {
    bins: Vec<Bin>,
}

impl Columns {
    fn of(track: &Track<'_>, span_ns: f64, columns: usize) -> Columns {
        let mut bins = vec![Bin::default(); columns];
        for (start, bin) in track.series.into_iter().flat_map(|series| series.bins()) {
            let at = (start as f64 / span_ns * columns as f64) as usize;
            if let Some(column) = bins.get_mut(at.min(columns - 1)) {
                column.merge(bin);
            }
        }
        Columns { bins }
    }
}

fn vain(bin: &Bin) -> (u64, u64) {
    let c = &bin.counts;
    (
        c.lost.saturating_add(c.syn_lost),
        c.rejected.saturating_add(c.not_sent),
    )
}

pub(super) fn over_time(drawn: &[&Track<'_>]) -> String {
    let ends = drawn.iter().filter_map(|track| {
        let (start, bin) = track.series?.bins().next_back()?;
        Some(start.saturating_add(bin.width_ns))
    });
    let Some(span_ns) = ends.max().filter(|ns| *ns > 0) else {
        return String::new();
    };
    let picture = |width: f64, height: f64, columns: usize| {
        let lanes = 11.0 * drawn.len() as f64;
        let frame = Frame {
            width,
            height: height + lanes,
            left: 62.0,
            right: 10.0,
            top: 12.0,
            bottom: 34.0 + lanes,
        };
        (frame, over_time_in(&frame, drawn, span_ns as f64, columns))
    };
    both(
        "Round trips over time",
        picture(1000.0, 330.0, 460),
        picture(400.0, 280.0, 160),
    )
}

fn over_time_in(frame: &Frame, drawn: &[&Track<'_>], span_ns: f64, columns: usize) -> String {
    let all: Vec<Columns> = drawn
        .iter()
        .map(|track| Columns::of(track, span_ns, columns))
        .collect();
    let wholes: Vec<Sparse> = all
        .iter()
        .map(|columns| {
            let mut whole = Sparse::default();
            columns.bins.iter().for_each(|bin| whole.merge(&bin.rtt));
            whole
        })
        .collect();
    let (min, typical, max) = range(wholes.iter()).unwrap_or((1.0, 1.0, 2.0));
    let scale = Scale::times(min, typical, max);
    let span = span_ns / 1e9;
    let most = (frame.width / 95.0) as usize;
    let labels = time_ticks(span, most)
        .into_iter()
        .map(|tick| (tick / span, since_start(tick, span)));
    let mut svg = side(frame, &scale) + &foot(frame, labels);
    let width = (frame.x(1.0) - frame.x(0.0)) / columns as f64;
    let middle = |at: usize| frame.x(0.0) + (at as f64 + 0.5) * width;
    let base = frame.height - frame.bottom;
    for (lane, (track, columns)) in drawn.iter().zip(&all).enumerate() {
        let k = track.colour.unwrap_or(0);
        let (mut shade, mut line, mut marks) = (String::new(), String::new(), String::new());
        let answered = columns.bins.iter().filter(|bin| !bin.rtt.is_empty()).count();
        let mut pen = 'M';
        for (at, bin) in columns.bins.iter().enumerate() {
            let x = middle(at);
            if let (Some(low), Some(mid), Some(high)) =
                (bin.moments.min(), bin.rtt.quantile(0.5), bin.moments.max())
            {
                let [low, mid, high] =
                    [low, mid.clamp(low, high), high].map(|ns| frame.y(scale.part(ns as f64)));
                let _ = write!(shade, "M{x:.1} {low:.1}V{high:.1}");
                let _ = write!(line, "{pen}{x:.1} {mid:.1}");
                pen = 'L';
                if answered <= MARKED {
                    let _ = write!(
                        marks,
                        "<circle cx=\"{x:.1}\" cy=\"{mid:.1}\" r=\"2.4\" class=\"m{k}\"/>"
                    );
                }
            } else if vain(bin) != (0, 0) {
                pen = 'M';
            }
        }
        let thick = width.max(1.2);
        let _ = write!(
            svg,
            "<path class=\"shade s{k}\" stroke-width=\"{thick:.1}\" d=\"{shade}\"/><path class=\"line s{k}\" d=\"{line}\"/>{marks}"
        );
        let top = base + 6.0 + 11.0 * lane as f64;
        let _ = write!(
            svg,
            "<rect class=\"lane\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"8\"/>\
             <rect class=\"f{k}\" x=\"{:.1}\" y=\"{top:.1}\" width=\"8\" height=\"8\" rx=\"2\"/>",
            frame.x(0.0),
            frame.x(1.0) - frame.x(0.0),
            frame.left - 16.0,
        );
        for (at, bin) in columns.bins.iter().enumerate() {
            let (lost, refused) = vain(bin);
            let (class, n) = match (lost, refused) {
                (0, 0) => continue,
                (0, n) => ("refused", n),
                (n, _) => ("lost", n),
            };
            let sent = bin.counts.attempted().max(1);
            let tall = (n as f64 / sent as f64).clamp(0.0, 1.0);
            let wide = width.max(1.6);
            let x = middle(at) - wide / 2.0;
            if class == "lost" {
                let _ = write!(
                    svg,
                    "<path class=\"gone\" stroke-width=\"{wide:.1}\" d=\"M{:.1} {:.1}V{base:.1}\"/>",
                    middle(at),
                    frame.top
                );
            }
            let _ = write!(
                svg,
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{wide:.1}\" height=\"8\" opacity=\"{:.2}\"/>",
                0.35 + 0.65 * tall
            );
        }
    }
    svg + &tips(frame, drawn, &all, span, width)
}

/// What a pointer is told over each column in which something happened.
fn tips(frame: &Frame, drawn: &[&Track<'_>], all: &[Columns], span: f64, width: f64) -> String {
    let mut svg = String::new();
    let columns = all.first().map_or(0, |columns| columns.bins.len());
    for at in 0..columns {
        let mut said = Vec::new();
        for (track, columns) in drawn.iter().zip(all) {
            let Some(bin) = columns.bins.get(at).filter(|bin| bin.counts.attempted() > 0) else {
                continue;
            };
            let mut words = Vec::new();
            if let (Some(low), Some(mid), Some(high)) =
                (bin.moments.min(), bin.rtt.quantile(0.5), bin.moments.max())
            {
                words.push(match bin.moments.count() {
                    1 => exact(low),
                    n => format!(
                        "{n} replies, median {}, {} to {}",
                        exact(mid.clamp(low, high)),
                        exact(low),
                        exact(high)
                    ),
                });
            }
            let (lost, refused) = vain(bin);
            if lost > 0 {
                words.push(format!("{lost} lost"));
            }
            if refused > 0 {
                words.push(format!("{refused} rejected or not sent"));
            }
            let name = if drawn.len() > 1 {
                format!("{}: ", text(&track.label))
            } else {
                String::new()
            };
            said.push(format!("{name}{}", words.join(", ")));
        }
        if said.is_empty() {
            continue;
        }
        let from = at as f64 / columns as f64 * span;
        let _ = write!(
            svg,
            "<rect class=\"tip\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}\n{}</title></rect>",
            frame.x(0.0) + at as f64 * width,
            frame.top,
            width.max(2.0),
            frame.height - frame.top - 22.0,
            since_start(from, span),
            said.join("\n")
        );
    }
    svg
}

pub(super) fn percentiles(drawn: &[&Track<'_>]) -> String {
    let curves: Vec<(usize, &Sparse)> = drawn
        .iter()
        .filter_map(|track| Some((track.colour.unwrap_or(0), track.rtt.as_ref()?)))
        .collect();
    curves_of("Percentiles of the round trips", &curves, 490.0)
}

/// How long so many in a hundred took at most: a curve for each, by its colour, in a picture of this width.
pub(super) fn curves_of(title: &str, curves: &[(usize, &Sparse)], width: f64) -> String {
    let Some((min, typical, max)) = range(curves.iter().map(|(_, of)| *of)) else {
        return String::new();
    };
    let replies = curves.iter().map(|(_, of)| of.len()).max().unwrap_or(1);
    // In nines: 0 is none of them, 1 nine in ten, 2 ninety-nine in a hundred.
    let nines = (replies.max(2) as f64).log10().max(0.5);
    let scale = Scale::times(min, typical, max);
    let picture = |width: f64, height: f64| {
        let frame = plain(width, height);
        let labels = [0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999, 99.999_99]
            .into_iter()
            .map(|percent: f64| (-(1.0 - percent / 100.0).log10() / nines, format!("{percent}%")))
            .filter(|(part, _)| *part <= 1.0);
        let mut svg = side(&frame, &scale) + &foot(&frame, labels);
        for (k, rtt) in curves {
            let own = (rtt.len().max(2) as f64).log10() / nines;
            let mut line = String::new();
            let steps = 160;
            for step in 0..=steps {
                let part = own * f64::from(step) / f64::from(steps);
                let q = 1.0 - 10f64.powf(-part * nines);
                if let Some(ns) = rtt.quantile(q) {
                    let pen = if line.is_empty() { 'M' } else { 'L' };
                    let _ = write!(
                        line,
                        "{pen}{:.1} {:.1}",
                        frame.x(part),
                        frame.y(scale.part(ns as f64))
                    );
                }
            }
            let _ = write!(svg, "<path class=\"line s{k}\" d=\"{line}\"/>");
        }
        (frame, svg)
    };
    both(title, picture(width, 300.0), picture(400.0, 260.0))
}

/// Bars of the distribution.
const BARS: usize = 64;

pub(super) fn distribution(drawn: &[&Track<'_>]) -> String {
    let Some((min, _, max)) = range(drawn.iter().filter_map(|track| track.rtt.as_ref())) else {
        return String::new();
    };
    // Near each other on a plain axis, over several sizes on a logarithmic one; each bar at least a bin wide.
    let (low, high) = (min.max(1.0) / 1.02, max * 1.02);
    let is_log = high / low > 5.0;
    let part = |ns: f64| {
        if is_log {
            (ns.max(low) / low).ln() / (high / low).ln()
        } else {
            (ns - low) / (high - low)
        }
    };
    let shapes: Vec<(usize, Vec<f64>)> = drawn
        .iter()
        .filter_map(|track| {
            let rtt = track.rtt.as_ref()?;
            let mut bars = vec![0.0; BARS];
            for &(place, count) in rtt.bins() {
                let ns = (sparse::lowest(place) as f64 + sparse::highest(place) as f64) / 2.0;
                let at = (part(ns) * BARS as f64) as usize;
                if let Some(bar) = bars.get_mut(at.min(BARS - 1)) {
                    *bar += count as f64 / rtt.len() as f64;
                }
            }
            Some((track.colour.unwrap_or(0), bars))
        })
        .collect();
    let most = shapes
        .iter()
        .flat_map(|(_, bars)| bars.iter().copied())
        .fold(0.0, f64::max);
    let axis = if is_log {
        Scale::times(low, low, high)
    } else {
        Scale::linear(low, high)
    };
    let picture = |width: f64, height: f64| {
        let frame = plain(width, height);
        let ticks = axis.ticks((width / 85.0) as usize);
        let mut svg = foot(&frame, ticks.into_iter().map(|tick| (part(tick), short(tick))));
        let up = Scale::linear(0.0, most.max(1e-9));
        for tick in up.ticks(5) {
            let y = frame.y(up.part(tick) * 0.96);
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{:.1} {y:.1}H{:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" class=\"end\">{}</text>",
                frame.left,
                frame.width - frame.right,
                frame.left - 8.0,
                y + 4.0,
                crate::render::units::Percent(tick)
            );
        }
        for (k, bars) in &shapes {
            let mut path = format!("M{:.1} {:.1}", frame.x(0.0), frame.y(0.0));
            for (at, bar) in bars.iter().enumerate() {
                let (from, to) = (at as f64 / BARS as f64, (at + 1) as f64 / BARS as f64);
                // One reply among millions is still seen.
                let tall = if *bar > 0.0 {
                    (up.part(*bar) * 0.96).max(0.006)
                } else {
                    0.0
                };
                let y = frame.y(tall);
                let _ = write!(path, "L{:.1} {y:.1}L{:.1} {y:.1}", frame.x(from), frame.x(to));
            }
            let _ = write!(path, "L{:.1} {:.1}Z", frame.x(1.0), frame.y(0.0));
            let _ = write!(svg, "<path class=\"area f{k} s{k}\" d=\"{path}\"/>");
        }
        (frame, svg)
    };
    both(
        "Distribution of the round trips",
        picture(490.0, 300.0),
        picture(400.0, 260.0),
    )
}
