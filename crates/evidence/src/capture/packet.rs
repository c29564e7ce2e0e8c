//! A captured packet's headers, from the link layer to the transport.
//!
//! Reads as much as is there: a packet cut short by the capture still gives the headers that it holds. Checked slices
//! only; nothing is believed about lengths that the bytes do not bear out.

use std::net::IpAddr;

use super::LinkType;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ARP: u16 = 0x0806;

/// What a packet is, above the link layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Network<'a> {
    /// IPv4 or IPv6.
    Ip(Ip<'a>),
    /// ARP (RFC 826): who asks or answers, and for whom.
    Arp {
        /// 1 request, 2 reply.
        operation: u16,
        /// The sender's protocol address.
        sender: IpAddr,
        /// The target's.
        target: IpAddr,
    },
}

/// An IP packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ip<'a> {
    /// Who sent it.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// DSCP, 0 to 63.
    pub dscp: u8,
    /// The IPv4 identification; of IPv6, that of a fragment.
    pub id: Option<u32>,
    /// It is a piece of a packet: where it begins, bytes.
    pub fragment: Option<u32>,
    /// The protocol above, after extension headers.
    pub protocol: u8,
    /// What is above.
    pub transport: Transport<'a>,
    /// The bytes behind the IP headers, as far as they were captured, without padding of the link layer.
    pub body: &'a [u8],
    /// How long they were in the packet itself.
    pub body_length: u32,
}

/// What an IP packet carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport<'a> {
    /// TCP (RFC 9293).
    Tcp(Tcp),
    /// UDP (RFC 768).
    Udp {
        /// The source port.
        source: u16,
        /// The destination port.
        destination: u16,
    },
    /// ICMP or ICMPv6.
    Icmp {
        /// The type.
        kind: u8,
        /// The code.
        code: u8,
        /// Identifier and sequence number of an echo or its reply.
        echo: Option<(u16, u16)>,
        /// The packet that an error quotes, from its IP header on.
        quoted: Option<&'a [u8]>,
    },
    /// Something else, a later fragment, or too short to tell.
    Other,
}

/// The fields of a TCP header that matter here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tcp {
    /// The source port.
    pub source: u16,
    /// The destination port.
    pub destination: u16,
    /// Sequence number of the first byte, or of SYN.
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
    /// FIN 1, SYN 2, RST 4, PSH 8, ACK 16.
    pub flags: u8,
    /// The header's length, bytes.
    pub header: u8,
    /// Payload bytes in the packet, however many were captured.
    pub length: u32,
    /// The maximum segment size of a SYN.
    pub mss: Option<u16>,
}

impl Tcp {
    /// FIN.
    pub const FIN: u8 = 1;
    /// SYN.
    pub const SYN: u8 = 2;
    /// RST.
    pub const RST: u8 = 4;
    /// ACK.
    pub const ACK: u8 = 16;

    /// How much sequence space it takes: payload, SYN and FIN.
    pub fn span(&self) -> u32 {
        self.length + u32::from(self.flags & Tcp::SYN != 0) + u32::from(self.flags & Tcp::FIN != 0)
    }
}

/// Reads the headers of a captured frame; `None` where it is neither IP nor ARP.
pub fn parse(link: LinkType, frame: &[u8]) -> Option<Network<'_>> {
    let (ethertype, packet) = network(link, frame)?;
    match ethertype {
        IPV4 => ipv4(packet).map(Network::Ip),
        IPV6 => ipv6(packet).map(Network::Ip),
        ARP => arp(packet),
        _ => None,
    }
}

/// Reads an IP packet of either version, from its header on.
pub fn ip(packet: &[u8]) -> Option<Ip<'_>> {
    match packet.first()? >> 4 {
        4 => ipv4(packet),
        6 => ipv6(packet),
        _ => None,
    }
}

/// The EtherType and what is behind the link layer's headers.
fn network(link: LinkType, frame: &[u8]) -> Option<(u16, &[u8])> {
    let by_version = |packet: &'_ [u8]| match packet.first()? >> 4 {
        4 => Some(IPV4),
        6 => Some(IPV6),
        _ => None,
    };
    let (mut ethertype, mut rest) = match link {
        LinkType::Ethernet => (be16(frame, 12)?, frame.get(14..)?),
        LinkType::Cooked => (be16(frame, 14)?, frame.get(16..)?),
        LinkType::Cooked2 => (be16(frame, 0)?, frame.get(20..)?),
        // The address family in front is in the byte order of whoever captured: the packet itself tells.
        LinkType::Null => (by_version(frame.get(4..)?)?, frame.get(4..)?),
        LinkType::Raw => (by_version(frame)?, frame),
        LinkType::Other(_) => return None,
    };
    // Up to two VLAN tags: 802.1Q, 802.1ad.
    for _ in 0..2 {
        if matches!(ethertype, 0x8100 | 0x88a8 | 0x9100) {
            ethertype = be16(rest, 2)?;
            rest = rest.get(4..)?;
        }
    }
    Some((ethertype, rest))
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn four(bytes: &[u8], at: usize) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok().map(IpAddr::from)
}

