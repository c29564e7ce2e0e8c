//! Captured packets: addresses rewritten, checksums carried along, and what may hold names cut off.
//!
//! Of each packet the headers that are understood stay; behind the transport header, and behind what is not understood,
//! nothing does. Frames of other kinds are left out. Checksums are corrected by the difference of the words that
//! changed (RFC 1624), so that a right one stays right and a wrong one wrong.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rping_evidence::capture::Reader;

use super::{words, Redactor};

/// A Linux cooked header, version 2.
const HEAD: usize = 20;

/// Rewrites a capture.
pub(super) fn redact(redactor: &Redactor, bytes: &[u8], stop: &dyn Fn() -> bool) -> Result<Vec<u8>, String> {
    let comment = "redacted: addresses are tokens, and what is behind the transport header was cut off";
    let name = |name: &str| words::redact(redactor, name, false);
    crate::capture::rewritten_with(bytes, comment, name, &mut |packet| {
        // What is left then is no capture, and the caller does not take it.
        (!stop()).then(|| frame(redactor, packet)).flatten()
    })
}

/// A frame behind a cooked header; `None` for one of which too little is understood.
fn frame(redactor: &Redactor, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = bytes.to_vec();
    let length = usize::from(*out.get(11)?);
    let address: [u8; 6] = out.get(12..18)?.try_into().ok()?;
    match length {
        6 => out.get_mut(12..18)?.copy_from_slice(&redactor.keyed.mac(address)),
        _ => out.get_mut(12..20)?.fill(0),
    }
    out.get_mut(18..20)?.fill(0);
    let kind = u16::from_be_bytes([*out.first()?, *out.get(1)?]);
    let keep = match kind {
        0x0800 => ipv4(redactor, out.get_mut(HEAD..)?, true)?,
        0x86dd => ipv6(redactor, out.get_mut(HEAD..)?, true)?,
        0x0806 => arp(redactor, out.get_mut(HEAD..)?)?,
        _ => return None,
    };
    out.truncate(HEAD + keep);
    Some(out)
}

/// Ethernet and IPv4 alone. What to keep of it.
fn arp(redactor: &Redactor, packet: &mut [u8]) -> Option<usize> {
    if packet.get(..6)? != [0, 1, 8, 0, 6, 4] || packet.len() < 28 {
        return None;
    }
    for at in [8, 18] {
        let mac: [u8; 6] = packet.get(at..at + 6)?.try_into().ok()?;
        packet
            .get_mut(at..at + 6)?
            .copy_from_slice(&redactor.keyed.mac(mac));
        four(redactor, packet, at + 6)?;
    }
    Some(28)
}

/// Replaces the address at `at`.
fn four(redactor: &Redactor, packet: &mut [u8], at: usize) -> Option<()> {
    let address: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
    let mapped = redactor.keyed.four(Ipv4Addr::from(address));
    packet.get_mut(at..at + 4)?.copy_from_slice(&mapped.octets());
    Some(())
}

fn six(redactor: &Redactor, packet: &mut [u8], at: usize) -> Option<()> {
    let address: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
    let mapped = redactor.keyed.six(Ipv6Addr::from(address));
    packet.get_mut(at..at + 16)?.copy_from_slice(&mapped.octets());
    Some(())
}

/// Rewrites a packet; how much of it to keep. `quotes`: what an ICMP error quotes is rewritten, too.
fn ipv4(redactor: &Redactor, packet: &mut [u8], quotes: bool) -> Option<usize> {
    let first = *packet.first()?;
    let header = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || !(20..=packet.len()).contains(&header) {
        return None;
    }
    let before = packet.get(..header)?.to_vec();
    four(redactor, packet, 12)?;
    four(redactor, packet, 16)?;
    // Options may hold addresses.
    packet.get_mut(20..header)?.fill(1);
    let after = packet.get(..header)?.to_vec();
    adjust(packet, 10, &before, &after);
    let fragment = u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff;
    if fragment != 0 {
        return Some(header);
    }
    let pseudo = (&before[12..20], &after[12..20]);
    let rest = packet.get_mut(header..)?;
    Some(header + transport(redactor, before[9], rest, pseudo, quotes))
}

