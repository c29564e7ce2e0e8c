//! The bytes of a lane's frames: the headers in front of each message, and what a frame that came in says.

use std::net::{Ipv4Addr, SocketAddr};

use rping_engine::Timestamp;

use super::{Traffic, ETHERNET, HEADERS, IPV4};
use crate::clock::Realtime;
use crate::incoming::{internet_checksum, Received};
use crate::options::Options;
use crate::packet;

const TYPE_ARP: u16 = 0x0806;
pub(super) const TYPE_IPV4: u16 = 0x0800;
/// RFC 1122 section 3.2.1.7; the system's default is read where it can be.
const TTL: u8 = 64;

/// The headers of every packet but for destination, length and checksum.
pub(super) fn head(mac: [u8; 6], source: Ipv4Addr, protocol: u8, options: &Options) -> [u8; HEADERS] {
    let mut head = [0; HEADERS];
    head[6..12].copy_from_slice(&mac);
    head[12..14].copy_from_slice(&TYPE_IPV4.to_be_bytes());
    let system = std::fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl");
    let ttl = options
        .ttl
        .or_else(|| system.ok()?.trim().parse().ok())
        .unwrap_or(TTL);
    // RFC 791 section 3.1: version and header length, TOS, then "do not fragment", TTL, protocol. RFC 6864: what is never fragmented
    // needs no identification.
    head[ETHERNET] = 0x45;
    head[ETHERNET + 1] = options.dscp.unwrap_or(0) << 2;
    head[ETHERNET + 6] = 0x40;
    head[ETHERNET + 8] = ttl;
    head[ETHERNET + 9] = protocol;
    head[ETHERNET + 12..ETHERNET + 16].copy_from_slice(&source.octets());
    head
}

/// Asks everybody on the link who has `wanted` (RFC 826).
pub(super) fn who_has(mac: [u8; 6], source: Ipv4Addr, wanted: Ipv4Addr) -> [u8; 42] {
    let mut frame = [0; 42];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&mac);
    frame[12..14].copy_from_slice(&TYPE_ARP.to_be_bytes());
    // Ethernet, IPv4, their lengths, request.
    frame[14..22].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
    frame[22..28].copy_from_slice(&mac);
    frame[28..32].copy_from_slice(&source.octets());
    frame[38..].copy_from_slice(&wanted.octets());
    frame
}

/// `None` for what is no whole IPv4 packet to us.
pub(super) fn read<'a>(
    frame: &packet::Frame<'a>,
    traffic: Traffic,
    snap: usize,
    realtime: &Realtime,
    now: Timestamp,
) -> Option<Received<'a>> {
    if frame.addressed != packet::Addressed::Host {
        return None;
    }
    let parts = parse(frame.bytes)?;
    let cut = frame.bytes.len() >= snap;
    Some(Received {
        from: SocketAddr::new(parts.from.into(), 0),
        at: realtime.received(frame.stamp, now),
        ttl: Some(parts.ttl),
        hardware: None,
        tos: None,
        to: Some((parts.to.into(), 0)),
        payload: parts.message,
        cut,
        damaged: matches!(traffic, Traffic::Icmp { .. }) && !cut && internet_checksum(parts.message) != 0,
    })
}

struct Parts<'a> {
    from: Ipv4Addr,
    to: Ipv4Addr,
    ttl: u8,
    message: &'a [u8],
}

/// The IPv4 packet in a frame: header length, header checksum and total length (short frames are padded) are believed only as far as
/// the bytes go.
fn parse(bytes: &[u8]) -> Option<Parts<'_>> {
    let packet = bytes.get(ETHERNET..)?;
    let header = packet.get(..usize::from(packet.first()? & 0x0f) * 4)?;
    let fixed = header.first_chunk::<IPV4>()?;
    if fixed[0] >> 4 != 4 || internet_checksum(header) != 0 {
        return None;
    }
    let address = |at: usize| Ipv4Addr::new(fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]);
    let total = usize::from(u16::from_be_bytes([fixed[2], fixed[3]])).min(packet.len());
    Some(Parts {
        from: address(12),
        to: address(16),
        ttl: fixed[8],
        message: packet.get(header.len()..total)?,
    })
}

pub(super) fn fuzz(bytes: &[u8]) {
    let _ = parse(bytes).map(|parts| parts.message.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(message: &[u8]) -> Vec<u8> {
        let options = Options {
            ttl: Some(7),
            dscp: Some(46),
            ..Options::default()
        };
        let mut bytes = head([2; 6], Ipv4Addr::new(10, 0, 0, 1), 1, &options).to_vec();
        bytes.extend_from_slice(message);
        let total = (IPV4 + message.len()) as u16;
        bytes[16..18].copy_from_slice(&total.to_be_bytes());
        bytes[30..34].copy_from_slice(&[10, 0, 0, 2]);
        let sum = internet_checksum(&bytes[ETHERNET..HEADERS]);
        bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    #[test]
    fn a_packet_is_read_as_it_was_written_and_padding_is_left_away() {
        let mut bytes = frame(&[1, 2, 3]);
        bytes.extend_from_slice(&[0; 23]);
        let parts = parse(&bytes).unwrap();
        assert_eq!(parts.message, [1, 2, 3]);
        assert_eq!((parts.ttl, bytes[15]), (7, 46 << 2));
        assert_eq!(
            (parts.from.to_string(), parts.to.to_string()),
            ("10.0.0.1".into(), "10.0.0.2".into())
        );
    }

    #[test]
    fn a_damaged_header_is_nobodys_and_no_cut_makes_reading_panic() {
        let bytes = frame(&[9; 8]);
        for place in ETHERNET..HEADERS {
            let mut damaged = bytes.clone();
            damaged[place] ^= 0x11;
            assert!(parse(&damaged).is_none(), "byte {place}");
        }
        (0..bytes.len()).for_each(|end| fuzz(&bytes[..end]));
    }
}
