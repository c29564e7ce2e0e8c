//! What follows STAMP's base packet: TLVs (RFC 8972 section 4), as far as rping speaks of them.
//!
//! | octets | field |
//! |---|---|
//! | 0 | flags: U 0x80 unrecognised, M 0x40 malformed, I 0x20 integrity |
//! | 1 | type |
//! | 2–3 | length of the value |
//! | 4– | value |
//!
//! Padding of zeros reads as type 0 of length 0, which is no TLV: there it ends.

/// Octets before a TLV's value.
pub const HEADER_LEN: usize = 4;

/// Octets of a Class of Service TLV (RFC 8972 section 4.4), header and value.
pub const CLASS_OF_SERVICE_LEN: usize = HEADER_LEN + 4;

/// The reflector did not recognise the type; a sender sets it, a reflector that knows the type clears it.
const U: u8 = 0x80;
/// The length is impossible.
const M: u8 = 0x40;

const EXTRA_PADDING: u8 = 1;
const CLASS_OF_SERVICE: u8 = 4;

/// Writes a sender's Class of Service TLV to the front of `room`, asking for answers with `dscp`, and makes the rest of it
/// one Extra Padding TLV where its header has room. Does nothing where there is no room for the first.
pub fn write_class_of_service(room: &mut [u8], dscp: u8) {
    room.fill(0);
    let Some((first, rest)) = room.split_at_mut_checked(CLASS_OF_SERVICE_LEN) else {
        return;
    };
    // DSCP1 is the upper six bits.
    first.copy_from_slice(&[U, CLASS_OF_SERVICE, 0, 4, dscp << 2, 0, 0, 0]);
    if let Some(header) = rest.first_chunk_mut::<HEADER_LEN>() {
        *header = [U, EXTRA_PADDING, 0, 0];
        let length = rest.len() - HEADER_LEN;
        // A datagram holds no more than sixteen bits can say.
        rest[2..HEADER_LEN].copy_from_slice(&(length.min(0xffff) as u16).to_be_bytes());
    }
}

/// What a reflector saw of a packet's class of service.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ClassSeen {
    /// The DSCP with which the packet arrived there, 0 to 63.
    pub dscp: u8,
    /// Its ECN bits.
    pub ecn: u8,
}

/// The class of service that the answer says the request arrived with; `tail` is what follows the base packet.
/// `None` where the reflector does not know the TLV.
pub fn class_seen(tail: &[u8]) -> Option<ClassSeen> {
    let mut seen = None;
    walk_ref(tail, |flags, kind, value| {
        if kind == CLASS_OF_SERVICE && flags & (U | M) == 0 && seen.is_none() {
            if let [first, second, ..] = *value {
                seen = Some(ClassSeen {
                    dscp: (first & 0b11) << 4 | second >> 4,
                    ecn: second >> 2 & 0b11,
                });
            }
        }
    });
    seen
}

fn walk_ref(mut tail: &[u8], mut each: impl FnMut(u8, u8, &[u8])) {
    while let Some((&[flags, kind, high, low], rest)) = tail.split_first_chunk::<HEADER_LEN>() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        if kind == 0 {
            return;
        }
        let Some((value, next)) = rest.split_at_checked(length) else {
            return;
        };
        each(flags, kind, value);
        tail = next;
    }
}

/// Puts what a reflector has to say into the copied TLVs of an answer: clears U of those it knows, sets it for the others,
/// says M of a length that is impossible and stops there. `tos` is the request's TOS octet or traffic class as received.
///
/// Returns the DSCP that the sender wants its answer sent with, where it asked for one.
pub fn answer(tail: &mut [u8], tos: u8) -> Option<u8> {
    let mut wanted = None;
    let mut at = 0;
    while let Some(header) = tail.get(at..).and_then(|rest| rest.first_chunk::<HEADER_LEN>()) {
        let &[flags, kind, high, low] = header;
        if kind == 0 || flags & 0x1f != 0 {
            // Padding, or nothing that was written as a TLV.
            break;
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        let value = at + HEADER_LEN;
        let fits = tail.len() - value >= length;
        let known = match kind {
            EXTRA_PADDING => true,
            CLASS_OF_SERVICE => fits && length == 4,
            _ => false,
        };
        tail[at] = match (fits, known) {
            (false, _) => flags | M,
            (true, true) => flags & !U,
            (true, false) if kind == CLASS_OF_SERVICE => flags | M,
            (true, false) => flags | U,
        };
        if !fits {
            break;
        }
        if known && kind == CLASS_OF_SERVICE {
            // RFC 8972 section 4.4 with erratum 8199: DSCP1 stays, DSCP2 and ECN are what was received, RP is 0.
            let dscp = tail[value] >> 2;
            let (dscp2, ecn) = (tos >> 2, tos & 0b11);
            tail[value] = dscp << 2 | dscp2 >> 4;
            tail[value + 1] = dscp2 << 4 | ecn << 2;
            wanted = wanted.or(Some(dscp));
        }
        at = value + length;
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_class_of_service_goes_there_and_back_with_padding_behind_it() {
        for length in [8, 10, 12, 13, 100] {
            let mut tail = vec![0xee; length];
            write_class_of_service(&mut tail, 46);
            assert_eq!(tail[..5], [0x80, 4, 0, 4, 46 << 2]);
            assert_eq!(class_seen(&tail), None, "not answered yet");
            assert_eq!(answer(&mut tail, 26 << 2 | 0b01), Some(46));
            assert_eq!(class_seen(&tail), Some(ClassSeen { dscp: 26, ecn: 1 }));
            if length >= 12 {
                assert_eq!(tail[8..12], [0, 1, 0, length as u8 - 12], "U cleared");
            }
        }
    }

    #[test]
    fn unknown_types_keep_u_and_an_impossible_length_is_malformed() {
        let mut tail = [0x80, 5, 0, 1, 9, 0x80, 1, 0, 9, 0, 0];
        assert_eq!(answer(&mut tail, 0), None);
        assert_eq!((tail[0], tail[5]), (0x80, 0xc0));
        let mut zeros = [0; 9];
        assert_eq!(answer(&mut zeros, 0xff), None);
        assert_eq!(zeros, [0; 9]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_without_a_panic_and_stay_as_many(mut tail in proptest::collection::vec(any::<u8>(), 0..80), tos: u8) {
            let length = tail.len();
            answer(&mut tail, tos);
            class_seen(&tail);
            prop_assert_eq!(tail.len(), length);
        }
    }
}
