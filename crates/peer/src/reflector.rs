//! What answers datagrams: a STAMP Session-Reflector (RFC 8762 section 4.3), stateful, in either mode, or an RFC 862 echo.
//!
//! An answer has exactly as many bytes as its request and goes to where that came from, so it cannot be made to
//! amplify. On the port of every test nothing is answered but a sender's packet, which no reflector's answer is, so two
//! cannot be set upon each other; where that cannot be told, the ports have to tell it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use rping_engine::Timestamp;
use rping_net::{
    receive_from_any, Clock, Datagram, Incoming, Options, Pacing, Received, SharePort, StampKeeper,
    Surroundings, Waiter, Waker,
};

use crate::answers::{may_be_answered, Added, Answers, Service, LARGEST};
use crate::claims::Claims;
use crate::server::{Limits, Log};
use crate::sessions::PORTION;
use crate::Error;

/// Source ports below are those of services, which might answer the answer.
const SERVICES_BELOW: u16 = 1024;

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    answered: AtomicU64,
    dropped: AtomicU64,
    sessions: AtomicUsize,
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

    /// How many datagrams got no answer so far: not a sender's packet, from where no answer goes, beyond the rate of
    /// their source, or refused by this host's own stack.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// How many STAMP sessions there are.
    pub fn sessions(&self) -> usize {
        self.shared.sessions.load(Ordering::Relaxed)
    }
}

/// The ports that one server listens on, known once all of them are bound.
pub(crate) type OwnPorts = Arc<OnceLock<Vec<u16>>>;

/// The reflector: its sockets and buffers.
pub struct Reflector {
    sockets: Vec<Datagram>,
    waiter: Waiter,
    surroundings: Surroundings,
    answers: Answers,
    handle: Handle,
    claims: Option<Claims>,
    could_loop: bool,
    own_ports: OwnPorts,
    log: Option<Log>,
    _keeper: StampKeeper,
}

impl std::fmt::Debug for Reflector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reflector")
            .field("local_addr", &self.local_addr())
            .finish_non_exhaustive()
    }
}

impl Reflector {
    /// Opens the sockets: both families for `[::]`, else the one of `address`. Port 0 is any free one, the same for both.
    /// It answers STAMP, unauthenticated, within the usual limits.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn bind(address: SocketAddr) -> Result<Reflector, Error> {
        Reflector::open(address, Service::Stamp, &Limits::default())
    }

    /// As [`Reflector::bind`], answering as `service` says within these limits.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn open(address: SocketAddr, service: Service, limits: &Limits) -> Result<Reflector, Error> {
        let keeper = StampKeeper::start()?;
        // Only the port of every test has other sockets beside it: iperf3's streams.
        let alone = service.could_loop();
        let options = |source| Options {
            source: Some(source),
            transmit_stamps: false,
            tell_destination: true,
            share_port: (!alone).then_some(SharePort::ForAll),
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
        // It waits for packets alone, never for an instant that matters.
        let mut waiter = Waiter::new(Pacing::Eco).with_waker(waker.clone());
        waiter.set_wait_of_server(limits.wait);
        Ok(Reflector {
            sockets,
            waiter,
            surroundings: Surroundings::new(),
            could_loop: alone,
            answers: Answers::new(service, &limits.bounds()),
            handle: Handle {
                shared: Arc::default(),
                waker,
            },
            claims: None,
            own_ports: Arc::default(),
            log: None,
            _keeper: keeper,
        })
    }

    /// Offers what is no test packet and holds four octets, which is how iperf3 begins a UDP stream, to the tests that
    /// wait for one.
    pub(crate) fn set_claims(&mut self, claims: Claims) {
        self.claims = Some(claims);
    }

    /// It is one of several of a server that listens on these ports, and tells what happens.
    pub(crate) fn set_server(&mut self, own_ports: OwnPorts, log: Log) {
        self.own_ports = own_ports;
        self.log = Some(log);
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
        let bound = self.sockets.iter();
        let bound: Vec<u16> = bound.filter_map(|s| Some(s.local_addr()?.port())).collect();
        let own_ports = self.own_ports.get().cloned().unwrap_or(bound);
        let mut sessions = 0;
        while !self.handle.shared.stop.load(Ordering::Acquire) {
            let Reflector {
                sockets,
                waiter,
                surroundings,
                answers,
                handle,
                claims,
                could_loop,
                log,
                ..
            } = self;
            answers.clear();
            let until = match sessions {
                0 => Timestamp::NEVER,
                _ => Clock.now().plus(PORTION),
            };
            receive_from_any(sockets, waiter, until, |socket, incoming| {
                let Incoming::Packet(request) = incoming else {
                    return;
                };
                let port = request.from.port();
                let is_ours = own_ports.contains(&port);
                let is_refused = if *could_loop {
                    is_ours || port < SERVICES_BELOW
                } else {
                    is_ours && surroundings.is_own(request.from.ip())
                };
                let to_us = request.to.is_some_and(|(to, _)| surroundings.is_own(to));
                if is_refused || !to_us {
                    handle.shared.dropped.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                match answers.add(socket, request) {
                    Added::Answered => {}
                    Added::Begins { ssid } => {
                        if let Some(log) = log {
                            log(&format!("{}: STAMP session {ssid} begins", shown(request.from)));
                        }
                    }
                    Added::Not if claimed(claims.as_ref(), request) => {}
                    Added::Not => {
                        handle.shared.dropped.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })?;
            let shared = &handle.shared;
            for (number, socket) in sockets.iter_mut().enumerate() {
                answers.send(number, socket, &shared.answered, &shared.dropped);
            }
            sessions = answers.tidy(Clock.now());
            shared.sessions.store(sessions, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Whether a test waits for a stream that this datagram begins.
fn claimed(claims: Option<&Claims>, request: &Received<'_>) -> bool {
    let is_sign = request.payload.len() == 4 && may_be_answered(request.from);
    is_sign && claims.is_some_and(|claims| claims.offer(request))
}

/// An address as people write it.
pub(crate) fn shown(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
