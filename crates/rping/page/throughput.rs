//! The page of throughput tests: rates over time, what was sent again or lost, what the load did to latency.

use std::fmt::Write as _;
use std::io;

use rping_peer::beside::{Findings, Latency};
use rping_peer::iperf::{Interval, Protocol, Side};
use rping_stats::Sparse;

use super::chart::{courses, short, Course};
use super::{foot, head, legend_of, pictures, section, settle, tables, text, COLOURS};
use crate::files::Aside;
use crate::render::bandwidth::{loss, throughput};
use crate::render::units::{counted, time, Bits, Bytes, OrNone, Percent, Time};
use crate::saved::Test;

/// One direction of one test: a line in every picture.
struct Track<'a> {
    label: String,
    colour: usize,
    is_forward: bool,
    test: &'a Test,
}

impl Track<'_> {
    fn side(&self) -> Option<&Side> {
        let outcome = self.test.outcome.as_ref()?;
        outcome
            .sides
            .iter()
            .find(|side| side.is_forward == self.is_forward)
    }

    fn is_udp(&self) -> bool {
        self.test.client.parameters.protocol == Protocol::Udp
    }

    /// A value of each interval.
    fn course(&self, value: impl Fn(&Interval) -> Option<f64>) -> Course {
        let own = self.test.intervals.iter();
        let own = own.filter(|interval| interval.is_forward == self.is_forward);
        Course {
            colour: self.colour,
            points: own
                .filter_map(|i| Some((i.span.0.as_secs_f64(), i.span.1.as_secs_f64(), value(i)?)))
                .collect(),
        }
    }
}

fn tracks<'a>(tests: &[(String, &'a Test)]) -> Vec<Track<'a>> {
    let mut all = Vec::new();
    for (name, test) in tests {
        let p = &test.client.parameters;
        let ways: &[bool] = match (p.bidirectional, p.reverse) {
            (true, _) => &[true, false],
            (false, true) => &[false],
            (false, false) => &[true],
        };
        for &is_forward in ways {
            let way = match is_forward {
                true => "forward",
                false => "reverse",
            };
            let label = match (tests.len(), ways.len()) {
                (1, _) => way.to_owned(),
                (_, 1) => name.clone(),
                _ => format!("{name}: {way}"),
            };
            all.push(Track {
                label,
                colour: all.len() % COLOURS,
                is_forward,
                test,
            });
        }
    }
    all
}

/// Writes the page of these tests, each with what to call it.
///
/// # Errors
/// What writing says; then there is no such file.
pub(crate) fn write(to: Aside, tests: &[(String, &Test)]) -> io::Result<()> {
    settle(to, &html(tests))
}

