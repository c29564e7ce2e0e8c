//! Without privilege: the kernel resolves, and its neighbour table is read.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rping_engine::{
    Answer, Arrival, Departure, Drained, Event, Left, Origin, Outgoing, Probe, Reason, Refusal, SeqRef,
    Sequence, Silence, Stamp, TargetId, Timestamp,
};
use rping_net::netlink::{self, Neighbour, GRAIN};
use rping_net::{Clock, Datagram, Packet, Waiter, Woken};

use crate::locate::{locate, Target};
use crate::{Error, Options};

/// The discard service (RFC 863): whoever runs it says nothing, whoever does not says "port unreachable" at most.
const DISCARD: u16 = 9;
/// How often the table is looked at while an answer is awaited.
const LOOK: Duration = Duration::from_millis(5);
/// The ages in the table are whole [`GRAIN`]s of a clock that itself ticks up to every 10 ms.
const UNSURE: Duration = Duration::from_millis(10).saturating_add(GRAIN);
/// A datagram that waits for its neighbour holds the socket's buffer: more at once would be refused.
const AT_ONCE: usize = 64;

/// Neighbour resolution by the kernel as a probe kind, for programs without `CAP_NET_RAW`.
///
/// A datagram to the target's discard port has the kernel resolve it. That counts as a reply only if the entry was
/// confirmed after the datagram was sent, and its round-trip time is not known. An entry that was fresh before is not
/// resolved again, so a probe to it is "lost" although the neighbour may be there: [`KernelNeighbour::entry`] tells
/// what the table says.
#[derive(Debug)]
pub struct KernelNeighbour {
    targets: Vec<Asked>,
    sockets: [Option<Datagram>; 2],
    waiter: Waiter,
    clock: Clock,
    flights: Vec<Flight>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    to: SocketAddr,
    ifindex: u32,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    target: TargetId,
    seq: Sequence,
    at: Timestamp,
    /// The entry was unusable, or none, before: whatever confirms it comes after.
    was_unresolved: bool,
}

impl KernelNeighbour {
    /// Makes ready to have these targets resolved. The `waiter` says how waiting is done, and by whom it is ended
    /// early.
    ///
    /// # Errors
    /// As [`locate`]; no privilege is needed.
    pub fn open(targets: &[Target], options: &Options, waiter: Waiter) -> Result<KernelNeighbour, Error> {
        let places = locate(targets, options)?;
        let asked: Vec<Asked> = targets
            .iter()
            .zip(&places)
            .map(|(target, place)| Asked {
                to: match target.address {
                    std::net::IpAddr::V6(six) if six.is_unicast_link_local() => {
                        std::net::SocketAddrV6::new(six, DISCARD, 0, place.ifindex).into()
                    }
                    address => SocketAddr::new(address, DISCARD),
                },
                ifindex: place.ifindex,
            })
            .collect();
        let mut sockets = [None, None];
        for v6 in [false, true] {
            if asked.iter().any(|asked| asked.to.is_ipv6() == v6) {
                let source = options.source.filter(|source| source.is_ipv6() == v6);
                let settings = rping_net::Options {
                    source: source.map(|source| SocketAddr::new(source, 0)),
                    interface: options.interface.clone(),
                    transmit_stamps: false,
                    receive_buffer: 1 << 16,
                    payload: 1,
                    ..rping_net::Options::default()
                };
                sockets[usize::from(v6)] = Some(Datagram::udp(v6, None, &settings)?);
            }
        }
        Ok(KernelNeighbour {
            targets: asked,
            sockets,
            waiter,
            clock: Clock,
            flights: Vec::new(),
        })
    }

    /// What the kernel's table says of a target now, for printing: state, link-layer address, age since confirmed.
    pub fn entry(&self, target: TargetId) -> Option<Neighbour> {
        let asked = self.targets.get(target.index())?;
        netlink::neighbour(asked.to.ip(), asked.ifindex).ok().flatten()
    }

    fn start(&mut self, out: &Outgoing) -> Left {
        let Some(&asked) = self.targets.get(out.target.index()) else {
            return Left::NotSent(Refusal::of(Reason::Other));
        };
        if self.flights.len() >= AT_ONCE {
            return Left::Held;
        }
        let was_unresolved = self
            .entry(out.target)
            .is_none_or(|entry| entry.state.is_unresolved());
        let Some(socket) = &mut self.sockets[usize::from(asked.to.is_ipv6())] else {
            return Left::NotSent(Refusal::of(Reason::Other));
        };
        let datagram = Packet {
            bytes: 0..0,
            to: Some(asked.to),
            from: None,
            tag: 0,
        };
        let mut left = Left::Deferred;
        socket.send(&[], &[datagram], |_, result| left = result);
        if let Left::At(stamp) = left {
            self.flights.push(Flight {
                target: out.target,
                seq: out.seq,
                at: stamp.at,
                was_unresolved,
            });
        }
        left
    }