fn sixteen(bytes: &[u8], at: usize) -> Option<IpAddr> {
    <[u8; 16]>::try_from(bytes.get(at..at + 16)?)
        .ok()
        .map(IpAddr::from)
}

fn arp(packet: &[u8]) -> Option<Network<'_>> {
    // Ethernet and IPv4: addresses of six and four bytes.
    (packet.get(4..6)? == [6, 4]).then_some(())?;
    Some(Network::Arp {
        operation: be16(packet, 6)?,
        sender: four(packet, 14)?,
        target: four(packet, 24)?,
    })
}

/// RFC 791 section 3.1.
fn ipv4(packet: &[u8]) -> Option<Ip<'_>> {
    let header = usize::from(packet.first()? & 15) * 4;
    if header < 20 || packet.first()? >> 4 != 4 {
        return None;
    }
    let total = match usize::from(be16(packet, 2)?) {
        // A packet that the interface has yet to cut up (TSO) may say 0: then it is what is there.
        0 => packet.len(),
        total => total,
    };
    let flags = be16(packet, 6)?;
    let offset = u32::from(flags & 0x1fff) * 8;
    let protocol = *packet.get(9)?;
    let body = packet.get(header..total.min(packet.len())).unwrap_or(&[]);
    let body_length = total.saturating_sub(header) as u32;
    Some(Ip {
        source: four(packet, 12)?,
        destination: four(packet, 16)?,
        ttl: *packet.get(8)?,
        dscp: packet.get(1)? >> 2,
        id: Some(be16(packet, 4)?.into()),
        fragment: (offset > 0 || flags & 0x2000 != 0).then_some(offset),
        protocol,
        transport: transport(protocol, offset, body, body_length),
        body,
        body_length,
    })
}

/// RFC 8200 section 3.
fn ipv6(packet: &[u8]) -> Option<Ip<'_>> {
    if packet.first()? >> 4 != 6 {
        return None;
    }
    let (source, destination) = (sixteen(packet, 8)?, sixteen(packet, 24)?);
    let payload = match usize::from(be16(packet, 4)?) {
        0 => packet.len().saturating_sub(40),
        payload => payload,
    };
    let mut protocol = *packet.get(6)?;
    let mut rest = packet.get(40..(40 + payload).min(packet.len())).unwrap_or(&[]);
    let mut length = payload;
    let (mut id, mut fragment) = (None, None);
    // RFC 8200 section 4: hop-by-hop, routing, destination options; and the fragment header. A chain of more than
    // these few is nobody's.
    for _ in 0..8 {
        let size = match protocol {
            0 | 43 | 60 => match rest.get(1) {
                Some(&units) => (usize::from(units) + 1) * 8,
                None => break,
            },
            44 => {
                let (Some(place), Some(number)) = (be16(rest, 2), be32(rest, 4)) else {
                    break;
                };
                id = Some(number);
                fragment = Some(u32::from(place & !7));
                8
            }
            _ => break,
        };
        let (Some(&next), Some(behind)) = (rest.first(), rest.get(size..)) else {
            break;
        };
        (protocol, rest, length) = (next, behind, length.saturating_sub(size));
    }
    Some(Ip {
        source,
        destination,
        ttl: *packet.get(7)?,
        dscp: ((be16(packet, 0)? >> 4) as u8) >> 2,
        id,
        fragment,
        protocol,
        transport: transport(protocol, fragment.unwrap_or(0), rest, length as u32),
        body: rest,
        body_length: length as u32,
    })
}

fn transport(protocol: u8, offset: u32, body: &[u8], length: u32) -> Transport<'_> {
    if offset > 0 {
        return Transport::Other;
    }
    match protocol {
        6 => tcp(body, length).map(Transport::Tcp),
        17 => be16(body, 0)
            .zip(be16(body, 2))
            .map(|(source, destination)| Transport::Udp { source, destination }),
        1 => icmp(body, [8, 0], &[3, 4, 5, 11, 12]),
        58 => icmp(body, [128, 129], &[1, 2, 3, 4]),
        _ => None,
    }
    .unwrap_or(Transport::Other)
}

fn tcp(body: &[u8], length: u32) -> Option<Tcp> {
    let header = (body.get(12)? >> 4) * 4;
    if header < 20 {
        return None;
    }
    let flags = *body.get(13)?;
    let options = body.get(20..usize::from(header).min(body.len())).unwrap_or(&[]);
    Some(Tcp {
        source: be16(body, 0)?,
        destination: be16(body, 2)?,
        sequence: be32(body, 4)?,
        acknowledgment: be32(body, 8)?,
        flags,
        header,
        length: length.saturating_sub(header.into()),
        mss: (flags & Tcp::SYN != 0).then(|| mss(options)).flatten(),
    })
}

