//! What an answer says, and about which probe.

use std::net::IpAddr;

use rping_engine::{Answer, Arrival, Event, Origin, SeqRef, Sequence, Stamp, TargetId};
use rping_net::errqueue::{SocketError, Verdict};
use rping_net::{Fan, Identifiers, Incoming, Received, Targets};
use rping_wire::probe_payload::{self, Match, NonceKey, HEADER_LEN};

use crate::message::{Echo, Types};

/// The low bits of a raw socket's identifier are bits 16 to 19 of the sequence number.
pub(crate) const ID_BITS: u32 = 4;

/// How a socket's echo messages are marked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) types: Types,
    /// The identifier that the kernel chose, where it did.
    pub(crate) id: Option<u16>,
    /// Else the identifiers that are this socket's own.
    pub(crate) ids: Identifiers,
}

impl Mark {
    fn is_ours(self, id: u16) -> bool {
        self.id.map_or(self.ids.contain(id), |own| own == id)
    }

    /// The identifier that the probe with this number bears.
    pub(crate) fn id_of(self, seq: Sequence) -> u16 {
        self.id
            .unwrap_or(self.ids.base & self.ids.mask | (seq.0 >> 16) as u16 & !self.ids.mask)
    }

    /// Whether the fields of the header name the same probe as the payload does.
    fn agrees(self, echo: Echo, seq: Sequence) -> bool {
        echo.seq == seq.low16() && echo.id == self.id_of(seq)
    }

    /// The probe that the fields of the header name: the most recent that was sent.
    fn widen(self, targets: &Targets, target: TargetId, echo: Echo) -> Option<Sequence> {
        match self.id {
            Some(_) => targets.widen(target, u64::from(echo.seq), 16),
            None => {
                let high = u64::from(echo.id & !self.ids.mask) << 16;
                targets.widen(target, high | u64::from(echo.seq), 16 + ID_BITS)
            }
        }
    }
}

/// A key of its own for each target, so that no two targets' answers can be mixed up.
#[derive(Clone, Copy)]
pub(crate) struct Keys(u128);

impl Keys {
    pub(crate) const fn new(key: u128) -> Keys {
        Keys(key)
    }

