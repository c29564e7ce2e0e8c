//! What a reflector's answers tell beside the round trip: on which way what happened, how long it held them, and what it saw
//! of the probes' headers.

use std::net::SocketAddr;

use rping_engine::{Sequence, TargetId, Timestamp};
use rping_net::Clock;
use rping_wire::stamp::{tlv, ReflectorPacket};

use crate::course::{Kept, Point};
use crate::delay::{self, Delay, Gathered, OneWay, Span};
use crate::placement::{Memory, Placement};

/// Departures that are remembered over all targets; more than lie between a probe and its answer.
const DEPARTURES: usize = 1 << 17;
/// The most for one target: a second of 16 000 probes.
const DEPARTURES_MOST: usize = 1 << 14;

/// Answers of which the delays are kept one by one, over all targets and for one.
const COURSE: usize = 1 << 16;
const COURSE_MOST: usize = 1 << 12;

/// One way of a path. Numbers that no later packet tells are `None`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Way {
    /// Probes that went this way.
    pub sent: u64,
    /// Of these, those known to have arrived.
    pub received: u64,
    /// Of these, those known to be lost on it.
    pub lost: u64,
    /// Copies made on it.
    pub duplicates: Option<u64>,
    /// Packets that arrived after a later one (RFC 4737).
    pub reordered: Option<u64>,
    /// Its delay.
    pub delay: Option<Delay>,
}

/// What the answers of one reflector told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Directions {
    /// From here to the reflector.
    pub forward: Way,
    /// From the reflector to here.
    pub reverse: Way,
    /// Lost probes that no later packet places on either way, and those that were answered too late.
    pub unattributed: u64,
    /// How the reflector numbers its answers.
    pub memory: Memory,
    /// How often it began anew.
    pub restarts: u64,
    /// How long it held the probes: T3 − T2, by its own clock.
    pub residence: Option<Span>,
    /// How far its clock is estimated to be ahead of ours, nanoseconds.
    pub offset: Option<i64>,
    /// The lowest and the highest TTL or hop limit with which probes arrived there.
    pub ttl: Option<(u8, u8)>,
    /// The DSCP and the ECN bits with which the last probe that asked arrived there.
    pub class: Option<tlv::ClassSeen>,
    /// One-way delays as they went, evenly spread over the answers: a few thousand at most.
    pub course: Vec<Point>,
}

/// One target's.
#[derive(Clone, Debug)]
struct Trail {
    placement: Placement,
    forward: OneWay,
    reverse: OneWay,
    course: Kept,
    residence: Gathered,
    ttl: Option<(u8, u8)>,
    class: Option<tlv::ClassSeen>,
    /// The slowest round trip, nanoseconds: how long to wait for what answers a closing packet.
    slowest: u64,
    next: u64,
    /// The socket by which answers come.
    socket: Option<usize>,
}

/// All targets'.
#[derive(Debug)]
pub(crate) struct Trails {
    all: Vec<Trail>,
    warmup: u64,
    departures: Vec<(u32, Timestamp)>,
    per_target: usize,
    /// What is added to the monotonic clock for the wall clock's time; taken once: a step must not look like delay.
    wall: i128,
}

impl Trails {
    pub(crate) fn new(targets: &[SocketAddr], warmup: u64) -> Trails {
        let count = targets.len();
        let per_target = (DEPARTURES / count.max(1)).min(DEPARTURES_MOST);
        // Rounded down to what a mask can do; none where there are too many targets for it.
        let per_target = if per_target < 64 {
            0
        } else {
            1 << per_target.ilog2()
        };
        let trail = Trail {
            placement: Placement::new(count, warmup),
            forward: OneWay::default(),
            reverse: OneWay::default(),
            course: Kept::new((COURSE / count.max(1)).min(COURSE_MOST)),
            residence: Gathered::default(),
            ttl: None,
            class: None,
            slowest: 0,
            next: 0,
            socket: None,
        };
        Trails {
            all: vec![trail; count],
            warmup,
            departures: vec![(u32::MAX, Timestamp::ZERO); per_target * count],
            per_target,
            wall: Clock.wall_nanos(Timestamp::ZERO),
        }
    }

    fn slot(&mut self, target: TargetId, low: u32) -> Option<&mut (u32, Timestamp)> {
        let within = low as usize & self.per_target.checked_sub(1)?;
        self.departures.get_mut(target.index() * self.per_target + within)
    }

    /// A probe left, or its better stamp came.
    pub(crate) fn left(&mut self, target: TargetId, low: u32, at: Timestamp) {
        if let Some(slot) = self.slot(target, low) {
            *slot = (low, at);
        }
    }

    /// The next number to be sent is this or above.
    pub(crate) fn sending(&mut self, target: TargetId, seq: Sequence) {
        if let Some(trail) = self.all.get_mut(target.index()) {
            trail.next = trail.next.max(seq.0 + 1);
        }
    }

    /// What follows the highest number that was sent.
    pub(crate) fn next(&self, target: TargetId) -> u64 {
        self.all.get(target.index()).map_or(0, |trail| trail.next)
    }

