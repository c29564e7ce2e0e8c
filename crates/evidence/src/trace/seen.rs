//! A captured packet reduced to what two captures of it have in common, and to what may be changed on the way.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io::Read;
use std::net::IpAddr;

use crate::capture::packet::{self, Ip, Network, Tcp, Transport};
use crate::capture::{LinkType, ReadError, Reader};

/// Packets of one capture that are compared; about 130 bytes each.
pub const MOST_PACKETS: usize = 1 << 20;
/// Payload bytes that tell one packet from another: sequence numbers and nonces stand at the beginning.
const TELLING: usize = 48;

/// One direction of a conversation, as one side sees it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Flow {
    /// The IP protocol: 6 TCP, 17 UDP, 1 and 58 ICMP.
    pub protocol: u8,
    /// Who sends.
    pub source: IpAddr,
    /// The source port; of an ICMP echo its identifier.
    pub source_port: u16,
    /// To whom.
    pub destination: IpAddr,
    /// The destination port; of an ICMP echo its identifier.
    pub destination_port: u16,
}

impl Flow {
    /// The other direction.
    pub fn reversed(self) -> Flow {
        Flow {
            protocol: self.protocol,
            source: self.destination,
            source_port: self.destination_port,
            destination: self.source,
            destination_port: self.source_port,
        }
    }
}

/// One packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) stamp: u64,
    pub(super) flow: Flow,
    /// What no router and no address translator changes.
    pub(super) key: u64,
    /// The IP identification, 0 where there is none: translators keep it, some firewalls do not.
    pub(super) id: u32,
    pub(super) ttl: u8,
    pub(super) dscp: u8,
    pub(super) mss: Option<u16>,
    /// TCP: the first sequence number and how many it takes.
    pub(super) range: Option<(u32, u32)>,
    /// Bytes behind the IP header.
    pub(super) length: u32,
    /// The capturing host sent it, where the link layer tells.
    pub(super) sent_here: Option<bool>,
}

/// One capture, as far as it could be read.
#[derive(Debug, Default)]
pub struct Side {
    /// Packets in the file.
    pub packets: u64,
    /// Of them, what is compared: unicast IP.
    pub compared: u64,
    /// Packets beyond the [`MOST_PACKETS`] that are compared.
    pub beyond: u64,
    /// Stamps of the first and the last packet, nanoseconds since 1970.
    pub span: Option<(u64, u64)>,
    /// Where and why reading ended early.
    pub damage: Option<String>,
    /// UDP datagrams larger than any link carries: segmentation offload, which cannot be compared datagram by datagram.
    pub large_datagrams: u64,
    pub(super) seen: Vec<Seen>,
    /// The shortest payload among packets that the capture cut short.
    pub(super) telling: usize,
}

/// What of a packet was read, before it is known how much of the payload both captures hold.
struct Raw {
    seen: Seen,
    payload: Vec<u8>,
}

/// Reads two captures.
///
/// # Errors
/// What is no capture; a file that is damaged later gives the packets before.
pub(super) fn load(a: impl Read, b: impl Read) -> Result<(Side, Side), (char, ReadError)> {
    let (mut one, first) = read(a).map_err(|error| ('A', error))?;
    let (mut two, second) = read(b).map_err(|error| ('B', error))?;
    let telling = one.telling.min(two.telling);
    one.seen = first.into_iter().map(|raw| raw.cut(telling)).collect();
    two.seen = second.into_iter().map(|raw| raw.cut(telling)).collect();
    Ok((one, two))
}

fn read(from: impl Read) -> Result<(Side, Vec<Raw>), ReadError> {
    let mut side = Side {
        telling: TELLING,
        ..Side::default()
    };
    let mut raws = Vec::new();
    for record in Reader::open(from)? {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                side.damage = Some(error.to_string());
                break;
            }
        };
        side.packets += 1;
        let (first, last) = side.span.unwrap_or((record.stamp, record.stamp));
        side.span = Some((first.min(record.stamp), last.max(record.stamp)));
        let Some(Network::Ip(ip)) = packet::parse(record.link, &record.bytes) else {
            continue;
        };
        if !is_compared(&ip) {
            continue;
        }
        if raws.len() >= MOST_PACKETS {
            side.beyond += 1;
            continue;
        }
        side.compared += 1;
        let payload = payload(&ip);
        if (ip.body.len() as u32) < ip.body_length {
            side.telling = side.telling.min(payload.len());
        }
        side.large_datagrams +=
            u64::from(ip.protocol == 17 && ip.fragment.is_none() && ip.body_length > 9_000);
        raws.push(Raw {
            seen: seen(&ip, record.stamp, sent_here(record.link, &record.bytes)),
            payload: payload.get(..TELLING).unwrap_or(payload).to_vec(),
        });
    }
    Ok((side, raws))
}