fn ipv6(redactor: &Redactor, packet: &mut [u8], quotes: bool) -> Option<usize> {
    const HEADER: usize = 40;
    if *packet.first()? >> 4 != 6 || packet.len() < HEADER {
        return None;
    }
    let before = packet.get(8..HEADER)?.to_vec();
    six(redactor, packet, 8)?;
    six(redactor, packet, 24)?;
    let after = packet.get(8..HEADER)?.to_vec();
    let protocol = packet[6];
    let rest = packet.get_mut(HEADER..)?;
    Some(HEADER + transport(redactor, protocol, rest, (&before, &after), quotes))
}

/// How much to keep of what is behind the IP header.
fn transport(
    redactor: &Redactor,
    protocol: u8,
    rest: &mut [u8],
    pseudo: (&[u8], &[u8]),
    quotes: bool,
) -> usize {
    let (before, after) = pseudo;
    match protocol {
        6 => {
            adjust(rest, 16, before, after);
            let length = rest.get(12).map_or(0, |byte| usize::from(byte >> 4) * 4);
            // Of a quotation perhaps eight bytes are there.
            let length = length.min(rest.len());
            tcp_options(rest, length);
            match length {
                0..20 => rest.len().min(8),
                _ => length,
            }
        }
        17 => {
            // Zero is no checksum, and stays.
            if rest.get(6..8) != Some(&[0, 0]) {
                adjust(rest, 6, before, after);
                // A sum of zero is written as its other form (RFC 768).
                if let Some(sum @ [0, 0]) = rest.get_mut(6..8) {
                    sum.fill(0xff);
                }
            }
            rest.len().min(8)
        }
        1 => icmp(redactor, rest, quotes).unwrap_or(0),
        58 => {
            adjust(rest, 2, before, after);
            icmpv6(redactor, rest, quotes).unwrap_or(0)
        }
        _ => 0,
    }
}

/// Options that are understood stay: end, nothing, segment size, window scale, SACK, time stamps. The others may hold
/// addresses (MPTCP) or cookies.
fn tcp_options(segment: &mut [u8], length: usize) {
    let mut at = 20;
    while at < length {
        let kind = segment[at];
        if kind < 2 {
            at += 1;
            continue;
        }
        let size = segment.get(at + 1).map_or(0, |size| usize::from(*size));
        let end = at + size;
        let is_malformed = size < 2 || end > length;
        let end = if is_malformed { length } else { end };
        if is_malformed || !matches!(kind, 2..=5 | 8) {
            let before = segment[at & !1..].to_vec();
            segment[at..end].fill(1);
            let after = segment[at & !1..].to_vec();
            adjust(segment, 16, &before, &after);
        }
        at = end;
    }
}

fn icmp(redactor: &Redactor, message: &mut [u8], quotes: bool) -> Option<usize> {
    let kind = *message.first()?;
    let before = message.to_vec();
    let keep = match kind {
        // A redirect names a router.
        5 => {
            four(redactor, message, 4)?;
            8 + quoted(message, 8, |packet| ipv4(redactor, packet, false), quotes)
        }
        3 | 4 | 11 | 12 => 8 + quoted(message, 8, |packet| ipv4(redactor, packet, false), quotes),
        _ => message.len().min(8),
    };
    let after = message.to_vec();
    adjust(message, 2, &before, &after);
    Some(keep.min(message.len()))
}

fn icmpv6(redactor: &Redactor, message: &mut [u8], quotes: bool) -> Option<usize> {
    let kind = *message.first()?;
    let before = message.to_vec();
    let keep = match kind {
        1..=4 => 8 + quoted(message, 8, |packet| ipv6(redactor, packet, false), quotes),
        // Solicitation and advertisement: the neighbour's address, then options.
        135 | 136 => {
            six(redactor, message, 8)?;
            24 + link_option(redactor, message, 24).unwrap_or(0)
        }
        _ => message.len().min(8),
    };
    let after = message.to_vec();
    adjust(message, 2, &before, &after);
    Some(keep.min(message.len()))
}

/// How much to keep of the packet that stands in an error from `at` on.
fn quoted(
    message: &mut [u8],
    at: usize,
    inner: impl FnOnce(&mut [u8]) -> Option<usize>,
    quotes: bool,
) -> usize {
    match message.get_mut(at..) {
        Some(packet) if quotes => inner(packet).unwrap_or(0),
        _ => 0,
    }
}

