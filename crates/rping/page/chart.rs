//! Axes and frames of the pictures: scalable, drawn once for wide screens and once for narrow ones.

use std::fmt::Write as _;

use crate::render::units::Time;

/// A picture's measures, in its own units: a text of 12 is read well where one unit is one pixel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
}

impl Frame {
    pub(super) fn x(&self, part: f64) -> f64 {
        self.left + part.clamp(0.0, 1.0) * (self.width - self.left - self.right)
    }

    pub(super) fn y(&self, part: f64) -> f64 {
        self.height - self.bottom - part.clamp(0.0, 1.0) * (self.height - self.top - self.bottom)
    }
}

/// From a value to its part of an axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
}

impl Scale {
    /// Of times in nanoseconds: linear from 0 where they are near each other, else logarithmic.
    pub(super) fn times(min: f64, typical: f64, max: f64) -> Scale {
        let (min, max) = (min.max(1.0), max.max(2.0));
        if max <= typical.max(1.0) * 6.0 {
            return Scale {
                low: 0.0,
                high: max * 1.05,
                is_log: false,
            };
        }
        Scale {
            low: min / 1.15,
            high: max * 1.15,
            is_log: true,
        }
    }

    pub(super) const fn linear(low: f64, high: f64) -> Scale {
        Scale {
            low,
            high,
            is_log: false,
        }
    }

    /// Where it stands, 0 to 1.
    pub(super) fn part(&self, value: f64) -> f64 {
        let part = if self.is_log {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        if part.is_finite() {
            part.clamp(0.0, 1.0)
        } else {
            0.0
        }
    }

    /// Round values along it, at most so many.
    pub(super) fn ticks(&self, most: usize) -> Vec<f64> {
        if self.is_log {
            let decades = (self.high / self.low).log10();
            let steps: &[f64] = if decades <= 1.2 {
                &[1.0, 2.0, 3.0, 5.0]
            } else if decades <= 2.5 {
                &[1.0, 2.0, 5.0]
            } else {
                &[1.0]
            };
            let first = self.low.log10().floor() as i32;
            let last = self.high.log10().ceil() as i32;
            let every = (((last - first) as usize) / most.max(1)).max(1);
            return (first..=last)
                .step_by(every)
                .flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)))
                .filter(|tick| (self.low..=self.high).contains(tick))
                .collect();
        }
        let step = round_step((self.high - self.low) / most.max(1) as f64);
        let first = (self.low / step).ceil();
        (0..=most)
            .map(|n| (first + n as f64) * step)
            .take_while(|tick| *tick <= self.high)
            .collect()
    }
}

/// The least of 1, 2 and 5 times a power of ten that is not below `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.max(1e-9).log10().floor());
    let times = [1.0, 2.0, 5.0, 10.0];
    power
        * times
            .into_iter()
            .find(|times| power * times >= step * 0.999)
            .unwrap_or(10.0)
}

