//! What the packets of one flow tell: what was lost, sent again, changed on the way, and how late it came.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::seen::{Flow, Seen};
use super::{Change, Delay, Direction, FlowReport};

/// Different changes of one field that are listed for one flow.
const MOST_CHANGES: usize = 16;
/// Lost packets that are listed by their time for one flow.
const MOST_LISTED: usize = 10;

pub(super) fn end(address: IpAddr, port: u16, protocol: u8) -> String {
    match protocol {
        6 | 17 => std::net::SocketAddr::new(address, port).to_string(),
        _ => address.to_string(),
    }
}

pub(super) fn empty(from_a: bool, flow: Flow) -> FlowReport {
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
pub(super) fn lose(
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
pub(super) fn retransmits(sender: &[Seen], packets: &[usize]) -> u64 {
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

pub(super) fn changes(sender: &[Seen], receiver: &[Seen], pairs: &[(usize, usize)]) -> Vec<Change> {
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

pub(super) fn delay(sender: &[Seen], receiver: &[Seen], pairs: &[(usize, usize)]) -> Option<Delay> {
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