/// The page of these tests.
pub(crate) fn html(tests: &[(String, &Test)]) -> String {
    let tracks = tracks(tests);
    let mut page = head(&title(tests), &subtitle(tests));
    for (name, test) in tests {
        for note in test.damage.words().iter().chain(&test.failure) {
            let name = if name.is_empty() { &test.name } else { name };
            let _ = writeln!(page, "<p class=\"note\">{}: {}</p>", text(name), text(note));
        }
    }
    page.push_str(&summary(&tracks));
    // As many lines as there are colours: more would bear another's.
    let drawn: Vec<&Track<'_>> = tracks.iter().take(COLOURS).collect();
    if drawn.len() < tracks.len() {
        let _ = writeln!(
            page,
            "<p class=\"note\">The pictures show the first {} of {}.</p>",
            drawn.len(),
            counted(tracks.len() as u64, "direction", "directions")
        );
    }
    let labels: Vec<(usize, &str)> = drawn
        .iter()
        .map(|track| (track.colour, track.label.as_str()))
        .collect();
    page.push_str(&legend_of(&labels));
    let draw = |title: &str, label: fn(f64) -> String, value: fn(&Track<'_>, &Interval) -> Option<f64>| {
        let all: Vec<Course> = drawn
            .iter()
            .map(|track| track.course(|interval| value(track, interval)))
            .collect();
        // The start-up phase is drawn, too: it is why it is left out.
        let ends = drawn.iter().flat_map(|track| &track.test.intervals);
        let span = ends
            .map(|interval| interval.span.1.as_secs_f64())
            .fold(0.0, f64::max);
        courses(title, &all, span, label, |k| match labels.len() {
            0 | 1 => String::new(),
            _ => labels
                .iter()
                .find(|(colour, _)| *colour == k)
                .map_or_else(String::new, |(_, label)| format!("{}: ", text(label))),
        })
    };
    let omitted = tests
        .iter()
        .map(|(_, test)| test.client.parameters.omit)
        .max()
        .unwrap_or(0);
    let startup = match omitted {
        0 => String::new(),
        s => format!(" What lies in the first {s} s is the start-up phase and counts for nothing."),
    };
    section(
        &mut page,
        "Throughput over time",
        &format!("Payload of each interval, as this end saw it: sent where it sends, received where it receives.{startup}"),
        &draw(
            "Throughput over time",
            short_rate,
            |_, i| rate(i),
        ),
    );
    section(
        &mut page,
        "Segments sent again",
        "TCP sends again what was lost or came too late: each costs time, and a burst of them halves the rate.",
        &draw(
            "Segments sent again over time",
            |n| format!("{n:.0}"),
            |_, i| i.retransmits.map(|n| n as f64),
        ),
    );
    section(
        &mut page,
        "Datagrams lost",
        "Of those that this end should have received in each interval.",
        &draw(
            "Datagrams lost over time",
            |n| format!("{n:.0}"),
            |track, i| (track.is_udp() && !i.is_forward).then(|| i.figures.lost.max(0) as f64),
        ),
    );
    section(
        &mut page,
        "Round trip while sending",
        "The kernel's smoothed round-trip time of the streams: what it grows by under load stands in queues.",
        &draw("Round trip while sending, over time", short, |_, i| {
            i.rtt.map(|rtt| rtt.as_nanos() as f64)
        }),
    );
    for (name, test) in tests {
        if let Some(found) = &test.latency {
            let title = match tests.len() {
                1 => "Latency beside the load".to_owned(),
                _ => format!("Latency beside the load: {}", text(name)),
            };
            section(
                &mut page,
                &title,
                "Round trips before the load and under it, by percentile; one-way delays by an estimated offset of the clocks.",
                &latency(found),
            );
        }
    }
    section(
        &mut page,
        "The instrument",
        "What rping says of its own error.",
        &instrument(tests),
    );
    section(&mut page, "Command and machine", "", &origin(tests));
    page + &foot("A rate is of payload, in decimal units, as the receiver received it; n/a is what an end did not say.")
}

fn rate(i: &Interval) -> Option<f64> {
    let took = i.span.1.saturating_sub(i.span.0).as_secs_f64();
    (took > 0.0).then(|| i.figures.bytes as f64 * 8.0 / took)
}

