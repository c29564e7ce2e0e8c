//! Two captures of the same traffic, taken at two places: what left one and never arrived at the other, and what was
//! changed on the way.
//!
//! Packets are paired by what neither routers nor address translators change (sequence numbers, identification,
//! payload), never by time: the two clocks need not agree, and their difference comes out as a result. TCP is compared
//! by sequence numbers where the pieces differ, since offload cuts and joins packets at either end.

mod pair;
mod seen;

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::net::IpAddr;

use serde::Serialize;

use crate::capture::ReadError;
use pair::Flows;
use seen::Seen;
pub use seen::{Flow, Side, MOST_PACKETS};

/// Different changes of one field that are listed for one flow.
const MOST_CHANGES: usize = 16;
/// Lost packets that are listed by their time for one flow.
const MOST_LISTED: usize = 10;

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
    /// Packets of conversations with others than the other side, which cannot be compared.
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
    report.add_unmapped(&in_a, &in_b, &map, &sent_by_a, apart);
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

    /// Flows that one capture alone holds: all of it was lost, if the other end is at the other side at all.
    fn add_unmapped(
        &mut self,
        in_a: &Flows,
        in_b: &Flows,
        map: &BTreeMap<Flow, Flow>,
        from_a: &[bool],
        apart: i128,
    ) {
        let mut at_a = HashSet::new();
        let mut at_b = HashSet::new();
        for ((one, other), from_a) in map.iter().zip(from_a) {
            // As either side knows the ends: a translator between them gives them other names.
            let (mine, theirs) = if *from_a {
                ([one.source, other.source], [one.destination, other.destination])
            } else {
                ([one.destination, other.destination], [one.source, other.source])
            };
            at_a.extend(mine);
            at_b.extend(theirs);
        }
        let taken: HashSet<&Flow> = map.values().collect();
        let lonely_a: Vec<_> = in_a.iter().filter(|(flow, _)| !map.contains_key(flow)).collect();
        let lonely_b: Vec<_> = in_b.iter().filter(|(flow, _)| !taken.contains(flow)).collect();
        for (is_a, lonely, theirs, is_alone) in [
            (true, lonely_a, &at_b, in_b.is_empty()),
            (false, lonely_b, &at_a, in_a.is_empty()),
        ] {
            for (flow, packets) in lonely {
                let (sender, receiver) = if is_a {
                    (&self.a, &self.b)
                } else {
                    (&self.b, &self.a)
                };
                let came_here = packets
                    .iter()
                    .all(|&place| sender.seen[place].sent_here == Some(false));
                // Towards the other side, or to anywhere where the other capture is empty.
                let is_between =
                    (theirs.contains(&flow.destination) || (is_alone && map.is_empty())) && !came_here;
                if !is_between {
                    self.elsewhere += packets.len() as u64;
                    continue;
                }
                let mut report = empty(is_a, *flow);
                report.left = packets.len() as u64;
                report.retransmits = retransmits(&sender.seen, packets);
                let lost: Vec<(usize, u64)> = packets
                    .iter()
                    .map(|&place| {
                        let span = sender.seen[place].range.map_or(0, |(_, span)| span.into());
                        (place, span)
                    })
                    .collect();
                lose(
                    &mut report,
                    &sender.seen,
                    &lost,
                    receiver.span,
                    if is_a { apart } else { -apart },
                );
                self.push(report);
            }
        }
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

fn end(address: IpAddr, port: u16, protocol: u8) -> String {
    match protocol {
        6 | 17 => std::net::SocketAddr::new(address, port).to_string(),
        _ => address.to_string(),
    }
}

fn empty(from_a: bool, flow: Flow) -> FlowReport {
    FlowReport {
        direction: if from_a { Direction::AToB } else { Direction::BToA },
        protocol: match flow.protocol {
            1 => "icmp".to_owned(),
            6 => "tcp".to_owned(),
            17 => "udp".to_owned(),
            58 => "icmpv6".to_owned(),
            other => other.to_string(),
        },
        from: end(flow.source, flow.source_port, flow.protocol),
        to: end(flow.destination, flow.destination_port, flow.protocol),
        from_arrived: None,
        to_arrived: None,
        left: 0,
        arrived: 0,
        lost: 0,
        lost_bytes: 0,
        lost_at_the_edge: 0,
        lost_at_ns: Vec::new(),
        appeared: 0,
        retransmits: 0,
        changes: Vec::new(),
        delay: None,
    }
}

/// `apart` is the receiver's clock less the sender's.
fn lose(
    report: &mut FlowReport,
    sender: &[Seen],
    lost: &[(usize, u64)],
    span: Option<(u64, u64)>,
    apart: i128,
) {
    for &(place, missing) in lost {
        let packet = &sender[place];
        report.lost += 1;
        report.lost_bytes += match packet.range {
            Some(_) => missing,
            None if report.protocol == "tcp" => 0,
            None => packet.length.into(),
        };
        let there = i128::from(packet.stamp) + apart;
        let inside =
            span.is_some_and(|(first, last)| (i128::from(first)..=i128::from(last)).contains(&there));
        report.lost_at_the_edge += u64::from(!inside);
        if report.lost_at_ns.len() < MOST_LISTED {
            report.lost_at_ns.push(packet.stamp);
        }
    }
}

/// TCP packets that carry nothing but what was sent before.
fn retransmits(sender: &[Seen], packets: &[usize]) -> u64 {
    let mut highest: Option<u32> = None;
    let mut again = 0;
    for (begin, span) in packets.iter().filter_map(|&place| sender[place].range) {
        let end = begin.wrapping_add(span);
        match highest {
            // At or below what has been reached, in the half of the space behind it.
            Some(reached) if (end.wrapping_sub(reached) as i32) <= 0 => again += 1,
            _ => highest = Some(end),
        }
    }
    again
}

fn changes(sender: &[Seen], receiver: &[Seen], pairs: &[(usize, usize)]) -> Vec<Change> {
    let mut counts: BTreeMap<(&'static str, String, String), u64> = BTreeMap::new();
    for &(left, came) in pairs {
        let (left, came) = (&sender[left], &receiver[came]);
        let mut compare = |field, before: String, after: String| {
            if before == after {
                return;
            }
            let known = counts.keys().filter(|(name, ..)| *name == field).count();
            let change = (field, before, after);
            if known < MOST_CHANGES || counts.contains_key(&change) {
                *counts.entry(change).or_default() += 1;
            }
        };
        let (one, other) = (&left.flow, &came.flow);
        compare("source", one.source.to_string(), other.source.to_string());
        compare(
            "destination",
            one.destination.to_string(),
            other.destination.to_string(),
        );
        let ports = matches!(one.protocol, 6 | 17);
        let name = if ports { "source_port" } else { "icmp_id" };
        compare(name, one.source_port.to_string(), other.source_port.to_string());
        if ports {
            compare(
                "destination_port",
                one.destination_port.to_string(),
                other.destination_port.to_string(),
            );
        }
        compare("ttl", left.ttl.to_string(), came.ttl.to_string());
        compare("dscp", left.dscp.to_string(), came.dscp.to_string());
        let mss = |mss: Option<u16>| mss.map_or("none".to_owned(), |mss| mss.to_string());
        compare("mss", mss(left.mss), mss(came.mss));
    }
    counts
        .into_iter()
        .map(|((field, left, arrived), packets)| Change {
            field,
            left,
            arrived,
            packets,
        })
        .collect()
}

fn delay(sender: &[Seen], receiver: &[Seen], pairs: &[(usize, usize)]) -> Option<Delay> {
    let mut apart: Vec<i128> = pairs
        .iter()
        .map(|&(left, came)| i128::from(receiver[came].stamp) - i128::from(sender[left].stamp))
        .collect();
    apart.sort_unstable();
    let least = *apart.first()?;
    let above = |at: usize| {
        apart
            .get(at)
            .and_then(|at| u64::try_from(at - least).ok())
            .unwrap_or(0)
    };
    Some(Delay {
        packets: apart.len() as u64,
        p50_above_min_ns: above(apart.len() / 2),
        max_above_min_ns: above(apart.len() - 1),
    })
}

#[cfg(test)]
mod tests;
