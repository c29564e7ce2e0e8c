use super::*;
use crate::capture::{LinkType, Writer};

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];

fn udp(from: [u8; 4], to: [u8; 4], id: u16, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let length = (28 + payload.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend(id.to_be_bytes());
    packet.extend([0, 0, ttl, 17, 0, 0]);
    packet.extend(from.iter().chain(&to));
    packet.extend(if from == A { [0, 7, 0, 9] } else { [0, 9, 0, 7] });
    packet.extend((length - 20).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

fn tcp(from: [u8; 4], to: [u8; 4], sequence: u32, length: usize) -> Vec<u8> {
    let total = (40 + length) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 6, 0, 0]);
    packet.extend(from.iter().chain(&to));
    packet.extend([0xc3, 0x50, 1, 0xbd]);
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    packet.extend(vec![7; length]);
    packet
}

fn file(packets: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::begin(Vec::new(), "test", "", 65_535).unwrap();
    let interface = writer.interface("x", LinkType::Raw).unwrap();
    for (stamp, bytes) in packets {
        writer
            .packet(interface, *stamp, bytes.len(), bytes, None)
            .unwrap();
    }
    writer.into_inner()
}

fn compared(a: &[(u64, Vec<u8>)], b: &[(u64, Vec<u8>)]) -> Report {
    compare(&file(a)[..], &file(b)[..]).unwrap()
}

#[test]
fn the_clocks_need_not_agree_and_their_difference_comes_out() {
    // B's clock is an hour behind; 1 ms each way, on one link: the TTL tells nothing.
    let hour = 3_600_000_000_000;
    let ms = 1_000_000;
    let start = 10 * hour;
    let mut a = Vec::new();
    let mut b = Vec::new();
    for n in 0..10u16 {
        let at = start + u64::from(n) * 100 * ms;
        a.push((at, udp(A, B, n, 64, &[n as u8])));
        if n != 3 {
            b.push((at + ms - hour, udp(A, B, n, 64, &[n as u8])));
            b.push((at + 2 * ms - hour, udp(B, A, n, 64, &[n as u8, 1])));
            a.push((at + 3 * ms, udp(B, A, n, 64, &[n as u8, 1])));
        }
    }
    for swapped in [false, true] {
        let report = if swapped {
            compared(&b, &a)
        } else {
            compared(&a, &b)
        };
        let (there, back) = match swapped {
            false => (report.a_to_b, report.b_to_a),
            true => (report.b_to_a, report.a_to_b),
        };
        assert_eq!((there.left, there.lost, back.left, back.lost), (10, 1, 9, 0));
        let clocks = report.clocks.unwrap();
        assert_eq!(
            clocks.offset_ns,
            if swapped { hour as i64 } else { -(hour as i64) }
        );
        assert_eq!((clocks.error_ns, clocks.round_trip_ns), (ms, 2 * ms));
        assert!(report.notes.is_empty(), "{:?}", report.notes);
    }
}

#[test]
fn tcp_that_offload_cut_and_joined_otherwise_lost_nothing() {
    let start = 1_000_000_000;
    let a = [(start, tcp(A, B, 100, 3000)), (start + 1, tcp(A, B, 3100, 1000))];
    let b = [
        (start, tcp(A, B, 100, 1000)),
        (start + 1, tcp(A, B, 1100, 1000)),
        (start + 2, tcp(A, B, 2100, 2000)),
    ];
    let report = compared(&a, &b);
    assert_eq!(
        (report.a_to_b.left, report.a_to_b.arrived, report.a_to_b.lost),
        (2, 2, 0)
    );
    assert_eq!(report.a_to_b.appeared, 0);
    let report = compared(&a, &b[..2]);
    assert_eq!(
        (
            report.a_to_b.arrived,
            report.a_to_b.lost,
            report.a_to_b.lost_bytes
        ),
        (0, 2, 2000)
    );
}

#[test]
fn a_segment_that_was_lost_and_sent_again_is_one_lost_packet_across_the_wrap() {
    let start = 1_000_000_000;
    let first = u32::MAX - 500;
    let a = [
        (start, tcp(A, B, first, 1000)),
        (start + 1, tcp(A, B, first.wrapping_add(1000), 1000)),
        (start + 2, tcp(A, B, first, 1000)),
    ];
    let b = [
        (start + 5, tcp(A, B, first.wrapping_add(1000), 1000)),
        (start + 9, tcp(A, B, first, 1000)),
    ];
    let totals = compared(&a, &b).a_to_b;
    assert_eq!(
        (totals.left, totals.arrived, totals.lost, totals.retransmits),
        (3, 2, 1, 1)
    );
}

#[test]
fn what_never_concerned_the_other_side_is_left_out_and_an_empty_capture_loses_all() {
    let elsewhere = (5, udp(A, [192, 0, 2, 1], 1, 64, b"other"));
    let there = (6, udp(A, B, 2, 64, b"there"));
    let report = compared(
        &[elsewhere.clone(), there.clone()],
        &[(6, udp(A, B, 2, 63, b"there"))],
    );
    assert_eq!(
        (report.elsewhere, report.a_to_b.left, report.a_to_b.lost),
        (1, 1, 0)
    );
    let report = compared(&[there], &[]);
    assert_eq!((report.a_to_b.left, report.a_to_b.lost), (1, 1));
    assert!(!report.compares());
    assert_eq!(report.flows[0].lost_at_the_edge, 1);
}

#[test]
fn what_the_other_capture_never_looked_at_is_not_lost_and_what_was_answered_on_the_way_is() {
    let other_ports = |from, to, id| {
        let mut packet = udp(from, to, id, 64, b"other");
        packet[20..24].copy_from_slice(if from == A {
            &[0, 50, 0, 60]
        } else {
            &[0, 60, 0, 50]
        });
        (u64::from(id), packet)
    };
    let shared = (1, udp(A, B, 1, 64, b"there"));
    // B's side holds a conversation that A began, of which A's capture, filtered, holds nothing.
    let report = compared(
        std::slice::from_ref(&shared),
        &[
            (1, udp(A, B, 1, 63, b"there")),
            other_ports(A, B, 5),
            other_ports(B, A, 6),
        ],
    );
    assert_eq!(
        (report.a_to_b.lost, report.b_to_a.lost, report.elsewhere),
        (0, 0, 2)
    );
    assert!(
        report.notes.iter().any(|note| note.contains("not compared")),
        "{:?}",
        report.notes
    );
    // A begins one that something on the way answers: B never sees it.
    let report = compared(
        &[shared, other_ports(A, B, 5), other_ports(B, A, 6)],
        &[(1, udp(A, B, 1, 63, b"there"))],
    );
    assert_eq!((report.a_to_b.lost, report.b_to_a.lost), (1, 0));
    assert!(
        report.notes.iter().any(|note| note.contains("answered")),
        "{:?}",
        report.notes
    );
}
