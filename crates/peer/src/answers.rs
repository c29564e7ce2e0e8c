//! The answers to one batch of datagrams: what is answered at all, with what, and their way out.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

use rping_engine::{Left, Timestamp, BATCH};
use rping_net::{Clock, Datagram, Packet, Received};
use rping_wire::stamp::auth::{reflect_sealed, set_sent_sealed, Key, AUTH_LEN};
use rping_wire::stamp::{self, tlv, ErrorEstimate, NtpTimestamp, Reflection, SenderPacket, BASE_LEN};

use crate::repeats::Repeats;
use crate::sessions::{Bounds, Identity, Place, Session, Sessions};

/// The largest UDP payload.
pub(crate) const LARGEST: usize = 65_527;
/// The TTL that is reported where it cannot be seen (RFC 5357 section 4.2.1).
const TTL_UNKNOWN: u8 = 255;
/// What the stamps are good for: the kernel's, on a clock that is not known to be synchronised.
const STAMP_ERROR_NS: u64 = 1_000;

/// What a listener answers.
#[derive(Clone, Debug)]
pub enum Service {
    /// STAMP senders' packets that cannot be a reflector's: their zeros are zero.
    Stamp,
    /// Packets of any STAMP or TWAMP Light sender: their padding need not be zero. Has a port of its own.
    AnyStamp,
    /// STAMP in authenticated mode, and nothing else.
    Sealed(Key),
    /// Every datagram, as it came (RFC 862). Has a port of its own.
    Echo,
}

impl Service {
    /// Whether nothing in a request tells it from an answer, so that the ports have to.
    pub(crate) fn could_loop(&self) -> bool {
        matches!(self, Service::AnyStamp | Service::Echo)
    }
}

/// Whether an answer may go there (RFC 1122 section 3.2.1.3: these are nobody's own address).
pub(crate) fn may_be_answered(to: SocketAddr) -> bool {
    let somebody = match to.ip() {
        IpAddr::V4(four) => !four.is_broadcast() && !four.is_multicast() && four.octets()[0] != 0,
        IpAddr::V6(six) => !six.is_multicast() && !six.is_unspecified(),
    };
    somebody && to.port() != 0
}

#[derive(Debug)]
struct Answer {
    socket: usize,
    class: u8,
    packet: Packet,
}

/// What became of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Added {
    /// It is answered.
    Answered,
    /// It is answered, and begins a session.
    Begins {
        /// Its identifier.
        ssid: u16,
    },
    /// There is no answer to it.
    Not,
}

/// The answers to one batch of requests, and what is remembered from one to the next.
#[derive(Debug)]
pub(crate) struct Answers {
    service: Service,
    sessions: Sessions,
    /// Of an echo.
    repeats: Option<Repeats>,
    /// Authenticated mode: the latest T1 of each session identifier. What a new session begins with must be later, so what
    /// was recorded of an old one begins none.
    latest: Vec<u64>,
    // Room for the largest answers; pages beyond the first that no answer was written to take no memory.
    bytes: Vec<u8>,
    answers: Vec<Answer>,
    batch: Vec<Packet>,
    /// Wall clock less monotonic clock, as it stood when the batch began.
    wall: i128,
}

impl Answers {
    /// As many as one receive pass of two sockets can bring.
    const ROOM: usize = 128;

