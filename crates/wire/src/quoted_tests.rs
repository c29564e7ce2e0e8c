//! Tests of [`super`]: packets written by hand, cut at every length, then any bytes at all.

use super::*;
use proptest::prelude::*;

const UDP: [u8; 12] = [0xc0, 0x01, 0x00, 0x35, 0, 12, 0xab, 0xcd, b'p', b'r', b'o', b'b'];
const ECHO: [u8; 12] = [8, 0, 0xab, 0xcd, 0x12, 0x34, 0x56, 0x78, b'p', b'r', b'o', b'b'];
const TCP: [u8; 8] = [0xc0, 0x01, 0x01, 0xbd, 1, 2, 3, 4];

fn v4(protocol: u8, options: &[u8], transport: &[u8]) -> Vec<u8> {
    assert_eq!(options.len() % 4, 0);
    let header_len = 20 + options.len();
    let mut p = vec![0x40 | (header_len / 4) as u8, 0];
    p.extend(((header_len + transport.len()) as u16).to_be_bytes());
    p.extend([0, 1, 0x40, 0, 1, protocol, 0, 0, 10, 0, 0, 1, 192, 0, 2, 7]);
    p.extend(options);
    p.extend(transport);
    p
}

fn v6(next: u8, rest: &[u8]) -> Vec<u8> {
    let mut p = vec![0x60, 0, 0, 0];
    p.extend((rest.len() as u16).to_be_bytes());
    p.extend([next, 1]);
    p.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
    p.extend("2001:db8::2".parse::<Ipv6Addr>().unwrap().octets());
    p.extend(rest);
    p
}

