//! Half-open probes: a SYN of our own, and what answers it. No connection ever is.
//!
//! The kernel's TCP knows nothing of these SYNs and resets what a SYN-ACK would open, which frees the other side's
//! queue. The local ports are reserved, so that no connection of this host can be mixed up with a probe.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};

use rping_engine::{
    Answer, Arrival, Departure, Drained, Event, Origin, Outgoing, Probe, Reason, Refusal, SeqRef, Sequence,
    Silence, TargetId, Timestamp,
};
use rping_net::errqueue::{SocketError, Verdict};
use rping_net::tcp::Reserved;
use rping_net::{
    Datagram, Exchange, Fan, Incoming, Lane, Pacing, Ports, ProbeOptions, Received, Sources, StampKeeper,
    Targets, Traffic,
};
use rping_wire::probe_payload::NonceKey;
use rping_wire::syn::{self, Says};

use crate::Error;

/// Consecutive probes' sequence numbers lie far apart, so that none is in the window of another. Odd: it can be undone.
const STEP: u32 = 0x9e37_79b1;
/// The inverse of [`STEP`] modulo 2^32.
const UNSTEP: u32 = 0x0e8b_2f51;
const _: () = assert!(STEP.wrapping_mul(UNSTEP) == 1);

/// How probes that leave by one socket are told apart.
#[derive(Clone, Copy)]
struct Marks {
    key: u128,
    ports: Ports,
    /// The answers come in by another socket.
    deaf: bool,
}

impl std::fmt::Debug for Marks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A key that is printed is no key.
        f.debug_struct("Marks")
            .field("ports", &self.ports)
            .finish_non_exhaustive()
    }
}

impl Marks {
    /// Which ports the socket hears of.
    fn heard(self) -> Ports {
        if self.deaf {
            Ports::NONE
        } else {
            self.ports
        }
    }

    /// What nobody off the path can guess about a target's sequence numbers.
    fn cookie(self, target: TargetId) -> u32 {
        NonceKey::new(self.key ^ u128::from(target.0)).nonce(0) as u32
    }

    /// The local port and the sequence number that a probe bears.
    fn of(self, target: TargetId, seq: Sequence) -> (u16, u32) {
        let low = seq.low32();
        let number = self.cookie(target).wrapping_add(low.wrapping_mul(STEP));
        (self.ports.base | (low as u16 & self.ports.free), number)
    }

    /// The probe to this target that bears them.
    fn find(self, target: TargetId, port: u16, number: u32) -> Option<SeqRef> {
        let low = number.wrapping_sub(self.cookie(target)).wrapping_mul(UNSTEP);
        let is_ours = self.of(target, Sequence(low.into())).0 == port;
        is_ours.then_some(SeqRef::Low32(low))
    }
}

/// Half-open TCP to many targets. Takes `CAP_NET_RAW`.
#[derive(Debug)]
pub struct SynProbe {
    exchange: Exchange,
    /// One per socket.
    marks: Vec<Marks>,
    strangers: u64,
    _ports: Reserved,
}