    pub(crate) fn silent(&mut self, target: TargetId, seq: Sequence) {
        if let Some(trail) = self.all.get_mut(target.index()) {
            trail.placement.lost(seq.0);
        }
    }

    pub(crate) fn closing(&mut self, target: TargetId, seq: u64) {
        if let Some(trail) = self.all.get_mut(target.index()) {
            trail.placement.closing(seq);
            trail.next = trail.next.max(seq + 1);
        }
    }

    /// A reflector's answer to the probe `seq`; `tail` is what follows its base packet. Closing packets are no measurement.
    pub(crate) fn answered(
        &mut self,
        target: TargetId,
        socket: usize,
        (seq, is_closing): (u64, bool),
        packet: &ReflectorPacket,
        tail: &[u8],
        at: Timestamp,
    ) {
        let wall = self.wall;
        let left = self.slot(target, seq as u32).copied();
        let left = left.filter(|&(low, _)| low == seq as u32).map(|(_, left)| left);
        let is_measured = seq >= self.warmup && !is_closing;
        let Some(trail) = self.all.get_mut(target.index()) else {
            return;
        };
        match trail.socket {
            Some(before) if before != socket => {
                // First contacts leave by a socket of their own, whose late answers are of another session.
                if trail.placement.newest().is_none_or(|newest| seq > newest) {
                    trail.placement.moved(seq, packet.seq);
                    trail.placement.answered(seq, packet.seq);
                    trail.socket = Some(socket);
                }
            }
            _ => {
                trail.socket = Some(socket);
                trail.placement.answered(seq, packet.seq);
            }
        }
        trail.class = tlv::class_seen(tail).or(trail.class);
        if let Some(ttl) = packet.sender_ttl.filter(|_| is_measured) {
            let (least, most) = trail.ttl.unwrap_or((ttl, ttl));
            trail.ttl = Some((least.min(ttl), most.max(ttl)));
        }
        if let Some(left) = left {
            trail.slowest = trail.slowest.max(at.nanos_since(left));
        }
        let (Some(t2), Some(t3), true) = (
            packet.received_unix_nanos(),
            packet.sent_unix_nanos(),
            is_measured,
        ) else {
            return;
        };
        let Some(held) = t3.checked_sub(t2) else { return };
        trail.residence.record(held);
        let ours = |at: Timestamp| wall + i128::from(at.as_nanos());
        let raw = |n: i128| i64::try_from(n).ok();
        if let Some(left) = left {
            let there = raw(i128::from(t2) - ours(left));
            let back = raw(ours(at) - i128::from(t3));
            if let (Some(there), Some(back)) = (there, back) {
                trail.forward.record(there);
                trail.reverse.record(back);
                trail.course.record(left, there, back);
            }
        }
    }

    /// Whether this number is a closing packet's.
    pub(crate) fn is_closing(&self, target: TargetId, seq: u64) -> bool {
        let trail = self.all.get(target.index());
        trail.is_some_and(|trail| trail.placement.is_closing(seq))
    }

    /// Whether a reflector answered this target's probes.
    pub(crate) fn is_heard(&self, target: TargetId) -> bool {
        self.all
            .get(target.index())
            .is_some_and(|trail| trail.placement.is_heard())
    }

    /// The slowest round trip of all, nanoseconds.
    pub(crate) fn slowest(&self) -> u64 {
        self.all.iter().map(|trail| trail.slowest).max().unwrap_or(0)
    }

    /// What this target's answers told, the engine having counted so many sent (without those that were refused), received
    /// and lost; `None` where no reflector answered. `is_timed`: the wall clock made no step.
    pub(crate) fn conclude(
        &self,
        target: TargetId,
        (sent, received, lost): (u64, u64, u64),
        is_timed: bool,
    ) -> Option<Directions> {
        let trail = self
            .all
            .get(target.index())
            .filter(|trail| trail.placement.is_heard())?;
        let verdict = trail.placement.clone().conclude();
        let delays = delay::both(&trail.forward, &trail.reverse).filter(|_| is_timed);
        // The engine's word decides what is lost; what it lost and we heard of after all is placed on neither way.
        let there = verdict.forward.lost.min(lost);
        let back = verdict.reverse.lost.min(lost - there);
        let known = verdict.memory == Memory::Stateful;
        let way = |sent, received, lost, placed: &crate::placement::Placed, delay| Way {
            sent,
            received,
            lost,
            duplicates: known.then_some(placed.duplicates),
            reordered: known.then_some(placed.reordered),
            delay,
        };
        let arrived = received + back;
        Some(Directions {
            forward: way(sent, arrived, there, &verdict.forward, delays.map(|d| d.0)),
            reverse: way(arrived, received, back, &verdict.reverse, delays.map(|d| d.1)),
            unattributed: lost - there - back,
            memory: verdict.memory,
            restarts: trail.placement.restarts(),
            residence: trail.residence.span(),
            offset: delays.map(|d| d.2),
            ttl: trail.ttl,
            class: trail.class,
            course: delays.map_or_else(Vec::new, |of| trail.course.by(of.2)),
        })
    }
}