fn chain(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn a_quoted_udp_packet_gives_addresses_ports_and_payload() {
    let p = v4(17, &[], &UDP);
    let q = Quoted::parse(&p).unwrap();
    assert_eq!(
        (q.source, q.destination),
        ("10.0.0.1".parse().unwrap(), "192.0.2.7".parse().unwrap())
    );
    assert_eq!(
        (q.protocol, q.ports(), q.payload()),
        (17, Some((0xc001, 53)), &b"prob"[..])
    );
    assert_eq!((q.echo(), q.tcp_seq()), (None, None));
}

#[test]
fn options_are_skipped() {
    let p = v4(1, &[7, 7, 4, 0, 0, 0, 0, 0], &ECHO);
    let q = Quoted::parse(&p).unwrap();
    assert_eq!(
        q.echo(),
        Some(QuotedEcho {
            id: 0x1234,
            seq: 0x5678
        })
    );
    assert_eq!((q.payload(), q.ports()), (&b"prob"[..], None));
}

#[test]
fn eight_octets_of_tcp_tell_ports_and_sequence_number() {
    let p = v4(6, &[], &TCP);
    let q = Quoted::parse(&p).unwrap();
    assert_eq!(
        (q.ports(), q.tcp_seq(), q.payload()),
        (Some((0xc001, 445)), Some(0x0102_0304), &[][..])
    );
}

#[test]
fn an_ipv4_quote_cut_anywhere_gives_what_is_left() {
    for (options, header_len) in [(&[][..], 20), (&[1, 1, 1, 0][..], 24)] {
        let whole = v4(17, options, &UDP);
        for n in 0..whole.len() {
            let got = Quoted::parse(&whole[..n]);
            if n < header_len {
                assert!(
                    matches!(got, Err(Error::Truncated { got, .. }) if got == n),
                    "{n}"
                );
                continue;
            }
            let q = got.unwrap();
            assert_eq!(q.transport, &whole[header_len..n]);
            assert_eq!(q.ports().is_some(), n >= header_len + 4);
            assert_eq!(q.payload(), whole.get(header_len + 8..n).unwrap_or_default());
        }
    }
}

#[test]
fn an_ipv6_quote_cut_anywhere_gives_what_is_left() {
    let hop_by_hop = [60, 0, 1, 4, 0, 0, 0, 0];
    let options = [17, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let whole = v6(0, &chain(&[&hop_by_hop, &options, &UDP]));
    for n in 0..=whole.len() {
        let got = Quoted::parse(&whole[..n]);
        if n < 40 {
            assert!(
                matches!(got, Err(Error::Truncated { got, .. }) if got == n),
                "{n}"
            );
            continue;
        }
        let q = got.unwrap();
        assert_eq!(q.destination, "2001:db8::2".parse::<IpAddr>().unwrap());
        assert_eq!(q.transport, whole.get(64..n).unwrap_or_default(), "{n}");
        assert_eq!(q.ports().is_some(), n >= 68, "{n}");
    }
}

#[test]
fn every_extension_header_is_skipped_by_its_own_rule() {
    let echo = chain(&[&[128, 0], &ECHO[2..]]);
    let routing = [44, 0, 0, 0, 0, 0, 0, 0];
    let first_fragment = [51, 0, 0, 1, 0, 0, 0, 9];
    let authentication = [
        135, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let mobility = [58, 0, 0, 0, 0, 0, 0, 0];
    let p = v6(
        43,
        &chain(&[&routing, &first_fragment, &authentication, &mobility, &echo]),
    );
    let q = Quoted::parse(&p).unwrap();
    assert_eq!(
        (q.protocol, q.echo()),
        (
            58,
            Some(QuotedEcho {
                id: 0x1234,
                seq: 0x5678
            })
        )
    );
}

#[test]
fn a_later_fragment_has_no_transport_header() {
    let p = v6(44, &chain(&[&[17, 0, 0x05, 0xa8, 0, 0, 0, 9], &UDP]));
    let q = Quoted::parse(&p).unwrap();
    assert_eq!((q.protocol, q.transport, q.ports()), (17, &[][..], None));
    let mut p = v4(17, &[], &UDP);
    p[7] = 185;
    assert_eq!(Quoted::parse(&p).unwrap().ports(), None);
}

#[test]
fn what_follows_the_packet_is_cut_off_unless_its_length_is_nonsense() {
    for mut p in [v4(17, &[], &UDP), v6(17, &UDP)] {
        let header_len = p.len() - UDP.len();
        p.extend([0xff; 100]);
        assert_eq!(Quoted::parse(&p).unwrap().transport, UDP);
        let length_at = if header_len == 20 { 2 } else { 4 };
        for nonsense in [[0u8, 0], [0, 5], [0xff, 0xff]] {
            p[length_at..length_at + 2].copy_from_slice(&nonsense);
            assert_eq!(Quoted::parse(&p).unwrap().transport, &p[header_len..]);
        }
    }
}

#[test]
fn an_echo_of_the_other_family_or_a_reply_is_no_echo_request() {
    assert_eq!(Quoted::parse(&v6(1, &ECHO)).unwrap().echo(), None);
    assert_eq!(Quoted::parse(&v4(58, &[], &ECHO)).unwrap().echo(), None);
    assert_eq!(Quoted::parse(&v4(1, &[], &[0; 8])).unwrap().echo(), None);
    assert_eq!(Quoted::parse(&v4(1, &[], &ECHO[..7])).unwrap().echo(), None);
}

#[test]
fn what_is_no_ip_packet_is_refused() {
    for first in [0x00, 0x10, 0x50, 0x70, 0xf5, 0x40, 0x44] {
        let mut p = v4(17, &[], &UDP);
        p[0] = first;
        assert!(
            matches!(Quoted::parse(&p), Err(Error::Malformed { .. })),
            "{first:#x}"
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_without_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), version in prop_oneof![Just(4u8), Just(6), 0..16u8], next in prop_oneof![Just(0u8), Just(43), Just(44), Just(51), Just(60), Just(135), any::<u8>()]) {
        if let Some(b) = bytes.first_mut() {
            *b = version << 4 | *b & 0x0f;
        }
        if let Some(b) = bytes.get_mut(6) {
            *b = next;
        }
        if let Ok(q) = Quoted::parse(&bytes) {
            let _ = (q.ports(), q.echo(), q.tcp_seq(), q.payload());
            prop_assert!(q.transport.len() <= bytes.len() - 20);
        }
    }

    #[test]
    fn a_long_chain_of_extension_headers_ends(n in 0usize..5000) {
        let p = v6(60, &[60, 0, 0, 0, 0, 0, 0, 0].repeat(n));
        prop_assert!(Quoted::parse(&p).unwrap().transport.is_empty());
    }
}
