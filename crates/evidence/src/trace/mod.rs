//! Two captures of the same traffic, taken at two places: what left one and never arrived at the other, and what was
//! changed on the way.
//!
//! Packets are paired by what neither routers nor address translators change (sequence numbers, identification,
//! payload), never by time: the two clocks need not agree, and their difference comes out as a result. TCP is compared
//! by sequence numbers where the pieces differ, since offload cuts and joins packets at either end.

mod flow;
mod lonely;
mod pair;
mod seen;

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::net::IpAddr;

use serde::Serialize;

use crate::capture::ReadError;
use flow::{changes, delay, empty, end, lose, retransmits};
use seen::Seen;
pub use seen::{Flow, Side, MOST_PACKETS};

/// Which way packets went.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From A's side to B's.
    AToB,
    /// From B's side to A's.
    BToA,
}

/// A field that was not the same at both ends, and in how many packets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Change {
    /// `source`, `destination`, `source_port`, `destination_port`, `icmp_id`, `ttl`, `dscp` or `mss`.
    pub field: &'static str,
    /// As it left.
    pub left: String,
    /// As it arrived.
    pub arrived: String,
    /// In so many packets.
    pub packets: u64,
}

/// How long packets were under way, above the fastest of them: free of both clocks' difference.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Delay {
    /// Of so many packets.
    pub packets: u64,
    /// The median, nanoseconds above the fastest.
    pub p50_above_min_ns: u64,
    /// The slowest, nanoseconds above the fastest.
    pub max_above_min_ns: u64,
}

/// What became of one direction of one conversation.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct FlowReport {
    /// Which way.
    pub direction: Direction,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, or the number.
    pub protocol: String,
    /// Sender and receiver as the sender's side saw them.
    pub from: String,
    /// To whom, there.
    pub to: String,
    /// Sender and receiver as the other side saw them, where that was otherwise.
    pub from_arrived: Option<String>,
    /// To whom, there.
    pub to_arrived: Option<String>,
    /// Packets captured at the sender's side.
    pub left: u64,
    /// Of them, those that were captured at the receiver's side, whole.
    pub arrived: u64,
    /// Of them, those that were not, or not whole. `left = arrived + lost`.
    pub lost: u64,
    /// Bytes of payload (TCP: sequence numbers) lost with them.
    pub lost_bytes: u64,
    /// Of the lost ones, those from before the other capture's first or after its last packet: lost only if it was
    /// running then.
    pub lost_at_the_edge: u64,
    /// When the first of the lost ones left, nanoseconds since 1970 by the sender's clock.
    pub lost_at_ns: Vec<u64>,
    /// Packets captured at the receiver's side that nobody was seen to send.
    pub appeared: u64,
    /// TCP: packets that carried again what had been sent before.
    pub retransmits: u64,
    /// What was changed on the way.
    pub changes: Vec<Change>,
    /// Time under way.
    pub delay: Option<Delay>,
}

/// Both directions' sums.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Totals {
    /// As in [`FlowReport`].
    pub left: u64,
    /// As in [`FlowReport`].
    pub arrived: u64,
    /// As in [`FlowReport`].
    pub lost: u64,
    /// As in [`FlowReport`].
    pub lost_bytes: u64,
    /// As in [`FlowReport`].
    pub appeared: u64,
    /// As in [`FlowReport`].
    pub retransmits: u64,
}

/// How the two clocks stood to each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Clocks {
    /// B's clock less A's, nanoseconds, if both ways take the same time.
    pub offset_ns: i64,
    /// It may be wrong by so much: half of the fastest way there and back.
    pub error_ns: u64,
    /// The fastest way there and back, which needs no clock to agree.
    pub round_trip_ns: u64,
}

/// What the two captures amount to.
#[derive(Debug)]
pub struct Report {
    /// What was read of A.
    pub a: Side,
    /// What was read of B.
    pub b: Side,
    /// From A to B.
    pub a_to_b: Totals,
    /// From B to A.
    pub b_to_a: Totals,
    /// Each flow between the two sides, those that lost most first.
    pub flows: Vec<FlowReport>,
    /// Packets that cannot be compared: of conversations with others than the other side, or that the other side began
    /// and its capture holds nothing of.
    pub elsewhere: u64,
    /// The clocks, where packets went both ways.
    pub clocks: Option<Clocks>,
    /// What a reader has to know before believing the figures.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether at least one packet was found in both captures.
    pub fn compares(&self) -> bool {
        self.flows.iter().any(|flow| flow.delay.is_some())
    }
}

/// Compares a capture taken at A with one taken at B.
///
/// # Errors
/// Which of the two (`'A'`, `'B'`) is no capture, and why.
pub fn compare(a: impl Read, b: impl Read) -> Result<Report, (char, ReadError)> {
    let (a, b) = seen::load(a, b)?;
    Ok(judge(a, b))
}

