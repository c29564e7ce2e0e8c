//! The frames: ARP over Ethernet (RFC 826), neighbour solicitation and advertisement (RFC 4861 sections 4.3, 4.4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pnet::packet::arp::{ArpHardwareTypes, ArpOperations, ArpPacket, MutableArpPacket};
use pnet::packet::ethernet::{EtherTypes, EthernetPacket, MutableEthernetPacket};
use pnet::packet::icmpv6::ndp::{MutableNeighborSolicitPacket, NeighborAdvertPacket};
use pnet::packet::icmpv6::{self, Icmpv6Code, Icmpv6Packet, Icmpv6Types, MutableIcmpv6Packet};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv6::{Ipv6Packet, MutableIpv6Packet};
use pnet::util::{core_net, MacAddr};
use rping_net::bpf::Filter;

pub(crate) const ETHERNET: usize = 14;
const ARP: usize = 28;
const IPV6: usize = 40;
/// Neighbour solicitation with its one option, the source link-layer address.
const SOLICITATION: usize = 24 + 8;
/// EtherTypes.
pub(crate) const TYPE_ARP: u16 = 0x0806;
pub(crate) const TYPE_IPV6: u16 = 0x86dd;
/// RFC 4861 section 7.1: a lower hop limit has crossed a router.
const HOP_LIMIT: u8 = 255;
/// NDP options (RFC 4861 section 4.6): source and target link-layer address.
const OPTION_SOURCE: u8 = 1;
const OPTION_TARGET: u8 = 2;
/// The S flag of an advertisement: it answers a solicitation.
const SOLICITED: u8 = 0x40;
/// The longest frame built here.
const LONGEST: usize = ETHERNET + IPV6 + SOLICITATION;

/// A frame ready to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    bytes: [u8; LONGEST],
    length: usize,
}

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// What a frame that arrived says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    /// This address answered a question of ours, with this link-layer address.
    Answer(IpAddr, [u8; 6]),
    /// Something about this address that was not asked for, or not by us.
    Unasked(IpAddr),
    /// An advertisement about this address with a wrong checksum.
    Corrupt(IpAddr),
    /// Nothing of ours.
    Nothing,
}

/// Asks for `target`, as `source` at `mac`.
pub(crate) fn question(mac: [u8; 6], source: IpAddr, target: IpAddr) -> Option<Frame> {
    match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => arp_request(mac, source, target),
        (IpAddr::V6(source), IpAddr::V6(target)) => solicitation(mac, source, target),
        _ => None,
    }
}

fn arp_request(mac: [u8; 6], source: Ipv4Addr, target: Ipv4Addr) -> Option<Frame> {
    let mut bytes = [0; LONGEST];
    let (head, body) = bytes[..ETHERNET + ARP].split_at_mut(ETHERNET);
    let mut ethernet = MutableEthernetPacket::new(head)?;
    ethernet.set_destination(MacAddr::broadcast());
    ethernet.set_source(mac.into());
    ethernet.set_ethertype(EtherTypes::Arp);
    let mut arp = MutableArpPacket::new(body)?;
    arp.set_hardware_type(ArpHardwareTypes::Ethernet);
    arp.set_protocol_type(EtherTypes::Ipv4);
    arp.set_hw_addr_len(6);
    arp.set_proto_addr_len(4);
    arp.set_operation(ArpOperations::Request);
    arp.set_sender_hw_addr(mac.into());
    arp.set_sender_proto_addr(source.octets().into());
    arp.set_target_proto_addr(target.octets().into());
    Some(Frame {
        bytes,
        length: ETHERNET + ARP,
    })
}