/// The maximum segment size among the options (RFC 9293 section 3.2).
fn mss(mut options: &[u8]) -> Option<u16> {
    loop {
        match *options.first()? {
            0 => return None,
            1 => options = options.get(1..)?,
            2 => return be16(options, 2),
            _ => {
                let length = usize::from(*options.get(1)?).max(2);
                options = options.get(length..)?;
            }
        }
    }
}

fn icmp<'a>(body: &'a [u8], echoes: [u8; 2], errors: &[u8]) -> Option<Transport<'a>> {
    let (kind, code) = (*body.first()?, *body.get(1)?);
    Some(Transport::Icmp {
        kind,
        code,
        echo: echoes
            .contains(&kind)
            .then(|| be16(body, 4).zip(be16(body, 6)))
            .flatten(),
        quoted: errors.contains(&kind).then(|| body.get(8..)).flatten(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An IPv4 SYN with an MSS of 1460.
    const SYN: [u8; 44] = [
        0x45, 0xb8, 0, 44, 0x12, 0x34, 0x40, 0, 63, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, // IP
        0xc3, 0x50, 0x01, 0xbd, 0, 0, 0, 9, 0, 0, 0, 0, 0x60, 2, 0xff, 0xff, 0, 0, 0, 0, // TCP
        2, 4, 0x05, 0xb4,
    ];

    #[test]
    fn the_same_packet_is_found_behind_every_link_layer() {
        let heads: [(LinkType, &[u8]); 7] = [
            (LinkType::Raw, &[]),
            (LinkType::Null, &[2, 0, 0, 0]),
            (LinkType::Ethernet, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0]),
            (
                LinkType::Ethernet,
                &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x81, 0, 0, 5, 8, 0],
            ),
            (
                LinkType::Cooked,
                &[0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0],
            ),
            (
                LinkType::Cooked2,
                &[8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0],
            ),
            (LinkType::Raw, &[]),
        ];
        for (link, head) in heads {
            // Padding of the link layer is no payload.
            let frame = [head, &SYN[..], &[0; 6]].concat();
            let Some(Network::Ip(ip)) = parse(link, &frame) else {
                panic!("{link:?}");
            };
            assert_eq!((ip.ttl, ip.dscp, ip.id), (63, 46, Some(0x1234)));
            let Transport::Tcp(tcp) = ip.transport else {
                panic!("{ip:?}");
            };
            assert_eq!((tcp.source, tcp.destination, tcp.mss), (50_000, 445, Some(1460)));
            assert_eq!((tcp.length, tcp.span(), tcp.sequence), (0, 1, 9));
        }
        assert_eq!(parse(LinkType::Other(9), &SYN), None);
    }

    #[test]
    fn an_icmp_error_quotes_the_packet_it_is_about() {
        let mut packet = vec![
            0x45, 0, 0, 72, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 9, 10, 0, 0, 1, 3, 13, 0, 0, 0, 0, 0, 0,
        ];
        packet.extend(SYN);
        let Some(Ip {
            transport: Transport::Icmp { quoted, code, .. },
            ..
        }) = ip(&packet)
        else {
            panic!("no ICMP");
        };
        let inner = ip(quoted.unwrap()).unwrap();
        assert_eq!((code, inner.destination), (13, IpAddr::from([10, 0, 0, 2])));
    }

    #[test]
    fn extension_headers_are_stepped_over_and_a_later_fragment_has_no_ports() {
        let mut packet = vec![0x60, 0, 0, 0, 0, 24, 0, 64];
        packet.extend([1; 32]);
        packet.extend([44, 0, 0, 0, 0, 0, 0, 0]); // hop-by-hop, then a fragment header
        packet.extend([17, 0, 0, 0, 0, 0, 0, 7]);
        packet.extend([0, 7, 0, 8, 0, 8, 0, 0]);
        let first = ip(&packet).unwrap();
        assert_eq!(
            first.transport,
            Transport::Udp {
                source: 7,
                destination: 8
            }
        );
        assert_eq!((first.id, first.fragment), (Some(7), Some(0)));
        packet[51] = 8;
        assert_eq!(ip(&packet).unwrap().transport, Transport::Other);
    }

    proptest! {
        #[test]
        fn no_bytes_make_parsing_panic(link in 0usize..6, bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let links = [
                LinkType::Raw, LinkType::Null, LinkType::Ethernet, LinkType::Cooked, LinkType::Cooked2, LinkType::Other(7),
            ];
            let _ = parse(links[link], &bytes);
            let _ = ip(&[&[0x45, 0, 0, 60, 0, 0, 0, 0, 9, 6], &bytes[..]].concat());
            let _ = ip(&[&[0x60, 0, 0, 0, 0, 60, 0, 0], &bytes[..]].concat());
        }
    }
}
