//! The sender's side of STAMP (RFC 8762 section 4.2), and telling a reflector's answer from an echo.
//!
//! T1 is the time of sending to a microsecond; the rest of its fraction is a keyed function of the sequence number
//! and that time. So an answer is known for ours although nothing about each packet is kept, and the error estimate
//! says how coarse T1 is. No figure is made from a T1 that came back.

use rping_engine::{SeqRef, Sequence};
use rping_wire::probe_payload::NonceKey;
use rping_wire::stamp::auth::{Key, AUTH_LEN};
use rping_wire::stamp::{ErrorEstimate, NtpTimestamp, ReflectorPacket, SenderPacket, BASE_LEN};

use crate::probe::Found;

/// The bits of T1 that are no time: 2^-20 s, just under a microsecond.
const KEYED: u64 = (1 << 12) - 1;

/// A run's session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    /// The session identifier (RFC 8972 section 3), not 0.
    pub(crate) ssid: u16,
    estimate: ErrorEstimate,
}

impl Session {
    pub(crate) fn new(random: u64) -> Session {
        let ssid = (random as u16).max(1);
        // Whether this host's clock is synchronised is not known here, so it is not claimed.
        Session {
            ssid,
            estimate: ErrorEstimate::new(false, 1_000),
        }
    }

    fn timestamp(time: u64, seq: u32, key: &NonceKey) -> u64 {
        (time & !KEYED) | (key.nonce((time & !KEYED) ^ u64::from(seq).rotate_left(43)) & KEYED)
    }

    /// Octets of the base packet.
    pub(crate) fn base(seal: Option<&Key>) -> usize {
        if seal.is_some() {
            AUTH_LEN
        } else {
            BASE_LEN
        }
    }

    /// Fills `slot`, of a base packet's length or more, with the probe `seq`, sent at `wall` nanoseconds since 1970.
    pub(crate) fn write(
        self,
        slot: &mut [u8],
        seq: Sequence,
        wall: u64,
        key: &NonceKey,
        seal: Option<&Key>,
    ) -> usize {
        let timestamp = Session::timestamp(NtpTimestamp::from_unix_nanos(wall).0, seq.low32(), key);
        let packet = SenderPacket {
            seq: seq.low32(),
            timestamp,
            error_estimate: self.estimate,
            ssid: self.ssid,
        };
        // Only a slot that is too short fails, and none is made.
        let written = match seal {
            Some(seal) => packet.write_sealed(seal, slot),
            None => packet.write(slot),
        };
        written.map_or(0, |()| slot.len())
    }

    /// What came back of a probe of `sent` bytes.
    pub(crate) fn read(self, payload: &[u8], sent: usize, key: &NonceKey, seal: Option<&Key>) -> Found {
        let answer = match seal {
            // What does not bear the key's seal is nobody's answer.
            Some(seal) => ReflectorPacket::open(seal, payload),
            None => {
                if let Ok(echoed) = SenderPacket::parse(payload) {
                    return self.echoed(&echoed, payload, sent, key);
                }
                ReflectorPacket::parse(payload)
            }
        };
        let Ok(answer) = answer else {
            return Found::Unexpected;
        };
        // 0: a reflector that does not know RFC 8972.
        if answer.ssid != self.ssid && answer.ssid != 0 {
            return Found::Unexpected;
        }
        if answer.sender_error_estimate != self.estimate {
            return Found::Unexpected;
        }
        if answer.sender_timestamp != Session::timestamp(answer.sender_timestamp, answer.sender_seq, key) {
            return Found::Corrupt;
        }
        Found::Reflected(answer)
    }

    /// A plain echo service answered: what comes back is what was sent, byte for byte.
    fn echoed(self, packet: &SenderPacket, payload: &[u8], sent: usize, key: &NonceKey) -> Found {
        if packet.ssid != self.ssid || packet.error_estimate != self.estimate {
            return Found::Unexpected;
        }
        let padding_is_whole = payload.len() <= sent && payload[BASE_LEN..].iter().all(|&byte| byte == 0);
        if packet.timestamp != Session::timestamp(packet.timestamp, packet.seq, key) || !padding_is_whole {
            return Found::Corrupt;
        }
        Found::Reply {
            seq: SeqRef::Low32(packet.seq),
            truncated: payload.len() < sent,
        }
    }

