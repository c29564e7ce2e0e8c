//! The stream: an NDJSON line or a CSV row for each interval, flushed as it happens; NDJSON ends with the document.

use std::io::{self, Write};

use rping_peer::iperf::{Interval, Protocol};
use serde::Serialize;

use super::document::{whole, IntervalDoc};
use super::Ended;
use crate::render::{escape, json, Out};

#[derive(Serialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    target: &'a str,
    #[serde(flatten)]
    interval: IntervalDoc,
}

/// One interval as a JSON line.
pub(crate) fn ndjson_line(
    out: &mut Out,
    target: &str,
    interval: &Interval,
    protocol: Protocol,
) -> io::Result<()> {
    let line = Line {
        kind: "interval",
        target,
        interval: IntervalDoc::of(interval, protocol),
    };
    json::compact(out, &line)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// The last line of a JSON stream.
pub(crate) fn summary(out: &mut Out, ended: &Ended<'_>) -> io::Result<()> {
    json::compact(out, &whole(ended, Some("summary")))?;
    out.write_all(b"\n")?;
    out.flush()
}

/// The names of a row's cells.
pub(crate) fn csv_header(out: &mut Out) -> io::Result<()> {
    out.write_all(
        b"type,target,direction,start_ns,end_ns,omitted,bytes,bits_per_second,packets,lost,jitter_ns,retransmits,\
rtt_ns,congestion_window_bytes\n",
    )?;
    out.flush()
}

/// One interval as a row.
pub(crate) fn csv_row(
    out: &mut Out,
    target: &str,
    interval: &Interval,
    protocol: Protocol,
) -> io::Result<()> {
    let of = IntervalDoc::of(interval, protocol);
    out.write_all(b"interval,")?;
    escape::csv_cell(out, target)?;
    write!(
        out,
        ",{},{},{},{},{},",
        of.direction, of.start_ns, of.end_ns, of.omitted, of.bytes
    )?;
    if let Some(rate) = of.bits_per_second {
        write!(out, "{rate:.0}")?;
    }
    for cell in [
        of.packets,
        of.lost,
        of.jitter_ns,
        of.retransmits,
        of.rtt_ns,
        of.congestion_window_bytes,
    ] {
        out.write_all(b",")?;
        if let Some(number) = cell {
            write!(out, "{number}")?;
        }
    }
    out.write_all(b"\n")?;
    out.flush()
}
