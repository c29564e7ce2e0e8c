//! For people.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use rping_peer::beside::{Findings, Latency};
use rping_peer::iperf::{Client, End, Figures, Interval, Outcome, Protocol, Side};

use super::{loss, mode, rate, Ended};
use crate::render::style::{Style, Tone};
use crate::render::units::{counted, setting, time, Bits, Bytes, OrNone, Percent, Time};

/// The first line: what is going to be done.
pub(crate) fn header(name: &str, client: &Client) -> String {
    let p = &client.parameters;
    let protocol = match p.protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
    };
    let way = match (p.reverse, p.bidirectional) {
        (_, true) => "to and from",
        (true, _) => "from",
        _ => "to",
    };
    let address = client.server.to_string();
    let shown = if name == address {
        address
    } else {
        format!("{name} ({address})")
    };
    let mut line = format!(
        "{protocol} throughput {way} {shown}: {}, {}",
        counted(p.parallel.into(), "stream", "streams"),
        counted(p.length as u64, "byte a message", "bytes a message"),
    );
    if p.bandwidth > 0 {
        let _ = write!(line, " at {} each", Bits(p.bandwidth as f64));
    }
    let _ = match client.end {
        End::After(Duration::MAX) => write!(line, ", until interrupted"),
        End::After(time) => write!(line, ", {}", setting(time)),
        End::Bytes(bytes) => write!(line, ", {}", Bytes(bytes)),
    };
    if p.omit > 0 {
        let _ = write!(line, " after {}s of start-up", p.omit);
    }
    if p.segments {
        line.push_str(", in super-packets (GSO, GRO)");
    }
    if p.skip_receive_copy {
        line.push_str(", payload left unread");
    }
    line
}

/// One interval; `of_two` says which direction it is about.
pub(crate) fn interval(i: &Interval, of_two: bool, protocol: Protocol) -> String {
    let took = i.span.1.saturating_sub(i.span.0);
    let span = format!("{:.1}-{:.1} s", i.span.0.as_secs_f64(), i.span.1.as_secs_f64());
    let mut line = format!("{span:>14}");
    if of_two {
        line.push_str(if i.is_forward { "  sent    " } else { "  received" });
    }
    let moved = Bytes(i.figures.bytes).to_string();
    let speed = OrNone(rate(i.figures.bytes, took).map(Bits)).to_string();
    let _ = write!(line, "  {moved:>10}  {speed:>14}");
    if protocol == Protocol::Udp {
        if i.is_forward {
            let _ = write!(line, "  {} datagrams", i.figures.packets);
        } else {
            let lost = i.figures.lost.max(0);
            let _ = write!(
                line,
                "  {} datagrams, {lost} lost, jitter {}",
                i.figures.received,
                Time(i.figures.jitter_ns)
            );
        }
    }
    if let Some(retransmits) = i.retransmits {
        let _ = write!(line, "  {retransmits} resent");
    }
    if let Some(rtt) = i.rtt {
        let _ = write!(line, "  rtt {}", Time(rping_engine::time::nanos(rtt)));
    }
    if let Some(window) = i.congestion_window {
        let _ = write!(line, "  cwnd {}", Bytes(window));
    }
    if i.omitted {
        line.push_str("  (start-up)");
    }
    line
}

pub(crate) fn text(
    out: &mut dyn Write,
    style: Style,
    ended: &Ended<'_>,
    buckets: Option<usize>,
) -> io::Result<()> {
    let Some(outcome) = ended.outcome else {
        return Ok(());
    };
    let protocol = ended.client.parameters.protocol;
    writeln!(
        out,
        "\n{}",
        style.paint(Tone::Head, format_args!("--- {} ---", ended.name))
    )?;
    for side in &outcome.sides {
        if outcome.sides.len() > 1 {
            writeln!(out, "{}:", if side.is_forward { "forward" } else { "reverse" })?;
        }
        one_side(out, style, side, protocol)?;
    }
    cpu(out, outcome)?;
    if let Some(lateness) = &outcome.lateness {
        writeln!(
            out,
            "schedule: sent late by p50 {}, p99 {}, max {}",
            time(lateness.p50_ns),
            time(lateness.p99_ns),
            Time(lateness.max_ns)
        )?;
    }
    if let Some(found) = ended.latency {
        latency(out, style, found)?;
    }
    if let Some(buckets) = buckets {
        for is_forward in [true, false] {
            out.write_all(histogram(ended.intervals, is_forward, buckets).as_bytes())?;
        }
    }
    for verdict in ended.verdicts {
        let line = verdict.to_string();
        writeln!(
            out,
            "assertion {}",
            style.paint_if(!verdict.holds, Tone::Bad, line)
        )?;
    }
    for warning in ended.warnings {
        writeln!(out, "{} {warning}", style.paint(Tone::Warn, "warning:"))?;
    }
    Ok(())
}

