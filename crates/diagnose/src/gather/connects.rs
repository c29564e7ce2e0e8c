//! TCP connects, many at once, each asked what became of it.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use rping_engine::Timestamp;
use rping_net::errqueue::SocketError;
use rping_net::tcp::{Connection, Options, Ready, TcpInfo, Watch};
use rping_net::{Clock, Pacing, Waiter, Woken};

/// What became of a connect.
#[derive(Clone, Debug, Default)]
pub(crate) enum Tried {
    /// The handshake was done.
    Open {
        /// The kernel's round-trip time; `None` when a SYN was sent again.
        rtt: Option<Duration>,
        /// SYNs that were sent again before it was done.
        lost_syns: u32,
        after: Duration,
        /// The maximum segment size in use toward the target, bytes.
        mss: u32,
    },
    /// A reset.
    Reset { after: Duration },
    /// An ICMP message, from anybody, this host included.
    Icmp { error: SocketError, after: Duration },
    /// The call failed, at once or later, and no message explains it.
    Errno { errno: i32, after: Duration },
    /// Silence, with so many SYNs sent again.
    Silent { resent: u32, waited: Duration },
    /// It was not tried, or the time ran out before anything was known.
    #[default]
    Untried,
}

impl Tried {
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Tried::Open { .. })
    }

    /// Somebody answered: the way there and back works as far as whoever that was.
    pub(crate) fn is_answer(&self) -> bool {
        matches!(self, Tried::Open { .. } | Tried::Reset { .. })
    }
}

/// One connect to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aim {
    pub(crate) to: SocketAddr,
    pub(crate) ttl: Option<u8>,
}

/// A connect that is under way or settled.
struct Flight {
    connection: Option<Connection>,
    at: Timestamp,
    tried: Option<Tried>,
}

/// Connects, started together.
pub(crate) struct Connects {
    aims: Vec<Aim>,
    flights: Vec<Flight>,
    watch: Option<Watch>,
    waiter: Waiter,
}

impl Connects {
    /// Starts them all.
    pub(crate) fn start(aims: Vec<Aim>) -> Connects {
        let watch = Watch::new(64).ok();
        let mut flights = Vec::with_capacity(aims.len());
        for (number, aim) in aims.iter().enumerate() {
            let options = Options {
                ttl: aim.ttl,
                ..Options::default()
            };
            let at = Clock.now();
            let begun = Connection::open(aim.to.is_ipv6(), &options).and_then(|connection| {
                connection.connect(aim.to)?;
                if let Some(watch) = &watch {
                    watch.add(&connection, number as u64)?;
                }
                Ok(connection)
            });
            flights.push(match begun {
                Ok(connection) => Flight {
                    connection: Some(connection),
                    at,
                    tried: None,
                },
                Err(error) => Flight {
                    connection: None,
                    at,
                    tried: Some(Tried::Errno {
                        errno: error.raw_os_error().unwrap_or(0),
                        after: Clock.now().since(at),
                    }),
                },
            });
        }
        Connects {
            aims,
            flights,
            watch,
            waiter: Waiter::new(Pacing::Eco),
        }
    }

    /// Whether all are settled.
    pub(crate) fn is_settled(&self) -> bool {
        self.flights.iter().all(|flight| flight.tried.is_some())
    }

    /// Waits until something is settled, or until `until`.
    pub(crate) fn wait(&mut self, until: Timestamp) -> Woken {
        let Some(watch) = &mut self.watch else {
            return Woken::Due;
        };
        let woken = self.waiter.wait(&[watch.as_fd()], until);
        let mut ready: Vec<Ready> = Vec::new();
        while let Ok(1..) = watch.ready(&mut ready) {
            for ready in ready.drain(..) {
                let place = usize::try_from(ready.key).unwrap_or(usize::MAX);
                let (Some(flight), Some(aim)) = (self.flights.get_mut(place), self.aims.get(place)) else {
                    continue;
                };
                if let Some(connection) = &flight.connection {
                    // It has said what it has to say.
                    let _ = watch.remove(connection);
                    flight.tried = flight
                        .tried
                        .take()
                        .or_else(|| settle(connection, ready.failed, aim.to, Clock.now().since(flight.at)));
                }
            }
        }
        woken
    }

    /// What became of number `place`, now.
    pub(crate) fn tried(&self, place: usize) -> Tried {
        let Some(flight) = self.flights.get(place) else {
            return Tried::Untried;
        };
        let (Some(connection), None) = (&flight.connection, &flight.tried) else {
            return flight.tried.clone().unwrap_or_default();
        };
        let after = Clock.now().since(flight.at);
        // A message that is no reason to give up for the kernel (a "soft error") waits in the queue.
        if let Some(error) = self
            .aims
            .get(place)
            .and_then(|aim| connection.queued_error(aim.to))
        {
            return Tried::Icmp { error, after };
        }
        Tried::Silent {
            resent: connection.info().map_or(0, |info| info.retransmits),
            waited: after,
        }
    }

    /// The local port that number `place` was given.
    pub(crate) fn local_port(&self, place: usize) -> Option<u16> {
        let connection = self.flights.get(place)?.connection.as_ref()?;
        connection.local_address().map(|local| local.port())
    }

    /// Takes the connection of number `place` out.
    pub(crate) fn take(&mut self, place: usize) -> Option<Connection> {
        self.flights.get_mut(place)?.connection.take()
    }

    /// Resets whatever is left: no TIME_WAIT is left behind.
    pub(crate) fn end(mut self) {
        for flight in &mut self.flights {
            if let Some(connection) = flight.connection.take() {
                connection.end(&Options::default());
            }
        }
    }
}

fn settle(connection: &Connection, failed: bool, to: SocketAddr, after: Duration) -> Option<Tried> {
    let info: Option<TcpInfo> = connection.info();
    if !failed {
        let lost_syns = info.map_or(0, |info| info.retransmits);
        return Some(Tried::Open {
            rtt: info.and_then(|info| info.rtt).filter(|_| lost_syns == 0),
            lost_syns,
            after,
            mss: info.map_or(0, |info| info.mss),
        });
    }
    if let Some(error) = connection.queued_error(to) {
        return Some(Tried::Icmp { error, after });
    }
    match connection.take_error().ok().flatten() {
        Some(libc::ECONNREFUSED | libc::ECONNRESET | libc::EPIPE) => Some(Tried::Reset { after }),
        Some(libc::ETIMEDOUT) => Some(Tried::Silent {
            resent: info.map_or(0, |info| info.retransmits),
            waited: after,
        }),
        Some(errno) => Some(Tried::Errno { errno, after }),
        // A server that answers and closes at once: the handshake was done.
        None => Some(Tried::Open {
            rtt: info.and_then(|info| info.rtt),
            lost_syns: 0,
            after,
            mss: info.map_or(0, |info| info.mss),
        }),
    }
}
