//! Single packets, many at once, each with header fields of its own and each asked what became of it.
//!
//! Every shot has a socket: TTL and don't-fragment are a socket's, and an error in its queue can be nobody else's.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use super::nonce::nonce;
use rping_engine::{Left, Reason, Refusal, Timestamp};
use rping_icmp::message::{self, Echo};
use rping_net::errqueue::SocketError;
use rping_net::{Clock, Datagram, Identifiers, Incoming, Options, Pacing, Packet, Waiter, Woken};

/// IP header and the eight bytes of an ICMP or UDP header.
pub(crate) const fn headers(v6: bool) -> usize {
    if v6 {
        48
    } else {
        28
    }
}

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// An ICMP or ICMPv6 echo request.
    Echo,
    /// A UDP datagram of zeros.
    Udp,
}

/// One packet to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Shot {
    pub(crate) kind: Kind,
    pub(crate) to: SocketAddr,
    pub(crate) ttl: Option<u8>,
    /// The whole IP packet, bytes.
    pub(crate) size: usize,
    pub(crate) df: bool,
}

impl Shot {
    pub(crate) fn new(kind: Kind, to: SocketAddr) -> Shot {
        Shot {
            kind,
            to,
            ttl: None,
            size: headers(to.is_ipv6()) + 32,
            df: false,
        }
    }
}

/// What became of a shot.
#[derive(Clone, Debug)]
pub(crate) enum Hit {
    /// Answered, by whom, with which TTL left, after how long.
    Answered {
        from: IpAddr,
        ttl: Option<u8>,
        after: Duration,
    },
    /// An error came in: an ICMP message, or this host's own.
    Error { error: SocketError, after: Duration },
    /// It never left.
    NotSent(Refusal),
    /// The right to send it is missing, or the socket.
    Denied(String),
    /// Nothing came.
    Silent,
}

impl Hit {
    pub(crate) fn answered(&self) -> Option<(IpAddr, Option<u8>, Duration)> {
        match self {
            Hit::Answered { from, ttl, after } => Some((*from, *ttl, *after)),
            _ => None,
        }
    }

    pub(crate) fn error(&self) -> Option<(&SocketError, Duration)> {
        match self {
            Hit::Error { error, after } => Some((error, *after)),
            _ => None,
        }
    }
}

struct Flight {
    socket: Datagram,
    id: u16,
    /// What an echo reply has to bring back at the beginning of its payload.
    nonce: u64,
    kind: Kind,
    to: IpAddr,
    at: Timestamp,
    hit: Option<Hit>,
}

/// Fires all shots at once and waits for what becomes of them, until `until` at the latest.
pub(crate) fn fire(shots: &[Shot], until: Timestamp) -> Vec<Hit> {
    let mut hits: Vec<Option<Hit>> = shots.iter().map(|_| None).collect();
    let mut flights: Vec<(usize, Flight)> = Vec::with_capacity(shots.len());
    let nonce = nonce();
    let base = (nonce >> 48) as u16;
    for (number, shot) in shots.iter().enumerate() {
        let id = base.wrapping_add((number as u16).wrapping_mul(7));
        match launch(shot, id, nonce.rotate_left(number as u32)) {
            Ok(flight) => flights.push((number, flight)),
            Err(why) => hits[number] = Some(Hit::Denied(why)),
        }
    }
    let mut waiter = Waiter::new(Pacing::Eco);
    while flights.iter().any(|(_, flight)| flight.hit.is_none()) {
        let open: Vec<usize> = (0..flights.len())
            .filter(|&i| flights[i].1.hit.is_none())
            .collect();
        let fds: Vec<_> = open.iter().map(|&i| flights[i].1.socket.as_fd()).collect();
        let woken = waiter.wait(&fds, until);
        let erring: Vec<bool> = (0..open.len()).map(|i| waiter.readiness(i).error).collect();
        drop(fds);
        for (&place, erring) in open.iter().zip(erring) {
            let flight = &mut flights[place].1;
            if erring || woken == Woken::Due {
                flight.socket.look_for_errors();
            }
            flight.read();
        }
        if woken == Woken::Due {
            break;
        }
    }
    for (number, flight) in flights {
        hits[number] = flight.hit;
    }
    hits.into_iter().map(|hit| hit.unwrap_or(Hit::Silent)).collect()
}