fn solicitation(mac: [u8; 6], source: Ipv6Addr, target: Ipv6Addr) -> Option<Frame> {
    let group = solicited_node(target);
    let [.., a, b, c, d] = group.octets();
    let mut bytes = [0; LONGEST];
    let (head, rest) = bytes.split_at_mut(ETHERNET);
    let mut ethernet = MutableEthernetPacket::new(head)?;
    // RFC 2464 section 7.
    ethernet.set_destination(MacAddr::new(0x33, 0x33, a, b, c, d));
    ethernet.set_source(mac.into());
    ethernet.set_ethertype(EtherTypes::Ipv6);
    let (head, body) = rest.split_at_mut(IPV6);
    let mut ip = MutableIpv6Packet::new(head)?;
    ip.set_version(6);
    ip.set_payload_length(SOLICITATION as u16);
    ip.set_next_header(IpNextHeaderProtocols::Icmpv6);
    ip.set_hop_limit(HOP_LIMIT);
    ip.set_source(core_six(source));
    ip.set_destination(core_six(group));
    let mut question = MutableNeighborSolicitPacket::new(body)?;
    question.set_icmpv6_type(Icmpv6Types::NeighborSolicit);
    question.set_icmpv6_code(Icmpv6Code(0));
    question.set_target_addr(core_six(target));
    let option = body.get_mut(24..32)?;
    option[..2].copy_from_slice(&[OPTION_SOURCE, 1]);
    option[2..].copy_from_slice(&mac);
    let checksum = icmpv6::checksum(&Icmpv6Packet::new(body)?, &core_six(source), &core_six(group));
    MutableIcmpv6Packet::new(body)?.set_checksum(checksum);
    Some(Frame {
        bytes,
        length: LONGEST,
    })
}

/// pnet without its `std` feature has address types of its own.
fn core_six(address: Ipv6Addr) -> core_net::Ipv6Addr {
    address.octets().into()
}

/// RFC 4291 section 2.7.1: ff02::1:ff00:0/104 with the low 24 bits of the address.
fn solicited_node(target: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = target.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0xff), low)
}

/// Lets through what [`heard`] may understand: ARP replies to `mac`, or advertisements that crossed no router.
pub(crate) fn filter(v6: bool, mac: [u8; 6]) -> Filter {
    if v6 {
        Filter::new()
            .byte(20, 58)
            .byte(21, HOP_LIMIT)
            .byte(54, Icmpv6Types::NeighborAdvert.0)
    } else {
        let [a, b, c, d, e, f] = mac;
        Filter::new()
            .half(20, ArpOperations::Reply.0)
            .word(32, u32::from_be_bytes([a, b, c, d]))
            .half(36, u16::from_be_bytes([e, f]))
    }
}

/// Reads a frame that arrived at `mac`.
pub(crate) fn heard(bytes: &[u8], mac: [u8; 6]) -> Heard {
    let Some(ethernet) = EthernetPacket::new(bytes) else {
        return Heard::Nothing;
    };
    let body = bytes.get(ETHERNET..).unwrap_or_default();
    match ethernet.get_ethertype() {
        EtherTypes::Arp => arp_reply(body, mac),
        EtherTypes::Ipv6 => advertisement(body, ethernet.get_source()),
        _ => Heard::Nothing,
    }
}

fn arp_reply(body: &[u8], mac: [u8; 6]) -> Heard {
    let Some(arp) = ArpPacket::new(body) else {
        return Heard::Nothing;
    };
    let is_ethernet_ipv4 = arp.get_hardware_type() == ArpHardwareTypes::Ethernet
        && arp.get_protocol_type() == EtherTypes::Ipv4
        && (arp.get_hw_addr_len(), arp.get_proto_addr_len()) == (6, 4);
    if !is_ethernet_ipv4 || arp.get_operation() != ArpOperations::Reply {
        return Heard::Nothing;
    }
    let (who, from) = (
        IpAddr::from(arp.get_sender_proto_addr().octets()),
        arp.get_sender_hw_addr(),
    );
    if arp.get_target_hw_addr() != MacAddr::from(mac) || !is_unicast(from) {
        return Heard::Unasked(who);
    }
    Heard::Answer(who, from.octets())
}