/// The first option, where it is a link-layer address of six bytes; its length.
fn link_option(redactor: &Redactor, message: &mut [u8], at: usize) -> Option<usize> {
    let option = message.get_mut(at..at + 8)?;
    if !matches!(option[..2], [1 | 2, 1]) {
        return None;
    }
    let mac: [u8; 6] = option[2..8].try_into().ok()?;
    option[2..8].copy_from_slice(&redactor.keyed.mac(mac));
    Some(8)
}

/// Corrects the checksum at `at` for words that changed. Both begin at an even place of what the sum is over.
fn adjust(packet: &mut [u8], at: usize, before: &[u8], after: &[u8]) {
    let Some(field) = packet.get(at..at + 2) else {
        return;
    };
    let words = |bytes: &[u8]| -> u64 {
        let pair = |pair: &[u8]| u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
        bytes.chunks(2).map(|bytes| u64::from(pair(bytes))).sum()
    };
    // Where the field itself lies within, it is the same on both sides and changes nothing.
    let (old, new) = (words(before), words(after));
    let sum = u64::from(!u16::from_be_bytes([field[0], field[1]]));
    // The difference, in ones' complement.
    let checksum = !(fold(sum + new + (0xffff - fold(old))) as u16);
    packet[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}

fn fold(mut sum: u64) -> u64 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}

/// Whether a secret is still in the packets, as bytes.
pub(super) fn leak(redactor: &Redactor, bytes: &[u8], stop: &dyn Fn() -> bool) -> Option<&'static str> {
    let keyed = &redactor.keyed;
    let mut four: HashSet<[u8; 4]> = HashSet::new();
    let mut six: HashSet<[u8; 16]> = HashSet::new();
    for address in &redactor.addresses {
        match address {
            _ if keyed.ip(*address) == *address => {}
            IpAddr::V4(address) => drop(four.insert(address.octets())),
            IpAddr::V6(address) => drop(six.insert(address.octets())),
        }
    }
    let is_secret = |mac: &&[u8; 6]| keyed.mac(**mac) != **mac;
    let macs: HashSet<[u8; 6]> = redactor.macs.iter().filter(is_secret).copied().collect();
    let mut reader = Reader::open(bytes).ok()?;
    while let Some(Ok(record)) = reader.next() {
        if stop() {
            break;
        }
        // Four bytes may stand anywhere by chance; where addresses stand they may not.
        let places = [HEAD + 12, HEAD + 16, HEAD + 14, HEAD + 24, HEAD + 40, HEAD + 44];
        let is_at = |at: &usize| {
            let here = record.bytes.get(*at..at + 4);
            here.is_some_and(|here| four.contains(here))
        };
        if places.iter().any(is_at) || holds(&record.bytes, &six) {
            return Some("an address");
        }
        if holds(&record.bytes, &macs) {
            return Some("a link-layer address");
        }
    }
    None
}

