//! STAMP's authenticated mode (RFC 8762 sections 4.2.2, 4.3.2 and 4.4): the same fields further apart, and over all of
//! them the first 16 octets of an HMAC-SHA-256 (RFC 2104, RFC 4868).

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{ErrorEstimate, NtpTimestamp, Reflection, ReflectorPacket, SenderPacket};
use crate::{take, Error};

/// Octets of the base packet of either end in authenticated mode.
pub const AUTH_LEN: usize = 112;

/// Octets of the HMAC on the wire: the first of the 32.
pub const HMAC_LEN: usize = 16;

/// The shortest key that is taken, octets: half of what the hash's strength asks for (RFC 2104 section 3).
pub const KEY_MIN: usize = 16;

// Both packets: RFC 8762, figures 3 and 5; the SSID as in RFC 8972, figures 1 and 2.
const SEQ: usize = 0;
const TIMESTAMP: usize = 16;
const ERROR_ESTIMATE: usize = 24;
const SSID: usize = 26;
const HMAC: usize = 96;
// The reflector's alone: RFC 8762, figure 5.
const RECEIVED: usize = 32;
const SENDER_SEQ: usize = 48;
const SENDER_TIMESTAMP: usize = 64;
const SENDER_ERROR_ESTIMATE: usize = 72;
const SENDER_TTL: usize = 80;

/// What both ends of authenticated mode share.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl Key {
    /// From the key's octets; `None` when they are fewer than [`KEY_MIN`].
    pub fn new(octets: &[u8]) -> Option<Key> {
        if octets.len() < KEY_MIN {
            return None;
        }
        // Every length is a key for an HMAC: `ok` never loses anything.
        Hmac::new_from_slice(octets).ok().map(Key)
    }

    /// HMAC-SHA-256 over `parts`, one after another: what others than STAMP authenticate with the same key.
    pub fn digest(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    }

    /// Whether `tag` begins the HMAC over `parts`, compared in constant time. No tag shorter than [`HMAC_LEN`] does.
    pub fn verifies(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        let mut mac = self.0.clone();
        parts.iter().for_each(|part| mac.update(part));
        tag.len() >= HMAC_LEN && mac.verify_truncated_left(tag).is_ok()
    }

    /// Writes the HMAC of a base packet into it.
    fn seal(&self, packet: &mut [u8]) {
        if let Some((covered, rest)) = packet.split_at_mut_checked(HMAC) {
            let tag = self.digest(&[covered]);
            if let (Some(field), Some(tag)) = (rest.get_mut(..HMAC_LEN), tag.get(..HMAC_LEN)) {
                field.copy_from_slice(tag);
            }
        }
    }

    /// Whether a base packet's HMAC is right.
    fn opens(&self, packet: &[u8]) -> bool {
        match (packet.get(..HMAC), packet.get(HMAC..AUTH_LEN)) {
            (Some(covered), Some(tag)) => self.verifies(&[covered], tag),
            _ => false,
        }
    }
}

/// Two are the same if they authenticate the same.
impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.verifies(&[b"rping"], &other.digest(&[b"rping"]))
    }
}

impl Eq for Key {}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A key that is printed is no key.
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

const WRONG: Error = Error::Malformed {
    what: "the HMAC is not right",
};

impl SenderPacket {
    /// Fills the whole of `packet`, zeros beyond the fields, and seals it.
    ///
    /// # Errors
    /// When it holds fewer than [`AUTH_LEN`] octets.
    pub fn write_sealed(&self, key: &Key, packet: &mut [u8]) -> Result<(), Error> {
        let got = packet.len();
        if got < AUTH_LEN {
            return Err(Error::Truncated {
                what: "an authenticated STAMP sender's packet",
                needed: AUTH_LEN,
                got,
            });
        }
        packet.fill(0);
        packet[SEQ..4].copy_from_slice(&self.seq.to_be_bytes());
        packet[TIMESTAMP..ERROR_ESTIMATE].copy_from_slice(&self.timestamp.to_be_bytes());
        packet[ERROR_ESTIMATE..SSID].copy_from_slice(&self.error_estimate.bits().to_be_bytes());
        packet[SSID..28].copy_from_slice(&self.ssid.to_be_bytes());
        key.seal(packet);
        Ok(())
    }

