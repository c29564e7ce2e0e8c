//! What two captures amount to: the directions, then each flow, for people; one document; lines; rows.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use rping_evidence::trace::{Clocks, Direction, FlowReport, Report, Side, Totals};

use super::style::{Style, Tone};
use super::units::Time;
use super::{escape, json, Out};

/// The document of `-o json`, schema `rping.trace/1`.
#[derive(Serialize)]
pub(crate) struct Document<'a> {
    schema: &'static str,
    version: &'static str,
    command: &'static str,
    a: Capture,
    b: Capture,
    clocks: Option<Clocks>,
    a_to_b: Totals,
    b_to_a: Totals,
    elsewhere: u64,
    notes: &'a [String],
    flows: &'a [FlowReport],
}

#[derive(Serialize)]
struct Capture {
    file: String,
    packets: u64,
    compared: u64,
    left_out: u64,
    first_ns: Option<u64>,
    last_ns: Option<u64>,
    damage: Option<String>,
}

impl Capture {
    fn new(path: &Path, side: &Side) -> Capture {
        Capture {
            file: path.display().to_string(),
            packets: side.packets,
            compared: side.compared,
            left_out: side.beyond,
            first_ns: side.span.map(|(first, _)| first),
            last_ns: side.span.map(|(_, last)| last),
            damage: side.damage.clone(),
        }
    }
}

impl<'a> Document<'a> {
    pub(crate) fn new(report: &'a Report, a: &Path, b: &Path) -> Document<'a> {
        Document {
            schema: "rping.trace/1",
            version: env!("CARGO_PKG_VERSION"),
            command: "trace",
            a: Capture::new(a, &report.a),
            b: Capture::new(b, &report.b),
            clocks: report.clocks,
            a_to_b: report.a_to_b,
            b_to_a: report.b_to_a,
            elsewhere: report.elsewhere,
            notes: &report.notes,
            flows: &report.flows,
        }
    }
}

/// One document.
pub(crate) fn json(out: &mut Out, document: &Document<'_>) -> io::Result<()> {
    json::pretty(out, document)?;
    out.write_all(b"\n")
}

/// One line a flow, then the document.
pub(crate) fn ndjson(out: &mut Out, document: &Document<'_>) -> io::Result<()> {
    #[derive(Serialize)]
    struct Line<'a, T> {
        r#type: &'static str,
        #[serde(flatten)]
        of: &'a T,
    }
    for flow in document.flows {
        json::compact(
            out,
            &Line {
                r#type: "flow",
                of: flow,
            },
        )?;
        out.write_all(b"\n")?;
    }
    json::compact(
        out,
        &Line {
            r#type: "summary",
            of: document,
        },
    )?;
    out.write_all(b"\n")
}

/// Rows with a header.
pub(crate) fn csv(out: &mut Out, document: &Document<'_>) -> io::Result<()> {
    writeln!(
        out,
        "direction,protocol,from,to,from_arrived,to_arrived,left,arrived,lost,lost_bytes,appeared,retransmits,changes"
    )?;
    for flow in document.flows {
        write!(
            out,
            "{},{},{},{},{},{},{},{},{},{},{},{},",
            way(flow.direction),
            flow.protocol,
            flow.from,
            flow.to,
            flow.from_arrived.as_deref().unwrap_or_default(),
            flow.to_arrived.as_deref().unwrap_or_default(),
            flow.left,
            flow.arrived,
            flow.lost,
            flow.lost_bytes,
            flow.appeared,
            flow.retransmits,
        )?;
        escape::csv_cell(out, &changes(flow))?;
        writeln!(out)?;
    }
    Ok(())
}

fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::AToB => "a_to_b",
        Direction::BToA => "b_to_a",
    }
}

fn changes(flow: &FlowReport) -> String {
    let all: Vec<String> = flow
        .changes
        .iter()
        .map(|change| {
            let field = change.field.replace('_', " ");
            format!(
                "{field} {} → {} ({})",
                change.left, change.arrived, change.packets
            )
        })
        .collect();
    all.join(", ")
}

/// For people.
pub(crate) fn text(out: &mut Out, document: &Document<'_>, style: Style) -> io::Result<()> {
    for (name, capture) in [("A", &document.a), ("B", &document.b)] {
        writeln!(
            out,
            "{name}  {}: {} packets, {} compared",
            escape::line(&capture.file),
            capture.packets,
            capture.compared
        )?;
    }
    if let Some(clocks) = document.clocks {
        let sign = if clocks.offset_ns < 0 {
            "behind"
        } else {
            "ahead of"
        };
        writeln!(
            out,
            "clocks: B is {} {sign} A, give or take {}; fastest way there and back {}",
            Time(clocks.offset_ns.unsigned_abs()),
            Time(clocks.error_ns),
            Time(clocks.round_trip_ns)
        )?;
    }
    writeln!(out)?;
    for (name, totals) in [("A → B", &document.a_to_b), ("B → A", &document.b_to_a)] {
        let line = format!(
            "{name}  {} left, {} arrived, {} lost ({} bytes){}{}",
            totals.left,
            totals.arrived,
            totals.lost,
            totals.lost_bytes,
            more(totals.retransmits, "sent again"),
            more(totals.appeared, "arrived unseen"),
        );
        writeln!(out, "{}", style.paint_if(totals.lost > 0, Tone::Bad, line))?;
    }
    for flow in document.flows {
        let arrow = match flow.direction {
            Direction::AToB => "A → B",
            Direction::BToA => "B → A",
        };
        writeln!(out)?;
        writeln!(out, "{arrow}  {} {} → {}", flow.protocol, flow.from, flow.to)?;
        if let (Some(from), Some(to)) = (&flow.from_arrived, &flow.to_arrived) {
            writeln!(out, "       arrives as {from} → {to}")?;
        }
        let line = format!(
            "{} left, {} arrived, {} lost{}{}",
            flow.left,
            flow.arrived,
            flow.lost,
            more(flow.retransmits, "sent again"),
            more(flow.appeared, "arrived unseen"),
        );
        writeln!(out, "       {}", style.paint_if(flow.lost > 0, Tone::Bad, line))?;
        if !flow.changes.is_empty() {
            writeln!(out, "       changed: {}", changes(flow))?;
        }
        if let Some(delay) = flow.delay {
            writeln!(
                out,
                "       above the fastest: median {}, slowest {}",
                Time(delay.p50_above_min_ns),
                Time(delay.max_above_min_ns)
            )?;
        }
    }
    if document.elsewhere > 0 {
        writeln!(
            out,
            "\n{} packets are not compared: the other side, or its capture, had no part in their conversations",
            document.elsewhere
        )?;
    }
    for note in document.notes {
        writeln!(
            out,
            "{}",
            style.paint(Tone::Warn, format_args!("note: {}", escape::line(note)))
        )?;
    }
    Ok(())
}

fn more(count: u64, what: &str) -> String {
    match count {
        0 => String::new(),
        count => format!(", {count} {what}"),
    }
}