/// The checks of RFC 4861 section 7.1.2.
fn advertisement(body: &[u8], sender: MacAddr) -> Heard {
    let Some(ip) = Ipv6Packet::new(body) else {
        return Heard::Nothing;
    };
    let length = usize::from(ip.get_payload_length());
    let Some(message) = body.get(IPV6..IPV6.saturating_add(length)) else {
        return Heard::Nothing;
    };
    let (Some(icmp), Some(advert)) = (Icmpv6Packet::new(message), NeighborAdvertPacket::new(message)) else {
        return Heard::Nothing;
    };
    if ip.get_next_header() != IpNextHeaderProtocols::Icmpv6
        || ip.get_hop_limit() != HOP_LIMIT
        || icmp.get_icmpv6_type() != Icmpv6Types::NeighborAdvert
        || icmp.get_icmpv6_code() != Icmpv6Code(0)
    {
        return Heard::Nothing;
    }
    let who = IpAddr::from(advert.get_target_addr().octets());
    if icmpv6::checksum(&icmp, &ip.get_source(), &ip.get_destination()) != icmp.get_checksum() {
        return Heard::Corrupt(who);
    }
    if advert.get_flags() & SOLICITED == 0 || ip.get_destination().is_multicast() {
        return Heard::Unasked(who);
    }
    match target_address(message.get(24..).unwrap_or_default()) {
        Ok(mac) => Heard::Answer(who, mac.unwrap_or(sender.octets())),
        Err(Malformed) => Heard::Nothing,
    }
}

/// An option of length 0: the whole message is to be discarded (RFC 4861 section 4.6).
struct Malformed;

/// The target link-layer address among the options; it may be left out where the asker knows it.
fn target_address(mut options: &[u8]) -> Result<Option<[u8; 6]>, Malformed> {
    let mut found = None;
    while let [kind, units, ..] = *options {
        let length = usize::from(units) * 8;
        let Some(option) = options.get(..length).filter(|option| !option.is_empty()) else {
            return Err(Malformed);
        };
        if kind == OPTION_TARGET && found.is_none() {
            found = option.get(2..8).and_then(|mac| mac.try_into().ok());
        }
        options = &options[length..];
    }
    Ok(found)
}