    /// Reads the fields of an authenticated sender's packet, whose HMAC is right.
    ///
    /// A reflector's answer is refused as one: it bears the sender's error estimate where a sender leaves zeros.
    ///
    /// # Errors
    /// When it is not one, or not of this key.
    pub fn open(key: &Key, bytes: &[u8]) -> Result<SenderPacket, Error> {
        let packet = SenderPacket::read_sealed(bytes)?;
        if !packet.error_estimate.is_valid() {
            return Err(Error::Malformed {
                what: "the error estimate's multiplier is 0",
            });
        }
        if bytes[4..TIMESTAMP]
            .iter()
            .chain(&bytes[28..HMAC])
            .any(|&b| b != 0)
        {
            return Err(Error::Malformed {
                what: "fields that a STAMP sender leaves zero are not",
            });
        }
        if key.opens(bytes) {
            Ok(packet)
        } else {
            Err(WRONG)
        }
    }

    /// Reads the fields alone: of an authenticated packet that an ICMP error quotes, or that is checked otherwise.
    ///
    /// # Errors
    /// When there are fewer than [`AUTH_LEN`] octets.
    pub fn read_sealed(bytes: &[u8]) -> Result<SenderPacket, Error> {
        const WHAT: &str = "an authenticated STAMP sender's packet";
        let base: [u8; AUTH_LEN] = take(bytes, 0, WHAT)?;
        Ok(SenderPacket {
            seq: u32::from_be_bytes(take(&base, SEQ, WHAT)?),
            timestamp: u64::from_be_bytes(take(&base, TIMESTAMP, WHAT)?),
            error_estimate: ErrorEstimate(u16::from_be_bytes(take(&base, ERROR_ESTIMATE, WHAT)?)),
            ssid: u16::from_be_bytes(take(&base, SSID, WHAT)?),
        })
    }
}

impl ReflectorPacket {
    /// Reads an authenticated answer, whose HMAC is right.
    ///
    /// # Errors
    /// When it holds fewer than [`AUTH_LEN`] octets or its HMAC is not of this key.
    pub fn open(key: &Key, bytes: &[u8]) -> Result<ReflectorPacket, Error> {
        const WHAT: &str = "an authenticated STAMP reflector's packet";
        let base: [u8; AUTH_LEN] = take(bytes, 0, WHAT)?;
        if !key.opens(&base) {
            return Err(WRONG);
        }
        let short = |at| take(&base, at, WHAT).map(u16::from_be_bytes);
        let long = |at| take(&base, at, WHAT).map(u64::from_be_bytes);
        let word = |at| take(&base, at, WHAT).map(u32::from_be_bytes);
        Ok(ReflectorPacket {
            seq: word(SEQ)?,
            timestamp: long(TIMESTAMP)?,
            error_estimate: ErrorEstimate(short(ERROR_ESTIMATE)?),
            ssid: short(SSID)?,
            received: long(RECEIVED)?,
            sender_seq: word(SENDER_SEQ)?,
            sender_timestamp: long(SENDER_TIMESTAMP)?,
            sender_error_estimate: ErrorEstimate(short(SENDER_ERROR_ESTIMATE)?),
            sender_ttl: Some(base[SENDER_TTL]),
        })
    }
}

/// Writes the answer to `sender`, read from `request`, to the front of `answer` and returns its length: exactly the
/// request's, with everything beyond the base packet copied. [`set_sent_sealed`] puts T3 in and seals it.
///
/// # Errors
/// When `request` is shorter than [`AUTH_LEN`] or `answer` is shorter than `request`.
pub fn reflect_sealed(
    request: &[u8],
    sender: &SenderPacket,
    with: &Reflection,
    answer: &mut [u8],
) -> Result<usize, Error> {
    let (needed, got) = (request.len().max(AUTH_LEN), answer.len());
    let Some(answer) = answer.get_mut(..needed).filter(|_| request.len() >= AUTH_LEN) else {
        return Err(Error::Truncated {
            what: "the answer to an authenticated STAMP packet",
            needed,
            got: got.min(request.len()),
        });
    };
    answer.copy_from_slice(request);
    answer[..AUTH_LEN].fill(0);
    answer[SEQ..4].copy_from_slice(&with.seq.to_be_bytes());
    answer[TIMESTAMP..ERROR_ESTIMATE].copy_from_slice(&with.sent.0.to_be_bytes());
    answer[ERROR_ESTIMATE..SSID].copy_from_slice(&with.error_estimate.bits().to_be_bytes());
    answer[SSID..28].copy_from_slice(&sender.ssid.to_be_bytes());
    answer[RECEIVED..40].copy_from_slice(&with.received.0.to_be_bytes());
    answer[SENDER_SEQ..52].copy_from_slice(&sender.seq.to_be_bytes());
    answer[SENDER_TIMESTAMP..SENDER_ERROR_ESTIMATE].copy_from_slice(&sender.timestamp.to_be_bytes());
    answer[SENDER_ERROR_ESTIMATE..74].copy_from_slice(&sender.error_estimate.bits().to_be_bytes());
    answer[SENDER_TTL] = with.ttl;
    Ok(needed)
}