/// Whether any of these stands anywhere in the frame.
fn holds<const N: usize>(frame: &[u8], any: &HashSet<[u8; N]>) -> bool {
    !any.is_empty() && frame.windows(N).any(|window| any.contains(window))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn redactor() -> Redactor {
        Redactor::with_key([9; 32])
    }

    fn checksum(parts: &[&[u8]]) -> u16 {
        let all = parts.concat();
        let sum = all
            .chunks(2)
            .map(|pair| u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
            .sum();
        !(fold(sum) as u16)
    }

    /// A SYN with a segment size and an option of another kind.
    fn syn() -> Vec<u8> {
        let mut ip = vec![
            0x45, 0, 0, 52, 1, 2, 0, 0, 64, 6, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2,
        ];
        let mut tcp = vec![
            0x9c, 0x40, 1, 0xbd, 0, 0, 0, 9, 0, 0, 0, 0, 0x80, 2, 0xfa, 0xf0, 0, 0, 0, 0,
        ];
        tcp.extend([2, 4, 5, 0xb4, 30, 8, 10, 77, 0, 1, 9, 9]);
        let sum = checksum(&[&ip[..20]]);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        let sum = checksum(&[&ip[12..20], &[0, 6, 0, tcp.len() as u8], &tcp]);
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        let mut frame = vec![8, 0, 0, 0, 0, 0, 0, 3, 0, 1, 4, 6, 2, 1, 2, 3, 4, 5, 0, 0];
        frame.extend(ip);
        frame.extend(tcp);
        frame
    }

    #[test]
    fn a_segments_addresses_change_and_its_checksums_stay_right() {
        let redactor = redactor();
        let mut whole = syn();
        whole.extend(b"GET / HTTP/1.1");
        let out = frame(&redactor, &whole).expect("a frame");
        assert_eq!(out.len(), HEAD + 20 + 32);
        let (ip, tcp) = out[HEAD..].split_at(20);
        assert_eq!(checksum(&[ip]), 0);
        assert_eq!(&ip[12..16], &redactor.keyed.four([10, 77, 0, 1].into()).octets());
        // Of the segment as it was before its payload was cut.
        let mut bare = frame(&redactor, &syn()).expect("a frame");
        let tcp_bare = bare.split_off(HEAD + 20);
        assert_eq!(tcp_bare, tcp);
        assert_eq!(checksum(&[&ip[12..20], &[0, 6, 0, tcp.len() as u8], tcp]), 0);
        assert!(
            !tcp.windows(4).any(|window| window == [10, 77, 0, 1]),
            "an option with an address"
        );
        assert_eq!(&out[12..18], &redactor.keyed.mac([2, 1, 2, 3, 4, 5]));
    }

    #[test]
    fn malformed_options_are_blanked_and_the_checksum_stays_right() {
        let redactor = redactor();
        let mut whole = syn();
        // The last option announces more than there is.
        let tcp = HEAD + 20;
        whole[tcp + 25] = 60;
        whole[tcp + 16..tcp + 18].fill(0);
        let sum = checksum(&[&whole[HEAD + 12..tcp], &[0, 6, 0, 32], &whole[tcp..]]);
        whole[tcp + 16..tcp + 18].copy_from_slice(&sum.to_be_bytes());
        let out = frame(&redactor, &whole).expect("a frame");
        assert_eq!(out[tcp + 24..], [1; 8]);
        assert_eq!(checksum(&[&out[HEAD + 12..tcp], &[0, 6, 0, 32], &out[tcp..]]), 0);
    }

    #[test]
    fn a_datagrams_checksum_never_becomes_none() {
        let redactor = redactor();
        let pseudo = [10, 77, 0, 1, 10, 77, 0, 2];
        let mapped: Vec<u8> = [[10, 77, 0, 1], [10, 77, 0, 2]]
            .iter()
            .flat_map(|address| redactor.keyed.four(Ipv4Addr::from(*address)).octets())
            .collect();
        // Of all sums the one that the change of the addresses brings to zero, in either form.
        let written = (1..=u16::MAX).map(|sum| {
            let mut datagram = [0; 8];
            datagram[6..].copy_from_slice(&sum.to_be_bytes());
            transport(&redactor, 17, &mut datagram, (&pseudo, &mapped), true);
            u16::from_be_bytes([datagram[6], datagram[7]])
        });
        let written: HashSet<u16> = written.collect();
        assert!(!written.contains(&0) && written.contains(&0xffff));
    }

    #[test]
    fn what_an_error_quotes_changes_alike() {
        let redactor = redactor();
        let inner = syn()[HEAD..HEAD + 28].to_vec();
        let mut icmp = vec![3, 3, 0, 0, 0, 0, 0, 0];
        icmp.extend(&inner);
        let sum = checksum(&[&icmp]);
        icmp[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut whole = syn()[..HEAD].to_vec();
        whole.extend([
            0x45, 0, 0, 56, 1, 2, 0, 0, 64, 1, 0, 0, 10, 77, 0, 2, 10, 77, 0, 1,
        ]);
        whole.extend(icmp);
        let out = frame(&redactor, &whole).expect("a frame");
        assert_eq!(out.len(), whole.len());
        assert_eq!(checksum(&[&out[HEAD + 20..]]), 0);
        assert_eq!(out[HEAD + 12..HEAD + 16], out[HEAD + 28 + 16..HEAD + 28 + 20]);
    }

    proptest! {
        #[test]
        fn no_frame_makes_it_panic_and_none_grows(kind in prop::sample::select(vec![0x0800u16, 0x86dd, 0x0806]),
            bytes in prop::collection::vec(any::<u8>(), 0..200))
        {
            let mut whole = kind.to_be_bytes().to_vec();
            whole.extend(&bytes);
            if let Some(first) = whole.get_mut(HEAD) {
                *first = if kind == 0x0800 { 0x45 + (*first & 3) } else { 0x60 };
            }
            if let Some(out) = frame(&redactor(), &whole) {
                prop_assert!(out.len() <= whole.len());
            }
        }
    }
}
