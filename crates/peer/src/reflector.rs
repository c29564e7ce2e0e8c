//! A STAMP Session-Reflector (RFC 8762 section 4.3), unauthenticated mode, stateless: the sender's sequence number is
//! copied (section 4.3.1 allows either), so nothing is kept about anybody.
//!
//! It answers nothing but a sender's packet, with exactly as many bytes, to where it came from: it cannot be made to
//! amplify, and no answer of any reflector is answered, so it cannot be made to loop.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;

use rping_engine::{Left, Timestamp, BATCH};
use rping_net::{
    receive_from_any, Clock, Datagram, Incoming, Options, Pacing, Packet, Received, SharePort, StampKeeper,
    Surroundings, Waiter, Waker,
};
use rping_wire::stamp::{self, ErrorEstimate, NtpTimestamp, Reflection};

use crate::claims::Claims;
use crate::Error;

/// The largest UDP payload.
const LARGEST: usize = 65_527;
/// The TTL that is reported where it cannot be seen (RFC 5357 section 4.2.1).
const TTL_UNKNOWN: u8 = 255;
/// What the stamps are good for: the kernel's, on a clock that is not known to be synchronised.
const STAMP_ERROR_NS: u64 = 1_000;

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    answered: AtomicU64,
    dropped: AtomicU64,
}

/// Watches and stops a running reflector from another thread.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    waker: Waker,
}

impl Handle {
    /// Ends [`Reflector::run`].
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// How many packets were answered so far.
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// How many datagrams got no answer so far: not a sender's packet, from where no answer goes, or refused by this
    /// host's own stack.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

/// The reflector: its sockets and buffers.
#[derive(Debug)]
pub struct Reflector {
    sockets: Vec<Datagram>,
    waiter: Waiter,
    surroundings: Surroundings,
    answers: Answers,
    handle: Handle,
    claims: Option<Claims>,
    _keeper: StampKeeper,
}

impl Reflector {
    /// Opens the sockets: both families for `[::]`, else the one of `address`. Port 0 is any free one, the same for both.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn bind(address: SocketAddr) -> Result<Reflector, Error> {
        let keeper = StampKeeper::start()?;
        let options = |source| Options {
            source: Some(source),
            transmit_stamps: false,
            tell_destination: true,
            share_port: Some(SharePort::ForAll),
            payload: LARGEST,
            ..Options::default()
        };
        let first = Datagram::udp(address.is_ipv6(), None, &options(address))?;
        let port = first.local_addr().map_or(address.port(), |a| a.port());
        let mut sockets = vec![first];
        if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
            let four = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
            sockets.push(Datagram::udp(false, None, &options(four))?);
        }
        let waker = Waker::new()?;
        Ok(Reflector {
            sockets,
            // It waits for packets alone, never for an instant.
            waiter: Waiter::new(Pacing::Eco).with_waker(waker.clone()),
            surroundings: Surroundings::new(),
            answers: Answers::new(),
            handle: Handle {
                shared: Arc::default(),
                waker,
            },
            claims: None,
            _keeper: keeper,
        })
    }

    /// Offers what is no test packet and holds four octets, which is how iperf3 begins a UDP stream, to the tests that
    /// wait for one.
    pub(crate) fn set_claims(&mut self, claims: Claims) {
        self.claims = Some(claims);
    }

    /// Where it listens.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.sockets.first()?.local_addr()
    }

    /// To watch and stop it by.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Answers until [`Handle::stop`].
    ///
    /// # Errors
    /// When a socket is of no use any more.
    pub fn run(&mut self) -> Result<(), Error> {
        let own_ports: Vec<u16> = self
            .sockets
            .iter()
            .filter_map(|s| Some(s.local_addr()?.port()))
            .collect();
        while !self.handle.shared.stop.load(Ordering::Acquire) {
            let Reflector {
                sockets,
                waiter,
                surroundings,
                answers,
                handle,
                claims,
                ..
            } = self;
            answers.clear();
            receive_from_any(sockets, waiter, Timestamp::NEVER, |socket, incoming| {
                let Incoming::Packet(request) = incoming else {
                    return;
                };
                let to_itself =
                    own_ports.contains(&request.from.port()) && surroundings.is_own(request.from.ip());
                let ours = request.to.is_some_and(|(to, _)| surroundings.is_own(to));
                let claimed = || {
                    let is_sign = request.payload.len() == 4 && may_be_answered(request.from);
                    is_sign && claims.as_ref().is_some_and(|claims| claims.offer(request))
                };
                if to_itself || !ours || !(answers.add(socket, request) || claimed()) {
                    handle.shared.dropped.fetch_add(1, Ordering::Relaxed);
                }
            })?;
            for (number, socket) in sockets.iter_mut().enumerate() {
                answers.send(number, socket, &handle.shared);
            }
        }
        Ok(())
    }
}

