//! The probe kind: what is sent, and whose answer it is.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};

use rping_engine::{
    Answer, Arrival, Departure, Drained, Event, Left, Origin, Outgoing, Probe, SeqRef, Sequence, Silence,
    TargetId, Timestamp,
};
use rping_net::errqueue::Verdict;
use rping_net::{
    Clock, Datagram, Exchange, Fan, Incoming, Pacing, ProbeOptions, Received, StampKeeper, Targets,
};
use rping_wire::probe_payload::NonceKey;
use rping_wire::stamp::auth::Key;
use rping_wire::stamp::ReflectorPacket;

use crate::stamp::Session;
use crate::trail::Trails;
use crate::{echo, Error, MAX_SIZE_V4, MAX_SIZE_V6, MIN_SIZE};

/// The echo service's port (RFC 862).
const ECHO_PORT: u16 = 7;

/// What is spoken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Protocol {
    /// Echo to port 7, STAMP to every other; an echo of a STAMP packet is a reply too.
    #[default]
    Auto,
    /// RFC 862.
    Echo,
    /// RFC 8762, in authenticated mode where there is a key.
    Stamp,
}

/// What a datagram turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// An echo.
    Reply {
        seq: SeqRef,
        truncated: bool,
    },
    /// A reflector's answer.
    Reflected(ReflectorPacket),
    Corrupt,
    Unexpected,
}

/// Runs of more targets than this are told no directions: it would take half a kilobyte for each.
const TRAILS: usize = 4096;

/// UDP echo or STAMP to many targets.
#[derive(Debug)]
pub struct UdpProbe {
    pub(crate) exchange: Exchange,
    pub(crate) speech: Speech,
    pub(crate) trails: Option<Trails>,
    strangers: u64,
}

/// What it takes to write a probe and to understand its answer.
pub(crate) struct Speech {
    protocol: Protocol,
    pub(crate) session: Session,
    pub(crate) size: usize,
    key: u128,
    /// Authenticated mode.
    pub(crate) seal: Option<Key>,
}

/// What [`UdpProbe`] can be asked beside what every datagram probe can.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Terms {
    /// Speaks STAMP in authenticated mode, and takes nothing else for an answer.
    pub key: Option<Key>,
    /// Probes of each target that count in no figure.
    pub warmup: u64,
}

impl std::fmt::Debug for Speech {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A key that is printed is no key.
        f.debug_struct("Speech")
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

impl UdpProbe {
    /// Opens the sockets for these targets: connected to it where there is one alone, else one per family and one more for
    /// those that have not answered yet.
    ///
    /// # Errors
    /// [`Error::TooSmall`], [`Error::TooLarge`], and whatever keeps a socket from being made as asked.
    pub fn open(
        targets: &[SocketAddr],
        protocol: Protocol,
        options: &ProbeOptions,
    ) -> Result<UdpProbe, Error> {
        UdpProbe::open_with(targets, protocol, &Terms::default(), options)
    }

    /// As [`UdpProbe::open`], on these terms.
    ///
    /// # Errors
    /// As [`UdpProbe::open`].
    pub fn open_with(
        targets: &[SocketAddr],
        protocol: Protocol,
        terms: &Terms,
        options: &ProbeOptions,
    ) -> Result<UdpProbe, Error> {
        let size = options.size;
        if targets.is_empty() {
            return Err(Error::NoTargets);
        }
        let most = if targets.iter().any(SocketAddr::is_ipv4) {
            MAX_SIZE_V4
        } else {
            MAX_SIZE_V6
        };
        if size > most {
            return Err(Error::TooLarge { size, most });
        }
        let speech = Speech::new(protocol, size, terms.key.clone());
        if size < MIN_SIZE && targets.iter().any(|&target| speech.is_echo(target)) {
            return Err(Error::TooSmall { size });
        }
        let keeper = StampKeeper::start()?;
        // Room for what closes a run, which asks for more than a small probe does.
        let length = size.max(speech.base() + crate::closing::TAIL);
        let net = rping_net::Options {
            payload: length,
            ..options.net.clone()
        };
        let alone = targets.first().copied().filter(|_| targets.len() == 1);
        let fan = Fan::open(Targets::new(targets), length, |role| {
            // Two sockets cannot share one source port: whoever asks for a port gets it for the answering targets.
            let source = net.source.map(|source| match role.first_contact {
                true => SocketAddr::new(source.ip(), 0),
                false => source,
            });
            let peer = alone.filter(|target| !target.ip().is_multicast() && !net.broadcast);
            Datagram::udp(
                role.v6,
                peer,
                &rping_net::Options {
                    source,
                    ..net.clone()
                },
            )
        })?;
        let reflects = targets.len() <= TRAILS && targets.iter().any(|&target| !speech.is_echo(target));
        Ok(UdpProbe {
            exchange: Exchange::new(keeper, fan, options),
            speech,
            trails: reflects.then(|| Trails::new(targets, terms.warmup)),
            strangers: 0,
        })
    }