/// A flow that both captures hold: its names, its packets.
struct Mapped {
    in_a: Flow,
    in_b: Flow,
    paired: pair::Paired,
    /// Above 0: A's side sends it.
    votes: i64,
    /// The median of B's stamp less A's.
    apart: Option<i128>,
}

fn judge(a: Side, b: Side) -> Report {
    let (in_a, in_b) = (pair::flows(&a.seen), pair::flows(&b.seen));
    let map = pair::map_flows(&a.seen, &in_a, &b.seen, &in_b);
    let mut mapped: Vec<Mapped> = map
        .iter()
        .filter_map(|(one, other)| {
            let paired = pair::pair(&a.seen, in_a.get(one)?, &b.seen, in_b.get(other)?);
            Some(weigh(*one, *other, paired, &a.seen, &b.seen))
        })
        .collect();
    let mut notes = Vec::new();
    let sent_by_a = orient(&mapped, &mut notes);
    let mut report = Report {
        a_to_b: Totals::default(),
        b_to_a: Totals::default(),
        flows: Vec::new(),
        elsewhere: 0,
        clocks: clocks(&mapped, &sent_by_a, &a.seen, &b.seen),
        notes: Vec::new(),
        a,
        b,
    };
    // B's clock less A's, for the edges of the captures alone.
    let apart = median(mapped.iter().filter_map(|flow| flow.apart).collect()).unwrap_or(0);
    for (flow, from_a) in mapped.drain(..).zip(&sent_by_a) {
        report.add(flow, *from_a, apart);
    }
    notes.extend(report.add_lonely(&in_a, &in_b, &map, &sent_by_a, apart));
    report.flows.sort_by(|one, other| {
        (other.lost, other.left, &one.from, &one.to).cmp(&(one.lost, one.left, &other.from, &other.to))
    });
    notes.extend(report.warn());
    report.notes = notes;
    report
}

fn weigh(in_a: Flow, in_b: Flow, paired: pair::Paired, a: &[Seen], b: &[Seen]) -> Mapped {
    let mut votes = 0i64;
    let mut apart = Vec::with_capacity(paired.pairs.len());
    for &(one, other) in &paired.pairs {
        let (one, other) = (&a[one], &b[other]);
        apart.push(i128::from(other.stamp) - i128::from(one.stamp));
        votes += match (one.sent_here, other.sent_here) {
            (Some(true), Some(false)) => 4,
            (Some(false), Some(true)) => -4,
            (Some(true), None) | (None, Some(false)) => 2,
            (Some(false), None) | (None, Some(true)) => -2,
            // Routers count the TTL down, so it is larger where the packet came from.
            _ => i64::from(one.ttl.cmp(&other.ttl) as i8),
        };
    }
    Mapped {
        in_a,
        in_b,
        paired,
        votes,
        apart: median(apart),
    }
}

fn median(mut values: Vec<i128>) -> Option<i128> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

/// For each flow whether A's side sends it.
fn orient(mapped: &[Mapped], notes: &mut Vec<String>) -> Vec<bool> {
    let places: BTreeMap<Flow, usize> = mapped
        .iter()
        .enumerate()
        .map(|(n, flow)| (flow.in_a, n))
        .collect();
    let back = |flow: &Mapped| places.get(&flow.in_a.reversed()).map(|&place| &mapped[place]);
    // What a conversation's packets tell of themselves; else time: a packet is later where it arrives, so of the two
    // directions the one whose packets are later at B goes there, whatever the clocks say.
    let mut sure: Vec<Option<bool>> = mapped
        .iter()
        .map(|flow| {
            let other = back(flow);
            let votes = flow.votes - other.map_or(0, |other| other.votes);
            let late = flow.apart.zip(other.and_then(|other| other.apart));
            match (votes, late) {
                (1.., _) => Some(true),
                (..=-1, _) => Some(false),
                (0, Some((there, back))) if there != back => Some(there > back),
                _ => None,
            }
        })
        .collect();
    // Then by address: who sends one flow sends the others too.
    let addresses = |wanted: bool| -> HashSet<IpAddr> {
        mapped
            .iter()
            .zip(&sure)
            .filter_map(|(flow, sure)| match sure {
                Some(from_a) if *from_a == wanted => Some(flow.in_a.source),
                Some(_) => Some(flow.in_a.destination),
                None => None,
            })
            .collect()
    };
    let at_a = addresses(true);
    let at_b: HashSet<IpAddr> = addresses(false).difference(&at_a).copied().collect();
    let mut guessed = None;
    for (flow, sure) in mapped.iter().zip(&mut sure) {
        if sure.is_some() {
            continue;
        }
        *sure = if at_a.contains(&flow.in_a.source) || at_b.contains(&flow.in_a.destination) {
            Some(true)
        } else if at_b.contains(&flow.in_a.source) || at_a.contains(&flow.in_a.destination) {
            Some(false)
        } else {
            // Nothing tells: the sender of the first packet that was compared is taken to be at A.
            let sender = *guessed.get_or_insert(flow.in_a.source);
            Some(flow.in_a.source == sender)
        };
    }
    if let Some(sender) = guessed {
        notes.push(format!(
            "direction: nothing in the packets tells at which side {sender} is: it is taken to be at A"
        ));
    }
    sure.into_iter().map(|sure| sure.unwrap_or(true)).collect()
}