    pub(crate) fn new(service: Service, bounds: &Bounds) -> Answers {
        let mut bytes = vec![0; Answers::ROOM * LARGEST];
        // They are there before strangers make them be.
        bytes.iter_mut().step_by(LARGEST).for_each(|first| *first = 0xff);
        let sealed = matches!(service, Service::Sealed(_));
        Answers {
            repeats: matches!(service, Service::Echo).then(Repeats::new),
            service,
            sessions: Sessions::new(bounds),
            latest: vec![0; if sealed { 1 << 16 } else { 0 }],
            bytes,
            answers: Vec::with_capacity(Answers::ROOM),
            batch: Vec::with_capacity(BATCH),
            wall: 0,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.answers.clear();
    }

    /// How many sessions there are now; frees those that are over.
    pub(crate) fn tidy(&mut self, now: Timestamp) -> usize {
        self.sessions.tidy(now);
        self.sessions.live()
    }

    /// Writes the answer to `request`, which came in by `socket`.
    pub(crate) fn add(&mut self, socket: usize, request: &Received<'_>) -> Added {
        if self.answers.is_empty() {
            self.wall = Clock.wall_nanos(Timestamp::ZERO);
        }
        if request.cut || !may_be_answered(request.from) {
            return Added::Not;
        }
        if !self.sessions.admits(request.from.ip(), request.at.at) {
            return Added::Not;
        }
        let start = self.answers.len() * LARGEST;
        let Some((length, class, begins)) = self.write(start, request) else {
            return Added::Not;
        };
        // The route decides which interface it leaves by, except for link-local addresses, which mean nothing without.
        let from = request
            .to
            .map(|(to, interface)| (to, if is_link_local(to) { interface } else { 0 }));
        self.answers.push(Answer {
            socket,
            class,
            packet: Packet {
                bytes: start..start + length,
                to: Some(request.from),
                from,
                tag: 0,
            },
        });
        begins.map_or(Added::Answered, |ssid| Added::Begins { ssid })
    }

    /// Writes an answer at `start`: its length, its TOS octet or traffic class, and the identifier of a session that begins.
    fn write(&mut self, start: usize, request: &Received<'_>) -> Option<(usize, u8, Option<u16>)> {
        let Answers {
            service,
            sessions,
            repeats,
            latest,
            bytes,
            wall,
            ..
        } = self;
        let room = bytes.get_mut(start..start + LARGEST)?;
        let payload = request.payload;
        let sender = match service {
            Service::Echo => {
                if repeats.as_mut()?.goes_round(request.from, payload) {
                    return None;
                }
                room.get_mut(..payload.len())?.copy_from_slice(payload);
                return Some((payload.len(), 0, None));
            }
            Service::Stamp => SenderPacket::parse(payload).ok()?,
            Service::AnyStamp => any_sender(payload)?,
            Service::Sealed(key) => SenderPacket::open(key, payload).ok()?,
        };
        let mut with = Reflection {
            seq: sender.seq,
            received: ntp(*wall, request.at.at),
            // Written again just before it leaves.
            sent: NtpTimestamp(0),
            error_estimate: ErrorEstimate::new(false, STAMP_ERROR_NS),
            ttl: request.ttl.unwrap_or(TTL_UNKNOWN),
        };
        let identity = Identity {
            from: request.from,
            to: request.to.map(|(to, _)| to),
            ssid: sender.ssid,
        };
        let sealed = matches!(service, Service::Sealed(_));
        let t1 = sender.error_estimate.format().to_unix_nanos(sender.timestamp);
        let newest = latest.get_mut(last_of(&sender, request.from.ip()));
        let is_later = !sealed || newest.as_deref().zip(t1).is_some_and(|(&last, t1)| t1 > last);
        let fresh = |session: &mut Session| !sealed || session.is_fresh(sender.seq);
        let mut begins = None;
        match sessions.place(&identity, request.at.at, || is_later)? {
            Place::Known(session) => with.seq = fresh(session).then(|| session.number())?,
            Place::New(session) => {
                with.seq = fresh(session).then(|| session.number())?;
                begins = Some(sender.ssid);
            }
            // The sender's own number, as a reflector without memory answers.
            Place::Full => {}
        }
        if let (Some(newest), Some(t1)) = (newest, t1) {
            *newest = t1.max(*newest);
        }
        let (length, base) = match service {
            Service::Stamp => (stamp::reflect(payload, &with, room).ok()?, BASE_LEN),
            Service::AnyStamp => (stamp::reflect_any(payload, &with, room).ok()?, BASE_LEN),
            _ => (reflect_sealed(payload, &sender, &with, room).ok()?, AUTH_LEN),
        };
        let tos = request.tos.unwrap_or(0);
        let wanted = match room.get_mut(base..length) {
            Some(tail) => tlv::answer(tail, tos),
            None => None,
        };
        // As it came, unless the sender asks for another (RFC 8972 section 4.4). ECN is the network's business.
        Some((length, wanted.unwrap_or(tos >> 2) << 2, begins))
    }

    /// Sends what goes by `socket`; counts what left and what this host's own stack refused.
    pub(crate) fn send(
        &mut self,
        number: usize,
        socket: &mut Datagram,
        answered: &AtomicU64,
        dropped: &AtomicU64,
    ) {
        let Answers {
            service,
            bytes,
            answers,
            batch,
            wall,
            ..
        } = self;
        let mut mine = answers.iter().filter(|answer| answer.socket == number).peekable();
        while let Some(&first) = mine.peek() {
            batch.clear();
            while batch.len() < BATCH {
                let Some(answer) = mine.next_if(|answer| answer.class == first.class) else {
                    break;
                };
                batch.push(answer.packet.clone());
            }
            socket.set_class(first.class);
            let mut sent = ntp(*wall, Clock.now());
            for packet in batch.iter() {
                let Some(answer) = bytes.get_mut(packet.bytes.clone()) else {
                    continue;
                };
                match service {
                    Service::Echo => {}
                    Service::Stamp | Service::AnyStamp => stamp::set_sent(answer, sent),
                    Service::Sealed(key) => {
                        // Sealing takes its time, which the residence is to show.
                        set_sent_sealed(answer, sent, key);
                        sent = ntp(*wall, Clock.now());
                    }
                }
            }
            socket.send(bytes, batch, |_, left| {
                let counter = if matches!(left, Left::At(_)) {
                    answered
                } else {
                    dropped
                };
                counter.fetch_add(1, Ordering::Relaxed);
            });
        }
    }
}

/// A sender's packet whose zeros need not be. A TWAMP Light sender has no session identifier, and what stands there is
/// padding, anew in every packet (RFC 5357 section 4.1.2). What looks like an answer is none: another reflector's would be
/// answered, and that again.
fn any_sender(payload: &[u8]) -> Option<SenderPacket> {
    if stamp::looks_like_answer(payload) {
        return None;
    }
    let mut base = [0; BASE_LEN];
    let head = payload
        .get(..16)
        .filter(|_| payload.len() >= stamp::SHORTEST_REQUEST)?;
    base[..16].copy_from_slice(head);
    let padding = payload.get(16..payload.len().min(BASE_LEN))?;
    if padding.iter().any(|&octet| octet != 0) {
        base[14..16].fill(0);
    }
    SenderPacket::parse(&base).ok()
}

/// Where the latest T1 of a session is kept: by its identifier; those without one by their address.
fn last_of(sender: &SenderPacket, from: IpAddr) -> usize {
    if sender.ssid != 0 {
        return usize::from(sender.ssid);
    }
    let octets: u128 = match from.to_canonical() {
        IpAddr::V4(four) => u128::from(four.to_bits()),
        IpAddr::V6(six) => six.to_bits(),
    };
    (octets.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) >> 112) as usize
}

fn ntp(wall: i128, at: Timestamp) -> NtpTimestamp {
    NtpTimestamp::from_unix_nanos(u64::try_from(wall + i128::from(at.as_nanos())).unwrap_or(0))
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(six) if six.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_answer_goes_to_broadcast_multicast_nobody_or_port_0() {
        for to in [
            "255.255.255.255:9",
            "224.0.0.1:9",
            "0.0.0.0:9",
            "0.1.2.3:9",
            "[ff02::1]:9",
            "[::]:9",
            "192.0.2.1:0",
        ] {
            assert!(!may_be_answered(to.parse().expect("an address")), "{to}");
        }
        for to in ["192.0.2.1:9", "127.0.0.1:40000", "[fe80::1%2]:9", "[::1]:862"] {
            assert!(may_be_answered(to.parse().expect("an address")), "{to}");
        }
    }
}
