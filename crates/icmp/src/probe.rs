//! The probe kind: what is sent, and what an answer means.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;

use rping_engine::{Arrival, Departure, Drained, Outgoing, Probe, Sequence, Silence, TargetId, Timestamp};
use rping_net::datagram::Kind;
use rping_net::{
    Datagram, Exchange, Fan, Identifiers, Lane, Pacing, ProbeOptions, StampKeeper, Targets, Traffic,
};
use rping_wire::probe_payload::{self, HEADER_LEN};

use crate::message::{self, Echo, HEADER};
use crate::reader::{Keys, Mark, Reader, ID_BITS};
use crate::{Error, MAX_SIZE_V4, MAX_SIZE_V6};

/// Which kind of socket the system granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SocketKind {
    /// The unprivileged kind.
    Datagram,
    /// The raw kind.
    Raw,
}

/// ICMP echo to many targets.
#[derive(Debug)]
pub struct IcmpProbe {
    exchange: Exchange,
    reader: Reader,
}

impl IcmpProbe {
    /// Opens the sockets for these targets (ports are ignored; scope ids are not): the unprivileged kind where the
    /// system allows it, else the raw kind.
    ///
    /// # Errors
    /// [`rping_net::Error::NoIcmpPermission`] where neither is allowed, [`Error::TooLarge`], and whatever else keeps a
    /// socket from being made as asked.
    pub fn open(targets: &[SocketAddr], options: &ProbeOptions) -> Result<IcmpProbe, Error> {
        if targets.is_empty() {
            return Err(Error::NoTargets);
        }
        let most = if targets.iter().any(SocketAddr::is_ipv4) {
            MAX_SIZE_V4
        } else {
            MAX_SIZE_V6
        };
        if options.size > most {
            return Err(Error::TooLarge {
                size: options.size,
                most,
            });
        }
        let keeper = StampKeeper::start()?;
        let random = RandomState::new();
        let base = random.hash_one(1u8) as u16;
        let keys = Keys::new(u128::from(random.hash_one(2u8)) << 64 | u128::from(random.hash_one(3u8)));
        let net = rping_net::Options {
            payload: HEADER + options.size,
            ..options.net.clone()
        };
        let targets: Vec<SocketAddr> = targets.iter().map(|&target| without_port(target)).collect();
        let mut marks = Vec::new();
        let mut fan = Fan::open(Targets::new(&targets), net.payload, |role| {
            // Every raw socket gets every packet that its filter lets by: two that shared identifiers would hear all twice.
            let base = base ^ u16::from(role.first_contact) << ID_BITS;
            let ids = Identifiers {
                base,
                mask: u16::MAX << ID_BITS,
            };
            let socket = Datagram::icmp(role.v6, ids, &net)?;
            let id = match socket.kind() {
                Kind::IcmpDatagram { id } => Some(id),
                _ => None,
            };
            marks.push(Mark {
                types: if role.v6 { message::V6 } else { message::V4 },
                id,
                ids,
            });
            Ok::<_, Error>(socket)
        })?;
        if options.link {
            let addresses: Vec<SocketAddr> = fan.targets().addresses().collect();
            let ids = Identifiers {
                base: base ^ 2 << ID_BITS,
                mask: u16::MAX << ID_BITS,
            };
            let ears = Datagram::icmp(false, ids, &net)?;
            let (id, heard) = match ears.kind() {
                // The kernel's choice, which its socket hears alone.
                Kind::IcmpDatagram { id } => (
                    Some(id),
                    Identifiers {
                        base: id,
                        mask: u16::MAX,
                    },
                ),
                _ => (None, ids),
            };
            let traffic = Traffic::Icmp {
                base: heard.base,
                mask: heard.mask,
            };
            let lane = Lane::open(&addresses, traffic, net.payload, &net)?;
            fan.add_lane(lane, ears)?;
            marks.push(Mark {
                types: message::V4,
                id,
                ids,
            });
        }
        fan.prepare(|slot| probe_payload::write(&mut slot[HEADER..], 0, 0));
        let reader = Reader::new(marks, keys, options.size, options.net.broadcast);
        let exchange = Exchange::new(keeper, fan, options);
        Ok(IcmpProbe { exchange, reader })
    }

    /// Which kind of socket the system granted.
    pub fn socket_kind(&self) -> SocketKind {
        if self.reader.marks().iter().any(|mark| mark.id.is_some()) {
            SocketKind::Datagram
        } else {
            SocketKind::Raw
        }
    }

    /// How many probes to one target can be in flight before their answers cannot be told apart; `None` where there is
    /// no such limit, the payload carrying the whole sequence number.
    pub fn max_in_flight(&self) -> Option<u64> {
        if self.reader.size() >= HEADER_LEN {
            return None;
        }
        Some(match self.socket_kind() {
            SocketKind::Datagram => 1 << 16,
            SocketKind::Raw => 1 << (16 + ID_BITS),
        })
    }

    /// The pacing in effect.
    pub fn pacing(&self) -> Pacing {
        self.exchange.pacing()
    }

    /// Answers from addresses that are no target of a run of several: they could not be counted under any.
    pub fn strangers(&self) -> u64 {
        self.reader.strangers()
    }
}

fn without_port(mut target: SocketAddr) -> SocketAddr {
    target.set_port(0);
    target
}

/// Writes an echo request into `slot`, whose payload holds the filler already.
fn write(slot: &mut [u8], mark: Mark, keys: Keys, out: &Outgoing) -> usize {
    if let Some(header) = slot.first_chunk_mut::<HEADER>() {
        Echo {
            kind: mark.types.request,
            id: mark.id_of(out.seq),
            seq: out.seq.low16(),
        }
        .write(header);
    }
    if let Some(header) = slot.get_mut(HEADER..HEADER + HEADER_LEN) {
        probe_payload::write(header, out.seq.0, keys.of(out.target).nonce(out.seq.0));
    }
    // The kernel does it for IPv6, whose checksum covers addresses that only it knows.
    if mark.types == message::V4 {
        message::seal(slot);
    }
    slot.len()
}

impl Probe for IcmpProbe {
    type Error = Error;

    fn send(&mut self, due: &[Outgoing], left: &mut Vec<Departure>) -> Result<(), Error> {
        let (marks, keys) = (self.reader.marks(), self.reader.keys());
        self.exchange.send(due, left, |slot, out| {
            marks
                .get(slot.socket)
                .map_or(0, |&mark| write(slot.bytes, mark, keys, out))
        });
        Ok(())
    }

    fn recv(&mut self, until: Timestamp, arrived: &mut Vec<Arrival>) -> Result<Drained, Error> {
        let IcmpProbe { exchange, reader } = self;
        let drained = exchange.receive(until, arrived, |targets, socket, incoming, here| {
            reader.read(targets, socket, incoming, |address| here.is_own(address))
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
