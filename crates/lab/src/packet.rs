//! What the emulator reads from a packet: whose it is, where its payload lies, and how to damage it.

use std::net::IpAddr;
use std::ops::Range;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// What a packet is, by its transport header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// ICMP or ICMPv6 echo (RFC 792, RFC 4443 section 4).
    Echo {
        /// A reply, not a request.
        reply: bool,
        /// Identifier.
        id: u16,
        /// Sequence number.
        sequence: u16,
    },
    /// A UDP datagram (RFC 768).
    Udp {
        /// Source port.
        from: u16,
        /// Destination port.
        to: u16,
    },
    /// A TCP segment (RFC 9293 section 3.1).
    Tcp {
        /// Source port.
        from: u16,
        /// Destination port.
        to: u16,
        /// The flags octet: FIN 1, SYN 2, RST 4, PSH 8, ACK 16.
        flags: u8,
    },
    /// Anything else, by the IP protocol number.
    Other(u8),
}

/// A packet's addresses, kind and the place of its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// What it is.
    pub kind: Kind,
    /// The transport header's first byte to the packet's last.
    pub(crate) transport: Range<usize>,
    /// What follows the transport header.
    pub(crate) payload: Range<usize>,
    protocol: u8,
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

impl Flow {
    /// Reads an IPv4 (RFC 791) or IPv6 (RFC 8200) packet that is whole: fragments have no flow.
    #[must_use]
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let (source, destination, protocol, transport) = match packet.first()? >> 4 {
            4 => {
                let header = usize::from(packet[0] & 0x0f) * 4;
                let total = usize::from(be16(packet, 2)?);
                // More fragments, or an offset: the transport header is elsewhere or the checksum spans packets.
                if be16(packet, 6)? & 0x3fff != 0 || total > packet.len() || header < 20 || header > total {
                    return None;
                }
                let source = IpAddr::from(array::<4>(packet, 12)?);
                (
                    source,
                    IpAddr::from(array::<4>(packet, 16)?),
                    packet[9],
                    header..total,
                )
            }
            6 => {
                let end = 40 + usize::from(be16(packet, 4)?);
                if end > packet.len() {
                    return None;
                }
                let source = IpAddr::from(array::<16>(packet, 8)?);
                (source, IpAddr::from(array::<16>(packet, 24)?), packet[6], 40..end)
            }
            _ => return None,
        };
        let body = packet.get(transport.clone())?;
        let (kind, header) = match protocol {
            ICMP | ICMPV6 => {
                let (request, reply) = if protocol == ICMP { (8, 0) } else { (128, 129) };
                let number = *body.first()?;
                if number == request || number == reply {
                    let (id, sequence) = (be16(body, 4)?, be16(body, 6)?);
                    (
                        Kind::Echo {
                            reply: number == reply,
                            id,
                            sequence,
                        },
                        8,
                    )
                } else {
                    (Kind::Other(protocol), body.len())
                }
            }
            UDP => (
                Kind::Udp {
                    from: be16(body, 0)?,
                    to: be16(body, 2)?,
                },
                8,
            ),
            TCP => {
                let header = usize::from(body.get(12)? >> 4) * 4;
                (
                    Kind::Tcp {
                        from: be16(body, 0)?,
                        to: be16(body, 2)?,
                        flags: *body.get(13)?,
                    },
                    header,
                )
            }
            other => (Kind::Other(other), body.len()),
        };
        let payload = (transport.start + header).min(transport.end)..transport.end;
        Some(Self {
            source,
            destination,
            kind,
            transport,
            payload,
            protocol,
        })
    }

    /// Where the transport checksum stands in the packet.
    pub(crate) fn checksum_at(&self) -> Option<usize> {
        let offset = match self.protocol {
            ICMP | ICMPV6 => 2,
            UDP => 6,
            TCP => 16,
            _ => return None,
        };
        (self.transport.len() >= offset + 2).then_some(self.transport.start + offset)
    }

    /// Writes the checksum that the packet's bytes ask for.
    pub(crate) fn fix_checksum(&self, packet: &mut [u8]) {
        let Some(at) = self.checksum_at() else { return };
        packet[at..at + 2].fill(0);
        let sum = match self.checksum(packet) {
            // RFC 768: zero means "none", so a sum of zero is sent as all ones.
            0 if self.protocol == UDP => 0xffff,
            sum => sum,
        };
        packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }

    /// RFC 1071 over the transport's bytes, with the pseudo header where the protocol has one.
    pub(crate) fn checksum(&self, packet: &[u8]) -> u16 {
        let mut sum = 0u64;
        let mut add = |bytes: &[u8]| {
            for pair in bytes.chunks(2) {
                sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
            }
        };
        if self.protocol != ICMP {
            for address in [self.source, self.destination] {
                match address {
                    IpAddr::V4(address) => add(&address.octets()),
                    IpAddr::V6(address) => add(&address.octets()),
                }
            }
            // The length is below 2^16 in both families here: jumbograms do not fit the header field.
            add(&u16::try_from(self.transport.len())
                .unwrap_or(u16::MAX)
                .to_be_bytes());
            add(&[0, self.protocol]);
        }
        add(&packet[self.transport.clone()]);
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        // At most 16 bits are left by the loop above.
        !(sum as u16)
    }
}

