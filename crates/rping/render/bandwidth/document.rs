//! The document of a throughput test: the frame of `rping.run/1`, described by `docs/schema/rping.bandwidth-1.json`.

use std::io::{self, Write};
use std::time::Duration;

use rping_peer::beside::{Delays, Findings, Latency};
use rping_peer::iperf::{End, Interval, Protocol, Side};
use serde::Serialize;

use super::{loss, mode, rate, throughput, Ended};
use crate::render::frame::{AssertionDoc, Frame, Lateness, Timestamps, SCHEMA};
use crate::render::{clock, json, Out};

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
    skip_rx_copy: bool,
    gso: bool,
}

#[derive(Serialize)]
struct Instrument<'a> {
    timestamps: Timestamps,
    pacing: Option<&'static str>,
    lateness_ns: Lateness,
    local_drops: u64,
    warnings: &'a [String],
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
    unseen: Option<u64>,
    dropped_by_receiver: Option<u64>,
    reordered: Option<u64>,
    jitter_ns: Option<u64>,
    retransmits: Option<u64>,
    /// What became of the payload at the receiver: `read` or `discarded`.
    payload: Option<&'static str>,
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
    latency: Option<LatencyDoc>,
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
pub(super) struct IntervalDoc {
    pub(super) direction: &'static str,
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    pub(super) omitted: bool,
    pub(super) bytes: u64,
    pub(super) bits_per_second: Option<f64>,
    pub(super) packets: Option<u64>,
    pub(super) lost: Option<u64>,
    pub(super) jitter_ns: Option<u64>,
    pub(super) retransmits: Option<u64>,
    pub(super) rtt_ns: Option<u64>,
    pub(super) congestion_window_bytes: Option<u64>,
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
            unseen: side.unseen.filter(|_| is_udp),
            // iperf3's results carry neither from the far end.
            dropped_by_receiver: received.filter(|_| side.knows_order).map(|f| f.dropped),
            reordered: received.filter(|_| side.knows_order).map(|f| f.reordered),
            jitter_ns: received.map(|f| f.jitter_ns),
            retransmits: side.retransmits,
            payload: mode(side),
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
            unseen: self.unseen.or(other.unseen),
            dropped_by_receiver: added(self.dropped_by_receiver, other.dropped_by_receiver),
            reordered: added(self.reordered, other.reordered),
            jitter_ns: self.jitter_ns.max(other.jitter_ns),
            retransmits: added(self.retransmits, other.retransmits),
            payload: self.payload.filter(|mode| other.payload == Some(mode)),
        }
    }
}

/// `-o json`: the whole, laid out for people to read.
pub(crate) fn document(out: &mut Out, ended: &Ended<'_>) -> io::Result<()> {
    json::pretty(out, &whole(ended, None))?;
    out.write_all(b"\n")?;
    out.flush()
}

/// The document of a test; `kind` is the value of a leading key `type`, for streams.
pub(super) fn whole<'a>(ended: &Ended<'a>, kind: Option<&'static str>) -> impl Serialize + 'a {
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
    let lateness = ended.outcome.and_then(|outcome| outcome.lateness);
    let answered = all.received_bytes.is_some_and(|bytes| bytes > 0);
    let cpu = |percent: Option<[f64; 3]>| {
        percent.map(|[total_percent, user_percent, system_percent]| CpuDoc {
            total_percent,
            user_percent,
            system_percent,
        })
    };
    Frame {
        kind,
        schema: SCHEMA,
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
                End::After(Duration::MAX) => None,
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
            skip_rx_copy: p.skip_receive_copy,
            gso: p.segments,
        },
        instrument: Instrument {
            timestamps: Timestamps::default(),
            pacing: (p.bandwidth > 0).then_some("precise"),
            lateness_ns: Lateness {
                p50: lateness.and_then(|of| of.p50_ns),
                p99: lateness.and_then(|of| of.p99_ns),
                max: lateness.map(|of| of.max_ns),
            },
            local_drops: dropped_here(sides),
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
            latency: ended.latency.map(LatencyDoc::of),
            all,
        }],
        assertions: ended.verdicts.iter().cloned().map(AssertionDoc::of).collect(),
    }
}

impl IntervalDoc {
    pub(super) fn of(i: &Interval, protocol: Protocol) -> IntervalDoc {
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

/// Datagrams that this host dropped itself.
fn dropped_here(sides: &[Side]) -> u64 {
    let here = sides.iter().filter(|side| !side.is_forward);
    here.filter_map(|side| Some(side.received?.dropped)).sum()
}

#[derive(Serialize)]
struct LatencyDoc {
    reflector: String,
    interval_ns: u64,
    /// How the one-way delays came about.
    clock_offset: &'static str,
    idle: PhaseDoc,
    loaded: PhaseDoc,
}

#[derive(Serialize)]
struct PhaseDoc {
    sent: u64,
    received: u64,
    lost: u64,
    rtt_ns: DelaysDoc,
    forward_ns: DelaysDoc,
    reverse_ns: DelaysDoc,
    clock_error_ns: Option<u64>,
    round_trips_per_minute: Option<f64>,
}

#[derive(Serialize)]
struct DelaysDoc {
    min: Option<u64>,
    mean: Option<u64>,
    max: Option<u64>,
    p50: Option<u64>,
    p90: Option<u64>,
    p99: Option<u64>,
}

impl LatencyDoc {
    fn of(found: &Findings) -> LatencyDoc {
        LatencyDoc {
            reflector: found.reflector.to_string(),
            interval_ns: nanos(found.interval),
            clock_offset: "estimated",
            idle: PhaseDoc::of(&found.idle),
            loaded: PhaseDoc::of(&found.loaded),
        }
    }
}

impl PhaseDoc {
    fn of(of: &Latency) -> PhaseDoc {
        PhaseDoc {
            sent: of.sent,
            received: of.received,
            lost: of.sent.saturating_sub(of.received),
            rtt_ns: DelaysDoc::of(&of.round_trip),
            forward_ns: DelaysDoc::of(&of.forward),
            reverse_ns: DelaysDoc::of(&of.reverse),
            clock_error_ns: of.clock_error,
            round_trips_per_minute: of.round_trips_per_minute(),
        }
    }
}

impl DelaysDoc {
    fn of(delays: &Delays) -> DelaysDoc {
        let q = |q| delays.histogram.quantile(q);
        DelaysDoc {
            min: delays.moments.min(),
            mean: delays.moments.mean().map(|mean| mean.round() as u64),
            max: delays.moments.max(),
            p50: q(0.5),
            p90: q(0.9),
            p99: q(0.99),
        }
    }
}
