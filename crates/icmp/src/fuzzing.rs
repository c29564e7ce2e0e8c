//! What the fuzzer calls.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rping_engine::{Event, SeqRef, Sequence, Stamp, TargetId, Timestamp};
use rping_net::{Identifiers, Incoming, Received, Targets};
use rping_wire::probe_payload::{self, HEADER_LEN};

use crate::message::{Echo, HEADER, V4};
use crate::reader::{Keys, Mark, Reader};

const MARK: Mark = Mark {
    types: V4,
    id: None,
    ids: Identifiers {
        base: 0x4440,
        mask: 0xfff0,
    },
};
/// A probe behind the first wrap of the 16-bit field.
const SENT: u64 = 0x2_0005;
/// The octets of the checksum: verified before these messages are read, so they say nothing here.
const CHECKSUM: std::ops::Range<usize> = 2..4;

/// Reads any bytes as what a target, a stranger and a router may send: the first octet is the probe's payload size, the
/// rest is a message as it stands, and the difference to a true reply and to a true request that an error quotes.
pub fn message(bytes: &[u8]) {
    let Some((&size, rest)) = bytes.split_first() else {
        return;
    };
    let size = usize::from(size);
    let target = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 0));
    let stranger = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 9), 0));
    let mut targets = Targets::new(&[target]);
    targets.sent(TargetId(0), Sequence(SENT));
    let mut reader = Reader::new(vec![MARK], Keys::new(7), size, false);

    let changed = damaged(V4.reply, size, rest);
    for from in [target, stranger] {
        for payload in [rest, &changed] {
            let event = read(&mut reader, &targets, from, payload);
            if let Some(Event::Reply(answer)) = event {
                assert!(from == target && answer.seq != SeqRef::Oldest);
                let whole = damaged(V4.reply, size, &[]);
                let intact = payload.iter().zip(&whole).enumerate();
                assert!(
                    size < HEADER_LEN
                        || answer.seq != SeqRef::Full(Sequence(SENT))
                        || intact
                            .filter(|(at, _)| !CHECKSUM.contains(at))
                            .all(|(_, (here, there))| here == there),
                    "a damaged reply counts"
                );
            }
        }
    }
    for quoted in [rest, &damaged(V4.request, size, rest)] {
        let Some(error) = rping_net::fuzzing::port_unreachable(target, stranger.ip(), quoted) else {
            continue;
        };
        let at = Stamp::user(Timestamp::ZERO);
        let event = reader.read(&targets, 0, Incoming::Error { error: &error, at }, |_| false);
        if let Some(Event::Rejected(seq, refusal)) = event.map(|arrival| arrival.event) {
            assert!(seq != SeqRef::Oldest && refusal.from.is_some());
        }
    }
}

/// A true message with `difference` laid over it, and cut or made longer where it is longer than the message.
fn damaged(kind: u8, size: usize, difference: &[u8]) -> Vec<u8> {
    let mut message = vec![0; HEADER + size];
    if let Some(header) = message.first_chunk_mut() {
        let (id, seq) = (MARK.id_of(Sequence(SENT)), Sequence(SENT).low16());
        Echo { kind, id, seq }.write(header);
    }
    let nonce = Keys::new(7).of(TargetId(0)).nonce(SENT);
    probe_payload::write(&mut message[HEADER..], SENT, nonce);
    let (over, tail) = difference.split_at(difference.len().min(message.len()));
    for (octet, change) in message.iter_mut().zip(over) {
        *octet ^= change;
    }
    match tail.split_first() {
        Some((&cut, [])) => message.truncate(usize::from(cut)),
        _ => message.extend_from_slice(tail),
    }
    message
}

fn read(reader: &mut Reader, targets: &Targets, from: SocketAddr, payload: &[u8]) -> Option<Event> {
    let received = Received {
        from,
        at: Stamp::user(Timestamp::ZERO),
        hardware: None,
        ttl: Some(60),
        tos: None,
        to: None::<(IpAddr, u32)>,
        payload,
        cut: false,
        damaged: false,
    };
    let arrival = reader.read(targets, 0, Incoming::Packet(&received), |_| false);
    arrival.map(|arrival| arrival.event)
}
