//! Echo request, echo reply (RFC 792; RFC 4443 sections 4.1 and 4.2): the same layout in both families.
//!
//! | octets | field |
//! |---|---|
//! | 0 / 1 | type / code |
//! | 2–3 | checksum |
//! | 4–5 / 6–7 | identifier / sequence number |
//! | 8– | payload |

/// Octets before the payload.
pub const HEADER: usize = 8;

const CHECKSUM: usize = 2;
const ID: usize = 4;
const SEQ: usize = 6;

/// The types of one family's echo messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Types {
    /// Of an echo request.
    pub request: u8,
    /// Of an echo reply.
    pub reply: u8,
}

/// ICMP.
pub const V4: Types = Types { request: 8, reply: 0 };
/// ICMPv6.
pub const V6: Types = Types {
    request: 128,
    reply: 129,
};

/// Type, identifier and sequence number of an echo message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Echo {
    /// The message type, see [`Types`].
    pub kind: u8,
    /// The identifier.
    pub id: u16,
    /// The sequence number.
    pub seq: u16,
}

impl Echo {
    /// Writes the header, checksum zero.
    pub fn write(self, header: &mut [u8; HEADER]) {
        let [i, j] = self.id.to_be_bytes();
        let [s, t] = self.seq.to_be_bytes();
        *header = [self.kind, 0, 0, 0, i, j, s, t];
    }

    /// Header and payload; `None` when it is shorter than a header or its code is none that echo messages have.
    pub fn parse(message: &[u8]) -> Option<(Echo, &[u8])> {
        let (header, payload) = message.split_first_chunk::<HEADER>()?;
        if header[1] != 0 {
            return None;
        }
        let id = u16::from_be_bytes([header[ID], header[ID + 1]]);
        let seq = u16::from_be_bytes([header[SEQ], header[SEQ + 1]]);
        Some((
            Echo {
                kind: header[0],
                id,
                seq,
            },
            payload,
        ))
    }
}

/// Puts the checksum into a message whose checksum field is zero.
pub fn seal(message: &mut [u8]) {
    let sum = rping_net::internet_checksum(message).to_be_bytes();
    if let Some(field) = message.get_mut(CHECKSUM..ID) {
        field.copy_from_slice(&sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pnet::packet::icmp::{self, echo_request::EchoRequestPacket, IcmpTypes};
    use proptest::prelude::*;

    #[test]
    fn a_request_reads_as_one_with_an_independent_parser() {
        let mut message = [7; 20];
        let header: &mut [u8; HEADER] = message.first_chunk_mut().expect("long enough");
        Echo {
            kind: V4.request,
            id: 0x1234,
            seq: 0xfedc,
        }
        .write(header);
        seal(&mut message);
        let theirs = EchoRequestPacket::new(&message).expect("a packet");
        assert_eq!(theirs.get_icmp_type(), IcmpTypes::EchoRequest);
        assert_eq!(
            (theirs.get_identifier(), theirs.get_sequence_number()),
            (0x1234, 0xfedc)
        );
        let sum = icmp::checksum(&icmp::IcmpPacket::new(&message).expect("a packet"));
        assert_eq!(theirs.get_checksum(), sum);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(Echo::parse(&bytes).is_some(), bytes.len() >= HEADER && bytes[1] == 0);
        }

        #[test]
        fn what_is_written_is_read_back(kind: u8, id: u16, seq: u16) {
            let mut header = [0xff; HEADER];
            Echo { kind, id, seq }.write(&mut header);
            prop_assert_eq!(Echo::parse(&header), Some((Echo { kind, id, seq }, &[][..])));
        }
    }
}
