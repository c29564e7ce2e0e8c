//! How a throughput test is shown: a line per interval, what both ends say at the end, or one JSON document.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use rping_peer::iperf::{Client, End, Figures, Interval, Outcome, Protocol, Side};
use serde::Serialize;

use super::style::{Style, Tone};
use super::units::{counted, setting, Bits, Bytes, OrNone, Percent, Time};
use super::{clock, document, json};
use crate::assertion::{Throughput, Verdict};
use crate::report::Epoch;

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
}

fn rate(bytes: u64, took: Duration) -> Option<f64> {
    (!took.is_zero()).then(|| bytes as f64 * 8.0 / took.as_secs_f64())
}

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
        End::After(time) => write!(line, ", {}", setting(time)),
        End::Bytes(bytes) => write!(line, ", {}", Bytes(bytes)),
    };
    if p.omit > 0 {
        let _ = write!(line, " after {}s of start-up", p.omit);
    }
    if p.skip_receive_copy {
        line.push_str(", payload dropped unread");
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

/// What one direction came to, for assertions.
pub(crate) fn throughput(side: &Side, protocol: Protocol) -> Throughput {
    let is_udp = protocol == Protocol::Udp;
    Throughput {
        bits_per_second: side.received.and_then(|received| rate(received.bytes, side.took)),
        loss: is_udp.then(|| loss(side)).flatten().map(|(_, ratio)| ratio),
        jitter_ns: side.received.filter(|_| is_udp).map(|r| r.jitter_ns as f64),
    }
}

/// Datagrams lost, and their part of those that the receiver should have seen.
fn loss(side: &Side) -> Option<(u64, f64)> {
    let received = side.received?;
    let lost = received.lost.max(0).unsigned_abs();
    let seen = received.packets.max(received.received);
    (seen > 0).then(|| (lost, lost as f64 / seen as f64))
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
                let _ = write!(line, ", {} datagrams", of.received.max(1).min(of.received));
            }
            line
        }
    };
    writeln!(out, "sent:     {}", line(side.sent, side.sent_for))?;
    writeln!(out, "received: {}", line(side.received, side.took))?;
    if protocol == Protocol::Udp {
        if let (Some((lost, ratio)), Some(received)) = (loss(side), side.received) {
            let loss = format!("{lost} lost ({})", Percent(ratio));
            let loss = style.paint_if(lost > 0, Tone::Bad, loss);
            write!(out, "{loss}, jitter {}", Time(received.jitter_ns))?;
            if received.reordered > 0 {
                write!(out, ", {} out of order", received.reordered)?;
            }
            writeln!(out)?;
        }
        if let (Some(sent), Some(received)) = (side.sent, side.received) {
            let behind = sent.packets.saturating_sub(received.packets);
            if side.is_forward && behind > 0 {
                writeln!(
                    out,
                    "{} not seen by the receiver before it ended: on the way, or lost at the very end",
                    counted(behind, "datagram was", "datagrams were")
                )?;
            }
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

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    version: &'static str,
    command: &'static str,
    started_at: String,
    duration_ns: u64,
    interrupted: bool,
    failure: Option<&'a str>,
    options: Options<'a>,
    instrument: Instrument<'a>,
    totals: Totals,
    targets: [Target<'a>; 1],
    assertions: Vec<document::AssertionDoc>,
}

#[derive(Serialize)]
struct Options<'a> {
    count: Option<u64>,
    duration_ns: Option<u64>,
    interval_ns: u64,
    timeout_ns: u64,
    warmup: u64,
    size: usize,
    protocol: &'static str,
    reverse: bool,
    bidirectional: bool,
    parallel: u16,
    omit_ns: u64,
    bits_per_second: Option<u64>,
    congestion: Option<&'a str>,
    mss: Option<u32>,
    skip_receive_copy: bool,
}

#[derive(Serialize)]
struct Instrument<'a> {
    timestamps: Stamps,
    pacing: Option<&'static str>,
    lateness_ns: Lateness,
    local_drops: u64,
    warnings: &'a [String],
}

#[derive(Serialize)]
struct Stamps {
    tx: Option<&'static str>,
    rx: Option<&'static str>,
}

#[derive(Serialize)]
struct Lateness {
    p50: Option<u64>,
    p99: Option<u64>,
    max: Option<u64>,
}

