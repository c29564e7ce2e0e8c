//! A TCP segment that begins a handshake, and the two that answer it (RFC 9293, section 3.1).
//!
//! | octets | field |
//! |---|---|
//! | 0–1 / 2–3 | source / destination port |
//! | 4–7 / 8–11 | sequence / acknowledgment number |
//! | 12 / 13 | header length in its upper four bits, in words of four octets / flags |
//! | 14–15 / 16–17 / 18–19 | window / checksum / urgent pointer |
//! | 20– | options |

use std::net::IpAddr;

/// Octets of a SYN as written here: the header and one option, the maximum segment size.
pub const LENGTH: usize = 24;
/// Where the checksum is.
pub const CHECKSUM: usize = 16;

const HEADER: usize = 20;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
/// What fits an Ethernet frame.
const MSS_V4: u16 = 1460;
const MSS_V6: u16 = 1440;
/// As a client of today begins with.
const WINDOW: u16 = 64_240;
const PROTOCOL: u8 = 6;

/// What a segment says to somebody who sent a SYN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Says {
    /// SYN and ACK: the port is open.
    Open,
    /// RST: it is closed.
    Closed,
    /// Nothing that answers a SYN.
    Else,
}

/// A segment, as far as it matters here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// The port that it came from.
    pub source: u16,
    /// The port that it came to.
    pub destination: u16,
    /// Its sequence number.
    pub sequence: u32,
    /// The sequence number of the SYN that it acknowledges.
    pub answers: u32,
    /// What it says.
    pub says: Says,
}

/// Writes a SYN with the checksum zero; `None` where there is no room for [`LENGTH`] octets.
pub fn write(slot: &mut [u8], source: u16, destination: u16, sequence: u32, v6: bool) -> Option<usize> {
    let slot = slot.first_chunk_mut::<LENGTH>()?;
    let ([s, t], [d, e], [a, b, c, f]) = (
        source.to_be_bytes(),
        destination.to_be_bytes(),
        sequence.to_be_bytes(),
    );
    let [w, x] = WINDOW.to_be_bytes();
    let [m, n] = if v6 { MSS_V6 } else { MSS_V4 }.to_be_bytes();
    let words = (LENGTH / 4) as u8;
    *slot = [
        s,
        t,
        d,
        e,
        a,
        b,
        c,
        f,
        0,
        0,
        0,
        0,
        words << 4,
        SYN,
        w,
        x,
        0,
        0,
        0,
        0,
        2,
        4,
        m,
        n,
    ];
    Some(LENGTH)
}

/// Puts the checksum into a segment whose checksum field is zero.
pub fn seal(segment: &mut [u8], from: IpAddr, to: IpAddr) {
    let sum = !folded(sum(segment) + pseudo(segment.len(), from, to));
    if let Some(field) = segment.get_mut(CHECKSUM..CHECKSUM + 2) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
}

/// Whether the checksum is right, or left to be completed by the hardware: then the field holds the pseudo header's sum
/// alone, as segments do that never left this machine.
pub fn is_sound(segment: &[u8], from: IpAddr, to: IpAddr) -> bool {
    let pseudo = pseudo(segment.len(), from, to);
    let field = segment
        .get(CHECKSUM..CHECKSUM + 2)
        .map(|f| u16::from_be_bytes([f[0], f[1]]));
    folded(sum(segment) + pseudo) == 0xffff || field == Some(folded(pseudo))
}

/// Reads a segment, or the beginning of one.
pub fn read(bytes: &[u8]) -> Option<Segment> {
    let header = bytes.first_chunk::<HEADER>()?;
    let half = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let word = |at: usize| u32::from(half(at)) << 16 | u32::from(half(at + 2));
    let says = match header[13] & (SYN | RST | ACK) {
        flags if flags == SYN | ACK => Says::Open,
        flags if flags == RST | ACK => Says::Closed,
        _ => Says::Else,
    };
    Some(Segment {
        source: half(0),
        destination: half(2),
        sequence: word(4),
        // RFC 9293 section 3.10.7: a SYN takes one number.
        answers: word(8).wrapping_sub(1),
        says,
    })
}

/// Ports and sequence number of a segment of which an ICMP error quotes eight octets or more.
pub fn quoted(bytes: &[u8]) -> Option<(u16, u16, u32)> {
    let [s, t, d, e, a, b, c, f] = *bytes.first_chunk::<8>()?;
    Some((
        u16::from_be_bytes([s, t]),
        u16::from_be_bytes([d, e]),
        u32::from_be_bytes([a, b, c, f]),
    ))
}