impl SynProbe {
    /// Opens the sockets for these targets and reserves local ports: the one that the source names, else so many that the
    /// `at_once` probes to one target that may be in flight have one each, up to 1024. A SYN from a port whose last one the other
    /// side still holds half-open gets no answer.
    ///
    /// # Errors
    /// [`rping_net::Error::NoRawPermission`] without the capability; where no local port can be had; and whatever else
    /// keeps a socket from being made as asked.
    pub fn open(targets: &[SocketAddr], options: &ProbeOptions, at_once: u32) -> Result<SynProbe, Error> {
        let net = rping_net::Options {
            payload: 128,
            ..options.net.clone()
        };
        let sources = Sources::find(targets, &net);
        // Nothing else tells whether it may be at all: asked for first, so that the remedy is what is said.
        let any = Ports {
            base: 0,
            free: u16::MAX,
        };
        Datagram::tcp_raw(false, any, &rping_net::Options::default())?;
        let port = net.source.map(|source| source.port()).filter(|&port| port != 0);
        // Half of them are another socket's, and of those half again where there is a lane.
        let wanted =
            u16::try_from(at_once.saturating_mul(if options.link { 4 } else { 2 })).unwrap_or(u16::MAX);
        let reserved = Reserved::take(sources.distinct(), port, wanted.max(16))?;
        let keeper = StampKeeper::start()?;
        let random = RandomState::new();
        let key = u128::from(random.hash_one(1u8)) << 64 | u128::from(random.hash_one(2u8));
        // A socket that hears the answers to what it sent itself reads its transmit stamps before them.
        let (lower, upper) = reserved.ports().halves();
        let (lower, by_lane) = if options.link {
            lower.halves()
        } else {
            (lower, Ports::NONE)
        };
        let mut marks = Vec::new();
        let mut fan = Fan::open(Targets::new(targets), syn::LENGTH, |role| {
            let deaf = role.first_contact && upper == Ports::NONE;
            let mark = Marks {
                key,
                ports: if role.first_contact && !deaf { upper } else { lower },
                deaf,
            };
            marks.push(mark);
            Datagram::tcp_raw(role.v6, mark.heard(), &net)
        })?;
        fan.leave_from(sources);
        if options.link {
            // Of one port alone the lane gets it: then nobody hears what the IP stack sends for us.
            let ports = if by_lane == Ports::NONE { lower } else { by_lane };
            let lane = Lane::open(targets, Traffic::Tcp(ports), syn::LENGTH, &net)?;
            let ears = Datagram::tcp_raw(false, Ports::NONE, &net)?;
            fan.add_lane(lane, ears)?;
            marks.push(Marks {
                key,
                ports,
                deaf: false,
            });
        }
        Ok(SynProbe {
            exchange: Exchange::new(keeper, fan, options),
            marks,
            strangers: 0,
            _ports: reserved,
        })
    }

    /// The pacing in effect.
    pub fn pacing(&self) -> Pacing {
        self.exchange.pacing()
    }

    /// Answers from addresses and ports that are no target of a run of several.
    pub fn strangers(&self) -> u64 {
        self.strangers
    }
}

/// What a segment says, and about which target; `None` for what is about none of ours.
fn judge(marks: Marks, targets: &Targets, received: &Received<'_>) -> Option<(TargetId, Event)> {
    let segment = syn::read(received.payload)?;
    let from = with_port(received.from, segment.source);
    let target = targets.at(from).find(|&target| {
        // Several targets may be one address and port: the cookie tells whose probe it was.
        marks.find(target, segment.destination, segment.answers).is_some()
    });
    let target = target.or_else(|| targets.at(from).next())?;
    if let Some((to, _)) = received.to {
        if !syn::is_sound(received.payload, received.from.ip(), to) {
            return Some((target, Event::Corrupt));
        }
    }
    let Some(seq) = marks.find(target, segment.destination, segment.answers) else {
        return Some((target, Event::Unexpected));
    };
    let event = match segment.says {
        Says::Open => Event::Reply(Answer {
            ttl: received.ttl,
            ..Answer::new(seq, Origin::Ip(received.from.ip()))
        }),
        // It comes from the target's own address and port: nobody else is named.
        Says::Closed => Event::Rejected(seq, Refusal::of(Reason::PortClosed)),
        Says::Else => Event::Unexpected,
    };
    Some((target, event))
}

/// Which probe an error is about: the packet that it quotes tells.
fn error(
    marks: Marks,
    targets: &Targets,
    error: &SocketError,
    own: impl FnMut(IpAddr) -> bool,
) -> Option<(TargetId, Event)> {
    let (source, destination, number) = syn::quoted(error.quoted())?;
    // Each raw socket gets the errors of all.
    if !marks.heard().contain(source) {
        return None;
    }
    let to = with_port(error.destination?, destination);
    let (target, seq) = targets
        .at(to)
        .find_map(|target| Some((target, marks.find(target, source, number)?)))?;
    let event = match error.verdict(own) {
        Verdict::Rejected(refusal) => Event::Rejected(seq, refusal),
        Verdict::NotSent(refusal) => Event::NotSent(seq, refusal),
    };
    Some((target, event))
}

fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

impl Probe for SynProbe {
    type Error = Error;

    fn send(&mut self, due: &[Outgoing], left: &mut Vec<Departure>) -> Result<(), Error> {
        let marks = &self.marks;
        self.exchange.send(due, left, |slot, out| {
            let Some(marks) = marks.get(slot.socket) else {
                return 0;
            };
            let (port, number) = marks.of(out.target, out.seq);
            let v6 = slot.to.is_ipv6();
            let length = syn::write(slot.bytes, port, slot.to.port(), number, v6).unwrap_or(0);
            // The kernel does it for IPv6.
            if let (false, Some(from)) = (v6, slot.from) {
                syn::seal(
                    slot.bytes.get_mut(..length).unwrap_or_default(),
                    from,
                    slot.to.ip(),
                );
            }
            length
        });
        Ok(())
    }

    fn recv(&mut self, until: Timestamp, arrived: &mut Vec<Arrival>) -> Result<Drained, Error> {
        let (marks, strangers) = (&self.marks, &mut self.strangers);
        let drained = self
            .exchange
            .receive(until, arrived, |targets, socket, incoming, here| {
                let marks = *marks.get(socket)?;
                let (at, found) = match incoming {
                    Incoming::Left { tag, at } => {
                        let (target, seq) = Fan::stamped(tag);
                        (at, Some((target, Event::Left(seq))))
                    }
                    Incoming::Error { error: about, at } => {
                        (at, error(marks, targets, about, |address| here.is_own(address)))
                    }
                    Incoming::Packet(received) => {
                        let found = judge(marks, targets, received);
                        *strangers += u64::from(found.is_none());
                        (received.at, found)
                    }
                };
                found.map(|(target, event)| Arrival { target, at, event })
            })?;
        Ok(drained)
    }

    fn silent(&mut self, target: TargetId, _seq: Sequence, stamped: bool) -> Silence {
        self.exchange.silent(target, stamped)
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

#[cfg(test)]
mod tests {
    use super::*;

    const MARKS: Marks = Marks {
        key: 7,
        ports: Ports {
            base: 40_000,
            free: 15,
        },
        deaf: false,
    };

    #[test]
    fn ports_are_split_so_that_each_is_heard_once() {
        let (lower, upper) = MARKS.ports.halves();
        for port in 39_999..40_017 {
            let heard = u8::from(lower.contain(port)) + u8::from(upper.contain(port));
            assert_eq!(heard, u8::from((40_000..40_016).contains(&port)), "{port}");
        }
        let one = Ports { base: 7, free: 0 };
        assert_eq!(one.halves(), (one, Ports::NONE));
        assert!(!Ports::NONE.contain(0));
    }

    #[test]
    fn a_probe_is_found_by_port_and_number_and_nothing_else_is() {
        for seq in [0, 1, 15, 16, 65_536, u64::from(u32::MAX)] {
            for target in [TargetId(0), TargetId(9)] {
                let (port, number) = MARKS.of(target, Sequence(seq));
                assert!((40_000..40_016).contains(&port));
                assert_eq!(MARKS.find(target, port, number), Some(SeqRef::Low32(seq as u32)));
                assert_eq!(MARKS.find(target, port ^ 1, number), None, "another port");
            }
        }
        let (port, number) = MARKS.of(TargetId(0), Sequence(3));
        assert_ne!(
            MARKS.find(TargetId(1), port, number),
            Some(SeqRef::Low32(3)),
            "each target has a cookie of its own"
        );
    }
}