fn one_side(out: &mut dyn Write, style: Style, side: &Side, protocol: Protocol) -> io::Result<()> {
    let line = |of: Option<Figures>, took: Duration| match of {
        None => "n/a (the far end did not say)".to_owned(),
        Some(of) => {
            let mut line = format!(
                "{} in {:.3} s, {}",
                Bytes(of.bytes),
                took.as_secs_f64(),
                OrNone(rate(of.bytes, took).map(Bits))
            );
            if protocol == Protocol::Udp {
                let _ = write!(line, ", {}", counted(of.received, "datagram", "datagrams"));
            }
            line
        }
    };
    let payload = match mode(side) {
        Some("discarded") => ", payload left unread",
        Some(_) => ", payload read",
        None => "",
    };
    let received = side.received.map_or("", |_| payload);
    writeln!(out, "sent:     {}", line(side.sent, side.sent_for))?;
    writeln!(out, "received: {}{received}", line(side.received, side.took))?;
    if protocol == Protocol::Udp {
        if let (Some((lost, ratio)), Some(received)) = (loss(side), side.received) {
            let loss = format!("{lost} lost ({})", Percent(ratio));
            let loss = style.paint_if(lost > 0, Tone::Bad, loss);
            write!(out, "{loss}, jitter {}", Time(received.jitter_ns))?;
            if side.knows_order {
                write!(out, ", {} out of order", received.reordered)?;
            }
            writeln!(out)?;
            if received.dropped > 0 {
                writeln!(
                    out,
                    "{} by the receiving host itself, whose buffer was full: not the network's loss",
                    counted(received.dropped, "of them was dropped", "of them were dropped")
                )?;
            }
        }
        if let Some(unseen) = side.unseen.filter(|&unseen| unseen > 0) {
            let why = match side.knows_order {
                true => "counted as lost",
                false => {
                    "lost at the very end, or left unread by a server that stops at once; not counted as lost"
                }
            };
            writeln!(
                out,
                "{} after the last that the far end saw: {why}",
                counted(unseen, "datagram was sent", "datagrams were sent")
            )?;
        }
    }
    if let Some(retransmits) = side.retransmits {
        writeln!(
            out,
            "{}",
            counted(retransmits, "segment sent again", "segments sent again")
        )?;
    }
    Ok(())
}

fn cpu(out: &mut dyn Write, outcome: &Outcome) -> io::Result<()> {
    write!(out, "CPU: here {:.0}%", outcome.cpu_local[0])?;
    if let Some(remote) = outcome.cpu_remote {
        write!(out, ", there {:.0}%", remote[0])?;
    }
    if let Some(congestion) = &outcome.congestion {
        write!(out, "; congestion control {congestion}")?;
    }
    if let Some(mss) = outcome.mss {
        write!(out, ", segments of {mss} bytes")?;
    }
    writeln!(out)
}

/// The rates of the intervals that count, in so many buckets of equal width.
fn histogram(intervals: &[Interval], is_forward: bool, buckets: usize) -> String {
    let rates: Vec<f64> = intervals
        .iter()
        .filter(|i| !i.omitted && i.is_forward == is_forward)
        .filter_map(|i| rate(i.figures.bytes, i.span.1.saturating_sub(i.span.0)))
        .collect();
    let (Some(least), Some(most)) = (
        rates.iter().copied().reduce(f64::min),
        rates.iter().copied().reduce(f64::max),
    ) else {
        return String::new();
    };
    let width = ((most - least) / buckets as f64).max(1.0);
    let mut counts = vec![0usize; buckets];
    for rate in &rates {
        let place = (((rate - least) / width) as usize).min(buckets - 1);
        if let Some(count) = counts.get_mut(place) {
            *count += 1;
        }
    }
    let fullest = counts.iter().copied().max().unwrap_or(0).max(1);
    let mut lines = format!("{:>16}  intervals\n", "rate ≥");
    for (place, count) in counts.iter().enumerate() {
        let from = Bits(least + place as f64 * width).to_string();
        let line = format!(
            "{from:>16}  {count:>9}  {}",
            "#".repeat((count * 40).div_ceil(fullest))
        );
        let _ = writeln!(lines, "{}", line.trim_end());
    }
    lines
}

/// Round trips before the load and under it, and each direction's part.
fn latency(out: &mut dyn Write, style: Style, found: &Findings) -> io::Result<()> {
    writeln!(
        out,
        "latency beside it: STAMP to {}, a probe each {}; one-way delays by an estimated clock offset",
        found.reflector,
        setting(found.interval)
    )?;
    for (word, of) in [("idle", &found.idle), ("loaded", &found.loaded)] {
        let lost = of.sent.saturating_sub(of.received);
        let sent = format!("{} sent, {lost} lost", of.sent);
        let sent = style.paint_if(lost > 0, Tone::Bad, sent);
        write!(out, "{word:>8}: {sent}")?;
        for (name, delays) in [
            ("round trip", &of.round_trip),
            ("forward", &of.forward),
            ("reverse", &of.reverse),
        ] {
            let q = |q| time(delays.histogram.quantile(q));
            write!(out, "; {name} p50 {}, p99 {}", q(0.5), q(0.99))?;
        }
        match of.clock_error {
            Some(off) => writeln!(out, "; one way off by {} at most", Time(off))?,
            None => writeln!(out)?,
        }
    }
    let rpm = |of: &Latency| OrNone(of.round_trips_per_minute().map(|rpm| format!("{rpm:.0}")));
    writeln!(
        out,
        "{} round trips per minute under load, {} idle",
        rpm(&found.loaded),
        rpm(&found.idle)
    )
}
