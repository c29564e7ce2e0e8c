//! The capture file that tcpdump writes with `--time-stamp-precision=nano`: the little of it that tests need.

use std::ops::Range;

/// What the captured bytes begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkType {
    /// An Ethernet header (1).
    Ethernet,
    /// An IP header (101): TUN devices.
    Raw,
}

/// One captured packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// The kernel's stamp: nanoseconds since 1970, wall clock.
    pub ts_ns: u64,
    /// From the link header on.
    pub bytes: Vec<u8>,
    /// What `bytes` begins with.
    pub link: LinkType,
}

impl Packet {
    /// The packet from the IP header on; `None` where it is not IP.
    #[must_use]
    pub fn ip(&self) -> Option<&[u8]> {
        match self.link {
            LinkType::Raw => Some(&self.bytes),
            LinkType::Ethernet => match self.bytes.get(12..14)? {
                [0x08, 0x00] | [0x86, 0xdd] => self.bytes.get(14..),
                _ => None,
            },
        }
    }

    /// The ARP packet (RFC 826) from its hardware type on; `None` where it is not ARP.
    #[must_use]
    pub fn arp(&self) -> Option<&[u8]> {
        match self.bytes.get(12..14)? {
            [0x08, 0x06] if self.link == LinkType::Ethernet => self.bytes.get(14..),
            _ => None,
        }
    }
}

/// Reads a whole file in the byte order of this machine; a last record cut short is left out.
///
/// # Panics
/// When it is not a nanosecond pcap file of a known link type.
pub(crate) fn read(file: &[u8]) -> Vec<Packet> {
    let word = |range: Range<usize>| {
        file.get(range)
            .and_then(|bytes| bytes.try_into().ok())
            .map(u32::from_ne_bytes)
    };
    assert_eq!(
        word(0..4),
        Some(0xa1b2_3c4d),
        "a pcap file with nanoseconds in our byte order"
    );
    let link = match word(20..24) {
        Some(1) => LinkType::Ethernet,
        // 12 is what raw IP is called inside the kernel's headers, 101 on disk.
        Some(12 | 101) => LinkType::Raw,
        other => panic!("link type {other:?}"),
    };
    let mut packets = Vec::new();
    let mut at = 24;
    while let (Some(seconds), Some(nanos), Some(length)) =
        (word(at..at + 4), word(at + 4..at + 8), word(at + 8..at + 12))
    {
        at += 16;
        let Some(bytes) = file.get(at..at + length as usize) else {
            break;
        };
        at += bytes.len();
        let ts_ns = u64::from(seconds) * 1_000_000_000 + u64::from(nanos);
        packets.push(Packet {
            ts_ns,
            bytes: bytes.to_vec(),
            link,
        });
    }
    packets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_cut_short_gives_the_records_that_are_whole() {
        let mut file = Vec::new();
        for word in [0xa1b2_3c4d, 0x0004_0002, 0, 0, 262_144, 1, 1_700_000_000, 5, 3, 3] {
            file.extend(u32::to_ne_bytes(word));
        }
        file.extend([1, 2, 3]);
        let whole = file.clone();
        for word in [1_700_000_001u32, 6, 3, 3] {
            file.extend(word.to_ne_bytes());
        }
        file.push(1);
        let packets = read(&file);
        assert_eq!(packets, read(&whole));
        assert_eq!(packets.len(), 1);
        assert_eq!(packets[0].ts_ns, 1_700_000_000_000_000_005);
    }
}