fn clocks(mapped: &[Mapped], from_a: &[bool], a: &[Seen], b: &[Seen]) -> Option<Clocks> {
    let least = |wanted: bool| {
        mapped
            .iter()
            .zip(from_a)
            .filter(|(_, from_a)| **from_a == wanted)
            .flat_map(|(flow, _)| &flow.paired.pairs)
            .map(|&(one, other)| {
                let apart = i128::from(b[other].stamp) - i128::from(a[one].stamp);
                if wanted {
                    apart
                } else {
                    -apart
                }
            })
            .min()
    };
    let (there, back) = (least(true)?, least(false)?);
    let round_trip = there + back;
    Some(Clocks {
        offset_ns: i64::try_from((there - back) / 2).ok()?,
        error_ns: u64::try_from(round_trip.max(0) / 2).ok()?,
        round_trip_ns: u64::try_from(round_trip.max(0)).ok()?,
    })
}

impl Report {
    fn add(&mut self, flow: Mapped, from_a: bool, apart: i128) {
        let Mapped {
            in_a, in_b, paired, ..
        } = flow;
        let pairs: Vec<(usize, usize)> = match from_a {
            true => paired.pairs,
            false => paired
                .pairs
                .into_iter()
                .map(|(one, other)| (other, one))
                .collect(),
        };
        let (sender, receiver, names) = match from_a {
            true => (&self.a, &self.b, (in_a, in_b)),
            false => (&self.b, &self.a, (in_b, in_a)),
        };
        let (only_left, only_came) = match from_a {
            true => (paired.only_a, paired.only_b),
            false => (paired.only_b, paired.only_a),
        };
        let ranges = pair::by_range(&sender.seen, &only_left, &receiver.seen, &only_came);
        let mut all: Vec<usize> = pairs.iter().map(|&(left, _)| left).chain(only_left).collect();
        all.sort_unstable();
        let (sent_as, came_as) = names;
        let there = sent_as != came_as;
        let mut report = empty(from_a, sent_as);
        report.from_arrived = there.then(|| end(came_as.source, came_as.source_port, came_as.protocol));
        report.to_arrived =
            there.then(|| end(came_as.destination, came_as.destination_port, came_as.protocol));
        report.left = all.len() as u64;
        report.arrived = pairs.len() as u64 + ranges.arrived;
        report.appeared = ranges.appeared.len() as u64;
        report.retransmits = retransmits(&sender.seen, &all);
        report.changes = changes(&sender.seen, &receiver.seen, &pairs);
        report.delay = delay(&sender.seen, &receiver.seen, &pairs);
        lose(
            &mut report,
            &sender.seen,
            &ranges.lost,
            receiver.span,
            if from_a { apart } else { -apart },
        );
        self.push(report);
    }

    fn push(&mut self, flow: FlowReport) {
        let totals = match flow.direction {
            Direction::AToB => &mut self.a_to_b,
            Direction::BToA => &mut self.b_to_a,
        };
        totals.left += flow.left;
        totals.arrived += flow.arrived;
        totals.lost += flow.lost;
        totals.lost_bytes += flow.lost_bytes;
        totals.appeared += flow.appeared;
        totals.retransmits += flow.retransmits;
        self.flows.push(flow);
    }

    fn warn(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for (name, side) in [("A", &self.a), ("B", &self.b)] {
            if let Some(damage) = &side.damage {
                notes.push(format!("{name}: {damage}"));
            }
            if side.beyond > 0 {
                notes.push(format!(
                    "{name}: the first {MOST_PACKETS} packets are compared, {} are left out; split the file",
                    side.beyond
                ));
            }
            if side.large_datagrams > 0 {
                notes.push(format!(
                    "{name}: {} UDP datagrams are larger than a link carries: segmentation offload joined them, and they \
                     are compared as they stand; turn it off (ethtool -K DEV gro off gso off) to compare datagram by datagram",
                    side.large_datagrams
                ));
            }
        }
        if !self.compares() {
            notes.push(
                "no packet is in both captures: other hosts, another time, or nothing arrived".to_owned(),
            );
        }
        let edge: u64 = self.flows.iter().map(|flow| flow.lost_at_the_edge).sum();
        if edge > 0 {
            notes.push(format!(
                "{edge} of the lost packets are from before the other capture's first or after its last packet: they are \
                 lost only if it was running then"
            ));
        }
        if self.a_to_b.appeared + self.b_to_a.appeared > 0 {
            notes.push(
                "packets arrived that were not seen to leave: the capture there missed some, began later, or something \
                 on the way made them"
                    .to_owned(),
            );
        }
        notes
    }
}

#[cfg(test)]
mod tests;