    /// Moves the flights whose neighbour was confirmed meanwhile to `arrived`.
    fn look(&mut self, arrived: &mut Vec<Arrival>) {
        let flights = std::mem::take(&mut self.flights);
        for flight in flights {
            let entry = self.entry(flight.target);
            let now = self.clock.now();
            let confirmed = entry.filter(|entry| confirmed_since(entry, &flight, now));
            let Some(mac) = confirmed.and_then(|entry| entry.mac) else {
                self.flights.push(flight);
                continue;
            };
            let seq = SeqRef::Full(flight.seq);
            let answer = Answer {
                untimed: true,
                ..Answer::new(seq, Origin::Mac(mac))
            };
            let event = Event::Reply(answer);
            arrived.push(Arrival {
                target: flight.target,
                at: Stamp::user(now),
                event,
            });
        }
    }
}

/// Whether an entry, read at `now`, was surely confirmed after the probe left.
fn confirmed_since(entry: &Neighbour, flight: &Flight, now: Timestamp) -> bool {
    use netlink::NeighbourState::{Delay, Probe, Reachable, Stale};
    if !matches!(entry.state, Reachable | Stale | Delay | Probe) {
        return false;
    }
    if flight.was_unresolved {
        return true;
    }
    let Some(age) = entry.confirmed_ago else {
        return false;
    };
    now.minus(age.saturating_add(UNSURE)) > flight.at
}

impl Probe for KernelNeighbour {
    type Error = Error;

    fn send(&mut self, due: &[Outgoing], left: &mut Vec<Departure>) -> Result<(), Error> {
        for out in due {
            let departed = self.start(out);
            left.push(Departure {
                target: out.target,
                seq: out.seq,
                left: departed,
            });
        }
        Ok(())
    }

    fn recv(&mut self, until: Timestamp, arrived: &mut Vec<Arrival>) -> Result<Drained, Error> {
        loop {
            // The sockets' own errors ("port unreachable") are nobody's answer; they are only cleared away.
            for socket in self.sockets.iter_mut().flatten() {
                let _ = socket.receive(|_| {});
            }
            self.look(arrived);
            let now = self.clock.now();
            if !arrived.is_empty() || now >= until {
                return Ok(Drained::All);
            }
            let next_look = if self.flights.is_empty() {
                until
            } else {
                until.min(now.plus(LOOK))
            };
            let nothing: [BorrowedFd<'_>; 0] = [];
            if self.waiter.wait(&nothing, next_look) == Woken::Interrupted {
                return Ok(Drained::All);
            }
        }
    }

    fn silent(&mut self, target: TargetId, seq: Sequence, _stamped: bool) -> Silence {
        self.flights
            .retain(|flight| (flight.target, flight.seq) != (target, seq));
        match self.entry(target) {
            Some(entry) if !entry.state.is_unresolved() => Silence::Lost,
            _ => Silence::NotSent(Refusal::of(Reason::NoNeighbour)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rping_net::netlink::NeighbourState;
    use std::net::{IpAddr, Ipv4Addr};

    fn entry(state: NeighbourState, confirmed_ms: u64) -> Neighbour {
        Neighbour {
            address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)),
            ifindex: 2,
            mac: Some([2, 0, 0, 0, 0, 2]),
            state,
            confirmed_ago: Some(Duration::from_millis(confirmed_ms)),
            updated_ago: None,
        }
    }

    #[test]
    fn only_a_confirmation_that_surely_came_after_the_probe_counts() {
        let at = Timestamp::ZERO.plus(Duration::from_secs(10));
        let now = at.plus(Duration::from_millis(100));
        let fresh = Flight {
            target: TargetId(0),
            seq: Sequence(0),
            at,
            was_unresolved: false,
        };
        let new = Flight {
            was_unresolved: true,
            ..fresh
        };
        let reachable = |ms| entry(NeighbourState::Reachable, ms);
        assert!(confirmed_since(&reachable(50), &fresh, now));
        assert!(
            !confirmed_since(&reachable(90), &fresh, now),
            "may have been just before"
        );
        assert!(!confirmed_since(&reachable(5_000), &fresh, now));
        assert!(
            confirmed_since(&reachable(5_000), &new, now),
            "there was no usable entry before"
        );
        assert!(!confirmed_since(&entry(NeighbourState::Incomplete, 0), &new, now));
        assert!(!confirmed_since(&entry(NeighbourState::Failed, 0), &new, now));
        assert!(
            !confirmed_since(&entry(NeighbourState::Permanent, 0), &new, now),
            "nobody was asked"
        );
    }
}
