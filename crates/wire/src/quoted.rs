//! The packet that an ICMP error quotes: whose probe it was about.
//!
//! An ICMPv4 error quotes the IP header and at least eight octets behind it (RFC 792; more by RFC 1812, section
//! 4.3.2.3), an ICMPv6 error as much as fits 1280 octets (RFC 4443, section 2.4 c). What is quoted passed through
//! strangers' hands and may end anywhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{take, Error};

/// Transport protocol numbers (IANA) that the accessors of [`Quoted`] know.
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
}

/// An IPv4 header, RFC 791, section 3.1.
mod v4 {
    pub(super) const MIN_LEN: usize = 20;
    /// Version and header length share an octet.
    pub(super) const IHL: usize = 0;
    pub(super) const TOTAL_LENGTH: usize = 2;
    pub(super) const FRAGMENT: usize = 6;
    pub(super) const FRAGMENT_OFFSET: u16 = 0x1fff;
    pub(super) const PROTOCOL: usize = 9;
    pub(super) const SOURCE: usize = 12;
    pub(super) const DESTINATION: usize = 16;
}

/// An IPv6 header, RFC 8200, section 3, and its extension headers, section 4.
mod v6 {
    pub(super) const LEN: usize = 40;
    pub(super) const PAYLOAD_LENGTH: usize = 4;
    pub(super) const NEXT_HEADER: usize = 6;
    pub(super) const SOURCE: usize = 8;
    pub(super) const DESTINATION: usize = 24;
    // Extension headers.
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION_OPTIONS: u8 = 60;
    pub(super) const MOBILITY: u8 = 135;
    /// Of a fragment header, section 4.5.
    pub(super) const FRAGMENT_LEN: usize = 8;
    pub(super) const FRAGMENT_OFFSET: usize = 2;
}

const WHAT_V4: &str = "a quoted IPv4 header";
const WHAT_V6: &str = "a quoted IPv6 header";

/// What is left of a quoted packet, its IP headers read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quoted<'a> {
    /// Who sent it: we did, if it is ours.
    pub source: IpAddr,
    /// To whom it was sent.
    pub destination: IpAddr,
    /// The transport protocol; for IPv6 the number in the last header that is given.
    pub protocol: u8,
    /// What is given from the transport header on. Empty when no transport header is there: the quote ends before it,
    /// or the packet was a fragment other than the first.
    pub transport: &'a [u8],
}

/// Type, identifier and sequence number of a quoted ICMP or ICMPv6 echo request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuotedEcho {
    /// The identifier.
    pub id: u16,
    /// The sequence number.
    pub seq: u16,
}