fn is_unicast(mac: MacAddr) -> bool {
    !mac.is_multicast() && !mac.is_broadcast() && !mac.is_zero()
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const THEM: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const OUR_FOUR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const THEIR_FOUR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

    fn arp_answer() -> Vec<u8> {
        let mut frame = question(THEM, THEIR_FOUR, OUR_FOUR).unwrap().as_ref().to_vec();
        frame[..6].copy_from_slice(&US);
        frame[21] = 2;
        frame[32..38].copy_from_slice(&US);
        frame
    }

    fn advert(options: &[u8], flags: u8) -> Vec<u8> {
        let (from, to): (Ipv6Addr, Ipv6Addr) = ("fd00::2".parse().unwrap(), "fd00::1".parse().unwrap());
        let mut frame = question(THEM, from.into(), to.into()).unwrap().as_ref()[..ETHERNET + IPV6].to_vec();
        frame[..6].copy_from_slice(&US);
        frame[ETHERNET + 4..ETHERNET + 6].copy_from_slice(&(24 + options.len() as u16).to_be_bytes());
        frame[ETHERNET + 24..ETHERNET + 40].copy_from_slice(&to.octets());
        frame.extend_from_slice(&[136, 0, 0, 0, flags, 0, 0, 0]);
        frame.extend_from_slice(&from.octets());
        frame.extend_from_slice(options);
        let message = &frame[ETHERNET + IPV6..];
        let sum = icmpv6::checksum(
            &Icmpv6Packet::new(message).unwrap(),
            &core_six(from),
            &core_six(to),
        );
        frame[ETHERNET + IPV6 + 2..][..2].copy_from_slice(&sum.to_be_bytes());
        frame
    }

    #[test]
    fn a_request_is_laid_out_as_rfc_826_says() {
        let frame = question(US, OUR_FOUR, THEIR_FOUR).unwrap();
        let expected = [
            &[0xff; 6][..],
            &US,
            &[0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1],
            &US,
            &[10, 0, 0, 1],
            &[0; 6],
            &[10, 0, 0, 2],
        ];
        assert_eq!(frame.as_ref(), expected.concat());
    }

    #[test]
    fn a_solicitation_goes_to_the_solicited_node_group_with_a_right_checksum() {
        let (from, to): (Ipv6Addr, Ipv6Addr) = ("fe80::1".parse().unwrap(), "fd00::12:3456".parse().unwrap());
        let frame = question(US, from.into(), to.into()).unwrap();
        let bytes = frame.as_ref();
        assert_eq!(bytes[..6], [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
        let ip = Ipv6Packet::new(&bytes[ETHERNET..]).unwrap();
        assert_eq!(
            ip.get_destination().octets(),
            "ff02::1:ff12:3456".parse::<Ipv6Addr>().unwrap().octets()
        );
        assert_eq!((ip.get_hop_limit(), ip.get_payload_length()), (255, 32));
        let message = &bytes[ETHERNET + IPV6..];
        let icmp = Icmpv6Packet::new(message).unwrap();
        assert_eq!(
            icmpv6::checksum(&icmp, &core_six(from), &ip.get_destination()),
            icmp.get_checksum()
        );
        assert_eq!(message[24..], [1, 1, 2, 0, 0, 0, 0, 1]);
        assert!(question(US, OUR_FOUR, to.into()).is_none(), "families do not mix");
    }

    #[test]
    fn an_arp_reply_to_us_is_an_answer_and_others_are_not() {
        let reply = arp_answer();
        assert_eq!(heard(&reply, US), Heard::Answer(THEIR_FOUR, THEM));
        assert_eq!(
            heard(&reply, [2, 9, 9, 9, 9, 9]),
            Heard::Unasked(THEIR_FOUR),
            "to somebody else"
        );
        for (at, value) in [(15, 6), (16, 9), (18, 8), (19, 16), (21, 1), (21, 9), (12, 9)] {
            let mut bad = reply.clone();
            bad[at] = value;
            assert_eq!(heard(&bad, US), Heard::Nothing, "byte {at}");
        }
        let mut multicast = reply.clone();
        multicast[22] |= 1;
        assert_eq!(heard(&multicast, US), Heard::Unasked(THEIR_FOUR));
    }

    #[test]
    fn an_advertisement_is_an_answer_when_every_check_of_rfc_4861_holds() {
        let them = [&[OPTION_TARGET, 1][..], &THEM].concat();
        let who = IpAddr::from("fd00::2".parse::<Ipv6Addr>().unwrap());
        let good = advert(&them, SOLICITED);
        assert_eq!(heard(&good, US), Heard::Answer(who, THEM));
        assert_eq!(
            heard(&advert(&[], SOLICITED), US),
            Heard::Answer(who, THEM),
            "by the frame's sender"
        );
        assert_eq!(heard(&advert(&them, 0), US), Heard::Unasked(who), "not solicited");
        assert_eq!(
            heard(&advert(&[9, 0, 0, 0, 0, 0, 0, 0], SOLICITED), US),
            Heard::Nothing,
            "option of length 0"
        );
        assert_eq!(
            heard(&advert(&[9, 2, 0, 0, 0, 0, 0, 0], SOLICITED), US),
            Heard::Nothing,
            "option too long"
        );
        let unknown_first = [
            &[14, 1, 0, 0, 0, 0, 0, 0][..],
            &[OPTION_TARGET, 1, 4, 4, 4, 4, 4, 4],
        ]
        .concat();
        assert_eq!(
            heard(&advert(&unknown_first, SOLICITED), US),
            Heard::Answer(who, [4; 6])
        );
        for (at, expected) in [
            (21, Heard::Nothing),
            (20, Heard::Nothing),
            (54, Heard::Nothing),
            (56, Heard::Corrupt(who)),
        ] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(heard(&bad, US), expected, "byte {at}");
        }
    }

    #[test]
    fn no_cut_or_changed_frame_makes_reading_panic() {
        for frame in [arp_answer(), advert(&[2, 1, 2, 0, 0, 0, 0, 2], SOLICITED)] {
            for end in 0..=frame.len() {
                let _ = heard(&frame[..end], US);
            }
            for at in 0..frame.len() {
                for value in [0, 1, 0x7f, 0x80, 0xff] {
                    let mut changed = frame.clone();
                    changed[at] = value;
                    let _ = heard(&changed, US);
                }
            }
        }
    }
}