/// The one's complement sum, not folded.
fn sum(bytes: &[u8]) -> u64 {
    let mut pairs = bytes.chunks_exact(2);
    let mut sum: u64 = (&mut pairs)
        .map(|pair| u64::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    if let [last] = *pairs.remainder() {
        sum += u64::from(last) << 8;
    }
    sum
}

fn pseudo(length: usize, from: IpAddr, to: IpAddr) -> u64 {
    let addresses = |address| match address {
        IpAddr::V4(four) => sum(&four.octets()),
        IpAddr::V6(six) => sum(&six.octets()),
    };
    addresses(from) + addresses(to) + u64::from(PROTOCOL) + length as u64
}

fn folded(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HERE: [&str; 2] = ["10.0.0.1", "fd00::1"];
    const THERE: [&str; 2] = ["10.0.0.2", "fd00::2"];

    fn pair(family: usize) -> (IpAddr, IpAddr) {
        (HERE[family].parse().unwrap(), THERE[family].parse().unwrap())
    }

    /// What a host answers: SYN and ACK, or RST and ACK.
    fn answer(flags: u8, acknowledges: u32) -> Vec<u8> {
        let mut bytes = vec![0; LENGTH];
        write(&mut bytes, 445, 40_000, 77, false).unwrap();
        bytes[8..12].copy_from_slice(&acknowledges.to_be_bytes());
        bytes[13] = flags;
        bytes
    }

    #[test]
    fn a_syn_is_laid_out_as_rfc_9293_says_with_a_right_checksum() {
        for family in [0, 1] {
            let (from, to) = pair(family);
            let mut bytes = [9; LENGTH];
            assert_eq!(
                write(&mut bytes, 40_000, 445, 0x0102_0304, family == 1),
                Some(LENGTH)
            );
            assert_eq!(
                bytes[..14],
                [0x9c, 0x40, 1, 0xbd, 1, 2, 3, 4, 0, 0, 0, 0, 0x60, 2]
            );
            assert!(!is_sound(&bytes, from, to));
            seal(&mut bytes, from, to);
            assert!(is_sound(&bytes, from, to));
            let of_another = is_sound(&bytes, from, "10.0.0.9".parse().unwrap());
            assert!(!of_another, "the addresses are under the checksum");
        }
        // The sum once more, by hand.
        let mut bytes = [0; LENGTH];
        write(&mut bytes, 40_000, 445, 0x0102_0304, false);
        seal(&mut bytes, pair(0).0, pair(0).1);
        let plain: u32 = bytes
            .chunks(2)
            .map(|c| u32::from(u16::from_be_bytes([c[0], c[1]])))
            .sum();
        let whole = plain + 0x0a00 + 1 + 0x0a00 + 2 + 6 + 24;
        assert_eq!((whole & 0xffff) + (whole >> 16), 0xffff);
        assert_eq!(write(&mut [0; 23], 1, 2, 3, false), None);
    }

    #[test]
    fn a_checksum_that_hardware_would_complete_is_sound_and_a_damaged_one_is_not() {
        let (from, to) = pair(0);
        let mut bytes = answer(0x12, 5);
        let partial = folded(pseudo(bytes.len(), from, to));
        bytes[CHECKSUM..CHECKSUM + 2].copy_from_slice(&partial.to_be_bytes());
        assert!(is_sound(&bytes, from, to));
        bytes[CHECKSUM] ^= 1;
        assert!(!is_sound(&bytes, from, to));
    }

    #[test]
    fn an_answer_names_the_syn_that_it_acknowledges() {
        let open = read(&answer(0x12, 5)).unwrap();
        assert_eq!(
            (open.source, open.destination, open.answers, open.says),
            (445, 40_000, 4, Says::Open)
        );
        assert_eq!(
            read(&answer(0x14, 0)).map(|s| (s.answers, s.says)),
            Some((u32::MAX, Says::Closed))
        );
        for flags in [0x02, 0x10, 0x04, 0x18, 0x16] {
            assert_eq!(read(&answer(flags, 5)).unwrap().says, Says::Else, "{flags:#x}");
        }
        assert_eq!(read(&answer(0x52, 5)).unwrap().says, Says::Open, "with ECE");
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let (from, to) = pair(0);
            let _ = is_sound(&bytes, from, to);
            prop_assert_eq!(read(&bytes).is_some(), bytes.len() >= HEADER);
            prop_assert_eq!(quoted(&bytes).is_some(), bytes.len() >= 8);
        }

        #[test]
        fn a_sealed_segment_is_sound_and_one_flipped_bit_is_not(
            source: u16, destination: u16, sequence: u32, at in 0..LENGTH * 8,
        ) {
            let (from, to) = pair(0);
            let mut bytes = [0; LENGTH];
            write(&mut bytes, source, destination, sequence, false);
            seal(&mut bytes, from, to);
            prop_assert_eq!(quoted(&bytes), Some((source, destination, sequence)));
            bytes[at / 8] ^= 1 << (at % 8);
            // Hardware that completes the sum leaves the pseudo header's in the field: one value of 65 536.
            let partial = folded(pseudo(LENGTH, from, to)).to_be_bytes();
            prop_assume!(bytes[CHECKSUM..CHECKSUM + 2] != partial);
            prop_assert!(!is_sound(&bytes, from, to));
        }
    }
}