impl<'a> Quoted<'a> {
    /// Reads a quoted packet of either family.
    ///
    /// # Errors
    /// When it ends within the fixed IP header (or IPv4's options), or is neither IPv4 nor IPv6.
    pub fn parse(bytes: &'a [u8]) -> Result<Quoted<'a>, Error> {
        match bytes.first().map(|b| b >> 4) {
            Some(4) => Quoted::parse_v4(bytes),
            Some(6) => Quoted::parse_v6(bytes),
            Some(_) => Err(Error::Malformed {
                what: "the quoted packet is neither IPv4 nor IPv6",
            }),
            None => Err(Error::Truncated {
                what: WHAT_V4,
                needed: v4::MIN_LEN,
                got: 0,
            }),
        }
    }

    fn parse_v4(bytes: &'a [u8]) -> Result<Quoted<'a>, Error> {
        let fixed: [u8; v4::MIN_LEN] = take(bytes, 0, WHAT_V4)?;
        let header_len = usize::from(fixed[v4::IHL] & 0x0f) * 4;
        if header_len < v4::MIN_LEN {
            return Err(Error::Malformed {
                what: "the quoted IPv4 header says it is shorter than one",
            });
        }
        let Some(rest) = bytes.get(header_len..) else {
            return Err(Error::Truncated {
                what: WHAT_V4,
                needed: header_len,
                got: bytes.len(),
            });
        };
        let total = usize::from(u16::from_be_bytes(take(&fixed, v4::TOTAL_LENGTH, WHAT_V4)?));
        let fragment = u16::from_be_bytes(take(&fixed, v4::FRAGMENT, WHAT_V4)?);
        let whole_or_first = fragment & v4::FRAGMENT_OFFSET == 0;
        Ok(Quoted {
            source: Ipv4Addr::from(take::<4>(&fixed, v4::SOURCE, WHAT_V4)?).into(),
            destination: Ipv4Addr::from(take::<4>(&fixed, v4::DESTINATION, WHAT_V4)?).into(),
            protocol: fixed[v4::PROTOCOL],
            transport: if whole_or_first {
                within(rest, total.checked_sub(header_len))
            } else {
                &[]
            },
        })
    }

    fn parse_v6(bytes: &'a [u8]) -> Result<Quoted<'a>, Error> {
        let fixed: [u8; v6::LEN] = take(bytes, 0, WHAT_V6)?;
        // A payload length of 0 is a jumbogram's (RFC 2675).
        let length = match u16::from_be_bytes(take(&fixed, v6::PAYLOAD_LENGTH, WHAT_V6)?) {
            0 => None,
            n => Some(usize::from(n)),
        };
        let mut next = fixed[v6::NEXT_HEADER];
        let mut rest = within(&bytes[v6::LEN..], length);
        // Each turn takes eight octets or more, or ends.
        while let Some((following, len)) = extension(next, rest) {
            next = following;
            rest = match len.and_then(|len| rest.get(len..)) {
                Some(rest) => rest,
                None => &[],
            };
        }
        Ok(Quoted {
            source: Ipv6Addr::from(take::<16>(&fixed, v6::SOURCE, WHAT_V6)?).into(),
            destination: Ipv6Addr::from(take::<16>(&fixed, v6::DESTINATION, WHAT_V6)?).into(),
            protocol: next,
            transport: if is_extension(next) { &[] } else { rest },
        })
    }

    /// Source and destination port of quoted TCP or UDP.
    pub fn ports(&self) -> Option<(u16, u16)> {
        if !matches!(self.protocol, protocol::TCP | protocol::UDP) {
            return None;
        }
        let [a, b, c, d] = *self.transport.first_chunk()?;
        Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
    }

    /// Identifier and sequence number of a quoted echo request (RFC 792; RFC 4443, section 4.1).
    pub fn echo(&self) -> Option<QuotedEcho> {
        let request = match (self.protocol, self.source) {
            (protocol::ICMP, IpAddr::V4(_)) => 8,
            (protocol::ICMPV6, IpAddr::V6(_)) => 128,
            _ => return None,
        };
        let [kind, code, _, _, i, j, s, t] = *self.transport.first_chunk()?;
        (kind == request && code == 0).then(|| QuotedEcho {
            id: u16::from_be_bytes([i, j]),
            seq: u16::from_be_bytes([s, t]),
        })
    }

    /// The sequence number of quoted TCP, which eight octets of it just hold (RFC 9293, section 3.1).
    pub fn tcp_seq(&self) -> Option<u32> {
        let [_, _, _, _, seq @ ..] = *self.transport.first_chunk::<8>()?;
        (self.protocol == protocol::TCP).then(|| u32::from_be_bytes(seq))
    }

    /// What is given of the payload behind the header of UDP, or of an ICMP echo request; empty for all else.
    pub fn payload(&self) -> &'a [u8] {
        let known = self.protocol == protocol::UDP || self.echo().is_some();
        // Both headers are eight octets.
        self.transport.get(8..).filter(|_| known).unwrap_or_default()
    }
}

/// Cuts off what lies behind the packet (padding, RFC 4884 extensions). A stated length that would not leave the eight
/// octets that every error must quote is not believed: there are stacks that quote it changed.
fn within(rest: &[u8], length: Option<usize>) -> &[u8] {
    match length {
        Some(n) if n >= 8 => rest.get(..n).unwrap_or(rest),
        _ => rest,
    }
}

/// The number of the header after the extension header `kind` at the front of `rest`, and the length of the latter
/// (`None` when it is not there in full, or nothing after it can be read); `None` when `kind` is no extension header
/// or `rest` is too short to say.
fn extension(kind: u8, rest: &[u8]) -> Option<(u8, Option<usize>)> {
    let [next, units, ..] = *rest.first_chunk::<8>()?;
    match kind {
        v6::HOP_BY_HOP | v6::ROUTING | v6::DESTINATION_OPTIONS | v6::MOBILITY => {
            Some((next, Some((usize::from(units) + 1) * 8)))
        }
        // RFC 4302, section 2.2: in units of four octets, less two.
        v6::AUTHENTICATION => Some((next, Some((usize::from(units) + 2) * 4))),
        v6::FRAGMENT => {
            let offset = u16::from_be_bytes([rest[v6::FRAGMENT_OFFSET], rest[v6::FRAGMENT_OFFSET + 1]]) >> 3;
            // Behind any fragment but the first is no header, only the middle of something.
            Some((next, (offset == 0).then_some(v6::FRAGMENT_LEN)))
        }
        _ => None,
    }
}

fn is_extension(kind: u8) -> bool {
    matches!(
        kind,
        v6::HOP_BY_HOP
            | v6::ROUTING
            | v6::DESTINATION_OPTIONS
            | v6::MOBILITY
            | v6::AUTHENTICATION
            | v6::FRAGMENT
    )
}

#[cfg(test)]
#[path = "quoted_tests.rs"]
mod tests;