    /// Which probe an ICMP error quotes, if it quotes that far.
    pub(crate) fn quoted(self, payload: &[u8], key: &NonceKey, seal: Option<&Key>) -> Option<SeqRef> {
        let mut whole = [0; AUTH_LEN];
        let base = Session::base(seal);
        let quoted = payload.get(..payload.len().min(base))?;
        // Sequence number, timestamp, estimate and session are all there.
        let needed = if seal.is_some() { 28 } else { 16 };
        if quoted.len() < needed {
            return None;
        }
        whole[..quoted.len()].copy_from_slice(quoted);
        let packet = match seal {
            Some(_) => SenderPacket::read_sealed(&whole),
            None => SenderPacket::parse(&whole),
        };
        let packet = packet.ok()?;
        let ours = packet.ssid == self.ssid
            && packet.timestamp == Session::timestamp(packet.timestamp, packet.seq, key);
        ours.then_some(SeqRef::Low32(packet.seq))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rping_wire::stamp::{reflect, Reflection};

    const KEY: NonceKey = NonceKey::new(99);
    const WALL: u64 = 1_795_000_000_123_456_789;

    fn session() -> Session {
        Session::new(0x1234)
    }

    fn sent(length: usize, seq: u64) -> Vec<u8> {
        let mut packet = vec![0xee; length];
        assert_eq!(
            session().write(&mut packet, Sequence(seq), WALL, &KEY, None),
            length
        );
        packet
    }

    fn reflected(request: &[u8]) -> Vec<u8> {
        let mut answer = vec![0; request.len()];
        let with = Reflection {
            seq: 7,
            received: NtpTimestamp(1),
            sent: NtpTimestamp(2),
            error_estimate: ErrorEstimate::new(false, 100),
            ttl: 64,
        };
        reflect(request, &with, &mut answer).expect("a sender's packet");
        answer
    }

    /// As `read` gives it, without what else a reflector says.
    fn read(payload: &[u8], sent: usize) -> Found {
        match session().read(payload, sent, &KEY, None) {
            Found::Reflected(answer) => reply(answer.sender_seq, false),
            other => other,
        }
    }

    fn reply(seq: u32, truncated: bool) -> Found {
        Found::Reply {
            seq: SeqRef::Low32(seq),
            truncated,
        }
    }

    #[test]
    fn the_time_sent_is_true_to_a_microsecond() {
        let packet = SenderPacket::parse(&sent(44, 3)).expect("a sender's packet");
        let off = NtpTimestamp(packet.timestamp).to_unix_nanos().abs_diff(WALL);
        assert!(off < 1_000, "{off} ns");
        assert!(packet.error_estimate.error_ns() >= 1_000 && !packet.error_estimate.is_synchronised());
    }

    #[test]
    fn a_reflectors_answer_and_a_plain_echo_are_replies_to_the_probe_that_they_name() {
        for length in [44, 60, 1400] {
            let request = sent(length, 0x1_0000_0009);
            assert_eq!(read(&reflected(&request), length), reply(9, false));
            assert_eq!(read(&request, length), reply(9, false));
        }
        let request = sent(60, 8);
        assert_eq!(read(&request[..50], 60), reply(8, true));
        assert_eq!(
            read(&reflected(&request)[..38], 60),
            reply(8, false),
            "TWAMP Light"
        );
    }

    #[test]
    fn a_changed_sequence_number_or_time_settles_nothing() {
        let whole = reflected(&sent(44, 8));
        // Sequence number and T1 as copied; 12 bits guard them, so chance lets one change in 4096 pass.
        let passed = (24..36)
            .flat_map(|at| (0..8).map(move |bit| (at, bit)))
            .filter(|&(at, bit)| {
                let mut answer = whole.clone();
                answer[at] ^= 1 << bit;
                read(&answer, 44) != Found::Corrupt
            })
            .count();
        assert!(passed <= 1, "{passed} of 96");
    }

    #[test]
    fn a_reflector_that_does_not_know_sessions_is_believed_and_another_session_is_not() {
        let mut answer = reflected(&sent(44, 8));
        answer[14..16].fill(0);
        assert_eq!(read(&answer, 44), reply(8, false));
        answer[15] = 9;
        assert_eq!(read(&answer, 44), Found::Unexpected);
    }

    #[test]
    fn an_error_is_matched_as_soon_as_it_quotes_the_session() {
        let request = sent(44, 8);
        for length in 0..=44 {
            let want = (length >= 16).then_some(SeqRef::Low32(8));
            assert_eq!(session().quoted(&request[..length], &KEY, None), want, "{length}");
        }
        assert_eq!(session().quoted(&request, &NonceKey::new(1), None), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120), length in 44usize..120) {
            let is_reply = matches!(read(&bytes, length), Found::Reply { .. });
            prop_assert!(!is_reply);
            session().quoted(&bytes, &KEY, None);
        }
    }
}
