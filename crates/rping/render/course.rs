//! A saved run as a stream: its probes were not kept one by one, so there is a line for each stretch of the run and target.

use std::io::{self, Write};
use std::sync::Arc;

use rping_engine::Timestamp;
use rping_stats::replies_needed;

use super::event::{number, Names};
use super::{clock, csv, json, ndjson, renderer, Out, BUFFER};
use crate::args::output::{Format, OutputOptions};
use crate::saved::Saved;
use crate::series::Bin;

const HEADER: &str = "type,target,address,port,at,from_ns,width_ns,attempted,received,rejected,lost,not_sent,late,duplicates,reordered,corrupt,syn_lost,rtt_min_ns,rtt_mean_ns,rtt_p50_ns,rtt_p90_ns,rtt_p99_ns,rtt_max_ns\n";

/// Shows a saved run as if it had just been made.
///
/// # Errors
/// What the writer says.
pub(crate) fn show(
    saved: &Saved,
    options: &OutputOptions,
    out: Box<dyn Write + Send>,
    is_terminal: bool,
) -> io::Result<()> {
    let report = &saved.report;
    let job = Arc::clone(&report.job);
    match options.format {
        Format::Text | Format::Json | Format::PsPing { .. } => {
            let mut render = renderer(options, Arc::clone(&job), out, is_terminal);
            render.begin(&job, &report.epoch)?;
            render.end(report)?;
            render.flush()
        }
        Format::Ndjson => {
            let mut out = Out::with_capacity(BUFFER, out);
            let names = Names::new(job, ndjson::write_name);
            rows(saved, |target, at, start, bin| {
                out.write_all(b"{\"type\":\"second\"")?;
                names.put(&mut out, target)?;
                write!(out, ",\"at\":\"{at}\"")?;
                for (name, value) in fields(start, bin) {
                    write!(out, ",\"{name}\":")?;
                    ndjson::opt(&mut out, value)?;
                }
                out.write_all(b"}\n")
            })?;
            json::summary(&mut out, report)?;
            out.flush()
        }
        Format::Csv => {
            let mut out = Out::with_capacity(BUFFER, out);
            out.write_all(HEADER.as_bytes())?;
            let names = Names::new(job, csv::write_name);
            rows(saved, |target, at, start, bin| {
                out.write_all(b"second")?;
                names.put(&mut out, target)?;
                write!(out, ",{at}")?;
                for (_, value) in fields(start, bin) {
                    out.write_all(b",")?;
                    value.map_or(Ok(()), |n| number(&mut out, n))?;
                }
                out.write_all(b"\n")
            })?;
            out.flush()
        }
    }
}

fn rows(
    saved: &Saved,
    mut row: impl FnMut(rping_engine::TargetId, String, u64, &Bin) -> io::Result<()>,
) -> io::Result<()> {
    for (target, series) in (0..).zip(&saved.series) {
        for (start, bin) in series.bins() {
            let at = clock::nanos(&saved.report.epoch, Timestamp::from_nanos(start)).to_string();
            row(rping_engine::TargetId(target), at, start, bin)?;
        }
    }
    Ok(())
}

/// The columns behind the name and the time, in the order of [`HEADER`].
fn fields(start: u64, bin: &Bin) -> [(&'static str, Option<u64>); 18] {
    let c = &bin.counts;
    let quantile = |q| {
        let carried = replies_needed(q).is_some_and(|n| bin.rtt.len() >= n);
        let (min, max) = (bin.moments.min()?, bin.moments.max()?);
        Some(bin.rtt.quantile(q).filter(|_| carried)?.clamp(min, max))
    };
    [
        ("from_ns", Some(start)),
        ("width_ns", Some(bin.width_ns)),
        ("attempted", Some(c.attempted())),
        ("received", Some(c.received)),
        ("rejected", Some(c.rejected)),
        ("lost", Some(c.lost)),
        ("not_sent", Some(c.not_sent)),
        ("late", Some(c.late)),
        ("duplicates", Some(c.duplicates)),
        ("reordered", Some(c.reordered)),
        ("corrupt", Some(c.corrupt)),
        ("syn_lost", Some(c.syn_lost)),
        ("rtt_min_ns", bin.moments.min()),
        ("rtt_mean_ns", bin.moments.mean().map(super::figures::whole)),
        ("rtt_p50_ns", quantile(0.5)),
        ("rtt_p90_ns", quantile(0.9)),
        ("rtt_p99_ns", quantile(0.99)),
        ("rtt_max_ns", bin.moments.max()),
    ]
}
