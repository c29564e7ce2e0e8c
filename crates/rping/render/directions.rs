//! What a STAMP reflector's answers tell of each way: in the document, and in words.

use std::fmt::Write as _;

use rping_udp::{Delay, Directions, Memory, Span, Way};
use serde::Serialize;

use super::units::{counted, Time};

/// One way of a path.
#[derive(Serialize)]
pub(super) struct WayDoc {
    sent: u64,
    received: u64,
    lost: u64,
    duplicates: Option<u64>,
    reordered: Option<u64>,
    delay_ns: Option<DelayDoc>,
    clock_error_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arrived: Option<ArrivedDoc>,
}

#[derive(Serialize)]
struct DelayDoc {
    count: u64,
    min: u64,
    mean: u64,
    max: u64,
    stddev: Option<u64>,
    ipdv_mean: Option<u64>,
    clock_error_ns: u64,
    /// Where the offset between the clocks comes from.
    clock: &'static str,
}

/// With which header fields probes arrived.
#[derive(Serialize)]
struct ArrivedDoc {
    ttl_min: Option<u8>,
    ttl_max: Option<u8>,
    dscp: Option<u8>,
    ecn: Option<u8>,
}

/// The far end itself.
#[derive(Serialize)]
pub(super) struct ReflectorDoc {
    numbers: &'static str,
    restarts: u64,
    residence_ns: Option<SpanDoc>,
    clock_offset_ns: Option<i64>,
}

#[derive(Serialize)]
struct SpanDoc {
    count: u64,
    min: u64,
    mean: u64,
    max: u64,
}

impl DelayDoc {
    fn of(delay: Delay) -> DelayDoc {
        DelayDoc {
            count: delay.count,
            min: delay.min,
            mean: delay.mean,
            max: delay.max,
            stddev: delay.stddev,
            ipdv_mean: delay.variation,
            clock_error_ns: delay.clock_error,
            clock: "estimated",
        }
    }
}

impl WayDoc {
    pub(super) fn of(way: &Way) -> WayDoc {
        WayDoc {
            sent: way.sent,
            received: way.received,
            lost: way.lost,
            duplicates: way.duplicates,
            reordered: way.reordered,
            delay_ns: way.delay.map(DelayDoc::of),
            clock_error_ns: way.delay.map(|delay| delay.clock_error),
            arrived: None,
        }
    }

    pub(super) fn forward(directions: &Directions) -> WayDoc {
        WayDoc {
            arrived: Some(ArrivedDoc {
                ttl_min: directions.ttl.map(|(least, _)| least),
                ttl_max: directions.ttl.map(|(_, most)| most),
                dscp: directions.class.map(|class| class.dscp),
                ecn: directions.class.map(|class| class.ecn),
            }),
            ..WayDoc::of(&directions.forward)
        }
    }
}

impl ReflectorDoc {
    pub(super) fn of(directions: &Directions) -> ReflectorDoc {
        ReflectorDoc {
            numbers: directions.memory.as_str(),
            restarts: directions.restarts,
            residence_ns: directions.residence.map(|span| SpanDoc {
                count: span.count,
                min: span.min,
                mean: span.mean,
                max: span.max,
            }),
            clock_offset_ns: directions.offset,
        }
    }
}

/// The lines of a target's block.
pub(super) fn lines(directions: &Directions) -> String {
    let mut text = String::new();
    let Directions {
        forward,
        reverse,
        unattributed,
        ..
    } = directions;
    let _ = writeln!(text, "forward: {}{}", way(forward), arrived(directions));
    let _ = writeln!(text, "reverse: {}", way(reverse));
    if *unattributed > 0 {
        let why = match directions.memory {
            Memory::Stateless => "the reflector copies our numbers, which tells no direction",
            Memory::Unknown => "nothing shows whether the reflector counts by itself",
            Memory::Stateful => "nothing in its numbers places them, or they were answered too late",
        };
        let _ = writeln!(text, "unattributed: {unattributed} lost; {why}");
    }
    if let Some(Span { min, mean, max, .. }) = directions.residence {
        let _ = write!(
            text,
            "reflector: held probes for min/avg/max = {} / {} / {}, contained in the round trips",
            Time(min),
            Time(mean),
            Time(max)
        );
        match directions.restarts {
            0 => text.push('\n'),
            n => {
                let _ = writeln!(text, "; began anew {}", counted(n, "time", "times"));
            }
        }
    }
    if let Some(delay) = forward.delay {
        let _ = writeln!(
            text,
            "one-way delays: by an estimated offset of the clocks, off by {} at most",
            Time(delay.clock_error)
        );
    }
    text
}

fn way(way: &Way) -> String {
    let mut line = format!("{} of {} lost", way.lost, way.sent);
    for (count, what) in [(way.duplicates, "doubled"), (way.reordered, "out of order")] {
        if let Some(count) = count.filter(|&count| count > 0) {
            let _ = write!(line, ", {count} {what}");
        }
    }
    if let Some(delay) = way.delay {
        let [min, mean, max] = [delay.min, delay.mean, delay.max].map(Time);
        let _ = write!(line, "; delay min/avg/max ≈ {min} / {mean} / {max}");
        if let Some(variation) = delay.variation {
            let _ = write!(line, ", varying by {}", Time(variation));
        }
    }
    line
}

/// How the probes' headers looked at the far end.
fn arrived(directions: &Directions) -> String {
    let ttl = directions.ttl.map(|(least, most)| match least == most {
        true => format!("TTL {least}"),
        false => format!("TTL {least} to {most}"),
    });
    let dscp = directions.class.map(|class| format!("DSCP {}", class.dscp));
    let all: Vec<String> = ttl.into_iter().chain(dscp).collect();
    if all.is_empty() {
        return String::new();
    }
    format!("; arrived with {}", all.join(", "))
}
