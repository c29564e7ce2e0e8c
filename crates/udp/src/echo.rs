//! RFC 862: what is sent comes back, whole or cut to the length that the service takes.

use rping_engine::{SeqRef, Sequence};
use rping_wire::probe_payload::{self, Match, NonceKey, HEADER_LEN};

use crate::probe::Found;

/// Fills `slot` with the probe `seq`.
pub(crate) fn write(slot: &mut [u8], seq: Sequence, key: &NonceKey) -> usize {
    probe_payload::write(slot, seq.0, key.nonce(seq.0));
    slot.len()
}

/// What came back of a probe of `sent` bytes.
pub(crate) fn read(payload: &[u8], sent: usize, key: &NonceKey) -> Found {
    match probe_payload::check(sent, payload, |seq| key.nonce(seq)) {
        Match::Whole(seq) => Found::Reply {
            seq: SeqRef::Full(Sequence(seq)),
            truncated: false,
        },
        Match::Truncated(seq) => Found::Reply {
            seq: SeqRef::Full(Sequence(seq)),
            truncated: true,
        },
        Match::Corrupt => Found::Corrupt,
        Match::Foreign => Found::Unexpected,
    }
}

/// Which probe an ICMP error quotes, if it quotes that far.
pub(crate) fn quoted(payload: &[u8], key: &NonceKey) -> Option<SeqRef> {
    match probe_payload::check(HEADER_LEN, payload.get(..HEADER_LEN)?, |seq| key.nonce(seq)) {
        Match::Whole(seq) => Some(SeqRef::Full(Sequence(seq))),
        _ => None,
    }
}
