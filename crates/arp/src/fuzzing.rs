//! What the fuzzer calls.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pnet::packet::icmpv6::{self, Icmpv6Packet, MutableIcmpv6Packet};
use pnet::packet::ipv6::Ipv6Packet;

use crate::frame::{self, Heard, ETHERNET};

const US: [u8; 6] = [2, 0, 0, 0, 0, 1];
const THEM: [u8; 6] = [2, 0, 0, 0, 0, 2];
const IPV6: usize = 40;
/// An advertisement before its options.
const ADVERT: usize = 24;

/// Reads any bytes as a frame that came in, as the difference to a true ARP reply, and as the difference to a true
/// advertisement with whatever is left over as its options, under a checksum that holds.
pub fn frame(bytes: &[u8]) {
    let _ = frame::heard(bytes, US);
    let (us, them) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    if let Some(mut reply) = turned(them.into(), us.into()) {
        reply[21] = 2;
        reply[32..38].copy_from_slice(&US);
        lay_over(&mut reply, bytes);
        if let Heard::Answer(who, mac) = frame::heard(&reply, US) {
            assert!(reply[28..32] == octets(who)[..] && reply[22..28] == mac);
        }
    }
    let (us, them) = (
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2),
    );
    let Some(mut advert) = turned(them.into(), us.into()) else {
        return;
    };
    advert.truncate(ETHERNET + IPV6);
    advert[ETHERNET + 24..].copy_from_slice(&us.octets());
    advert.extend_from_slice(&[136, 0, 0, 0, 0x60, 0, 0, 0]);
    advert.extend_from_slice(&them.octets());
    let (over, options) = bytes.split_at(bytes.len().min(advert.len()));
    advert.extend_from_slice(options);
    let length = u16::try_from(ADVERT + options.len()).unwrap_or(u16::MAX);
    advert[ETHERNET + 4..ETHERNET + 6].copy_from_slice(&length.to_be_bytes());
    lay_over(&mut advert, over);
    // As it is: nearly always a wrong checksum. Then with the right one.
    let _ = frame::heard(&advert, US);
    seal(&mut advert);
    if let Heard::Answer(who, _) = frame::heard(&advert, US) {
        assert!(advert[ETHERNET + IPV6 + 8..][..16] == octets(who)[..]);
    }
}

/// A question of theirs, sent to us.
fn turned(them: IpAddr, us: IpAddr) -> Option<Vec<u8>> {
    let mut frame = frame::question(THEM, them, us)?.as_ref().to_vec();
    frame[..6].copy_from_slice(&US);
    Some(frame)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    }
}

fn lay_over(frame: &mut [u8], difference: &[u8]) {
    for (octet, change) in frame.iter_mut().zip(difference) {
        *octet ^= change;
    }
}

/// Makes the checksum right for as much of the frame as its IPv6 header says.
fn seal(frame: &mut [u8]) {
    let (head, message) = frame.split_at_mut(ETHERNET + IPV6);
    let Some(ip) = Ipv6Packet::new(&head[ETHERNET..]) else {
        return;
    };
    let length = usize::from(ip.get_payload_length()).min(message.len());
    let Some(icmp) = Icmpv6Packet::new(&message[..length]) else {
        return;
    };
    let sum = icmpv6::checksum(&icmp, &ip.get_source(), &ip.get_destination());
    if let Some(mut icmp) = MutableIcmpv6Packet::new(message) {
        icmp.set_checksum(sum);
    }
}