/// FNV-1a over a payload: enough to tell two payloads of one test apart.
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An IPv4 echo request with a right ICMP checksum.
    pub(crate) fn echo_request(sequence: u16, payload: &[u8]) -> Vec<u8> {
        let total = u16::try_from(28 + payload.len()).unwrap();
        let mut packet = vec![0x45, 0];
        packet.extend(total.to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 64, ICMP, 0, 0, 10, 78, 0, 1, 10, 78, 0, 2]);
        packet.extend([8, 0, 0, 0, 0x12, 0x34]);
        packet.extend(sequence.to_be_bytes());
        packet.extend(payload);
        let flow = Flow::parse(&packet).unwrap();
        flow.fix_checksum(&mut packet);
        packet
    }

    #[test]
    fn an_echo_request_is_read_with_its_payload() {
        let packet = echo_request(7, b"abcdef");
        let flow = Flow::parse(&packet).unwrap();
        assert_eq!(
            flow.kind,
            Kind::Echo {
                reply: false,
                id: 0x1234,
                sequence: 7
            }
        );
        assert_eq!(&packet[flow.payload.clone()], b"abcdef");
        assert_eq!(
            flow.checksum(&packet),
            0,
            "a packet with a right checksum sums to zero"
        );
    }

    #[test]
    fn a_udp_checksum_over_ipv6_covers_the_pseudo_header() {
        let mut packet = vec![0x60, 0, 0, 0, 0, 12, UDP, 64];
        let address = std::net::Ipv6Addr::LOCALHOST.octets();
        packet.extend(address);
        packet.extend(address);
        packet.extend([0xb7, 0x5f, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4]);
        let flow = Flow::parse(&packet).unwrap();
        flow.fix_checksum(&mut packet);
        // RFC 8200 section 8.1, by hand: both addresses, length, next header, then the datagram.
        let expected = !(1u32 + 1 + 12 + 17 + 0xb75f + 53 + 12 + 0x0102 + 0x0304) as u16;
        assert_eq!(be16(&packet, 46), Some(expected));
        assert_eq!(flow.checksum(&packet), 0);
    }

    #[test]
    fn fragments_and_packets_cut_short_have_no_flow() {
        let packet = echo_request(1, &[0; 20]);
        let mut fragment = packet.clone();
        fragment[6] = 0x20;
        assert_eq!(Flow::parse(&fragment), None);
        for length in 0..packet.len() {
            assert_eq!(Flow::parse(&packet[..length]), None, "{length} bytes");
        }
    }
}