#[derive(Serialize)]
struct Totals {
    targets: u64,
    answered: u64,
    attempted: Option<u64>,
    sent: Option<u64>,
    received: Option<u64>,
    rejected: Option<u64>,
    lost: Option<u64>,
    not_sent: Option<u64>,
}

#[derive(Serialize, Default)]
struct DirectionDoc {
    sent_bytes: Option<u64>,
    received_bytes: Option<u64>,
    duration_ns: Option<u64>,
    bits_per_second: Option<f64>,
    packets: Option<u64>,
    received_packets: Option<u64>,
    lost: Option<u64>,
    loss_ratio: Option<f64>,
    reordered: Option<u64>,
    jitter_ns: Option<u64>,
    retransmits: Option<u64>,
}

#[derive(Serialize)]
struct Target<'a> {
    target: &'a str,
    address: String,
    port: u16,
    error: Option<&'a str>,
    #[serde(flatten)]
    all: DirectionDoc,
    forward: Option<DirectionDoc>,
    reverse: Option<DirectionDoc>,
    cpu: Cpu,
    congestion: Option<&'a str>,
    mss: Option<u32>,
    intervals: Vec<IntervalDoc>,
}

/// Per cent of one core.
#[derive(Serialize)]
struct Cpu {
    local: Option<CpuDoc>,
    remote: Option<CpuDoc>,
}

#[derive(Serialize)]
struct CpuDoc {
    total_percent: f64,
    user_percent: f64,
    system_percent: f64,
}

#[derive(Serialize)]
struct IntervalDoc {
    direction: &'static str,
    start_ns: u64,
    end_ns: u64,
    omitted: bool,
    bytes: u64,
    bits_per_second: Option<f64>,
    packets: Option<u64>,
    lost: Option<u64>,
    jitter_ns: Option<u64>,
    retransmits: Option<u64>,
    rtt_ns: Option<u64>,
    congestion_window_bytes: Option<u64>,
}

fn nanos(d: Duration) -> u64 {
    rping_engine::time::nanos(d)
}

impl DirectionDoc {
    fn of(side: &Side, protocol: Protocol) -> DirectionDoc {
        let is_udp = protocol == Protocol::Udp;
        let of = throughput(side, protocol);
        let received = side.received.filter(|_| is_udp);
        DirectionDoc {
            sent_bytes: side.sent.map(|f| f.bytes),
            received_bytes: side.received.map(|f| f.bytes),
            duration_ns: Some(nanos(side.took)),
            bits_per_second: of.bits_per_second,
            packets: side.sent.filter(|_| is_udp).map(|f| f.received.max(f.packets)),
            received_packets: received.map(|f| f.received),
            lost: is_udp.then(|| loss(side)).flatten().map(|(lost, _)| lost),
            loss_ratio: of.loss,
            // iperf3's results do not carry it from the far end.
            reordered: received.filter(|_| !side.is_forward).map(|f| f.reordered),
            jitter_ns: received.map(|f| f.jitter_ns),
            retransmits: side.retransmits,
        }
    }

    /// Both directions together: what adds up is added, the time is the longer, the jitter the greater.
    fn plus(self, other: DirectionDoc) -> DirectionDoc {
        fn added(a: Option<u64>, b: Option<u64>) -> Option<u64> {
            Some(a?.saturating_add(b?))
        }
        let (lost, packets) = (added(self.lost, other.lost), added(self.packets, other.packets));
        DirectionDoc {
            sent_bytes: added(self.sent_bytes, other.sent_bytes),
            received_bytes: added(self.received_bytes, other.received_bytes),
            duration_ns: self.duration_ns.max(other.duration_ns),
            bits_per_second: self
                .bits_per_second
                .zip(other.bits_per_second)
                .map(|(a, b)| a + b),
            packets,
            received_packets: added(self.received_packets, other.received_packets),
            lost,
            loss_ratio: lost
                .zip(packets)
                .filter(|(_, packets)| *packets > 0)
                .map(|(lost, packets)| lost as f64 / packets as f64),
            reordered: added(self.reordered, other.reordered),
            jitter_ns: self.jitter_ns.max(other.jitter_ns),
            retransmits: added(self.retransmits, other.retransmits),
        }
    }
}