fn launch(shot: &Shot, id: u16, nonce: u64) -> Result<Flight, String> {
    let v6 = shot.to.is_ipv6();
    let options = Options {
        ttl: shot.ttl,
        df: shot.df,
        receive_buffer: 1 << 16,
        transmit_stamps: false,
        payload: shot.size.max(1500),
        ..Options::default()
    };
    let denied = |error: rping_net::Error| error.to_string();
    let mut socket = match shot.kind {
        Kind::Echo => Datagram::icmp(
            v6,
            Identifiers {
                base: id,
                mask: 0xffff,
            },
            &options,
        )
        .map_err(denied)?,
        Kind::Udp => Datagram::udp(v6, None, &options).map_err(denied)?,
    };
    let payload = shot.size.saturating_sub(headers(v6));
    let (bytes, to, id) = match shot.kind {
        Kind::Echo => {
            let id = match socket.kind() {
                rping_net::datagram::Kind::IcmpDatagram { id } => id,
                _ => id,
            };
            (echo(v6, id, payload, nonce), without_port(shot.to), id)
        }
        Kind::Udp => (vec![0; payload], shot.to, id),
    };
    let packet = Packet {
        bytes: 0..bytes.len(),
        to: Some(to),
        from: None,
        tag: 0,
    };
    let mut left = Left::Deferred;
    socket.send(&bytes, &[packet], |_, result| left = result);
    let (at, hit) = match left {
        Left::At(stamp) => (stamp.at, None),
        Left::NotSent(refusal) => (Clock.now(), Some(Hit::NotSent(refusal))),
        _ => (Clock.now(), Some(Hit::NotSent(Refusal::of(Reason::NoBuffer)))),
    };
    Ok(Flight {
        socket,
        id,
        nonce,
        kind: shot.kind,
        to: shot.to.ip(),
        at,
        hit,
    })
}

impl Flight {
    fn read(&mut self) {
        let (kind, id, to, at) = (self.kind, self.id, self.to, self.at);
        let nonce = self.nonce.to_be_bytes();
        let hit = &mut self.hit;
        // A socket that is of no use any more stays silent.
        let _ = self.socket.receive(|incoming| {
            if hit.is_some() {
                return;
            }
            match incoming {
                Incoming::Error { error, at: came } => {
                    let ours = kind == Kind::Udp || quotes(error, id);
                    if ours {
                        *hit = Some(Hit::Error {
                            error: *error,
                            after: came.at.since(at),
                        });
                    }
                }
                Incoming::Packet(packet) => {
                    let is_reply = kind == Kind::Udp
                        || Echo::parse(packet.payload).is_some_and(|(echo, payload)| {
                            (echo.kind == message::V4.reply || echo.kind == message::V6.reply)
                                && echo.id == id
                                && payload.starts_with(&nonce)
                        });
                    if is_reply && !packet.damaged && packet.from.ip() == to {
                        *hit = Some(Hit::Answered {
                            from: packet.from.ip(),
                            ttl: packet.ttl,
                            after: packet.at.at.since(at),
                        });
                    }
                }
                Incoming::Left { .. } => {}
            }
        });
    }
}

/// Whether an error quotes the echo request with this identifier. One from this host itself quotes nothing, and was
/// raised on this socket.
fn quotes(error: &SocketError, id: u16) -> bool {
    match Echo::parse(error.quoted()) {
        Some((echo, _)) => echo.id == id,
        None => error.quoted().is_empty(),
    }
}

/// The payload is eight bytes at least: every size that is sent holds them.
fn echo(v6: bool, id: u16, payload: usize, nonce: u64) -> Vec<u8> {
    let types = if v6 { message::V6 } else { message::V4 };
    let mut bytes = vec![0; message::HEADER + payload.max(8)];
    bytes[message::HEADER..message::HEADER + 8].copy_from_slice(&nonce.to_be_bytes());
    if let Some(header) = bytes.first_chunk_mut() {
        Echo {
            kind: types.request,
            id,
            seq: 1,
        }
        .write(header);
    }
    message::seal(&mut bytes);
    bytes
}

fn without_port(mut to: SocketAddr) -> SocketAddr {
    to.set_port(0);
    to
}