/// The kind of a cooked packet tells who sent it: 4 is outgoing, 0 to us.
fn sent_here(link: LinkType, frame: &[u8]) -> Option<bool> {
    let kind = match link {
        LinkType::Cooked => *frame.get(1)?,
        LinkType::Cooked2 => *frame.get(10)?,
        _ => return None,
    };
    match kind {
        4 => Some(true),
        0 => Some(false),
        _ => None,
    }
}

fn is_compared(ip: &Ip<'_>) -> bool {
    let is_group = match ip.destination {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_multicast(),
    };
    // Neighbour discovery stays on its link.
    let is_neighbour = ip.protocol == 58
        && matches!(ip.transport, Transport::Icmp { kind, .. } if (133..=137).contains(&kind));
    !is_group && !is_neighbour
}

/// What tells packets of a flow apart beside their headers.
fn payload<'a>(ip: &Ip<'a>) -> &'a [u8] {
    let from = match ip.transport {
        Transport::Tcp(tcp) => usize::from(tcp.header),
        Transport::Udp { .. } => 8,
        // Behind an error's header stands the quoted packet, whose addresses a translator changes.
        Transport::Icmp { quoted: Some(_), .. } => return &[],
        Transport::Icmp { .. } => 8,
        Transport::Other => 0,
    };
    ip.body.get(from..).unwrap_or(&[])
}

fn seen(ip: &Ip<'_>, stamp: u64, sent_here: Option<bool>) -> Seen {
    let mut hasher = DefaultHasher::new();
    (ip.protocol, ip.fragment, ip.body_length).hash(&mut hasher);
    let mut flow = Flow {
        protocol: ip.protocol,
        source: ip.source,
        source_port: 0,
        destination: ip.destination,
        destination_port: 0,
    };
    let (mut mss, mut range) = (None, None);
    match ip.transport {
        Transport::Tcp(tcp) => {
            (flow.source_port, flow.destination_port) = (tcp.source, tcp.destination);
            (tcp.sequence, tcp.acknowledgment, tcp.flags).hash(&mut hasher);
            if tcp.flags & Tcp::SYN == 0 {
                // Window and options: time stamps tell one acknowledgment from the next. Those of a SYN may be changed.
                ip.body.get(14..16).hash(&mut hasher);
                ip.body.get(20..tcp.header.into()).hash(&mut hasher);
            }
            mss = tcp.mss;
            range = (tcp.span() > 0).then(|| (tcp.sequence, tcp.span()));
        }
        Transport::Udp { source, destination } => {
            (flow.source_port, flow.destination_port) = (source, destination);
        }
        Transport::Icmp {
            kind,
            code,
            echo,
            quoted,
        } => {
            (kind, code, echo.map(|(_, sequence)| sequence)).hash(&mut hasher);
            if let Some((id, _)) = echo {
                (flow.source_port, flow.destination_port) = (id, id);
            }
            if let Some(inner) = quoted.and_then(packet::ip) {
                (inner.protocol, inner.id, inner.body_length).hash(&mut hasher);
                if let Transport::Tcp(tcp) = inner.transport {
                    tcp.sequence.hash(&mut hasher);
                }
            }
        }
        Transport::Other => {}
    }
    Seen {
        stamp,
        flow,
        key: hasher.finish(),
        id: ip.id.unwrap_or(0),
        ttl: ip.ttl,
        dscp: ip.dscp,
        mss,
        range,
        length: ip.body_length,
        sent_here,
    }
}

impl Raw {
    /// The packet, told apart by as much of the payload as both captures hold of every packet.
    fn cut(self, telling: usize) -> Seen {
        let mut hasher = DefaultHasher::new();
        self.seen.key.hash(&mut hasher);
        self.payload
            .get(..telling)
            .unwrap_or(&self.payload)
            .hash(&mut hasher);
        Seen {
            key: hasher.finish(),
            ..self.seen
        }
    }
}