pub(crate) fn document(out: &mut super::Out, ended: &Ended<'_>) -> io::Result<()> {
    let client = ended.client;
    let p = &client.parameters;
    let sides = ended
        .outcome
        .map(|outcome| outcome.sides.as_slice())
        .unwrap_or_default();
    let docs = || sides.iter().map(|side| DirectionDoc::of(side, p.protocol));
    let of_two = |is_forward: bool| {
        let side = sides.iter().find(|side| side.is_forward == is_forward)?;
        (sides.len() > 1).then(|| DirectionDoc::of(side, p.protocol))
    };
    let all = docs().reduce(DirectionDoc::plus).unwrap_or_default();
    let is_udp = p.protocol == Protocol::Udp;
    let answered = all.received_bytes.is_some_and(|bytes| bytes > 0);
    let cpu = |percent: Option<[f64; 3]>| {
        percent.map(|[total_percent, user_percent, system_percent]| CpuDoc {
            total_percent,
            user_percent,
            system_percent,
        })
    };
    let document = Document {
        schema: "rping.run/1",
        version: env!("CARGO_PKG_VERSION"),
        command: "bandwidth",
        started_at: clock::nanos(&ended.epoch, ended.epoch.started).to_string(),
        duration_ns: nanos(ended.duration),
        interrupted: ended.outcome.is_some_and(|outcome| outcome.interrupted),
        failure: ended.failure,
        options: Options {
            count: match client.end {
                End::Bytes(bytes) => bytes.checked_div(p.length as u64),
                End::After(_) => None,
            },
            duration_ns: match client.end {
                End::After(time) => Some(nanos(time)),
                End::Bytes(_) => None,
            },
            interval_ns: nanos(client.interval),
            timeout_ns: nanos(client.patience),
            warmup: 0,
            size: p.length,
            protocol: if is_udp { "udp" } else { "tcp" },
            reverse: p.reverse,
            bidirectional: p.bidirectional,
            parallel: p.parallel,
            omit_ns: u64::from(p.omit) * 1_000_000_000,
            bits_per_second: Some(p.bandwidth).filter(|&bits| bits > 0),
            congestion: p.congestion.as_deref(),
            mss: p.mss,
            skip_receive_copy: p.skip_receive_copy,
        },
        instrument: Instrument {
            timestamps: Stamps { tx: None, rx: None },
            pacing: (p.bandwidth > 0).then_some("precise"),
            lateness_ns: Lateness {
                p50: None,
                p99: None,
                max: None,
            },
            local_drops: 0,
            warnings: ended.warnings,
        },
        totals: Totals {
            targets: 1,
            answered: u64::from(answered),
            attempted: all.packets,
            sent: all.packets,
            received: all.received_packets,
            rejected: None,
            lost: all.lost,
            not_sent: None,
        },
        targets: [Target {
            target: ended.name,
            address: crate::job::show_ip(client.server),
            port: client.server.port(),
            error: ended.failure.filter(|_| ended.outcome.is_none()),
            forward: of_two(true),
            reverse: of_two(false),
            cpu: Cpu {
                local: cpu(ended.outcome.map(|outcome| outcome.cpu_local)),
                remote: cpu(ended.outcome.and_then(|outcome| outcome.cpu_remote)),
            },
            congestion: ended.outcome.and_then(|outcome| outcome.congestion.as_deref()),
            mss: ended.outcome.and_then(|outcome| outcome.mss),
            intervals: ended
                .intervals
                .iter()
                .map(|i| IntervalDoc::of(i, p.protocol))
                .collect(),
            all,
        }],
        assertions: ended
            .verdicts
            .iter()
            .cloned()
            .map(document::AssertionDoc::of)
            .collect(),
    };
    json::pretty(out, &document)?;
    out.write_all(b"\n")?;
    out.flush()
}

impl IntervalDoc {
    fn of(i: &Interval, protocol: Protocol) -> IntervalDoc {
        let is_udp = protocol == Protocol::Udp;
        let counts_loss = is_udp && !i.is_forward;
        IntervalDoc {
            direction: if i.is_forward { "forward" } else { "reverse" },
            start_ns: nanos(i.span.0),
            end_ns: nanos(i.span.1),
            omitted: i.omitted,
            bytes: i.figures.bytes,
            bits_per_second: rate(i.figures.bytes, i.span.1.saturating_sub(i.span.0)),
            packets: is_udp.then_some(i.figures.packets),
            lost: counts_loss.then(|| i.figures.lost.max(0).unsigned_abs()),
            jitter_ns: counts_loss.then_some(i.figures.jitter_ns),
            retransmits: i.retransmits,
            rtt_ns: i.rtt.map(nanos),
            congestion_window_bytes: i.congestion_window,
        }
    }
}