/// Whether an answer may go there (RFC 1122 section 3.2.1.3: these are nobody's own address).
fn may_be_answered(to: SocketAddr) -> bool {
    let somebody = match to.ip() {
        IpAddr::V4(four) => !four.is_broadcast() && !four.is_multicast() && four.octets()[0] != 0,
        IpAddr::V6(six) => !six.is_multicast() && !six.is_unspecified(),
    };
    somebody && to.port() != 0
}

/// The answers to one batch of requests.
#[derive(Debug)]
struct Answers {
    // Room for the largest answers; pages that no answer was written to take no memory.
    bytes: Vec<u8>,
    packets: Vec<(usize, Packet)>,
    batch: Vec<Packet>,
}

impl Answers {
    /// As many as one receive pass of two sockets can bring.
    const ROOM: usize = 128;

    fn new() -> Answers {
        Answers {
            bytes: vec![0; Answers::ROOM * LARGEST],
            packets: Vec::with_capacity(Answers::ROOM),
            batch: Vec::with_capacity(BATCH),
        }
    }

    fn clear(&mut self) {
        self.packets.clear();
    }

    /// Writes the answer to `request`, which came in by `socket`; `false` when there is none.
    fn add(&mut self, socket: usize, request: &Received<'_>) -> bool {
        if request.cut || !may_be_answered(request.from) {
            return false;
        }
        let start = self.packets.len() * LARGEST;
        let Some(room) = self.bytes.get_mut(start..start + LARGEST) else {
            return false;
        };
        let with = Reflection {
            seq: sequence_of(request.payload),
            received: ntp(request.at.at),
            // Written again just before it leaves.
            sent: NtpTimestamp(0),
            error_estimate: ErrorEstimate::new(false, STAMP_ERROR_NS),
            ttl: request.ttl.unwrap_or(TTL_UNKNOWN),
        };
        let Ok(length) = stamp::reflect(request.payload, &with, room) else {
            return false;
        };
        // The route decides which interface it leaves by, except for link-local addresses, which mean nothing without.
        let from = request
            .to
            .map(|(to, interface)| (to, if is_link_local(to) { interface } else { 0 }));
        let packet = Packet {
            bytes: start..start + length,
            to: Some(request.from),
            from,
            tag: 0,
        };
        self.packets.push((socket, packet));
        true
    }

    /// Sends what goes by `socket`.
    fn send(&mut self, number: usize, socket: &mut Datagram, shared: &Shared) {
        let Answers {
            bytes,
            packets,
            batch,
        } = self;
        let mut mine = packets
            .iter()
            .filter(|(socket, _)| *socket == number)
            .map(|(_, packet)| packet);
        loop {
            batch.clear();
            batch.extend(mine.by_ref().take(BATCH).cloned());
            if batch.is_empty() {
                return;
            }
            let sent = ntp(Clock.now());
            batch.iter().for_each(|packet| {
                if let Some(answer) = bytes.get_mut(packet.bytes.clone()) {
                    stamp::set_sent(answer, sent);
                }
            });
            socket.send(bytes, batch, |_, left| {
                let counter = if matches!(left, Left::At(_)) {
                    &shared.answered
                } else {
                    &shared.dropped
                };
                counter.fetch_add(1, Ordering::Relaxed);
            });
        }
    }
}

/// A stateless reflector gives the sender's number back.
fn sequence_of(request: &[u8]) -> u32 {
    request
        .first_chunk()
        .map_or(0, |&number| u32::from_be_bytes(number))
}

fn ntp(at: Timestamp) -> NtpTimestamp {
    NtpTimestamp::from_unix_nanos(u64::try_from(Clock.wall_nanos(at)).unwrap_or(0))
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
