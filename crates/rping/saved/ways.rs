//! What a reflector's answers told of each way, as a saved run holds it.

use rping_engine::Timestamp;
use rping_udp::{ClassSeen, Delay, Directions, Memory, Point, Span, Way};
use serde::{Deserialize, Serialize};

/// Both ways, and the reflector itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ways {
    pub forward: WayText,
    pub reverse: WayText,
    pub unattributed: u64,
    /// How the reflector numbers its answers: stateful, stateless, unknown.
    pub numbers: String,
    #[serde(default)]
    pub restarts: u64,
    #[serde(default)]
    pub residence_ns: Option<SpanText>,
    #[serde(default)]
    pub clock_offset_ns: Option<i64>,
    /// The lowest and the highest that arrived there.
    #[serde(default)]
    pub ttl: Option<(u8, u8)>,
    /// DSCP and ECN as they arrived there.
    #[serde(default)]
    pub class: Option<(u8, u8)>,
    /// When probes left, and how long they and their answers were on their way, nanoseconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub course: Vec<(u64, u64, u64)>,
}

/// One way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WayText {
    pub sent: u64,
    pub received: u64,
    pub lost: u64,
    #[serde(default)]
    pub duplicates: Option<u64>,
    #[serde(default)]
    pub reordered: Option<u64>,
    #[serde(default)]
    pub delay_ns: Option<DelayText>,
}

/// A one-way delay.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DelayText {
    #[serde(flatten)]
    pub span: SpanText,
    #[serde(default)]
    pub stddev: Option<u64>,
    #[serde(default)]
    pub ipdv_mean: Option<u64>,
    pub clock_error_ns: u64,
}

/// The least, mean and most of something.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SpanText {
    pub count: u64,
    pub min: u64,
    pub mean: u64,
    pub max: u64,
}

impl WayText {
    fn of(way: &Way) -> WayText {
        WayText {
            sent: way.sent,
            received: way.received,
            lost: way.lost,
            duplicates: way.duplicates,
            reordered: way.reordered,
            delay_ns: way.delay.map(|delay| DelayText {
                span: SpanText {
                    count: delay.count,
                    min: delay.min,
                    mean: delay.mean,
                    max: delay.max,
                },
                stddev: delay.stddev,
                ipdv_mean: delay.variation,
                clock_error_ns: delay.clock_error,
            }),
        }
    }

    fn read(&self) -> Way {
        Way {
            sent: self.sent,
            received: self.received,
            lost: self.lost,
            duplicates: self.duplicates,
            reordered: self.reordered,
            delay: self.delay_ns.as_ref().map(|delay| Delay {
                count: delay.span.count,
                min: delay.span.min,
                mean: delay.span.mean,
                max: delay.span.max,
                stddev: delay.stddev,
                variation: delay.ipdv_mean,
                clock_error: delay.clock_error_ns,
            }),
        }
    }
}

impl Ways {
    pub fn of(told: &Directions, started: Timestamp) -> Ways {
        Ways {
            forward: WayText::of(&told.forward),
            reverse: WayText::of(&told.reverse),
            unattributed: told.unattributed,
            numbers: told.memory.as_str().to_owned(),
            restarts: told.restarts,
            residence_ns: told.residence.map(|span| SpanText {
                count: span.count,
                min: span.min,
                mean: span.mean,
                max: span.max,
            }),
            clock_offset_ns: told.offset,
            ttl: told.ttl,
            class: told.class.map(|class| (class.dscp, class.ecn)),
            course: told
                .course
                .iter()
                .map(|point| (point.left.nanos_since(started), point.forward, point.reverse))
                .collect(),
        }
    }

    pub fn read(&self) -> Directions {
        let mut known = [Memory::Stateful, Memory::Stateless].into_iter();
        Directions {
            forward: self.forward.read(),
            reverse: self.reverse.read(),
            unattributed: self.unattributed,
            memory: known
                .find(|memory| memory.as_str() == self.numbers)
                .unwrap_or_default(),
            restarts: self.restarts,
            residence: self.residence_ns.as_ref().map(|span| Span {
                count: span.count,
                min: span.min,
                mean: span.mean,
                max: span.max,
            }),
            offset: self.clock_offset_ns,
            ttl: self.ttl,
            class: self.class.map(|(dscp, ecn)| ClassSeen { dscp, ecn }),
            course: self
                .course
                .iter()
                .map(|&(left, forward, reverse)| Point {
                    left: Timestamp::from_nanos(left),
                    forward,
                    reverse,
                })
                .collect(),
        }
    }
}
