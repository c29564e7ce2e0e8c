//! Tests of [`super`]: layouts against bytes written by hand, then against any bytes at all.

use super::*;
use proptest::prelude::*;

const T1: u64 = 0x1112_1314_1516_1718;
const T2: NtpTimestamp = NtpTimestamp(0x2122_2324_2526_2728);
const T3: NtpTimestamp = NtpTimestamp(0x3132_3334_3536_3738);

fn sender() -> SenderPacket {
    SenderPacket {
        seq: 0x0102_0304,
        timestamp: T1,
        error_estimate: ErrorEstimate(0x8a0b),
        ssid: 0x0c0d,
    }
}

fn reflection() -> Reflection {
    Reflection {
        seq: 0xf1f2_f3f4,
        received: T2,
        sent: T3,
        error_estimate: ErrorEstimate(0x9a9b),
        ttl: 77,
    }
}

fn request(len: usize) -> Vec<u8> {
    let mut packet = vec![0xee; len];
    sender().write(&mut packet).unwrap();
    packet
}

#[test]
fn a_senders_packet_has_rfc_8762s_layout() {
    #[rustfmt::skip]
    let want = [
        1, 2, 3, 4,  0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,  0x8a, 0x0b,  0x0c, 0x0d,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    assert_eq!(request(44), want);
    assert_eq!(SenderPacket::parse(&want), Ok(sender()));
    assert!(request(100)[16..].iter().all(|&b| b == 0));
}

#[test]
fn an_answer_has_rfc_8762s_layout() {
    let mut answer = [0xee; 60];
    assert_eq!(reflect(&request(44), &reflection(), &mut answer), Ok(44));
    #[rustfmt::skip]
    let want = [
        0xf1, 0xf2, 0xf3, 0xf4,  0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38,  0x9a, 0x9b,  0x0c, 0x0d,
        0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28,
        1, 2, 3, 4,  0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,
        0x8a, 0x0b,  0, 0,  77, 0, 0, 0,
    ];
    assert_eq!(answer[..44], want);
    assert!(answer[44..].iter().all(|&b| b == 0xee));
    let parsed = ReflectorPacket::parse(&answer[..44]).unwrap();
    assert_eq!(
        (parsed.sender_seq, parsed.sender_timestamp, parsed.sender_ttl),
        (0x0102_0304, T1, Some(77))
    );
    assert_eq!(
        (parsed.seq, parsed.timestamp, parsed.received, parsed.ssid),
        (0xf1f2_f3f4, T3.0, T2.0, 0x0c0d)
    );
    assert_eq!(parsed.sender_error_estimate, sender().error_estimate);
}

#[test]
fn a_later_departure_replaces_the_stamp_alone() {
    let mut answer = [0; 44];
    reflect(&request(44), &reflection(), &mut answer).unwrap();
    let before = answer;
    set_sent(&mut answer, NtpTimestamp(5));
    assert_eq!(ReflectorPacket::parse(&answer).unwrap().timestamp, 5);
    assert_eq!((&answer[..4], &answer[12..]), (&before[..4], &before[12..]));
    set_sent(&mut answer[..11], NtpTimestamp(6));
    assert_eq!(ReflectorPacket::parse(&answer).unwrap().timestamp, 5);
}

#[test]
fn a_request_cut_anywhere_below_44_octets_is_refused() {
    let whole = request(44);
    for n in 0..44 {
        let error = Error::Truncated {
            what: "a STAMP sender's packet",
            needed: 44,
            got: n,
        };
        assert_eq!(SenderPacket::parse(&whole[..n]), Err(error));
        assert_eq!(sender().write(&mut vec![0; n]), Err(error));
        assert!(reflect(&whole[..n], &reflection(), &mut [0; 100]).is_err());
    }
}

#[test]
fn an_answer_is_read_from_38_octets_and_tells_the_ttl_from_41() {
    let mut answer = [0; 44];
    reflect(&request(44), &reflection(), &mut answer).unwrap();
    for n in 0..=44 {
        match ReflectorPacket::parse(&answer[..n]) {
            Err(e) => assert_eq!(
                (n < 38, e),
                (
                    true,
                    Error::Truncated {
                        what: "a STAMP reflector's packet",
                        needed: 38,
                        got: n
                    }
                )
            ),
            Ok(p) => assert_eq!((n >= 38, p.sender_ttl), (true, (n >= 41).then_some(77))),
        }
    }
}

#[test]
fn a_multiplier_of_0_and_fields_that_are_not_zero_are_not_answered() {
    assert!(is_sender_packet(&request(44)) && is_sender_packet(&request(1400)));
    for at in 16..44 {
        let mut packet = request(60);
        packet[at] = 1;
        assert!(!is_sender_packet(&packet), "octet {at}");
    }
    let mut packet = request(60);
    packet[13] = 0;
    assert!(!is_sender_packet(&packet));
    let mut padded = request(60);
    padded[44..].fill(0xff);
    assert!(is_sender_packet(&padded));
}

#[test]
fn an_answer_needs_as_much_room_as_its_request() {
    let error = Error::Truncated {
        what: "the answer to a STAMP packet",
        needed: 61,
        got: 60,
    };
    assert_eq!(reflect(&request(61), &reflection(), &mut [0; 60]), Err(error));
}

#[test]
fn ntp_timestamps_are_since_1900_and_survive_the_wrap_of_2036() {
    assert_eq!(NtpTimestamp::from_unix_nanos(0).0, 2_208_988_800 << 32);
    assert_eq!(
        NtpTimestamp::from_unix_nanos(500_000_000).0,
        2_208_988_800 << 32 | 0x8000_0000
    );
    // 2036-02-07T06:28:16Z is second 0 of the next era.
    let wrap = 2_085_978_496 * SECOND;
    assert_eq!(NtpTimestamp::from_unix_nanos(wrap).0, 0);
    assert_eq!(NtpTimestamp::from_unix_nanos(wrap - 1).0 >> 32, 0xffff_ffff);
    assert_eq!(NtpTimestamp(0).to_unix_nanos(), wrap);
    // before 1970
    assert_eq!(NtpTimestamp(0x8000_0000 << 32).to_unix_nanos(), 0);
    assert_eq!(NtpTimestamp(u64::MAX).to_unix_nanos(), wrap);
}

#[test]
fn a_ptp_timestamp_is_read_by_the_z_bit_and_refused_beyond_a_second() {
    let ptp = ErrorEstimate::from_bits(0x4001);
    assert_eq!(ptp.format(), Format::Ptp);
    assert_eq!(
        Format::Ptp.to_unix_nanos(7 << 32 | 999_999_999),
        Some(7_999_999_999)
    );
    assert_eq!(Format::Ptp.to_unix_nanos(7 << 32 | 1_000_000_000), None);
    let mut answer = [0; 44];
    let with = Reflection {
        error_estimate: ptp,
        received: NtpTimestamp(7 << 32 | 1),
        sent: NtpTimestamp(7 << 32 | 41),
        ..reflection()
    };
    reflect(&request(44), &with, &mut answer).unwrap();
    let parsed = ReflectorPacket::parse(&answer).unwrap();
    assert_eq!(
        (parsed.received_unix_nanos(), parsed.turnaround_nanos()),
        (Some(7_000_000_001), Some(40))
    );
}

#[test]
fn a_reflector_that_answers_before_it_received_has_no_turnaround() {
    let mut answer = [0; 44];
    let with = Reflection {
        received: T3,
        sent: T2,
        ..reflection()
    };
    reflect(&request(44), &with, &mut answer).unwrap();
    assert_eq!(ReflectorPacket::parse(&answer).unwrap().turnaround_nanos(), None);
}

#[test]
fn error_estimates_are_multiples_of_powers_of_two() {
    let e = ErrorEstimate::from_bits(0x8000 | 32 << 8 | 3);
    assert_eq!(
        (e.is_synchronised(), e.format(), e.error_ns()),
        (true, Format::Ntp, 3 * SECOND)
    );
    assert_eq!(ErrorEstimate::from_bits(1).error_ns(), 1);
    assert_eq!(ErrorEstimate::from_bits(0xffff).error_ns(), u64::MAX);
    assert!(!ErrorEstimate::from_bits(0xff00).is_valid());
    assert_eq!(ErrorEstimate::new(false, 0).bits(), 1);
    assert!(ErrorEstimate::new(true, 1000).is_synchronised());
}

proptest! {
    #[test]
    fn an_instant_survives_ntp_to_the_nanosecond(nanos in 0u64..4_233_462_144 * SECOND) {
        prop_assert_eq!(NtpTimestamp::from_unix_nanos(nanos).to_unix_nanos(), nanos);
    }

    #[test]
    fn an_error_estimate_covers_the_error_closely(s: bool, error in 0u64..) {
        let e = ErrorEstimate::new(s, error);
        prop_assert!(e.is_valid() && e.is_synchronised() == s && e.format() == Format::Ntp);
        prop_assert!(e.error_ns() >= error);
        prop_assert!(e.error_ns() as f64 <= error as f64 * (1.0 + 1.0 / 64.0) + 2.0);
    }

    #[test]
    fn any_bytes_are_parsed_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = SenderPacket::parse(&bytes);
        if let Ok(p) = ReflectorPacket::parse(&bytes) {
            let _ = (p.turnaround_nanos(), p.error_estimate.error_ns());
        }
    }

    #[test]
    fn no_answer_is_answered_and_none_outgrows_its_request(
        seq: u32, timestamp: u64, ssid: u16, estimate: u16, padding in proptest::collection::vec(any::<u8>(), 0..200),
        mine in (any::<u32>(), any::<u64>(), any::<u64>(), any::<u16>(), any::<u8>()),
    ) {
        let error_estimate = ErrorEstimate(estimate | 1);
        let mut request = vec![0; 44 + padding.len()];
        let sent = SenderPacket { seq, timestamp, error_estimate, ssid };
        sent.write(&mut request).unwrap();
        request[44..].copy_from_slice(&padding);
        let with = Reflection {
            seq: mine.0,
            received: NtpTimestamp(mine.1),
            sent: NtpTimestamp(mine.2),
            error_estimate: ErrorEstimate(mine.3),
            ttl: mine.4,
        };
        let mut answer = vec![0xee; 300];
        let n = reflect(&request, &with, &mut answer).unwrap();
        prop_assert_eq!(n, request.len());
        prop_assert_eq!(&answer[44..n], &padding[..]);
        prop_assert!(answer[n..].iter().all(|&b| b == 0xee));
        prop_assert!(!is_sender_packet(&answer[..n]));
        // Whatever the sender's clock says, T2 and T3 are of one.
        let t3 = NtpTimestamp(mine.1.max(1 << 32).saturating_add(seq.into()));
        let with = Reflection { received: NtpTimestamp(mine.1.max(1 << 32)), sent: t3, ..with };
        let mut loops = vec![0; n];
        reflect(&request, &with, &mut loops).unwrap();
        prop_assert!(looks_like_answer(&loops) && !looks_like_answer(&request[..44]));
        let parsed = ReflectorPacket::parse(&answer[..n]).unwrap();
        prop_assert_eq!((parsed.sender_seq, parsed.sender_timestamp, parsed.ssid), (seq, timestamp, ssid));
        prop_assert_eq!((parsed.seq, parsed.received, parsed.timestamp), (mine.0, mine.1, mine.2));
    }
}