/// A rate on an axis, without zeros that say nothing: `10 Gbit/s`.
fn short_rate(bits: f64) -> String {
    let text = Bits(bits).to_string();
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

fn title(tests: &[(String, &Test)]) -> String {
    match tests {
        [(_, only)] => {
            let protocol = match only.client.parameters.protocol {
                Protocol::Tcp => "TCP",
                Protocol::Udp => "UDP",
            };
            format!("{protocol} throughput: {}", text(&only.name))
        }
        several => format!("Throughput: {} runs", several.len()),
    }
}

fn started(test: &Test) -> String {
    text(&crate::render::clock::millis(&test.epoch, test.epoch.started).to_string())
}

fn subtitle(tests: &[(String, &Test)]) -> String {
    match tests {
        [(_, only)] => {
            let asked = crate::render::bandwidth::header(&only.name, &only.client);
            format!("{} · {}", started(only), text(&asked))
        }
        several => {
            let all = || several.iter().map(|(_, test)| started(test));
            format!(
                "{} to {}",
                all().min().unwrap_or_default(),
                all().max().unwrap_or_default()
            )
        }
    }
}

/// What each direction came to.
fn summary(tracks: &[Track<'_>]) -> String {
    let mut table = String::from(
        "<div class=\"scroll\"><table>\n<thead><tr><th></th><th>received at</th><th>received</th><th>sent</th>\
         <th>sent again</th><th>loss</th><th>jitter</th><th>CPU here</th><th>there</th></tr></thead>\n<tbody>\n",
    );
    for track in tracks.iter().take(super::ROWS) {
        let side = track.side();
        let of = side.map(|side| throughput(side, track.test.client.parameters.protocol));
        let lost = side.filter(|_| track.is_udp()).and_then(loss);
        let bad = match lost {
            Some((n, _)) if n > 0 => " class=\"bad\"",
            _ => "",
        };
        let outcome = track.test.outcome.as_ref();
        let percent = |of: Option<f64>| OrNone(of.map(|of| format!("{of:.0}%")));
        let _ = writeln!(
            table,
            "<tr><th><i class=\"k{}\"></i>{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td{bad}>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            track.colour,
            text(&track.label),
            OrNone(of.and_then(|of| of.bits_per_second).map(Bits)),
            OrNone(side.and_then(|side| side.received).map(|of| Bytes(of.bytes))),
            OrNone(side.and_then(|side| side.sent).map(|of| Bytes(of.bytes))),
            OrNone(side.and_then(|side| side.retransmits)),
            OrNone(lost.map(|(_, ratio)| Percent(ratio))),
            time(of.and_then(|of| of.jitter_ns).map(|ns| ns.round() as u64)),
            percent(outcome.map(|of| of.cpu_local[0])),
            percent(outcome.and_then(|of| of.cpu_remote).map(|of| of[0])),
        );
    }
    table.push_str("</tbody></table></div>\n");
    table
}

/// Idle against loaded: the curves of the round trips, and a table of every direction.
fn latency(found: &Findings) -> String {
    let phases: [(usize, &str, &Latency); 2] = [(2, "idle", &found.idle), (0, "loaded", &found.loaded)];
    let shapes = phases.map(|(_, _, of)| Sparse::from(&of.round_trip.histogram));
    let curves: Vec<(usize, &Sparse)> = phases
        .iter()
        .zip(&shapes)
        .filter(|(_, shape)| !shape.is_empty())
        .map(|((colour, ..), shape)| (*colour, shape))
        .collect();
    let labels: Vec<(usize, &str)> = phases.iter().map(|(colour, word, _)| (*colour, *word)).collect();
    let mut html =
        legend_of(&labels) + &pictures::curves_of("Percentiles of the round trips", &curves, 1000.0);
    html.push_str(
        "<table class=\"plain\">\n<thead><tr><th></th><th>sent</th><th>lost</th><th>round trip p50</th><th>p99</th>\
         <th>forward p50</th><th>p99</th><th>reverse p50</th><th>p99</th><th>round trips a minute</th></tr></thead>\n<tbody>\n",
    );
    for (_, word, of) in phases {
        let _ = write!(
            html,
            "<tr><th>{word}</th><td>{}</td><td>{}</td>",
            of.sent,
            of.sent.saturating_sub(of.received)
        );
        for delays in [&of.round_trip, &of.forward, &of.reverse] {
            for q in [0.5, 0.99] {
                let _ = write!(html, "<td>{}</td>", time(delays.histogram.quantile(q)));
            }
        }
        let rpm = of.round_trips_per_minute().map(|rpm| format!("{rpm:.0}"));
        let _ = writeln!(html, "<td>{}</td></tr>", OrNone(rpm));
    }
    html.push_str("</tbody></table>\n");
    format!("<div class=\"scrolls\">{html}</div>\n")
}

fn instrument(tests: &[(String, &Test)]) -> String {
    let mut html = String::new();
    for (name, test) in tests {
        if tests.len() > 1 {
            let _ = writeln!(html, "<h3>{}</h3>", text(name));
        }
        html.push_str("<dl>\n");
        let mut row = |name: &str, value: String| {
            let _ = writeln!(html, "<div><dt>{name}</dt><dd>{value}</dd></div>");
        };
        let outcome = test.outcome.as_ref();
        let late = outcome.and_then(|of| of.lateness);
        row(
            "sends late by",
            match late {
                Some(of) => format!(
                    "p50 {}, p99 {}, most {}",
                    time(of.p50_ns),
                    time(of.p99_ns),
                    Time(of.max_ns)
                ),
                None => "n/a (as fast as it goes)".to_owned(),
            },
        );
        row(
            "congestion",
            text(outcome.and_then(|of| of.congestion.as_deref()).unwrap_or("n/a")),
        );
        row(
            "segment size",
            OrNone(outcome.and_then(|of| of.mss).map(|mss| format!("{mss} bytes"))).to_string(),
        );
        html.push_str("</dl>\n");
        if !test.warnings.is_empty() {
            html.push_str("<ul class=\"warnings\">\n");
            for warning in &test.warnings {
                let _ = writeln!(html, "<li>{}</li>", text(warning));
            }
            html.push_str("</ul>\n");
        }
    }
    html
}

fn origin(tests: &[(String, &Test)]) -> String {
    let mut html = String::new();
    for (name, test) in tests {
        if tests.len() > 1 {
            let _ = writeln!(html, "<h3>{}</h3>", text(name));
        }
        let at = crate::render::clock::millis(&test.epoch, test.epoch.started).to_string();
        html.push_str(&tables::origin_of(
            &test.command_line.join(" "),
            &at,
            &test.machine,
        ));
    }
    html
}