/// A time on an axis: `200 µs`, `1.5 ms`, without zeros that say nothing.
pub(super) fn short(ns: f64) -> String {
    let (value, unit) = match ns {
        ns if ns < 1e3 => (ns, "ns"),
        ns if ns < 1e6 => (ns / 1e3, "µs"),
        ns if ns < 1e9 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    let text = format!("{value:.2}");
    format!("{} {unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Seconds since the start on an axis that is `span` seconds long, as round as the span allows.
pub(super) fn since_start(seconds: f64, span: f64) -> String {
    let (value, unit) = match span {
        span if span < 2.0 => (seconds * 1e3, "ms"),
        span if span < 300.0 => (seconds, "s"),
        span if span < 18_000.0 => (seconds / 60.0, "min"),
        span if span < 400_000.0 => (seconds / 3600.0, "h"),
        _ => (seconds / 86_400.0, "d"),
    };
    let text = format!("{value:.2}");
    format!("{} {unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Ticks for `span` seconds, in the unit in which they are labelled.
pub(super) fn time_ticks(span: f64, most: usize) -> Vec<f64> {
    let unit = match span {
        span if span < 300.0 => 1.0,
        span if span < 18_000.0 => 60.0,
        span if span < 400_000.0 => 3600.0,
        _ => 86_400.0,
    };
    let scale = Scale::linear(0.0, span / unit);
    scale.ticks(most).into_iter().map(|tick| tick * unit).collect()
}

/// An exact time for a tooltip.
pub(super) fn exact(ns: u64) -> String {
    Time(ns).to_string()
}

/// A picture's measures without anything below the axis.
pub(super) fn plain(width: f64, height: f64) -> Frame {
    Frame {
        width,
        height,
        left: 62.0,
        right: 14.0,
        top: 12.0,
        bottom: 30.0,
    }
}

/// One line of a picture over time: its colour, and a stretch of seconds with a value each.
pub(super) struct Course {
    pub(super) colour: usize,
    pub(super) points: Vec<(f64, f64, f64)>,
}

/// Lines over `span` seconds, each stretch at its middle; `label` says a value in words, `name` whose a line is.
pub(super) fn courses(
    title: &str,
    all: &[Course],
    span: f64,
    label: impl Fn(f64) -> String + Copy,
    name: impl Fn(usize) -> String + Copy,
) -> String {
    let values = || {
        all.iter()
            .flat_map(|course| course.points.iter().map(|point| point.2))
    };
    let most = values().fold(0.0, f64::max);
    if values().next().is_none() || span <= 0.0 {
        return String::new();
    }
    let scale = Scale::linear(0.0, most.max(1e-9) * 1.06);
    let picture = |width: f64, height: f64| {
        let frame = Frame {
            left: 84.0,
            ..plain(width, height)
        };
        let ticks = time_ticks(span, (width / 95.0) as usize);
        let labels = ticks
            .into_iter()
            .map(|tick| (tick / span, since_start(tick, span)));
        let mut svg = side_of(&frame, &scale, label) + &foot(&frame, labels);
        let mut tips = String::new();
        for course in all {
            let k = course.colour;
            let (mut line, mut marks) = (String::new(), String::new());
            for &(from, until, value) in &course.points {
                let x = frame.x((from + until) / 2.0 / span);
                let y = frame.y(scale.part(value));
                let pen = if line.is_empty() { 'M' } else { 'L' };
                let _ = write!(line, "{pen}{x:.1} {y:.1}");
                if course.points.len() <= 80 {
                    let _ = write!(
                        marks,
                        "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.4\" class=\"m{k}\"/>"
                    );
                }
                let _ = write!(
                    tips,
                    "<circle class=\"tip\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"8\"><title>{} to {}\n{}{}</title></circle>",
                    since_start(from, span),
                    since_start(until, span),
                    name(k),
                    label(value)
                );
            }
            let _ = write!(svg, "<path class=\"line s{k}\" d=\"{line}\"/>{marks}");
        }
        (frame, svg + &tips)
    };
    both(title, picture(1000.0, 300.0), picture(400.0, 260.0))
}

/// Grid lines and labels for a scale of times up the side.
pub(super) fn side(frame: &Frame, scale: &Scale) -> String {
    side_of(frame, scale, short)
}

/// Grid lines and labels for any scale up the side.
pub(super) fn side_of(frame: &Frame, scale: &Scale, label: impl Fn(f64) -> String) -> String {
    let mut svg = String::new();
    let most = ((frame.height - frame.top - frame.bottom) / 38.0) as usize;
    let mut last = f64::INFINITY;
    for tick in scale.ticks(most) {
        let y = frame.y(scale.part(tick));
        if last - y < 16.0 {
            continue;
        }
        last = y;
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{:.1} {y:.1}H{:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" class=\"end\">{}</text>",
            frame.left,
            frame.width - frame.right,
            frame.left - 8.0,
            y + 4.0,
            if tick == 0.0 { "0".to_owned() } else { label(tick) }
        );
    }
    svg
}

/// Labels along the foot, each at its part of the width.
pub(super) fn foot(frame: &Frame, labels: impl Iterator<Item = (f64, String)>) -> String {
    let mut svg = String::new();
    let base = frame.height - frame.bottom;
    let mut free = f64::NEG_INFINITY;
    for (part, label) in labels {
        let x = frame.x(part);
        let half = label.chars().count() as f64 * 3.4 + 5.0;
        if x - half < free {
            continue;
        }
        free = x + half;
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{x:.1} {:.1}V{base:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" class=\"mid\">{label}</text>",
            frame.top,
            // Never cut by the picture's edge.
            x.min(frame.width - half + 3.0),
            frame.height - 8.0,
        );
    }
    svg
}

/// A picture for wide screens and one for narrow ones, of which the style shows one.
pub(super) fn both(label: &str, wide: (Frame, String), narrow: (Frame, String)) -> String {
    let svg = |class: &str, (frame, inside): (Frame, String)| {
        format!(
            "<svg class=\"{class}\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{label}\">{inside}</svg>\n",
            frame.width, frame.height
        )
    };
    svg("wide", wide) + &svg("narrow", narrow)
}