/// Puts T3 into a written authenticated answer, just before it leaves, and seals it.
pub fn set_sent_sealed(answer: &mut [u8], sent: NtpTimestamp, key: &Key) {
    if let Some(field) = answer.get_mut(TIMESTAMP..ERROR_ESTIMATE) {
        field.copy_from_slice(&sent.0.to_be_bytes());
    }
    key.seal(answer);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> Key {
        Key::new(b"0123456789abcdef0123456789abcdef").unwrap()
    }

    fn packet() -> SenderPacket {
        SenderPacket {
            seq: 7,
            timestamp: 0x0123_4567_89ab_cdef,
            error_estimate: ErrorEstimate::new(false, 500),
            ssid: 9,
        }
    }

    fn sealed(length: usize) -> Vec<u8> {
        let mut bytes = vec![0xee; length];
        packet().write_sealed(&key(), &mut bytes).unwrap();
        bytes
    }

    fn answered(request: &[u8]) -> Vec<u8> {
        let with = Reflection {
            seq: 3,
            received: NtpTimestamp(11),
            sent: NtpTimestamp(0),
            error_estimate: ErrorEstimate::new(false, 1000),
            ttl: 63,
        };
        let mut answer = vec![0; request.len()];
        let sender = SenderPacket::open(&key(), request).unwrap();
        assert_eq!(
            reflect_sealed(request, &sender, &with, &mut answer),
            Ok(request.len())
        );
        set_sent_sealed(&mut answer, NtpTimestamp(12), &key());
        answer
    }

    #[test]
    fn the_hmac_is_that_of_rfc_4231() {
        // Test case 1: twenty octets of 0x0b over "Hi There".
        let key = Key::new(&[0x0b; 20]).unwrap();
        let digest = key.digest(&[b"Hi ", b"There"]);
        assert_eq!(digest[..8], [0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53]);
        assert!(key.verifies(&[b"Hi There"], &digest[..16]) && !key.verifies(&[b"Hi There"], &digest[..15]));
        assert!(Key::new(&[1; 15]).is_none());
        assert_eq!(format!("{key:?}"), "Key { .. }");
    }

    #[test]
    fn fields_lie_where_rfc_8762_puts_them() {
        let bytes = sealed(112);
        assert_eq!(bytes[..4], [0, 0, 0, 7]);
        assert_eq!(bytes[16..24], 0x0123_4567_89ab_cdef_u64.to_be_bytes());
        assert_eq!(bytes[26..28], [0, 9]);
        let answer = answered(&bytes);
        assert_eq!(
            (&answer[..4], &answer[48..52]),
            (&[0, 0, 0, 3][..], &[0, 0, 0, 7][..])
        );
        assert_eq!((answer[23], answer[39], answer[80]), (12, 11, 63));
        let read = ReflectorPacket::open(&key(), &answer).unwrap();
        assert_eq!(
            (read.seq, read.sender_seq, read.ssid, read.sender_ttl),
            (3, 7, 9, Some(63))
        );
        assert_eq!((read.received, read.timestamp), (11, 12));
        assert_eq!(read.sender_timestamp, packet().timestamp);
    }

    #[test]
    fn another_key_a_changed_octet_and_a_short_packet_are_refused() {
        let bytes = sealed(120);
        assert_eq!(SenderPacket::open(&key(), &bytes), Ok(packet()));
        let other = Key::new(b"another key of enough octets").unwrap();
        assert!(SenderPacket::open(&other, &bytes).is_err());
        for at in 0..AUTH_LEN {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(SenderPacket::open(&key(), &changed).is_err(), "octet {at}");
        }
        for length in 0..AUTH_LEN {
            assert!(SenderPacket::open(&key(), &bytes[..length]).is_err());
        }
    }

    #[test]
    fn an_answer_is_never_taken_for_a_request() {
        let answer = answered(&sealed(112));
        assert!(SenderPacket::open(&key(), &answer).is_err());
        assert!(!super::super::is_sender_packet(&answer));
    }

    proptest! {
        #[test]
        fn no_bytes_open_and_none_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(SenderPacket::open(&key(), &bytes).is_err());
            prop_assert!(ReflectorPacket::open(&key(), &bytes).is_err());
        }
    }
}