    pub(crate) fn of(self, target: TargetId) -> NonceKey {
        NonceKey::new(self.0 ^ u128::from(target.0))
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A key that is printed is no key.
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

/// Reads what comes in.
#[derive(Debug)]
pub(crate) struct Reader {
    /// One per socket.
    marks: Vec<Mark>,
    keys: Keys,
    size: usize,
    broadcast: bool,
    strangers: u64,
}

impl Reader {
    pub(crate) fn new(marks: Vec<Mark>, keys: Keys, size: usize, broadcast: bool) -> Reader {
        Reader {
            marks,
            keys,
            size,
            broadcast,
            strangers: 0,
        }
    }

    pub(crate) fn marks(&self) -> &[Mark] {
        &self.marks
    }

    pub(crate) fn keys(&self) -> Keys {
        self.keys
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn strangers(&self) -> u64 {
        self.strangers
    }

    /// What came in by socket number `socket`; `None` for what is none of our business. `own` tells this host's addresses.
    pub(crate) fn read(
        &mut self,
        targets: &Targets,
        socket: usize,
        incoming: Incoming<'_>,
        own: impl FnMut(IpAddr) -> bool,
    ) -> Option<Arrival> {
        let mark = *self.marks.get(socket)?;
        match incoming {
            Incoming::Left { tag, at } => {
                let (target, seq) = Fan::stamped(tag);
                Some(Arrival {
                    target,
                    at,
                    event: Event::Left(seq),
                })
            }
            Incoming::Error { error, at } => self.error(targets, mark, error, at, own),
            Incoming::Packet(received) => self.reply(targets, mark, received),
        }
    }

    fn reply(&mut self, targets: &Targets, mark: Mark, received: &Received<'_>) -> Option<Arrival> {
        let is_reply = |found: &(TargetId, Event)| matches!(found.1, Event::Reply(_));
        let judged = |target| (target, self.judge(targets, mark, target, received));
        let from_target = targets.at(received.from).map(judged);
        let found = match from_target
            .clone()
            .find(is_reply)
            .or_else(|| from_target.clone().next())
        {
            Some(found) => Some(found),
            // Hosts of a group answer from their own addresses.
            None => targets.groups(self.broadcast).map(judged).find(is_reply),
        };
        match found {
            Some((target, event)) => Some(Arrival {
                target,
                at: received.at,
                event,
            }),
            None if targets.len() == 1 => Some(Arrival {
                target: TargetId(0),
                at: received.at,
                event: Event::Unexpected,
            }),
            None => {
                self.strangers += 1;
                None
            }
        }
    }

    /// What a datagram says about `target`.
    fn judge(&self, targets: &Targets, mark: Mark, target: TargetId, received: &Received<'_>) -> Event {
        if received.damaged {
            return Event::Corrupt;
        }
        let Some((echo, payload)) = Echo::parse(received.payload) else {
            return Event::Unexpected;
        };
        if echo.kind != mark.types.reply || !mark.is_ours(echo.id) {
            return Event::Unexpected;
        }
        let found = if self.size < HEADER_LEN {
            self.by_fields(targets, mark, target, echo, payload)
        } else {
            let key = self.keys.of(target);
            match probe_payload::check(self.size, payload, |seq| key.nonce(seq)) {
                // The fields of the header say the same, or it was damaged there.
                Match::Whole(seq) | Match::Truncated(seq) if !mark.agrees(echo, Sequence(seq)) => {
                    Err(Event::Corrupt)
                }
                Match::Whole(seq) => Ok((Sequence(seq), false)),
                Match::Truncated(seq) => Ok((Sequence(seq), true)),
                Match::Corrupt => Err(Event::Corrupt),
                Match::Foreign => Err(Event::Unexpected),
            }
        };
        match found {
            Ok((seq, truncated)) => Event::Reply(Answer {
                truncated,
                ttl: received.ttl,
                hardware: received.hardware,
                ..Answer::new(SeqRef::Full(seq), Origin::Ip(received.from.ip()))
            }),
            Err(event) => event,
        }
    }

    /// A reply without room for a nonce: identifier, sequence field and filler are all there is.
    fn by_fields(
        &self,
        targets: &Targets,
        mark: Mark,
        target: TargetId,
        echo: Echo,
        payload: &[u8],
    ) -> Result<(Sequence, bool), Event> {
        if !probe_payload::is_filler(self.size, payload) {
            return Err(Event::Corrupt);
        }
        let seq = mark.widen(targets, target, echo).ok_or(Event::Unexpected)?;
        Ok((seq, payload.len() < self.size))
    }

    /// Which probe an error is about: only the packet that it quotes can tell. A raw socket gets the errors of every
    /// program on this host; what is not ours is none of our business.
    fn error(
        &self,
        targets: &Targets,
        mark: Mark,
        error: &SocketError,
        at: Stamp,
        own: impl FnMut(IpAddr) -> bool,
    ) -> Option<Arrival> {
        let (echo, payload) = Echo::parse(error.quoted())?;
        if echo.kind != mark.types.request || !mark.is_ours(echo.id) {
            return None;
        }
        let mut quoted = targets.at(error.destination?).filter_map(|target| {
            let seq = self.quoted(targets, mark, target, echo, payload)?;
            Some((target, SeqRef::Full(seq)))
        });
        let (target, seq) = quoted.next()?;
        let event = match error.verdict(own) {
            Verdict::Rejected(refusal) => Event::Rejected(seq, refusal),
            Verdict::NotSent(refusal) => Event::NotSent(seq, refusal),
        };
        Some(Arrival { target, at, event })
    }

    fn quoted(
        &self,
        targets: &Targets,
        mark: Mark,
        target: TargetId,
        echo: Echo,
        payload: &[u8],
    ) -> Option<Sequence> {
        match payload
            .first_chunk::<HEADER_LEN>()
            .filter(|_| self.size >= HEADER_LEN)
        {
            // Quoted far enough: the nonce must be right.
            Some(header) => {
                let key = self.keys.of(target);
                match probe_payload::check(HEADER_LEN, header, |seq| key.nonce(seq)) {
                    Match::Whole(seq) => Some(Sequence(seq)),
                    _ => None,
                }
            }
            None => mark.widen(targets, target, echo),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{HEADER, V4};
    use proptest::prelude::*;
    use rping_engine::Timestamp;
    use std::net::SocketAddr;

    const MARK: Mark = Mark {
        types: V4,
        id: None,
        ids: Identifiers {
            base: 0x4440,
            mask: 0xfff0,
        },
    };
    const TARGET: &str = "192.0.2.1:0";

    fn reader(size: usize) -> (Reader, Targets) {
        let mut targets = Targets::new(&[TARGET.parse().expect("an address")]);
        targets.sent(TargetId(0), Sequence(0x2_0005));
        (Reader::new(vec![MARK], Keys::new(7), size, false), targets)
    }

    fn reply(size: usize, seq: u64) -> Vec<u8> {
        let mut message = vec![0; HEADER + size];
        let header = message.first_chunk_mut().expect("long enough");
        Echo {
            kind: V4.reply,
            id: MARK.id_of(Sequence(seq)),
            seq: seq as u16,
        }
        .write(header);
        probe_payload::write(
            &mut message[HEADER..],
            seq,
            Keys::new(7).of(TargetId(0)).nonce(seq),
        );
        message
    }

    fn event(reader: &mut Reader, targets: &Targets, from: &str, payload: &[u8]) -> Option<Event> {
        let received = Received {
            from: from.parse::<SocketAddr>().expect("an address"),
            at: Stamp::user(Timestamp::ZERO),
            hardware: None,
            ttl: Some(60),
            tos: None,
            to: None,
            payload,
            cut: false,
            damaged: false,
        };
        reader
            .read(targets, 0, Incoming::Packet(&received), |_| false)
            .map(|arrival| arrival.event)
    }

    fn is_reply(event: Option<Event>, seq: u64, truncated: bool) -> bool {
        matches!(event, Some(Event::Reply(a)) if a.seq == SeqRef::Full(Sequence(seq)) && a.truncated == truncated)
    }

    #[test]
    fn a_reply_is_known_by_its_payload_and_a_prefix_is_truncated() {
        let (mut r, t) = reader(32);
        let whole = reply(32, 0x2_0004);
        assert!(is_reply(event(&mut r, &t, TARGET, &whole), 0x2_0004, false));
        assert!(is_reply(event(&mut r, &t, TARGET, &whole[..30]), 0x2_0004, true));
        assert_eq!(event(&mut r, &t, TARGET, &whole[..20]), Some(Event::Unexpected));
        assert_eq!(event(&mut r, &t, TARGET, &[]), Some(Event::Unexpected));
    }

    #[test]
    fn without_room_for_a_nonce_the_fields_alone_tell_and_the_filler_is_compared() {
        let (mut r, t) = reader(8);
        let whole = reply(8, 0x2_0004);
        assert!(is_reply(event(&mut r, &t, TARGET, &whole), 0x2_0004, false));
        assert!(is_reply(event(&mut r, &t, TARGET, &whole[..12]), 0x2_0004, true));
        let mut damaged = whole.clone();
        damaged[12] ^= 1;
        assert_eq!(event(&mut r, &t, TARGET, &damaged), Some(Event::Corrupt));
        assert_eq!(
            event(&mut r, &t, TARGET, &reply(8, 0x2_0006)),
            Some(Event::Unexpected),
            "not sent yet"
        );
    }

    #[test]
    fn another_address_is_unexpected_with_one_target_and_a_stranger_with_more() {
        let (mut r, t) = reader(32);
        let whole = reply(32, 1);
        assert_eq!(event(&mut r, &t, "192.0.2.9:0", &whole), Some(Event::Unexpected));
        let two = Targets::new(&[
            TARGET.parse().expect("address"),
            "192.0.2.2:0".parse().expect("address"),
        ]);
        assert_eq!(event(&mut r, &two, "192.0.2.9:0", &whole), None);
        assert_eq!(r.strangers(), 1);
        assert_eq!(
            event(&mut r, &two, "192.0.2.2:0", &whole),
            Some(Event::Corrupt),
            "the other target's probe"
        );
    }

    #[test]
    fn a_host_of_a_group_answers_from_its_own_address() {
        let targets = Targets::new(&["224.0.0.1:0".parse().expect("an address")]);
        let (mut r, _) = reader(32);
        assert!(is_reply(
            event(&mut r, &targets, "192.0.2.9:0", &reply(32, 3)),
            3,
            false
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), size in 0usize..40) {
            let (mut r, t) = reader(size);
            event(&mut r, &t, TARGET, &bytes);
            event(&mut r, &t, "192.0.2.9:0", &bytes);
        }

        #[test]
        fn no_damaged_reply_counts_as_one(size in 16usize..100, at in any::<prop::sample::Index>(), flip in 1u8..) {
            let (mut r, t) = reader(size);
            let mut message = reply(size, 77);
            // The checksum is verified before this and its two octets say nothing here.
            let at = [0, 1].into_iter().chain(4..message.len()).nth(at.index(message.len() - 2)).expect("in range");
            message[at] ^= flip;
            let event = event(&mut r, &t, TARGET, &message);
            prop_assert!(matches!(event, Some(Event::Corrupt | Event::Unexpected)), "{:?}", event);
        }
    }
}
