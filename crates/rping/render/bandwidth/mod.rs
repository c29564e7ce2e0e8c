//! How a throughput test is shown: a line per interval, what both ends say at the end, or one JSON document, or a
//! stream of lines or rows.

mod document;
pub(crate) mod psping;
mod stream;
mod text;

#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::time::Duration;

use rping_peer::beside::Findings;
use rping_peer::iperf::{Client, Interval, Outcome, Protocol, Side};

use super::style::Style;
use super::{escape, Out};
use crate::args::output::Format;
use crate::args::Show;
use crate::assertion::{Throughput, Verdict};
use crate::report::Epoch;
use crate::saved::Test;

pub(crate) use document::document;
pub(crate) use stream::{csv_header, csv_row, ndjson_line, summary};
pub(crate) use text::{header, interval, text};

/// A test that has ended, with all that is shown of it.
pub(crate) struct Ended<'a> {
    pub(crate) name: &'a str,
    pub(crate) client: &'a Client,
    pub(crate) epoch: Epoch,
    pub(crate) duration: Duration,
    /// `None`: no data ever flowed.
    pub(crate) outcome: Option<&'a Outcome>,
    pub(crate) intervals: &'a [Interval],
    pub(crate) verdicts: &'a [Verdict],
    /// Why no data ever flowed, or why the test ended early.
    pub(crate) failure: Option<&'a str>,
    pub(crate) warnings: &'a [String],
    /// What latency was beside the load, where it was asked for.
    pub(crate) latency: Option<&'a Findings>,
}

impl<'a> Ended<'a> {
    /// Of this test.
    pub(crate) fn of(test: &'a Test, verdicts: &'a [Verdict]) -> Ended<'a> {
        Ended {
            name: &test.name,
            client: &test.client,
            epoch: test.epoch,
            duration: test.duration,
            outcome: test.outcome.as_ref(),
            intervals: &test.intervals,
            verdicts,
            failure: test.failure.as_deref(),
            warnings: &test.warnings,
            latency: test.latency.as_ref(),
        }
    }
}

/// What each direction came to, for assertions.
pub(crate) fn directions(test: &Test) -> Vec<(&'static str, Throughput)> {
    let sides = test.outcome.iter().flat_map(|outcome| &outcome.sides);
    sides
        .map(|side| {
            let word = if side.is_forward { "forward" } else { "reverse" };
            (word, throughput(side, test.client.parameters.protocol))
        })
        .collect()
}

/// What became of a test's assertions.
pub(crate) fn verdicts(test: &Test) -> Vec<Verdict> {
    let directions = directions(test);
    let all = test.assertions.iter();
    all.map(|assertion| assertion.judge_throughput(&directions))
        .collect()
}

/// Shows a test out of a file as if it had just been made.
///
/// # Errors
/// What the writer says.
pub(crate) fn show(
    out: &mut Out,
    test: &Test,
    verdicts: &[Verdict],
    show: &Show,
    style: Style,
) -> io::Result<()> {
    let ended = Ended::of(test, verdicts);
    let p = &test.client.parameters;
    let intervals = test.intervals.iter().filter(|_| !show.quiet);
    match show.format {
        Format::Json => document(out, &ended),
        Format::Ndjson => {
            for interval in intervals {
                ndjson_line(out, &test.name, interval, p.protocol)?;
            }
            summary(out, &ended)
        }
        Format::Csv => {
            csv_header(out)?;
            for interval in intervals {
                csv_row(out, &test.name, interval, p.protocol)?;
            }
            out.flush()
        }
        Format::Text | Format::PsPing { .. } => {
            writeln!(out, "{}", escape::line(&header(&test.name, &test.client)))?;
            for of in intervals {
                writeln!(out, "{}", interval(of, p.bidirectional, p.protocol))?;
            }
            text(out, style, &ended, show.histogram)?;
            out.flush()
        }
    }
}

fn rate(bytes: u64, took: Duration) -> Option<f64> {
    (!took.is_zero()).then(|| bytes as f64 * 8.0 / took.as_secs_f64())
}

/// What one direction came to, for assertions.
pub(crate) fn throughput(side: &Side, protocol: Protocol) -> Throughput {
    let is_udp = protocol == Protocol::Udp;
    Throughput {
        bits_per_second: side.received.and_then(|received| rate(received.bytes, side.took)),
        loss: is_udp.then(|| loss(side)).flatten().map(|(_, ratio)| ratio),
        jitter_ns: side.received.filter(|_| is_udp).map(|r| r.jitter_ns as f64),
    }
}

/// Datagrams lost, and their part of those that the receiver should have seen: all that were sent where the receiver
/// waits for the last, else those up to the last that it saw.
pub(crate) fn loss(side: &Side) -> Option<(u64, f64)> {
    let received = side.received?;
    let at_the_end = side.unseen.filter(|_| side.knows_order).unwrap_or(0);
    let lost = received.lost.max(0).unsigned_abs().saturating_add(at_the_end);
    let seen = received.packets.max(received.received).saturating_add(at_the_end);
    (seen > 0).then(|| (lost, lost as f64 / seen as f64))
}

/// What became of the payload at the receiver; `None` where it does not say.
fn mode(side: &Side) -> Option<&'static str> {
    side.discarded
        .map(|discarded| if discarded { "discarded" } else { "read" })
}