    /// The pacing in effect.
    pub fn pacing(&self) -> Pacing {
        self.exchange.pacing()
    }

    /// Datagrams from addresses that are no target of a run of several: they could not be counted under any.
    pub fn strangers(&self) -> u64 {
        self.strangers
    }
}

impl Speech {
    fn new(protocol: Protocol, size: usize, seal: Option<Key>) -> Speech {
        let random = RandomState::new();
        let key = u128::from(random.hash_one(1u8)) << 64 | u128::from(random.hash_one(2u8));
        Speech {
            protocol,
            session: Session::new(random.hash_one(3u8)),
            size,
            key,
            seal,
        }
    }

    /// Octets of a STAMP packet at least.
    pub(crate) fn base(&self) -> usize {
        Session::base(self.seal.as_ref())
    }

    /// Octets of a STAMP probe.
    pub(crate) fn length(&self) -> usize {
        self.size.max(self.base())
    }

    pub(crate) fn is_echo(&self, target: SocketAddr) -> bool {
        match self.protocol {
            Protocol::Auto => target.port() == ECHO_PORT,
            Protocol::Echo => true,
            Protocol::Stamp => false,
        }
    }

    /// A key of its own for each target, so that no two targets' answers can be mixed up.
    pub(crate) fn key(&self, target: TargetId) -> NonceKey {
        NonceKey::new(self.key ^ u128::from(target.0))
    }

    fn write(&self, slot: &mut [u8], to: SocketAddr, out: &Outgoing, wall: u64) -> usize {
        let key = self.key(out.target);
        let length = if self.is_echo(to) {
            self.size
        } else {
            self.length()
        };
        match slot.get_mut(..length) {
            Some(slot) if self.is_echo(to) => echo::write(slot, out.seq, &key),
            Some(slot) => self.session.write(slot, out.seq, wall, &key, self.seal.as_ref()),
            None => 0,
        }
    }

    fn read(&self, target: TargetId, from: SocketAddr, payload: &[u8]) -> Found {
        let key = self.key(target);
        if self.is_echo(from) {
            return echo::read(payload, self.size, &key);
        }
        self.session
            .read(payload, self.length(), &key, self.seal.as_ref())
    }

    fn quoted(&self, target: TargetId, to: SocketAddr, payload: &[u8]) -> Option<SeqRef> {
        // An ICMP message may quote the UDP header alone: the kernel found this socket by the ports, which is all
        // there is to tell.
        if payload.is_empty() {
            return Some(SeqRef::Oldest);
        }
        let key = self.key(target);
        if self.is_echo(to) {
            echo::quoted(payload, &key)
        } else {
            self.session.quoted(payload, &key, self.seal.as_ref())
        }
    }

    /// What came in, about which of `targets`; `None` for what is about none.
    pub(crate) fn arrival(
        &self,
        targets: &Targets,
        incoming: Incoming<'_>,
        own: impl FnMut(IpAddr) -> bool,
        mut reflected: impl FnMut(TargetId, &ReflectorPacket, &Received<'_>),
    ) -> Option<Arrival> {
        match incoming {
            Incoming::Left { tag, at } => {
                let (target, seq) = Fan::stamped(tag);
                Some(Arrival {
                    target,
                    at,
                    event: Event::Left(seq),
                })
            }
            Incoming::Error { error, at } => {
                let to = error.destination?;
                let mut quoted = targets
                    .at(to)
                    .filter_map(|target| Some((target, self.quoted(target, to, error.quoted())?)));
                let (target, seq) = quoted.next()?;
                let event = match error.verdict(own) {
                    Verdict::Rejected(refusal) => Event::Rejected(seq, refusal),
                    Verdict::NotSent(refusal) => Event::NotSent(seq, refusal),
                };
                Some(Arrival { target, at, event })
            }
            Incoming::Packet(received) => {
                let judged = |target| (target, self.read(target, received.from, received.payload));
                let is_reply =
                    |found: &(TargetId, Found)| matches!(found.1, Found::Reply { .. } | Found::Reflected(_));
                let mut candidates = targets.at(received.from).map(judged);
                let first = candidates.next();
                let found = match first.filter(is_reply) {
                    Some(found) => Some(found),
                    None => candidates.find(is_reply).or(first),
                };
                let (target, found) = match found {
                    Some(found) => found,
                    None if targets.len() == 1 => (TargetId(0), Found::Unexpected),
                    None => return None,
                };
                let reply = |seq, truncated| {
                    Event::Reply(Answer {
                        truncated,
                        ttl: received.ttl,
                        hardware: received.hardware,
                        ..Answer::new(seq, Origin::Ip(received.from.ip()))
                    })
                };
                let event = match found {
                    // Longer than what was sent and than any answer to it.
                    _ if received.cut => Event::Corrupt,
                    Found::Reply { seq, truncated } => reply(seq, truncated),
                    Found::Reflected(packet) => {
                        reflected(target, &packet, received);
                        reply(SeqRef::Low32(packet.sender_seq), false)
                    }
                    Found::Corrupt => Event::Corrupt,
                    Found::Unexpected => Event::Unexpected,
                };
                Some(Arrival {
                    target,
                    at: received.at,
                    event,
                })
            }
        }
    }
}

impl Probe for UdpProbe {
    type Error = Error;

    fn send(&mut self, due: &[Outgoing], left: &mut Vec<Departure>) -> Result<(), Error> {
        // What is handed over ahead of time leaves when it is due.
        let leaves = due.iter().fold(Clock.now(), |latest, out| latest.max(out.due));
        let wall = u64::try_from(Clock.wall_nanos(leaves)).unwrap_or(0);
        let UdpProbe {
            exchange,
            speech,
            trails,
            ..
        } = self;
        let before = left.len();
        exchange.send(due, left, |slot, out| {
            speech.write(slot.bytes, slot.to, out, wall)
        });
        if let Some(trails) = trails {
            for departure in left.get(before..).unwrap_or_default() {
                trails.sending(departure.target, departure.seq);
                if let Left::At(stamp) = departure.left {
                    trails.left(departure.target, departure.seq.low32(), stamp.at);
                }
            }
        }
        Ok(())
    }

    fn recv(&mut self, until: Timestamp, arrived: &mut Vec<Arrival>) -> Result<Drained, Error> {
        let UdpProbe {
            exchange,
            speech,
            trails,
            strangers,
        } = self;
        let base = speech.base();
        let drained = exchange.receive(until, arrived, |targets, socket, incoming, here| {
            let heard = |target, packet: &ReflectorPacket, received: &Received<'_>| {
                let seq = targets.widen(target, packet.sender_seq.into(), 32);
                if let (Some(trails), Some(seq)) = (trails.as_mut(), seq) {
                    let tail = received.payload.get(base..).unwrap_or_default();
                    trails.answered(target, socket, (seq.0, false), packet, tail, received.at.at);
                }
            };
            let arrival = speech.arrival(targets, incoming, |address| here.is_own(address), heard);
            if let (
                Some(trails),
                Some(Arrival {
                    target,
                    at,
                    event: Event::Left(SeqRef::Low32(low)),
                }),
            ) = (trails.as_mut(), arrival)
            {
                trails.left(target, low, at.at);
            }
            *strangers += u64::from(arrival.is_none() && matches!(incoming, Incoming::Packet(_)));
            arrival
        })?;
        Ok(drained)
    }

    fn silent(&mut self, target: TargetId, seq: Sequence, stamped: bool) -> Silence {
        let silence = self.exchange.silent(target, stamped);
        if let (Silence::Lost, Some(trails)) = (silence, &mut self.trails) {
            trails.silent(target, seq);
        }
        silence
    }

    fn holds(&self) -> bool {
        self.exchange.holds()
    }

    fn local_drops(&self) -> u64 {
        self.exchange.local_drops()
    }

    fn clock_steps(&self) -> u64 {
        self.exchange.clock_steps()
    }
}
